#!/usr/bin/env bash
# boto3 repeats a refused call two times within seconds, whatever Retry-After says.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check boto3==1.44.8
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
import boto3
from botocore.exceptions import ClientError

client = boto3.client(
    "s3", endpoint_url=url, region_name="eu", aws_access_key_id="a", aws_secret_access_key="b"
)
try:
    client.get_object(Bucket="b", Key="k")
except ClientError as error:
    mode = error.response["ResponseMetadata"]["RetryAttempts"]
print("boto3", importlib.metadata.version("boto3"))
print("guess: five requests (the legacy mode that it had for years), 7 s apart")
print(f"{len(requests)} requests, {sum(slept):.1f} s of sleep")
assert len(requests) == 3, requests
assert sum(slept) < 7, slept
EOF
