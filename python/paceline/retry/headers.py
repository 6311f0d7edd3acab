"""Reads how long a response asks to wait from its headers.

Read are, under any prefix (``x-``, a vendor's name) and in any case:

- ``Retry-After`` in seconds or as a date (RFC 9110, section 10.2.3), and as servers send it against
  that: with a fraction, as seconds since 1970, as an ISO 8601 moment, as ``7s``.
- The same in milliseconds: ``retry-after-ms`` (OpenAI, and Azure, whose ``x-ms-retry-after-ms`` is
  from the REST reference of Cosmos DB), ``x-amz-retry-after`` (AWS SDKs, retry behavior).
- ``Backoff`` in seconds (Zotero Web API, rate limiting).
- Resets: ``X-RateLimit-Reset`` as seconds since 1970 (GitHub REST API, rate limits), as seconds
  left (Datadog, Contentful), as a moment in ISO 8601 (``anthropic-ratelimit-requests-reset``), as a
  duration (``x-ratelimit-reset-requests: 6m0s``, OpenAI, rate limits), with ``-after`` or in
  milliseconds. A limit of which something remains is not what refused, and its reset no wait.
- ``RateLimit: "default";r=0;t=7`` and ``RateLimit-Policy: "default";q=100;w=60`` (IETF draft
  ratelimit-headers, versions 8 to 10), ``RateLimit: limit=100, remaining=0, reset=5`` (version 7)
  and ``RateLimit-Remaining``, ``RateLimit-Reset`` (versions 0 to 6, seconds left).

Moments are counted from the response's own ``Date`` (RFC 9110, section 6.6.1) where there is one.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from paceline import _duck
from paceline.retry import durations

_RETRY_AFTER = re.compile(r"(?:.+-)?retry-?after(?:-(ms|millis|milliseconds|s|secs?|seconds))?")
_MILLISECONDS = frozenset({"ms", "millis", "milliseconds"})
_SHOULD_RETRY = ("x-should-retry", "stripe-should-retry")
# Metadata of gRPC (gRFC A6, client retries).
_PUSHBACK = "grpc-retry-pushback-ms"

_OF_LIMITS = frozenset({"ratelimit", "ratelimits", "limit", "quota", "throttle"})
_RESET = re.compile(r"resets?(time|at|after|in)?")
# What in a header's name does not name the limit.
_NOISE = _OF_LIMITS | _MILLISECONDS | {"x", "rate", "remaining", "reset", "resets", "resettime"}
_NOISE |= {"after", "at", "in", "time", "s", "sec", "secs", "seconds", "timestamp", "epoch", "utc"}

# An item of a structured field's list (RFC 9651): commas in strings do not end it.
_ITEM = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^",])+')
_PARAMETER = re.compile(r"([a-z*][\w*.-]*)\s*=\s*(-?\d+(?:\.\d+)?)", re.ASCII)
_LONGEST_FIELD = 2_000
_MOST_CALLS = 2**63


class _Header(NamedTuple):
    """What a header of this name tells."""

    kind: Literal["asks", "reset", "remaining"]
    unit: float
    limit: frozenset[str]


@dataclass(slots=True)
class Waits:
    """How long the headers of one response ask to wait, in seconds.

    Attributes:
        asked: By ``Retry-After`` or a header like it, above 0.
        asks: There is such a header, be it of 0 seconds, which tells no time.
        spent: Until a limit is reset of which nothing remains.
        reset: Until a limit is reset that does not say what remains of it.
        final: The server says as well that the request is not to be repeated.
    """

    asked: float | None = None
    asks: bool = False
    spent: float | None = None
    reset: float | None = None
    final: bool = False


def longer(first: float | None, second: float | None) -> float | None:
    """Return the longer of two waits that may be unknown."""
    if first is None or second is None:
        return second if first is None else first
    return max(first, second)


def lower(headers: object) -> dict[str, list[object]]:
    """Return all values of the headers, under lower-case names.

    Some mappings give a list of them for each name, such as the metadata of grpc.aio.
    """
    found: dict[str, list[object]] = {}
    for name, value in _duck.single_pairs(headers):
        key = _duck.text(name)
        if key is not None:
            found.setdefault(key.strip().lower().replace("_", "-"), []).append(value)
    return found


def tells(name: str) -> bool:
    """Return whether nothing but a header has this lower-case name, and it may tell a wait."""
    if name == "backoff":
        return False
    return name in ("ratelimit", "x-ratelimit") or _header(name) is not None


def read(headers: object) -> Waits:
    """Return the waits that headers ask for; see the module for their forms."""
    values = lower(headers)
    now, known = _now(values), _known(values)
    waits = Waits()
    _read_asked(known, now, waits)
    _read_resets(known, now, waits)
    for left, wait in _structured(values):
        _note(waits, left, wait)
    waits.final = any(
        (_duck.text(value) or "").strip().lower() == "false"
        for name in _SHOULD_RETRY
        for value in values.get(name, ())
    )
    return waits


def _now(values: dict[str, list[object]]) -> float:
    dates = values.get("date")
    return durations.now_of(dates[0] if dates else None)


def _known(values: dict[str, list[object]]) -> list[tuple[_Header, object]]:
    return [
        (header, value)
        for name, found in values.items()
        if (header := _header(name)) is not None
        for value in found
    ]


def _read_asked(known: list[tuple[_Header, object]], now: float, waits: Waits) -> None:
    fine = coarse = None
    for header, value in known:
        wait = durations.wait(value, now, header.unit) if header.kind == "asks" else None
        if wait is None:
            continue
        # A moment that has passed says no more than that the clocks differ.
        waits.asks = waits.asks or wait > 0 or durations.seconds(value) == 0
        if wait > 0 and header.unit < 1:
            fine = longer(fine, wait)
        elif wait > 0:
            coarse = longer(coarse, wait)
    # The same wait in milliseconds and rounded up to seconds is no disagreement.
    rounded = fine is not None and coarse is not None and 0 <= coarse - fine < 1
    waits.asked = fine if rounded else longer(fine, coarse)


def _read_resets(known: list[tuple[_Header, object]], now: float, waits: Waits) -> None:
    left = _left(known)
    for header, value in known:
        wait = durations.wait(value, now, header.unit) if header.kind == "reset" else None
        if wait is not None:
            _note(waits, left.get(header.limit), wait)


def _left(known: list[tuple[_Header, object]]) -> dict[frozenset[str], float]:
    """Return what remains of each limit that is named."""
    found: dict[frozenset[str], float] = {}
    for header, value in known:
        left = _remaining(value) if header.kind == "remaining" else None
        if left is not None:
            found[header.limit] = min(left, found.get(header.limit, left))
    return found


def remaining(headers: object) -> tuple[int, float] | None:
    """Return how many calls a server says are left, and the seconds until that is reset.

    Of several limits it is the one of which the least remains; those that count tokens are left
    out. None if there is no such pair of figures.
    """
    values = lower(headers)
    known = _known(values)
    now = _now(values)
    pairs: list[tuple[float, float]] = []
    left = _left(known)
    for header, value in known:
        if header.kind == "reset" and header.limit in left and not _counts_tokens(header.limit):
            wait = durations.wait(value, now, header.unit)
            if wait is not None:
                pairs.append((left[header.limit], wait))
    pairs.extend((count, wait) for count, wait in _structured(values) if count is not None)
    pairs = [(count, wait) for count, wait in pairs if 0 < wait < math.inf and count < _MOST_CALLS]
    if not pairs:
        return None
    count, wait = min(pairs, key=lambda pair: (pair[0], -pair[1]))
    return max(0, math.floor(count)), wait


def _counts_tokens(limit: frozenset[str]) -> bool:
    return any("token" in word for word in limit)


def _note(waits: Waits, left: float | None, wait: float) -> None:
    if wait <= 0:
        return
    if left is None:
        waits.reset = longer(waits.reset, wait)
    elif left <= 0:
        waits.spent = longer(waits.spent, wait)


def _parse(name: str) -> _Header | None:
    found = _RETRY_AFTER.fullmatch(name)
    if found is not None or name in ("backoff", _PUSHBACK):
        is_fine = name in ("x-amz-retry-after", _PUSHBACK) or (
            found is not None and found[1] in _MILLISECONDS
        )
        return _Header("asks", 1e-3 if is_fine else 1.0, frozenset())
    words = name.replace("rate-limit", "ratelimit").split("-")
    if _OF_LIMITS.isdisjoint(words):
        return None
    limit = frozenset(words) - _NOISE
    if "remaining" in words:
        return _Header("remaining", 1.0, limit)
    if any(map(_RESET.fullmatch, words)):
        return _Header("reset", 1.0 if _MILLISECONDS.isdisjoint(words) else 1e-3, limit)
    return None


# The same few names come again and again.
_header = lru_cache(maxsize=1_024)(_parse)


def _remaining(value: object) -> float | None:
    text = _duck.text(value)
    if text is not None and text.strip().startswith("-"):
        return 0.0 if durations.seconds(text.strip()[1:]) is not None else None
    return durations.seconds(value)


def _structured(values: dict[str, list[object]]) -> list[tuple[float | None, float]]:
    """Return what remains, and the seconds until that changes, of each limit of the drafts."""
    windows: dict[str, float] = {}
    for item in _items(values, ("ratelimit-policy", "x-ratelimit-policy")):
        parameters = dict(_PARAMETER.findall(item))
        if "w" in parameters:
            windows[_name(item)] = float(parameters["w"])
    found: list[tuple[float | None, float]] = []
    for name in ("ratelimit", "x-ratelimit"):
        whole = dict(_PARAMETER.findall(" ".join(_items(values, (name,)))))
        if "remaining" in whole or "reset" in whole:
            remaining = float(whole["remaining"]) if "remaining" in whole else None
            found.append((remaining, float(whole.get("reset", 0))))
            continue
        for item in _items(values, (name,)):
            parameters = dict(_PARAMETER.findall(item))
            remaining = float(parameters["r"]) if "r" in parameters else None
            # Without its time, the window it is of is the longest that it can be.
            wait = parameters.get("t", windows.get(_name(item), 0))
            found.append((remaining, float(wait)))
    return found


def _items(values: dict[str, list[object]], names: tuple[str, ...]) -> list[str]:
    texts = (_duck.text(value) for name in names for value in values.get(name, ()))
    return [
        item.strip().lower()
        for text in texts
        if text is not None
        for item in _ITEM.findall(text[:_LONGEST_FIELD])
    ]


def _name(item: str) -> str:
    return item.partition(";")[0].strip()
