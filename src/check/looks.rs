//! What is found out by looking. Knows nothing of programs that run.

use super::{CheckOutcome, Stage, failed, not_applicable};
use crate::authorized_keys::has_line;
use crate::distro::gather_kernels;
use crate::fixup::astray;
use crate::fs::owned::read_owned;
use crate::fs::{Root, Status, Tree};
use crate::relpath::RelPath;

const INITS: [&str; 3] = ["/sbin/init", "/etc/init", "/bin/init"];
/// Where kernels are booted from.
const BOOT: &[u8] = b"boot";
/// How the image of a kernel is called, before its release.
const IMAGE: &[u8] = b"vmlinuz-";
/// LIMIT: how many paths a failure names.
const MAX_NAMED: usize = 5;

impl Stage<'_> {
    /// Looks for an init that the kernel can start.
    pub(super) fn init(&self) -> CheckOutcome {
        if self.first_program(&INITS).is_some() {
            return CheckOutcome::Passed;
        }
        match self.live_has(&INITS) {
            true => failed(
                "/sbin/init is not there, leads nowhere or is no program: install the source's \
                 init system again",
            ),
            false => not_applicable("the target has no init either: it is no machine of its own"),
        }
    }

    /// Looks at root's row and shell.
    pub(super) fn root_shell(&self) -> CheckOutcome {
        let Some(rows) = self.text(self.tree(), "/etc/passwd") else {
            return match self.live_has(&["/etc/passwd"]) {
                true => failed("/etc/passwd is not there: nobody could log in"),
                false => not_applicable("neither machine has /etc/passwd"),
            };
        };
        let mut rows = rows.lines().map(|row| row.split(':').collect::<Vec<_>>());
        let Some(root) = rows.find(|row| row.first() == Some(&"root")) else {
            return failed("/etc/passwd has no root: repair it on the source");
        };
        let shell = match root.get(6).map(|shell| shell.trim()) {
            None | Some("") => "/bin/sh",
            Some(shell) => shell,
        };
        match self.program(shell) {
            Some(_) => CheckOutcome::Passed,
            None => failed(format!(
                "root's shell {shell} is not there or no program: install it on the source, or give \
                 root another one with 'chsh'"
            )),
        }
    }

    /// Looks for the run's key among root's.
    pub(super) fn run_key(&self) -> CheckOutcome {
        let Some(pair) = &self.source.pair else {
            return not_applicable("nobody comes back with a key of the run");
        };
        let keys = self
            .text(self.tree(), "/root/.ssh/authorized_keys")
            .unwrap_or_default();
        match has_line(&keys, pair) {
            true => CheckOutcome::Passed,
            false => failed(
                "the run's key is not in /root/.ssh/authorized_keys of the clone: the source could \
                 not confirm it; do not exclude that file",
            ),
        }
    }

    /// Looks for the file of the machine's id, which systemd fills where it is empty.
    pub(super) fn machine_id(&self) -> CheckOutcome {
        const FILE: &str = "/etc/machine-id";
        if self.look(FILE).is_some_and(|(_, status)| status.is_file()) {
            return CheckOutcome::Passed;
        }
        match self.program("/sbin/init") {
            Some(init) if init.as_bytes().ends_with(b"/systemd") => failed(
                "/etc/machine-id is not there: systemd would take the boot for a first one and enable \
                 units anew; make an empty file of that name on the target, and do not exclude it",
            ),
            _ => not_applicable("without systemd it is not needed"),
        }
    }

    /// Compares the line of the root file system with that of the running target.
    pub(super) fn fstab(&self) -> CheckOutcome {
        let live = self.live().and_then(|live| self.text(&live, "/etc/fstab"));
        let Some(target) = live.as_deref().and_then(root_of) else {
            return not_applicable("the target's fstab does not name its root");
        };
        let staged = self.text(self.tree(), "/etc/fstab").unwrap_or_default();
        match root_of(&staged) {
            Some(root) if root == target => CheckOutcome::Passed,
            Some(root) => failed(format!(
                "/etc/fstab of the clone has {root} as its root, the target's is {target}: do not \
                 copy that file over the target's"
            )),
            None => failed(format!(
                "/etc/fstab of the clone has no line for its root ({target}): do not exclude that \
                 file"
            )),
        }
    }

    /// Looks for the modules of each kernel that the target can boot. Those of one that was
    /// installed since the fix-ups are carried right before the switch.
    pub(super) fn kernel(&self) -> CheckOutcome {
        let note = self.seen(self.note()).flatten().unwrap_or_default();
        let boot = RelPath::new(BOOT).unwrap_or_default();
        if !note.rules.leaves_alone(&boot, true) {
            return self.own_kernels(&boot);
        }
        let system = self.seen(Root::open(self.root));
        let kernels = system.and_then(|system| self.seen(gather_kernels(&system)));
        let mut bootable = kernels.unwrap_or_default().installed;
        bootable.retain(|kernel| kernel.has_image && kernel.has_modules);
        if bootable.is_empty() {
            return not_applicable("the target has no kernel with modules");
        }
        let live = self.live();
        let is_missing = |version: &&str| {
            let path = format!("/lib/modules/{version}");
            let found = live
                .as_ref()
                .and_then(|live| self.seen(live.resolve(path.as_bytes())));
            let is_older = |status: Status| status.ctime() <= note.carried_at;
            self.look(&path).is_none() && found.is_none_or(|(_, status)| is_older(status))
        };
        let versions = bootable.iter().map(|kernel| kernel.version.as_str());
        let missing: Vec<&str> = versions.filter(is_missing).collect();
        match missing.is_empty() {
            true => CheckOutcome::Passed,
            false => failed(format!(
                "the target boots Linux {} and the clone has no modules for it; do not include \
                 /lib/modules of the source",
                missing.join(", ")
            )),
        }
    }

    /// Looks for what belongs to each kernel in the `/boot` of the stage.
    fn own_kernels(&self, boot: &RelPath) -> CheckOutcome {
        let names = self.seen(self.tree().open_beneath(boot).and_then(|dir| dir.names()));
        let names = names.unwrap_or_default();
        let images = names.iter().filter_map(|name| name.strip_prefix(IMAGE));
        let kernels: Vec<_> = images.map(String::from_utf8_lossy).collect();
        let lacks = |version: &str| {
            let modules = format!("/lib/modules/{version}");
            let initramfs = format!("/boot/initrd.img-{version}");
            self.look(&modules).is_none() || self.look(&initramfs).is_none()
        };
        let lacking: Vec<&str> = kernels
            .iter()
            .map(|version| &**version)
            .filter(|version| lacks(version))
            .collect();
        if kernels.is_empty() {
            return not_applicable("the clone has no kernel in /boot");
        }
        match lacking.is_empty() {
            true => CheckOutcome::Passed,
            false => failed(format!(
                "the clone has Linux {} without its modules or initramfs; remove what is left of it, \
                 or leave --kernel source out",
                lacking.join(", ")
            )),
        }
    }

    /// Compares what the target keeps with what was carried.
    pub(super) fn kept(&self) -> CheckOutcome {
        let note = match self.note() {
            Ok(Some(note)) => note,
            Ok(None) => return failed("the fix-ups have not been made: run them first"),
            Err(error) => {
                return failed(format!(
                    "the note of the clone cannot be read ({error}: {}): run the fix-ups again",
                    error.cause()
                ));
            }
        };
        let missing = astray(self.staged, &note.refresh(), note.carried_at);
        if missing.is_empty() {
            return CheckOutcome::Passed;
        }
        let named = missing.iter().take(MAX_NAMED);
        let named: Vec<String> = named
            .map(|path| format!("/{}", String::from_utf8_lossy(path.as_bytes())))
            .collect();
        let more = match missing.len().saturating_sub(MAX_NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        failed(format!(
            "not as on the target: {}{more}; run instancesync again",
            named.join(", ")
        ))
    }

    /// Reads a file of a tree, through links inside it.
    fn text(&self, tree: &Tree, path: &str) -> Option<String> {
        let (path, _) = self.seen(tree.resolve(path.as_bytes()))?;
        let (parent, name) = path.split()?;
        let dir = self.seen(tree.open_beneath(&parent))?;
        let file = self.seen(read_owned(&dir, &name)).flatten()?;
        Some(String::from_utf8_lossy(&file.contents).into_owned())
    }
}

/// Returns what is mounted as the root by the text of an fstab.
fn root_of(fstab: &str) -> Option<&str> {
    let mut lines = fstab
        .lines()
        .map(str::trim)
        .filter(|line| !line.starts_with('#'));
    lines.find_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let device = fields.next()?;
        (fields.next()? == "/").then_some(device)
    })
}

#[cfg(test)]
mod tests {
    use super::root_of;

    #[test]
    fn finds_the_root_of_an_fstab() {
        for (text, expected) in [
            ("UUID=a / ext4 defaults 0 1\n", Some("UUID=a")),
            (
                "# UUID=b / ext4\n  \nUUID=h /home ext4\n\t/dev/vda1\t/\text4\n",
                Some("/dev/vda1"),
            ),
            ("UUID=a /boot ext4\nlone\n", None),
            ("", None),
        ] {
            assert_eq!(root_of(text), expected, "{text:?}");
        }
    }
}
