//! What the mergers have in common.

use super::{Change, File, Merger, Object, Owners, Situation, Versions, merge, path};
use crate::facts::Facts;

fn merged(mergers: &[Merger], versions: &Versions) -> Vec<(Merger, Change)> {
    let (source, target, kept) = (Facts::default(), Facts::default(), Owners::default());
    let situation = Situation {
        source: &source,
        target: &target,
        kept: &kept,
        returning_pair: None,
        new_name: None,
        present: &|_| false,
    };
    let merged = merge(mergers, versions, &situation);
    let edits = merged.edits.into_iter();
    edits.map(|edit| (edit.merger, edit.change)).collect()
}

#[test]
fn the_accounts_are_last_and_every_merger_is_asked_once() {
    let file = |text: &str| Object::File(File::of_root(text.as_bytes().to_vec()));
    let mut versions = Versions::default();
    let source = &mut versions.source;
    source.insert(path("etc/hosts"), file("10.0.0.1 a\n"));
    source.insert(path("etc/passwd"), file("root:h:0:0::/:/bin/sh\n"));
    source.insert(path("etc/group"), file("root:x:0:\n"));
    let asked = [Merger::Accounts, Merger::Hosts, Merger::Accounts];
    let order: Vec<Merger> = merged(&asked, &versions)
        .into_iter()
        .map(|(merger, _)| merger)
        .collect();
    assert_eq!(order, [Merger::Hosts, Merger::Accounts, Merger::Accounts]);
}

#[test]
fn what_both_have_already_gets_no_edit() {
    let keys = Object::File(File::of_root(b"ssh-ed25519 AAAA a\n".to_vec()));
    let at = path("root/.ssh/authorized_keys");
    let mut versions = Versions::default();
    versions.source.insert(at.clone(), keys.clone());
    versions.target.insert(at, keys);
    assert_eq!(merged(&[Merger::AuthorizedKeys], &versions), []);
    versions.source.clear();
    assert_eq!(merged(&[Merger::AuthorizedKeys], &versions).len(), 1);
}

#[test]
fn the_names_of_the_mergers_are_those_of_the_profiles() {
    for merger in Merger::ALL {
        let text = serde_json::to_string(&merger).unwrap();
        assert_eq!(text, format!("\"{}\"", merger.word()));
    }
}

#[test]
fn hashes_are_not_printed() {
    let file = File::of_root(b"root:$6$secret".to_vec());
    assert!(!format!("{:?}", Change::Write(file)).contains("secret"));
}
