//! Seeded trees with every kind of entry and every attribute that a copy has to keep.
//!
//! A catalogue with one of everything comes first, then random growth, so that each seed is
//! complete and no two are alike. Knows nothing of copying.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};

use crate::support::attributes;
use crate::support::names;
use crate::support::rng::Rng;

/// One of these is made whenever a test wants "some entry".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file with random content.
    File,
    /// A directory, perhaps with children.
    Directory,
    /// A symbolic link, perhaps dangling.
    Symlink,
    /// A named pipe.
    Fifo,
    /// A socket's node.
    Socket,
    /// A character device.
    CharDevice,
    /// A block device.
    BlockDevice,
}

/// Every kind, files and directories more often than the rest.
const KINDS: &[Kind] = &[
    Kind::File,
    Kind::File,
    Kind::File,
    Kind::File,
    Kind::File,
    Kind::File,
    Kind::Directory,
    Kind::Directory,
    Kind::Symlink,
    Kind::Symlink,
    Kind::Fifo,
    Kind::Socket,
    Kind::CharDevice,
    Kind::BlockDevice,
];

/// Sizes around the edges of blocks, frames and batches, in bytes.
const SIZES: &[usize] = &[
    0, 1, 2, 59, 511, 512, 513, 4095, 4096, 4097, 65_535, 65_536, 65_537, 131_072, 131_073,
];
/// The sizes of the few large files, in bytes.
const LARGE_SIZES: &[usize] = &[1_048_575, 1_048_577, 2_500_003, 4_194_304, 5_000_001];

/// LIMIT: paths stay below this many bytes, because rsync, the other copier, refuses longer
/// ones than PATH_MAX (4096) minus its temp file's name.
const PATH_LIMIT: usize = 3000;

/// Makes the tree of `seed` in the new directory `root`.
pub fn build(root: &Path, seed: u64) {
    let mut rng = Rng::new(seed);
    fs::create_dir_all(root).expect("create the root of a test tree");
    catalogue(root, &mut rng);
    for _ in 0..6 {
        grow(root, &mut rng, 4);
    }
    if seed.is_multiple_of(3) {
        wide(&root.join("wide"), &mut rng);
    }
    link_groups(root, &mut rng);
    attributes::decorate(root, &mut rng);
}

/// Makes one entry of `kind` at the free path `path`, and below it `depth` levels at most.
pub fn make(path: &Path, kind: Kind, rng: &mut Rng, depth: usize) {
    match kind {
        Kind::File => write_file(path, rng),
        Kind::Directory => {
            fs::create_dir(path).expect("create directory");
            for _ in 0..rng.below(9) {
                grow(path, rng, depth);
            }
        }
        Kind::Symlink => symlink(link_text(rng), path).expect("create symlink"),
        Kind::Fifo => node(path, FileType::Fifo, 0),
        Kind::Socket => node(path, FileType::Socket, 0),
        Kind::CharDevice => node(path, FileType::CharacterDevice, device(rng)),
        Kind::BlockDevice => node(path, FileType::BlockDevice, device(rng)),
    }
}

/// Returns a kind, files and directories more often than the rest.
pub fn kind(rng: &mut Rng) -> Kind {
    *rng.pick(KINDS)
}

/// Returns a path in `directory` that nothing has, or `None` where paths get too long.
pub fn free_path(directory: &Path, rng: &mut Rng) -> Option<PathBuf> {
    for _ in 0..50 {
        let path = directory.join(names::name(rng));
        if path.as_os_str().as_bytes().len() > PATH_LIMIT {
            return None;
        }
        if fs::symlink_metadata(&path).is_err() {
            return Some(path);
        }
    }
    None
}

/// Adds one random entry to `directory`.
fn grow(directory: &Path, rng: &mut Rng, depth: usize) {
    let Some(path) = free_path(directory, rng) else {
        return;
    };
    let kind = if depth == 0 { Kind::File } else { kind(rng) };
    make(&path, kind, rng, depth.saturating_sub(1));
}

