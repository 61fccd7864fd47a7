"""What this machine cannot do faster, whatever copies: a login, bytes over SSH, new files.

Knows nothing of contenders and workloads.
"""

import multiprocessing
import os
import shlex
import statistics
import subprocess
import time
from dataclasses import dataclass

from machine import FileSystem

SSH_BYTES = 1 << 30
FILE_COUNT = 20_000
FILE_BYTES = 3_600
PROCESSES = 2
TURNS = 3


@dataclass
class Floor:
    """The limits of this machine, medians of three."""

    login_seconds: float
    ssh_bytes_per_second: float
    new_files_per_second: float

    def first_copy_seconds(self, files, size):
        """Returns what a first copy takes at least: a login, then the longer of both."""
        link = size / self.ssh_bytes_per_second
        return self.login_seconds + max(link, files / self.new_files_per_second)

    def text(self):
        return (
            f"floor of this machine: login {self.login_seconds:.2f} s, "
            f"{self.ssh_bytes_per_second / 1e6:.0f} MB/s through one SSH connection, "
            f"{self.new_files_per_second:,.0f} new files/s (ext4, {PROCESSES} processes, "
            f"{FILE_BYTES:,} bytes each)"
        )


def find(place, server):
    login = median_seconds(lambda: call_there(server, "true"))
    ssh = median_seconds(lambda: call_there(server, "cat >/dev/null", SSH_BYTES))
    with FileSystem(place, "floor", 1024) as system:
        names = iter(range(TURNS))
        create = median_seconds(lambda: make_files(system.path / str(next(names))))
    return Floor(login, SSH_BYTES / (ssh - login), PROCESSES * FILE_COUNT / create)


def median_seconds(work):
    return statistics.median(seconds_of(work) for _ in range(TURNS))


def seconds_of(work):
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def call_there(server, command, size=0):
    ssh = shlex.join([*server.ssh(server.port), command])
    subprocess.run(["sh", "-c", f"head -c {size} /dev/zero | {ssh}"], check=True)


def make_files(top):
    top.mkdir()
    workers = [
        multiprocessing.Process(target=make_some, args=(top / f"part-{number}",))
        for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def make_some(directory):
    directory.mkdir()
    place = os.open(directory, os.O_DIRECTORY)
    content = os.urandom(FILE_BYTES)
    for index in range(FILE_COUNT):
        file = os.open(f"file-{index}", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=place)
        os.write(file, content)
        os.close(file)
