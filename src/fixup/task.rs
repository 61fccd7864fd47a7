//! The fix-ups of one clone as a task that the source makes and the target performs, and what
//! came of it. Knows nothing of how either crosses the wire.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::apply::is_pending;
use super::{
    Applied, Edit, Gathered, Level, Merged, NewName, Note, Originals, Outcome, Situation, Versions,
    apply, change_owners, gather, hostname, kept, merge, owners_of,
};
use crate::exclude::{Rules, Verdict};
use crate::facts::Facts;
use crate::fs::{Dir, Result, Root, Staged, Tree};
use crate::merger::Merger;
use crate::problem::{Problem, Side};
use crate::relpath::RelPath;

/// LIMIT: how long the agent of a link that was lost may still be at work: it makes images to boot
/// from, which takes minutes.
const LOCKING: Duration = Duration::from_secs(300);

/// What the target has to know to make files out of both machines'.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Who merges.
    pub mergers: Vec<Merger>,
    /// The source's versions.
    pub source: Gathered,
    /// What the source is.
    pub source_facts: Facts,
    /// What the target was before the first pass: in place its programs are the source's by now.
    pub target_facts: Facts,
    /// The rules of the run: what the person decided about a path is not merged.
    pub rules: Rules,
    /// The pair whose key the target needs until the run is over.
    pub returning_pair: Option<String>,
    /// The name that the target gets in place of its own.
    pub new_name: Option<NewName>,
    /// For a staged clone: the mount points with stages of their own. `None` is in place.
    pub staged: Option<Vec<RelPath>>,
    /// Paths of the source that were not looked into: other file systems are mounted there.
    pub apart: Vec<RelPath>,
    /// Whether only to tell what would be done.
    pub dry_run: bool,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The edits that changed something, or would.
    pub edits: Vec<Done>,
    /// What else a person should know.
    pub notes: Vec<Note>,
    /// Files that the target keeps and that belong to another number now.
    pub owner_changes: u64,
    /// What failed.
    pub problems: Vec<Problem>,
}

/// An edit without what it wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// Who made it.
    pub merger: Merger,
    /// Where.
    pub path: RelPath,
    /// How much a person should care.
    pub level: Level,
    /// Why.
    pub reason: String,
}

impl Task {
    /// Performs the task on the system below `root`, or on the stage for it. Nothing is staged for
    /// a dry run: it tells what would be done in place.
    ///
    /// In place the target's versions are those of now: what the passes have replaced is the
    /// source's. Waits for another run that has the root locked, and fails where that goes on.
    pub fn perform(&self, root: &Path) -> Result<Report> {
        let dir = Dir::open_root(root)?;
        dir.lock_within(LOCKING)?;
        match &self.staged {
            Some(volumes) if !self.dry_run => self.perform_staged(&Staged::open(&dir, volumes)?),
            _ => self.perform_in_place(dir, &Root::open(root)?),
        }
    }

    fn perform_in_place(&self, dir: Dir, system: &Root) -> Result<Report> {
        let present = |path: &[u8]| system.status(&String::from_utf8_lossy(path)).is_some();
        let (mut report, merged, kept) = self.look(&dir, &present);
        let edits = self.wanted(merged.edits, &|path| system.text(path));
        if self.dry_run {
            let pending = edits.iter().filter(|edit| is_pending(&dir, edit));
            report.edits = pending.map(Done::of).collect();
            return Ok(report);
        }
        let tree = Tree::from(dir);
        let applied = apply(&tree, &edits, Originals::Edited);
        report.take(&edits, applied);
        if !merged.owners.is_empty() {
            let (changed, failed) = change_owners(tree.root(), &kept, &merged.owners);
            report.owner_changes = changed;
            report.problems.extend(failed);
        }
        Ok(report)
    }

    /// Reads what the target has below `dir` and merges; also returns what the target keeps.
    pub(super) fn look(
        &self,
        dir: &Dir,
        present: &dyn Fn(&[u8]) -> bool,
    ) -> (Report, Merged, Vec<RelPath>) {
        let target = gather(dir, Side::Target, &self.mergers);
        let mut report = Report {
            problems: [&self.source.problems[..], &target.problems[..]].concat(),
            ..Report::default()
        };
        let kept = kept::paths(dir, &self.rules);
        let (owners, unread) = owners_of(dir, &kept);
        report.problems.extend(unread);
        let situation = Situation {
            source: &self.source_facts,
            target: &self.target_facts,
            kept: &owners,
            returning_pair: self.returning_pair.as_deref(),
            new_name: self.new_name.as_ref().map(NewName::text),
            present,
        };
        let mut merged = self.merge(target, &situation);
        report.notes = std::mem::take(&mut merged.notes);
        (report, merged, kept)
    }

    fn merge(&self, target: Gathered, situation: &Situation<'_>) -> Merged {
        let unreadable = |merger: &Merger| {
            let problems = self.source.problems.iter().chain(&target.problems);
            problems
                .into_iter()
                .any(|problem| merger.wants(&problem.path))
        };
        let mergers: Vec<Merger> = self
            .mergers
            .iter()
            .copied()
            .filter(|merger| !unreadable(merger))
            .collect();
        let versions = Versions {
            source: self.source.objects.clone(),
            target: target.objects,
        };
        merge(&mergers, &versions, situation)
    }

    /// Leaves out edits of paths about which the person or a `keep` decided, and adds the name.
    pub(super) fn wanted(
        &self,
        edits: Vec<Edit>,
        text: &dyn Fn(&str) -> Option<String>,
    ) -> Vec<Edit> {
        let is_ours = |edit: &Edit| {
            let decision = self.rules.decide_deep(&edit.path, false);
            match decision.rule {
                // A rule without a reason is the person's.
                Some(rule) if rule.reason.is_empty() => false,
                _ => matches!(decision.verdict, Verdict::Copy | Verdict::Merge),
            }
        };
        let mut wanted: Vec<Edit> = edits.into_iter().filter(is_ours).collect();
        if let Some(name) = &self.new_name {
            wanted.extend(hostname::edits(text, name));
        }
        wanted
    }
}

impl Report {
    pub(super) fn take(&mut self, edits: &[Edit], applied: Vec<Applied>) {
        for (edit, applied) in edits.iter().zip(applied) {
            match applied.outcome {
                Outcome::Changed => self.edits.push(Done::of(edit)),
                Outcome::Unchanged => {}
                Outcome::Failed(problem) => self.problems.push(problem),
            }
        }
    }
}

impl Done {
    fn of(edit: &Edit) -> Done {
        Done {
            merger: edit.merger,
            path: edit.path.clone(),
            level: edit.level,
            reason: edit.reason.clone(),
        }
    }
}
