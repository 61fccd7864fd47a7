//! A source that writes all the time: logs, packages, a database that is held still.

use super::pair::{Pair, add_package, add_service};
use crate::support::can_run;
use crate::support::machine::{BOOTED, Network, Recipe};
use crate::support::places::assert_code;

#[test]
fn a_busy_source_gives_a_clone_with_a_whole_database() {
    if !can_run("a_busy_source_gives_a_clone_with_a_whole_database", BOOTED) {
        return;
    }
    let network = Network::new();
    let mut pair = Pair::create(&network, &Recipe::default(), &Recipe::default());
    let disk = pair.source.disk();
    add_package(&disk, "gift");
    disk.run(
        "mkdir /srv/database
        sqlite3 /srv/database/db 'pragma journal_mode = wal; create table t (row blob)'",
    );
    add_service(
        &disk,
        "chatter",
        "while :; do date +%%N >>/var/log/chatter.log; sleep 0.01; done",
    );
    add_service(
        &disk,
        "installer",
        "trap \"exit 0\" TERM; while :; do dpkg -i /opt/gift.deb; sleep 0.2; done",
    );
    // It ends between two installations: one that is killed leaves its package in a mess.
    let process = "[Service]\nKillMode=process\n";
    disk.put("/etc/systemd/system/installer.service.d/kill.conf", process);
    // Several rows in each transaction, so that half of one would be seen.
    add_service(
        &disk,
        "writer",
        "while :; do sqlite3 /srv/database/db \"begin; insert into t values (randomblob(900)); \
         insert into t values (randomblob(900)); commit\"; done",
    );
    drop(disk);
    pair.start();
    let outcome = pair.clone_with(&[
        "--quiesce",
        "writer.service",
        "--quiesce",
        "installer.service",
    ]);
    assert_code(&outcome, 0, "the clone of a busy source");
    pair.target.wait_for_boot(2);
    for service in ["chatter", "installer", "writer"] {
        let state = format!("systemctl is-active {service}");
        assert_eq!(
            pair.source.ask(&state),
            "active\n",
            "{service} on the source"
        );
        assert_eq!(
            pair.target.ask(&state),
            "active\n",
            "{service} on the clone"
        );
    }
    pair.target.ask("systemctl stop writer installer");
    let check = "sqlite3 /srv/database/db 'pragma integrity_check; select count(*) % 2 from t'";
    assert_eq!(pair.target.ask(check), "ok\n0\n");
    assert_eq!(pair.target.ask("dpkg --audit && gift"), "gift\n");
    pair.target
        .ask("test $(wc -l </var/log/chatter.log) -gt 10");
}
