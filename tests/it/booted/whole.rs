//! The main job, from a furnished source to a target in use, and every way back.

use super::differences::{between, since};
use super::pair::{Pair, owners};
use crate::support::binary::Outcome;
use crate::support::can_run;
use crate::support::machine::{BOOTED, Machine, Network, Recipe};
use crate::support::manifest::Manifest;
use crate::support::places::{assert_code, assert_none};

fn furnished(network: &Network) -> Pair<'_> {
    let pair = Pair::create(network, &Recipe::default(), &Recipe::default());
    pair.furnish();
    pair
}

/// Asserts that nothing of a run is on a running machine: no key, no process, no file.
#[track_caller]
pub fn assert_nothing_left(machine: &Machine<'_>, context: &str) {
    let keys = machine.ask("cat /root/.ssh/authorized_keys");
    assert!(
        !keys.contains("instancesync"),
        "{context}: a key stays: {keys}"
    );
    // What systemd remembers of a unit of ours goes with the boot.
    let places = "/etc /run /tmp /var/tmp /dev/shm /root";
    let find = format!(
        "find {places} '(' -path /run/systemd -o -path /run/lent ')' -prune -o -name '*instancesync*' -print"
    );
    let files = machine.ask(&find);
    assert_eq!(files, "", "{context}: files stay");
    let processes = machine.ask("grep -lzx 'agen[t]' /proc/[0-9]*/cmdline || true");
    assert_eq!(processes, "", "{context}: processes stay");
}

#[test]
fn a_target_in_use_becomes_the_clone_of_a_running_source_and_boots_as_it() {
    let test = "a_target_in_use_becomes_the_clone_of_a_running_source_and_boots_as_it";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = furnished(&network);
    pair.start();
    let (boot, source_boot) = (pair.target.boot_id(), pair.source.boot_id());
    let outcome = pair.clone_with(&["--json"]);
    assert_code(&outcome, 0, "the clone");
    assert_eq!(
        pair.source.boot_id(),
        source_boot,
        "the source has rebooted"
    );
    assert_eq!(pair.target.boots(), 2, "{outcome:#?}");
    assert_ne!(pair.target.boot_id(), boot);
    assert_was_switched_in_a_moment(&outcome);
    // Over its own address, checked by its own host key.
    pair.target.wait_until_up();
    assert_lives_as_the_source(&pair.target);
    assert_nothing_left(&pair.target, "the clone");
    let status = pair.order(&["status"]);
    assert_code(&status, 0, "status");
    assert!(status.stdout.contains("switched"), "{status:#?}");
    let source = pair
        .source
        .ask("systemctl is-active hello; cat /srv/beat/now");
    assert!(source.starts_with("active\n"), "{source}");
    let planned = pair.order(&["plan"]);
    assert!(planned.stdout.contains("previous-goes"), "{planned:#?}");
    pair.stop();
    assert_eq!(owners(&pair.target.disk()), ["source"]);
    let differences = between(&pair.source.manifest(), &pair.target.manifest());
    assert_none(&differences, "the clone is not its source");
}

/// What a run tells of its switch: microseconds, far below what a person notices.
#[track_caller]
fn assert_was_switched_in_a_moment(outcome: &Outcome) {
    let switched = outcome.events("switched");
    assert_eq!(switched.len(), 1, "{outcome:#?}");
    let elapsed_us = switched[0]["elapsed_us"].as_u64().unwrap();
    // Times are not asserted; that it is one is.
    assert!(elapsed_us > 0, "{switched:?}");
    println!("neither the one nor the other for {elapsed_us} us");
    let summary = outcome.events("summary");
    assert_eq!(summary[0]["switch_us"].as_u64(), Some(elapsed_us));
}

