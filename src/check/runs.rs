//! What is found out by running programs of the clone. Knows nothing of how they are kept from
//! doing harm.

use super::room::Ran;
use super::{CheckOutcome, Stage, failed, not_applicable};

/// Where a kernel and an initramfs look for it first.
const INIT: &str = "/sbin/init";
const SSHD: [&str; 3] = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/local/sbin/sshd"];
/// Other SSH servers; they have no way to be asked.
const OTHER_SSH: [&str; 2] = ["/usr/sbin/dropbear", "/usr/bin/dropbear"];
const PACKAGE_MANAGERS: [&str; 5] = [
    "/usr/bin/dpkg",
    "/usr/bin/rpm",
    "/bin/rpm",
    "/sbin/apk",
    "/usr/bin/pacman",
];

impl Stage<'_> {
    /// Runs the clone's shell, which takes the loader and the C library.
    pub(super) fn shell(&self) -> CheckOutcome {
        if self.program("/bin/sh").is_none() {
            return failed(
                "/bin/sh is not there or no program: look at /bin and /usr on the source",
            );
        }
        essential(
            self.run("/bin/sh", &["-c", "exit 0"]),
            "no program of the clone starts",
            "is the C library of the source complete, and made for this processor?",
        )
    }

    /// Starts the init to tell its version, where it can.
    pub(super) fn init_runs(&self, runs: bool) -> CheckOutcome {
        let Some(init) = self.program(INIT) else {
            return not_applicable("there is no /sbin/init");
        };
        if !init.as_bytes().ends_with(b"/systemd") {
            return not_applicable("only systemd can be asked without starting it");
        }
        if !runs {
            return not_run();
        }
        let own_name = format!("/{}", String::from_utf8_lossy(init.as_bytes()));
        essential(
            // By its own name: called init it would talk to the one that runs.
            self.run(&own_name, &["--version"]),
            "the clone's systemd does not start",
            "run 'systemctl --version' on the source, and have its packages verified",
        )
    }

    /// Has the SSH server read its configuration and host keys.
    pub(super) fn sshd(&self, runs: bool) -> CheckOutcome {
        let Some(sshd) = self.first_program(&SSHD) else {
            let others = [&SSHD[..], &OTHER_SSH[..]].concat();
            if let Some(other) = self.first_program(&OTHER_SSH) {
                return not_applicable(format!("{other} cannot be asked"));
            }
            return match self.live_has(&others) {
                true => failed(
                    "the clone has no SSH server, and the target is reached by one: install it on the source",
                ),
                false => not_applicable("neither machine has an SSH server"),
            };
        };
        if !runs {
            return not_run();
        }
        essential(
            self.run(sshd, &["-t"]),
            "the SSH server would not start",
            "run 'sshd -t' on the source and repair /etc/ssh/sshd_config",
        )
    }

    /// Starts the package manager.
    pub(super) fn packages(&self, runs: bool) -> CheckOutcome {
        let Some(program) = self.first_program(&PACKAGE_MANAGERS) else {
            return not_applicable("no package manager that is known");
        };
        if !runs {
            return not_run();
        }
        match self.run(program, &["--version"]) {
            Ran::Well => CheckOutcome::Passed,
            Ran::Badly(complaint) => failed(format!(
                "{program} does not start: {complaint}; run '{program} --version' on the source"
            )),
            Ran::NotRun(reason) => not_applicable(reason),
        }
    }
}

/// Without this nobody gets in any more: what cannot be proven is not switched to.
fn essential(ran: Ran, what: &str, hint: &str) -> CheckOutcome {
    match ran {
        Ran::Well => CheckOutcome::Passed,
        Ran::Badly(complaint) => failed(format!("{what}: {complaint}; {hint}")),
        Ran::NotRun(reason) => failed(format!(
            "it could not be found out: {reason}; the target needs the programs unshare, mount and \
             chroot, and the right to mount"
        )),
    }
}

fn not_run() -> CheckOutcome {
    not_applicable("no program of the clone starts")
}
