//! Where a run begins, by what an earlier one has left on the target. Knows nothing of how anything
//! is removed or repaired.

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::orders::TargetState;
use crate::plan::Standing;
use crate::session::Session;
use crate::settings::{Manner, Reboot, Resume, Settings};
use crate::switch::{Entrance, Memo, State};

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// With the passes, when room was made for them.
    Anew(Clear),
    /// With the reboot: the run before came as far as the switch.
    Reboot,
    /// With the verification: the run before did not see the clone come back.
    Verify,
}

/// What has to go from the target, or be repaired there, before a stage can be built.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clear {
    /// Nothing: what lies in the stage is continued.
    Nothing,
    /// A stage that is not wanted.
    Stage,
    /// The system that the last switch replaced.
    Previous,
    /// A switch that was cut.
    Cut,
}

/// What a run is to do, as far as it decides where it begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    /// What becomes of a stage that is there.
    pub(super) resume: Resume,
    /// Whether it may reboot the target.
    pub(super) reboots: bool,
}

impl Wish {
    /// Returns what a run of these settings is to do, if nothing of it fails.
    fn of(settings: &Settings) -> Wish {
        let course = &settings.course;
        Wish {
            resume: course.resume,
            reboots: matches!(course.reboot, Reboot::Within(_)) && course.stop_after.is_none(),
        }
    }
}

/// Decides by the state of the target how a run of this `pair` begins.
pub(super) fn start_of(state: &TargetState, pair: &str, wish: Wish) -> Result<Start, Failure> {
    let is_waiting = state.needs_reboot == Some(true);
    let is_other = |other: &String| other != pair;
    Ok(match &state.clone {
        State::Switched { memo, .. } => {
            // Onto a directory of this machine nobody logs in.
            let is_ours = memo.login.as_ref().is_none_or(|login| login.pair == pair);
            return match (is_waiting, is_ours && wish.reboots) {
                (true, true) => Ok(Start::Reboot),
                (true, false) => Err(waits("a clone")),
                (false, _) => after_a_switch(state, memo, is_ours),
            };
        }
        _ if is_waiting => return Err(waits("what a rollback has brought back")),
        State::Nothing => Start::Anew(Clear::Nothing),
        State::Staging | State::Staged => match wish.resume {
            Resume::Never => Start::Anew(Clear::Stage),
            // Among ours would stay what the rules of its run protect.
            Resume::Auto if state.staged_for.as_ref().is_some_and(is_other) => {
                Start::Anew(Clear::Stage)
            }
            Resume::Auto => Start::Anew(Clear::Nothing),
        },
        State::Discarding => Start::Anew(Clear::Stage),
        State::Interrupted { .. } => Start::Anew(Clear::Cut),
    })
}

/// Tells a plan what a run of these settings would find on the target.
pub(crate) fn standing(
    session: &Session,
    settings: &Settings,
    pair: &str,
) -> Result<Standing, Failure> {
    if settings.manner != Manner::Staged {
        return Ok(Standing::Free);
    }
    let state = session.status(&settings.target_dir)?;
    Ok(match start_of(&state, pair, Wish::of(settings)) {
        Ok(Start::Anew(Clear::Previous)) => Standing::Replaced,
        Ok(Start::Anew(_)) => Standing::Free,
        Ok(Start::Reboot | Start::Verify) => Standing::Cloned,
        Err(refused) => Standing::Occupied(refused.to_string()),
    })
}

/// Returns what the plan of the run that switched said about getting into the clone.
pub(super) fn entrance_of(state: &TargetState) -> Entrance {
    match &state.clone {
        State::Switched { memo, .. } => memo.entrance.clone(),
        _ => Entrance::default(),
    }
}

fn after_a_switch(state: &TargetState, memo: &Memo, is_ours: bool) -> Result<Start, Failure> {
    let login_s = memo.login.as_ref().map_or(0, |login| login.limit_s);
    let probation_s = memo
        .probation
        .as_ref()
        .map_or(0, |probation| probation.limit_s);
    let limit_s = login_s.max(probation_s);
    let machine = state.machine.as_ref();
    let uptime_s = machine.map_or(u64::MAX, |machine| machine.uptime_s);
    // Later than that nobody waits for it, and a clone of then is none of now.
    let is_expected = state.unconfirmed.is_some() && uptime_s < limit_s;
    match (is_expected, is_ours) {
        (true, true) => Ok(Start::Verify),
        (true, false) => Err(Failure::new(
            ExitCode::Refused,
            "target: it has just become the clone of another run, which is to see it first",
        )
        .hint("wait for that run to end")),
        (false, _) => Ok(Start::Anew(Clear::Previous)),
    }
}

