#!/usr/bin/env bash
# paypalrestsdk answers a 401 with a new token and the same call, until Python's stack is full.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check paypalrestsdk==1.13.3
"$folder/bin/python" - <<'EOF'
import importlib.metadata
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

requests = {"calls": 0, "tokens": 0}
logging.disable()


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_token = self.path.endswith("/token")
        requests["tokens" if is_token else "calls"] += 1
        body = b'{"name": "AUTHENTICATION_FAILURE"}'
        if is_token:
            body = b'{"access_token": "t", "token_type": "Bearer", "expires_in": 3600}'
        self.send_response(200 if is_token else 401)
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
from paypalrestsdk import Api, Payment

options = {"endpoint": url, "token_endpoint": url, "client_id": "i", "client_secret": "s"}
try:
    Payment.find("PAY-1", api=Api({"mode": "sandbox", **options}))
except Exception as error:
    raised = type(error).__name__
print("paypalrestsdk", importlib.metadata.version("paypalrestsdk"))
print("guess: one new token, one more call, then UnauthorizedAccess")
print(f"{requests['calls']} calls and {requests['tokens']} tokens for one find, then {raised}")
assert raised == "RecursionError", raised
assert requests["calls"] > 100, requests
assert requests["tokens"] > 100, requests
EOF
