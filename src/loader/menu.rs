//! The menu of GRUB, `grub.cfg`, as `grub-mkconfig` writes it: which entry boots which kernel.
//! Pure: knows nothing of where it lies.

/// How the name of a kernel's image begins, before its release.
const IMAGES: [&str; 2] = ["vmlinuz-", "vmlinux-"];
/// What the commands that load a kernel are called.
const COMMANDS: [&str; 3] = ["linux", "linux16", "linuxefi"];
/// In front of the id of an entry or a submenu.
const ID_OPTIONS: [&str; 2] = ["$menuentry_id_option ", "--id "];

/// One entry that boots a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MenuEntry {
    /// Its id, after those of the submenus that it is in: `gnulinux-advanced-1>gnulinux-6.1-1`.
    pub id: String,
    /// The release of its kernel.
    pub kernel: String,
}

/// Returns the entries that boot a kernel, in the order of the menu. Those without an id cannot be
/// named.
pub fn entries(menu: &str) -> Vec<MenuEntry> {
    let mut found = Vec::new();
    // Each open brace, with the id of what it belongs to.
    let mut open: Vec<Option<&str>> = Vec::new();
    for line in menu.lines().map(str::trim) {
        if line.ends_with('{') {
            open.push(id_of(line));
        } else if line == "}" {
            open.pop();
        } else if let Some(kernel) = kernel_of(line) {
            let ids: Vec<&str> = open.iter().flatten().copied().collect();
            if open.last().is_some_and(Option::is_some) {
                found.push(MenuEntry {
                    id: ids.join(">"),
                    kernel: kernel.to_owned(),
                });
            }
        }
    }
    found
}

/// Returns the id of an entry or a submenu that begins in a line.
fn id_of(line: &str) -> Option<&str> {
    let is_item = ["menuentry ", "submenu "]
        .iter()
        .any(|word| line.starts_with(word));
    let options = ID_OPTIONS
        .iter()
        .filter_map(|option| line.rsplit_once(option));
    let rest = options.map(|(_, rest)| rest).next().filter(|_| is_item)?;
    let quote = rest.chars().next().filter(|quote| "'\"".contains(*quote));
    match quote {
        Some(quote) => rest.get(1..)?.split(quote).next(),
        None => rest.split_whitespace().next(),
    }
}

/// Returns the release of the kernel that a line loads.
fn kernel_of(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let command = words.next()?;
    let image = words.next()?.rsplit('/').next()?;
    let release = IMAGES.iter().find_map(|start| image.strip_prefix(start));
    release.filter(|_| COMMANDS.contains(&command))
}

/// Tells whether the menu boots what GRUB's environment says.
pub fn asks_environment(menu: &str) -> bool {
    let mut lines = menu.lines().map(str::trim);
    lines.any(|line| line.starts_with("set default=") && line.contains("${saved_entry}"))
}

/// Returns the menu with a word more for a kernel, wherever it is loaded.
pub fn with_word(menu: &str, kernel: &str, word: &str) -> String {
    let lines = menu.split_inclusive('\n').map(|line| {
        match (
            kernel_of(line.trim()) == Some(kernel),
            line.strip_suffix('\n'),
        ) {
            (true, Some(text)) => format!("{text} {word}\n"),
            _ => line.to_owned(),
        }
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::{MenuEntry, asks_environment, entries, with_word};

    const MENU: &str = r#"
function gfxmode {
	set gfxpayload="${1}"
}
menuentry 'Debian GNU/Linux' --class os $menuentry_id_option 'gnulinux-simple-u' {
	if [ x$grub_platform = xxen ]; then insmod xzio; fi
	linux	/boot/vmlinuz-6.1.0-2 root=UUID=u ro
	initrd	/boot/initrd.img-6.1.0-2
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced-u' {
	menuentry 'It'\''s 2' --class os $menuentry_id_option 'gnulinux-6.1.0-2-advanced-u' {
		linux	/boot/vmlinuz-6.1.0-2 root=UUID=u ro
	}
	menuentry "1" --id gnulinux-1 {
		linux16	/@rootfs/boot/vmlinuz-6.1.0-1 root=UUID=u ro
	}
	menuentry 'no id' {
		linux	/vmlinuz-6.1.0-1
	}
}
menuentry 'System setup' $menuentry_id_option 'uefi-firmware' {
	fwsetup
}
"#;

    #[test]
    fn entries_are_named_with_the_submenus_around_them() {
        let entry = |id: &str, kernel: &str| MenuEntry {
            id: id.to_owned(),
            kernel: kernel.to_owned(),
        };
        assert_eq!(
            entries(MENU),
            [
                entry("gnulinux-simple-u", "6.1.0-2"),
                entry("gnulinux-advanced-u>gnulinux-6.1.0-2-advanced-u", "6.1.0-2"),
                entry("gnulinux-advanced-u>gnulinux-1", "6.1.0-1"),
            ]
        );
        for odd in [
            "",
            "}\n}\n",
            "menuentry {\nlinux\n",
            "menuentry 'a' --id ' {\n linux /vmlinuz-1\n",
        ] {
            drop(entries(odd));
        }
    }

    #[test]
    fn a_menu_that_asks_no_environment_is_known() {
        for (menu, asks) in [
            ("else\n   set default=\"${saved_entry}\"\nfi\n", true),
            (
                "   set default=\"0\"\n  set saved_entry=\"${prev_saved_entry}\"\n",
                false,
            ),
            (MENU, false),
        ] {
            assert_eq!(asks_environment(menu), asks, "{menu}");
        }
    }

    #[test]
    fn a_word_goes_to_one_kernel_alone() {
        let menu = with_word(MENU, "6.1.0-2", "panic=60");
        assert_eq!(menu.matches(" ro panic=60\n").count(), 2);
        assert!(menu.contains("vmlinuz-6.1.0-1 root=UUID=u ro\n"));
        assert_eq!(menu.replace(" panic=60", ""), MENU);
    }
}
