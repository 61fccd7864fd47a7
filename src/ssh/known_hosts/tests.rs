//! The file format as OpenSSH reads it, case by case, and what is added to it.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::*;

const KEY_A: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";
const KEY_B: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIK2pr+Bfus1hvPof4Wb/plZCzSbqadHH0u+/f4ODtKnE";
const KEY_ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBEmKSENjQEezOmxkZMy7opKgwFB9nkt5YRrYMjNuG5N87uRgg6CLrbo5wAdT/y6v0mKV0U2w0WZ2YB/++Tpockg=";

fn key(text: &str) -> PublicKey {
    PublicKey::from_openssh(text).unwrap()
}

fn known(contents: &str) -> KnownHosts {
    KnownHosts {
        lines: parse_file(Path::new("known_hosts"), contents.as_bytes()),
        record_file: None,
    }
}

fn place(line: usize) -> Place {
    Place {
        file: PathBuf::from("known_hosts"),
        line,
    }
}

#[test]
fn knows_plain_names_addresses_and_ports() {
    let known = known(&format!(
        "web1,10.0.0.7 {KEY_A} some comment\n[web1]:2222 {KEY_B}\n::1 {KEY_A}\n"
    ));
    assert_eq!(known.judge("web1", 22, &key(KEY_A)), Verdict::Known);
    assert_eq!(known.judge("WEB1", 22, &key(KEY_A)), Verdict::Known);
    assert_eq!(known.judge("10.0.0.7", 22, &key(KEY_A)), Verdict::Known);
    assert_eq!(known.judge("::1", 22, &key(KEY_A)), Verdict::Known);
    assert_eq!(known.judge("web1", 2222, &key(KEY_B)), Verdict::Known);
    assert_eq!(known.judge("web2", 22, &key(KEY_A)), Verdict::Unknown);
}

#[test]
fn ignores_the_comment_of_a_key() {
    let mut commented = key(KEY_A);
    commented.set_comment("elsewhere");
    let known = known(&format!("web1 {KEY_A} here\n"));
    assert_eq!(known.judge("web1", 22, &commented), Verdict::Known);
}

#[test]
fn takes_the_key_of_the_host_for_another_port_only_when_equal() {
    let known = known(&format!("web1 {KEY_A}\n"));
    assert_eq!(known.judge("web1", 2222, &key(KEY_A)), Verdict::Known);
    assert_eq!(known.judge("web1", 2222, &key(KEY_B)), Verdict::Unknown);
}

#[test]
fn notices_a_changed_key() {
    let known = known(&format!("# comment\n\nweb1 {KEY_A}\n"));
    assert_eq!(
        known.judge("web1", 22, &key(KEY_B)),
        Verdict::Changed(place(3))
    );
}

#[test]
fn any_of_several_keys_of_one_type_will_do() {
    let known = known(&format!("web1 {KEY_A}\nweb1 {KEY_B}\n"));
    assert_eq!(known.judge("web1", 22, &key(KEY_B)), Verdict::Known);
}

#[test]
fn names_the_types_it_knows_instead() {
    let known = known(&format!("web1 {KEY_ECDSA}\n"));
    assert_eq!(
        known.judge("web1", 22, &key(KEY_A)),
        Verdict::OtherType(vec!["ecdsa-sha2-nistp256".into()])
    );
    assert_eq!(known.key_types("web1", 22), [key(KEY_ECDSA).algorithm()]);
}

#[test]
fn revoked_wins_wherever_it_stands() {
    let text = format!("web1 {KEY_A}\n@revoked * {KEY_A}\n");
    assert_eq!(
        known(&text).judge("web1", 22, &key(KEY_A)),
        Verdict::Revoked(place(2))
    );
    assert_eq!(
        known(&text).judge("web1", 22, &key(KEY_B)),
        Verdict::Changed(place(1))
    );
}

#[test]
fn understands_wildcards_negation_and_tabs() {
    let known = known(&format!(
        "*.example.org,!bad.example.org\t{KEY_A}\nweb? {KEY_B}\n"
    ));
    assert_eq!(
        known.judge("a.example.org", 22, &key(KEY_A)),
        Verdict::Known
    );
    assert_eq!(
        known.judge("bad.example.org", 22, &key(KEY_A)),
        Verdict::Unknown
    );
    assert_eq!(known.judge("web7", 22, &key(KEY_B)), Verdict::Known);
    assert_eq!(known.judge("web77", 22, &key(KEY_B)), Verdict::Unknown);
}

