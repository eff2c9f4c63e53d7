#!/usr/bin/env python3
"""Makes a tree with one of everything that gives backup programs trouble.

    make_torture.py build <folder> [seed]     makes the tree; the same seed gives the same tree
    make_torture.py disturb <folder> [seed]   changes files below <folder>/live until it is killed
    make_torture.py check-live <original> <restored>
                                              after a backup during `disturb`: is what was restored possible?

As root it is complete; other users get it without foreign owners, devices and some attributes, and it says so.
What lies below `still` never changes; what lies below `live` is there to be changed during a backup.
"""

import errno
import hashlib
import os
import random
import shutil
import socket
import stat
import struct
import sys
import time

MIB = 1 << 20
OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
ROOT = os.geteuid() == 0

NAMES = [
    b"two words", b" leading", b"trailing ", b"dot.", b".hidden", b"...", b"-dash", b"--option=value", b"@file",
    b"new\nline", b"\n", b"ends with newline\n", b"carriage\rreturn", b"tab\there", b"bell\x07", b"escape\x1b[31m",
    b"back\\slash", b"\\", b"a:b", b"quote\"d", b"it's", b"`id`", b"100%.txt", b"%2e%2e", b"%s%n", b"star*question?",
    b"[class]{alternative}", b"$HOME", b"%TEMP%", b"~", b"#hash", b"a&b;c|d<e>f", b"con", b"nul.txt", b"Case", b"case",
    b"CASE", "Übersicht".encode(), "u\u0308bersicht decomposed".encode(), "日本語 ファイル.txt".encode(),
    "emoji 😀 👩\u200d👩\u200d👧".encode(), "right-to-left \u202egpj.exe".encode(), "\ufeffmark".encode(),
    "\u2028line separator".encode(), "\U0010ffff last".encode(), b"latin1-\xe9\xff", b"\xff\xfe", b"\x80",
    b"surrogate-\xed\xa0\x80", b"low surrogate-\xed\xb2\x80", b"cut-\xf0\x9f\x98", b"overlong-\xc0\xaf",
    b"escaped-\\udc80", b"duplicati-b00.dblock.zip", b"..data", b"lost+found",
    b"n" * 255, ("字" * 85).encode(), b"\xfe" * 255, b"\n" * 255,
]

TIMES = [
    ("1970", 0), ("one nanosecond", 1), ("before 1970", -86_400 * 365 * 10**9 + 123_456_789), ("just before 1970", -1),
    ("1901", -2_147_483_648 * 10**9), ("1999", 920_000_000_500_000_000), ("99 nanoseconds", 1_600_000_000 * 10**9 + 99),
    ("100 nanoseconds", 1_600_000_000 * 10**9 + 100), ("all nanoseconds", 1_600_000_000 * 10**9 + 987_654_321),
    ("2038", 2_147_483_648 * 10**9), ("2040", 2_208_988_800 * 10**9), ("2200", 7_258_118_400 * 10**9 + 999_999_999),
    ("2446", 15_032_385_535 * 10**9),
]

# Where blocks of 1 KiB and of 1 MiB, and blocklists of 32 hashes, begin and end.
SIZES = [
    0, 1, 15, 16, 17, 1023, 1024, 1025, 2047, 2048, 2049, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 102_400,
    MIB - 1, MIB, MIB + 1, 2 * MIB, 2 * MIB + 7, 5 * MIB + 3,
]


