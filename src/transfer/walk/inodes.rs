//! Inodes with several names, renumbered: the target learns which names belong together and nothing
//! of the source's inode numbers. Knows nothing of directories.

use std::collections::HashMap;

use crate::entry::{LinkId, Timestamp};
use crate::fs::{FileId, Status};

/// Renumbers the inodes that have several names. An inode is forgotten when all its names were
/// seen, so the table holds only groups that are half known.
#[derive(Debug, Default)]
pub(super) struct LinkTable {
    groups: HashMap<FileId, Group>,
    count: u64,
}

/// An inode of which some names were seen.
#[derive(Debug)]
struct Group {
    link: LinkId,
    unseen: u64,
    first: Looks,
}

/// How an inode looked under one of its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looks {
    id: FileId,
    link_count: u64,
    ctime: Timestamp,
    mtime: Timestamp,
    size: u64,
    owner: (u32, u32),
    mode: u32,
}

impl Looks {
    /// Takes what is needed of a status.
    pub(super) fn of(status: &Status) -> Looks {
        Looks {
            id: status.id(),
            link_count: status.link_count(),
            ctime: status.ctime(),
            mtime: status.mtime(),
            size: status.size(),
            owner: (status.uid(), status.gid()),
            mode: status.mode_with_type(),
        }
    }

    /// Tells whether this is the inode of an earlier look; `born` is asked only where it has changed
    /// since.
    ///
    /// LIVE: all names of a file may go and its number come again with the next file. That one was
    /// born after the earlier look, and so after the last change that it had shown.
    ///
    /// LIMIT: a file system that notes no birth has one inode told from another by how they look:
    /// a file that is written to between two looks arrives as two.
    fn is_inode_of(&self, earlier: &Looks, born: impl FnOnce() -> Option<Timestamp>) -> bool {
        if self.ctime == earlier.ctime {
            return true;
        }
        match born() {
            Some(born) => born <= earlier.ctime,
            None => self.contents_and_rights() == earlier.contents_and_rights(),
        }
    }

    fn contents_and_rights(&self) -> (Timestamp, u64, (u32, u32), u32) {
        (self.mtime, self.size, self.owner, self.mode)
    }
}

impl LinkTable {
    /// Takes one name of an inode in and returns the number of its group. `born` tells when the
    /// inode under that name was made, where the file system notes it.
    pub(super) fn number_of(
        &mut self,
        look: Looks,
        born: impl FnOnce() -> Option<Timestamp>,
    ) -> LinkId {
        let known = self.groups.remove(&look.id);
        let known = known.filter(|group| look.is_inode_of(&group.first, born));
        let mut group = known.unwrap_or_else(|| self.begin(look));
        group.unseen = group.unseen.saturating_sub(1);
        let link = group.link;
        if group.unseen > 0 {
            self.groups.insert(look.id, group);
        }
        link
    }

    fn begin(&mut self, first: Looks) -> Group {
        self.count += 1;
        Group {
            link: LinkId(self.count),
            unseen: first.link_count,
            first,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{LinkTable, Looks};
    use crate::entry::{LinkId, Timestamp};
    use crate::fs::FileId;

    fn second(seconds: i64) -> Timestamp {
        Timestamp {
            seconds,
            nanoseconds: 0,
        }
    }

    /// Inode 7 with three names, changed last at `seconds`.
    fn look(seconds: i64) -> Looks {
        let id = FileId {
            device: 1,
            inode: 7,
        };
        Looks {
            id,
            link_count: 3,
            ctime: second(seconds),
            mtime: second(1),
            size: 9,
            owner: (0, 0),
            mode: 0o100_644,
        }
    }

    #[test]
    fn a_number_that_comes_again_is_another_group() {
        let grown = Looks {
            size: 10,
            ..look(20)
        };
        let given_away = Looks {
            owner: (7, 0),
            ..look(20)
        };
        // The second look, when its inode was born, and whether it is that of the first.
        for (again, born, is_same) in [
            (look(10), Some(5), true),
            (look(20), Some(5), true),
            (look(20), Some(10), true),
            (look(20), Some(15), false),
            (look(20), Some(20), false),
            (grown, Some(5), true),
            (look(20), None, true),
            (grown, None, false),
            (given_away, None, false),
        ] {
            let mut links = LinkTable::default();
            let first = links.number_of(look(10), || None);
            let next = links.number_of(again, || born.map(second));
            assert_eq!(next == first, is_same, "{again:?} born {born:?}");
        }
    }

    #[test]
    fn what_took_the_number_is_a_group_as_any() {
        let mut links = LinkTable::default();
        let born = |seconds| move || Some(second(seconds));
        assert_eq!(links.number_of(look(10), born(1)), LinkId(1));
        for _ in 0..3 {
            assert_eq!(links.number_of(look(20), born(15)), LinkId(2));
        }
        assert!(links.groups.is_empty(), "all three names were seen");
    }

    #[test]
    fn asks_for_the_birth_only_of_what_has_changed() {
        let mut links = LinkTable::default();
        for _ in 0..3 {
            links.number_of(look(10), || unreachable!("nothing has changed"));
        }
    }
}
