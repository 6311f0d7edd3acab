"""The answers that a client is refused with, and those that are no refusals."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any

WAIT = 7
"""Seconds that the server asks for."""
LONG_WAIT = 3600


@dataclass(frozen=True, slots=True)
class Mode:
    """One way to answer every request."""

    status: int
    """The HTTP status; 0 for no answer at all."""
    wait: int | None = None
    """Seconds the server asks for, in the form that `headers` gives them."""
    headers: Callable[[int], Mapping[str, str]] = lambda _: {}
    refused: bool = False
    """The server says that this came too early."""


def _seconds(wait: int) -> Mapping[str, str]:
    return {"Retry-After": str(wait)}


def _date(wait: int) -> Mapping[str, str]:
    return {"Retry-After": formatdate(time.time() + wait, usegmt=True)}


def _milliseconds(wait: int) -> Mapping[str, str]:
    return {"retry-after-ms": str(wait * 1000)}


REFUSALS = {
    "seconds": Mode(429, WAIT, _seconds, refused=True),
    "none": Mode(429, refused=True),
    "date": Mode(429, WAIT, _date, refused=True),
    "vendor": Mode(429, WAIT, _milliseconds, refused=True),
    "503": Mode(503, WAIT, _seconds, refused=True),
    "hour": Mode(429, LONG_WAIT, _seconds, refused=True),
}
OTHERS = {str(status): Mode(status) for status in (400, 401, 403, 404, 409, 422, 500)}
OTHERS["timeout"] = Mode(0)
MODES = REFUSALS | OTHERS


def all_but(*names: str) -> tuple[str, ...]:
    """Return the other modes, for a case that cannot tell them apart."""
    return tuple(name for name in MODES if name not in names)


OFF = "off"
"""Mode `seconds` with the client's own retries switched off."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response.

    Attributes:
        status: Its status.
        headers: Makes its headers when it is sent: a date is so many seconds from then.
        body: Bytes, XML or HTML as text, or what is written as JSON; None for an empty one.
    """

    status: int
    headers: Callable[[], Mapping[str, str]] = dict
    body: Any = None

    def encode(self) -> tuple[bytes, str]:
        """Return the body and its type."""
        if self.body is None:
            return b"", "text/plain"
        if isinstance(self.body, bytes):
            return self.body, "application/octet-stream"
        if isinstance(self.body, str):
            kind = "text/html" if self.body.startswith("<html") else "application/xml"
            return self.body.encode(), kind
        return json.dumps(self.body).encode(), "application/json"


def plain_body(_: int, words: str) -> Any:
    """Return an error as most vendors put it: JSON with a message, and the status nowhere in it."""
    return {"error": {"type": "error", "message": words}, "message": words, "detail": words}


def answer(
    mode: Mode, vendor: Mapping[str, Any] | None, body: Callable[[int, str], Any] | None
) -> Answer:
    """Return the response of a mode, in the vendor's own way if that is given."""
    make = body or plain_body
    if vendor is None:
        said = make(mode.status, http.client.responses[mode.status])
        return Answer(mode.status, partial(mode.headers, mode.wait or 0), said)
    status = vendor.get("status", mode.status)
    headers = vendor.get("headers", {})
    said = vendor.get("body")
    if said is None:
        said = make(status, http.client.responses[status])
    return Answer(status, headers if callable(headers) else lambda: headers, said)
