//! The `ssh` chapter against a real OpenSSH server on loopback.
#![allow(
    clippy::unwrap_used,
    clippy::let_underscore_must_use,
    reason = "a test may panic, and cleans up as far as it can"
)]

use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use instancesync::prompter::{NobodyThere, Prompter};
use instancesync::ssh::deploy::{AgentImage, AgentProcess, DeployError, start_agent};
use instancesync::ssh::{
    Address, Connection, HostKeyError, LinkLost, LoginSettings, Process, ProcessOutput, RunKey,
    SshError,
};
use zeroize::Zeroizing;

use crate::support::key_agent::KeyAgent;
use crate::support::sshd::{Sshd, make_key, make_key_with};

/// Longer than any wait of a test that works; keeps one that does not from hanging for ever.
const LONG: Duration = Duration::from_secs(60);

fn settings(sshd: &Sshd) -> LoginSettings {
    LoginSettings {
        identity_files: vec![sshd.identity_file()],
        known_hosts: Some(sshd.known_hosts_file()),
        ..LoginSettings::default()
    }
}

fn open(sshd: &Sshd) -> Connection {
    open_with(sshd, &settings(sshd), &NobodyThere)
        .unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()))
}

fn open_with(
    sshd: &Sshd,
    settings: &LoginSettings,
    prompter: &dyn Prompter,
) -> Result<Connection, SshError> {
    Connection::open(&sshd.address().parse().unwrap(), settings, prompter)
}

/// Gives prepared answers and keeps what it was asked.
#[derive(Default)]
struct Person {
    says_yes: bool,
    secret: Option<&'static str>,
    asked: Mutex<Vec<String>>,
}

impl Person {
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn note(&self, text: &str) {
        self.asked.lock().unwrap().push(text.to_owned());
    }
}

impl Prompter for Person {
    fn confirm(&self, text: &str) -> Option<bool> {
        self.note(text);
        Some(self.says_yes)
    }

    fn secret(&self, prompt: &str) -> Option<Zeroizing<String>> {
        self.note(prompt);
        self.secret.map(|secret| Zeroizing::new(secret.to_owned()))
    }

    fn line(&self, prompt: &str) -> Option<String> {
        self.note(prompt);
        None
    }
}

/// A process that neither reads, writes nor ends; sshd leaves it behind when the session dies.
const SLEEPER: &str = "echo $$; exec sleep 600";

/// Ends the process of [`SLEEPER`].
struct Sleeper(rustix::process::Pid);

impl Sleeper {
    fn read(output: &mut ProcessOutput) -> Sleeper {
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        Sleeper(rustix::process::Pid::from_raw(line.trim().parse().unwrap()).unwrap())
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = rustix::process::kill_process(self.0, rustix::process::Signal::KILL);
    }
}

fn append(path: &Path, line: &str) {
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    writeln!(file, "{line}").unwrap();
}

#[test]
fn logs_in_with_a_key_file_and_runs_a_command() {
    let sshd = Sshd::start();
    let connection = open(&sshd);
    let output = connection
        .run("cat; echo $HOME; echo oops >&2; exit 7", &b"hello\n"[..])
        .unwrap();
    assert_eq!(output.exit.status, Some(7));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("hello\n{}\n", sshd.home().display())
    );
    assert_eq!(output.stderr, "oops");
    assert_eq!(
        connection.host_key_fingerprint(),
        sshd.host_key_fingerprint()
    );
    assert!(connection.is_repeatable(), "nobody was asked");
    connection.close();
}

#[test]
fn logs_in_over_ipv6_and_by_name() {
    let sshd = Sshd::start();
    for host in ["[::1]", "localhost"] {
        let address: Address = format!("{host}:{}", sshd.port()).parse().unwrap();
        let connection = Connection::open(&address, &settings(&sshd), &NobodyThere).unwrap();
        let output = connection.run("echo $SSH_CONNECTION", io::empty()).unwrap();
        assert!(output.exit.is_success(), "{output:?}");
    }
}

#[test]
fn logs_in_with_every_type_of_key() {
    let sshd = Sshd::start();
    for key_type in ["rsa", "ecdsa"] {
        let path = sshd.dir().join(key_type);
        make_key_with(&path, key_type, "");
        let public = fs::read_to_string(path.with_extension("pub")).unwrap();
        append(&sshd.authorized_keys(), public.trim());
        let settings = LoginSettings {
            identity_files: vec![path],
            ..settings(&sshd)
        };
        open_with(&sshd, &settings, &NobodyThere).unwrap();
    }
}

