//! Texts that are refused and where, conditions, the choice of profiles and their order.

use proptest::prelude::*;

use super::{Catalog, HostnamePolicy, IdentityPolicy, KernelPolicy, Policies};
use super::{SelectError, Selected, Selection};
use crate::exclude::Verdict;
use crate::exclude::explain::explain;
use crate::facts::{
    Agent, AgentState, Facts, Family, Init, Kernel, NetworkStack, PackageManager, PlatformKind,
    UsrLayout,
};
use crate::relpath::RelPath;

const HEAD: &str = "name = \"a-b\"\nsummary = \"s\"\ngroup = \"core\"\n";

/// Returns what a refusal says, with its cause.
fn refusal(text: &str) -> String {
    let error = Catalog::empty().add(text, "x.toml").unwrap_err();
    let cause = std::error::Error::source(&error).map(ToString::to_string);
    format!("{error}: {}", cause.unwrap_or_default())
}

fn catalog(texts: &[&str]) -> Catalog {
    let mut catalog = Catalog::empty();
    for (index, text) in texts.iter().enumerate() {
        catalog.add(text, &format!("{index}.toml")).unwrap();
    }
    catalog
}

fn select(catalog: &Catalog, source: &Facts, target: &Facts) -> Selected {
    let selection = Selection {
        source,
        target,
        policies: Policies::default(),
        with: &[],
        without: &[],
    };
    catalog.select(&selection).unwrap()
}

/// Checks what each text is refused with.
fn check_refusals(table: &[(String, String)]) {
    for (text, expected) in table {
        let said = refusal(text);
        assert!(
            said.starts_with(expected.as_str()),
            "{text}\n  said     {said}\n  expected {expected}"
        );
    }
}

#[test]
fn refusals_of_a_head_name_line_and_column() {
    check_refusals(
        &[
            ("", "1:1: missing field `name`"),
            ("name = 1", "1:8: invalid type: integer `1`"),
            ("name = \"a", "1:"),
            ("name = \"a\"\nname = \"b\"", "2:1: duplicate key"),
            ("HEADx = 1", "4:1: unknown field `x`, expected"),
            ("name = \"A b\"\nREST", "1:8: the name 'A b' is not"),
            ("name = \"a--b\"\nREST", "1:8: the name 'a--b'"),
            ("HEADdefault = \"on\"", "4:11: 'default' belongs to"),
            ("HEADstack = \"netplan\"", "4:9: 'stack' belongs to"),
            ("HEADwhen = []", "4:8: an empty list of conditions"),
            ("HEADwhen = 1", "4:8: invalid type: integer `1`"),
        ]
        .map(|(text, said)| {
            let rest = HEAD.split_once('\n').unwrap().1;
            let text = text.replace("HEAD", HEAD).replace("REST", rest);
            (text, format!("x.toml:{said}"))
        }),
    );
    check_refusals(
        &[
            ("\"s\"", "\" \"", "2:11: the summary is empty"),
            ("core", "cor", "3:9: unknown variant `cor`, expected"),
            ("core", "optional", "3:9: 'default' belongs to"),
        ]
        .map(|(old, new, said)| (HEAD.replace(old, new), format!("x.toml:{said}"))),
    );
}

#[test]
fn refusals_of_a_rule_name_line_and_column() {
    let reason = "\nreason = \"r\"";
    check_refusals(
        &[
            ("keep", "paths = []R", "4:1: the rule has no paths"),
            ("keep", "paths = [\"/a\"]", "4:1: missing field `reason`"),
            (
                "keep",
                "paths = [\"/a\"]\nreason = \"\"",
                "7:10: the reason is empty",
            ),
            (
                "keep",
                "paths = [\"/a\"]\nreason = \"a\\nb\"",
                "7:10: the reason is",
            ),
            (
                "keep",
                "paths = [\n  \"/ok\",\n  \"é\"]R",
                "8:3: the pattern 'é' does",
            ),
            (
                "keep",
                "paths = [\"é\", \"a\"]R",
                "6:10: the pattern 'é' does",
            ),
            (
                "keep",
                "paths = [\"/é\", \"a\"]R",
                "6:16: the pattern 'a' does",
            ),
            (
                "keep",
                "paths = [\"/a[\"]R",
                "6:10: the pattern '/a[' is refused",
            ),
            ("keep", "paths = [\"\"]R", "6:10: the pattern '' is refused"),
            (
                "keep",
                "paths = [\"/${x}\"]R",
                "6:10: the placeholder '${x}' is not",
            ),
            ("keep", "paths = [\"/${x\"]R", "6:10: a '${' is not closed"),
            (
                "keep",
                "paths = [\"/a${swap-files}\"]R",
                "6:10: the placeholder '${swap-files}'",
            ),
            (
                "keep",
                "paths = [\"${swap-files}${x}\"]R",
                "6:10: a pattern has one",
            ),
            (
                "keep",
                "paths = [\"/a\"]R\nmerger = \"fstab\"",
                "8:10: only a rule that",
            ),
            (
                "keep",
                "paths = [\"/a\"]R\nmerger = \"x\"",
                "8:10: unknown variant `x`",
            ),
            ("merge", "paths = [\"/a\"]R", "4:1: a rule that merges"),
            ("drop", "paths = [\"/a\"]R", "5:11: unknown variant `drop`"),
        ]
        .map(|(verdict, text, said)| {
            let text = text.replace('R', reason);
            let text = format!("{HEAD}[[rule]]\nverdict = \"{verdict}\"\n{text}");
            (text, format!("x.toml:{said}"))
        }),
    );
}

