#!/usr/bin/env bash
# Runs OpenSSH for the tests of destinations/ssh: as it is; without its extensions of SFTP and patience for wrong passwords;
# and asking for the password with questions (keyboard-interactive) over one channel.
#
# Its words (needs, start, url, stop) are those of README.md; it gives LARDER_TEST_SSH_URL,
# LARDER_TEST_SSH_PLAIN_URL, LARDER_TEST_SSH_ASKING_URL and LARDER_TEST_SSH_FOLDER, the folder with the keys: `host_*` of the server, `id_*` of the user, encrypted ones with the user's password.
#
# As root it makes a user of its own, since signing in with a password needs one that the system knows.
set -euo pipefail

name=openssh
process=sshd
# shellcheck source=scripts/test-servers/lib/server.bash
. "$(dirname "$0")/lib/server.bash"

# One for each folder of test servers, so that two of them do not meet.
account=larder-$(printf %s "$home" | cksum | cut -d' ' -f1)

needs() {
    printf '%s\n' "/usr/sbin/sshd openssh-server" "sftp openssh-client" "python3 python3-minimal" \
        "useradd passwd" "openssl openssl" "/etc/pam.d/sshd openssh-server"
}

url() {
    folder=$(cat "$run/elsewhere")
    query="ssh-fingerprint=$(ssh-keygen -lf "$folder/host_ed25519.pub" | cut -d' ' -f2 | sed 's/+/%2B/g; s/=/%3D/g; s/:/%3A/; s,/,%2F,g')"
    start="ssh://$account:s3cr%26t%20pw%2B@127.0.0.1"
    echo "LARDER_TEST_SSH_URL=$start:$(cat "$run/port")$folder/home/data?$query"
    echo "LARDER_TEST_SSH_PLAIN_URL=$start:$(cat "$run/port2")$folder/home/data?$query"
    echo "LARDER_TEST_SSH_ASKING_URL=$start:$(cat "$run/port3")$folder/home/data?$query"
    echo "LARDER_TEST_SSH_FOLDER=$folder"
}

# A configuration of the port $1 with the subsystem $2, in $3; what follows are further lines.
configuration() {
    printf '%s\n' "${@:4}" >"$3"
    cat >>"$3" <<CONF
ListenAddress 127.0.0.1
Port $1
HostKey $folder/host_ed25519
HostKey $folder/host_rsa
HostKey $folder/host_ecdsa
PidFile $3.pid
AuthorizedKeysFile $folder/authorized_keys
PasswordAuthentication yes
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
MaxStartups 100
Subsystem sftp $2
CONF
}

launch() {
    if [ "$(id -u)" != 0 ]; then
        echo "only root can make the user that signs in"
        return 1
    fi
    # The folder of the tests may be closed to the user.
    folder=$(mktemp -d /tmp/larder-ssh-test.XXXXXX)
    echo "$folder" >"$run/elsewhere"
    chmod 755 "$folder"
    userdel "$account" 2>/dev/null || true
    useradd -M -d "$folder/home" -s /bin/sh "$account"
    echo "$account:$password" | chpasswd
    mkdir -p "$folder/home/data" /run/sshd
    for type in ed25519 rsa ecdsa; do
        ssh-keygen -q -t "$type" -N '' -f "$folder/host_$type"
        ssh-keygen -q -t "$type" -N '' -f "$folder/id_$type"
        ssh-keygen -q -t "$type" -N "$password" -f "$folder/id_${type}_bcrypt"
    done
    ssh-keygen -q -t ed25519 -N '' -f "$folder/strange"
    for type in rsa ecdsa; do
        ssh-keygen -q -t "$type" -m PEM -N '' -f "$folder/id_${type}_plain"
        ssh-keygen -q -t "$type" -m PEM -N "$password" -f "$folder/id_${type}_pem"
        ssh-keygen -q -t "$type" -m PKCS8 -N "$password" -f "$folder/id_${type}_pkcs8"
    done
    cp "$folder/id_rsa_plain.pub" "$folder/id_rsa_pem256.pub"
    openssl rsa -in "$folder/id_rsa_plain" -aes256 -traditional -passout "pass:$password" -out "$folder/id_rsa_pem256"
    cat "$folder"/id_*.pub >"$folder/authorized_keys"
    chmod 644 "$folder/authorized_keys"
    chown -R "$account" "$folder/home"
    read -r port port2 port3 < <(free_ports 3)
    configuration "$port" internal-sftp "$folder/config"
    configuration "$port2" "internal-sftp -P posix-rename,statvfs,fstatvfs,fsync,hardlink,limits" "$folder/plain" \
        "MaxAuthTries 1"
    configuration "$port3" internal-sftp "$folder/asking" "PasswordAuthentication no" \
        "KbdInteractiveAuthentication yes" "UsePAM yes" "MaxSessions 1"
    /usr/sbin/sshd -f "$folder/asking" -E "$run/sshd.log"
    /usr/sbin/sshd -f "$folder/config" -E "$run/sshd.log"
    /usr/sbin/sshd -f "$folder/plain" -E "$run/sshd.log"
    echo "$port2" >"$run/port2"
    echo "$port3" >"$run/port3"
    for _ in $(seq 50); do
        if [ -s "$folder/config.pid" ] && [ -s "$folder/plain.pid" ] && [ -s "$folder/asking.pid" ]; then break; fi
        sleep 0.1
    done
    cp "$folder/config.pid" "$run/pid"
    cat "$folder/plain.pid" "$folder/asking.pid" >"$run/others"
    echo "$port" >"$run/port"
}

# Beside what the library's does: the other servers, and the user.
stop_all() {
    if running; then
        xargs kill <"$run/others" 2>/dev/null || true
        stop
        userdel "$account" 2>/dev/null || true
    else
        stop
    fi
}

if [ "${1-}" = stop ]; then
    stop_all
    exit
fi
main "$@"