#[test]
fn asks_for_the_passphrase_of_an_encrypted_key() {
    let sshd = Sshd::start();
    let path = sshd.dir().join("locked");
    make_key_with(&path, "ed25519", "open sesame");
    let settings = LoginSettings {
        identity_files: vec![path.clone()],
        ..settings(&sshd)
    };
    let person = Person {
        secret: Some("open sesame"),
        ..Person::default()
    };
    // Not authorised: nobody types a passphrase for nothing.
    open_with(&sshd, &settings, &person).unwrap_err();
    assert_eq!(person.asked(), Vec::<String>::new());

    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    append(&sshd.authorized_keys(), public.trim());
    let connection = open_with(&sshd, &settings, &person).unwrap();
    assert!(!connection.is_repeatable(), "somebody was asked");
    assert_eq!(person.asked().len(), 1);
    assert!(person.asked()[0].contains("locked"), "{:?}", person.asked());

    let error = open_with(&sshd, &settings, &NobodyThere).unwrap_err();
    assert!(error.to_string().contains("nobody to ask"), "{error}");
    let wrong = Person {
        secret: Some("wrong"),
        ..Person::default()
    };
    let error = open_with(&sshd, &settings, &wrong).unwrap_err();
    assert!(error.to_string().contains("wrong passphrase"), "{error}");
    assert!(!error.to_string().contains("sesame"));
}

#[test]
fn too_many_keys_are_told_apart_from_wrong_ones() {
    let sshd = Sshd::start_with(&["MaxAuthTries 2"]);
    let mut settings = settings(&sshd);
    let wrong = ["one", "two", "three"].map(|name| sshd.dir().join(name));
    for path in &wrong {
        make_key(path);
    }
    settings.identity_files = wrong.to_vec();
    let error = open_with(&sshd, &settings, &NobodyThere).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("Too many authentication failures"), "{text}");
    assert!(text.contains("one: refused"), "{text}");
    settings.identity_files.truncate(1);
    let error = open_with(&sshd, &settings, &NobodyThere).unwrap_err();
    assert!(matches!(error, SshError::Login { .. }), "{error}");
}

#[test]
fn a_run_key_logs_in_first_once_installed() {
    let sshd = Sshd::start();
    let key = RunKey::generate();
    let settings = LoginSettings {
        run_key: Some(key.clone()),
        identity_files: vec![],
        ..settings(&sshd)
    };
    append(&sshd.authorized_keys(), &key.public_line("instancesync"));
    open_with(&sshd, &settings, &NobodyThere).unwrap();
    assert!(!sshd.log().contains("Failed publickey"), "{}", sshd.log());
}

#[test]
fn a_key_that_is_taken_is_offered_without_a_question_before() {
    let sshd = Sshd::start_with(&["LogLevel DEBUG1"]);
    open(&sshd);
    let log = sshd.log();
    assert!(log.contains("method publickey"), "{log}");
    assert!(!log.contains("method none"), "{log}");
}

#[test]
fn an_account_without_a_password_is_let_in_once_its_keys_are_refused() {
    let Some(user) = TemporaryUser::create("correct horse") else {
        eprintln!("skipped: no user can be made here");
        return;
    };
    let emptied = Command::new("passwd").args(["-d", &user.name]).output();
    assert!(emptied.unwrap().status.success());
    let open_to_all = ["PasswordAuthentication yes", "PermitEmptyPasswords yes"];
    let sshd = Sshd::start_with(&open_to_all);
    let wrong = sshd.dir().join("wrong");
    make_key(&wrong);
    let settings = LoginSettings {
        identity_files: vec![wrong],
        ..settings(&sshd)
    };
    let address = format!("{}@127.0.0.1:{}", user.name, sshd.port());
    Connection::open(&address.parse().unwrap(), &settings, &NobodyThere).unwrap();
}

#[test]
fn logs_in_with_a_password_given_or_asked() {
    let Some(user) = TemporaryUser::create("correct horse") else {
        eprintln!("skipped: no user can be made here");
        return;
    };
    let sshd = Sshd::start_with(&["PasswordAuthentication yes"]);
    let address: Address = format!("{}@127.0.0.1:{}", user.name, sshd.port())
        .parse()
        .unwrap();
    let given = |password: &str| LoginSettings {
        password: Some(Zeroizing::new(password.to_owned())),
        identity_files: vec![sshd.dir().join("missing")],
        ..settings(&sshd)
    };
    let connection = Connection::open(&address, &given("correct horse"), &NobodyThere).unwrap();
    let output = connection.run("id -un", io::empty()).unwrap();
    assert_eq!(output.stdout, format!("{}\n", user.name).into_bytes());

    let error = Connection::open(&address, &given("wrong"), &NobodyThere).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("password: refused"), "{text}");
    assert!(text.contains("it accepts: publickey, password"), "{text}");
    assert!(!text.contains("wrong"), "{text}");
    assert!(error.hint().unwrap().contains("--password-file"));

    let person = Person {
        secret: Some("correct horse"),
        ..Person::default()
    };
    let asked = LoginSettings {
        password: None,
        ..given("")
    };
    Connection::open(&address, &asked, &person).unwrap();
    assert_eq!(person.asked().len(), 1, "{:?}", person.asked());
}

