#!/usr/bin/env python3
"""Makes a tree of many small files, or of few files with many small blocks, and changes a part of it.

make_million.py files <folder> <count> [seed]     files of 60 bytes, 1,000 in a folder, in two halves `a` and `b`
make_million.py blocks <folder> <count> [seed]    KiB of noise, in four files in each of the halves `a` and `b`
make_million.py change <folder> <share> <round>   writes one of <share> files anew, others each round
"""

import os
import random
import sys
import time

PER_FOLDER = 1000
# 2026-01-01, and steps of a bit more than a ms.
FIRST_TIME = 1767225600 * 10**9
STEP = 1_000_700
FILES = 4
KIB = 1024


def write(path, content, changed, flags=os.O_CREAT | os.O_EXCL):
    """Writes a file with a time that no other one has: the kernel gives files of the same few ms the same."""
    handle = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        os.write(handle, content)
        os.utime(handle, ns=(changed, changed))
    finally:
        os.close(handle)


def text(seed, round, number):
    """60 bytes that no other file has."""
    return f"seed {seed:06} round {round:06} file {number:012}".encode().ljust(59, b".") + b"\n"


def make_files(folder, count, seed):
    for half, numbers in (("a", range(count // 2)), ("b", range(count // 2, count))):
        for number in numbers:
            place = f"{folder}/{half}/folder-{number // PER_FOLDER:06}"
            if number % PER_FOLDER == 0 or number == numbers.start:
                os.makedirs(place, exist_ok=True)
            write(f"{place}/file-{number:09}.txt", text(seed, 0, number), FIRST_TIME + number * STEP)


def make_blocks(folder, count, seed):
    chance = random.Random(seed)
    for half in ("a", "b"):
        os.makedirs(f"{folder}/{half}")
        for number in range(FILES):
            with open(f"{folder}/{half}/{number}.bin", "xb") as out:
                left = count // 2 // FILES
                while left > 0:
                    piece = min(left, 4096)
                    out.write(chance.randbytes(piece * KIB))
                    left -= piece


def change(folder, share, round):
    number = 0
    for place, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            if number % share == round % share:
                write(os.path.join(place, name), text(0, round, number), time.time_ns(), os.O_TRUNC)
            number += 1


def main():
    kind, folder, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    last = int(sys.argv[4]) if len(sys.argv) > 4 else 1
    {"files": make_files, "blocks": make_blocks, "change": change}[kind](folder, count, last)


main()
