//! What the other machine is, and what it keeps: a question to the agent, an answer. Knows nothing of what the
//! facts are good for.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Session;
use crate::exclude::Rules;
use crate::exit::ExitCode;
use crate::facts::Facts;
use crate::failure::Failure;
use crate::relpath::RelPath;
use crate::transfer::wire::message::{Down, Up};

/// Room that is taken on the target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenRoom {
    /// What rules keep on each device: its numbers (`major:minor`), bytes and inodes.
    pub kept: Vec<(String, u64, u64)>,
    /// What an earlier run left on each volume and nothing else holds: its path, bytes and inodes.
    pub left: Vec<(RelPath, u64, u64)>,
}

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

    /// Returns how much room is taken of the system below `root`: by what `rules` keep, and by what
    /// an earlier run left on the volumes `stages`. WIRE[kept]
    pub fn taken_room(
        &self,
        root: &Path,
        rules: &Rules,
        stages: &[RelPath],
    ) -> Result<TakenRoom, Failure> {
        let question = Down::Kept {
            root: root.as_os_str().as_bytes().to_vec(),
            rules: rules.clone(),
            stages: stages.to_vec(),
        };
        self.ask(&question, |message| match message {
            Up::Kept { kept, left } => Some(TakenRoom { kept, left }),
            _ => None,
        })
    }
}
