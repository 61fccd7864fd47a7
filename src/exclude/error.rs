//! Why a pattern, or a list of them, is refused, and what to write instead.
//!
//! Knows nothing of where the text came from but the origin that its rule names.

use super::pattern::{MAX_ALTERNATIVES, MAX_PATTERN_LEN};
use super::rules::{MAX_GLOB_BYTES, MAX_GLOBS, MAX_ORIGIN_LEN, MAX_REASON_LEN, MAX_RULES};

/// How much of a refused pattern a message shows, in characters.
const SHOWN_CHARS: usize = 80;

/// Why rules cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// One pattern makes no sense.
    #[error("{origin}: pattern '{}' is refused", shown(.pattern))]
    Refused {
        /// The origin of its rule.
        origin: String,
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        #[source]
        fault: PatternFault,
    },
    /// A line of an exclude file is not text.
    #[error("{origin}: the line is not UTF-8")]
    NotText {
        /// The file and the line.
        origin: String,
    },
    /// A line of an exclude file asks for something that rsync has and we have not.
    #[error("{origin}: '!' does not clear the rules before it")]
    ClearList {
        /// The file and the line.
        origin: String,
    },
    /// Where a rule comes from is named by a text beyond the limit.
    #[error("the origin of a rule has {length} bytes, more than {MAX_ORIGIN_LEN}")]
    OriginTooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// Why a rule is there is told by a text beyond the limit.
    #[error("{origin}: the reason has more than {MAX_REASON_LEN} bytes")]
    ReasonTooLong {
        /// The origin of its rule.
        origin: String,
    },
    /// More rules than the limit.
    #[error("there are more than {MAX_RULES} rules")]
    TooManyRules,
    /// The patterns grow beyond the limit once their braces are written out.
    #[error(
        "{origin}: the patterns up to here stand for more than {MAX_GLOBS} patterns, or \
         {MAX_GLOB_BYTES} bytes of them, once their braces are written out"
    )]
    TooManyGlobs {
        /// The origin of the rule that went over it.
        origin: String,
    },
    /// Each pattern is fine, but all together they are too large to be compiled.
    #[error("the patterns cannot be compiled together")]
    Together(#[source] globset::Error),
}

impl PatternError {
    /// Returns one thing to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            PatternError::Refused { fault, .. } => return fault.hint().map(str::to_owned),
            PatternError::NotText { .. } => {
                "write '?' for each byte of the name that is not UTF-8, and convert the file"
            }
            PatternError::ClearList { .. } => "remove the line; write '\\!' for a name that is '!'",
            PatternError::OriginTooLong { .. } => "use a file with a shorter path",
            PatternError::ReasonTooLong { .. } => "one short clause is enough",
            PatternError::TooManyRules | PatternError::TooManyGlobs { .. } => {
                "name the directories above instead of each path"
            }
            PatternError::Together(_) => "use fewer patterns with wildcards, or shorter ones",
        };
        Some(text.to_owned())
    }
}

/// What is wrong with one pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternFault {
    /// Nothing is written, or nothing in one alternative of a brace.
    #[error("it is empty, or one of its alternatives is")]
    Empty,
    /// Longer than the limit.
    #[error("it has {length} bytes, more than {MAX_PATTERN_LEN}")]
    TooLong {
        /// Its length in bytes.
        length: usize,
    },
    /// It holds a NUL.
    #[error("it contains a NUL byte")]
    Nul,
    /// Only slashes.
    #[error("it names the root of the copy itself")]
    Root,
    /// A part is `.` or `..`.
    #[error("a part of it is '.' or '..'")]
    DotPart,
    /// Two slashes in a row.
    #[error("it has an empty part between two slashes")]
    EmptyPart,
    /// `***` somewhere else than as the last part.
    #[error("'***' is not its last part")]
    TripleStar,
    /// A backslash before a slash.
    #[error("a slash cannot be escaped")]
    EscapedSlash,
    /// A backslash at the end.
    #[error("it ends in a lone backslash")]
    DanglingEscape,
    /// `[` without `]`.
    #[error("a '[' is not closed")]
    UnclosedClass,
    /// A slash within brackets.
    #[error("a slash stands in brackets")]
    SlashInClass,
    /// Something beyond ASCII within brackets.
    #[error("'{0}' in brackets is not ASCII")]
    NotAsciiInClass(char),
    /// `[[:alpha:]]` and its kin.
    #[error("a named class such as '[:alpha:]' is not known here")]
    NamedClass,
    /// A range that runs backwards.
    #[error("the range '{0}-{1}' runs backwards")]
    BackwardRange(char, char),
    /// `{` without `}`.
    #[error("a '{{' is not closed")]
    UnclosedBrace,
    /// `}` without `{`.
    #[error("a '}}' closes nothing")]
    UnopenedBrace,
    /// Its braces stand for too many patterns.
    #[error("its braces stand for more than {MAX_ALTERNATIVES} patterns")]
    TooManyAlternatives,
    /// The glob library refuses what the translation made.
    #[error("{0}")]
    Glob(globset::ErrorKind),
}

impl PatternFault {
    /// Returns one thing to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        let text = match self {
            PatternFault::Empty => "write a name, a path or '*'",
            PatternFault::Root => "write '/*' for everything in it",
            PatternFault::DotPart => {
                "write the path below the root of the copy, without '.' or '..'"
            }
            PatternFault::EmptyPart => "write one slash",
            PatternFault::TripleStar => "'***' ends a pattern ('dir/***'); write '**' elsewhere",
            PatternFault::EscapedSlash => "write the slash alone",
            PatternFault::DanglingEscape => "write '\\\\' for a backslash",
            PatternFault::UnclosedClass => "write '\\[' for a bracket in a name",
            PatternFault::SlashInClass => "brackets stand for one byte of a name, never a slash",
            PatternFault::NotAsciiInClass(_) => "write '{ä,ö}' instead of '[äö]'",
            PatternFault::NamedClass => "write the range, as in '[a-zA-Z]'",
            PatternFault::BackwardRange(..) => "write the smaller end first",
            PatternFault::UnclosedBrace => "write '\\{' for a brace in a name",
            PatternFault::UnopenedBrace => "write '\\}' for a brace in a name",
            PatternFault::TooManyAlternatives => "split it into several patterns",
            PatternFault::TooLong { .. } | PatternFault::Nul | PatternFault::Glob(_) => {
                return None;
            }
        };
        Some(text)
    }
}

fn shown(pattern: &str) -> String {
    match pattern.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}…", &pattern[..end]),
        None => pattern.to_owned(),
    }
}
