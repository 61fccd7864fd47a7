//! `/etc/selinux/config`: the source's policy, in the mode of the target, and never a policy that
//! is not there: with such a configuration the machine stops in its boot. Knows nothing of
//! labels.

use super::block::words;
use super::{Case, Change, Level, path};

const CONFIG: &str = "etc/selinux/config";

pub(super) fn merge(case: &mut Case<'_>) {
    let path = path(CONFIG);
    let target_mode = case
        .target_file(&path)
        .and_then(|file| mode(&file.contents));
    let Some(source) = case.source_file(&path) else {
        if case.target(&path).is_some() && case.source(&path).is_none() {
            let reason = "the source has no SELinux, so there is no policy";
            case.propose(&path, Change::Remove, Level::Warning, reason);
        }
        return;
    };
    let source_mode = mode(&source.contents).unwrap_or_else(|| b"enforcing".to_vec());
    let wanted: &[u8] = match &target_mode {
        Some(mode) => &mode[..],
        // A target that never ran it has no labels to enforce.
        None if source_mode == b"enforcing" => b"permissive",
        None => &source_mode,
    };
    let (mode, level) = match wanted {
        b"disabled" => (wanted, Level::Info),
        _ if !case.present(&policy(&source.contents)) => {
            let what = "the policy is not there: SELinux is off in the clone";
            case.note(&path, Level::Warning, what.to_owned());
            (&b"disabled"[..], Level::Warning)
        }
        _ if source_mode == b"disabled" => {
            let what = "the source ran without SELinux: the files of the clone need labels";
            case.note(&path, Level::Warning, what.to_owned());
            (wanted, Level::Warning)
        }
        _ => (wanted, Level::Info),
    };
    let contents = with_mode(&source.contents, mode);
    let change = Change::Write(source.with(contents));
    let reason = "the source's policy in the mode of the target";
    case.propose(&path, change, level, reason);
}

/// Returns the mode that a configuration sets, in lower case: libselinux takes any, and does not look
/// at what stands behind the word.
pub(super) fn mode(contents: &[u8]) -> Option<Vec<u8>> {
    let word = words(value(contents, b"SELINUX=")?).next()?;
    Some(word.to_ascii_lowercase())
}

/// Returns where the policy of a configuration lies, as an absolute path.
pub(super) fn policy(contents: &[u8]) -> Vec<u8> {
    let kind = value(contents, b"SELINUXTYPE=").unwrap_or(b"targeted");
    [b"/etc/selinux/", kind, b"/policy"].concat()
}

/// Returns the last value of a key, as libselinux reads it.
fn value<'a>(contents: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    let lines = contents.split(|byte| *byte == b'\n');
    let mut values = lines.filter_map(|line| line.trim_ascii_start().strip_prefix(key));
    values.next_back().map(<[u8]>::trim_ascii)
}

fn with_mode(contents: &[u8], mode: &[u8]) -> Vec<u8> {
    let mut edited = Vec::with_capacity(contents.len());
    let mut is_set = false;
    for line in contents.split_inclusive(|byte| *byte == b'\n') {
        match line.trim_ascii_start().starts_with(b"SELINUX=") {
            true => {
                edited.extend([b"SELINUX=", mode, b"\n"].concat());
                is_set = true;
            }
            false => edited.extend_from_slice(line),
        }
    }
    if !is_set {
        if !edited.is_empty() && !edited.ends_with(b"\n") {
            edited.push(b'\n');
        }
        edited.extend([b"SELINUX=", mode, b"\n"].concat());
    }
    edited
}
