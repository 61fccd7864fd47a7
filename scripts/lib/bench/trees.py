"""Makes the trees that are copied, and changes them. The same arguments make the same tree.

Contents of small files are lines of words, which zstd packs to about a third, as it does with
what lies on servers. Knows nothing of measuring.
"""

import os
import random
import shutil
import struct

from machine import MIB

FILES_PER_DIRECTORY = 100
LINE_COUNT = 200_000
# Tags of entries of a POSIX ACL, as in linux/posix_acl_xattr.h.
USER_OBJECT, USER, GROUP_OBJECT, MASK, OTHER = 0x01, 0x02, 0x04, 0x10, 0x20


class Text:
    """Lines of words from which contents are drawn."""

    def __init__(self, chance):
        letters = "etaoinshrdlucmfwypvbgk0123456789"
        words = ["".join(chance.choices(letters, k=chance.randint(2, 11))) for _ in range(8000)]
        weights = [1 / (rank + 5) for rank in range(len(words))]
        drawn = iter(chance.choices(words, weights, k=LINE_COUNT * 10))
        self.chance = chance
        self.lines = [
            (" ".join(next(drawn) for _ in range(10)) + "\n").encode() for _ in range(LINE_COUNT)
        ]

    def content(self, size):
        lines = self.chance.choices(self.lines, k=size // 40 + 1)
        return b"".join(lines)[:size].ljust(size, b"\n")


def many_files(top, count, largest):
    """Makes `count` files of up to `largest` bytes, a hundred to a directory."""
    chance = random.Random(1)
    text = Text(chance)
    for index in range(count):
        if index % FILES_PER_DIRECTORY == 0:
            (top / directory_name(index)).mkdir()
        path = file_path(top, index)
        with open(path, "xb", buffering=0) as file:
            file.write(text.content(chance.randrange(largest + 1)))


def directory_name(index):
    return f"d{index // FILES_PER_DIRECTORY:05}"


def file_path(top, index):
    return f"{top}/{directory_name(index)}/file-{index}"


def touch_some(top, count, chance):
    """Writes one byte into every so-many-th file of `count`, a hundred of them."""
    for index in range(0, count, max(1, count // 100)):
        with open(file_path(top, index), "r+b") as file:
            file.write(chance.randbytes(1))


def dense_file(path, mib, seed):
    """Makes a file that does not compress."""
    chance = random.Random(seed)
    with open(path, "xb") as file:
        for _ in range(mib):
            file.write(chance.randbytes(MIB))


def scattered_changes(old, new, count):
    """Makes `new` of `old` with `count` pages of 4 KiB written anew."""
    chance = random.Random(2)
    shutil.copyfile(old, new)
    with open(new, "r+b") as file:
        for page in chance.sample(range(old.stat().st_size // 4096), count):
            file.seek(page * 4096)
            file.write(chance.randbytes(4096))


def sparse_file(path, mib, data_count, data_bytes):
    """Makes a file of `mib` with data in `data_count` places."""
    chance = random.Random(4)
    with open(path, "xb") as file:
        file.truncate(mib * MIB)
        for place in range(data_count):
            file.seek(place * mib // data_count * MIB)
            file.write(chance.randbytes(data_bytes))


def links_and_attributes(top, count, link_count):
    """Gives five generations of second names to files, and an ACL and an xattr to every fifth."""
    per_generation = link_count // 5
    for generation in range(5):
        farm = top / f"generation-{generation}"
        farm.mkdir()
        for index in range(per_generation):
            os.link(file_path(top, index), farm / f"link-{index}")
    for index in range(0, count, 5):
        path = file_path(top, index)
        os.setxattr(path, "user.origin", f"bench {index % 50}".encode())
        os.setxattr(path, "system.posix_acl_access", acl(1000 + index % 20))


def acl(user):
    """Returns an ACL in which `user` may read, as the kernel takes it."""
    nobody = 0xFFFFFFFF
    entries = [
        (USER_OBJECT, 6, nobody), (USER, 4, user), (GROUP_OBJECT, 4, nobody), (MASK, 4, nobody),
        (OTHER, 4, nobody),
    ]  # fmt: skip
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def one_day(top, count, largest):
    """What a day does: 10 % of files changed, 5 % deleted, 5 % of directories renamed."""
    chance = random.Random(5)
    text = Text(chance)
    touched = chance.sample(range(count), count * 15 // 100)
    deleted = count * 5 // 100
    for index in touched[:deleted]:
        os.unlink(file_path(top, index))
    for index in touched[deleted:]:
        with open(file_path(top, index), "wb", buffering=0) as file:
            file.write(text.content(chance.randrange(largest + 1)))
    directories = range(0, count, FILES_PER_DIRECTORY)
    for index in chance.sample(directories, max(1, len(directories) * 5 // 100)):
        name = directory_name(index)
        (top / name).rename(top / f"renamed-{name}")


def patterns(count):
    """Returns patterns of every kind that people write; none matches a tree of these."""
    kinds = (
        "/srv/data/dir{}/file", "name{}", "*.ext{}", "/home/*/x{}", "/home/u{}/**/cache",
        "/var/lib/app{}/*.tmp", "prefix{}*", "/opt/app{}/***", "*wo{}rd*", "link-?{}-*",
    )  # fmt: skip
    return [kinds[index % len(kinds)].format(index) for index in range(count)]
