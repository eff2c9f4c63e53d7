# Sourced by the scripts of servers that need no more than a configuration: their words, ports, start and end.
#
# A script sets `name` (its folder) and `process` (a pattern of the server's command line), defines `needs`, `launch`
# (writes the configuration below $run, starts the server, and leaves its process id in $run/pid and its port in
# $run/port) and `url`, and ends with `main "$@"`.

root=$(cd "$(dirname "$0")/../.." && pwd)
home=${LARDER_TEST_SERVERS:-$root/target/test-servers}
mkdir -p "$home"
home=$(cd "$home" && pwd)
run=$home/$name

# On purpose with characters that have to be escaped in a URL.
user=dptest
password='s3cr&t pw+'
sign_in="$user:s3cr%26t%20pw%2B"

# The command line of a process, where there is /proc and where there is not.
command_of() {
    if [ -r "/proc/$1/cmdline" ]; then
        tr '\0' ' ' <"/proc/$1/cmdline"
    else
        ps -o args= -p "$1" 2>/dev/null || true
    fi
}

running() {
    [ -s "$run/pid" ] && [ -s "$run/port" ] && [[ $(command_of "$(cat "$run/pid")") == *$process* ]]
}

# So many free ports, in one line.
free_ports() {
    python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("127.0.0.1", 0))
print(*[s.getsockname()[1] for s in sockets])
PYTHON
}

answers() {
    (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# A certificate of its own making for localhost, in $1/cert.pem and $1/key.pem.
certificate() {
    openssl req -x509 -newkey rsa:2048 -nodes -keyout "$1/key.pem" -out "$1/cert.pem" -days 30 -subj /CN=localhost \
        -addext 'subjectAltName=DNS:localhost,IP:127.0.0.1' 2>/dev/null
    chmod 600 "$1/key.pem"
}

# The SHA-256 of a certificate as --accept-specified-ssl-hash takes it.
fingerprint() {
    openssl x509 -in "$1" -noout -fingerprint -sha256 | sed 's/.*=//; s/://g'
}

start() {
    if running; then
        url
        return
    fi
    rm -rf "$run"
    mkdir -p "$run"
    launch 9>&- >"$run/log" 2>&1
    for _ in $(seq 200); do
        if [ -s "$run/pid" ] && [ -s "$run/port" ] && answers "$(cat "$run/port")"; then
            break
        fi
        sleep 0.1
    done
    if ! running; then
        echo "$name did not start, see $run/log" >&2
        tail -n 20 "$run/log" >&2
        exit 1
    fi
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
        gone "$pid" || kill -KILL "$pid" 2>/dev/null || true
    fi
    if [ -s "$run/elsewhere" ]; then rm -rf "$(cat "$run/elsewhere")"; fi
    rm -rf "$run"
}

main() {
    if [ "${1-}" = needs ]; then
        needs
        exit
    fi
    # Two tests that start the server at the same time must get the same one.
    exec 9>"$home/$name.lock"
    if command -v flock >/dev/null; then flock 9; fi
    case ${1-} in
        start) start ;;
        stop) stop ;;
        url)
            if ! running; then
                echo "$name is not running" >&2
                exit 1
            fi
            url
            ;;
        *)
            echo "usage: $0 needs|start|url|stop" >&2
            exit 2
            ;;
    esac
}
