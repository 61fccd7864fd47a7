//! Clones of whole systems and the commands around them, from outside: small roots as machines,
//! the built binary, a real sshd. What is decided about single paths, checks and files is proven
//! by the modules of those chapters.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use instancesync::cli;
use instancesync::commands::{self, Surroundings};
use instancesync::exit::ExitCode;
use instancesync::interrupt::{Interrupt, InterruptCause};
use instancesync::settings::{Environment, OutputSettings};
use instancesync::ui::{Questions, Ui};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::support::binary::{Outcome, login, over_ssh, run};
use crate::support::can_run;
use crate::support::manifest::{Manifest, diff};
use crate::support::places::{LOCAL, Mount, OVER_SSH, assert_code, assert_none, with};
use crate::support::roots::SmallRoot;
use crate::support::sshd::Sshd;

/// A source with an account, a service and a network of its own.
fn source() -> SmallRoot {
    SmallRoot::debian()
        .file(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nweb:x:1001:1001::/srv:/bin/sh\n",
        )
        .file(
            "/etc/shadow",
            "root:$y$source:19000:0:99999:7:::\nweb:!:19000:0:99999:7:::\n",
        )
        .file("/etc/group", "root:x:0:\nweb:x:1001:\n")
        .file("/etc/gshadow", "root:*::\nweb:!::\n")
        .file("/etc/hostname", "source\n")
        .file(
            "/etc/hosts",
            "127.0.0.1 localhost\n127.0.1.1 source\n10.0.0.9 database\n",
        )
        .file(
            "/etc/network/interfaces",
            "auto eth0\niface eth0 inet static\n address 10.0.0.1/24\n",
        )
        .file(
            "/etc/fstab",
            "UUID=aaaa / ext4 defaults 0 1\nnas:/e /mnt/e nfs defaults 0 0\n",
        )
        .file(
            "/root/.ssh/authorized_keys",
            "ssh-ed25519 SOURCEKEY admin\n",
        )
        .file("/home/a/.ssh/authorized_keys", "ssh-ed25519 KEYOFA a\n")
        .file("/srv/www/index.html", "the page")
        .file("/boot/vmlinuz-5.10.0-1-amd64", "the source's kernel")
}

