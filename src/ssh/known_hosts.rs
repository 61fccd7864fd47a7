//! The files that say which host key belongs to which address, as OpenSSH reads them.
//!
//! The format is the one of sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT". Lines that cannot be parsed
//! are skipped, as OpenSSH does. Knows nothing of connections and of whom to ask.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit, Mac};
use russh::keys::ssh_key::known_hosts::HostPatterns;
use russh::keys::{Algorithm, PublicKey, parse_public_key_base64};
use sha1::Sha1;

use super::address::DEFAULT_PORT;

const SYSTEM_FILE: &str = "/etc/ssh/ssh_known_hosts";

/// The known host keys of this machine.
#[derive(Debug)]
pub struct KnownHosts {
    lines: Vec<Line>,
    /// Where a newly accepted key is written; `None` without a home directory.
    record_file: Option<PathBuf>,
}

/// What the files say about a host key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the key of that host.
    Known,
    /// Nothing is known of that host.
    Unknown,
    /// The host is known, but only by keys of other types (`ssh-ed25519`, ...).
    OtherType(Vec<String>),
    /// The host has another key of the same type.
    Changed(Place),
    /// The key is marked as revoked.
    Revoked(Place),
}

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The known_hosts file.
    pub file: PathBuf,
    /// The number of the line, from 1.
    pub line: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}:{}", self.file.display(), self.line)
    }
}

#[derive(Debug)]
struct Line {
    place: Place,
    revoked: bool,
    hosts: HostPatterns,
    key: PublicKey,
}

impl KnownHosts {
    /// Reads the given file, or else the ones of the user and of the system. A missing file is
    /// an empty one; one that cannot be read is an error, as it may hold a warning.
    pub fn read(given: Option<&Path>) -> io::Result<KnownHosts> {
        let (files, record_file) = match given {
            Some(path) => (vec![path.to_owned()], Some(path.to_owned())),
            None => {
                let user_file = home_file();
                let mut files: Vec<PathBuf> = user_file.iter().cloned().collect();
                files.push(PathBuf::from(SYSTEM_FILE));
                (files, user_file)
            }
        };
        let mut lines = Vec::new();
        for file in files {
            match fs::read(&file) {
                Ok(contents) => lines.extend(parse_file(&file, &contents)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    let text = format!("{}: {error}", file.display());
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        Ok(KnownHosts { lines, record_file })
    }

    /// Says what is known of a key that was presented under an address.
    pub fn judge(&self, host: &str, port: u16, key: &PublicKey) -> Verdict {
        let name = host_name(host, port);
        // OpenSSH takes a key that is known for the host without the port, but only if it is
        // equal: another key there says nothing about this port.
        let plain_name = host_name(host, DEFAULT_PORT);
        let mut equal = false;
        let mut changed = None;
        let mut other_types = Vec::new();
        for line in &self.lines {
            let same_key = line.key.key_data() == key.key_data();
            let for_name = matches(&line.hosts, &name);
            let for_host = for_name || matches(&line.hosts, &plain_name);
            if same_key && for_host {
                if line.revoked {
                    return Verdict::Revoked(line.place.clone());
                }
                equal = true;
            } else if for_name && !line.revoked {
                if line.key.algorithm() == key.algorithm() {
                    changed.get_or_insert_with(|| line.place.clone());
                } else {
                    other_types.push(line.key.algorithm().to_string());
                }
            }
        }
        match changed {
            _ if equal => Verdict::Known,
            Some(place) => Verdict::Changed(place),
            None if other_types.is_empty() => Verdict::Unknown,
            None => Verdict::OtherType(other_types),
        }
    }

    /// Returns the types of the keys that are known for an address, so that the target can be
    /// asked to present one of them first.
    pub fn key_types(&self, host: &str, port: u16) -> Vec<Algorithm> {
        let names = [host_name(host, port), host_name(host, DEFAULT_PORT)];
        let mut types = Vec::new();
        for line in &self.lines {
            let algorithm = line.key.algorithm();
            if !line.revoked
                && names.iter().any(|name| matches(&line.hosts, name))
                && !types.contains(&algorithm)
            {
                types.push(algorithm);
            }
        }
        types
    }

    /// Returns the file that an accepted key is written to.
    pub fn record_file(&self) -> Option<&Path> {
        self.record_file.as_deref()
    }

    /// Appends a key to the file; the file is made with mode 0600 and its directory with 0700
    /// where they are missing.
    pub fn record(&self, host: &str, port: u16, key: &PublicKey) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "$HOME is not set");
        let path = self.record_file.as_deref().ok_or_else(missing)?;
        let mut bare = key.clone();
        bare.set_comment("");
        let text = bare.to_openssh().map_err(io::Error::other)?;
        if let Some(directory) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(directory)?;
        }
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let newline = if ends_in_mid_line(&mut file)? {
            "\n"
        } else {
            ""
        };
        let line = format!("{newline}{} {}\n", host_name(host, port), text.trim_end());
        // One write, so that two runs cannot mix their lines.
        file.write_all(line.as_bytes())
    }
}

