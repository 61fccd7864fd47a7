//! More names that only the target has than memory is to hold: their list waits in a file of the stage.
//! All of them go and nothing else, not even what has taken the name of one meanwhile; where the file
//! fails, that is told, and the next run completes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use instancesync::problem::Side;
use instancesync::transfer::wire::message::Down;
use rustix::io::Errno;
use tempfile::TempDir;

use super::inject::{self, Fault, Injection, TARGET_THREAD, can_inject, errnos};
use crate::support::disk::Disk;
use crate::support::engine::{Job, Ran};
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{Places, assert_none, in_memory, put};

/// Levels and names of this length make some 3 KiB of path.
const LEVELS: usize = 12;
const NAME_LEN: usize = 240;
/// With a path each, that is more than the 4 MiB that are kept in memory.
const EXTRAS: usize = 1600;

struct Ground {
    place: TempDir,
}

impl Ground {
    fn new() -> Ground {
        let ground = Ground { place: in_memory() };
        for root in [ground.source(), ground.target()] {
            for name in ["equal", "other"] {
                put(&deep(&root).join(name), name);
                put(&root.join(name), name);
            }
        }
        for number in 0..EXTRAS {
            let name = format!("{number:0>NAME_LEN$}");
            fs::File::create(deep(&ground.target()).join(name)).unwrap();
        }
        put(&ground.target().join("extra/of/more/levels"), "");
        ground
    }

    fn source(&self) -> PathBuf {
        self.place.path().join("source")
    }

    fn target(&self) -> PathBuf {
        self.place.path().join("target")
    }

    fn run(&self) -> Ran {
        let (source, target) = (self.source(), self.target());
        let mut job = Job::new(&source, &target).deleting(u64::MAX);
        job.agent_thread = TARGET_THREAD;
        job.run()
    }

    /// What of the source is not on the target, or is another there.
    fn lost(&self) -> Vec<String> {
        let lost = |path: &&str| {
            let path = self.target().join(path);
            fs::read_to_string(&path).ok().as_deref() != path.file_name().unwrap().to_str()
        };
        let deep = deep(Path::new(""));
        let paths = ["equal", "other"].map(|name| deep.join(name));
        let paths = paths.iter().map(|path| path.to_str().unwrap());
        let paths = paths.chain(["equal", "other"]);
        paths.filter(lost).map(str::to_owned).collect()
    }

    fn differences(&self) -> Vec<String> {
        diff(&Manifest::of(&self.source()), &Manifest::of(&self.target()))
    }
}

fn deep(root: &Path) -> PathBuf {
    let level = "d".repeat(NAME_LEN);
    (0..LEVELS).fold(root.to_owned(), |path, _| path.join(&level))
}

#[test]
fn a_list_of_extras_that_does_not_fit_in_memory_is_worked_off() {
    let ground = Ground::new();
    if !can_inject("a_list_of_extras_that_does_not_fit_in_memory_is_worked_off") {
        return;
    }
    let turn = inject::turn();
    let injection = Injection::start(&turn, Side::Source, None);
    let ran = ground.run();
    let census = injection.census();
    assert_eq!(ran.stats().deleted_entries, EXTRAS as u64 + 4);
    assert_none(&ground.differences(), "after a run");
    // Nothing else is written: no contents differ.
    assert_eq!(
        census.get(&(Side::Target, "pwrite")),
        Some(&1),
        "{census:?}"
    );
}

#[test]
fn a_list_of_extras_that_cannot_be_kept_is_told_and_harms_nothing() {
    if !can_inject("a_list_of_extras_that_cannot_be_kept_is_told_and_harms_nothing") {
        return;
    }
    let turn = inject::turn();
    let ground = Ground::new();
    let injection = Injection::start(&turn, Side::Source, None);
    ground.run().stats();
    let census = injection.census();
    let mut complaints = Vec::new();
    for call in ["pwrite", "pread"] {
        let errnos = errnos(Side::Target, call);
        for errno in errnos.into_iter().filter(|errno| *errno != Errno::INTR) {
            for nth in [0, census[&(Side::Target, call)] - 1] {
                let fault = Fault {
                    side: Side::Target,
                    call,
                    nth,
                    errno,
                    lasts: true,
                    no_exchange: false,
                };
                let ground = Ground::new();
                let injection = Injection::start(&turn, Side::Source, Some(fault));
                let ran = ground.run();
                assert!(injection.end(), "{fault}");
                let mut note = |what: Vec<String>| {
                    complaints.extend(what.into_iter().map(|what| format!("{fault}: {what}")));
                };
                note(ground.lost());
                // Where there is no room, that ends the run.
                if ran.problems.is_empty() {
                    note(vec![format!("not told: {ran:?}")]);
                }
                ground.run().stats();
                note(ground.differences());
            }
        }
    }
    assert_none(&complaints, "complaints");
}

