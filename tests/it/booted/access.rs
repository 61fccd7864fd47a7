//! Clones into which the run gets by another way than into the target before, or no more.

use super::pair::Pair;
use crate::support::can_run;
use crate::support::machine::{BOOTED, Network, Recipe};
use crate::support::places::assert_code;

#[test]
fn a_clone_that_lets_root_in_no_more_is_seen_from_outside() {
    let test = "a_clone_that_lets_root_in_no_more_is_seen_from_outside";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    pair.start();
    // The source's server runs on with what it has read.
    pair.source
        .ask("sed -i '1i PermitRootLogin no' /etc/ssh/sshd_config");
    let outcome = pair.clone_with(&[]);
    assert_code(&outcome, 0, "a clone without a login for root");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("[ssh-root-login]"), "{said}");
    assert!(said.contains("this login is closed now"), "{said}");
    assert_eq!(pair.target.boots(), 2, "{said}");
    assert_eq!(pair.target.ask("cat /srv/marker"), "source\n");
    assert_ne!(pair.target.ssh("true").code, Some(0), "root gets in");
    // Until somebody confirms the clone, or the time is over.
    let waits = "systemctl is-active instancesync-guard.service || systemctl show -p ActiveState instancesync-guard.service";
    let waits = pair.target.ask(waits);
    assert!(waits.contains("activ"), "nobody takes the key out: {waits}");
}

#[test]
fn a_clone_in_place_that_lets_root_in_no_more_has_no_key_of_the_run() {
    let test = "a_clone_in_place_that_lets_root_in_no_more_has_no_key_of_the_run";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    pair.start();
    pair.source
        .ask("sed -i '1i PermitRootLogin no' /etc/ssh/sshd_config");
    let outcome = pair.clone_with(&["--in-place"]);
    assert_code(&outcome, 0, "a clone in place without a login for root");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("this login is closed now"), "{said}");
    assert_eq!(pair.target.boots(), 2, "{said}");
    let keys = pair.target.ask("cat /root/.ssh/authorized_keys || :");
    assert!(!keys.contains("instancesync:"), "{keys}");
}

#[test]
fn a_target_that_takes_the_place_of_the_source_is_known_by_the_keys_of_the_source() {
    let test = "a_target_that_takes_the_place_of_the_source_is_known_by_the_keys_of_the_source";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    pair.start();
    let outcome = pair.clone_with(&["--identity-policy", "move"]);
    assert_code(&outcome, 0, "a source that moves");
    let keys = "cat /etc/ssh/ssh_host_*_key.pub /etc/machine-id";
    assert_eq!(pair.target.ask(keys), pair.source.ask(keys));
    assert_eq!(pair.target.boots(), 2);
}
