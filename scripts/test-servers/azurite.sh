#!/usr/bin/env bash
# Installs and runs Azurite, Microsoft's own emulator of Azure Blob Storage, for the tests of destinations/azure.
#
# Its words (needs, start, url, stop) are those of README.md; it gives LARDER_TEST_AZURE_URL, and the same account as
# LARDER_TEST_AZURE_ENDPOINT, LARDER_TEST_AZURE_ACCOUNT and LARDER_TEST_AZURE_KEY. LARDER_TEST_AZURE_PYTHON is a Python with
# azure-storage-blob, a client written by others.
set -euo pipefail

name=azurite
process=azurite-blob
# shellcheck source=scripts/test-servers/lib/server.bash
. "$(dirname "$0")/lib/server.bash"

modules=$home/azurite-npm
venv=$home/azure-venv
version=3.35.0
client=12.31.1
account=dptest
container=larder-test

needs() {
    printf '%s\n' "python3 python3-minimal" "node nodejs" "npm npm" "openssl openssl"
}

url() {
    local endpoint key encoded
    endpoint=127.0.0.1:$(cat "$run/port")
    key=$(cat "$run/key")
    encoded=$(sed 's/+/%2B/g; s/\//%2F/g; s/=/%3D/g' "$run/key")
    echo "LARDER_TEST_AZURE_URL=azure://$account:$encoded@$container?azure-blob-endpoint=http%3A%2F%2F${endpoint/:/%3A}"
    echo "LARDER_TEST_AZURE_ENDPOINT=http://$endpoint"
    echo "LARDER_TEST_AZURE_ACCOUNT=$account"
    echo "LARDER_TEST_AZURE_KEY=$key"
    echo "LARDER_TEST_AZURE_PYTHON=$venv/bin/python"
}

install() {
    if [ ! -x "$modules/node_modules/.bin/azurite-blob" ]; then
        echo "installing Azurite $version" >&2
        mkdir -p "$modules"
        (cd "$modules" && npm install --no-audit --no-fund --ignore-scripts --loglevel=error "azurite@$version")
    fi
    if ! "$venv/bin/python" -c 'import azure.storage.blob' 2>/dev/null; then
        python3 -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check "azure-storage-blob==$client"
    fi
}

# The container is there from the beginning; one that is missing is tested under another name.
create_container() {
    "$venv/bin/python" - "$1" "$account" "$(cat "$run/key")" "$container" <<'PYTHON'
import sys, time
from azure.storage.blob import BlobServiceClient
endpoint, account, key, container = sys.argv[1:]
service = BlobServiceClient(f"{endpoint}/{account}", {"account_name": account, "account_key": key}, retry_total=0)
for left in range(200, -1, -1):
    try:
        service.create_container(container)
        break
    except Exception:
        if not left:
            raise
        time.sleep(0.1)
PYTHON
}

launch() {
    install
    # On purpose with characters that have to be escaped in a URL.
    printf 'a+/a%s' "$(openssl rand 61 | base64 -w0)" >"$run/key"
    port=$(free_ports 1)
    AZURITE_ACCOUNTS="$account:$(cat "$run/key")" nohup node "$modules/node_modules/.bin/azurite-blob" --silent \
        --location "$run/data" --blobHost 127.0.0.1 --blobPort "$port" --disableTelemetry \
        --skipApiVersionCheck </dev/null &
    echo $! >"$run/pid"
    if ! create_container "http://127.0.0.1:$port"; then
        kill "$(cat "$run/pid")"
        return 1
    fi
    echo "$port" >"$run/port"
}

main "$@"
