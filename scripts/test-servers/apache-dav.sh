#!/usr/bin/env bash
# Runs Apache's mod_dav for the tests of destinations/webdav: Basic, Digest, and Basic with TLS.
#
# Its words (needs, start, url, stop) are those of README.md; it gives LARDER_TEST_WEBDAV_URL, …_DIGEST_URL, …_TLS_URL.
set -euo pipefail

name=apache-dav
process=apache2
# shellcheck source=scripts/test-servers/lib/server.bash
. "$(dirname "$0")/lib/server.bash"

needs() {
    printf '%s\n' "/usr/sbin/apache2 apache2" "htpasswd apache2-utils" "openssl openssl" "python3 python3-minimal"
}

url() {
    read -r port tls_port <"$run/ports"
    echo "LARDER_TEST_WEBDAV_URL=webdav://$sign_in@127.0.0.1:$port/basic"
    echo "LARDER_TEST_WEBDAV_DIGEST_URL=webdav://$sign_in@127.0.0.1:$port/digest?force-digest-authentication=true"
    echo "LARDER_TEST_WEBDAV_TLS_URL=webdav://$sign_in@localhost:$tls_port/basic?use-ssl=true&accept-specified-ssl-hash=$(fingerprint "$run/cert.pem")"
}

launch() {
    read -r port tls_port < <(free_ports 2)
    echo "$port $tls_port" >"$run/ports"
    certificate "$run"
    # Apache gives up the rights of root, and the folder of the tests may be closed to others.
    data=$(mktemp -d)
    chmod 755 "$data"
    echo "$data" >"$run/elsewhere"
    mkdir "$data/root" "$data/lock"
    htpasswd -bc "$data/basic.pw" "$user" "$password"
    printf '%s:dp:%s\n' "$user" "$(printf '%s:dp:%s' "$user" "$password" | md5sum | cut -d' ' -f1)" >"$data/digest.pw"
    if [ "$(id -u)" = 0 ]; then chown -R www-data "$data/root" "$data/lock"; fi
    {
        cat <<CONF
ServerRoot $run
PidFile $run/pid
Mutex file:$data default
ErrorLog $run/error.log
DavLockDB $data/lock/DavLock
DocumentRoot $data/root
ServerName localhost
Listen 127.0.0.1:$port
Listen 127.0.0.1:$tls_port
User www-data
Group www-data
TypesConfig /etc/mime.types
CONF
        for module in mpm_event authn_core authn_file authz_core authz_user auth_basic auth_digest alias dav dav_fs mime \
            socache_shmcb ssl; do
            echo "LoadModule ${module}_module /usr/lib/apache2/modules/mod_$module.so"
        done
        for kind in Basic Digest; do
            place=${kind,,}
            cat <<CONF
Alias /$place $data/root
<Location /$place>
AuthType $kind
AuthName dp
AuthUserFile $data/$place.pw
Require valid-user
</Location>
CONF
        done
        cat <<CONF
<Directory $data/root>
Dav On
Require valid-user
</Directory>
<VirtualHost 127.0.0.1:$tls_port>
SSLEngine on
SSLCertificateFile $run/cert.pem
SSLCertificateKeyFile $run/key.pem
</VirtualHost>
CONF
    } >"$run/httpd.conf"
    /usr/sbin/apache2 -f "$run/httpd.conf" -k start
    echo "$port" >"$run/port"
}

main "$@"
