//! Sender and agent in one process over pipes, with a tap on each direction: a test sees every
//! frame, may act when one passes, and may cut the link there. Knows nothing of single promises.

use std::io::{self, PipeWriter, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use instancesync::agent::{self, HeldKey};
use instancesync::exclude::Rules;
use instancesync::fs::Dir;
use instancesync::monitor::{Pass, PassStats, RecordingMonitor};
use instancesync::problem::Problem;
use instancesync::transfer::TransferError;
use instancesync::transfer::sender::{Deletes, PassPlan, Sender, Tree, Turn};
use instancesync::transfer::wire::frame::Frame;
use instancesync::transfer::wire::link::{Link, LinkSettings};
use instancesync::transfer::wire::message::Policy;

/// LIMIT: a test of the engine that takes longer hangs. They take a second; where others keep the
/// processors busy, a process of low priority may get a hundredth of them.
const PATIENCE: Duration = Duration::from_secs(90);

/// What is changed a shorter time ago is listed again whatever happens (src/transfer/snapshot.rs).
pub const AT_REST: Duration = Duration::from_millis(2100);

/// Ends the whole process when it is not dropped in time: a thread that hangs cannot be ended.
pub struct Watchdog {
    _over: mpsc::Sender<()>,
}

impl Watchdog {
    /// Starts one.
    pub fn start(context: &str) -> Watchdog {
        Watchdog::patient(context, PATIENCE)
    }

    /// Starts one with another limit.
    pub fn patient(context: &str, patience: Duration) -> Watchdog {
        let (over, wait) = mpsc::channel();
        let context = context.to_owned();
        thread::spawn(move || {
            if wait.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Timeout) {
                println!("hangs: {context}");
                print_threads();
                std::process::abort();
            }
        });
        Watchdog { _over: over }
    }
}

/// Prints of each thread its name, its state, and for how long it ran and waited for a processor,
/// in nanoseconds: whoever waits for another sleeps, and whoever waits for the machine does not.
fn print_threads() {
    for task in std::fs::read_dir("/proc/self/task").unwrap().flatten() {
        // A thread may end meanwhile.
        let field = |name| std::fs::read_to_string(task.path().join(name)).unwrap_or_default();
        let (name, times, stat) = (field("comm"), field("schedstat"), field("stat"));
        let state = stat.rsplit(") ").next().and_then(|rest| rest.get(..1));
        println!("{}: {state:?} {}", name.trim(), times.trim());
    }
}

/// Sees a frame before it leaves; false cuts the link.
pub type Tap = Box<dyn FnMut(&Frame) -> bool + Send>;

/// A tap that lets everything by.
pub fn open_tap() -> Tap {
    Box::new(|_| true)
}

/// A tap that cuts the link before frame number `count`, from 0.
pub fn cut_after(count: u64) -> Tap {
    let mut seen = 0;
    Box::new(move |_| {
        seen += 1;
        seen <= count
    })
}

/// A writer with a tap.
struct TapWriter {
    inner: PipeWriter,
    waiting: Vec<u8>,
    tap: Tap,
    step: usize,
    /// Bytes that may still leave; `None` for as many as there are.
    left: Option<usize>,
}

