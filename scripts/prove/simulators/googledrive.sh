#!/usr/bin/env bash
# Google's own client for Python and rclone against the simulator of Google Drive. See README.md for the words.
#
# Both have fixed hosts, so the simulator is a proxy that answers for them under a certificate made for this run.
set -euo pipefail

case ${1-} in
    needs)
        printf '%s\n' "openssl openssl" "rclone rclone" "python3 python3-minimal"
        exit
        ;;
    run) profile=debug build=() ;;
    # Times 256 MiB there and back, by Larder and by rclone.
    transfer) profile=release build=(--release) ;;
    *)
        echo "usage: $0 needs|run|transfer" >&2
        exit 2
        ;;
esac

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../../.." && pwd)
home=${LARDER_TEST_SERVERS:-$root/target/test-servers}
mkdir -p "$home"
home=$(cd "$home" && pwd)
venv=$home/google-client-venv
packages=(google-api-python-client==2.202.0 google-auth==2.62.2 google-auth-httplib2==0.4.4 PySocks==1.7.1
    requests==2.34.2)
work=$(mktemp -d "${TMPDIR:-/tmp}/larder-googledrive.XXXXXX")
pid=
clean_up() {
    [ -z "$pid" ] || kill "$pid" 2>/dev/null || true
    rm -rf "$work"
}
trap clean_up EXIT

# Complete only with its mark: an installation that broke off is done again.
if [ "$(cat "$venv/complete" 2>/dev/null)" != "${packages[*]}" ]; then
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}"
    echo "${packages[*]}" >"$venv/complete"
fi

cd "$work"
hosts=DNS:www.googleapis.com,DNS:oauth2.googleapis.com,DNS:accounts.google.com
openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 2 -subj /CN=proof \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign 2>/dev/null
openssl req -newkey rsa:2048 -nodes -keyout leaf.key -out leaf.csr -subj /CN=simulator 2>/dev/null
printf '%s\n' "subjectAltName=$hosts" extendedKeyUsage=serverAuth >leaf.ext
openssl x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -out leaf.pem -extfile leaf.ext \
    2>/dev/null

build+=(--locked --quiet --manifest-path "$root/Cargo.toml")
programs=${CARGO_TARGET_DIR:-$root/target}/$profile/examples
cargo build "${build[@]}" --package larder-testkit --example googledrive_simulator
"$programs/googledrive_simulator" --tls leaf.pem leaf.key >told &
pid=$!
for _ in $(seq 100); do
    [ -s told ] && break
    kill -0 "$pid" 2>/dev/null || { echo "the simulator did not start" >&2; exit 1; }
    sleep 0.1
done

if [ "$1" = transfer ]; then
    cargo build "${build[@]}" --package larder-conformance --example transfer
    python3 "$here/googledrive_transfer.py" told ca.pem "$programs/transfer"
    exit
fi
timeout 300 "$venv/bin/python" "$here/googledrive.py" told ca.pem
