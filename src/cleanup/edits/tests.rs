//! Each edit: what it changes, what it leaves, and that it changes nothing twice.

use super::{
    Variable, changed_lines, cloud_init_sources, datasource_list, grub_console, releasever_line,
    releasever_variable, sshd_keys_command, time_source,
};
use crate::cleanup::profile::{CleanupProfile, Patterns};

fn amazon() -> Patterns {
    Patterns::new(&CleanupProfile::shipped().unwrap().amazon_releasevers)
}

#[track_caller]
fn check(edit: impl Fn(&str) -> String, before: &str, after: &str) {
    assert_eq!(edit(before), after);
    assert_eq!(edit(after), after, "a second time");
}

#[test]
fn drops_amazons_releasever() {
    let edit = |text: &str| releasever_line(text, &amazon());
    check(
        edit,
        "[main]\ncachedir=/var\nreleasever=latest\nplugins=1",
        "[main]\ncachedir=/var\nplugins=1",
    );
    check(edit, "releasever = 2023.5.20240701\n", "");
    for kept in [
        "releasever=6\n",
        "#releasever=latest\n",
        "distroverpkg=system-release\n",
        "",
    ] {
        check(edit, kept, kept);
    }
}

#[test]
fn a_variable_becomes_the_release_of_the_target() {
    for (text, major, expected) in [
        ("latest\n", Some("6"), Variable::Becomes("6\n".into())),
        ("2023.5.20240701", None, Variable::Goes),
        ("2018.03\n", None, Variable::Goes),
        ("9\n", Some("9"), Variable::Stays),
        ("7\n", None, Variable::Stays),
        ("", None, Variable::Stays),
    ] {
        let variable = releasever_variable(text, &amazon(), major);
        assert_eq!(variable, expected, "{text:?}");
    }
}

#[test]
fn gives_grub_a_console_and_what_mkconfig_wants() {
    check(
        grub_console,
        "GRUB_TIMEOUT=0\nGRUB_TERMINAL=\"ec2-console\"",
        "GRUB_TIMEOUT=0\nGRUB_TERMINAL=\"console\"\n\
         GRUB_DISTRIBUTOR=\"$(sed 's, release .*$,,g' /etc/system-release)\"\n\
         GRUB_DISABLE_SUBMENU=true\n",
    );
    check(
        grub_console,
        "GRUB_DISTRIBUTOR=me\nGRUB_TERMINAL=ec2-console\nGRUB_DISABLE_SUBMENU=false\n",
        "GRUB_DISTRIBUTOR=me\nGRUB_TERMINAL=console\nGRUB_DISABLE_SUBMENU=false\n",
    );
    for kept in [
        "GRUB_TERMINAL=\"serial console\"\n",
        "#GRUB_TERMINAL=ec2-console\n",
    ] {
        check(grub_console, kept, kept);
    }
}

#[test]
fn sshd_asks_nobody_for_keys() {
    check(
        sshd_keys_command,
        "Port 22\nAuthorizedKeysCommand /opt/aws/bin/eic_run_authorized_keys %u %f\n\
         authorizedkeyscommanduser ec2-instance-connect\n",
        "Port 22\n#AuthorizedKeysCommand /opt/aws/bin/eic_run_authorized_keys %u %f\n\
         #authorizedkeyscommanduser ec2-instance-connect\n",
    );
    for kept in [
        "AuthorizedKeysCommand /usr/bin/sss_ssh_authorizedkeys\n",
        "AuthorizedKeysCommandUser nobody\n",
        "# see ec2-instance-connect\n",
    ] {
        check(sshd_keys_command, kept, kept);
    }
}

#[test]
fn the_clock_of_ec2_is_not_asked() {
    check(
        time_source,
        "server 169.254.169.123 prefer iburst\npool 2.amazon.pool.ntp.org iburst\n",
        "#server 169.254.169.123 prefer iburst\npool 2.amazon.pool.ntp.org iburst\n",
    );
    check(
        time_source,
        "allow 169.254.169.123\n",
        "allow 169.254.169.123\n",
    );
}

#[test]
fn reads_the_list_of_cloud_init_in_each_form() {
    for (text, expected) in [
        (
            "a: b\ndatasource_list: [ Ec2, None ]\n",
            Some(&["Ec2", "None"][..]),
        ),
        (
            "datasource_list: ['NoCloud',\n  \"Ec2\"]\nx: 1\n",
            Some(&["NoCloud", "Ec2"]),
        ),
        (
            "datasource_list:\n  - Azure\n  - None\nusers: []\n",
            Some(&["Azure", "None"]),
        ),
        ("# datasource_list: [ Ec2 ]\n", None),
        ("datasource:\n  Ec2: {}\n", None),
    ] {
        let list = datasource_list(text);
        let list = list
            .as_ref()
            .map(|list| list.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(list.as_deref(), expected, "{text:?}");
    }
    let sources = ["NoCloud".to_owned(), "ConfigDrive".to_owned()];
    assert_eq!(
        datasource_list(&cloud_init_sources(&sources)).unwrap(),
        sources
    );
}

#[test]
fn shows_the_lines_that_differ() {
    assert_eq!(changed_lines("a\nb\nb\n", "a\nc\nb\n"), ["- b", "+ c"]);
    assert!(changed_lines("a\n", "a\n").is_empty());
}
