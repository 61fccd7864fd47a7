//! What can stand in the way of a switch, a rollback or a discard, each with one thing to do.

use crate::fs::FsError;
use crate::relpath::RelPath;

/// Why the target was not switched, put back or freed.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A file-system call failed.
    #[error("target: {path}")]
    Call {
        /// Where, from the root.
        path: String,
        /// What failed.
        #[source]
        cause: FsError,
    },
    /// There is no stage on a volume.
    #[error("target: nothing is staged in {path}")]
    NothingStaged {
        /// The top of the volume.
        path: String,
    },
    /// There is nothing to go back to.
    #[error("target: nothing was switched, so there is nothing to go back to")]
    NotSwitched,
    /// What a switch replaced is not on its volume.
    #[error("target: what was replaced is not in {path}")]
    PreviousMissing {
        /// The top of the volume.
        path: String,
    },
    /// The last switch was not discarded.
    #[error("target: it was switched before, and what was replaced is still there")]
    AlreadySwitched,
    /// Something has the name that the replaced or staged tree is to get.
    #[error("target: {path} is in the way")]
    InTheWay {
        /// What.
        path: String,
    },
    /// Another switch or rollback was cut.
    #[error("target: a switch was cut and has to be repaired first")]
    UnderWay,
    /// A discard began.
    #[error("target: what was replaced is being discarded")]
    Discarding,
    /// A mount point cannot be moved.
    #[error("target: {path} is a mount point")]
    MountPoint {
        /// Which.
        path: String,
    },
    /// What is staged would never be seen.
    #[error("target: {path} is a mount point, and what is staged for it would lie below it")]
    Covered {
        /// Which.
        path: String,
    },
    /// LIMIT: more names than a journal holds.
    #[error("target: there are too many names at the tops of its file systems")]
    TooManyNames,
    /// The journal cannot be understood.
    #[error("target: /.instancesync/journal cannot be read")]
    Journal(#[source] serde_json::Error),
    /// The journal is of another version of the program.
    #[error("target: the journal is of another version of instancesync ({0})")]
    JournalVersion(u32),
    /// It failed, and could not be taken back.
    #[error("target: it failed ({failed}), and what was done cannot be taken back")]
    Stuck {
        /// Why it failed.
        failed: String,
        /// Why it stays so.
        #[source]
        cause: Box<SwitchError>,
    },
    /// A test cut it.
    #[error("target: cut")]
    Cut,
}

impl SwitchError {
    /// Says where a call failed.
    pub(super) fn at(path: &RelPath) -> impl Fn(FsError) -> SwitchError + use<> {
        let path = absolute(path);
        move |cause| SwitchError::Call {
            path: path.clone(),
            cause,
        }
    }

    /// Tells whether a file system is full or over quota, and all is as it was.
    pub(super) fn is_no_space(&self) -> bool {
        matches!(self, SwitchError::Call { cause, .. } if cause.is_no_space())
    }

    /// Tells whether it was found out before anything changed.
    pub fn is_refusal(&self) -> bool {
        !matches!(
            self,
            SwitchError::Call { .. } | SwitchError::Stuck { .. } | SwitchError::Cut
        )
    }

    /// Returns one thing to do about it.
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            SwitchError::AlreadySwitched => {
                "'instancesync rollback' puts it back, 'instancesync discard' frees it"
            }
            SwitchError::UnderWay | SwitchError::Stuck { .. } => {
                "'instancesync rollback' on the target repairs it; so does the next boot"
            }
            SwitchError::Discarding | SwitchError::InTheWay { .. } => {
                "'instancesync discard' removes what is left of it"
            }
            SwitchError::MountPoint { .. } => "unmount it, then try again",
            SwitchError::Covered { .. } => {
                "unmount it, or let it be a part of the clone of its own"
            }
            SwitchError::PreviousMissing { .. } => "mount the file system that has it",
            SwitchError::JournalVersion(_) => "use the program in /.instancesync on the target",
            SwitchError::Call { .. }
            | SwitchError::NothingStaged { .. }
            | SwitchError::NotSwitched
            | SwitchError::TooManyNames
            | SwitchError::Journal(_)
            | SwitchError::Cut => return None,
        };
        Some(hint.to_owned())
    }
}

/// Returns a path as seen from the root.
pub(super) fn absolute(path: &RelPath) -> String {
    format!("/{}", String::from_utf8_lossy(path.as_bytes()))
}
