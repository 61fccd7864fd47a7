//! The screens of status, rollback and discard. Knows nothing of how states come about.

use std::path::PathBuf;

use super::*;
use crate::boot::Booted;
use crate::switch::Left;

fn target(clone: State) -> TargetState {
    TargetState {
        root: PathBuf::from("/"),
        clone,
        needs_reboot: Some(false),
        staged_for: None,
        unconfirmed: None,
        taken_back: None,
        machine: None,
    }
}

fn switched() -> State {
    State::Switched {
        at_s: 1_790_000_000,
        names: 23,
        elapsed_us: 1840,
        volumes: vec!["/home".to_owned(), "/srv".to_owned()],
        memo: Box::default(),
    }
}

fn every_state() -> Vec<State> {
    vec![
        State::Nothing,
        State::Staging,
        State::Staged,
        switched(),
        State::Interrupted { rollback: false },
        State::Interrupted { rollback: true },
        State::Discarding,
    ]
}

#[test]
fn a_clone_that_booted_is_told_of_whole() {
    let mut state = target(switched());
    state.unconfirmed = Some(Booted {
        boot_id: "b".to_owned(),
        at_s: 1_790_000_060,
        boots: 1,
        is_well: false,
    });
    state.machine = Some(MachineState {
        boot_id: "5d6fc1a9-1b0f-4d6f-9c39-2b1c7a4c1f11".to_owned(),
        hostname: "web1".to_owned(),
        uptime_s: 41,
        system_state: Some("degraded".to_owned()),
        failed_units: vec!["a.service".to_owned()],
        missing_mounts: vec!["/data".to_owned()],
        addresses: vec!["192.0.2.7".to_owned(), "2001:db8::7".to_owned()],
        has_default_route: false,
    });
    insta::assert_snapshot!(status(&state), @r"
    clone
      root            /
      state           switched at 2026-09-21T14:13:20Z
      exchanged       23 names in 1.8 ms
      volumes         /, /home, /srv
      first boot      at 2026-09-21T14:14:20Z; no source has confirmed it yet
      next            'instancesync rollback' puts the old system back;
                      'instancesync discard' frees it

    machine
      host name       web1
      up for          41 s
      boot id         5d6fc1a9-1b0f-4d6f-9c39-2b1c7a4c1f11
      systemd         degraded
      failed units    a.service
      not mounted     /data
      addresses       192.0.2.7, 2001:db8::7
      default route   none
    ");
}

#[test]
fn what_is_about_to_happen_is_said() {
    let planned = RolledBack {
        names: 23,
        elapsed_us: 0,
        needs_reboot: true,
    };
    insta::assert_snapshot!(would_roll_back(&target(switched()), &planned), @r"
    This puts back the system that the clone replaced: 23 names. What changed on the
    clone since is kept beside it until it is discarded.
    The machine has to reboot afterwards.
    ");
    let done = RolledBack {
        elapsed_us: 12_345,
        ..planned
    };
    insta::assert_snapshot!(rolled_back(&done, false), @r"
    The old system is back: 23 names in 12.3 ms.
    Reboot the machine: the programs that run are still those of the clone.
    'instancesync discard' frees the clone.
    ");
    let freed = Freed {
        bytes: 3 << 30,
        entries: 1,
        ..Freed::default()
    };
    insta::assert_snapshot!(discarded(&freed), @"Freed 3.00 GiB in 1 entry.");
    let freed = Freed {
        left_count: 1,
        left: vec![Left {
            path: "/.instancesync/left-0/var/swapfile".to_owned(),
            cause: "delete: Operation not permitted".to_owned(),
        }],
        ..freed
    };
    let text = discarded(&freed);
    assert!(
        text.contains("/.instancesync/left-0/var/swapfile:"),
        "{text}"
    );
}

#[test]
fn every_screen_fits() {
    let done = |names, needs_reboot| RolledBack {
        names,
        elapsed_us: 999_999,
        needs_reboot,
    };
    let mut screens = Vec::new();
    for state in every_state() {
        let mut state = target(state);
        state.needs_reboot = Some(true);
        screens.push(status(&state));
        screens.push(would_discard(&state));
        for names in [0, 1, 1_000_000] {
            screens.push(would_roll_back(&state, &done(names, true)));
            screens.push(rolled_back(&done(names, true), true));
            screens.push(rolled_back(&done(names, false), false));
        }
    }
    for screen in screens {
        let widest = screen.lines().map(|line| line.chars().count()).max();
        assert!((1..=80).contains(&widest.unwrap_or(0)), "{screen}");
    }
}
