#!/usr/bin/env bash
# Runs lighttpd with mod_webdav and Digest for the tests of destinations/webdav.
#
# Its words (needs, start, url, stop) are those of README.md; it gives LARDER_TEST_WEBDAV_LIGHTTPD_URL.
set -euo pipefail

name=lighttpd-dav
process=lighttpd
# shellcheck source=scripts/test-servers/lib/server.bash
. "$(dirname "$0")/lib/server.bash"

needs() {
    printf '%s\n' "/usr/sbin/lighttpd lighttpd" "/usr/lib/lighttpd/mod_webdav.so lighttpd-mod-webdav" \
        "python3 python3-minimal"
}

url() {
    echo "LARDER_TEST_WEBDAV_LIGHTTPD_URL=webdav://$sign_in@127.0.0.1:$(cat "$run/port")/"
}

launch() {
    port=$(free_ports 1)
    mkdir "$run/root" "$run/tmp"
    printf '%s:dp:%s\n' "$user" "$(printf '%s:dp:%s' "$user" "$password" | md5sum | cut -d' ' -f1)" >"$run/digest.pw"
    cat >"$run/lighttpd.conf" <<CONF
server.modules = ("mod_auth", "mod_authn_file", "mod_webdav")
server.bind = "127.0.0.1"
server.port = $port
server.document-root = "$run/root"
server.errorlog = "$run/error.log"
server.pid-file = "$run/pid"
server.upload-dirs = ("$run/tmp")
webdav.activate = "enable"
webdav.sqlite-db-name = "$run/dav.db"
auth.backend = "htdigest"
auth.backend.htdigest.userfile = "$run/digest.pw"
auth.require = ("" => ("method" => "digest", "realm" => "dp", "require" => "valid-user"))
CONF
    /usr/sbin/lighttpd -f "$run/lighttpd.conf"
    echo "$port" >"$run/port"
}

main "$@"