class Tree:
    """Makes entries through folder handles; times are set at the end, from the deepest folder to the first."""

    def __init__(self, path, seed):
        self.rng = random.Random(seed)
        self.later = []
        self.left_out = set()
        os.makedirs(path)
        self.root = os.open(path, OPEN_FOLDER)

    def folder(self, parent, name, mode=0o755, mtime=None):
        os.mkdir(name, dir_fd=parent)
        self.later.append((parent, name, self.time() if mtime is None else mtime, mode))
        return os.open(name, OPEN_FOLDER, dir_fd=parent)

    def file(self, parent, name, content, mode=0o644, mtime=None):
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600, dir_fd=parent)
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        self.later.append((parent, name, self.time() if mtime is None else mtime, mode))

    def link(self, parent, name, target, mtime=None):
        os.symlink(target, name, dir_fd=parent)
        self.later.append((parent, name, self.time() if mtime is None else mtime, None))

    def time(self):
        """Some nanosecond of the year 2024."""
        return 1_704_067_200 * 10**9 + self.rng.randrange(31_536_000 * 10**9)

    def finish(self):
        for parent, name, mtime, mode in reversed(self.later):
            if mode is not None:
                os.chmod(name, mode, dir_fd=parent)
            os.utime(name, ns=(mtime, mtime), dir_fd=parent, follow_symlinks=False)
        os.utime(self.root, ns=(self.time(),) * 2)

    def only_root(self, what, make):
        """Runs what ordinary users may not do, or what this file system cannot."""
        try:
            make()
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSPC):
                raise
            self.left_out.add(what)


def build(path, seed):
    tree = Tree(path, seed)
    still = tree.folder(tree.root, b"still")
    for part in (sizes, sparse, names, deep, wide, links, hard_links, special, modes, times, owners, attributes):
        part(tree, tree.folder(still, part.__name__.replace("_", " ").encode()))
    live = tree.folder(tree.root, b"live")
    rng = random.Random(seed + 1)
    tree.file(live, b"log", b"")
    tree.file(live, b"big", b"")
    for name in (b"grows", b"shrinks", b"overwritten"):
        tree.file(live, name, rng.randbytes(24 * MIB))
    for number in range(50):
        tree.file(live, b"comes and goes %d" % number, b"x" * 1000)
        tree.file(live, b"replaced %d" % number, generation(number, 0))
    tree.finish()
    for what in sorted(tree.left_out):
        print(f"left out here: {what}")


