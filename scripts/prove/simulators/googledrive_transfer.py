"""256 MiB to the simulator of Google Drive and back, by Larder and by rclone in turn; see googledrive.sh.

Both go through the same proxy with TLS and compare the MD5 of what comes back.
"""

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.parse
import urllib.request

ROUNDS = 5
told = json.load(open(sys.argv[1]))
authority, transfer = os.path.abspath(sys.argv[2]), sys.argv[3]
url = told["url"]
content = os.path.abspath("content")
with open(content, "wb") as file:
    for _ in range(256):
        file.write(os.urandom(1 << 20))
plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}


def larder():
    authid = urllib.parse.quote(told["authid"], safe="")
    api = "googledrive-api-url=https://www.googleapis.com"
    where = f"googledrive://f?authid={authid}&oauth-url={url}/refresh&{api}"
    environment = plain | {"HTTPS_PROXY": url, "SSL_CERT_FILE": authority, "NO_PROXY": "127.0.0.1"}
    done = subprocess.run([transfer, where, content], env=environment, capture_output=True, text=True, check=True)
    words = done.stdout.split()
    return float(words[1]), float(words[4])


def access():
    form = {name: told[name] for name in ("client_id", "client_secret", "refresh_token")}
    data = urllib.parse.urlencode(form | {"grant_type": "refresh_token"}).encode()
    return json.load(urllib.request.urlopen(url + "/token", data))["access_token"]


def rclone(token):
    signed_in = dict(access_token=token, token_type="Bearer", refresh_token=told["refresh_token"],
                     expiry="2035-01-01T00:00:00Z")
    environment = plain | {
        "HTTPS_PROXY": url,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_D_TYPE": "drive",
        "RCLONE_CONFIG_D_SCOPE": "drive",
        "RCLONE_CONFIG_D_CLIENT_ID": told["client_id"],
        "RCLONE_CONFIG_D_CLIENT_SECRET": told["client_secret"],
        "RCLONE_CONFIG_D_TOKEN": json.dumps(signed_in),
    }

    def timed(*arguments):
        begin = time.monotonic()
        options = ["--ca-cert", authority, "--drive-pacer-min-sleep", "1ms", "--drive-chunk-size", "64M",
                   "--multi-thread-streams", "0"]
        subprocess.run(["rclone", *arguments, *options], env=environment, check=True)
        return time.monotonic() - begin

    back = os.path.join("/dev/shm", f"larder-transfer-{os.getpid()}")
    try:
        times = timed("copyto", content, "D:r/x.bin"), timed("copyto", "D:r/x.bin", back)
    finally:
        if os.path.exists(back):
            os.remove(back)
    timed("deletefile", "D:r/x.bin", "--drive-use-trash=false")
    return times


token = access()
rounds = [(larder(), rclone(token)) for _ in range(ROUNDS)]
for what, at in (("put", 0), ("get", 1)):
    ours, theirs = (statistics.median(each[who][at] for each in rounds) for who in (0, 1))
    print(f"{what}: larder {ours:.2f} s, rclone {theirs:.2f} s, ratio {ours / theirs:.2f}")
