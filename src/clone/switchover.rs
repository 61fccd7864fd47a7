//! From the stage to the switch: what a run finds on the target when it begins, the check of the
//! stage, and the moment in which it takes its place. Knows nothing of how either is done.

use super::Run;
use super::comeback::came_back;
use super::ending::Trouble;
use super::fixups::Agreed;
use super::start::{Clear, Start, Wish, start_of};
use crate::check::{CheckFacts, CheckOrder, CheckOutcome, CheckReport};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::{self, Event, Stage};
use crate::orders::{SwitchOrder, TakenBack};
use crate::session::Session;
use crate::switch::{Entrance, Freed, Probation, RunLogin, Witness};

impl Run<'_> {
    /// Makes room on the target for this run, and tells where it begins.
    pub(super) fn make_room(&self, session: &Session, agreed: &mut Agreed) -> Result<(), Failure> {
        let root = &*self.settings.target_dir;
        match agreed.start {
            Start::Reboot => self.notice("target: it was switched to the clone already"),
            Start::Verify => self.notice("target: it is the clone already, and is verified now"),
            Start::Anew(Clear::Nothing) => {}
            Start::Anew(Clear::Stage) => {
                self.notice("target: removing what an earlier run has staged");
                self.tell_left(&session.discard(root)?);
            }
            Start::Anew(Clear::Previous) => {
                self.notice("target: removing the system that the last switch replaced");
                self.tell_left(&session.discard(root)?);
            }
            Start::Anew(Clear::Cut) => {
                self.notice("target: repairing a switch that was cut");
                let state = session.repair(root)?;
                agreed.start = start_of(&state, &agreed.pair, self.wish())?;
                return self.make_room(session, agreed);
            }
        }
        Ok(())
    }

    /// Returns what this run is to do, as far as it decides where it begins.
    pub(super) fn wish(&self) -> Wish {
        Wish {
            resume: self.settings.course.resume,
            reboots: self.reboots().is_some(),
        }
    }

    /// What cannot be removed is in nobody's way; the next run tries again.
    fn tell_left(&self, freed: &Freed) {
        if let Some(first) = freed.left.first() {
            let (count, path, cause) = (freed.left_count, &first.path, &first.cause);
            self.notice(&format!(
                "target: {count} entries of it stay, the first is {path}: {cause}"
            ));
        }
    }

    /// Says something about the state of the run.
    pub(super) fn notice(&self, text: &str) {
        self.monitor.event(Event::Notice(text.to_owned()));
    }

    /// Has the stage prove that it can live; where it cannot, nothing of the target has changed.
    pub(super) fn check(&self, session: &Session, agreed: &Agreed) -> Result<(), Trouble> {
        self.monitor.event(Event::StageStarted(Stage::Check));
        let report = session.check(&CheckOrder {
            root: self.settings.target_dir.clone(),
            volumes: agreed.layout.volumes.clone(),
            facts: CheckFacts {
                pair: agreed.login.as_ref().and_then(returning_pair),
            },
        })?;
        for checked in &report.results {
            self.monitor.event(Event::Checked {
                id: checked.id.clone(),
                what: checked.what.clone(),
                outcome: match &checked.outcome {
                    CheckOutcome::Passed => monitor::CheckOutcome::Passed,
                    CheckOutcome::Failed(text) => monitor::CheckOutcome::Failed(text.clone()),
                    CheckOutcome::NotApplicable(why) => {
                        monitor::CheckOutcome::NotApplicable(why.clone())
                    }
                },
            });
        }
        Ok(refuse_unfit(&report)?)
    }

    /// Lets the stage take its place. Again over a new link it finds out that it has.
    pub(super) fn switch(
        &self,
        session: &Session,
        (agreed, is_ordered): (&Agreed, &mut bool),
    ) -> Result<(), Trouble> {
        self.monitor.event(Event::StageStarted(Stage::Switch));
        // The link was lost over it: the clone may have come, and gone again.
        if std::mem::replace(is_ordered, true) {
            let state = session.status(&self.settings.target_dir)?;
            if let Some(taken_back) = newly(&agreed.taken_back, &state.taken_back) {
                return Err(came_back(Some(taken_back)).into());
            }
        }
        let switched = session.switch(SwitchOrder {
            root: self.settings.target_dir.clone(),
            login: agreed.login.clone(),
            probation: self.probation(agreed),
            entrance: Entrance {
                is_closed: agreed.closes_login,
                ports: agreed.ssh_ports.clone(),
            },
            reboots: self.reboots().is_some(),
        })?;
        self.monitor.event(Event::Switched {
            elapsed_us: switched.elapsed_us,
            names: switched.names,
        });
        Ok(())
    }

    /// Returns what the clone has to show after its boot, if it is to stay. Who reboots it later
    /// comes without the source, and so does a run that its login is closed to.
    fn probation(&self, agreed: &Agreed) -> Option<Probation> {
        let limit = self.settings.course.confirm_within?;
        let comes = self.reboots().is_some() && !agreed.closes_login;
        Some(Probation {
            limit_s: limit.as_secs(),
            kernel: self.booted_kernel(agreed).map(str::to_owned),
            witness: match comes {
                true => Witness::Source,
                false => Witness::Clone {
                    ports: agreed.clone_ports.clone(),
                    wants_route: agreed.had_default_route,
                },
            },
        })
    }
}

/// Returns the pair whose key lets the run into the clone. The keys of another account than root
/// are the source's there, if it has that account at all.
fn returning_pair(login: &RunLogin) -> Option<String> {
    (login.uid == 0).then(|| login.pair.clone())
}

/// Returns what is known `now` of a clone that has given way, unless it was known `before`: the
/// note stays until names are exchanged anew.
fn newly<'n>(before: &Option<TakenBack>, now: &'n Option<TakenBack>) -> Option<&'n TakenBack> {
    now.as_ref().filter(|_| now != before)
}

fn refuse_unfit(report: &CheckReport) -> Result<(), Failure> {
    let ids: Vec<&str> = report
        .failures()
        .map(|(checked, _)| checked.id.as_str())
        .collect();
    if ids.is_empty() {
        return Ok(());
    }
    let what = format!(
        "the staged clone failed its check, so it was not switched to: {}",
        ids.join(", ")
    );
    Err(Failure::new(ExitCode::Refused, what)
        .hint("the target runs as before; correct what failed, on the source where nothing else is said, and run the same command again: it continues"))
}

#[cfg(test)]
mod tests {
    use super::{newly, returning_pair};
    use crate::boot::MachineState;
    use crate::orders::TakenBack;
    use crate::switch::RunLogin;

    #[test]
    fn a_clone_that_gave_way_before_the_run_is_none_of_its() {
        let note = |at_s| {
            Some(TakenBack {
                at_s,
                why: "it could not be reached".to_owned(),
                machine: MachineState::default(),
            })
        };
        let (old, new) = (note(1), note(2));
        assert_eq!(newly(&old, &old), None);
        assert_eq!(newly(&old, &None), None);
        assert_eq!(newly(&old, &new), new.as_ref());
        assert_eq!(newly(&None, &new), new.as_ref());
    }

    #[test]
    fn only_roots_key_has_to_be_in_the_clone() {
        let login = |uid, home: &str| RunLogin {
            pair: "ours".to_owned(),
            home: home.into(),
            uid,
            limit_s: 900,
        };
        let pair = returning_pair(&login(0, "/root"));
        assert_eq!(pair.as_deref(), Some("ours"));
        assert_eq!(returning_pair(&login(1000, "/home/ubuntu")), None);
    }
}
