//! The one-shot in a tree's `/etc`: put there and taken out again without a trace. systemd,
//! OpenRC, and init scripts of Debian's and Red Hat's kind.
//!
//! Each is a few files and links; the first file tells which directories were made for them.
//! Knows nothing of what the program does when it is started.

use std::collections::BTreeSet;
use std::os::fd::AsFd;

use super::{label_of, private};
use crate::entry::Kind;
use crate::fs::metadata::change_mtime;
use crate::fs::owned::{OwnedFile, is_temporary, read_owned, replace_owned};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result, Tree, usable_name};
use crate::relpath::{Name, RelPath};

/// The line of a file that names a directory which was made for it.
const MADE: &str = "# made: ";

/// What one kind of init reads.
struct Init {
    /// Directories that are there where this init is in use.
    needs: &'static [&'static str],
    things: &'static [Thing],
}

/// One file or link.
struct Thing {
    directory: &'static str,
    name: &'static str,
    what: What,
}

enum What {
    File(u16, &'static str),
    Link(&'static str),
}

const fn file(directory: &'static str, name: &'static str, mode: u16, text: &'static str) -> Thing {
    Thing {
        directory,
        name,
        what: What::File(mode, text),
    }
}

const fn link(directory: &'static str, name: &'static str, text: &'static str) -> Thing {
    Thing {
        directory,
        name,
        what: What::Link(text),
    }
}

const BOOT_UNIT: &str = "instancesync-boot.service";
const GUARD_UNIT: &str = "instancesync-guard.service";
const SCRIPT: &str = "instancesync-boot";

const SYSTEMD: Init = Init {
    needs: &["etc/systemd/system"],
    things: &[
        file(
            "etc/systemd/system",
            BOOT_UNIT,
            0o644,
            include_str!("boot.service"),
        ),
        file(
            "etc/systemd/system",
            GUARD_UNIT,
            0o644,
            include_str!("guard.service"),
        ),
        link(
            "etc/systemd/system/sysinit.target.wants",
            BOOT_UNIT,
            "/etc/systemd/system/instancesync-boot.service",
        ),
        link(
            "etc/systemd/system/sysinit.target.wants",
            GUARD_UNIT,
            "/etc/systemd/system/instancesync-guard.service",
        ),
    ],
};

/// At most one of them is armed besides systemd: their directories overlap.
const OTHERS: [Init; 3] = [
    Init {
        needs: &["etc/init.d", "etc/runlevels/boot"],
        things: &[
            file("etc/init.d", SCRIPT, 0o755, include_str!("openrc.sh")),
            link(
                "etc/runlevels/boot",
                SCRIPT,
                "/etc/init.d/instancesync-boot",
            ),
        ],
    },
    Init {
        needs: &["etc/init.d", "etc/rcS.d"],
        things: &[
            file("etc/init.d", SCRIPT, 0o755, include_str!("sysv.sh")),
            link(
                "etc/rcS.d",
                "S99instancesync-boot",
                "../init.d/instancesync-boot",
            ),
        ],
    },
    Init {
        needs: &["etc/rc.d/init.d", "etc/rc.d/rc3.d"],
        things: &[
            file("etc/rc.d/init.d", SCRIPT, 0o755, include_str!("sysv.sh")),
            link(
                "etc/rc.d/rc3.d",
                "S00instancesync-boot",
                "../init.d/instancesync-boot",
            ),
            link(
                "etc/rc.d/rc5.d",
                "S00instancesync-boot",
                "../init.d/instancesync-boot",
            ),
        ],
    },
];

/// Puts the one-shot into a tree; `volumes` have to be mounted before it runs. Tells whether any
/// init was found. Putting it in again changes nothing, also where that fails: a clone that is not
/// confirmed yet needs it whatever becomes of a rollback.
pub fn arm(tree: &Tree, volumes: &[RelPath]) -> Result<bool> {
    let (used, mounts) = (used(tree)?, mounts_line(volumes));
    let mut is_armed = !used.is_empty();
    for thing in used.iter().flat_map(|init| init.things) {
        is_armed = is_armed && thing.is_in(tree, &mounts)?;
    }
    if !is_armed {
        disarm(tree)?;
        for init in &used {
            init.put(tree, &mounts)?;
        }
    }
    Ok(!used.is_empty())
}

/// Returns what is in use in a tree.
fn used(tree: &Tree) -> Result<Vec<&'static Init>> {
    let mut used = Vec::new();
    if SYSTEMD.is_used(tree)? {
        used.push(&SYSTEMD);
    }
    for init in &OTHERS {
        if init.is_used(tree)? {
            used.push(init);
            break;
        }
    }
    Ok(used)
}

/// Tells whether the one-shot is in a tree.
pub fn is_armed(tree: &Tree) -> Result<bool> {
    for file in all().flat_map(Init::files) {
        if let Some(dir) = open(tree, file.directory)? {
            match dir.status_of(&usable_name(file.name.as_bytes())?) {
                Err(error) if error.is_missing() => {}
                result => return result.map(|_| true),
            }
        }
    }
    Ok(false)
}

/// Takes the one-shot out of a tree, if it is in it.
pub fn disarm(tree: &Tree) -> Result<()> {
    for init in all() {
        let mut made = BTreeSet::new();
        for file in init.files() {
            made.extend(file.directories_made(tree)?);
        }
        for link in init.links() {
            link.take(tree)?;
        }
        for directory in &made {
            remove_directory(tree, directory)?;
        }
        // ORDER: the files go last, for they tell which directories were made.
        for file in init.files() {
            file.take(tree)?;
            file.sweep(tree)?;
        }
    }
    Ok(())
}

fn all() -> impl Iterator<Item = &'static Init> {
    std::iter::once(&SYSTEMD).chain(&OTHERS)
}

