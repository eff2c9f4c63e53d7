# Shared by the scripts of this folder, which source it. See docs/guide/proofs.md.
#
# LARDER=<path>       the program under test; without it a release build is made
# PROVE_DIR=<folder>  where everything is written (a new folder below TMPDIR or /tmp); it is emptied at the end
# PROVE_KEEP=1        keeps what was written

set -euo pipefail
export LC_ALL=C.UTF-8
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
prove=$repository/scripts/prove
passphrase='proof, no secret: ünïcode "quotes"'

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf 'FAILED: %s\n' "$*" >&2
    exit 1
}

# need <program> <Debian package> [<program> <package>…]
need() {
    local missing=()
    while [ $# -gt 0 ]; do
        command -v "$1" >/dev/null || missing+=("$2")
        shift 2
    done
    if [ ${#missing[@]} -gt 0 ]; then
        echo "missing: apt-get install ${missing[*]}" >&2
        exit 2
    fi
}

# need_room <GiB>: in the folder that is written to
need_room() {
    local free
    free=$(df --output=avail -k "$work" | tail -n 1)
    [ "$free" -ge $(($1 * 1024 * 1024)) ] || {
        echo "missing: $1 GiB of room in $work (PROVE_DIR names another folder)" >&2
        exit 2
    }
}

find_larder() {
    if [ -z "${LARDER:-}" ]; then
        need cargo "Rust, from https://rustup.rs" cc gcc
        cargo build --locked --release --manifest-path "$repository/Cargo.toml" --package larder-cli
        LARDER=${CARGO_TARGET_DIR:-$repository/target}/release/larder
    fi
    # A copy, so that a build that goes on meanwhile does not change what is tested.
    cp "$LARDER" "$work/larder"
    larder=$work/larder
    "$larder" help | sed -n 1p
}

make_work() {
    if [ -n "${PROVE_DIR:-}" ]; then
        mkdir -p "$PROVE_DIR"
        work=$(mktemp -d "$(cd "$PROVE_DIR" && pwd -P)/larder-prove.XXXXXX")
    else
        work=$(mktemp -d "${TMPDIR:-/tmp}/larder-prove.XXXXXX")
    fi
    trap clean_up EXIT
}

clean_up() {
    local code=$?
    [ -z "${disturber:-}" ] || kill "$disturber" 2>/dev/null || true
    if [ -n "${PROVE_KEEP:-}" ]; then
        echo "kept: $work"
    else
        # Other users' trees may hold folders without any permission.
        [ "$(id -u)" = 0 ] || chmod -R u+rwX "$work" 2>/dev/null || true
        rm -rf "$work"
    fi
    exit "$code"
}

# measured <label> <command…>: runs it, its output into $log, its exit code into $code, and prints what it took. The
# variables wall, cpu and rss hold seconds, seconds, and MiB.
measured() {
    local label=$1 user system kib
    shift
    log=$work/log
    code=0
    command time --quiet --format '%e %U %S %M' --output "$work/time" -- "$@" >"$log" 2>&1 || code=$?
    read -r wall user system kib < <(tail -n 1 "$work/time")
    cpu=$(awk "BEGIN { printf \"%.2f\", $user + $system }")
    rss=$((kib / 1024))
    printf '%-28s %8.2f s wall %8.2f s CPU %6d MiB peak   code %d\n' "$label" "$wall" "$cpu" "$rss" "$code"
}

# expect <codes> <what>: the code of the last measured command must be one of them.
expect() {
    case " $1 " in
        *" $code "*) ;;
        *)
            tail -n 40 "$log" >&2
            fail "$2: exit code $code instead of $1"
            ;;
    esac
}
