//! What rules decide, as tables. Knows nothing of how a pattern is translated.

use proptest::prelude::*;

use super::{Decision, MAX_ORIGIN_LEN, MAX_REASON_LEN, MAX_RULES, Rules};
use crate::exclude::{PatternError, PatternFault, Rule, Verdict};
use crate::relpath::{Name, RelPath};

fn rule(verdict: Verdict, pattern: &str) -> Rule {
    Rule::new(verdict, pattern, "test")
}

fn skip(pattern: &str) -> Rules {
    Rules::new(vec![rule(Verdict::Skip, pattern)]).unwrap()
}

fn path(text: &[u8]) -> RelPath {
    RelPath::new(text).unwrap()
}

/// Tells whether `pattern` matches; a path that ends in a slash is a directory.
fn matches(pattern: &str, text: &str) -> bool {
    let is_directory = text.ends_with('/');
    let path = path(text.trim_end_matches('/').as_bytes());
    skip(pattern).decide(&path, is_directory).rule.is_some()
}

#[test]
fn matches_as_the_table_of_the_documentation_says() {
    for (pattern, yes, no) in [
        (
            "foo",
            &["foo", "foo/", "a/b/foo"][..],
            &["foo2", "xfoo", "foo/a"][..],
        ),
        ("/foo", &["foo", "foo/"], &["a/foo", "foo/foo"]),
        ("foo/", &["foo/", "a/foo/"], &["foo", "a/foo"]),
        (
            "foo/bar",
            &["foo/bar", "a/foo/bar/"],
            &["foo/a/bar", "xfoo/bar"],
        ),
        ("/foo/bar", &["foo/bar"], &["a/foo/bar"]),
        (
            "*.tmp",
            &["a.tmp", ".tmp", "b/a.b.tmp"],
            &["a.tmp2", "atmp", "a.tmp/b"],
        ),
        ("*", &["a", ".a", "a/b"], &[]),
        ("*/", &["a/", "a/b/"], &["a", "a/b"]),
        ("/*", &["a", "b/"], &["a/b"]),
        ("a?c", &["abc", "d/a.c"], &["ac", "aéc", "a/c"]),
        ("a??c", &["aéc"], &["abc"]),
        ("[a-c]x", &["ax", "q/cx"], &["dx", "[a-c]x", "x"]),
        ("[!a]", &["b", "a/c"], &["a", "bb"]),
        ("a[+-9]b", &["a,b", "a0b"], &["a/b", "aab"]),
        ("a[!x]b", &["acb"], &["axb", "a/b"]),
        ("dir/*", &["dir/a", "x/dir/b/"], &["dir/", "dir/a/b"]),
        (
            "dir/**",
            &["dir/a", "dir/a/b", "x/dir/a"],
            &["dir/", "xdir/a"],
        ),
        (
            "dir/***",
            &["dir/", "dir/a", "dir/a/b", "x/dir/"],
            &["dir", "xdir/"],
        ),
        ("/dir/***", &["dir/", "dir/a/b"], &["x/dir/", "x/dir/a"]),
        ("/a/**/b", &["a/b", "a/x/b", "a/x/y/b"], &["x/a/b", "a/xb"]),
        ("**/b", &["b", "a/b"], &["ab"]),
        ("/a**b", &["ab", "axb", "ax/yb", "a/x/b"], &["x/ab", "abx"]),
        ("a**", &["a", "ab/c/d", "x/a/b"], &["b"]),
        ("{a,/b}", &["a", "x/a", "b"], &["x/b"]),
        (
            "*.{jpg,png}",
            &["a.jpg", "x/b.png"],
            &["a.gif", "a.{jpg,png}"],
        ),
        ("\\*", &["*", "a/*"], &["a"]),
        ("FOO", &["FOO"], &["foo"]),
        (
            "/var/cache/*/x",
            &["var/cache/a/x"],
            &["var/cache/x", "var/cache/a/b/x"],
        ),
    ] {
        for text in yes {
            assert!(matches(pattern, text), "{pattern} must match {text}");
        }
        for text in no {
            assert!(!matches(pattern, text), "{pattern} must not match {text}");
        }
    }
}

#[test]
fn matches_names_that_are_not_text() {
    let rules = skip("a?b*.tmp");
    assert_eq!(
        rules.decide(&path(b"d/a\xffb\xfe\n.tmp"), false).verdict,
        Verdict::Skip
    );
    assert_eq!(rules.decide(&path(b"\xff"), false).verdict, Verdict::Copy);
    let rules = skip("é\u{1f980}");
    let name = "x/é\u{1f980}".as_bytes();
    assert_eq!(rules.decide(&path(name), false).verdict, Verdict::Skip);
}

