//! Whether what a stage is to take the place of can be moved at all: looked at before anything is
//! sent. Knows nothing of how it is moved.

use rustix::io::Errno;

use crate::exclude::Rules;
use crate::fs::stage::STAGE_NAME;
use crate::fs::{Dir, FsError, Result, usable_name};
use crate::relpath::RelPath;

/// Refuses (EPERM) names at the tops of the volumes that are immutable or can only grow, and that
/// no rule leaves to the target: the switch could not exchange them.
pub(super) fn refuse_immovable(live: &Dir, volumes: &[RelPath], rules: &Rules) -> Result<()> {
    let first = RelPath::root();
    let mut found = Vec::new();
    for volume in std::iter::once(&first).chain(volumes) {
        let top = live.open_beneath(volume)?;
        for name in top.names()? {
            let name = usable_name(&name)?;
            // LIVE: what goes away is in nobody's way.
            let Ok(status) = top.status_of(&name) else {
                continue;
            };
            let path = volume.join(&name);
            let decision = rules.decide_deep(&path, status.is_directory());
            let is_another = status.id().device != top.id()?.device;
            if is_another || name.as_bytes() == STAGE_NAME || decision.verdict.protects() {
                continue;
            }
            if top.is_fixed(&name, &status).unwrap_or(false) {
                found.push(format!("/{}", String::from_utf8_lossy(path.as_bytes())));
            }
        }
    }
    if found.is_empty() {
        return Ok(());
    }
    Err(FsError {
        operation: format!(
            "stage a clone that could not take the place of {}: a flag forbids it, which chattr -ia takes off",
            found.join(", ")
        ),
        errno: Errno::PERM,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::refuse_immovable;
    use crate::exclude::{Rule, Rules, Verdict};
    use crate::fs::Dir;

    fn change_flags(flag: &str, path: &std::path::Path) -> bool {
        let status = Command::new("chattr").arg(flag).arg(path).status();
        status.is_ok_and(|status| status.success())
    }

    #[test]
    fn what_could_not_be_exchanged_is_named_before_anything_is_sent() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["etc", "usr", "boot"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("aquota.user"), "").unwrap();
        let live = Dir::open_root(dir.path()).unwrap();
        let rules = Rules::new(vec![Rule::new(Verdict::Keep, "/boot/***", "test")]).unwrap();
        refuse_immovable(&live, &[], &rules).unwrap();
        if !change_flags("+i", &path("boot")) {
            return; // Without root, or on a file system without flags.
        }
        refuse_immovable(&live, &[], &rules).unwrap();
        assert!(change_flags("+a", &path("etc")) && change_flags("+i", &path("aquota.user")));
        let refused = refuse_immovable(&live, &[], &rules)
            .unwrap_err()
            .to_string();
        for name in ["boot", "etc", "aquota.user"] {
            assert!(change_flags("-ia", &path(name)));
            assert_eq!(
                refused.contains(&format!("/{name}")),
                name != "boot",
                "{refused}"
            );
        }
    }
}