fn waits(what: &str) -> Failure {
    Failure::new(
        ExitCode::Refused,
        format!("target: it waits for the reboot into {what}"),
    )
    .hint("reboot it, or take a switch back with 'instancesync rollback --target ...'")
}

#[cfg(test)]
mod tests {
    use super::{Clear, Start, Wish, entrance_of, start_of};
    use crate::boot::{Booted, MachineState};
    use crate::exit::ExitCode;
    use crate::orders::TargetState;
    use crate::settings::Resume;
    use crate::switch::{Entrance, Memo, RunLogin, State};

    const WISH: Wish = Wish {
        resume: Resume::Auto,
        reboots: true,
    };

    fn state(clone: State) -> TargetState {
        TargetState {
            root: "/".into(),
            clone,
            needs_reboot: Some(false),
            staged_for: None,
            unconfirmed: None,
            taken_back: None,
            machine: Some(MachineState::default()),
        }
    }

    fn switched(pair: &str) -> TargetState {
        let login = RunLogin {
            pair: pair.to_owned(),
            home: "/root".into(),
            uid: 0,
            limit_s: 900,
        };
        state(State::Switched {
            at_s: 1,
            names: 9,
            elapsed_us: 200,
            volumes: Vec::new(),
            memo: Box::new(Memo {
                login: Some(login),
                entrance: Entrance {
                    is_closed: true,
                    ports: vec![2222],
                },
                ..Memo::default()
            }),
        })
    }

    fn starts(state: &TargetState, wish: Wish) -> Result<Start, ExitCode> {
        start_of(state, "ours", wish).map_err(|failure| failure.exit)
    }

    #[test]
    fn a_run_goes_on_where_its_own_stage_is_and_clears_what_is_not() {
        let anew = |clear| Ok(Start::Anew(clear));
        let staged_for = |pair: Option<&str>| TargetState {
            staged_for: pair.map(str::to_owned),
            ..state(State::Staged)
        };
        for (state, expected) in [
            (state(State::Nothing), Clear::Nothing),
            (state(State::Staging), Clear::Nothing),
            (staged_for(Some("ours")), Clear::Nothing),
            (staged_for(Some("theirs")), Clear::Stage),
            (state(State::Discarding), Clear::Stage),
            (switched("theirs"), Clear::Previous),
            (switched("ours"), Clear::Previous),
        ] {
            assert_eq!(starts(&state, WISH), anew(expected), "{state:?}");
        }
        let never = Wish {
            resume: Resume::Never,
            ..WISH
        };
        assert_eq!(starts(&staged_for(Some("ours")), never), anew(Clear::Stage));
    }

    #[test]
    fn what_waits_for_a_reboot_is_rebooted_by_its_own_run_only() {
        let waiting = |state| TargetState {
            needs_reboot: Some(true),
            ..state
        };
        let no_reboot = Wish {
            reboots: false,
            ..WISH
        };
        let (ours, refused) = (waiting(switched("ours")), Err(ExitCode::Refused));
        assert_eq!(starts(&ours, WISH), Ok(Start::Reboot));
        let entrance = entrance_of(&ours);
        assert_eq!((entrance.is_closed, &*entrance.ports), (true, &[2222][..]));
        assert_eq!(starts(&ours, no_reboot), refused);
        assert_eq!(starts(&waiting(switched("theirs")), WISH), refused);
        assert_eq!(starts(&waiting(state(State::Staging)), WISH), refused);
    }

    #[test]
    fn a_clone_that_nobody_has_seen_is_verified_while_somebody_waits_for_it() {
        let booted = |pair, uptime_s| TargetState {
            unconfirmed: Some(Booted {
                boot_id: "b".to_owned(),
                at_s: 1,
                boots: 1,
                is_well: false,
            }),
            machine: Some(MachineState {
                uptime_s,
                ..MachineState::default()
            }),
            ..switched(pair)
        };
        assert_eq!(starts(&booted("ours", 60), WISH), Ok(Start::Verify));
        assert_eq!(starts(&booted("theirs", 60), WISH), Err(ExitCode::Refused));
        for pair in ["ours", "theirs"] {
            let late = starts(&booted(pair, 900), WISH);
            assert_eq!(late, Ok(Start::Anew(Clear::Previous)));
        }
    }
}
