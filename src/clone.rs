//! The story of one run. A stub: the engine takes its place.

use std::sync::Arc;

use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::prompter::Prompter;
use crate::report::{Recorder, Report};
use crate::settings::Settings;

/// Clones what the settings say. The report of a run that went through has all problems.
pub fn run(
    _settings: &Settings,
    _recorder: &Arc<Recorder>,
    _prompter: &Arc<dyn Prompter>,
    _interrupt: &Interrupt,
) -> Result<Report, Failure> {
    Err(Failure::new(
        ExitCode::Failed,
        "this build has no engine yet",
    ))
}