#[test]
fn refusals_of_a_condition_name_line_and_column() {
    check_refusals(
        &[
            (
                "source.famly = \"debian\"",
                "8: unknown field `famly`, expected one of",
            ),
            (
                "source.family = \"debain\"",
                "17: unknown variant `debain`, expected",
            ),
            (
                "source.family = [\"debian\", \"x\"]",
                "17: unknown variant `x`",
            ),
            ("source.family = []", "17: an empty list never holds"),
            (
                "source.family = 1",
                "17: invalid type: integer `1`, expected a text or",
            ),
            ("sauce.family = \"debian\"", "1: unknown field `sauce`"),
            (
                "policy.kernel = \"x\"",
                "17: unknown variant `x`, expected `target`",
            ),
        ]
        .map(|(text, said)| {
            let text = format!("{HEAD}[when]\n{text}");
            (text, format!("x.toml:5:{said}"))
        }),
    );
}

/// A machine of which every condition can ask something.
fn debian_at_amazon() -> Facts {
    let mut facts = Facts::default();
    facts.distribution.family = Family::Debian;
    facts.distribution.id = "debian".into();
    facts.distribution.version = "12.5".into();
    facts.network.in_charge = vec![NetworkStack::Ifupdown, NetworkStack::Netplan];
    facts.platform.kind = PlatformKind::Amazon;
    facts.usr_layout = UsrLayout::Merged;
    facts.init = Init::Systemd;
    facts.packages.manager = Some(PackageManager::Dpkg);
    facts.platform.agents = vec![AgentState {
        agent: Agent::AmazonSsm,
        enabled_units: Vec::new(),
        evidence: "/etc/amazon/ssm".into(),
    }];
    facts
}

/// Returns why a profile with this condition applies, or `None` if it does not.
fn why(condition: &str, source: &Facts, target: &Facts) -> Option<String> {
    let catalog = catalog(&[&format!("{HEAD}{condition}")]);
    let profiles = select(&catalog, source, target).profiles;
    profiles.first().map(|profile| profile.why.clone())
}

#[test]
fn every_key_can_hold_and_fail_and_says_why() {
    let (debian, blank) = (debian_at_amazon(), Facts::default());
    for (key, said) in [
        ("family = \"debian\"", "is of the debian family"),
        ("family = [\"rhel\", \"debian\"]", "is of the debian family"),
        ("id = \"debian\"", "is debian"),
        ("version = \"12\"", "has version 12"),
        ("network = [\"wicked\", \"netplan\"]", "uses netplan"),
        ("init = \"systemd\"", "starts with systemd"),
        ("platform = \"amazon\"", "runs on amazon"),
        ("agent = \"amazon-ssm\"", "has amazon-ssm"),
        ("package-manager = \"dpkg\"", "uses dpkg"),
        ("usr-layout = \"merged\"", "has a merged /usr"),
    ] {
        for (side, source, target) in [("source", &debian, &blank), ("target", &blank, &debian)] {
            let said = format!("the {side} {said}");
            let text = |side: &str| format!("[when]\n{side}.{key}\n");
            assert_eq!(why(&text(side), source, target).as_ref(), Some(&said));
            assert_eq!(why(&text("either"), source, target).as_ref(), Some(&said));
            assert_eq!(why(&text(side), target, source), None, "{side}.{key}");
            assert_eq!(why(&text("either"), &blank, &blank), None, "{key}");
            assert_eq!(why(&text("both"), source, target), None, "{key}");
            assert!(why(&text("both"), &debian, &debian).is_some(), "{key}");
            let not = format!("not-{side}");
            assert_eq!(why(&text(&not), source, target), None, "{key}");
            assert!(why(&text(&not), target, source).is_some(), "{key}");
        }
    }
}

