//! Packages, and programs of which a clone has to know.

use serde::{Deserialize, Serialize};

/// Packages and the state of their database.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Packages {
    /// Who manages them.
    pub manager: Option<PackageManager>,
    /// How many are installed, where the database tells without a program of its own.
    pub installed: Option<u64>,
    /// Packages whose installation is not finished, and other traces of a transaction that was
    /// cut: a sentence each.
    pub unfinished: Vec<String>,
}

/// A package manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageManager {
    /// dpkg and apt.
    Dpkg,
    /// rpm with dnf, yum or zypper.
    Rpm,
    /// pacman.
    Pacman,
    /// portage.
    Portage,
    /// apk.
    Apk,
}

/// Programs of which a clone has to know, found running or, in a mounted root, installed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Services {
    /// What was found, sorted.
    pub found: Vec<Service>,
    /// Whether some way of running jobs by the clock has jobs: crontabs, timers of the
    /// administrator.
    pub scheduled_jobs: Vec<String>,
}

/// One program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Service {
    /// What it is for.
    pub kind: ServiceKind,
    /// Its name: `postgresql`, `docker`, `tailscale`.
    pub name: String,
    /// Its unit, for `--quiesce`: `mariadb.service`.
    pub unit: Option<String>,
    /// Whether a process of it runs.
    pub running: bool,
    /// Where its data or its identity lies.
    pub path: String,
}

/// What a program is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceKind {
    /// A database: copied while it writes, it may not start.
    Database,
    /// A container engine: overlays, sockets, running containers.
    Containers,
    /// An identity in somebody's network (VPN, monitoring, management): exists twice afterwards.
    Identity,
    /// A mail queue or another sender: acts twice afterwards.
    Sender,
}
