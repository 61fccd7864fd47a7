//! A sample of the clone's files, compared with the source's when the clone has booted: the last
//! look, at what really lies on its disks. Knows nothing of how they came there.

use std::collections::HashSet;
use std::time::SystemTime;

use super::Run;
use super::fixups::Agreed;
use crate::exclude::{Rules, Verdict};
use crate::failure::Failure;
use crate::fs::{Dir, usable_name};
use crate::orders::{Digested, digest_of};
use crate::relpath::RelPath;
use crate::session::Session;

/// How many files are compared.
const SAMPLE: usize = 200;
/// LIMIT: how often a file is looked for: most ways down end at a link or an empty directory.
const ATTEMPTS: u64 = 2000;
/// LIMIT: bytes of a file, so that both machines have read the sample within seconds.
const MAX_FILE_LEN: u64 = 8 << 20;
/// Where only people and package managers write: what differs there is a fault. Services write
/// below `/var` as soon as they start.
const STILL: [&[u8]; 6] = [b"usr", b"etc", b"opt", b"srv", b"home", b"root"];

impl Run<'_> {
    /// Compares some files of the clone with the source's. Without rules of this run, as when only
    /// the verification was left, nobody knows which are to be equal.
    pub(super) fn compare_sample(&self, session: &Session, agreed: &Agreed) -> Result<(), Failure> {
        if agreed.system.is_none() {
            return Ok(());
        }
        let source = (&self.source.root, &self.source.devices());
        let mut paths = pick(source, &agreed.rules, agreed.began);
        let report = self.recorder.report();
        paths.retain(|path| {
            report
                .fix_ups
                .iter()
                .all(|made| made.path != path.as_bytes())
        });
        let found = session.digests(&self.settings.target_dir, &paths)?;
        let differing: Vec<&RelPath> = paths
            .iter()
            .zip(&found)
            .filter(|(path, found)| differs(&self.source.root, path, found.as_ref()))
            .map(|(path, _)| path)
            .collect();
        match differing.first() {
            None => {
                let text = format!(
                    "{} sampled files are the source's, byte for byte",
                    paths.len()
                );
                self.verified("contents", true, &text);
            }
            Some(first) => {
                let text = format!(
                    "{} of {} sampled files are not the source's, such as /{}",
                    differing.len(),
                    paths.len(),
                    String::from_utf8_lossy(first.as_bytes())
                );
                self.verified("contents", false, &text);
            }
        }
        Ok(())
    }
}

/// LIVE: a file of which either machine has changed the time is no longer the one that was sent.
fn differs(source: &Dir, path: &RelPath, found: Option<&Digested>) -> bool {
    let Ok(own) = digest_of(source, path) else {
        return false;
    };
    found.is_none_or(|found| found.mtime == own.mtime && found.digest != own.digest)
}

/// Picks files that the rules copy and that have not changed since the run began, each by a way of
/// its own down from the root, on the devices that are copied.
fn pick(source: (&Dir, &HashSet<u64>), rules: &Rules, began: SystemTime) -> Vec<RelPath> {
    let since = began.duration_since(SystemTime::UNIX_EPOCH);
    let since = since.map_or(0, |since| since.as_secs());
    let mut picked = Vec::new();
    for attempt in 0..ATTEMPTS {
        let mut dice = Dice::new(since, attempt);
        if let Some(path) = descend(source, rules, since, &mut dice)
            && !picked.contains(&path)
        {
            picked.push(path);
        }
        if picked.len() == SAMPLE {
            break;
        }
    }
    picked
}

fn descend(
    (source, devices): (&Dir, &HashSet<u64>),
    rules: &Rules,
    since: u64,
    dice: &mut Dice,
) -> Option<RelPath> {
    let start = dice.choose(&STILL)?;
    let mut path = RelPath::new(start).ok()?;
    let mut dir = source.open_dir(&usable_name(start).ok()?).ok()?;
    if !devices.contains(&dir.id().ok()?.device) {
        return None;
    }
    loop {
        let name = usable_name(dice.choose(&dir.names().ok()?)?).ok()?;
        let status = dir.status_of(&name).ok()?;
        path = path.join(&name);
        let verdict = rules.decide_deep(&path, status.is_directory()).verdict;
        if verdict != Verdict::Copy {
            return None;
        }
        if !status.is_directory() {
            let is_still = u64::try_from(status.ctime().seconds).is_ok_and(|at| at < since);
            let is_fit = status.is_file() && status.size() <= MAX_FILE_LEN && is_still;
            return is_fit.then_some(path);
        }
        dir = dir.open_dir_here(&name, &status).ok()??;
    }
}

/// Chooses among names, each run others.
struct Dice(blake3::OutputReader);

impl Dice {
    fn new(seed: u64, attempt: u64) -> Dice {
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&seed.to_le_bytes())
            .update(&attempt.to_le_bytes());
        Dice(hasher.finalize_xof())
    }

    fn choose<'n, T>(&mut self, from: &'n [T]) -> Option<&'n T> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        let count = u64::try_from(from.len()).ok().filter(|count| *count > 0)?;
        from.get(usize::try_from(u64::from_le_bytes(bytes) % count).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::fs;
    use std::time::{Duration, SystemTime};

    use super::{differs, pick};
    use crate::exclude::{Rule, Rules, Verdict};
    use crate::fs::Dir;
    use crate::orders::digest_of;

    #[test]
    fn picks_what_is_copied_and_sees_what_differs() {
        let place = tempfile::tempdir().unwrap();
        for directory in ["usr/lib/a", "etc/kept", "var/lib"] {
            fs::create_dir_all(place.path().join(directory)).unwrap();
        }
        for file in [
            "usr/lib/a/file",
            "usr/tool",
            "etc/kept/own",
            "var/lib/state",
        ] {
            fs::write(place.path().join(file), file).unwrap();
        }
        let source = Dir::open_root(place.path()).unwrap();
        let rule = Rule::new(Verdict::Keep, "/etc/kept/***", "test");
        let rules = Rules::new(vec![rule]).unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        let devices = HashSet::from([source.id().unwrap().device]);
        let mut picked = pick((&source, &devices), &rules, later);
        picked.sort();
        let names: Vec<String> = picked
            .iter()
            .map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned())
            .collect();
        assert_eq!(names, ["usr/lib/a/file", "usr/tool"]);
        assert!(
            pick((&source, &devices), &rules, SystemTime::UNIX_EPOCH).is_empty(),
            "all changed since"
        );
        assert!(
            pick((&source, &HashSet::new()), &rules, later).is_empty(),
            "other file systems are mounted there"
        );

        let tool = &picked[1];
        let mut found = digest_of(&source, tool).unwrap();
        assert!(!differs(&source, tool, Some(&found)));
        found.digest[0] ^= 1;
        assert!(differs(&source, tool, Some(&found)));
        found.mtime.seconds += 1;
        assert!(
            !differs(&source, tool, Some(&found)),
            "the clone wrote it itself"
        );
        assert!(differs(&source, tool, None));
    }
}
