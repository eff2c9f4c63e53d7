#!/usr/bin/env bash
# Runs Larder on everything that crates/testkit/examples/hostile_inputs.rs makes: small files of a hostile destination that
# ask for gigabytes or hours (docs/threat-model.md). Prints the peak of resident memory and the time of each command, and
# fails when one takes more than 512 MiB, more than 60 seconds, or crashes.
#
#   scripts/hostile-inputs.sh [PROFILE]      dev (the default) or release
#
# HOSTILE_COMMANDS chooses the commands (all four without it), HOSTILE_INPUTS a folder with inputs that were made before.
set -euo pipefail

cd "$(dirname "$0")/.."
profile=${1:-dev}
folder=$([ "$profile" = dev ] && echo debug || echo "$profile")
cargo build --quiet --profile "$profile" --package larder-cli
# The inputs of an earlier run may be named; making them takes a while.
: "${HOSTILE_INPUTS:=$(mktemp -d)}"
if [ -z "$(ls -A "$HOSTILE_INPUTS")" ]; then
    cargo run --quiet --profile "$profile" --package larder-testkit --example hostile_inputs -- "$HOSTILE_INPUTS"
fi
larder=${CARGO_TARGET_DIR:-target}/$folder/larder
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

most_mib=512
most_seconds=60
failed=0
printf '%-36s %-8s %9s %9s %8s %5s\n' input command 'bytes' 'peak MiB' seconds code
for input in "$HOSTILE_INPUTS"/*/; do
    name=$(basename "$input")
    # Sparse files count by what is in them.
    bytes=$(du --block-size=1 --summarize "$input" | cut -f1)
    case $name in
        *rounds | *gpg*) options=(--passphrase=pw) ;;
        *) options=(--no-encryption) ;;
    esac
    for command in ${HOSTILE_COMMANDS:-list restore backup test}; do
        rm -rf "$work"
        mkdir -p "$work/home" "$work/src"
        cp -r "$input" "$work/in"
        echo new >"$work/src/new"
        url=file://$work/in
        case $command in
            list) arguments=(list "$url" '*') ;;
            restore) arguments=(restore "$url" '*good' "--restore-path=$work/out") ;;
            backup) arguments=(backup "$url" "$work/src") ;;
            test) arguments=(test "$url" all) ;;
        esac
        started=$(date +%s.%N)
        HOME=$work/home "$larder" "${arguments[@]}" "${options[@]}" >"$work/log" 2>&1 &
        pid=$!
        peak=0
        while kill -0 "$pid" 2>/dev/null; do
            now=$(awk '/VmHWM/ { print int($2 / 1024) }' "/proc/$pid/status" 2>/dev/null || true)
            [ -n "$now" ] && [ "$now" -gt "$peak" ] && peak=$now
            sleep 0.01
        done
        code=0
        wait "$pid" || code=$?
        seconds=$(awk "BEGIN { printf \"%.1f\", $(date +%s.%N) - $started }")
        printf '%-36s %-8s %9s %9s %8s %5s\n' "$name" "$command" "$bytes" "$peak" "$seconds" "$code"
        if [ "$peak" -gt "$most_mib" ] || [ "$code" -gt 100 ] ||
            awk "BEGIN { exit !($seconds > $most_seconds) }"; then
            echo "    beyond the bounds of this test"
            tail -n 5 "$work/log"
            failed=1
        fi
        # What is good in a set is restored whatever lies beside it.
        if [ "$command" = restore ] && [[ $name != *gpg* ]] &&
            ! find "$work/out" -name good -size 4c 2>/dev/null | grep -q .; then
            echo "    the good file was not restored"
            tail -n 5 "$work/log"
            failed=1
        fi
    done
done
exit "$failed"