#[test]
fn answers_keyboard_interactive_with_the_password() {
    let Some(user) = TemporaryUser::create("correct horse") else {
        eprintln!("skipped: no user can be made here");
        return;
    };
    let sshd = Sshd::start_with(&["UsePAM yes", "KbdInteractiveAuthentication yes"]);
    let address: Address = format!("{}@127.0.0.1:{}", user.name, sshd.port())
        .parse()
        .unwrap();
    let given = |password: &str| LoginSettings {
        password: Some(Zeroizing::new(password.to_owned())),
        identity_files: vec![sshd.dir().join("missing")],
        ..settings(&sshd)
    };
    Connection::open(&address, &given("correct horse"), &NobodyThere)
        .unwrap_or_else(|error| panic!("{error}\n{}", sshd.log()));
    let error = Connection::open(&address, &given("wrong"), &NobodyThere).unwrap_err();
    assert!(
        error.to_string().contains("keyboard-interactive"),
        "{error}"
    );
}

/// The library hears of nothing but the answer while a question is open.
#[test]
fn a_question_that_nobody_answers_ends_the_login() {
    let sshd = Sshd::start_with(&["UsePAM yes", "KbdInteractiveAuthentication yes"]);
    let wrong = sshd.dir().join("wrong");
    make_key(&wrong);
    let settings = LoginSettings {
        identity_files: vec![wrong],
        ..settings(&sshd)
    };
    let error = open_with(&sshd, &settings, &NobodyThere).unwrap_err();
    assert!(matches!(error, SshError::Login { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("nobody to answer"), "{text}");
}

#[test]
fn a_target_that_refuses_without_a_question_is_asked_once() {
    let sshd = Sshd::start_with(&["UsePAM no", "KbdInteractiveAuthentication yes"]);
    let settings = LoginSettings {
        password: Some(Zeroizing::new("correct horse".to_owned())),
        identity_files: vec![sshd.dir().join("missing")],
        ..settings(&sshd)
    };
    let error = open_with(&sshd, &settings, &NobodyThere).unwrap_err();
    assert!(matches!(error, SshError::Login { .. }), "{error}");
    let text = error.to_string();
    assert_eq!(
        text.matches("keyboard-interactive: refused").count(),
        1,
        "{text}"
    );
}

#[test]
fn an_agent_supplies_the_key() {
    let sshd = Sshd::start();
    let held = sshd.dir().join("in_agent");
    make_key(&held);
    let public = fs::read_to_string(held.with_extension("pub")).unwrap();
    append(&sshd.authorized_keys(), public.trim());
    let agent = KeyAgent::start(sshd.dir(), &held);
    // The environment belongs to the whole test process, so the login runs in a child of it.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "ssh::agent_login_in_a_child", "--nocapture"])
        .env("SSH_AUTH_SOCK", agent.socket())
        .env("HOME", sshd.home())
        .env("TEST_SSH_ADDRESS", sshd.address())
        .env("TEST_SSH_KNOWN_HOSTS", sshd.known_hosts_file())
        .output()
        .unwrap();
    assert!(child.status.success(), "{child:?}\n{}", sshd.log());
}

/// Only does something as the child of `an_agent_supplies_the_key`.
#[test]
fn agent_login_in_a_child() {
    let Ok(address) = std::env::var("TEST_SSH_ADDRESS") else {
        return;
    };
    let settings = LoginSettings {
        known_hosts: std::env::var_os("TEST_SSH_KNOWN_HOSTS").map(PathBuf::from),
        ..LoginSettings::default()
    };
    let connection = Connection::open(&address.parse().unwrap(), &settings, &NobodyThere).unwrap();
    assert!(!connection.is_repeatable(), "an ssh-agent can go away");
}

#[test]
fn an_unknown_host_key_is_asked_about_and_remembered() {
    let sshd = Sshd::start();
    let known_hosts = sshd.dir().join("new/known_hosts");
    let settings = LoginSettings {
        known_hosts: Some(known_hosts.clone()),
        ..settings(&sshd)
    };
    let error = open_with(&sshd, &settings, &NobodyThere).unwrap_err();
    assert!(error.to_string().contains("is not known"), "{error}");
    let hint = error.hint().unwrap();
    assert!(hint.contains(&sshd.host_key_fingerprint()), "{hint}");

    let no = Person::default();
    let error = open_with(&sshd, &settings, &no).unwrap_err();
    assert!(error.to_string().contains("not accepted"), "{error}");
    assert!(!known_hosts.exists());

    let yes = Person {
        says_yes: true,
        ..Person::default()
    };
    let connection = open_with(&sshd, &settings, &yes).unwrap();
    assert!(yes.asked()[0].contains(&sshd.host_key_fingerprint()));
    assert!(yes.asked()[0].contains("ssh-ed25519"));
    assert_eq!(connection.notices().len(), 1);
    open_with(&sshd, &settings, &NobodyThere).unwrap();
}

#[test]
fn a_new_host_key_is_accepted_by_flag_or_fingerprint() {
    let sshd = Sshd::start();
    let known_hosts = sshd.dir().join("other_known_hosts");
    let mut settings = LoginSettings {
        known_hosts: Some(known_hosts.clone()),
        host_key_fingerprint: Some(sshd.host_key_fingerprint()),
        ..settings(&sshd)
    };
    open_with(&sshd, &settings, &NobodyThere).unwrap();
    assert!(!known_hosts.exists(), "a demanded key is not recorded");
    settings.host_key_fingerprint = Some("SHA256:nothing".into());
    assert!(matches!(
        open_with(&sshd, &settings, &NobodyThere),
        Err(SshError::HostKey(HostKeyError::NotTheDemanded { .. }))
    ));
    settings.host_key_fingerprint = None;
    settings.accept_new_host_key = true;
    open_with(&sshd, &settings, &NobodyThere).unwrap();
    assert!(known_hosts.exists());
}

#[test]
fn a_changed_host_key_is_refused_whatever_the_flags() {
    let sshd = Sshd::start();
    let other = sshd.dir().join("other");
    make_key(&other);
    let public = fs::read_to_string(other.with_extension("pub")).unwrap();
    let line = format!("[127.0.0.1]:{} {public}", sshd.port());
    fs::write(sshd.known_hosts_file(), &line).unwrap();
    let settings = LoginSettings {
        accept_new_host_key: true,
        host_key_fingerprint: Some(sshd.host_key_fingerprint()),
        ..settings(&sshd)
    };
    let yes = Person {
        says_yes: true,
        ..Person::default()
    };
    let error = open_with(&sshd, &settings, &yes).unwrap_err();
    assert!(error.to_string().contains("CHANGED"), "{error}");
    assert!(error.hint().unwrap().contains("ssh-keygen"));
    assert!(yes.asked().is_empty());
    assert_eq!(fs::read_to_string(sshd.known_hosts_file()).unwrap(), line);
}

#[test]
fn a_hashed_file_decides_which_type_of_key_is_presented() {
    let dir = tempfile::tempdir().unwrap();
    let rsa = dir.path().join("rsa_host_key");
    make_key_with(&rsa, "rsa", "");
    let host_key = format!("HostKey {}", rsa.display());
    let sshd = Sshd::start_with(&[&host_key]);
    let public = fs::read_to_string(rsa.with_extension("pub")).unwrap();
    let known_hosts = dir.path().join("known_hosts");
    fs::write(
        &known_hosts,
        format!("[127.0.0.1]:{} {public}", sshd.port()),
    )
    .unwrap();
    let hashed = Command::new("ssh-keygen")
        .args(["-H", "-f"])
        .arg(&known_hosts)
        .output()
        .unwrap();
    assert!(hashed.status.success(), "{hashed:?}");
    let settings = LoginSettings {
        known_hosts: Some(known_hosts),
        ..settings(&sshd)
    };
    open_with(&sshd, &settings, &NobodyThere).unwrap();
}

#[test]
fn says_what_keeps_it_from_connecting() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = closed.local_addr().unwrap().port();
    drop(closed);
    let settings = LoginSettings {
        known_hosts: Some(PathBuf::from("/nonexistent/known_hosts")),
        ..LoginSettings::default()
    };
    let open = |address: String| {
        Connection::open(&address.parse().unwrap(), &settings, &NobodyThere).unwrap_err()
    };
    let error = open(format!("127.0.0.1:{port}"));
    assert!(error.to_string().contains("Connection refused"), "{error}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let talker = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .unwrap();
    });
    let error = open(format!("127.0.0.1:{port}"));
    assert!(matches!(error, SshError::Handshake { .. }), "{error}");
    talker.join().unwrap();
}

