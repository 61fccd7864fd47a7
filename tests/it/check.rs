//! A stage made of this machine's programs passes; each thing that is broken in it is found by the
//! check for it, and nothing of stage, target or mounts changes.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use crate::support::manifest::{Manifest, diff};
use crate::support::places::bring;
use crate::support::{Ability, can_run, sshd};
use instancesync::check::{CheckFacts, CheckOutcome, CheckReport, check};
use instancesync::exclude::{Rule, Rules, Verdict};
use instancesync::facts::Facts;
use instancesync::fixup::{Gathered, Task};
use instancesync::fs::{Dir, Staged};
use instancesync::relpath::RelPath;
use tempfile::TempDir;

const PAIR: &str = "pair";
/// What has to be there for a test; the rest is taken where it is.
const NEEDED: [&str; 2] = ["/bin/sh", "/usr/sbin/sshd"];
const MORE: [&str; 2] = ["/lib/systemd/systemd", "/usr/bin/dpkg"];

/// A target with a stage that can live.
struct Ground {
    place: TempDir,
    volumes: Vec<RelPath>,
}

fn put(root: &Path, at: &str, contents: &str) {
    let file = root.join(at);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, contents).unwrap();
}

impl Ground {
    fn new() -> Ground {
        Ground::with(Vec::new())
    }

    /// With stages on further volumes.
    fn with(volumes: Vec<RelPath>) -> Ground {
        let place = tempfile::tempdir().unwrap();
        fs::create_dir_all(place.path().join("var/lib")).unwrap();
        let live = Dir::open_root(place.path()).unwrap();
        Staged::make(&live, &volumes).unwrap();
        let ground = Ground { place, volumes };
        let (live, stage) = (ground.live(), ground.stage());
        let programs = NEEDED
            .iter()
            .chain(MORE.iter().filter(|path| Path::new(path).exists()));
        programs.for_each(|program| bring(&stage, program));
        fs::create_dir_all(stage.join("sbin")).unwrap();
        let init = match stage.join("lib/systemd/systemd").exists() {
            true => "/lib/systemd/systemd",
            false => "/bin/sh",
        };
        symlink(init, stage.join("sbin/init")).unwrap();
        for name in ["proc", "sys", "dev", "run", "tmp", "var/lib"] {
            fs::create_dir_all(stage.join(name)).unwrap();
        }
        put(live, "sbin/init", "");
        for root in [live, &stage] {
            put(root, "etc/fstab", "UUID=target / ext4 defaults 0 1\n");
        }
        put(live, "etc/ssh/ssh_host_rsa_key", "the target's");
        put(live, "etc/keys/own", "the target's");
        put(live, "boot/vmlinuz-6.1.0-1-amd64", "");
        put(live, "lib/modules/6.1.0-1-amd64/modules.dep", "");
        let rows = "root:x:0:0::/root:/bin/sh\nsshd:x:102:65534::/run/sshd:/bin/false\n";
        put(&stage, "etc/passwd", rows);
        put(&stage, "etc/group", "root:x:0:\n");
        put(&stage, "etc/machine-id", "");
        put(
            &stage,
            "root/.ssh/authorized_keys",
            "ssh-ed25519 AAAA instancesync:pair:n:\n",
        );
        put(&stage, "etc/ssh/sshd_config", "HostKey /etc/ssh/key\n");
        sshd::make_key(&stage.join("etc/ssh/key"));
        ground.fix_up();
        ground
    }

    fn live(&self) -> &Path {
        self.place.path()
    }

    fn stage(&self) -> PathBuf {
        self.live().join(".instancesync/stage")
    }

    /// Carries what is kept, and leaves the note.
    fn fix_up(&self) {
        let keep = [
            "/etc/ssh/ssh_host_*",
            "/etc/keys/***",
            "/boot/***",
            "/lib/modules/*",
        ];
        let keep = keep.map(|at| Rule::new(Verdict::Keep, at, "test").because("why"));
        let task = Task {
            mergers: Vec::new(),
            source: Gathered::default(),
            source_facts: Facts::default(),
            target_facts: Facts::default(),
            rules: Rules::new(keep.to_vec()).unwrap(),
            returning_pair: None,
            new_name: None,
            staged: Some(self.volumes.clone()),
            apart: Vec::new(),
            dry_run: false,
        };
        let report = task.perform(self.live()).unwrap();
        assert_eq!(report.problems, []);
    }