fn target() -> SmallRoot {
    SmallRoot::debian()
        .file(
            "/etc/passwd",
            "root:x:0:0:root:/root:/bin/bash\nagent:x:998:998::/:/bin/false\n",
        )
        .file(
            "/etc/shadow",
            "root:$y$target:19000:0:99999:7:::\nagent:!:19000:0:99999:7:::\n",
        )
        .file("/etc/group", "root:x:0:\nagent:x:998:\n")
        .file("/etc/gshadow", "root:*::\nagent:!::\n")
        .file("/etc/hostname", "target\n")
        .file("/etc/hosts", "127.0.0.1 localhost\n127.0.1.1 target\n")
        .file(
            "/etc/network/interfaces",
            "auto eth0\niface eth0 inet dhcp\n",
        )
        .file("/etc/fstab", "UUID=bbbb / ext4 defaults 0 1\n")
        .file(
            "/root/.ssh/authorized_keys",
            "ssh-ed25519 TARGETKEY provider\n",
        )
        .file(
            "/root/.ssh/authorized_keys2",
            "ssh-ed25519 SECONDKEY provider\n",
        )
        .file("/var/lib/left/over", "only here")
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The arguments of a clone of one mounted system onto another.
fn onto(source: &SmallRoot, target: &SmallRoot) -> Vec<OsString> {
    let (source, target) = (source.path().to_str(), target.path().to_str());
    words(&[
        "--scope=system",
        "--yes",
        "--source",
        source.unwrap(),
        "--to",
        target.unwrap(),
    ])
}

fn plan(arguments: Vec<OsString>) -> Outcome {
    run(&[words(&["plan"]), arguments].concat())
}

#[track_caller]
fn assert_file(root: &Path, path: &str, contents: &str) {
    let read = fs::read_to_string(root.join(path));
    assert_eq!(read.unwrap_or_default(), contents, "{path}");
}

#[track_caller]
fn assert_is_clone(target: &Path) {
    assert_file(target, "srv/www/index.html", "the page");
    assert_file(target, "etc/hostname", "target\n");
    assert_file(
        target,
        "etc/network/interfaces",
        "auto eth0\niface eth0 inet dhcp\n",
    );
    assert!(
        !target.join("boot/vmlinuz-5.10.0-1-amd64").exists(),
        "the source's kernel came along"
    );
    let text = |path: &str| fs::read_to_string(target.join(path)).unwrap();
    let (passwd, shadow) = (text("etc/passwd"), text("etc/shadow"));
    assert!(
        passwd.contains("web:x:1001") && shadow.contains("root:$y$source"),
        "{passwd}{shadow}"
    );
    let fstab = text("etc/fstab");
    assert!(
        fstab.contains("UUID=bbbb /") && fstab.contains("nofail"),
        "{fstab}"
    );
    assert!(
        !fstab.lines().any(|line| line.starts_with("UUID=aaaa")),
        "{fstab}"
    );
    let keys = text("root/.ssh/authorized_keys");
    assert!(
        keys.contains("SOURCEKEY") && keys.contains("TARGETKEY"),
        "{keys}"
    );
    assert_file(
        target,
        "root/.ssh/authorized_keys2",
        "ssh-ed25519 SECONDKEY provider\n",
    );
    assert_file(
        target,
        "home/a/.ssh/authorized_keys",
        "ssh-ed25519 KEYOFA a\n",
    );
    let hosts = text("etc/hosts");
    assert!(
        hosts.contains("10.0.0.9 database") && hosts.contains("127.0.1.1 target"),
        "{hosts}"
    );
}

#[test]
fn a_mounted_system_becomes_a_clone_that_keeps_its_own() {
    if !can_run("a_mounted_system_becomes_a_clone_that_keeps_its_own", LOCAL) {
        return;
    }
    let (source, target) = (source(), target());
    let before = Manifest::of(source.path());
    let arguments = with(onto(&source, &target), &["--delete"]);
    assert_code(&run(&arguments), 0, "the clone");
    assert_is_clone(target.path());
    assert!(
        !target.path().join("var/lib/left").exists(),
        "an extra stays"
    );
    assert_none(
        &diff(&before, &Manifest::of(source.path())),
        "the source changed",
    );
    // The first run has kept the originals below /var/lib/instancesync.
    let after = Manifest::of(target.path());
    assert_code(&run(&arguments), 0, "once more");
    let mut differences = diff(&after, &Manifest::of(target.path()));
    // A pass gives directories the source's times; where files were made they got new ones.
    differences.retain(|text| !text.contains(": mtime is "));
    assert_none(&differences, "the second run changed something");
}

#[test]
fn an_agent_of_the_source_alone_is_off_after_a_clone_in_place() {
    let test = "an_agent_of_the_source_alone_is_off_after_a_clone_in_place";
    if !can_run(test, LOCAL) {
        return;
    }
    let source = source().files(&[
        "/usr/bin/cloud-init",
        "/etc/cloud/cloud.cfg",
        "/usr/lib/systemd/system/cloud-init-local.service",
    ]);
    let target = target();
    for attempt in ["the clone", "once more"] {
        assert_code(&run(&onto(&source, &target)), 0, attempt);
        assert_file(target.path(), "etc/cloud/cloud-init.disabled", "");
        assert!(target.path().join("etc/cloud/cloud-init.disabled").exists());
        let mask = "etc/systemd/system/cloud-init-local.service";
        let mask = fs::read_link(target.path().join(mask));
        assert_eq!(mask.ok().as_deref(), Some(Path::new("/dev/null")));
    }
}

#[test]
fn a_system_on_another_machine_becomes_a_clone() {
    if !can_run("a_system_on_another_machine_becomes_a_clone", OVER_SSH) {
        return;
    }
    let (sshd, source, target) = (Sshd::start(), source(), target());
    let arguments = over_ssh(&sshd, source.path(), target.path());
    let keys = fs::read(sshd.authorized_keys()).unwrap();
    let before = Manifest::of(target.path());
    let system = with(arguments, &["--scope=system"]);
    let planned = plan(system.clone());
    assert_code(&planned, 0, "the plan");
    assert!(planned.stdout.contains("It can go ahead"), "{planned:#?}");
    assert_none(
        &diff(&before, &Manifest::of(target.path())),
        "the plan changed something",
    );
    let inode = || fs::metadata(sshd.authorized_keys()).unwrap().ino();
    let inode_before = inode();
    let dry = run(&with(system.clone(), &["--dry-run", "-v"]));
    assert_eq!(inode(), inode_before, "the dry run wrote the file of keys");
    assert_code(&dry, 0, "the dry run");
    assert!(dry.stderr.contains("fstab: /etc/fstab: "), "{dry:#?}");
    assert_none(
        &diff(&before, &Manifest::of(target.path())),
        "the dry run changed something",
    );
    assert_code(
        &run(&with(system, &["--hostname", "third"])),
        0,
        "the clone",
    );
    assert_file(target.path(), "etc/hostname", "third\n");
    let hosts = fs::read_to_string(target.path().join("etc/hosts")).unwrap();
    assert!(hosts.contains("\n127.0.1.1 third\n"), "{hosts}");
    fs::write(target.path().join("etc/hostname"), "target\n").unwrap();
    assert_is_clone(target.path());
    assert_eq!(
        fs::read(sshd.authorized_keys()).unwrap(),
        keys,
        "the run's key stays"
    );
}

#[test]
fn what_blocks_is_told_at_once_and_changes_nothing() {
    let source = source();
    let target = SmallRoot::alpine();
    let before = [Manifest::of(source.path()), Manifest::of(target.path())];
    let blocked = plan(onto(&source, &target));
    assert_code(&blocked, 3, "the plan");
    for id in ["other-family", "other-libc", "other-init"] {
        assert!(
            blocked.stdout.contains(&format!("[{id}]")),
            "{id}: {blocked:#?}"
        );
    }
    let data = plan(with(onto(&source, &target), &["--json"]));
    assert_code(&data, 3, "the plan as data");
    let data: serde_json::Value = serde_json::from_str(&data.stdout).unwrap();
    assert_eq!(data["blocked"], true);
    let refused = run(&onto(&source, &target));
    assert_code(&refused, 3, "the clone");
    assert!(
        refused.stderr.contains("error: refusing to start"),
        "{refused:#?}"
    );
    for more in [&["--dry-run"][..], &["--dry-run", "--stop-after", "plan"]] {
        let dry = run(&with(onto(&source, &target), more));
        assert_code(&dry, 3, "the dry run");
        assert!(dry.stderr.contains("error: refusing to start"), "{dry:#?}");
        assert!(dry.stderr.contains("nothing was changed"), "{dry:#?}");
    }
    for (before, root) in before.iter().zip([&source, &target]) {
        assert_none(&diff(before, &Manifest::of(root.path())), "a refused run");
    }
}

#[test]
fn a_stage_that_is_there_already_needs_no_room_again() {
    let test = "a_stage_that_is_there_already_needs_no_room_again";
    if !can_run(test, LOCAL) {
        return;
    }
    let (source, built) = (source(), target());
    let contents = vec![7; 5 << 20];
    fs::write(source.path().join("srv/large"), &contents).unwrap();
    let target = SmallRoot::new();
    let Some(_mount) = Mount::small(test, target.path()) else {
        return;
    };
    let mut copy = Command::new("cp");
    copy.arg("-a")
        .arg(built.path().join("."))
        .arg(target.path());
    assert!(copy.status().is_ok_and(|status| status.success()));
    let place = target.path().join(".instancesync/stage/srv");
    fs::create_dir_all(&place).unwrap();
    let has_room = || {
        let planned = plan(with(onto(&source, &target), &["--stage"]));
        assert!(
            planned.stdout.contains("Kept as the target"),
            "{planned:#?}"
        );
        !planned.stdout.contains("no-room")
    };
    assert!(has_room(), "8 MiB take 5");
    fs::write(target.path().join("srv-large"), &contents).unwrap();
    assert!(!has_room(), "3 MiB do not take 5");
    fs::rename(target.path().join("srv-large"), place.join("large")).unwrap();
    assert!(has_room(), "they are there");
    fs::hard_link(place.join("large"), target.path().join("srv-large")).unwrap();
    assert!(!has_room(), "what the target has itself stays taken");
}

#[test]
fn directories_that_both_trees_of_a_staged_clone_have_are_named() {
    let test = "directories_that_both_trees_of_a_staged_clone_have_are_named";
    if !can_run(test, LOCAL) {
        return;
    }
    let (source, target) = (source(), target());
    for (arguments, is_named) in [
        (["--stage", "--exclude=/var/lib/left"], true),
        (["--stage", "--exclude=/var/lib/other"], false),
        (["--in-place", "--exclude=/var/lib/left"], false),
    ] {
        let planned = plan(with(onto(&source, &target), &arguments));
        let text = planned.stdout.replace('\n', " ");
        let found = text.contains("keeps /var/lib/left in use");
        assert_eq!(found, is_named, "{arguments:?}: {text}");
    }
}

#[test]
fn a_plan_that_is_to_stop_is_no_plan() {
    let (source, target) = (source(), target());
    let arguments = [words(&["instancesync", "plan"]), onto(&source, &target)].concat();
    let Some(cli::Command::Plan(arguments)) = cli::parse(arguments).unwrap().command else {
        panic!("not understood");
    };
    let (environment, interrupt) = (Environment::default(), Interrupt::default());
    let output = OutputSettings::for_answers(&environment);
    let ui = Ui::start(&output, Questions::Forbidden, &interrupt).unwrap();
    interrupt.raise(InterruptCause::CtrlC);
    let around = Surroundings {
        environment,
        prompter: ui.prompter(),
        monitor: ui.monitor(),
        screen: ui.screen().clone(),
        interrupt,
    };
    let failure = commands::plan(*arguments, &around).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Interrupted);
}