#[test]
fn carries_300_mb_both_ways_at_once() {
    let sshd = Sshd::start();
    let connection = open(&sshd);
    let Process {
        mut input,
        mut output,
        end,
    } = connection.spawn("cat").unwrap();
    const TOTAL: usize = 300 << 20;
    let pattern: Vec<u8> = (0..1_000_003u32).map(|n| (n % 251) as u8).collect();
    let sent = pattern.clone();
    let writer = thread::spawn(move || {
        let mut left = TOTAL;
        while left > 0 {
            let count = left.min(sent.len());
            input.write_all(&sent[..count]).unwrap();
            left -= count;
        }
        input.finish().unwrap();
    });
    let mut received = 0;
    loop {
        let data = output.fill_buf().unwrap();
        if data.is_empty() {
            break;
        }
        let at = received % pattern.len();
        let count = data.len().min(pattern.len() - at);
        assert!(data[..count] == pattern[at..at + count], "at {received}");
        received += count;
        output.consume(count);
    }
    assert_eq!(received, TOTAL);
    writer.join().unwrap();
    assert!(end.wait(LONG).unwrap().is_success());
}

#[test]
fn a_process_that_ends_early_wakes_the_blocked_writer() {
    let sshd = Sshd::start();
    let connection = open(&sshd);
    for command in ["head -c 1000 >/dev/null", "no-such-command", "kill -9 $$"] {
        let Process { mut input, end, .. } = connection.spawn(command).unwrap();
        let chunk = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = input.write_all(&chunk) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe, "{command}");
        assert!(LinkLost::find(&error).is_none(), "{command}: {error}");
        let exit = end.wait(LONG).unwrap();
        match command {
            "no-such-command" => {
                assert_eq!(exit.status, Some(127));
                assert!(end.stderr_tail().contains("not found"));
            }
            "kill -9 $$" => assert_eq!(exit.signal.as_deref(), Some("KILL")),
            _ => assert!(exit.is_success()),
        }
    }
    // The connection is as good as before.
    assert!(
        connection
            .run("true", io::empty())
            .unwrap()
            .exit
            .is_success()
    );
}

