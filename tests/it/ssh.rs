//! The `ssh` chapter against a real OpenSSH server on loopback.

use crate::support::sshd::Sshd;

#[test]
fn fixture_starts_and_stops() {
    let sshd = Sshd::start();
    let output = std::process::Command::new("ssh")
        .args(["-F", "/dev/null", "-o", "BatchMode=yes"])
        .arg("-o")
        .arg(format!(
            "UserKnownHostsFile={}",
            sshd.known_hosts_file().display()
        ))
        .arg("-i")
        .arg(sshd.identity_file())
        .args([
            "-p",
            &sshd.port().to_string(),
            "root@127.0.0.1",
            "echo $HOME",
        ])
        .env_remove("SSH_AUTH_SOCK")
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        sshd.home().display().to_string(),
        "{output:?}\n{}",
        sshd.log()
    );
}
