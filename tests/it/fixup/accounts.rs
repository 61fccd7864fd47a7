//! What must hold for accounts that came out, by the rules that pwck and grpck check.

use std::collections::BTreeSet;

use super::case::{Case, applied, path};
use instancesync::fixup::Objects;
use instancesync::merger::Merger;

/// Returns the rows of a file, split, without lines of NIS.
fn rows(objects: &Objects, at: &str) -> Vec<Vec<String>> {
    let file = objects.get(&path(at)).and_then(|object| object.file());
    let text = file.map_or_else(String::new, |file| {
        String::from_utf8_lossy(&file.contents).into_owned()
    });
    text.lines()
        .filter(|line| !line.starts_with(['+', '-', '#']) && line.contains(':'))
        .map(|line| line.split(':').map(str::to_owned).collect())
        .collect()
}

fn column(rows: &[Vec<String>], at: usize) -> BTreeSet<&str> {
    rows.iter()
        .filter_map(|row| row.get(at))
        .map(String::as_str)
        .collect()
}

const SOURCE: &str = "
=== source /etc/passwd
root:x:0:0::/root:/bin/sh
a:x:100:100::/:/bin/sh
b:x:101:101::/:/bin/sh
p:x:1000:1000::/:/bin/sh
=== source /etc/shadow 640 0:42
root:h:1::::::
a:*:1::::::
b:!:1::::::
p:!h:1::::::
=== source /etc/group
root:x:0:
a:x:100:
b:x:101:p
shadow:x:42:
p:x:1000:
=== source /etc/gshadow 640 0:42
root:*::
a:!::
b:!::p
shadow:*::
p:!::";

#[test]
fn files_that_agree_still_agree() {
    let target = "
=== target /etc/passwd
root:x:0:0::/root:/bin/sh
b:x:100:100::/:/bin/sh
x:x:101:101::/:/bin/sh
y:x:102:101::/:/bin/sh
z:x:103:777::/:/bin/sh
=== target /etc/shadow
root:t:1::::::
x:!:1::::::
y:!:1::::::
=== target /etc/group
root:x:0:
b:x:100:
x:x:101:y,gone
=== target /etc/gshadow
x:!::y,gone";
    let mut case = Case::parse(&format!("\n{SOURCE}{target}\n"));
    case.mergers = vec![Merger::Accounts];
    case.kept.uids = (0..200).collect();
    let merged = case.merge();
    let after = applied(&case.versions.target, &merged.edits);
    let (passwd, shadow) = (rows(&after, "etc/passwd"), rows(&after, "etc/shadow"));
    let (group, gshadow) = (rows(&after, "etc/group"), rows(&after, "etc/gshadow"));
    assert_eq!(
        column(&passwd, 0),
        ["a", "b", "p", "root", "x", "y", "z"].into()
    );
    assert_eq!(column(&passwd, 0), column(&shadow, 0));
    assert_eq!(column(&passwd, 2).len(), passwd.len(), "no number twice");
    assert_eq!(
        column(&group, 0),
        ["a", "b", "p", "root", "shadow", "x"].into()
    );
    assert_eq!(column(&group, 0), column(&gshadow, 0));
    assert_eq!(column(&group, 2).len(), group.len(), "no number twice");
    for file in ["etc/passwd", "etc/shadow", "etc/group", "etc/gshadow"] {
        let (source, after) = (rows(&case.versions.source, file), rows(&after, file));
        assert_eq!(
            source[..],
            after[..source.len()],
            "{file}: the source's rows"
        );
    }
    // x lost its number to the source's b, b has another one there.
    let x = passwd.iter().find(|row| row[0] == "x").unwrap()[2]
        .parse()
        .unwrap();
    assert_eq!(merged.owners.of(101, 0), (x, 0));
    assert_eq!(merged.owners.of(100, 0), (101, 0));
    assert_eq!(merged.owners.of(102, 0), (102, 0));
    let members = group
        .iter()
        .find(|row| row[0] == "x")
        .map(|row| row[3].as_str());
    assert_eq!(members, Some("y"));
}

#[test]
fn many_accounts_take_no_time() {
    let mut case = String::from("\n");
    for side in ["source", "target"] {
        case += &format!("\n=== {side} /etc/passwd\nroot:h:0:0::/root:/bin/sh");
        for id in 1000..101_000 {
            case += &format!("\n{side}{id}:*:{id}:{id}::/:/bin/sh");
        }
        case += &format!("\n=== {side} /etc/group\nroot:x:0:");
        for id in 1000..101_000 {
            case += &format!("\n{side}{id}:x:{id}:");
        }
    }
    let mut case = Case::parse(&case);
    case.mergers = vec![Merger::Accounts];
    case.kept.uids = [0, 1000, 50_000].into();
    let began = std::time::Instant::now();
    let merged = case.merge();
    let seconds = began.elapsed().as_secs();
    assert!(seconds < 5, "{seconds} s");
    assert!(merged.owners.is_empty());
}

#[test]
fn an_account_without_a_free_number_is_left_out() {
    let mut source = String::from("\n\n=== source /etc/passwd\nroot:h:0:0::/root:/bin/sh\n");
    for id in 1..1000 {
        source += &format!("u{id}:*:{id}:0::/:/bin/sh\n");
    }
    source += "=== source /etc/group\nroot:x:0:\n";
    source += "=== target /etc/passwd\nroot:h:0:0::/root:/bin/sh\nx:*:5:0::/:/bin/sh\n";
    let mut case = Case::parse(&source);
    case.mergers = vec![Merger::Accounts];
    case.kept.uids = [5].into();
    let merged = case.merge();
    let after = applied(&case.versions.target, &merged.edits);
    assert!(!column(&rows(&after, "etc/passwd"), 0).contains("x"));
    assert!(
        merged
            .notes
            .iter()
            .any(|note| note.text.contains("no number is free"))
    );
}
