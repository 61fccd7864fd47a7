//! The target's side of the story: greet, serve transfers, look after the run's key, leave
//! nothing behind. Also runs inside the source's own process for a target directory there.

mod door;
mod key;

use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::distro::gather;
use crate::exclude::Rules;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fixup::{Task, kept_room, linked_directories};
use crate::fs::room::own_room;
use crate::fs::staged::private_dir;
use crate::fs::{Dir, Root};
use crate::orders::Order;
use crate::relpath::RelPath;
use crate::transfer::TransferError;
use crate::transfer::receiver::{Reach, receive};
use crate::transfer::wire::frame::{Frame, FrameError};
use crate::transfer::wire::handshake::{BUILD, MAGIC};
use crate::transfer::wire::link::{LONGEST_SILENCE, Link, LinkSettings};
use crate::transfer::wire::message::{Digest, Down, KeyRequest, Refusal, Up};

pub use door::{Door, MOST_CHANNELS, SOCKET_NAME};
pub use key::HeldKey;

/// The name that the private directory of an uploaded agent begins with.
pub const PLACE_PREFIX: &str = ".instancesync-agent-";
/// LIMIT: bytes of a task (docs/protocol.md): the files of one machine and their description.
const MAX_TASK_LEN: usize = 64 << 20;
/// Frames that are read ahead of the workers.
const READ_AHEAD: usize = 8;
/// How long the run's key outlives a lost link: long enough for the source to come back.
const GRACE: Duration = Duration::from_secs(40);

/// Serves one session on standard input and output; with a door, what comes in does so over further
/// channels, too.
pub fn run(key: &HeldKey, door: Option<&Arc<Door>>) -> Result<(), Failure> {
    let failed =
        |what: &str, error: &io::Error| Failure::new(ExitCode::Failed, what).because(error);
    let own_path =
        std::env::current_exe().map_err(|error| failed("target: the agent's own file", &error))?;
    let own_bytes = std::fs::read("/proc/self/exe")
        .map_err(|error| failed("target: the agent's own file", &error))?;
    let binary = *blake3::hash(&own_bytes).as_bytes();
    drop(own_bytes);
    remove_own_file(&own_path, door.is_some())
        .map_err(|error| failed("target: remove the agent's own file", &error))?;
    let shut = ShutOnDrop(door);
    let reader: Box<dyn Read + Send> = match door {
        None => Box::new(PatientInput {
            limit: LONGEST_SILENCE,
        }),
        // One channel may be silent while the others are not.
        Some(door) => Box::new(door.open(&own_path, io::stdin())),
    };

    let mut stdout = io::stdout();
    stdout
        .write_all(MAGIC)
        .and_then(|()| stdout.flush())
        .map_err(|error| failed("target: greet", &error))?;
    let served = serve((reader, stdout), Some(binary), key);
    drop(shut);
    key.outlive_link(GRACE);
    served.map_err(|error| Failure::of(ExitCode::Failed, &error))
}

/// Nothing of the door outlives the session.
struct ShutOnDrop<'a>(Option<&'a Arc<Door>>);

impl Drop for ShutOnDrop<'_> {
    fn drop(&mut self) {
        if let Some(door) = self.0 {
            door.close();
        }
    }
}

/// An uploaded agent runs on without its file, so that nothing stays whatever happens to it. Its
/// directory goes with the door, if there is one.
fn remove_own_file(path: &Path, has_door: bool) -> io::Result<()> {
    let Some(place) = path.parent() else {
        return Ok(());
    };
    let is_ours = place
        .file_name()
        .is_some_and(|name| name.to_string_lossy().starts_with(PLACE_PREFIX));
    if is_ours {
        std::fs::remove_file(path)?;
        if !has_door {
            std::fs::remove_dir(place)?;
        }
    }
    Ok(())
}

/// Serves one session over a pair of streams. `binary` is told to the peer where the agent is a
/// process of its own. What is in `key` afterwards is still installed.
pub fn serve(
    (reader, writer): (impl Read + Send + 'static, impl Write + Send + 'static),
    binary: Option<Digest>,
    key: &HeldKey,
) -> Result<(), TransferError> {
    let link = Link::start(
        reader,
        writer,
        LinkSettings {
            read_ahead: Some(READ_AHEAD),
            ..LinkSettings::default()
        },
    );
    let mut session = AgentSession {
        link: &link,
        key,
        // In the source's own process the thread may be one of its own, too.
        reach: match binary {
            Some(_) => Reach::Target,
            None => Reach::Everything,
        },
        task: Vec::new(),
        has_failed: false,
    };
    let served = session.serve(binary);
    link.close();
    served
}

struct AgentSession<'a> {
    link: &'a Link,
    key: &'a HeldKey,
    reach: Reach,
    /// The parts of a task so far.
    task: Vec<u8>,
    /// After a failure what was on its way already is let go by.
    has_failed: bool,
}

