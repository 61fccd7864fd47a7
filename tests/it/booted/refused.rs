//! What stops a clone before its switch: the target stays what it was, and no key stays there.

use std::time::{Duration, Instant};

use super::pair::Pair;
use super::whole::{assert_is_as_before, assert_nothing_left};
use crate::support::binary::Outcome;
use crate::support::can_run;
use crate::support::machine::{BOOTED, Network, Recipe};
use crate::support::manifest::Manifest;
use crate::support::places::assert_code;

/// LIMIT: how long a run may take until it writes to the target.
const PATIENCE: Duration = Duration::from_secs(60);

/// Asserts that a run has changed nothing on the target, which runs on as it was.
#[track_caller]
fn assert_untouched(pair: &mut Pair<'_>, before: &Manifest, context: &str) {
    assert_eq!(pair.target.boots(), 1, "{context}: it has rebooted");
    assert_nothing_left(&pair.target, context);
    assert_is_as_before(pair, before, context);
}

#[track_caller]
fn assert_says(outcome: &Outcome, word: &str) {
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains(word), "no {word}: {said}");
}

#[test]
fn a_target_without_the_room_is_refused() {
    if !can_run("a_target_without_the_room_is_refused", BOOTED) {
        return;
    }
    let small = Recipe {
        size: "450M",
        ..Recipe::default()
    };
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &small);
    let fill = "head -c 400000000 /dev/urandom >/srv/blob";
    pair.source.disk().run(fill);
    let before = pair.target.manifest();
    pair.start();
    let outcome = pair.clone_with(&[]);
    assert_code(&outcome, 3, "a target that is too small");
    assert_says(&outcome, "[no-room]");
    assert_untouched(&mut pair, &before, "a target that is too small");
}

#[test]
fn a_source_whose_ssh_server_would_not_start_is_never_switched_to() {
    let test = "a_source_whose_ssh_server_would_not_start_is_never_switched_to";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    let before = pair.target.manifest();
    pair.start();
    // It runs on with what it has read.
    pair.source
        .ask("echo 'Nonsense yes' >>/etc/ssh/sshd_config");
    let outcome = pair.clone_with(&[]);
    assert_code(&outcome, 3, "settings with which sshd does not start");
    assert_says(&outcome, "check failed");
    assert_says(&outcome, "sshd");
    assert_untouched(&mut pair, &before, "a check that fails");
}

#[test]
fn a_disk_that_fills_up_in_mid_run_stops_before_the_switch() {
    let test = "a_disk_that_fills_up_in_mid_run_stops_before_the_switch";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    let fill = "head -c 300000000 /dev/urandom >/srv/blob";
    pair.source.disk().run(fill);
    let before = pair.target.manifest();
    pair.start();
    // Slow enough that the disk is full before the file is there.
    let run = pair.launch(&["--bwlimit", "30M"]);
    let deadline = Instant::now() + PATIENCE;
    while pair.target.run("test -e /.instancesync/stage").code != Some(0) {
        assert!(
            Instant::now() < deadline && run.is_running(),
            "{:#?}",
            run.outcome(None)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // All that root can have, some of it beyond what fallocate is given in one piece.
    pair.target
        .run("fallocate -l $(($(stat -f -c '%a * %S' /))) /var/tmp/filler");
    pair.target.run("cat /dev/zero >/var/tmp/rest");
    let outcome = run.wait();
    pair.target.ask("rm -f /var/tmp/filler /var/tmp/rest");
    assert_code(&outcome, 5, "a full disk");
    assert_untouched(&mut pair, &before, "a full disk");
    pair.target.start();
    assert_code(&pair.clone_with(&[]), 0, "the same command with room");
    assert_eq!(pair.target.ask("cat /srv/marker"), "source\n");
}
