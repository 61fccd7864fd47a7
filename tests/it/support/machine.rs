//! Booted machines: a Debian on a disk image of its own, with its own systemd, network, keys and
//! sshd, run by systemd-nspawn.
//!
//! A machine that reboots is started again, as hardware does. One can cut its power: nothing that
//! its file system has not written is there afterwards. Knows nothing of instancesync.

mod disk;
mod network;
mod power;
mod recipe;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub use disk::{Mounted, wait_until_free};
pub use network::Network;
pub use power::Started;
pub use recipe::{Recipe, Stack};

use rustix::process::{Signal, kill_process};

use crate::support::Ability;
use crate::support::binary::Outcome;
use crate::support::manifest::Manifest;
use disk::Fuse;
use power::Power;

/// What a test needs that boots machines.
pub const BOOTED: &[Ability] = &[Ability::Root, Ability::Sshd, Ability::Machines];
/// The private directory of instancesync, which holds a second tree.
const PRIVATE: &str = ".instancesync";
/// LIMIT: how long a boot may take on a busy machine; it takes 3 to 5 s.
const BOOT_PATIENCE: Duration = Duration::from_secs(90);
/// LIMIT: how long one command within a machine may take, in seconds.
const COMMAND_PATIENCE: &str = "120";

/// A machine, switched off at first. Dropping it cuts its power and removes its disk.
pub struct Machine<'n> {
    network: &'n Network,
    name: &'static str,
    address: &'static str,
    image: PathBuf,
    host_key: String,
    power: Option<Power>,
    fuse: Option<Fuse>,
}

