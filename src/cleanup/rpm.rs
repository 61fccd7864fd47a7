//! The RPM database of a root, asked and changed through the `rpm` program.
//!
//! Which `rpm`: on the running system its own; in another root the one that lies there, for it
//! knows the format of its database, and else that of this machine. Knows nothing of Amazon.

use std::ffi::OsString;
use std::time::Duration;

use super::packages::Package;
use super::programs::{Output, ProgramError, Programs};
use super::tree::Tree;

/// Where distributions keep the database, and the files that show that one is there.
const DATABASES: [&str; 2] = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
const DATABASE_FILES: [&str; 3] = ["Packages", "Packages.db", "rpmdb.sqlite"];
/// LIMIT: for a question to the largest database on a slow disk.
const ASKING: Duration = Duration::from_secs(300);
/// LIMIT: for the removal of many packages with their scripts.
const REMOVING: Duration = Duration::from_secs(1800);

/// Unit, group and record separator of ASCII: no name or version has them.
const UNIT: char = '\x1f';
const GROUP: char = '\x1d';
const RECORD: char = '\x1e';

/// Why the database did not answer.
#[derive(Debug, thiserror::Error)]
pub enum RpmError {
    /// The program is missing, or took too long.
    #[error("the RPM database cannot be used")]
    Program(#[source] ProgramError),
    /// The program refused.
    #[error("rpm refused to {what}: {complaint}")]
    Refused {
        /// What it was to do.
        what: &'static str,
        /// What it said.
        complaint: String,
    },
    /// The answer has another form than the question.
    #[error("rpm answered something unexpected: '{0}'")]
    Answer(String),
}

/// The database of one root.
pub struct Rpm<'a> {
    programs: &'a dyn Programs,
    /// Program and arguments that come first.
    start: Vec<OsString>,
}

/// One dependency that a removal would leave open, in rpm's own judgement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenNeed {
    /// What would be missing, without a version: `system-release`.
    pub capability: String,
    /// Who needs it, as name-version-release.architecture.
    pub package: String,
}

impl<'a> Rpm<'a> {
    /// Finds the database of a root; `None` where it has none.
    pub fn find(tree: &Tree, programs: &'a dyn Programs) -> Option<Rpm<'a>> {
        let has_database = |directory: &&str| {
            let mut paths = DATABASE_FILES
                .iter()
                .map(|name| format!("{directory}/{name}"));
            paths.any(|path| tree.has_file(&path))
        };
        let directory = DATABASES.into_iter().find(has_database)?;
        let root = tree.path().as_os_str();
        let has_rpm = ["/usr/bin/rpm", "/bin/rpm"]
            .into_iter()
            .any(|path| tree.has_file(path));
        let start: Vec<OsString> = if tree.is_live() {
            vec!["rpm".into()]
        } else if has_rpm {
            vec!["chroot".into(), root.to_owned(), "rpm".into()]
        } else {
            // Every distribution has its own idea of the place; ours is another one.
            vec![
                "rpm".into(),
                "--root".into(),
                root.to_owned(),
                "--dbpath".into(),
                directory.into(),
            ]
        };
        Some(Rpm { programs, start })
    }

    fn run(&self, arguments: &[String], limit: Duration) -> Result<Output, RpmError> {
        let mut command = self.start.clone();
        command.extend(arguments.iter().map(OsString::from));
        self.programs
            .run(&command, limit)
            .map_err(RpmError::Program)
    }

    /// Returns every installed package, sorted by name.
    pub fn packages(&self) -> Result<Vec<Package>, RpmError> {
        let arguments = ["-qa".to_owned(), "--qf".to_owned(), question()];
        let output = self.run(&arguments, ASKING)?;
        if !output.is_success {
            return Err(RpmError::Refused {
                what: "list the packages",
                complaint: output.complaint(),
            });
        }
        // A database that cannot be opened may be an empty list and exit code 0.
        if output.stdout.is_empty() && !output.stderr.trim().is_empty() {
            return Err(RpmError::Refused {
                what: "list the packages",
                complaint: output.complaint(),
            });
        }
        parse_packages(&String::from_utf8_lossy(&output.stdout))
    }

    /// Asks what a removal would leave open. Nothing is changed.
    pub fn open_needs(&self, ids: &[String]) -> Result<Vec<OpenNeed>, RpmError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let arguments = [&["-e".to_owned(), "--test".to_owned()], ids].concat();
        let output = self.run(&arguments, ASKING)?;
        let needs = parse_open_needs(&output.stderr);
        if !output.is_success && needs.is_empty() {
            return Err(RpmError::Refused {
                what: "try the removal",
                complaint: output.complaint(),
            });
        }
        Ok(needs)
    }

