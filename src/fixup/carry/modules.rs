//! Modules of the target's kernels. The rules name those that it had when the run was planned; one
//! that was installed since boots, too. Knows nothing of boot loaders.

use super::Ground;
use crate::exclude::Rules;
use crate::relpath::{Name, RelPath};

/// Where modules lie. A link stands for one of the two where `/usr` is merged.
const PLACES: [&str; 2] = ["lib/modules", "usr/lib/modules"];

/// Returns the directories of modules in a tree that the source has no say about, one for each
/// kernel.
pub(super) fn of_kernels(ground: &dyn Ground, rules: &Rules) -> Vec<RelPath> {
    let mut found = Vec::new();
    for place in PLACES.map(crate::fixup::path) {
        let Ok(dir) = ground.open(&place) else {
            continue;
        };
        for name in dir.names().unwrap_or_default() {
            let Ok(name) = Name::new(&name) else { continue };
            let path = place.join(&name);
            let is_directory = dir.status_of(&name).is_ok_and(|found| found.is_directory());
            if is_directory && rules.decide_deep(&path, true).verdict.protects() {
                found.push(path);
            }
        }
    }
    found
}
