//! What is sent, and where it lands. Knows nothing of whether it fits.

use serde::Serialize;

use super::checks::{Demand, demands};
use super::input::PlanInput;

/// What is sent, at most: what the target has already is not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sent {
    /// Names, directories included.
    pub entries: u64,
    /// Length of the files in bytes.
    pub apparent_bytes: u64,
    /// Bytes that they occupy on the source.
    pub allocated_bytes: u64,
    /// What the link was found to carry.
    pub link_bytes_per_second: Option<u64>,
    /// How long it takes at that rate, at most.
    pub seconds: Option<u64>,
    /// The file systems of the target that hold it.
    pub landings: Vec<Landing>,
}

/// One file system of the target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Landing {
    /// Its mount point on the target.
    pub mount_point: String,
    /// Its type.
    pub fs_type: String,
    /// Names that land there.
    pub entries: u64,
    /// Bytes that they occupy on the source.
    pub allocated_bytes: u64,
    /// Bytes that are free there now.
    pub free_bytes: u64,
}

/// Adds up what is sent; `None` where the source was not measured.
pub(super) fn measure(input: &PlanInput<'_>) -> Option<Sent> {
    let portions = &input.extent?.portions;
    let sum = |count: fn(&crate::transfer::scan::Portion) -> u64| {
        portions.iter().map(count).fold(0u64, u64::saturating_add)
    };
    let apparent_bytes = sum(|portion| portion.apparent_bytes);
    let allocated_bytes = sum(|portion| portion.allocated_bytes);
    // Holes are not sent, and the last block of a file only as far as the file goes.
    let link_bytes = apparent_bytes.min(allocated_bytes);
    let rate = input.link_bytes_per_second.filter(|rate| *rate > 0);
    Some(Sent {
        entries: sum(|portion| portion.entries),
        apparent_bytes,
        allocated_bytes,
        link_bytes_per_second: rate,
        seconds: rate.map(|rate| link_bytes / rate),
        landings: demands(input).iter().map(landing).collect(),
    })
}

fn landing(demand: &Demand<'_>) -> Landing {
    Landing {
        mount_point: demand.mount.path.clone(),
        fs_type: demand.mount.fs_type.clone(),
        entries: demand.entries,
        allocated_bytes: demand.bytes,
        free_bytes: demand.mount.free_bytes,
    }
}
