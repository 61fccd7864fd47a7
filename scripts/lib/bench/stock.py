"""The source trees, and how large they are.

A tree that was made is kept for the workloads after it that want the same one. Knows nothing of
contenders.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from machine import MIB, FileSystem, call

INODE_BYTES = 256
BLOCK_BYTES = 4096


@dataclass
class Tree:
    """A directory to copy."""

    path: Path
    entries: int
    files: int
    bytes: int

    def room_mib(self):
        """Returns how large a file system has to be that takes a copy, and one file twice."""
        need = self.bytes + self.entries * (BLOCK_BYTES + INODE_BYTES)
        return need * 5 // 4 // MIB + 512

    def inodes(self):
        return self.entries * 11 // 10 + 10_000


def look_at(path):
    """Returns the tree at `path`, with sizes as they are on the disk."""
    found = call("find", path, "-xdev", "-printf", "%y %b\n", capture_output=True, text=True)
    lines = [line.split() for line in found.stdout.splitlines()]
    files = [int(blocks) * 512 for kind, blocks in lines if kind == "f"]
    return Tree(path, len(lines), len(files), sum(files))


class Stock:
    """Makes trees by name; the last one stays until another is asked for."""

    def __init__(self, place):
        self.place, self.name, self.tree = place, None, None
        self.kept = ExitStack()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kept.close()

    def clear(self):
        """Frees the room that the last tree takes."""
        self.kept.close()
        self.name = None

    def get(self, name, size_mib, inodes, make):
        """Returns the tree `name`, which `make(path)` makes on a file system of that size."""
        if self.name != name:
            self.clear()
            system = self.kept.enter_context(FileSystem(self.place, "stock", size_mib, inodes))
            path = system.path / "tree"
            path.mkdir()
            make(path)
            self.tree, self.name = look_at(path), name
        return self.tree
