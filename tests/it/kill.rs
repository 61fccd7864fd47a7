//! A run that is cut at a random moment does no harm, and the next one finishes the job.
//!
//! Cut are the connection, the agent and the source itself. While that goes on readers look at
//! the target's files and must never see half of one. INSTANCESYNC_SEEDS asks for more seeds.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::support::binary::{Outcome, Run, over_ssh, over_ssh_by, run, start_beside};
use crate::support::key_agent::KeyAgent;
use crate::support::places::{OVER_SSH, Places, assert_code, much_to_send, wait_for_many, with};
use crate::support::processes;
use crate::support::proxy::Proxy;
use crate::support::rng::Rng;
use crate::support::sshd::Sshd;
use crate::support::{can_run, edit, seeds};

/// How many self-describing files the readers look at.
const SPEAKING_FILES: usize = 6;
/// Where agents and their temporary files may live, besides the target itself.
const HIDING_PLACES: &[&str] = &["/run", "/tmp", "/dev/shm", "/var/tmp", "/root"];
/// LIMIT: how long an agent may take to notice that a later one has done its work.
const GRACE: Duration = Duration::from_secs(60);
/// LIMIT: how long a run may take to hear that it is to stop, on a machine that is busy.
const SOON: Duration = Duration::from_secs(4);
/// LIMIT: how much longer where nothing moves on the link (src/session.rs).
const STOPPING: Duration = Duration::from_secs(5);

/// What is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Connection,
    Agent,
    Source,
}

#[test]
fn cut_runs_do_no_harm_and_the_next_one_finishes() {
    if !can_run("cut_runs_do_no_harm_and_the_next_one_finishes", OVER_SSH) {
        return;
    }
    for seed in seeds(6) {
        let cut = [Cut::Connection, Cut::Agent, Cut::Source][(seed % 3) as usize];
        let context = format!("seed {seed}, {cut:?} cut");
        cut_and_run_again(seed, cut, &context);
        println!("{context}: recovered");
    }
}

#[test]
fn a_stop_is_heard_at_once_under_a_low_bandwidth_limit() {
    let test = "a_stop_is_heard_at_once_under_a_low_bandwidth_limit";
    if !can_run(test, OVER_SSH) {
        return;
    }
    let (sshd, places) = (Sshd::start(), much());
    let keys_before = fs::read(sshd.authorized_keys()).unwrap();
    let hidden_before = hidden_files();
    let arguments = over_ssh(&sshd, &places.source, &places.ours);
    let agent = KeyAgent::start(sshd.dir(), &sshd.identity_file());
    let source = start_beside(&with(arguments, &["--bwlimit", "50K"]), Some(&agent));
    wait_for_many(&places);
    let (outcome, took) = stop(source, Signal::INT);
    assert_code(&outcome, 130, "stopped by Ctrl-C");
    assert!(took < SOON, "it took {took:?}: {outcome:#?}");
    let keys = fs::read(sshd.authorized_keys()).unwrap();
    assert_eq!(keys, keys_before, "the key stays");
    wait_for_agents(&sshd, "stopped by Ctrl-C");
    assert_nothing_left(&hidden_before, &places.ours, "stopped by Ctrl-C");
}

#[test]
fn a_stop_on_a_link_that_stands_still_ends_the_run_and_then_the_agent() {
    let test = "a_stop_on_a_link_that_stands_still_ends_the_run_and_then_the_agent";
    if !can_run(test, OVER_SSH) {
        return;
    }
    let (sshd, places) = (Sshd::start(), much());
    let keys_before = fs::read(sshd.authorized_keys()).unwrap();
    let hidden_before = hidden_files();
    let proxy = Proxy::start(sshd.port());
    let address = format!("root@127.0.0.1:{}", proxy.port());
    let arguments = over_ssh_by(&address, &sshd, &places.source, &places.ours);
    let fingerprint = ["--host-key-fingerprint", &sshd.host_key_fingerprint()];
    let agent = KeyAgent::start(sshd.dir(), &sshd.identity_file());
    let source = start_beside(&with(arguments, &fingerprint), Some(&agent));
    wait_for_many(&places);
    proxy.stand_still();
    // Everything on the way is full by then.
    thread::sleep(Duration::from_millis(500));
    let (outcome, took) = stop(source, Signal::TERM);
    assert_code(&outcome, 20, "stopped by SIGTERM");
    assert!(took < SOON + STOPPING, "it took {took:?}: {outcome:#?}");
    let said = format!("{}{}", outcome.stdout, outcome.stderr);
    assert!(said.contains("authorized_keys"), "not told: {said}");
    proxy.cut();
    wait_for_agents(&sshd, "stopped by SIGTERM");
    let keys = fs::read(sshd.authorized_keys()).unwrap();
    assert_eq!(keys, keys_before, "the key stays");
    assert_nothing_left(&hidden_before, &places.ours, "stopped by SIGTERM");
}

