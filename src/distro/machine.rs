//! Architecture, C library, layout of `/usr`, process 1, firmware and boot loader. Knows
//! nothing of kernels.

use super::look::{Look, active_lines};
use crate::facts::{Boot, BootLoader, BootMode, Init, Libc, UsrLayout};

/// Returns the architecture: the kernel's word, or that of a program's head.
pub(super) fn architecture(look: &Look) -> Option<String> {
    if look.is_live() {
        let machine = rustix::system::uname();
        return Some(machine.machine().to_string_lossy().into_owned());
    }
    const PROGRAMS: [&str; 6] = [
        "/bin/sh",
        "/usr/bin/sh",
        "/usr/bin/env",
        "/sbin/init",
        "/usr/sbin/sshd",
        "/bin/busybox",
    ];
    let heads = PROGRAMS
        .iter()
        .filter_map(|path| look.root().read_head(path, 20).ok()?);
    let found = heads.filter_map(|head| architecture_of(&head)).next();
    if found.is_none() {
        look.note("no program tells the architecture".to_owned());
    }
    found.map(str::to_owned)
}

/// Returns what `uname -m` says on a machine for which this ELF file is made.
fn architecture_of(head: &[u8]) -> Option<&'static str> {
    let head: &[u8; 20] = head.get(..20)?.try_into().ok()?;
    if !head.starts_with(b"\x7fELF") {
        return None;
    }
    let [_, _, _, _, class, order, .., low, high] = *head;
    let is_little = order == 1;
    let machine = match is_little {
        true => u16::from_le_bytes([low, high]),
        false => u16::from_be_bytes([low, high]),
    };
    // The numbers of the ELF specification.
    Some(match (machine, class, is_little) {
        (3, ..) => "i686",
        (8, ..) => "mips",
        (20, ..) => "ppc",
        (21, _, true) => "ppc64le",
        (21, _, false) => "ppc64",
        (22, ..) => "s390x",
        (40, ..) => "armv7l",
        (62, ..) => "x86_64",
        (183, ..) => "aarch64",
        (243, 2, _) => "riscv64",
        (258, ..) => "loongarch64",
        _ => return None,
    })
}

/// Returns the C library.
pub(super) fn libc(look: &Look) -> Libc {
    let mut directories: Vec<String> = ["/lib64", "/usr/lib64", "/lib", "/usr/lib"]
        .map(str::to_owned)
        .to_vec();
    for parent in ["/lib", "/usr/lib"] {
        let names = look.names(parent).into_iter();
        let names = names.filter(|name| name.contains("-linux-gnu"));
        directories.extend(names.map(|name| format!("{parent}/{name}")));
    }
    for directory in &directories {
        let path = format!("{directory}/libc.so.6");
        if look.exists(&path) {
            return Libc::Glibc(look.link(&path).as_deref().and_then(glibc_version));
        }
    }
    match look.any(&["/lib/ld-musl-*", "/usr/lib/ld-musl-*"]) {
        true => Libc::Musl,
        false => Libc::Unknown,
    }
}

/// Reads `libc-2.31.so`; newer ones have no version in their name.
fn glibc_version(name: &str) -> Option<String> {
    let name = name.rsplit('/').next()?;
    let version = name.strip_prefix("libc-")?.strip_suffix(".so")?;
    Some(version.to_owned())
}

/// Returns how `/bin` and `/lib` lie.
pub(super) fn usr_layout(look: &Look) -> UsrLayout {
    let is_link = |path| look.link(path).is_some();
    match (look.exists("/bin"), is_link("/bin") && is_link("/lib")) {
        (true, true) => UsrLayout::Merged,
        (true, false) => UsrLayout::Split,
        (false, _) => UsrLayout::Unknown,
    }
}

/// Returns what runs, or would run, as process 1.
pub(super) fn init(look: &Look) -> Init {
    // Present exactly while systemd runs; sd_booted(3) asks the same.
    if look.is_directory("/run/systemd/system") {
        return Init::Systemd;
    }
    let link = ["/sbin/init", "/usr/sbin/init"]
        .into_iter()
        .find_map(|path| look.link(path));
    let link = link.unwrap_or_default();
    if link.ends_with("systemd") {
        return Init::Systemd;
    }
    let has_init = look.any(&["/sbin/init", "/usr/sbin/init"]);
    let has_initctl = look.any(&["/sbin/initctl", "/usr/sbin/initctl"]);
    if look.any(&["/sbin/openrc", "/usr/sbin/openrc", "/sbin/rc"]) && look.exists("/etc/runlevels")
    {
        Init::Openrc
    } else if link.ends_with("upstart")
        || (has_init && has_initctl && look.is_directory("/etc/init"))
    {
        Init::Upstart
    } else if has_init && look.exists("/etc/inittab") {
        Init::Sysvinit
    } else {
        Init::Unknown
    }
}

