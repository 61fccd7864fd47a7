//! A source and a target that know each other, and what each of them has of its own.
//!
//! Knows nothing of what should come of a clone.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::binary::{self, Outcome};
use crate::support::machine::{Machine, Mounted, Network, Recipe, Started};

/// The address of the target.
pub const TARGET: &str = "192.0.2.2";
/// How the target is named on the command line.
const LOGIN: &str = "root@192.0.2.2";
/// LIMIT: how long a run may take to reach the moment that is waited for.
const PATIENCE: Duration = Duration::from_secs(120);
/// Top-level directories with a file each that tells whose it is.
const MARKED: [&str; 7] = ["etc", "home", "opt", "root", "srv", "usr", "var"];

/// Two machines; the source can log in at the target as root.
pub struct Pair<'n> {
    pub source: Machine<'n>,
    pub target: Machine<'n>,
}

impl<'n> Pair<'n> {
    /// Makes both, with nothing of their own but what makes a machine, and a marker in each
    /// top-level directory.
    pub fn create(network: &'n Network, source: &Recipe, target: &Recipe) -> Pair<'n> {
        let pair = Pair {
            source: Machine::create(network, "source", "192.0.2.1", source),
            target: Machine::create(network, "target", TARGET, target),
        };
        pair.source.can_log_in_at(&pair.target);
        mark(&pair.source.disk(), "source");
        mark(&pair.target.disk(), "target");
        pair
    }

    /// Gives the source users, a package, a service and data, and the target others.
    pub fn furnish(&self) {
        let source = self.source.disk();
        add_user(&source, "alice", "correct horse");
        add_package(&source, "gift");
        add_service(
            &source,
            "hello",
            "while :; do date >/srv/beat/now; sleep 1; done",
        );
        source.put("/srv/beat/now", "never\n");
        add_data(&source);
        let target = self.target.disk();
        add_user(&target, "bob", "battery staple");
        add_package(&target, "remnant");
        add_service(&target, "remnant", "sleep infinity");
        target.put("/srv/old/file", "of nobody\n");
        target.put("/opt/remnant/file", "of nobody\n");
        target.put("/etc/remnant.conf", "of nobody\n");
    }

    /// Switches both on.
    pub fn start(&mut self) {
        self.source.switch_on();
        self.target.start();
        self.source.wait_until_up();
        self.source.lend(Path::new(&binary::program()));
    }

    /// Switches both off.
    pub fn stop(&mut self) {
        self.source.stop();
        self.target.stop();
    }

    /// Starts the clone on the source.
    pub fn launch(&self, more: &[&str]) -> Started {
        let words = ["--target", LOGIN, "--yes", "--accept", "target-container"];
        self.source.launch(&program(&[&words, more].concat()))
    }

    /// Runs the clone on the source to its end.
    #[track_caller]
    pub fn clone_with(&self, more: &[&str]) -> Outcome {
        self.launch(more).wait()
    }

    /// Waits until the switch of a run has begun, or the run has ended.
    pub fn wait_for_journal(&self, run: &Started) {
        let journal = self.target.running_root().unwrap();
        let journal = journal.join(".instancesync/journal");
        let deadline = Instant::now() + PATIENCE;
        while !journal.exists() && run.is_running() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Runs a command about the target on the source: `status`, `rollback`, `discard`.
    #[track_caller]
    pub fn order(&self, words: &[&str]) -> Outcome {
        let words = [words, &["--target", LOGIN]].concat();
        self.source.launch(&program(&words)).wait()
    }
}

/// Puts the lent program in front.
fn program<'a>(words: &[&'a str]) -> Vec<&'a str> {
    [&["/run/lent/instancesync"], words].concat()
}

fn mark(disk: &Mounted, name: &str) {
    for directory in MARKED {
        disk.put(&format!("/{directory}/marker"), &format!("{name}\n"));
    }
}

/// Returns whose marker each top-level directory has, without repetition: one name, or it is a
/// mixture.
pub fn owners(disk: &Mounted) -> Vec<String> {
    let mut owners: Vec<String> = MARKED
        .iter()
        .map(|directory| disk.text(&format!("/{directory}/marker")).trim().to_owned())
        .collect();
    owners.sort();
    owners.dedup();
    owners
}

fn add_user(disk: &Mounted, name: &str, password: &str) {
    disk.run(&format!(
        "useradd --create-home --shell /bin/bash {name}; echo '{name}:{password}' | chpasswd"
    ));
    disk.run(&format!(
        "echo 'a note of {name}' >/home/{name}/note; chown {name}: /home/{name}/note"
    ));
}

/// Builds and installs a package with one program, which prints the package's name.
pub fn add_package(disk: &Mounted, name: &str) {
    disk.run(&format!(
        "mkdir -p /var/tmp/p/DEBIAN /var/tmp/p/usr/bin
        printf 'Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n' \
            >/var/tmp/p/DEBIAN/control
        printf '#!/bin/sh\necho {name}\n' >/var/tmp/p/usr/bin/{name}
        chmod 755 /var/tmp/p/usr/bin/{name}
        dpkg-deb --build /var/tmp/p /opt/{name}.deb
        dpkg -i /opt/{name}.deb
        rm -r /var/tmp/p"
    ));
}

/// Makes a service of a shell command and enables it.
pub fn add_service(disk: &Mounted, name: &str, command: &str) {
    disk.put(
        &format!("/etc/systemd/system/{name}.service"),
        &format!(
            "[Service]\nExecStart=/bin/sh -c '{command}'\nKillMode=control-group\n\
             [Install]\nWantedBy=multi-user.target\n"
        ),
    );
    disk.run(&format!("systemctl --quiet enable {name}.service"));
}

/// Files of every kind that a server has, below `/srv`, `/opt` and `/home`.
fn add_data(disk: &Mounted) {
    disk.run(
        "mkdir -p /srv/data /opt/app
        head -c 20000000 /dev/urandom >/srv/data/blob
        truncate --size 50M /srv/data/sparse; echo end >>/srv/data/sparse
        ln /srv/data/blob /srv/data/linked
        ln -s ../data/blob /srv/data/pointing
        mkfifo /srv/data/pipe
        install -m 4755 /usr/bin/id /opt/app/run
        chown alice:alice /opt/app
        i=0; while [ $i -lt 500 ]; do echo $i >/srv/data/small-$i; i=$((i + 1)); done",
    );
    let blob = disk.root().join("srv/data/blob");
    xattr::set(&blob, "user.of", b"the source").unwrap();
    // cap_net_raw+ep, as setcap writes it.
    let capability = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let capable = disk.root().join("usr/bin/gift");
    xattr::set(&capable, "security.capability", &capability).unwrap();
}
