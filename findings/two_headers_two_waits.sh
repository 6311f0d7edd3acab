#!/usr/bin/env bash
# azure-core and OpenAI's client read the same two headers, and wait for different times.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check azure-core==1.41.0 requests==2.34.2 openai==3.57.0
"$folder/bin/python" - <<'EOF'
import importlib.metadata
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

HEADERS = {"retry-after": "1", "retry-after-ms": "7000"}
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
from azure.core import PipelineClient
from azure.core.pipeline.policies import RetryPolicy
from azure.core.rest import HttpRequest
from openai import OpenAI, RateLimitError

PipelineClient(url, policies=[RetryPolicy()]).send_request(HttpRequest("GET", url))
azure = slept[:]
slept.clear()
try:
    OpenAI(base_url=url, api_key="key").chat.completions.create(model="m", messages=[])
except RateLimitError:
    pass
openai = slept[:]
for package in ("azure-core", "openai"):
    print(package, importlib.metadata.version(package))
print("guess: both wait as long as the more exact header says, 7 s")
print(f"azure-core sleeps {azure}, openai {openai}")
assert set(map(float, azure)) == {1.0}, azure
assert set(map(float, openai)) == {7.0}, openai
EOF
