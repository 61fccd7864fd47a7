//! Orders about the switch on small roots: units, notes, keys and repairs. Knows nothing of volumes.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::time::SystemTime;

use super::*;
use crate::exclude::{Rule, Rules, Verdict};
use crate::fixup::CloneNote;
use crate::fs::staged::{CLONE_NAME, read_note};
use crate::switch::Witness;

const RESERVE: &str = ".instancesync/reserve";
const BOOT_UNIT: &str = "etc/systemd/system/sysinit.target.wants/instancesync-boot.service";

struct Target {
    dir: tempfile::TempDir,
    /// What the clone has to show.
    probation: Option<Probation>,
}

impl Target {
    /// A root with a stage that is ready.
    fn new() -> Target {
        let dir = tempfile::tempdir().unwrap();
        let private = dir.path().join(".instancesync");
        for (top, text) in [
            (dir.path().to_owned(), "old"),
            (private.join("stage"), "new"),
        ] {
            for name in ["etc/systemd/system/x.service", "usr/bin/tool", "root/file"] {
                let path = top.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
        }
        fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
        let target = Target {
            dir,
            probation: None,
        };
        CloneNote::new(Rules::none()).write(&target.live()).unwrap();
        target
    }

    fn root(&self) -> &Path {
        self.dir.path()
    }

    fn live(&self) -> Dir {
        Dir::open_root(self.root()).unwrap()
    }

    fn order(&self) -> TargetOrder {
        TargetOrder {
            root: self.root().to_owned(),
            dry_run: false,
        }
    }

    fn login() -> Option<RunLogin> {
        Some(RunLogin {
            pair: "p1".to_owned(),
            home: PathBuf::from("/root"),
            uid: 0,
            limit_s: 0,
        })
    }

    fn entrance() -> Entrance {
        Entrance {
            is_closed: true,
            ports: vec![2222],
        }
    }

    fn switch(&self) -> Result<Switched, Failure> {
        switch_over(&SwitchOrder {
            root: self.root().to_owned(),
            login: Target::login(),
            probation: self.probation.clone(),
            entrance: Target::entrance(),
            reboots: false,
        })
    }

    /// Switches until the journal and one name of three.
    fn cut_switch(&self) {
        let live = self.live();
        arm(&live_tree(&live).unwrap(), &[]).unwrap();
        arm(&side_tree(&live, &[], NEW_NAME).unwrap(), &[]).unwrap();
        let rules = Rules::none();
        let scope = Scope {
            volumes: &[],
            rules: &rules,
            apart: &[],
            edited: &[],
        };
        let memo = Memo {
            boot_id: boot_id(),
            login: Target::login(),
            probation: None,
            entrance: Target::entrance(),
        };
        switch(&live, &scope, memo, &Gate::cut_after(2)).unwrap_err();
    }

    fn roll_back(&self) -> Result<RolledBack, Failure> {
        roll_back(&RollbackOrder {
            target: self.order(),
            reboots: false,
        })
    }

    fn has(&self, path: &str) -> bool {
        self.root().join(path).symlink_metadata().is_ok()
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    /// All paths outside of our directory with their times and contents.
    fn listing(&self) -> Vec<(PathBuf, SystemTime, Vec<u8>)> {
        let mut found = Vec::new();
        let mut open = vec![self.root().to_owned()];
        while let Some(directory) = open.pop() {
            for entry in fs::read_dir(&directory).unwrap() {
                let entry = entry.unwrap();
                if entry.file_name() == ".instancesync" {
                    continue;
                }
                let metadata = entry.metadata().unwrap();
                if metadata.is_dir() {
                    open.push(entry.path());
                }
                let contents = fs::read(entry.path()).unwrap_or_default();
                found.push((entry.path(), metadata.modified().unwrap(), contents));
            }
        }
        found.sort();
        found
    }

    /// Lets the journal be of another boot of the machine.
    fn pretend_reboot(&self) {
        let path = ".instancesync/journal";
        let text = self.text(path).replace(&boot_id(), "another");
        fs::write(self.root().join(path), text).unwrap();
    }
}

fn seen(target: &TargetOrder) -> Result<(), Failure> {
    let order = ConfirmOrder {
        target: target.clone(),
        record: None,
    };
    confirm(&order).map(drop)
}

#[test]
fn one_goes_there_and_back_without_a_trace() {
    let target = Target::new();
    let before = target.listing();
    let switched = target.switch().unwrap();
    assert_eq!(switched.names, 3);
    assert_eq!(target.text("usr/bin/tool"), "new");
    assert!(target.has(BOOT_UNIT) && target.has(".instancesync/instancesync"));
    let previous = format!(".instancesync/previous/{BOOT_UNIT}");
    assert!(!target.has(&previous), "what was replaced is as it was");
    assert!(target.has(RESERVE));
    assert_eq!(target.switch().unwrap(), switched, "once is enough");
    target.roll_back().unwrap();
    assert_eq!(target.listing(), before);
    let staged = format!(".instancesync/stage/{BOOT_UNIT}");
    assert!(!target.has(&staged) && !target.has(RESERVE));
    let again = target.roll_back().unwrap_err();
    assert_eq!(again.exit, ExitCode::Refused);
    let state = look(&target.order()).unwrap();
    assert_eq!((state.clone, state.machine), (State::Staged, None));
}

#[test]
fn a_switch_that_is_refused_leaves_no_unit() {
    let target = Target::new();
    let before = target.listing();
    fs::create_dir(target.root().join(".instancesync/previous")).unwrap();
    assert_eq!(target.switch().unwrap_err().exit, ExitCode::Refused);
    assert_eq!(target.listing(), before);
    assert!(!target.has(&format!(".instancesync/stage/{BOOT_UNIT}")));
    assert!(!target.has(RESERVE));
    remove_note(&target.live(), CLONE_NAME).unwrap();
    assert_eq!(target.switch().unwrap_err().exit, ExitCode::Refused);
    let held = target.live();
    held.lock().unwrap();
    assert_eq!(target.switch().unwrap_err().exit, ExitCode::Refused);
    assert!(look(&target.order()).is_ok(), "a look needs no lock");
}

#[test]
fn a_switch_that_waits_for_a_package_manager_is_waited_for() {
    let target = Target::new();
    let lock = target.root().join("var/lib/pacman/db.lck");
    fs::create_dir_all(lock.parent().unwrap()).unwrap();
    fs::write(lock, "").unwrap();
    let (first, second) = std::thread::scope(|scope| {
        let first = scope.spawn(|| target.switch());
        // The order of the run over its next link.
        let second = scope.spawn(|| target.switch());
        (first.join().unwrap(), second.join().unwrap())
    });
    for waited in [first, second] {
        let why = waited.unwrap_err().to_string();
        assert!(why.contains("pacman is at work"), "{why}");
    }
}

#[test]
fn a_run_that_goes_on_later_knows_how_it_gets_in() {
    let target = Target::new();
    target.switch().unwrap();
    let State::Switched { memo, .. } = look(&target.order()).unwrap().clone else {
        panic!("it has not switched");
    };
    assert_eq!(memo.entrance, Target::entrance());
}

#[test]
fn what_was_cut_is_repaired_by_the_next_order_or_boot() {
    let cut = || {
        let target = Target::new();
        let before = target.listing();
        target.cut_switch();
        place_reserve(&target.live()).unwrap();
        (target, before)
    };
    let (target, before) = cut();
    let done = target.roll_back().unwrap();
    assert_eq!((done.names, target.listing()), (0, before));
    assert!(!target.has(RESERVE));
    let (target, before) = cut();
    assert!(boot::boot(target.root()).unwrap(), "it has to boot again");
    assert_eq!(target.listing(), before);
    assert!(!target.has(RESERVE));
    assert!(!boot::boot(target.root()).unwrap());
    let (target, _) = cut();
    assert_eq!(target.switch().unwrap().names, 3);
    let (target, before) = cut();
    let state = repair_cut(&target.order()).unwrap();
    assert_eq!((state.clone, target.listing()), (State::Staged, before));
    assert_eq!(target.switch().unwrap().names, 3);
    let state = repair_cut(&target.order()).unwrap();
    assert!(
        matches!(state.clone, State::Switched { .. }),
        "nothing was cut"
    );
}

#[test]
fn the_first_boot_is_noted_until_somebody_confirms() {
    let target = Target::new();
    target.switch().unwrap();
    assert!(!boot::boot(target.root()).unwrap());
    assert_eq!(
        is_booted(&target.live()).unwrap(),
        None,
        "it is the same boot"
    );
    target.pretend_reboot();
    boot::boot(target.root()).unwrap();
    let booted = look(&target.order()).unwrap().unconfirmed.unwrap();
    assert_eq!(booted.boot_id, boot_id());
    assert!(target.has(BOOT_UNIT));
    seen(&target.order()).unwrap();
    assert!(!target.has(BOOT_UNIT));
    assert_eq!(look(&target.order()).unwrap().unconfirmed, None);
    let note = read_note(&target.live(), CLONE_NAME);
    assert_eq!(note.unwrap(), None);
    target.roll_back().unwrap();
    assert_eq!(target.text("usr/bin/tool"), "old");
}

/// A clone on probation that boots.
fn on_probation(limit_s: u64, witness: Witness) -> Target {
    let mut target = Target::new();
    target.probation = Some(Probation {
        limit_s,
        witness,
        kernel: None,
    });
    target.switch().unwrap();
    target.pretend_reboot();
    boot::boot(target.root()).unwrap();
    target
}

#[test]
fn a_clone_that_nobody_sees_in_time_gives_way() {
    // The machine of the test is up for longer than no time.
    let target = on_probation(0, Witness::Source);
    guard(target.root()).unwrap();
    assert_eq!(target.text("usr/bin/tool"), "old");
    assert!(!target.has(BOOT_UNIT));
    let state = look(&target.order()).unwrap();
    assert_eq!((state.clone, state.unconfirmed), (State::Staged, None));
    let why = state.taken_back.unwrap().why;
    assert_eq!(
        why,
        "the source did not confirm it within 0 s from the start of its guard"
    );
    // The next one begins with a clean slate.
    target.switch().unwrap();
    assert_eq!(look(&target.order()).unwrap().taken_back, None);
}

#[test]
fn a_clone_that_was_seen_stays() {
    let target = on_probation(0, Witness::Source);
    seen(&target.order()).unwrap();
    assert!(!guard(target.root()).unwrap());
    assert_eq!(target.text("usr/bin/tool"), "new");
}

#[test]
fn a_clone_that_the_source_reaches_while_its_guard_gives_up_stays() {
    let target = on_probation(0, Witness::Source);
    let memo = memo(&target.live()).unwrap().unwrap();
    see(&target.order()).unwrap();
    let late = (guard::Look::Lost("too late".to_owned()), Duration::ZERO);
    let done = guard::follow(target.root(), &target.live(), (&memo, &[]), late);
    assert_eq!(done.unwrap(), None);
    assert_eq!(target.text("usr/bin/tool"), "new");
}

#[test]
fn a_clone_without_a_source_gives_way_only_if_it_cannot_be_reached() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let open = listener.local_addr().unwrap().port();
    for (port, stays) in [(open, true), (1, false)] {
        let (ports, wants_route) = (vec![port], false);
        let target = on_probation(0, Witness::Clone { ports, wants_route });
        guard(target.root()).unwrap();
        let tool = if stays { "new" } else { "old" };
        assert_eq!(target.text("usr/bin/tool"), tool);
    }
}

#[test]
fn a_clone_that_boots_again_and_again_gives_way_before_its_time() {
    let target = on_probation(u64::MAX, Witness::Source);
    let booted = is_booted(&target.live()).unwrap().unwrap();
    assert_eq!(booted.boots, 1);
    for boots in 2..=4 {
        let before = Booted {
            boot_id: "another".to_owned(),
            boots: boots - 1,
            ..booted.clone()
        };
        boot::keep_booted(&target.live(), &before).unwrap();
        boot::boot(target.root()).unwrap();
        let now = is_booted(&target.live()).unwrap().unwrap();
        assert_eq!(now.boots, boots);
    }
    guard(target.root()).unwrap();
    let why = look(&target.order()).unwrap().taken_back.unwrap().why;
    assert_eq!(why, "it booted 3 times, and the source did not confirm it");
}

#[test]
fn the_boots_of_one_clone_are_not_those_of_the_next() {
    let target = on_probation(0, Witness::Source);
    let stale = Booted {
        boots: 9,
        is_well: true,
        ..Booted::default()
    };
    target.roll_back().unwrap();
    boot::keep_booted(&target.live(), &stale).unwrap();
    target.switch().unwrap();
    target.pretend_reboot();
    boot::boot(target.root()).unwrap();
    let booted = is_booted(&target.live()).unwrap().unwrap();
    assert_eq!((booted.boots, booted.is_well), (1, false));
}

#[test]
fn a_clone_that_the_source_has_reached_stays_when_the_link_is_lost() {
    let target = on_probation(0, Witness::Source);
    guard::see(&target.order()).unwrap();
    assert!(!guard(target.root()).unwrap());
    assert_eq!(target.text("usr/bin/tool"), "new");
}

#[test]
fn a_boot_that_nobody_noted_is_guarded_too() {
    let target = on_probation(0, Witness::Source);
    boot::forget_booted(&target.live()).unwrap();
    guard(target.root()).unwrap();
    assert_eq!(target.text("usr/bin/tool"), "old");
}

/// As on a disk that is full beyond rescue.
#[test]
fn a_boot_that_cannot_be_noted_is_guarded_too() {
    for (limit_s, tool) in [(1000, "new"), (0, "old")] {
        let target = on_probation(limit_s, Witness::Source);
        boot::forget_booted(&target.live()).unwrap();
        // No file gets past the name that it has before its own.
        let temporary = crate::fs::owned::temporary_name().unwrap();
        let temporary = std::ffi::OsStr::from_bytes(temporary.as_bytes()).to_owned();
        let in_the_way = target.root().join(".instancesync").join(temporary);
        fs::create_dir_all(in_the_way.join("x")).unwrap();
        let looked = guard::step(target.root(), Duration::from_secs(1));
        match limit_s {
            0 => assert!(looked.is_err(), "it comes as far as its way back"),
            _ => assert_eq!(looked.unwrap(), None, "it waits"),
        }
        fs::remove_dir_all(in_the_way).unwrap();
        guard::step(target.root(), Duration::from_secs(1)).unwrap();
        assert_eq!(target.text("usr/bin/tool"), tool);
    }
}

#[test]
fn a_reason_that_cannot_be_noted_keeps_no_old_system_away() {
    let target = on_probation(0, Witness::Source);
    fs::create_dir_all(target.root().join(".instancesync/taken-back/x")).unwrap();
    assert!(guard::step(target.root(), Duration::MAX).unwrap().is_some());
    assert_eq!(target.text("usr/bin/tool"), "old");
}

#[test]
fn a_program_that_is_there_is_not_written_again() {
    let target = Target::new();
    let path = target.root().join(".instancesync/instancesync");
    let place = || {
        place_program(&target.live()).unwrap();
        let placed = path.metadata().unwrap();
        assert_eq!(placed.permissions().mode() & 0o7777, 0o700);
        std::os::unix::fs::MetadataExt::ino(&placed)
    };
    let first = place();
    assert_eq!(place(), first);
    let harm: [fn(&Path); 3] = [
        |path| fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap(),
        |path| {
            let file = fs::File::options().write(true).open(path).unwrap();
            let last = file.metadata().unwrap().len() - 1;
            std::os::unix::fs::FileExt::write_all_at(&file, b"harm", last - 3).unwrap();
        },
        |path| {
            let file = fs::File::options().append(true).open(path).unwrap();
            file.set_len(5).unwrap();
        },
    ];
    for harm in harm {
        let before = place();
        harm(&path);
        assert_ne!(place(), before);
    }
}

#[test]
fn a_clone_that_sets_its_labels_anew_has_time() {
    let target = on_probation(0, Witness::Source);
    fs::write(target.root().join(".autorelabel"), "").unwrap();
    assert!(guard::step(target.root(), Duration::MAX).unwrap().is_none());
    assert_eq!(target.text("usr/bin/tool"), "new");
}

#[test]
fn a_clone_under_another_kernel_than_its_own_is_taken_back() {
    for (kernel, comes_back) in [(None, false), (Some("0.0-not-this-one"), true)] {
        let mut target = Target::new();
        let own = crate::loader::running_kernel();
        target.probation = Some(Probation {
            limit_s: 1000,
            witness: Witness::Source,
            kernel: Some(kernel.unwrap_or(&own).to_owned()),
        });
        target.switch().unwrap();
        target.pretend_reboot();
        boot::boot(target.root()).unwrap();
        assert_eq!(see(&target.order()).is_err(), comes_back, "{kernel:?}");
        if comes_back {
            guard::step(target.root(), Duration::ZERO).unwrap();
            let state = look(&target.order()).unwrap();
            let why = state.taken_back.unwrap().why;
            assert!(
                why.starts_with("Linux 0.0-not-this-one did not come up"),
                "{why}"
            );
        }
        assert_eq!(
            target.text("usr/bin/tool") == "old",
            comes_back,
            "{kernel:?}"
        );
    }
}

#[test]
fn a_home_that_the_clone_lacks_is_in_nobodys_way() {
    let mut target = Target::new();
    fs::remove_dir_all(target.root().join(".instancesync/stage/root")).unwrap();
    target.probation = Some(Probation {
        limit_s: 0,
        witness: Witness::Source,
        kernel: None,
    });
    target.switch().unwrap();
    target.pretend_reboot();
    boot::boot(target.root()).unwrap();
    seen(&target.order()).unwrap();
    assert_eq!(look(&target.order()).unwrap().unconfirmed, None);
}

#[test]
fn a_rollback_takes_the_modules_of_newer_kernels_along() {
    let target = Target::new();
    let put = |path: &str, text: &str| {
        let path = target.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    std::os::unix::fs::symlink("usr/lib", target.root().join("lib")).unwrap();
    put("usr/lib/modules/6.1.0-1/modules.dep", "old");
    put(".instancesync/stage/lib/modules/6.1.0-1/modules.dep", "new");
    put("boot/vmlinuz-6.1.0-1", "");
    let boot = Rule::new(Verdict::Keep, "/boot/***", "x").because("the target's");
    let note = CloneNote::new(Rules::new(vec![boot]).unwrap());
    note.write(&target.live()).unwrap();
    target.switch().unwrap();
    put("boot/vmlinuz-6.1.0-2", "");
    put("lib/modules/6.1.0-2/kernel/a.ko", "of the clone");
    put("lib/modules/6.1.0-2/modules.dep", "of the clone");
    put("lib/modules/6.1.0-3/modules.dep", "without an image");
    target.roll_back().unwrap();
    assert_eq!(
        target.text("usr/lib/modules/6.1.0-2/kernel/a.ko"),
        "of the clone"
    );
    assert_eq!(target.text("lib/modules/6.1.0-1/modules.dep"), "old");
    assert!(!target.has("lib/modules/6.1.0-3"));
    let staged = ".instancesync/stage/lib/modules/6.1.0-2/kernel/a.ko";
    assert_eq!(target.text(staged), "of the clone");
}

#[test]
fn a_clone_that_was_rolled_back_waits_for_the_reboot() {
    let waits = |target: &Target| {
        let state = status(&target.live()).unwrap();
        waits_for_reboot(&target.live(), &state).unwrap()
    };
    let target = Target::new();
    assert!(!waits(&target));
    target.switch().unwrap();
    assert!(waits(&target), "the old programs run");
    target.roll_back().unwrap();
    assert!(!waits(&target), "they still do");
    target.switch().unwrap();
    target.pretend_reboot();
    assert!(!waits(&target));
    target.roll_back().unwrap();
    assert!(waits(&target), "the programs are the clone's");
    let note = ".instancesync/rolled-back";
    fs::write(target.root().join(note), "another").unwrap();
    assert!(!waits(&target));
}

#[test]
fn a_key_that_nobody_uses_goes() {
    let keys = "root/.ssh/authorized_keys";
    let with_key = || {
        let target = Target::new();
        let path = target.root().join(".instancesync/stage").join(keys);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(
            &path,
            "ssh-ed25519 A mine\nssh-ed25519 B instancesync:p1:n:\n",
        )
        .unwrap();
        target.switch().unwrap();
        target.pretend_reboot();
        boot::boot(target.root()).unwrap();
        target
    };
    let target = with_key();
    assert!(!guard(target.root()).unwrap());
    assert_eq!(target.text(keys), "ssh-ed25519 A mine\n");
    assert!(!target.has(BOOT_UNIT));
    for order in [seen, |order: &TargetOrder| discard_rest(order).map(drop)] {
        let target = with_key();
        order(&target.order()).unwrap();
        assert_eq!(target.text(keys), "ssh-ed25519 A mine\n");
    }
}

#[test]
fn a_switch_that_is_taken_back_takes_the_key_along() {
    let keys = "root/.ssh/authorized_keys";
    let acts: [fn(&Target); 3] = [
        |target| assert!(boot::boot(target.root()).unwrap()),
        |target| assert_eq!(target.roll_back().unwrap().names, 0),
        |target| assert!(discard_rest(&target.order()).unwrap().entries > 0),
    ];
    for act in acts {
        let target = Target::new();
        fs::create_dir_all(target.root().join("root/.ssh")).unwrap();
        let line = "ssh-ed25519 A mine\nssh-ed25519 B instancesync:p1:n:\n";
        fs::write(target.root().join(keys), line).unwrap();
        target.cut_switch();
        repair_cut(&target.order()).unwrap();
        assert_eq!(
            target.text(keys),
            line,
            "who ordered only that goes on with it"
        );
        target.cut_switch();
        act(&target);
        assert_eq!(target.text(keys), "ssh-ed25519 A mine\n");
    }
}

#[test]
fn a_discard_frees_what_is_not_live() {
    let target = Target::new();
    let before = target.listing();
    discard_rest(&target.order()).unwrap();
    assert!(!target.has(".instancesync"));
    assert_eq!(target.listing(), before);
    let target = Target::new();
    target.switch().unwrap();
    target.pretend_reboot();
    let planned = TargetOrder {
        dry_run: true,
        ..target.order()
    };
    discard_rest(&planned).unwrap();
    assert!(target.has(".instancesync/previous"));
    let freed = discard_rest(&target.order()).unwrap();
    assert!(freed.entries > 10);
    assert!(!target.has(".instancesync") && !target.has(BOOT_UNIT));
    assert_eq!(target.text("usr/bin/tool"), "new");
}