/// Returns how it boots.
pub(super) fn boot(look: &Look, is_container: bool) -> Boot {
    let mode = if is_container {
        BootMode::Container
    } else if look.is_directory("/sys/firmware/efi") {
        BootMode::Uefi
    } else if look.is_directory("/sys/firmware") {
        BootMode::Bios
    } else {
        BootMode::Unknown
    };
    let loader = match is_container {
        true => BootLoader::None,
        false => loader(look),
    };
    Boot {
        mode,
        loader,
        makes_menu: loader == BootLoader::Grub2 && makes_menu(look),
        initramfs_tools: look
            .first(["/usr/sbin/update-initramfs", "/sbin/update-initramfs"])
            .is_some(),
    }
}

fn makes_menu(look: &Look) -> bool {
    let has_program = look
        .first(["/usr/sbin/grub-mkconfig", "/usr/sbin/grub2-mkconfig"])
        .is_some();
    let settings = look.text("/etc/default/grub").unwrap_or_default();
    let has_entries = active_lines(&settings).any(|line| {
        let value = line.strip_prefix("GRUB_ENABLE_BLSCFG=");
        value.is_some_and(|value| value.trim_matches(['"', '\'']) == "true")
    });
    has_program && !has_entries
}

fn loader(look: &Look) -> BootLoader {
    const FILES: [(BootLoader, &[&str]); 7] = [
        (BootLoader::Zipl, &["/etc/zipl.conf"]),
        (
            BootLoader::Grub2,
            &[
                "/boot/grub2/grub.cfg",
                "/boot/grub/grub.cfg",
                "/boot/grub2/i386-pc",
                "/boot/grub/i386-pc",
                "/etc/grub2.cfg",
                "/etc/grub2-efi.cfg",
            ],
        ),
        (
            BootLoader::GrubLegacy,
            &["/boot/grub/menu.lst", "/boot/grub/grub.conf"],
        ),
        (
            BootLoader::SystemdBoot,
            &[
                "/boot/loader/loader.conf",
                "/efi/loader/loader.conf",
                "/boot/efi/loader/loader.conf",
            ],
        ),
        (
            BootLoader::Extlinux,
            &[
                "/boot/extlinux.conf",
                "/boot/extlinux/extlinux.conf",
                "/boot/syslinux/syslinux.cfg",
                "/etc/extlinux.conf",
            ],
        ),
        (BootLoader::Lilo, &["/etc/lilo.conf", "/etc/elilo.conf"]),
        (
            BootLoader::Board,
            &[
                "/boot/firmware/config.txt",
                "/boot/config.txt",
                "/boot/boot.scr",
                "/boot/uEnv.txt",
                "/boot/armbianEnv.txt",
            ],
        ),
    ];
    let found = FILES.into_iter().find(|(_, paths)| look.any(paths));
    found.map_or(BootLoader::None, |(loader, _)| loader)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn heads_of_programs_tell_the_architecture() {
        let head = |class: u8, order: u8, machine: [u8; 2]| {
            let mut head = [0; 20];
            head[..6].copy_from_slice(&[0x7f, b'E', b'L', b'F', class, order]);
            head[18..].copy_from_slice(&machine);
            head
        };
        for (head, name) in [
            (head(2, 1, [0x3e, 0]), Some("x86_64")),
            (head(2, 1, [0xb7, 0]), Some("aarch64")),
            (head(1, 1, [3, 0]), Some("i686")),
            (head(2, 2, [0, 22]), Some("s390x")),
            (head(2, 1, [21, 0]), Some("ppc64le")),
            (head(2, 1, [2, 1]), Some("loongarch64")),
            (head(2, 1, [0xff, 0xff]), None),
        ] {
            assert_eq!(architecture_of(&head), name);
        }
        assert_eq!(architecture_of(b"#!/bin/sh"), None);
    }

    proptest! {
        #[test]
        fn no_head_makes_it_fail(bytes: Vec<u8>) {
            let _read = architecture_of(&bytes);
        }
    }
}
