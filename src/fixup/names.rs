//! `/etc/hosts`: the target's own lines, then the source's further ones without those in which it
//! names itself. Knows nothing of resolvers.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{Block, is_own, lines, without_block, words};
use super::{Case, Change, File, Level, path, quoted};
use crate::facts::Facts;

/// Names of the loopback that every distribution has in its own form.
const LOOPBACK_NAMES: [&[u8]; 15] = [
    b"localhost",
    b"localhost.localdomain",
    b"localhost4",
    b"localhost4.localdomain4",
    b"localhost6",
    b"localhost6.localdomain6",
    b"localhost.localnet",
    b"loopback",
    b"ip6-localhost",
    b"ip6-loopback",
    b"ipv6-localhost",
    b"ipv6-loopback",
    b"localhost-ip6",
    b"ip6-localnet",
    b"ip6-mcastprefix",
];

/// What a machine calls itself.
struct Self_ {
    names: BTreeSet<Vec<u8>>,
    addresses: BTreeSet<Vec<u8>>,
}

type Known<'a> = BTreeMap<Vec<u8>, &'a [u8]>;

impl Self_ {
    fn of(facts: &Facts) -> Self_ {
        let full = facts.identity.hostname.as_deref().unwrap_or("");
        let full = full.trim_end_matches('.').to_ascii_lowercase();
        let short = full.split('.').next().unwrap_or("");
        let names = [full.as_str(), short].into_iter();
        let interfaces = facts.network.interfaces.iter();
        Self_ {
            names: names
                .filter(|name| !name.is_empty() && *name != "localhost")
                .map(|name| name.as_bytes().to_vec())
                .collect(),
            addresses: interfaces
                .flat_map(|interface| &interface.addresses)
                .map(|address| address.as_bytes().to_vec())
                .collect(),
        }
    }

    fn is_name(&self, name: &[u8]) -> bool {
        self.names.contains(&name.to_ascii_lowercase())
    }
}

pub(super) fn merge(case: &mut Case<'_>) {
    let path = path("etc/hosts");
    let Some(source) = case.source_file(&path) else {
        return;
    };
    let target = case.target_file(&path);
    let own = without_block(target.map_or(&[][..], |file| &file.contents));
    let known: Known<'_> = lines(&own)
        .filter_map(parse)
        .flat_map(|(address, names)| {
            let names = names.into_iter();
            names.map(move |name| (name.to_ascii_lowercase(), address))
        })
        .collect();
    let (source_self, target_self) = (
        Self_::of(case.situation.source),
        Self_::of(case.situation.target),
    );
    let mut block = Block::default();
    let mut comments: Vec<&[u8]> = Vec::new();
    for line in lines(&source.contents) {
        let trimmed = line.trim_ascii();
        if trimmed.starts_with(b"#") {
            if !is_own(trimmed) {
                comments.push(line);
            }
            continue;
        }
        // Comments belong to the line right below them.
        let above = std::mem::take(&mut comments);
        let Some((address, names)) = parse(line) else {
            continue;
        };
        let own_name = names.iter().find(|name| source_self.is_name(name));
        let is_own_line = source_self.addresses.contains(address) || own_name.is_some();
        if is_own_line && !is_loopback(address) {
            let what = "the source's own line; a name in it that the clone needs is to be added";
            case.note(&path, Level::Warning, format!("{}: {what}", quoted(line)));
            continue;
        }
        let is_further = |name: &&&[u8]| {
            !source_self.is_name(name)
                && !target_self.is_name(name)
                && !known.contains_key(&name.to_ascii_lowercase())
                && !(is_loopback(address) && LOOPBACK_NAMES.contains(name))
        };
        let further: Vec<&[u8]> = names.iter().filter(is_further).copied().collect();
        for name in names.iter().filter(|name| !further.contains(name)) {
            if known
                .get(&name.to_ascii_lowercase())
                .is_some_and(|other| *other != address)
            {
                let what = "the target's own line for that name stays";
                case.note(
                    &path,
                    Level::Info,
                    format!("{} {}: {what}", quoted(address), quoted(name)),
                );
            }
        }
        if further.is_empty() || is_multicast(address) {
            continue;
        }
        above.iter().for_each(|comment| block.push(comment));
        match further.len() == names.len() {
            true => block.push(line),
            false => {
                let parts: Vec<&[u8]> = std::iter::once(address).chain(further).collect();
                block.push(&parts.join(&b" "[..]));
            }
        }
    }
    let file = match target {
        Some(target) => target.with(block.append_to(own)),
        None if block.is_empty() => return,
        None => File::of_root(block.append_to(own)),
    };
    let reason = "the target's own names and the further lines of the source";
    case.propose(&path, Change::Write(file), Level::Info, reason);
}

/// Returns address and names of a line that has both.
fn parse(line: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let text = line.split(|byte| *byte == b'#').next()?;
    let mut fields = words(text);
    let address = fields.next()?;
    let names: Vec<&[u8]> = fields.collect();
    (!names.is_empty()).then_some((address, names))
}

fn is_loopback(address: &[u8]) -> bool {
    address.starts_with(b"127.") || address == b"::1"
}

/// Tells whether it is one of the IPv6 groups that installers write: `fe00::0`, `ff02::1`.
fn is_multicast(address: &[u8]) -> bool {
    let start = address.to_ascii_lowercase();
    start.starts_with(b"ff0") || start == b"fe00::0" || start == b"fe00::"
}
