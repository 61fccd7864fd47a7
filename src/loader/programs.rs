//! The programs that make images and menu, each where it sees the stage as the running system:
//! in a mount name space that ends with it.
//!
//! The target's own `unshare` and `mount` make that place, by scripts that never change. Knows
//! nothing of what comes out.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use crate::cleanup::programs::{Output, Programs};
use crate::exit::ExitCode;
use crate::failure::Failure;
use crate::fs::Staged;
use crate::fs::stage::STAGE_NAME;
use crate::fs::staged::{NEW_NAME, stage_path};
use crate::relpath::RelPath;

/// LIMIT: one initramfs, which is compressed on a slow or an emulated processor in minutes.
const IMAGE_LIMIT: Duration = Duration::from_secs(1800);
/// LIMIT: a menu; os-prober may look at every disk for it.
const MENU_LIMIT: Duration = Duration::from_secs(600);
/// LIMIT: one question about a file system.
const QUESTION_LIMIT: Duration = Duration::from_secs(60);
/// File systems that GRUB only reads.
const READ_ONLY: [&str; 4] = ["btrfs", "zfs", "squash4", "iso9660"];

/// The clone's tools in the clone. Its arguments: the private directory, the stage, the number of
/// further volumes, for each its stage and its mount point in the stage, the kernel.
///
/// What they leave behind when they are cut lies in the private directory.
const IMAGE_SCRIPT: &str = r#"
private=$1
stage=$2
count=$3
shift 3
mount --make-rprivate /
mount --bind "$stage" "$stage"
while [ "$count" -gt 0 ]; do
    mount --bind "$1" "$stage/$2"
    shift 2
    count=$((count - 1))
done
for name in dev proc sys; do
    mount --rbind "/$name" "$stage/$name"
done
mount -t tmpfs -o mode=0755,size=64m tmpfs "$stage/run"
if [ -d /run/udev ]; then
    mkdir "$stage/run/udev"
    mount --bind /run/udev "$stage/run/udev"
fi
rm -rf "$private/making"
mkdir -m 700 "$private/making"
if [ -d "$stage/var/tmp" ]; then
    mount --bind "$private/making" "$stage/var/tmp"
fi
cd "$stage"
status=0
chroot . update-initramfs -c -k "$1" || status=$?
rm -rf "$private/making"
exit $status
"#;

/// The target's GRUB, for which the stage's `/boot` is the one that there is. Its arguments: that
/// directory, the stage's `/etc/default`, the program.
const MENU_SCRIPT: &str = r#"
mount --make-rprivate /
mount --bind "$1" /boot
mount --bind "$2" /etc/default
exec "$3"
"#;

/// Where the programs work.
pub struct Workshop<'a> {
    /// The root of the target, which is the running machine.
    pub root: &'a Path,
    /// What is being built.
    pub staged: &'a Staged,
    /// Who starts programs.
    pub programs: &'a dyn Programs,
}

impl Workshop<'_> {
    /// Makes the initramfs of a kernel.
    pub(super) fn make_image(&self, release: &str) -> Result<(), Failure> {
        let private = self.root.join(OsStr::from_bytes(STAGE_NAME));
        let mut arguments = vec![private.into_os_string()];
        arguments.extend(self.staged.mounting(self.root));
        arguments.push(release.into());
        let what = format!("make the initramfs of {release}");
        self.apart(IMAGE_SCRIPT, arguments, (IMAGE_LIMIT, &what))?;
        Ok(())
    }

    /// Has the target's GRUB make its menu of what is in the stage.
    pub(super) fn make_menu(&self) -> Result<String, Failure> {
        let boot = super::path("boot");
        let stage = stage_path(self.root, &RelPath::root());
        let boot = match self.staged.volumes().contains(&boot) {
            true => stage_path(self.root, &boot),
            false => stage.join("boot"),
        };
        let settings = stage.join("etc/default");
        let programs = ["usr/sbin/grub-mkconfig", "usr/sbin/grub2-mkconfig"];
        let found = programs
            .into_iter()
            .find(|path| self.root.join(path).exists());
        let program = self.root.join(found.unwrap_or(programs[0]));
        let arguments = [boot, settings, program].map(OsString::from).to_vec();
        let output = self.apart(MENU_SCRIPT, arguments, (MENU_LIMIT, "make GRUB's menu"))?;
        let menu = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(as_after_the_switch(&menu))
    }

    /// Tells whether GRUB can write to the file system of its environment. What is not known is
    /// taken for no: it would ask for a key at every boot.
    pub(super) fn can_write(&self, place: &RelPath) -> bool {
        let path = self.root.join(OsStr::from_bytes(place.as_bytes()));
        let ask = |target: &str| {
            let programs = ["grub-probe", "grub2-probe"].into_iter();
            let mut answers = programs.filter_map(|program| {
                let command = vec![program.into(), target.into(), path.clone().into()];
                let output = self.programs.run(&command, QUESTION_LIMIT).ok()?;
                let answer = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                output.is_success.then_some(answer)
            });
            answers.next()
        };
        let is_plain = ask("--target=abstraction").is_some_and(|layers| layers.is_empty());
        let fs_type = ask("--target=fs").unwrap_or_default();
        is_plain && !fs_type.is_empty() && !READ_ONLY.contains(&&*fs_type)
    }

    /// Runs a script in a mount name space of its own.
    fn apart(
        &self,
        script: &str,
        arguments: Vec<OsString>,
        (limit, what): (Duration, &str),
    ) -> Result<Output, Failure> {
        let words = ["unshare", "--mount", "sh", "-e", "-c", script, "sh"];
        let mut command: Vec<OsString> = words.iter().map(OsString::from).collect();
        command.extend(arguments);
        let failed = || {
            Failure::new(ExitCode::Failed, format!("target: {what}"))
                .hint("nothing was switched; correct the cause on the target and run the same command again")
                .hint("with --kernel target the clone boots the target's kernel")
        };
        let output = self.programs.run(&command, limit);
        let output = output.map_err(|error| failed().because(&error))?;
        if output.is_success {
            return Ok(output);
        }
        let mut failure = failed();
        failure.chain.push(output.complaint());
        Err(failure)
    }
}

/// Returns a menu whose paths lead to where the stage will be. GRUB names files from the root of
/// their file system, and there the stage still lies in the private directory.
fn as_after_the_switch(menu: &str) -> String {
    let stage = [STAGE_NAME, NEW_NAME]
        .map(String::from_utf8_lossy)
        .join("/");
    menu.replace(&format!("/{stage}"), "")
}

#[cfg(test)]
mod tests {
    use super::as_after_the_switch;

    #[test]
    fn paths_of_a_menu_lead_to_where_the_stage_will_be() {
        for (menu, expected) in [
            (
                "linux /boot/vmlinuz-1 root=a\n",
                "linux /boot/vmlinuz-1 root=a\n",
            ),
            // A boot file system of its own.
            (
                "linux /.instancesync/stage/vmlinuz-1\n",
                "linux /vmlinuz-1\n",
            ),
            (
                "linux /@rootfs/.instancesync/stage/boot/vmlinuz-1\n",
                "linux /@rootfs/boot/vmlinuz-1\n",
            ),
        ] {
            assert_eq!(as_after_the_switch(menu), expected);
        }
    }
}
