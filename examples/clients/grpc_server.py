"""The refusing server for gRPC: any method, any request."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc

from .modes import LONG_WAIT, OFF, WAIT

STATUSES = {
    "400": "INVALID_ARGUMENT",
    "401": "UNAUTHENTICATED",
    "403": "PERMISSION_DENIED",
    "404": "NOT_FOUND",
    "409": "ALREADY_EXISTS",
    "422": "FAILED_PRECONDITION",
    "500": "INTERNAL",
    "503": "UNAVAILABLE",
    "timeout": "DEADLINE_EXCEEDED",
}
"""The status of a mode, where it is not RESOURCE_EXHAUSTED."""


def message(number: int, payload: bytes) -> bytes:
    """Return a field of protobuf that holds bytes."""
    return bytes([number << 3 | 2, len(payload)]) + payload


def status_details(code: int, words: str, wait: int) -> bytes:
    """Return a `google.rpc.Status` with a `google.rpc.RetryInfo`."""
    value, seconds = wait, b""
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte
        seconds += bytes([value & 0x7F | 0x80])
        value >>= 7
    duration = b"\x08" + seconds + bytes([value])
    info = message(1, b"type.googleapis.com/google.rpc.RetryInfo")
    info += message(2, message(1, duration))
    return b"\x08" + bytes([code]) + message(2, words.encode()) + message(3, info)


class RefusingGrpcServer(grpc.GenericRpcHandler):
    """Answers every call with one status; waits as RetryInfo, or as plain trailing metadata.

    `vendor` is a `retry-after` in seconds, `date` a `grpc-retry-pushback-ms`.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.last_headers: dict[str, str] = {}
        self._mode = "none"
        self._server = grpc.server(ThreadPoolExecutor(8), handlers=[self])
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.url = f"127.0.0.1:{port}"

    def reset(self, mode: str) -> None:
        """Forget the calls, and answer like this from now on."""
        self._mode, self.requests = mode, []

    def service(self, handler_call_details: Any) -> Any:
        """Answer a call."""
        self.requests.append(handler_call_details.method)

        def refuse(_: Any, context: Any) -> None:
            code = grpc.StatusCode[STATUSES.get(self._mode, "RESOURCE_EXHAUSTED")]
            trailing: list[tuple[str, str | bytes]] = []
            if self._mode in ("seconds", "503", "hour", OFF):
                wait = LONG_WAIT if self._mode == "hour" else WAIT
                details = status_details(code.value[0], "not now", wait)
                trailing.append(("grpc-status-details-bin", details))
            elif self._mode == "vendor":
                trailing.append(("retry-after", str(WAIT)))
            elif self._mode == "date":
                trailing.append(("grpc-retry-pushback-ms", str(WAIT * 1000)))
            context.set_trailing_metadata(trailing)
            context.abort(code, "not now")

        return grpc.unary_unary_rpc_method_handler(refuse)
