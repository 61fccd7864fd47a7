//! What is to be done about an entry, given what the target has in its place. Pure: tested as a
//! table. Knows nothing of how it is done.

use crate::entry::{Entry, Kind, Metadata};
use crate::fs::FileId;
use crate::fs::metadata::xattrs_differ;
use crate::monitor::Pass;

/// What the target has under a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Existing {
    /// What it is.
    pub kind: Kind,
    /// Its attributes.
    pub metadata: Metadata,
    /// Which object.
    pub id: FileId,
    /// How many names it has.
    pub link_count: u64,
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing.
    Equal,
    /// Its attributes are set in place.
    Attributes,
    /// It is made anew and takes the name at one moment.
    Make,
    /// A directory is made where none is.
    MakeDirectory,
    /// Contents are asked for.
    Body(BasisUse),
}

/// What an existing file is good for when contents are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasisUse {
    /// It is no regular file, or must not be touched.
    None,
    /// Contents that are the same need not be sent.
    Compare,
}

/// Decides about one entry. `shared` says that the existing inode has names that the source's
/// does not have, so that it must not be kept.
pub fn decide(entry: &Entry, existing: Option<&Existing>, pass: Pass, shared: Sharing) -> Action {
    let existing = existing.filter(|existing| existing.kind.same_type(&entry.kind));
    match (&entry.kind, existing) {
        (Kind::Directory, None) => Action::MakeDirectory,
        (Kind::Directory, Some(_)) => Action::Equal,
        (Kind::File { .. }, None) => Action::Body(BasisUse::None),
        (Kind::File { .. }, Some(_)) if shared == Sharing::Foreign => Action::Body(BasisUse::None),
        (Kind::File { .. }, Some(existing)) => decide_file(entry, existing, pass),
        (_, Some(existing))
            if shared == Sharing::Own
                && existing.kind == entry.kind
                && !attributes_differ(entry, &existing.metadata) =>
        {
            Action::Equal
        }
        _ => Action::Make,
    }
}

/// Whether an existing inode may stay what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// All its names belong to this entry's group.
    Own,
    /// Other entries have it too.
    Foreign,
}

fn decide_file(entry: &Entry, existing: &Existing, pass: Pass) -> Action {
    let moved = entry.kind != existing.kind || entry.metadata.mtime != existing.metadata.mtime;
    if moved || pass == Pass::Checksum {
        Action::Body(BasisUse::Compare)
    } else if attributes_differ(entry, &existing.metadata) {
        Action::Attributes
    } else {
        Action::Equal
    }
}

/// Tells whether any attribute differs.
pub fn attributes_differ(entry: &Entry, present: &Metadata) -> bool {
    metadata_differs(&entry.metadata, present)
}

/// Tells whether any attribute differs.
pub fn metadata_differs(wanted: &Metadata, present: &Metadata) -> bool {
    (wanted.mtime, wanted.uid, wanted.gid) != (present.mtime, present.uid, present.gid)
        || wanted.mode != present.mode
        || xattrs_differ(&present.xattrs, &wanted.xattrs)
}

#[cfg(test)]
mod tests {
    use super::{Action, BasisUse, Existing, Sharing, decide};
    use crate::entry::{Entry, Kind, Metadata, Timestamp, Xattr};
    use crate::fs::FileId;
    use crate::monitor::Pass;
    use crate::relpath::Name;

    fn file(size: u64, seconds: i64) -> Entry {
        entry(Kind::File { size }, seconds)
    }

    fn entry(kind: Kind, seconds: i64) -> Entry {
        let mtime = Timestamp {
            seconds,
            nanoseconds: 1,
        };
        let metadata = Metadata {
            mode: 0o644,
            mtime,
            ..Metadata::default()
        };
        Entry {
            name: Name::new(b"x").unwrap(),
            kind,
            metadata,
            link: None,
        }
    }

    fn existing(entry: &Entry) -> Existing {
        let id = FileId {
            device: 1,
            inode: 2,
        };
        Existing {
            kind: entry.kind.clone(),
            metadata: entry.metadata.clone(),
            id,
            link_count: 1,
        }
    }

    #[test]
    fn decides_by_type_size_time_and_attributes() {
        let link = entry(
            Kind::Symlink {
                text: b"a".to_vec(),
            },
            5,
        );
        let other_link = entry(
            Kind::Symlink {
                text: b"b".to_vec(),
            },
            5,
        );
        let directory = entry(Kind::Directory, 5);
        let mut chmod = file(9, 5);
        chmod.metadata.mode = 0o600;
        let mut labelled = file(9, 5);
        labelled.metadata.xattrs = vec![Xattr {
            name: b"user.a".to_vec(),
            value: b"1".to_vec(),
        }];
        let compare = Action::Body(BasisUse::Compare);
        let table = [
            (
                file(9, 5),
                None,
                Pass::Timestamp,
                Action::Body(BasisUse::None),
            ),
            (file(9, 5), Some(file(9, 5)), Pass::Timestamp, Action::Equal),
            (file(9, 5), Some(file(8, 5)), Pass::Timestamp, compare),
            (file(9, 5), Some(file(9, 6)), Pass::Timestamp, compare),
            (file(9, 5), Some(file(9, 5)), Pass::Checksum, compare),
            (file(9, 5), Some(chmod), Pass::Timestamp, Action::Attributes),
            (
                file(9, 5),
                Some(labelled),
                Pass::Timestamp,
                Action::Attributes,
            ),
            (
                file(9, 5),
                Some(link.clone()),
                Pass::Timestamp,
                Action::Body(BasisUse::None),
            ),
            (
                link.clone(),
                Some(link.clone()),
                Pass::Checksum,
                Action::Equal,
            ),
            (
                link.clone(),
                Some(other_link),
                Pass::Timestamp,
                Action::Make,
            ),
            (
                link.clone(),
                Some(directory.clone()),
                Pass::Timestamp,
                Action::Make,
            ),
            (
                directory.clone(),
                Some(link),
                Pass::Timestamp,
                Action::MakeDirectory,
            ),
            (
                directory.clone(),
                Some(directory),
                Pass::Timestamp,
                Action::Equal,
            ),
        ];
        for (number, (wanted, there, pass, action)) in table.into_iter().enumerate() {
            let there = there.as_ref().map(existing);
            assert_eq!(
                decide(&wanted, there.as_ref(), pass, Sharing::Own),
                action,
                "row {number}"
            );
        }
    }

    #[test]
    fn never_keeps_an_inode_that_others_share() {
        let wanted = file(9, 5);
        let there = existing(&wanted);
        let action = decide(&wanted, Some(&there), Pass::Timestamp, Sharing::Foreign);
        assert_eq!(action, Action::Body(BasisUse::None));
    }
}
