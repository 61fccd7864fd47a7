//! The fix-ups of a staged clone: the target's versions come from the live tree, what is made of
//! both machines' goes into the stage. Knows nothing of the mergers.

use std::collections::BTreeSet;

use super::carry::{Carry, Occasion, carry};
use super::{
    Change, CloneNote, Edit, File, Level, Originals, OwnerMap, Report, Task, apply, selinux,
};
use crate::facts::{Security, SelinuxMode};
use crate::fs::owned::read_owned;
use crate::fs::{Result, Staged, Tree};
use crate::merger::Merger;
use crate::relpath::RelPath;

/// Asks the next boot for labels.
const RELABEL: &str = ".autorelabel";

impl Task {
    /// Performs the task on the stage. Nothing of the live tree changes but the note beside the
    /// stage. Again, it changes what has changed since on either machine.
    pub(super) fn perform_staged(&self, staged: &Staged) -> Result<Report> {
        let live = staged.live();
        let earlier = CloneNote::read(live)?.unwrap_or_default();
        let first = self.what_to_carry(&earlier.owners, &earlier.edited);
        let mut carried_at = staged.moment()?;
        let (mut stats, mut problems) = carry(staged, &first);
        let stage = staged.stage();
        let present = |path: &[u8]| stage.resolve(path).is_ok();
        let (mut report, merged, _) = self.look(live, &present);
        let mut edits = self.wanted(merged.edits, &|path| text(stage, path));
        edits.extend(relabel(&self.target_facts.security, stage, &edits));
        let edited: BTreeSet<RelPath> = edits.iter().map(|edit| edit.path.clone()).collect();
        let edited: Vec<RelPath> = edited.into_iter().collect();
        if (&merged.owners, &edited) != (&earlier.owners, &earlier.edited) {
            // ORDER: numbers of owners are known only now, and so is what an earlier task edited
            // and this one does not.
            carried_at = staged.moment()?;
            let (again, failed) = carry(staged, &self.what_to_carry(&merged.owners, &edited));
            stats.renumbered_count += again.renumbered_count;
            problems = failed;
        }
        let applied = apply(stage, &edits, Originals::Live(live));
        // ORDER: the note says that the stage is ready, also after a power cut.
        staged.sync()?;
        let decided = (merged.owners, edited);
        CloneNote::of(self, staged.volumes(), decided, carried_at).write(live)?;
        report.take(&edits, applied);
        report.owner_changes = stats.renumbered_count;
        report.problems.extend(problems);
        Ok(report)
    }

    fn what_to_carry<'a>(&'a self, owners: &'a OwnerMap, edited: &'a [RelPath]) -> Carry<'a> {
        Carry {
            rules: &self.rules,
            apart: &self.apart,
            owners,
            edited,
            occasion: Occasion::BeforeFixUps,
        }
    }
}

/// Returns the text of a file of the clone.
fn text(stage: &Tree, path: &str) -> Option<String> {
    let (path, _) = stage.resolve(path.as_bytes()).ok()?;
    let (parent, name) = path.split()?;
    let dir = stage.open_beneath(&parent).ok()?;
    let file = read_owned(&dir, &name).ok().flatten()?;
    Some(String::from_utf8_lossy(&file.contents).into_owned())
}

/// Returns the edit that has the next boot label all files, where the target runs SELinux and the
/// clone has a policy for it: what the target keeps has labels of another policy, and a source
/// without SELinux has none.
fn relabel(target: &Security, stage: &Tree, edits: &[Edit]) -> Option<Edit> {
    let is_on = |mode| matches!(mode, SelinuxMode::Enforcing | SelinuxMode::Permissive);
    if !is_on(target.selinux_configured) && !is_on(target.selinux) {
        return None;
    }
    let config = super::path("etc/selinux/config");
    let edited = edits.iter().find(|edit| edit.path == config);
    let contents = match edited.map(|edit| &edit.change) {
        Some(Change::Write(file)) => file.contents.clone(),
        Some(Change::Link(_) | Change::Remove) => return None,
        None => text(stage, "/etc/selinux/config")?.into_bytes(),
    };
    let is_off = selinux::mode(&contents).is_some_and(|mode| mode == b"disabled");
    let is_needed = !is_off && stage.resolve(&selinux::policy(&contents)).is_ok();
    is_needed.then(|| Edit {
        merger: Merger::Selinux,
        path: super::path(RELABEL),
        change: Change::Write(File::of_root(Vec::new())),
        level: Level::Info,
        reason: "the next boot labels all files; it takes longer and starts the machine twice"
            .to_owned(),
    })
}
