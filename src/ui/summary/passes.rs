//! What each pass did, as a table: a column for each pass or group of passes, its rows by side.
//! Knows nothing of the rest of the summary.

use std::time::Duration;

use super::super::units;
use super::speedup;
use crate::monitor::{Pass, PassStats};
use crate::report::Report;

/// Columns of the screen for labels and for each cell, where there are up to two passes, and where
/// there are more: 34 + 2 * 20 and 32 + 4 * 12 are 80 at most.
const WIDE: (usize, usize) = (34, 20);
const NARROW: (usize, usize) = (32, 12);

/// What one cell of the table shows of the stats.
type Cell = fn(&PassStats) -> String;

/// The rows: label and cell. A row whose cells all show [`NOTHING`] is left out.
const ROWS: [(&str, Cell); 16] = [
    ("source: entries listed", |stats| {
        count(stats.listed_entries)
    }),
    ("source: bytes in files", |stats| bytes(stats.listed_bytes)),
    ("source: contents sent", |stats| bytes(stats.body_bytes)),
    ("source: put on the link", |stats| bytes(stats.sent_bytes)),
    ("source: taken from the link", |stats| {
        bytes(stats.received_bytes)
    }),
    ("source: vanished meanwhile", |stats| {
        count(stats.vanished_entries)
    }),
    ("source: never held still", |stats| {
        count(stats.changed_files)
    }),
    ("target: equal already", |stats| count(stats.equal_entries)),
    ("target: files landed", |stats| count(stats.landed_files)),
    ("target: others made", |stats| count(stats.made_entries)),
    ("target: hard links made", |stats| {
        count(stats.linked_entries)
    }),
    ("target: attributes changed only", |stats| {
        count(stats.attribute_entries)
    }),
    ("target: deleted", |stats| count(stats.deleted_entries)),
    ("both: failed", |stats| count(stats.failed_entries)),
    ("time", |stats| {
        units::duration(Duration::from_millis(stats.elapsed_ms))
    }),
    ("contents sent a second", rate),
];

/// The rows of what the time was spent on, summed over all threads of a side, so that they can come
/// to more than the time. The target packs nothing but its wants.
const SPENT_ROWS: [(&str, Cell); 12] = [
    ("source: time to walk", |stats| {
        spent(stats.source_spent.walk_ms)
    }),
    ("source: time to read", |stats| {
        spent(stats.source_spent.read_ms)
    }),
    ("source: time to hash", |stats| {
        spent(stats.source_spent.hash_ms)
    }),
    ("source: time to pack", |stats| {
        spent(stats.source_spent.pack_ms)
    }),
    ("source: waited for the link", |stats| {
        spent(stats.source_spent.link_ms)
    }),
    ("source: waited for others", |stats| {
        spent(stats.source_spent.idle_ms)
    }),
    ("target: time to compare", |stats| {
        spent(stats.target_spent.compare_ms)
    }),
    ("target: time to read", |stats| {
        spent(stats.target_spent.read_ms)
    }),
    ("target: time to hash", |stats| {
        spent(stats.target_spent.hash_ms)
    }),
    ("target: time to write", |stats| {
        spent(stats.target_spent.write_ms)
    }),
    ("target: waited for the link", |stats| {
        spent(stats.target_spent.link_ms)
    }),
    ("target: waited for others", |stats| {
        spent(stats.target_spent.idle_ms)
    }),
];

const NOTHING: &str = "-";

fn count(number: u64) -> String {
    if number == 0 {
        NOTHING.into()
    } else {
        units::count(number)
    }
}

fn bytes(amount: u64) -> String {
    if amount == 0 {
        NOTHING.into()
    } else {
        units::bytes(amount)
    }
}

fn spent(milliseconds: u64) -> String {
    match milliseconds {
        // Would be shown as 0.0 s.
        0..50 => NOTHING.into(),
        _ => units::duration(Duration::from_millis(milliseconds)),
    }
}

fn rate(stats: &PassStats) -> String {
    let time = Duration::from_millis(stats.elapsed_ms);
    let rate = stats.body_bytes as f64 / time.as_secs_f64().max(0.001);
    match stats.body_bytes {
        0 => NOTHING.into(),
        _ => units::rate(rate),
    }
}

/// Returns the table: a column for each pass or group of passes, its rows by side; with what the
/// time was spent on where that is asked for.
pub fn table(report: &Report, tells_spent: bool) -> String {
    let mut table = String::new();
    if report.passes.is_empty() {
        return table;
    }
    let (columns, widths) = match report.passes.len() {
        0..=2 => (columns(report), WIDE),
        _ => (grouped_columns(report), NARROW),
    };
    let names = columns.iter().map(|(name, _)| name.clone());
    push_row(&mut table, widths, "", names);
    let spent_rows = SPENT_ROWS.iter().filter(|_| tells_spent);
    for (label, cell) in ROWS.iter().chain(spent_rows) {
        let cells: Vec<_> = columns.iter().map(|(_, stats)| cell(stats)).collect();
        if cells.iter().any(|cell| cell != NOTHING) {
            push_row(&mut table, widths, label, cells.into_iter());
        }
    }
    if let Some(speedup) = speedup(report) {
        table.push_str(&format!(
            "speedup {speedup:.1} (bytes in the source's files for each byte on the link)\n"
        ));
    }
    table
}

fn columns(report: &Report) -> Vec<(String, PassStats)> {
    let column = |(pass, stats): &(Pass, PassStats)| (pass.to_string(), stats.clone());
    report.passes.iter().map(column).collect()
}

/// Returns one column each for the first pass, those that catch up, the checksum pass and what
/// follows it: more columns than these do not fit beside each other.
fn grouped_columns(report: &Report) -> Vec<(String, PassStats)> {
    let is_checksum = |(pass, _): &(Pass, PassStats)| *pass == Pass::Checksum;
    let checksum = report.passes.iter().position(is_checksum);
    let (early, late) = report
        .passes
        .split_at(checksum.unwrap_or(report.passes.len()));
    let (first, further) = early.split_at(early.len().min(1));
    let (checksum, last) = late.split_at(late.len().min(1));
    let further_name = format!("{} further", further.len());
    let groups = [
        ("timestamp", first),
        (&*further_name, further),
        ("checksum", checksum),
        ("last", last),
    ];
    let groups = groups.into_iter().filter(|(_, group)| !group.is_empty());
    groups
        .map(|(name, group)| (name.to_owned(), sum(group)))
        .collect()
}

fn sum(passes: &[(Pass, PassStats)]) -> PassStats {
    let mut sum = PassStats::default();
    for (_, stats) in passes {
        sum.add(stats);
    }
    sum
}

fn push_row(
    table: &mut String,
    (label_width, column_width): (usize, usize),
    label: &str,
    cells: impl Iterator<Item = String>,
) {
    let mut row = format!("{label:label_width$}");
    for cell in cells {
        row.push_str(&format!("{cell:>column_width$}"));
    }
    table.push_str(row.trim_end());
    table.push('\n');
}
