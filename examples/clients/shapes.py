"""Finds where a refusal and its wait stand on what a client raised, by looking everywhere.

It knows nothing of how paceline recognises them, so that it can judge that.
"""

from __future__ import annotations

import re
import types
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

DEPTH = 6
MOST_VALUES = 15_000
_STATUS_NAMES = re.compile(r"status|code|errno|response|args", re.IGNORECASE)
_WAIT_NAMES = re.compile(
    r"retry|reset|wait|backoff|delay|after|ratelimit|rate_limit|seconds", re.IGNORECASE
)
# What leads away from the answer: to the request, to how it was sent, to the interpreter.
_ASIDE = re.compile(
    r"^(_?request|_?req|.*pool.*|.*traceback.*|tb_.*|_?loop|_?context|f_.*|.*cookie.*|_?session"
    r"|_?client|_?connection|history|_?config|_?retry_state|.*descriptor.*|DESCRIPTOR|iter.*"
    r"|_?history|_?retries|_url|url|elapsed|model_.*|_?fp|_?original_response|read.*|fn|_?stream.*)$"
)


def find(
    exception: BaseException, wait: int | None, date: str | None
) -> tuple[list[str], list[str]]:
    """Return the paths at which the status 429 (or its name in gRPC) and the wait stand."""
    statuses, waits = [], []
    for path, name, value in _values(exception):
        if _STATUS_NAMES.search(name) and _is_refusal(value):
            statuses.append(path)
        named = isinstance(value, bytes) or _WAIT_NAMES.search(name)
        if named and wait and _is_wait(value, wait, date):
            waits.append(path)
    key = lambda path: (path.count(".") + path.count("["), len(path))  # noqa: E731
    return sorted(statuses, key=key)[:3], sorted(waits, key=key)[:3]


def _is_refusal(value: Any) -> bool:
    if getattr(value, "name", None) == "RESOURCE_EXHAUSTED":
        return True
    return isinstance(value, int | str) and value in (429, "429", "RESOURCE_EXHAUSTED")


def _is_wait(value: Any, wait: int, date: str | None) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, timedelta):
        return value == timedelta(seconds=wait)
    if isinstance(value, int | float):
        return value in (wait, wait * 1000)
    if isinstance(value, bytes):
        return b"google.rpc.RetryInfo" in value
    if not isinstance(value, str):
        return False
    forms = (f"{wait}", f"{wait}.0", f"{wait}s", f"{wait}000", f"{wait}000.0")
    return value in forms or value == date or re.search(rf"\bt={wait}\b", value) is not None


def _values(exception: BaseException) -> Iterator[tuple[str, str, Any]]:
    """Yield path, last name and value of all that can be reached from an exception."""
    seen: set[int] = set()
    kept: list[Any] = []  # so that no id is used twice
    queue: list[tuple[str, str, Any]] = [("e", "", exception)]
    for path, name, value in queue:
        yield path, name, value
        if len(queue) > MOST_VALUES:
            return
        if isinstance(value, str | bytes | int | float | type | types.ModuleType | timedelta):
            continue
        if isinstance(value, types.FunctionType | types.MethodType | types.BuiltinMethodType):
            continue
        if id(value) in seen or path.count(".") + path.count("[") >= DEPTH:
            continue
        seen.add(id(value))
        kept.append(value)
        queue.extend(_parts(path, name, value))


def _parts(path: str, name: str, value: Any) -> Iterator[tuple[str, str, Any]]:
    yield from _items(path, value)
    if isinstance(value, tuple | list):
        pair = value[0] if len(value) == 2 and isinstance(value[0], str) else None  # noqa: PLR2004
        for place, item in enumerate(value[:20]):
            yield f"{path}[{place}]", str(pair or name), item
        if not hasattr(value, "_fields"):
            return
    if isinstance(value, BaseException):
        for link in ("__cause__", "__context__"):
            if getattr(value, link) is not None:
                yield f"{path}.{link}", link, getattr(value, link)
    for attribute in dir(value):
        if not attribute.startswith("__") and not _ASIDE.match(attribute):
            item = _read(value, attribute)
            if item is not None and not callable(item):
                yield f"{path}.{attribute}", attribute, item


def _items(path: str, value: Any) -> list[tuple[str, str, Any]]:
    if not (hasattr(value, "items") and hasattr(value, "keys")):
        return []
    try:
        return [(f"{path}[{key!r}]", str(key), item) for key, item in list(value.items())[:100]]
    except Exception:  # noqa: BLE001 - it was no mapping
        return []


def _read(value: Any, attribute: str) -> Any:
    try:
        item = getattr(value, attribute)
        # gRPC's are methods.
        return item() if attribute in ("code", "trailing_metadata") and callable(item) else item
    except Exception:  # noqa: BLE001 - a property may do anything
        return None
