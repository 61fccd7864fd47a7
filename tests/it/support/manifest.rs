//! The independent proof that two trees are the same: one line per path with every attribute.
//!
//! Written with walkdir, xattr and std by path, on purpose nothing of the engine. Access and
//! change times are left out, for no copy can keep them; so is the name of the root.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::{self, Display, Write};
use std::fs::{self, File, Metadata};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use walkdir::{DirEntry, WalkDir};

/// LIMIT: how many 512-byte blocks a copy may have more than its source: an extent tree (8 per
/// 4 KiB node) and an attribute block, not a filled hole of any size worth the name.
const BLOCK_SLACK: u64 = 32;

/// What a tree holds. Two of them are compared with [`diff`].
pub struct Manifest(BTreeMap<Vec<u8>, Line>);

/// One path's attributes, each under its name.
#[derive(Clone)]
struct Line {
    fields: BTreeMap<String, String>,
    /// Allocated 512-byte blocks of a sparse file.
    sparse_blocks: Option<u64>,
    blocks: u64,
}

impl Manifest {
    /// Reads the tree at `root`.
    pub fn of(root: &Path) -> Manifest {
        Manifest::without(root, "")
    }

    /// Of a tree that is not there.
    pub fn nothing() -> Manifest {
        Manifest(BTreeMap::new())
    }

    /// Returns all names of the file at `path`, if it has several.
    pub fn group_of(&self, path: &str) -> Vec<String> {
        let line = self.0.get(path.as_bytes());
        let linked = line.and_then(|line| line.fields.get("linked"));
        let names = linked.into_iter().flat_map(|names| names.split(' '));
        names.map(str::to_owned).collect()
    }

    /// Tells whether there is something at `path`.
    pub fn has(&self, path: &str) -> bool {
        self.0.contains_key(path.as_bytes())
    }

    /// Tells whether there is a directory at `path`.
    pub fn is_directory(&self, path: &str) -> bool {
        let line = self.0.get(path.as_bytes());
        line.is_some_and(|line| line.fields["type"] == "directory")
    }

    /// Returns all paths; they are text here.
    pub fn paths(&self) -> Vec<&str> {
        let paths = self.0.keys().map(|path| std::str::from_utf8(path));
        paths.map(|path| path.expect("a path of text")).collect()
    }

    /// Returns what is left of it where only what `is_kept` tells (by path, and whether it is a
    /// directory) is there: other names are in no hard-link group.
    pub fn keep(&self, is_kept: impl Fn(&str, bool) -> bool) -> Manifest {
        let is_kept = |path: &str| is_kept(path, self.is_directory(path));
        let kept = self.paths().into_iter().filter(|path| is_kept(path));
        let line = |path: &str| {
            let mut line = self.0[path.as_bytes()].clone();
            let names = self.group_of(path);
            let names: Vec<_> = names.into_iter().filter(|name| is_kept(name)).collect();
            match names.len() > 1 {
                true => line.fields.insert("linked".into(), names.join(" ")),
                false => line.fields.remove("linked"),
            };
            (path.as_bytes().to_vec(), line)
        };
        Manifest(kept.map(line).collect())
    }

    /// Reads the tree at `root` but for what is called `left_out` at its top, as if that were
    /// not there: names in it are in no hard-link group.
    pub fn without(root: &Path, left_out: &str) -> Manifest {
        let mut lines = BTreeMap::new();
        let mut groups: HashMap<(u64, u64), BTreeSet<Vec<u8>>> = HashMap::new();
        let mut inodes = Vec::new();
        let is_left_out = |entry: &DirEntry| entry.depth() == 1 && entry.file_name() == left_out;
        let walk = WalkDir::new(root).into_iter();
        for entry in walk.filter_entry(|entry| !is_left_out(entry)) {
            let entry = entry.expect("walk a tree for its manifest");
            let path = entry.path();
            let relative = path.strip_prefix(root).expect("a path below the root");
            let relative = relative.as_os_str().as_bytes().to_vec();
            let metadata = fs::symlink_metadata(path).expect("stat for a manifest");
            if metadata.nlink() > 1 && !metadata.is_dir() {
                let inode = (metadata.dev(), metadata.ino());
                groups.entry(inode).or_default().insert(relative.clone());
                inodes.push((relative.clone(), inode));
            }
            lines.insert(relative, Line::of(path, &metadata));
        }
        for (relative, inode) in inodes {
            let group: Vec<_> = groups[&inode].iter().map(|path| escape(path)).collect();
            if group.len() > 1
                && let Some(line) = lines.get_mut(&relative)
            {
                line.fields.insert("linked".into(), group.join(" "));
            }
        }
        Manifest(lines)
    }
}

