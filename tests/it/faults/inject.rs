//! Faults: which call of which side fails, and how. Counts calls, and lets one of them, or all from
//! one on, fail with an errno. Knows nothing of what is expected then.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use instancesync::fs::gate::{CAN_INJECT, Watched, watch};
use instancesync::problem::Side;
use rustix::io::Errno;

use crate::support::seeds;

/// The names of the threads whose calls may fail. The kernel gives a new thread the name of the
/// one that made it, so the threads of one side bear one name. Calls of other tests have others.
const SOURCE_THREAD: &str = "faults-source";
pub const TARGET_THREAD: &str = "faults-target";

/// One test injects at a time: all threads of one side have the same name.
static TURN: Mutex<()> = Mutex::new(());

/// Held by the test that injects.
pub struct Turn {
    _held: MutexGuard<'static, ()>,
}

/// Waits until no other test injects.
pub fn turn() -> Turn {
    Turn {
        _held: TURN.lock().unwrap_or_else(PoisonError::into_inner),
    }
}

/// How many calls of each kind each side makes.
pub type Census = BTreeMap<(Side, &'static str), u64>;

/// Stands for every call.
pub const ANY: &str = "any call";
/// Stands for every call that changes something, as on a disk that is full or turns read-only.
pub const WRITING: &str = "any writing call";

/// What is to fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub side: Side,
    pub call: &'static str,
    /// From 0.
    pub nth: u64,
    pub errno: Errno,
    /// Whether all later calls of the kind fail as well.
    pub lasts: bool,
    /// Whether the file system cannot exchange two names.
    pub no_exchange: bool,
}

impl Fault {
    fn is_hit(&self, side: Side, call: &str, nth: u64) -> bool {
        (self.side, self.call) == (side, call)
            && (nth == self.nth || (self.lasts && nth > self.nth))
    }
}

/// Tells whether a call changes something.
pub fn is_writing(call: &str) -> bool {
    let begins = [
        "mk", "rename", "fch", "ch", "futimens", "utimens", "fset", "lset", "fremove",
    ];
    let whole = [
        "pwrite",
        "symlinkat",
        "linkat",
        "unlinkat",
        "lremovexattr",
        "fallocate",
    ];
    let more = [
        "ftruncate",
        "copy_file_range",
        "ioctl_ficlone",
        "fsync",
        "syncfs",
    ];
    begins.iter().any(|begin| call.starts_with(begin))
        || whole.contains(&call)
        || more.contains(&call)
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault {
            side,
            call,
            nth,
            errno,
            lasts,
            no_exchange,
        } = self;
        let from = if *lasts { "from call" } else { "call" };
        let without = if *no_exchange {
            ", without exchange"
        } else {
            ""
        };
        write!(out, "{side}: {call}, {from} {nth}{without}: {errno}")
    }
}

/// Lets calls fail for as long as it lives.
pub struct Injection {
    seen: Arc<Mutex<(Census, bool)>>,
    _watched: Watched,
}

impl Injection {
    /// Counts, and lets `fault` happen. The calling thread is of `side` from now on.
    pub fn start(_turn: &Turn, side: Side, fault: Option<Fault>) -> Injection {
        name_thread(side);
        let seen = Arc::new(Mutex::new((Census::new(), false)));
        let counted = Arc::clone(&seen);
        let decide = move |call| {
            let Some(side) = side_of_thread() else {
                return Ok(());
            };
            let mut seen = counted.lock().unwrap();
            if call == "renameat_with" && fault.is_some_and(|fault| fault.no_exchange) {
                return Err(Errno::INVAL);
            }
            let mut failure = None;
            for kind in [call, ANY, WRITING] {
                if kind == WRITING && !is_writing(call) {
                    continue;
                }
                let number = seen.0.entry((side, kind)).or_default();
                let nth = *number;
                *number += 1;
                if let Some(fault) = fault.filter(|fault| fault.is_hit(side, kind, nth)) {
                    failure = Some(fault.errno);
                }
            }
            match failure {
                Some(errno) => {
                    seen.1 = true;
                    Err(errno)
                }
                None => Ok(()),
            }
        };
        Injection {
            seen,
            _watched: watch(Box::new(decide)),
        }
    }

    /// Ends it; tells whether the fault happened.
    pub fn end(self) -> bool {
        self.seen.lock().unwrap().1
    }

    /// Ends it; returns how many calls there were.
    pub fn census(self) -> Census {
        std::mem::take(&mut self.seen.lock().unwrap().0)
    }
}

