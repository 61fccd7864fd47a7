//! Steps of a random history of a tree, from a small alphabet, so that they meet each other often.
//! A step that is not possible does nothing. Knows nothing of copying.

use std::fs::{self, OpenOptions, Permissions};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};

use filetime::FileTime;
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};
use walkdir::WalkDir;

/// The names that there are; one is that of a directory whose files a stage may share.
const NAMES: [&str; 5] = ["a", "b", "c", "d.log", "usr"];
/// Sizes around the edges of what is sent in a bundle, in parts, and as a difference.
const SIZES: [usize; 7] = [0, 1, 700, 4096, 66_000, 150_000, 400_000];

/// Something that exists: its number in the sorted list of all paths.
pub type At = u16;
/// A name in something that exists: the directory's number, and which name.
pub type In = (u16, u8);

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    Write(In, u8, u8),
    Append(At, u8),
    Poke(At, u16, u8),
    Cut(At, u16),
    /// Other contents, with size and time kept.
    Unseen(At, u16),
    Make(In, u8),
    Remove(At),
    Rename(At, In),
    Exchange(At, At),
    Link(At, In),
    Mode(At, u8),
    Owner(At, u8),
    Attribute(At, u8, u8),
    Time(At, u8),
}

/// Returns any step.
pub fn any_step() -> impl Strategy<Value = Step> {
    let at = || any::<u16>();
    let inside = || (any::<u16>(), 0..NAMES.len() as u8);
    prop_oneof![
        6 => (inside(), 0..SIZES.len() as u8, any::<u8>())
            .prop_map(|(path, size, fill)| Step::Write(path, size, fill)),
        5 => (inside(), Just(0)).prop_map(|(path, kind)| Step::Make(path, kind)),
        2 => (inside(), 1..5u8).prop_map(|(path, kind)| Step::Make(path, kind)),
        1 => (at(), any::<u8>()).prop_map(|(path, count)| Step::Append(path, count)),
        1 => (at(), any::<u16>(), any::<u8>()).prop_map(|(path, to, byte)| Step::Poke(path, to, byte)),
        1 => (at(), any::<u16>()).prop_map(|(path, length)| Step::Cut(path, length)),
        1 => (at(), any::<u16>()).prop_map(|(path, to)| Step::Unseen(path, to)),
        2 => at().prop_map(Step::Remove),
        4 => (at(), inside()).prop_map(|(from, to)| Step::Rename(from, to)),
        2 => (at(), at()).prop_map(|(one, other)| Step::Exchange(one, other)),
        3 => (at(), inside()).prop_map(|(from, to)| Step::Link(from, to)),
        1 => (at(), any::<u8>()).prop_map(|(path, mode)| Step::Mode(path, mode)),
        1 => (at(), any::<u8>()).prop_map(|(path, owner)| Step::Owner(path, owner)),
        1 => (at(), any::<u8>(), any::<u8>())
            .prop_map(|(path, name, value)| Step::Attribute(path, name, value)),
        1 => (at(), any::<u8>()).prop_map(|(path, time)| Step::Time(path, time)),
    ]
}

/// A tree that steps are taken in.
pub struct Ground<'a> {
    pub root: &'a Path,
    /// Whether only a look at the contents of both could tell two states apart.
    pub may_hide: bool,
    /// Times that are set are of this tree alone; else a file could be taken for another.
    pub epoch: i64,
}

