//! `/etc/hosts`: the target's own lines, then the source's further ones without those in which it
//! names itself, and the clone's name where that is a new one. Knows nothing of resolvers.

use std::collections::{BTreeMap, BTreeSet};

use super::block::{Block, commented_lines, lines, without_block, words};
use super::{Case, Change, Level, path, quoted};
use crate::facts::{Facts, is_loopback};
use crate::problem::Side;

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

/// Where a machine finds itself by its own name, whatever addresses it has.
const OWN_ADDRESS: &[u8] = b"127.0.1.1";

/// What a machine calls itself.
struct Identity {
    names: Vec<Vec<u8>>,
    addresses: BTreeSet<Vec<u8>>,
}

/// Which addresses the target's own lines give a name.
type Known<'a> = BTreeMap<Vec<u8>, BTreeSet<&'a [u8]>>;

impl Identity {
    fn of(facts: &Facts) -> Identity {
        let interfaces = facts.network.interfaces.iter();
        Identity {
            names: names_of(facts.identity.hostname.as_deref()),
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

/// Returns a machine's name and, where that has a domain, its first part; the full one first.
fn names_of(hostname: Option<&str>) -> Vec<Vec<u8>> {
    let full = hostname.unwrap_or("").trim_end_matches('.');
    let full = full.to_ascii_lowercase();
    let short = full.split('.').next().unwrap_or("");
    let mut names = vec![full.as_bytes().to_vec(), short.as_bytes().to_vec()];
    names.dedup();
    names.retain(|name| !name.is_empty() && !LOOPBACK_NAMES.contains(&&name[..]));
    names
}

pub(super) fn merge(case: &mut Case<'_>) {
    let path = path("etc/hosts");
    if case.leaves_link(&path, &[Side::Target]) {
        return;
    }
    if case.is_link(Side::Source, &path) {
        let what = "a link of the source: its lines do not come along";
        case.note(&path, Level::Warning, what.to_owned());
    }
    let source = case.source_file(&path);
    let source = source.map_or(&[][..], |file| &file.contents);
    let target = case.target_file(&path);
    let mut own = without_block(target.map_or(&[][..], |file| &file.contents));
    add_new_name(case.situation.new_name, &mut own);
    let sieve = Sieve::of(case, &own);
    let mut block = Block::default();
    for (above, line) in commented_lines(source) {
        let Some((address, names)) = parse(line) else {
            continue;
        };
        if sieve.is_about_source(address, &names) {
            let what = "the source's own line; a name in it that the clone needs is to be added";
            case.note(&path, Level::Warning, format!("{}: {what}", quoted(line)));
            continue;
        }
        let (further, other): (Vec<&[u8]>, Vec<&[u8]>) = names
            .iter()
            .partition(|name| sieve.is_further(address, name));
        for name in other.iter().filter(|name| sieve.differs(address, name)) {
            let what = format!("{} {}", quoted(address), quoted(name));
            let what = format!("{what}: the target's own line for that name stays");
            case.note(&path, Level::Info, what);
        }
        if further.is_empty() {
            continue;
        }
        above.iter().for_each(|comment| block.push(comment));
        match other.is_empty() {
            true => block.push(line),
            false => block.push(&[&[address], &further[..]].concat().join(&b" "[..])),
        }
    }
    let Some(file) = block.file(target, own) else {
        return;
    };
    let reason = "the target's own names and the further lines of the source";
    case.propose(&path, Change::Write(file), Level::Info, reason);
}

/// Adds the line in which the clone finds itself by a new name. It becomes one of the target's own:
/// the next clone onto it may be made without giving the name again.
fn add_new_name(new_name: Option<&str>, own: &mut Vec<u8>) {
    let known = known_of(own);
    let mut names = names_of(new_name);
    names.retain(|name| !known.contains_key(name));
    if names.is_empty() {
        return;
    }
    if !own.is_empty() && !own.ends_with(b"\n") {
        own.push(b'\n');
    }
    own.extend_from_slice(OWN_ADDRESS);
    for name in names {
        own.push(b' ');
        own.extend(name);
    }
    own.push(b'\n');
}

fn known_of(own: &[u8]) -> Known<'_> {
    let mut known = Known::new();
    for (address, names) in lines(own).filter_map(parse) {
        for name in names {
            let addresses = known.entry(name.to_ascii_lowercase()).or_default();
            addresses.insert(address);
        }
    }
    known
}

/// Decides which names of the source's table are further ones.
struct Sieve<'a> {
    source: Identity,
    target: Identity,
    known: Known<'a>,
}

impl<'a> Sieve<'a> {
    fn of(case: &Case<'_>, own: &'a [u8]) -> Sieve<'a> {
        Sieve {
            source: Identity::of(case.situation.source),
            target: Identity::of(case.situation.target),
            known: known_of(own),
        }
    }

    /// Tells whether a line says where the source itself is. On the loopback it also gives other
    /// names, which are as right on the clone.
    fn is_about_source(&self, address: &[u8], names: &[&[u8]]) -> bool {
        let is_named = names.iter().any(|name| self.source.is_name(name));
        !is_loopback(address) && (self.source.addresses.contains(address) || is_named)
    }

    fn is_further(&self, address: &[u8], name: &[u8]) -> bool {
        let is_own = self.source.is_name(name) || self.target.is_name(name);
        // Every installer writes these in its own form.
        let is_usual =
            is_multicast(address) || is_loopback(address) && LOOPBACK_NAMES.contains(&name);
        let is_there = self.is_known(name) || is_usual && self.is_known(b"localhost");
        !is_own && !is_there
    }

    fn is_known(&self, name: &[u8]) -> bool {
        self.known.contains_key(&name.to_ascii_lowercase())
    }

    /// Tells whether the target's own lines lead a name elsewhere.
    fn differs(&self, address: &[u8], name: &[u8]) -> bool {
        let own = self.known.get(&name.to_ascii_lowercase());
        own.is_some_and(|own| !own.contains(address) && !is_loopback(address))
    }
}

/// Returns address and names of a line that has both.
fn parse(line: &[u8]) -> Option<(&[u8], Vec<&[u8]>)> {
    let text = line.split(|byte| *byte == b'#').next()?;
    let mut fields = words(text);
    let address = fields.next()?;
    let names: Vec<&[u8]> = fields.collect();
    (!names.is_empty()).then_some((address, names))
}

/// Tells whether it is one of the IPv6 groups that installers write: `fe00::0`, `ff02::1`.
fn is_multicast(address: &[u8]) -> bool {
    let start = address.to_ascii_lowercase();
    start.starts_with(b"ff0") || start == b"fe00::0" || start == b"fe00::"
}
