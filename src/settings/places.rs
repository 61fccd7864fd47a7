//! Paths and addresses: made absolute, looked at, kept apart from each other.

use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use super::Environment;
use crate::cli::PlaceArguments;
use crate::exclude::{Rules, Verdict};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::relpath::RelPath;
use crate::ssh::Address;

/// Returns `path`, seen from the working directory.
pub fn absolute(path: &Path, environment: &Environment) -> Result<PathBuf, Failure> {
    // Collecting the parts drops '.' and double slashes.
    match &environment.directory {
        _ if path.is_absolute() => Ok(path.components().collect()),
        Some(directory) => Ok(directory.join(path).components().collect()),
        None => Err(
            Failure::usage(format!("{}: the working directory is gone", path.display()))
                .hint("write an absolute path"),
        ),
    }
}

/// Returns the directory that is copied; `/` unless said otherwise.
pub fn source(path: Option<&Path>, environment: &Environment) -> Result<PathBuf, Failure> {
    let path = absolute(path.unwrap_or(Path::new("/")), environment)?;
    match std::fs::metadata(&path) {
        Err(cause) => Err(Failure::usage(format!("source {}", path.display()))
            .because(&cause)
            .hint("--source names a directory of this machine")),
        Ok(found) if !found.is_dir() => Err(Failure::usage(format!(
            "source {}: it is not a directory",
            path.display()
        ))
        .hint(
            "--source takes the directory that the file lies in; --include and --exclude select",
        )),
        Ok(_) => Ok(resolved(path)),
    }
}

/// Returns a path that says by itself whether it is the root: `..` can lead there, and so can a link.
fn resolved(path: PathBuf) -> PathBuf {
    match path.canonicalize() {
        Ok(found) if climbs(&path) || found == Path::new("/") => found,
        _ => path,
    }
}

fn climbs(path: &Path) -> bool {
    path.components().any(|part| part == Component::ParentDir)
}

/// Returns the directory that `flag` names.
pub fn directory(flag: &str, path: &Path, environment: &Environment) -> Result<PathBuf, Failure> {
    let what = || format!("{flag} {}", path.display());
    let absolute = absolute(path, environment)?;
    match std::fs::metadata(&absolute) {
        Err(cause) => Err(Failure::usage(what()).because(&cause)),
        Ok(found) if !found.is_dir() => {
            Err(Failure::usage(format!("{}: it is not a directory", what())))
        }
        Ok(_) => Ok(absolute),
    }
}

/// Returns the mount points to enter, each an existing directory below the source.
pub fn mounts(
    paths: &[PathBuf],
    source: &Path,
    environment: &Environment,
) -> Result<Vec<PathBuf>, Failure> {
    let mount = |path: &PathBuf| {
        let mount = directory("--include-mount", path, environment)?;
        if !mount.starts_with(source) {
            let (path, source) = (path.display(), source.display());
            let what = format!("--include-mount {path}: it is not below the source {source}");
            return Err(Failure::usage(what).hint("paths are those of the source, from its root"));
        }
        Ok(mount)
    };
    paths.iter().map(mount).collect()
}

/// Returns where the copy goes.
pub fn target_dir(
    place: &PlaceArguments,
    source: &Path,
    environment: &Environment,
) -> Result<PathBuf, Failure> {
    match (&place.to, &place.target_dir) {
        (Some(directory), _) => absolute(directory, environment),
        (None, None) => Ok(source.to_owned()),
        (None, Some(directory)) => on_target(directory),
    }
}

/// Checks the path of a directory on the target, and returns it.
pub fn on_target(directory: &Path) -> Result<PathBuf, Failure> {
    let wrong = |what| {
        let path = directory.display();
        Failure::usage(format!("--target-dir {path}: {what}"))
            .hint("it is a path on the target; write it from its root, with a '/' in front")
    };
    match directory {
        _ if !directory.is_absolute() => Err(wrong("it is not absolute")),
        // Only the target knows where that leads, and it may be its root.
        _ if climbs(directory) => Err(wrong("it has a '..' in it")),
        _ => Ok(directory.to_owned()),
    }
}

/// Checks that a text is an address, and returns it.
pub fn address(text: &str) -> Result<String, Failure> {
    if text.contains('/') {
        return Err(
            Failure::usage(format!("--target {text}: it names no machine"))
                .hint("a directory of this machine is given with --to DIR")
                .hint("a directory of the target is given with --target-dir DIR"),
        );
    }
    match text.parse::<Address>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(Failure::usage("--target")
            .because(&error)
            .maybe_hint(error.hint())),
    }
}

/// Refuses a target directory of this machine that overlaps with the source.
///
/// One below the source is fine where the walk does not get: on another file system that no
/// `mounts` entry leads to, or left out by a rule.
pub fn check_apart(
    source: &Path,
    target: &Path,
    mounts: &[PathBuf],
    rules: &Rules,
) -> Result<(), Failure> {
    let (Some((source_found, source_device)), Some((target_found, target_device))) =
        (resolve(source), resolve(target))
    else {
        return Ok(()); // Not even a root to look at: the run says why.
    };
    let relation = if source_found == target_found {
        "is"
    } else if source_found.starts_with(&target_found) {
        "contains"
    } else if let Ok(below) = target_found.strip_prefix(&source_found) {
        let leads_there = |mount: &PathBuf| {
            resolve(mount).is_some_and(|(path, _)| target_found.starts_with(path))
        };
        let is_reached = source_device == target_device || mounts.iter().any(leads_there);
        if !is_reached || is_left_out(below, rules) {
            return Ok(());
        }
        "lies in"
    } else {
        return Ok(());
    };
    let what = format!(
        "target directory {} {relation} the source {}",
        target.display(),
        source.display()
    );
    Err(Failure::new(ExitCode::Refused, what)
        .hint("choose a directory apart from the source, or one that --exclude leaves out"))
}

fn is_left_out(below: &Path, rules: &Rules) -> bool {
    RelPath::new(below.as_os_str().as_bytes())
        .is_ok_and(|path| rules.decide_deep(&path, true).verdict != Verdict::Copy)
}

/// Returns a path without symbolic links, and the device of its deepest directory that exists.
fn resolve(path: &Path) -> Option<(PathBuf, u64)> {
    path.ancestors().find_map(|ancestor| {
        let found = ancestor.canonicalize().ok()?;
        let device = found.metadata().ok()?.dev();
        let rest = path.strip_prefix(ancestor).ok()?;
        let whole = rest.components().fold(found, |mut whole, part| {
            // Nothing of the rest is there, so no link can make '..' lead elsewhere.
            match part {
                Component::ParentDir => _ = whole.pop(),
                part => whole.push(part),
            }
            whole
        });
        Some((whole, device))
    })
}