impl Init {
    fn is_used(&self, tree: &Tree) -> Result<bool> {
        for directory in self.needs {
            if open(tree, directory)?.is_none() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn put(&self, tree: &Tree, mounts: &str) -> Result<()> {
        let mut missing = Vec::new();
        for thing in self.things {
            if open(tree, thing.directory)?.is_none() && !missing.contains(&thing.directory) {
                missing.push(thing.directory);
            }
        }
        let line = |directory: &&str| format!("{MADE}{directory}\n");
        let made: String = missing.iter().map(line).collect();
        // ORDER: the files, which lie in what is needed, tell of the directories before these are
        // made: what is cut is taken out without a trace.
        for file in self.files() {
            file.put(tree, mounts, &made)?;
        }
        for directory in missing {
            make_directory(tree, directory)?;
        }
        for link in self.links() {
            link.put(tree, mounts, &made)?;
        }
        Ok(())
    }

    fn files(&self) -> impl Iterator<Item = &'static Thing> + use<> {
        let is_file = |thing: &&Thing| matches!(thing.what, What::File(..));
        self.things.iter().filter(is_file)
    }

    fn links(&self) -> impl Iterator<Item = &'static Thing> + use<> {
        let is_link = |thing: &&Thing| matches!(thing.what, What::Link(_));
        self.things.iter().filter(is_link)
    }
}

impl Thing {
    /// Tells whether it is in a tree, as it would be put there.
    fn is_in(&self, tree: &Tree, mounts: &str) -> Result<bool> {
        let Some(dir) = open(tree, self.directory)? else {
            return Ok(false);
        };
        let name = usable_name(self.name.as_bytes())?;
        match &self.what {
            What::File(_, text) => {
                let file = read_owned(&dir, &name)?;
                let contents = file.map(|file| file.contents).unwrap_or_default();
                let lines = contents.split_inclusive(|byte| *byte == b'\n');
                let own = lines.filter(|line| !line.starts_with(MADE.as_bytes()));
                Ok(own.collect::<Vec<_>>().concat() == text.replace("@MOUNTS@", mounts).as_bytes())
            }
            What::Link(text) => match dir.status_of(&name) {
                Err(error) if error.is_missing() => Ok(false),
                Ok(found) if found.kind().is_some() => Ok(false),
                found => found.and_then(|_| Ok(dir.link_text(&name)? == text.as_bytes())),
            },
        }
    }

    fn put(&self, tree: &Tree, mounts: &str, made: &str) -> Result<()> {
        let Some(dir) = open(tree, self.directory)? else {
            return Ok(());
        };
        let name = usable_name(self.name.as_bytes())?;
        keeping_time(&dir, || match &self.what {
            What::File(mode, text) => {
                let text = text.replace("@MOUNTS@", mounts);
                let file = OwnedFile {
                    contents: format!("{text}{made}").into_bytes(),
                    metadata: private(*mode, label_of(&dir)),
                };
                replace_owned(&dir, &name, &file)
            }
            What::Link(text) => {
                let text = text.as_bytes().to_vec();
                dir.make_special(&name, &Kind::Symlink { text })
            }
        })
    }

    fn take(&self, tree: &Tree) -> Result<()> {
        let Some(dir) = open(tree, self.directory)? else {
            return Ok(());
        };
        let name = usable_name(self.name.as_bytes())?;
        match dir.status_of(&name) {
            Err(error) if error.is_missing() => Ok(()),
            result => {
                result?;
                keeping_time(&dir, || dir.remove_file(&name))
            }
        }
    }

    /// Removes what a write that could not be taken back has left beside it.
    fn sweep(&self, tree: &Tree) -> Result<()> {
        let Some(dir) = open(tree, self.directory)? else {
            return Ok(());
        };
        let names = dir.names()?;
        for name in names.iter().filter(|name| is_temporary(name)) {
            let name = usable_name(name)?;
            // Best effort: it is in nobody's way.
            drop(keeping_time(&dir, || dir.remove_file(&name)));
        }
        Ok(())
    }

    /// Returns the directories that the file says were made for it.
    fn directories_made(&self, tree: &Tree) -> Result<Vec<String>> {
        let (What::File(..), Some(dir)) = (&self.what, open(tree, self.directory)?) else {
            return Ok(Vec::new());
        };
        let Some(file) = read_owned(&dir, &usable_name(self.name.as_bytes())?)? else {
            return Ok(Vec::new());
        };
        let text = String::from_utf8_lossy(&file.contents).into_owned();
        let lines = text.lines().filter_map(|line| line.strip_prefix(MADE));
        Ok(lines.map(str::to_owned).collect())
    }
}

