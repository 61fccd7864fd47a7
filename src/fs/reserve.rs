//! Room for bad times: a file beside a switched tree that gives its blocks back when the disk is
//! full. A disk that holds two systems runs full easily, and the way back has to write a little.
//!
//! Who writes on that way does it [`with_reserve`]. Each time half of it goes, as several things are
//! written there. Best effort: a full disk gets none, and what is freed is free to whoever comes
//! first. Knows nothing of what is written.

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::gate::call;
use super::staged::private_dir;
use super::{Dir, Doing, Result, extents, status_of_fd, usable_name};
use crate::relpath::RelPath;

/// The file, in the first volume's private directory.
pub const RESERVE_NAME: &[u8] = b"reserve";
/// LIMIT: its bytes. Notes, a journal and units take some hundreds of KiB at most, where no volume
/// has thousands of names at its top.
const RESERVE_LEN: u64 = 1 << 20;
/// LIMIT: bytes that have to be free. The switch itself needs some of the last ones.
const LEAST_FREE: u64 = 8 << 20;
/// LIMIT: what is not halved any more.
const LAST_LEN: u64 = 64 << 10;

/// Sets the room aside, or leaves nothing.
pub fn place_reserve(live: &Dir) -> Result<()> {
    remove_reserve(live)?;
    let figures = call!(fs::fstatvfs(live)).doing("ask for free space")?;
    if figures.f_bavail.saturating_mul(figures.f_frsize) < LEAST_FREE {
        return Err(Errno::NOSPC).doing("set room aside");
    }
    let (private, name) = (
        private_dir(live, &RelPath::root())?,
        usable_name(RESERVE_NAME)?,
    );
    let file = private.create_file(&name)?;
    let held = match call!(fs::fallocate(
        &file,
        FallocateFlags::empty(),
        0,
        RESERVE_LEN
    )) {
        Err(Errno::NOTSUP | Errno::NOSYS) => {
            // What can be packed would hold nothing on ZFS.
            let mut noise = vec![0u8; RESERVE_LEN as usize];
            blake3::Hasher::new().finalize_xof().fill(&mut noise);
            extents::write_at(&file, &noise, 0)
        }
        result => result.doing("allocate"),
    };
    if held.is_err() {
        // The first error is the one to report.
        drop(private.remove_file(&name));
    }
    held
}

/// Gives the room back, if it is set aside.
pub fn remove_reserve(live: &Dir) -> Result<()> {
    match remove(live) {
        Err(error) if error.is_missing() => Ok(()),
        result => result,
    }
}

/// Makes an attempt, and others with more and more of the room that was set aside for as long as
/// `is_no_space` says of the error that there is too little. An attempt that fails has to leave all
/// so that the next one can be made.
pub fn with_reserve<T, E>(
    live: &Dir,
    is_no_space: impl Fn(&E) -> bool,
    attempt: impl Fn() -> std::result::Result<T, E>,
) -> std::result::Result<T, E> {
    loop {
        match attempt() {
            Err(error) if is_no_space(&error) && release(live).is_ok() => {}
            result => return result,
        }
    }
}

/// Gives half of the room back, at last all of it; fails where none is left.
fn release(live: &Dir) -> Result<()> {
    // Also where a file system has no room to shorten a file.
    if halve(live).is_err() {
        remove(live)?;
    }
    // Blocks are free when it is on the disk that nobody has them. Where that cannot be synced, the
    // next attempt tells.
    drop(live.sync_file_system());
    Ok(())
}

fn halve(live: &Dir) -> Result<()> {
    let private = private_dir(live, &RelPath::root())?;
    let file = private.reopen_file(&usable_name(RESERVE_NAME)?)?;
    let held = status_of_fd(&file)?.size();
    if held <= LAST_LEN {
        return Err(Errno::INVAL).doing("halve");
    }
    extents::set_size(&file, held / 2)
}

fn remove(live: &Dir) -> Result<()> {
    let private = private_dir(live, &RelPath::root())?;
    private.remove_file(&usable_name(RESERVE_NAME)?)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use rustix::io::Errno;

    use super::{RESERVE_LEN, place_reserve, remove_reserve, with_reserve};
    use crate::fs::{Dir, Doing, FsError};

    #[test]
    fn the_room_is_there_and_is_given_up_bit_by_bit() {
        let root = tempfile::tempdir().unwrap();
        let private = root.path().join(".instancesync");
        fs::create_dir(&private).unwrap();
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        let live = Dir::open_root(root.path()).unwrap();
        let held = || {
            fs::metadata(private.join("reserve")).map_or(0, |found| {
                assert!(found.blocks() * 512 >= found.len(), "no hole");
                found.len()
            })
        };
        remove_reserve(&live).unwrap();
        for _ in 0..2 {
            place_reserve(&live).unwrap();
            assert_eq!(held(), RESERVE_LEN);
        }
        let attempts = Cell::new(0);
        let attempt = |errno: Errno, too_much: u64| {
            attempts.set(attempts.get() + 1);
            let done = if held() < too_much {
                Ok(())
            } else {
                Err(errno)
            };
            done.doing("try")
        };
        let fail = |errno, too_much| {
            let done = with_reserve(&live, FsError::is_no_space, || attempt(errno, too_much));
            (done.is_ok(), attempts.take(), held())
        };
        assert_eq!(fail(Errno::IO, 1), (false, 1, RESERVE_LEN));
        let half = RESERVE_LEN / 2;
        assert_eq!(fail(Errno::NOSPC, RESERVE_LEN), (true, 2, half));
        assert_eq!(fail(Errno::DQUOT, half), (true, 2, half / 2));
        assert_eq!(fail(Errno::NOSPC, 1), (true, 4, 0));
        assert_eq!(fail(Errno::NOSPC, 0), (false, 1, 0));
    }
}
