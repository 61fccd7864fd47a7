//! Every message of the protocol: number (its place in the enum), fields, meaning. The one table
//! that docs/protocol.md describes. Decoded values are valid by construction or counted against
//! limits by `check`. Knows nothing of passes' logic.

use serde::{Deserialize, Serialize};

use super::frame::{FrameError, MAX_RAW_LEN};
use crate::entry::{Entry, Metadata, Timestamp};
use crate::exclude::Rules;
use crate::monitor::{Pass, PassStats};
use crate::problem::{Problem, ProblemKind};
use crate::relpath::{Name, RelPath};

/// LIMIT: entries of one listing (docs/protocol.md).
pub const MAX_LISTING_ENTRIES: usize = 1024;
/// LIMIT: files of one bundle (docs/protocol.md).
pub const MAX_BUNDLE_FILES: usize = 4096;
/// LIMIT: bytes that one delta may read or yield (docs/protocol.md).
pub const MAX_DELTA_LEN: u64 = 32 << 20;
/// LIMIT: the longest file that Linux knows, in bytes.
const MAX_FILE_LEN: u64 = i64::MAX as u64;
/// Bytes of one block sum.
pub const SUM_LEN: usize = 8;

/// Which wanted file: the listing and the place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WantId {
    /// The listing.
    pub seq: u64,
    /// Its entry, from 0.
    pub index: u32,
}

/// A BLAKE3 hash, or the content digest made of such.
pub type Digest = [u8; 32];

/// What the target is to do with what it is told. WIRE[begin]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Change nothing, only say what would change.
    pub dry_run: bool,
    /// Report each change as an item.
    pub items: bool,
    /// Remove what the source does not have, at most so many entries; `None` removes nothing.
    pub delete_limit: Option<u64>,
}

/// One directory, or a part of a long one. WIRE[listing]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its number in this pass, from 1.
    pub seq: u64,
    /// The listing that named this directory; 0 for the root.
    pub parent: u64,
    /// Shared by the parts of one directory.
    pub directory: u64,
    /// The directory below the root.
    pub path: RelPath,
    /// The directory's own attributes.
    pub metadata: Metadata,
    /// The last name of the part before.
    pub after: Option<Name>,
    /// Whether no part follows.
    pub last: bool,
    /// Whether the contents are unknown, so that nothing below is deleted.
    pub opaque: bool,
    /// The entries, sorted by name.
    pub entries: Vec<Entry>,
}

/// How the reading of one wanted file went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// Its contents were sent.
    Whole {
        /// Length in bytes as it was read.
        size: u64,
        /// Its time stamp right before it was read.
        mtime: Timestamp,
        /// Whether it changed each time it was read.
        churned: bool,
    },
    /// The target has the same contents.
    Same,
    /// The contents differ (dry run).
    Differs,
    /// It could not be read.
    Failed {
        /// Why, as a class.
        kind: ProblemKind,
        /// What was being done.
        operation: String,
        /// What the kernel said.
        cause: String,
    },
}

/// One small file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BundleFile {
    /// Which want it answers.
    pub want: WantId,
    /// Its part of the body follows the others' when whole.
    pub outcome: Outcome,
}

/// The run's key and where it goes. WIRE[key]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRequest {
    /// The account's home directory.
    pub home: Vec<u8>,
    /// The account.
    pub uid: u32,
    /// Key type and key, without a comment; `None` removes.
    pub key: Option<String>,
    /// Names the pair of source and target; lines of an earlier run of it are removed.
    pub pair: String,
    /// Names this session.
    pub nonce: String,
}

/// From the sender.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Down {
    /// Still there. WIRE[heartbeat]
    Heartbeat,
    /// Installs or removes the run's key. WIRE[key]
    Key(KeyRequest),
    /// Opens the target directory. WIRE[begin]
    Begin {
        /// Absolute path.
        target: Vec<u8>,
        /// What is not copied and not deleted.
        rules: Rules,
        /// What to do.
        policy: Policy,
    },
    /// Starts a pass. WIRE[pass]
    Pass {
        /// Which.
        pass: Pass,
        /// Whether extras are removed at its end.
        deletes: bool,
        /// Whether no pass follows that would make up for what moved meanwhile.
        last: bool,
    },
    /// A directory. WIRE[listing]
    Listing(Listing),
    /// Small files. WIRE[bundle]
    Bundle {
        /// In the order of the body.
        files: Vec<BundleFile>,
        /// BLAKE3 hash of the body.
        digest: Digest,
    },
    /// Bytes of a large file. WIRE[segment]
    Segment {
        /// Which file.
        want: WantId,
        /// Where the body goes.
        offset: u64,
    },
    /// A stretch of a large file in terms of its basis. WIRE[delta]
    Delta {
        /// Which file.
        want: WantId,
        /// Where the result goes.
        offset: u64,
        /// How long the result is.
        length: u64,
        /// Where the stretch of the basis begins.
        basis_offset: u64,
        /// How long that stretch is.
        basis_length: u64,
    },
    /// A stretch of zeros. WIRE[zero]
    Zero {
        /// Which file.
        want: WantId,
        /// Where it begins.
        offset: u64,
        /// How long it is.
        length: u64,
    },
    /// A large file is through. WIRE[file-end]
    FileEnd {
        /// Which file.
        want: WantId,
        /// How it went.
        outcome: Outcome,
        /// Content digest of the whole file.
        digest: Digest,
    },
    /// All listings of the pass are settled. WIRE[pass-end]
    PassEnd,
    /// No more passes. WIRE[finish]
    Finish,
    /// The source gives up. WIRE[failed]
    Failed(String),
}

