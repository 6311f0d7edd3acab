"""A server that answers every request in the same way, and is found at every address."""

from __future__ import annotations

import os
import socket
import ssl
import sys
import tempfile
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from .modes import Answer

CLIENT_PATIENCE = 0.5
"""Seconds after which a client's own timeout is up when the server does not answer."""
NOWHERE = "192.0.2.1"
"""What every name resolves to: an address for documentation (RFC 5737)."""
SERVICES = {"http": 80, "https": 443, None: 0}
LOOPBACK = ("127.0.0.1", "localhost", "::1", "0.0.0.0", "", None)  # noqa: S104 - only compared


class Handler(BaseHTTPRequestHandler):
    """Reads a request and answers it as its server's owner says."""

    protocol_version = "HTTP/1.1"
    server: Listener

    def answer(self) -> None:
        """Answer a request of any method."""
        self._read_body()
        owner = self.server.owner
        closing = owner.closing
        path = self.path.partition("?")[0]
        opened = [value for key, value in owner.open.items() if f"{path}/".startswith(f"{key}/")]
        if opened:
            self._write(Answer(200, body=opened[0]))
            return
        owner.requests.append(f"{self.command} {self.path}")
        if owner.answer is None:
            closing.wait(60)
            self.close_connection = True
        else:
            self._write(owner.answer)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = do_OPTIONS = answer  # noqa: N815

    def _read_body(self) -> None:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        else:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _write(self, response: Answer) -> None:
        body, kind = response.encode()
        self.send_response(response.status)
        headers = response.headers()
        self.server.owner.last_headers = headers
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing: what was asked is counted."""


class Listener(ThreadingHTTPServer):
    """One port, in plain or, with a context, over TLS."""

    daemon_threads = True

    def __init__(self, owner: RefusingServer, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.owner = owner
        self._context = context
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; the handshake is left to the connection's own thread."""
        connection, address = super().get_request()
        if self._context is not None:
            connection = self._context.wrap_socket(
                connection, server_side=True, do_handshake_on_connect=False
            )
        return connection, address

    def handle_error(self, *_: object) -> None:
        """Say nothing: clients come and go as they like."""


class RefusingServer:
    """Answers in threads of its own, over HTTP and, where `trustme` is installed, HTTPS.

    Attributes:
        url: Where it is.
        answer: What every request gets; None for no answer at all.
        open: What requests under a path get instead, with status 200.
        requests: The requests that have been answered with `answer`, or not at all.
        last_headers: What the last of them got.
        closing: Set when those that get no answer need not be waited for any more.
    """

    def __init__(self) -> None:
        self.answer: Answer | None = None
        self.open: Mapping[str, Any] = {}
        self.requests: list[str] = []
        self.last_headers: Mapping[str, str] = {}
        self.closing = threading.Event()
        self._plain = Listener(self, None).server_port
        self.url = f"http://127.0.0.1:{self._plain}"

    def reset(self, answer: Answer | None, opened: Mapping[str, Any]) -> None:
        """Forget what was asked so far, and answer like this from now on."""
        self.closing.set()
        self.closing = threading.Event()
        self.answer, self.open, self.requests = answer, opened, []

    def be_everywhere(self) -> None:
        """Let every name in this process lead here, with certificates that it trusts."""
        secure = Listener(self, self._certificates()).server_port
        resolve, connect = socket.getaddrinfo, socket.socket.connect

        def mine(port: int) -> int:
            return secure if port == SERVICES["https"] else self._plain

        def here(host: Any, port: Any, *args: Any, **kwargs: Any) -> Any:
            name = host.decode() if isinstance(host, bytes) else host
            if name in LOOPBACK:
                return resolve(host, port, *args, **kwargs)
            return [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (NOWHERE, SERVICES.get(port, port)))
            ]

        def connect_here(own: socket.socket, address: Any) -> None:
            # Some clients connect to the name itself, and leave it to the system to resolve.
            if own.family == socket.AF_INET and address[0] not in LOOPBACK:
                address = ("127.0.0.1", mine(address[1]))
            connect(own, address)

        socket.getaddrinfo = here
        socket.socket.connect = connect_here  # type: ignore[method-assign]

    def _certificates(self) -> ssl.SSLContext:
        import trustme  # noqa: PLC0415 - not needed by clients that can be given an address

        authority = trustme.CA()
        bundle = Path(tempfile.mkdtemp(), "authority.pem")
        authority.cert_pem.write_to_path(str(bundle))
        for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "HTTPLIB2_CA_CERTS"):
            os.environ[name] = str(bundle)
        try:
            import certifi  # noqa: PLC0415 - which most clients ask, and not all have
        except ImportError:
            pass
        else:
            certifi.where = lambda: str(bundle)
            sys.modules["certifi.core"].where = certifi.where

        known: dict[str, ssl.SSLContext] = {}

        def certify(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            host = name or "localhost"
            if host not in known:
                known[host] = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                authority.issue_cert(host).configure_cert(known[host])
            connection.context = known[host]

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(context)
        context.sni_callback = certify  # type: ignore[assignment]
        return context
