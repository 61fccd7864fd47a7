//! Passwords and private keys are nowhere but in the memory of the source: not in what a run shows,
//! writes or leaves on either machine, not in the command line or environment of any process, not in
//! a core. What is written for root alone is for root alone.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXLOWER, HEXUPPER};
use tempfile::TempDir;

use crate::ssh::{Sudoers, TemporaryUser};
use crate::support::binary::{login, over_ssh, program};
use crate::support::can_run;
use crate::support::places::{OVER_SSH, Places, much_to_send, with};
use crate::support::sshd::Sshd;

const PASSWORD: &str = "zwölf Kamele, barfuss";
/// What begins every private key that OpenSSH writes, and how it looks inside of other base64.
const KEY_MARKS: [&[u8]; 3] = [
    b"PRIVATE KEY-----",
    b"openssh-key-v1",
    b"b3BlbnNzaC1rZXktdj",
];
/// Where agents may lie.
const HIDING_PLACES: [&str; 4] = ["/run", "/dev/shm", "/tmp", "/var/tmp"];
/// LIMIT: how long a run may take that sends a few megabytes.
const PATIENCE: Duration = Duration::from_secs(90);

/// What must not be found, and how it is called in a message.
type Secrets = Vec<(String, Vec<u8>)>;

/// Returns a secret in the forms in which it may slip out.
fn forms(name: &str, secret: &[u8]) -> Secrets {
    let mut forms = vec![(format!("{name} as it is"), secret.to_vec())];
    for (form, text) in [
        ("hexadecimal", HEXLOWER.encode(secret)),
        ("capital hexadecimal", HEXUPPER.encode(secret)),
    ] {
        forms.push((format!("{name} in {form}"), text.into_bytes()));
    }
    // What surrounds it decides about the first and last characters.
    for skipped in 0..3 {
        let rest = &secret[skipped..];
        let rest = &rest[..rest.len() - rest.len() % 3];
        forms.push((
            format!("{name} in base64"),
            BASE64.encode(rest).into_bytes(),
        ));
    }
    forms
}

fn key_secrets(file: &Path) -> Secrets {
    let text = fs::read_to_string(file).unwrap();
    let key = russh::keys::PrivateKey::from_openssh(&text).unwrap();
    let pair = key.key_data().ed25519().unwrap();
    let mut secrets = forms("the key", &pair.private.to_bytes());
    let marks = KEY_MARKS.map(|mark| (String::from_utf8_lossy(mark).into_owned(), mark.to_vec()));
    secrets.extend(marks);
    secrets
}

/// Returns the names of the secrets that are in some bytes.
fn found_in(bytes: &[u8], secrets: &Secrets) -> Vec<String> {
    let is_in = |secret: &Vec<u8>| bytes.windows(secret.len()).any(|part| part == secret);
    let found = secrets.iter().filter(|(_, secret)| is_in(secret));
    found.map(|(name, _)| name.clone()).collect()
}

/// Returns what has a secret below a directory.
fn search(root: &Path, except: &[PathBuf], secrets: &Secrets) -> Vec<String> {
    let mut complaints = Vec::new();
    let walk = walkdir::WalkDir::new(root).into_iter().flatten();
    for entry in walk.filter(|entry| !except.contains(&entry.path().to_owned())) {
        let mut bytes = entry.path().as_os_str().as_encoded_bytes().to_vec();
        if entry.file_type().is_file() {
            bytes.extend(fs::read(entry.path()).unwrap_or_default());
        }
        for secret in found_in(&bytes, secrets) {
            complaints.push(format!("{}: {secret}", entry.path().display()));
        }
    }
    complaints
}

/// Arguments, and what is in the environment.
type Way<'a> = (&'a [&'a str], &'a [(&'a str, &'a str)]);

/// A run with a home, a state directory and outputs of its own.
struct Watched {
    home: TempDir,
    child: Child,
}