/// What the target has of a wanted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Basis {
    /// Nothing of use.
    None,
    /// A file of the same size with this content digest.
    Digest(Digest),
    /// Block sums follow. WIRE[sums]
    Sums {
        /// Bytes a block.
        block_length: u32,
        /// Bytes of the basis.
        size: u64,
    },
    /// Signatures follow. WIRE[windows]
    Windows {
        /// Bytes of the basis.
        size: u64,
    },
}

/// One wanted file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The entry of the listing.
    pub index: u32,
    /// What is there already.
    pub basis: Basis,
}

/// From the receiver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Up {
    /// Still there. WIRE[heartbeat]
    Heartbeat,
    /// Who speaks. WIRE[hello]
    Hello {
        /// Version of the build.
        build: String,
        /// BLAKE3 hash of the agent's own file.
        binary: Digest,
    },
    /// The key is in, or gone. WIRE[key-done]
    KeyDone(Result<(), String>),
    /// The target directory is open. WIRE[ready]
    Ready,
    /// The answer to one listing. WIRE[wants]
    Wants {
        /// Which listing.
        seq: u64,
        /// What is needed of it.
        wants: Vec<Want>,
    },
    /// Block sums in the body. WIRE[sums]
    Sums {
        /// Which file.
        want: WantId,
        /// Number of the first block.
        first: u64,
    },
    /// A signature in the body. WIRE[windows]
    Window {
        /// Which file.
        want: WantId,
        /// Which window.
        index: u64,
    },
    /// A listing is done. WIRE[settled]
    Settled {
        /// Which.
        seq: u64,
    },
    /// Something went wrong and the pass goes on. WIRE[problem]
    Problem(Problem),
    /// Something changed. WIRE[item]
    Item {
        /// Eleven columns.
        change: String,
        /// Path below the root.
        path: Vec<u8>,
    },
    /// The pass is through. WIRE[pass-done]
    PassDone(PassStats),
    /// The stage is gone. WIRE[finished]
    Finished,
    /// The target gives up. WIRE[failed]
    Failed {
        /// What failed, with its cause.
        text: String,
        /// What the source can do about it.
        class: FailureClass,
    },
}

/// Why the target gives up, as far as that changes what the source does. WIRE[failed]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureClass {
    /// A file system of the target is full.
    NoSpace,
    /// Another run has the target directory; that may be one that is about to end.
    Locked,
    /// Anything else.
    Other,
}

impl Down {
    /// Compares counts with their limits.
    pub fn check(&self) -> Result<(), FrameError> {
        match self {
            Down::Listing(listing) => {
                within(listing.entries.len(), MAX_LISTING_ENTRIES)?;
                let sorted = listing
                    .entries
                    .is_sorted_by(|one, next| one.name < next.name);
                if sorted {
                    Ok(())
                } else {
                    Err(FrameError::Malformed("a listing out of order"))
                }
            }
            Down::Bundle { files, .. } => {
                within(files.len(), MAX_BUNDLE_FILES)?;
                files.iter().try_for_each(|file| file.outcome.check())
            }
            Down::Delta {
                offset,
                length,
                basis_offset,
                basis_length,
                ..
            } => {
                in_a_file(*offset, *length)?;
                in_a_file(*basis_offset, *basis_length)?;
                if (*length).max(*basis_length) > MAX_DELTA_LEN {
                    return Err(FrameError::Malformed("a delta over the limit"));
                }
                Ok(())
            }
            Down::Segment { offset, .. } => in_a_file(*offset, MAX_RAW_LEN as u64),
            Down::Zero { offset, length, .. } => in_a_file(*offset, *length),
            Down::FileEnd { outcome, .. } => outcome.check(),
            Down::Heartbeat
            | Down::Key(_)
            | Down::Begin { .. }
            | Down::Pass { .. }
            | Down::PassEnd
            | Down::Finish
            | Down::Failed(_) => Ok(()),
        }
    }
}

impl Up {
    /// Compares counts with their limits.
    pub fn check(&self) -> Result<(), FrameError> {
        match self {
            Up::Wants { wants, .. } => within(wants.len(), MAX_LISTING_ENTRIES),
            Up::Heartbeat
            | Up::Hello { .. }
            | Up::KeyDone(_)
            | Up::Ready
            | Up::Sums { .. }
            | Up::Window { .. }
            | Up::Settled { .. }
            | Up::Problem(_)
            | Up::Item { .. }
            | Up::PassDone(_)
            | Up::Finished
            | Up::Failed { .. } => Ok(()),
        }
    }
}

impl Outcome {
    fn check(&self) -> Result<(), FrameError> {
        match self {
            Outcome::Whole { size, .. } => in_a_file(0, *size),
            Outcome::Same | Outcome::Differs | Outcome::Failed { .. } => Ok(()),
        }
    }
}

/// Refuses a stretch that no file can have, so that adding offsets never overflows.
fn in_a_file(offset: u64, length: u64) -> Result<(), FrameError> {
    match offset.checked_add(length) {
        Some(end) if end <= MAX_FILE_LEN => Ok(()),
        _ => Err(FrameError::Malformed(
            "a stretch beyond the end of any file",
        )),
    }
}

fn within(length: usize, limit: usize) -> Result<(), FrameError> {
    if length > limit {
        Err(FrameError::TooLong { length, limit })
    } else {
        Ok(())
    }
}
