//! The table of pairs: every difference that machines have in firmware, disks, network and
//! kernel. Each pair comes back as the clone, or the plan refuses it and says why.

use super::pair::{Came, Pair};
use crate::support::can_run;
use crate::support::machine::Network;
use crate::support::vm::{Firmware, Kernel, Layout, Recipe, RootFs, Swap, VIRTUAL, VmStack};

/// One pair, and whether it is tried without `INSTANCESYNC_ALL=1`.
struct Row {
    name: &'static str,
    source: Recipe,
    target: Recipe,
    expected: Expected,
    is_short: bool,
}

#[derive(Clone, Copy, Debug)]
enum Expected {
    Clone,
    Refused(&'static str),
}

/// A pair that differs from the plainest one.
fn row(name: &'static str, source: Recipe, target: Recipe) -> Row {
    Row {
        name,
        source,
        target,
        expected: Expected::Clone,
        is_short: false,
    }
}

fn rows() -> Vec<Row> {
    [short(), refused(), long()].into_iter().flatten().collect()
}

fn short() -> Vec<Row> {
    let mut rows = vec![
        row("BIOS, ext4, other kernel", Recipe::SOURCE, Recipe::TARGET),
        row(
            "UEFI target, separate /boot, swap file, networkd",
            Recipe {
                stack: VmStack::Networkd,
                ..Recipe::SOURCE
            },
            Recipe {
                firmware: Firmware::Efi,
                layout: Layout::SeparateBoot,
                swap: Swap::File,
                stack: VmStack::Networkd,
                ..Recipe::TARGET
            },
        ),
    ];
    rows.iter_mut().for_each(|row| row.is_short = true);
    rows
}

fn refused() -> Vec<Row> {
    let no_tools = row(
        "LVM target, source without its tools",
        Recipe::SOURCE,
        Recipe {
            layout: Layout::Lvm,
            ..Recipe::TARGET
        },
    );
    let no_stack = row(
        "source without the target's network stack",
        Recipe {
            stack: VmStack::Networkd,
            ..Recipe::SOURCE
        },
        Recipe::TARGET,
    );
    vec![
        Row {
            expected: Expected::Refused("volumes-unsupported"),
            ..no_tools
        },
        Row {
            expected: Expected::Refused("network-stack-missing"),
            ..no_stack
        },
    ]
}

fn long() -> Vec<Row> {
    let (source, target) = (Recipe::SOURCE, Recipe::TARGET);
    let with_stack = |stack, recipe| Recipe { stack, ..recipe };
    let with_cloud_init = |recipe| Recipe {
        cloud_init: true,
        ..with_stack(VmStack::Netplan, recipe)
    };
    vec![
        row(
            "LVM target, source with LVM on UEFI, standard kernel",
            Recipe {
                firmware: Firmware::Efi,
                layout: Layout::Lvm,
                kernel: Kernel::Standard,
                ..source
            },
            Recipe {
                layout: Layout::Lvm,
                ..target
            },
        ),
        row(
            "btrfs with cloud-init and netplan, on both sides",
            Recipe {
                root: RootFs::Btrfs,
                ..with_cloud_init(source)
            },
            Recipe {
                root: RootFs::Btrfs,
                ..with_cloud_init(target)
            },
        ),
        row(
            "xfs target, separate /home, NetworkManager",
            with_stack(VmStack::NetworkManager, source),
            Recipe {
                root: RootFs::Xfs,
                layout: Layout::SeparateHome,
                ..with_stack(VmStack::NetworkManager, target)
            },
        ),
        row(
            "next release onto this one",
            Recipe {
                release: "trixie",
                kernel: Kernel::Cloud,
                ..source
            },
            target,
        ),
    ]
}

#[test]
#[ignore = "virtual machines, minutes each: scripts/test --machines"]
fn every_pair_comes_back_as_the_clone_or_is_refused_with_the_reason() {
    let test = "every_pair_comes_back_as_the_clone_or_is_refused_with_the_reason";
    if !can_run(test, VIRTUAL) {
        return;
    }
    let all = std::env::var("INSTANCESYNC_ALL").ok();
    let mut lines = Vec::new();
    for row in rows() {
        // A part of a name asks for those pairs alone.
        let is_meant = match all.as_deref() {
            None => row.is_short,
            Some("1") => true,
            Some(part) => row.name.contains(part),
        };
        if !is_meant {
            lines.push(format!(
                "| {} | not tried: INSTANCESYNC_ALL=1 | | |",
                row.name
            ));
            continue;
        }
        println!("{}", row.name);
        let network = Network::new();
        let mut pair = Pair::start(&network, &row.source, &row.target);
        let came = pair.clone_with("");
        lines.push(judge(&row, &came));
        println!("{}", lines.last().unwrap());
    }
    println!("| pair | came back | switch | away |\n{}", lines.join("\n"));
}

/// Asserts that it came as expected and returns the line of the table.
#[track_caller]
fn judge(row: &Row, came: &Came) -> String {
    match (came, row.expected) {
        (
            Came::Back {
                switch_us,
                away_seconds,
            },
            Expected::Clone,
        ) => {
            let switch_ms = *switch_us as f64 / 1000.0;
            format!(
                "| {} | as the clone | {switch_ms:.1} ms | {away_seconds} s |",
                row.name
            )
        }
        (Came::Refused(reasons), Expected::Refused(reason)) => {
            assert_eq!(reasons[..], [reason], "{}", row.name);
            format!("| {} | refused: `{reason}` | | |", row.name)
        }
        _ => panic!("{}: {came:?}, {:?} was expected", row.name, row.expected),
    }
}
