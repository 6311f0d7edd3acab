#!/usr/bin/env bash
# Four clients turn a Retry-After that is a date into a ValueError or a TypeError.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
${PYTHON:-python3} -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check \
    trino==0.340.0 python-gitlab==8.6.0 jira==3.10.5 prawcore==4.0.0
"$folder/bin/python" - <<'EOF'
import threading
import time
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

requests = []
slept = []
time.sleep = slept.append


class Server(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self):
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        lets_in = self.path.endswith("/access_token")
        body = b'{"message": "not now"}'
        if lets_in:
            body = b'{"access_token": "t", "expires_in": 3600, "scope": "*"}'
        else:
            requests.append(self.path)
        self.send_response(200 if lets_in else 429)
        # One of the two forms of RFC 9110, section 10.2.3.
        self.send_header("Retry-After", formatdate(time.time() + 7, usegmt=True))
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
port = server.server_port
url = f"http://127.0.0.1:{port}"


def trino():
    from trino.dbapi import connect

    connect(host="127.0.0.1", port=port, user="u").cursor().execute("SELECT 1")


def gitlab():
    from gitlab import Gitlab

    Gitlab(url, private_token="t").projects.get(1)


def jira():
    from jira import JIRA

    JIRA(url, token_auth="t", get_server_info=False).issue("A-1")


def prawcore():
    import prawcore

    requestor = prawcore.Requestor(user_agent="a user agent", oauth_url=url, reddit_url=url)
    authenticator = prawcore.TrustedAuthenticator(
        requestor=requestor, client_id="id", client_secret="secret"
    )
    authorizer = prawcore.ReadOnlyAuthorizer(authenticator=authenticator)
    authorizer.refresh()
    prawcore.session(authorizer=authorizer).request(method="GET", path="/api/v1/me")


print("guess: the client's own error with status 429, or a wait of 7 s and another request")
clients = {"trino": trino, "python-gitlab": gitlab, "jira": jira, "prawcore": prawcore}
for name, call in clients.items():
    requests.clear()
    try:
        call()
    except Exception as error:
        raised = error
    kind = type(raised)
    told = " ".join(str(raised).split())
    print(f"{name} {version(name)}: {len(requests)} request, {kind.__name__}: {told[:80]}")
    assert kind in (ValueError, TypeError), kind
    assert "429" not in str(raised) and not hasattr(raised, "response")
    assert len(requests) == 1, requests
assert not slept
EOF
