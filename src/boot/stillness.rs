//! Holds the machine still between the exchange of its trees and its reboot: no program of the
//! old system may write what it has in memory into the new one, which has the same names.
//!
//! What is held neither runs nor hears that it is to end; it goes with the boot as in a power cut,
//! and finds its files in the replaced tree as they were at the exchange. Knows nothing of trees.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use super::after_name;
use super::watcher::{Watcher, outlive};

/// The word of `/proc/PID/stat` that says that a process is the kernel's own (PF_KTHREAD,
/// linux/sched.h).
const KERNEL_FLAG: u64 = 0x0020_0000;
/// Programs that a file system may live on, or that the kernel waits for: held, they could hold us.
/// More of them say so themselves, by an `@` in front of their names
/// (systemd.io/ROOT_STORAGE_DAEMONS), or have [`FUSE`] open. `ssh` is what an sshfs speaks through.
const SPARED: [&str; 15] = [
    "auditd",
    "ceph-fuse",
    "dmeventd",
    "glusterfs",
    "glusterfsd",
    "iscsid",
    "iscsiuio",
    "mdmon",
    "mount.ntfs",
    "mount.ntfs-3g",
    "multipathd",
    "nbd-client",
    "ntfs-3g",
    "ssh",
    "zed",
];
/// What a program has open that is a file system (fuse(4)).
const FUSE: &str = "/dev/fuse";
/// LIMIT: how often it is looked for processes that were born meanwhile.
const ROUNDS: usize = 10;

/// A machine that is held still until this is dropped.
#[must_use]
pub struct Stillness {
    held: Vec<Pid>,
    watcher: Option<Watcher>,
}

/// A process, as the kernel shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Process {
    parent: i32,
    name: String,
    is_kernel: bool,
    /// Whether a file system lives on it: who asks that file system would wait for it for ever.
    is_file_system: bool,
}

impl Stillness {
    /// Holds every process but the init, us, those that we come from (the SSH server among them),
    /// and what storage lives on.
    pub fn hold() -> Stillness {
        let mut stillness = Stillness {
            held: Vec::new(),
            watcher: None,
        };
        for _ in 0..ROUNDS {
            let mut new = others(true);
            new.retain(|pid| !stillness.held.contains(pid));
            if new.is_empty() {
                break;
            }
            stillness.watch(&new);
            send(&new, Signal::STOP);
            stillness.held.extend(new);
        }
        stillness
    }

    /// Leaves everything held: the machine boots now.
    pub fn keep(mut self) {
        self.held.clear();
    }

    /// Has a process of ours let these go on if we die before we can.
    fn watch(&mut self, new: &[Pid]) {
        if self.watcher.is_none() {
            self.watcher = Watcher::start("--let-go");
        }
        if let Some(watcher) = &mut self.watcher {
            new.iter()
                .for_each(|pid| watcher.tell(&number(*pid).to_string()));
        }
    }
}

impl Drop for Stillness {
    fn drop(&mut self) {
        send(&self.held, Signal::CONT);
        if let Some(watcher) = self.watcher.take() {
            watcher.let_off();
        }
    }
}

/// Waits for the end of whoever holds the machine, and lets go what it holds still.
pub fn let_go_after_holder() {
    let duties = outlive();
    let numbers = duties.iter().filter_map(|duty| duty.parse().ok());
    let held: Vec<Pid> = numbers.filter_map(Pid::from_raw).collect();
    send(&held, Signal::CONT);
}

/// Ends every process but the init, us, and what storage lives on.
pub(super) fn end_others() {
    send(&others(false), Signal::KILL);
}

/// Sends a signal; who has ended meanwhile needs none.
fn send(to: &[Pid], signal: Signal) {
    for pid in to {
        kill_process(*pid, signal).unwrap_or_default();
    }
}

/// Returns the processes that may be held.
fn others(spares_ancestors: bool) -> Vec<Pid> {
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    choose(&processes(), own, spares_ancestors)
}

fn choose(processes: &BTreeMap<i32, Process>, own: i32, spares_ancestors: bool) -> Vec<Pid> {
    let mut spared = vec![1, own];
    let mut next = processes.get(&own);
    while let Some(process) = next.filter(|process| spares_ancestors && process.parent > 1) {
        spared.push(process.parent);
        next = processes.get(&process.parent);
    }
    let chosen = processes.iter().filter(|(pid, process)| {
        !spared.contains(pid)
            && process.parent != own
            && !process.is_kernel
            && !process.is_file_system
            && !process.name.starts_with('@')
            && !SPARED.contains(&process.name.as_str())
    });
    chosen.filter_map(|(pid, _)| Pid::from_raw(*pid)).collect()
}