/// What happens in a moment.
pub type Act = Box<dyn FnOnce() + Send>;

/// Does something once, in the moment before a call.
pub struct Moment {
    seen: Arc<Mutex<(u64, Option<u64>)>>,
    _watched: Watched,
}

impl Moment {
    /// Acts before call number `nth` of `side`, counted from when `pass` is not 0 any more. The calling
    /// thread is of that side from now on.
    pub fn start(
        _turn: &Turn,
        side: Side,
        pass: Arc<AtomicU64>,
        nth: u64,
        act: impl FnOnce() + Send + 'static,
    ) -> Moment {
        name_thread(side);
        let seen = Arc::new(Mutex::new((0, None)));
        let counted = Arc::clone(&seen);
        let mut act = Some(act);
        let decide = move |_call| {
            let pass = pass.load(Ordering::SeqCst);
            if pass == 0 || side_of_thread() != Some(side) {
                return Ok(());
            }
            let mut seen = counted.lock().unwrap();
            if seen.0 == nth
                && let Some(act) = act.take()
            {
                act();
                seen.1 = Some(pass);
            }
            seen.0 += 1;
            Ok(())
        };
        Moment {
            seen,
            _watched: watch(Box::new(decide)),
        }
    }

    /// Acts before calls of one kind of `side`, numbered from 0, in their order. The calling thread is
    /// of that side from now on.
    pub fn before(_turn: &Turn, side: Side, kind: &'static str, acts: Vec<(u64, Act)>) -> Moment {
        name_thread(side);
        let seen = Arc::new(Mutex::new((0, None)));
        let counted = Arc::clone(&seen);
        let mut acts = acts.into_iter().peekable();
        let decide = move |call| {
            if call == kind && side_of_thread() == Some(side) {
                let mut seen = counted.lock().unwrap();
                if let Some((_, act)) = acts.next_if(|(nth, _)| *nth == seen.0) {
                    act();
                }
                seen.0 += 1;
            }
            Ok(())
        };
        Moment {
            seen,
            _watched: watch(Box::new(decide)),
        }
    }

    /// Ends it; returns how many calls there were, and in which pass it came.
    pub fn end(self) -> (u64, Option<u64>) {
        *self.seen.lock().unwrap()
    }
}

fn name_thread(side: Side) {
    let name = match side {
        Side::Source => SOURCE_THREAD,
        Side::Target => TARGET_THREAD,
    };
    let name = std::ffi::CString::new(name).unwrap();
    rustix::thread::set_name(&name).unwrap();
}

fn side_of_thread() -> Option<Side> {
    let name = rustix::thread::name().ok()?;
    match name.to_str().ok()? {
        SOURCE_THREAD => Some(Side::Source),
        TARGET_THREAD => Some(Side::Target),
        _ => None,
    }
}

/// Tells whether this build can inject faults; says so where not.
pub fn can_inject(test: &str) -> bool {
    if !CAN_INJECT {
        println!("skipped {test}: a release build has no gate");
    }
    CAN_INJECT
}

/// Returns what may plausibly go wrong with a call.
///
/// What would be a lie of the kernel about the contents of a file is left out: `ENXIO` of a seek
/// (only holes follow), `ENODATA` and `ENOTSUP` where attributes are read, `ENOENT` of what nobody
/// removes.
pub fn errnos(side: Side, call: &str) -> Vec<Errno> {
    let mut all = vec![Errno::IO];
    all.extend(match is_writing(call) || call == WRITING {
        true => of_writing(call),
        false => of_reading(side, call),
    });
    match call {
        "openat" if side == Side::Target => {
            all.extend([Errno::NOSPC, Errno::DQUOT, Errno::ROFS]);
        }
        "openat2" => all.extend([Errno::NOSYS, Errno::AGAIN]),
        "renameat_with" => all.extend([Errno::INVAL, Errno::NOSYS]),
        _ => {}
    }
    all
}

fn of_reading(side: Side, call: &str) -> &'static [Errno] {
    match call {
        "openat" | "openat2" => &[
            Errno::NOENT,
            Errno::ACCESS,
            Errno::PERM,
            Errno::MFILE,
            Errno::NOMEM,
            Errno::LOOP,
            Errno::STALE,
            Errno::INTR,
        ],
        "statat" if side == Side::Target => &[Errno::ACCESS, Errno::STALE, Errno::NOMEM],
        "statat" | "readlinkat" | "getdents64" => {
            &[Errno::NOENT, Errno::ACCESS, Errno::STALE, Errno::NOMEM]
        }
        "fstat" | "statx" => &[Errno::STALE, Errno::NOMEM],
        "flistxattr" | "llistxattr" | "fgetxattr" | "lgetxattr" => {
            &[Errno::PERM, Errno::STALE, Errno::NOMEM]
        }
        "pread" => &[Errno::INTR, Errno::STALE, Errno::NOMEM],
        "seek" => &[Errno::INVAL, Errno::STALE],
        "flock" => &[Errno::WOULDBLOCK, Errno::INTR, Errno::NOLCK],
        _ => &[],
    }
}

