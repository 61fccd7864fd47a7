//! Debconf's answers: the source's, but those that name disks or the kernel's arguments are the
//! target's, so that the next update of the boot loader fits it. Knows nothing of packages.

use std::collections::BTreeSet;

use super::glob::fits_any;
use super::{Case, Change, Level, path};

const DATABASE: &str = "var/cache/debconf/config.dat";
/// Questions about this machine's disks.
const QUESTIONS: [&str; 6] = [
    "grub-pc/install_devices*",
    "grub-efi/install_devices*",
    "grub2/linux_cmdline*",
    "grub*/kfreebsd_cmdline*",
    "grub2/device_map_regenerated",
    "linux-base/disk-id-*",
];

pub(super) fn merge(case: &mut Case<'_>) {
    let path = path(DATABASE);
    let Some(source) = case.source_file(&path) else {
        return;
    };
    let target = case
        .target_file(&path)
        .map_or(&[][..], |file| &file.contents);
    let answers = stanzas(target);
    let mut asked = BTreeSet::new();
    let mut contents = Vec::with_capacity(source.contents.len());
    for stanza in stanzas(&source.contents) {
        let question = name(stanza).filter(|name| fits_any(&QUESTIONS, name));
        let Some(question) = question else {
            contents.extend_from_slice(stanza);
            continue;
        };
        // A question is there once; what a broken database repeats goes.
        if !asked.insert(question) {
            continue;
        }
        let answer = answers.iter().find(|answer| name(answer) == Some(question));
        let answer = match answer {
            Some(answer) => answer.to_vec(),
            // No answer of the target: none at all, rather than a disk of the source.
            None => {
                let rest = stanza.split_inclusive(|byte| *byte == b'\n');
                let rest = rest.filter(|line| !line.starts_with(b"Value:"));
                rest.collect::<Vec<_>>().concat()
            }
        };
        // The end is the source's: whether a blank line follows is a matter of the place.
        let (body, _) = answer.split_at(end_of(&answer));
        let (_, end) = stanza.split_at(end_of(stanza));
        contents.extend_from_slice(body);
        contents.extend_from_slice(end);
    }
    let change = Change::Write(source.with(contents));
    let reason = "the source's answers, with the target's about disks";
    case.propose(&path, change, Level::Info, reason);
}

/// Cuts a database behind each blank line.
fn stanzas(contents: &[u8]) -> Vec<&[u8]> {
    let mut stanzas = Vec::new();
    let mut rest = contents;
    while !rest.is_empty() {
        let blank = rest.windows(2).position(|two| two == b"\n\n");
        let (stanza, after) = rest.split_at(blank.map_or(rest.len(), |at| at + 2));
        stanzas.push(stanza);
        rest = after;
    }
    stanzas
}

/// Returns where the line ends behind a stanza begin.
fn end_of(stanza: &[u8]) -> usize {
    let text = stanza.iter().rposition(|byte| *byte != b'\n');
    text.map_or(0, |at| at + 1)
}

fn name(stanza: &[u8]) -> Option<&[u8]> {
    let mut lines = stanza.split(|byte| *byte == b'\n');
    let name = lines.find_map(|line| line.strip_prefix(b"Name:"))?;
    Some(name.trim_ascii())
}
