"""google-api-python-client and rclone against the simulator of Google Drive; see googledrive.sh."""

import hashlib
import io
import json
import os
import subprocess
import sys
import urllib.request

told = json.load(open(sys.argv[1]))
authority = os.path.abspath(sys.argv[2])
url = told["url"]
# Both must be set before httplib2 and requests are loaded.
os.environ["https_proxy"] = os.environ["HTTPS_PROXY"] = url
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"
os.environ["HTTPLIB2_CA_CERTS"] = os.environ["REQUESTS_CA_BUNDLE"] = authority

import google.auth.exceptions
import google.auth.transport.requests
from google.oauth2 import credentials, service_account
from googleapiclient.discovery import build
from googleapiclient.errors import HttpError
from googleapiclient.http import MediaIoBaseDownload, MediaIoBaseUpload

passed = 0
NAME = "a b é'\\+%.bin"
UNIT = 256 * 1024


def check(what, found, expected):
    global passed
    if found != expected:
        sys.exit(f"FAILED: {what}: {found!r} instead of {expected!r}")
    passed += 1


def refused(what, call, status, reason):
    try:
        call()
    except HttpError as error:
        details = error.error_details
        found = details[0]["reason"] if isinstance(details, list) and details else details
        check(what, (error.status_code, found), (status, reason))
    else:
        sys.exit(f"FAILED: {what}: was not refused")


def control(path, document=None):
    data = None if document is None else json.dumps(document).encode()
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url + path, data=data)) as reply:
        return json.loads(reply.read() or b"null")


def fault(method, path, trouble, times=1, skip=0):
    control("/_fault", dict(method=method, path=path, trouble=trouble, times=times, skip=skip))


def client(rights):
    return build("drive", "v3", credentials=rights, static_discovery=True)


def own_client(refresh=None):
    return credentials.Credentials(
        None,
        refresh_token=refresh or told["refresh_token"],
        token_uri="https://oauth2.googleapis.com/token",
        client_id=told["client_id"],
        client_secret=told["client_secret"],
    )


def upload(drive, body, content, chunk, **more):
    media = MediaIoBaseUpload(io.BytesIO(content), "application/octet-stream", chunksize=chunk or UNIT, resumable=chunk != 0)
    request = drive.files().create(body=body, media_body=media, fields="id,size,md5Checksum", **more)
    if chunk == 0:
        return request.execute()
    reply = None
    while reply is None:
        _, reply = request.next_chunk(num_retries=2)
    return reply


def download(drive, id, **more):
    target = io.BytesIO()
    loader = MediaIoBaseDownload(target, drive.files().get_media(fileId=id, **more), chunksize=4 * UNIT)
    done = False
    while not done:
        _, done = loader.next_chunk()
    return target.getvalue()


def everything(drive, query, **more):
    found, request = [], drive.files().list(q=query, pageSize=2, fields="nextPageToken,files(id,name,size)", **more)
    while request is not None:
        reply = request.execute()
        found += reply.get("files", [])
        request = drive.files().list_next(request, reply)
    return found


# Sign-in: own client, a wrong refresh token, a service account, and the service of AuthIDs by its own contract.
drive = client(own_client())
check("about", drive.about().get(fields="storageQuota(limit)").execute(), {"storageQuota": {"limit": str(15 << 30)}})
try:
    own_client("wrong").refresh(google.auth.transport.requests.Request())
    sys.exit("FAILED: a wrong refresh token was taken")
except google.auth.exceptions.RefreshError as error:
    check("a wrong refresh token", "invalid_grant" in str(error), True)
service = service_account.Credentials.from_service_account_info(
    json.loads(told["service_account"]), scopes=["https://www.googleapis.com/auth/drive"]
)
check("a service account", client(service).files().list(fields="files(id)").execute(), {"files": []})


class Fixed(credentials.Credentials):
    """A token that is never refreshed, so that the refusal comes through."""

    def refresh(self, request):
        pass


wrong = Fixed("ya29.wrong")
refused("a wrong access token", lambda: client(wrong).files().list().execute(), 401, "authError")
weak = service.with_scopes(["https://www.googleapis.com/auth/calendar"])
refused("a scope without Drive", lambda: client(weak).files().list().execute(), 403, "insufficientPermissions")

# Files: small, in pieces, duplicates, pages, ranges, refusals.
folder = drive.files().create(
    body={"name": "it's", "mimeType": "application/vnd.google-apps.folder"}, fields="id"
).execute()["id"]
small, large = os.urandom(300), os.urandom(3 * UNIT + 17)
for content, chunk in ((small, 0), (large, UNIT), (b"", 0)):
    reply = upload(drive, {"name": NAME, "parents": [folder]}, content, chunk)
    check("what was stored", (reply["size"], reply["md5Checksum"]), (str(len(content)), hashlib.md5(content).hexdigest()))
    check("its content", download(drive, reply["id"]) if content else b"", content)
quoted = NAME.replace("\\", "\\\\").replace("'", "\\'")
same = everything(drive, f"'{folder}' in parents and name='{quoted}' and trashed=false")
check("three of one name on two pages", sorted(int(f["size"]) for f in same), sorted([0, 300, len(large)]))
big = next(f["id"] for f in same if f["size"] == str(len(large)))
ranged = drive.files().get_media(fileId=big)
ranged.headers["Range"] = "bytes=100-149"
check("a range", ranged.execute(), large[100:150])
changed = drive.files().update(
    fileId=big, media_body=MediaIoBaseUpload(io.BytesIO(small), "application/octet-stream", resumable=True), fields="size"
).execute()
check("new content", changed, {"size": "300"})
drive.files().delete(fileId=big).execute()
refused("a missing file", lambda: drive.files().get(fileId=big).execute(), 404, "notFound")
refused("a wrong query", lambda: drive.files().list(q="title='x'").execute(), 400, "invalid")
odd = MediaIoBaseUpload(io.BytesIO(large), "application/octet-stream", chunksize=UNIT + 1, resumable=True)
refused(
    "a piece of odd length",
    lambda: drive.files().create(body={"name": "odd"}, media_body=odd).next_chunk(),
    400,
    "badRequest",
)
ids = drive.files().generateIds(count=1).execute()["ids"]
check("an id made before", upload(drive, {"name": "given", "id": ids[0]}, small, 0)["id"], ids[0])
refused("the same id again", lambda: upload(drive, {"name": "given", "id": ids[0]}, small, 0), 409, "fileIdInUse")

