//! The locks of the target's package managers: nobody installs anything while names change sides. A
//! manager that went on would write its old database over that of the clone.
//!
//! Knows nothing of packages.

use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::boot::live_tree;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::locks::LockKind;
use crate::fs::{Dir, FsError, Tree};

/// LIMIT: how long a package manager may go on. Longer than most upgrades, and short enough for a
/// person who waits; the next run continues.
pub(super) const PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 2 } else { 300 });
/// How often it is tried.
const PAUSE: Duration = Duration::from_secs(1);

/// Where a package manager shows that it is at work.
struct Lock {
    manager: &'static str,
    path: &'static str,
    /// `None` where the file is there only while it works. It is not made here: it would lie in
    /// what is replaced, and stop the manager after a rollback.
    kind: Option<LockKind>,
}

const fn lock(manager: &'static str, path: &'static str, kind: Option<LockKind>) -> Lock {
    Lock {
        manager,
        path,
        kind,
    }
}

const LOCKS: [Lock; 7] = [
    lock(
        "apt or dpkg",
        "/var/lib/dpkg/lock-frontend",
        Some(LockKind::Process),
    ),
    lock("apt or dpkg", "/var/lib/dpkg/lock", Some(LockKind::Process)),
    lock(
        "rpm, dnf or zypper",
        "/var/lib/rpm/.rpm.lock",
        Some(LockKind::Process),
    ),
    lock(
        "rpm, dnf or zypper",
        "/usr/lib/sysimage/rpm/.rpm.lock",
        Some(LockKind::Process),
    ),
    lock("apk", "/lib/apk/db/lock", Some(LockKind::Handle)),
    lock("apk", "/run/apk/db.lock", Some(LockKind::Handle)),
    lock("pacman", "/var/lib/pacman/db.lck", None),
];

/// The locks, held until it is dropped.
#[derive(Debug)]
pub(super) struct PackageLocks {
    held: Vec<OwnedFd>,
}

impl PackageLocks {
    /// Takes the locks of every manager that the live system has, waiting up to `patience` for one
    /// that is at work.
    pub(super) fn take(live: &Dir, patience: Duration) -> Result<PackageLocks, Failure> {
        let tree = live_tree(live).map_err(|error| super::failed(&error))?;
        let until = Instant::now() + patience;
        loop {
            match try_all(&tree) {
                Ok(held) => return Ok(PackageLocks { held }),
                Err(Held::Failed(path, error)) => {
                    let what = format!("target: {path}");
                    return Err(Failure::new(ExitCode::Failed, what).because(&error));
                }
                Err(Held::By(manager)) if Instant::now() >= until => {
                    return Err(at_work(manager, patience));
                }
                // What was taken is free again meanwhile: it may be what the manager waits for.
                Err(Held::By(_)) => std::thread::sleep(PAUSE),
            }
        }
    }

    /// Holds them until the process ends.
    pub(super) fn keep(self) {
        static KEPT: OnceLock<Vec<OwnedFd>> = OnceLock::new();
        KEPT.get_or_init(|| self.held);
    }
}

enum Held {
    By(&'static str),
    Failed(&'static str, FsError),
}

fn try_all(tree: &Tree) -> Result<Vec<OwnedFd>, Held> {
    let mut held = Vec::new();
    for lock in &LOCKS {
        match try_one(tree, lock) {
            Ok(Some(file)) => held.push(file),
            // Without the file nobody is at work, or the manager is not there at all.
            Ok(None) => {}
            Err(error) if error.is_gone() => {}
            Err(error) if error.is_locked() => return Err(Held::By(lock.manager)),
            Err(error) => return Err(Held::Failed(lock.path, error)),
        }
    }
    Ok(held)
}

fn try_one(tree: &Tree, lock: &Lock) -> Result<Option<OwnedFd>, FsError> {
    let (path, _) = tree.resolve(lock.path.as_bytes())?;
    let Some((parent, name)) = path.split() else {
        return Ok(None);
    };
    let parent = tree.open_beneath(&parent)?;
    match lock.kind {
        Some(kind) => parent.lock_file(&name, kind).map(Some),
        None => Err(FsError::locked("lock")),
    }
}

fn at_work(manager: &str, patience: Duration) -> Failure {
    let minutes = patience.as_secs().div_ceil(60);
    let what = format!("{manager} is at work on the target, and did not end within {minutes} min");
    Failure::new(ExitCode::Refused, what)
        .hint("nothing was switched; let it end, then run the same command again: it continues")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{BufRead, BufReader};
    use std::path::Path;
    use std::process::{Child, Command, Stdio};

    use super::*;

    const FILE: &str = "INSTANCESYNC_TEST_LOCK";

    /// The other process of the test below: it locks a file until it is killed.
    #[test]
    #[ignore = "it is started by another test"]
    fn another_process() {
        let Some(path) = std::env::var_os(FILE) else {
            return;
        };
        let path = Path::new(&path);
        let dir = Dir::open_root(path.parent().unwrap()).unwrap();
        let name = crate::fs::usable_name(path.file_name().unwrap().as_encoded_bytes()).unwrap();
        let _held = dir.lock_file(&name, LockKind::Process).unwrap();
        std::io::Write::write_all(&mut std::io::stderr(), b"locked\n").unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }

    fn hold(path: &Path) -> Child {
        let this = std::env::current_exe().unwrap();
        let mut child = Command::new(this)
            .args([
                "--ignored",
                "--nocapture",
                "package_locks::tests::another_process",
            ])
            .env(FILE, path)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut words = lines.map_while(Result::ok);
        assert!(words.any(|line| line.contains("locked")));
        child
    }

    fn place(lock: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(lock.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        (dir, path)
    }

    fn take(dir: &Path) -> Result<PackageLocks, Failure> {
        PackageLocks::take(&Dir::open_root(dir).unwrap(), Duration::ZERO)
    }

    #[test]
    fn whoever_is_at_work_is_named() {
        assert!(
            take(tempfile::tempdir().unwrap().path())
                .unwrap()
                .held
                .is_empty()
        );
        for lock in LOCKS {
            let (dir, path) = place(lock.path);
            let other = Dir::open_root(path.parent().unwrap()).unwrap();
            let name = crate::fs::usable_name(path.file_name().unwrap().as_encoded_bytes());
            let mut child = None;
            let held = match lock.kind {
                Some(LockKind::Process) => {
                    child = Some(hold(&path));
                    None
                }
                Some(kind) => Some(other.lock_file(&name.unwrap(), kind).unwrap()),
                None => None,
            };
            let failure = take(dir.path()).unwrap_err();
            assert_eq!(failure.exit, ExitCode::Refused, "{}", lock.path);
            let text = failure.to_string();
            assert!(text.contains(lock.manager), "{text}");
            drop(held);
            if let Some(mut child) = child {
                child.kill().unwrap();
                child.wait().unwrap();
            }
            if lock.kind.is_some() {
                assert_eq!(take(dir.path()).unwrap().held.len(), 1, "{}", lock.path);
            }
        }
    }

    #[test]
    fn one_that_ends_in_time_is_waited_for() {
        let (dir, path) = place("/var/lib/pacman/db.lck");
        let live = Dir::open_root(dir.path()).unwrap();
        let ends = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            fs::remove_file(path).unwrap();
        });
        PackageLocks::take(&live, Duration::from_secs(60)).unwrap();
        ends.join().unwrap();
    }
}
