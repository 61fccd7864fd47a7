//! The order to make what a clone with the source's kernel boots by. Knows nothing of how images
//! and menus are made.

use super::{SWITCHING, clone_note, failed, lock_within, not_ready, open};
use crate::cleanup::programs::{Programs, ThisMachine};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::Staged;
use crate::loader::{self, Kernels, LoaderOrder, LoaderReport, Workshop};

/// Makes it in the stage. Done again it makes it anew.
pub(in crate::orders) fn make_loader(order: &LoaderOrder) -> Result<LoaderReport, Failure> {
    if !super::is_running(&order.root) {
        let what = "target: only a running machine can make what it boots by";
        return Err(Failure::new(ExitCode::Refused, what).hint("leave --kernel source out"));
    }
    make_with(order, &ThisMachine)
}

fn make_with(order: &LoaderOrder, programs: &dyn Programs) -> Result<LoaderReport, Failure> {
    let live = open(&order.root)?;
    lock_within(&live, SWITCHING)?;
    let mut note = clone_note::read(&live)?.ok_or_else(not_ready)?;
    let staged = Staged::open(&live, &note.volumes).map_err(|error| failed(&error))?;
    let kernels = Kernels::of(staged.stage(), &note.rules).map_err(|error| failed(&error))?;
    // ORDER: what is made here is known to be ours before the target's files are carried.
    loader::prepare(&staged).map_err(|error| failed(&error))?;
    let made = loader::made(&staged, &kernels).map_err(|error| failed(&error))?;
    note.edited.extend(made);
    note.edited.sort();
    note.edited.dedup();
    note.write(&live).map_err(|error| failed(&error))?;
    clone_note::carry(&live, &note)?;
    loader::show_kept(&staged, &note.rules).map_err(|error| failed(&error))?;
    // The target's own kernels are in the stage now, too.
    let kernels = Kernels::of(staged.stage(), &note.rules).map_err(|error| failed(&error))?;
    let workshop = Workshop {
        root: &order.root,
        staged: &staged,
        programs,
    };
    loader::make(&staged, &kernels, order, &workshop)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    use super::make_with;
    use crate::cleanup::programs::{Output, ProgramError, Programs};
    use crate::exclude::{Rule, Rules, Verdict};
    use crate::fixup::CloneNote;
    use crate::fs::Dir;
    use crate::loader::{LoaderOrder, LoaderReport, settle};
    use crate::orders::RollbackOrder;
    use crate::orders::target::{SwitchOrder, TargetOrder, roll_back, switch_over};
    use crate::relpath::RelPath;
    use crate::switch::Entrance;

    /// Programs that do what those of a machine would, without a name space. The menu names the
    /// stage where a bind mount would show it.
    struct Played {
        file_system: &'static str,
    }

    impl Programs for Played {
        fn run(&self, command: &[OsString], _: Duration) -> Result<Output, ProgramError> {
            let words: Vec<&str> = command.iter().map(|word| word.to_str().unwrap()).collect();
            let stdout = match &words[..] {
                [_, "--target=abstraction", _] => String::new(),
                [_, "--target=fs", _] => self.file_system.to_owned(),
                [.., stage, "0", release] => image(&Path::new(stage).join("boot"), release),
                [.., "1", boot, "boot", release] => image(Path::new(boot), release),
                [.., boot, _, _] => menu(Path::new(boot)),
                _ => panic!("{words:?}"),
            };
            Ok(Output {
                is_success: true,
                stdout: stdout.into_bytes(),
                stderr: String::new(),
            })
        }
    }

    fn image(boot: &Path, release: &str) -> String {
        fs::write(boot.join(format!("initrd.img-{release}")), "made").unwrap();
        String::new()
    }

    fn menu(boot: &Path) -> String {
        let names = fs::read_dir(boot).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut menu = "set default=\"${saved_entry}\"\n".to_owned();
        for release in names.filter_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned())) {
            menu += &format!(
                "menuentry 'x' $menuentry_id_option 'id-{release}' {{\n\
                 linux /.instancesync/stage/boot/vmlinuz-{release} root=x\n}}\n"
            );
        }
        menu
    }

    struct Machine(tempfile::TempDir);

    impl Machine {
        /// A target with kernel 1 and a stage with kernel 2.
        fn new() -> Machine {
            let machine = Machine(tempfile::tempdir().unwrap());
            for (path, text) in [
                ("boot/vmlinuz-1", "1"),
                ("boot/initrd.img-1", "1"),
                ("boot/grub/grub.cfg", "old menu"),
                (
                    "boot/grub/grubenv",
                    "# GRUB Environment Block\nown=1\nnext_entry=\n####",
                ),
                ("boot/grub/i386-pc/normal.mod", "module"),
                ("lib/modules/1/modules.dep", ""),
                ("etc/default/grub", "own"),
                (".instancesync/stage/boot/vmlinuz-2", "2"),
                (".instancesync/stage/lib/modules/2/modules.dep", ""),
                (".instancesync/stage/boot/vmlinuz-3", "without modules"),
                (".instancesync/stage/etc/default/locale", ""),
            ] {
                let path = machine.at(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            let private = machine.at(".instancesync");
            fs::set_permissions(private, fs::Permissions::from_mode(0o700)).unwrap();
            let keep = |pattern: &str| Rule::new(Verdict::Keep, pattern, "x").because("own");
            let rules = [
                "/boot/*-1",
                "/boot/grub*/**",
                "/lib/modules/1/***",
                "/etc/default/***",
            ];
            let note = CloneNote::new(Rules::new(rules.map(keep).to_vec()).unwrap());
            note.write(&machine.live()).unwrap();
            machine
        }

        /// The same with `/boot` as a volume with a stage of its own.
        fn with_boot_apart() -> Machine {
            let machine = Machine::new();
            let private = machine.at("boot/.instancesync");
            fs::create_dir(&private).unwrap();
            fs::set_permissions(&private, fs::Permissions::from_mode(0o700)).unwrap();
            let stage = machine.at(".instancesync/stage/boot");
            fs::rename(&stage, private.join("stage")).unwrap();
            fs::create_dir(stage).unwrap();
            let mut note = CloneNote::read(&machine.live()).unwrap().unwrap();
            note.volumes = vec![RelPath::new(b"boot").unwrap()];
            note.write(&machine.live()).unwrap();
            machine
        }

        fn at(&self, path: &str) -> PathBuf {
            self.0.path().join(path)
        }

        fn live(&self) -> Dir {
            Dir::open_root(self.0.path()).unwrap()
        }

        fn text(&self, path: &str) -> String {
            fs::read_to_string(self.at(path)).unwrap()
        }

        fn make(&self, file_system: &'static str) -> LoaderReport {
            let order = LoaderOrder {
                root: self.0.path().to_owned(),
                kernel: "2".to_owned(),
                is_watched: true,
            };
            make_with(&order, &Played { file_system }).unwrap()
        }

        fn switch(&self) {
            let order = SwitchOrder {
                root: self.0.path().to_owned(),
                login: None,
                probation: None,
                entrance: Entrance::default(),
                reboots: false,
            };
            switch_over(&order).unwrap();
        }

        fn roll_back(&self) {
            let target = TargetOrder {
                root: self.0.path().to_owned(),
                dry_run: false,
            };
            let order = RollbackOrder {
                target,
                reboots: false,
            };
            roll_back(&order).unwrap();
        }
    }

    #[test]
    fn the_stage_boots_the_sources_kernel_once_and_the_old_system_its_own_again() {
        let machine = Machine::new();
        let before = machine.text("boot/grub/grubenv");
        let report = machine.make("ext2");
        assert_eq!(
            (&*report.images, &*report.fallback),
            (&["2".to_owned()][..], "1")
        );
        assert!(report.is_tried);
        assert_eq!(machine.text("boot/grub/grub.cfg"), "old menu");
        assert_eq!(machine.text("boot/grub/grubenv"), before);
        assert!(!machine.at("boot/vmlinuz-2").exists());
        // Made again as over a new link, it comes to the same.
        assert_eq!(machine.make("ext2"), report);
        machine.switch();
        let menu = machine.text("boot/grub/grub.cfg");
        assert!(
            menu.contains("linux /boot/vmlinuz-2 root=x panic=60\n"),
            "{menu}"
        );
        assert!(menu.contains("linux /boot/vmlinuz-1 root=x\n"), "{menu}");
        for (kept, old) in [
            ("boot/grub/i386-pc/normal.mod", "module"),
            ("boot/initrd.img-1", "1"),
            ("boot/initrd.img-2", "made"),
            ("lib/modules/1/modules.dep", ""),
        ] {
            assert_eq!(machine.text(kept), old, "{kept}");
        }
        let settings = machine.text("etc/default/grub.d/zz-instancesync.cfg");
        assert!(settings.contains("GRUB_DEFAULT=saved\n"));
        let environment = |lines: &str| format!("# GRUB Environment Block\nown=1\n{lines}#");
        let tried = "saved_entry=id-1\nnext_entry=id-2\ninstancesync_entry=id-2\n";
        assert!(
            machine
                .text("boot/grub/grubenv")
                .starts_with(&environment(tried))
        );
        settle(&machine.live()).unwrap();
        let settled = machine.text("boot/grub/grubenv");
        assert!(
            settled.starts_with(&environment("saved_entry=id-2\n")),
            "{settled}"
        );
        assert_eq!(settled.len(), 1024);
        settle(&machine.live()).unwrap();
        assert_eq!(machine.text("boot/grub/grubenv"), settled);
        machine.roll_back();
        assert_eq!(machine.text("boot/grub/grub.cfg"), "old menu");
        assert_eq!(machine.text("boot/grub/grubenv"), before);
        for gone in ["boot/vmlinuz-2", "lib/modules/2", "etc/default/grub.d"] {
            assert!(!machine.at(gone).exists(), "{gone}");
        }
    }

    #[test]
    fn where_grub_cannot_write_the_sources_kernel_is_the_one_that_boots() {
        let machine = Machine::new();
        assert!(!machine.make("btrfs").is_tried);
        let environment = machine.text(".instancesync/stage/boot/grub/grubenv");
        assert!(environment.contains("saved_entry=id-2\n"), "{environment}");
        assert!(!environment.contains("next_entry=id"), "{environment}");
    }

    #[test]
    fn a_boot_of_its_own_has_both_kernels_in_the_menu() {
        let machine = Machine::with_boot_apart();
        let report = machine.make("ext2");
        assert_eq!((&*report.fallback, report.is_tried), ("1", true));
        let staged = |name: &str| machine.text(&format!("boot/.instancesync/stage/{name}"));
        let menu = staged("grub/grub.cfg");
        assert!(menu.contains("vmlinuz-1 root=x\n"), "{menu}");
        assert!(menu.contains("vmlinuz-2 root=x panic=60\n"), "{menu}");
        assert_eq!(staged("grub/i386-pc/normal.mod"), "module");
        assert_eq!(staged("initrd.img-2"), "made");
        assert!(staged("grub/grubenv").contains("saved_entry=id-1\nnext_entry=id-2\n"));
        assert_eq!(machine.text("boot/grub/grub.cfg"), "old menu");
    }

    #[test]
    fn nothing_that_is_linked_to_the_running_system_is_written_to() {
        let machine = Machine::new();
        machine.make("ext2");
        let inode = |path: &str| fs::metadata(machine.at(path)).unwrap().ino();
        let staged = |path: &str| format!(".instancesync/stage/{path}");
        let module = "boot/grub/i386-pc/normal.mod";
        assert_eq!(inode(module), inode(&staged(module)));
        for own in ["boot/grub/grub.cfg", "boot/grub/grubenv"] {
            assert_ne!(inode(own), inode(&staged(own)), "{own}");
        }
    }
}
