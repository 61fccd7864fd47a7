//! What a clone in place writes last, in one short phase: the means of login and boot. Cut before
//! it, the target still lets its people in as before; cut after it, as the source does. Knows
//! nothing of passes.

use crate::exclude::{Rule, Rules, Verdict};

/// Whatever decides who gets in, and how, and what the machine starts with. Libraries come before
/// it: new ones beside old ones do no harm.
const HELD_BACK: [&str; 20] = [
    "/etc/pam.d/***",
    "/etc/pam.conf",
    "/etc/security/***",
    "/etc/nsswitch.conf",
    "/etc/login.defs",
    "/etc/sudoers",
    "/etc/sudoers.d/***",
    "/etc/ssh/***",
    "/etc/systemd/***",
    "/etc/init.d/***",
    "/etc/inittab",
    "/etc/runlevels/***",
    "/etc/rc*.d/***",
    "/etc/ld.so.*",
    "/root/***",
    "/{,usr/}{bin,sbin}/{sh,bash,dash,ash,su,sudo,login,init,agetty,getty,sshd}",
    "/{,usr/}lib{,32,64}/{,*/}security/***",
    "/{,usr/}{lib,libexec}/openssh/***",
    "/{,usr/}lib/systemd/***",
    "/usr/share/pam*/***",
];
const ORIGIN: &str = "instancesync";

/// Returns the rules of the first phase: those of the run, and nothing of the above.
pub(super) fn rules(own: &Rules) -> Rules {
    let held = HELD_BACK.map(|pattern| {
        Rule::new(Verdict::Skip, pattern, ORIGIN).because("written last, in one short phase")
    });
    // Patterns of our own that make no sense would only mean that nothing is held back.
    Rules::new([&held, own.list()].concat()).unwrap_or_else(|_| own.clone())
}

#[cfg(test)]
mod tests {
    use super::rules;
    use crate::exclude::{Rules, Verdict};
    use crate::relpath::RelPath;

    #[test]
    fn holds_back_the_means_of_login_and_nothing_else() {
        let rules = rules(&Rules::none());
        let verdict = |path: &str| {
            let path = RelPath::new(path.as_bytes()).unwrap();
            rules.decide_deep(&path, false).verdict
        };
        for path in [
            "etc/pam.d/sshd",
            "root/.ssh/authorized_keys",
            "bin/sh",
            "usr/bin/bash",
            "usr/sbin/sshd",
            "lib/x86_64-linux-gnu/security/pam_unix.so",
            "usr/lib64/security/pam_unix.so",
            "usr/lib/openssh/sftp-server",
            "lib/systemd/systemd",
        ] {
            assert_eq!(verdict(path), Verdict::Skip, "{path}");
        }
        for path in [
            "etc/hosts",
            "usr/bin/python3",
            "lib/x86_64-linux-gnu/libc.so.6",
            "srv/a",
        ] {
            assert_eq!(verdict(path), Verdict::Copy, "{path}");
        }
    }
}
