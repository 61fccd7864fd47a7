"""The measuring part of scripts/bench, which see.

One class per thing that has to be cleaned up (file system, server, group of processes), one
function per workload. Wall time is from start to exit of the command; CPU seconds are those of
all processes of a side, read from a control group.
"""

import argparse
import os
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

CIPHER = "aes128-gcm@openssh.com"
MIB = 1 << 20
FLAGS = ["-aHAXSx", "--numeric-ids", "--modify-window=-1"]


def call(*command, **options):
    return subprocess.run([str(word) for word in command], check=True, **options)


class Group:
    """A control group that counts the CPU time of one side; None where there are none."""

    def __init__(self, name):
        unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
        base = Path("/sys/fs/cgroup" if unified else "/sys/fs/cgroup/cpuacct")
        self.path = base / f"instancesync-bench-{os.getpid()}-{name}"
        self.unified = unified
        self.path.mkdir()

    def enter(self):
        """Called in a child before it becomes another program."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def cpu_seconds(self):
        if self.unified:
            first = (self.path / "cpu.stat").read_text().split()[1]
            return int(first) / 1e6
        return int((self.path / "cpuacct.usage").read_text()) / 1e9

    def processes(self):
        return (self.path / "cgroup.procs").read_text().split()

    def close(self):
        for _ in range(100):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)


class PeakMemory(threading.Thread):
    """Watches the processes of a group; `.mib` is the largest resident size of any of them."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group, self.mib, self.running = group, 0.0, True

    def run(self):
        while self.running:
            for process in self.group.processes():
                try:
                    status = Path(f"/proc/{process}/status").read_text()
                except OSError:
                    continue
                for line in status.splitlines():
                    if line.startswith("VmHWM:"):
                        self.mib = max(self.mib, int(line.split()[1]) / 1024)
            time.sleep(0.1)

    def finish(self):
        self.running = False
        self.join()
        return self.mib


class FileSystem:
    """A fresh ext4 in an image; the directory is its mount point."""

    def __init__(self, place, name, size_mib, inodes=500_000):
        self.image, self.path = place / f"{name}.img", place / name
        self.path.mkdir(exist_ok=True)
        with open(self.image, "wb") as image:
            image.truncate(size_mib * MIB)
        now = "lazy_itable_init=0,lazy_journal_init=0"
        call("mkfs.ext4", "-q", "-F", "-m", "0", "-N", inodes, "-E", now, self.image)
        call("mount", "-o", "loop", self.image, self.path)
        shutil.rmtree(self.path / "lost+found")

    def close(self):
        call("umount", self.path)
        self.image.unlink()
        self.path.rmdir()


