//! What `instancesync explain` is asked: which paths, in which clone.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::{Environment, LoginSettings, Machine, SystemSettings, places, rules};
use crate::cli::ExplainArguments;
use crate::exclude::Rules;
use crate::failure::Failure;
use crate::relpath::RelPath;

/// Which paths are explained, in which clone.
#[derive(Clone, Debug)]
pub struct ExplainSettings {
    /// The paths below the source directory, and whether each is a directory.
    pub paths: Vec<(RelPath, bool)>,
    /// The source directory.
    pub source: PathBuf,
    /// The machine that becomes the clone; one like the source where `None`.
    pub target: Option<Machine>,
    /// The person's own rules.
    pub rules: Rules,
    /// The profiles; `None` for a directory tree.
    pub system: Option<SystemSettings>,
    /// Mount points of the source that are copied as well.
    pub mounts: Vec<PathBuf>,
    /// Whether a program reads the answer.
    pub as_json: bool,
}

impl ExplainSettings {
    /// Resolves the flags. Reads pattern and profile files.
    pub fn resolve(
        arguments: ExplainArguments,
        environment: &Environment,
    ) -> Result<ExplainSettings, Failure> {
        let ExplainArguments { paths, clone } = arguments;
        let source = places::source(clone.place.source.as_deref(), environment)?;
        let target_dir = places::target_dir(&clone.place, &source, environment)?;
        let system = SystemSettings::resolve(clone.profiles, &clone.place, (&source, &target_dir))?;
        let target = match (&clone.place.target, &clone.place.to) {
            (Some(address), _) => Some(Machine::There {
                address: places::address(address)?,
                login: Box::new(LoginSettings::resolve(clone.login, environment)?),
            }),
            (None, Some(directory)) => {
                Some(places::directory("--to", directory, environment).map(Machine::Here)?)
            }
            (None, None) => None,
        };
        let below = |path: &PathBuf| below(path, &source, environment);
        Ok(ExplainSettings {
            paths: paths.iter().map(below).collect::<Result<_, _>>()?,
            rules: rules::read(&clone.what.rules)?,
            mounts: places::mounts(&clone.what.include_mount, &source, environment)?,
            as_json: clone.output.json,
            source,
            target,
            system,
        })
    }
}

/// Returns a path below the source directory, and whether it is a directory: it is one there, or
/// is written with a slash at its end.
fn below(
    path: &Path,
    source: &Path,
    environment: &Environment,
) -> Result<(RelPath, bool), Failure> {
    let absolute = places::absolute(path, environment)?;
    let outside = || {
        let (path, source) = (path.display(), source.display());
        Failure::usage(format!("{path}: it is not below the source {source}"))
            .hint("paths are those of the source, from its root")
    };
    let rest = absolute.strip_prefix(source).map_err(|_| outside())?;
    let rest = RelPath::new(rest.as_os_str().as_bytes()).map_err(|_| outside())?;
    let is_directory = path.as_os_str().as_bytes().ends_with(b"/")
        || std::fs::symlink_metadata(&absolute).is_ok_and(|found| found.is_dir());
    Ok((rest, is_directory))
}
