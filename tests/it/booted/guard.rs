//! Clones on probation: one that nobody confirms, or that cannot be reached, gives way to the system
//! that it replaced, by itself.

use std::time::Duration;

use rustix::process::Signal;

use super::pair::{Pair, owners};
use super::whole::assert_is_as_before;
use crate::support::can_run;
use crate::support::machine::{BOOTED, Network, Recipe};
use crate::support::places::assert_code;

/// What a screen says, without its lines.
pub fn words(screen: &str) -> String {
    screen.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Kills the run on the source when it has switched, so that nobody confirms the clone.
fn lose_the_source(pair: &Pair<'_>, limit_s: &str) {
    let run = pair.launch(&["--confirm-within", limit_s]);
    pair.wait_for_journal(&run);
    run.signal(Signal::KILL);
    run.wait();
}

#[test]
fn a_clone_whose_source_is_gone_gives_way() {
    let test = "a_clone_whose_source_is_gone_gives_way";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    let before = pair.target.manifest();
    pair.start();
    lose_the_source(&pair, "15");
    // Into the clone, and back.
    pair.target.wait_for_boot(3);
    pair.target.wait_until_up();
    let status = pair.order(&["status"]);
    assert_code(&status, 0, "status");
    let said = words(&status.stdout);
    assert!(
        said.contains("the source did not confirm it within 15 s"),
        "{said}"
    );
    assert_is_as_before(&mut pair, &before, "the old system");
}

#[test]
fn a_clone_that_cannot_be_reached_gives_way_and_its_run_says_so() {
    let test = "a_clone_that_cannot_be_reached_gives_way_and_its_run_says_so";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    let before = pair.target.manifest();
    // Harmless on the source, deadly on its clone.
    pair.source.disk().put(
        "etc/systemd/system/ssh.service.d/cut.conf",
        "[Service]\nExecStartPre=/bin/sh -c 'test ! -e /.instancesync/booted'\n",
    );
    pair.start();
    let outcome = pair.clone_with(&["--confirm-within", "20"]);
    assert_code(&outcome, 1, "a clone that was taken back");
    let said = words(&format!("{}{}", outcome.stdout, outcome.stderr));
    assert!(
        said.contains("has come back as it was before the switch"),
        "{said}"
    );
    assert!(
        said.contains("the source did not confirm it within 20 s"),
        "{said}"
    );
    assert!(said.contains("was not seen to be the clone"), "{said}");
    assert_eq!(pair.target.boots(), 3, "{said}");
    assert_is_as_before(&mut pair, &before, "the old system");
}

#[test]
fn a_clone_that_a_person_confirms_stays() {
    let test = "a_clone_that_a_person_confirms_stays";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    pair.start();
    lose_the_source(&pair, "20");
    pair.target.wait_for_boot(2);
    pair.target.wait_until_up();
    let status = pair.order(&["status"]);
    assert!(
        words(&status.stdout).contains("keeps the clone"),
        "{status:#?}"
    );
    assert_code(&pair.order(&["confirm", "--yes"]), 0, "a confirmation");
    std::thread::sleep(Duration::from_secs(25));
    assert_eq!(pair.target.boots(), 2, "it was taken back");
    let again = pair.order(&["confirm", "--yes"]);
    assert!(
        words(&again.stdout).contains("confirmed already"),
        "{again:#?}"
    );
    pair.stop();
    assert_eq!(owners(&pair.target.disk()), ["source"]);
}
