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
        let End::Machine {
            connection, target, ..
        } = &session.end
        else {
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
            Ok(()) => {
                self.login.run_key = Some(key.clone());
                self.login
                    .host_key_fingerprint
                    .get_or_insert_with(|| connection.host_key_fingerprint().to_owned());
            }
            Err(why) => {
                let text = format!(
                    "target: the run's key is not installed, a lost link will end the run: {why}"
                );
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

    /// Takes the run's key out of the target again, and ends the session.
    pub fn leave(&mut self, session: Session) {
        let installed = self.key.take();
        let is_there = self.login.run_key.take().is_some();
        let Some(installed) = installed.filter(|_| is_there) else {
            return session.close();
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
