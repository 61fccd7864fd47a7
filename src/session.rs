//! How the agent is reached: in this process, or on another machine over SSH. A session is one
//! link to one agent; when it breaks, another is opened with the same access. Knows nothing of
//! what is transferred.

mod access;
mod facts;
mod fixup;
mod key;
mod orders;
mod target;

use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::agent::{self, HeldKey};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::ssh::deploy::TargetFacts;
use crate::ssh::{Connection, ProcessEnd};
use crate::transfer::TransferError;
use crate::transfer::wire::link::{Link, LinkLost, LinkSettings};
use crate::transfer::wire::message::{Down, Up};

pub use access::{Access, Unreached};
pub use facts::Holdings;
pub use orders::misplaced;

/// How long the agent may take to answer to a goodbye.
const PARTING: Duration = Duration::from_secs(10);
/// The same where the link is lost already: only an agent that has just ended is still heard.
const LOST_PARTING: Duration = Duration::from_secs(1);
/// LIMIT: how long a run that was stopped waits for the agent to tidy up and to take the key
/// out. On a link that stands still that is in vain: the agent does both when it notices.
const STOPPING: Duration = Duration::from_secs(5);

/// An open session.
pub struct Session {
    /// For the transfer.
    pub link: Link,
    end: End,
}

enum End {
    InProcess(JoinHandle<()>),
    Machine {
        connection: Connection,
        process: ProcessEnd,
        target: TargetFacts,
    },
}

impl Session {
    /// Starts an agent in this process.
    pub fn in_process(settings: LinkSettings) -> Result<Session, Failure> {
        let failed = |error: io::Error| Failure::new(ExitCode::Failed, "a pipe").because(&error);
        let (there_reader, here) = roomy_pipe().map_err(failed)?;
        let (here_reader, there) = roomy_pipe().map_err(failed)?;
        let agent = std::thread::spawn(move || {
            // Its failure reaches us as a message or as the end of the stream.
            // Nobody logs in to this machine.
            drop(agent::serve(
                (there_reader, there),
                None,
                &HeldKey::default(),
            ));
        });
        Ok(Session {
            link: Link::start(here_reader, here, settings),
            end: End::InProcess(agent),
        })
    }

    /// Returns the account that was logged in to; `None` on this machine.
    pub fn login_user(&self) -> Option<&str> {
        match &self.end {
            End::InProcess(_) => None,
            End::Machine { target, .. } => Some(&target.user),
        }
    }

    /// Asks the agent outside of a transfer and waits for what `choose` takes for the answer;
    /// what was on its way already is let go by.
    fn ask<Answer>(
        &self,
        question: &Down,
        choose: impl Fn(Up) -> Option<Answer>,
    ) -> Result<Answer, Failure> {
        let sent = self.link.out.send(question);
        self.answer_to(sent, |message, _body| choose(message))
    }

    /// Waits for the answer to what was sent outside of a transfer.
    fn answer_to<Answer>(
        &self,
        sent: Result<(), LinkLost>,
        choose: impl Fn(Up, &[u8]) -> Option<Answer>,
    ) -> Result<Answer, Failure> {
        let answered = match sent {
            Ok(()) => self.answer(choose),
            Err(error) => Err(TransferError::from(error).explained(&self.link.out)),
        };
        answered.map_err(|error| lost(&error))
    }

    /// Waits for what `choose` takes for the answer, given each message and its body.
    fn answer<Answer>(
        &self,
        choose: impl Fn(Up, &[u8]) -> Option<Answer>,
    ) -> Result<Answer, TransferError> {
        loop {
            let frame = self.link.next()?;
            if let Some(answer) = choose(frame.message()?, frame.body()) {
                return Ok(answer);
            }
        }
    }

    /// Tells the agent that the transfer is over, without what waits to be sent. What is said
    /// after this, and its answers, take 5 s at most.
    pub fn part(&mut self, why: &str) {
        self.link.part(STOPPING);
        // An agent that cannot be told notices by itself.
        let last_word = self.link.out.send(&Down::Failed(why.to_owned()));
        last_word.unwrap_or(());
    }

    /// Ends the session of an agent that has answered to everything: its end is not awaited, which
    /// saves a round trip.
    fn hang_up(self) {
        match self.end {
            End::InProcess(_) => self.close(),
            End::Machine { connection, .. } => {
                drop(self.link);
                connection.close();
            }
        }
    }

    /// Ends the session; everything that was sent leaves before, as far as the link lets it.
    pub fn close(self) {
        let Session { link, end } = self;
        match end {
            End::InProcess(agent) => {
                link.close();
                // A panic there was printed and has ended the stream.
                drop(agent.join());
            }
            End::Machine {
                connection,
                process,
                ..
            } => {
                let parting = match link.out.is_lost() {
                    true => LOST_PARTING,
                    false => PARTING,
                };
                let limit = link.time_left().unwrap_or(parting);
                // The writer ends when it has written everything, and with it the agent's input.
                drop(link);
                match process.wait(limit) {
                    Err(error) if error.kind() == io::ErrorKind::TimedOut => process.abort(),
                    // It has ended, or the link is gone.
                    _ => connection.close(),
                }
            }
        }
    }
}

/// Returns the failure of what was asked of an agent that cannot be heard, or cannot be told.
fn lost(error: &TransferError) -> Failure {
    let exit = match error {
        TransferError::Unsendable(_) => ExitCode::Failed,
        _ => ExitCode::Link,
    };
    Failure::of(exit, error)
}

/// A pipe that takes a whole frame at once.
fn roomy_pipe() -> io::Result<(io::PipeReader, io::PipeWriter)> {
    let (reader, writer) = io::pipe()?;
    // LIMIT: /proc/sys/fs/pipe-max-size. A smaller pipe is only slower.
    rustix::pipe::fcntl_setpipe_size(&writer, 1 << 20).unwrap_or_default();
    Ok((reader, writer))
}

#[cfg(test)]
mod tests {
    use super::Session;
    use crate::exit::ExitCode;
    use crate::transfer::wire::link::LinkSettings;
    use crate::transfer::wire::message::Down;

    #[test]
    fn what_no_frame_can_hold_is_not_a_lost_link() {
        let session = Session::in_process(LinkSettings::default()).unwrap();
        let too_long = Down::Failed("x".repeat(8 << 20));
        let failure = session.ask(&too_long, |_| Some(())).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Failed, "{failure}");
        session.close();
    }
}
