//! The fence: from the moment it stands, the kernel lets a thread, and all that it starts, open and
//! change nothing but what is below one directory, reach no network, and gain no rights by what it
//! runs. It is a second lock behind the handles, where the kernel has Landlock. Knows nothing of
//! who is fenced in.

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, PathBeneath, Ruleset, RulesetAttr,
    RulesetCreatedAttr, RulesetError, RulesetStatus,
};

use super::Dir;

/// LIMIT: Linux 5.19 and newer: before, whoever is fenced in cannot rename or link between two
/// directories, and nothing gets out of a stage.
const LEAST: ABI = ABI::V2;
/// What newer kernels can refuse besides, up to Linux 6.10.
const MOST: ABI = ABI::V5;

/// Fences the calling thread in; what it has open stays open. Tells whether the fence stands: a
/// kernel without Landlock, or one that may not use it, is no error.
pub fn fence_in(dir: &Dir) -> bool {
    raise(dir).is_ok_and(|status| status != RulesetStatus::NotEnforced)
}

fn raise(dir: &Dir) -> Result<RulesetStatus, RulesetError> {
    let fence = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(MOST))?
        .handle_access(AccessNet::from_all(MOST))?
        .create()?
        .add_rule(PathBeneath::new(dir, AccessFs::from_all(MOST)))?;
    Ok(fence.restrict_self()?.ruleset)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    use super::fence_in;
    use crate::entry::Kind;
    use crate::fs::xattrs::Object;
    use crate::fs::{Dir, stand_alone, usable_name};

    /// Does `work` in a thread with a fence around `root`; `None` where there is no Landlock.
    fn inside<T: Send>(root: &Path, work: impl FnOnce(&Dir) -> T + Send) -> Option<T> {
        std::thread::scope(|scope| {
            let fenced = scope.spawn(|| {
                let dir = Dir::open_root(root).unwrap();
                fence_in(&dir).then(|| {
                    // A worker, as in a pass.
                    std::thread::scope(|scope| scope.spawn(|| work(&dir)).join().unwrap())
                })
            });
            fenced.join().unwrap()
        })
    }

    #[test]
    fn nothing_outside_is_opened_or_changed() {
        let place = tempfile::tempdir().unwrap();
        let (root, outside) = (place.path().join("root"), place.path().join("outside"));
        for directory in [&root, &outside] {
            fs::create_dir(directory).unwrap();
        }
        fs::write(outside.join("secret"), "secret").unwrap();
        fs::write(root.join("own"), "own").unwrap();
        symlink(&outside, root.join("link")).unwrap();
        let left = Dir::open_root(&outside).unwrap();
        let tried = inside(&root, |_| {
            let name = |bytes: &[u8]| usable_name(bytes).unwrap();
            let secret = name(b"secret");
            let through_link = [root.join("link/secret"), root.join("../outside/secret")];
            [
                ("read", fs::read(outside.join("secret")).is_err()),
                ("read by a handle", left.open_file(&secret).is_err()),
                ("write", fs::write(&through_link[0], "x").is_err()),
                ("truncate", fs::write(&through_link[1], "x").is_err()),
                ("list", fs::read_dir(&outside).is_err()),
                ("make", left.make_dir(&name(b"new")).is_err()),
                ("delete", left.remove_file(&secret).is_err()),
                (
                    "move in",
                    fs::rename(outside.join("secret"), root.join("s")).is_err(),
                ),
                (
                    "move out",
                    fs::rename(root.join("own"), outside.join("o")).is_err(),
                ),
                (
                    "link in",
                    fs::hard_link(outside.join("secret"), root.join("s")).is_err(),
                ),
                (
                    "connect",
                    std::net::TcpStream::connect("127.0.0.1:9").is_err_and(|error| {
                        let has_net_rules = !matches!(kernel(), (0..=5, _) | (6, 0..=6));
                        !has_net_rules || error.kind() == std::io::ErrorKind::PermissionDenied
                    }),
                ),
            ]
        });
        let Some(tried) = tried else {
            return;
        };
        for (what, is_refused) in tried {
            assert!(is_refused, "{what}");
        }
        assert_eq!(fs::read(outside.join("secret")).unwrap(), b"secret");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
        // Who was not fenced in is as free as before.
        fs::write(outside.join("free"), "").unwrap();
    }

    fn kernel() -> (u32, u32) {
        let release = rustix::system::uname();
        let release = release.release().to_string_lossy().into_owned();
        let mut numbers = release
            .split(['.', '-'])
            .map(|part| part.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    #[test]
    fn all_that_a_copy_does_goes_on_inside() {
        let place = tempfile::tempdir().unwrap();
        for directory in ["one", "two"] {
            fs::create_dir(place.path().join(directory)).unwrap();
        }
        inside(place.path(), |root| {
            stand_alone();
            let name = |bytes: &[u8]| usable_name(bytes).unwrap();
            let one = root.open_dir(&name(b"one")).unwrap();
            let two = root.open_dir(&name(b"two")).unwrap();
            let file = one.create_file(&name(b"file")).unwrap();
            crate::fs::extents::write_at(&file, b"contents", 0).unwrap();
            crate::fs::extents::set_size(&file, 3).unwrap();
            one.rename(&name(b"file"), &two, &name(b"moved")).unwrap();
            two.link(&name(b"moved"), &one, &name(b"linked")).unwrap();
            if let Some(unnamed) = one.create_unnamed(0o600).unwrap() {
                two.name_file(&unnamed, &name(b"late")).unwrap();
            }
            let text = b"moved".to_vec();
            two.make_special(&name(b"link"), &Kind::Symlink { text })
                .unwrap();
            two.make_special(&name(b"fifo"), &Kind::Fifo).unwrap();
            assert!(Object::Leaf(&two, &name(b"link")).read_xattrs().is_ok());
            assert_eq!(
                fs::read(format!("/proc/self/fd/{}", file.as_raw_fd()))
                    .unwrap()
                    .len(),
                3
            );
            one.make_dir(&name(b"directory")).unwrap();
            assert!(one.swap(&name(b"directory"), &two, &name(b"fifo")).unwrap());
            one.remove_tree(&name(b"directory")).unwrap();
            root.sync_file_system().unwrap();
            root.remove_tree(&name(b"two")).unwrap();
        });
    }
}
