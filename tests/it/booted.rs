//! Clones from booted machine to booted machine, from outside: real systemd, real sshd, real
//! reboots, power cuts. What single chapters decide is proven by their own modules.

mod access;
mod busy;
mod differences;
mod guard;
mod kill;
mod pair;
mod refused;
mod sabotage;
mod stacks;
mod whole;

use crate::support::can_run;
use crate::support::machine::{BOOTED, Machine, Network, Recipe};

#[test]
fn a_machine_boots_again_and_loses_in_a_power_cut_what_was_not_written() {
    let test = "a_machine_boots_again_and_loses_in_a_power_cut_what_was_not_written";
    if !can_run(test, BOOTED) {
        return;
    }
    let network = Network::new();
    let mut machine = Machine::create(&network, "target", "192.0.2.2", &Recipe::default());
    machine.start();
    let first = machine.boot_id();
    assert_eq!(machine.ssh("hostname").stdout, "target\n");
    machine.run("systemctl reboot");
    machine.wait_for_boot(2);
    assert_ne!(machine.boot_id(), first);
    machine.ask("echo a >/srv/written && sync -f /srv && echo b >/srv/lost");
    machine.cut_power();
    let disk = machine.disk();
    assert_eq!(disk.text("/srv/written"), "a\n");
    assert_eq!(disk.text("/srv/lost"), "");
    drop(disk);
    machine.start();
    machine.stop();
    assert_eq!(machine.disk().text("/srv/written"), "a\n");
}