#[test]
fn a_killed_session_wakes_writers_and_readers_with_one_error() {
    let sshd = Sshd::start();
    let connection = open(&sshd);
    // Reads nothing: the writer blocks on the window, the reader on silence.
    let Process {
        mut input,
        mut output,
        end,
    } = connection.spawn(SLEEPER).unwrap();
    let _sleeper = Sleeper::read(&mut output);
    let writer = thread::spawn(move || {
        let chunk = vec![0; 1 << 20];
        loop {
            if let Err(error) = input.write_all(&chunk) {
                return error;
            }
        }
    });
    let reader = thread::spawn(move || output.read(&mut [0; 10]).unwrap_err());
    thread::sleep(Duration::from_millis(300));
    assert!(sshd.drop_connections() > 0);
    for error in [
        writer.join().unwrap(),
        reader.join().unwrap(),
        end.wait(LONG).unwrap_err(),
    ] {
        assert!(LinkLost::find(&error).is_some(), "{error:?}");
        assert!(error.to_string().contains("link to the target"), "{error}");
    }
    assert!(matches!(
        connection.run("true", io::empty()),
        Err(SshError::Lost(_))
    ));
    connection.close();
}

#[test]
fn closing_ends_what_still_runs() {
    let sshd = Sshd::start();
    let connection = open(&sshd);
    let Process { mut output, .. } = connection.spawn(SLEEPER).unwrap();
    let _sleeper = Sleeper::read(&mut output);
    let reader = thread::spawn(move || output.read(&mut [0; 10]).unwrap_err());
    connection.close();
    let error = reader.join().unwrap();
    assert!(LinkLost::find(&error).is_some(), "{error:?}");
}

#[test]
fn unread_and_aborted_processes_do_not_hold_up_the_connection() {
    let sshd = Sshd::start();
    let connection = open(&sshd);
    let unread = connection.spawn("yes").unwrap();
    unread.end.abort();
    let dropped = connection.spawn("yes | head -c 100000000").unwrap();
    drop(dropped.output);
    assert!(dropped.end.wait(LONG).unwrap().is_success());
    let output = connection
        .run("yes | head -c 3000000", io::empty())
        .unwrap();
    assert_eq!((output.stdout.len(), output.is_cut), (1 << 20, true));
    drop(unread);
}