# What goes wrong under way. After an error the client asks how far it came, and goes on from there.
fault("POST", "uploadType=resumable", {"refuse": {"status": 429, "reason": "rateLimitExceeded", "retry_after": "1"}})
fault("PUT", "upload_id", {"refuse": {"status": 503, "reason": "backendError"}}, skip=1)
media = MediaIoBaseUpload(io.BytesIO(large), "application/octet-stream", chunksize=UNIT, resumable=True)
request, reply, troubles = drive.files().create(body={"name": "faults"}, media_body=media, fields="size,md5Checksum"), None, []
while reply is None:
    try:
        _, reply = request.next_chunk()
    except HttpError as error:
        troubles.append(error.status_code)
check("an upload through faults", reply["md5Checksum"], hashlib.md5(large).hexdigest())
check("its faults", troubles, [429, 503])
asked = [line for line in control("/_journal") if ["content-range", f"bytes */{len(large)}"] in line["headers"]]
check("questions of how far it came", [line["status"] for line in asked], [308])

# The shared drive wants its parameters.
shared = {"supportsAllDrives": True, "includeItemsFromAllDrives": True, "corpora": "drive", "driveId": told["shared_drive"]}
body = {"name": "shared", "parents": [told["shared_drive"]]}
refused("a shared drive without its parameter", lambda: upload(drive, body, small, 0), 404, "notFound")
there = upload(drive, body, small, 0, supportsAllDrives=True)["id"]
check("a shared drive", [f["id"] for f in everything(drive, "trashed=false", **shared)], [there])
check("is not in My Drive", there in [f["id"] for f in everything(drive, "trashed=false")], False)
refused("a shared file", lambda: drive.files().get(fileId=there).execute(), 404, "notFound")
python = passed


# rclone: its own token handling, uploads in pieces by POST, the bin instead of deletion.
def rclone(*arguments, content=None, code=0, expiry="2035-01-01T00:00:00Z"):
    token = dict(access_token=access, token_type="Bearer", refresh_token=told["refresh_token"], expiry=expiry)
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    environment |= {
        "HTTPS_PROXY": url,
        "RCLONE_CONFIG": "/dev/null",
        "RCLONE_CONFIG_D_TYPE": "drive",
        "RCLONE_CONFIG_D_SCOPE": "drive",
        "RCLONE_CONFIG_D_CLIENT_ID": told["client_id"],
        "RCLONE_CONFIG_D_CLIENT_SECRET": told["client_secret"],
        "RCLONE_CONFIG_D_TOKEN": json.dumps(token),
    }
    common = ["--ca-cert", authority, "--retries", "1", "--low-level-retries", "3", "--timeout", "20s",
              "--drive-chunk-size", "256k", "--drive-upload-cutoff", "100k", "--drive-pacer-min-sleep", "1ms"]
    done = subprocess.run(["rclone", *arguments, *common], input=content, env=environment, capture_output=True, timeout=60)
    if done.returncode != code:
        sys.exit(f"FAILED: rclone {arguments}: code {done.returncode}\n{done.stderr.decode()}")
    return done.stdout


rights = own_client()
rights.refresh(google.auth.transport.requests.Request())
access = rights.token
rclone("mkdir", "D:rclone/sub")
for size in (300, 70_000, 12_000_000):
    content = os.urandom(size)
    open("content", "wb").write(content)
    where = f"D:rclone/sub/{size} ü.bin"
    rclone("copyto", "content", where)
    check("rclone: content", rclone("cat", where), content)
    check("rclone: a range", rclone("cat", "--offset", "100", "--count", "50", where), content[100:150])
    line = rclone("lsf", "--format", "psh", "--hash", "MD5", "D:rclone/sub", "--include", f"{size} *")
    check("rclone: list", line.decode(), f"{size} ü.bin;{size};{hashlib.md5(content).hexdigest()}\n")
rclone("deletefile", "D:rclone/sub/300 ü.bin")
check("rclone: after delete", len(rclone("lsf", "D:rclone/sub").splitlines()), 2)
rclone("cat", "D:rclone/sub/none", code=3)
check("rclone: quota", json.loads(rclone("about", "--json", "D:"))["total"], 15 << 30)
rclone("lsf", "D:rclone", expiry="2020-01-01T00:00:00Z")
fault("GET", "/drive/v3/files", {"refuse": {"status": 403, "reason": "userRateLimitExceeded"}}, times=2)
check("rclone: after a limit", rclone("lsf", "D:rclone"), b"sub/\n")
# A reply is lost in the middle of an upload.
fault("POST", "upload_id", "lose-reply", skip=1)
rclone("copyto", "content", "D:rclone/lost.bin")
check("rclone: after a lost reply", rclone("cat", "D:rclone/lost.bin"), content)

# No token in any address.
queries = [name for line in control("/_journal") for name, _ in line["query"]]
check("tokens in addresses", [name for name in queries if name in ("access_token", "oauth_token")], [])
print(f"googledrive simulator: {python} checks by google-api-python-client and {passed - python} by rclone passed")
