//! Sources with something that serves them well and is deadly on their clone: the check refuses it,
//! or the clone gives way by itself, or the run says what is wrong with a clone that can be reached.

use super::guard::words;
use super::pair::Pair;
use super::whole::assert_is_as_before;
use crate::support::can_run;
use crate::support::machine::{BOOTED, Network, Recipe};
use crate::support::places::assert_code;
use crate::support::sabotage::{DISK, ROUTE};

/// What is wrong with a source, and what has to come of it.
struct Sabotage {
    name: &'static str,
    /// Said to a shell of the source before the run.
    command: &'static str,
    expected: Expected,
    /// Whether it is tried without `INSTANCESYNC_ALL=1`.
    is_short: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// Nothing is switched, and the run says this.
    Refused(&'static str),
    /// The old system comes back by itself, and the run says why.
    TakenBack,
    /// The clone stays, and the run ends in 23 and says this.
    Told(&'static str),
}

const FIREWALL: &str = "
    printf 'flush ruleset\\ntable inet filter {\\n chain input {\\n\
    type filter hook input priority 0; policy drop;\\n iif lo accept\\n ip daddr 192.0.2.1 accept\\n\
    }\\n}\\n' >/etc/nftables.conf
    systemctl --quiet enable --now nftables";
/// A server that has gone away: what would mount it waits.
const NFS: &str = "
    printf '#!/bin/sh\\nexec sleep infinity\\n' >/usr/sbin/mount.nfs
    chmod 755 /usr/sbin/mount.nfs
    mkdir -p /srv/files
    echo '192.0.2.77:/files /srv/files nfs defaults 0 0' >>/etc/fstab";
fn sabotages() -> Vec<Sabotage> {
    let sabotage = |name, command, expected| Sabotage {
        name,
        command,
        expected,
        is_short: matches!(command, FIREWALL),
    };
    vec![
        sabotage("a route to nowhere", ROUTE, Expected::TakenBack),
        sabotage(
            "a firewall for the source alone",
            FIREWALL,
            Expected::TakenBack,
        ),
        sabotage(
            "a server of files that is gone",
            NFS,
            Expected::Told("/srv/files"),
        ),
        sabotage(
            "a disk that only the source has, for its local file systems",
            DISK,
            Expected::TakenBack,
        ),
        sabotage(
            "a default target that is not there",
            "ln -sf /nowhere.target /etc/systemd/system/default.target",
            Expected::TakenBack,
        ),
        sabotage(
            "no init",
            "mv /sbin/init /sbin/init.away",
            Expected::Refused("init"),
        ),
        sabotage(
            "an init that does not start",
            "rm /sbin/init; echo exec >/sbin/init; chmod 755 /sbin/init",
            Expected::Refused("init"),
        ),
    ]
}

#[test]
fn what_would_cut_the_clone_off_never_costs_the_target() {
    let test = "what_would_cut_the_clone_off_never_costs_the_target";
    if !can_run(test, BOOTED) {
        return;
    }
    let is_asked = std::env::var_os("INSTANCESYNC_ALL").is_some();
    for sabotage in sabotages() {
        if is_asked || sabotage.is_short {
            clone_it(&sabotage);
            println!("{}: {:?}", sabotage.name, sabotage.expected);
        }
    }
}

fn clone_it(sabotage: &Sabotage) {
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    let before = pair.target.manifest();
    pair.start();
    pair.source.ask(sabotage.command);
    let outcome = pair.clone_with(&["--confirm-within", "25"]);
    let screen = format!("{}{}", outcome.stdout, outcome.stderr);
    let said = words(&screen);
    let (code, expected, boots) = match sabotage.expected {
        Expected::Refused(words) => (3, words, 1),
        Expected::TakenBack => (1, "the source did not confirm it within 25 s", 3),
        Expected::Told(words) => (23, words, 2),
    };
    assert_code(&outcome, code, sabotage.name);
    assert!(said.contains(expected), "{}: {screen}", sabotage.name);
    assert_eq!(pair.target.boots(), boots, "{}: {screen}", sabotage.name);
    if boots != 2 {
        let name = pair.target.ssh("hostname").stdout;
        assert_eq!(name, "target\n", "{}: out of reach", sabotage.name);
        assert_is_as_before(&mut pair, &before, sabotage.name);
    }
}
