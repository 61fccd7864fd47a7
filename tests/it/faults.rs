//! Whatever call of the file system fails, whichever disk fills up or turns read-only, however the
//! link behaves: nothing wrong has a final name, all that is amiss is told, the next run completes.

mod cleanup;
mod copy;
mod disks;
mod fixups;
mod full;
mod inject;
mod keys;
mod link;
mod moments;
mod orders;
mod prune;
mod switch;
mod trees;
