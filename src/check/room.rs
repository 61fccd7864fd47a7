//! A program of the stage is run where it can do no harm: in name spaces of its own, on a root that
//! cannot be written to, without the network, the processes and the sockets of the running target.
//!
//! The target's own `unshare`, `mount` and `chroot` make that place, by one script that never
//! changes. Knows nothing of what is run.

use std::ffi::OsString;
use std::time::Duration;

use super::Stage;
use crate::cleanup::programs::{Output, ProgramError, Programs, ThisMachine};

/// LIMIT: what is run here prints a version or reads a configuration.
const LIMIT: Duration = Duration::from_secs(30);
/// What the script says once the place is ready; before that, complaints are its own.
const READY: &[u8] = b"instancesync: ready\n";

/// Its arguments: the stage, the number of further volumes, for each its stage and its mount point in
/// the stage, the program and its arguments. Name spaces end with the last process in them, and
/// with them all that is mounted here.
///
/// ORDER: the shell stays the first process; an init that finds itself to be that boots, whatever
/// it is asked for.
const SCRIPT: &str = r#"
set -e
stage=$1
count=$2
shift 2
mount --make-rprivate /
mount --bind "$stage" "$stage"
while [ "$count" -gt 0 ]; do
    mount --bind "$1" "$stage/$2"
    mount -o remount,bind,ro "$stage/$2"
    shift 2
    count=$((count - 1))
done
tmpfs() {
    if [ -d "$stage/$1" ] && [ ! -L "$stage/$1" ]; then
        mount -t tmpfs -o mode=0755,size=4m tmpfs "$stage/$1"
    fi
}
tmpfs run
tmpfs tmp
tmpfs var/run
tmpfs dev
for name in null zero full random urandom tty; do
    if [ -e "/dev/$name" ] && [ -d "$stage/dev" ]; then
        : > "$stage/dev/$name"
        mount --bind "/dev/$name" "$stage/dev/$name"
    fi
done
if [ -d "$stage/proc" ]; then
    mount -t proc -o nosuid,nodev,noexec proc "$stage/proc" || true
fi
if [ -d "$stage/sys" ]; then
    mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$stage/sys" || true
fi
for name in run/sshd var/run/sshd; do
    [ -d "$stage/$name" ] || mkdir -m 755 "$stage/$name" 2>/dev/null || true
done
mount -o remount,bind,ro "$stage"
cd "$stage"
echo "instancesync: ready"
status=0
chroot . "$@" || status=$?
exit $status
"#;

/// What came of it.
pub(super) enum Ran {
    /// It ended well.
    Well,
    /// It ended otherwise, with this complaint.
    Badly(String),
    /// It was not started at all, for this reason.
    NotRun(String),
}

impl Stage<'_> {
    /// Runs a program of the stage with `arguments`.
    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Ran {
        // Old kernels and programs know no name space of processes; others hide more with it.
        match self.run_in(&["-m", "-n", "-i", "-p", "-f"], program, arguments) {
            Ran::NotRun(_) => self.run_in(&["-m", "-n", "-i"], program, arguments),
            ran => ran,
        }
    }

    fn run_in(&self, spaces: &[&str], program: &str, arguments: &[&str]) -> Ran {
        let unshare = [&["unshare"], spaces, &["sh", "-c", SCRIPT, "sh"]].concat();
        let mut command: Vec<OsString> = unshare.iter().map(OsString::from).collect();
        command.extend(self.staged.mounting(self.root));
        command.push(program.into());
        command.extend(arguments.iter().map(OsString::from));
        match ThisMachine.run(&command, LIMIT) {
            Ok(output) if !output.stdout.starts_with(READY) => Ran::NotRun(format!(
                "no private place could be made for it ({})",
                output.complaint()
            )),
            Ok(output) if output.is_success => Ran::Well,
            Ok(output) => Ran::Badly(complaint(&output)),
            Err(error @ ProgramError::Start { .. }) => Ran::NotRun(error.to_string()),
            Err(error) => Ran::Badly(format!("in the clone: {error}").replace("unshare", program)),
        }
    }
}

/// Returns what the program complained of; some do so on their standard output.
fn complaint(output: &Output) -> String {
    let said = output.stdout.get(READY.len()..).unwrap_or_default();
    match output.stderr.trim().is_empty() && !said.trim_ascii().is_empty() {
        true => String::from_utf8_lossy(said).trim().to_owned(),
        false => output.complaint(),
    }
}
