"""Runs contenders in turns, measures each run, and has each copy judged.

The first turn is not timed. It goes over a link that counts bytes while system calls are
counted, and fills the page cache. Knows nothing of what the workloads are.
"""

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import Optional

import contenders
from contenders import RSYNC, RSYNC_FLAGS
from gauges import PeakMemory, SystemCalls
from link import Link

LATER = "instancesync-later: one pass of a longer run; the copy is judged when the run has ended"


@dataclass
class Figures:
    """What one timed run cost."""

    wall_seconds: float
    source_cpu_seconds: float
    target_cpu_seconds: float
    source_mib: float
    target_mib: float


@dataclass
class Counts:
    """What one counted run cost. None where it cannot be told."""

    link_bytes: int
    system_calls: Optional[int]


@dataclass
class Result:
    """All runs of one contender in one workload."""

    runs: list = field(default_factory=list)
    counts: Optional[Counts] = None

    def median(self, figure):
        return statistics.median(getattr(run, figure) for run in self.runs)


@dataclass
class Row:
    """One workload and its results, by contender."""

    name: str
    what: str
    entries: int
    results: dict
    # The seconds below which no program comes on this machine; None where they were not told.
    floor_seconds: Optional[float] = None
    notes: list = field(default_factory=list)



class Reading:
    """The clocks of both sides and the counter of the link, at one moment."""

    def __init__(self, groups, link):
        self.time = time.monotonic()
        self.cpu = [group.cpu_seconds() for group in groups]
        self.link_bytes = link.carried_bytes() if link else 0


class Contest:
    """What all workloads share: where they work, the server, the two sides, the rows."""

    def __init__(self, place, server, groups, options):
        self.place, self.server, self.groups = place, server, groups
        self.runs, self.scale, self.wanted = options.runs, options.scale, options.contenders
        self.rows = []

    def chosen(self, usual):
        """Returns those of the workload's usual contenders that the command line wants."""
        return [contenders.ALL[name] for name in usual if not self.wanted or name in self.wanted]

    def compare(self, row, usual, prepare, delay_seconds=0.0):
        """Measures contenders in turns. `prepare(contender)` is a context that gives a task."""
        chosen = self.chosen(usual)
        if not chosen:
            say(f"{row.name}: none of the chosen contenders takes part")
            return
        row.results.update((contender.name, Result()) for contender in chosen)
        with Link(self.server.port, delay_seconds) as link:
            self.server.trust(link.port)
            for turn in range(self.runs + 1):
                for contender in chosen:
                    with prepare(contender) as task:
                        task.is_far = delay_seconds > 0
                        result = row.results[contender.name]
                        if turn == 0:
                            result.counts = self.count(contender, task, link)
                        else:
                            figures = self.time(contender, task, link if task.is_far else None)
                            result.runs.append(figures)
                            say(f"{row.name} {turn}: {contender.name} {figures.wall_seconds:.2f} s")
                        self.judge(row, contender, task)
        row.notes += [LATER for contender in chosen if contender.is_later]
        self.rows.append(row)

    def count(self, contender, task, link):
        counter = SystemCalls(self.groups, self.place / "perf")
        with counter:
            begin, end = self.run(contender, task, link)
        calls = sum(counter.counts) if counter.counts and not contender.is_later else None
        return Counts(end.link_bytes - begin.link_bytes, calls)

    def time(self, contender, task, link):
        with ExitStack() as stack:
            memory = [stack.enter_context(PeakMemory(group)) for group in self.groups]
            begin, end = self.run(contender, task, link)
        cpu = [after - before for before, after in zip(begin.cpu, end.cpu)]
        return Figures(end.time - begin.time, *cpu, *(watch.mib for watch in memory))

    def run(self, contender, task, link):
        """Runs a contender once; returns the readings before and after what counts of it."""
        port = link.port if link else self.server.port
        command = contender.command(task, self.server, port)
        installed = self.server.installed if contender.is_installed else nullcontext
        try:
            with installed(contenders.INSTANCESYNC):
                if contender.is_later:
                    readings, status = self.run_later(command, task.change, link)
                else:
                    readings, status = self.run_whole(command, link)
        except BaseException:
            for group in self.groups:
                group.end_all()
            raise
        if status != 0:
            sys.exit(f"error: {contender.name} ended with exit code {status}: {command}")
        return readings

    def run_whole(self, command, link):
        begin = Reading(self.groups, link)
        status = subprocess.run(command, preexec_fn=self.groups[0].enter).returncode
        end = Reading(self.groups, link)
        # The time is that of the command; CPU and bytes are those of all that it started.
        self.server.wait_for_sessions()
        rest = Reading(self.groups, link)
        end.cpu, end.link_bytes = rest.cpu, rest.link_bytes
        return (begin, end), status

    def run_later(self, command, change, link):
        """Reads the events of a run, and the clocks around its second pass."""
        readings = []
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, preexec_fn=self.groups[0].enter
        )
        for line in process.stdout:
            if json.loads(line)["event"] != "pass_ended":
                continue
            if not readings and change:
                os.kill(process.pid, signal.SIGSTOP)
                change()
                os.kill(process.pid, signal.SIGCONT)
            readings.append(Reading(self.groups, link))
        status = process.wait()
        self.server.wait_for_sessions()
        return tuple(readings[:2]), status

    def judge(self, row, contender, task):
        """Ends the bench if a dry run of rsync finds anything to do."""
        command = [RSYNC, "-n", "-i", "-c", *RSYNC_FLAGS, "--delete"]
        command += [f"{task.source}/", f"{task.target}/"]
        judged = subprocess.run(command, check=True, capture_output=True)
        if judged.stdout:
            said = judged.stdout.decode(errors="replace")
            sys.exit(f"error: {row.name}: the copy by {contender.name} is wrong:\n{said[:3000]}")


def say(text):
    print(f"   {text}", file=sys.stderr, flush=True)