impl AgentSession<'_> {
    fn serve(&mut self, binary: Option<Digest>) -> Result<(), TransferError> {
        if let Some(binary) = binary {
            self.link.out.send(&Up::Hello {
                build: BUILD.to_owned(),
                binary,
            })?;
        }
        loop {
            let frame = match self.link.incoming.recv() {
                Ok(Err(FrameError::Closed)) => return Ok(()),
                Ok(frame) => frame?,
                Err(_) => return Err(TransferError::Link(None)),
            };
            self.take(&frame)?;
        }
    }

    fn take(&mut self, frame: &Frame) -> Result<(), TransferError> {
        match frame.message()? {
            Down::Heartbeat => Ok(()),
            Down::Key(request) => self.take_key(request),
            Down::Facts { root } => self.take_facts(&root),
            Down::Kept {
                root,
                rules,
                stages,
                apart,
            } => self.take_kept(&root, &rules, (&stages, &apart)),
            Down::Order => self.take_order(frame.body()),
            Down::FixUp { root, last } => self.take_task(frame.body(), last.then_some(&root)),
            Down::Begin {
                target,
                rules,
                policy,
                secret,
            } => {
                let wanted = (rules, policy, &secret);
                let received = receive(self.link, &target, wanted, self.reach);
                self.conclude(received)
            }
            _ if self.has_failed => Ok(()),
            Down::Failed(_) => Ok(()),
            _ => Err(TransferError::Protocol("a message out of turn")),
        }
    }

    /// A lost link ends the session; after anything else the source may still want its key out.
    fn conclude(&mut self, received: Result<(), TransferError>) -> Result<(), TransferError> {
        let Err(error) = received else { return Ok(()) };
        let error = error.explained(&self.link.out);
        if let TransferError::Link(_) = error {
            return Err(error);
        }
        self.has_failed = true;
        let (class, text) = (
            error.class(),
            Failure::of(ExitCode::Failed, &error).to_string(),
        );
        Ok(self.link.out.send(&Up::Failed { text, class })?)
    }

    fn take_facts(&self, root: &[u8]) -> Result<(), TransferError> {
        let facts = Root::open(Path::new(OsStr::from_bytes(root)))
            .map(|root| Box::new(gather(&root)))
            .map_err(|error| format!("{error}: {}", error.cause()));
        Ok(self.link.out.send(&Up::Facts(facts))?)
    }

    /// What cannot be looked at keeps nothing, and nothing is left there.
    fn take_kept(
        &self,
        root: &[u8],
        rules: &Rules,
        (stages, apart): (&[RelPath], &[RelPath]),
    ) -> Result<(), TransferError> {
        let (mut kept, mut left, mut linked) = (Vec::new(), Vec::new(), Vec::new());
        if let Ok(root) = Dir::open_root(Path::new(OsStr::from_bytes(root))) {
            let rooms = kept_room(&root, rules).into_iter();
            kept.extend(rooms.map(|(device, room)| (device, room.bytes, room.inodes)));
            let rooms = stages.iter().filter_map(|volume| {
                let room = own_room(&private_dir(&root, volume).ok()?).ok()?;
                Some((volume.clone(), room.bytes, room.inodes))
            });
            left.extend(rooms);
            linked = linked_directories(&root, rules, (stages, apart));
        }
        Ok(self.link.out.send(&Up::Kept { kept, left, linked })?)
    }

    /// Collects a part of a task; with the last one it is performed below `root`.
    fn take_task(&mut self, part: &[u8], root: Option<&Vec<u8>>) -> Result<(), TransferError> {
        if self.task.len() + part.len() > MAX_TASK_LEN {
            return Err(TransferError::Protocol("a task over the limit"));
        }
        self.task.extend_from_slice(part);
        let Some(root) = root else { return Ok(()) };
        let bytes = std::mem::take(&mut self.task);
        let task: Task = postcard::from_bytes(&bytes)
            .map_err(|_| TransferError::Protocol("a task that makes no sense"))?;
        let root = Path::new(OsStr::from_bytes(root));
        match task.perform(root) {
            Ok(report) => {
                let report = postcard::to_stdvec(&report)
                    .map_err(|_| TransferError::Protocol("a report that cannot be encoded"))?;
                Ok(self.link.out.send_with(&Up::FixedUp, &report)?)
            }
            Err(error) => self.conclude(Err(TransferError::Root(
                format!("target: {}", root.display()),
                error,
            ))),
        }
    }

    /// Carries out an order; who gave it has asked before.
    fn take_order(&mut self, order: &[u8]) -> Result<(), TransferError> {
        let order: Order = serde_json::from_slice(order)
            .map_err(|_| TransferError::Protocol("an order that makes no sense"))?;
        let performed = order.perform();
        if performed.is_ok() && order.reboots() {
            self.key.pass_on(order.leaves_key());
        }
        let (done, answer) = match performed {
            Ok(answer) => (Ok(()), serde_json::to_vec(&answer).unwrap_or_default()),
            Err(failure) => (Err(refusal(&failure)), Vec::new()),
        };
        Ok(self.link.out.send_with(&Up::Ordered(done), &answer)?)
    }

    fn take_key(&mut self, request: KeyRequest) -> Result<(), TransferError> {
        let done = self.key.carry_out(request);
        Ok(self.link.out.send(&Up::KeyDone(done))?)
    }
}

fn refusal(failure: &Failure) -> Refusal {
    Refusal {
        is_refused: failure.exit == ExitCode::Refused,
        text: failure.to_string(),
        hints: failure.hints.clone(),
    }
}

/// Standard input that takes a long silence for a lost link: sshd notices a dead peer late.
struct PatientInput {
    limit: Duration,
}

impl Read for PatientInput {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let stdin = io::stdin();
        let limit = Timespec {
            tv_sec: i64::try_from(self.limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: 0,
        };
        loop {
            match poll(
                &mut [PollFd::new(&stdin.as_fd(), PollFlags::IN)],
                Some(&limit),
            ) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(rustix::io::read(stdin.as_fd(), buffer)?),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
