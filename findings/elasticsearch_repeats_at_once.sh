#!/usr/bin/env bash
# elasticsearch repeats a refused call three times without a pause, whatever Retry-After says.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check elasticsearch==9.5.1
"$folder/bin/python" - <<'EOF'
import importlib.metadata
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEADERS = {"Retry-After": "7", "X-Elastic-Product": "Elasticsearch"}
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
from elasticsearch import ApiError, Elasticsearch

began = time.monotonic()
try:
    Elasticsearch(url).index(index="i", document={"a": 1})
except ApiError as error:
    status = error.status_code
taken = time.monotonic() - began
print("elasticsearch", importlib.metadata.version("elasticsearch"))
print("guess: a 429 with Retry-After: 7 is repeated after 7 s, or raised; a POST is not repeated")
print(f"{len(requests)} requests within {taken:.1f} s, {sum(slept):.0f} s of sleep, then {status}")
assert len(requests) == 4, requests
assert sum(slept) == 0, slept
EOF
