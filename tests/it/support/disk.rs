//! A small disk: an ext4 file system in an image file, mounted for as long as this lives. It can
//! be made to fail as the kernel lets one fail. Knows nothing of what is on it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::machine::wait_until_free;
use crate::support::{Ability, can_run};

/// A mounted disk.
pub struct Disk {
    image: PathBuf,
    path: PathBuf,
}

impl Disk {
    /// Makes one of `size` (`12M`) with further options of mke2fs, and mounts it on the new
    /// directory `path`; prints why the test is skipped where that is not allowed.
    pub fn new(test: &str, path: &Path, size: &str, options: &[&str]) -> Option<Disk> {
        if !can_run(test, &[Ability::Root]) {
            return None;
        }
        let image = path.with_extension("image");
        let mut make = Command::new("mke2fs");
        make.args(["-q", "-F", "-t", "ext4", "-J", "size=1"])
            .args(options);
        if !make
            .arg(&image)
            .arg(size)
            .status()
            .is_ok_and(|status| status.success())
        {
            println!("skipped {test}: mke2fs does not make a disk");
            return None;
        }
        fs::create_dir_all(path).unwrap();
        let disk = Disk {
            image,
            path: path.to_owned(),
        };
        if !disk.mount() {
            println!("skipped {test}: mounting an image is not allowed");
            // Nothing to unmount.
            std::mem::forget(disk);
            return None;
        }
        Some(disk)
    }

    fn mount(&self) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", "loop,errors=remount-ro"]);
        let mounted = mount.arg(&self.image).arg(&self.path).status();
        mounted.is_ok_and(|status| status.success())
    }

    fn unmount(&self) {
        let status = Command::new("umount").arg(&self.path).status();
        assert!(status.is_ok_and(|status| status.success()), "umount failed");
    }

    /// Returns the file of the kernel that lets the file system find an error when something is
    /// written to it: from then on it is read-only.
    pub fn breaker(&self) -> PathBuf {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let path = self.path.to_str().unwrap();
        let mut lines = mounts.lines().map(|line| line.split(' '));
        let device = lines.find_map(|mut words| {
            let device = words.next()?;
            (words.next()? == path).then(|| device.trim_start_matches("/dev/").to_owned())
        });
        let device = device.expect("a mounted disk");
        Path::new("/sys/fs/ext4")
            .join(device)
            .join("trigger_fs_error")
    }

    /// Repairs it, and mounts it again.
    pub fn mend(&self) {
        self.unmount();
        // A machine that another test boots at this moment may hold the mount for an instant.
        wait_until_free(&self.image);
        let mended = Command::new("e2fsck")
            .args(["-f", "-y"])
            .arg(&self.image)
            .output();
        let code = mended.unwrap().status.code();
        assert!(matches!(code, Some(0 | 1)), "e2fsck ended in {code:?}");
        assert!(self.mount());
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.path).status();
        let is_done = status.is_ok_and(|status| status.success());
        assert!(is_done || std::thread::panicking(), "umount failed");
    }
}
