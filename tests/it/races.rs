//! An account that owns a directory of the tree swaps names in it as fast as it can while root
//! copies: nothing outside of the tree changes, nothing of it travels, and nobody gets contents or
//! rights that he had not. Each attack lasts a second, or `INSTANCESYNC_SECONDS`.

mod kept;
mod planted;
mod source;
mod target;

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::{self, JoinHandle};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use tempfile::TempDir;

use crate::support::manifest::{Manifest, diff};
use crate::support::places::{assert_none, in_memory, inodes};

/// The account that attacks; nobody else has its number.
const ACCOUNT: u32 = 54_321;
/// Directories of the account, in which everything happens.
const DIRECTORIES: u64 = 3;
/// Files in each.
const FILES: u64 = 5;
/// A file that does not travel in a bundle, in bytes.
const LARGE: usize = 300_000;
/// In every file outside that nobody but root may read.
const SECRET: &str = "a secret of root ";

/// What the attacker is asked to do.
const GOES: u8 = 0;
const IS_TO_REST: u8 = 1;
const RESTS: u8 = 2;

/// A thread with the rights of the account.
struct Attacker {
    stop: Arc<AtomicBool>,
    state: Arc<AtomicU8>,
    thread: JoinHandle<u64>,
}

impl Attacker {
    /// Starts one that does `work` again and again; it rests at first.
    fn start(mut work: impl FnMut(u64) + Send + 'static) -> Attacker {
        let (stop, state) = (Arc::default(), Arc::new(AtomicU8::new(IS_TO_REST)));
        let attacker = (Arc::clone(&stop), Arc::clone(&state));
        let thread = thread::spawn(move || {
            let (stop, state): (Arc<AtomicBool>, Arc<AtomicU8>) = attacker;
            become_account();
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                let goes =
                    state.compare_exchange(IS_TO_REST, RESTS, Ordering::AcqRel, Ordering::Acquire);
                if goes == Err(GOES) {
                    work(round);
                    round += 1;
                } else {
                    thread::yield_now();
                }
            }
            round
        });
        Attacker {
            stop,
            state,
            thread,
        }
    }

    /// Waits until it stands still.
    fn rest(&self) {
        if self.state.swap(IS_TO_REST, Ordering::AcqRel) == RESTS {
            self.state.store(RESTS, Ordering::Release);
        }
        while self.state.load(Ordering::Acquire) != RESTS {
            thread::yield_now();
        }
    }

    fn go(&self) {
        self.state.store(GOES, Ordering::Release);
    }

    /// Returns how many rounds it made.
    fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the attacker")
    }
}

/// Gives the calling thread, and no other, the rights of the account.
fn become_account() {
    let (uid, gid) = (
        rustix::process::Uid::from_raw(ACCOUNT),
        rustix::process::Gid::from_raw(ACCOUNT),
    );
    set_thread_groups(&[]).unwrap();
    set_thread_res_gid(gid, gid, gid).unwrap();
    set_thread_res_uid(uid, uid, uid).unwrap();
}

/// A source, a target, what lies outside of both, and a place where the account keeps things.
struct Field {
    source: PathBuf,
    target: PathBuf,
    precious: PathBuf,
    haven: PathBuf,
    before: (Manifest, Vec<(PathBuf, u64, i64, i64)>),
    _place: TempDir,
}

impl Field {
    fn new() -> Field {
        let place = in_memory();
        fs::set_permissions(place.path(), Permissions::from_mode(0o755)).unwrap();
        let [source, target, precious, haven] =
            ["source", "target", "precious", "haven"].map(|name| place.path().join(name));
        for directory in [&source, &target, &precious, &haven] {
            fs::create_dir(directory).unwrap();
        }
        own(&haven, ACCOUNT, 0o755);
        guard(&precious);
        let before = (Manifest::of(&precious), inodes(&precious));
        Field {
            source,
            target,
            precious,
            haven,
            before,
            _place: place,
        }
    }

    /// Takes what lies outside now for what is to stay.
    fn look_outside(&mut self) {
        self.before = (Manifest::of(&self.precious), inodes(&self.precious));
    }

    /// Asserts that what lies outside is what it was: contents, owners, modes, attributes, numbers
    /// of names, and times of change.
    #[track_caller]
    fn assert_outside_untouched(&self, context: &str) {
        let now = Manifest::of(&self.precious);
        assert_none(&diff(&self.before.0, &now), &format!("{context}: outside"));
        let inodes = inodes(&self.precious);
        assert_eq!(inodes, self.before.1, "{context}: inodes outside");
    }
}

