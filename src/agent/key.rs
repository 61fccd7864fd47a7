//! The run's key as the agent holds it: put in and taken out on request, and taken out whatever
//! ends the agent, but for SIGKILL. Knows nothing of links and signals.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::authorized_keys::{self, Account, Owner, Which};
use crate::transfer::wire::message::KeyRequest;

/// How often it is looked for a successor.
const LOOKING: Duration = Duration::from_millis(500);

/// The key that is installed, if there is one.
#[derive(Debug, Default)]
pub struct HeldKey(Mutex<Option<KeyRequest>>);

impl HeldKey {
    /// Puts a key in, or takes it out. What goes wrong is told as text; a key that could not be taken
    /// out is still held, and taken out at the end.
    pub(super) fn carry_out(&self, request: KeyRequest) -> Result<(), String> {
        let mut held = self.locked();
        let done = edit(&request, |owner| Which::Pair(owner.pair));
        if done.is_ok() {
            *held = request.key.is_some().then_some(request);
        }
        done
    }

    /// Before the machine boots: leaves the key where it is for somebody else to take out, or
    /// takes it out now.
    pub(super) fn pass_on(&self, leaves_key: bool) {
        match leaves_key {
            true => *self.locked() = None,
            false => self.take_out(),
        }
    }

    /// Takes the key out, if there is one.
    pub fn take_out(&self) {
        if let Some(request) = self.locked().take() {
            let request = KeyRequest {
                key: None,
                ..request
            };
            // Nobody is left to hear that it failed; the next run removes the line then.
            drop(edit(&request, Which::Session));
        }
    }

    /// Gives the source time to come back with the key, then takes it out. An agent that it started
    /// meanwhile has put its own line in the place of ours.
    pub(super) fn outlive_link(&self, grace: Duration) {
        let until = Instant::now() + grace;
        while Instant::now() < until && self.locked().as_ref().is_some_and(is_installed) {
            std::thread::sleep(LOOKING);
        }
        self.take_out();
    }

    fn locked(&self) -> MutexGuard<'_, Option<KeyRequest>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn edit<'r>(request: &'r KeyRequest, which: impl Fn(Owner<'r>) -> Which<'r>) -> Result<(), String> {
    let (home, owner) = whose(request);
    let account = Account {
        home: &home,
        uid: request.uid,
    };
    let done = match &request.key {
        Some(key) => authorized_keys::install(account, key, owner),
        None => authorized_keys::remove(account, which(owner)),
    };
    done.map_err(|error| format!("{}: {error}: {}", home.display(), error.cause()))
}

fn is_installed(request: &KeyRequest) -> bool {
    let (home, owner) = whose(request);
    let account = Account {
        home: &home,
        uid: request.uid,
    };
    authorized_keys::is_installed(account, owner).unwrap_or(false)
}

fn whose(request: &KeyRequest) -> (PathBuf, Owner<'_>) {
    let owner = Owner {
        pair: &request.pair,
        nonce: &request.nonce,
    };
    (PathBuf::from(OsStr::from_bytes(&request.home)), owner)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::HeldKey;
    use crate::orders::Order;
    use crate::transfer::wire::message::KeyRequest;

    fn installing(home: &Path) -> KeyRequest {
        KeyRequest {
            home: home.as_os_str().as_encoded_bytes().to_vec(),
            uid: rustix::process::geteuid().as_raw(),
            key: Some("ssh-ed25519 AAAA".to_owned()),
            pair: "p1".to_owned(),
            nonce: "n1".to_owned(),
        }
    }

    #[test]
    fn a_key_that_could_not_be_taken_out_goes_at_the_end() {
        let home = tempfile::tempdir().unwrap();
        let request = installing(home.path());
        let held = HeldKey::default();
        held.carry_out(request.clone()).unwrap();
        let (ssh, aside) = (home.path().join(".ssh"), home.path().join("aside"));
        std::fs::rename(&ssh, &aside).unwrap();
        std::fs::write(&ssh, "in the way").unwrap();
        let removal = KeyRequest {
            key: None,
            ..request
        };
        held.carry_out(removal).unwrap_err();
        std::fs::remove_file(&ssh).unwrap();
        std::fs::rename(&aside, &ssh).unwrap();
        held.take_out();
        assert!(!ssh.join("authorized_keys").exists());
    }

    #[test]
    fn a_key_goes_with_the_agent_unless_somebody_else_takes_it_out() {
        let home = tempfile::tempdir().unwrap();
        let request = installing(home.path());
        let file = home.path().join(".ssh/authorized_keys");
        for end in [HeldKey::take_out, |held: &HeldKey| {
            held.outlive_link(Duration::ZERO);
        }] {
            let held = HeldKey::default();
            held.carry_out(request.clone()).unwrap();
            assert!(file.exists());
            end(&held);
            assert!(!file.exists());
        }
        for order in [
            Order::Reboot { returns: false },
            Order::Reboot { returns: true },
        ] {
            let held = HeldKey::default();
            held.carry_out(request.clone()).unwrap();
            held.pass_on(order.leaves_key());
            let stays = matches!(order, Order::Reboot { returns: true });
            assert_eq!(file.exists(), stays, "{order:?}");
            held.take_out();
            assert_eq!(file.exists(), stays, "it is not ours any more");
        }
    }
}
