//! Whatever is killed at whatever moment: the target boots, as before or as the clone, never as a
//! mixture, and the same command then completes. INSTANCESYNC_SEEDS asks for more moments.

use std::time::Duration;

use rustix::process::Signal;

use super::differences::{between, between_unconfirmed, since};
use super::pair::{Pair, owners};
use crate::support::machine::{BOOTED, Network, Recipe, Started};
use crate::support::manifest::Manifest;
use crate::support::places::{assert_code, assert_none};
use crate::support::rng::Rng;
use crate::support::{can_run, seeds};

/// What is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Source,
    Agent,
    Link,
    Target,
}

/// When.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// At a random time of a run.
    Any,
    /// At a random time after the journal of the switch has appeared.
    Switch,
}

/// What is tried in turn, by the seed. The first three are what the normal suite runs.
const CASES: [(Victim, Moment); 8] = [
    (Victim::Target, Moment::Switch),
    (Victim::Agent, Moment::Switch),
    (Victim::Target, Moment::Any),
    (Victim::Source, Moment::Switch),
    (Victim::Link, Moment::Any),
    (Victim::Source, Moment::Any),
    (Victim::Agent, Moment::Any),
    (Victim::Link, Moment::Switch),
];

#[test]
fn whatever_is_killed_the_target_boots_as_one_of_the_two() {
    if !can_run(
        "whatever_is_killed_the_target_boots_as_one_of_the_two",
        BOOTED,
    ) {
        return;
    }
    for seed in seeds(3) {
        let (victim, moment) = CASES[(seed as usize - 1) % CASES.len()];
        let context = format!("seed {seed}, {victim:?} at {moment:?}");
        let came_up_as = kill_and_judge(seed, victim, moment, &context);
        println!("{context}: up as the {came_up_as}, completed");
    }
}

fn kill_and_judge(seed: u64, victim: Victim, moment: Moment, context: &str) -> String {
    let mut rng = Rng::new(seed);
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    pair.source
        .disk()
        .run("head -c 30000000 /dev/urandom >/srv/blob; cp -a /usr/share /opt/share");
    let before = pair.target.manifest();
    pair.start();
    let run = pair.launch(&["--reboot-timeout", "60"]);
    pair.target.arm();
    wait_for(moment, &mut rng, &pair, &run);
    match victim {
        Victim::Source => run.signal(Signal::KILL),
        Victim::Agent => pair.target.kill_agents(),
        Victim::Link => {
            network.unplug("target");
            std::thread::sleep(Duration::from_millis(rng.below(15_000) as u64));
            network.plug("target");
        }
        Victim::Target => {
            pair.target.cut_power();
            pair.target.start();
        }
    }
    // It may come to its end all the same, by itself or over a new link.
    let outcome = run.wait();
    // A disk that fails before the machine does keeps what the run cannot take back, and says.
    let has_key = outcome.stderr.contains("the run's key is still in");
    let context_of_run = format!("{context}: {outcome:#?}");
    let came_up_as = judge(&mut pair, (&before, has_key), &context_of_run);
    pair.target.start();
    assert_code(&pair.clone_with(&[]), 0, &format!("{context}: once more"));
    pair.stop();
    assert_none(
        &between(&pair.source.manifest(), &pair.target.manifest()),
        context,
    );
    came_up_as
}

/// Lets the target boot once more, whatever it has done, and tells what it is then.
fn judge(pair: &mut Pair<'_>, (before, has_key): (&Manifest, bool), context: &str) -> String {
    pair.target.wait_until_up();
    pair.target.stop();
    pair.target.start();
    pair.target.stop();
    let owners = owners(&pair.target.disk());
    let now = pair.target.manifest();
    let mut differences = match owners.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["target"] => since(before, &now),
        ["source"] => between_unconfirmed(&pair.source.manifest_while_it_runs(), &now),
        _ => panic!("a mixture of {owners:?}: {context}"),
    };
    differences.retain(|line| !(has_key && line.starts_with("./root/.ssh/authorized_keys:")));
    assert_none(&differences, context);
    owners.concat()
}

fn wait_for(moment: Moment, rng: &mut Rng, pair: &Pair<'_>, run: &Started) {
    if moment == Moment::Any {
        // A whole run takes some 12 s.
        std::thread::sleep(Duration::from_millis(rng.below(12_000) as u64));
        return;
    }
    pair.wait_for_journal(run);
    std::thread::sleep(Duration::from_micros(rng.below(30_000) as u64));
}