#[track_caller]
fn assert_lives_as_the_source(clone: &Machine<'_>) {
    assert_eq!(clone.ssh("hostname").stdout, "target\n");
    assert_eq!(clone.ask("gift"), "gift\n");
    assert_eq!(clone.ask("systemctl is-active hello"), "active\n");
    assert_eq!(clone.ask("systemctl list-units --failed --no-legend"), "");
    assert_eq!(clone.ask("cat /home/alice/note"), "a note of alice\n");
    clone.ask("dpkg --audit && dpkg -s gift >/dev/null && ! dpkg -s remnant 2>/dev/null");
    clone.ask("! id bob 2>/dev/null && test ! -e /home/bob");
    clone.ask("test ! -e /opt/remnant && test ! -e /srv/old && test ! -e /etc/remnant.conf");
    clone.ask("test ! -e /etc/systemd/system/remnant.service");
    let log = clone.ask("cat /var/log/instancesync/*.log && ls /var/lib/instancesync/*/state.json");
    assert!(log.contains("switched"), "how it came about: {log}");
    // The passwords, hashed again with the salt that stands there.
    for (account, password) in [("root", "secret-source"), ("alice", "correct horse")] {
        let hash = format!("sed -n 's/^{account}:\\([^:]*\\):.*/\\1/p' /etc/shadow");
        let hash = clone.ask(&hash);
        let again = format!(
            "perl -e 'print crypt($ARGV[0], $ARGV[1]), \"\\n\"' '{password}' '{}'",
            hash.trim()
        );
        assert_eq!(clone.ask(&again), hash, "{account} has another password");
    }
    // And by PAM, as a login asks it: from an account that is not root.
    let login = "printf 'correct horse\\n' | setpriv --reuid 65534 --clear-groups \
                 su alice -c 'id -un'";
    assert_eq!(clone.ask(login), "alice\n");
}

/// Takes the target off and asserts that it is what it was before.
#[track_caller]
pub fn assert_is_as_before(pair: &mut Pair<'_>, before: &Manifest, context: &str) {
    pair.target.stop();
    assert_eq!(owners(&pair.target.disk()), ["target"], "{context}");
    assert_none(&since(before, &pair.target.manifest()), context);
}

#[test]
fn a_switch_is_taken_back_before_the_reboot() {
    if !can_run("a_switch_is_taken_back_before_the_reboot", BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = furnished(&network);
    let before = pair.target.manifest();
    pair.start();
    let boot = pair.target.boot_id();
    assert_code(&pair.clone_with(&["--no-reboot"]), 0, "the clone");
    assert_eq!(pair.target.boot_id(), boot, "it has rebooted");
    assert_eq!(pair.target.ask("cat /srv/marker"), "source\n");
    assert_code(&pair.order(&["rollback", "--yes"]), 0, "the rollback");
    assert_eq!(pair.target.ask("cat /srv/marker"), "target\n");
    assert_nothing_left(&pair.target, "taken back");
    assert_is_as_before(&mut pair, &before, "taken back before the reboot");
}

#[test]
fn a_clone_that_has_booted_is_taken_back_from_the_source_and_from_its_console() {
    let test = "a_clone_that_has_booted_is_taken_back_from_the_source_and_from_its_console";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = furnished(&network);
    let before = pair.target.manifest();
    pair.start();
    assert_code(&pair.clone_with(&[]), 0, "the clone");
    assert_eq!(pair.target.ask("cat /srv/marker"), "source\n");
    assert_code(
        &pair.order(&["rollback", "--yes", "--reboot"]),
        0,
        "the rollback",
    );
    pair.target.wait_for_boot(3);
    assert_nothing_left(&pair.target, "taken back over SSH");
    assert_is_as_before(&mut pair, &before, "taken back over SSH");

    pair.target.start();
    assert_code(&pair.clone_with(&[]), 0, "the clone again");
    let console = pair.target.launch(&[
        "/.instancesync/instancesync",
        "rollback",
        "--yes",
        "--reboot",
    ]);
    let outcome = console.wait();
    // The machine may go down under the command.
    assert!(
        matches!(outcome.code, Some(0) | None),
        "the rollback: {outcome:#?}"
    );
    pair.target.wait_for_boot(3);
    assert_is_as_before(&mut pair, &before, "taken back from the console");
}

#[test]
fn a_clone_that_is_good_sets_the_old_system_free() {
    if !can_run("a_clone_that_is_good_sets_the_old_system_free", BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = furnished(&network);
    pair.start();
    assert_code(&pair.clone_with(&[]), 0, "the clone");
    assert_code(&pair.order(&["discard", "--yes"]), 0, "discard");
    let left = pair.target.ask("ls -A /.instancesync 2>/dev/null || true");
    assert!(!left.contains("previous"), "{left}");
    let refused = pair.order(&["rollback", "--yes"]);
    assert_ne!(refused.code, Some(0), "a rollback to nothing: {refused:#?}");
    pair.stop();
    let differences = between(&pair.source.manifest(), &pair.target.manifest());
    assert_none(&differences, "the clone without a way back");
}