    fn check(&self) -> CheckReport {
        let live = Dir::open_root(self.live()).unwrap();
        let staged = Staged::open(&live, &self.volumes).unwrap();
        let facts = CheckFacts {
            pair: Some(PAIR.to_owned()),
        };
        check(self.live(), &staged, &facts)
    }
}

fn failures(report: &CheckReport) -> Vec<String> {
    report
        .failures()
        .map(|(checked, _)| checked.id.clone())
        .collect()
}

fn outcome<'a>(report: &'a CheckReport, id: &str) -> &'a CheckOutcome {
    &report
        .results
        .iter()
        .find(|checked| checked.id == id)
        .unwrap()
        .outcome
}

fn can_check(test: &str) -> bool {
    can_run(test, &[Ability::Root, Ability::Sshd])
}

/// Breaks one thing in a stage.
type Breakage = fn(&Path);

const BREAKAGES: [(&str, Breakage); 13] = [
    ("loader", |stage| {
        for library in walkdir::WalkDir::new(stage).into_iter().flatten() {
            if library.file_name() == "libc.so.6" {
                fs::remove_file(library.path()).unwrap();
            }
        }
    }),
    ("loader", |stage| {
        fs::remove_file(stage.join("bin/sh")).unwrap();
    }),
    ("sshd", |stage| {
        put(
            stage,
            "etc/ssh/sshd_config",
            "HostKey /etc/ssh/key\nNonsense yes\n",
        );
    }),
    ("sshd", |stage| {
        fs::remove_file(stage.join("etc/ssh/key")).unwrap();
    }),
    ("init", |stage| {
        fs::remove_file(stage.join("sbin/init")).unwrap();
    }),
    ("init", |stage| {
        fs::remove_file(stage.join("sbin/init")).unwrap();
        symlink("/lib/nowhere", stage.join("sbin/init")).unwrap();
    }),
    ("init", |stage| {
        fs::remove_file(stage.join("sbin/init")).unwrap();
        put(stage, "sbin/init", "exec /lib/systemd/systemd\n");
        let is_program = fs::Permissions::from_mode(0o755);
        fs::set_permissions(stage.join("sbin/init"), is_program).unwrap();
    }),
    ("root-shell", |stage| {
        put(
            stage,
            "etc/passwd",
            "root:x:0:0::/root:/bin/zsh\nsshd:x:102:65534::/:/bin/false\n",
        );
    }),
    ("run-key", |stage| {
        put(stage, "root/.ssh/authorized_keys", "ssh-ed25519 AAAA me\n");
    }),
    ("kernel", |stage| {
        fs::remove_dir_all(stage.join("lib/modules")).unwrap();
    }),
    ("fstab", |stage| {
        put(stage, "etc/fstab", "UUID=source / ext4 defaults 0 1\n");
    }),
    ("kept", |stage| {
        fs::remove_file(stage.join("etc/ssh/ssh_host_rsa_key")).unwrap();
    }),
    ("kept", |stage| {
        fs::remove_file(stage.join("etc/keys/own")).unwrap();
        put(stage, "etc/keys/own", "the source's");
    }),
];

#[test]
fn each_breakage_is_found_by_its_own_check() {
    if !can_check("each_breakage_is_found_by_its_own_check") {
        return;
    }
    for (index, (id, breakage)) in BREAKAGES.iter().enumerate() {
        let ground = Ground::new();
        // The clock of the kernel ticks every few milliseconds: the breakage is seen to be later.
        std::thread::sleep(std::time::Duration::from_millis(30));
        breakage(&ground.stage());
        let report = ground.check();
        let expected = match (*id, index) {
            // Without a shell root has none either.
            ("loader", 1) => vec!["loader", "root-shell"],
            // The target keeps them.
            ("kernel", _) => vec!["kernel", "kept"],
            (id, _) => vec![id],
        };
        assert_eq!(failures(&report), expected, "breakage {index}: {report:#?}");
        let (_, text) = report.failures().next().unwrap();
        assert!(
            text.contains([';', ':']),
            "breakage {index} has no advice: {text}"
        );
        assert!(!report.is_passed());
    }
}

