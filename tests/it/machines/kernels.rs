//! Kernels and their packages on a clone that boots the target's, or the source's: what an
//! administrator does next has to work.

use super::pair::{Came, Pair};
use crate::support::can_run;
use crate::support::machine::Network;
use crate::support::vm::{Firmware, Layout, Recipe, Swap, VIRTUAL, VmStack};

#[test]
#[ignore = "virtual machines, minutes each: scripts/test --machines"]
fn a_clone_renews_its_kernels_and_boots_again() {
    let test = "a_clone_renews_its_kernels_and_boots_again";
    if !can_run(test, VIRTUAL) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::start(&network, &Recipe::SOURCE, &Recipe::TARGET);
    pair.clone_with("");
    let target = &pair.target;
    // The package database is the source's: its kernel's files are not there, and the target's
    // own kernel is in no package.
    target.ask("update-initramfs -u");
    target.ask("test /boot/initrd.img-$(uname -r) -nt /boot/vmlinuz-$(uname -r)");
    target.ask("update-grub && grep -q vmlinuz-$(uname -r) /boot/grub/grub.cfg");
    let version = target.ask("cd /opt/kernel && ls | sed 's/^linux-image-\\([^_]*\\)_.*/\\1/'");
    let version = version.trim();
    let install = "DEBIAN_FRONTEND=noninteractive apt-get install --yes --reinstall";
    target.ask(&format!("{install} /opt/kernel/*.deb && apt-get check"));
    target.ask(&format!(
        "test -s /boot/vmlinuz-{version} && test -s /boot/initrd.img-{version} &&
        test -e /lib/modules/{version}/modules.dep && grep -q vmlinuz-{version} /boot/grub/grub.cfg"
    ));
    let first = target
        .ask("sed -n 's/^\\tlinux.*vmlinuz-\\([^ ]*\\).*/\\1/p' /boot/grub/grub.cfg | head -n 1");
    pair.reboot_target();
    assert_eq!(pair.target.ask("uname -r"), first, "not the first entry");
}

/// Clones with the source's kernel, looks at what an administrator does next, and goes back.
fn boot_the_sources_kernel(source: &Recipe, target: &Recipe) {
    let network = Network::new();
    let mut pair = Pair::start(&network, source, target);
    let [own, _] = pair.target_is_booted_by();
    let own = own.trim();
    let release = pair.source.ask("uname -r");
    let release = release.trim();
    assert_ne!(release, own, "there is nothing to tell them by");
    pair.expect_kernel_of_source();
    let came = pair.clone_with("--kernel source");
    assert!(matches!(came, Came::Back { .. }), "{came:?}");
    let target = &pair.target;
    // Both are there, and the one that was tried is the one that boots.
    for version in [own, release] {
        target.ask(&format!(
            "cd /boot && test -s vmlinuz-{version} && test -s initrd.img-{version} &&
            test -e /lib/modules/{version}/modules.dep && grep -q vmlinuz-{version} grub/grub.cfg"
        ));
    }
    let saved = "grub-editenv list | grep '^saved_entry=gnulinux-.*'";
    let entry = target.ask(saved);
    assert!(entry.contains(release), "{entry}");
    target.ask("! grub-editenv list | grep -e next_entry= -e instancesync");
    target.ask("! grep -r instancesync /boot/grub/grub.cfg");
    target.ask(&format!("update-initramfs -u -k {release} && update-grub"));
    pair.reboot_target();
    assert_eq!(
        pair.target.ask("uname -r").trim(),
        release,
        "after update-grub"
    );
    pair.target.ask("/.instancesync/instancesync status");
    let rollback = "/.instancesync/instancesync rollback --yes --reboot";
    pair.reboot_target_by(rollback);
    assert_eq!(pair.target.ask("uname -r").trim(), own);
    let left = format!("ls /boot /lib/modules | grep {release}");
    pair.target.ask(&format!("! {{ {left}; }}"));
    assert_eq!(pair.target.ask("cat /etc/marker"), "target\n");
    pair.target.ask("update-grub && modprobe dummy");
}

#[test]
#[ignore = "virtual machines, minutes each: scripts/test --machines"]
fn a_clone_with_the_sources_kernel_boots_it() {
    if can_run("a_clone_with_the_sources_kernel_boots_it", VIRTUAL) {
        boot_the_sources_kernel(&Recipe::SOURCE, &Recipe::TARGET);
    }
}

#[test]
#[ignore = "virtual machines, minutes each: scripts/test --machines"]
fn a_clone_with_the_sources_kernel_boots_it_by_efi() {
    if !can_run("a_clone_with_the_sources_kernel_boots_it_by_efi", VIRTUAL) {
        return;
    }
    let stack = VmStack::Networkd;
    let target = Recipe {
        firmware: Firmware::Efi,
        layout: Layout::SeparateBoot,
        swap: Swap::File,
        stack,
        ..Recipe::TARGET
    };
    boot_the_sources_kernel(
        &Recipe {
            stack,
            ..Recipe::SOURCE
        },
        &target,
    );
}

#[test]
#[ignore = "virtual machines, minutes each: scripts/test --machines"]
fn a_kernel_of_the_source_that_does_not_come_up_gives_way() {
    let test = "a_kernel_of_the_source_that_does_not_come_up_gives_way";
    if !can_run(test, VIRTUAL) {
        return;
    }
    let network = Network::new();
    let pair = Pair::start(&network, &Recipe::SOURCE, &Recipe::TARGET);
    let before = pair.target_is_booted_by();
    // In the initramfs of the clone alone: nothing makes another one for the source.
    let script = "/etc/initramfs-tools/scripts/init-top/die";
    pair.source.ask(&format!(
        "printf '#!/bin/sh\n[ \"$1\" = prereqs ] || echo c >/proc/sysrq-trigger\n' >{script} &&
        chmod 755 {script}"
    ));
    let outcome = pair.launch("--kernel source").wait();
    assert_eq!(outcome.code, Some(1), "{outcome:#?}");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("did not come up"), "{said}");
    assert_eq!(pair.target_is_booted_by(), before);
    assert_eq!(pair.target.ask("cat /etc/marker"), "target\n");
}