fn path(text: &str) -> Result<RelPath> {
    RelPath::new(text.as_bytes()).map_err(|_| FsError::unusable_name())
}

/// Opens a directory; `None` where there is none, or a link stands in its place.
fn open(tree: &Tree, directory: &str) -> Result<Option<Dir>> {
    match tree.open_beneath(&path(directory)?) {
        Ok(dir) => Ok(Some(dir)),
        Err(error) if error.is_gone() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the directory around one and returns the name in it.
fn around(tree: &Tree, directory: &str) -> Result<(Dir, Name)> {
    let (parent, name) = path(directory)?
        .split()
        .ok_or_else(FsError::unusable_name)?;
    Ok((tree.open_beneath(&parent)?, name))
}

fn make_directory(tree: &Tree, directory: &str) -> Result<()> {
    let (dir, name) = around(tree, directory)?;
    keeping_time(&dir, || dir.make_dir(&name))?;
    let refused = crate::fs::metadata::apply_metadata(
        Object::Open(dir.open_dir(&name)?.as_fd()),
        false,
        &private(0o755, label_of(&dir)),
        crate::fs::metadata::Before::Fresh,
    );
    refused.into_iter().next().map_or(Ok(()), Err)
}

fn remove_directory(tree: &Tree, directory: &str) -> Result<()> {
    let (dir, name) = around(tree, directory)?;
    match dir.open_dir(&name) {
        Ok(made) if made.names()?.is_empty() => keeping_time(&dir, || dir.remove_dir(&name)),
        Err(error) if !error.is_missing() && !error.is_not_directory() => Err(error),
        // Somebody else uses it now, or it is gone.
        _ => Ok(()),
    }
}

/// Changes something in a directory, which keeps its time stamp.
fn keeping_time(dir: &Dir, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let before = dir.status()?;
    change()?;
    change_mtime(Object::open(dir), before.mtime())
}

/// Returns the paths that have to be mounted, as systemd writes them. One with a character that
/// it would read differently is left out: all local file systems are waited for anyway.
fn mounts_line(volumes: &[RelPath]) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/._-+".contains(byte);
    let paths = volumes
        .iter()
        .map(RelPath::as_bytes)
        .filter(|path| path.iter().all(plain))
        .map(|path| format!(" /{}", String::from_utf8_lossy(path)));
    format!("/.instancesync{}", paths.collect::<String>())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Tree, arm, disarm, path};
    use crate::fs::Dir;

    fn listing(root: &Path) -> Vec<(String, std::time::SystemTime)> {
        let mut found = Vec::new();
        let mut open = vec![root.to_owned()];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(&directory).unwrap() {
                let entry = entry.unwrap();
                let metadata = entry.metadata().unwrap();
                let name = entry.path().to_str().unwrap().to_owned();
                found.push((name, metadata.modified().unwrap()));
                if metadata.is_dir() {
                    open.push(entry.path());
                }
            }
        }
        found.sort();
        found
    }

    #[test]
    fn comes_and_goes_without_a_trace() {
        for directories in [
            &["etc/systemd/system"][..],
            &[
                "etc/systemd/system/sysinit.target.wants",
                "etc/init.d",
                "etc/rcS.d",
            ],
            &["etc/init.d", "etc/runlevels/boot"],
            &["etc/rc.d/init.d", "etc/rc.d/rc3.d", "etc/rc.d/rc5.d"],
            &["etc"],
        ] {
            let place = tempfile::tempdir().unwrap();
            for directory in directories {
                std::fs::create_dir_all(place.path().join(directory)).unwrap();
            }
            let tree = Tree::from(Dir::open_root(place.path()).unwrap());
            let before = listing(place.path());
            let is_armed = arm(&tree, &[path("home").unwrap()]).unwrap();
            assert_eq!(is_armed, directories != ["etc"], "{directories:?}");
            let armed = listing(place.path());
            assert_eq!(is_armed, armed.len() > before.len());
            arm(&tree, &[path("home").unwrap()]).unwrap();
            assert_eq!(listing(place.path()).len(), armed.len());
            disarm(&tree).unwrap();
            assert_eq!(listing(place.path()), before, "{directories:?}");
            disarm(&tree).unwrap();
            assert_eq!(listing(place.path()), before);
        }
    }

    #[test]
    fn the_unit_waits_for_the_volumes() {
        let place = tempfile::tempdir().unwrap();
        let system = place.path().join("etc/systemd/system");
        std::fs::create_dir_all(&system).unwrap();
        let tree = Tree::from(Dir::open_root(place.path()).unwrap());
        arm(&tree, &[path("home").unwrap(), path("a b").unwrap()]).unwrap();
        let unit = std::fs::read_to_string(system.join("instancesync-boot.service")).unwrap();
        assert!(
            unit.contains("RequiresMountsFor=/.instancesync /home\n"),
            "{unit}"
        );
        let wants = system.join("sysinit.target.wants/instancesync-boot.service");
        assert!(wants.is_symlink());
    }
}
