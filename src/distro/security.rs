//! SELinux and AppArmor: how they run and how they are configured. Knows nothing of labels.

use super::assignments::Assignments;
use super::look::Look;
use crate::facts::{AppArmor, Security, SelinuxMode};

/// Gathers both.
pub(super) fn gather(look: &Look) -> Security {
    let text = look.text("/etc/selinux/config");
    let config = text.map(|text| Assignments::parse(&text));
    let configured = config.as_ref().map_or(SelinuxMode::Absent, |config| {
        match config
            .get("SELINUX")
            .unwrap_or("")
            .to_ascii_lowercase()
            .as_str()
        {
            "enforcing" => SelinuxMode::Enforcing,
            "permissive" => SelinuxMode::Permissive,
            _ => SelinuxMode::Disabled,
        }
    });
    // The second place is RHEL 6's.
    let enforce = ["/sys/fs/selinux/enforce", "/selinux/enforce"]
        .into_iter()
        .find_map(|path| look.word(path));
    let selinux = match (enforce.as_deref(), &config) {
        (Some("1"), _) => SelinuxMode::Enforcing,
        (Some(_), _) => SelinuxMode::Permissive,
        (None, Some(_)) if look.exists("/proc/self/mountinfo") => SelinuxMode::Disabled,
        (None, _) => SelinuxMode::Absent,
    };
    let policy = config.as_ref().and_then(|config| config.get("SELINUXTYPE"));
    Security {
        selinux,
        selinux_configured: configured,
        selinux_policy: policy.map(str::to_owned),
        apparmor: apparmor(look),
    }
}

fn apparmor(look: &Look) -> AppArmor {
    let enabled = look.word("/sys/module/apparmor/parameters/enabled");
    let parser = ["/sbin/apparmor_parser", "/usr/sbin/apparmor_parser"];
    if enabled.as_deref() == Some("Y") {
        AppArmor::Enabled
    } else if look.any(&parser) && !look.names("/etc/apparmor.d").is_empty() {
        AppArmor::Installed
    } else {
        AppArmor::Absent
    }
}
