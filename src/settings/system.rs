//! How a whole system is cloned: by which profiles, and with whose identity, name and kernel.

use std::path::Path;

use super::profiles;
use crate::cli::{IdentityChoice, KernelChoice, PlaceArguments, ProfileArguments, ScopeChoice};
use crate::exclude::profile::{
    Catalog, HostnamePolicy, IdentityPolicy, KernelPolicy, Policies, Selected, Selection,
};
use crate::facts::Facts;
use crate::failure::Failure;

/// LIMIT: `HOST_NAME_MAX` of Linux, in bytes.
const MAX_HOSTNAME_LEN: usize = 64;

/// How a whole system is cloned.
#[derive(Clone, Debug)]
pub struct SystemSettings {
    /// The profiles that there are.
    pub catalog: Catalog,
    /// Profiles that apply whatever their conditions say.
    pub with: Vec<String>,
    /// Profiles that do not apply.
    pub without: Vec<String>,
    /// What becomes of what makes a machine this one.
    pub policies: Policies,
    /// The name of the clone, where one was given.
    pub hostname: Option<String>,
}

impl SystemSettings {
    /// Resolves the flags; `None` where a directory tree is copied. Reads profile files.
    pub(super) fn resolve(
        arguments: ProfileArguments,
        place: &PlaceArguments,
        (source, target_dir): (&Path, &Path),
    ) -> Result<Option<SystemSettings>, Failure> {
        let is_root = |path: &Path| path == Path::new("/");
        let is_system = match arguments.scope {
            Some(scope) => scope == ScopeChoice::System,
            None => is_root(source) && is_root(target_dir) && place.to.is_none(),
        };
        if is_system {
            return SystemSettings::new(arguments).map(Some);
        }
        match flag_for_systems(&arguments) {
            None => Ok(None),
            Some(flag) => Err(Failure::usage(format!(
                "--{flag} is for a clone of a whole system, and this is one of a directory tree"
            ))
            .hint("pass --scope system if the source directory is the root of a system")),
        }
    }

    /// Takes what the flags say about a whole system. Reads profile files.
    pub fn new(arguments: ProfileArguments) -> Result<SystemSettings, Failure> {
        let directory = Path::new(profiles::DIRECTORY);
        let (hostname_policy, hostname) = match arguments.hostname.as_deref() {
            None | Some("target") => (HostnamePolicy::Target, None),
            Some("source") => (HostnamePolicy::Source, None),
            Some(name) => (HostnamePolicy::Name, Some(checked_hostname(name)?)),
        };
        Ok(SystemSettings {
            catalog: profiles::read(directory, &arguments.profile)?,
            with: arguments.with,
            without: arguments.without,
            policies: Policies {
                identity: match arguments.identity_policy {
                    None | Some(IdentityChoice::Clone) => IdentityPolicy::Clone,
                    Some(IdentityChoice::Move) => IdentityPolicy::Move,
                },
                hostname: hostname_policy,
                kernel: match arguments.kernel {
                    None | Some(KernelChoice::Target) => KernelPolicy::Target,
                    Some(KernelChoice::Source) => KernelPolicy::Source,
                },
            },
            hostname,
        })
    }

    /// Chooses the profiles for a pair of machines.
    pub fn select(&self, source: &Facts, target: &Facts) -> Result<Selected, Failure> {
        let selection = Selection {
            source,
            target,
            policies: self.policies,
            with: &self.with,
            without: &self.without,
        };
        profiles::select(&self.catalog, &selection)
    }
}

/// Returns a flag that says something about whole systems alone, without its dashes.
fn flag_for_systems(arguments: &ProfileArguments) -> Option<&'static str> {
    let flags = [
        ("profile", !arguments.profile.is_empty()),
        ("with", !arguments.with.is_empty()),
        ("without", !arguments.without.is_empty()),
        ("identity-policy", arguments.identity_policy.is_some()),
        ("hostname", arguments.hostname.is_some()),
        ("kernel", arguments.kernel.is_some()),
    ];
    let given = flags.iter().find(|(_, is_given)| *is_given);
    given.map(|(flag, _)| *flag)
}

fn checked_hostname(name: &str) -> Result<String, Failure> {
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.len() <= MAX_HOSTNAME_LEN && name.split('.').all(is_label) {
        return Ok(name.to_owned());
    }
    Err(
        Failure::usage(format!("--hostname {name}: it is no name of a machine"))
            .hint("write 'target', 'source', or a name of letters, digits, '-' and '.'"),
    )
}

#[cfg(test)]
mod tests {
    use super::checked_hostname;

    #[test]
    fn takes_names_that_a_machine_can_have() {
        for name in ["web", "web-1.example.org", "1"] {
            assert!(checked_hostname(name).is_ok(), "{name}");
        }
        let long = "a".repeat(65);
        for name in ["", "a..b", "-a", "a-", "a_b", "ä", "a b", "a/b", &long] {
            assert!(checked_hostname(name).is_err(), "{name}");
        }
    }
}