#[test]
fn a_blocker_can_be_accepted_by_its_name_only() {
    let (source, target) = (source(), target());
    let other = SmallRoot::debian().file("/usr/lib/os-release", "ID=alpine\nVERSION_ID=3.20\n");
    let wrong = plan(with(onto(&source, &target), &["--accept", "other-famly"]));
    assert_code(&wrong, 2, "a name that is none");
    assert_code(&plan(onto(&source, &other)), 3, "another family");
    let accepted = plan(with(onto(&source, &other), &["--accept", "other-family"]));
    assert!(accepted.stdout.contains("warning: "), "{accepted:#?}");
    assert!(!accepted.stdout.contains("blocker: "), "{accepted:#?}");
    let same = with(onto(&source, &target), &["--accept", "same-machine"]);
    assert_code(&plan(same), 2, "what nobody can accept");
}

#[test]
fn a_directory_tree_is_copied_as_it_is() {
    let (source, target) = (source(), SmallRoot::new());
    let arguments = words(&[
        "--yes",
        "--source",
        source.path().to_str().unwrap(),
        "--to",
        target.path().to_str().unwrap(),
    ]);
    assert_code(&run(&arguments), 0, "a tree");
    assert_file(target.path(), "etc/hostname", "source\n");
    let outcome = run(&with(arguments.clone(), &["--with", "caches"]));
    assert_code(&outcome, 2, "a profile for a tree");
    let outcome = run(&with(arguments, &["--accept", "no-room"]));
    assert_code(&outcome, 2, "a blocker for a tree");
}