/// Fills a directory outside with the names that the account's directories have.
fn guard(precious: &Path) {
    for number in 0..DIRECTORIES {
        let directory = precious.join(format!("d{number}"));
        fs::create_dir_all(directory.join("sub")).unwrap();
        for number in 0..FILES {
            let length = if number == FILES - 1 { LARGE } else { 400 };
            let file = directory.join(format!("f{number}"));
            fs::write(&file, SECRET.repeat(length / SECRET.len())).unwrap();
            own(&file, 0, 0o600);
            xattr::set(&file, "trusted.kept", b"as it is").unwrap();
            fs::write(directory.join(format!("sub/f{number}")), SECRET).unwrap();
        }
        fs::hard_link(directory.join("f0"), directory.join("twin")).unwrap();
        own(&directory, 0, 0o755);
    }
}

fn own(path: &Path, uid: u32, mode: u32) {
    chown(path, Some(uid), Some(uid)).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Swaps two names at one moment. It may fail: root is at work there.
fn exchange(one: &Path, other: &Path) -> bool {
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

/// Lets some time pass, another each time.
fn linger(round: u64) {
    for _ in 0..(round * 7919) % 3000 {
        std::hint::spin_loop();
    }
}

/// One round of an account's attack on its own directory `work`: names there lead outside for a
/// moment, directories leave the tree and come back. Everything may fail: root is at work there.
fn attack(work: &Path, (precious, haven): (&Path, &Path), round: u64) {
    let (number, file) = (round / 8 % DIRECTORIES, round / 24 % FILES);
    let name = format!("d{number}");
    let directory = work.join(&name);
    let there = precious.join(&name);
    let aside = work.join(format!("aside-{number}"));
    let for_a_moment = |one: &Path, other: &Path| {
        exchange(one, other);
        linger(round);
        exchange(one, other);
    };
    match round % 8 {
        // A directory becomes a link to one outside.
        0 | 1 => {
            drop(symlink(&there, &aside));
            for_a_moment(&directory, &aside);
            drop(fs::remove_file(&aside));
        }
        // It leaves the tree.
        2 => {
            drop(fs::rename(&directory, haven.join(&name)));
            linger(round);
            drop(fs::rename(haven.join(&name), &directory));
        }
        // One full of links takes its place.
        3 => {
            drop(fs::create_dir(&aside));
            for number in 0..FILES {
                let file = format!("f{number}");
                drop(symlink(there.join(&file), aside.join(&file)));
            }
            drop(symlink(there.join("sub"), aside.join("sub")));
            for_a_moment(&directory, &aside);
            drop(fs::remove_dir_all(&aside));
        }
        // A file becomes a link, and a directory within.
        4 | 5 => {
            let (name, link) = (format!("f{file}"), haven.join("link"));
            drop(symlink(there.join(&name), &link));
            for_a_moment(&directory.join(&name), &link);
            drop(fs::remove_file(&link));
        }
        6 => {
            let link = haven.join("link");
            drop(symlink(there.join("sub"), &link));
            for_a_moment(&directory.join("sub"), &link);
            drop(fs::remove_file(&link));
        }
        // Names of one file come and go.
        _ => {
            let (one, other) = (directory.join(format!("f{file}")), haven.join("second"));
            drop(fs::hard_link(&one, &other));
            for_a_moment(&one, &directory.join("f0"));
            drop(fs::remove_file(&other));
        }
    }
}

/// Tells of every regular file below `root` its path, contents and attributes.
fn each_file(root: &Path, mut look: impl FnMut(&Path, &str, &fs::Metadata)) {
    for entry in walkdir::WalkDir::new(root) {
        let entry = entry.unwrap();
        if entry.file_type().is_file() {
            let contents = fs::read(entry.path()).unwrap();
            let metadata = entry.metadata().unwrap();
            look(entry.path(), &String::from_utf8_lossy(&contents), &metadata);
        }
    }
}

/// Asserts that nobody but root may read what only root may read, below `root`.
#[track_caller]
fn assert_secrets_kept(root: &Path, context: &str) {
    each_file(root, |path, contents, metadata| {
        let is_private = metadata.uid() == 0 && metadata.mode() & 0o077 == 0;
        let is_open = contents.contains(SECRET) && !is_private;
        assert!(!is_open, "{context}: {} {metadata:?}", path.display());
    });
}