impl Watched {
    fn start(arguments: &[std::ffi::OsString], environment: &[(&str, &str)]) -> Watched {
        let home = tempfile::tempdir().unwrap();
        let file = |name: &str| fs::File::create(home.path().join(name)).unwrap();
        let mut command = Command::new(program());
        command
            .args(arguments)
            .env_clear()
            .env("HOME", home.path())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("INSTANCESYNC_STATE_DIR", home.path().join("records"))
            .envs(environment.iter().copied())
            .current_dir(home.path())
            .stdin(Stdio::null())
            .stdout(file("stdout"))
            .stderr(file("stderr"));
        let child = command.spawn().unwrap();
        Watched { home, child }
    }

    /// Looks at all processes of the machine until it ends; returns what is amiss, and its code.
    fn watch(&mut self, secrets: &Secrets, has_in_environment: bool) -> (Vec<String>, i32) {
        let (mut complaints, began) = (BTreeSet::new(), Instant::now());
        let own = has_in_environment.then(|| self.child.id());
        let code = loop {
            complaints.extend(look_at_processes(secrets, own));
            complaints.extend(look_at_modes());
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code().unwrap_or(-1);
            }
            assert!(began.elapsed() < PATIENCE, "it hangs");
            thread::sleep(Duration::from_millis(3));
        };
        (complaints.into_iter().collect(), code)
    }

    fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.home.path().join(name)).unwrap();
        format!("{}{}", read("stdout"), read("stderr"))
    }
}

/// Looks at the command lines and environments of all processes but this one. `own` was given a
/// secret in its environment.
fn look_at_processes(secrets: &Secrets, own: Option<u32>) -> Vec<String> {
    let mut complaints = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let Ok(process) = name.parse::<u32>() else {
            continue;
        };
        if process == std::process::id() {
            continue;
        }
        for file in ["cmdline", "environ"] {
            let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
            let is_given = own == Some(process) && file == "environ";
            for secret in found_in(&bytes, secrets).into_iter().filter(|_| !is_given) {
                let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
                let line = String::from_utf8_lossy(&line).replace('\0', " ");
                complaints.push(format!("{file} of {line}: {secret}"));
            }
        }
    }
    complaints
}

/// Looks at the directories in which agents lie at this moment, of whichever run.
fn look_at_modes() -> Vec<String> {
    let mut complaints = Vec::new();
    let entries = HIDING_PLACES
        .iter()
        .filter_map(|place| fs::read_dir(place).ok());
    for entry in entries.flatten().flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(".instancesync-agent-") {
            continue;
        }
        if let Ok(found) = entry.metadata()
            && found.mode() & 0o077 != 0
        {
            complaints.push(format!("{name:?} has mode {:o}", found.mode()));
        }
    }
    complaints
}

/// Returns what is not private of what is to be.
fn not_private(root: &Path) -> Vec<String> {
    let walk = walkdir::WalkDir::new(root).into_iter().flatten();
    let open = walk.filter(|entry| {
        entry
            .metadata()
            .is_ok_and(|found| found.mode() & 0o077 != 0)
    });
    open.map(|entry| format!("{} is not private", entry.path().display()))
        .collect()
}

fn some_files() -> Places {
    much_to_send(3, 40, |index| 30_000 + 1000 * index)
}

#[test]
fn a_key_is_nowhere_but_in_memory() {
    let test = "a_key_is_nowhere_but_in_memory";
    if !can_run(test, OVER_SSH) {
        return;
    }
    let (sshd, places) = (Sshd::start_with(&["LogLevel DEBUG3"]), some_files());
    let secrets = key_secrets(&sshd.identity_file());
    let more = ["-vv", "--bwlimit", "1M"];
    for format in [&more[..], &["--json", "--bwlimit", "1M"]] {
        let arguments = with(over_ssh(&sshd, &places.source, &places.ours), format);
        let arguments = with(arguments, &["--log-file", "log"]);
        let mut run = Watched::start(&arguments, &[]);
        let (mut complaints, code) = run.watch(&secrets, false);
        assert_eq!(code, 0, "{}", run.said());
        assert!(run.home.path().join("log").exists(), "there is no log");
        complaints.extend(not_private(&run.home.path().join("log")));
        complaints.extend(search(run.home.path(), &[], &secrets));
        let keys = ["identity", "host_key"].map(|name| sshd.dir().join(name));
        complaints.extend(search(sshd.dir(), &keys, &secrets));
        complaints.extend(search(&places.ours, &[], &secrets));
        assert_eq!(complaints, Vec::<String>::new());
        fs::remove_dir_all(&places.ours).unwrap();
    }
}

