#!/usr/bin/env bash
# Runs nginx with its WebDAV modules for the tests of destinations/webdav.
#
# Its words (needs, start, url, stop) are those of README.md; it gives LARDER_TEST_WEBDAV_NGINX_URL.
set -euo pipefail

name=nginx-dav
process=nginx
# shellcheck source=scripts/test-servers/lib/server.bash
. "$(dirname "$0")/lib/server.bash"

module=/usr/lib/nginx/modules/ngx_http_dav_ext_module.so

needs() {
    printf '%s\n' "/usr/sbin/nginx nginx-light" "$module libnginx-mod-http-dav-ext" "htpasswd apache2-utils" \
        "python3 python3-minimal"
}

url() {
    echo "LARDER_TEST_WEBDAV_NGINX_URL=webdav://$sign_in@127.0.0.1:$(cat "$run/port")/"
}

launch() {
    port=$(free_ports 1)
    mkdir "$run/root" "$run/tmp"
    htpasswd -bc "$run/basic.pw" "$user" "$password"
    # As root it keeps its rights, since the folder of the tests may be closed to others.
    as=
    if [ "$(id -u)" = 0 ]; then as="user root;"; fi
    cat >"$run/nginx.conf" <<CONF
load_module $module;
$as
pid $run/pid;
error_log $run/error.log;
worker_processes 1;
events {}
http {
  access_log off;
  client_max_body_size 0;
  client_body_temp_path $run/tmp; proxy_temp_path $run/tmp; fastcgi_temp_path $run/tmp;
  uwsgi_temp_path $run/tmp; scgi_temp_path $run/tmp;
  server {
    listen 127.0.0.1:$port;
    root $run/root;
    location / {
      auth_basic dp;
      auth_basic_user_file $run/basic.pw;
      dav_methods PUT DELETE MKCOL COPY MOVE;
      dav_ext_methods PROPFIND OPTIONS;
    }
  }
}
CONF
    /usr/sbin/nginx -c "$run/nginx.conf"
    echo "$port" >"$run/port"
}

main "$@"
