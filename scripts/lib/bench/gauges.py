"""What is read off the two sides while they work: CPU seconds, memory, system calls.

A side is a control group. Knows nothing of what its processes do.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

# How often the memory of processes is looked at: rare enough to cost nothing.
MEMORY_TICK_SECONDS = 0.1


def groups_top():
    """Returns where control groups of version 2 are mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _device, path, kind, *_rest = line.split()
        if kind == "cgroup2":
            return Path(path)
    sys.exit("error: no control groups of version 2 are mounted; they count CPU seconds")


class Group:
    """A control group: all processes of one side."""

    def __init__(self, name):
        self.name = f"instancesync-bench-{os.getpid()}-{name}"
        self.path = groups_top() / self.name

    def __enter__(self):
        self.path.mkdir()
        return self

    def __exit__(self, *_):
        self.end_all()
        for _ in range(100):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)

    def enter(self):
        """Called in a child before it becomes another program."""
        (self.path / "cgroup.procs").write_text(str(os.getpid()))

    def cpu_seconds(self):
        """Returns what all processes have used so far, those that have ended included."""
        for line in (self.path / "cpu.stat").read_text().splitlines():
            word, value = line.split()
            if word == "usage_usec":
                return int(value) / 1e6
        sys.exit(f"error: {self.path}/cpu.stat does not tell usage_usec")

    def processes(self):
        return [int(line) for line in (self.path / "cgroup.procs").read_text().split()]

    def end_all(self):
        for process in self.processes():
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue


class PeakMemory(threading.Thread):
    """Watches a group; `.mib` is the largest resident size that any process of it had."""

    def __init__(self, group):
        super().__init__(daemon=True)
        self.group, self.mib = group, 0.0
        self.ended = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.join()

    def run(self):
        while not self.ended.wait(MEMORY_TICK_SECONDS):
            for process in self.group.processes():
                self.mib = max(self.mib, peak_mib(process))


def peak_mib(process):
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(found[0]) / 1024 if found else 0.0


class SystemCalls:
    """Counts the system calls of groups with perf; `.counts` stays None where perf cannot.

    Counting costs time, so a run that is counted is not timed.
    """

    EVENT = "raw_syscalls:sys_enter"

    def __init__(self, groups, report):
        self.groups, self.report = groups, report
        self.counts = None

    def __enter__(self):
        events = ",".join([self.EVENT] * len(self.groups))
        names = ",".join(group.name for group in self.groups)
        # cat answers as soon as the counters run, and ends with its input.
        command = ["perf", "stat", "-x,", "-a", "-o", self.report, "-e", events, "-G", names, "cat"]
        try:
            self.perf = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except FileNotFoundError:
            self.perf = None
            return self
        try:
            self.perf.stdin.write(b"\n")
            self.perf.stdin.flush()
        except BrokenPipeError:
            pass
        self.perf.stdout.readline()
        return self

    def __exit__(self, *_):
        if self.perf is None:
            return
        try:
            self.perf.stdin.close()
        except BrokenPipeError:
            pass
        if self.perf.wait() == 0:
            self.counts = self.read()
        self.report.unlink(missing_ok=True)

    def read(self):
        lines = [line.split(",") for line in self.report.read_text().splitlines()]
        counts = [fields[0] for fields in lines if self.EVENT in fields]
        # A group that has slept all the time is not counted.
        counts = ["0" if count == "<not counted>" else count for count in counts]
        if len(counts) != len(self.groups) or not all(count.isdigit() for count in counts):
            return None
        return [int(count) for count in counts]
