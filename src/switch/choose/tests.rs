//! What moves and what stays, as tables. Knows nothing of files.

use super::*;
use crate::entry::Metadata;
use crate::exclude::{Rule, Rules, Verdict};

const MOUNT: Found = Found {
    inode: 2,
    is_directory: true,
    is_mount: true,
    is_empty: false,
};
const DIRECTORY: Found = Found {
    inode: 3,
    is_directory: true,
    is_mount: false,
    is_empty: false,
};
const EMPTY: Found = Found {
    inode: 4,
    is_directory: true,
    is_mount: false,
    is_empty: true,
};
const FILE: Found = Found {
    inode: 5,
    is_directory: false,
    is_mount: false,
    is_empty: false,
};

fn path(text: &str) -> RelPath {
    RelPath::new(text.as_bytes()).unwrap()
}

fn rules() -> Rules {
    let skip = |pattern| Rule::new(Verdict::Skip, pattern, "test");
    Rules::new(vec![
        Rule::new(Verdict::Keep, "/boot/***", "test"),
        skip("/tmp/**"),
        skip("/proc/**"),
        skip("/half/*/"),
        skip("/home/quarantine/"),
        skip("/edited"),
        skip("/labels"),
    ])
    .unwrap()
}

#[test]
fn names_move_unless_they_belong_to_the_target() {
    use Choice::{Alone, Moves};
    let other_file = Found { inode: 6, ..FILE };
    for (name, live, side, expected) in [
        ("etc", Some(DIRECTORY), Some(DIRECTORY), Some(Alone)),
        ("etc", Some(DIRECTORY), Some(EMPTY), Some(Moves)),
        ("lib", Some(FILE), Some(other_file), Some(Moves)),
        ("lib", Some(FILE), Some(DIRECTORY), Some(Moves)),
        ("new", None, Some(DIRECTORY), Some(Moves)),
        ("gone", Some(FILE), None, Some(Moves)),
        ("gone", Some(DIRECTORY), None, Some(Moves)),
        ("swapfile", Some(FILE), Some(FILE), Some(Alone)),
        ("boot", Some(DIRECTORY), Some(EMPTY), Some(Alone)),
        ("boot", Some(MOUNT), Some(EMPTY), Some(Alone)),
        ("tmp", Some(DIRECTORY), Some(EMPTY), Some(Alone)),
        ("tmp", Some(DIRECTORY), None, Some(Alone)),
        ("tmp", None, Some(EMPTY), Some(Moves)),
        ("tmp", Some(FILE), Some(EMPTY), Some(Moves)),
        ("half", Some(DIRECTORY), Some(EMPTY), Some(Moves)),
        ("tmp", Some(EMPTY), Some(DIRECTORY), Some(Moves)),
        ("proc", Some(MOUNT), Some(EMPTY), Some(Alone)),
        ("proc", Some(MOUNT), Some(DIRECTORY), Some(Alone)),
        ("data", Some(MOUNT), Some(EMPTY), Some(Alone)),
        ("data", Some(MOUNT), None, Some(Alone)),
        ("data", Some(MOUNT), Some(DIRECTORY), None),
        ("data", Some(MOUNT), Some(FILE), None),
        ("data", Some(DIRECTORY), Some(MOUNT), None),
        ("labels", None, Some(FILE), Some(Alone)),
        ("edited", None, Some(FILE), Some(Moves)),
        ("apart", Some(DIRECTORY), Some(EMPTY), Some(Alone)),
        ("apart", Some(DIRECTORY), None, Some(Alone)),
        ("apart", Some(EMPTY), Some(DIRECTORY), Some(Moves)),
        ("apart", None, Some(EMPTY), Some(Moves)),
        ("home/quarantine", Some(DIRECTORY), Some(EMPTY), Some(Alone)),
        ("home/lost+found", Some(DIRECTORY), None, Some(Alone)),
        (".instancesync", Some(DIRECTORY), None, Some(Alone)),
    ] {
        let scope = Scope {
            volumes: &[],
            rules: &rules(),
            apart: &[path("apart")],
            edited: &[path("edited")],
        };
        let choice = choose(&Seen { live, side }, &path(name), &scope);
        assert_eq!(choice.ok(), expected, "{name}: {live:?} {side:?}");
    }
}

#[test]
fn on_the_way_back_only_what_was_left_alone_stays() {
    use Choice::{Alone, Moves};
    for (name, live, side, expected) in [
        ("boot", Some(DIRECTORY), Some(EMPTY), Some(Alone)),
        ("etc", Some(DIRECTORY), Some(EMPTY), Some(Moves)),
        ("made-since", Some(FILE), None, Some(Moves)),
        ("vanished", None, Some(FILE), Some(Moves)),
        ("mounted-since", Some(MOUNT), None, Some(Alone)),
        ("mounted-since", Some(MOUNT), Some(EMPTY), None),
        (".instancesync", Some(DIRECTORY), None, Some(Alone)),
    ] {
        let alone = [Name::new(b"boot").unwrap()];
        let choice = choose_back(&Seen { live, side }, &path(name), &alone);
        assert_eq!(choice.ok(), expected, "{name}: {live:?} {side:?}");
    }
}

#[test]
fn what_programs_are_loaded_from_goes_last() {
    let part = |volume: &str, names: &[&str]| Part {
        volume: path(volume),
        alone: Vec::new(),
        steps: names
            .iter()
            .map(|name| Step {
                name: Name::new(name.as_bytes()).unwrap(),
                old: None,
                new: None,
            })
            .collect(),
        old_top: Metadata::default(),
        new_top: Metadata::default(),
    };
    let root = part("", &["bin", "boot", "etc", "lib64", "root", "srv", "usr"]);
    let boot = part("boot", &["grub", "initrd.img-2", "vmlinuz-2"]);
    let parts = [root, part("home", &["a"]), part("var", &["log"]), boot];
    let order = |is_back| -> Vec<String> {
        let steps = in_order(&parts, is_back).into_iter();
        let paths = steps.map(|(index, step)| parts[index].volume.join(&step.name));
        paths.map(|path| absolute(&path)).collect()
    };
    let system = [
        "/root", "/srv", "/home/a", "/var/log", "/etc", "/bin", "/lib64", "/usr",
    ];
    let kernels = ["/boot", "/boot/initrd.img-2", "/boot/vmlinuz-2"];
    assert_eq!(
        order(false),
        [&system[..], &kernels, &["/boot/grub"]].concat()
    );
    // On the way back the menu of the old kernels is there before anything else.
    assert_eq!(
        order(true),
        [&["/boot/grub"][..], &kernels, &system].concat()
    );
}
