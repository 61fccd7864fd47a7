//! Databases, container engines, identities in other people's networks, and what sends: found
//! running, or in a mounted root installed. Knows nothing of how they are stopped.

use super::look::Look;
use super::processes::Processes;
use super::units::Units;
use crate::facts::{Service, ServiceKind, Services};

/// How one program is recognised.
struct Signs {
    kind: ServiceKind,
    name: &'static str,
    processes: Vec<&'static str>,
    /// The first that is there is told.
    paths: Vec<&'static str>,
    units: Vec<&'static str>,
}

/// The programs, one a line; the head of the file says how.
const TABLE: &str = include_str!("services.txt");

/// Gathers programs and jobs.
pub(super) fn gather(look: &Look, units: &Units, processes: &Processes) -> Services {
    let signs = TABLE.lines().filter_map(Signs::parse);
    let found = signs.filter_map(|signs| find(look, units, processes, &signs));
    let mut found: Vec<Service> = found.collect();
    found.sort();
    Services {
        found,
        scheduled_jobs: super::jobs::gather(look),
    }
}

impl Signs {
    /// Reads a line of the table; `None` for a comment.
    fn parse(line: &'static str) -> Option<Signs> {
        let fields: Vec<&str> = line.split(" | ").collect();
        let [kind, name, processes, paths, units] = fields[..] else {
            return None;
        };
        let kind = match kind {
            "database" => ServiceKind::Database,
            "containers" => ServiceKind::Containers,
            "identity" => ServiceKind::Identity,
            "sender" => ServiceKind::Sender,
            _ => return None,
        };
        let words = |field: &'static str| -> Vec<&'static str> {
            field.split(' ').filter(|word| *word != "-").collect()
        };
        Some(Signs {
            kind,
            name,
            processes: words(processes),
            paths: words(paths),
            units: words(units),
        })
    }
}

fn find(look: &Look, units: &Units, processes: &Processes, signs: &Signs) -> Option<Service> {
    let running = processes.has_any(&signs.processes);
    let path = look.first(signs.paths.iter().copied());
    let enabled = units.enabled(&signs.units);
    // An identity lies in its files, whether or not somebody uses it now. Programs of one
    // virtual machine all have the same process name: their units tell.
    let is_found = match signs.kind {
        ServiceKind::Identity => path.is_some(),
        _ if !look.is_live() => running || path.is_some(),
        _ => running || (signs.processes.is_empty() && path.is_some() && !enabled.is_empty()),
    };
    is_found.then(|| Service {
        kind: signs.kind,
        name: signs.name.to_owned(),
        unit: enabled.into_iter().find(|unit| unit.ends_with(".service")),
        running,
        path: path.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_of_the_table_is_read() {
        let lines = TABLE.lines().filter(|line| !line.starts_with('#'));
        for line in lines {
            let signs = Signs::parse(line);
            let has_path =
                signs.is_some_and(|signs| signs.paths.iter().all(|p| p.starts_with('/')));
            assert!(has_path, "{line}");
        }
    }
}
