#!/usr/bin/env bash
# semanticscholar and opencage return a 503 as a call that went well and found nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    semanticscholar==0.12.0 opencage==3.4.0
"$folder/bin/python" - <<'EOF'
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

STATUS = 503
requests = []
slept = []
time.sleep = slept.append


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        requests.append(self.path)
        # Without results opencage would raise.
        words = {"code": STATUS, "message": "not now"}
        body = json.dumps({"message": "not now", "status": words, "results": []}).encode()
        self.send_response(STATUS)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_port


def semanticscholar():
    from semanticscholar import SemanticScholar

    paper = SemanticScholar(api_url=f"http://127.0.0.1:{port}").get_paper("10.1000/1")
    return {"title": paper.title, "paperId": paper.paperId}


def opencage():
    from opencage.geocoder import OpenCageGeocode

    geocoder = OpenCageGeocode("0" * 32, protocol="http", domain=f"localhost:{port}")
    return geocoder.geocode("Berlin")


print(f"guess: an error for the {STATUS}, or more requests")
for call, nothing in ((semanticscholar, {"title": None, "paperId": None}), (opencage, [])):
    requests.clear()
    found = call()
    name = call.__name__
    print(f"{name} {version(name)}: {len(requests)} request, no error, and it returned {found}")
    assert found == nothing, found
    assert len(requests) == 1, requests
assert not slept
EOF
