//! A virtual source and target, the clone between them, and what tells that the one has become the
//! other. Knows nothing of which pairs there are.

use std::path::Path;

use crate::support::binary::{self, Outcome};
use crate::support::machine::Network;
use crate::support::vm::{Launched, Recipe, Vm};

/// Where the source has the program; no clone takes it along.
const PROGRAM: &str = "/usr/local/bin/instancesync";
/// What must be on the target after a clone as it was before.
const OWN: &str = "hostname; cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub
    ip -brief address; ip route
    findmnt -rno TARGET,SOURCE,FSTYPE,FSROOT -t ext4,xfs,btrfs,vfat
    swapon --show=NAME,TYPE --noheadings";

/// Two virtual machines; the source can log in at the target as root.
pub struct Pair<'n> {
    pub source: Vm<'n>,
    pub target: Vm<'n>,
    boot: String,
    own: String,
    /// What the target is booted by: the release of the kernel, and its command line.
    booted_by: [String; 2],
}

/// How a clone went.
#[derive(Clone, Debug)]
pub enum Came {
    /// The target is the clone: microseconds of the switch, seconds until it answered again.
    Back { switch_us: u64, away_seconds: u64 },
    /// The plan has said no, with these reasons.
    Refused(Vec<String>),
}

impl<'n> Pair<'n> {
    /// Makes both and switches them on.
    pub fn start(network: &'n Network, source: &Recipe, target: &Recipe) -> Pair<'n> {
        let mut pair = Pair {
            source: Vm::create(network, source),
            target: Vm::create(network, target),
            boot: String::new(),
            own: String::new(),
            booted_by: Default::default(),
        };
        pair.source.switch_on();
        pair.target.switch_on();
        pair.boot = pair.target.wait_until_up();
        pair.source.wait_until_up();
        pair.own = pair.target.ask(OWN);
        pair.booted_by = pair.target_is_booted_by();
        pair.source.lend(Path::new(&binary::program()), PROGRAM);
        pair
    }

    /// By what the target is booted now: the release of the kernel, and its command line.
    #[track_caller]
    pub fn target_is_booted_by(&self) -> [String; 2] {
        ["uname -r", "cat /proc/cmdline"].map(|command| self.target.ask(command))
    }

    /// From now on the target is to boot the source's kernel, with its own command line.
    pub fn expect_kernel_of_source(&mut self) {
        let kernel = self.source.ask("uname -r");
        let [own, line] = &self.booted_by;
        let line = line.replace(own.trim(), kernel.trim());
        let line = format!("{} panic=60\n", line.trim_end());
        self.booted_by = [kernel, line];
    }

    /// Starts the clone on the source.
    pub fn launch(&self, more: &str) -> Launched {
        let command = format!("{PROGRAM} --target root@192.0.2.2 --yes --json {more}");
        self.source.launch(&command)
    }

    /// Runs the clone on the source and looks at what has come of the target.
    #[track_caller]
    pub fn clone_with(&mut self, more: &str) -> Came {
        let outcome = self.launch(more).wait();
        if outcome.code == Some(3) {
            let boot = self.target.ask("cat /proc/sys/kernel/random/boot_id");
            assert_eq!(boot, self.boot, "a refused target has booted");
            return Came::Refused(reasons(&outcome));
        }
        assert_eq!(outcome.code, Some(0), "the clone: {outcome:#?}");
        self.boot = self.target.wait_for_boot(&self.boot.clone());
        self.assert_is_clone();
        let summary = outcome.events("summary");
        Came::Back {
            switch_us: summary[0]["switch_us"].as_u64().unwrap(),
            away_seconds: summary[0]["stages_ms"]["reboot"].as_u64().unwrap() / 1000,
        }
    }

    /// Boots the target once more, in order.
    #[track_caller]
    pub fn reboot_target(&mut self) {
        self.reboot_target_by("systemctl reboot");
    }

    /// Boots it once more by a command.
    #[track_caller]
    pub fn reboot_target_by(&mut self, command: &str) {
        let before = self.target.ask("cat /proc/sys/kernel/random/boot_id");
        let outcome = self.target.ssh(command);
        // Who goes down may hang up before the end.
        assert!([Some(0), Some(255)].contains(&outcome.code), "{outcome:#?}");
        self.boot = self.target.wait_for_boot(&before);
    }

    /// Asserts that the target has all of the source and what is its own.
    #[track_caller]
    pub fn assert_is_clone(&self) {
        let target = &self.target;
        assert_eq!(target.ask(OWN), self.own, "something of its own is lost");
        assert_eq!(self.target_is_booted_by(), self.booted_by);
        assert_eq!(target.ask("gift"), "gift\n");
        assert_eq!(target.ask("systemctl is-active hello"), "active\n");
        assert_eq!(target.ask("cat /home/alice/note"), "a note of alice\n");
        assert_eq!(target.ask("systemctl list-units --failed --no-legend"), "");
        target.ask("! id bob 2>/dev/null && test ! -e /srv/old && test ! -e /usr/bin/remnant");
        target.ask("dpkg --audit && dpkg -s gift >/dev/null && ! dpkg -s remnant 2>/dev/null");
        // A driver that nothing has loaded yet: the kernel finds its modules.
        target.ask("modprobe dummy && grep -q ^dummy /proc/modules");
        // Links to kernels lead to those that are there.
        target.ask("for link in /vmlinuz /initrd.img; do test -e $link || test ! -L $link; done");
    }
}

/// The ids of the findings that block.
fn reasons(outcome: &Outcome) -> Vec<String> {
    let plan = outcome.events("plan");
    let findings = plan[0]["plan"]["findings"].as_array().unwrap();
    let blockers = findings.iter().filter(|one| one["level"] == "blocker");
    blockers
        .map(|one| one["id"].as_str().unwrap().to_owned())
        .collect()
}
