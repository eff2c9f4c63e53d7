#!/usr/bin/env bash
# Builds Larder and makes a real backup on the local disk: two versions, a verification, a restore that is compared
# file by file, and a restore after all local state was thrown away.
#
#   scripts/demo.sh             with a small tree that the script makes
#   scripts/demo.sh ~/Documents with a folder of yours, which is only read
#
# Everything is written below a temporary folder, which is removed at the end; LARDER_DEMO_KEEP=1 keeps it.
set -euo pipefail

cd "$(dirname "$0")/.."
here=$PWD

missing=()
command -v cargo >/dev/null || missing+=("cargo, the Rust tool chain: https://rustup.rs")
command -v cc >/dev/null || missing+=("a C compiler: apt-get install gcc libc6-dev")
if [ ${#missing[@]} -gt 0 ]; then
    printf 'missing: %s\n' "${missing[@]}" >&2
    exit 1
fi

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }

say "Building (the first time takes some minutes)"
cargo build --locked --release --package larder-cli
larder=${CARGO_TARGET_DIR:-$here/target}/release/larder

work=$(mktemp -d "${TMPDIR:-/tmp}/larder-demo.XXXXXX")
cleanup() {
    if [ -n "${LARDER_DEMO_KEEP:-}" ]; then
        echo "kept: $work"
    else
        chmod -R u+rwX "$work" && rm -rf "$work"
    fi
}
trap cleanup EXIT

# Runs larder with the passphrase and the state of the demo, showing the command. Code 1 of a backup says that nothing
# had to be uploaded; code 2 that there were warnings, which were printed.
run() {
    local code=0
    printf '$ larder %s\n' "$*"
    "$larder" "$@" --passphrase="a demo, no secret" --dbpath="$work/state.sqlite" || code=$?
    [ "$code" -le 2 ] || { echo "larder ended with code $code" >&2; exit 1; }
}

# Prints type, permissions, time, link target and name of everything below a folder.
facts() {
    (cd "$1" && find . -mindepth 1 \( -type f -o -type d -o -type l \) -printf '%y %m %T@ %l %p\n' | sed -E 's/^([^ ]+ [^ ]+ [0-9]+\.[0-9]{7})[0-9]*/\1/' | LC_ALL=C sort)
}

# Compares two trees, contents and metadata.
compare() {
    diff -r --no-dereference "$1" "$2"
    diff <(facts "$1") <(facts "$2")
    echo "equal: $(find "$1" -type f | wc -l) files, content, names, permissions, times and links"
}

own=${1:-}
if [ -n "$own" ]; then
    source=$(cd "$own" && pwd -P)
else
    source=$work/home
    say "Making a small tree"
    mkdir -p "$source/letters/2024" "$source/pictures/ümläut 😀" "$source/empty folder"
    for n in $(seq 200); do
        seq "$n" $((n * 7)) > "$source/letters/2024/letter $n.txt"
    done
    head -c 5000000 /dev/urandom > "$source/pictures/noise.raw"
    cp "$source/pictures/noise.raw" "$source/pictures/ümläut 😀/the same noise.raw"
    truncate -s 20000000 "$source/sparse image"
    : > "$source/empty file"
    printf '#!/bin/sh\necho hello\n' > "$source/program" && chmod 750 "$source/program"
    chmod 400 "$source/letters/2024/letter 7.txt"
    ln -s "letters/2024/letter 1.txt" "$source/link"
    ln -s "no such file" "$source/dangling link"
    touch -d '1999-12-31 23:59:59.123456789' "$source/letters/2024/letter 9.txt"
    du -sh --apparent-size "$source"
fi
target=file://$work/destination

say "First backup"
run backup "$target" "$source"

if [ -z "$own" ]; then
    say "A few changes, and a second backup: only they are uploaded"
    echo "one line more" >> "$source/letters/2024/letter 100.txt"
    rm "$source/letters/2024/letter 101.txt"
    mv "$source/pictures/noise.raw" "$source/pictures/renamed noise.raw"
    run backup "$target" "$source"
fi

say "What is there"
run list-filesets "$target"
find "$work/destination" -type f -printf '%f\n' | sed 's/^[^.]*//' | sort | uniq -c
du -sh "$work/destination"

say "Verifying every volume"
run test "$target" all

say "Restoring the newest version, and comparing"
run restore "$target" '*' --restore-path="$work/restored" --restore-permissions
compare "$source" "$work/restored"

say "Throwing all local state away, and restoring again"
rm -f "$work"/state.sqlite*
if [ -z "$own" ]; then
    run restore "$target" '*/letter 101.txt' --version=1 --restore-path="$work/one"
    seq 101 707 | diff - "$work/one/letter 101.txt"
    echo "equal: the letter that was deleted before the second backup"
fi
rm -f "$work"/state.sqlite*
run restore "$target" '*' --restore-path="$work/again" --restore-permissions
compare "$source" "$work/again"

say "All went well."