impl Ground<'_> {
    /// Takes steps, one after the other.
    pub fn take(&self, steps: &[Step]) {
        for (number, step) in steps.iter().enumerate() {
            // What is not possible is not done.
            self.take_one(step, number as i64).unwrap_or_default();
        }
    }

    fn all(&self) -> Vec<PathBuf> {
        let walk = WalkDir::new(self.root).sort_by_file_name().into_iter();
        let walk = walk.filter_entry(|entry| entry.file_name() != ".instancesync");
        walk.map(|entry| entry.unwrap().into_path()).collect()
    }

    /// Returns something that exists, but for the root.
    fn at(&self, number: At) -> Option<PathBuf> {
        let all = self.all();
        (all.len() > 1).then(|| all[1 + usize::from(number) % (all.len() - 1)].clone())
    }

    /// Returns a regular file.
    fn file(&self, number: At) -> Option<PathBuf> {
        let mut all = self.all();
        all.retain(|path| is_file(path));
        (!all.is_empty()).then(|| all[usize::from(number) % all.len()].clone())
    }

    fn inside(&self, (number, name): In) -> PathBuf {
        let mut all = self.all();
        all.retain(|path| path.is_dir() && !path.is_symlink());
        // Shallow trees: the first ones come up more often.
        let directory = &all[usize::from(number) % all.len()];
        directory.join(NAMES[usize::from(name) % NAMES.len()])
    }

    fn take_one(&self, step: &Step, number: i64) -> Option<()> {
        match step {
            Step::Write(..) | Step::Append(..) | Step::Poke(..) | Step::Cut(..) => {
                let path = self.change_contents(step)?;
                self.tick(&path, number)
            }
            Step::Unseen(path, to) => {
                let path = self.file(*path)?;
                let before = path.metadata().ok()?;
                poke(&path, *to, 99)?;
                let time = FileTime::from_last_modification_time(&before);
                match self.may_hide {
                    true => filetime::set_file_mtime(&path, time).ok(),
                    false => self.tick(&path, number),
                }
            }
            Step::Make(path, kind) => make(&self.inside(*path), *kind),
            Step::Remove(path) => {
                let path = self.at(*path)?;
                match path.is_dir() && !path.is_symlink() {
                    true => fs::remove_dir_all(path).ok(),
                    false => fs::remove_file(path).ok(),
                }
            }
            Step::Rename(from, to) => fs::rename(self.at(*from)?, self.inside(*to)).ok(),
            Step::Exchange(one, other) => {
                let (one, other) = (self.at(*one)?, self.at(*other)?);
                renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).ok()
            }
            Step::Link(from, to) => fs::hard_link(self.at(*from)?, self.inside(*to)).ok(),
            Step::Mode(..) | Step::Owner(..) | Step::Attribute(..) | Step::Time(..) => {
                self.attribute(step, number)
            }
        }
    }

    fn change_contents(&self, step: &Step) -> Option<PathBuf> {
        match step {
            Step::Write(path, size, fill) => {
                let path = self.inside(*path);
                // A pipe would wait for a reader, and a link lead elsewhere.
                if path.symlink_metadata().is_ok() && !is_file(&path) {
                    return None;
                }
                let contents = contents(SIZES[usize::from(*size)], *fill);
                fs::write(&path, contents).ok().map(|()| path)
            }
            Step::Append(path, count) => {
                let path = self.file(*path)?;
                let mut file = OpenOptions::new().append(true).open(&path).ok()?;
                let more = vec![7; usize::from(*count) * 40];
                file.write_all(&more).ok().map(|()| path)
            }
            Step::Poke(path, to, byte) => {
                let path = self.file(*path)?;
                poke(&path, *to, *byte).map(|()| path)
            }
            Step::Cut(path, length) => {
                let path = self.file(*path)?;
                let file = OpenOptions::new().write(true).open(&path).ok()?;
                file.set_len(u64::from(*length) * 3).ok().map(|()| path)
            }
            _ => None,
        }
    }

    /// Gives a file that was changed a time of its own: the clock of a file system stands still for
    /// some milliseconds, longer than a history may take.
    fn tick(&self, path: &Path, number: i64) -> Option<()> {
        if self.may_hide {
            return Some(());
        }
        let time = FileTime::from_unix_time(self.epoch + number * 1000 + 999, 5);
        filetime::set_file_mtime(path, time).ok()
    }

    fn attribute(&self, step: &Step, number: i64) -> Option<()> {
        match step {
            Step::Mode(path, mode) => {
                let path = self.at(*path)?;
                let modes = [0o644, 0o755, 0o700, 0o4711, 0o2750, 0o1777, 0o400];
                let mode = Permissions::from_mode(modes[usize::from(*mode) % modes.len()]);
                (!path.is_symlink()).then(|| fs::set_permissions(path, mode).ok())?
            }
            Step::Owner(path, owner) => {
                let owner = Some(u32::from(*owner) % 3);
                lchown(self.at(*path)?, owner, owner).ok()
            }
            Step::Attribute(path, name, value) => {
                let (path, name) = (self.at(*path)?, format!("trusted.n{}", name % 2));
                match value % 3 {
                    0 => xattr::remove(path, name).ok(),
                    _ => xattr::set(path, name, &[*value]).ok(),
                }
            }
            Step::Time(path, time) => {
                let seconds = match self.may_hide {
                    // Some states share their times.
                    true => 1_000_000_000 + i64::from(*time % 4),
                    false => self.epoch + number * 1000 + i64::from(*time),
                };
                let time = FileTime::from_unix_time(seconds, 3);
                filetime::set_symlink_file_times(self.at(*path)?, time, time).ok()
            }
            _ => None,
        }
    }
}

fn is_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|found| found.is_file())
}

fn contents(size: usize, fill: u8) -> Vec<u8> {
    let line = |index: usize| (index / 512) as u8 ^ (index % 7) as u8 ^ fill;
    (0..size).map(line).collect()
}

fn poke(path: &Path, to: u16, byte: u8) -> Option<()> {
    let length = path.metadata().ok()?.len();
    if length == 0 {
        return None;
    }
    let file = OpenOptions::new().write(true).open(path).ok()?;
    file.write_all_at(&[byte], u64::from(to) * 7 % length).ok()
}

fn make(path: &Path, kind: u8) -> Option<()> {
    match kind {
        0 => fs::create_dir(path).ok(),
        1 => symlink("a/nowhere", path).ok(),
        2 => symlink("..", path).ok(),
        3 => mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).ok(),
        _ => mknodat(CWD, path, FileType::Socket, Mode::RUSR, 0).ok(),
    }
}