class Server:
    """An sshd on loopback whose sessions belong to the group of the target."""

    def __init__(self, place, group):
        self.place, self.group = place, group
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        for name in ("host_key", "identity"):
            call("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", place / name)
        home = place / "home"
        (home / ".ssh").mkdir(parents=True, mode=0o700)
        shutil.copy(place / "identity.pub", home / ".ssh/authorized_keys")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        host_key = (place / "host_key.pub").read_text()
        (place / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}")
        (place / "config").write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {place}/host_key\nPidFile none\n"
            f"UsePAM no\nStrictModes no\nPermitRootLogin yes\nMaxStartups 100\nMaxSessions 100\n"
            f"Ciphers {CIPHER}\nAuthorizedKeysFile {home}/.ssh/authorized_keys\n"
            f"SetEnv HOME={home}\n"
        )
        self.process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-e", "-f", place / "config"],
            stderr=open(place / "sshd.log", "w"),
            preexec_fn=group.enter,
        )
        self.ssh = (
            f"ssh -F /dev/null -p {self.port} -i {place}/identity -o BatchMode=yes "
            f"-o UserKnownHostsFile={place}/known_hosts -c {CIPHER}"
        )
        for _ in range(100):
            if subprocess.run([*self.ssh.split(), "root@127.0.0.1", "true"], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        sys.exit(f"sshd does not answer: {(place / 'sshd.log').read_text()}")

    def wait_for_sessions(self):
        """The CPU time of a session counts until its last process is gone."""
        for _ in range(200):
            if len(self.group.processes()) == 1:
                return
            time.sleep(0.05)
        sys.exit("processes stay on the target: " + " ".join(self.group.processes()))

    def close(self):
        self.process.kill()
        self.process.wait()


class Bench:
    """What all workloads share: the place, the server, the two groups, the results."""

    def __init__(self, place, runs):
        self.place, self.runs = place, runs
        self.source_group, self.target_group = Group("source"), Group("target")
        self.server = Server(place, self.target_group)
        self.rows = []
        self.notes = []

    def close(self):
        self.server.close()
        self.source_group.close()
        self.target_group.close()

    def command(self, tool, source, target, checksum):
        address, place = "root@127.0.0.1", self.place
        if tool == "rsync":
            extra = ["-c"] if checksum else []
            return ["rsync", *FLAGS, *extra, "-e", self.server.ssh, f"{source}/", f"{address}:{target}/"]
        only = "checksum" if checksum else "timestamp"
        return [
            os.environ["INSTANCESYNC_BINARY"], "--target", f"{address}:{self.server.port}",
            "--identity", place / "identity", "--known-hosts", place / "known_hosts",
            "--source", source, "--target-dir", target, "--only", only, "--yes", "--quiet",
        ]  # fmt: skip

    def measure(self, tool, source, target, checksum):
        """Runs `tool` once and returns its figures."""
        groups = (self.source_group, self.target_group)
        memory = [PeakMemory(group) for group in groups]
        before = [group.cpu_seconds() for group in groups]
        for watch in memory:
            watch.start()
        begin = time.monotonic()
        command = self.command(tool, source, target, checksum)
        status = subprocess.run(command, preexec_fn=self.source_group.enter).returncode
        wall = time.monotonic() - begin
        self.server.wait_for_sessions()
        if status != 0:
            sys.exit(f"{tool} ended with exit code {status}")
        cpu = [group.cpu_seconds() - start for group, start in zip(groups, before)]
        return [wall, *cpu, *(watch.finish() for watch in memory)]

    def compare(self, name, source, prepare, finish, checksum=False):
        """Measures both tools in turns. `prepare` returns the target directory of one run."""
        figures = {"rsync": [], "instancesync": []}
        # The first turn only fills the page cache, unless there is no other.
        first_counted = min(self.runs - 1, 1)
        for run in range(self.runs + first_counted):
            for tool, results in figures.items():
                target = prepare()
                result = self.measure(tool, source, target, checksum)
                self.judge(name, tool, source, target)
                finish()
                if run >= first_counted:
                    results.append(result)
                print(f"   {name} {run}: {tool} {result[0]:.2f} s", file=sys.stderr)
        self.rows.append((name, *(medians(figures[tool]) for tool in figures)))

    def judge(self, name, tool, source, target):
        judge = ["rsync", "-n", "-i", "-c", *FLAGS, "--delete", f"{source}/", f"{target}/"]
        said = subprocess.run(judge, check=True, capture_output=True, text=True, errors="replace").stdout
        if said:
            sys.exit(f"{name}: the copy by {tool} is wrong:\n{said[:3000]}")

    def first_copy(self, name, source, size_mib, inodes=500_000):
        """Each run copies to an empty file system."""
        current = []

        def prepare():
            current.append(FileSystem(self.place, "target", size_mib, inodes))
            target = current[0].path / "copy"
            target.mkdir()
            return target

        self.compare(name, source, prepare, lambda: current.pop().close())

    def same_again(self, name, source, size_mib, checksum):
        """All runs find a complete copy."""
        system = FileSystem(self.place, "target", size_mib)
        call("rsync", *FLAGS, f"{source}/", f"{system.path}/")
        try:
            self.compare(name, source, lambda: system.path, lambda: None, checksum)
        finally:
            system.close()


def medians(results):
    return [statistics.median(column) for column in zip(*results)]


def used_mib(path):
    return int(call("du", "-sxm", path, capture_output=True, text=True).stdout.split()[0])


def with_source(bench, name, size_mib, inodes=500_000):
    """A file system for a made source; the caller closes it."""
    system = FileSystem(bench.place, f"source-{name}", size_mib, inodes)
    source = system.path / "tree"
    source.mkdir()
    return system, source


def usr(bench):
    bench.first_copy("usr", Path("/usr"), used_mib("/usr") * 5 // 4 + 512)


def nochange(bench):
    bench.same_again("nochange", Path("/usr"), used_mib("/usr") * 5 // 4 + 512, False)


def checksum(bench):
    bench.same_again("checksum", Path("/usr"), used_mib("/usr") * 5 // 4 + 512, True)


def small(bench):
    many_files(bench, "small", 100_000, 8192, 2048)


def million(bench):
    many_files(bench, "million", 1_000_000, 64, 6144)


def many_files(bench, name, count, largest, size_mib):
    system, source = with_source(bench, name, size_mib, count + count // 50 + 1000)
    chance = random.Random(1)
    words = [chance.randbytes(8) * 4 for _ in range(256)]
    for index in range(count):
        directory = source / f"d{index // 100:05}"
        if index % 100 == 0:
            directory.mkdir()
        size = chance.randrange(largest + 1)
        content = b"".join(chance.choices(words, k=size // 32 + 1))[:size]
        with open(directory / f"file-{index}", "wb") as file:
            file.write(content)
    try:
        bench.first_copy(name, source, size_mib, count + count // 50 + 1000)
    finally:
        system.close()


def delta(bench):
    system, source = with_source(bench, "delta", 2560)
    old, new = system.path / "old", source / "data"
    chance = random.Random(2)
    with open(old, "wb") as file:
        for _ in range(1024):
            file.write(chance.randbytes(MIB))
    shutil.copyfile(old, new)
    with open(new, "r+b") as file:
        for _ in range(1000):
            file.seek(chance.randrange(1024 * MIB - 4096))
            file.write(chance.randbytes(4096))
    os.utime(old, (1_000_000_000, 1_000_000_000))
    current = []

    def prepare():
        current.append(FileSystem(bench.place, "target", 3072))
        target = current[0].path / "copy"
        target.mkdir()
        shutil.copy2(old, target / "data")
        return target

    try:
        bench.compare("delta", source, prepare, lambda: current.pop().close())
    finally:
        system.close()


def big(bench):
    system, source = with_source(bench, "big", 2560)
    chance = random.Random(3)
    with open(source / "data", "wb") as file:
        for _ in range(2048):
            file.write(chance.randbytes(MIB))
    try:
        bench.first_copy("big", source, 2560)
    finally:
        system.close()


def huge(bench):
    system, source = with_source(bench, "huge", 24 * 1024)
    chance = random.Random(4)
    with open(source / "data", "wb") as file:
        file.truncate(20 * 1024 * MIB)
        for place in range(200):
            file.seek(place * 100 * MIB)
            file.write(chance.randbytes(10 * MIB))
    try:
        bench.first_copy("huge", source, 24 * 1024)
    finally:
        system.close()


def rules(bench):
    """What 2,000 patterns cost for each entry, on a tree where nothing has changed."""
    count, inodes = 1_000_000, 1_020_000
    system, source = with_source(bench, "rules", 1024, inodes)
    target = FileSystem(bench.place, "target", 1024, inodes)
    for index in range(count):
        directory = source / f"d{index // 100:05}"
        if index % 100 == 0:
            directory.mkdir()
        (directory / f"file-{index}").touch()
    patterns = bench.place / "patterns"
    patterns.write_text("".join(f"{pattern}\n" for pattern in user_patterns(2000)))
    command = [
        os.environ["INSTANCESYNC_BINARY"], "--source", source, "--to", target.path / "copy",
        "--only", "timestamp", "--yes", "--quiet",
    ]  # fmt: skip
    (target.path / "copy").mkdir()
    call(*command)
    figures = {"no rules": [], "2,000 patterns": []}
    try:
        for run in range(bench.runs):
            for name, results in figures.items():
                extra = ["--exclude-from", patterns] if name != "no rules" else []
                before, begin = bench.source_group.cpu_seconds(), time.monotonic()
                call(*command, *extra, preexec_fn=bench.source_group.enter)
                wall = time.monotonic() - begin
                results.append([wall, bench.source_group.cpu_seconds() - before])
                print(f"   rules {run}: {name} {wall:.2f} s", file=sys.stderr)
    finally:
        target.close()
        system.close()
    plain, ruled = (medians(results) for results in figures.values())
    bench.notes.append(
        f"rules: {count:,} entries again, nothing changed: {plain[0]:.2f} s, CPU {plain[1]:.2f} s; with 2,000 "
        f"patterns {ruled[0]:.2f} s, CPU {ruled[1]:.2f} s: {(ruled[1] - plain[1]) / count * 1e6:.2f} us more "
        f"an entry, beside {plain[1] / count * 1e6:.2f} us for the rest"
    )


def user_patterns(count):
    """Patterns of every kind that people write; none matches the tree."""
    kinds = (
        "/srv/data/dir{}/file", "name{}", "*.ext{}", "/home/*/x{}", "/home/u{}/**/cache", "/var/lib/app{}/*.tmp",
        "prefix{}*", "/opt/app{}/***", "*wo{}rd*", "file-?{}-*",
    )  # fmt: skip
    return [kinds[index % len(kinds)].format(index) for index in range(count)]


WORKLOADS = {
    work.__name__: work for work in (usr, small, nochange, checksum, delta, big, million, huge, rules)
}
USUAL = ["usr", "small", "nochange", "checksum", "delta", "big"]


def print_table(rows, runs):
    print(f"\nmedians of {runs} runs; CPU and peak memory as source + target; ratio above 1: instancesync is faster\n")
    print(f"{'workload':<10}{'rsync':>9}{'instancesync':>14}{'ratio':>7}", end="")
    print(f"{'CPU s rsync':>16}{'CPU s ours':>16}{'MiB rsync':>14}{'MiB ours':>14}")
    for name, theirs, ours in rows:
        print(f"{name:<10}{theirs[0]:>7.2f} s{ours[0]:>12.2f} s{theirs[0] / ours[0]:>7.2f}", end="")
        for result in (theirs, ours):
            print(f"{f'{result[1]:.2f} + {result[2]:.2f}':>16}", end="")
        for result in (theirs, ours):
            print(f"{f'{result[3]:.0f} + {result[4]:.0f}':>14}", end="")
        print()


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--place", type=Path, default=Path("/dev/shm"))
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    arguments = parser.parse_args()
    chosen = arguments.workloads or USUAL
    unknown = [name for name in chosen if name not in WORKLOADS]
    if unknown:
        parser.error(f"no such workload: {' '.join(unknown)}")
    # An end from outside cleans up like any other.
    for word in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(word, lambda number, _frame: sys.exit(128 + number))
    place = Path(tempfile.mkdtemp(prefix="instancesync-bench-", dir=arguments.place))
    place.chmod(0o755)
    bench = Bench(place, arguments.runs)
    try:
        print(f"load before: {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores", file=sys.stderr)
        for name in chosen:
            WORKLOADS[name](bench)
    finally:
        bench.close()
        for mounted in sorted(place.glob("*.img")):
            subprocess.run(["umount", "--lazy", mounted.with_suffix("")], stderr=subprocess.DEVNULL)
        shutil.rmtree(place)
        if bench.rows:
            print_table(bench.rows, arguments.runs)
        for note in bench.notes:
            print(note)


main()
