//! rsync as the other copier and as a second judge.
//!
//! Run as a program only. Knows nothing of the engine.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// Without it rsync compares times by whole seconds.
const NANOSECONDS: &str = "--modify-window=-1";

/// Copies `source` with every attribute to the directory `copy`, which is emptied first.
///
/// Always afresh: an update leaves names linked that the source has separated (seen in 3.5.0).
pub fn copy(source: &Path, copy: &Path) {
    if copy.exists() {
        std::fs::remove_dir_all(copy).expect("empty the copy");
    }
    run(&["-aHAXS", "--numeric-ids", NANOSECONDS], source, copy);
}

/// Returns what rsync would still do to make `copy` equal to `source`: nothing, if it is.
pub fn verdict(source: &Path, copy: &Path) -> String {
    run(
        &["-naHAXSic", "--numeric-ids", "--delete", NANOSECONDS],
        source,
        copy,
    )
}

/// Returns `differences` without those that are rsync's own fault.
///
/// It sends an ACL without the group's entry where that equals the mask, and then applies one
/// remembered ACL, with one group's entry, to all files that share the rest (seen in 3.5.0).
pub fn without_known_faults(differences: &[String]) -> Vec<&String> {
    let is_known = |text: &&String| text.contains(": xattr system.posix_acl_access is 0x0200");
    differences.iter().filter(|text| !is_known(text)).collect()
}

fn run(arguments: &[&str], source: &Path, copy: &Path) -> String {
    let output = Command::new("rsync")
        .args(arguments)
        .arg("--")
        .args([inside(source), inside(copy)])
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("LC_ALL", "C")
        .output()
        .expect("run rsync");
    let (text, complaints) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "rsync failed: {complaints}{text}");
    text.into_owned()
}

/// A trailing slash means "what is in it" to rsync.
fn inside(directory: &Path) -> OsString {
    let mut text = directory.as_os_str().to_owned();
    text.push("/");
    text
}