/// A key file alone needs no key of the run; one that was left goes all the same.
#[test]
fn a_key_that_a_killed_run_has_left_goes_with_the_next_run_of_the_pair() {
    let test = "a_key_that_a_killed_run_has_left_goes_with_the_next_run_of_the_pair";
    if !can_run(test, OVER_SSH) {
        return;
    }
    let (sshd, places) = (Sshd::start(), much());
    let keys = || fs::read_to_string(sshd.authorized_keys()).unwrap();
    let keys_before = keys();
    let arguments = over_ssh(&sshd, &places.source, &places.ours);
    let agent = KeyAgent::start(sshd.dir(), &sshd.identity_file());
    let mut source = start_beside(&with(arguments.clone(), &["--bwlimit", "1M"]), Some(&agent));
    wait_for_many(&places);
    source.kill();
    processes::kill_agents(&sshd.home());
    source.wait();
    wait_for_agents(&sshd, "killed");
    assert!(keys().contains("instancesync:"), "{}", keys());
    assert_code(&run(&arguments), 0, "by the key file alone");
    assert_eq!(keys(), keys_before, "the key stays");
}

/// The agent holds the target until it notices, a minute later.
#[test]
fn a_loss_that_only_the_source_sees_is_waited_out() {
    let test = "a_loss_that_only_the_source_sees_is_waited_out";
    if !can_run(test, OVER_SSH) {
        return;
    }
    if std::env::var_os("INSTANCESYNC_SEEDS").is_none() {
        return println!("{test} takes more than a minute: with INSTANCESYNC_SEEDS");
    }
    let (sshd, places) = (Sshd::start(), much());
    let proxy = Proxy::start(sshd.port());
    let address = format!("root@127.0.0.1:{}", proxy.port());
    let arguments = over_ssh_by(&address, &sshd, &places.source, &places.ours);
    let fingerprint = ["--host-key-fingerprint", &sshd.host_key_fingerprint()];
    let arguments = with(with(arguments, &fingerprint), &["--bwlimit", "10M"]);
    let source = start_beside(&arguments, None);
    wait_for_many(&places);
    proxy.cut_near();
    let outcome = source.wait();
    assert!(outcome.stderr.contains("link lost"), "{outcome:#?}");
    assert_code(&outcome, 0, "a loss that only the source saw");
    places.assert_equal("a loss that only the source saw");
}

/// A source that is not through in a moment, in files that leave no partial file when cut.
fn much() -> Places {
    much_to_send(
        1,
        100,
        |index| {
            if index % 2 == 0 { 100_000 } else { 1_500_000 }
        },
    )
}

fn stop(source: Run, signal: Signal) -> (Outcome, Duration) {
    let began = Instant::now();
    source.signal(signal);
    let outcome = source.wait();
    (outcome, began.elapsed())
}

fn cut_and_run_again(seed: u64, cut: Cut, context: &str) {
    let mut rng = Rng::new(seed);
    let places = Places::with_tree(seed + 2000);
    let sshd = Sshd::start();
    let keys_before = fs::read(sshd.authorized_keys()).unwrap();
    let hidden_before = hidden_files();
    speak(&places.source, 1);
    let arguments = with(over_ssh(&sshd, &places.source, &places.ours), &["--delete"]);
    let began = Instant::now();
    if !seed.is_multiple_of(2) {
        // Odd seeds cut an update, even ones the first copy.
        assert_code(&run(&arguments), 0, context);
        edit::edit(&places.source, seed);
        speak(&places.source, 2);
    }
    let whole_run = began.elapsed().max(Duration::from_millis(600));
    let readers = Readers::start(&places.ours);
    // What an ssh-agent lets in brings a key of the run, a key file alone needs none.
    let agent = (seed % 4 != 1).then(|| KeyAgent::start(sshd.dir(), &sshd.identity_file()));
    for _ in 0..1 + rng.below(3) {
        let mut source = start_beside(&arguments, agent.as_ref());
        thread::sleep(whole_run * rng.below(100) as u32 / 100);
        cut_now(cut, &mut source, &sshd);
        assert_ended_by_cut(cut, source, context);
    }
    assert_code(&run(&arguments), 0, &format!("{context}, the next run"));
    readers.finish(context);
    places.assert_equal(context);
    wait_for_agents(&sshd, context);
    let keys = fs::read(sshd.authorized_keys()).unwrap();
    assert_eq!(keys, keys_before, "authorized_keys changed: {context}");
    assert_nothing_left(&hidden_before, &places.ours, context);
}

fn cut_now(cut: Cut, source: &mut Run, sshd: &Sshd) {
    match cut {
        Cut::Connection => {
            sshd.drop_connections();
        }
        Cut::Agent => processes::kill_agents(&sshd.home()),
        Cut::Source => source.kill(),
    }
}

