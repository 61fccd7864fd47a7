//! The run's key in an account's `authorized_keys`: put in without damage to what is there,
//! taken out whatever happened meanwhile. Runs in the agent.
//!
//! The comment of our line says whose it is and what was made for it, so that also a later run
//! can clean up after one that was killed. Knows nothing of SSH.

use std::path::Path;

use crate::entry::Metadata;
use crate::fs::metadata::{Before, apply_metadata, read_metadata};
use crate::fs::owned::{OwnedFile, read_owned, replace_owned, shorten_owned};
use crate::fs::xattrs::Object;
use crate::fs::{Dir, FsError, Result};
use crate::relpath::Name;

const MARK: &str = "instancesync:";
/// What the run's key may not do: it starts the agent and nothing else needs it. `restrict` would
/// say the same in a word that OpenSSH before 7.2 and Dropbear do not know.
const RESTRICTIONS: &str = "no-agent-forwarding,no-port-forwarding,no-pty,no-X11-forwarding";

/// An account of the target.
#[derive(Clone, Copy, Debug)]
pub struct Account<'a> {
    /// Its home directory.
    pub home: &'a Path,
    /// Its number.
    pub uid: u32,
}

/// Whose line it is.
#[derive(Clone, Copy, Debug)]
pub struct Owner<'a> {
    /// The pair of source and target; its lines replace each other.
    pub pair: &'a str,
    /// The session; an agent that lost its link removes only its own line.
    pub nonce: &'a str,
}

/// What was made for our line, and goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Made {
    file: bool,
    directory: bool,
}

/// Which lines of ours are meant.
#[derive(Clone, Copy, Debug)]
pub enum Which<'a> {
    /// All of the pair.
    Pair(&'a str),
    /// That of one session.
    Session(Owner<'a>),
}

/// Returns what each line of a pair has in its comment.
pub fn mark_of(pair: &str) -> String {
    format!("{MARK}{pair}:")
}

impl Which<'_> {
    fn mark(&self) -> String {
        match self {
            Which::Pair(pair) => mark_of(pair),
            Which::Session(owner) => format!("{MARK}{}:{}:", owner.pair, owner.nonce),
        }
    }
}

fn name(bytes: &[u8]) -> Result<Name> {
    crate::fs::usable_name(bytes)
}

/// Puts `key` (type and key, no comment) in, replacing older lines of the same pair.
pub fn install(account: Account<'_>, key: &str, owner: Owner<'_>) -> Result<()> {
    let home = Dir::open_root(account.home)?;
    let (dir, is_made) = open_or_make_ssh(&home, account)?;
    let installed = add_line(&home, (&dir, is_made), account, key, owner);
    if installed.is_err() && is_made {
        // Nobody would know later that it is ours; the first error is the one to report.
        drop(home.remove_dir(&name(b".ssh")?));
    }
    installed
}

fn add_line(
    home: &Dir,
    (dir, is_made): (&Dir, bool),
    account: Account<'_>,
    key: &str,
    owner: Owner<'_>,
) -> Result<()> {
    let file_name = name(b"authorized_keys")?;
    let found = read_owned(dir, &file_name)?;
    let mut made = Made {
        file: found.is_none(),
        directory: is_made,
    };
    let mut file = match found {
        Some(file) => file,
        None => OwnedFile {
            contents: Vec::new(),
            metadata: private(account.uid, home.status()?.gid(), 0o600),
        },
    };
    let (mut contents, older) = without(&file.contents, Which::Pair(owner.pair));
    made.file |= older.file;
    made.directory |= older.directory;
    if !contents.is_empty() && !contents.ends_with(b"\n") {
        contents.push(b'\n');
    }
    let flags = [(made.file, 'f'), (made.directory, 'd')];
    let flags: String = flags
        .iter()
        .filter(|(set, _)| *set)
        .map(|(_, flag)| flag)
        .collect();
    let line = format!(
        "{RESTRICTIONS} {key} {MARK}{}:{}:{flags}\n",
        owner.pair, owner.nonce
    );
    contents.extend_from_slice(line.as_bytes());
    file.contents = contents;
    replace_owned(dir, &file_name, &file)
}

/// Tells whether the line of a session is in.
pub fn is_installed(account: Account<'_>, owner: Owner<'_>) -> Result<bool> {
    let dir = Dir::open_root(account.home)?.open_dir(&name(b".ssh")?)?;
    let file = read_owned(&dir, &name(b"authorized_keys")?)?;
    let which = Which::Session(owner);
    Ok(file.is_some_and(|file| without(&file.contents, which).0 != file.contents))
}

/// Tells whether the text of a file of keys has a line of `pair`.
pub fn has_line(keys: &str, pair: &str) -> bool {
    without(keys.as_bytes(), Which::Pair(pair)).0 != keys.as_bytes()
}

/// Takes our lines out, and removes what was made for them if nothing else is in it.
pub fn remove(account: Account<'_>, which: Which<'_>) -> Result<()> {
    let home = Dir::open_root(account.home)?;
    let ssh_name = name(b".ssh")?;
    let dir = match home.open_dir(&ssh_name) {
        Err(error) if error.is_missing() => return Ok(()),
        result => result?,
    };
    let file_name = name(b"authorized_keys")?;
    let Some(mut file) = read_owned(&dir, &file_name)? else {
        return Ok(());
    };
    let (contents, made) = without(&file.contents, which);
    if contents == file.contents {
        return Ok(());
    }
    if contents.is_empty() && made.file {
        dir.remove_file(&file_name)?;
        if made.directory && dir.names()?.is_empty() {
            home.remove_dir(&ssh_name)?;
        }
        return Ok(());
    }
    file.contents = contents;
    match replace_owned(&dir, &file_name, &file) {
        // A key that stays is worse than the moment in which the file is half written.
        Err(error) if error.is_no_space() => shorten_owned(&dir, &file_name, &file),
        result => result,
    }
}

