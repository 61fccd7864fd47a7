//! Inodes with several names, renumbered: the target learns which names belong together and nothing
//! of the source's inode numbers. Knows nothing of directories.

use std::collections::HashMap;

use crate::entry::LinkId;
use crate::fs::FileId;

/// Renumbers the inodes that have several names. An inode is forgotten when all its names were
/// seen, so the table holds only groups that are half known.
#[derive(Debug, Default)]
pub(super) struct LinkTable {
    groups: HashMap<FileId, (LinkId, u64)>,
    count: u64,
}

impl LinkTable {
    /// Takes one name of an inode in and returns the number of its group.
    pub(super) fn number_of(&mut self, id: FileId, link_count: u64) -> LinkId {
        let (link, unseen) = self.groups.entry(id).or_insert_with(|| {
            self.count += 1;
            (LinkId(self.count), link_count)
        });
        let link = *link;
        *unseen = unseen.saturating_sub(1);
        if *unseen == 0 {
            self.groups.remove(&id);
        }
        link
    }
}