fn of_writing(call: &str) -> &'static [Errno] {
    match call {
        WRITING => &[Errno::ROFS, Errno::NOSPC],
        "fsetxattr" | "lsetxattr" => &[
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::NOTSUP,
            Errno::PERM,
            Errno::TOOBIG,
            Errno::ROFS,
        ],
        "fremovexattr" | "lremovexattr" => &[Errno::PERM, Errno::ROFS],
        "pwrite" => &[
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::INTR,
            Errno::FBIG,
            Errno::ROFS,
        ],
        "fallocate" => &[Errno::NOTSUP, Errno::NOSPC, Errno::INTR, Errno::ROFS],
        "ftruncate" => &[Errno::NOSPC, Errno::FBIG, Errno::PERM, Errno::INTR],
        "copy_file_range" => &[Errno::NOSPC, Errno::XDEV, Errno::INTR, Errno::STALE],
        "ioctl_ficlone" => &[Errno::NOTSUP, Errno::NOSPC],
        "fsync" | "syncfs" => &[Errno::NOSPC, Errno::DQUOT],
        "mkdir" | "mkdirat" | "mknodat" | "symlinkat" | "linkat" => &[
            Errno::NOSPC,
            Errno::DQUOT,
            Errno::ACCESS,
            Errno::PERM,
            Errno::ROFS,
            Errno::MLINK,
            Errno::NOENT,
            Errno::NOMEM,
        ],
        "renameat" | "renameat_with" => &[
            Errno::NOSPC,
            Errno::ACCESS,
            Errno::PERM,
            Errno::ROFS,
            Errno::BUSY,
            Errno::NOENT,
            Errno::XDEV,
        ],
        "unlinkat" => &[Errno::ACCESS, Errno::PERM, Errno::ROFS, Errno::BUSY],
        "fchown" | "chownat" | "fchmod" | "chmodat" | "futimens" | "utimensat" => {
            &[Errno::PERM, Errno::ROFS, Errno::DQUOT]
        }
        _ => &[],
    }
}

/// Returns the faults to try where `census` is what happens without one: each plausible errno of
/// each call, at one of its calls, or at as many as `INSTANCESYNC_SEEDS` says.
pub fn plan(census: &Census) -> Vec<Fault> {
    let mut faults = Vec::new();
    for ((side, call), count) in census {
        let is_all = [ANY, WRITING].contains(call);
        for (turn, errno) in (0..).zip(errnos(*side, call)) {
            let fault = |nth, lasts| Fault {
                side: *side,
                call,
                nth,
                errno,
                lasts,
                no_exchange: false,
            };
            if !is_all {
                let once = nths(*count, 1, turn * 7).into_iter();
                faults.extend(once.map(|nth| fault(nth, false)));
            }
            // A disk that is full, gone or read-only stays so.
            if ![Errno::INTR, Errno::NOENT].contains(&errno) {
                let samples = if is_all { 12 } else { 1 };
                let from = nths(*count, samples, turn * 11).into_iter();
                faults.extend(from.map(|nth| fault(nth, true)));
            }
        }
    }
    faults
}

/// Returns the faults of a file system that needs three renames for an exchange.
pub fn plan_renames() -> Vec<Fault> {
    let fault = |nth| Fault {
        side: Side::Target,
        call: "renameat",
        nth,
        errno: Errno::IO,
        lasts: false,
        no_exchange: true,
    };
    (0..40).map(fault).collect()
}

/// Returns some numbers below `count`, evenly spread.
fn nths(count: u64, samples: u64, offset: u64) -> Vec<u64> {
    let seeds = seeds(samples);
    let mut nths: Vec<u64> = match &seeds[..] {
        [seed] if samples > 1 => vec![seed % count],
        seeds => {
            let all = seeds.len() as u64;
            (0..all)
                .map(|index| (index * count / all + offset) % count)
                .collect()
        }
    };
    nths.sort_unstable();
    nths.dedup();
    nths
}