#[test]
fn silence_can_be_limited() {
    let sshd = Sshd::start();
    let connection = open(&sshd);
    let Process {
        input,
        mut output,
        end,
    } = connection.spawn("cat").unwrap();
    output.set_silence_limit(Some(Duration::from_millis(50)));
    let error = output.read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    input.finish().unwrap();
    output.set_silence_limit(Some(LONG));
    assert_eq!(output.read(&mut [0; 1]).unwrap(), 0);
    assert!(end.wait(LONG).unwrap().is_success());
}

#[test]
fn forty_processes_share_a_connection() {
    let sshd = Sshd::start();
    let connection = open(&sshd);
    thread::scope(|scope| {
        for number in 0..40 {
            let connection = &connection;
            scope.spawn(move || {
                let output = connection
                    .run("cat", format!("number {number}").as_bytes())
                    .unwrap();
                assert_eq!(output.stdout, format!("number {number}").into_bytes());
            });
        }
    });
}

/// Says its magic word, echoes, and leaves nothing behind.
const AGENT: &str = "#!/bin/sh\nrm -r \"${0%/*}\"\nid -u >&2\necho MAGIC \"$@\"\nexec cat\n";

fn image<'a>(binary: &'a str, parents: &'a [&'a str]) -> AgentImage<'a> {
    AgentImage {
        binary: binary.as_bytes(),
        id: "test-1",
        key_mark: "test:",
        arguments: &["--two words", "$HOME"],
        far_arguments: &["--far"],
        magic: b"MAGIC",
        parents,
    }
}

/// A directory of the fixture that can be a parent for the agent.
fn parent(sshd: &Sshd, name: &str) -> String {
    let path = sshd.dir().join(name);
    fs::create_dir(&path).unwrap();
    path.to_str().unwrap().to_owned()
}

fn is_empty(path: &str) -> bool {
    fs::read_dir(path).unwrap().next().is_none()
}

/// Says something to an agent, and returns all that it says to its end, which has to be a good one.
#[track_caller]
fn talk_to(process: Process) -> String {
    let Process {
        mut input,
        mut output,
        end,
    } = process;
    input.write_all(b"frames").unwrap();
    input.finish().unwrap();
    let mut said = String::new();
    output.read_to_string(&mut said).unwrap();
    assert!(end.wait(LONG).unwrap().is_success());
    said
}

#[test]
fn a_program_that_is_installed_on_the_target_is_not_sent() {
    let sshd = Sshd::start();
    let (place, programs) = (parent(&sshd, "place"), parent(&sshd, "programs"));
    fs::write(
        sshd.home().join(".bashrc"),
        format!("PATH={programs}:$PATH\n"),
    )
    .unwrap();
    let installed = Path::new(&programs).join("instancesync");
    let other_bytes = AGENT.replace("MAGIC", "OTHER");
    let older = "#!/bin/sh\necho I am older\n";
    for (text, is_sent) in [(AGENT, false), (&other_bytes, true), (older, true)] {
        fs::write(&installed, text).unwrap();
        fs::set_permissions(&installed, fs::Permissions::from_mode(0o755)).unwrap();
        let connection = open(&sshd);
        let agent = start_agent(&connection, &image(AGENT, &[&place])).unwrap();
        assert_eq!(agent.upload_bytes_per_second.is_some(), is_sent, "{text}");
        // A loaded machine answers as if it were far.
        let far = if agent.is_far { " --far" } else { "" };
        let said = talk_to(agent.process);
        assert_eq!(said, format!(" agent --two words $HOME{far}\nframes"));
        assert!(is_empty(&place), "{text}");
        assert_eq!(fs::read_to_string(&installed).unwrap(), text);
    }
}

#[test]
fn an_agent_is_brought_started_and_talked_to() {
    let sshd = Sshd::start();
    let place = parent(&sshd, "place");
    // What a login shell prints, with and without newline, must not matter.
    let noisy = "echo Welcome to the target; echo more >&2; printf 'no newline'\n";
    fs::write(sshd.home().join(".bashrc"), noisy).unwrap();
    let connection = open(&sshd);
    // What a cut run left is replaced.
    let left = Path::new(&place).join(".instancesync-agent-test-1");
    fs::create_dir(&left).unwrap();
    fs::write(left.join("instancesync"), "half a progr").unwrap();

    let agent = start_agent(&connection, &image(AGENT, &["/nonexistent", &place])).unwrap();
    let AgentProcess {
        process,
        target,
        upload_bytes_per_second,
        ..
    } = agent;
    assert_eq!((target.uid, target.uses_sudo), (0, false));
    assert_eq!(target.place, left.to_str().unwrap());
    assert_eq!(target.home, sshd.home().to_str().unwrap());
    assert!(upload_bytes_per_second.unwrap() > 0);
    assert_eq!(talk_to(process), " agent --two words $HOME\nframes");
    assert!(is_empty(&place));
}

