//! The run's key: installed on the target so that a lost link asks for no password, and taken out
//! again. Knows nothing of how a key is made or a file of keys edited.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::{Access, End, Session};
use crate::failure::Failure;
use crate::monitor::Event;
use crate::ssh::RunKey;
use crate::switch::RunLogin;
use crate::transfer::wire::message::{Down, KeyRequest, Up};

/// The run's key and the request that removes it.
pub(super) struct InstalledKey {
    key: RunKey,
    request: KeyRequest,
}

impl Access<'_> {
    /// Installs a fresh key, so that a lost link asks for no password. Going without it is worth
    /// a notice, not the run. WIRE[key]
    pub fn install_key(&mut self, session: &Session) {
        let End::Machine { target, .. } = &session.end else {
            return; // A directory of this machine needs none.
        };
        let key = self
            .key
            .take()
            .map_or_else(RunKey::generate, |installed| installed.key);
        let request = KeyRequest {
            home: target.home.clone().into_bytes(),
            uid: target.uid,
            key: Some(key.public_line("").trim().to_owned()),
            pair: self.pair.clone(),
            nonce: nonce(),
        };
        match key_done(session.ask(&Down::Key(request.clone()), choose_done)) {
            Ok(()) => self.login.run_key = Some(key.clone()),
            Err(why) => {
                let outlook = match self.can_reopen() {
                    true => "",
                    false => ", a lost link will end the run",
                };
                let text = format!("target: the run's key is not installed{outlook}: {why}");
                self.monitor.event(Event::Notice(text));
            }
        }
        self.key = Some(InstalledKey {
            key,
            request: KeyRequest {
                key: None,
                ..request
            },
        });
    }

    /// Tells whether an earlier run of the pair has left its key on the target. Installing one takes
    /// its place, and that is taken out at the end.
    pub fn is_key_left(session: &Session) -> bool {
        matches!(&session.end, End::Machine { target, .. } if target.has_left_key)
    }

    /// Puts the key in again after a lost link, where there was one: the agent of that link may have
    /// taken it out.
    pub fn renew_key(&mut self, session: &Session) {
        if self.key.is_some() {
            self.install_key(session);
        }
    }

    /// Names the run's key where it lies on the target; `None` where none is installed.
    ///
    /// `limit_s` is how long it stays, in seconds, where nobody takes it out.
    pub fn run_login(&self, limit_s: u64) -> Option<RunLogin> {
        let installed = self.key.as_ref()?;
        self.login.run_key.as_ref()?;
        let home = OsStr::from_bytes(&installed.request.home);
        Some(RunLogin {
            pair: self.pair.clone(),
            home: home.into(),
            uid: installed.request.uid,
            limit_s,
        })
    }

    /// Tells that the run's key stays on a target that was not seen again.
    pub fn leave_key(&mut self) {
        let is_there = self.login.run_key.take().is_some();
        if let Some(installed) = self.key.take().filter(|_| is_there) {
            let home = String::from_utf8_lossy(&installed.request.home);
            let text = format!(
                "target: the run's key stays in {home}/.ssh/authorized_keys: the next run takes it \
                 out, or remove its line (instancesync:{})",
                self.pair
            );
            self.monitor.event(Event::Notice(text));
        }
    }

    /// Takes the run's key out of the target again, if there is one, and ends the session.
    /// `is_idle` says that the agent has answered to everything.
    pub fn leave(&mut self, session: Session, is_idle: bool) {
        let installed = self.key.take();
        let is_there = self.login.run_key.take().is_some();
        let Some(installed) = installed.filter(|_| is_there) else {
            return match is_idle {
                true => session.hang_up(),
                false => session.close(),
            };
        };
        match key_done(session.ask(&Down::Key(installed.request), choose_done)) {
            Ok(()) => session.hang_up(),
            Err(why) => {
                let text = format!("target: the run's key is still in authorized_keys: {why}");
                self.monitor.event(Event::Notice(text));
                session.close();
            }
        }
    }
}

fn choose_done(message: Up) -> Option<Result<(), String>> {
    match message {
        Up::KeyDone(done) => Some(done),
        _ => None,
    }
}

fn key_done(answer: Result<Result<(), String>, Failure>) -> Result<(), String> {
    answer.map_err(|failure| failure.to_string())?
}

/// Names one session.
fn nonce() -> String {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    format!("{:x}-{:x}", now.as_micros(), std::process::id())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Access, InstalledKey};
    use crate::monitor::{Event, RecordingMonitor};
    use crate::prompter::NobodyThere;
    use crate::settings::{HostKeyPolicy, LoginSettings};
    use crate::ssh::RunKey;
    use crate::transfer::wire::link::LinkSettings;
    use crate::transfer::wire::message::KeyRequest;

    #[test]
    fn a_key_that_stays_is_told_once_with_its_place() {
        let login = LoginSettings {
            default_user: "root".to_owned(),
            identities: Vec::new(),
            password: None,
            known_hosts: None,
            unknown_host_key: HostKeyPolicy::AcceptNew,
        };
        let monitor = RecordingMonitor::default();
        let told = (&NobodyThere as _, &monitor as _);
        let (root, link) = (Path::new("/"), LinkSettings::default());
        let mut access = Access::new("192.0.2.2", &login, root, link, told).unwrap();
        access.leave_key();
        assert_eq!(monitor.events().len(), 0, "there is none");
        let key = RunKey::generate();
        access.login.run_key = Some(key.clone());
        let request = KeyRequest {
            home: b"/home/a".to_vec(),
            uid: 1000,
            key: None,
            pair: access.pair.clone(),
            nonce: "n1".to_owned(),
        };
        access.key = Some(InstalledKey { key, request });
        access.leave_key();
        access.leave_key();
        let [Event::Notice(text)] = &monitor.events()[..] else {
            panic!("{:?}", monitor.events());
        };
        assert!(text.contains("/home/a/.ssh/authorized_keys"), "{text}");
    }
}
