//! A plan becomes true: copies first, then files, then packages, then what packages took along
//! is put back.
//!
//! ORDER: the record is on disk before the first change, so that a cut at any moment can be
//! undone. Files go before packages: rpm then finds nothing left to rename to `.rpmsave`.
//! One thing that fails is a problem of the report and does not stop the rest.

use super::draft::Change;
use super::keep_copy::{Copies, KeptFile, Print, Record};
use super::profile::{CleanupProfile, Generation};
use super::programs::Programs;
use super::rpm::Rpm;
use super::sshd::{self, SshdCheck};
use super::tree::{Last, State, Tree};
use crate::fs::{FsError, Result};

/// What is to be done, and with what.
pub struct Work<'a> {
    /// The root.
    pub tree: &'a Tree,
    /// Programs of the machine.
    pub programs: &'a dyn Programs,
    /// The database; `None` where there is none.
    pub rpm: Option<&'a Rpm<'a>>,
    /// What must not go along with packages.
    pub profile: &'a CleanupProfile,
    /// The release of Amazon Linux.
    pub generation: Option<Generation>,
    /// The changes of files.
    pub changes: &'a [Change],
    /// The packages that go, as rpm knows them.
    pub packages: Vec<String>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Done {
    /// Where the copies lie, from the root.
    pub copies: String,
    /// The packages that are gone.
    pub packages: Vec<String>,
    /// What sshd says afterwards.
    pub sshd: SshdCheck,
    /// What failed.
    pub problems: Vec<String>,
}

/// Carries out the work. An error means that nothing was changed.
pub fn apply(work: &Work<'_>, watch: &dyn Fn(&str)) -> Result<Done> {
    let sshd_before = sshd::check(work.tree, work.programs);
    let (copies, lock, time) = Copies::create(work.tree)?;
    let mut record = Record::new(time, work.generation);
    watch("keeping copies");
    let kept = put_back_states(work).and_then(|put_back| {
        keep(work, &copies, &mut record, &put_back)?;
        Ok(put_back)
    });
    let put_back = match kept {
        Ok(put_back) => put_back,
        Err(error) => {
            // The first error is the one to report.
            drop(copies.discard(&lock));
            return Err(error);
        }
    };
    let mut done = Done {
        copies: copies.path.clone(),
        ..Done::default()
    };
    watch("changing files");
    for change in work.changes {
        if let Err(error) = change_file(work.tree, change) {
            done.problems.push(sentence(&change.shown.path, &error));
        }
    }
    if let Some(rpm) = work.rpm
        && !work.packages.is_empty()
    {
        watch("removing packages");
        remove_packages(rpm, &work.packages, &mut done);
        for (path, state) in &put_back {
            if let Err(error) = put_back_file(work, path, state) {
                done.problems.push(sentence(path, &error));
            }
        }
    }
    record.packages.clone_from(&done.packages);
    record.is_finished = done.problems.is_empty();
    if let Err(error) = copies.write(&record) {
        done.problems.push(sentence(&copies.path, &error));
    }
    done.sshd = sshd::check(work.tree, work.programs);
    let complaint = match (&sshd_before, &done.sshd) {
        (SshdCheck::Passed, SshdCheck::Failed(complaint)) => Some(complaint.as_str()),
        (SshdCheck::Passed, SshdCheck::NotPossible) => Some("it cannot be asked"),
        _ => None,
    };
    if let Some(complaint) = complaint {
        let problem = format!("sshd would not start any more ({complaint})");
        done.problems.push(problem);
        take_back_sshd(work, &mut done);
    }
    done.problems.extend(work.tree.take_troubles());
    Ok(done)
}

fn sentence(path: &str, error: &FsError) -> String {
    format!("{path}: {error}: {}", error.cause())
}

/// Reads what packages might take along and is to stay, as it is after the changes of files.
fn put_back_states(work: &Work<'_>) -> Result<Vec<(String, State)>> {
    let mut states = Vec::new();
    if work.packages.is_empty() {
        return Ok(states);
    }
    for path in &work.profile.put_back {
        let Some(spot) = work.tree.locate(path, Last::Itself)? else {
            continue;
        };
        if !spot.is_replaceable()? {
            continue;
        }
        let mut changes = work.changes.iter();
        let state = match changes.find(|change| change.shown.path == spot.path) {
            Some(change) => change.after.clone(),
            None => spot.state()?,
        };
        if !matches!(state, State::Absent) {
            states.push((spot.path, state));
        }
    }
    Ok(states)
}

fn keep(
    work: &Work<'_>,
    copies: &Copies,
    record: &mut Record,
    put_back: &[(String, State)],
) -> Result<()> {
    for change in work.changes {
        copies.keep(&change.shown.path, &change.before)?;
        record.files.push(KeptFile {
            path: change.shown.path.clone(),
            before: Print::of(&change.before),
            after: Print::of(&change.after),
        });
    }
    for (path, state) in put_back {
        if record.files.iter().all(|file| file.path != *path) {
            copies.keep(path, state)?;
            record.files.push(KeptFile {
                path: path.clone(),
                before: Print::of(state),
                after: Print::of(state),
            });
        }
    }
    record.files.sort_by(|one, other| one.path.cmp(&other.path));
    copies.write(record)
}

