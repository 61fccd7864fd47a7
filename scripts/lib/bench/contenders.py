"""Who takes part, and the command line of each. Knows nothing of how they are measured."""

import os
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Optional

from machine import ADDRESS

RSYNC = os.environ.get("RSYNC_BINARY", "rsync")
INSTANCESYNC = os.environ["INSTANCESYNC_BINARY"]
RSYNC_FLAGS = ["-aHAXSx", "--numeric-ids", "--modify-window=-1"]


@dataclass
class Task:
    """One copy that is to be made."""

    source: Path
    target: Path
    # Whether all contents are compared.
    is_checksum: bool = False
    # Whether the target loses what the source does not have.
    deletes: bool = False
    # Whether the link has a delay, and compression pays.
    is_far: bool = False
    # A file of patterns to leave out; None for none.
    patterns: Optional[Path] = None
    # What happens to the source before the pass that is measured; None for nothing.
    change: Optional[Callable[[], None]] = None


def rsync(task, server, port, tuning=()):
    extra = [
        *(["--checksum"] if task.is_checksum else []),
        *(["--delete"] if task.deletes else []),
        *tuning,
    ]
    # The target runs the same rsync.
    path = [f"--rsync-path={RSYNC}"] if RSYNC != "rsync" else []
    link = ["-e", shlex.join(server.rsh(port))]
    places = [f"{task.source}/", f"root@{ADDRESS}:{task.target}/"]
    return [RSYNC, *RSYNC_FLAGS, *extra, *path, *link, *places]


def rsync_tuned(task, server, port):
    packing = ["--compress", "--compress-choice=zstd"] if task.is_far else []
    return rsync(task, server, port, ["--no-inc-recursive", *packing])


def rsync_inplace(task, server, port):
    return rsync(task, server, port, ["--no-inc-recursive", "--inplace"])


def tar(task, server, port):
    kept = ["--acls", "--xattrs", "--xattrs-include=*", "--numeric-owner"]
    pack = ["tar", "--create", *kept, "--one-file-system", "--sparse", "-C", task.source, "."]
    unpack = ["tar", "--extract", *kept, "--preserve-permissions", "-C", task.target]
    there = [*server.ssh(port), shlex.join(map(str, unpack))]
    line = f"{shlex.join(map(str, pack))} | {shlex.join(there)}"
    return ["bash", "-o", "pipefail", "-c", line]


def instancesync(task, server, port):
    only = "checksum" if task.is_checksum else "timestamp"
    return [*instancesync_over(task, server, port), "--only", only, "--quiet"]


def instancesync_inplace(task, server, port):
    return [*instancesync(task, server, port), "--patch-in-place"]


def instancesync_later(task, server, port):
    return [*instancesync_over(task, server, port), "--passes", "2", "--json"]


def instancesync_over(task, server, port):
    return [
        INSTANCESYNC, "--target", f"root@{ADDRESS}:{port}", "--target-dir", str(task.target),
        "--identity", str(server.place / "identity"), "--known-hosts", str(server.known_hosts),
        "--source", str(task.source), "--yes", *(["--delete"] if task.deletes else []),
    ]  # fmt: skip


def instancesync_beside(task, _server, _port):
    places = ["--source", str(task.source), "--to", str(task.target)]
    return [INSTANCESYNC, *places, "--only", "timestamp", "--yes", "--quiet"]


def instancesync_ruled(task, server, port):
    return [*instancesync_beside(task, server, port), "--exclude-from", str(task.patterns)]


@dataclass(frozen=True)
class Contender:
    """A program and the way it is used."""

    name: str
    command: Callable
    # Measured is the second timestamp pass of a run that makes two, not the run.
    is_later: bool = False
    # The program is on the target, too, as rsync always is.
    is_installed: bool = False


ALL = {
    contender.name: contender
    for contender in (
        Contender("rsync", rsync),
        Contender("rsync-tuned", rsync_tuned),
        Contender("rsync-inplace", rsync_inplace),
        Contender("tar", tar),
        Contender("instancesync", instancesync),
        Contender("instancesync-installed", instancesync, is_installed=True),
        Contender("instancesync-inplace", instancesync_inplace),
        Contender("instancesync-later", instancesync_later, is_later=True),
        Contender("no-rules", instancesync_beside),
        Contender("rules", instancesync_ruled),
    )
}
RSYNC_NAMES = [name for name in ALL if name.startswith("rsync")]