    /// Removes packages whatever depends on them. A script of a package that fails keeps the
    /// package; `run_scripts` set to `false` removes it without.
    pub fn remove(&self, ids: &[String], run_scripts: bool) -> Result<Output, RpmError> {
        let mut arguments = vec!["-e".to_owned(), "--nodeps".to_owned()];
        if !run_scripts {
            arguments.push("--noscripts".to_owned());
        }
        arguments.extend_from_slice(ids);
        self.run(&arguments, REMOVING)
    }
}

fn question() -> String {
    format!(
        "%{{NAME}}{UNIT}%{{VERSION}}{UNIT}%{{RELEASE}}{UNIT}%{{ARCH}}{UNIT}%{{VENDOR}}{GROUP}\
         [%{{REQUIRENAME}}{UNIT}]{GROUP}[%{{PROVIDENAME}}{UNIT}]{GROUP}[%{{FILENAMES}}{UNIT}]{RECORD}"
    )
}

/// Reads the answer to [`question`].
fn parse_packages(answer: &str) -> Result<Vec<Package>, RpmError> {
    let records = answer.split(RECORD).filter(|record| !record.is_empty());
    let mut packages = records
        .map(|record| {
            parse_package(record)
                .ok_or_else(|| RpmError::Answer(record.chars().take(120).collect()))
        })
        .collect::<Result<Vec<_>, _>>()?;
    // Keys of signatures are kept as packages without contents.
    packages.retain(|package| package.name != "gpg-pubkey");
    packages.sort_by_cached_key(|package| (package.name.clone(), package.id()));
    Ok(packages)
}

fn parse_package(record: &str) -> Option<Package> {
    let mut groups = record.split(GROUP);
    let (head, requires, provides, files) = (
        groups.next()?,
        groups.next()?,
        groups.next()?,
        groups.next()?,
    );
    let mut fields = head.split(UNIT);
    let mut field = || fields.next().map(known);
    let package = Package {
        name: field()?,
        version: field()?,
        release: field()?,
        architecture: field()?,
        vendor: field()?,
        requires: list(requires),
        provides: list(provides),
        files: list(files),
    };
    let is_whole = groups.next().is_none() && fields.next().is_none();
    // A name that begins with a dash would be an option of the program.
    let is_usable = !package.name.is_empty() && !package.name.starts_with('-');
    (is_whole && is_usable).then_some(package)
}

/// rpm writes `(none)` for what is not set.
fn known(field: &str) -> String {
    match field {
        "(none)" => String::new(),
        field => field.to_owned(),
    }
}

fn list(group: &str) -> Vec<String> {
    let items = group.split(UNIT).map(known);
    items.filter(|item| !item.is_empty()).collect()
}

