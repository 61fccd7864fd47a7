//! The gate in front of every system call of this chapter: `call!` asks it first. It is always
//! open in a release build; elsewhere a test may let calls fail as a bad disk would. Knows
//! nothing of what is called, and nothing of what is expected then.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

/// Makes a call of rustix, `fs::` or `io::`, unless the gate is closed to it.
macro_rules! call {
    ($module:ident :: $name:ident ( $($argument:expr),* $(,)? )) => {
        match $crate::fs::gate::pass(stringify!($name)) {
            Ok(()) => rustix::$module::$name($($argument),*),
            Err(errno) => Err(errno),
        }
    };
}
pub(super) use call;

/// Whether this build can inject faults at all.
pub const CAN_INJECT: bool = cfg!(debug_assertions);

/// Is told which call is to be made, in the thread that makes it, and lets it pass or fail.
pub type Decide = Box<dyn FnMut(&'static str) -> Result<(), Errno> + Send>;

static IS_WATCHED: AtomicBool = AtomicBool::new(false);
/// ORDER: held while it is decided, never while a call is made, and who decides makes none: nobody
/// who holds it waits for anything. A child between its fork and its program makes no such call.
static WATCH: Mutex<Option<Decide>> = Mutex::new(None);

/// Lets calls pass again when it is dropped.
#[derive(Debug)]
pub struct Watched(());

/// Has every file-system call of this process decided by `decide`, which must not make such calls
/// itself. One watch at a time: a second one takes the place of the first.
pub fn watch(decide: Decide) -> Watched {
    *locked() = Some(decide);
    IS_WATCHED.store(true, Ordering::SeqCst);
    Watched(())
}

impl Drop for Watched {
    fn drop(&mut self) {
        IS_WATCHED.store(false, Ordering::SeqCst);
        *locked() = None;
    }
}

/// Asks before a call.
#[inline(always)]
pub(super) fn pass(name: &'static str) -> Result<(), Errno> {
    if CAN_INJECT && IS_WATCHED.load(Ordering::Relaxed) {
        return ask(name);
    }
    Ok(())
}

#[cold]
fn ask(name: &'static str) -> Result<(), Errno> {
    match &mut *locked() {
        Some(decide) => decide(name),
        None => Ok(()),
    }
}

fn locked() -> MutexGuard<'static, Option<Decide>> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}
