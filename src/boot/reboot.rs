//! The reboot: by the init, which stops nothing in order any more but leaves the disks in order, and
//! by the kernel where none answers. Knows nothing of why.

use std::time::Duration;

use rustix::system::{RebootCommand, reboot};

use super::own_program;
use super::stillness::end_others;
use crate::distro::ask;

/// How long a program may take to pass the wish on.
const ASKING: Duration = Duration::from_secs(30);
/// How long an init may take before the next way is tried: systemd waits up to 90 s for what does
/// not end, and then for its file systems.
const STOPPING: Duration = Duration::from_secs(180);
/// How long an answer may take to the source before the machine goes down.
const ANSWERING: Duration = Duration::from_secs(2);

/// The ways to ask the init, the usual first.
const WAYS: [(&str, &[&str]); 2] = [("systemctl", &["reboot", "--force"]), ("reboot", &["-f"])];

/// Starts a process of its own that reboots the machine in 2 s; what is said before arrives.
pub fn reboot_soon() -> std::io::Result<()> {
    own_program("--reboot").spawn().map(drop)
}

/// Reboots the machine, and returns only if nothing can.
pub fn reboot_now() -> std::io::Error {
    // It may be the leader already; then nobody ends it with its session anyway.
    rustix::process::setsid().ok();
    std::thread::sleep(ANSWERING);
    // What they have in memory belongs to the replaced tree and must not come into the new one.
    end_others();
    for (program, arguments) in WAYS {
        if ask(program, arguments, ASKING).is_some() {
            std::thread::sleep(STOPPING);
        }
    }
    crate::fs::sync_all();
    match reboot(RebootCommand::Restart) {
        Ok(()) => std::io::Error::other("the kernel did not reboot"),
        Err(errno) => errno.into(),
    }
}
