//! What is to be done about an entry, given what the target has in its place. Pure: tested as a
//! table. Knows nothing of how it is done.

use crate::entry::{Entry, Kind, Metadata, Timestamp};
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
    /// When anything about the inode changed.
    pub ctime: Timestamp,
    /// In which tree it was found.
    pub origin: Origin,
}

/// In which tree something was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// In the one that is written to.
    Own,
    /// In the live tree beside the stage: it is not there yet, and must not be changed.
    Live,
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
    // Who may rename files of others in a directory would else be given one that looks alike.
    let changes_hands = entry.metadata.uid != existing.metadata.uid;
    if moved || changes_hands || pass == Pass::Checksum {
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
    use super::{Action, BasisUse, Existing, Origin, Sharing, decide};
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
            ctime: Timestamp::default(),
            origin: Origin::Own,
        }
    }

    fn symlink(text: &[u8]) -> Entry {
        let text = text.to_vec();
        entry(Kind::Symlink { text }, 5)
    }

    /// What the source has, what the target has, in which pass, and what is to be done.
    type Row = (Entry, Option<Entry>, Pass, Action);

    fn check(table: Vec<Row>) {
        for (number, (wanted, there, pass, action)) in table.into_iter().enumerate() {
            let there = there.as_ref().map(existing);
            let decided = decide(&wanted, there.as_ref(), pass, Sharing::Own);
            assert_eq!(decided, action, "row {number}");
        }
    }

    #[test]
    fn decides_about_files_by_size_time_and_attributes() {
        let mut chmod = file(9, 5);
        chmod.metadata.mode = 0o600;
        let mut of_another = file(9, 5);
        of_another.metadata.uid = 7;
        let mut labelled = file(9, 5);
        labelled.metadata.xattrs = vec![Xattr {
            name: b"user.a".to_vec(),
            value: b"1".to_vec(),
        }];
        let (quick, thorough) = (Pass::Timestamp, Pass::Checksum);
        let whole = Action::Body(BasisUse::None);
        let compare = Action::Body(BasisUse::Compare);
        check(vec![
            (file(9, 5), None, quick, whole),
            (file(9, 5), Some(file(9, 5)), quick, Action::Equal),
            (file(9, 5), Some(file(8, 5)), quick, compare),
            (file(9, 5), Some(file(9, 6)), quick, compare),
            (file(9, 5), Some(file(9, 5)), thorough, compare),
            (file(9, 5), Some(chmod), quick, Action::Attributes),
            (file(9, 5), Some(of_another), quick, compare),
            (file(9, 5), Some(labelled), quick, Action::Attributes),
            (file(9, 5), Some(symlink(b"a")), quick, whole),
        ]);
    }

    #[test]
    fn decides_about_what_has_no_contents_by_type_and_text() {
        let (quick, thorough) = (Pass::Timestamp, Pass::Checksum);
        let (link, directory) = (symlink(b"a"), entry(Kind::Directory, 5));
        check(vec![
            (link.clone(), Some(link.clone()), thorough, Action::Equal),
            (link.clone(), Some(symlink(b"b")), quick, Action::Make),
            (link.clone(), Some(directory.clone()), quick, Action::Make),
            (directory.clone(), Some(link), quick, Action::MakeDirectory),
            (directory.clone(), Some(directory), quick, Action::Equal),
        ]);
    }

    #[test]
    fn never_keeps_an_inode_that_others_share() {
        let wanted = file(9, 5);
        let there = existing(&wanted);
        let action = decide(&wanted, Some(&there), Pass::Timestamp, Sharing::Foreign);
        assert_eq!(action, Action::Body(BasisUse::None));
    }
}
