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
            let mut frame = self.link.out.builder(&message, part.len())?;
            frame.body().extend_from_slice(part);
            self.link.out.send_built(frame)?;
        }
        loop {
            let frame = self.link.next()?;
            match frame.message()? {
                Up::FixedUp => {
                    return postcard::from_bytes(frame.body())
                        .map_err(|_| TransferError::Protocol("a report that makes no sense"));
                }
                Up::Failed { text, class } => return Err(TransferError::Peer { text, class }),
                _ => {} // A heartbeat.
            }
        }
    }
}
