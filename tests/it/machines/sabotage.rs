//! Sources with something that serves them well and is deadly on their clone, where a machine really
//! boots: the check refuses it, or the clone gives way by itself. More of them are in `booted`.

use super::pair::Pair;
use crate::support::can_run;
use crate::support::machine::Network;
use crate::support::sabotage::{DISK, ROUTE};
use crate::support::vm::{Recipe, VIRTUAL};

/// What is wrong with a source, how that ends, and what has to come of it.
struct Sabotage {
    name: &'static str,
    /// Said to a shell of the source before the run.
    command: &'static str,
    /// Said to it afterwards.
    repair: &'static str,
    expected: Expected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Nothing is switched, and the run says this.
    Refused(&'static str),
    /// The old system comes back by itself, and the run says this.
    TakenBack(&'static str),
}

const SABOTAGES: [Sabotage; 3] = [
    Sabotage {
        name: "no init",
        command: "mv /sbin/init /sbin/init.away",
        repair: "mv /sbin/init.away /sbin/init",
        expected: Expected::Refused("init"),
    },
    Sabotage {
        name: "a route to nowhere",
        command: ROUTE,
        repair: "systemctl --quiet disable route.service
            rm /etc/systemd/system/route.service && ip route del blackhole 192.0.2.1/32",
        expected: Expected::TakenBack("the source did not confirm it within 120 s"),
    },
    Sabotage {
        name: "a disk that only the source has, for its local file systems",
        command: DISK,
        repair: "systemctl --quiet disable srv-disk.mount
            rm /etc/systemd/system/srv-disk.mount /etc/systemd/system/dev-disk-by*.device",
        expected: Expected::TakenBack("the source did not confirm it within 120 s"),
    },
];

#[test]
#[ignore = "virtual machines, minutes each: scripts/test --machines"]
fn what_would_cut_the_clone_off_never_costs_the_target() {
    let test = "what_would_cut_the_clone_off_never_costs_the_target";
    if !can_run(test, VIRTUAL) {
        return;
    }
    let network = Network::new();
    let pair = Pair::start(&network, &Recipe::SOURCE, &Recipe::TARGET);
    for sabotage in SABOTAGES {
        pair.source.ask(sabotage.command);
        clone_it(&pair, &sabotage);
        println!("{}: {:?}", sabotage.name, sabotage.expected);
        pair.source.ask(sabotage.repair);
    }
}

fn clone_it(pair: &Pair<'_>, sabotage: &Sabotage) {
    let boot = || pair.target.ask("cat /proc/sys/kernel/random/boot_id");
    let before = (boot(), pair.target_is_booted_by());
    let outcome = pair.launch("--confirm-within 120").wait();
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    let (code, words) = match sabotage.expected {
        Expected::Refused(words) => (3, words),
        Expected::TakenBack(words) => (1, words),
    };
    assert_eq!(outcome.code, Some(code), "{}: {said}", sabotage.name);
    assert!(said.contains(words), "{}: {said}", sabotage.name);
    assert_eq!(
        pair.target.ask("cat /etc/marker"),
        "target\n",
        "{}",
        sabotage.name
    );
    assert_eq!(
        boot() == before.0,
        matches!(sabotage.expected, Expected::Refused(_)),
        "{}",
        sabotage.name
    );
    assert_eq!(
        pair.target_is_booted_by(),
        before.1,
        "{}: by another loader or kernel",
        sabotage.name
    );
}
