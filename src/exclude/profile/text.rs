//! The TOML text of a profile as a value, checked, with line and column in every complaint.
//!
//! What is accepted here can be used whatever the facts are. Knows nothing of other profiles.

use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor, value::MapAccessDeserializer};
use serde::{Deserialize, de};
use toml::Spanned;

use super::error::{ProfileError, ProfileFault};
use super::placeholder;
use super::{Condition, Group, PathPattern, Profile, ProfileRule};
use crate::exclude::{MAX_REASON_LEN, Verdict};
use crate::facts::NetworkStack;
use crate::merger::Merger;

/// LIMIT: longest text of a profile in bytes; the largest shipped one has some 10 KiB.
pub const MAX_TEXT_LEN: usize = 1024 * 1024;
/// LIMIT: longest name of a profile in bytes, so that a list of them fits a terminal.
pub const MAX_NAME_LEN: usize = 40;

/// A profile as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Written {
    name: Spanned<String>,
    summary: Spanned<String>,
    group: Spanned<Group>,
    default: Option<Spanned<Switch>>,
    stack: Option<Spanned<NetworkStack>>,
    #[serde(default)]
    when: Alternatives,
    #[serde(default)]
    rule: Vec<Spanned<WrittenRule>>,
    cleanup: Option<toml::Table>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Switch {
    On,
    Off,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct WrittenRule {
    verdict: Verdict,
    paths: Vec<Spanned<String>>,
    reason: Spanned<String>,
    merger: Option<Spanned<Merger>>,
    when: Option<Condition>,
}

/// `[when]`, or several `[[when]]` of which one is enough.
#[derive(Default)]
struct Alternatives(Vec<Condition>);

impl<'de> Deserialize<'de> for Alternatives {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Alternatives, D::Error> {
        deserializer.deserialize_any(TablesVisitor)
    }
}

struct TablesVisitor;

impl<'de> Visitor<'de> for TablesVisitor {
    type Value = Alternatives;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a table or several")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Alternatives, A::Error> {
        let condition = Condition::deserialize(MapAccessDeserializer::new(map))?;
        Ok(Alternatives(vec![condition]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut tables: A) -> Result<Alternatives, A::Error> {
        let mut conditions = Vec::new();
        while let Some(condition) = tables.next_element()? {
            conditions.push(condition);
        }
        if conditions.is_empty() {
            return Err(de::Error::custom("an empty list of conditions never holds"));
        }
        Ok(Alternatives(conditions))
    }
}

/// Where something stands in a text.
struct Place<'t> {
    origin: &'t str,
    text: &'t str,
}

impl Place<'_> {
    /// Makes the error for what begins at this byte.
    fn error(&self, at: usize, fault: ProfileFault) -> ProfileError {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        ProfileError {
            origin: self.origin.to_owned(),
            line: self.line(at),
            column: before[line_start..].chars().count() + 1,
            fault,
        }
    }

    fn line(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or(self.text);
        before.matches('\n').count() + 1
    }
}

/// Reads and checks a profile. `origin` is how messages name its text.
pub(super) fn parse(text: &str, origin: &str) -> Result<Profile, ProfileError> {
    let place = Place { origin, text };
    if text.len() > MAX_TEXT_LEN {
        return Err(place.error(0, ProfileFault::TooLong));
    }
    let written: Written = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        // The parser's own words may have several lines.
        let message = error.message().lines().collect::<Vec<_>>().join(", ");
        place.error(at, ProfileFault::Toml(message))
    })?;
    check_head(&place, &written)?;
    let rules = written
        .rule
        .into_iter()
        .map(|rule| check_rule(&place, rule));
    Ok(Profile {
        rules: rules.collect::<Result<_, _>>()?,
        name: written.name.into_inner(),
        summary: written.summary.into_inner(),
        group: written.group.into_inner(),
        is_default: written
            .default
            .is_some_and(|switch| *switch.get_ref() == Switch::On),
        stack: written.stack.map(Spanned::into_inner),
        conditions: written.when.0,
        cleanup: written.cleanup,
        origin: origin.to_owned(),
    })
}

fn check_head(place: &Place<'_>, written: &Written) -> Result<(), ProfileError> {
    let name = written.name.get_ref();
    if !is_kebab_case(name) {
        return Err(place.error(written.name.span().start, ProfileFault::Name(name.clone())));
    }
    check_text(place, &written.summary, "summary")?;
    let group = *written.group.get_ref();
    if (group == Group::Optional) != written.default.is_some() {
        let at = match &written.default {
            Some(default) => default.span().start,
            None => written.group.span().start,
        };
        return Err(place.error(at, ProfileFault::Default));
    }
    match &written.stack {
        Some(stack) if group != Group::Network => {
            Err(place.error(stack.span().start, ProfileFault::Stack))
        }
        _ => Ok(()),
    }
}

fn check_rule(
    place: &Place<'_>,
    written: Spanned<WrittenRule>,
) -> Result<ProfileRule, ProfileError> {
    let start = written.span().start;
    let rule = written.into_inner();
    if rule.paths.is_empty() {
        return Err(place.error(start, ProfileFault::NoPaths));
    }
    check_text(place, &rule.reason, "reason")?;
    match &rule.merger {
        None if rule.verdict == Verdict::Merge => {
            return Err(place.error(start, ProfileFault::NoMerger));
        }
        Some(merger) if rule.verdict != Verdict::Merge => {
            return Err(place.error(merger.span().start, ProfileFault::Merger));
        }
        _ => {}
    }
    let paths = rule.paths.into_iter().map(|pattern| {
        let at = pattern.span().start;
        placeholder::check(pattern.get_ref()).map_err(|fault| place.error(at, fault))?;
        Ok(PathPattern {
            text: pattern.into_inner(),
            line: place.line(at),
        })
    });
    Ok(ProfileRule {
        verdict: rule.verdict,
        paths: paths.collect::<Result<_, _>>()?,
        reason: rule.reason.into_inner(),
        merger: rule.merger.map(Spanned::into_inner),
        condition: rule.when,
    })
}

fn check_text(
    place: &Place<'_>,
    text: &Spanned<String>,
    what: &'static str,
) -> Result<(), ProfileError> {
    let value = text.get_ref();
    let is_fine = !value.trim().is_empty()
        && value.len() <= MAX_REASON_LEN
        && !value.chars().any(char::is_control);
    if is_fine {
        Ok(())
    } else {
        Err(place.error(text.span().start, ProfileFault::Text(what)))
    }
}

fn is_kebab_case(name: &str) -> bool {
    let is_word = |word: &str| {
        let mut letters = word.bytes();
        !word.is_empty() && letters.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
    };
    name.len() <= MAX_NAME_LEN && name.split('-').all(is_word)
}
