//! Programs that do not like to be copied while they run, or to exist twice. Knows nothing of
//! how they are found.

use super::super::finding::{Found, found};
use super::super::input::{PlanInput, below};
use super::super::wording::list;
use crate::exclude::profile::{HostnamePolicy, IdentityPolicy};
use crate::facts::{Service, ServiceKind};

/// Returns the source's programs of a kind whose files the clone gets.
fn services<'a>(input: &PlanInput<'a>, kind: ServiceKind) -> Vec<&'a Service> {
    let is_copied = |service: &&Service| input.contents_arrive(&service.path);
    let found = input.source.services.found.iter();
    found
        .filter(|service| service.kind == kind)
        .filter(is_copied)
        .collect()
}

fn names(services: &[&Service]) -> String {
    let names: Vec<&str> = services.iter().map(|service| &*service.name).collect();
    list(&names)
}

/// Returns how to stop programs for the last pass.
fn quiesce(services: &[&Service]) -> String {
    let units: Vec<String> = services
        .iter()
        .filter_map(|service| service.unit.as_deref())
        .map(|unit| format!("--quiesce {unit}"))
        .collect();
    if units.is_empty() {
        return "stop them before the last pass".to_owned();
    }
    format!("stop them for the last pass: {}", units.join(" "))
}

pub(super) fn databases(input: &PlanInput<'_>) -> Option<Found> {
    let mut running = services(input, ServiceKind::Database);
    running.retain(|service| service.running);
    if running.is_empty() {
        return None;
    }
    found(
        format!("databases run on the source: {}", names(&running)),
        "files that are written while they are read may not open on the clone",
        quiesce(&running),
    )
}

pub(super) fn containers(input: &PlanInput<'_>) -> Option<Found> {
    let mut running = services(input, ServiceKind::Containers);
    running.retain(|service| service.running);
    if running.is_empty() {
        return None;
    }
    found(
        format!("container engines run on the source: {}", names(&running)),
        "layers and volumes change while they are read",
        quiesce(&running),
    )
}

pub(super) fn identities(input: &PlanInput<'_>) -> Option<Found> {
    if input.policies.identity == IdentityPolicy::Move {
        return None;
    }
    let doubled = services(input, ServiceKind::Identity);
    if doubled.is_empty() {
        return None;
    }
    let names: Vec<String> = doubled
        .iter()
        .map(|service| format!("{} ({})", service.name, service.path))
        .collect();
    found(
        format!("identities that will exist twice: {}", list(&names)),
        "both machines act as one member, and their service may lock out both",
        "enrol the clone anew, or leave these paths out with --exclude",
    )
}

pub(super) fn senders(input: &PlanInput<'_>) -> Option<Found> {
    let senders = services(input, ServiceKind::Sender);
    if senders.is_empty() {
        return None;
    }
    found(
        format!(
            "what waits to be sent will be sent twice: {}",
            names(&senders)
        ),
        "queues are copied and both machines work them off",
        "empty the queues first, or leave them out with --exclude",
    )
}

pub(super) fn jobs(input: &PlanInput<'_>) -> Option<Found> {
    let jobs: Vec<&String> = input.source.services.scheduled_jobs.iter().collect();
    if jobs.is_empty() {
        return None;
    }
    found(
        format!("jobs will run on both machines: {}", list(&jobs)),
        "what sends, bills or backs up by the clock does so twice",
        "disable them on one of the two machines",
    )
}

pub(super) fn linked_data(input: &PlanInput<'_>) -> Option<Found> {
    // Configuration is replaced file by file, and read by those who start.
    let is_data = |path: &&String| {
        let settled = ["/etc", "/root/.ssh"];
        !settled.iter().any(|top| below(top, path).is_some())
    };
    let paths: Vec<&String> = input.linked.iter().filter(is_data).collect();
    if paths.is_empty() {
        return None;
    }
    found(
        format!("the target keeps {} in use", list(&paths)),
        "what its programs make or rename there between the switch and the reboot is missing from \
         the clone, and what the clone writes there a rollback does not take back",
        "stop on the target what writes there before the run, or give it a file system of its own",
    )
}

pub(super) fn moved_identity(input: &PlanInput<'_>) -> Option<Found> {
    if input.policies.identity != IdentityPolicy::Move {
        return None;
    }
    found(
        "machine-id, host keys and leases come along (--identity-policy move)",
        "two running machines with them get one address and one log",
        "pass --no-reboot, then turn the source off and reboot the target; otherwise both run \
         with one identity for a while",
    )
}

pub(super) fn same_name(input: &PlanInput<'_>) -> Option<Found> {
    if input.policies.hostname != HostnamePolicy::Source
        || input.policies.identity == IdentityPolicy::Move
    {
        return None;
    }
    let name = input.source.identity.hostname.as_deref()?;
    found(
        format!("both machines will be called {name}"),
        "logs and monitoring cannot tell them apart",
        "give it another name: --hostname NAME",
    )
}

pub(super) fn unfinished_packages(input: &PlanInput<'_>) -> Option<Found> {
    let unfinished = &input.source.packages.unfinished;
    if unfinished.is_empty() {
        return None;
    }
    found(
        format!(
            "packages of the source are not finished: {}",
            list(unfinished)
        ),
        "the clone has the same half-done state and its updates will fail too",
        "finish the installation on the source first",
    )
}