fn change_file(tree: &Tree, change: &Change) -> Result<()> {
    let changed_meanwhile = || FsError {
        operation: "change a file that somebody else changes".to_owned(),
        errno: rustix::io::Errno::BUSY,
    };
    let spot = tree
        .locate(&change.shown.path, Last::Itself)?
        .ok_or_else(changed_meanwhile)?;
    // RACE: between this look and the rename another writer loses; its text is in no copy.
    if Print::of(&spot.state()?) != Print::of(&change.before) {
        return Err(changed_meanwhile());
    }
    spot.sweep();
    spot.place(&change.after)
}

fn put_back_file(work: &Work<'_>, path: &str, state: &State) -> Result<()> {
    let Some(spot) = work.tree.locate(path, Last::Itself)? else {
        return Err(FsError::missing("put back"));
    };
    spot.sweep();
    if Print::of(&spot.state()?) == Print::of(state) {
        return Ok(());
    }
    spot.place(state)
}

/// Removes packages, those whose scripts fail without them, and looks at what is gone.
fn remove_packages(rpm: &Rpm<'_>, packages: &[String], done: &mut Done) {
    let mut left = packages.to_vec();
    let mut complaint = String::new();
    for run_scripts in [true, false] {
        match rpm.remove(&left, run_scripts) {
            Ok(output) if output.is_success => {}
            Ok(output) => complaint = output.complaint(),
            Err(error) => complaint = with_cause(&error),
        }
        match rpm.packages() {
            Ok(present) if present.is_empty() => {
                let problem = "rpm lists no package any more, so nobody knows which are gone";
                done.problems.push(problem.to_owned());
                return;
            }
            Ok(present) => {
                let present: Vec<String> = present.iter().map(|package| package.id()).collect();
                left.retain(|id| present.contains(id));
            }
            Err(error) => {
                done.problems.push(with_cause(&error));
                return;
            }
        }
        if left.is_empty() {
            break;
        }
    }
    let gone = packages.iter().filter(|id| !left.contains(id));
    done.packages = gone.cloned().collect();
    for package in left {
        done.problems
            .push(format!("{package}: rpm kept it: {complaint}"));
    }
}

fn with_cause(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {}", with_cause(cause)),
        None => error.to_string(),
    }
}

