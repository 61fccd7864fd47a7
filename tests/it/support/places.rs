//! A source and its copies side by side, and the small steps that tests make with them.
//!
//! Knows nothing of single promises; those are the test modules.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::binary::{Outcome, run, to_directory};
use crate::support::manifest::{Manifest, diff};
use crate::support::rng::Rng;
use crate::support::{Ability, can_run, rsync, tree};

/// LIMIT: how long the first files of a copy may take to come.
const ARRIVAL: Duration = Duration::from_secs(60);

/// What a test needs that copies trees with every attribute within this machine.
pub const LOCAL: &[Ability] = &[Ability::Root, Ability::Rsync];
/// What it needs besides to do so over SSH.
pub const OVER_SSH: &[Ability] = &[Ability::Root, Ability::Rsync, Ability::Sshd];

/// A place with a source and paths for its copies.
pub struct Places {
    /// The tree to copy.
    pub source: PathBuf,
    /// Where instancesync copies to.
    pub ours: PathBuf,
    /// Where rsync copies to.
    pub theirs: PathBuf,
    _place: TempDir,
}

impl Places {
    /// Makes the source tree of `seed`.
    pub fn with_tree(seed: u64) -> Places {
        let places = Places::empty();
        tree::build(&places.source, seed);
        places
    }

    /// Makes an empty source.
    pub fn empty() -> Places {
        Places::within(tempfile::tempdir().unwrap())
    }

    /// Makes an empty source in `place`.
    pub fn within(place: TempDir) -> Places {
        let path = |name: &str| place.path().join(name);
        fs::create_dir(path("source")).unwrap();
        Places {
            source: path("source"),
            ours: path("ours"),
            theirs: path("theirs"),
            _place: place,
        }
    }

    /// Runs instancesync from the source to our copy, with further arguments.
    pub fn copy(&self, more: &[&str]) -> Outcome {
        run(&with(to_directory(&self.source, &self.ours), more))
    }

    /// Asserts by every judge that our copy is right.
    #[track_caller]
    pub fn assert_equal(&self, context: &str) {
        let (source, ours) = (Manifest::of(&self.source), Manifest::of(&self.ours));
        assert_none(&diff(&source, &ours), context);
        if self.theirs.exists() {
            let differences = diff(&Manifest::of(&self.theirs), &ours);
            let mut unexplained = rsync::without_known_faults(&differences);
            // rsync makes holes where the source has written zeros; the source is the measure.
            unexplained.retain(|text| !text.contains("holes are lost"));
            assert_eq!(
                unexplained,
                Vec::<&String>::new(),
                "unlike rsync: {context}"
            );
        }
        let verdict = rsync::verdict(&self.source, &self.ours);
        assert_eq!(verdict, "", "rsync would still change this: {context}");
    }
}

/// Asserts that there are no differences, and shows the first ones.
#[track_caller]
pub fn assert_none(differences: &[String], context: &str) {
    assert!(
        differences.is_empty(),
        "{} differences, {context}:\n{}",
        differences.len(),
        differences[..differences.len().min(40)].join("\n")
    );
}

/// Asserts how a run ended; a failure shows what it said.
#[track_caller]
pub fn assert_code(outcome: &Outcome, code: i32, context: &str) {
    assert_eq!(outcome.code, Some(code), "{context}: {outcome:#?}");
}

/// Returns `arguments` with `more` behind them.
pub fn with(mut arguments: Vec<OsString>, more: &[&str]) -> Vec<OsString> {
    arguments.extend(more.iter().map(OsString::from));
    arguments
}

/// Returns every path with its inode and change time: a landing or an attribute set shows up here.
pub fn inodes(root: &Path) -> Vec<(PathBuf, u64, i64, i64)> {
    walkdir::WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| {
            let entry = entry.unwrap();
            let metadata = fs::symlink_metadata(entry.path()).unwrap();
            let changed = (metadata.ctime(), metadata.ctime_nsec());
            (entry.into_path(), metadata.ino(), changed.0, changed.1)
        })
        .collect()
}

/// Makes a temporary directory in memory where there is such a place: what writes to the disk all
/// the time would wait for it all the time.
pub fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    match memory.is_dir() {
        true => tempfile::tempdir_in(memory).unwrap(),
        false => tempfile::tempdir().unwrap(),
    }
}

/// Copies a program with all libraries that the loader would open for it.
pub fn bring(root: &Path, program: &str) {
    let listed = Command::new("ldd").arg(program).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let words = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for path in words.chain([program]) {
        let to = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(path, to).unwrap();
    }
}

/// A source with one directory, `many`, of files that do not compress; `size_of` says how long each
/// is.
pub fn much_to_send(seed: u64, count: usize, size_of: impl Fn(usize) -> usize) -> Places {
    let places = Places::empty();
    let (many, mut rng) = (places.source.join("many"), Rng::new(seed));
    fs::create_dir(&many).unwrap();
    for index in 0..count {
        let content: Vec<u8> = (0..size_of(index)).map(|_| rng.below(256) as u8).collect();
        fs::write(many.join(format!("file-{index}")), content).unwrap();
    }
    places
}

/// Waits until that directory has begun to arrive.
#[track_caller]
pub fn wait_for_many(places: &Places) {
    let deadline = Instant::now() + ARRIVAL;
    while !places.ours.join("many").exists() {
        assert!(Instant::now() < deadline, "the target does not come");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Writes a file and makes the directories above it.
pub fn put(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Returns every file below `root`, by its path from there.
pub fn files(root: &Path) -> Vec<String> {
    walkdir::WalkDir::new(root)
        .sort_by_file_name()
        .into_iter()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| {
            entry
                .path()
                .strip_prefix(root)
                .unwrap()
                .display()
                .to_string()
        })
        .collect()
}

/// Something that is mounted for as long as this lives.
pub struct Mount {
    path: PathBuf,
}

impl Mount {
    /// Mounts a tmpfs of 8 MiB on the new directory `path`, or prints why the test is skipped.
    pub fn small(test: &str, path: &Path) -> Option<Mount> {
        let small = ["-t", "tmpfs", "-o", "size=8m,mode=755", "instancesync-test"];
        Mount::make(test, &small.map(OsStr::new), path)
    }

    /// Mounts the directory `from` a second time, on the new directory `path`.
    pub fn bind(test: &str, from: &Path, path: &Path) -> Option<Mount> {
        Mount::make(test, &["--bind".as_ref(), from.as_os_str()], path)
    }

    fn make(test: &str, what: &[&OsStr], path: &Path) -> Option<Mount> {
        if !can_run(test, &[Ability::Root]) {
            return None;
        }
        fs::create_dir_all(path).unwrap();
        let mount = Command::new("mount").args(what).arg(path).status();
        if !mount.is_ok_and(|status| status.success()) {
            println!("skipped {test}: mounting is not allowed");
            return None;
        }
        Some(Mount {
            path: path.to_owned(),
        })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "umount failed");
    }
}