/// A cut run reports the link or gets over it; it may also have finished before the cut.
fn assert_ended_by_cut(cut: Cut, source: Run, context: &str) {
    let outcome = source.wait();
    let fine: &[Option<i32>] = match cut {
        Cut::Source => &[None, Some(0)],
        Cut::Connection | Cut::Agent => &[Some(0), Some(4), Some(20)],
    };
    assert!(fine.contains(&outcome.code), "{context}: {outcome:#?}");
}

fn wait_for_agents(sshd: &Sshd, context: &str) {
    let deadline = Instant::now() + GRACE;
    while !processes::agents(&sshd.home()).is_empty() {
        assert!(Instant::now() < deadline, "an agent stays: {context}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Files that tell whether they are whole: one token over and over, and a size of its own for
/// each version.
fn speak(source: &Path, version: u8) {
    let place = source.join("speaking");
    // Random edits may have made anything of it.
    if place.is_dir() && !place.is_symlink() {
        fs::remove_dir_all(&place).unwrap();
    } else if place.symlink_metadata().is_ok() {
        fs::remove_file(&place).unwrap();
    }
    fs::create_dir_all(&place).unwrap();
    for index in 0..SPEAKING_FILES {
        let token = format!("version {version} of {index:04}\n");
        let size = [200, 40_000, 1_000_000, 6_000_000][index % 4] * usize::from(version);
        let content = token.repeat(size / token.len() + 1);
        fs::write(place.join(format!("file-{index}")), content).unwrap();
    }
}

/// Tells what is wrong with the content of a speaking file.
fn hear(content: &[u8]) -> Result<(), String> {
    let end = content.iter().position(|byte| *byte == b'\n');
    let Some(token) = end.map(|end| &content[..=end]) else {
        return Err(format!("{} bytes without a token", content.len()));
    };
    let text = String::from_utf8_lossy(token).into_owned();
    let words: Vec<_> = text.split_whitespace().collect();
    let [_, version, _, index] = words[..] else {
        return Err(format!("begins with {text:?}"));
    };
    let (version, index): (usize, usize) = (version.parse().unwrap(), index.parse().unwrap());
    let size = [200, 40_000, 1_000_000, 6_000_000][index % 4] * version;
    let expected = (size / token.len() + 1) * token.len();
    if content.len() != expected {
        return Err(format!("{} bytes of {expected}, {text:?}", content.len()));
    }
    match content.chunks(token.len()).position(|chunk| chunk != token) {
        Some(place) => Err(format!("token {place} of a file is not {text:?}")),
        None => Ok(()),
    }
}

/// A thread that reads the speaking files of a target again and again.
struct Readers {
    thread: thread::JoinHandle<Vec<String>>,
    stop: std::sync::Arc<(AtomicBool, AtomicUsize)>,
}

impl Readers {
    fn start(target: &Path) -> Readers {
        let stop = std::sync::Arc::new((AtomicBool::new(false), AtomicUsize::new(0)));
        let (shared, place) = (stop.clone(), target.join("speaking"));
        let thread = thread::spawn(move || {
            let mut complaints = Vec::new();
            while !shared.0.load(Ordering::Relaxed) && complaints.len() < 10 {
                for index in 0..SPEAKING_FILES {
                    // Not there yet is fine.
                    if let Ok(content) = fs::read(place.join(format!("file-{index}"))) {
                        shared.1.fetch_add(1, Ordering::Relaxed);
                        complaints.extend(hear(&content).err());
                    }
                }
                thread::sleep(Duration::from_millis(3));
            }
            complaints
        });
        Readers { thread, stop }
    }

    fn finish(self, context: &str) {
        self.stop.0.store(true, Ordering::Relaxed);
        let complaints = self.thread.join().unwrap();
        assert_eq!(complaints, Vec::<String>::new(), "half a file: {context}");
        assert!(self.stop.1.load(Ordering::Relaxed) > 0, "nothing was read");
    }
}

/// Every entry of the hiding places whose name has to do with us.
fn hidden_files() -> BTreeSet<PathBuf> {
    HIDING_PLACES
        .iter()
        .filter_map(|place| fs::read_dir(place).ok())
        .flatten()
        .map(|entry| entry.unwrap().path())
        .filter(|path| is_ours(path))
        .collect()
}

fn is_ours(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with(".instancesync") || name.starts_with("instancesync-")
}

fn assert_nothing_left(before: &BTreeSet<PathBuf>, target: &Path, context: &str) {
    let parent = target.parent().unwrap();
    let in_target: Vec<_> = walkdir::WalkDir::new(parent)
        .into_iter()
        .map(|entry| entry.unwrap().into_path())
        .filter(|path| is_ours(path))
        .collect();
    assert_eq!(in_target, Vec::<PathBuf>::new(), "left over: {context}");
    // Other tests of this machine come and go; what is ours would stay.
    let deadline = Instant::now() + GRACE;
    loop {
        let left: Vec<_> = hidden_files().difference(before).cloned().collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < deadline, "{left:?} left over: {context}");
        thread::sleep(Duration::from_millis(100));
    }
}
