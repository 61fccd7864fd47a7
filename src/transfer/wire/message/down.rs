//! What the sender says. Knows nothing of what the receiver does with it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::frame::FrameError;
use super::{
    Digest, MAX_BUNDLE_FILES, MAX_DELTA_LEN, MAX_LISTING_ENTRIES, Tag, WantId, in_a_file, within,
};
use crate::entry::{Entry, Metadata, Timestamp};
use crate::exclude::Rules;
use crate::monitor::Pass;
use crate::problem::ProblemKind;
use crate::relpath::{Name, RelPath};

/// What the target is to do with what it is told. WIRE[begin]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Change nothing, only say what would change.
    pub dry_run: bool,
    /// Report each change as an item.
    pub items: bool,
    /// Remove what the source does not have, at most so many entries; `None` removes nothing.
    pub delete_limit: Option<u64>,
    /// Build a whole new tree beside the target directory: the mount points below it that get
    /// stages of their own. `None` writes in place.
    pub staged: Option<Vec<RelPath>>,
    /// The last pass is over only when all is on disk, as every pass before it is.
    pub fsync: bool,
    /// Change large files where they lie, instead of in a copy.
    pub patch_in_place: bool,
    /// Names source and target: a stage is continued by the pair that began it.
    pub pair: Option<String>,
}

/// What only the two sides of a transfer know, so that nobody can make two files that they take for
/// the same. Drawn for each transfer. WIRE[begin]
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestSecret([u8; 16]);

impl DigestSecret {
    /// Draws one.
    pub fn draw() -> DigestSecret {
        let mut secret = DigestSecret([0; 16]);
        aws_lc_rs::rand::fill(&mut secret.0).expect("the kernel has random numbers for all");
        secret
    }

    /// Returns its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<[u8; 16]> for DigestSecret {
    fn from(bytes: [u8; 16]) -> DigestSecret {
        DigestSecret(bytes)
    }
}

impl fmt::Debug for DigestSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestSecret")
    }
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
    /// Whether the target has everything else in it already: nothing but the entries is new, and
    /// nothing is gone.
    pub partial: bool,
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
        /// What tags and digests are made with.
        secret: DigestSecret,
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
        /// Of the body.
        tag: Tag,
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
    /// A part of what the target needs to make files out of both machines'. WIRE[fix-up]
    FixUp {
        /// The root of the system to work on, absolute.
        root: Vec<u8>,
        /// Whether it is the last part.
        last: bool,
    },
    /// Orders something that is no transfer; the order is in the body. WIRE[order]
    Order,
    /// Asks what is kept there that the plan counts with. WIRE[kept]
    Kept {
        /// The root of the system to look at, absolute.
        root: Vec<u8>,
        /// The rules.
        rules: Rules,
        /// Volumes below the root that get a stage.
        stages: Vec<RelPath>,
        /// Paths of the source that are not looked into.
        apart: Vec<RelPath>,
    },
    /// Asks what the target machine is. WIRE[facts]
    Facts {
        /// The root of the system to look at, absolute.
        root: Vec<u8>,
    },
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
            // What does not fit behind it is for the kernel to refuse.
            Down::Segment { offset, .. } => in_a_file(*offset, 0),
            Down::Zero { offset, length, .. } => in_a_file(*offset, *length),
            Down::FileEnd { outcome, .. } => outcome.check(),
            Down::Heartbeat
            | Down::Key(_)
            | Down::Begin { .. }
            | Down::Pass { .. }
            | Down::PassEnd
            | Down::Finish
            | Down::Failed(_)
            | Down::FixUp { .. }
            | Down::Order
            | Down::Kept { .. }
            | Down::Facts { .. } => Ok(()),
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