/// The files of sshd become again what they were.
fn take_back_sshd(work: &Work<'_>, done: &mut Done) {
    let changes = work.changes.iter();
    for change in changes.filter(|change| sshd::is_of_sshd(&change.shown.path)) {
        let placed = match work.tree.locate(&change.shown.path, Last::Itself) {
            Ok(Some(spot)) => spot.place(&change.before),
            Ok(None) => Err(FsError::missing("take back")),
            Err(error) => Err(error),
        };
        done.problems.push(match placed {
            Ok(()) => format!("{}: taken back", change.shown.path),
            Err(error) => sentence(&change.shown.path, &error),
        });
    }
    done.sshd = sshd::check(work.tree, work.programs);
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::ffi::OsString;
    use std::time::Duration;

    use super::{Copies, Done, Rpm, Work, apply};
    use crate::cleanup::draft::{Change, Draft};
    use crate::cleanup::profile::CleanupProfile;
    use crate::cleanup::programs::{Output, ProgramError, Programs};
    use crate::cleanup::sshd::SshdCheck;
    use crate::cleanup::tree::Tree;

    /// An sshd that would start until its configuration was touched.
    struct Touchy(Cell<u32>);

    impl Programs for Touchy {
        fn run(&self, command: &[OsString], _limit: Duration) -> Result<Output, ProgramError> {
            assert_eq!(command.last().unwrap(), "-t");
            self.0.set(self.0.get() + 1);
            Ok(Output {
                is_success: self.0.get() != 2,
                stderr: "sshd_config line 2: bad".into(),
                ..Output::default()
            })
        }
    }

    /// What a played rpm does; the last of several is done again.
    #[derive(Clone, Copy)]
    enum Answer {
        Says(&'static str),
        Complains(&'static str),
        Hangs,
    }
    use Answer::{Complains, Hangs, Says};

    struct Played(Cell<usize>, &'static [Answer]);

    impl Programs for Played {
        fn run(&self, command: &[OsString], _limit: Duration) -> Result<Output, ProgramError> {
            let number = self.0.get().min(self.1.len() - 1);
            self.0.set(number + 1);
            let (is_success, stdout, stderr) = match self.1[number] {
                Says(stdout) => (true, stdout, ""),
                Complains(stderr) => (false, "", stderr),
                Hangs => {
                    return Err(ProgramError::Slow {
                        program: command[0].to_string_lossy().into_owned(),
                        seconds: 1800,
                    });
                }
            };
            Ok(Output {
                is_success,
                stdout: stdout.into(),
                stderr: stderr.to_owned(),
            })
        }
    }

    const GOES: &str = "goes-1-1.noarch";
    const BOTH: &str = "goes\x1f1\x1f1\x1fnoarch\x1f\x1d\x1d\x1d\x1e\
                        stays\x1f1\x1f1\x1fnoarch\x1f\x1d\x1d\x1d\x1e";
    const ONE: &str = "stays\x1f1\x1f1\x1fnoarch\x1f\x1d\x1d\x1d\x1e";

    #[test]
    fn what_rpm_does_instead_of_a_removal_is_told() {
        // A removal, a list; where it is still there, a removal without scripts, and a list.
        let cases: [(&[Answer], bool, &str); 7] = [
            (&[Says(""), Says(ONE)], true, ""),
            (
                &[
                    Complains("a script failed"),
                    Says(BOTH),
                    Says(""),
                    Says(ONE),
                ],
                true,
                "",
            ),
            (
                &[Hangs, Says(BOTH), Hangs, Says(BOTH)],
                false,
                "did not end within 1800 s",
            ),
            (
                &[Says(""), Says(BOTH)],
                false,
                "goes-1-1.noarch: rpm kept it",
            ),
            (&[Says(""), Complains("no database")], false, "no database"),
            (&[Says(""), Says("goes\x1f")], false, "something unexpected"),
            (&[Says("")], false, "rpm lists no package any more"),
        ];
        for (answers, is_gone, expected) in cases {
            let place = tempfile::tempdir().unwrap();
            let database = place.path().join("var/lib/rpm");
            std::fs::create_dir_all(&database).unwrap();
            std::fs::write(database.join("Packages"), "").unwrap();
            let tree = Tree::open(place.path()).unwrap();
            let programs = Played(Cell::new(0), answers);
            let rpm = Rpm::find(&tree, &programs);
            let work = Work {
                tree: &tree,
                programs: &programs,
                rpm: rpm.as_ref(),
                profile: &CleanupProfile::shipped().unwrap(),
                generation: None,
                changes: &[],
                packages: vec![GOES.to_owned()],
            };
            let done = apply(&work, &|_| {}).unwrap();
            assert_eq!(done.packages == [GOES], is_gone, "{expected}: {done:?}");
            assert_eq!(done.problems.is_empty(), is_gone, "{expected}: {done:?}");
            let problems = done.problems.concat();
            assert!(problems.contains(expected), "{expected}: {problems}");
            let (_, record) = Copies::newest(&tree).unwrap().unwrap();
            assert_eq!(record.packages, done.packages, "{expected}");
            assert_eq!(record.is_finished, is_gone, "{expected}");
        }
    }

    /// Applies changes of files alone.
    fn applied(tree: &Tree, changes: &[Change]) -> Done {
        let work = Work {
            tree,
            programs: &Touchy(Cell::new(0)),
            rpm: None,
            profile: &CleanupProfile::shipped().unwrap(),
            generation: None,
            changes,
            packages: Vec::new(),
        };
        apply(&work, &|_| {}).unwrap()
    }

    #[test]
    fn an_sshd_that_would_not_start_gets_its_files_back() {
        let place = tempfile::tempdir().unwrap();
        for (path, text) in [
            ("usr/sbin/sshd", ""),
            ("etc/ssh/sshd_config", "Port 22\n"),
            ("etc/yum.conf", "releasever=latest\n"),
        ] {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let tree = Tree::open(place.path()).unwrap();
        let mut draft = Draft::new(&tree, &[], &[]);
        draft.set_text("/etc/ssh/sshd_config", "Port\n", "test");
        draft.set_text("/etc/yum.conf", "", "test");
        let (changes, problems) = draft.finish();
        assert!(problems.is_empty(), "{problems:?}");
        let done = applied(&tree, &changes);
        assert_eq!(done.problems.len(), 2, "{:?}", done.problems);
        assert!(done.problems[0].contains("sshd_config line 2: bad"));
        assert_eq!(done.sshd, SshdCheck::Passed, "asked once more at the end");
        assert_eq!(tree.text("/etc/ssh/sshd_config").unwrap(), "Port 22\n");
        assert_eq!(tree.text("/etc/yum.conf").unwrap(), "");
    }

    #[test]
    fn what_changed_since_the_plan_stays() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("motd");
        std::fs::write(&file, "old\n").unwrap();
        let tree = Tree::open(place.path()).unwrap();
        let mut draft = Draft::new(&tree, &[], &[]);
        draft.remove("/motd", "test");
        let (changes, _) = draft.finish();
        std::fs::write(&file, "somebody's\n").unwrap();
        let done = applied(&tree, &changes);
        assert_eq!(done.problems.len(), 1, "{:?}", done.problems);
        assert_eq!(tree.text("/motd").unwrap(), "somebody's\n");
    }
}
