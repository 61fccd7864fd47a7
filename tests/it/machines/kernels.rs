//! Kernels and their packages on a clone that boots the target's: what an administrator does next
//! has to work.

use super::pair::Pair;
use crate::support::can_run;
use crate::support::machine::Network;
use crate::support::vm::{Recipe, VIRTUAL};

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
