"""The machine that is measured on: file systems and an SSH server.

What has to be cleaned up is a context manager. Knows nothing of programs that copy, and of what
is copied.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

CIPHER = "aes128-gcm@openssh.com"
ADDRESS = "127.0.0.1"
MIB = 1 << 20


def call(*command, **options):
    """Runs a command that has to succeed."""
    return subprocess.run([str(word) for word in command], check=True, **options)


class FileSystem:
    """An ext4 in an image, mounted on `.path`; fresh, or a copy of the image `stock`."""

    def __init__(self, place, name, size_mib, inodes=500_000, stock=None):
        self.image, self.path = place / f"{name}.img", place / name
        self.size_mib, self.inodes, self.stock = size_mib, inodes, stock

    def __enter__(self):
        self.path.mkdir()
        if self.stock:
            call("cp", "--sparse=always", "--reflink=never", self.stock, self.image)
        else:
            self.make()
        call("mount", "-o", "loop", self.image, self.path)
        if not self.stock:
            (self.path / "lost+found").rmdir()
        return self

    def make(self):
        with open(self.image, "wb") as image:
            image.truncate(self.size_mib * MIB)
        # Nothing is left to the kernel to do later, in the middle of a measurement.
        now = "lazy_itable_init=0,lazy_journal_init=0"
        call("mkfs.ext4", "-q", "-F", "-m", "0", "-N", self.inodes, "-E", now, self.image)

    def keep(self, stock):
        """Makes a copy of the image as it is now, to make other file systems of."""
        call("umount", self.path)
        call("cp", "--sparse=always", "--reflink=never", self.image, stock)
        call("mount", "-o", "loop", self.image, self.path)

    def __exit__(self, *_):
        # A run that was broken off may still hold something open.
        if subprocess.run(["umount", self.path]).returncode != 0:
            subprocess.run(["umount", "--lazy", self.path])
        self.image.unlink(missing_ok=True)
        self.path.rmdir()


class Server:
    """An sshd on loopback whose sessions belong to the group of the target."""

    def __init__(self, place, group):
        self.place, self.group = place, group
        self.known_hosts = place / "known_hosts"
        self.programs = place / "programs"

    def __enter__(self):
        self.port = free_port()
        self.configure()
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", self.place / "config"],
            stderr=open(self.place / "sshd.log", "w"),
            preexec_fn=self.group.enter,
        )
        self.trust(self.port)
        for _ in range(100):
            command = [*self.ssh(self.port), "true"]
            if subprocess.run(command, stderr=subprocess.DEVNULL).returncode == 0:
                return self
            time.sleep(0.1)
        sys.exit(f"error: sshd does not answer: {(self.place / 'sshd.log').read_text()}")

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def configure(self):
        place = self.place
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("host_key", "identity"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", place / name)
        home = place / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        self.programs.mkdir()
        shutil.copy(place / "identity.pub", home / ".ssh/authorized_keys")
        (place / "config").write_text(
            f"ListenAddress {ADDRESS}:{self.port}\nHostKey {place}/host_key\nPidFile none\n"
            f"UsePAM no\nStrictModes no\nPermitRootLogin yes\nMaxStartups 100\nMaxSessions 100\n"
            f"Ciphers {CIPHER}\nAuthorizedKeysFile {home}/.ssh/authorized_keys\n"
            f"SetEnv HOME={home} PATH={self.programs}:{os.environ['PATH']}\n"
        )

    @contextmanager
    def installed(self, program):
        """Has the program on the target's PATH meanwhile."""
        copy = shutil.copy(program, self.programs / "instancesync")
        try:
            yield
        finally:
            os.unlink(copy)

    def trust(self, port):
        """Puts the server's key on the list of known ones, as met behind `port`."""
        with open(self.known_hosts, "a") as known:
            known.write(f"[{ADDRESS}]:{port} {(self.place / 'host_key.pub').read_text()}")

    def rsh(self, port):
        """Returns the ssh command without an address, as rsync -e takes it."""
        return [
            "ssh", "-F", "/dev/null", "-p", str(port), "-i", str(self.place / "identity"),
            "-o", "BatchMode=yes", "-o", f"UserKnownHostsFile={self.known_hosts}", "-c", CIPHER,
        ]  # fmt: skip

    def ssh(self, port):
        """Returns the ssh command, to be followed by what the target runs."""
        return [*self.rsh(port), f"root@{ADDRESS}"]

    def wait_for_sessions(self):
        """The CPU time of a session counts until its last process is gone."""
        for _ in range(200):
            if self.group.processes() == [self.process.pid]:
                return
            time.sleep(0.05)
        sys.exit(f"error: processes stay on the target: {self.group.processes()}")


def free_port():
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return probe.getsockname()[1]