#[test]
fn a_stage_that_can_live_passes_and_nothing_changes() {
    if !can_check("a_stage_that_can_live_passes_and_nothing_changes") {
        return;
    }
    let ground = Ground::new();
    let before = Manifest::of(ground.live());
    let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
    let is_ours = |line: &&str| line.contains(ground.live().to_str().unwrap());
    let report = ground.check();
    assert!(report.is_passed(), "{report:#?}");
    for id in [
        "loader",
        "sshd",
        "init",
        "root-shell",
        "run-key",
        "fstab",
        "kept",
        "machine-id",
        "kernel",
    ] {
        assert_eq!(*outcome(&report, id), CheckOutcome::Passed, "{id}");
    }
    let differences = diff(&before, &Manifest::of(ground.live()));
    assert!(differences.is_empty(), "{differences:?}");
    assert_eq!(
        mounts().lines().filter(is_ours).count(),
        0,
        "a mount is left"
    );
}

/// What a program of the clone can see and do, found out by a shell in the place of the server.
const SPY: &str = "#!/bin/sh
status=0
say() { echo \"$1\" >&2; status=1; }
( : > /etc/written ) 2>/dev/null && say 'the stage can be written to'
( : > /var/lib/written ) 2>/dev/null && say 'a volume can be written to'
[ -e /run/systemd ] && say 'sockets of the target are there'
[ -e /run/sshd ] || say 'there is no /run/sshd'
( echo x > /dev/null ) 2>/dev/null || say 'there is no /dev/null'
[ -e /dev/sda ] || [ -e /dev/vda ] && say 'disks are there'
( : > /tmp/x ) 2>/dev/null || say '/tmp cannot be written to'
[ -e /var/lib/volume ] || say 'the further volume is not there'
while read -r interface rest; do
    case $interface in eth*|en*|wl*) say \"the network is there: $interface\" ;; esac
done < /proc/net/dev
exit $status
";

#[test]
fn programs_of_the_clone_reach_nothing_of_the_target() {
    if !can_check("programs_of_the_clone_reach_nothing_of_the_target") {
        return;
    }
    let ground = Ground::with(vec![RelPath::new(b"var/lib").unwrap()]);
    put(ground.live(), "var/lib/.instancesync/stage/volume", "");
    let server = ground.stage().join("usr/sbin/sshd");
    fs::write(&server, SPY).unwrap();
    fs::set_permissions(&server, fs::Permissions::from_mode(0o755)).unwrap();
    let report = ground.check();
    assert_eq!(*outcome(&report, "sshd"), CheckOutcome::Passed);
    assert!(report.is_passed(), "{report:#?}");
}

#[test]
fn a_clone_without_a_server_where_the_target_has_one_fails() {
    if !can_check("a_clone_without_a_server_where_the_target_has_one_fails") {
        return;
    }
    let ground = Ground::new();
    fs::remove_file(ground.stage().join("usr/sbin/sshd")).unwrap();
    let alone = ground.check();
    assert!(matches!(
        outcome(&alone, "sshd"),
        CheckOutcome::NotApplicable(_)
    ));
    put(ground.live(), "usr/sbin/sshd", "");
    assert_eq!(failures(&ground.check()), ["sshd"]);
}

#[test]
fn what_the_target_changed_since_does_not_fail() {
    if !can_check("what_the_target_changed_since_does_not_fail") {
        return;
    }
    let ground = Ground::new();
    // The clock of the kernel ticks every few milliseconds.
    std::thread::sleep(std::time::Duration::from_millis(30));
    put(ground.live(), "etc/keys/newer", "made after the fix-ups");
    put(ground.live(), "boot/vmlinuz-6.1.0-2-amd64", "");
    put(ground.live(), "lib/modules/6.1.0-2-amd64/modules.dep", "");
    put(ground.live(), "replaced", "renamed over");
    fs::rename(
        ground.live().join("replaced"),
        ground.live().join("etc/keys/own"),
    )
    .unwrap();
    assert_eq!(failures(&ground.check()), [""; 0]);
}
