//! The first stage of a clone, and all of `instancesync plan`: know both machines, choose the
//! rules, measure, and say everything at once. Changes nothing on either machine. Knows nothing
//! of how a plan is shown.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::exclude::profile::{Policies, Selected};
use crate::exclude::{Rule, Rules};
use crate::exit::ExitCode;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::inspect::facts_here;
use crate::layout::Layout;
use crate::monitor::{Event, Monitor, Stage};
use crate::plan::{CHECKS, Check, Plan, PlanInput, Standing, TargetRoom, mount_points};
use crate::relpath::RelPath;
use crate::session::{Holdings, Session};
use crate::settings::{Manner, Settings, SystemSettings};
use crate::source::Source;
use crate::transfer::TransferError;
use crate::transfer::scan::{Extent, Scan};

/// What the preflight needs.
#[derive(Clone, Copy)]
pub struct Preflight<'a> {
    /// What the run is to do.
    pub settings: &'a Settings,
    /// What is copied.
    pub source: &'a Source,
    /// Who is told.
    pub monitor: &'a dyn Monitor,
    /// Ends the measuring early.
    pub stop: &'a AtomicBool,
    /// What earlier runs have left on the target.
    pub standing: &'a Standing,
}

/// What it finds out.
#[derive(Debug)]
pub struct Prepared {
    /// The rules of the run: the person's, then those of the profiles.
    pub rules: Rules,
    /// What the profiles say.
    pub selected: Selected,
    /// What the source is.
    pub source: Facts,
    /// What the target is.
    pub target: Facts,
    /// Where a stage is built.
    pub layout: Layout,
    /// What the run would do and what stands in its way.
    pub plan: Plan,
}

/// Where the systems and the trees lie, on either machine.
struct Places<'a> {
    /// The roots of the two systems.
    source_root: &'a Path,
    target_root: &'a Path,
    /// The directories that are copied, as seen from these roots.
    source_dir: String,
    target_dir: String,
}

impl Preflight<'_> {
    /// Looks at both machines. `link_bytes_per_second` is what the link was found to carry.
    pub fn prepare(
        &self,
        session: &Session,
        link_bytes_per_second: Option<u64>,
    ) -> Result<Prepared, Failure> {
        self.monitor.event(Event::StageStarted(Stage::Plan));
        check_accepted(&self.settings.accepted)?;
        let (places, system) = (self.places(), self.settings.system.as_ref());
        let source = facts_here(places.source_root)?;
        let asked_ms = now_ms();
        let target = session.facts(places.target_root)?;
        let (selected, rules) = choose_rules(&self.settings.rules, system, (&source, &target))?;
        let extent = self.measure(&rules, &places, &target);
        if self.stop.load(Ordering::Relaxed) {
            // What was not measured to its end is no plan to agree to.
            return Err(Failure::of(ExitCode::Interrupted, &TransferError::Stopped));
        }
        let layout = Layout::new(self.source, (&source, &target), &rules);
        let is_staged = self.settings.manner == Manner::Staged;
        let stages = is_staged.then(|| with_root(&layout.volumes));
        let places_of_stages = (stages.as_deref().unwrap_or_default(), &*layout.apart);
        let holdings = session.holdings(places.target_root, &rules, places_of_stages)?;
        let linked: Vec<String> = holdings.linked.iter().map(absolute).collect();
        let mounts: Vec<String> = self.settings.mounts.iter().map(|path| text(path)).collect();
        let plan = Plan::make(&PlanInput {
            source_dir: &places.source_dir,
            target_dir: &places.target_dir,
            accepted: &self.settings.accepted,
            deletes: self.settings.deletion.is_some(),
            policies: system.map_or_else(Policies::default, |system| system.policies),
            given_name: system.and_then(|system| system.hostname.as_deref()),
            profiles: &selected.profiles,
            included_mounts: &mounts,
            one_file_system: self.settings.one_file_system,
            is_staged,
            extent: extent.as_ref(),
            target_room: &rooms(holdings, &target),
            linked: &linked,
            login_user: session.login_user(),
            link_bytes_per_second,
            source_clock_ms: source.is_live.then_some(asked_ms),
            standing: self.standing,
            ..PlanInput::new(&source, &target, &rules)
        });
        Ok(Prepared {
            selected,
            layout,
            rules,
            plan,
            source,
            target,
        })
    }

    /// A whole system is looked at from its own root, a tree from that of its machine.
    fn places(&self) -> Places<'_> {
        let (source, target) = (&*self.settings.source, &*self.settings.target_dir);
        if self.settings.system.is_some() {
            return Places {
                source_root: source,
                target_root: target,
                source_dir: "/".to_owned(),
                target_dir: "/".to_owned(),
            };
        }
        Places {
            source_root: Path::new("/"),
            target_root: Path::new("/"),
            source_dir: text(source),
            target_dir: text(target),
        }
    }

    fn measure(&self, rules: &Rules, places: &Places<'_>, target: &Facts) -> Option<Extent> {
        let mount_points = mount_points(target, &places.target_dir);
        Scan {
            root: &self.source.root,
            rules,
            devices: self.source.devices(),
            mount_points: &mount_points,
            counters: self.monitor.counters(),
            stop: self.stop,
        }
        .run()
    }
}