#[test]
fn first_match_decides_and_is_named() {
    let list = vec![
        rule(Verdict::Copy, "/etc/keep.conf"),
        rule(Verdict::Keep, "/etc/fstab"),
        rule(Verdict::Skip, "*.conf"),
        rule(Verdict::Copy, "*/"),
        rule(Verdict::Skip, "/etc/**"),
    ];
    let rules = Rules::new(list).unwrap();
    for (text, is_directory, verdict, index) in [
        ("etc/keep.conf", false, Verdict::Copy, Some(0)),
        ("etc/fstab", false, Verdict::Keep, Some(1)),
        ("a/b.conf", false, Verdict::Skip, Some(2)),
        ("etc/x", true, Verdict::Copy, Some(3)),
        ("etc/x", false, Verdict::Skip, Some(4)),
        ("usr", false, Verdict::Copy, None),
        ("", true, Verdict::Copy, None),
    ] {
        let expected = Decision {
            verdict,
            rule: index.map(|index: usize| &rules.list()[index]),
        };
        assert_eq!(rules.decide(&path(text.as_bytes()), is_directory), expected);
    }
}

#[test]
fn a_skipped_parent_covers_what_lies_below() {
    let rules = Rules::new(vec![
        rule(Verdict::Copy, "wanted"),
        rule(Verdict::Skip, "/cache/"),
        rule(Verdict::Keep, "/etc/ssh/"),
    ])
    .unwrap();
    for (text, verdict) in [
        ("cache/a/b", Verdict::Skip),
        ("cache/wanted", Verdict::Skip),
        ("wanted/cache", Verdict::Copy),
        ("etc/ssh/key", Verdict::Keep),
        ("etc/sshd", Verdict::Copy),
    ] {
        let decision = rules.decide_deep(&path(text.as_bytes()), false);
        assert_eq!(decision.verdict, verdict, "{text}");
    }
    assert_eq!(
        rules.decide_deep(&path(b"cache"), false).verdict,
        Verdict::Copy,
        "a pattern for directories leaves a file of that name"
    );
    assert_eq!(
        rules.decide_deep(&path(b"cache"), true).verdict,
        Verdict::Skip
    );
}

#[test]
fn included_directories_do_not_cover_what_lies_below() {
    let rules = Rules::new(vec![
        rule(Verdict::Copy, "*/"),
        rule(Verdict::Copy, "*.conf"),
        rule(Verdict::Skip, "*"),
    ])
    .unwrap();
    let verdict = |text: &[u8], is_directory| rules.decide_deep(&path(text), is_directory).verdict;
    assert_eq!(verdict(b"a/b", true), Verdict::Copy);
    assert_eq!(verdict(b"a/b/x.conf", false), Verdict::Copy);
    assert_eq!(verdict(b"a/b/x.txt", false), Verdict::Skip);
}

#[test]
fn scope_decides_as_the_whole_path_does() {
    let rules = skip("/a/b");
    let name = Name::new(b"b").unwrap();
    let longer = Name::new(b"bbbbb").unwrap();
    let mut scope = rules.below(&path(b"a"));
    assert_eq!(scope.decide(&name, false).verdict, Verdict::Skip);
    assert_eq!(scope.decide(&longer, false).verdict, Verdict::Copy);
    assert_eq!(scope.decide(&name, true).verdict, Verdict::Skip);
    let mut scope = rules.below(&RelPath::root());
    assert_eq!(scope.decide(&name, false).verdict, Verdict::Copy);
    let none = Rules::none();
    let mut scope = none.below(&path(b"a"));
    assert_eq!(scope.decide(&name, false).rule, None);
    assert!(scope.path.is_empty() && scope.hits.capacity() == 0);
}

#[test]
fn crosses_the_wire_and_is_checked_again() {
    let list = vec![
        rule(Verdict::Keep, "/etc/*"),
        rule(Verdict::Copy, "a\u{e9}"),
        rule(Verdict::Merge, "/etc/fstab").because("disks of both"),
    ];
    let rules = Rules::new(list.clone()).unwrap();
    let bytes = postcard::to_stdvec(&rules).unwrap();
    let arrived: Rules = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(arrived.list(), list);
    let bad = postcard::to_stdvec(&[rule(Verdict::Skip, "[")]).unwrap();
    assert!(postcard::from_bytes::<Rules>(&bad).is_err());
    let bad = serde_json::to_string(&[rule(Verdict::Skip, "a/../b")]).unwrap();
    assert_eq!(
        serde_json::from_str::<Rules>(&bad).unwrap_err().to_string(),
        "test: pattern 'a/../b' is refused: a part of it is '.' or '..'"
    );
}

