//! What starts at boot: units, scripts and jobs of systemd, System V init, OpenRC and Upstart,
//! by the links that enable them. Knows nothing of what they do.

use std::collections::BTreeSet;

use super::look::{Look, active_lines};
use super::machine;
use crate::facts::Init;

/// Where systemd looks for units and for the links that want them.
const UNIT_DIRECTORIES: [&str; 7] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/run/systemd/generator",
    "/run/systemd/generator.early",
    "/run/systemd/generator.late",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Where System V init finds what a run level starts: Debian, Red Hat, SUSE.
const RUN_LEVELS: [&str; 11] = [
    "/etc/rcS.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc5.d",
    "/etc/rc.d/rc2.d",
    "/etc/rc.d/rc3.d",
    "/etc/rc.d/rc5.d",
    "/etc/init.d/boot.d",
    "/etc/init.d/rc2.d",
    "/etc/init.d/rc3.d",
    "/etc/init.d/rc5.d",
];

/// What starts at boot.
#[derive(Debug, Default)]
pub(super) struct Units {
    /// As written where they are enabled: `ssh.service`, `S01ssh`, `default/sshd`, `ssh.conf`.
    enabled: BTreeSet<String>,
    /// Names that systemd must not start, without their ending.
    masked: BTreeSet<String>,
}

impl Units {
    /// Reads the links.
    pub(super) fn gather(look: &Look) -> Units {
        let mut units = Units::default();
        units.gather_systemd(look);
        units.gather_run_levels(look);
        units.gather_openrc(look);
        units.gather_upstart(look);
        let masked = &units.masked;
        units.enabled.retain(|unit| !masked.contains(stem(unit)));
        units
    }

    /// Returns those that are enabled and have one of the names. A name has no ending
    /// (`networking`); one with `*` at its end stands for all that begin so.
    pub(super) fn enabled(&self, names: &[&str]) -> Vec<String> {
        let is_named = |unit: &&String| {
            let stem = stem(unit);
            names.iter().any(|name| match name.strip_suffix('*') {
                Some(start) => stem.starts_with(start),
                None => stem == *name,
            })
        };
        self.enabled.iter().filter(is_named).cloned().collect()
    }

    /// Tells whether systemd must not start it.
    pub(super) fn is_masked(&self, name: &str) -> bool {
        self.masked.contains(name)
    }

    fn gather_systemd(&mut self, look: &Look) {
        for directory in UNIT_DIRECTORIES {
            for name in look.names(directory) {
                let path = format!("{directory}/{name}");
                if name.ends_with(".wants") || name.ends_with(".requires") {
                    self.enabled.extend(look.names(&path));
                } else if directory == "/etc/systemd/system" || directory == "/run/systemd/system" {
                    self.take_link(&name, look.link(&path).as_deref());
                }
            }
        }
    }

    /// A link among the units is a mask, or a second name of the unit that it enables.
    fn take_link(&mut self, name: &str, text: Option<&str>) {
        match text {
            Some("/dev/null") => _ = self.masked.insert(stem(name).to_owned()),
            Some(text) => {
                let unit = text.rsplit('/').next().unwrap_or(text);
                self.enabled.insert(unit.to_owned());
            }
            None => {}
        }
    }

    fn gather_run_levels(&mut self, look: &Look) {
        let is_systemd = machine::init(look) == Init::Systemd;
        let scripts: BTreeSet<String> = RUN_LEVELS
            .iter()
            .flat_map(|directory| look.names(directory))
            .filter(|name| script_name(name).is_some())
            .collect();
        for script in scripts {
            // systemd makes units of those scripts only that have no unit of their own.
            let unit = format!("{}.service", stem(&script));
            let has_unit = || {
                let paths = UNIT_DIRECTORIES.map(|directory| format!("{directory}/{unit}"));
                paths.iter().any(|path| look.exists(path))
            };
            if !is_systemd || !has_unit() {
                self.enabled.insert(script);
            }
        }
    }

    fn gather_openrc(&mut self, look: &Look) {
        for level in look.names("/etc/runlevels") {
            let names = look.names(&format!("/etc/runlevels/{level}"));
            let services = names.into_iter().map(|name| format!("{level}/{name}"));
            self.enabled.extend(services);
        }
    }

    fn gather_upstart(&mut self, look: &Look) {
        // Systems that left Upstart keep files of it.
        if !look.any(&["/sbin/initctl", "/usr/sbin/initctl"]) {
            return;
        }
        for name in look.names("/etc/init") {
            let Some(stem) = name.strip_suffix(".conf") else {
                continue;
            };
            let manual = look.word(&format!("/etc/init/{stem}.override"));
            let is_manual = manual.is_some_and(|text| active_lines(&text).any(|l| l == "manual"));
            if !is_manual {
                self.enabled.insert(name);
            }
        }
    }
}

/// Returns the name of the script in `S01networking`.
fn script_name(name: &str) -> Option<&str> {
    let rest = name.strip_prefix('S')?;
    let script = rest.trim_start_matches(|letter: char| letter.is_ascii_digit());
    (rest.len() == script.len() + 2 && !script.is_empty()).then_some(script)
}

/// Returns the name without what its kind adds: run level, number or ending.
fn stem(unit: &str) -> &str {
    let unit = unit.rsplit('/').next().unwrap_or(unit);
    if let Some(script) = script_name(unit) {
        return script;
    }
    [".service", ".socket", ".timer", ".target", ".path", ".conf"]
        .iter()
        .find_map(|ending| unit.strip_suffix(ending))
        .unwrap_or(unit)
}

#[cfg(test)]
mod tests {
    use super::stem;

    #[test]
    fn names_lose_what_their_kind_adds() {
        for (unit, name) in [
            ("networking.service", "networking"),
            ("ssh.socket", "ssh"),
            ("S01networking", "networking"),
            ("S1networking", "S1networking"),
            ("SERVICE", "SERVICE"),
            ("boot/net.eth0", "net.eth0"),
            ("network-manager.conf", "network-manager"),
            ("netctl@wired.service", "netctl@wired"),
        ] {
            assert_eq!(stem(unit), name);
        }
    }
}
