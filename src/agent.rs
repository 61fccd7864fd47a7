//! The target's side of the story. A stub: the engine takes its place.

use crate::exit::ExitCode;
use crate::failure::Failure;

/// Serves one session on standard input and output.
pub fn run() -> Result<(), Failure> {
    Err(Failure::new(
        ExitCode::Failed,
        "this build has no agent yet",
    ))
}
