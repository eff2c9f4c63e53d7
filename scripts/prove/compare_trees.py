#!/usr/bin/env python3
"""Compares two folder trees, entry by entry and byte by byte.

    compare_trees.py [options] <original> <copy>

Written for proving that a restored tree is what was backed up, and shares no code with the program under test. It walks
both trees by raw bytes and through directory handles, so that names which are not UTF-8 and paths longer than PATH_MAX
are no trouble, and compares: which entries there are, their type, content (SHA-256 of both sides and the bytes
themselves), permissions with setuid, setgid and sticky bit, owner and group, time of last change, link targets, and
extended attributes with access control lists.

Not compared, but counted, because the stored format has no place for them: FIFOs, sockets and devices (they may be
missing in the copy, but not be there as something else), attributes with an empty value, which names are hard links of one file,
and where holes are.

Exit code 0: equal; 1: different; 2: could not be compared.
"""

import argparse
import errno
import hashlib
import os
import resource
import stat
import sys

CHUNK = 1 << 20
KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
STORED = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK)
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC


class Comparison:
    """Walks two trees together and remembers what it saw."""

    def __init__(self, options):
        self.options = options
        self.counts = dict.fromkeys(
            ["files", "folders", "links", "bytes", "xattrs", "passed over", "empty xattrs", "sparse files"], 0
        )
        self.hard_links = {}
        self.longest_name = 0
        self.longest_path = 0
        self.not_utf8 = 0
        self.differences = 0
        self.exact_times = True

    def differ(self, path, what):
        self.differences += 1
        if self.differences <= self.options.show:
            print(f"{show(path)}: {what}")
        elif self.differences == self.options.show + 1:
            print("… and more")

    def folder(self, path, left, right):
        """Compares what two open folders hold; `left` and `right` are their descriptors."""
        left_names = set(os.listdir(dirfd_path(left)))
        right_names = set(os.listdir(dirfd_path(right)))
        if path == b"":
            left_names -= self.options.excepted
            right_names -= self.options.excepted
        for name in sorted(left_names | right_names):
            self.entry(
                path,
                name,
                left if name in left_names else None,
                right if name in right_names else None,
            )

    def entry(self, parent, name, left, right):
        path = parent + b"/" + name if parent else name
        a, b = (None if fd is None else os.stat(name, dir_fd=fd, follow_symlinks=False) for fd in (left, right))
        if a is not None:
            self.note(path, name, a)
        if a is None:
            self.differ(path, f"only in the copy, a {kind(b)}")
            return
        if stat.S_IFMT(a.st_mode) not in STORED:
            self.counts["passed over"] += 1
            if b is not None and stat.S_IFMT(a.st_mode) != stat.S_IFMT(b.st_mode):
                self.differ(path, f"a {kind(a)} became a {kind(b)}")
            return
        if b is None:
            self.differ(path, f"missing in the copy, a {kind(a)}")
            return
        if stat.S_IFMT(a.st_mode) != stat.S_IFMT(b.st_mode):
            self.differ(path, f"a {kind(a)} became a {kind(b)}")
            return
        self.common(path, a, b)
        self.attributes(path, name, left, right)
        if stat.S_ISDIR(a.st_mode):
            self.counts["folders"] += 1
            self.descend(path, name, left, right)
        elif stat.S_ISLNK(a.st_mode):
            self.counts["links"] += 1
            targets = [os.readlink(name, dir_fd=fd) for fd in (left, right)]
            if targets[0] != targets[1]:
                self.differ(path, f"link to {show(targets[0])} became link to {show(targets[1])}")
        else:
            self.counts["files"] += 1
            self.counts["bytes"] += a.st_size
            self.content(path, name, left, right, a, b)

    def descend(self, path, name, left, right):
        fds = []
        try:
            for fd in (left, right):
                fds.append(os.open(name, OPEN_FOLDER, dir_fd=fd))
            self.folder(path, *fds)
        finally:
            for fd in fds:
                os.close(fd)

    def note(self, path, name, facts):
        self.longest_name = max(self.longest_name, len(name))
        self.longest_path = max(self.longest_path, len(self.options.original) + 1 + len(path))
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            self.not_utf8 += 1
        if stat.S_ISREG(facts.st_mode):
            if facts.st_nlink > 1:
                key = (facts.st_dev, facts.st_ino)
                self.hard_links[key] = self.hard_links.get(key, 0) + 1
            if facts.st_blocks * 512 < facts.st_size:
                self.counts["sparse files"] += 1

    def common(self, path, a, b):
        """Permissions, owner and time."""
        for what, left, right in (
            ("permissions", oct(a.st_mode & 0o7777), oct(b.st_mode & 0o7777)),
            ("owner", a.st_uid, b.st_uid),
            ("group", a.st_gid, b.st_gid),
        ):
            if left != right:
                self.differ(path, f"{what} {left} became {right}")
        unit = self.options.mtime_unit
        if a.st_mtime_ns // unit != b.st_mtime_ns // unit:
            self.differ(path, f"last change {a.st_mtime_ns} ns became {b.st_mtime_ns} ns")
        elif a.st_mtime_ns != b.st_mtime_ns:
            self.exact_times = False

    def attributes(self, path, name, left, right):
        a, b = (xattrs(fd, name) for fd in (left, right))
        for attribute in sorted(a.keys() | b.keys()):
            was, now = a.get(attribute), b.get(attribute)
            if was == b"" and now in (None, b""):
                self.counts["empty xattrs"] += 1
            elif was != now:
                self.differ(path, f"attribute {show(attribute)}: {short(was)} became {short(now)}")
            else:
                self.counts["xattrs"] += 1

    def content(self, path, name, left, right, a, b):
        if a.st_size != b.st_size:
            self.differ(path, f"{a.st_size} bytes became {b.st_size}")
            return
        sums = [hashlib.sha256(), hashlib.sha256()]
        fds = []
        try:
            for fd in (left, right):
                fds.append(os.open(name, OPEN_FILE, dir_fd=fd))
            at = 0
            while True:
                one, two = read(fds[0]), read(fds[1])
                sums[0].update(one)
                sums[1].update(two)
                if one != two:
                    first = next((n for n, (x, y) in enumerate(zip(one, two)) if x != y), min(len(one), len(two)))
                    self.differ(path, f"content differs from byte {at + first}")
                    return
                if not one:
                    break
                at += len(one)
        finally:
            for fd in fds:
                os.close(fd)
        if at != a.st_size or sums[0].digest() != sums[1].digest():
            self.differ(path, f"{at} bytes read of {a.st_size}, SHA-256 {sums[0].hexdigest()} and {sums[1].hexdigest()}")

    def report(self):
        c = self.counts
        print(
            f"compared: {c['files']} files with {c['bytes']} bytes, {c['folders']} folders, {c['links']} links, "
            f"{c['xattrs']} attributes"
        )
        print(
            f"among them: longest name {self.longest_name} bytes, longest path {self.longest_path} bytes, "
            f"{self.not_utf8} names that are not UTF-8, {c['sparse files']} sparse files, "
            f"{sum(1 for n in self.hard_links.values() if n > 1)} files with several names"
        )
        if c["passed over"] or c["empty xattrs"]:
            print(
                f"not stored by the format: {c['passed over']} FIFOs, sockets and devices, "
                f"{c['empty xattrs']} attributes with an empty value"
            )
        if self.differences:
            print(f"different: {self.differences} differences")
            return 1
        unit = "to the nanosecond" if self.exact_times else f"in units of {self.options.mtime_unit} ns"
        print(f"equal (times {unit})")
        return 0