impl TapWriter {
    /// Lets bytes leave, until none may: then the link is cut, within a frame or between two.
    fn let_out(&mut self, bytes: &[u8]) -> io::Result<()> {
        let allowed = self.left.map_or(bytes.len(), |left| left.min(bytes.len()));
        let (going, kept) = bytes.split_at(allowed);
        for part in going.chunks(self.step) {
            self.inner.write_all(part)?;
        }
        self.left = self.left.map(|left| left - allowed);
        match kept.is_empty() {
            true => Ok(()),
            false => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
}

impl Write for TapWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.waiting.extend_from_slice(bytes);
        while let Some(head) = self.waiting.first_chunk::<4>() {
            let end = 4 + u32::from_le_bytes(*head) as usize;
            if self.waiting.len() < end {
                break;
            }
            let rest = self.waiting.split_off(end);
            let whole = std::mem::replace(&mut self.waiting, rest);
            let frame = Frame::read(&mut &whole[..]).expect("a frame of our own");
            if !(self.tap)(&frame) {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            self.let_out(&whole)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// One transfer as a test wants it.
pub struct Job<'a> {
    /// What is copied.
    pub source: &'a Path,
    /// Where to.
    pub target: &'a Path,
    /// What the agent is told.
    pub policy: Policy,
    /// The passes.
    pub plans: Vec<PassPlan>,
    /// What both sides leave alone.
    pub rules: Rules,
    /// Sees what the sender says.
    pub down: Tap,
    /// Sees what the agent says.
    pub up: Tap,
    /// Bytes that a pipe is given at once.
    pub step: usize,
    /// After how many bytes the way down ends while the other goes on.
    pub down_limit: Option<usize>,
    /// The same for the way up.
    pub up_limit: Option<usize>,
    /// The name of the agent's threads.
    pub agent_thread: &'static str,
    /// Called before each pass with its number, from 0.
    pub before_pass: Box<dyn FnMut(usize)>,
}

/// How it went.
#[derive(Debug)]
pub struct Ran {
    /// What each pass did, or the error.
    pub result: Result<Vec<PassStats>, TransferError>,
    /// What was reported.
    pub problems: Vec<Problem>,
}

impl Ran {
    /// Returns what the only pass did; there must have been no problem.
    #[track_caller]
    pub fn stats(&self) -> &PassStats {
        assert_eq!(self.problems, [], "problems were reported");
        &self.result.as_ref().expect("a run that goes through")[0]
    }
}

/// The plan of one pass that is the last.
pub fn one_pass(pass: Pass) -> Vec<PassPlan> {
    vec![PassPlan {
        pass,
        deletes: Deletes::AtEnd,
        turn: Turn::Last,
    }]
}

/// Timestamp passes, the last of which is the last of the run.
pub fn timestamp_passes<const COUNT: usize>(deletes: [Deletes; COUNT]) -> Vec<PassPlan> {
    let plan = |(number, deletes)| PassPlan {
        pass: Pass::Timestamp,
        deletes,
        turn: match number + 1 == COUNT {
            true => Turn::Last,
            false => Turn::Early,
        },
    };
    deletes.into_iter().enumerate().map(plan).collect()
}

impl<'a> Job<'a> {
    /// One timestamp pass that deletes nothing.
    pub fn new(source: &'a Path, target: &'a Path) -> Job<'a> {
        Job {
            source,
            target,
            policy: Policy {
                dry_run: false,
                items: false,
                delete_limit: None,
                staged: None,
                fsync: true,
                patch_in_place: false,
                pair: None,
            },
            plans: one_pass(Pass::Timestamp),
            rules: Rules::none(),
            down: open_tap(),
            up: open_tap(),
            step: usize::MAX,
            down_limit: None,
            up_limit: None,
            agent_thread: "agent",
            before_pass: Box::new(|_| ()),
        }
    }

    /// Lets it delete what only the target has, at most `limit` entries.
    pub fn deleting(mut self, limit: u64) -> Job<'a> {
        self.policy.delete_limit = Some(limit);
        self
    }

    /// Compares contents.
    pub fn checksum(mut self) -> Job<'a> {
        self.plans = one_pass(Pass::Checksum);
        self
    }

    /// Runs it. Fails the test when either side panics or hangs.
    #[track_caller]
    pub fn run(self) -> Ran {
        self.run_until(&AtomicBool::new(false))
    }

    /// Runs it until `stop` is set.
    #[track_caller]
    pub fn run_until(mut self, stop: &AtomicBool) -> Ran {
        let _watchdog = Watchdog::start(&format!("a transfer to {}", self.target.display()));
        let tapped = |inner, tap, left| TapWriter {
            inner,
            waiting: Vec::new(),
            tap,
            step: self.step,
            left,
        };
        let (there_reader, here) = io::pipe().unwrap();
        let (here_reader, there) = io::pipe().unwrap();
        let here = tapped(here, self.down, self.down_limit);
        let there = tapped(there, self.up, self.up_limit);
        let agent = thread::Builder::new().name(self.agent_thread.to_owned());
        let agent =
            agent.spawn(move || agent::serve((there_reader, there), None, &HeldKey::default()));
        let agent = agent.unwrap();
        let link = Link::start(here_reader, here, LinkSettings::default());
        let monitor = RecordingMonitor::default();
        let target = self.target.as_os_str().as_bytes().to_vec();
        let run = || -> Result<Vec<PassStats>, TransferError> {
            let root = Dir::open_root(self.source)
                .map_err(|error| TransferError::Root("source".to_owned(), error))?;
            let tree = Tree {
                root: &root,
                rules: &self.rules,
                mounts: &[],
            };
            let sender = Sender::begin(&link, tree, (target, self.policy), &monitor, stop)?;
            let passes = self.plans.iter().enumerate().map(|(number, plan)| {
                (self.before_pass)(number);
                sender.pass(*plan)
            });
            let stats = passes.collect::<Result<_, _>>()?;
            sender.finish()?;
            Ok(stats)
        };
        let result = run();
        if let Err(TransferError::Stopped) = result {
            let stopped = instancesync::transfer::wire::message::Down::Failed("stopped".into());
            link.out.send(&stopped).unwrap_or(());
        }
        link.close();
        // How it fared is told over the link; that it ended is what counts.
        drop(agent.join().expect("the agent panicked"));
        Ran {
            result,
            problems: monitor.problems(),
        }
    }
}
