//! The eleven columns of `rsync -i`, which administrators read already: what is transferred,
//! the type, then what differs. Knows nothing of what is done about it.

use super::compare::Existing;
use crate::entry::{Entry, Kind, Metadata};
use crate::fs::metadata::xattrs_differ;

/// The columns for something that is deleted.
pub const DELETING: &str = "*deleting  ";

/// How a change reaches the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Contents are sent.
    Sent,
    /// It is made or changed without contents.
    Made,
    /// It becomes another name of a file that is there.
    Linked,
    /// Only attributes change.
    Attributes,
}

/// Returns the columns for an entry that changes.
pub fn columns(way: Way, entry: &Entry, existing: Option<&Existing>) -> String {
    let existing = existing.filter(|existing| existing.kind.same_type(&entry.kind));
    let head = [
        update_letter(way, existing.is_some()),
        type_letter(&entry.kind),
    ];
    let Some(existing) = existing else {
        return head.iter().collect::<String>() + "+++++++++";
    };
    let sizes_differ = entry.kind.size() != existing.kind.size() || entry.kind != existing.kind;
    columns_of(head, way, sizes_differ, &entry.metadata, &existing.metadata)
}

/// Returns the columns for a directory whose attributes change.
pub fn directory_columns(wanted: &Metadata, present: &Metadata) -> String {
    columns_of(['.', 'd'], Way::Attributes, false, wanted, present)
}

fn columns_of(
    head: [char; 2],
    way: Way,
    sizes_differ: bool,
    wanted: &Metadata,
    present: &Metadata,
) -> String {
    let acl = |metadata: &Metadata| {
        metadata
            .xattrs
            .iter()
            .filter(|xattr| is_acl(&xattr.name))
            .cloned()
            .collect::<Vec<_>>()
    };
    let other = |metadata: &Metadata| {
        metadata
            .xattrs
            .iter()
            .filter(|xattr| !is_acl(&xattr.name))
            .cloned()
            .collect::<Vec<_>>()
    };
    let same_times = wanted.mtime == present.mtime;
    let flags = [
        (way == Way::Sent && same_times && !sizes_differ, 'c'),
        (sizes_differ, if matches!(head[1], 'f') { 's' } else { 'c' }),
        (!same_times, 't'),
        (wanted.mode != present.mode, 'p'),
        (wanted.uid != present.uid, 'o'),
        (wanted.gid != present.gid, 'g'),
        (false, 'u'),
        (xattrs_differ(&acl(present), &acl(wanted)), 'a'),
        (xattrs_differ(&other(present), &other(wanted)), 'x'),
    ];
    head.into_iter()
        .chain(
            flags
                .iter()
                .map(|(differs, letter)| if *differs { *letter } else { '.' }),
        )
        .collect()
}

fn is_acl(name: &[u8]) -> bool {
    name.starts_with(b"system.posix_acl_")
}

fn update_letter(way: Way, exists: bool) -> char {
    match way {
        Way::Sent => '>',
        Way::Made => 'c',
        Way::Linked => 'h',
        Way::Attributes if exists => '.',
        Way::Attributes => 'c',
    }
}

fn type_letter(kind: &Kind) -> char {
    match kind {
        Kind::File { .. } => 'f',
        Kind::Directory => 'd',
        Kind::Symlink { .. } => 'L',
        Kind::CharDevice(_) | Kind::BlockDevice(_) => 'D',
        Kind::Fifo | Kind::Socket => 'S',
    }
}

#[cfg(test)]
mod tests {
    use super::{Way, columns};
    use crate::entry::{Entry, Kind, Metadata};
    use crate::fs::FileId;
    use crate::relpath::Name;
    use crate::transfer::compare::Existing;

    #[test]
    fn reads_as_rsync_prints_it() {
        let metadata = Metadata {
            mode: 0o644,
            ..Metadata::default()
        };
        let entry = Entry {
            name: Name::new(b"x").unwrap(),
            kind: Kind::File { size: 5 },
            metadata,
            link: None,
        };
        assert_eq!(columns(Way::Sent, &entry, None), ">f+++++++++");
        let mut there = Existing {
            kind: Kind::File { size: 6 },
            metadata: entry.metadata.clone(),
            id: FileId {
                device: 0,
                inode: 0,
            },
            link_count: 1,
            ctime: crate::entry::Timestamp::default(),
            origin: crate::transfer::compare::Origin::Own,
        };
        there.metadata.mtime.seconds = 1;
        assert_eq!(columns(Way::Sent, &entry, Some(&there)), ">f.st......");
        there.metadata = Metadata {
            mode: 0o600,
            uid: 7,
            ..entry.metadata.clone()
        };
        there.kind = entry.kind.clone();
        assert_eq!(
            columns(Way::Attributes, &entry, Some(&there)),
            ".f...po...."
        );
        there.metadata = entry.metadata.clone();
        assert_eq!(columns(Way::Sent, &entry, Some(&there)), ">fc........");
    }
}
