#!/usr/bin/env bash
# Deletes, truncates, changes and exchanges the local state in many ways; the next command must just work.
#
#   local-state.sh [flips]      so many flipped bits, each in a run of its own (20)
#
# A set of two versions is made once. Then, for each kind of damage and each of the commands backup, list and restore:
# state and destination are put back as they were, the state is damaged, and the command runs with its ordinary
# arguments. It must end with code 0; the list must be the same, the restored tree equal. After the backup all volumes are
# tested, the new version is compared, and no data may have been uploaded again. PROVE_SEED chooses the places.
. "$(dirname "$0")/lib.sh"
need python3 python3-minimal time time awk mawk
seed=${PROVE_SEED:-1}
flips=${1:-20}
make_work
need_room 1
find_larder
clean=$work/clean
url=file://$work/destination

# Python does the damage, so that it is the same everywhere.
cat >"$work/damage.py" <<'PYTHON'
import os, random, sqlite3, sys
what, path, seed = sys.argv[1], sys.argv[2], int(sys.argv[3])
rng = random.Random(seed)

def flip(name, count):
    with open(name, "r+b") as file:
        size = os.path.getsize(name)
        for _ in range(count):
            at = rng.randrange(size)
            file.seek(at)
            byte = file.read(1)[0] ^ 1 << rng.randrange(8)
            file.seek(at)
            file.write(bytes([byte]))

size = os.path.getsize(path) if os.path.exists(path) else 0
match what.split():
    case ["truncate", to]:
        os.truncate(path, {"half": size // 2 + 123, "half-pages": size // 8192 * 4096, "less-1": size - 1,
                           "less-page": size - 4096}.get(to) if not to.isdigit() else int(to))
    case ["flip", count]:
        flip(path, int(count))
    case ["flip-file", ending]:
        flip(path + ending, 1)
    case ["append", count]:
        with open(path, "ab") as file:
            file.write(rng.randbytes(int(count)))
    case ["zero-page"]:
        with open(path, "r+b") as file:
            file.seek(4096 * rng.randrange(size // 4096))
            file.write(bytes(4096))
    case ["zeros"]:
        with open(path, "r+b") as file:
            file.write(bytes(size))
    case ["noise"]:
        with open(path, "r+b") as file:
            file.write(rng.randbytes(size))
    case ["text"]:
        with open(path, "w") as file:
            file.write("this is no database\n")
    case ["foreign"]:
        os.unlink(path)
        database = sqlite3.connect(path)
        database.execute("CREATE TABLE letters (text)")
        database.commit()
        database.close()
    case ["log"]:
        with open(path + "-wal", "wb") as file:
            file.write(rng.randbytes(100_000))
    case _:
        sys.exit(f"unknown damage: {what}")
PYTHON

larder() {
    local label=$1 verb=$2
    shift 2
    measured "$label" "$larder" "$verb" "$url" "$@" --passphrase="$passphrase" --server-datafolder="$work/data" \
        >"$work/took"
}

# The catalog's file; its name is made by the program.
catalog() { find "$work/data" -name '*.sqlite' | head -n 1; }

put_back() {
    rm -rf "$work/destination" "$work/data" "$work/tree" "$work/restored"
    cp -a "$clean/destination" "$clean/data" "$clean/tree" "$work/"
}

say "making a set of two versions"
"$prove/make_torture.py" build "$work/tree" "$seed" >/dev/null
# Small, so that there is time for many runs.
rm -rf "$work/tree/live" "$work/tree/still/"{sparse,deep,wide}
larder backup backup "$work/tree"
expect 0 backup
mkdir "$clean"
cp -a "$work/data" "$clean/older data"
echo "one more" >"$work/tree/still/one more"
head -c 3000000 /dev/urandom >"$work/tree/still/large"
larder backup backup "$work/tree"
expect 0 backup
cp -a "$work/destination" "$work/data" "$work/tree" "$clean/"
# As a killed run leaves it: the same content, but nobody knows that it was closed.
cp -a "$clean/data" "$clean/unclosed data"
find "$clean/unclosed data" -name '*.sum' -delete
put_back
larder list list '*'
expect 0 list
# What is found, without what is told on the way.
entries() { grep -a "$work/tree" "$log" | sort; }
entries >"$work/expected"
[ "$(wc -l <"$work/expected")" -gt 1000 ] || fail "the list is too short"
cat "$work/took"
destination_bytes() { find "$work/destination" -type f -printf '%s\n' | awk '{ n += $1 } END { printf "%d", n }'; }

# Another backup's catalog, which fits its own destination only.
mkdir "$work/other"
echo other >"$work/other/file"
measured backup "$larder" backup "file://$work/other destination" "$work/other" --passphrase="$passphrase" \
    --server-datafolder="$work/other data" >/dev/null
expect 0 "another backup"

# damage <name> [seed]
damage() {
    local path
    path=$(catalog)
    case $1 in
        nothing) ;;
        "everything deleted") rm -rf "$work/data" ;;
        "catalog deleted") rm -f "$path" ;;
        "catalog and its companions deleted") rm -f "$path"* ;;
        "checksums deleted") rm -f "$path.sum" ;;
        "checksums flipped") python3 "$work/damage.py" "flip-file .sum" "$path" "$2" ;;
        "unclosed, flip "*)
            rm -rf "$work/data"
            cp -a "$clean/unclosed data" "$work/data"
            python3 "$work/damage.py" "${1#unclosed, }" "$(catalog)" "$2"
            ;;
        "unclosed")
            rm -rf "$work/data"
            cp -a "$clean/unclosed data" "$work/data"
            ;;
        "of before the last backup")
            rm -rf "$work/data"
            cp -a "$clean/older data" "$work/data"
            ;;
        "of another backup") cp "$(find "$work/other data" -name '*.sqlite')" "$path" ;;
        "of another backup, with checksums")
            cp "$(find "$work/other data" -name '*.sqlite')" "$path"
            cp "$(find "$work/other data" -name '*.sum')" "$path.sum"
            ;;
        "list deleted") rm "$work/data"/larder/dbconfig.json ;;
        "list "*) python3 "$work/damage.py" "${1#list }" "$work/data/larder/dbconfig.json" "$2" ;;
        *) python3 "$work/damage.py" "$1" "$path" "$2" ;;
    esac
}

