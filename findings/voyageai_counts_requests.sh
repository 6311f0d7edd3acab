#!/usr/bin/env bash
# voyageai: max_retries counts requests, so that 1 repeats nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check voyageai==0.5.0
"$folder/bin/python" - <<'EOF'
import importlib.metadata
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEADERS = {"Retry-After": "7"}
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
        body = b'{"detail": "not now"}'
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
import voyageai

found = {}
for number in (0, 1, 2, 3):
    requests.clear()
    try:
        voyageai.Client(api_key="key", base_url=url, max_retries=number).embed(["x"], model="m")
    except voyageai.error.RateLimitError:
        found[number] = len(requests)
print("voyageai", importlib.metadata.version("voyageai"))
print("guess: max_retries=1 is one repetition, two requests")
print(f"requests by max_retries: {found}")
assert found == {0: 1, 1: 1, 2: 2, 3: 3}, found
EOF