#[test]
fn explain_names_rule_reason_and_profile() {
    let source = source();
    let root = source.path().to_str().unwrap();
    let path = |path: &str| format!("{root}{path}");
    let explain = |more: &[&str]| {
        let start = ["explain", "--scope=system", "--source", root];
        let outcome = run(&[&start[..], more].concat());
        assert_code(&outcome, 0, "explain");
        outcome.stdout
    };
    let kept = explain(&[&path("/etc/machine-id")]);
    assert!(kept.starts_with("keep  /etc/machine-id"), "{kept}");
    assert!(kept.contains("profile identity"), "{kept}");
    let below = explain(&[&path("/boot/grub/grub.cfg"), &path("/srv/www/")]);
    assert!(below.contains("decided by its directory /boot/"), "{below}");
    assert!(below.contains("no rule matches"), "{below}");
    let answer = explain(&["--json", &path("/etc/machine-id")]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer[0]["path"], "etc/machine-id");
    assert_eq!(answer[0]["verdict"], "keep");
    assert_eq!(answer[0]["decider"]["profile"], "identity");
    assert_eq!(answer[0]["is_elsewhere"], false);
    let own = explain(&["--include", "/etc/machine-id", &path("/etc/machine-id")]);
    assert!(own.contains("--include"), "{own}");
    assert_code(
        &run(&["explain", "--source", root, "/elsewhere"]),
        2,
        "outside",
    );
}