#[test]
fn a_password_is_nowhere_but_in_memory() {
    let test = "a_password_is_nowhere_but_in_memory";
    if !can_run(test, OVER_SSH) {
        return;
    }
    let Some(user) = TemporaryUser::create(PASSWORD) else {
        return println!("skipped {test}: no user can be made here");
    };
    // Without it the login succeeds, and the run is refused then.
    let sudo = Sudoers::allow(&user);
    let has_sudo = sudo.is_some() && Command::new("sudo").arg("-V").output().is_ok();
    let sshd = Sshd::start_with(&["PasswordAuthentication yes", "LogLevel DEBUG3"]);
    let places = some_files();
    let address = format!("{}@127.0.0.1:{}", user.name, sshd.port());
    let secrets = forms("the password", PASSWORD.as_bytes());
    let missing = sshd.dir().join("missing");
    fs::write(&missing, "no key").unwrap();
    let mut arguments = login(&address, &sshd);
    let identity = arguments.iter().position(|word| word == "--identity");
    arguments[identity.unwrap() + 1] = missing.into_os_string();
    let target = ["--target-dir", places.ours.to_str().unwrap()];
    let source = ["--source", places.source.to_str().unwrap(), "--yes"];
    let arguments = with(with(arguments, &target), &source);
    let file = sshd.dir().join("password");
    fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    let chmod = Command::new("chmod").arg("600").arg(&file).status();
    assert!(chmod.unwrap().success());
    let by_file = ["-vv", "--password-file", file.to_str().unwrap()];
    let given = [("INSTANCESYNC_PASSWORD", PASSWORD)];
    let ways: [Way<'_>; 3] = [(&by_file, &[]), (&["-vv"], &given), (&["--json"], &given)];
    for (more, environment) in ways {
        let mut run = Watched::start(&with(arguments.clone(), more), environment);
        let (mut complaints, code) = run.watch(&secrets, !environment.is_empty());
        assert!(code == 0 || !has_sudo, "{code}: {}", run.said());
        assert!(sshd.log().contains("Accepted password"), "{}", run.said());
        complaints.extend(search(run.home.path(), &[], &secrets));
        complaints.extend(search(sshd.dir(), std::slice::from_ref(&file), &secrets));
        complaints.extend(search(&places.ours, &[], &secrets));
        assert_eq!(complaints, Vec::<String>::new());
    }
}

/// Whatever makes it die: nothing of its memory goes to a disk.
#[test]
fn no_core_is_written() {
    let home = tempfile::tempdir().unwrap();
    // It has a session to wait for, and a password in its memory.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let line = format!(
        "ulimit -c unlimited; exec {} --target root@127.0.0.1:{port} --source /etc --target-dir /x --yes",
        program().display()
    );
    let mut command = Command::new("/bin/sh");
    command
        .args(["-c", &line])
        .env("HOME", home.path())
        .env("INSTANCESYNC_STATE_DIR", home.path().join("records"))
        .env("INSTANCESYNC_PASSWORD", PASSWORD)
        .current_dir(home.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = command.spawn().unwrap();
    let is_connected = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // Held open, so that it waits for what never comes.
            let _held = silent.accept().unwrap();
            is_connected.store(true, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(500));
        });
        let began = Instant::now();
        while !is_connected.load(Ordering::SeqCst) {
            assert!(began.elapsed() < PATIENCE, "it does not connect");
            thread::sleep(Duration::from_millis(5));
        }
        let process = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(process, rustix::process::Signal::ABORT).unwrap();
    });
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6), "{status:?}");
    assert!(!status.core_dumped(), "a core was written");
}
