//! A throw-away ssh-agent that holds one key. Knows nothing of the crate under test.
#![allow(
    clippy::unwrap_used,
    clippy::let_underscore_must_use,
    reason = "a test may panic, and cleans up as far as it can"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// LIMIT: how long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running ssh-agent; dropping it ends it.
pub struct KeyAgent {
    process: Child,
    socket: PathBuf,
}

impl KeyAgent {
    /// Starts one with a socket in `dir`, and gives it the private key of a file.
    pub fn start(dir: &Path, key: &Path) -> KeyAgent {
        let socket = dir.join("agent");
        let mut command = Command::new("ssh-agent");
        command.args(["-D", "-a"]).arg(&socket);
        let process = command.stdout(Stdio::null()).spawn().unwrap();
        let agent = KeyAgent { process, socket };
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut add = Command::new("ssh-add");
            let added = add.arg(key).env("SSH_AUTH_SOCK", &agent.socket).output();
            let added = added.unwrap();
            if added.status.success() {
                return agent;
            }
            // It may not listen yet.
            assert!(Instant::now() < deadline, "{added:?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// The value of SSH_AUTH_SOCK.
    pub fn socket(&self) -> &Path {
        &self.socket
    }
}

impl Drop for KeyAgent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