/// Lets `act` happen when all has landed, right before extras go.
fn before_they_go(job: &mut Job<'_>, act: impl FnOnce() + Send + 'static) {
    let mut act = Some(act);
    job.down = Box::new(move |frame| {
        if let Ok(Down::PassEnd) = frame.message()
            && let Some(act) = act.take()
        {
            act();
        }
        true
    });
}

#[test]
fn what_takes_the_name_of_an_extra_stays() {
    let ground = Ground::new();
    let (source, target) = (ground.source(), ground.target());
    // The first one waits in the file, the last one in memory, whatever is listed first.
    let listed = [0, EXTRAS - 1].map(|number| {
        let name = format!("{number:0>NAME_LEN$}");
        deep(&target).join(name)
    });
    let directory = target.join("extra");
    let (replaced, aside) = (listed.clone(), ground.place.path().join("aside"));
    let mut job = Job::new(&source, &target).deleting(u64::MAX);
    before_they_go(&mut job, move || {
        for path in replaced {
            put(&aside, "by a program");
            fs::rename(&aside, path).unwrap();
        }
        fs::rename(&directory, aside).unwrap();
        put(&directory.join("of/a/program"), "new");
    });
    let ran = job.run();
    assert_eq!(ran.stats().deleted_entries, EXTRAS as u64 - 2);
    for path in listed {
        assert_eq!(fs::read_to_string(path).unwrap(), "by a program");
    }
    let kept = target.join("extra/of/a/program");
    assert_eq!(fs::read_to_string(kept).unwrap(), "new");
}

#[test]
fn a_name_that_is_spelled_in_two_ways_is_no_extra() {
    let test = "a_name_that_is_spelled_in_two_ways_is_no_extra";
    let mut places = Places::empty();
    let mounted = places.ours.clone();
    let Some(_disk) = Disk::new(test, &mounted, "8M", &["-O", "casefold"]) else {
        return;
    };
    places.ours = mounted.join("copy");
    fs::create_dir(&places.ours).unwrap();
    let folds = Command::new("chattr").arg("+F").arg(&places.ours).status();
    if !folds.is_ok_and(|status| status.success()) {
        return println!("skipped {test}: no directory takes two spellings for one name");
    }
    for path in ["Readme", "Directory/file"] {
        put(&places.source.join(path), path);
    }
    std::os::unix::fs::symlink("text", places.source.join("Link")).unwrap();
    Job::new(&places.source, &places.ours).run().stats();
    for (old, new) in [("Readme", "README"), ("Link", "LINK")] {
        fs::rename(places.source.join(old), places.source.join(new)).unwrap();
    }
    let again = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    assert_eq!(again.run().stats().deleted_entries, 0);
    let readme = fs::read_to_string(places.ours.join("README"));
    assert_eq!(readme.unwrap(), "Readme");
    let link = fs::read_link(places.ours.join("LINK"));
    assert_eq!(link.unwrap(), Path::new("text"));
    // A directory that cannot be made under its new spelling is told, and keeps what is in it.
    let [old, new] = ["Directory", "DIRECTORY"].map(|name| places.source.join(name));
    fs::rename(old, new).unwrap();
    let again = Job::new(&places.source, &places.ours).deleting(u64::MAX);
    assert!(again.run().result.is_ok());
    let file = fs::read_to_string(places.ours.join("DIRECTORY/file"));
    assert_eq!(file.unwrap(), "Directory/file");
}
