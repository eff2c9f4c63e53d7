#!/usr/bin/env bash
# Measures memory and time with very many files and very many blocks, and what each of them adds.
#
#   million.sh [count]                  a million of each; half of them is measured too, for the growth
#
# PROVE_PARTS=files,versions,blocks     what is done
#
# files     <count> files of 60 bytes, each with blocks of its own for content and metadata: first backup, unchanged backup,
#           the catalog built anew, a restore of everything, a folder of a version listed
# versions  19 further versions with 1 % of the files changed: the catalog's size, a folder of the oldest one, all paths of all
#           versions, two compared
# blocks    <count> blocks of 1 KiB in 8 files: the same steps
#
# COMPARE_VERSIONS=<path> names crates/catalog/examples/compare.rs when it is built already. Backups are encrypted and made with the default options. See lib.sh for further variables.
# Exit code 1: a step took more than 256 MiB, grew by more than 32 bytes for each file or block, or had a temporary file
# larger than a volume and than the version list; or a restored tree is not equal.
. "$(dirname "$0")/lib.sh"
need python3 python3-minimal time time awk mawk
count=${1:-1000000}
parts=${PROVE_PARTS:-files,versions,blocks}
half=$((count / 2))
most_mib=256
most_growth=32
# 50 MiB, the default, for each of the workers.
most_file=$((50 * $(nproc)))
make_work
need_room $((6 + count * 14 / 1000000))
find_larder
has() { case ",$parts," in *",$1,"*) ;; *) return 1 ;; esac; }

if has versions && [ -z "${COMPARE_VERSIONS:-}" ]; then
    cargo build --locked --release --manifest-path "$repository/Cargo.toml" --package larder-catalog --example compare
    COMPARE_VERSIONS=${CARGO_TARGET_DIR:-$repository/target}/release/examples/compare
fi
mkdir "$work/tmp"
export TMPDIR=$work/tmp
rows=$work/rows
missed=0

# run <label> <verb> <arguments…>: larder with key and state, measured and watched.
run() {
    local label=$1 verb=$2 watcher file name
    shift 2
    python3 "$prove/watch_files.py" "$larder" "$work/largest" "$work/tree" "$work/destination" "$work/restored" "$log" &
    watcher=$!
    measured "$label" "$larder" "$verb" "file://$work/destination" "$@" --passphrase="$passphrase" \
        --dbpath="$work/state/catalog.sqlite"
    kill "$watcher"
    wait "$watcher" 2>/dev/null || true
    read -r file name <"$work/largest"
    peak=$(awk '{ print $4 }' <(tail -n 1 "$work/time"))
    printf '%s\t%s\t%s\t%s\t%s\n' "$label" "$wall" "$cpu" "$peak" "$file" >>"$rows"
    [ "$rss" -le $most_mib ] || { echo "more than $most_mib MiB"; missed=1; }
    if [ "$file" -gt "$most_file" ]; then
        echo "a temporary file of $file MiB: $name"
        missed=1
    fi
}

# Nothing large is deleted before the end: ext4 looks over each inode deleted in the last minutes when it makes a new one,
# which made restores of a million files three times slower.
aside() { [ ! -e "$1" ] || mv "$1" "$1.$((number += 1))"; }
number=0

sum_of() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 cat | sha256sum); }

# steps <tree> <name> [options…]: backup, again, rebuild, restore.
steps() {
    local tree=$1 name=$2
    shift 2
    rm -rf "$work/destination" "$work/state"
    aside "$work/restored"
    mkdir "$work/state"
    run "$name first" backup "$tree" "$@"
    expect 0 "the first backup"
    run "$name unchanged" backup "$tree" "$@"
    expect 1 "a backup of an unchanged tree"
    rm -rf "$work/state"
    mkdir "$work/state"
    run "$name rebuild" repair
    expect 0 repair
    run "$name restore" restore --restore-path="$work/restored"
    expect 0 restore
    [ "$(sum_of "$tree")" = "$(sum_of "$work/restored")" ] || fail "the restored tree is not equal"
}

list_folder() {
    run "$1" list "$2/folder-000007/*" --version="$3"
    expect 0 list
    [ "$(grep -c 'file-' "$log")" = 1000 ] || fail "a folder of 1,000 files has other ones"
}

state_size() { du -m --apparent-size "$work/state/catalog.sqlite" | cut -f 1; }

make() {
    say "making $2 $1"
    aside "$work/tree"
    mkdir "$work/tree"
    python3 "$prove/make_million.py" "$1" "$work/tree" "$2" "${PROVE_SEED:-1}"
    sync
}

if has files || has versions; then make files "$count"; fi
if has files; then
    say "$half files"
    steps "$work/tree/a" "half of files:"
    say "$count files"
    steps "$work/tree" "files:"
    list_folder "files: list a folder" "$work/tree/a" 0
fi
if has versions; then
    say "20 versions of $count files"
    rm -rf "$work/destination" "$work/state"
    mkdir "$work/state"
    run "versions: first" backup "$work/tree"
    expect 0 "the first backup"
    one=$(state_size)
    for round in $(seq 19); do
        python3 "$prove/make_million.py" change "$work/tree" 100 "$round"
        # Two versions cannot have the same second.
        sleep 1
        run "versions: 1 % changed" backup "$work/tree"
        expect 0 "a backup of a tree with changes"
    done
    twenty=$(state_size)
    list_folder "versions: list an old folder" "$work/tree/a" 19
    run "versions: find" find '*' --json
    expect 0 find
    [ "$(grep -c '"Path":' "$log")" -ge "$count" ] || fail "not all files are found"
    measured "versions: compare" "$COMPARE_VERSIONS" "$work/state/catalog.sqlite"
    expect 0 "comparing two versions"
    cat "$log"
    echo "catalog: $one MiB with one version, $twenty MiB with 20"
fi
if has blocks; then
    make blocks "$count"
    say "$half blocks"
    steps "$work/tree/a" "half of blocks:" --blocksize=1KB
    say "$count blocks"
    steps "$work/tree" "blocks:" --blocksize=1KB
fi

say "summary"
awk -F '\t' -v half="$half" -v most="$most_growth" '
    { if (!($1 in peak)) order[++n] = $1
      wall[$1] = $2; cpu[$1] = $3; if ($4 > peak[$1]) peak[$1] = $4; if ($5 > file[$1]) file[$1] = $5 }
    END {
        printf "%-28s %8s %8s %9s %9s %6s\n", "step", "s wall", "s CPU", "peak MiB", "file MiB", "bytes each"
        for (i = 1; i <= n; i++) {
            step = order[i]
            growth = ""
            if (("half of " step) in peak) {
                growth = sprintf("%.1f", (peak[step] - peak["half of " step]) * 1024 / half)
                if (growth + 0 > most) above = 1
            }
            printf "%-28s %8.1f %8.1f %9.0f %9.0f %10s\n", step, wall[step], cpu[step], peak[step] / 1024, file[step], growth
        }
        exit above
    }' "$rows" || {
    echo "growth of more than $most_growth bytes"
    missed=1
}
[ "$missed" = 0 ] || fail "not within its bounds"
say "within $most_mib MiB and $most_growth bytes"