#[test]
fn all_lines_hold_and_one_table_is_enough() {
    let (debian, blank) = (debian_at_amazon(), Facts::default());
    let both = "[when]\nboth.family = [\"debian\", \"unknown\"]\n";
    let several = "[[when]]\nsource.init = \"openrc\"\n[[when]]\ntarget.id = \"debian\"\n";
    let lines = "[when]\nsource.id = \"debian\"\nnot-target.platform = \"amazon\"\n";
    for (text, source, target, said) in [
        (
            "[when]\neither.family = \"debian\"\n",
            &debian,
            &debian,
            Some("both machines are of the debian family"),
        ),
        (
            both,
            &debian,
            &blank,
            Some("the source is of the debian family and the target is of the unknown family"),
        ),
        (several, &blank, &debian, Some("the target is debian")),
        (several, &debian, &blank, None),
        (
            lines,
            &debian,
            &blank,
            Some("the source is debian and the target does not run on amazon"),
        ),
        (lines, &debian, &debian, None),
        (
            "[when]\npolicy.kernel = \"target\"\n",
            &blank,
            &blank,
            Some("part of every clone"),
        ),
        ("[when]\npolicy.kernel = \"source\"\n", &blank, &blank, None),
    ] {
        assert_eq!(why(text, source, target).as_deref(), said, "{text}");
    }
}

/// A profile with one rule for its own name below `/etc`.
fn small(name: &str, group: &str, more: &str) -> String {
    format!(
        "name = \"{name}\"\nsummary = \"s\"\ngroup = \"{group}\"\n{more}\n[[rule]]\n\
         verdict = \"keep\"\npaths = [\"/etc/{name}\", \"/etc/all\"]\nreason = \"of {name}\"\n"
    )
}

#[test]
fn the_special_decides_before_the_general() {
    let texts = [
        small("z-core", "core", ""),
        small("a-core", "core", ""),
        small("some-family", "family", ""),
        small("network-dhcpcd", "network", "stack = \"dhcpcd\""),
        small("platform", "platform", ""),
        small("on", "optional", "default = \"on\""),
        small("off", "optional", "default = \"off\""),
    ];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let catalog = catalog(&texts);
    let (source, mut target) = (Facts::default(), Facts::default());
    target.network.in_charge = vec![NetworkStack::Dhcpcd];
    let selected = select(&catalog, &source, &target);
    let seen: Vec<_> = selected
        .profiles
        .iter()
        .map(|profile| (profile.name.as_str(), profile.why.as_str()))
        .collect();
    assert_eq!(
        seen,
        [
            ("on", "on unless --without"),
            ("platform", "part of every clone"),
            ("network-dhcpcd", "the target uses dhcpcd"),
            ("some-family", "part of every clone"),
            ("a-core", "part of every clone"),
            ("z-core", "part of every clone"),
        ]
    );
    let path = |text: &str| RelPath::new(text.as_bytes()).unwrap();
    let explained = explain(&selected.rules, &selected, &path("etc/all"), false);
    let decider = explained.decider.unwrap();
    assert_eq!(explained.verdict, Verdict::Keep);
    assert_eq!(decider.profile.as_deref(), Some("on"));
    assert_eq!(
        (decider.origin.as_str(), decider.reason.as_str()),
        ("5.toml:7", "of on")
    );
    let below = explain(&selected.rules, &selected, &path("etc/platform/x/y"), false);
    assert_eq!(below.parent, Some(path("etc/platform")));
    let free = explain(&selected.rules, &selected, &path("etc/free"), false);
    assert_eq!((free.verdict, free.decider), (Verdict::Copy, None));
}

#[test]
fn the_person_switches_profiles_and_typing_errors_are_seen() {
    let texts = [
        small("core", "core", ""),
        small("caches", "optional", "default = \"off\""),
        small(
            "platform-azure",
            "platform",
            "[when]\neither.platform = \"azure\"",
        ),
        small("logs", "optional", "default = \"on\""),
    ];
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let catalog = catalog(&texts);
    let facts = Facts::default();
    let choose = |with: &[&str], without: &[&str]| {
        let owned = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let selection = Selection {
            source: &facts,
            target: &facts,
            policies: Policies::default(),
            with: &owned(with),
            without: &owned(without),
        };
        let names = |selected: Selected| -> Vec<String> {
            selected
                .profiles
                .into_iter()
                .map(|profile| profile.name)
                .collect()
        };
        catalog.select(&selection).map(names)
    };
    assert_eq!(choose(&[], &[]).unwrap(), ["logs", "core"]);
    let all = choose(&["caches", "platform-azure"], &["logs"]).unwrap();
    assert_eq!(all, ["caches", "platform-azure", "core"]);
    for (with, without, said, hint) in [
        (
            &["cashes"][..],
            &[][..],
            "--with cashes: there is no such profile",
            "did you mean caches?",
        ),
        (
            &[],
            &["azure"],
            "--without azure: there is no such profile",
            "did you mean platform-azure?",
        ),
        (
            &["xyz"],
            &[],
            "--with xyz: there is no such profile",
            "see 'instancesync profiles list'",
        ),
        (
            &["logs"],
            &["logs"],
            "--with logs and --without logs contradict each other",
            "leave one of them out",
        ),
        (
            &[],
            &["core"],
            "--without core: this profile keeps",
            "write --include",
        ),
    ] {
        let error: SelectError = choose(with, without).unwrap_err();
        assert!(error.to_string().starts_with(said), "{error}");
        assert!(error.hint().unwrap().starts_with(hint), "{error:?}");
    }
}

