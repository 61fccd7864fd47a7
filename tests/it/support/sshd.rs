//! A throw-away OpenSSH server on loopback, with its own keys, configuration and home directory.
//!
//! The login user is root of this machine, but `$HOME` of a session is a directory of the
//! fixture, so neither the dot files nor the keys of the real root take part. Knows nothing of
//! the crate under test.
#![allow(
    clippy::unwrap_used,
    clippy::let_underscore_must_use,
    reason = "a test may panic, and cleans up as far as it can"
)]
#![allow(dead_code, reason = "each test file uses another part")]

use std::fs::{self, File};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

const SSHD: &str = "/usr/sbin/sshd";

/// A running server; dropping it ends it, its sessions and its files.
pub struct Sshd {
    // Dropped before the directory, as the server writes its log there.
    server: Child,
    port: u16,
    dir: TempDir,
}

impl Sshd {
    /// Starts a server that lets root in with the key of [`Sshd::identity_file`].
    pub fn start() -> Sshd {
        Sshd::start_with(&[])
    }

    /// Starts a server whose configuration begins with these lines; the first word on a setting
    /// wins in sshd_config, so they override the fixture's own.
    ///
    /// `SetEnv` is the exception: the fixture needs its one `SetEnv` line for `$HOME`.
    pub fn start_with(config_lines: &[&str]) -> Sshd {
        let dir = tempfile::Builder::new()
            .prefix("sshd-")
            .permissions(fs::Permissions::from_mode(0o755))
            .tempdir()
            .unwrap();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create("/run/sshd")
            .unwrap();
        make_key(&dir.path().join("host_key"));
        make_key(&dir.path().join("identity"));
        let home = dir.path().join("home");
        for directory in [&home, &home.join(".ssh")] {
            fs::DirBuilder::new().mode(0o700).create(directory).unwrap();
        }
        let keys = home.join(".ssh/authorized_keys");
        fs::copy(dir.path().join("identity.pub"), &keys).unwrap();
        fs::set_permissions(&keys, fs::Permissions::from_mode(0o600)).unwrap();
        // Another process can take the free port before sshd does: try again then.
        for _ in 0..5 {
            if let Some((server, port)) = launch(dir.path(), config_lines) {
                let sshd = Sshd { server, port, dir };
                sshd.write_known_hosts();
                return sshd;
            }
        }
        panic!(
            "sshd did not start:\n{}",
            fs::read_to_string(dir.path().join("log")).unwrap_or_default()
        );
    }

    /// The port that it listens on, on 127.0.0.1 and ::1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `root@127.0.0.1:PORT`.
    pub fn address(&self) -> String {
        format!("root@127.0.0.1:{}", self.port)
    }

    /// A known_hosts file that holds the host key for 127.0.0.1, ::1 and localhost.
    pub fn known_hosts_file(&self) -> PathBuf {
        self.dir.path().join("known_hosts")
    }

    /// The private key that `authorized_keys` lets in.
    pub fn identity_file(&self) -> PathBuf {
        self.dir.path().join("identity")
    }

    /// The home directory of a session.
    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// The file that decides which keys log in: `~/.ssh/authorized_keys` of a session.
    pub fn authorized_keys(&self) -> PathBuf {
        self.home().join(".ssh/authorized_keys")
    }

    /// The directory of the fixture, for further files of a test.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The host key as `TYPE BASE64`.
    pub fn host_key(&self) -> String {
        public_key(&self.dir.path().join("host_key.pub"))
    }

    /// The fingerprint of the host key, `SHA256:...`.
    pub fn host_key_fingerprint(&self) -> String {
        let output = Command::new("ssh-keygen")
            .arg("-lf")
            .arg(self.dir.path().join("host_key.pub"))
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_whitespace().nth(1).unwrap().to_owned()
    }