fn private(uid: u32, gid: u32, mode: u16) -> Metadata {
    Metadata {
        mode,
        uid,
        gid,
        ..Metadata::default()
    }
}

fn open_or_make_ssh(home: &Dir, account: Account<'_>) -> Result<(Dir, bool)> {
    let ssh_name = name(b".ssh")?;
    match home.open_dir(&ssh_name) {
        Err(error) if error.is_missing() => {}
        result => return Ok((result?, false)),
    }
    home.make_dir(&ssh_name)?;
    let made = dress_ssh(home, &ssh_name, account);
    if made.is_err() {
        // As above.
        drop(home.remove_dir(&ssh_name));
    }
    Ok((made?, true))
}

fn dress_ssh(home: &Dir, ssh_name: &Name, account: Account<'_>) -> Result<Dir> {
    let dir = home.open_dir(ssh_name)?;
    let mut metadata = read_metadata(Object::open(&dir), &dir.status()?)?;
    (metadata.uid, metadata.gid, metadata.mode) = (account.uid, home.status()?.gid(), 0o700);
    let refused: Vec<FsError> =
        apply_metadata(Object::open(&dir), false, &metadata, Before::Unknown);
    match refused.into_iter().next() {
        Some(error) => Err(error),
        None => Ok(dir),
    }
}

/// Returns the contents without our lines, and what was made for those.
fn without(contents: &[u8], which: Which<'_>) -> (Vec<u8>, Made) {
    let mark = which.mark();
    let mut made = Made::default();
    let mut kept = Vec::with_capacity(contents.len());
    for line in contents.split_inclusive(|byte| *byte == b'\n') {
        let text = String::from_utf8_lossy(line);
        match text
            .rsplit(' ')
            .next()
            .map(str::trim_end)
            .filter(|comment| comment.starts_with(&mark))
        {
            Some(comment) => {
                let flags = comment.rsplit(':').next().unwrap_or_default();
                made.file |= flags.contains('f');
                made.directory |= flags.contains('d');
            }
            None => kept.extend_from_slice(line),
        }
    }
    (kept, made)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::{Account, Owner, RESTRICTIONS, Which, install, remove};

    const KEY: &str = "ssh-ed25519 AAAAC3Nza";
    const OWNER: Owner<'static> = Owner {
        pair: "p1",
        nonce: "n1",
    };

    fn account(home: &std::path::Path) -> Account<'_> {
        Account {
            home,
            uid: rustix::process::geteuid().as_raw(),
        }
    }

    #[test]
    fn leaves_nothing_where_nothing_was() {
        let home = tempfile::tempdir().unwrap();
        install(account(home.path()), KEY, OWNER).unwrap();
        let ssh = home.path().join(".ssh");
        let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(
            (mode(&ssh), mode(&ssh.join("authorized_keys"))),
            (0o700, 0o600)
        );
        remove(account(home.path()), Which::Pair("p1")).unwrap();
        assert!(!ssh.exists());
    }

    #[test]
    fn keeps_every_byte_of_the_others() {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        std::fs::create_dir(&ssh).unwrap();
        let file = ssh.join("authorized_keys");
        let before = "# mine\n\nssh-rsa AAAA me@x\ncommand=\"x y\" ssh-rsa BBBB no newline";
        std::fs::write(&file, before).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        for nonce in ["n1", "n2"] {
            install(account(home.path()), KEY, Owner { pair: "p1", nonce }).unwrap();
        }
        let text = std::fs::read_to_string(&file).unwrap();
        assert_eq!(text.matches(KEY).count(), 1);
        assert!(text.contains(&format!("\n{RESTRICTIONS} {KEY} instancesync:p1:n2:")));
        remove(account(home.path()), Which::Session(OWNER)).unwrap();
        assert!(
            std::fs::read_to_string(&file).unwrap().contains("p1:n2:"),
            "another session's line stays"
        );
        remove(account(home.path()), Which::Pair("p1")).unwrap();
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            format!("{before}\n")
        );
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o640);
    }

    #[test]
    fn goes_even_from_a_disk_without_room() {
        let home = tempfile::tempdir().unwrap();
        let ssh = home.path().join(".ssh");
        std::fs::create_dir(&ssh).unwrap();
        let file = ssh.join("authorized_keys");
        std::fs::write(&file, "ssh-rsa AAAA a\nssh-rsa BBBB b\n").unwrap();
        let dir = crate::fs::Dir::open_root(&ssh).unwrap();
        let name = super::name(b"authorized_keys").unwrap();
        let mut shorter = super::read_owned(&dir, &name).unwrap().unwrap();
        shorter.contents = b"ssh-rsa BBBB b\n".to_vec();
        super::shorten_owned(&dir, &name, &shorter).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"ssh-rsa BBBB b\n");
        std::fs::hard_link(&file, ssh.join("other")).unwrap();
        super::shorten_owned(&dir, &name, &shorter).unwrap_err();
    }

    #[test]
    fn refuses_a_link_in_place_of_the_directory() {
        let home = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/tmp", home.path().join(".ssh")).unwrap();
        assert!(install(account(home.path()), KEY, OWNER).is_err());
    }
}
