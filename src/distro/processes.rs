//! Which programs run, by the names of their processes. Knows nothing of what they are for.

use std::collections::BTreeSet;

use super::look::Look;

/// LIMIT: bytes of `/proc/N/stat` in which the name ends.
const NAME_LIMIT: usize = 256;

/// The names of all processes; the kernel cuts them off after 15 bytes.
#[derive(Debug, Default)]
pub(super) struct Processes(BTreeSet<String>);

impl Processes {
    /// Reads `/proc`.
    pub(super) fn gather(look: &Look) -> Processes {
        let ids = look.names("/proc").into_iter();
        let ids = ids.filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
        Processes(ids.filter_map(|id| name_of(look, &id)).collect())
    }

    /// Tells whether one of the programs runs.
    pub(super) fn has_any(&self, names: &[&str]) -> bool {
        names.iter().any(|name| {
            let cut = name.get(..15).unwrap_or(name);
            self.0.contains(cut)
        })
    }
}

fn name_of(look: &Look, id: &str) -> Option<String> {
    // Kernels before 2.6.33 (RHEL 6) have the name in `stat` only: `1 (init) S 0 …`.
    look.word(&format!("/proc/{id}/comm")).or_else(|| {
        let stat = look
            .root()
            .read_head(&format!("/proc/{id}/stat"), NAME_LIMIT);
        let stat = String::from_utf8_lossy(&stat.ok()??).into_owned();
        let (_, rest) = stat.split_once('(')?;
        let (name, _) = rest.rsplit_once(')')?;
        Some(name.to_owned())
    })
}