#[test]
fn explain_tells_of_what_no_rule_but_a_mount_keeps_back() {
    let outcome = run(&["explain", "--scope=tree", "--source=/", "/proc/version"]);
    assert_code(&outcome, 0, "explain");
    let needle = "on another file system";
    assert!(outcome.stdout.contains(needle), "{outcome:#?}");
}

#[test]
fn facts_tell_of_this_a_mounted_and_another_machine() {
    let root = source();
    let mounted = run(&["facts", "--root", root.path().to_str().unwrap()]);
    assert_code(&mounted, 0, "mounted");
    assert!(mounted.stdout.contains("Debian"), "{mounted:#?}");
    assert!(
        mounted
            .stdout
            .lines()
            .all(|line| line.chars().count() <= 80)
    );
    let here = run(&["facts", "--json"]);
    assert_code(&here, 0, "here");
    let here: instancesync::facts::Facts = serde_json::from_str(&here.stdout).unwrap();
    assert!(here.is_live && here.architecture.is_some());
    if !can_run("facts_tell_of_this_a_mounted_and_another_machine", OVER_SSH) {
        return;
    }
    let sshd = Sshd::start();
    let there = run(&[words(&["facts", "--json"]), login(&sshd.address(), &sshd)].concat());
    assert_code(&there, 0, "there");
    let there: instancesync::facts::Facts = serde_json::from_str(&there.stdout).unwrap();
    assert_eq!(
        there.identity.boot_id, here.identity.boot_id,
        "it is this machine"
    );
}

#[test]
fn profiles_are_listed_shown_and_checked() {
    let list = run(&["profiles"]);
    assert_code(&list, 0, "list");
    assert!(list.stdout.contains("network-netplan"), "{list:#?}");
    let shown = run(&["profiles", "show", "boot"]);
    assert!(shown.stdout.contains("/boot/***"), "{shown:#?}");
    let unknown = run(&["profiles", "show", "bot"]);
    assert_code(&unknown, 2, "unknown");
    assert!(unknown.stderr.contains("did you mean boot"), "{unknown:#?}");
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("own.toml");
    fs::write(&file, "name = \"own\"\nsumary = \"x\"\n").unwrap();
    let checked = run(&["profiles", "check", file.to_str().unwrap()]);
    assert_code(&checked, 2, "a misspelt key");
    assert!(checked.stderr.contains("own.toml:2"), "{checked:#?}");
}

#[test]
fn a_clean_up_of_another_machine_is_refused_where_there_is_nothing_of_amazon() {
    let test = "a_clean_up_of_another_machine_is_refused_where_there_is_nothing_of_amazon";
    if !can_run(test, OVER_SSH) {
        return;
    }
    let sshd = Sshd::start();
    let order = words(&["cleanup", "amazon-ami", "--dry-run"]);
    let outcome = run(&[order, login(&sshd.address(), &sshd)].concat());
    assert_code(&outcome, 3, "no Amazon Linux");
    assert!(outcome.stderr.contains("error: target: "), "{outcome:#?}");
}