/// Reads `<capability> [= version] is needed by (installed) <package>`.
fn parse_open_needs(complaints: &str) -> Vec<OpenNeed> {
    let lines = complaints.lines().filter_map(|line| {
        let (capability, package) = line.trim().split_once(" is needed by (installed) ")?;
        Some(OpenNeed {
            capability: capability.split(' ').next()?.to_owned(),
            package: package.trim().to_owned(),
        })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::{OpenNeed, Rpm, parse_open_needs, parse_packages};
    use crate::cleanup::programs::{Output, ProgramError, Programs, ThisMachine};
    use crate::cleanup::tree::Tree;

    #[test]
    fn takes_the_rpm_that_knows_the_database() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().display().to_string();
        let start = || {
            let tree = Tree::open(place.path()).unwrap();
            let rpm = Rpm::find(&tree, &ThisMachine)?;
            let words = rpm.start.iter().map(|word| word.to_string_lossy());
            Some(words.collect::<Vec<_>>().join(" "))
        };
        let put = |path: &str| {
            let path = place.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        put("var/lib/rpm/.rpm.lock");
        assert_eq!(start(), None);
        put("usr/lib/sysimage/rpm/rpmdb.sqlite");
        let expected = format!("rpm --root {root} --dbpath /usr/lib/sysimage/rpm");
        assert_eq!(start(), Some(expected));
        put("usr/bin/rpm");
        assert_eq!(start(), Some(format!("chroot {root} rpm")));
    }

    #[test]
    fn reads_what_the_question_asks_for() {
        let answer = "zlib\x1f1.2\x1f7.amzn2\x1fx86_64\x1fAmazon Linux\x1dlibc.so.6\x1frpmlib(X)\x1f\
                      \x1dzlib\x1flibz.so.1\x1f\x1d/usr/lib64/libz.so.1\x1f\x1e\
                      gpg-pubkey\x1fc8\x1f5e\x1f(none)\x1f(none)\x1d\x1d\x1d(none)\x1f\x1e\
                      base\x1f1\x1f1\x1fnoarch\x1f(none)\x1d\x1dbase\x1f\x1d\x1e";
        let packages = parse_packages(answer).unwrap();
        let ids: Vec<_> = packages.iter().map(|package| package.id()).collect();
        assert_eq!(ids, ["base-1-1.noarch", "zlib-1.2-7.amzn2.x86_64"]);
        assert_eq!(packages[1].requires, ["libc.so.6", "rpmlib(X)"]);
        assert_eq!(packages[1].files, ["/usr/lib64/libz.so.1"]);
        assert_eq!(packages[0].vendor, "");
        assert!(packages[0].files.is_empty());
    }

    #[test]
    fn refuses_an_answer_of_another_form() {
        for answer in [
            "base\x1f1\x1f1\x1fnoarch\x1d\x1d\x1d\x1e",
            "base\x1f1\x1f1\x1fnoarch\x1fv\x1d\x1d\x1e",
            "base\x1f1\x1f1\x1fnoarch\x1fv\x1fw\x1d\x1d\x1d\x1e",
            "--root\x1f1\x1f1\x1fnoarch\x1fv\x1d\x1d\x1d\x1e",
            "error: no database",
        ] {
            assert!(parse_packages(answer).is_err(), "{answer:?}");
        }
        assert!(parse_packages("").unwrap().is_empty());
    }

    /// A program that says nothing else than this.
    struct Says(Output);

    impl Programs for Says {
        fn run(&self, _: &[OsString], _: Duration) -> Result<Output, ProgramError> {
            Ok(self.0.clone())
        }
    }

    #[test]
    fn a_database_that_cannot_be_opened_is_no_empty_one() {
        for (stderr, is_refused) in [("error: cannot open Packages index", true), ("\n", false)] {
            let says = Says(Output {
                is_success: true,
                stderr: stderr.to_owned(),
                ..Output::default()
            });
            let rpm = Rpm {
                programs: &says,
                start: vec!["rpm".into()],
            };
            assert_eq!(rpm.packages().is_err(), is_refused, "{stderr:?}");
        }
    }

    #[test]
    fn reads_what_would_be_missing() {
        let text = "warning: x\nerror: Failed dependencies:\n\
                    \tsystem-release >= 2 is needed by (installed) setup-2.8-1.noarch\n";
        assert_eq!(
            parse_open_needs(text),
            [OpenNeed {
                capability: "system-release".into(),
                package: "setup-2.8-1.noarch".into()
            }]
        );
    }
}
