//! Where the time of a pass went, side by side. Knows nothing of how that is found out.

use serde::{Deserialize, Serialize};

/// What the threads of one side spent a pass on, in milliseconds, summed over all of them: two that
/// work side by side for a second have spent two. What a side does not do is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spent {
    /// Reading names and attributes of the source.
    pub walk_ms: u64,
    /// Comparing them with what the target has, small files by their contents too.
    pub compare_ms: u64,
    /// Reading contents.
    pub read_ms: u64,
    /// Making digests and sums, and finding what has moved within a file. For a small file that is
    /// part of reading or comparing it.
    pub hash_ms: u64,
    /// Compressing what goes on the link.
    pub pack_ms: u64,
    /// Making, changing and removing on the target, and writing it to its disks.
    pub write_ms: u64,
    /// Waiting until the link takes more.
    pub link_ms: u64,
    /// Waiting for the other side, or for another thread of this one.
    pub idle_ms: u64,
}

impl Spent {
    /// Adds what was spent on something else.
    pub fn add(&mut self, other: &Spent) {
        for (sum, more) in [
            (&mut self.walk_ms, other.walk_ms),
            (&mut self.compare_ms, other.compare_ms),
            (&mut self.read_ms, other.read_ms),
            (&mut self.hash_ms, other.hash_ms),
            (&mut self.pack_ms, other.pack_ms),
            (&mut self.write_ms, other.write_ms),
            (&mut self.link_ms, other.link_ms),
            (&mut self.idle_ms, other.idle_ms),
        ] {
            *sum = sum.saturating_add(more);
        }
    }
}
