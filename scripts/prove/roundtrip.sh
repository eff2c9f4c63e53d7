#!/usr/bin/env bash
# Backs up real trees, verifies, restores them into an empty folder, and compares every byte and all metadata.
#
#   roundtrip.sh                      all trees
#   roundtrip.sh torture large …      some of them
#
# repository  a copy of this repository with its target folder (a copy, because a build may change the original)
# many        50,000 files or more: /usr/share or /usr when they are large enough, else /usr/share and made files
# large       2 GiB in 8 files, made from a seed
# torture     one of everything that gives trouble, by make_torture.py; with blocks of 1 MiB and of 1 KiB
# live        the same while a part of it is being changed
# user        the same as an ordinary user, with files and folders that this user may not read (only when started as root)
#
# PROVE_MANY=<folder>, PROVE_LARGE=<folder> name other trees, which are only read. See lib.sh for further variables.
# Backups are encrypted. Exit code 0: all equal; 1: a difference or a wrong exit code; 2: something is missing.
. "$(dirname "$0")/lib.sh"
need python3 python3-minimal time time setpriv util-linux awk mawk
seed=${PROVE_SEED:-1}
make_work
find_larder

# run <label> <verb> <arguments…>: larder with key and state of the current tree, measured.
run() {
    local label=$1 verb=$2
    shift 2
    measured "$label" "${as_user[@]}" "$larder" "$verb" "file://$work/destination" "$@" \
        --passphrase="$passphrase" --dbpath="$work/state/catalog.sqlite" --full-result
}
as_user=()

count() {
    printf '%s: %s\n' "$1" "$(find "$1" -xdev -printf '%y %s\n' | awk '
        { n[$1]++; if ($1 == "f") bytes += $2 }
        END { printf "%d files with %.0f bytes, %d folders, %d links, %d others", n["f"], bytes, n["d"], n["l"],
              n["p"] + n["s"] + n["c"] + n["b"] }')"
}

fresh() {
    rm -rf "$work/destination" "$work/state" "$work/restored"
    # What is written now is not to slow down what is measured.
    sync
    mkdir "$work/state"
}

# prove <tree> <backup codes> [options of backup]: everything after the tree is there. The whole path is kept below the
# target, so that the tree's own folder is compared as well.
prove() {
    local tree=$1 codes=$2
    shift 2
    fresh
    run backup backup "$tree" "$@"
    expect "$codes" backup
    grep -E '^ +(Files added|Data uploaded):' "$log" || true
    du -sh --apparent-size "$work/destination" | cut -f 1 | sed 's/^/stored: /'
    if [ -z "${changing:-}" ]; then
        run "backup again" backup "$tree" "$@"
        expect "$again" "a second backup of an unchanged tree"
    fi
    run "test all" test all
    expect 0 "test all"
    restore "$tree"
}

again=1

restore() {
    run restore restore --restore-path="$work/restored" --dont-compress-restore-paths --restore-permissions \
        --restore-symlink-metadata
    expect 0 restore
}

# compare <tree> [options]
compare() {
    local tree=$1
    shift
    "$prove/compare_trees.py" "$@" "$tree" "$work/restored$tree" || fail "$tree: the restored tree is different"
}

repository() {
    need_room 30
    # A file that vanishes while it is copied is no fault.
    cp -a "$repository" "$work/tree" 2>"$work/log" || sed 's/^/note: /' "$work/log" | head -n 5
    count "$work/tree"
    # By default a folder with a CACHEDIR.TAG, as cargo makes it, is left out.
    prove "$work/tree" 0 --ignore-filenames=no-such-name
    compare "$work/tree"
    rm -rf "$work/tree"
}

many() {
    local tree=${PROVE_MANY:-} candidate
    for candidate in /usr/share /usr; do
        [ -n "$tree" ] || [ "$(find "$candidate" -xdev -type f | wc -l)" -lt 50000 ] || tree=$candidate
    done
    if [ -z "$tree" ]; then
        tree=$work/tree
        mkdir "$tree"
        cp -a /usr/share "$tree/share"
        python3 - "$tree/made" $((50000 - $(find "$tree" -type f | wc -l))) "$seed" <<'PYTHON'
import os, random, sys
folder, count, rng = sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3]))
for number in range(count):
    path = f"{folder}/{number // 1000:03}/{number // 50 % 20:02}"
    os.makedirs(path, exist_ok=True)
    with open(f"{path}/{number}.txt", "wb") as file:
        file.write(rng.randbytes(rng.randrange(4000)))
