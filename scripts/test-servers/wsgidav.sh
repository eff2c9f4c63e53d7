#!/usr/bin/env bash
# Installs and runs WsgiDAV with Digest for the tests of destinations/webdav.
#
# Its words (needs, start, url, stop) are those of README.md; it gives LARDER_TEST_WEBDAV_WSGIDAV_URL.
set -euo pipefail

name=wsgidav
process=wsgidav
# shellcheck source=scripts/test-servers/lib/server.bash
. "$(dirname "$0")/lib/server.bash"

venv=$home/wsgidav-venv

needs() {
    echo "python3 python3-minimal"
}

url() {
    echo "LARDER_TEST_WEBDAV_WSGIDAV_URL=webdav://$sign_in@127.0.0.1:$(cat "$run/port")/dav"
}

launch() {
    if [ ! -x "$venv/bin/wsgidav" ]; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check wsgidav==4.4.0 cheroot==11.1.2
    fi
    port=$(free_ports 1)
    mkdir "$run/root"
    cat >"$run/wsgidav.yaml" <<CONF
host: 127.0.0.1
port: $port
server: cheroot
provider_mapping: {"/dav": "$run/root"}
http_authenticator: {accept_basic: false, accept_digest: true, default_to_digest: true}
simple_dc: {user_mapping: {"*": {"$user": {password: "$password"}}}}
CONF
    nohup "$venv/bin/wsgidav" --config="$run/wsgidav.yaml" </dev/null &
    echo $! >"$run/pid"
    echo "$port" >"$run/port"
}

main "$@"