fn processes() -> BTreeMap<i32, Process> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid: i32| {
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let process = parse(&String::from_utf8_lossy(&stat), command.starts_with(b"@"))?;
        let is_file_system = !process.is_kernel && has_open(pid, Path::new(FUSE));
        Some((
            pid,
            Process {
                is_file_system,
                ..process
            },
        ))
    })
    .collect()
}

/// Tells whether a process has a file open by that name. The file itself is not asked: it may lie
/// in a file system that does not answer.
fn has_open(pid: i32, path: &Path) -> bool {
    let files = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut files = files.into_iter().flatten().flatten();
    files.any(|file| fs::read_link(file.path()).is_ok_and(|open| open == path))
}

/// Reads `pid (name) state parent group session terminal foreground flags ...` (proc(5)); the name
/// may hold anything.
fn parse(stat: &str, is_marked: bool) -> Option<Process> {
    let name = stat.get(stat.find('(')? + 1..stat.rfind(')')?)?;
    let mut fields = after_name(stat)?.skip(1);
    let parent = fields.next()?.parse().ok()?;
    let flags: u64 = fields.nth(4)?.parse().ok()?;
    Some(Process {
        parent,
        name: if is_marked {
            format!("@{name}")
        } else {
            name.to_owned()
        },
        is_kernel: flags & KERNEL_FLAG != 0,
        is_file_system: false,
    })
}

fn number(pid: Pid) -> i32 {
    pid.as_raw_nonzero().get()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{FUSE, Process, choose, has_open, number, parse, processes};

    #[test]
    fn lines_of_the_kernel_are_read() {
        let daemon = "812 (a b) (c) S 1 812 812 0 -1 4194560 1 2 3";
        let parsed = parse(daemon, false).unwrap();
        assert_eq!((parsed.parent, parsed.name.as_str()), (1, "a b) (c"));
        assert!(!parsed.is_kernel);
        let thread = "9 (kworker/0:1) I 2 0 0 0 -1 69238880 0 0";
        assert!(parse(thread, false).unwrap().is_kernel);
        assert_eq!(parse(daemon, true).unwrap().name, "@a b) (c");
        for text in ["", "1", "1 (x", "1 (x) S", "1 )x( S 1 1 1 0 -1 0"] {
            assert_eq!(parse(text, false), None, "{text}");
        }
    }

    #[test]
    fn init_we_our_parents_and_storage_are_spared() {
        let process = |parent, name: &str| Process {
            parent,
            name: name.to_owned(),
            is_kernel: name == "kworker",
            is_file_system: name == "mergerfs",
        };
        let table = BTreeMap::from([
            (1, process(0, "init")),
            (2, process(0, "kworker")),
            (10, process(1, "sshd")),
            (11, process(10, "sshd")),
            (12, process(11, "agent")),
            (13, process(12, "watcher")),
            (20, process(1, "mysqld")),
            (21, process(10, "sshd")),
            (22, process(1, "@plymouthd")),
            (23, process(1, "mdmon")),
            (24, process(1, "mergerfs")),
            (25, process(1, "ssh")),
        ]);
        let numbers = |spares| -> Vec<i32> {
            let chosen = choose(&table, 12, spares);
            chosen.into_iter().map(number).collect()
        };
        assert_eq!(numbers(true), [20, 21]);
        assert_eq!(numbers(false), [10, 11, 20, 21]);
    }

    #[test]
    fn a_program_with_the_device_of_fuse_open_is_a_file_system() {
        // Where it cannot be opened no such file system can be mounted either.
        let Ok(device) = std::fs::File::open(FUSE) else {
            return;
        };
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(processes()[&own].is_file_system);
        drop(device);
        assert!(!processes()[&own].is_file_system);
    }

    #[test]
    fn what_a_program_has_open_is_known() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(has_open(own, file.path()));
        let path = file.into_temp_path().to_path_buf();
        assert!(!has_open(own, &path), "it is closed");
        assert!(!has_open(i32::MAX, &path), "there is no such process");
    }
}