/// Returns the name under which known_hosts files list an address.
pub fn host_name(host: &str, port: u16) -> String {
    let host = host.to_ascii_lowercase();
    if port == DEFAULT_PORT {
        host
    } else {
        format!("[{host}]:{port}")
    }
}

fn home_file() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty())?;
    Some(Path::new(&home).join(".ssh/known_hosts"))
}

fn ends_in_mid_line(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn parse_file(file: &Path, contents: &[u8]) -> Vec<Line> {
    contents
        .split(|byte| *byte == b'\n')
        .enumerate()
        .filter_map(|(index, line)| {
            let place = Place {
                file: file.to_owned(),
                line: index + 1,
            };
            // A comment in another encoding says nothing; the key before it may be revoked.
            parse_line(place, &String::from_utf8_lossy(line))
        })
        .collect()
}

fn parse_line(place: Place, line: &str) -> Option<Line> {
    let mut words = line.split_ascii_whitespace().peekable();
    if words.peek()?.starts_with('#') {
        return None;
    }
    let revoked = match *words.peek()? {
        "@revoked" => true,
        // A certificate authority's key is no host key, and certificates are not asked for.
        marker if marker.starts_with('@') => return None,
        _ => false,
    };
    if revoked {
        words.next();
    }
    let hosts: HostPatterns = words.next()?.parse().ok()?;
    let _key_type = words.next()?;
    let key = parse_public_key_base64(words.next()?).ok()?;
    Some(Line {
        place,
        revoked,
        hosts,
        key,
    })
}

fn matches(hosts: &HostPatterns, name: &str) -> bool {
    match hosts {
        HostPatterns::HashedName { salt, hash } => Hmac::<Sha1>::new_from_slice(salt)
            .is_ok_and(|mac| mac.chain_update(name).verify_slice(hash).is_ok()),
        HostPatterns::Patterns(patterns) => {
            let mut found = false;
            for pattern in patterns {
                match pattern.strip_prefix('!') {
                    Some(negated) if glob_matches(negated, name) => return false,
                    Some(_) => {}
                    None => found |= glob_matches(pattern, name),
                }
            }
            found
        }
    }
}

/// Matches `*` and `?` as known_hosts files mean them; letter case does not count.
fn glob_matches(pattern: &str, name: &str) -> bool {
    let pattern = pattern.to_ascii_lowercase().into_bytes();
    let name = name.as_bytes();
    let (mut at, mut seen) = (0, 0);
    // Where to go on after the last star: its place, and how much of the name it has eaten.
    let mut star: Option<(usize, usize)> = None;
    while seen < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at, seen));
                at += 1;
            }
            Some(byte) if *byte == b'?' || name.get(seen) == Some(byte) => {
                at += 1;
                seen += 1;
            }
            _ => match star {
                Some((place, eaten)) => {
                    star = Some((place, eaten + 1));
                    at = place + 1;
                    seen = eaten + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(at).all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests;