#[test]
fn an_agent_that_does_not_start_is_explained_and_removed() {
    let sshd = Sshd::start();
    let place = parent(&sshd, "place");
    let connection = open(&sshd);
    let dying = "#!/bin/sh\necho \"cannot \\033[1mlive\" >&2\nexit 9\n";
    let error = start_agent(&connection, &image(dying, &[&place])).unwrap_err();
    let text = error.to_string();
    assert!(text.ends_with("(exit status 9): cannot live"), "{text}");
    assert!(error.hint().is_some());
    assert!(is_empty(&place));

    let chatty = "#!/bin/sh\nyes hello\n";
    let error = start_agent(&connection, &image(chatty, &[&place])).unwrap_err();
    assert!(error.to_string().contains("did not start"), "{error}");
    assert!(is_empty(&place));
}

#[test]
fn a_place_that_cannot_hold_or_run_the_agent_is_passed_over() {
    let sshd = Sshd::start();
    let noexec = Mount::tmpfs(&parent(&sshd, "noexec"), "noexec,size=16m");
    let small = Mount::tmpfs(&parent(&sshd, "small"), "size=64k");
    let taken = parent(&sshd, "taken");
    std::os::unix::fs::symlink("/", Path::new(&taken).join(".instancesync-agent-test-1")).unwrap();
    let foreign = parent(&sshd, "foreign");
    let other = Path::new(&foreign).join(".instancesync-agent-test-1");
    fs::create_dir(&other).unwrap();
    std::os::unix::fs::chown(&other, Some(12345), Some(12345)).unwrap();
    let good = parent(&sshd, "good");
    let connection = open(&sshd);
    let parents = [&noexec.path, &small.path, &taken, &foreign, &good].map(String::as_str);
    let agent = start_agent(&connection, &image(AGENT, &parents)).unwrap();
    assert!(agent.target.place.starts_with(&good));
    drop(agent);

    // With the home directory unusable as well, each one is named with its reason.
    fs::remove_dir_all(sshd.home()).unwrap();
    let error = start_agent(&connection, &image(AGENT, &parents[..4])).unwrap_err();
    assert!(matches!(error, DeployError::NoRoom { .. }), "{error}");
    let text = error.to_string();
    for reason in [
        "programs cannot be run",
        "KiB are needed",
        "is a symbolic link",
        "belongs to somebody else",
        "no such directory",
    ] {
        assert!(text.contains(reason), "{reason}: {text}");
    }
    let error = start_agent(&connection, &image(AGENT, &parents[..1])).unwrap_err();
    assert!(matches!(error, DeployError::NoPlace { .. }), "{error}");
    assert!(is_empty(&noexec.path) && is_empty(&small.path));
    assert!(other.exists());
}

