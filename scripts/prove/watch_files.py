#!/usr/bin/env python3
"""Says which file of a program is the largest while it runs, named or not: temporary ones and its local state.

watch_files.py <program> <result> [<folder>…]   looks at all open files of processes of that program until it is killed,
but not at those in the folders; the result file says how many MiB the largest has, and its name.
"""

import os
import signal
import stat
import sys
import time

PAUSE = 0.02


def open_files(program):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/exe") != program:
                continue
            for number in os.listdir(f"/proc/{pid}/fd"):
                place = f"/proc/{pid}/fd/{number}"
                name = os.readlink(place)
                facts = os.stat(place)
                if stat.S_ISREG(facts.st_mode) and not name.startswith(("/proc/", "/sys/")):
                    yield name, facts.st_size
        except OSError:
            continue


def main():
    program, result, folders = os.path.realpath(sys.argv[1]), sys.argv[2], tuple(sys.argv[3:])
    largest = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        while True:
            for name, size in open_files(program):
                is_catalog = ".sqlite" in name and ".sqlite.sort-" not in name
                if not name.startswith(folders) and not is_catalog:
                    largest[name] = max(size, largest.get(name, 0))
            time.sleep(PAUSE)
    finally:
        name, size = max(largest.items(), key=lambda item: item[1], default=("-", 0))
        with open(result, "w") as out:
            print(f"{size / 2**20:.0f} {name}", file=out)


main()
