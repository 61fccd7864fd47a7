//! Why a profile is refused, with its place, and what to write instead.

use super::super::PatternFault;
use super::text::{MAX_NAME_LEN, MAX_TEXT_LEN};
use crate::exclude::MAX_REASON_LEN;

/// Why a profile cannot be used, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}:{line}:{column}")]
pub struct ProfileError {
    /// Where the text is from.
    pub origin: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// What is wrong there.
    #[source]
    pub fault: ProfileFault,
}

impl ProfileError {
    /// Returns one thing to do about it.
    pub fn hint(&self) -> Option<String> {
        self.fault.hint()
    }
}

/// What is wrong with a profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProfileFault {
    /// The text is beyond the limit.
    #[error("the profile has more than {MAX_TEXT_LEN} bytes")]
    TooLong,
    /// It is no TOML, or has keys or values that are not known.
    #[error("{0}")]
    Toml(String),
    /// The name is not kebab case.
    #[error("the name '{0}' is not made of small letters, digits and single dashes")]
    Name(String),
    /// A text is empty, has several lines or is too long.
    #[error("the {0} is empty, has a line break or more than {MAX_REASON_LEN} bytes")]
    Text(&'static str),
    /// `default` in a profile that is not optional, or missing in one that is.
    #[error("'default' belongs to the group optional, and to it alone")]
    Default,
    /// `stack` outside the group network.
    #[error("'stack' belongs to the group network alone")]
    Stack,
    /// A rule without paths.
    #[error("the rule has no paths")]
    NoPaths,
    /// `merge` without a merger.
    #[error("a rule that merges names its merger")]
    NoMerger,
    /// A merger without `merge`.
    #[error("only a rule that merges has a merger")]
    Merger,
    /// A pattern that does not begin at the root.
    #[error("the pattern '{0}' does not begin at the root")]
    NotAnchored(String),
    /// `${` without `}`.
    #[error("a '${{' is not closed")]
    UnclosedPlaceholder,
    /// A placeholder that is not known.
    #[error("the placeholder '${{{0}}}' is not known")]
    UnknownPlaceholder(String),
    /// A list of paths elsewhere than at the beginning.
    #[error("the placeholder '${{{0}}}' stands for whole paths and begins a pattern")]
    PathInside(String),
    /// More than one placeholder.
    #[error("a pattern has one placeholder at most")]
    TwoPlaceholders,
    /// The pattern makes no sense.
    #[error("the pattern '{pattern}' is refused")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        #[source]
        fault: PatternFault,
    },
}

impl ProfileFault {
    /// Returns one thing to do about it.
    pub fn hint(&self) -> Option<String> {
        let text = match self {
            ProfileFault::Pattern { fault, .. } => return fault.hint().map(str::to_owned),
            ProfileFault::UnknownPlaceholder(_) => {
                let names = super::PLACEHOLDERS.map(|(name, _)| name).join(", ");
                return Some(format!("there are {names}"));
            }
            ProfileFault::Name(_) => {
                return Some(format!(
                    "write a name such as 'app-cache', of at most {MAX_NAME_LEN} bytes"
                ));
            }
            ProfileFault::NotAnchored(_) => {
                "begin it with '/', or with '/**/' for a name at any depth"
            }
            ProfileFault::NoMerger => "add 'merger', or write 'keep' as the verdict",
            ProfileFault::Merger => "remove 'merger', or write 'merge' as the verdict",
            ProfileFault::Default => "write default = \"off\" or \"on\" where group = \"optional\"",
            ProfileFault::TooLong | ProfileFault::NoPaths => {
                "name the directories above instead of each path"
            }
            ProfileFault::UnclosedPlaceholder => "write '$\\{' for these two characters",
            ProfileFault::Toml(_) | ProfileFault::Text(_) | ProfileFault::Stack => return None,
            ProfileFault::PathInside(_) | ProfileFault::TwoPlaceholders => {
                "split it into several patterns"
            }
        };
        Some(text.to_owned())
    }
}
