//! What command lines, environments and answers become, and what is refused.

use std::collections::VecDeque;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use zeroize::Zeroizing;

use super::{
    CatchUp, Compression, DeleteLimit, Detail, Environment, HostKeyPolicy, Manner, Password,
    Reboot, Resume, Settings, StopAfter, Target,
};
use crate::cli;
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::monitor::Pass;
use crate::prompter::{NobodyThere, Prompter};

/// A person whose answers are written beforehand, and who remembers the questions.
#[derive(Default)]
struct Scripted {
    answers: Mutex<VecDeque<&'static str>>,
    questions: Mutex<Vec<String>>,
}

impl Scripted {
    fn new(answers: &[&'static str]) -> Scripted {
        Scripted {
            answers: Mutex::new(answers.iter().copied().collect()),
            questions: Mutex::default(),
        }
    }

    fn questions(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

impl Prompter for Scripted {
    fn confirm(&self, text: &str) -> Option<bool> {
        self.line(text).map(|answer| answer == "y")
    }

    fn secret(&self, prompt: &str) -> Option<Zeroizing<String>> {
        self.line(prompt).map(Zeroizing::new)
    }

    fn line(&self, prompt: &str) -> Option<String> {
        self.questions.lock().unwrap().push(prompt.to_owned());
        self.answers.lock().unwrap().pop_front().map(str::to_owned)
    }
}

fn environment() -> Environment {
    Environment {
        user: Some("someone".into()),
        directory: Some("/".into()),
        ..Environment::default()
    }
}

fn resolve_with(words: &[&str], prompter: &dyn Prompter) -> Result<Settings, Failure> {
    let words = ["instancesync"].iter().chain(words);
    let cli = cli::parse(words).unwrap();
    Settings::resolve(cli.clone, &environment(), prompter)
}

fn resolve(words: &[&str]) -> Result<Settings, Failure> {
    resolve_with(words, &NobodyThere)
}

#[test]
fn the_defaults_are_a_staged_clone_of_the_whole_system() {
    let settings = resolve(&["--target", "root@h", "--yes"]).unwrap();
    assert_eq!(settings.source, Path::new("/"));
    assert_eq!(settings.target_dir, Path::new("/"));
    assert_eq!(settings.passes, [Pass::Timestamp, Pass::Checksum]);
    assert_eq!(settings.manner, Manner::Staged);
    assert_eq!(settings.catch_up, CatchUp::WhileItPays);
    assert_eq!(settings.deletion, Some(DeleteLimit::Unlimited));
    assert_eq!(
        settings.course.reboot,
        Reboot::Within(Duration::from_secs(1200))
    );
    assert_eq!(settings.course.resume, Resume::Auto);
    assert_eq!(settings.course.stop_after, None);
    assert_eq!(settings.records.state, Path::new("/var/lib/instancesync"));
    assert_eq!(settings.compression, Compression::Auto);
    assert_eq!(settings.bytes_per_second, None);
    assert!(!settings.dry_run && settings.rules.is_empty());
    let Target::Machine { address, login } = settings.target else {
        panic!("no machine")
    };
    assert_eq!(address, "root@h");
    assert_eq!(login.default_user, "someone");
    assert_eq!(login.unknown_host_key, HostKeyPolicy::Ask);
    assert_eq!(login.known_hosts, None);
}

#[test]
fn flags_become_settings() {
    let directory = tempfile::tempdir().unwrap();
    let (source, target) = (directory.path().join("s"), directory.path().join("t"));
    std::fs::create_dir_all(source.join("disk")).unwrap();
    let (source, target) = (source.to_str().unwrap(), target.to_str().unwrap());
    let disk = format!("{source}/./disk/");
    let settings = resolve(&[
        "--to",
        target,
        "--source",
        source,
        "-n",
        "--delete",
        "--max-delete=7",
        "--only=checksum",
        "--compress=none",
        "--bwlimit=2M",
        "--include-mount",
        &disk,
        "-vv",
    ])
    .unwrap();
    assert!(matches!(settings.target, Target::Directory(to) if to == Path::new(target)));
    assert_eq!(settings.target_dir, Path::new(target));
    assert_eq!(settings.deletion, Some(DeleteLimit::AtMost(7)));
    assert_eq!(settings.passes, [Pass::Checksum]);
    assert_eq!(settings.compression, Compression::Off);
    assert_eq!(settings.bytes_per_second, Some(2 << 20));
    assert_eq!(settings.mounts, [Path::new(source).join("disk")]);
    assert_eq!(settings.output.detail, Detail::Trace);
    assert!(settings.dry_run && settings.output.items_to_stdout);
}

#[test]
fn what_is_no_running_system_is_written_in_place() {
    let target = tempfile::tempdir().unwrap();
    let to = target.path().to_str().unwrap();
    for words in [
        &["--target=h", "--yes", "--scope=tree"][..],
        &["--target=h", "--yes", "--target-dir=/mnt", "--scope=system"],
        &["--to", to, "--yes", "--scope=system", "--exclude=/tmp/"],
        &["--target=h", "--yes", "--source=/usr"],
    ] {
        let settings = resolve(words).unwrap();
        assert_eq!(settings.manner, Manner::InPlace, "{words:?}");
        assert_eq!(settings.course.reboot, Reboot::Never, "{words:?}");
        assert_eq!(settings.catch_up, CatchUp::Never, "{words:?}");
        assert_eq!(settings.deletion, None, "{words:?}");
    }
    let words = ["--to", to, "--yes", "--scope=system", "--exclude=/tmp/"];
    let settings = resolve(&[&words[..], &["--stage", "--stop-after=switch"]].concat()).unwrap();
    assert_eq!(settings.manner, Manner::Staged);
    assert_eq!(settings.course.reboot, Reboot::Never);
    assert_eq!(settings.course.stop_after, Some(StopAfter::Switch));
}

#[test]
fn the_course_of_a_whole_system_can_be_chosen() {
    let settings = resolve(&[
        "--target=h",
        "--yes",
        "--in-place",
        "--delete",
        "--max-delete=3",
        "--passes=3",
        "--reboot-timeout=60",
        "--stop-after=fix-up",
        "--pre-switch-hook=sync",
        "--post-boot-hook=true",
    ])
    .unwrap();
    assert_eq!(settings.manner, Manner::InPlace);
    assert_eq!(settings.deletion, Some(DeleteLimit::AtMost(3)));
    assert_eq!(settings.passes.len(), 4);
    assert_eq!(settings.catch_up, CatchUp::Never);
    let course = settings.course;
    assert_eq!(course.reboot, Reboot::Within(Duration::from_secs(60)));
    assert_eq!(course.stop_after, Some(StopAfter::FixUp));
    assert_eq!(course.hooks.pre_switch.as_deref(), Some("sync"));
    assert_eq!(course.hooks.post_boot.as_deref(), Some("true"));
    let settings = resolve(&["--target=h", "--yes", "--no-reboot", "--resume=never"]).unwrap();
    assert_eq!(settings.course.reboot, Reboot::Never);
    assert_eq!(settings.course.resume, Resume::Never);
    let settings = resolve(&["--target=h", "--yes", "--scope=tree", "--passes=auto"]).unwrap();
    assert_eq!(settings.catch_up, CatchUp::WhileItPays);
}

#[test]
fn refuses_what_makes_no_sense_for_a_course() {
    let mounted = &["--target=h", "--yes", "--target-dir=/mnt", "--scope=system"];
    let tree = &["--target=h", "--yes", "--scope=tree"];
    let running = &["--target=h", "--yes"];
    for (place, flags) in [
        (&tree[..], &["--stage"][..]),
        (tree, &["--in-place"]),
        (tree, &["--no-reboot"]),
        (tree, &["--reboot-timeout=9"]),
        (tree, &["--stop-after=plan"]),
        (tree, &["--resume=auto"]),
        (tree, &["--pre-switch-hook=true"]),
        (tree, &["--post-boot-hook=true"]),
        (tree, &["--passes=0"]),
        (tree, &["--passes=21"]),
        (tree, &["--passes=many"]),
        (mounted, &["--reboot-timeout=9"]),
        (mounted, &["--post-boot-hook=true"]),
        (mounted, &["--resume=never"]),
        (running, &["--delete", "--max-delete=3"]),
        (running, &["--in-place", "--stop-after=check"]),
        (running, &["--in-place", "--stop-after=switch"]),
        (running, &["--in-place", "--resume=never"]),
        (running, &["--pre-switch-hook= "]),
    ] {
        assert!(resolve(place).is_ok(), "{place:?}");
        let failure = resolve(&[place, flags].concat()).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage, "{flags:?}");
        assert!(!failure.hints.is_empty(), "{flags:?}: no hint");
    }
}

#[test]
fn relative_paths_are_seen_from_the_working_directory() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::create_dir(directory.path().join("s")).unwrap();
    let cli = cli::parse(["instancesync", "--target=h", "--source=./s", "--yes"]).unwrap();
    let environment = Environment {
        directory: Some(directory.path().into()),
        ..environment()
    };
    let settings = Settings::resolve(cli.clone, &environment, &NobodyThere).unwrap();
    assert_eq!(settings.source, directory.path().join("s"));
    assert_eq!(settings.target_dir, settings.source);
}

#[test]
fn a_way_to_the_root_is_the_root() {
    let directory = tempfile::tempdir().unwrap();
    let link = directory.path().join("link");
    std::os::unix::fs::symlink("/", &link).unwrap();
    for source in ["/usr/..", "..", link.to_str().unwrap()] {
        let settings = resolve(&["--target=h", "--source", source, "--yes"]).unwrap();
        assert_eq!(settings.source, Path::new("/"), "{source}");
        assert_eq!(settings.manner, Manner::Staged, "{source}");
    }
    let other = directory.path().join("other");
    std::os::unix::fs::symlink("/usr", &other).unwrap();
    let words = ["--target=h", "--source", other.to_str().unwrap(), "--yes"];
    assert_eq!(resolve(&words).unwrap().source, other, "a link stays");
}

#[test]
fn the_link_carries_no_more_than_is_allowed() {
    let limited = resolve(&["--target=h", "--bwlimit=1M", "--yes"]).unwrap();
    assert_eq!(limited.link_rate(Some(100 << 20)), Some(1 << 20));
    assert_eq!(limited.link_rate(Some(1000)), Some(1000));
    assert_eq!(limited.link_rate(None), Some(1 << 20));
    let free = resolve(&["--target=h", "--yes"]).unwrap();
    assert_eq!(free.link_rate(Some(1000)), Some(1000));
}

#[test]
fn tells_before_the_question_what_cannot_be_brought_back() {
    let settings = resolve(&["--target=h", "--yes"]).unwrap();
    let person = Scripted::new(&["n"]);
    let failure = super::agreement_without_return(&settings, &person).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    insta::assert_snapshot!(person.questions()[0], @r"
    Source     this machine, /
    Target     h, /
    Passes     timestamp pass, then more while each sends less than half, then checksum pass
    The new system is put together beside the one that runs on the target, checked,
    and switched to in an instant; then the target reboots. Until the switch nothing
    that it runs on changes, and 'instancesync rollback' brings the old one back.
    The system that the last switch has replaced is removed first: from then on 'rollback'
    can only bring back the one that runs now.

    Go ahead?
    ");
}

#[test]
fn asks_for_what_is_missing_and_once_more() {
    let person = Scripted::new(&[
        "not an address",
        "root@h",
        "/no/such",
        "",
        "rel",
        "/new",
        "y",
    ]);
    let settings = resolve_with(&[], &person).unwrap();
    assert_eq!(settings.source, Path::new("/"));
    assert_eq!(settings.target_dir, Path::new("/new"));
    let questions = person.questions();
    assert_eq!(questions.len(), 7);
    assert!(questions[3].starts_with("That will not do: source /no/such: No such file"));
    insta::assert_snapshot!(questions[6], @r"
    Source     this machine, /
    Target     root@h, /new
    Passes     timestamp pass, then checksum pass
    Deletion   nothing is deleted on the target

    Go ahead?
    ");
}

#[test]
fn shows_everything_that_matters_before_the_question() {
    let person = Scripted::new(&["n"]);
    let mut words = vec![
        "--target=root@h",
        "--scope=tree",
        "--delete",
        "--include=/a/b",
    ];
    words.extend(std::iter::repeat_n("--exclude=*.log", 9));
    let failure = resolve_with(&words, &person).unwrap_err();
    assert_eq!(failure.exit, ExitCode::Refused);
    insta::assert_snapshot!(person.questions()[0], @r"
    Source     this machine, /
    Target     root@h, /
    Passes     timestamp pass, then checksum pass
    Deletion   what the source does not have is deleted on the target
    Include    /a/b
    Exclude    *.log
    Exclude    *.log
    Exclude    *.log
    Exclude    *.log
    Exclude    *.log
    Exclude    *.log
    Exclude    *.log
               and 2 more rules
    The system that runs on the target will be overwritten.

    Go ahead?
    ");
}

#[test]
fn a_dry_run_needs_no_agreement_and_a_change_does() {
    assert!(resolve(&["--target=h", "--dry-run"]).is_ok());
    let unattended = resolve(&["--target=h"]).unwrap_err();
    assert_eq!(unattended.exit, ExitCode::Refused);
    assert_eq!(resolve(&["--yes"]).unwrap_err().exit, ExitCode::Usage);
}

#[test]
fn refuses_a_target_directory_that_overlaps_the_source() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::create_dir_all(at("s/in")).unwrap();
    std::os::unix::fs::symlink(at("s"), at("link")).unwrap();
    let exit = |source: &str, to: &str, more: &[&str]| {
        let (source, to) = (at(source), at(to));
        let words = [&["-n", "--source", &source, "--to", &to], more].concat();
        resolve(&words).map_or_else(|failure| failure.exit, |_| ExitCode::Complete)
    };
    for (source, to) in [
        ("s", "s"),
        ("s", "link"),
        ("link", "s/in"),
        ("s", "s/new/er"),
        ("s", "none/../s/in"),
        ("s/in", "s"),
        ("s/in", ""),
    ] {
        assert_eq!(exit(source, to, &[]), ExitCode::Refused, "{source} {to}");
    }
    for (source, to) in [("s", "t"), ("s", "s2"), ("s/in", "s/new")] {
        assert_eq!(exit(source, to, &[]), ExitCode::Complete, "{source} {to}");
    }
    let left_out = ["--exclude", "/new/"];
    assert_eq!(exit("s", "s/new/er", &left_out), ExitCode::Complete);
}

#[test]
fn refuses_what_makes_no_sense() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let file = file.path().to_str().unwrap();
    for words in [
        &["--target=-oProxy", "--yes"][..],
        &["--target=/dir", "--yes"],
        &["--target=h", "--target-dir=rel", "--yes"],
        &["--target=h", "--target-dir=/srv/..", "--yes"],
        &["--target=h", "--target-dir=/x", "--hostname=web", "--yes"],
        &["--target=h", "--target-dir=/x", "--kernel=target", "--yes"],
        &["--to=/x", "--source=/", "--identity-policy=move", "--yes"],
        &["--target=h", "--source", file, "--yes"],
        &[
            "--target=h",
            "--source=/usr",
            "--include-mount=/etc",
            "--yes",
        ],
        &["--target=h", "--include-mount=/no/such", "--yes"],
        &["--target=h", "--bwlimit=100", "--yes"],
        &["--target=h", "--exclude=[", "--yes"],
        &["--target=h", "--identity=/no/such", "--yes"],
        &["--target=h", "--identity=/", "--yes"],
        &["--target=h", "--host-key-fingerprint=MD5:00", "--yes"],
    ] {
        let failure = resolve(words).unwrap_err();
        assert_eq!(failure.exit, ExitCode::Usage, "{words:?}");
    }
}

fn password(file: &Path) -> Result<Option<Password>, Failure> {
    let file = file.to_str().unwrap();
    let settings = resolve(&["--target=h", "--yes", "--password-file", file])?;
    let Target::Machine { login, .. } = settings.target else {
        panic!("no machine")
    };
    Ok(login.password)
}

#[test]
fn reads_a_password_from_a_private_file_only() {
    let directory = tempfile::tempdir().unwrap();
    let file: PathBuf = directory.path().join("password");
    let write = |text: &str, mode| {
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("s p ä\r\nsecond", 0o600);
    let read = password(&file).unwrap().unwrap();
    assert_eq!(read.reveal().as_str(), "s p ä");
    assert_eq!(format!("{read:?}"), "Password(…)");
    write("secret\n", 0o640);
    let failure = password(&file).unwrap_err();
    assert!(failure.to_string().ends_with("can read it (mode 0640)"));
    assert!(!format!("{failure:?}").contains("secret"));
    write("\n", 0o600);
    assert!(password(&file).is_err());
}

#[test]
fn takes_a_fingerprint_with_or_without_padding() {
    let digest = "A".repeat(43);
    for text in [format!("SHA256:{digest}"), format!("SHA256:{digest}=")] {
        let settings = resolve(&["--target=h", "--yes", "--host-key-fingerprint", &text]).unwrap();
        let Target::Machine { login, .. } = settings.target else {
            panic!("no machine")
        };
        let expected = HostKeyPolicy::Fingerprint(format!("SHA256:{digest}"));
        assert_eq!(login.unknown_host_key, expected);
    }
}
