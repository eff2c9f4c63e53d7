#!/usr/bin/env bash
# Runs all tests of the workspace, with the servers that some of them need.
#
#   scripts/test.sh              everything
#   scripts/test.sh -- name      arguments are given to cargo test
#
# As root on Debian it installs what is missing; otherwise it says what to install. It knows no provider: every
# scripts/test-servers/*.sh is run, and what a test needs is named by a rule (scripts/test-servers/README.md).
set -euo pipefail

cd "$(dirname "$0")/.."
servers=(scripts/test-servers/*.sh)
proofs=(scripts/prove/simulators/*.sh)

# What must exist, and the Debian package that has it: for the tests themselves, then for each server and proof.
needs() {
    printf '%s\n' "cc gcc" "gpg gnupg" "setfattr attr" "python3 python3-minimal" "curl curl" "ps procps" "git git" \
        "/usr/include/stdio.h libc6-dev" "setpriv util-linux" "mount mount" "zsh zsh" "fish fish"
    for script in "${servers[@]}" "${proofs[@]}"; do
        "$script" needs || { echo "$script does not say what it needs" >&2; return 1; }
    done
}

# The packages of the needs that are not there; a need that begins with a slash is a file, else a program.
missing() {
    local need package
    while read -r need package; do
        case $need in
            /*) [ -e "$need" ] || echo "$package" ;;
            *) command -v "$need" >/dev/null || echo "$package" ;;
        esac
    done <<< "$needed" | sort -u
    # Virtual environments need a package of their own.
    python3 -c 'import ensurepip' 2>/dev/null || echo python3-venv
}

# Installs packages without letting any of them start its daemon, which would listen on all addresses.
install() {
    local policy=/usr/sbin/policy-rc.d made=
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        made=$policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    local code=0
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; } || code=$?
    [ -z "$made" ] || rm -f "$made"
    return "$code"
}

needed=$(needs)
mapfile -t packages < <(missing)
if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing: ${packages[*]}"
        install "${packages[@]}"
        mapfile -t packages < <(missing)
    fi
    if [ ${#packages[@]} -gt 0 ]; then
        echo "missing: install ${packages[*]} (names of the Debian packages)" >&2
        exit 1
    fi
fi
command -v cargo >/dev/null || { echo "missing: cargo, the Rust tool chain: https://rustup.rs" >&2; exit 1; }

# A server that is running already belongs to someone else and is left running.
ours=()
stop_ours() {
    local server
    for server in ${ours[@]+"${ours[@]}"}; do
        "$server" stop || true
    done
}
trap stop_ours EXIT

for server in "${servers[@]}"; do
    "$server" url >/dev/null 2>&1 || ours+=("$server")
    started=$("$server" start)
    urls=$(grep -E '^LARDER_TEST_[A-Z0-9_]+=' <<< "$started" || true)
    if [ -z "$urls" ]; then
        printf '%s\n' "$started" "$server gave no LARDER_TEST_…_URL" >&2
        exit 1
    fi
    while IFS= read -r line; do
        export "${line?}"
        echo "$server: ${line%%=*}"
    done <<< "$urls"
done
# A test that lacks what it needs fails instead of passing over the case.
export LARDER_TEST_REQUIRE_ALL=1
if [ "$(id -u)" != 0 ]; then
    echo "not root: tests that mount a small disk or give files away are passed over"
    export LARDER_TEST_MAY_SKIP=${LARDER_TEST_MAY_SKIP-mount,root}
fi

# A simulator counts only when programs written by others work with it (scripts/prove/simulators/README.md).
for proof in "${proofs[@]}"; do
    "$proof" run
done

cargo test --locked --workspace "$@"
