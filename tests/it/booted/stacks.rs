//! Network stacks of Debian: whatever source and target use, the target comes back reachable or
//! the plan refuses.

use super::pair::Pair;
use crate::support::can_run;
use crate::support::machine::{BOOTED, Machine, Network, Recipe, Stack};

const ALL: [Stack; 4] = [
    Stack::Ifupdown,
    Stack::Networkd,
    Stack::Netplan,
    Stack::NetworkManager,
];
/// Of source and target; the others are tried with INSTANCESYNC_ALL=1.
const SOME: [(Stack, Stack); 3] = [
    (Stack::Ifupdown, Stack::Networkd),
    (Stack::Networkd, Stack::Ifupdown),
    (Stack::Netplan, Stack::Networkd),
];

fn pairs() -> Vec<(Stack, Stack)> {
    if std::env::var_os("INSTANCESYNC_ALL").is_none() {
        return SOME.to_vec();
    }
    let pairs = ALL.map(|source| ALL.map(|target| (source, target)));
    pairs.concat()
}

#[test]
fn every_stack_brings_its_machine_up() {
    if !can_run("every_stack_brings_its_machine_up", BOOTED) {
        return;
    }
    let mut stacks: Vec<Stack> = pairs().into_iter().map(|(source, _)| source).collect();
    stacks.dedup();
    for stack in stacks {
        let network = Network::new();
        let recipe = Recipe {
            stack,
            ..Recipe::default()
        };
        let mut machine = Machine::create(&network, "target", "192.0.2.2", &recipe);
        machine.start();
        assert_eq!(machine.ssh("hostname").stdout, "target\n", "{stack:?}");
    }
}

#[test]
fn a_clone_comes_back_on_the_targets_network_or_is_refused() {
    let test = "a_clone_comes_back_on_the_targets_network_or_is_refused";
    if !can_run(test, BOOTED) {
        return;
    }
    for (source, target) in pairs() {
        let outcome = clone_across(source, target);
        println!("{source:?} onto {target:?}: {outcome}");
    }
}

fn clone_across(source: Stack, target: Stack) -> &'static str {
    let recipe = |stack| Recipe {
        stack,
        ..Recipe::default()
    };
    let context = format!("{source:?} onto {target:?}");
    let network = Network::new();
    let mut pair = Pair::create(&network, &recipe(source), &recipe(target));
    pair.start();
    let boot = pair.target.boot_id();
    let outcome = pair.clone_with(&[]);
    match outcome.code {
        Some(3) => {
            let said = format!("{}{}", outcome.stdout, outcome.stderr);
            assert!(said.contains("[network-stack-"), "{context}: {said}");
            assert_eq!(pair.target.boot_id(), boot, "{context}");
            pair.target.wait_until_up();
            "refused"
        }
        Some(0) => {
            pair.target.wait_for_boot(2);
            assert_eq!(
                pair.target.ssh("cat /srv/marker").stdout,
                "source\n",
                "{context}"
            );
            "reachable"
        }
        _ => panic!("{context}: {outcome:#?}"),
    }
}
