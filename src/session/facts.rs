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

/// What the target keeps, as a plan counts with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holdings {
    /// What rules keep on each device: its numbers (`major:minor`), bytes and inodes.
    pub kept: Vec<(String, u64, u64)>,
    /// What an earlier run left on each volume and nothing else holds: its path, bytes and inodes.
    pub left: Vec<(RelPath, u64, u64)>,
    /// Directories in which everything stays the target's and is linked into the stage.
    pub linked: Vec<RelPath>,
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

    /// Returns what the system below `root` keeps by `rules` in a clone that gets stages on the
    /// volumes `stages`, where the source does not look into `apart`. WIRE[kept]
    pub fn holdings(
        &self,
        root: &Path,
        rules: &Rules,
        (stages, apart): (&[RelPath], &[RelPath]),
    ) -> Result<Holdings, Failure> {
        let question = Down::Kept {
            root: root.as_os_str().as_bytes().to_vec(),
            rules: rules.clone(),
            stages: stages.to_vec(),
            apart: apart.to_vec(),
        };
        self.ask(&question, |message| match message {
            Up::Kept { kept, left, linked } => Some(Holdings { kept, left, linked }),
            _ => None,
        })
    }
}
