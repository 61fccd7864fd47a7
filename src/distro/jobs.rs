//! Jobs that run by the clock: crontabs, timers of the administrator, `at`. Knows nothing of
//! what they do.

use super::look::{Look, active_lines};

/// LIMIT: jobs that are told.
const MAX_JOBS: usize = 100;

/// Returns the files that hold them, sorted.
pub(super) fn gather(look: &Look) -> Vec<String> {
    const CRONTABS: [&str; 5] = [
        "/var/spool/cron/crontabs",
        "/var/spool/cron/tabs",
        "/var/spool/cron",
        "/etc/crontabs",
        "/etc/cron.d",
    ];
    let crontabs = CRONTABS
        .iter()
        .flat_map(|directory| look.paths(directory, ""));
    let crontabs = crontabs.chain(["/etc/crontab".to_owned()]);
    let mut jobs: Vec<String> = crontabs.filter(|path| has_jobs(look, path)).collect();
    // The administrator's own timers are files; the links beside them enable those of packages.
    let timers = look.paths("/etc/systemd/system", ".timer").into_iter();
    jobs.extend(timers.filter(|path| look.link(path).is_none()));
    for directory in [
        "/var/spool/cron/atjobs",
        "/var/spool/at",
        "/var/spool/atjobs",
    ] {
        let names = look.names(directory).into_iter();
        // `a` and thirteen hexadecimal digits: queue, number, time.
        let names = names.filter(|name| name.starts_with('a') && name.len() == 14);
        jobs.extend(names.map(|name| format!("{directory}/{name}")));
    }
    jobs.sort();
    jobs.dedup();
    jobs.truncate(MAX_JOBS);
    jobs
}

/// Tells whether a crontab has a line of its own: not a setting, not the call of the hourly and
/// daily directories that every system has.
fn has_jobs(look: &Look, path: &str) -> bool {
    let is_file = look.status(path).is_some_and(|status| status.is_file());
    let text = is_file.then(|| look.text(path)).flatten();
    text.is_some_and(|text| active_lines(&text).any(is_job))
}

fn is_job(line: &str) -> bool {
    let begins = line.starts_with(|letter: char| letter.is_ascii_digit() || "*@".contains(letter));
    begins && !line.contains("run-parts") && !line.contains("anacron")
}

#[cfg(test)]
mod tests {
    use super::is_job;

    #[test]
    fn settings_and_directories_are_no_jobs() {
        for (line, expected) in [
            ("SHELL=/bin/sh", false),
            (
                "17 * * * * root cd / && run-parts --report /etc/cron.hourly",
                false,
            ),
            ("*/5 * * * * root /usr/local/bin/sync", true),
            ("@daily backup", true),
        ] {
            assert_eq!(is_job(line), expected, "{line}");
        }
    }
}