PYTHON
    fi
    need_room 15
    count "$tree"
    prove "$tree" 0
    compare "$tree"
    rm -rf "$work/tree"
}

large() {
    local tree=${PROVE_LARGE:-}
    need_room 8
    if [ -z "$tree" ]; then
        tree=$work/tree
        mkdir "$tree"
        # Half noise, a quarter that compresses, a quarter that repeats.
        python3 - "$tree" "$seed" <<'PYTHON'
import random, sys
MIB = 1 << 20
rng = random.Random(int(sys.argv[2]))
first = [rng.randbytes(MIB) for _ in range(64)]
for number in range(8):
    with open(f"{sys.argv[1]}/large {number}", "wb") as file:
        for part in range(256):
            match part % 4:
                case 0 | 1:
                    file.write(rng.randbytes(MIB))
                case 2:
                    line = b"%016x all happy families are alike\n" % rng.getrandbits(64)
                    file.write((line * (MIB // len(line) + 1))[:MIB])
                case _:
                    file.write(first[part // 4])
        file.write(rng.randbytes(rng.randrange(MIB)))
PYTHON
    fi
    count "$tree"
    prove "$tree" 0
    compare "$tree"
    rm -rf "$work/tree"
}

torture() {
    need_room 2
    "$prove/make_torture.py" build "$work/tree" "$seed"
    count "$work/tree"
    prove "$work/tree" 0
    compare "$work/tree"
    echo "-- the same with blocks of 1 KiB: many blocklists, metadata of several blocks"
    prove "$work/tree" 0 --blocksize=1kb
    compare "$work/tree"
    rm -rf "$work/tree"
}

live() {
    need_room 4
    "$prove/make_torture.py" build "$work/tree" "$seed"
    "$prove/make_torture.py" disturb "$work/tree" "$seed" &
    disturber=$!
    # Until it is past its beginning.
    until [ -s "$work/tree/live/log" ]; do sleep 0.1; done
    changing=1 prove "$work/tree" "0 2"
    kill "$disturber"
    wait "$disturber" 2>/dev/null || true
    disturber=
    "$prove/make_torture.py" check-live "$work/tree" "$work/restored$work/tree" || fail "files that changed under way"
    # Below `live` nothing can be equal; the folder itself has changed as well.
    compare "$work/tree" --except live
    rm -rf "$work/tree"
}

# As user 65534: what may not be read is told and left out, and everything else is equal.
user() {
    if [ "$(id -u)" != 0 ]; then
        echo "left out: only root can become another user"
        return
    fi
    need_room 2
    chmod 711 "$work"
    mkdir "$work/own"
    chown 65534:65534 "$work/own"
    local nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    "${nobody[@]}" env HOME="$work/own" "$prove/make_torture.py" build "$work/own/tree" "$seed"
    local tree=$work/own/tree
    mkdir -p "$tree/locked/folder" "$tree/locked/not listed"
    for name in "of root" "without permission" folder/inside "not listed/inside"; do
        echo secret >"$tree/locked/$name"
    done
    chown -R 65534:65534 "$tree/locked"
    chown root:root "$tree/locked/of root"
    chmod 600 "$tree/locked/of root"
    chmod 000 "$tree/locked/without permission" "$tree/locked/folder"
    chmod 300 "$tree/locked/not listed"
    count "$tree"
    fresh
    mkdir "$work/destination" "$work/restored"
    chown 65534:65534 "$work/destination" "$work/state" "$work/restored"
    as_user=("${nobody[@]}" env HOME="$work/own")
    run backup backup "$tree"
    # Files with errors make the code 3.
    expect 3 "backup with files that may not be read"
    for name in "of root" "without permission" folder "not listed"; do
        grep -F "$tree/locked/$name" "$log" | head -n 1 || fail "nothing is said about locked/$name"
    done
    run "test all" test all
    expect 0 "test all"
    restore "$tree"
    as_user=()
    compare "$tree" --except locked
    rm -rf "$work/own"
}

[ $# -gt 0 ] || set -- torture live user large many repository
for name in "$@"; do
    case $name in
        repository | many | large | torture | live | user) ;;
        *) fail "unknown tree: $name" ;;
    esac
done
for name in "$@"; do
    say "$name"
    "$name"
done
say "all equal: $*"
