"""The workloads by name: what each makes, who takes part, what is done before each run.

Knows nothing of how a run is measured, and of how figures are printed.
"""

import os
import random
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import trees
from contenders import Task
from contest import Contest, Row
from floor import Floor
from machine import MIB, FileSystem, call
from stock import Stock, look_at

FAR_SECONDS = 0.1
SMALL_COUNT, SMALL_BYTES = 100_000, 7260
OURS = ["instancesync", "instancesync-installed"]
FIRST = ["rsync", "rsync-tuned", "tar", *OURS]
AGAIN = ["rsync", "rsync-tuned", *OURS]
WITH_LATER = [*AGAIN, "instancesync-later"]


@dataclass
class Bench:
    """What a workload works with."""

    contest: Contest
    stock: Stock
    floor: Floor
    place: Path
    real_tree: Path
    scale: float

    def scaled(self, count):
        return max(1, int(count * self.scale))


def small_tree(bench):
    count = bench.scaled(SMALL_COUNT)
    make = partial(trees.many_files, count=count, largest=SMALL_BYTES)
    return bench.stock.get("small", 512 + count // 100, count * 11 // 10 + 5000, make)


def million_tree(bench):
    count = bench.scaled(1_000_000)
    make = partial(trees.many_files, count=count, largest=64)
    return bench.stock.get("million", 512 + count // 200, count * 11 // 10 + 5000, make)


def one_file(bench, name, mib, make):
    """Returns a tree of one file, which `make(path)` makes."""
    return bench.stock.get(name, mib + mib // 4 + 512, 5000, lambda top: make(top / "data"))


def first_copy(bench, name, what, tree, usual, delay_seconds=0.0):
    """Each run copies to an empty file system."""

    @contextmanager
    def prepare(_contender):
        with FileSystem(bench.place, "target", tree.room_mib(), tree.inodes()) as system:
            target = system.path / "copy"
            target.mkdir()
            yield Task(tree.path, target)

    row = Row(name, what, tree.entries, {})
    if not delay_seconds:
        row.floor_seconds = bench.floor.first_copy_seconds(tree.files, tree.bytes)
    bench.contest.compare(row, usual, prepare, delay_seconds)


def again(bench, row, tree, usual, is_checksum=False, delay_seconds=0.0):
    """All runs find a complete copy."""
    with FileSystem(bench.place, "target", tree.room_mib(), tree.inodes()) as system:
        call("rsync", "-aHAXS", "--numeric-ids", f"{tree.path}/", f"{system.path}/")

        @contextmanager
        def prepare(_contender):
            yield Task(tree.path, system.path, is_checksum)

        bench.contest.compare(row, usual, prepare, delay_seconds)


def small(bench):
    first_copy(bench, "small", "first copy of small files", small_tree(bench), FIRST)


def small_far(bench):
    what = "first copy of small files, 100 ms round trip"
    first_copy(bench, "small-far", what, small_tree(bench), FIRST, FAR_SECONDS)


def usr(bench):
    what = f"first copy of {bench.real_tree}"
    first_copy(bench, "usr", what, look_at(bench.real_tree), FIRST)


def million(bench):
    what = "first copy of tiny files"
    first_copy(bench, "million", what, million_tree(bench), ["rsync", "instancesync"])


def big(bench):
    mib = bench.scaled(2048)
    tree = one_file(bench, "big", mib, partial(trees.dense_file, mib=mib, seed=3))
    first_copy(bench, "big", f"first copy of one file, {mib} MiB", tree, FIRST)


def sparse(bench):
    mib = bench.scaled(20 * 1024)
    make = partial(trees.sparse_file, mib=mib, data_count=160, data_bytes=65_536)
    tree = one_file(bench, "sparse", mib, make)
    what = f"first copy of a file of {mib} MiB with 10 MiB of data"
    first_copy(bench, "sparse", what, tree, ["rsync", "tar", "instancesync"])


def huge(bench):
    mib = bench.scaled(20 * 1024)
    data_bytes = bench.scaled(10 * MIB)
    make = partial(trees.sparse_file, mib=mib, data_count=200, data_bytes=data_bytes)
    tree = one_file(bench, "huge", mib, make)
    what = f"first copy of a file of {mib} MiB, a tenth of it data"
    first_copy(bench, "huge", what, tree, ["rsync", "instancesync"])


def nochange(bench):
    tree = small_tree(bench)
    row = Row("nochange", "nothing changed", tree.entries, {})
    again(bench, row, tree, WITH_LATER)


def nochange_far(bench):
    tree = small_tree(bench)
    what = "nothing changed, 100 ms round trip"
    row = Row("nochange-far", what, tree.entries, {})
    again(bench, row, tree, WITH_LATER, delay_seconds=FAR_SECONDS)


def checksum(bench):
    tree = small_tree(bench)
    row = Row("checksum", "nothing changed, all contents compared", tree.entries, {})
    again(bench, row, tree, AGAIN, is_checksum=True)


def checksum_usr(bench):
    tree = look_at(bench.real_tree)
    what = f"{bench.real_tree} unchanged, all contents compared"
    row = Row("checksum-usr", what, tree.entries, {})
    again(bench, row, tree, AGAIN, is_checksum=True)


def delta(bench):
    mib, count = bench.scaled(2048), bench.scaled(5000)

    def make(top):
        old = top.parent / "old"
        trees.dense_file(old, mib, 2)
        trees.scattered_changes(old, top / "data", count)
        os.utime(old, (1_000_000_000, 1_000_000_000))

    tree = bench.stock.get("delta", mib * 5 // 2 + 512, 5000, make)

    @contextmanager
    def prepare(_contender):
        with FileSystem(bench.place, "target", mib * 5 // 2 + 512, 5000) as system:
            target = system.path / "copy"
            target.mkdir()
            shutil.copy2(tree.path.parent / "old", target / "data")
            yield Task(tree.path, target)

    what = f"a file of {mib} MiB with {count} pages of 4 KiB changed"
    row = Row("delta", what, tree.entries, {}, notes=[f"changed: {count * 4096 / 1e6:.1f} MB"])
    names = ["rsync", "rsync-inplace", "instancesync", "instancesync-inplace"]
    bench.contest.compare(row, names, prepare)


def mixed(bench):
    count, links = bench.scaled(SMALL_COUNT), bench.scaled(50_000)
    bench.stock.clear()
    kept = bench.place / "yesterday"
    kept.mkdir()
    with FileSystem(bench.place, "today", 1024 + count // 100, count * 2) as today:
        tree = today.path / "tree"
        tree.mkdir()
        trees.many_files(tree, count, SMALL_BYTES)
        trees.links_and_attributes(tree, count, links)
        today.keep(kept / "source")
        with FileSystem(bench.place, "target", 1024 + count // 100, count * 2) as target:
            call("rsync", "-aHAXS", "--numeric-ids", f"{today.path}/", f"{target.path}/")
            target.keep(kept / "target")
        trees.one_day(tree, count, SMALL_BYTES)

        def stock(name):
            return FileSystem(bench.place, name, 0, stock=kept / name)

        @contextmanager
        def prepare(contender):
            with stock("target") as target:
                copy = target.path / "tree"
                if not contender.is_later:
                    yield Task(tree, copy, deletes=True)
                    return
                with stock("source") as source:
                    path = source.path / "tree"
                    day = partial(trees.one_day, path, count, SMALL_BYTES)
                    yield Task(path, copy, deletes=True, change=day)

        what = "a day: 10 % of files changed, 5 % deleted, 5 % of directories renamed"
        notes = ["the second pass of a run does not delete yet: its last one does"]
        row = Row("mixed", what, look_at(tree).entries, {}, notes=notes)
        bench.contest.compare(row, WITH_LATER, prepare)
    shutil.rmtree(kept)


def final(bench):
    count, tree, chance = bench.scaled(1_000_000), million_tree(bench), random.Random(6)
    change = partial(trees.touch_some, tree.path, count, chance)
    with FileSystem(bench.place, "target", tree.room_mib(), tree.inodes()) as system:
        call("rsync", "-aHAXS", "--numeric-ids", f"{tree.path}/", f"{system.path}/")

        @contextmanager
        def prepare(contender):
            if contender.is_later:
                yield Task(tree.path, system.path, change=change)
            else:
                change()
                yield Task(tree.path, system.path)

        row = Row("final", "a last pass, all but 100 files unchanged", tree.entries, {})
        bench.contest.compare(row, WITH_LATER, prepare)


def rules(bench):
    tree, patterns = million_tree(bench), bench.place / "patterns"
    patterns.write_text("".join(f"{line}\n" for line in trees.patterns(2000)))
    with FileSystem(bench.place, "target", tree.room_mib(), tree.inodes()) as system:
        call("rsync", "-aHAXS", "--numeric-ids", f"{tree.path}/", f"{system.path}/")

        @contextmanager
        def prepare(_contender):
            yield Task(tree.path, system.path, patterns=patterns)

        what = "nothing changed, without a link: no rules, and 2,000 patterns"
        row = Row("rules", what, tree.entries, {})
        bench.contest.compare(row, ["no-rules", "rules"], prepare)
    if {"no-rules", "rules"} <= row.results.keys():
        plain, ruled = (row.results[name].median("source_cpu_seconds") for name in row.results)
        each = (ruled - plain) / tree.entries * 1e6
        row.notes.append(f"CPU of 2,000 patterns: {each:.2f} us an entry")


ALL = {
    "small": small,
    "nochange": nochange,
    "checksum": checksum,
    "nochange-far": nochange_far,
    "small-far": small_far,
    "delta": delta,
    "big": big,
    "usr": usr,
    "checksum-usr": checksum_usr,
    "sparse": sparse,
    "mixed": mixed,
    "final": final,
    "million": million,
    "huge": huge,
    "rules": rules,
}
USUAL = ["small", "nochange", "checksum", "nochange-far", "small-far", "delta", "big", "usr"]
