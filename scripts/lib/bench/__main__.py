"""The measuring part of scripts/bench, which explains it: command line, set-up, clean-up.

Knows nothing of single workloads and contenders.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import contenders
import floor
import table
import workloads
from contest import Contest, say
from gauges import Group
from machine import CIPHER, Server
from stock import Stock


def options():
    parser = argparse.ArgumentParser(prog="scripts/bench", add_help=False)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--contenders", type=lambda text: text.split(","), default=[])
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--real-tree", type=Path, default=Path("/usr"))
    parser.add_argument("--place", type=Path, default=Path("/dev/shm"))
    parser.add_argument("workloads", nargs="*")
    given = parser.parse_args()
    if given.runs < 1 or not 0 < given.scale <= 1:
        parser.error("--runs takes a number from 1 on, --scale a share up to 1")
    for words, known in ((given.workloads, workloads.ALL), (given.contenders, contenders.ALL)):
        unknown = [word for word in words if word not in known]
        if unknown:
            parser.error(f"not known: {' '.join(unknown)}; there are: {' '.join(known)}")
    return given


def first_line(*command):
    said = subprocess.run(command, check=True, capture_output=True, text=True)
    return (said.stdout + said.stderr).splitlines()[0]


def conditions(given):
    """Returns what has to be known to judge the figures."""
    return {
        "runs": given.runs,
        "scale": given.scale,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg()[0],
        "kernel": os.uname().release,
        "cipher": CIPHER,
        "rsync": first_line(contenders.RSYNC, "--version"),
        "tar": first_line("tar", "--version"),
        "ssh": first_line("ssh", "-V"),
        "instancesync": first_line(contenders.INSTANCESYNC, "--version"),
        "instancesync_bytes": os.path.getsize(contenders.INSTANCESYNC),
    }


def print_conditions(told):
    print(
        f"\n{told['rsync']}\n{told['tar']}, {told['ssh']}\n{told['instancesync']}, "
        f"{told['instancesync_bytes'] / 1e6:.1f} MB that each login sends to the target\n"
        f"{told['cores']} cores, load {told['load_before']:.2f} before, Linux {told['kernel']}, "
        f"{told['cipher']}, {told['runs']} runs each"
    )
    if told["scale"] < 1:
        print(f"SCALED to {told['scale']}: not the workloads of these names, no figures to quote")


def measure(given, stack):
    """Runs all workloads; prints what there is, also when one of them ends the bench."""
    told = conditions(given)
    place = Path(tempfile.mkdtemp(prefix="instancesync-bench-", dir=given.place))
    stack.callback(shutil.rmtree, place)
    place.chmod(0o755)
    groups = [stack.enter_context(Group(side)) for side in ("source", "target")]
    server = stack.enter_context(Server(place, groups[1]))
    limits = floor.find(place, server)
    contest = Contest(place, server, groups, given)
    stock = stack.enter_context(Stock(place))
    bench = workloads.Bench(contest, stock, limits, place, given.real_tree, given.scale)
    try:
        for name in given.workloads or workloads.USUAL:
            say(f"{name}: preparing")
            workloads.ALL[name](bench)
    finally:
        print_conditions(told)
        print(f"{limits.text()}\n")
        table.print_rows(contest.rows)
        if given.json:
            table.write_json(given.json, told, limits, contest.rows)


def main():
    given = options()
    # An end from outside cleans up like any other.
    for word in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(word, lambda number, _frame: sys.exit(128 + number))
    with ExitStack() as stack:
        measure(given, stack)


main()
