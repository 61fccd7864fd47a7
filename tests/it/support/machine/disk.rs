//! The disk of a machine: an ext4 file system in an image file, mounted by the machine alone, or
//! here while that is off. Knows nothing of processes.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::recipe::Recipe;
use super::{must, script};

/// LIMIT: how long the kernel may take to let go of the disk of a machine that has ended.
const RELEASE_PATIENCE: Duration = Duration::from_secs(30);

/// A disk that is mounted here for as long as this lives.
pub struct Mounted {
    place: PathBuf,
}

impl Mounted {
    #[track_caller]
    pub(super) fn new(image: &Path) -> Mounted {
        let place = image.with_extension("mounted");
        fs::create_dir_all(&place).unwrap();
        must(
            Command::new("mount")
                .args(["-o", "loop"])
                .arg(image)
                .arg(&place),
        );
        Mounted { place }
    }

    /// The root of the machine.
    pub fn root(&self) -> &Path {
        &self.place
    }

    /// Runs a shell command with that root as its own.
    #[track_caller]
    pub fn run(&self, command: &str) -> String {
        let mut chroot = Command::new("chroot");
        chroot
            .arg(&self.place)
            .args(["sh", "-euc", command])
            .env_clear();
        chroot.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        must(
            chroot
                .env("DEBIAN_FRONTEND", "noninteractive")
                .env("HOME", "/root"),
        )
    }

    /// Writes a file, and makes the directories above it.
    #[track_caller]
    pub fn put(&self, path: &str, text: &str) {
        let path = self.place.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Reads a file; nothing where there is none.
    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.place.join(path.trim_start_matches('/'))).unwrap_or_default()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let status = Command::new("umount").arg(&self.place).status();
        let is_done = status.is_ok_and(|status| status.success());
        assert!(is_done || std::thread::panicking(), "umount failed");
    }
}

/// Copies the disk that all machines of a recipe begin with, and gives it a UUID of its own. It
/// is made once and kept below `target/tmp`.
pub(super) fn copy_base(recipe: &Recipe, image: &Path) {
    static MAKING: Mutex<()> = Mutex::new(());
    let packages = recipe.packages().join(",");
    let key = blake3::hash(format!("1 {} {packages}", recipe.size).as_bytes()).to_hex();
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("machine-{}.img", &key[..12]));
    let making = MAKING.lock();
    if !base.exists() {
        must(
            script("base-image")
                .arg(&base)
                .args([recipe.size, &packages]),
        );
    }
    drop(making);
    must(
        Command::new("cp")
            .arg("--sparse=always")
            .arg(base)
            .arg(image),
    );
    must(Command::new("tune2fs").args(["-U", "random"]).arg(image));
}

/// A power cut that only waits for its moment: what would take milliseconds is done before.
pub(super) struct Fuse {
    perl: Child,
}

impl Fuse {
    /// Prepares to shut the file system of `root`.
    #[track_caller]
    pub(super) fn lay(root: &Path) -> Fuse {
        // EXT4_IOC_SHUTDOWN with EXT4_GOING_FLAGS_NOLOGFLUSH (fs/ext4/ext4.h): as in a power cut,
        // what the journal has not on disk is gone. Perl is on every Debian, and the tests have
        // no unsafe code.
        const SHUT_DOWN: &str = "open(my $root, '<', $ARGV[0]) or die; my $how = pack('L', 2);
            $| = 1; print 'x'; <STDIN>; ioctl($root, 0x8004587d, $how) or die $!";
        let mut perl = Command::new("perl");
        perl.args(["-e", SHUT_DOWN]).arg(root);
        perl.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut perl = perl.spawn().unwrap();
        let mut ready = [0];
        perl.stdout.take().unwrap().read_exact(&mut ready).unwrap();
        Fuse { perl }
    }

    /// Shuts it now.
    #[track_caller]
    pub(super) fn light(&mut self) {
        // The end of its input is the sign.
        drop(self.perl.stdin.take());
        assert!(
            self.perl.wait().unwrap().success(),
            "the file system was not shut"
        );
    }
}

impl Drop for Fuse {
    fn drop(&mut self) {
        // One that was not needed has the disk open.
        self.perl.kill().ok();
        self.perl.wait().ok();
    }
}

/// Waits until no loop device has the image any more: its file system is unmounted then.
#[track_caller]
pub fn wait_until_free(image: &Path) {
    let deadline = Instant::now() + RELEASE_PATIENCE;
    while !must(Command::new("losetup").arg("-j").arg(image)).is_empty() {
        assert!(
            Instant::now() < deadline,
            "{} stays in use",
            image.display()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}
