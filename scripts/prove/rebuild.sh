#!/usr/bin/env bash
# Measures how long it takes to build the local catalog anew from a large set: 10^6 blocks, 10^6 entries.
#
#   rebuild.sh [blocks [files]]
#
# The sets are made by crates/testkit/examples/synthetic_set.rs: without encryption and with it, and as Duplicati
# writes them (deflate, entries not sorted). Their data volumes are holes; a rebuild that read one would fail.
# PROVE_RUNS=<n> runs of each (3); the best one counts, since other work on the machine can only add. See lib.sh for
# further variables, and SYNTHETIC_SET=<path> for a generator that is built already.
# Exit code 1: more than 10 s or more than 256 MiB, or a wrong result.
. "$(dirname "$0")/lib.sh"
need python3 python3-minimal time time awk mawk
blocks=${1:-1000000}
files=${2:-1000000}
runs=${PROVE_RUNS:-3}
most_seconds=10
most_mib=256
make_work
need_room 2
find_larder
if [ -z "${SYNTHETIC_SET:-}" ]; then
    cargo build --locked --release --manifest-path "$repository/Cargo.toml" --package larder-testkit --example synthetic_set
    SYNTHETIC_SET=${CARGO_TARGET_DIR:-$repository/target}/release/examples/synthetic_set
fi

# A figure of the JSON result.
figure() {
    python3 -c 'import json, sys; text = open(sys.argv[1]).read(); print(json.loads(text[text.index("{"):])[sys.argv[2]])' \
        "$log" "$1"
}

missed=0
for kind in plain aes duplicati; do
    say "$kind"
    set=$work/$kind
    case $kind in
        plain) made=() key=(--no-encryption) ;;
        aes) made=("--passphrase=$passphrase") key=("--passphrase=$passphrase") ;;
        duplicati) made=("--passphrase=$passphrase" --method=deflate --order=duplicati) key=("--passphrase=$passphrase") ;;
    esac
    "$SYNTHETIC_SET" "$set" --blocks="$blocks" --files="$files" "${made[@]}"
    best=
    for _ in $(seq "$runs"); do
        rm -rf "$work/state"
        mkdir "$work/state"
        measured repair "$larder" repair "file://$set" "${key[@]}" --dbpath="$work/state/catalog.sqlite" --json \
            --quiet-console
        expect 0 repair
        [ "$(figure Blocks)" = "$blocks" ] || fail "$(figure Blocks) blocks instead of $blocks"
        if [ -z "$best" ] || awk "BEGIN { exit !($wall < $best) }"; then best=$wall; fi
        [ "$rss" -le $most_mib ] || missed=1
    done
    du -sh "$work/state" | cut -f 1 | sed 's/^/catalog: /'
    # With the catalog in place the same command has next to nothing to do.
    measured "repair again" "$larder" repair "file://$set" "${key[@]}" --dbpath="$work/state/catalog.sqlite"
    expect 0 "repair again"
    measured "list a folder" "$larder" list "file://$set" '/home/user07/*index*00001*' "${key[@]}" --dbpath="$work/state/catalog.sqlite"
    expect 0 list
    awk "BEGIN { exit !($best <= $most_seconds) }" || missed=1
    echo "best: $best s"
    rm -rf "$set"
done
[ $missed = 0 ] || fail "more than $most_seconds s or $most_mib MiB"
say "within $most_seconds s and $most_mib MiB"
