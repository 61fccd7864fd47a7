//! A small tree for each way that the engine has of landing something, and the older one that the
//! target has. Knows nothing of faults.

use std::fs::{self, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use filetime::FileTime;
use tempfile::TempDir;

use crate::support::places::{in_memory, put};
use crate::support::rng::Rng;

/// A source, and what the target had before.
pub struct Trees {
    pub source: PathBuf,
    pub old: PathBuf,
    place: TempDir,
}

fn noise(count: usize, seed: u64) -> Vec<u8> {
    let mut rng = Rng::new(seed);
    (0..count.div_ceil(8))
        .flat_map(|_| rng.next().to_le_bytes())
        .take(count)
        .collect()
}

fn fill(path: &Path, bytes: &[u8]) {
    put(path, "");
    fs::write(path, bytes).unwrap();
}

/// Writes a file that is a hole but for 9000 bytes.
fn with_hole(path: &Path, size: u64, seed: u64) {
    put(path, "");
    let file = fs::File::create(path).unwrap();
    file.set_len(size).unwrap();
    file.write_all_at(&noise(9000, seed), 300_000).unwrap();
}

impl Trees {
    /// Makes both.
    pub fn new() -> Trees {
        let place = in_memory();
        let trees = Trees {
            source: place.path().join("source"),
            old: place.path().join("old"),
            place,
        };
        trees.fill_source();
        trees.fill_old();
        for root in [&trees.source, &trees.old] {
            stamp(root, root == &trees.old);
        }
        trees
    }

    /// Makes a target like the old tree, under a new name.
    pub fn target(&self, name: &str) -> PathBuf {
        let path = self.place.path().join(name);
        let mut copy = Command::new("cp");
        assert!(
            copy.arg("-a")
                .arg(&self.old)
                .arg(&path)
                .status()
                .unwrap()
                .success()
        );
        path
    }

    fn fill_source(&self) {
        let at = |path: &str| self.source.join(path);
        put(&at("same"), "the same on both");
        put(&at("usr/bin/same"), "a program");
        put(&at("usr/bin/new"), "a new program");
        put(&at("etc/changed"), "as on the source");
        put(&at("etc/attributes"), "only the mode differs");
        put(&at("etc/empty"), "");
        put(&at("new/deep/er/file"), "new");
        fs::create_dir(at("new/empty")).unwrap();
        fill(&at("large/new"), &noise(140_000, 1));
        fill(&at("large/blocks"), &noise(150_000, 2));
        fill(&at("large/grown"), &noise(160_000, 3));
        with_hole(&at("large/sparse"), 600_000, 5);
        // Long enough to be continued after a cut.
        with_hole(&at("large/partial"), 4_300_000, 6);
        put(&at("links/one"), "three names");
        fs::create_dir(at("more")).unwrap();
        for name in ["links/two", "more/three"] {
            fs::hard_link(at("links/one"), at(name)).unwrap();
        }
        symlink("etc/changed", at("symlink")).unwrap();
        symlink("same", at("becomes-link")).unwrap();
        put(&at("becomes-file"), "a file");
        put(&at("becomes-directory/file"), "in it");
        let fifo = rustix::fs::FileType::Fifo;
        let mode = rustix::fs::Mode::RUSR;
        rustix::fs::mknodat(rustix::fs::CWD, at("fifo"), fifo, mode, 0).unwrap();
        for path in ["etc/changed", "etc/attributes", "large/new", "new/deep"] {
            xattr::set(at(path), "trusted.note", b"of the source").unwrap();
        }
        let mode = |path: &str, mode| {
            fs::set_permissions(at(path), Permissions::from_mode(mode)).unwrap();
        };
        mode("etc/attributes", 0o640);
        mode("new/deep", 0o2750);
        mode("usr/bin/new", 0o4755);
    }

    fn fill_old(&self) {
        let at = |path: &str| self.old.join(path);
        put(&at("same"), "the same on both");
        put(&at("usr/bin/same"), "a program");
        put(&at("etc/changed"), "as it was before");
        put(&at("etc/attributes"), "only the mode differs");
        xattr::set(at("etc/attributes"), "trusted.old", b"of the target").unwrap();
        let mut blocks = noise(150_000, 2);
        blocks[70_000] ^= 1;
        fill(&at("large/blocks"), &blocks);
        fill(&at("large/grown"), &noise(140_000, 3));
        with_hole(&at("large/partial"), 4_300_000, 7);
        put(&at("links/one"), "three names");
        put(&at("links/two"), "another file");
        symlink("elsewhere", at("symlink")).unwrap();
        put(&at("becomes-link"), "a file");
        put(&at("becomes-file/with/contents"), "in a directory");
        put(&at("becomes-directory"), "a file");
        put(&at("extra/deep/file"), "only here");
        put(&at("extra-file"), "only here");
    }
}

/// Gives everything a time of its own that two trees agree about where they agree otherwise.
fn stamp(root: &Path, is_old: bool) {
    for entry in walkdir::WalkDir::new(root).contents_first(true) {
        let entry = entry.unwrap();
        let name = entry.file_name().to_string_lossy();
        let stays = name == "same" || name == "bin" || name == "attributes";
        let seconds = 1_000_000 + if is_old && !stays { 500 } else { 0 };
        let time = FileTime::from_unix_time(seconds, 5);
        filetime::set_symlink_file_times(entry.path(), time, time).unwrap();
    }
}