runs=0
# try <name> [seed]
try() {
    local name=$1 number=${2:-$seed} what="$1${2:+, place $2}"
    put_back
    damage "$name" "$number"
    larder list list '*'
    expect 0 "list after: $what"
    entries | cmp -s - "$work/expected" || fail "the list after: $what"

    put_back
    damage "$name" "$number"
    larder restore restore --restore-path="$work/restored" --dont-compress-restore-paths --restore-permissions \
        --restore-symlink-metadata
    expect 0 "restore after: $what"
    "$prove/compare_trees.py" "$work/tree" "$work/restored$work/tree" >"$work/log" || fail "$(cat "$work/log") after: $what"

    put_back
    damage "$name" "$number"
    echo "changed" >"$work/tree/still/one more"
    local before after
    before=$(destination_bytes)
    larder backup backup "$work/tree"
    expect 0 "backup after: $what"
    local told
    told=$(grep -a -m 1 -i catalog "$log" || true)
    after=$(destination_bytes)
    # The list, one file, one folder and what describes them; not the 100 MB of data.
    [ $((after - before)) -lt 1500000 ] || fail "$((after - before)) bytes were uploaded after: $what"
    larder "test all" test all
    expect 0 "test all after: $what"
    rm -rf "$work/restored"
    larder restore restore --restore-path="$work/restored" --dont-compress-restore-paths --restore-permissions \
        --restore-symlink-metadata
    expect 0 "restore after backup after: $what"
    "$prove/compare_trees.py" "$work/tree" "$work/restored$work/tree" >"$work/log" \
        || fail "$(cat "$work/log") after backup after: $what"
    larder restore restore --version=1 --restore-path="$work/before" --dont-compress-restore-paths --restore-permissions \
        --restore-symlink-metadata
    expect 0 "restore of the version before after: $what"
    "$prove/compare_trees.py" "$clean/tree" "$work/before$work/tree" >"$work/log" \
        || fail "$(cat "$work/log") in the version before after: $what"
    rm -rf "$work/before"
    runs=$((runs + 5))
    printf '%-36s works   %s\n' "$what" "$told"
}

say "damage"
try nothing ""
for name in "everything deleted" "catalog deleted" "catalog and its companions deleted" "checksums deleted" unclosed \
    "of before the last backup" "of another backup" "of another backup, with checksums" \
    "truncate 0" "truncate 1" "truncate 99" "truncate 4096" "truncate half" "truncate half-pages" "truncate less-1" \
    "truncate less-page" "append 1" "append 4096" zero-page zeros noise text foreign log \
    "list deleted" "list truncate 0" "list truncate half" "list text" "list noise"; do
    try "$name" ""
done
for n in $(seq "$flips"); do
    try "flip 1" "$n"
    try "unclosed, flip 1" "$n"
done
for n in $(seq 5); do
    try "flip 20" "$n"
    try "unclosed, flip 20" "$n"
    try "checksums flipped" "$n"
    try "list flip 1" "$n"
done
say "all $runs commands worked"