#[test]
fn every_length_has_a_limit() {
    let many = vec![rule(Verdict::Skip, "a"); MAX_RULES + 1];
    assert_eq!(Rules::new(many).unwrap_err(), PatternError::TooManyRules);
    let wide = vec![rule(Verdict::Skip, &"{a,b}".repeat(8)); 80];
    assert!(matches!(
        Rules::new(wide),
        Err(PatternError::TooManyGlobs { .. })
    ));
    let origin = "o".repeat(MAX_ORIGIN_LEN + 1);
    assert!(matches!(
        Rules::new(vec![Rule::new(Verdict::Skip, "a", origin)]),
        Err(PatternError::OriginTooLong { .. })
    ));
    let reason = "r".repeat(MAX_REASON_LEN + 1);
    assert!(matches!(
        Rules::new(vec![rule(Verdict::Skip, "a").because(reason)]),
        Err(PatternError::ReasonTooLong { .. })
    ));
    let wildcards = |count: usize| -> Vec<Rule> {
        (0..count)
            .map(|n| rule(Verdict::Skip, &format!("/{}{n}*", "?*".repeat(1000))))
            .collect()
    };
    let error = Rules::new(wildcards(600)).unwrap_err();
    assert!(
        matches!(error, PatternError::TooManyGlobs { .. }),
        "{error}"
    );
    let error = Rules::new(wildcards(100)).unwrap_err();
    assert!(matches!(error, PatternError::Together(_)), "{error}");
}

#[test]
fn errors_name_the_origin_and_give_a_hint() {
    let rules = vec![Rule::new(Verdict::Skip, "a[b", "/etc/x.rules:12")];
    let error = Rules::new(rules).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/etc/x.rules:12: pattern 'a[b' is refused"
    );
    let fault = std::error::Error::source(&error).unwrap();
    assert_eq!(fault.to_string(), "a '[' is not closed");
    assert_eq!(
        error.hint().as_deref(),
        Some("write '\\[' for a bracket in a name")
    );
    let long = "x/".repeat(200) + "/";
    let error = Rules::new(vec![rule(Verdict::Skip, &long)]).unwrap_err();
    assert!(error.to_string().len() < 130, "{error}");
    assert_eq!(PatternFault::Nul.hint(), None);
}

proptest! {
    #[test]
    fn no_pattern_panics(pattern in any::<String>(), name in prop::collection::vec(any::<u8>(), 1..9)) {
        check_any(&pattern, &name);
    }

    #[test]
    fn no_pattern_of_special_bytes_panics(
        pattern in "[]\\[{},*?!^\\-\\\\/.a-cé]{1,16}",
        name in "[]\\[{},*?!^\\-\\\\/.a-cé]{1,8}",
    ) {
        check_any(&pattern, name.as_bytes());
    }
}

/// Compiles and asks, and checks that the ways to ask agree.
fn check_any(pattern: &str, name: &[u8]) {
    let (Ok(rules), Ok(path)) = (
        Rules::new(vec![rule(Verdict::Skip, pattern)]),
        RelPath::new(name),
    ) else {
        return;
    };
    for is_directory in [false, true] {
        let decision = rules.decide(&path, is_directory);
        if let Some((parent, name)) = path.split() {
            assert_eq!(rules.below(&parent).decide(&name, is_directory), decision);
        }
        if decision.verdict == Verdict::Skip {
            assert_eq!(
                rules.decide_deep(&path, is_directory).verdict,
                Verdict::Skip
            );
        }
    }
}

#[test]
fn leaves_alone_what_is_protected_and_directories_whose_contents_are() {
    let list = [
        "/boot/***",
        "/tmp/**",
        "/mnt/*",
        "/srv/data/**",
        "/swapfile",
        "/opt/x*",
    ];
    let list = list.map(|pattern| rule(Verdict::Skip, pattern));
    let rules = Rules::new(list.to_vec()).unwrap();
    for (text, is_directory, expected) in [
        (&b"boot"[..], true, true),
        (b"tmp", true, true),
        (b"tmp", false, false),
        (b"mnt", true, true),
        (b"swapfile", false, true),
        (b"srv", true, false),
        (b"srv/data", true, true),
        (b"opt", true, false),
        (b"etc", true, false),
    ] {
        assert_eq!(
            rules.leaves_alone(&path(text), is_directory),
            expected,
            "{text:?}"
        );
    }
}
