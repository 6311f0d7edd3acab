#!/usr/bin/env bash
# spotipy reports a server that is broken as one that refuses.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check spotipy==2.26.0
"$folder/bin/python" - <<'EOF'
import importlib.metadata
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEADERS = {}
STATUS = 500
requests = []
slept = []
time.sleep = slept.append


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        requests.append(self.path)
        self.send_response(STATUS)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        body = b'{"message": "not now", "error": {"message": "not now"}}'
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"
import spotipy

client = spotipy.Spotify(auth="token")
client.prefix = f"{url}/v1/"
try:
    client.artist("4Z8W4fKeB5YxbusRsdQVPb")
except spotipy.SpotifyException as error:
    status, reason = error.http_status, str(error.reason)
print("spotipy", importlib.metadata.version("spotipy"))
print("guess: the status of a server that answers 500 is 500")
print(f"{len(requests)} requests, then http_status {status}, reason {reason!r}")
assert status == 429, status
assert "500" in reason, reason
EOF
