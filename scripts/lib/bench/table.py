"""Prints what was measured, for people, and puts all of it into a file for programs.

Knows nothing of how it was measured.
"""

import dataclasses
import json

from contenders import RSYNC_NAMES
from contest import Figures

HEAD = (
    f"  {'':<20}{'wall s':>9}{'least':>9}{'of rsync':>10}{'of best':>9}"
    f"{'CPU s':>15}{'MiB':>13}{'link MB':>10}{'calls/entry':>13}"
)
LEGEND = """\
wall s: median; least: the fastest run; of rsync, of best: the median as a share of that of rsync
and of the fastest of rsync's lines; CPU s: source + target, ssh and sshd included; MiB: largest
process, source + target; link MB: both directions, as SSH sends them; calls/entry: system calls
of both sides; - is what cannot be told."""


FIGURES = [field.name for field in dataclasses.fields(Figures)]


def ratios(row):
    """Returns for each contender its share of rsync's time, and of that of rsync's best line."""
    walls = {name: result.median("wall_seconds") for name, result in row.results.items()}
    best = min((walls[name] for name in RSYNC_NAMES if name in walls), default=None)
    bases = {"of_rsync": walls.get("rsync"), "of_best_rsync": best}
    return {
        name: {word: wall / base if base else None for word, base in bases.items()}
        for name, wall in walls.items()
    }


def print_rows(rows):
    if not rows:
        return
    print(HEAD)
    for row in rows:
        print(f"{row.name}: {row.what}; {row.entries:,} entries")
        shares = ratios(row)
        for name, result in row.results.items():
            print(line(row, name, result, shares[name]))
        if row.floor_seconds is not None:
            print(f"  {'(floor)':<20}{row.floor_seconds:>9.2f}")
        for note in row.notes:
            print(f"  {note}")
    print(f"\n{LEGEND}")


def line(row, name, result, share):
    wall, *cpu_seconds, source_mib, target_mib = (result.median(figure) for figure in FIGURES)
    cpu = " + ".join(f"{seconds:.2f}" for seconds in cpu_seconds)
    mib = f"{source_mib:.0f} + {target_mib:.0f}"
    least = min(run.wall_seconds for run in result.runs)
    calls = result.counts.system_calls
    return (
        f"  {name:<20}{wall:>9.2f}{least:>9.2f}"
        f"{number(share['of_rsync'], 3):>10}{number(share['of_best_rsync'], 3):>9}"
        f"{cpu:>15}{mib:>13}{result.counts.link_bytes / 1e6:>10.1f}"
        f"{number(None if calls is None else calls / row.entries, 1):>13}"
    )


def number(value, digits):
    return "-" if value is None else f"{value:,.{digits}f}"


def write_json(path, conditions, floor, rows):
    data = {"conditions": conditions, "floor": dataclasses.asdict(floor), "workloads": []}
    for row in rows:
        described = dataclasses.asdict(row)
        for name, share in ratios(row).items():
            medians = {figure: row.results[name].median(figure) for figure in FIGURES}
            described["results"][name] |= {"medians": medians, **share}
        data["workloads"].append(described)
    path.write_text(json.dumps(data, indent=1) + "\n")
