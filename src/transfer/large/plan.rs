//! What a large file on the target begins with. Knows nothing of how it is filled.

use crate::fs::FileId;
use crate::transfer::delta::aligned::Grid;
use crate::transfer::delta::windows::window_count;
use crate::transfer::wire::message::{Basis, SUM_LEN};

/// LIMIT: bytes of a file of which is known what it has when its sums are made: that takes 24 bytes of
/// memory for each 128 KiB, and the room of a copy where one is made.
pub const LONGEST_KNOWN_LEN: u64 = 16 << 30;

/// What the landing begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BasisPlan {
    /// An empty file.
    Nothing,
    /// What an earlier run left in the stage; it is continued.
    Partial {
        /// How its sums are made.
        grid: Grid,
    },
    /// The file that is there, which has the same size, or a copy of it.
    Existing {
        /// Which file.
        id: FileId,
        /// How its sums are made.
        grid: Grid,
        /// What is patched.
        patching: Patching,
    },
    /// An empty file into which stretches of the existing one are copied.
    Windows {
        /// Which file.
        id: FileId,
        /// Its size.
        size: u64,
    },
}

impl BasisPlan {
    /// Tells whether sums or signatures are to be made.
    pub fn needs_sums(&self) -> bool {
        *self != BasisPlan::Nothing
    }

    /// Returns what the sender is told.
    pub fn basis(&self) -> Basis {
        match self {
            BasisPlan::Nothing => Basis::None,
            BasisPlan::Partial { grid } | BasisPlan::Existing { grid, .. } => Basis::Sums {
                block_length: u32::try_from(grid.block_length).unwrap_or(u32::MAX),
                size: grid.size,
            },
            BasisPlan::Windows { size, .. } => Basis::Windows { size: *size },
        }
    }

    /// Returns which file the target has under the name.
    pub fn id(&self) -> Option<FileId> {
        match self {
            BasisPlan::Existing { id, .. } | BasisPlan::Windows { id, .. } => Some(*id),
            BasisPlan::Nothing | BasisPlan::Partial { .. } => None,
        }
    }

    /// Returns how many bytes of sums it takes, roughly.
    pub fn sum_bytes(&self) -> u64 {
        match self {
            BasisPlan::Nothing => 0,
            BasisPlan::Partial { grid } | BasisPlan::Existing { grid, .. } => {
                grid.size.div_ceil(grid.block_length) * SUM_LEN as u64
            }
            BasisPlan::Windows { size, .. } => window_count(*size) * 128 * 1024,
        }
    }
}

/// What the differences of a file that is there are written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patching {
    /// A copy, begun when the first of them arrives: most likely there are none.
    LateCopy,
    /// A copy that is made while the sums are: it has most likely changed.
    EarlyCopy,
    /// The file itself, where nobody but us can have it open or the person wants it so.
    InPlace,
}

/// Whether a file that is begun outlives a run that is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// A long one does.
    WhenLong,
    /// It does not.
    No,
}
