//! The selecting flags and the files they name, as one set of rules in the order written.

use std::io::Read;
use std::path::Path;

use crate::cli::RuleArgument;
use crate::exclude::{PatternError, Rule, Rules, Verdict, parse_file};
use crate::exit::ExitCode;
use crate::failure::Failure;

/// LIMIT: a pattern file above this is a mistake (a disk image, /dev/zero), in bytes.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// Reads and compiles the rules that the flags give, in their order.
pub fn read(arguments: &[RuleArgument]) -> Result<Rules, Failure> {
    let mut rules = Vec::new();
    for argument in arguments {
        match argument {
            RuleArgument::Include(pattern) => {
                rules.push(Rule::new(Verdict::Copy, pattern, "--include"));
            }
            RuleArgument::Exclude(pattern) => {
                rules.push(Rule::new(Verdict::Skip, pattern, "--exclude"));
            }
            RuleArgument::ExcludeFrom(file) => rules.extend(read_file(file)?),
        }
    }
    Rules::new(rules).map_err(refused)
}

fn read_file(file: &Path) -> Result<Vec<Rule>, Failure> {
    let name = file.display().to_string();
    let bytes = read_capped(file)
        .map_err(|cause| Failure::usage(format!("--exclude-from {name}")).because(&cause))?;
    parse_file(&name, &bytes).map_err(refused)
}

fn refused(error: PatternError) -> Failure {
    Failure::of(ExitCode::Usage, &error).maybe_hint(error.hint())
}

pub(super) fn read_capped(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?
        .take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other("it is too large for a pattern file"));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::read;
    use crate::cli::RuleArgument;
    use crate::exclude::Verdict;

    #[test]
    fn keeps_order_and_tells_where_each_rule_is_from() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("list");
        std::fs::write(&file, "# comment\n\n*.log\r\n+ a b \n").unwrap();
        let rules = read(&[
            RuleArgument::Include("keep.log".into()),
            RuleArgument::ExcludeFrom(file.clone()),
            RuleArgument::Exclude("/tmp/".into()),
        ])
        .unwrap();
        let seen: Vec<_> = rules
            .list()
            .iter()
            .map(|rule| (rule.verdict, rule.pattern.as_str(), rule.origin.as_str()))
            .collect();
        let line = |number| format!("{}:{number}", file.display());
        assert_eq!(
            seen,
            [
                (Verdict::Copy, "keep.log", "--include"),
                (Verdict::Skip, "*.log", &line(3)),
                (Verdict::Copy, "a b ", &line(4)),
                (Verdict::Skip, "/tmp/", "--exclude"),
            ]
        );
    }

    #[test]
    fn names_the_line_that_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("list");
        std::fs::write(&file, b"good\nb\xffd\n").unwrap();
        let failure = read(&[RuleArgument::ExcludeFrom(file)]).unwrap_err();
        assert!(failure.what.contains("list:2"), "{failure}");
        assert!(read(&[RuleArgument::ExcludeFrom("/no/such".into())]).is_err());
        assert!(read(&[RuleArgument::Exclude(String::new())]).is_err());
    }
}
