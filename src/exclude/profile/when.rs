//! Conditions on what is known about both machines, and the words for why one holds.
//!
//! A line names a side, a key and a value or a list of values; all lines must hold, and a list
//! means one of them. Knows nothing of rules.

use std::marker::PhantomData;

use serde::de::{Deserializer, IntoDeserializer, SeqAccess, Visitor};
use serde::{Deserialize, de};

use super::{HostnamePolicy, IdentityPolicy, KernelPolicy, Policies};
use crate::facts::{
    Agent, Facts, Family, Init, NetworkStack, PackageManager, PlatformKind, UsrLayout,
};

/// One table `when`: holds if all of its lines do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct Condition {
    source: Traits,
    target: Traits,
    either: Traits,
    both: Traits,
    not_source: Traits,
    not_target: Traits,
    policy: PolicyTraits,
}

/// What is asked of a machine.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct Traits {
    family: Option<OneOf<Family>>,
    id: Option<OneOf<String>>,
    version: Option<OneOf<String>>,
    network: Option<OneOf<NetworkStack>>,
    init: Option<OneOf<Init>>,
    platform: Option<OneOf<PlatformKind>>,
    agent: Option<OneOf<Agent>>,
    package_manager: Option<OneOf<PackageManager>>,
    usr_layout: Option<OneOf<UsrLayout>>,
}

/// What is asked of the person's decisions.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
struct PolicyTraits {
    identity: Option<OneOf<IdentityPolicy>>,
    hostname: Option<OneOf<HostnamePolicy>>,
    kernel: Option<OneOf<KernelPolicy>>,
}

/// A value or a list of them, each with its text.
#[derive(Clone, Debug)]
struct OneOf<T>(Vec<(T, String)>);

