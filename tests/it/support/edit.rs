//! Seeded edits of a tree: all that happens to a live source between two runs.
//!
//! Edits hit paths that exist at that moment, so later ones build on earlier ones. Knows
//! nothing of copying.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use filetime::FileTime;
use rustix::fs::{FallocateFlags, RenameFlags, fallocate, renameat_with};

use crate::support::attributes::{self, is_special, is_symlink};
use crate::support::rng::Rng;
use crate::support::tree::{self, Kind};

/// Makes about sixty random edits below `root`.
pub fn edit(root: &Path, seed: u64) {
    let mut rng = Rng::new(seed ^ 0xed17);
    for round in 0..4 {
        // Listed anew each round, so that fresh entries are edited too.
        let (directories, others) = attributes::paths(root);
        for step in 0..16 {
            let path = rng.pick(&others).clone();
            let directory = rng.pick(&directories).clone();
            if path.symlink_metadata().is_ok() && directory.is_dir() {
                // Every kind of edit comes up, whatever the seed.
                edit_one(root, (round * 16 + step) % 24, &path, &directory, &mut rng);
            }
        }
    }
}

/// One edit of `path`, which is no directory, or `directory`.
fn edit_one(root: &Path, which: usize, path: &Path, directory: &Path, rng: &mut Rng) {
    let is_file = path.is_file() && !is_symlink(path) && !is_special(path);
    let either = if rng.once_in(4) { directory } else { path };
    match which {
        0 | 1 if is_file => change_unseen(path, rng),
        2 if is_file => append(path, rng),
        3 if is_file => truncate(path, rng),
        4 if is_file => rewrite(path, rng),
        5 if is_file => insert(path, rng),
        6 if is_file => punch(path, rng),
        7 if is_file => replace(path, directory, rng),
        8 if !is_symlink(either) => attributes::change_mode(either, rng),
        9 => attributes::change_owner(either, rng),
        10 => attributes::change_time(either, rng),
        11 => attributes::change_xattr(either, rng),
        12 if !is_symlink(either) => attributes::change_acl(either, rng),
        13 => remove(root, path),
        14 => remove(root, directory),
        15 => rename(root, path, directory, rng),
        16 => rename(root, directory, path.parent().unwrap_or(root), rng),
        17 => change_type(root, path, rng),
        18 => change_type(root, directory, rng),
        19 => link(path, directory, rng),
        20 => unlink_group(path, directory, rng),
        21 => exchange(root, path, directory),
        _ => create(directory, rng),
    }
}

/// Other content with the same size and time, which only a checksum sees.
fn change_unseen(path: &Path, rng: &mut Rng) {
    let before = path.metadata().expect("stat");
    if before.len() == 0 {
        return;
    }
    let file = OpenOptions::new().write(true).open(path).expect("open");
    for _ in 0..1 + rng.below(5) {
        let offset = rng.next() % before.len();
        file.write_all_at(&[rng.next() as u8], offset)
            .expect("write");
    }
    drop(file);
    let time = FileTime::from_last_modification_time(&before);
    filetime::set_file_times(path, time, time).expect("set times");
}

fn append(path: &Path, rng: &mut Rng) {
    let count = 1 + rng.below(100_000);
    let mut file = OpenOptions::new().append(true).open(path).expect("open");
    file.write_all(&rng.bytes(count)).expect("append");
}

fn truncate(path: &Path, rng: &mut Rng) {
    let file = OpenOptions::new().write(true).open(path).expect("open");
    let length = file.metadata().expect("stat").len();
    // Sometimes longer: the new end is a hole.
    let length = match rng.below(3) {
        0 => length + 70_000,
        1 => 0,
        _ => length / 2,
    };
    file.set_len(length).expect("truncate");
}

/// New content in the same inode: the other names of a hard-link group change with it.
fn rewrite(path: &Path, rng: &mut Rng) {
    let count = rng.below(200_000);
    fs::write(path, rng.bytes(count)).expect("rewrite");
}

/// Bytes in the middle: what follows moves to other offsets.
fn insert(path: &Path, rng: &mut Rng) {
    let mut content = fs::read(path).expect("read");
    let at = rng.below(content.len() + 1);
    let count = 1 + rng.below(3000);
    content.splice(at..at, rng.bytes(count));
    fs::write(path, content).expect("rewrite");
}

fn punch(path: &Path, rng: &mut Rng) {
    let file = OpenOptions::new().write(true).open(path).expect("open");
    let length = file.metadata().expect("stat").len();
    if length > 0 {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let offset = rng.next() % length;
        fallocate(&file, flags, offset, 1 + rng.next() % length).expect("punch a hole");
    }
}

/// The way editors save: a new inode takes over the name.
fn replace(path: &Path, directory: &Path, rng: &mut Rng) {
    if let Some(fresh) = tree::free_path(directory, rng) {
        tree::make(&fresh, Kind::File, rng, 0);
        fs::rename(fresh, path).expect("replace");
    }
}

fn remove(root: &Path, path: &Path) {
    if is_kept(root, path) {
        return;
    }
    if path.is_dir() && !is_symlink(path) {
        fs::remove_dir_all(path).expect("remove directory");
    } else {
        fs::remove_file(path).expect("remove");
    }
}

/// The root and the catalogue stay, so that later edits find something of every kind.
fn is_kept(root: &Path, path: &Path) -> bool {
    path == root || path == root.join("catalogue")
}

fn rename(root: &Path, path: &Path, directory: &Path, rng: &mut Rng) {
    if is_kept(root, path) || directory.starts_with(path) {
        return;
    }
    if let Some(free) = tree::free_path(directory, rng) {
        fs::rename(path, free).expect("rename");
    }
}

/// Something else under the same name.
fn change_type(root: &Path, path: &Path, rng: &mut Rng) {
    if is_kept(root, path) {
        return;
    }
    remove(root, path);
    let kind = tree::kind(rng);
    tree::make(path, kind, rng, 1);
    attributes::decorate(path, rng);
}

fn link(path: &Path, directory: &Path, rng: &mut Rng) {
    if let Some(free) = tree::free_path(directory, rng) {
        fs::hard_link(path, free).expect("hard link");
    }
}

/// Takes one name out of its hard-link group: same content, its own inode.
fn unlink_group(path: &Path, directory: &Path, rng: &mut Rng) {
    let is_file = path.is_file() && !is_symlink(path);
    let Some(fresh) = tree::free_path(directory, rng).filter(|_| is_file) else {
        return;
    };
    let content = fs::read(path).expect("read");
    let mut file = File::create_new(&fresh).expect("create file");
    file.write_all(&content).expect("write file");
    fs::rename(fresh, path).expect("replace");
}

/// Two names swap what they name, a directory and another kind perhaps.
fn exchange(root: &Path, path: &Path, directory: &Path) {
    if is_kept(root, directory) || path.starts_with(directory) {
        return;
    }
    let (one, other) = (rustix::fs::CWD, rustix::fs::CWD);
    renameat_with(one, path, other, directory, RenameFlags::EXCHANGE).expect("exchange");
}

fn create(directory: &Path, rng: &mut Rng) {
    if let Some(path) = tree::free_path(directory, rng) {
        let kind = tree::kind(rng);
        tree::make(&path, kind, rng, 2);
        attributes::decorate(&path, rng);
    }
}

/// Returns a path of the tree that tests may spoil on purpose: `name` of the catalogue.
pub fn catalogued(root: &Path, name: &str) -> PathBuf {
    root.join("catalogue")
        .join(OsStr::from_bytes(name.as_bytes()))
}
