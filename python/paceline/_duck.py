"""Reads exceptions and responses of libraries that are never imported here.

They come from anywhere: old releases, wrappers, mocks, servers that lie. Nothing in this module
raises, whatever a property or a mapping does.
"""

from __future__ import annotations

from itertools import islice
from typing import Any, TypeGuard, TypeVar

# More headers than any server sends; a bound, because the mapping may be endless.
_MOST_HEADERS = 1_000

_T = TypeVar("_T")


def is_a(thing: object, cls: type[_T]) -> TypeGuard[_T]:
    """Return ``isinstance``, by the real class: what a thing claims as ``__class__`` may raise."""
    return issubclass(type(thing), cls)


def attribute(thing: object, name: str) -> object:
    """Return the attribute, or None where there is none or reading it fails."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None


def item(mapping: object, key: str) -> object:
    """Return ``mapping[key]``, or None where that fails in any way."""
    try:
        return mapping[key]  # type: ignore[index]
    except Exception:  # noqa: BLE001 - as above
        return None


def class_names(exception: BaseException) -> frozenset[tuple[str, str]]:
    """Return (top-level package, class name) of the exception's class and of all its bases."""
    names = set()
    for cls in type(exception).__mro__:
        module, name = attribute(cls, "__module__"), attribute(cls, "__name__")
        if is_a(module, str) and is_a(name, str):
            names.add((module.partition(".")[0], name))
    return frozenset(names)


def status(thing: object, *names: str) -> int | None:
    """Return the first of the named attributes that is a whole number."""
    for name in names:
        value = attribute(thing, name)
        if is_a(value, int) and not is_a(value, bool):
            return value
    return None


def text(value: object) -> str | None:
    """Return a header's name or value as text, or None if it is neither text nor bytes."""
    if is_a(value, bytes):
        return value.decode("latin-1")
    return value if is_a(value, str) else None


def lower_headers(headers: object) -> dict[str, object]:
    """Return a copy of the headers under lower-case names; of a name given twice, the first."""
    found: dict[str, object] = {}
    try:
        items: Any = attribute(headers, "items")
        pairs: Any = items() if callable(items) else headers
        for name, value in islice(pairs, _MOST_HEADERS):
            key = text(name)
            if key is not None:
                found.setdefault(key.lower(), value)
    except Exception:  # noqa: BLE001 - what was read until then is still true
        return found
    return found