impl<T> OneOf<T> {
    fn first(&self, is_met: impl Fn(&T) -> bool) -> Option<&str> {
        let found = self.0.iter().find(|(value, _)| is_met(value));
        found.map(|(_, text)| text.as_str())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOf<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OneOf<T>, D::Error> {
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = OneOf<T>;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<OneOf<T>, E> {
        Ok(OneOf(vec![value(text)?]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut texts: A) -> Result<OneOf<T>, A::Error> {
        let mut values = Vec::new();
        while let Some(text) = texts.next_element::<String>()? {
            values.push(value(&text)?);
        }
        if values.is_empty() {
            return Err(de::Error::custom("an empty list never holds"));
        }
        Ok(OneOf(values))
    }
}

fn value<'de, T: Deserialize<'de>, E: de::Error>(text: &str) -> Result<(T, String), E> {
    // Owned, so that the value may not borrow from the profile's text.
    let deserializer = text.to_owned().into_deserializer();
    Ok((T::deserialize(deserializer)?, text.to_owned()))
}

/// How a key is put in words: the verb for one machine, for two, with "not", and what follows.
struct Words([&'static str; 3], &'static str);

const BE: [&str; 3] = ["is", "are", "is not"];
const USE: [&str; 3] = ["uses", "use", "does not use"];
const HAVE: [&str; 3] = ["has", "have", "does not have"];
const START: [&str; 3] = ["starts", "start", "does not start"];
const RUN: [&str; 3] = ["runs", "run", "does not run"];

/// One line of a condition against one machine: how it is said, and the value that it meets.
struct Line<'c> {
    words: Words,
    met: Option<&'c str>,
    /// The value that is named where none is met.
    named: &'c str,
}

impl Line<'_> {
    /// Says it of somebody; `form` is 0 for one machine, 1 for two, 2 for "not".
    fn say(&self, who: &str, form: usize) -> String {
        let Words(verbs, rest) = &self.words;
        let verb = verbs.get(form).unwrap_or(&"");
        format!(
            "{who} {verb} {}",
            rest.replace("{}", self.met.unwrap_or(self.named))
        )
    }
}

impl Traits {
    fn lines(&self, facts: &Facts) -> Vec<Line<'_>> {
        let (distribution, platform) = (&facts.distribution, &facts.platform);
        let has_agent = |agent: &Agent| platform.agents.iter().any(|state| state.agent == *agent);
        [
            line(&self.family, Words(BE, "of the {} family"), |v| {
                *v == distribution.family
            }),
            line(&self.id, Words(BE, "{}"), |v| *v == distribution.id),
            line(&self.version, Words(HAVE, "version {}"), |v| {
                v == distribution.major()
            }),
            line(&self.network, Words(USE, "{}"), |v| {
                facts.network.in_charge.contains(v)
            }),
            line(&self.init, Words(START, "with {}"), |v| *v == facts.init),
            line(&self.platform, Words(RUN, "on {}"), |v| *v == platform.kind),
            line(&self.agent, Words(HAVE, "{}"), has_agent),
            line(&self.package_manager, Words(USE, "{}"), |v| {
                Some(*v) == facts.packages.manager
            }),
            line(&self.usr_layout, Words(HAVE, "a {} /usr"), |v| {
                *v == facts.usr_layout
            }),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}

fn line<T>(
    wanted: &Option<OneOf<T>>,
    words: Words,
    is_met: impl Fn(&T) -> bool,
) -> Option<Line<'_>> {
    let wanted = wanted.as_ref()?;
    Some(Line {
        words,
        met: wanted.first(is_met),
        named: wanted.0.first().map_or("", |(_, text)| text),
    })
}

impl PolicyTraits {
    fn hold(&self, policies: Policies) -> bool {
        fn meets<T: PartialEq>(wanted: &Option<OneOf<T>>, value: T) -> bool {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted.first(|one| *one == value).is_some())
        }
        meets(&self.identity, policies.identity)
            && meets(&self.hostname, policies.hostname)
            && meets(&self.kernel, policies.kernel)
    }
}

impl Condition {
    /// Returns why it holds, as a list of clauses ("the target uses netplan"), which is empty
    /// where only policies are asked for; `None` if it does not hold.
    pub fn why(&self, source: &Facts, target: &Facts, policies: Policies) -> Option<Vec<String>> {
        if !self.policy.hold(policies) {
            return None;
        }
        let one = |traits: &Traits, facts, who| -> Option<Vec<String>> {
            let lines = traits.lines(facts).into_iter();
            lines
                .map(|line| line.met.map(|_| line.say(who, 0)))
                .collect()
        };
        let none = |traits: &Traits, facts, who| -> Option<Vec<String>> {
            let lines = traits.lines(facts).into_iter();
            let say = |line: Line<'_>| line.met.is_none().then(|| line.say(who, 2));
            lines.map(say).collect()
        };
        let pair = |traits: &Traits, needs_both: bool| -> Option<Vec<String>> {
            let (ours, theirs) = (traits.lines(source), traits.lines(target));
            let pairs = ours.iter().zip(&theirs);
            pairs
                .map(|(ours, theirs)| say_pair(ours, theirs, needs_both))
                .collect()
        };
        let clauses = [
            one(&self.source, source, "the source")?,
            one(&self.target, target, "the target")?,
            pair(&self.either, false)?,
            pair(&self.both, true)?,
            none(&self.not_source, source, "the source")?,
            none(&self.not_target, target, "the target")?,
        ];
        Some(clauses.concat())
    }
}

/// Says which of two machines meet a line, or `None` where too few do.
fn say_pair(source: &Line<'_>, target: &Line<'_>, needs_both: bool) -> Option<String> {
    match (source.met, target.met) {
        (Some(ours), Some(theirs)) if ours == theirs => Some(source.say("both machines", 1)),
        (Some(_), Some(_)) => Some(format!(
            "{} and {}",
            source.say("the source", 0),
            target.say("the target", 0)
        )),
        (Some(_), None) if !needs_both => Some(source.say("the source", 0)),
        (None, Some(_)) if !needs_both => Some(target.say("the target", 0)),
        _ => None,
    }
}
