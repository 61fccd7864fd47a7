//! The socket in the agent's private directory through which sshd brings further channels of the
//! same connection. It is there for a moment only, and its directory goes with it.
//!
//! Knows nothing of what comes in.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;

use super::PLACE_PREFIX;
use crate::ssh::stripes::{JoinedStream, Joiner};
use crate::transfer::wire::link::LONGEST_SILENCE;

/// The name of the socket in the private directory.
pub const SOCKET_NAME: &str = "channels";
/// How many further channels the source opens, and the agent takes: with the first one 8 MiB are
/// on their way at once.
pub const MOST_CHANNELS: usize = 3;
/// How long they may take to come. The source opens them at the same moment, right after the start.
const OPEN_LIMIT: Duration = Duration::from_secs(10);
/// How often it is looked whether the stream is over.
const LOOK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// The socket while it is there.
#[derive(Debug, Default)]
pub struct Door(Mutex<Option<Spot>>);

/// Where the socket lies, and the directory that it lies in: the next run of the pair makes its own by
/// the same name. One that is open keeps its number for itself.
#[derive(Debug)]
struct Spot {
    socket: PathBuf,
    place: File,
}

fn id(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

impl Spot {
    /// Removes the socket and its directory. The next run removes what cannot be removed now.
    fn clear(&self) {
        let Some(place) = self.socket.parent() else {
            return;
        };
        let found = std::fs::symlink_metadata(place).map(|found| id(&found));
        let own = self.place.metadata().map(|own| id(&own));
        if found.is_ok_and(|found| own.is_ok_and(|own| own == found)) {
            drop(std::fs::remove_file(&self.socket));
            drop(std::fs::remove_dir(place));
        }
    }
}

impl Door {
    /// Makes the socket and returns the stream that `first`, and what comes through the door,
    /// bring. Without a socket there is only `first`: that costs speed alone.
    pub(super) fn open(
        self: &Arc<Self>,
        own_path: &Path,
        first: impl Read + Send + 'static,
    ) -> JoinedStream {
        let (joiner, stream) = Joiner::new(LONGEST_SILENCE);
        joiner.add(first);
        match self.listen(own_path) {
            Ok((listener, owner)) => {
                let door = Arc::clone(self);
                std::thread::spawn(move || {
                    // Who does not come does not come.
                    take_channels(&listener, &joiner, owner).unwrap_or_default();
                    door.close();
                });
            }
            Err(_) => self.close(),
        }
        stream
    }

    fn listen(&self, own_path: &Path) -> io::Result<(UnixListener, u32)> {
        let place = own_path.parent().ok_or(io::ErrorKind::NotFound)?;
        let is_ours = place
            .file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(PLACE_PREFIX));
        let (opened, place_itself) = (File::open(place)?, std::fs::symlink_metadata(place)?);
        let is_itself = id(&opened.metadata()?) == id(&place_itself);
        // Private, or nobody comes in.
        if !is_ours || !is_itself || !place_itself.is_dir() || place_itself.mode() & 0o077 != 0 {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        let path = place.join(SOCKET_NAME);
        // ORDER: noted first, so that a signal finds it.
        *self.locked() = Some(Spot {
            socket: path.clone(),
            place: opened,
        });
        let listener = UnixListener::bind(&path)?;
        // sshd connects as the account that logged in, which owns the directory and may have put
        // a link there by now: it is not followed.
        let owner = place_itself.uid();
        lchown(&path, Some(owner), None)?;
        Ok((listener, owner))
    }

    /// Removes the socket and its directory, if they are there.
    pub fn close(&self) {
        if let Some(spot) = self.locked().take() {
            spot.clear();
        }
    }

    fn locked(&self) -> MutexGuard<'_, Option<Spot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes as many channels as may come, from root and the account that logged in.
fn take_channels(listener: &UnixListener, joiner: &Joiner, owner: u32) -> io::Result<()> {
    let until = Instant::now() + OPEN_LIMIT;
    let mut taken = 0;
    while taken < MOST_CHANNELS && Instant::now() < until && !joiner.is_over() {
        let mut asked = [PollFd::new(listener, PollFlags::IN)];
        match poll(&mut asked, Some(&LOOK)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let (channel, _) = listener.accept()?;
        let peer = socket_peercred(channel.as_fd())?.uid.as_raw();
        if peer == 0 || peer == owner {
            joiner.add(channel);
            taken += 1;
        }
    }
    Ok(())
}
