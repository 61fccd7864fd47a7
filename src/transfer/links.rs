//! Hard links: which names share an inode. The first name of a group that is met in a volume of
//! the target lands like any file, the others become links to it, also when they are met in other directories or before it
//! has landed. Knows nothing of how either is done.

use std::collections::HashMap;
use std::sync::Arc;

use super::settle::OpenListing;
use crate::entry::LinkId;
use crate::fs::{FileId, Volume};
use crate::relpath::RelPath;

/// The names of a source file that lie in one volume of the target: no link leads out of it. `None`
/// is a volume that a dry run would write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct GroupId {
    /// Which file of the source.
    pub link: LinkId,
    /// Where.
    pub volume: Option<Volume>,
}

/// The name of a group that is there.
#[derive(Clone, Debug)]
pub struct Leader {
    /// Where it is.
    pub path: RelPath,
    /// Its inode; `None` where a dry run would make it.
    pub id: Option<FileId>,
}

/// A name that waits for its leader: the listing and the place in it.
pub type Waiting = (Arc<OpenListing>, u32);

#[derive(Debug)]
enum Group {
    Pending {
        leader: (u64, u32),
        waiting: Vec<Waiting>,
    },
    Landed(Leader),
}

/// What a name of a group is to do.
#[derive(Debug)]
pub enum Role {
    /// Land like any other file; the others wait.
    Leader,
    /// Wait; it was put on the list.
    Waits,
    /// Become a link to this.
    Follows(Leader),
}

/// All groups of a pass. They stay for the whole pass: about 100 bytes for each group, not for
/// each file.
#[derive(Debug, Default)]
pub struct LinkGroups {
    groups: HashMap<GroupId, Group>,
    claimed: HashMap<FileId, LinkId>,
}

impl LinkGroups {
    /// Takes a name of a group in.
    pub fn join(&mut self, id: GroupId, open: &Arc<OpenListing>, index: u32) -> Role {
        match self.groups.get_mut(&id) {
            Some(Group::Landed(leader)) => Role::Follows(leader.clone()),
            Some(Group::Pending { waiting, .. }) => {
                open.defer();
                waiting.push((Arc::clone(open), index));
                Role::Waits
            }
            None => {
                self.lead(id, open, index);
                Role::Leader
            }
        }
    }

    fn lead(&mut self, id: GroupId, open: &OpenListing, index: u32) {
        let group = Group::Pending {
            leader: (open.listing.seq, index),
            waiting: Vec::new(),
        };
        self.groups.insert(id, group);
    }

    /// Takes the lead from a leader that can take no more names; when another name has done so
    /// already, it is joined.
    pub fn succeed(
        &mut self,
        id: GroupId,
        full: &Leader,
        open: &Arc<OpenListing>,
        index: u32,
    ) -> Role {
        match self.groups.get(&id) {
            Some(Group::Landed(leader)) if leader.path == full.path => {
                self.lead(id, open, index);
                Role::Leader
            }
            _ => self.join(id, open, index),
        }
    }

    /// Claims an inode of the target for a file of the source; false when another has it.
    pub fn claim(&mut self, id: FileId, link: LinkId) -> bool {
        *self.claimed.entry(id).or_insert(link) == link
    }

    /// Notes that the leader is there; returns who waited.
    pub fn landed(&mut self, id: GroupId, leader: Leader) -> Vec<Waiting> {
        match self.groups.insert(id, Group::Landed(leader)) {
            Some(Group::Pending { waiting, .. }) => waiting,
            Some(Group::Landed(_)) | None => Vec::new(),
        }
    }

    /// Notes that a name failed. If it was to lead, the group is forgotten and those that waited
    /// are returned; the failure of any other name changes nothing for the rest.
    pub fn failed(&mut self, id: GroupId, open: &OpenListing, index: u32) -> Vec<Waiting> {
        match self.groups.get(&id) {
            Some(Group::Pending { leader, .. }) if *leader == (open.listing.seq, index) => {}
            _ => return Vec::new(),
        }
        match self.groups.remove(&id) {
            Some(Group::Pending { waiting, .. }) => waiting,
            Some(Group::Landed(_)) | None => Vec::new(),
        }
    }
}
