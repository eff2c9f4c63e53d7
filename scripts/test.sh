#!/usr/bin/env bash
# Runs all tests of the workspace, with the servers that some of them need.
#
#   scripts/test.sh              everything
#   scripts/test.sh -- name      arguments are given to cargo test
#
# As root on Debian it installs what is missing; otherwise it says what to install.
set -euo pipefail

cd "$(dirname "$0")/.."

# Program that must exist, and the Debian package that has it.
needs=("cc gcc" "gpg gnupg" "setfattr attr" "python3 python3-minimal" "curl curl" "ps procps" "git git")
packages=()
for need in "${needs[@]}"; do
    read -r program package <<< "$need"
    command -v "$program" >/dev/null || packages+=("$package")
done
# The headers of the C library come with libc6-dev, and virtual environments need a package of their own.
[ -e /usr/include/stdio.h ] || packages+=(libc6-dev)
python3 -c 'import ensurepip' 2>/dev/null || packages+=(python3-venv)
if [ ${#packages[@]} -gt 0 ]; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "installing: ${packages[*]}"
        export DEBIAN_FRONTEND=noninteractive
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    else
        echo "missing: install ${packages[*]} (names of the Debian packages)" >&2
        exit 1
    fi
fi
command -v cargo >/dev/null || { echo "missing: cargo, the Rust tool chain: https://rustup.rs" >&2; exit 1; }

# A server that is running already belongs to someone else and is left running.
if ! scripts/test-servers/seaweedfs.sh url >/dev/null 2>&1; then
    trap 'scripts/test-servers/seaweedfs.sh stop || true' EXIT
fi
started=$(scripts/test-servers/seaweedfs.sh start)
url=$(sed -n 's/^LARDER_TEST_S3_URL=//p' <<< "$started")
if [ -z "$url" ]; then
    printf '%s\n' "$started" "scripts/test-servers/seaweedfs.sh gave no LARDER_TEST_S3_URL" >&2
    exit 1
fi
export LARDER_TEST_S3_URL=$url
# A test that lacks its server fails instead of passing over the case.
export LARDER_TEST_REQUIRE_ALL=1

cargo test --locked --workspace "$@"
