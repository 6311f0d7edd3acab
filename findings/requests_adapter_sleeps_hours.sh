#!/usr/bin/env bash
# requests: HTTPAdapter(max_retries=3), which is for lost connections, sleeps on a 429 for hours.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check requests==2.34.2 urllib3==2.8.0
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
import requests as client

session = client.Session()
session.mount(url, client.adapters.HTTPAdapter(max_retries=3))
status = session.get(url).status_code
for package in ("requests", "urllib3"):
    print(package, importlib.metadata.version(package))
print("guess: as its documentation says, only failed connections are repeated: 1 request, no sleep")
print(f"{len(requests)} requests, {sum(slept) / 3600:.0f} h of sleep, then status {status} is returned")
assert len(requests) == 4, requests
assert sum(slept) == 10800, slept
assert status == 429
EOF
