//! The scan over small trees: portions, holes, hard links, rules.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Extent, Scan};
use crate::exclude::{Rule, Rules, Verdict};
use crate::fs::Dir;
use crate::monitor::Counters;
use crate::relpath::RelPath;

fn scan(path: &Path, rules: &Rules, mount_points: &[&str]) -> (Extent, Counters) {
    let root = Dir::open_root(path).unwrap();
    let counters = Counters::default();
    let mount_points: Vec<RelPath> = mount_points
        .iter()
        .map(|point| RelPath::new(point.as_bytes()).unwrap())
        .collect();
    let extent = Scan {
        root: &root,
        rules,
        devices: [root.id().unwrap().device].into(),
        mount_points: &mount_points,
        counters: &counters,
        stop: &AtomicBool::new(false),
    }
    .run();
    (extent.unwrap(), counters)
}

fn allocated(path: &Path) -> u64 {
    fs::symlink_metadata(path).unwrap().blocks() * 512
}

#[test]
fn counts_each_target_file_system_apart() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path();
    fs::create_dir_all(tree.join("var/lib/data")).unwrap();
    fs::write(tree.join("etc"), "root").unwrap();
    fs::write(tree.join("var/lib/data/a"), vec![7; 100_000]).unwrap();
    fs::write(tree.join("var/log"), vec![7; 10_000]).unwrap();
    let (extent, counters) = scan(tree, &Rules::none(), &["var", "var/lib/data", "srv"]);
    let found: Vec<_> = extent
        .portions
        .iter()
        .map(|portion| {
            let point = String::from_utf8_lossy(portion.mount_point.as_bytes()).into_owned();
            (point, portion.entries, portion.apparent_bytes)
        })
        .collect();
    let expected = [
        ("", 2, 4),
        ("var", 3, 10_000),
        ("var/lib/data", 2, 100_000),
        ("srv", 0, 0),
    ];
    assert_eq!(
        found,
        expected.map(|(point, entries, bytes)| (point.to_owned(), entries, bytes))
    );
    let inner = &extent.portions[2];
    let (directory, file) = (
        tree.join("var/lib/data"),
        allocated(&tree.join("var/lib/data/a")),
    );
    assert_eq!(inner.allocated_bytes, allocated(&directory) + file);
    assert_eq!(inner.largest_bytes, file);
    assert_eq!(counters.scanned_entries.load(Ordering::Relaxed), 7);
    assert_eq!(counters.scanned_bytes.load(Ordering::Relaxed), 110_004);
    assert!(counters.scan_complete.load(Ordering::Relaxed));
}

#[test]
fn counts_neither_holes_nor_further_names_nor_what_is_left_out() {
    let scratch = tempfile::tempdir().unwrap();
    let tree = scratch.path();
    let sparse = fs::File::create(tree.join("sparse")).unwrap();
    sparse.set_len(1 << 40).unwrap();
    fs::write(tree.join("first"), vec![7; 50_000]).unwrap();
    for name in ["second", "third"] {
        fs::hard_link(tree.join("first"), tree.join(name)).unwrap();
    }
    fs::write(tree.join("left-out"), vec![7; 500_000]).unwrap();
    let rule = Rule::new(Verdict::Skip, "/left-out", "test");
    let (extent, _) = scan(tree, &Rules::new(vec![rule]).unwrap(), &[]);
    let [portion] = &extent.portions[..] else {
        panic!("one portion: {extent:?}");
    };
    assert_eq!((portion.entries, portion.inodes), (5, 3));
    assert_eq!(portion.apparent_bytes, (1 << 40) + 150_000);
    let expected = allocated(&tree.join("first")) + allocated(&tree.join("sparse"));
    assert_eq!(portion.allocated_bytes, allocated(tree) + expected);
}

#[test]
fn a_scan_that_was_stopped_has_no_result() {
    let scratch = tempfile::tempdir().unwrap();
    let root = Dir::open_root(scratch.path()).unwrap();
    let counters = Counters::default();
    let extent = Scan {
        root: &root,
        rules: &Rules::none(),
        devices: [root.id().unwrap().device].into(),
        mount_points: &[],
        counters: &counters,
        stop: &AtomicBool::new(true),
    }
    .run();
    assert_eq!(extent, None);
    assert!(!counters.scan_complete.load(Ordering::Relaxed));
}
