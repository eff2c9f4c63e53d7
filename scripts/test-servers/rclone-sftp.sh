#!/usr/bin/env bash
# Runs `rclone serve sftp` for the tests of destinations/ssh: another server than OpenSSH, written in Go.
#
# Its words (needs, start, url, stop) are those of README.md; it gives LARDER_TEST_SSH_RCLONE_URL.
set -euo pipefail

name=rclone-sftp
process=rclone
# shellcheck source=scripts/test-servers/lib/server.bash
. "$(dirname "$0")/lib/server.bash"

needs() {
    printf '%s\n' "rclone rclone" "ssh-keygen openssh-client" "python3 python3-minimal"
}

url() {
    echo "LARDER_TEST_SSH_RCLONE_URL=ssh://$sign_in@127.0.0.1:$(cat "$run/port")/?ssh-fingerprint=$(cat "$run/print")"
}

launch() {
    port=$(free_ports 1)
    mkdir "$run/root"
    ssh-keygen -q -t ed25519 -N '' -f "$run/host"
    ssh-keygen -E md5 -lf "$run/host.pub" | cut -d' ' -f2 | sed 's/MD5://; s/:/%3A/g' >"$run/print"
    nohup rclone --config "" serve sftp "$run/root" --addr "127.0.0.1:$port" --user "$user" --pass "$password" \
        --key "$run/host" --vfs-cache-mode writes --cache-dir "$run/cache" </dev/null &
    echo $! >"$run/pid"
    echo "$port" >"$run/port"
}

main "$@"
