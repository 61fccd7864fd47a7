//! One listing while it is filled: entries until it is full, and what the target has already.
//! Knows nothing of how entries are looked at.

use super::{Found, Task, Unchanged};
use crate::entry::{Entry, Kind};
use crate::fs::{FileId, Status};
use crate::relpath::Name;
use crate::transfer::snapshot::Print;
use crate::transfer::wire::message::{Listing, MAX_LISTING_ENTRIES};

/// Bytes of names, link texts and xattrs after which a listing is cut into parts.
const PART_LEN: usize = 256 * 1024;

/// What a look at a name found.
pub(super) enum Look {
    /// A rule leaves it out.
    LeftOut,
    /// The target has it as it is.
    Unchanged(Name, Status, Option<Print>),
    /// It is to be listed.
    Entry(Entry, FileId, Option<Print>),
}

/// A listing that is being filled.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) listing: Listing,
    pub(super) id: FileId,
    length: usize,
    ids: Vec<FileId>,
    /// Of the directory itself.
    pub(super) own_print: Option<Print>,
    prints: Vec<Print>,
    /// Directories in it.
    pub(super) tasks: Vec<Task>,
    /// What is not listed because the target has it.
    unchanged: Unchanged,
}

impl Part {
    /// Begins a listing; its number comes when it is sent.
    pub(super) fn new(listing: Listing, id: FileId) -> Part {
        Part {
            listing,
            id,
            length: 0,
            ids: Vec::new(),
            own_print: None,
            prints: Vec::new(),
            tasks: Vec::new(),
            unchanged: Unchanged::default(),
        }
    }

    /// Tells whether another entry fits.
    pub(super) fn has_room(&self) -> bool {
        self.listing.entries.len() < MAX_LISTING_ENTRIES && self.length < PART_LEN
    }

    /// Tells whether the target needs to hear nothing of it.
    pub(super) fn is_silent(&self, is_last: bool) -> bool {
        let is_begun = self.listing.after.is_some();
        self.listing.partial
            && self.listing.entries.is_empty()
            && !self.listing.opaque
            && !(is_last && is_begun)
    }

    /// Lists an entry.
    pub(super) fn add(&mut self, entry: Entry, id: FileId, print: Option<Print>) {
        self.length += entry.name.as_bytes().len() + entry.metadata.xattr_bytes();
        if let Kind::Symlink { text } = &entry.kind {
            self.length += text.len();
        }
        if entry.kind == Kind::Directory {
            self.walk_into(&entry.name);
        }
        self.prints.extend(print);
        self.listing.entries.push(entry);
        self.ids.push(id);
    }

    /// Counts an entry that the target has.
    pub(super) fn pass_over(&mut self, name: &Name, status: &Status, print: Option<Print>) {
        if status.is_directory() {
            return self.walk_into(name);
        }
        self.unchanged.entries += 1;
        let bytes = if status.is_file() { status.size() } else { 0 };
        self.unchanged.bytes = self.unchanged.bytes.saturating_add(bytes);
        self.unchanged.prints.extend(print);
    }

    /// Returns what the target has; the directory itself counts where nothing of it is listed.
    pub(super) fn take_unchanged(&mut self, is_last: bool) -> Unchanged {
        let mut unchanged = std::mem::take(&mut self.unchanged);
        if self.is_silent(is_last) {
            unchanged.entries += 1;
            unchanged.prints.extend(self.own_print);
        }
        unchanged
    }

    fn walk_into(&mut self, name: &Name) {
        self.tasks.push(Task {
            path: self.listing.path.join(name),
            parent: 0,
            parent_device: self.id.device,
        });
    }

    /// Closes it, with what settles when it does.
    pub(super) fn finish(mut self, is_last: bool) -> Found {
        self.listing.last = is_last;
        if is_last && !self.listing.opaque {
            self.prints.extend(self.own_print);
        }
        Found {
            listing: self.listing,
            directory: self.id,
            ids: self.ids,
            prints: self.prints,
        }
    }

    /// Returns the part that follows.
    pub(super) fn next(&self) -> Part {
        let listing = &self.listing;
        let after = listing
            .entries
            .last()
            .map(|entry| entry.name.clone())
            .or_else(|| listing.after.clone());
        let listing = Listing {
            seq: 0,
            parent: listing.parent,
            directory: listing.directory,
            path: listing.path.clone(),
            metadata: listing.metadata.clone(),
            after,
            last: false,
            opaque: listing.opaque,
            partial: listing.partial,
            entries: Vec::new(),
        };
        Part {
            own_print: self.own_print,
            ..Part::new(listing, self.id)
        }
    }
}
