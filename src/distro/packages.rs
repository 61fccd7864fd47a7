//! The package manager, and whether its last transaction ended. Reads the databases that are
//! text, and the traces of locks and journals of the others; asks no program.
//!
//! Knows nothing of single packages.

use super::look::Look;
use super::processes::Processes;
use crate::facts::{Family, PackageManager, Packages};

/// LIMIT: bytes of dpkg's or apk's database; a desktop with 5000 packages has 8 MiB.
const MAX_DATABASE: usize = 128 << 20;
/// LIMIT: packages that are named; the rest is a number.
const MAX_NAMED: usize = 20;

const RPM_DATABASES: [&str; 7] = [
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/Packages.db",
    "/var/lib/rpm/Packages.db",
    "/var/lib/rpm/Packages",
    "/usr/lib/sysimage/rpm/Packages",
    "/usr/share/rpm/rpmdb.sqlite",
];
const APK_DATABASES: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

/// Gathers manager, count and what is unfinished.
pub(super) fn gather(look: &Look, family: Family, processes: &Processes) -> Packages {
    let Some(manager) = manager(look, family) else {
        return Packages::default();
    };
    let (installed, mut unfinished) = match manager {
        PackageManager::Dpkg => dpkg(look),
        PackageManager::Rpm => (None, rpm(look)),
        PackageManager::Pacman => pacman(look),
        PackageManager::Portage => portage(look),
        PackageManager::Apk => apk(look),
    };
    const PROGRAMS: [&str; 11] = [
        "dpkg", "apt-get", "apt", "aptitude", "rpm", "yum", "dnf", "zypper", "pacman", "emerge",
        "apk",
    ];
    let running = PROGRAMS
        .iter()
        .filter(|program| processes.has_any(&[program]));
    unfinished.extend(running.map(|program| format!("{program} is running")));
    Packages {
        manager: Some(manager),
        installed,
        unfinished,
    }
}

/// Returns whose database is there; of two, as with rpm on Debian, the family's own.
fn manager(look: &Look, family: Family) -> Option<PackageManager> {
    let own = match family {
        Family::Debian => Some(PackageManager::Dpkg),
        Family::Rhel | Family::Suse => Some(PackageManager::Rpm),
        Family::Arch => Some(PackageManager::Pacman),
        Family::Gentoo => Some(PackageManager::Portage),
        Family::Alpine => Some(PackageManager::Apk),
        Family::Unknown => None,
    };
    let others = [
        PackageManager::Dpkg,
        PackageManager::Rpm,
        PackageManager::Pacman,
        PackageManager::Portage,
        PackageManager::Apk,
    ];
    let has_database = |manager: &PackageManager| match manager {
        PackageManager::Dpkg => look.exists("/var/lib/dpkg/status"),
        PackageManager::Rpm => look.any(&RPM_DATABASES),
        PackageManager::Pacman => look.is_directory("/var/lib/pacman/local"),
        PackageManager::Portage => look.is_directory("/var/db/pkg"),
        PackageManager::Apk => look.any(&APK_DATABASES),
    };
    own.into_iter().chain(others).find(has_database)
}

fn database(look: &Look, path: &str) -> Option<String> {
    let bytes = look.root().read_head(path, MAX_DATABASE).ok()??;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn dpkg(look: &Look) -> (Option<u64>, Vec<String>) {
    let Some(text) = database(look, "/var/lib/dpkg/status") else {
        return (
            None,
            vec!["the database of dpkg could not be read".to_owned()],
        );
    };
    let (count, states) = dpkg_states(&text);
    let mut unfinished: Vec<String> = states.iter().take(MAX_NAMED).cloned().collect();
    if states.len() > MAX_NAMED {
        unfinished.push(format!("{} more packages", states.len() - MAX_NAMED));
    }
    let journal = look.names("/var/lib/dpkg/updates").into_iter();
    let is_entry = |name: &String| name.bytes().all(|byte| byte.is_ascii_digit());
    let entry_count = journal.filter(is_entry).count();
    if entry_count > 0 {
        unfinished.push(format!(
            "dpkg was cut: {entry_count} entries in /var/lib/dpkg/updates"
        ));
    }
    (Some(count), unfinished)
}

/// Returns how many packages are installed, and a sentence for each that is half so.
fn dpkg_states(text: &str) -> (u64, Vec<String>) {
    let mut package = "";
    let mut count = 0;
    let mut unfinished = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("Package:") {
            package = name.trim();
        } else if let Some(status) = line.strip_prefix("Status:") {
            // Want, flag, state.
            match status.split_whitespace().nth(2) {
                Some("installed") => count += 1,
                Some("not-installed" | "config-files") | None => {}
                Some(state) => unfinished.push(format!("{package} is {state}")),
            }
        }
    }
    (count, unfinished)
}