    /// What the server wrote to its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Kills the process of every session, so that their TCP connections end at once; returns
    /// how many were killed. New connections are still accepted.
    pub fn drop_connections(&self) -> usize {
        let sessions = session_processes(self.server.id());
        for session in &sessions {
            kill(*session);
        }
        sessions.len()
    }

    /// Returns every process that the server has started, and what those have.
    pub fn processes(&self) -> Vec<u32> {
        descendants(self.server.id(), |_| true)
    }

    fn write_known_hosts(&self) {
        let key = self.host_key();
        let port = self.port;
        let lines = ["127.0.0.1", "::1", "localhost"]
            .map(|host| format!("[{host}]:{port} {key}\n"))
            .concat();
        fs::write(self.known_hosts_file(), lines).unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        // The sessions first: once the server is gone they have another parent.
        self.drop_connections();
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// Makes an unencrypted ed25519 key pair at `path` and `path`.pub.
pub fn make_key(path: &Path) {
    make_key_with(path, "ed25519", "");
}

/// Makes a key pair of an OpenSSH type, encrypted when the passphrase is not empty.
pub fn make_key_with(path: &Path, key_type: &str, passphrase: &str) {
    let output = Command::new("ssh-keygen")
        .args(["-q", "-t", key_type, "-N", passphrase, "-C", "test", "-f"])
        .arg(path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn public_key(path: &Path) -> String {
    let line = fs::read_to_string(path).unwrap();
    let mut words = line.split_whitespace();
    format!("{} {}", words.next().unwrap(), words.next().unwrap())
}

fn launch(dir: &Path, config_lines: &[&str]) -> Option<(Child, u16)> {
    let port = free_port();
    let mut config = String::new();
    for line in config_lines {
        config.push_str(line);
        config.push('\n');
    }
    let dir_name = dir.display();
    config.push_str(&format!(
        "ListenAddress 127.0.0.1:{port}\n\
         ListenAddress [::1]:{port}\n\
         HostKey {dir_name}/host_key\n\
         PidFile none\n\
         UsePAM no\n\
         StrictModes no\n\
         PermitRootLogin yes\n\
         PasswordAuthentication no\n\
         KbdInteractiveAuthentication no\n\
         AuthorizedKeysFile {dir_name}/home/.ssh/authorized_keys\n\
         MaxStartups 1000\n\
         MaxSessions 100\n\
         MaxAuthTries 20\n\
         PrintMotd no\n\
         SetEnv HOME={dir_name}/home\n"
    ));
    fs::write(dir.join("config"), config).unwrap();
    let log = File::options()
        .create(true)
        .append(true)
        .open(dir.join("log"))
        .unwrap();
    let mut server = Command::new(SSHD)
        .args(["-D", "-e", "-f"])
        .arg(dir.join("config"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while Instant::now() < deadline {
        if server.try_wait().unwrap().is_some() {
            return None;
        }
        if TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return Some((server, port));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = server.kill();
    let _ = server.wait();
    None
}

fn free_port() -> u16 {
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// Every descendant of the server that is sshd itself, not what a session runs.
fn session_processes(server: u32) -> Vec<u32> {
    descendants(server, |name| name.starts_with("sshd"))
}

fn descendants(server: u32, is_wanted: fn(&str) -> bool) -> Vec<u32> {
    let mut parents = vec![server];
    let mut found = Vec::new();
    while let Some(parent) = parents.pop() {
        for child in children(parent) {
            let name = fs::read_to_string(format!("/proc/{child}/comm")).unwrap_or_default();
            if is_wanted(&name) {
                found.push(child);
                parents.push(child);
            }
        }
    }
    found
}

fn children(parent: u32) -> Vec<u32> {
    fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"))
        .unwrap_or_default()
        .split_whitespace()
        .filter_map(|pid| pid.parse().ok())
        .collect()
}

fn kill(process: u32) {
    let Ok(process) = i32::try_from(process) else {
        return;
    };
    if let Some(process) = rustix::process::Pid::from_raw(process) {
        // Gone already is as good.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
}
