"""Collects what one exception, or one response, says of a refusal: statuses, codes, waits.

Everything is told by its shape: nothing is known of any library.

- A *status* is a whole number, or three digits as text, in an attribute that is called as one.
- A *response* is anything that has a status and headers, or is a mapping of them with a status.
- *Headers* are a mapping under such a name, or any mapping with names of headers that tell a wait.
- A *body* is what a vendor's JSON was parsed to, or that JSON as text, under the name of one.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, field
from enum import Enum

from paceline import _duck
from paceline.retry import durations, grpc_status, headers, words
from paceline.retry.headers import Waits, longer

# Too Many Requests (RFC 6585, section 4); "overloaded", as Anthropic and others answer it; and 420
# of Telegram and, before, of Twitter.
REFUSED = frozenset({420, 429, 529})
# These have other meanings too: only with a time to wait do they say "not now". GitHub answers
# its limits with 403, Binance a client that went on after 429 with 418; for 503 see RFC 9110,
# section 15.6.4.
REFUSED_WITH_A_WAIT = frozenset({403, 418, 503, 509})

_OK, _ERRORS = 100, 400
_LAST = 599

# Where clients keep a status, the surest first. Elsewhere a `code` is an exit code or a number of
# the application's, an `errno` one of the system's.
_STATUSES: tuple[str, ...] = ("status_code", "http_status", "status", "response_code")
_STATUSES += ("http_status_code", "statusCode", "http_code", "httpcode")
# Some are given by a method, and kept in private.
_STATUSES += ("_status_code", "_http_status", "_status", "code", "errcode", "errno")
_OFTEN_OTHERS = frozenset({"_status", "code", "errcode", "errno"})
_RESPONSE_STATUSES = ("status_code", "status", "status_int", "statusCode", "code")
_RESPONSE_HEADERS = ("headers", "_headers", "header", "response_headers")
_RESPONSES = ("response", "http_response", "resp", "raw_response", "last_response", "meta")

_CODES = ("code", "error_code", "errorCode", "type", "error_type", "reason", "error", "status")
_WAITS = (
    "retry_after",
    "retry_after_s",
    "retry_after_secs",
    "retry_after_seconds",
    "retry_after_ms",
    "retryAfter",
)
_RETRY_AFTER = re.compile(r"retry(?:after|in)(?:s|secs?|seconds|ms)?")
# Waits in an exception that is a refusal by other signs; by themselves they mean anything.
_FAINT_WAITS = ("retry_delay", "wait", "backoff", "seconds", "wait_seconds", "period_remaining")
_FAINT_RESETS = ("reset_time", "reset_at", "ratelimit_reset", "reset")
_TEXTS = frozenset({"msg", "message", "reason", "detail", "description", "error", "error_message"})

_BODIES = frozenset(
    {"body", "jsonbody", "json", "details", "errordetails", "detail", "content", "error", "errors"}
    | {"response", "lastresponse", "responsebody", "responsejson", "payload", "items", "metadata"}
    | {"errorinfo", "extensions"}
)
_RESPONSE_BODIES = _BODIES | {"data", "text"}

# In a body, by their names without case and underscores.
_BODY_CODES = frozenset({"code", "errorcode", "error", "errortype", "type", "reason", "status"})
_BODY_STATUSES = frozenset({"status", "code", "statuscode", "httpstatus", "httpstatuscode"})
_BODY_WAITS = {
    **dict.fromkeys(("retryafter", "retryafterseconds", "retryaftersecs", "retryinseconds"), 1.0),
    **dict.fromkeys(("retrydelay", "retryin"), 1.0),
    **dict.fromkeys(("retryafterms", "retryaftermilliseconds"), 1e-3),
}
_INNER_BODIES = _BODIES | {"fault", "status", "responsemetadata", "parameters", "errorextra"}
# Elasticsearch's bulk requests say under these what became of one item.
_ITEMS = frozenset({"index", "create", "update", "delete"})

_DEEPEST = 6
_MOST_ENTRIES = 100
_LONGEST_BODY = 65_536

_PLAIN = (str, bytes, bytearray, int, float, complex, bool, type(None), type, list, tuple, set)


@dataclass(slots=True)
class Evidence:
    """What an exception or a response says by itself.

    Attributes:
        wire: The status of a response that came over the network, or of its record.
        claim: The status as the client tells it.
        coded: A code says that a limit was hit.
        named: The exception's class is called so, or its message says so in words.
        final: A code names a quota that no waiting lifts.
        partial: Some part of a request was refused, and the rest was not.
        stay: The server says not to repeat the request.
        asks: Whether a wait, of which the length may be unknown, is asked for.
        asked: Seconds to wait.
        reset: Seconds until a limit is reset of which it is not told what remains.
        attribute: Seconds in an attribute that is called as a wait.
        texts: What may be messages.
    """

    wire: int | None = None
    claim: int | None = None
    coded: bool = False
    named: bool = False
    final: bool = False
    partial: bool = False
    stay: bool = False
    asks: bool = False
    asked: float | None = None
    reset: float | None = None
    attribute: float | None = None
    texts: list[str] = field(default_factory=list)

    def add(self, waits: Waits) -> None:
        """Add what headers say."""
        self.asks = self.asks or waits.asks or waits.spent is not None
        self.asked = longer(self.asked, longer(waits.asked, waits.spent))
        self.reset = longer(self.reset, waits.reset)
        self.stay = self.stay or waits.final

    def add_wait(self, seconds: float | None) -> None:
        """Add a wait from a body or metadata."""
        if seconds is not None and seconds > 0:
            self.asks, self.asked = True, longer(self.asked, seconds)

    def add_code(self, value: object) -> None:
        """Add what may be an error code; the name of an HTTP status is none."""
        word = _duck.word(value)
        if word is not None and status(value) is None:
            self.coded = self.coded or words.throttled(word)
            self.final = self.final or words.final(word)

    def refuses(self, status: int | None) -> bool:
        """Return whether a status, with the waits beside it, is that of a refusal."""
        return status in REFUSED or (status in REFUSED_WITH_A_WAIT and self.asks)


def status(value: object) -> int | None:
    """Return the HTTP status that a value stands for."""
    try:
        if _duck.is_a(value, Enum):
            value = value.value
        if _duck.is_a(value, bytes):
            value = _duck.text(value)
        if _duck.is_a(value, str):
            value = int(value) if len(value) == 3 and value.isdecimal() else None  # noqa: PLR2004
        if _duck.is_a(value, int) and not _duck.is_a(value, bool) and _OK <= value <= _LAST:
            return int(value)
    except Exception:  # noqa: BLE001 - a subclass of str or int may do anything
        return None
    return None


def of_exception(exception: BaseException) -> tuple[Evidence, list[BaseException]]:
    """Return what an exception says by itself, and the exceptions that it holds."""
    found = Evidence(named=words.named_throttled(exception), claim=_claimed(exception))
    held = _duck.fields(exception)
    inner = _read_held(exception, held, found)
    for name in _CODES:
        found.add_code(_duck.attribute(exception, name))
    _read_grpc(exception, found)
    for name in {*_WAITS, *filter(_names_wait, held)}:
        unit = 1e-3 if name.endswith("_ms") else 1.0
        wait = durations.wait(_duck.attribute(exception, name), time.time(), unit)
        found.attribute = longer(found.attribute, wait if wait is not None and wait > 0 else None)
    found.add_wait(found.attribute)
    _read_texts(held, exception, found)
    return found, inner


def faint_wait(exception: BaseException, texts: list[str]) -> float | None:
    """Return the seconds in what means a wait only if its exception is a refusal."""
    now = time.time()
    found = None
    for name in _FAINT_WAITS + _FAINT_RESETS:
        wait = durations.wait(_duck.attribute(exception, name), now)
        if wait is not None and wait > 0:
            found = longer(found, wait)
    if found is None:
        for text in texts:
            wait = durations.wait(words.wait_in(text), now)
            found = longer(found, wait if wait is not None and wait > 0 else None)
    return found


def of_response(response: object) -> Evidence | None:
    """Return what a response says, or None if a thing is none."""
    if _duck.is_a(response, _PLAIN) or _duck.is_a(response, BaseException):  # type: ignore[arg-type]
        return None
    found = Evidence()
    return found if _read_response(response, found, named=False) else None


def of_value(value: object) -> Evidence:
    """Return what any value says: a response, headers, a body, or an object with a wait."""
    found = of_response(value)
    if found is None:
        found = Evidence()
        _read_body(value, found, sure=False)
        found.add(headers.read(_duck.attribute(value, "headers")))
        for name in _WAITS:
            unit = 1e-3 if name.endswith("_ms") else 1.0
            found.add_wait(durations.wait(_duck.attribute(value, name), time.time(), unit))
    return found


def _claimed(exception: BaseException) -> int | None:
    for name in _STATUSES:
        value = status(_duck.attribute(exception, name))
        if value is not None and (name not in _OFTEN_OTHERS or value >= _ERRORS):
            if name == "errno" and value not in REFUSED:
                continue
            return value
    return None


def _read_held(
    exception: BaseException, held: dict[str, object], found: Evidence
) -> list[BaseException]:
    """Read the responses, headers and bodies that an exception holds; return its exceptions."""
    arguments = _duck.members(_duck.attribute(exception, "args"), _MOST_ENTRIES)
    named = [(name, _duck.attribute(exception, name)) for name in (*_RESPONSES, "headers", "hdrs")]
    inner: list[BaseException] = []
    looked_at: set[int] = set()
    # A mapping that an exception was made of is a body, whatever it keeps it as.
    made_of = {id(each) for each in arguments if _duck.is_mapping(each)}
    for name, value in [*named, *held.items(), *(("", each) for each in arguments)]:
        if value is None or id(value) in looked_at:
            continue
        looked_at.add(id(value))
        plain = _plain(name)
        if _duck.is_a(value, BaseException):
            inner.append(value)
        elif _duck.is_a(value, list) or _duck.is_a(value, tuple):
            # Of several attempts the last one tells how things are.
            each_of = _duck.members(value, _MOST_ENTRIES)
            last = [each for each in each_of if _duck.is_a(each, BaseException)][-1:]
            inner.extend(last)
            if not last and (plain in _BODIES or not name):
                _read_body(value, found, sure=bool(name))
        elif not name.startswith("request") and not _read_response(
            value, found, named=name in _RESPONSES
        ):
            _read_other(plain, value, found, inner, made_of=id(value) in made_of)
    return inner


def _read_other(
    plain: str, value: object, found: Evidence, inner: list[BaseException], *, made_of: bool
) -> None:
    if "header" in plain or plain == "hdrs" or _tells_waits(value):
        found.add(headers.read(value))
    elif plain in _BODIES or made_of:
        _read_body(value, found, sure=plain in _BODIES)
    elif not _duck.is_a(value, _PLAIN):  # type: ignore[arg-type]
        # A future, such as tenacity's last attempt.
        outcome = _duck.fields(value).get("_exception")
        if _duck.is_a(outcome, BaseException):
            inner.append(outcome)


def _tells_waits(value: object) -> bool:
    if not _duck.is_mapping(value):
        return False
    names = [_duck.text(name) for name, _ in _duck.pairs(value)]
    return any(name is not None and headers.tells(name.lower()) for name in names)


def _read_response(response: object, found: Evidence, *, named: bool) -> bool:
    """Read a response; without headers it is one only if it is ``named`` so."""
    if _duck.is_a(response, _PLAIN):  # type: ignore[arg-type]
        return False
    codes = (status(_duck.attribute(response, name)) for name in _RESPONSE_STATUSES)
    code = next((code for code in codes if code is not None), None)
    if code is None:
        return False
    all_headers = [_duck.attribute(response, name) for name in _RESPONSE_HEADERS]
    if _duck.is_mapping(response):
        all_headers.append(response)
    all_headers = [each for each in all_headers if each is not None]
    if not (all_headers or named):
        return False
    # One without any header was made up by a client.
    if found.wire is None and any(map(headers.lower, all_headers)):
        found.wire = code
    elif found.claim is None:
        found.claim = code
    for each in all_headers:
        found.add(headers.read(each))
    for name, value in _duck.fields(response).items():
        if _plain(name) in _RESPONSE_BODIES:
            _read_body(value, found, sure=False)
    return True


def _read_grpc(exception: BaseException, found: Evidence) -> None:
    code = grpc_status.status(_duck.method(exception, "code"))
    if code is None:
        code = grpc_status.status(_duck.attribute(exception, "status"))
    if code is None:
        return
    found.claim = code
    details = _duck.text(_duck.method(exception, "details"))
    if details is not None:
        found.texts.append(details)
    metadata = grpc_status.metadata(exception)
    found.add(headers.read(metadata))
    found.add_wait(grpc_status.retry_delay(metadata))


def _read_texts(held: dict[str, object], exception: BaseException, found: Evidence) -> None:
    arguments = _duck.members(_duck.attribute(exception, "args"), _MOST_ENTRIES)
    named = [value for name, value in held.items() if _plain(name) in _TEXTS]
    for value in [*arguments, *named]:
        text = _duck.text(value)
        if text is not None:
            found.texts.append(text)
    for text in found.texts:
        recorded = words.recorded_status(text)
        if recorded is not None:
            found.wire = recorded
        elif found.claim is None and words.text_is_status_429(text):
            found.claim = 429
        found.named = found.named or words.text_says_throttled(text)


def _read_body(body: object, found: Evidence, *, sure: bool, depth: int = 0) -> None:
    """Read a body; ``sure`` is whether a status in it is that of the whole answer."""
    if depth > _DEEPEST:
        return
    if _duck.is_a(body, str) or _duck.is_a(body, bytes):
        body = _parsed(body)
    if _duck.is_mapping(body):
        for name, value in _duck.pairs(body)[:_MOST_ENTRIES]:
            if _duck.is_a(name, str):
                _read_entry(_plain(name), value, found, sure=sure, depth=depth)
    for each in _duck.members(body, _MOST_ENTRIES):
        if _duck.is_mapping(each):
            _read_body(each, found, sure=False, depth=depth + 1)
        elif not _duck.is_a(each, _PLAIN):  # type: ignore[arg-type]
            # Of a class that was generated from a schema.
            found.add_wait(durations.wait(_duck.attribute(each, "retry_delay"), time.time()))
            found.add_code(_duck.attribute(each, "error_type"))


def _read_entry(name: str, value: object, found: Evidence, *, sure: bool, depth: int) -> None:
    if name in _BODY_CODES:
        found.add_code(value)
    if name in _BODY_WAITS:
        found.add_wait(durations.wait(value, time.time(), _BODY_WAITS[name]))
    elif name in _BODY_STATUSES and status(value) is not None:
        if name == "httpstatuscode" and found.wire is None:
            found.wire = status(value)
        elif sure and found.claim is None:
            found.claim = status(value)
    elif name in ("headers", "httpheaders"):
        found.add(headers.read(value))
    elif name in _INNER_BODIES:
        _read_body(value, found, sure=sure, depth=depth + 1)
    elif name in _ITEMS and _duck.is_mapping(value):
        found.partial = found.partial or status(_duck.item(value, "status")) in REFUSED


def _parsed(text: str | bytes) -> object:
    try:
        if len(text) <= _LONGEST_BODY and text.lstrip()[:1] in ("{", "[", b"{", b"["):
            return json.loads(text)
    except Exception:  # noqa: BLE001 - no JSON, or nested too deep
        return None
    return None


def _names_wait(name: str) -> bool:
    return _RETRY_AFTER.fullmatch(_plain(name)) is not None


def _plain(name: str) -> str:
    return name.replace("_", "").lower()