#[test]
fn skips_what_it_cannot_parse() {
    let mut contents = format!(
        "web1\nweb1 ssh-ed25519 notbase64!\nweb1 ssh-dss AAAA\n@cert-authority web1 {KEY_B}\n"
    )
    .into_bytes();
    contents.extend(b"\xff\xfe web1\n|1|broken web1\n");
    contents.extend(format!("web1 {KEY_A}\n").bytes());
    let known = KnownHosts {
        lines: parse_file(Path::new("known_hosts"), &contents),
        record_file: None,
    };
    assert_eq!(known.judge("web1", 22, &key(KEY_A)), Verdict::Known);
}

#[test]
fn reads_what_ssh_keygen_hashed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("known_hosts");
    fs::write(&path, format!("web1 {KEY_A}\n[web1]:2222 {KEY_B}\n")).unwrap();
    let output = Command::new("ssh-keygen")
        .args(["-H", "-f"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(fs::read_to_string(&path).unwrap().starts_with("|1|"));
    let known = KnownHosts::read(Some(&path)).unwrap();
    assert_eq!(known.judge("web1", 22, &key(KEY_A)), Verdict::Known);
    assert_eq!(known.judge("web1", 2222, &key(KEY_B)), Verdict::Known);
    assert_eq!(
        known.judge("web1", 22, &key(KEY_B)),
        Verdict::Changed(Place {
            file: path,
            line: 1
        })
    );
}

#[test]
fn records_a_key_that_ssh_keygen_finds() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("new/known_hosts");
    let known = KnownHosts::read(Some(&path)).unwrap();
    known.record("Web1", 2222, &key(KEY_A)).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&path), mode(path.parent().unwrap())), (0o600, 0o700));
    let again = KnownHosts::read(Some(&path)).unwrap();
    assert_eq!(again.judge("web1", 2222, &key(KEY_A)), Verdict::Known);
    let output = Command::new("ssh-keygen")
        .args(["-F", "[web1]:2222", "-f"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn record_keeps_a_last_line_without_newline_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("known_hosts");
    fs::write(&path, format!("web1 {KEY_A}")).unwrap();
    let known = KnownHosts::read(Some(&path)).unwrap();
    known.record("web2", 22, &key(KEY_B)).unwrap();
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        format!("web1 {KEY_A}\nweb2 {KEY_B}\n")
    );
}

#[test]
fn refuses_a_file_that_cannot_be_read() {
    let dir = tempfile::tempdir().unwrap();
    assert!(KnownHosts::read(Some(dir.path())).is_err());
}

#[test]
fn a_comment_in_another_encoding_hides_no_revoked_key() {
    let mut contents = format!("@revoked * {KEY_A} caf").into_bytes();
    contents.extend(b"\xe9\n");
    let known = KnownHosts {
        lines: parse_file(Path::new("known_hosts"), &contents),
        record_file: None,
    };
    let verdict = known.judge("web1", 22, &key(KEY_A));
    assert_eq!(verdict, Verdict::Revoked(place(1)));
}

proptest::proptest! {
    /// Whatever stands around it.
    #[test]
    fn a_revoked_key_is_revoked_among_any_lines(
        before in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        after in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200),
        patterns in "[a-z0-9!*?,|=\\[\\]:.]{0,20}",
    ) {
        let line = format!("\n@revoked web1 {KEY_A}\n{patterns} {KEY_B} x\n");
        let contents = [&before[..], line.as_bytes(), &after].concat();
        let known = KnownHosts {
            lines: parse_file(Path::new("known_hosts"), &contents),
            record_file: None,
        };
        let is_revoked = matches!(known.judge("web1", 22, &key(KEY_A)), Verdict::Revoked(_));
        proptest::prop_assert!(is_revoked);
        known.judge("web1", 22, &key(KEY_B));
        known.key_types("web1", 22);
    }
}
