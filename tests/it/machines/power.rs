//! Power cuts at any moment of the switch and the first boot: the target boots as the one or the
//! other. `INSTANCESYNC_SEEDS` asks for more moments, of one pair after the other.

use std::time::Duration;

use super::pair::Pair;
use crate::support::machine::Network;
use crate::support::rng::Rng;
use crate::support::vm::{Launched, Recipe, VIRTUAL};
use crate::support::{can_run, seeds};

/// Files of which each tells whose its top-level directory is.
const OWNERS: &str = "cat /etc/marker /home/marker /opt/marker /root/marker /srv/marker \
                      /usr/marker /var/marker | sort -u";

#[test]
#[ignore = "virtual machines, minutes each: scripts/test --machines"]
fn after_a_power_cut_the_target_boots_as_one_of_the_two() {
    let test = "after_a_power_cut_the_target_boots_as_one_of_the_two";
    if !can_run(test, VIRTUAL) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::start(&network, &Recipe::SOURCE, &Recipe::TARGET);
    for seed in seeds(1) {
        let came_up_as = cut_and_judge(&mut pair, seed);
        println!("seed {seed}: up as the {came_up_as}");
        if came_up_as == "source" {
            pair.reboot_target_by("/.instancesync/instancesync rollback --yes --reboot");
            assert_eq!(pair.target.ask(OWNERS), "target\n", "seed {seed}");
        }
    }
}

/// Starts a clone, cuts the target's power in it, and returns whose system it is then.
fn cut_and_judge(pair: &mut Pair<'_>, seed: u64) -> String {
    let wait = moment(&mut Rng::new(seed));
    let mut run = pair.launch("--reboot-timeout 60");
    wait_for_switch(&mut run);
    std::thread::sleep(wait);
    pair.target.cut_power();
    pair.target.switch_on();
    pair.target.wait_until_up();
    let outcome = run.wait();
    let owners = pair.target.ask(OWNERS);
    assert!(
        ["source\n", "target\n"].contains(&&*owners),
        "seed {seed}: a mixture of {owners:?} after {wait:?}: {outcome:#?}"
    );
    owners.trim().to_owned()
}

/// When, counted from the order to switch: half of them within the second of the exchange, the
/// others until the first boot is over.
fn moment(rng: &mut Rng) -> Duration {
    let within_switch = rng.below(2) == 0;
    let limit_ms = if within_switch { 1_500 } else { 120_000 };
    Duration::from_millis(rng.below(limit_ms) as u64)
}

fn wait_for_switch(run: &mut Launched) {
    while run.is_running() && !run.output().contains("\"stage\":\"switch\"") {
        std::thread::sleep(Duration::from_millis(20));
    }
}