#[test]
fn an_account_without_root_or_shell_is_refused() {
    let Some(user) = TemporaryUser::create("correct horse") else {
        eprintln!("skipped: no user can be made here");
        return;
    };
    let sshd = Sshd::start();
    let connect = || {
        let address = format!("{}@127.0.0.1:{}", user.name, sshd.port());
        Connection::open(&address.parse().unwrap(), &settings(&sshd), &NobodyThere).unwrap()
    };
    fs::set_permissions(
        sshd.identity_file().parent().unwrap(),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    for path in [
        sshd.home(),
        sshd.home().join(".ssh"),
        sshd.authorized_keys(),
    ] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let error = start_agent(&connect(), &image(AGENT, &["/tmp"])).unwrap_err();
    assert!(
        matches!(&error, DeployError::NotRoot { user: name } if *name == user.name),
        "{error}"
    );
    let changed = Command::new("usermod")
        .args(["--shell", "/usr/sbin/nologin", &user.name])
        .output()
        .unwrap();
    assert!(changed.status.success(), "{changed:?}");
    let error = start_agent(&connect(), &image(AGENT, &["/tmp"])).unwrap_err();
    assert!(matches!(error, DeployError::NoShell { .. }), "{error}");
    assert!(error.to_string().contains("not available"), "{error}");
}

#[test]
fn an_account_with_passwordless_sudo_starts_the_agent_as_root() {
    let Some(user) = TemporaryUser::create("correct horse") else {
        eprintln!("skipped: no user can be made here");
        return;
    };
    let Some(_sudoers) = Sudoers::allow(&user) else {
        eprintln!("skipped: no sudo here");
        return;
    };
    let sshd = Sshd::start_with(&["PasswordAuthentication yes"]);
    let place = parent(&sshd, "place");
    std::os::unix::fs::chown(&place, Some(user.number()), None).unwrap();
    let settings = LoginSettings {
        password: Some(Zeroizing::new("correct horse".to_owned())),
        identity_files: vec![sshd.dir().join("missing")],
        ..settings(&sshd)
    };
    let address = format!("{}@127.0.0.1:{}", user.name, sshd.port());
    let connection = Connection::open(&address.parse().unwrap(), &settings, &NobodyThere).unwrap();
    let agent = start_agent(&connection, &image(AGENT, &[&place])).unwrap();
    assert_eq!(
        (agent.target.uid, agent.target.uses_sudo),
        (user.number(), true)
    );
    agent.process.input.finish().unwrap();
    drop(agent.process.output);
    assert!(agent.process.end.wait(LONG).unwrap().is_success());
    assert_eq!(agent.process.end.stderr_tail(), "0");
    assert!(is_empty(&place));
}

#[test]
fn a_link_that_dies_during_the_upload_is_a_lost_link() {
    let sshd = Sshd::start();
    let place = parent(&sshd, "place");
    let connection = open(&sshd);
    let large = "x".repeat(512 << 20);
    thread::scope(|scope| {
        let upload = scope.spawn(|| start_agent(&connection, &image(&large, &[&place])));
        let file = Path::new(&place).join(".instancesync-agent-test-1/instancesync");
        while fs::metadata(&file).map_or(0, |file| file.len()) == 0 {
            assert!(!upload.is_finished());
            thread::sleep(Duration::from_millis(2));
        }
        sshd.drop_connections();
        let error = upload.join().unwrap().unwrap_err();
        assert!(
            matches!(error, DeployError::Ssh(SshError::Lost(_))),
            "{error}"
        );
    });
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_empty(&place) {
        assert!(Instant::now() < deadline, "what has arrived stays");
        thread::sleep(Duration::from_millis(20));
    }
}

/// A file system that is mounted for one test.
struct Mount {
    path: String,
}

impl Mount {
    fn tmpfs(path: &str, options: &str) -> Mount {
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", options, "instancesync-test", path])
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        Mount {
            path: path.to_owned(),
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount")
            .arg("--lazy")
            .arg(&self.path)
            .output();
    }
}

/// A user of this machine who exists for one test.
pub struct TemporaryUser {
    /// What it is called.
    pub name: String,
}

impl TemporaryUser {
    /// Makes one with a password and without a home; `None` where that is not possible.
    pub fn create(password: &str) -> Option<TemporaryUser> {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        // Two at once would fight for the lock of the account files.
        static LOCK: Mutex<()> = Mutex::new(());
        let _guard = LOCK.lock().unwrap();
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("istest{}x{number}", std::process::id());
        let add = || {
            Command::new("useradd")
                .args(["--no-create-home", "--home-dir", "/tmp"])
                .args(["--shell", "/bin/sh", &name])
                .output()
        };
        // Another process may hold the lock of the account files for a moment.
        let mut made = add().ok()?;
        for _ in 0..20 {
            if made.status.success() {
                break;
            }
            thread::sleep(Duration::from_millis(100));
            made = add().ok()?;
        }
        assert!(made.status.success(), "{made:?}");
        let user = TemporaryUser { name };
        let mut chpasswd = Command::new("chpasswd")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .ok()?;
        let line = format!("{}:{password}\n", user.name);
        chpasswd.stdin.take()?.write_all(line.as_bytes()).ok()?;
        chpasswd.wait().ok()?.success().then_some(user)
    }
}

impl TemporaryUser {
    fn number(&self) -> u32 {
        let output = Command::new("id")
            .args(["-u", &self.name])
            .output()
            .unwrap();
        String::from_utf8(output.stdout)
            .unwrap()
            .trim()
            .parse()
            .unwrap()
    }
}

/// Passwordless sudo for one user and one test.
pub struct Sudoers {
    path: PathBuf,
}

impl Sudoers {
    /// Allows everything; `None` where there is no sudo.
    pub fn allow(user: &TemporaryUser) -> Option<Sudoers> {
        let path = Path::new("/etc/sudoers.d").join(&user.name);
        fs::write(&path, format!("{} ALL=(ALL) NOPASSWD: ALL\n", user.name)).ok()?;
        Some(Sudoers { path })
    }
}

impl Drop for Sudoers {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Drop for TemporaryUser {
    fn drop(&mut self) {
        for _ in 0..20 {
            let removed = Command::new("userdel").arg(&self.name).output();
            if removed.is_ok_and(|output| output.status.success()) {
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
        panic!("the temporary user {} is still there", self.name);
    }
}