/// One of everything, whatever the seed.
fn catalogue(root: &Path, rng: &mut Rng) {
    let place = root.join("catalogue");
    fs::create_dir(&place).expect("create directory");
    for size in SIZES {
        write(&place.join(format!("size-{size}")), &rng.bytes(*size));
    }
    write(&place.join("large"), &rng.bytes(LARGE_SIZES[2]));
    sparse(&place.join("sparse-start"), 5 << 20, &[(4 << 20, 70_000)]);
    sparse(
        &place.join("sparse-middle"),
        5 << 20,
        &[(0, 9000), (4 << 20, 1 << 20)],
    );
    sparse(&place.join("sparse-end"), (5 << 20) + 77, &[(0, 70_000)]);
    sparse(&place.join("sparse-all"), 3 << 20, &[]);
    sparse(&place.join("sparse-odd"), 1_000_001, &[(500_001, 13)]);
    write(&place.join("zeros-written"), &vec![0; 300_000]);
    for kind in KINDS.iter().skip(7) {
        make(
            &place.join(format!("kind-{kind:?}-{}", rng.next())),
            *kind,
            rng,
            1,
        );
    }
    for hard in names::HARD {
        write(&place.join(std::ffi::OsStr::from_bytes(hard)), hard);
    }
    for (index, text) in LINK_TEXTS.iter().enumerate() {
        let text = std::ffi::OsStr::from_bytes(text);
        symlink(text, place.join(format!("link-{index}"))).expect("create symlink");
    }
    symlink("x".repeat(4000), place.join("link-long")).expect("create symlink");
    deep(&place.join("deep"));
    fs::create_dir(place.join("empty")).expect("create directory");
}

/// Texts that symbolic links hold.
const LINK_TEXTS: &[&[u8]] = &[
    b"nowhere",
    b"/absolute/nowhere",
    b"size-1",
    b"empty",
    b".",
    b"..",
    b"../../..",
    b"/etc/passwd",
    b"not\xffutf8\x80",
    b"-n",
    b"a\nb",
    b" ",
];

fn link_text(rng: &mut Rng) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt;
    let text = match rng.below(4) {
        0 => vec![b'x'; 1 + rng.below(4000)],
        _ => rng.pick(LINK_TEXTS).to_vec(),
    };
    std::ffi::OsString::from_vec(text)
}

/// Sixty levels, each with a file.
fn deep(root: &Path) {
    let mut path = root.to_path_buf();
    for level in 0..60 {
        fs::create_dir(&path).expect("create directory");
        write(&path.join("leaf"), format!("level {level}").as_bytes());
        path = path.join(format!("d{level}"));
    }
}

/// More entries than one read of a directory returns.
fn wide(path: &Path, rng: &mut Rng) {
    fs::create_dir(path).expect("create directory");
    for index in 0..2300 {
        let size = rng.below(200);
        write(&path.join(format!("w{index:05}")), &rng.bytes(size));
    }
}

fn write_file(path: &Path, rng: &mut Rng) {
    match rng.below(12) {
        0 => {
            let length = 200_000 + rng.below(3 << 20);
            let extents: Vec<_> = (0..rng.below(4))
                .map(|_| (rng.below(length) as u64, 1 + rng.below(80_000)))
                .collect();
            sparse(path, length as u64, &extents);
        }
        1 => {
            let size = *rng.pick(LARGE_SIZES);
            write(path, &rng.bytes(size));
        }
        _ => {
            let size = *rng.pick(SIZES);
            write(path, &rng.bytes(size));
        }
    }
}

fn write(path: &Path, content: &[u8]) {
    let mut file = File::create_new(path).expect("create file");
    file.write_all(content).expect("write file");
}

/// Makes a file of `length` bytes that has data only at `extents` (offset, byte count).
fn sparse(path: &Path, length: u64, extents: &[(u64, usize)]) {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(path)
        .expect("create sparse file");
    file.set_len(length).expect("set the length");
    for (offset, count) in extents {
        let count = (*count).min((length - offset) as usize);
        let data: Vec<u8> = (0..count).map(|index| (index % 251) as u8 | 1).collect();
        file.write_all_at(&data, *offset).expect("write extent");
    }
}

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o600), device).expect("create node");
}

/// A device number; the kernel stores majors below 2^12 and minors below 2^20.
fn device(rng: &mut Rng) -> u64 {
    let (major, minor) = *rng.pick(&[(1, 3), (8, 17), (259, 255), (4095, 1_048_575), (0, 0)]);
    makedev(major, minor)
}

/// Hard links within and across directories, of files, symlinks and pipes.
fn link_groups(root: &Path, rng: &mut Rng) {
    let place = root.join("catalogue");
    let other = root.join("catalogue/deep/d0/d1");
    for (first, copies) in [("size-4097", 3), ("size-0", 1), ("link-0", 1), ("large", 2)] {
        for copy in 0..copies {
            let directory = if copy == 0 { &place } else { &other };
            let name = format!("linked-{copy}-{first}");
            fs::hard_link(place.join(first), directory.join(name)).expect("hard link");
        }
    }
    node(&place.join("pipe"), FileType::Fifo, 0);
    fs::hard_link(place.join("pipe"), other.join("pipe-too")).expect("hard link");
    let (directories, others) = attributes::paths(root);
    for _ in 0..8 {
        let directory = rng.pick(&directories);
        if let Some(path) = free_path(directory, rng) {
            fs::hard_link(rng.pick(&others), path).expect("hard link");
        }
    }
}