impl<'n> Machine<'n> {
    /// Makes the disk of a machine: `name` is its host name and the root password is
    /// `secret-NAME`.
    pub fn create(
        network: &'n Network,
        name: &'static str,
        address: &'static str,
        recipe: &Recipe,
    ) -> Machine<'n> {
        let image = network.place().join(format!("{name}.img"));
        disk::copy_base(recipe, &image);
        network.add_namespace(name);
        let mut machine = Machine {
            network,
            name,
            address,
            image,
            host_key: String::new(),
            power: None,
            fuse: None,
        };
        let disk = machine.disk();
        machine.host_key = recipe::make_own(recipe, &disk, name, address);
        recipe::let_in(disk.root(), &network.public_key());
        drop(disk);
        machine
    }

    /// The line of `known_hosts` that it has from its making.
    pub fn known_host(&self) -> String {
        format!("{} {}\n", self.address, self.host_key)
    }

    /// Mounts its disk while it is off, to look or to change.
    #[track_caller]
    pub fn disk(&self) -> Mounted {
        assert!(self.power.is_none(), "{} is running", self.name);
        Mounted::new(&self.image)
    }

    /// What its disk holds while it is off, without what instancesync keeps beside it.
    #[track_caller]
    pub fn manifest(&self) -> Manifest {
        Manifest::without(self.disk().root(), PRIVATE)
    }

    /// What its disk holds while it runs; nothing in it may be writing but logs.
    #[track_caller]
    pub fn manifest_while_it_runs(&self) -> Manifest {
        // The same file system, mounted a second time without what lies over it.
        Manifest::without(Mounted::new(&self.image).root(), PRIVATE)
    }

    /// Gives it a key that logs in at `target` as root, and tells it that machine's host key.
    pub fn can_log_in_at(&self, target: &Machine<'_>) {
        let key = recipe::make_login(self.disk().root(), &target.known_host());
        recipe::let_in(target.disk().root(), &key);
    }

    /// Switches it on and waits until it lets somebody in.
    pub fn start(&mut self) {
        self.switch_on();
        self.wait_until_up();
    }

    /// Switches it on. From now on it is started again whenever it reboots.
    pub fn switch_on(&mut self) {
        assert!(self.power.is_none(), "{} is running", self.name);
        let namespace = self.network.namespace(self.name);
        let switch = self.network.switch();
        self.power = Some(Power::on(&self.image, &namespace, &switch));
    }

    /// Waits until it runs and its sshd lets the tester in.
    #[track_caller]
    pub fn wait_until_up(&self) {
        assert!(
            self.comes_up_within(BOOT_PATIENCE),
            "{} does not come up:\n{}",
            self.name,
            self.console()
        );
    }

    /// Tells whether it lets the tester in over the network before the time is over.
    pub fn comes_up_within(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.ssh("true").code == Some(0) {
                // Everything that a boot starts and writes is through, or has failed.
                self.run("systemctl is-system-running --wait");
                return true;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        false
    }

    /// Waits for the `number`th boot, counted from the making of the machine's power.
    #[track_caller]
    pub fn wait_for_boot(&self, number: usize) {
        let deadline = Instant::now() + BOOT_PATIENCE;
        while self.boots() < number {
            assert!(Instant::now() < deadline, "{} does not reboot", self.name);
            std::thread::sleep(Duration::from_millis(50));
        }
        self.wait_until_up();
    }

    /// How often it has booted since it was switched on.
    pub fn boots(&self) -> usize {
        self.power.as_ref().map_or(0, Power::boots)
    }

    /// The id of the boot that runs.
    pub fn boot_id(&self) -> String {
        self.run("cat /proc/sys/kernel/random/boot_id").stdout
    }

    /// What it has printed on its console, the last lines.
    pub fn console(&self) -> String {
        let log = fs::read(power::log_of(&self.image)).unwrap_or_default();
        let text = String::from_utf8_lossy(&log).into_owned();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }

    /// Switches it off as a person does who waits for it.
    #[track_caller]
    pub fn stop(&mut self) {
        self.fuse = None;
        self.run("systemctl poweroff");
        let power = self.power.take().expect("a machine that runs");
        power.off();
        disk::wait_until_free(&self.image);
    }

    /// Prepares to cut its power in a moment that is short.
    #[track_caller]
    pub fn arm(&mut self) {
        let root = self.running_root().expect("a machine that runs");
        self.fuse = Some(Fuse::lay(&root));
    }

    /// Cuts its power: its file system is shut first, so that nothing reaches the disk that was
    /// not there yet, neither files nor names. The cache of the real disk below survives.
    #[track_caller]
    pub fn cut_power(&mut self) {
        if self.fuse.is_none() && self.running_root().is_some() {
            self.arm();
        }
        if let Some(mut fuse) = self.fuse.take() {
            fuse.light();
        }
        let power = self.power.take().expect("a machine that runs");
        power.cut();
        disk::wait_until_free(&self.image);
    }

    /// Kills the agents that run in it.
    pub fn kill_agents(&self) {
        let power = self.power.as_ref().expect("a machine that runs");
        for agent in power.processes_with(b"agent") {
            // Gone already is as good.
            kill_process(agent, Signal::KILL).ok();
        }
    }

    /// Where its root can be seen from outside while it runs; other mounts of it as well.
    pub fn running_root(&self) -> Option<PathBuf> {
        self.power.as_ref()?.root()
    }

    /// Runs a shell command as root on its console and waits for it.
    #[track_caller]
    pub fn run(&self, command: &str) -> Outcome {
        let mut inside = self.inside(&["timeout", COMMAND_PATIENCE, "sh", "-c", command]);
        outcome(inside.stdin(Stdio::null()))
    }

    /// Runs a shell command that must succeed and returns what it prints.
    #[track_caller]
    pub fn ask(&self, command: &str) -> String {
        let outcome = self.run(command);
        assert_eq!(
            outcome.code,
            Some(0),
            "{}: {command}: {outcome:#?}",
            self.name
        );
        outcome.stdout
    }

    /// Starts a program on its console, without a shell.
    pub fn launch(&self, words: &[&str]) -> Started {
        Started::new(self.inside(words))
    }

    /// Puts a program into a directory below its `/run` and returns its path there.
    #[track_caller]
    pub fn lend(&self, program: &Path) -> String {
        let name = program.file_name().unwrap().to_str().unwrap();
        let path = format!("/run/lent/{name}");
        let root = self.running_root().expect("a machine that runs");
        fs::create_dir_all(root.join("run/lent")).unwrap();
        fs::copy(program, root.join(&path[1..])).unwrap();
        path
    }

    /// Runs a shell command over its sshd, from a third place on the network.
    pub fn ssh(&self, command: &str) -> Outcome {
        let known = self
            .network
            .place()
            .join(format!("{}.known_hosts", self.name));
        fs::write(&known, self.known_host()).unwrap();
        let mut ssh = self.network.beside(&["ssh", "-F", "/dev/null"]);
        for option in ["BatchMode=yes", "IdentitiesOnly=yes", "ConnectTimeout=3"] {
            ssh.args(["-o", option]);
        }
        ssh.arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()));
        ssh.arg("-i").arg(self.network.identity());
        ssh.arg(format!("root@{}", self.address)).arg(command);
        outcome(ssh.stdin(Stdio::null()))
    }

    /// A command that runs within the machine.
    #[track_caller]
    fn inside(&self, words: &[&str]) -> Command {
        let first = self.power.as_ref().and_then(Power::first_process);
        // One that is between two boots has no process: the command fails by itself then.
        let first = first.map_or(0, |process| process.as_raw_pid());
        let mut command = Command::new("nsenter");
        command.args(["--target", &first.to_string()]);
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--"]);
        command.args(words).env_clear();
        command.env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        );
        command.env("HOME", "/root").env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        if let Some(power) = self.power.take() {
            power.cut();
        }
    }
}

/// Runs a command to its end.
#[track_caller]
pub fn outcome(command: &mut Command) -> Outcome {
    let output = command.output().unwrap();
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs a command that must succeed; returns what it prints.
#[track_caller]
pub fn must(command: &mut Command) -> String {
    let outcome = outcome(command);
    assert_eq!(outcome.code, Some(0), "{command:?}: {outcome:#?}");
    outcome.stdout
}

/// A script of the repository.
pub fn script(name: &str) -> Command {
    Command::new(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("scripts/lib")
            .join(name),
    )
}