def dirfd_path(fd):
    """A path of bytes that stands for an open folder, so that names come as bytes."""
    return b"/proc/self/fd/%d" % fd


def xattrs(folder, name):
    """All extended attributes, those of a link itself included."""
    path = dirfd_path(folder) + b"/" + name
    found = {}
    try:
        for attribute in os.listxattr(path, follow_symlinks=False):
            attribute = os.fsencode(attribute)
            found[attribute] = os.getxattr(path, attribute, follow_symlinks=False)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.ENODATA):
            raise
    return found


def read(fd):
    """A full chunk, or less at the end of the file."""
    parts = b""
    while len(parts) < CHUNK:
        part = os.read(fd, CHUNK - len(parts))
        if not part:
            break
        parts = parts + part if parts else part
    return parts


def kind(facts):
    return KINDS.get(stat.S_IFMT(facts.st_mode), "something unknown")


def show(name):
    text = repr(name)[2:-1]
    return text if len(text) <= 200 else f"{text[:90]}…({len(name)} bytes)…{text[-90:]}"


def short(value):
    if value is None:
        return "nothing"
    return repr(value)[1:60] + (f"… ({len(value)} bytes)" if len(value) > 55 else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("original", type=os.fsencode)
    parser.add_argument("copy", type=os.fsencode)
    parser.add_argument("--except", dest="excepted", action="append", default=[], metavar="NAME",
                        help="leave out this entry of the topmost folder")
    parser.add_argument("--mtime-unit", type=int, default=100, metavar="NS", help="compare times in this unit (100)")
    parser.add_argument("--show", type=int, default=40, metavar="N", help="print so many differences (40)")
    options = parser.parse_args()
    options.excepted = {os.fsencode(name) for name in options.excepted}

    # One descriptor per level and side is open.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.setrecursionlimit(20_000)
    sys.stdout.reconfigure(errors="backslashreplace")

    comparison = Comparison(options)
    fds = []
    for path in (options.original, options.copy):
        fds.append(os.open(path, OPEN_FOLDER))
    comparison.common(b".", *(os.fstat(fd) for fd in fds))
    comparison.attributes(b".", b".", *fds)
    comparison.folder(b"", *fds)
    return comparison.report()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except OSError as error:
        print(f"could not compare: {error}", file=sys.stderr)
        sys.exit(2)
