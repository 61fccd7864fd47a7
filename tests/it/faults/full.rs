//! A target that switches and then runs full to the last byte: the old system comes back all the
//! same, by the guard or by hand.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};

use instancesync::boot::{boot, boot_id};
use instancesync::exclude::Rules;
use instancesync::fixup::CloneNote;
use instancesync::fs::Dir;
use instancesync::orders::{Order, RollbackOrder, SwitchOrder, TargetOrder, guard};
use instancesync::switch::{Entrance, Probation, RunLogin, Witness};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use tempfile::TempDir;

use crate::support::disk::Disk;
use crate::support::places::put;

const KEYS: &str = "root/.ssh/authorized_keys";

/// A clone on probation whose time is over, on a disk of its own.
struct Clone {
    root: PathBuf,
    _disk: Disk,
    _place: TempDir,
}

impl Clone {
    /// Switches to it; `None` where no disk can be mounted.
    fn new(test: &str) -> Option<Clone> {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("disk");
        // The program that is placed is this test.
        let own = fs::metadata("/proc/self/exe").unwrap().len() >> 20;
        let disk = Disk::new(test, &root, &format!("{}M", own + 32), &[])?;
        let private = root.join(".instancesync");
        for (top, text) in [(root.clone(), "old"), (private.join("stage"), "new")] {
            for name in ["etc/systemd/system/x.service", "usr/bin/tool", "home/file"] {
                put(&top.join(name), text);
            }
            put(&top.join(KEYS), "ssh-ed25519 B instancesync:p1:n:\n");
        }
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        let live = Dir::open_root(&root).unwrap();
        CloneNote::new(Rules::none()).write(&live).unwrap();
        let clone = Clone {
            root,
            _disk: disk,
            _place: place,
        };
        clone.switch();
        Some(clone)
    }

    fn switch(&self) {
        let order = Order::Switch(SwitchOrder {
            root: self.root.clone(),
            login: Some(RunLogin {
                pair: "p1".to_owned(),
                home: PathBuf::from("/root"),
                uid: 0,
                limit_s: 0,
            }),
            probation: Some(Probation {
                limit_s: 0,
                witness: Witness::Source,
                kernel: None,
            }),
            entrance: Entrance::default(),
            reboots: false,
        });
        order.perform().unwrap();
        assert!(self.root.join(".instancesync/reserve").exists());
        let journal = self.root.join(".instancesync/journal");
        let text = fs::read_to_string(&journal).unwrap();
        fs::write(journal, text.replace(&boot_id(), "another")).unwrap();
    }

    /// Leaves no byte.
    fn fill(&self) {
        let flood = File::create(self.root.join("home/flood")).unwrap();
        rustix::fs::syncfs(&flood).unwrap();
        let (mut end, mut step) = (0, 256 << 20);
        while step >= 4096 {
            match fallocate(&flood, FallocateFlags::empty(), end, step) {
                Ok(()) => end += step,
                Err(Errno::NOSPC) => step /= 2,
                Err(errno) => panic!("{errno}"),
            }
        }
        rustix::fs::syncfs(&flood).unwrap();
        let full = flood.write_all_at(&[1; 4096], end);
        let full = full.and_then(|()| (&flood).flush());
        assert_eq!(
            full.unwrap_err().raw_os_error(),
            Some(Errno::NOSPC.raw_os_error())
        );
    }

    fn roll_back(&self) {
        let order = Order::Rollback(RollbackOrder {
            target: self.target(),
            reboots: false,
        });
        order.perform().unwrap();
    }

    fn target(&self) -> TargetOrder {
        TargetOrder {
            root: self.root.clone(),
            dry_run: false,
        }
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap()
    }

    #[track_caller]
    fn assert_back(&self, context: &str) {
        assert_eq!(self.text("usr/bin/tool"), "old", "{context}");
        assert_eq!(self.text("home/file"), "old", "{context}");
        let gone = [
            ".instancesync/previous",
            ".instancesync/journal",
            ".instancesync/booted",
        ];
        let units = "etc/systemd/system/sysinit.target.wants";
        for path in gone.into_iter().chain([".instancesync/reserve", units]) {
            assert!(!self.root.join(path).exists(), "{context}: {path}");
        }
    }
}

fn by_guard(root: &Path) {
    // It is not the machine that runs.
    assert!(!guard(root).unwrap());
}

#[test]
fn a_full_clone_gives_way_by_its_guard() {
    for is_full_at_boot in [false, true] {
        let Some(clone) = Clone::new("a_full_clone_gives_way_by_its_guard") else {
            return;
        };
        if is_full_at_boot {
            clone.fill();
        }
        boot(&clone.root).unwrap();
        // Its note is not worth what the way back may need.
        let reserve = fs::metadata(clone.root.join(".instancesync/reserve"));
        assert_eq!(reserve.unwrap().len(), 1 << 20);
        if !is_full_at_boot {
            clone.fill();
        }
        by_guard(&clone.root);
        let context = format!("full at boot: {is_full_at_boot}");
        clone.assert_back(&context);
        let why = clone.text(".instancesync/taken-back");
        assert!(why.contains("the source did not confirm it"), "{why}");
        assert_eq!(clone.text(KEYS), "", "{context}");
        // With room again it is a stage like any other.
        fs::remove_file(clone.root.join(".instancesync/stage/home/flood")).unwrap();
        clone.switch();
    }
}

#[test]
fn a_full_clone_that_nobody_noted_gives_way() {
    let Some(clone) = Clone::new("a_full_clone_that_nobody_noted_gives_way") else {
        return;
    };
    clone.fill();
    by_guard(&clone.root);
    clone.assert_back("without the one-shot");
}

#[test]
fn a_full_clone_is_rolled_back_by_hand() {
    let Some(clone) = Clone::new("a_full_clone_is_rolled_back_by_hand") else {
        return;
    };
    boot(&clone.root).unwrap();
    clone.fill();
    clone.roll_back();
    clone.assert_back("by hand");
    assert!(clone.root.join(".instancesync/rolled-back").exists());
}

#[test]
fn a_disk_without_room_for_a_reserve_is_switched() {
    let Some(clone) = Clone::new("a_disk_without_room_for_a_reserve_is_switched") else {
        return;
    };
    clone.roll_back();
    clone.fill();
    // Enough for the units and the journal.
    let file = File::options()
        .write(true)
        .open(clone.root.join("home/flood"));
    let file = file.unwrap();
    file.set_len(file.metadata().unwrap().len() - (1 << 19))
        .unwrap();
    let switched = Order::Switch(SwitchOrder {
        root: clone.root.clone(),
        login: None,
        probation: None,
        entrance: Entrance::default(),
        reboots: false,
    });
    switched.perform().unwrap();
    assert_eq!(clone.text("usr/bin/tool"), "new");
    assert!(!clone.root.join(".instancesync/reserve").exists());
}
