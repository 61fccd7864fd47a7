//! The fix-ups of a clone, performed by the agent: a task in parts, one report. Knows nothing of
//! what is merged how.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::Session;
use crate::fixup::{Report, Task};
use crate::transfer::TransferError;
use crate::transfer::wire::message::{Down, Up};

/// Bytes of one part: well below what a frame can carry.
const PART_LEN: usize = 1 << 20;

impl Session {
    /// Has `task` performed on the system below `root` (absolute, on the target). WIRE[fix-up]
    pub fn fix_up(&self, root: &Path, task: &Task) -> Result<Report, TransferError> {
        let bytes = postcard::to_stdvec(task)
            .map_err(|_| TransferError::Protocol("a task that cannot be encoded"))?;
        let parts: Vec<&[u8]> = bytes.chunks(PART_LEN).collect();
        for (index, part) in parts.iter().enumerate() {
            let message = Down::FixUp {
                root: root.as_os_str().as_bytes().to_vec(),
                last: index + 1 == parts.len(),
            };
            self.link.out.send_with(&message, part)?;
        }
        self.answer(|message, body| match message {
            Up::FixedUp => Some(
                postcard::from_bytes(body)
                    .map_err(|_| TransferError::Protocol("a report that makes no sense")),
            ),
            Up::Failed { text, class } => Some(Err(TransferError::Peer { text, class })),
            _ => None,
        })?
    }
}