def sizes(tree, at):
    for size in SIZES:
        tree.file(at, b"random %d" % size, tree.rng.randbytes(size))
        tree.file(at, b"text %d" % size, (b"All happy families are alike. " * (size // 30 + 1))[:size])
    tree.file(at, b"zeros", bytes(3 * MIB + 12_345))
    tree.file(at, b"the same block again and again", tree.rng.randbytes(1024) * 500)
    tree.file(at, b"a copy", b"All happy families are alike. " * 100_000)
    tree.file(at, b"another copy", b"All happy families are alike. " * 100_000)
    os.close(tree.folder(at, b"empty folder"))


def sparse(tree, at):
    def holes(name, size, data):
        fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=at)
        os.ftruncate(fd, size)
        for offset, content in data:
            os.pwrite(fd, content, offset)
        os.close(fd)
        tree.later.append((at, name, tree.time(), 0o644))

    holes(b"only a hole", 64 * MIB + 1, [])
    holes(b"data at both ends", 200 * MIB, [(0, b"start"), (200 * MIB - 3, b"end")])
    holes(b"data in the middle", 20 * MIB, [(7 * MIB + 11, tree.rng.randbytes(70_000))])


def names(tree, at):
    for number, name in enumerate(NAMES):
        tree.only_root(
            "names that this file system refuses", lambda n=number, b=name: tree.file(at, b, str(n).encode())
        )
    for byte in range(1, 256):
        if byte not in b"./":
            folder = tree.folder(at, b"byte " + bytes([byte]))
            tree.file(folder, bytes([byte]), bytes([byte]))
    # In the order of paths "sort/" stands between "sort.txt" and "sort0".
    for name in (b"sort.txt", b"sort-a", b"sort0", b"sort\n"):
        tree.file(at, name, b"")
    tree.file(tree.folder(at, b"sort"), b"inner", b"inner")
    for number in range(300):
        length = tree.rng.randrange(1, 60)
        name = "".join(chr(tree.rng.choice([*range(32, 0x2fa0), *range(0x1f300, 0x1f6ff)])) for _ in range(length))
        name = name.replace("/", "_").encode("utf-8", "ignore")[:255].decode("utf-8", "ignore")
        tree.only_root("names that this file system refuses", lambda n=name: tree.file(at, f"{n}".encode(), b"unicode"))


def deep(tree, at):
    """Paths of more than 4096 bytes, with something on each level."""
    long, short = at, at
    for level in range(24):
        long = tree.folder(long, b"%02d " % level + b"d" * 220)
        tree.file(long, b"file", b"level %d" % level)
    tree.link(long, b"link", b"../file")
    tree.file(long, b"f" * 255, b"the longest path")
    short = tree.folder(at, b"s")
    for _ in range(600):
        short = tree.folder(short, b"s")
    tree.file(short, b"bottom", b"bottom")


def wide(tree, at):
    for number in range(5000):
        tree.file(at, b"%d" % (number * 7919 % 100_000), b"%d" % (number // 3))


def links(tree, at):
    tree.file(at, b"target", b"target of links")
    os.close(tree.folder(at, b"folder"))
    for name, target in [
        (b"relative", b"target"), (b"upwards", b"../sizes/zeros"), (b"dangling", b"nowhere/at all"),
        (b"itself", b"itself"), (b"one", b"other"), (b"other", b"one"), (b"to folder", b"folder"),
        (b"to folder with slash", b"folder/"), (b"to parent", b".."), (b"to here", b"."), (b"to root", b"/"),
        (b"absolute", b"/etc/hostname"), (b"absolute dangling", b"/no/such/file"), (b"not text", b"\xff\xfe target"),
        (b"new\nline", b"new\nline"), (b"spaces", b"  "), (b"longest target", b"t/" * 2047 + b"t"),
        (b"looks like an escape", b"../../../../../../../../../tmp/x"), (b"to device", b"/dev/zero"),
        (b"to pipe", b"../special/pipe"), (b"not text \xff", b"target"),
    ]:
        tree.link(at, name, target)


def hard_links(tree, at):
    inner = tree.folder(at, b"inner")
    tree.file(at, b"a name", tree.rng.randbytes(300_000))
    for parent, name in [(at, b"second name"), (inner, b"third name"), (inner, b"\xff fourth name")]:
        os.link(b"a name", name, src_dir_fd=at, dst_dir_fd=parent)
    tree.link(at, b"link", b"target")
    tree.only_root("hard links of links",
                   lambda: os.link(b"link", b"hard link of the link", src_dir_fd=at, dst_dir_fd=at, follow_symlinks=False))


def special(tree, at):
    os.mkfifo(b"pipe", 0o640, dir_fd=at)
    os.mkfifo(b"pipe \xff\n", 0o640, dir_fd=at)
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(b"/proc/self/fd/%d/socket" % at)
    sock.close()
    tree.only_root("devices", lambda: os.mknod(b"null", stat.S_IFCHR | 0o666, os.makedev(1, 3), dir_fd=at))
    tree.only_root("devices", lambda: os.mknod(b"block device", stat.S_IFBLK | 0o600, os.makedev(7, 250), dir_fd=at))
    tree.file(at, b"an ordinary file", b"among them")


def modes(tree, at):
    for mode in sorted({*range(0, 0o1000, 7), 0o777, 0o1644, 0o2755, 0o4755, 0o6755, 0o7777, 0o4000, 0o2644, 0o1000}):
        if mode & 0o400 or ROOT:
            tree.file(at, b"file %04o" % mode, b"%o" % mode, mode)
    for mode in (0o500, 0o555, 0o700, 0o711, 0o1777, 0o2775, 0o4755, 0o7777, *((0o000, 0o100) if ROOT else ())):
        folder = tree.folder(at, b"folder %04o" % mode, mode)
        tree.file(folder, b"inside", b"inside", 0o600)


def times(tree, at):
    for name, mtime in TIMES:
        tree.file(at, b"file " + name.encode(), name.encode(), mtime=mtime)
        os.close(tree.folder(at, b"folder " + name.encode(), mtime=mtime))
        tree.link(at, b"link " + name.encode(), b"nowhere", mtime=mtime)


def owners(tree, at):
    for name, user, group in [
        (b"daemon", 1, 1), (b"stranger", 54_321, 54_322), (b"group adm", 0, 4), (b"largest", 2**32 - 2, 2**32 - 2),
        (b"nobody", 65534, 65534),
    ]:
        tree.file(at, b"file of " + name, name, 0o4755)
        os.close(tree.folder(at, b"folder of " + name, 0o2750))
        tree.link(at, b"link of " + name, b"file of " + name)
        for kind in (b"file", b"folder", b"link"):
            tree.only_root(
                "foreign owners",
                lambda e=kind + b" of " + name, u=user, g=group: os.chown(e, u, g, dir_fd=at, follow_symlinks=False),
            )


def attributes(tree, at):
    tree.file(at, b"file", b"with attributes")
    tree.file(at, b"list", b"with an access control list", 0o640)
    tree.file(at, b"program", b"with a capability", 0o755)
    tree.file(at, b"one large value", b"")
    tree.file(at, b"empty value", b"")
    tree.file(at, b"read only", b"with an attribute", 0o400)
    os.close(tree.folder(at, b"folder"))
    os.close(tree.folder(at, b"folder with default list"))
    tree.link(at, b"link", b"file")

    def put(entry, attribute, value):
        path = b"/proc/self/fd/%d/%s" % (at, entry)
        tree.only_root(
            f"attributes like {attribute.decode(errors='replace').split('.')[0]}.*",
            lambda: os.setxattr(path, attribute, value, follow_symlinks=False),
        )

    put(b"file", b"user.comment", "grün".encode())
    put(b"file", b"user.binary", bytes(range(256)))
    put(b"file", b"user.not-text-\xff\xfe", b"odd name")
    put(b"file", b"user.new\nline", b"odd name")
    put(b"file", b"user.zero", b"\0")
    for number in range(20):
        put(b"file", b"user.n%d" % number, tree.rng.randbytes(20))
    put(b"one large value", b"user.large", tree.rng.randbytes(3000))
    put(b"empty value", b"user.empty", b"")
    put(b"read only", b"user.comment", b"read only")
    put(b"folder", b"user.folder", b"yes")
    put(b"folder", b"trusted.folder", b"yes")
    put(b"link", b"trusted.link", b"on the link itself")
    # cap_net_bind_service, permitted and effective (linux/capability.h, vfs_cap_data revision 2)
    put(b"program", b"security.capability", struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0))
    # Owner, user 1, group, mask, others (linux/posix_acl_xattr.h)
    entries = [(1, 6, 2**32 - 1), (2, 7, 1), (4, 4, 2**32 - 1), (16, 6, 2**32 - 1), (32, 0, 2**32 - 1)]
    acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    put(b"list", b"system.posix_acl_access", acl)
    put(b"folder with default list", b"system.posix_acl_default", acl)
    # The list's mask is the group's part of the mode from now on.
    tree.later = [
        (parent, name, mtime, 0o660 if (parent, name) == (at, b"list") else mode)
        for parent, name, mtime, mode in tree.later
    ]


def generation(number, count):
    """A content that proves itself whole: its first line is the hash of the rest."""
    body = (b"file %d generation %d\n" % (number, count)) * (200 + 37 * (count % 50))
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def log_line(number):
    return b"%09d %s\n" % (number, hashlib.sha256(b"%d" % number).hexdigest().encode())


def disturb(path, seed):
    """Changes what is below `live` in all the ways in which files change, about a thousand times a second."""
    rng = random.Random(seed)
    live = os.path.join(path, b"live")
    log = open(os.path.join(live, b"log"), "ab", buffering=0)
    big = open(os.path.join(live, b"big"), "ab", buffering=0)
    step = 0
    # So long that reading it takes a moment.
    for _ in range(1500):
        big.write(log_line(0) * 1000)
    while True:
        for _ in range(20):
            log.write(log_line(step))
            step += 1
        if big.tell() < 400 * MIB:
            big.write(log_line(step) * 1000)
        number = rng.randrange(50)
        name = os.path.join(live, b"replaced %d" % number)
        with open(name + b".new", "wb") as file:
            file.write(generation(number, step))
        os.rename(name + b".new", name)
        name = os.path.join(live, b"comes and goes %d" % rng.randrange(50))
        if os.path.exists(name):
            os.unlink(name)
        else:
            with open(name, "wb") as file:
                file.write(b"x" * 1000)
        with open(os.path.join(live, b"overwritten"), "r+b") as file:
            file.seek(rng.randrange(24 * MIB))
            file.write(b"changed")
        with open(os.path.join(live, b"grows"), "ab") as file:
            if file.tell() < 100 * MIB:
                file.write(rng.randbytes(10_000))
        name = os.path.join(live, b"shrinks")
        os.truncate(name, max(0, os.path.getsize(name) - 10_000))
        folder = os.path.join(live, b"folder %d" % rng.randrange(5))
        if os.path.isdir(folder):
            shutil.rmtree(folder)
        else:
            os.makedirs(os.path.join(folder, b"deeper"))
            with open(os.path.join(folder, b"deeper", b"file"), "wb") as file:
                file.write(b"short life")
        time.sleep(0.001)


def check_live(original, restored):
    """Each file must be what it was at some moment, as far as reading a changing file can give that at all."""
    live = os.path.join(restored, b"live")
    wrong = []

    def need(condition, what):
        if not condition:
            wrong.append(what)

    with open(os.path.join(live, b"log"), "rb") as file:
        log = file.read()
    with open(os.path.join(original, b"live", b"log"), "rb") as file:
        need(file.read(len(log)) == log, "log: not the beginning of what the log is now")
    with open(os.path.join(live, b"big"), "rb") as file, open(os.path.join(original, b"live", b"big"), "rb") as now:
        size = 0
        while part := file.read(MIB):
            size += len(part)
            need(now.read(len(part)) == part, f"big: not the beginning of what it is now, before byte {size}")
    whole = 0
    for number in range(50):
        path = os.path.join(live, b"replaced %d" % number)
        try:
            with open(path, "rb") as file:
                content = file.read()
        except FileNotFoundError:
            wrong.append(f"replaced {number}: it was there all the time")
            continue
        head, _, body = content.partition(b"\n")
        need(hashlib.sha256(body).hexdigest().encode() == head, f"replaced {number}: a mixture")
        whole += 1
    some = 0
    for number in range(50):
        path = os.path.join(live, b"comes and goes %d" % number)
        if os.path.exists(path):
            some += 1
            with open(path, "rb") as file:
                need(file.read() in (b"x" * 1000, b""), f"comes and goes {number}: another content")
    for name in (b"grows", b"shrinks", b"overwritten"):
        need(os.path.exists(os.path.join(live, name)), f"{name.decode()}: missing")
    print(f"files that changed under way: log {len(log)} and big {size} bytes long, {whole} replaced, {some} of those "
          "that come and go")
    for line in wrong:
        print(line)
    print("possible" if not wrong else "impossible")
    return 1 if wrong else 0


def main(arguments):
    match arguments:
        case ["build", path, *seed]:
            build(os.fsencode(path), int(*seed) if seed else 1)
        case ["disturb", path, *seed]:
            disturb(os.fsencode(path), int(*seed) if seed else 1)
        case ["check-live", original, restored]:
            return check_live(os.fsencode(original), os.fsencode(restored))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    import resource

    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    sys.exit(main(sys.argv[1:]))