/// A `systemctl` that notes in `log` what it is asked, and what comes of it: `bad` is no unit,
/// `idle` does not run, `slow` does not stop before the file `go` is there, `stuck` starts no more.
fn note_calls(place: &Path) {
    let script = format!(
        "#!/bin/sh\ncd {}\ncase $1.$2 in\n\
         is-active.idle | is-active.bad) echo inactive; exit 3 ;;\n\
         is-active.*) echo active; exit 0 ;;\nesac\n\
         echo \"$@\" >>log\n\
         case $1.$2 in\n\
         *.bad | start.stuck) echo no such unit >&2; exit 5 ;;\n\
         stop.slow) while [ -e log ] && [ ! -e go ]; do sleep 0.05; done ;;\nesac\n",
        place.display()
    );
    let program = place.join("systemctl");
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
}

/// A clone of a tree that stops `db.service` and `unit` for its last pass.
fn quiescing(place: &Path, unit: &str, source: &SmallRoot, target: &SmallRoot) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_instancesync"));
    command
        .args(["--yes", "--quiesce", "db.service", "--quiesce", unit])
        .arg("--source")
        .arg(source.path())
        .arg("--to")
        .arg(target.path())
        .env_clear()
        .env("PATH", format!("{}:/usr/bin:/bin", place.display()));
    command
}

#[test]
fn services_are_stopped_for_the_last_pass_and_always_started_again() {
    let (source, target) = (source(), SmallRoot::new());
    let place = tempfile::tempdir().unwrap();
    note_calls(place.path());
    let log = place.path().join("log");
    for (unit, code, calls) in [
        (
            "web",
            0,
            "stop db.service\nstop web\nstart web\nstart db.service\n",
        ),
        ("bad", 23, "stop db.service\nstop bad\nstart db.service\n"),
        ("idle", 0, "stop db.service\nstop idle\nstart db.service\n"),
        (
            "stuck",
            23,
            "stop db.service\nstop stuck\nstart stuck\nstart db.service\n",
        ),
    ] {
        let output = quiescing(place.path(), unit, &source, &target)
            .output()
            .unwrap();
        let called = fs::read_to_string(&log).unwrap();
        assert_eq!((output.status.code(), called.as_str()), (Some(code), calls));
        fs::remove_file(&log).unwrap();
    }
    let output = quiescing(place.path(), "--help", &source, &target).output();
    assert_eq!(
        output.unwrap().status.code(),
        Some(2),
        "no name of a service"
    );
}

/// A run that stops services for ever, until this is dropped; its calls.
struct Stopping {
    place: TempDir,
    run: Child,
    _trees: (SmallRoot, SmallRoot),
}

impl Stopping {
    /// Starts it, and waits until it is at the second service.
    fn start() -> Stopping {
        let trees = (source(), SmallRoot::new());
        let place = tempfile::tempdir().unwrap();
        note_calls(place.path());
        let run = quiescing(place.path(), "slow", &trees.0, &trees.1).spawn();
        let stopping = Stopping {
            place,
            run: run.unwrap(),
            _trees: trees,
        };
        stopping.wait_for("stop slow\n");
        stopping
    }

    fn log(&self) -> String {
        fs::read_to_string(self.place.path().join("log")).unwrap_or_default()
    }

    #[track_caller]
    fn wait_for(&self, what: &str) {
        let until = Instant::now() + Duration::from_secs(20);
        while !self.log().contains(what) {
            assert!(Instant::now() < until, "no {what}: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.run), signal).unwrap();
    }
}

impl Drop for Stopping {
    fn drop(&mut self) {
        fs::write(self.place.path().join("go"), "").unwrap();
    }
}

const STOPPED_AND_STARTED: &str = "stop db.service\nstop slow\nstart slow\nstart db.service\n";

#[test]
fn a_second_ctrl_c_starts_what_was_stopped_before_it_ends_the_run() {
    let mut stopping = Stopping::start();
    stopping.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(300));
    stopping.signal(Signal::INT);
    assert_eq!(stopping.run.wait().unwrap().code(), Some(130));
    assert_eq!(stopping.log(), STOPPED_AND_STARTED);
}

#[test]
fn what_a_run_has_stopped_that_is_killed_starts_again() {
    let mut stopping = Stopping::start();
    stopping.signal(Signal::KILL);
    stopping.run.wait().unwrap();
    stopping.wait_for("start db.service\n");
    assert_eq!(stopping.log(), STOPPED_AND_STARTED);
}