impl Display for Manifest {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, line) in &self.0 {
            write!(out, "./{}", escape(path))?;
            for (name, value) in &line.fields {
                write!(out, " {name}={value}")?;
            }
            writeln!(out)?;
        }
        Ok(())
    }
}

impl Line {
    fn of(path: &Path, metadata: &Metadata) -> Line {
        let mut fields = BTreeMap::new();
        let mut put = |name: &str, value: String| fields.insert(name.to_owned(), value);
        let kind = metadata.file_type();
        put("type", type_word(metadata).to_owned());
        put("mode", format!("{:04o}", metadata.mode() & 0o7777));
        put("uid", metadata.uid().to_string());
        put("gid", metadata.gid().to_string());
        put(
            "mtime",
            format!("{}+{:09}", metadata.mtime(), metadata.mtime_nsec()),
        );
        if kind.is_file() {
            put("size", metadata.len().to_string());
            put("blake3", content_hash(path));
        }
        if kind.is_symlink() {
            let text = fs::read_link(path).expect("read a link for a manifest");
            put("text", escape(text.as_os_str().as_bytes()));
        }
        if kind.is_char_device() || kind.is_block_device() {
            put("rdev", format!("{:#x}", metadata.rdev()));
        }
        for (name, value) in attributes(path) {
            put(&format!("xattr {name}"), value);
        }
        let sparse = kind.is_file() && metadata.blocks() * 512 < metadata.len();
        Line {
            fields,
            sparse_blocks: sparse.then_some(metadata.blocks()),
            blocks: metadata.blocks(),
        }
    }
}

/// Returns how `copy` differs from `source`, one readable sentence each; empty when the copy
/// is right.
///
/// Everything must be equal except that allocated blocks are looked at only for a file that is
/// sparse on the source: its copy may have fewer (runs of written zeros become holes), and at
/// most [`BLOCK_SLACK`] more.
pub fn diff(source: &Manifest, copy: &Manifest) -> Vec<String> {
    let paths: BTreeSet<_> = source.0.keys().chain(copy.0.keys()).collect();
    let mut differences = Vec::new();
    for path in paths {
        let name = format!("./{}", escape(path));
        match (source.0.get(path), copy.0.get(path)) {
            (Some(source), Some(copy)) => {
                for difference in line_diff(source, copy) {
                    differences.push(format!("{name}: {difference}"));
                }
            }
            (Some(_), None) => differences.push(format!("{name}: missing in the copy")),
            _ => differences.push(format!("{name}: only in the copy")),
        }
    }
    differences
}

fn line_diff(source: &Line, copy: &Line) -> Vec<String> {
    let names: BTreeSet<_> = source.fields.keys().chain(copy.fields.keys()).collect();
    let mut differences: Vec<String> = names
        .into_iter()
        .filter(|name| source.fields.get(*name) != copy.fields.get(*name))
        .map(|name| {
            let value = |line: &Line| line.fields.get(name).cloned().unwrap_or("none".into());
            format!(
                "{name} is {} instead of {}",
                shorten(value(copy)),
                shorten(value(source))
            )
        })
        .collect();
    if let Some(blocks) = source.sparse_blocks
        && copy.blocks > blocks + BLOCK_SLACK
    {
        differences.push(format!(
            "holes are lost: {} blocks instead of {blocks}",
            copy.blocks
        ));
    }
    differences
}

fn type_word(metadata: &Metadata) -> &'static str {
    let kind = metadata.file_type();
    match () {
        () if kind.is_file() => "file",
        () if kind.is_dir() => "directory",
        () if kind.is_symlink() => "symlink",
        () if kind.is_fifo() => "fifo",
        () if kind.is_socket() => "socket",
        () if kind.is_char_device() => "char-device",
        () if kind.is_block_device() => "block-device",
        () => "unknown",
    }
}

/// Every extended attribute, by name, the value in hexadecimal. ACLs and capabilities are
/// attributes like the others.
fn attributes(path: &Path) -> BTreeMap<String, String> {
    let names = xattr::list(path).expect("list attributes for a manifest");
    names
        .map(|name| {
            let value = xattr::get(path, &name).expect("read an attribute for a manifest");
            let mut hex = String::from("0x");
            for byte in value.unwrap_or_default() {
                write!(hex, "{byte:02x}").expect("write to a string");
            }
            (escape(name.as_bytes()), hex)
        })
        .collect()
}

fn content_hash(path: &Path) -> String {
    let mut file = File::open(path).expect("open for a manifest");
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).expect("read for a manifest");
        if count == 0 {
            return hasher.finalize().to_hex().to_string();
        }
        hasher.update(&buffer[..count]);
    }
}

fn escape(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string().replace(' ', "\\x20")
}

fn shorten(text: String) -> String {
    if text.len() <= 200 {
        return text;
    }
    format!("{}… ({} characters)", &text[..200], text.len())
}
