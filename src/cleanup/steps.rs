//! The profile's tables as changes of files: what is there decides, and what is planned for the
//! packages. Reads only. Knows nothing of how a change is made or undone.

use super::draft::Draft;
use super::edits::{self, Variable};
use super::profile::{
    CleanupProfile, EditGroup, EditKind, FileGroup, Generation, Patterns, Scope, UnitGroup, applies,
};
use super::recognise::Release;
use super::tree::{Last, State};

/// Where units lie that packages bring.
const UNIT_DIRECTORIES: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
/// Where administrators enable, replace and mask them.
const OWN_UNITS: &str = "/etc/systemd/system";
/// The line that keeps a job of upstart from starting by itself.
const MANUAL: &str = "manual\n";

/// For what the steps are chosen.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The tables.
    pub profile: &'a CleanupProfile,
    /// The release of Amazon Linux; `None` where nobody knows.
    pub generation: Option<Generation>,
    /// Whether the machine stays Amazon Linux.
    pub stays_amazon: bool,
    /// What the machine becomes.
    pub release: &'a Release,
}

impl Situation<'_> {
    fn wants(&self, generations: &[Generation], scope: Scope) -> bool {
        applies(generations, scope, self.generation, self.stays_amazon)
    }
}

/// Plans every change of a file, and returns what the person should know besides.
pub fn plan_files(situation: &Situation<'_>, draft: &mut Draft<'_>) -> Vec<String> {
    let (profile, tree) = (situation.profile, draft.tree());
    for group in &profile.remove {
        if situation.wants(&group.generations, group.scope) {
            remove(group, draft);
        }
    }
    let amazon = Patterns::new(&profile.amazon_releasevers);
    let mut edited = Vec::new();
    for group in &profile.edit {
        if situation.wants(&group.generations, group.scope) {
            for path in group.paths.iter().flat_map(|path| tree.matching(path)) {
                if edit(group, &path, &amazon, situation.release, draft) {
                    edited.push(group.edit);
                }
            }
        }
    }
    for file in &profile.create {
        let is_missing = matches!(
            draft.look(&file.path, Last::Itself),
            Some((_, State::Absent))
        );
        if is_missing && situation.wants(&file.generations, file.scope) {
            draft.set_text(&file.path, &file.contents, &file.reason);
        }
    }
    for group in &profile.unit {
        disable_units(group, draft);
        disable_scripts(group, draft);
    }
    restrict_cloud_init(profile, draft);
    stay_on_network(profile, draft);
    advice(&edited, profile, draft)
}

fn remove(group: &FileGroup, draft: &mut Draft<'_>) {
    let tree = draft.tree();
    for path in group.paths.iter().flat_map(|path| tree.matching(path)) {
        let is_meant = match &group.containing {
            Some(mark) => draft.text(&path).is_some_and(|text| text.contains(mark)),
            None => true,
        };
        if is_meant {
            draft.remove(&path, &group.reason);
        }
    }
}

/// Plans one edit; returns whether there was anything to edit.
fn edit(
    group: &EditGroup,
    path: &str,
    amazon: &Patterns,
    release: &Release,
    draft: &mut Draft<'_>,
) -> bool {
    if group.edit == EditKind::MotdLink {
        let leads_to_amazon = match draft.look(path, Last::Itself) {
            Some((_, State::Link { text, .. })) => {
                String::from_utf8_lossy(&text).contains("update-motd")
            }
            _ => false,
        };
        if leads_to_amazon {
            draft.replace_link_by_empty_file(path, &group.reason);
        }
        return leads_to_amazon;
    }
    let Some(text) = draft.text(path) else {
        return false;
    };
    let changed = match group.edit {
        EditKind::ReleaseverLine => edits::releasever_line(&text, amazon),
        EditKind::GrubConsole => edits::grub_console(&text),
        EditKind::SshdKeysCommand => edits::sshd_keys_command(&text),
        EditKind::TimeSource => edits::time_source(&text),
        EditKind::MotdLink => text.clone(),
        EditKind::ReleaseverVariable => {
            let is_known = !release.major.is_empty() && !release.is_amazon();
            let major = is_known.then_some(&release.major[..]);
            match edits::releasever_variable(&text, amazon, major) {
                Variable::Stays => text.clone(),
                Variable::Becomes(value) => value,
                Variable::Goes => {
                    draft.remove(path, &group.reason);
                    return true;
                }
            }
        }
    };
    draft.set_text(path, &changed, &group.reason);
    changed != text
}