fn rpm(look: &Look) -> Vec<String> {
    let mut unfinished = Vec::new();
    let directories = ["/var/lib/rpm", "/usr/lib/sysimage/rpm"];
    // Newer systems have the one as a link to the other.
    for directory in directories
        .into_iter()
        .filter(|path| look.link(path).is_none())
    {
        // Beside a database of the Berkeley kind they belong there; beside another they are
        // what a conversion left.
        let names = look.names(directory);
        let is_berkeley = names.iter().any(|name| name == "Packages");
        let has_region = names.iter().any(|name| name.starts_with("__db."));
        if has_region && !is_berkeley {
            unfinished.push(format!("regions of an older database in {directory}"));
        }
        let journal = format!("{directory}/rpmdb.sqlite-journal");
        if look
            .status(&journal)
            .is_some_and(|status| status.size() > 0)
        {
            unfinished.push(format!("rpm was cut: {journal} is not empty"));
        }
    }
    let rebuilt = look.paths("/var/lib", "").into_iter();
    let rebuilt = rebuilt.filter(|path| path.starts_with("/var/lib/rpmrebuilddb."));
    unfinished.extend(rebuilt.map(|path| format!("a rebuild of the rpm database was cut: {path}")));
    let transactions = look.names("/var/lib/yum").into_iter();
    let transactions = transactions
        .filter(|name| name.starts_with("transaction-all.") && !name.ends_with(".disabled"));
    unfinished.extend(transactions.map(|name| format!("yum was cut: /var/lib/yum/{name}")));
    unfinished
}

fn pacman(look: &Look) -> (Option<u64>, Vec<String>) {
    let names = look.names("/var/lib/pacman/local");
    let count = names
        .iter()
        .filter(|name| *name != "ALPM_DB_VERSION")
        .count();
    let mut unfinished = Vec::new();
    if look.exists("/var/lib/pacman/db.lck") {
        unfinished.push("pacman runs or was cut: /var/lib/pacman/db.lck is there".to_owned());
    }
    (Some(count as u64), unfinished)
}

fn portage(look: &Look) -> (Option<u64>, Vec<String>) {
    let mut count = 0;
    let mut unfinished = Vec::new();
    for category in look.names("/var/db/pkg") {
        for package in look.names(&format!("/var/db/pkg/{category}")) {
            match package.starts_with("-MERGING-") {
                true => unfinished.push(format!("emerge was cut: {category}/{package}")),
                false => count += u64::from(!package.starts_with('.')),
            }
        }
    }
    unfinished.truncate(MAX_NAMED);
    (Some(count), unfinished)
}

fn apk(look: &Look) -> (Option<u64>, Vec<String>) {
    let mut unfinished = Vec::new();
    let mut count = None;
    for path in APK_DATABASES {
        if look.exists(&format!("{path}.new")) {
            unfinished.push(format!("apk was cut: {path}.new is there"));
        }
        if count.is_none() {
            let text = database(look, path);
            let packages =
                |text: String| text.lines().filter(|line| line.starts_with("P:")).count();
            count = text.map(|text| packages(text) as u64);
        }
    }
    (count, unfinished)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn half_installed_packages_are_named() {
        let text = "Package: a\nStatus: install ok installed\n\nPackage: b\n\
            Status: install ok half-configured\n\nPackage: c\nStatus: deinstall ok config-files\n\n\
            Package: d\nStatus: install reinstreq half-installed\n";
        let (count, unfinished) = dpkg_states(text);
        assert_eq!(count, 1);
        assert_eq!(unfinished, ["b is half-configured", "d is half-installed"]);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(bytes: Vec<u8>) {
            let _read = dpkg_states(&String::from_utf8_lossy(&bytes));
        }
    }
}
