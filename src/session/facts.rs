//! What the other machine is, and what it keeps: a question to the agent, an answer. Knows nothing of what the
//! facts are good for.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Session;
use crate::exclude::Rules;
use crate::exit::ExitCode;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::transfer::wire::message::{Down, Up};

impl Session {
    /// Returns the facts of the system below `root` (absolute, on the target). WIRE[facts]
    pub fn facts(&self, root: &Path) -> Result<Facts, Failure> {
        let question = Down::Facts {
            root: root.as_os_str().as_bytes().to_vec(),
        };
        let answer = self.ask(&question, |message| match message {
            Up::Facts(facts) => Some(facts),
            _ => None,
        })?;
        answer.map(|facts| *facts).map_err(|why| {
            Failure::new(
                ExitCode::Failed,
                format!("target: {}: {why}", root.display()),
            )
        })
    }

    /// Returns what `rules` keep of the system below `root`: device numbers, bytes and inodes.
    /// WIRE[kept]
    pub fn kept(&self, root: &Path, rules: &Rules) -> Result<Vec<(String, u64, u64)>, Failure> {
        let question = Down::Kept {
            root: root.as_os_str().as_bytes().to_vec(),
            rules: rules.clone(),
        };
        self.ask(&question, |message| match message {
            Up::Kept(kept) => Some(kept),
            _ => None,
        })
    }
}
