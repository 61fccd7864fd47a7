//! Virtual machines: a Debian with firmware, boot loader, kernel and partitioned disk of its own,
//! emulated by QEMU.
//!
//! A disk is made once for each recipe (`scripts/lib/machine-image`) and never written to again: a
//! machine writes to a layer over it. Knows nothing of instancesync.

mod recipe;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub use recipe::{Firmware, Kernel, Layout, Recipe, RootFs, Swap, VmStack};

use crate::support::Ability;
use crate::support::binary::Outcome;
use crate::support::machine::{Network, must, outcome, script};

/// What a test needs that boots virtual machines.
pub const VIRTUAL: &[Ability] = &[Ability::Root, Ability::Machines, Ability::VirtualMachines];
/// LIMIT: how long a boot may take. Emulated it takes 40 s on a machine with nothing else to do,
/// and three minutes on a busy one.
const BOOT_PATIENCE: Duration = Duration::from_secs(600);
/// LIMIT: how long one command within a machine may take, in seconds; a package of a kernel and
/// its initramfs take minutes.
const COMMAND_PATIENCE: &str = "1500";
/// LIMIT: lines of the console that a failure shows.
const CONSOLE_LINES: usize = 60;

/// A virtual machine, switched off at first. Dropping it cuts its power and removes its layer.
pub struct Vm<'n> {
    network: &'n Network,
    recipe: Recipe,
    layer: PathBuf,
    power: Option<Child>,
}

impl<'n> Vm<'n> {
    /// Makes a machine with a fresh disk.
    pub fn create(network: &'n Network, recipe: &Recipe) -> Vm<'n> {
        let base = recipe::base(recipe);
        let name = recipe.role.name();
        let layer = network.place().join(format!("{name}.qcow2"));
        let mut create = Command::new("qemu-img");
        create.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]);
        must(create.arg(&base).arg(&layer));
        network.add_tap(name);
        Vm {
            network,
            recipe: *recipe,
            layer,
            power: None,
        }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.recipe.role.name()
    }

    /// Switches it on.
    pub fn switch_on(&mut self) {
        assert!(self.power.is_none(), "{} is running", self.name());
        let program = script("boot-vm");
        let program = program.get_program().to_str().unwrap().to_owned();
        let wire = format!(
            "port-{},{},{}",
            self.name(),
            self.recipe.role.hardware_address(),
            self.recipe.role.slot()
        );
        let mut boot = self.network.beside(&[&program]);
        boot.arg(&self.layer);
        boot.args([self.recipe.firmware.word(), "qcow2"]);
        boot.arg(self.console_log()).arg(wire);
        let log = File::create(self.layer.with_extension("emulator")).unwrap();
        boot.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.power = Some(boot.spawn().unwrap());
    }

    /// Waits until it runs and its sshd lets the tester in; returns the id of the boot.
    #[track_caller]
    pub fn wait_until_up(&mut self) -> String {
        self.wait_for_boot("")
    }

    /// Waits until it lets the tester in after another boot than this one; returns its id.
    #[track_caller]
    pub fn wait_for_boot(&mut self, before: &str) -> String {
        let deadline = Instant::now() + BOOT_PATIENCE;
        while Instant::now() < deadline && self.is_on() {
            let answer = self.ssh("cat /proc/sys/kernel/random/boot_id");
            if answer.code == Some(0) && answer.stdout != before {
                // Everything that a boot starts is through, or has failed.
                self.ssh("systemctl is-system-running --wait");
                return answer.stdout;
            }
            std::thread::sleep(Duration::from_secs(1));
        }
        panic!("{} does not come up:\n{}", self.name(), self.console());
    }

    /// Tells whether the emulator runs.
    fn is_on(&mut self) -> bool {
        let power = self.power.as_mut().expect("a machine that is on");
        power.try_wait().unwrap().is_none()
    }

    /// The last lines of its console, and what the emulator complained about.
    pub fn console(&self) -> String {
        let read = |path: &Path| {
            let bytes = fs::read(path).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let text = read(&self.console_log());
        let lines: Vec<&str> = text.lines().collect();
        let last = lines[lines.len().saturating_sub(CONSOLE_LINES)..].join("\n");
        let emulator = read(&self.layer.with_extension("emulator"));
        format!("{last}\n{emulator}")
    }

    fn console_log(&self) -> PathBuf {
        self.layer.with_extension("console")
    }

    /// Cuts its power: what its disk had not been told to keep is gone.
    pub fn cut_power(&mut self) {
        if let Some(mut power) = self.power.take() {
            power.kill().ok();
            power.wait().ok();
        }
    }

    /// Runs a shell command as root over its sshd, from a third place on the network.
    pub fn ssh(&self, command: &str) -> Outcome {
        outcome(self.ssh_command(command).stdin(Stdio::null()))
    }

    /// Runs a shell command that must succeed and returns what it prints.
    #[track_caller]
    pub fn ask(&self, command: &str) -> String {
        let outcome = self.ssh(command);
        let name = self.name();
        assert_eq!(outcome.code, Some(0), "{name}: {command}: {outcome:#?}");
        outcome.stdout
    }

    /// Puts a program at a path.
    #[track_caller]
    pub fn lend(&self, program: &Path, path: &str) {
        let command = format!("cat >{path} && chmod 755 {path}");
        let file = File::open(program).unwrap();
        must(self.ssh_command(&command).stdin(file));
    }

    /// Starts a shell command over its sshd and does not wait.
    pub fn launch(&self, command: &str) -> Launched {
        let output = self.layer.with_extension("output");
        let file = File::create(&output).unwrap();
        let mut ssh = self.ssh_command(command);
        ssh.stdin(Stdio::null()).stderr(file.try_clone().unwrap());
        let child = ssh.stdout(file).spawn().unwrap();
        Launched { child, output }
    }

    fn ssh_command(&self, command: &str) -> Command {
        let known = self.network.place().join("vm.known_hosts");
        fs::write(&known, recipe::known_hosts()).unwrap();
        let mut ssh = self
            .network
            .beside(&["timeout", COMMAND_PATIENCE, "ssh", "-F", "/dev/null"]);
        for option in [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "ConnectTimeout=60",
            "ServerAliveInterval=20",
            "ServerAliveCountMax=9",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.arg("-o")
            .arg(format!("UserKnownHostsFile={}", known.display()));
        ssh.arg("-i").arg(recipe::tester_key());
        ssh.arg(format!("root@{}", self.recipe.role.address()));
        ssh.arg(command);
        ssh
    }
}

impl Drop for Vm<'_> {
    fn drop(&mut self) {
        self.cut_power();
        if std::thread::panicking() {
            println!("console of {}:\n{}", self.name(), self.console());
        }
        fs::remove_file(&self.layer).ok();
    }
}

/// A command that runs within a machine.
pub struct Launched {
    child: Child,
    output: PathBuf,
}

impl Launched {
    /// Tells whether it is still running.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has printed so far, both streams.
    pub fn output(&self) -> String {
        let bytes = fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits for its end; its output is in `stdout`.
    pub fn wait(mut self) -> Outcome {
        let status = self.child.wait().unwrap();
        Outcome {
            code: status.code(),
            stdout: self.output(),
            stderr: String::new(),
        }
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
