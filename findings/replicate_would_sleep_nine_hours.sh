#!/usr/bin/env bash
# replicate repeats a GET ten times, sleeps each Retry-After whole, and cannot be told not to.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check replicate==1.0.7
"$folder/bin/python" - <<'EOF'
import importlib.metadata
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEADERS = {"Retry-After": "3600"}
STATUS = 429
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
from replicate import Client
from replicate.exceptions import ReplicateError

try:
    Client(api_token="key", base_url=url).models.get("owner/name")
except ReplicateError as error:
    kept = hasattr(error, "headers") or hasattr(error, "response")
print("replicate", importlib.metadata.version("replicate"))
print("guess: a wait of an hour is raised, with its headers, for the caller to decide")
print(f"{len(requests)} requests, {sum(slept) / 3600:.0f} h of sleep; are the headers kept: {kept}")
assert len(requests) == 10, requests
assert sum(slept) == 32400, slept
assert not kept
EOF
