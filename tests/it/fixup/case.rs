//! One case of a merger as text: what is known, what both machines have, what comes out. The
//! format is described in tests/testdata/fixup/README.md.

use std::collections::BTreeSet;
use std::fmt::Write;

use instancesync::facts::{Agent, AgentState, Facts, Family, Init, Interface};
use instancesync::fixup::{
    Change, Edit, File, Level, Merged, Object, Objects, Owners, Situation, Versions, merge,
};
use instancesync::merger::Merger;
use instancesync::relpath::RelPath;

/// What goes in.
#[derive(Clone, Debug, Default)]
pub struct Case {
    pub mergers: Vec<Merger>,
    pub versions: Versions,
    pub source: Facts,
    pub target: Facts,
    pub kept: Owners,
    pub returning_pair: Option<String>,
    pub new_name: Option<String>,
    pub present: BTreeSet<String>,
}

pub fn path(text: &str) -> RelPath {
    RelPath::new(text.trim_start_matches('/').as_bytes()).unwrap()
}

pub fn file(contents: &str) -> Object {
    Object::File(File {
        contents: contents.as_bytes().to_vec(),
        mode: 0o644,
        uid: 0,
        gid: 0,
    })
}

impl Case {
    /// Reads the part of a case before what is expected.
    pub fn parse(text: &str) -> Case {
        let mut case = Case::default();
        for section in text.split("\n=== ").skip(1) {
            let (head, body) = section.split_once('\n').unwrap_or((section, ""));
            let body = format!("{body}\n");
            let words: Vec<&str> = head.split(' ').collect();
            match words[..] {
                ["situation"] => body.lines().for_each(|line| case.know(line)),
                [side, path, "->", text] => {
                    case.add(side, path, Object::Link(text.as_bytes().to_vec()));
                }
                [side, path] => case.add(side, path, file(&body)),
                [side, path, mode, owner] => {
                    let (uid, gid) = owner.split_once(':').unwrap();
                    let object = Object::File(File {
                        contents: body.into_bytes(),
                        mode: u16::from_str_radix(mode, 8).unwrap(),
                        uid: uid.parse().unwrap(),
                        gid: gid.parse().unwrap(),
                    });
                    case.add(side, path, object);
                }
                _ => panic!("section {head:?}"),
            }
        }
        case
    }

    fn add(&mut self, side: &str, at: &str, object: Object) {
        let objects = match side {
            "source" => &mut self.versions.source,
            "target" => &mut self.versions.target,
            _ => panic!("side {side:?}"),
        };
        objects.insert(path(at), object);
    }

    fn know(&mut self, line: &str) {
        let (key, value) = line.split_once(' ').unwrap_or((line, ""));
        let facts = match key.starts_with("target.") {
            true => &mut self.target,
            false => &mut self.source,
        };
        match key.rsplit('.').next().unwrap() {
            "merger" => {
                let by_name = |merger: &Merger| merger.word() == value;
                let merger = Merger::ALL.into_iter().find(by_name);
                self.mergers.push(merger.expect(value));
            }
            "present" => drop(self.present.insert(value.to_owned())),
            "kept-uid" => drop(self.kept.uids.insert(value.parse().unwrap())),
            "kept-gid" => drop(self.kept.gids.insert(value.parse().unwrap())),
            "new-name" => self.new_name = Some(value.to_owned()),
            "returning-pair" => self.returning_pair = Some(value.to_owned()),
            "hostname" => facts.identity.hostname = Some(value.to_owned()),
            "address" => facts.network.interfaces.push(Interface {
                name: "eth0".to_owned(),
                addresses: vec![value.to_owned()],
                ..Interface::default()
            }),
            "systemd" => facts.init = Init::Systemd,
            "rhel" => {
                facts.distribution.family = Family::Rhel;
                facts.distribution.version = value.to_owned();
            }
            "cloud-init" => facts.platform.agents.push(agent(Agent::CloudInit)),
            "nova-agent" => facts.platform.agents.push(agent(Agent::NovaAgent)),
            "qemu-guest" => facts.platform.agents.push(agent(Agent::QemuGuest)),
            "google-guest" => facts.platform.agents.push(agent(Agent::GoogleGuest)),
            "" => {}
            _ => panic!("known {line:?}"),
        }
    }

    pub fn merge(&self) -> Merged {
        let present = |path: &[u8]| {
            let path = String::from_utf8_lossy(path);
            self.present.contains(path.as_ref())
        };
        let situation = Situation {
            source: &self.source,
            target: &self.target,
            kept: &self.kept,
            returning_pair: self.returning_pair.as_deref(),
            new_name: self.new_name.as_deref(),
            present: &present,
        };
        merge(&self.mergers, &self.versions, &situation)
    }

    /// Returns the case as it is after its own clone: the same source, the target as merged.
    pub fn after(&self, merged: &Merged) -> Case {
        let mut after = self.clone();
        after.versions.target = applied(&self.versions.target, &merged.edits);
        let (uids, gids) = (&self.kept.uids, &self.kept.gids);
        after.kept = Owners {
            uids: uids.iter().map(|id| merged.owners.of(*id, 0).0).collect(),
            gids: gids.iter().map(|id| merged.owners.of(0, *id).1).collect(),
        };
        after
    }
}

fn agent(agent: Agent) -> AgentState {
    AgentState {
        agent,
        enabled_units: Vec::new(),
        evidence: String::new(),
    }
}

/// Returns what stands there after `edits`.
pub fn applied(objects: &Objects, edits: &[Edit]) -> Objects {
    let mut objects = objects.clone();
    for edit in edits {
        match &edit.change {
            Change::Write(file) => objects.insert(edit.path.clone(), Object::File(file.clone())),
            Change::Link(text) => objects.insert(edit.path.clone(), Object::Link(text.clone())),
            Change::Remove => objects.remove(&edit.path),
        };
    }
    objects
}

/// Prints what came out, as the cases have it at their end.
pub fn print(merged: &Merged) -> String {
    let mut text = String::new();
    for edit in &merged.edits {
        let why = format!("{} ({})", edit.reason, level(edit.level));
        let path = show(edit.path.as_bytes());
        match &edit.change {
            Change::Write(file) => {
                let (mode, uid, gid) = (file.mode, file.uid, file.gid);
                let contents = String::from_utf8_lossy(&file.contents);
                writeln!(text, "--- write /{path} {mode:o} {uid}:{gid}: {why}").unwrap();
                text += &contents;
            }
            Change::Link(link) => {
                writeln!(text, "--- link /{path} -> {}: {why}", show(link)).unwrap();
            }
            Change::Remove => writeln!(text, "--- remove /{path}: {why}").unwrap(),
        }
    }
    for (kind, map) in [("uid", &merged.owners.uids), ("gid", &merged.owners.gids)] {
        for (old, new) in map {
            writeln!(text, "--- {kind} {old} -> {new}").unwrap();
        }
    }
    for note in &merged.notes {
        let path = show(note.path.as_bytes());
        writeln!(text, "--- {} /{path}: {}", level(note.level), note.text).unwrap();
    }
    text
}

fn show(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Info => "info",
        Level::Warning => "warning",
    }
}
