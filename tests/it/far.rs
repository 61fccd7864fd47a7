//! A target that is far away: several channels carry the stream, or one where it allows no more.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use rustix::net::{Shutdown, shutdown};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, RawPid, Signal, pidfd_getfd, pidfd_open};

use crate::support::binary::{Run, over_ssh_by, start_beside};
use crate::support::can_run;
use crate::support::key_agent::KeyAgent;
use crate::support::places::{OVER_SSH, Places, assert_code, much_to_send, wait_for_many, with};
use crate::support::proxy::Proxy;
use crate::support::sshd::Sshd;

/// Each way; twice that is far (src/ssh/deploy/mod.rs).
const DELAY: Duration = Duration::from_millis(20);
/// Where agents lie that were brought to this machine.
const HIDING_PLACES: &[&str] = &["/run", "/dev/shm", "/tmp", "/var/tmp"];
/// LIMIT: how long an agent may take to be gone.
const GRACE: Duration = Duration::from_secs(60);

/// More than the windows of all channels hold, in files that do not compress.
fn much() -> Places {
    much_to_send(7, 60, |index| if index % 3 == 0 { 900_000 } else { 20_000 })
}

fn copy_far(sshd: &Sshd, proxy: &Proxy, places: &Places, more: &[&str]) -> Run {
    copy_far_beside(sshd, proxy, places, more, None)
}

/// Does so with an ssh-agent.
fn copy_far_beside(
    sshd: &Sshd,
    proxy: &Proxy,
    places: &Places,
    more: &[&str],
    agent: Option<&KeyAgent>,
) -> Run {
    let address = format!("root@127.0.0.1:{}", proxy.port());
    let arguments = over_ssh_by(&address, sshd, &places.source, &places.ours);
    let fingerprint = ["--host-key-fingerprint", &sshd.host_key_fingerprint()];
    start_beside(&with(with(arguments, &fingerprint), more), agent)
}

/// How many channels the server connected to a socket.
fn sockets(sshd: &Sshd) -> usize {
    sshd.log()
        .matches("server_request_direct_streamlocal: originator")
        .count()
}

/// Agents of other tests may be there for a moment as well: each has a name of its own.
fn agent_places() -> Vec<String> {
    let entries = HIDING_PLACES
        .iter()
        .filter_map(|place| fs::read_dir(place).ok());
    let names = entries
        .flatten()
        .flatten()
        .map(|entry| entry.path().display().to_string());
    names
        .filter(|name| name.contains(".instancesync-agent-"))
        .collect()
}