/// Returns the tops of all volumes that get a stage.
fn with_root(volumes: &[RelPath]) -> Vec<RelPath> {
    let root = RelPath::root();
    [&root].into_iter().chain(volumes).cloned().collect()
}

/// Returns what is taken on each file system of the target.
fn rooms(holdings: Holdings, target: &Facts) -> Vec<TargetRoom> {
    let kept = |(device, kept_bytes, kept_inodes): (String, u64, u64)| {
        let mut mounts = target.storage.mounts.iter();
        let mount = mounts.find(|mount| mount.device == device)?;
        Some(TargetRoom {
            mount_point: mount.path.clone(),
            kept_bytes,
            kept_inodes,
            ..TargetRoom::default()
        })
    };
    let left = |(volume, left_bytes, left_inodes): (RelPath, u64, u64)| TargetRoom {
        mount_point: absolute(&volume),
        left_bytes,
        left_inodes,
        ..TargetRoom::default()
    };
    let kept = holdings.kept.into_iter().filter_map(kept);
    kept.chain(holdings.left.into_iter().map(left)).collect()
}

fn absolute(path: &RelPath) -> String {
    format!("/{}", String::from_utf8_lossy(path.as_bytes()))
}

/// Refuses names that are no blockers: a misspelt one would not do what was meant.
fn check_accepted(accepted: &[String]) -> Result<(), Failure> {
    let is_known = |id: &&String| {
        let check = CHECKS.iter().find(|check| check.id == **id);
        check.is_some_and(Check::is_acceptable)
    };
    match accepted.iter().find(|id| !is_known(id)) {
        Some(id) => Err(Failure::usage(format!(
            "--accept {id}: there is no such blocker to accept"
        ))
        .hint("the plan names each blocker in brackets")),
        None => Ok(()),
    }
}

/// Returns what the profiles say about source and target, and all rules in the order of trying:
/// the person's `own` come first.
pub fn choose_rules(
    own: &Rules,
    system: Option<&SystemSettings>,
    (source, target): (&Facts, &Facts),
) -> Result<(Selected, Rules), Failure> {
    let Some(system) = system else {
        return Ok((Selected::default(), own.clone()));
    };
    let selected = system.select(source, target)?;
    let both: Vec<Rule> = [own.list(), selected.rules.list()].concat();
    let rules = Rules::new(both)
        .map_err(|error| Failure::of(ExitCode::Usage, &error).maybe_hint(error.hint()))?;
    Ok((selected, rules))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| i64::try_from(now.as_millis()).unwrap_or(i64::MAX))
}