#[test]
fn a_later_profile_replaces_one_of_the_same_name() {
    let mut catalog = catalog(&[&small("core", "core", ""), &small("more", "core", "")]);
    let replaced = small("core", "core", "").replace("/etc/core", "/etc/mine");
    assert_eq!(catalog.add(&replaced, "mine.toml").unwrap(), "core");
    let facts = Facts::default();
    let selected = select(&catalog, &facts, &facts);
    let patterns: Vec<_> = selected
        .rules
        .list()
        .iter()
        .map(|rule| &rule.pattern)
        .collect();
    assert_eq!(patterns, ["/etc/mine", "/etc/all", "/etc/more", "/etc/all"]);
    assert_eq!(selected.profiles[0].origin, "mine.toml");
}

#[test]
fn rules_have_conditions_and_placeholders_of_their_own() {
    let text = format!(
        "{HEAD}[[rule]]\nverdict = \"keep\"\nreason = \"r\"\npaths = [\"/lib/modules/${{target.kernels}}\"]\n\
         [[rule]]\nverdict = \"skip\"\nreason = \"r\"\npaths = [\"/a\"]\nwhen.policy.identity = \"move\"\n\
         [[rule]]\nverdict = \"merge\"\nmerger = \"hosts\"\nreason = \"r\"\npaths = [\"/b\"]\n\
         when.policy.hostname = [\"name\", \"source\"]\n"
    );
    let catalog = catalog(&[&text]);
    let (source, mut target) = (Facts::default(), Facts::default());
    let choose = |target: &Facts, policies| {
        let selection = Selection {
            source: &source,
            target,
            policies,
            with: &[],
            without: &[],
        };
        let selected = catalog.select(&selection).unwrap();
        let patterns = selected
            .rules
            .list()
            .iter()
            .map(|rule| rule.pattern.clone());
        (patterns.collect::<Vec<_>>(), selected.merges.len())
    };
    assert_eq!(choose(&target, Policies::default()), (vec![], 0));
    target.kernels.installed.push(Kernel {
        version: "6.1".into(),
        has_image: true,
        has_modules: true,
    });
    let policies = Policies {
        identity: IdentityPolicy::Move,
        hostname: HostnamePolicy::Name,
        kernel: KernelPolicy::Target,
    };
    let all = ["/lib/modules/6.1", "/a", "/b"].map(str::to_owned).to_vec();
    assert_eq!(choose(&target, policies), (all, 1));
}

#[test]
fn the_shipped_profiles_are_those_of_the_directory() {
    let catalog = Catalog::shipped().unwrap();
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
    let mut files: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    let mut names: Vec<String> = catalog
        .in_order()
        .iter()
        .map(|profile| format!("{}.toml", profile.name))
        .collect();
    names.sort();
    assert_eq!(names, files);
}

#[test]
fn nesting_and_length_have_limits() {
    for text in [
        format!("{HEAD}[cleanup]\na = {}", "[".repeat(100_000)),
        format!("{HEAD}[cleanup.{}a]", "a.".repeat(100_000)),
        format!("{HEAD}[cleanup]\na = {}", "{a=".repeat(100_000)),
    ] {
        assert!(Catalog::empty().add(&text, "x").is_err());
    }
    let long = format!("{HEAD}#{}", "x".repeat(super::MAX_TEXT_LEN));
    let said = refusal(&long);
    assert!(
        said.starts_with("x.toml:1:1: the profile has more"),
        "{said}"
    );
}

proptest! {
    #[test]
    fn no_text_panics(text in any::<String>()) {
        drop(Catalog::empty().add(&text, "x"));
    }

    #[test]
    fn no_pattern_or_value_in_a_profile_panics(
        pattern in "(/|\\$\\{|\\}|swap-files|[a-z*?\\[\\]\\\\{},é]){0,12}",
        key in "(source|both|policy)\\.(family|id|kernel|[a-z]{3})",
        value in "[a-z-]{0,6}",
    ) {
        // A JSON string of these letters is a TOML string too.
        let pattern = serde_json::to_string(&pattern).unwrap();
        let text = format!(
            "{HEAD}[when]\n{key} = \"{value}\"\n[[rule]]\nverdict = \"keep\"\n\
             reason = \"r\"\npaths = [{pattern}]"
        );
        drop(Catalog::empty().add(&text, "x"));
    }
}
