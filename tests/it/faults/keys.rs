//! A call that fails while the run's key goes in or out: the keys of the account stay what they
//! are, and what failed can be done again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use instancesync::authorized_keys::{Account, Owner, Which, install, remove};
use instancesync::problem::Side;
use rustix::io::Errno;

use super::inject::{self, Fault, Injection, Turn, can_inject, plan};
use crate::support::places::{assert_none, in_memory, put};

const KEYS: &str = "ssh-ed25519 AAAA somebody\n";
const OWNER: Owner<'_> = Owner {
    pair: "pair",
    nonce: "nonce",
};

type Act = fn(&Path) -> instancesync::fs::Result<()>;

fn account(home: &Path) -> Account<'_> {
    let uid = rustix::process::geteuid().as_raw();
    Account { home, uid }
}

fn put_in(home: &Path) -> instancesync::fs::Result<()> {
    install(account(home), "ssh-ed25519 BBBB", OWNER)
}

fn take_out(home: &Path) -> instancesync::fs::Result<()> {
    remove(account(home), Which::Pair(OWNER.pair))
}

/// Returns what is in the home directory, with the contents of files.
fn listing(home: &Path) -> Vec<(String, String)> {
    let entries = walkdir::WalkDir::new(home).sort_by_file_name().into_iter();
    let entries = entries.map(|entry| {
        let entry = entry.unwrap();
        let path = entry.path().strip_prefix(home).unwrap();
        let text = fs::read_to_string(entry.path()).unwrap_or_default();
        (path.display().to_string(), text)
    });
    entries.collect()
}

fn home(has_keys: bool, has_ours: bool) -> tempfile::TempDir {
    let home = in_memory();
    if has_keys {
        let ssh = home.path().join(".ssh");
        put(&ssh.join("authorized_keys"), KEYS);
        fs::set_permissions(&ssh, Permissions::from_mode(0o700)).unwrap();
    }
    if has_ours {
        put_in(home.path()).unwrap();
    }
    home
}

/// Returns what is not as it should be; `act` fails at `fault`.
fn try_one(turn: &Turn, has_keys: bool, has_ours: bool, act: Act, fault: Fault) -> Vec<String> {
    let place = home(has_keys, has_ours);
    let before = listing(place.path());
    let injection = Injection::start(turn, Side::Target, Some(fault));
    let done = act(place.path());
    if !injection.end() {
        return Vec::new();
    }
    let mut found = Vec::new();
    let keys = fs::read_to_string(place.path().join(".ssh/authorized_keys"));
    if has_keys && !keys.as_ref().is_ok_and(|keys| keys.starts_with(KEYS)) {
        found.push(format!("keys are lost: {keys:?}"));
    }
    // What fails for good cannot be tidied up, and taking out has steps that are not taken back.
    let has_changed = listing(place.path()) != before;
    if done.is_err() && has_changed && !fault.lasts && !has_ours {
        found.push(format!("{done:?}, but {:?}", listing(place.path())));
    }
    for act in [put_in, take_out] {
        if let Err(error) = act(place.path()) {
            found.push(format!("{done:?}, then {error:?}"));
        }
    }
    let left = listing(place.path());
    let is_clean = left == listing(home(has_keys, false).path());
    // The line is out; that the directory was ours was told with the error, and is known no more.
    let is_bare = done.is_err() && left.last().is_some_and(|(path, _)| path == ".ssh");
    if !is_clean && !is_bare && !fault.lasts {
        found.push(format!("{done:?}, then left: {left:?}"));
    }
    found
}

#[test]
fn a_call_that_fails_while_a_key_goes_in_or_out_loses_no_key() {
    if !can_inject("a_call_that_fails_while_a_key_goes_in_or_out_loses_no_key") {
        return;
    }
    let turn = inject::turn();
    let mut complaints = Vec::new();
    for has_keys in [true, false] {
        for (has_ours, act) in [(false, put_in as Act), (true, put_in), (true, take_out)] {
            let place = home(has_keys, has_ours);
            let injection = Injection::start(&turn, Side::Target, None);
            act(place.path()).unwrap();
            for fault in plan(&injection.census()) {
                // Nobody else removes anything here.
                if fault.errno == Errno::NOENT {
                    continue;
                }
                let found = try_one(&turn, has_keys, has_ours, act, fault);
                complaints.extend(found.into_iter().map(|what| format!("{fault}: {what}")));
            }
        }
    }
    assert_none(&complaints, "complaints");
}
