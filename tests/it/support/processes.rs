//! The agents that a test's own sshd runs, found by the home directory that it gives them.
//!
//! Agents of other tests have other homes and are left alone.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Returns the agents whose home directory is `home`.
pub fn agents(home: &Path) -> Vec<Pid> {
    let variable = [b"HOME=", home.as_os_str().as_bytes()].concat();
    fs::read_dir("/proc")
        .expect("list processes")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|process: &i32| is_agent(*process, &variable))
        .filter_map(Pid::from_raw)
        .collect()
}

fn is_agent(process: i32, home_variable: &[u8]) -> bool {
    let read = |name: &str| fs::read(format!("/proc/{process}/{name}")).unwrap_or_default();
    let has = |bytes: Vec<u8>, word: &[u8]| bytes.split(|byte| *byte == 0).any(|part| part == word);
    has(read("cmdline"), b"agent") && has(read("environ"), home_variable)
}

/// Kills the agents whose home directory is `home`.
pub fn kill_agents(home: &Path) {
    for agent in agents(home) {
        // Gone already is as good.
        kill_process(agent, Signal::KILL).ok();
    }
}
