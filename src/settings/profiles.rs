//! The profiles of a run: the shipped ones, those of `/etc/instancesync/profiles.d` and those
//! that `--profile` names.
//!
//! Knows nothing of what is in them.

use std::path::{Path, PathBuf};

use super::rules::read_capped;
use crate::exclude::profile::{Catalog, ProfileError, SelectError, Selected, Selection};
use crate::exit::ExitCode;
use crate::failure::Failure;

/// Where a machine's own profiles lie.
pub const DIRECTORY: &str = "/etc/instancesync/profiles.d";

/// Returns the shipped profiles, then those of `directory` (`*.toml`, by name; it may be
/// missing), then `files`: of several with one name the last counts.
pub fn read(directory: &Path, files: &[PathBuf]) -> Result<Catalog, Failure> {
    let mut catalog = Catalog::shipped().map_err(|error| refused(&error))?;
    for file in in_directory(directory)?.iter().chain(files) {
        add(&mut catalog, file)?;
    }
    Ok(catalog)
}

/// Adds the profile of one file and returns its name, as `instancesync profiles check` does.
pub fn add(catalog: &mut Catalog, file: &Path) -> Result<String, Failure> {
    let name = file.display().to_string();
    let bytes = read_capped(file)
        .map_err(|cause| Failure::usage(format!("profile {name}")).because(&cause))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let line = 1 + count_lines(&error.as_bytes()[..error.utf8_error().valid_up_to()]);
        Failure::usage(format!("{name}:{line}: the line is not UTF-8"))
    })?;
    catalog.add(&text, &name).map_err(|error| refused(&error))
}

/// Chooses what applies; what the person wrote wrongly is a usage failure.
pub fn select(catalog: &Catalog, selection: &Selection<'_>) -> Result<Selected, Failure> {
    catalog
        .select(selection)
        .map_err(|error: SelectError| Failure::of(ExitCode::Usage, &error).maybe_hint(error.hint()))
}

/// Returns the failure for a name that no profile has, as `instancesync profiles show` needs it.
pub fn unknown(catalog: &Catalog, name: &str) -> Failure {
    let failure = Failure::usage(format!("there is no profile {name}"));
    match catalog.near(name).as_slice() {
        [] => failure.hint("see 'instancesync profiles list'"),
        near => failure.hint(format!("did you mean {}?", near.join(" or "))),
    }
}

fn in_directory(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let failed = |cause: std::io::Error| {
        Failure::usage(format!("profiles in {}", directory.display())).because(&cause)
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) => return Err(failed(cause)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn refused(error: &ProfileError) -> Failure {
    Failure::of(ExitCode::Usage, error).maybe_hint(error.hint())
}

fn count_lines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{read, select, unknown};
    use crate::exclude::profile::{Policies, Selection};
    use crate::exit::ExitCode;
    use crate::facts::Facts;

    fn profile(name: &str, path: &str) -> String {
        format!(
            "name = \"{name}\"\nsummary = \"s\"\ngroup = \"core\"\n[[rule]]\n\
             verdict = \"keep\"\npaths = [\"{path}\"]\nreason = \"r\"\n"
        )
    }

    #[test]
    fn reads_the_directory_then_the_files() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name: &str| directory.path().join(name);
        std::fs::create_dir(place("d")).unwrap();
        for (name, text) in [
            ("d/b.toml", profile("mine", "/b")),
            ("d/a.toml", profile("mine", "/a")),
            ("d/a.toml.bak", "broken".to_owned()),
            ("extra", profile("extra", "/x")),
            ("core", profile("core", "/core")),
        ] {
            std::fs::write(place(name), text).unwrap();
        }
        let files = [place("extra"), place("core")];
        let catalog = read(&place("d"), &files).unwrap();
        let pattern = |name: &str| catalog.get(name).unwrap().rules[0].paths[0].text.clone();
        assert_eq!(
            (pattern("mine"), pattern("extra"), pattern("core")),
            ("/b".to_owned(), "/x".to_owned(), "/core".to_owned())
        );
        assert!(catalog.get("network-netplan").is_some());
        assert!(read(&place("none"), &[]).is_ok());
    }

    #[test]
    fn what_cannot_be_used_names_file_line_and_column() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("x.toml");
        let none = Path::new("/no/such/directory");
        for (text, said) in [
            (
                &b"name = \"a\"\nsumary = \"b\"\n"[..],
                "x.toml:2:1: unknown field `sumary`",
            ),
            (b"name = \"a\"\n\xff", "x.toml:2: the line is not UTF-8"),
        ] {
            std::fs::write(&file, text).unwrap();
            let failure = read(none, std::slice::from_ref(&file)).unwrap_err();
            assert_eq!(failure.exit, ExitCode::Usage);
            assert!(failure.to_string().contains(said), "{failure}");
        }
        assert!(read(none, &["/no/such".into()]).is_err());
    }

    #[test]
    fn unknown_names_are_usage_failures_with_near_ones() {
        let catalog = read(Path::new("/no/such/directory"), &[]).unwrap();
        let facts = Facts::default();
        let selection = Selection {
            source: &facts,
            target: &facts,
            policies: Policies::default(),
            with: &["netplan".to_owned()],
            without: &[],
        };
        let failure = select(&catalog, &selection).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage);
        assert_eq!(failure.hints, ["did you mean network-netplan?"]);
        assert_eq!(unknown(&catalog, "netplan").hints, failure.hints);
        assert_eq!(
            unknown(&catalog, "?").hints,
            ["see 'instancesync profiles list'"]
        );
    }
}