/// Units of packages that stay are masked; links that enable them go in any case, for they are
/// nobody's once the package is gone.
fn disable_units(group: &UnitGroup, draft: &mut Draft<'_>) {
    for unit in &group.names {
        let instances = unit.replace("@.", "@*.");
        for kind in ["wants", "requires"] {
            let pattern = format!("{OWN_UNITS}/*.{kind}/{instances}");
            for link in draft.tree().matching(&pattern) {
                draft.remove(&link, &group.reason);
            }
        }
        let own = format!("{OWN_UNITS}/{unit}");
        let is_own = matches!(
            draft.look(&own, Last::Itself),
            Some((_, State::File { .. } | State::Link { .. }))
        );
        let stays = UNIT_DIRECTORIES.iter().any(|directory| {
            let found = draft.look(&format!("{directory}/{unit}"), Last::Itself);
            found.is_some_and(|(path, state)| {
                !matches!(state, State::Absent) && !draft.is_leaving(&path)
            })
        });
        if is_own || stays {
            draft.mask(&own, &group.reason);
        }
    }
}

/// Scripts of SysV init lose the links that start them, jobs of upstart start by hand only.
fn disable_scripts(group: &UnitGroup, draft: &mut Draft<'_>) {
    for script in &group.scripts {
        for pattern in [
            "/etc/rc.d/rc[0-6].d/S[0-9][0-9]",
            "/etc/rc[0-6].d/S[0-9][0-9]",
        ] {
            for link in draft.tree().matching(&format!("{pattern}{script}")) {
                draft.remove(&link, &group.reason);
            }
        }
        let job = draft.look(&format!("/etc/init/{script}.conf"), Last::Itself);
        if let Some((path, State::File { .. })) = job
            && !draft.is_leaving(&path)
        {
            let path = format!("/etc/init/{script}.override");
            let text = draft.text(&path).unwrap_or_default();
            if !text.lines().any(|line| line == MANUAL.trim_end()) {
                draft.set_text(&path, &(text + MANUAL), &group.reason);
            }
        }
    }
}

/// Where the list in force is that of an Amazon image, another one is put behind it.
fn restrict_cloud_init(profile: &CleanupProfile, draft: &mut Draft<'_>) {
    let cloud_init = &profile.cloud_init;
    let mut files = vec!["/etc/cloud/cloud.cfg".to_owned()];
    files.extend(draft.tree().matching("/etc/cloud/cloud.cfg.d/*.cfg"));
    files.retain(|path| *path != cloud_init.file);
    let lists = files.iter().filter_map(|path| draft.text(path));
    let in_force = lists
        .filter_map(|text| edits::datasource_list(&text))
        .last();
    let is_amazons = in_force.is_some_and(|list| {
        let is_amazon = |source: &String| cloud_init.amazon_sources.contains(source);
        list.iter().any(|source| source.starts_with("Ec2")) && list.iter().all(is_amazon)
    });
    if is_amazons {
        let text = edits::cloud_init_sources(&cloud_init.sources);
        draft.set_text(&cloud_init.file, &text, &cloud_init.reason);
    }
}

/// A machine whose only configuration of the network is Amazon's gets a plain one.
fn stay_on_network(profile: &CleanupProfile, draft: &mut Draft<'_>) {
    let (network, tree) = (&profile.network, draft.tree());
    let goes = tree.has_file(&network.instead_of)
        && matches!(
            draft.look(&network.instead_of, Last::Itself),
            Some((_, State::Absent))
        );
    let mut others = network.enough.iter().flat_map(|path| tree.matching(path));
    if goes && others.next().is_none() {
        draft.set_text(&network.file, &network.contents, &network.reason);
    }
}

fn advice(edited: &[EditKind], profile: &CleanupProfile, draft: &mut Draft<'_>) -> Vec<String> {
    let mut advice = Vec::new();
    if edited.contains(&EditKind::GrubConsole) {
        advice.push(
            "Run grub2-mkconfig -o /boot/grub2/grub.cfg when the boot loader is to be set up \
             anew; it works again."
                .to_owned(),
        );
    }
    if edited.contains(&EditKind::TimeSource) && !has_time_source(profile, draft) {
        advice.push(
            "No time server is left: add one to /etc/chrony.conf, such as \
             'pool 2.pool.ntp.org iburst'."
                .to_owned(),
        );
    }
    advice.push(
        "Restart the machine when that is done: what was removed or masked may still run."
            .to_owned(),
    );
    advice
}

fn has_time_source(profile: &CleanupProfile, draft: &mut Draft<'_>) -> bool {
    let groups = profile.edit.iter();
    let paths = groups.filter(|group| group.edit == EditKind::TimeSource);
    let paths = paths.flat_map(|group| &group.paths);
    let paths: Vec<String> = paths.flat_map(|path| draft.tree().matching(path)).collect();
    paths.iter().any(|path| {
        let leaves = draft
            .look(path, Last::Followed)
            .is_some_and(|(path, _)| draft.is_leaving(&path));
        let text = draft.text(path).unwrap_or_default();
        let mut first_words = text.lines().map(|line| line.split_whitespace().next());
        !leaves && first_words.any(|word| matches!(word, Some("server" | "pool" | "peer")))
    })
}