fn assert_gone(before: &[String], context: &str) {
    let deadline = Instant::now() + GRACE;
    while agent_places().iter().any(|name| !before.contains(name)) {
        assert!(Instant::now() < deadline, "{context}: {:?}", agent_places());
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn several_channels_carry_an_exact_copy() {
    if !can_run("several_channels_carry_an_exact_copy", OVER_SSH) {
        return;
    }
    let (sshd, places) = (Sshd::start_with(&["LogLevel DEBUG1"]), much());
    let before = agent_places();
    let proxy = Proxy::start_with_delay(sshd.port(), DELAY);
    let outcome = copy_far(&sshd, &proxy, &places, &[]).wait();
    assert_code(&outcome, 0, "over several channels");
    assert_eq!(sockets(&sshd), 3, "{}", sshd.log());
    places.assert_equal("over several channels");
    assert_gone(&before, "over several channels");
}

#[test]
fn a_near_target_has_one_channel() {
    if !can_run("a_near_target_has_one_channel", OVER_SSH) {
        return;
    }
    let (sshd, places) = (Sshd::start_with(&["LogLevel DEBUG1"]), much());
    let proxy = Proxy::start(sshd.port());
    let outcome = copy_far(&sshd, &proxy, &places, &[]).wait();
    assert_code(&outcome, 0, "near");
    assert_eq!(sockets(&sshd), 0);
    places.assert_equal("near");
}

#[test]
fn a_target_that_allows_one_session_and_no_sockets_is_only_slower() {
    if !can_run(
        "a_target_that_allows_one_session_and_no_sockets_is_only_slower",
        OVER_SSH,
    ) {
        return;
    }
    let strict = ["MaxSessions 1", "AllowStreamLocalForwarding no"];
    let before = agent_places();
    for settings in [&strict[..1], &strict[..]] {
        let (sshd, places) = (Sshd::start_with(settings), much());
        let proxy = Proxy::start_with_delay(sshd.port(), DELAY);
        let outcome = copy_far(&sshd, &proxy, &places, &[]).wait();
        assert_code(&outcome, 0, "one session");
        places.assert_equal("one session");
    }
    assert_gone(&before, "one session");
}

#[test]
fn a_stop_is_heard_on_all_channels_and_nothing_stays() {
    if !can_run(
        "a_stop_is_heard_on_all_channels_and_nothing_stays",
        OVER_SSH,
    ) {
        return;
    }
    let (sshd, places) = (Sshd::start(), much());
    let (before, keys) = (agent_places(), fs::read(sshd.authorized_keys()).unwrap());
    let proxy = Proxy::start_with_delay(sshd.port(), DELAY);
    let source = copy_far(&sshd, &proxy, &places, &["--bwlimit", "2M"]);
    wait_for_many(&places);
    let began = Instant::now();
    source.signal(Signal::INT);
    assert_code(&source.wait(), 130, "stopped");
    let took = began.elapsed();
    // LIMIT: src/session.rs gives up after 5 s without an answer; it should not come to that.
    assert!(took < Duration::from_secs(4), "{took:?}");
    assert_eq!(
        fs::read(sshd.authorized_keys()).unwrap(),
        keys,
        "the key stays"
    );
    assert_gone(&before, "stopped");
}

#[test]
fn a_far_link_that_is_cut_is_opened_again() {
    if !can_run("a_far_link_that_is_cut_is_opened_again", OVER_SSH) {
        return;
    }
    let (sshd, places) = (Sshd::start(), much());
    let before = agent_places();
    // Whatever writes it makes a new file, which may get a number again.
    let keys = || {
        let found = fs::metadata(sshd.authorized_keys()).unwrap();
        (found.ino(), found.ctime(), found.ctime_nsec())
    };
    let keys_before = keys();
    let proxy = Proxy::start_with_delay(sshd.port(), DELAY);
    let source = copy_far(&sshd, &proxy, &places, &["--bwlimit", "5M"]);
    wait_for_many(&places);
    assert_eq!(
        keys(),
        keys_before,
        "a key file alone logs in again by itself"
    );
    proxy.cut();
    let outcome = source.wait();
    assert!(outcome.stderr.contains("link lost"), "{}", outcome.stderr);
    assert_code(&outcome, 0, "cut");
    places.assert_equal("cut");
    assert_gone(&before, "cut");
    assert_eq!(keys(), keys_before, "a key was there");
}

/// Ends one of the sockets over which the agent gets the stream, behind the back of both ends;
/// tells whether there was one.
fn cut_one_channel(sshd: &Sshd) -> bool {
    let table = fs::read_to_string("/proc/net/unix").unwrap();
    // Connected, and with the path of the socket that it came in by.
    let is_accepted = |socket: &str| {
        table.lines().any(|line| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields.len() == 8 && fields[5] == "03" && socket == format!("socket:[{}]", fields[6])
        })
    };
    for process in sshd.processes() {
        // What ends meanwhile has no channel.
        let handles = fs::read_dir(format!("/proc/{process}/fd")).into_iter();
        for handle in handles.flatten().flatten() {
            let socket = fs::read_link(handle.path()).unwrap_or_default();
            if is_accepted(&socket.to_string_lossy()) {
                let process = Pid::from_raw(process as RawPid).unwrap();
                let process = pidfd_open(process, PidfdFlags::empty()).unwrap();
                let number = handle.file_name().to_str().unwrap().parse().unwrap();
                let channel = pidfd_getfd(process, number, PidfdGetfdFlags::empty()).unwrap();
                return shutdown(channel, Shutdown::Both).is_ok();
            }
        }
    }
    false
}

#[test]
fn one_channel_that_ends_is_a_lost_link_and_is_opened_again() {
    let test = "one_channel_that_ends_is_a_lost_link_and_is_opened_again";
    if !can_run(test, OVER_SSH) {
        return;
    }
    let (sshd, places) = (Sshd::start(), much());
    let (before, keys) = (agent_places(), fs::read(sshd.authorized_keys()).unwrap());
    let proxy = Proxy::start_with_delay(sshd.port(), DELAY);
    // The link that is opened again is one of the run's key, which may have no further channels.
    let agent = KeyAgent::start(sshd.dir(), &sshd.identity_file());
    let source = copy_far_beside(&sshd, &proxy, &places, &["--bwlimit", "5M"], Some(&agent));
    wait_for_many(&places);
    assert!(cut_one_channel(&sshd), "{:?}", sshd.processes());
    let outcome = source.wait();
    assert!(outcome.stderr.contains("link lost"), "{}", outcome.stderr);
    println!("{}", outcome.stderr);
    assert_code(&outcome, 0, "one channel");
    places.assert_equal("one channel");
    assert_gone(&before, "one channel");
    let now = fs::read(sshd.authorized_keys()).unwrap();
    assert_eq!(now, keys, "the key stays");
}
