"""Reads exceptions and responses of libraries that are never imported here.

They come from anywhere: old releases, wrappers, mocks, servers that lie. Nothing in this module
raises, whatever a property or a mapping does.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from itertools import islice
from typing import Any, TypeGuard, TypeVar

# More than any server sends, and any library keeps; bounds, because both may be endless.
_MOST_HEADERS = 1_000
_MOST_FIELDS = 200

_T = TypeVar("_T")


def is_a(thing: object, cls: type[_T]) -> TypeGuard[_T]:
    """Return ``isinstance``, by the real class: what a thing claims as ``__class__`` may raise."""
    return issubclass(type(thing), cls)


def is_mapping(thing: object) -> TypeGuard[Mapping[Any, Any]]:
    """Return whether a thing is a mapping by its class."""
    try:
        return is_a(thing, dict) or issubclass(type(thing), Mapping)
    except Exception:  # noqa: BLE001 - a metaclass may do anything
        return False


def attribute(thing: object, name: str) -> object:
    """Return the attribute, or None where there is none or reading it fails."""
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - a property may raise anything
        return None


def method(thing: object, name: str) -> object:
    """Call the method that a thing's class defines, and return the result.

    None where there is none, or it raises. A mock, which makes up whatever it is asked for, has
    none.
    """
    try:
        if any(name in vars(cls) for cls in type(thing).__mro__):
            found = getattr(thing, name)
            return found() if callable(found) else None
    except Exception:  # noqa: BLE001 - as above
        return None
    return None


def item(mapping: object, key: str) -> object:
    """Return ``mapping[key]``, or None where that fails in any way."""
    try:
        return mapping[key]  # type: ignore[index]
    except Exception:  # noqa: BLE001 - as above
        return None


def fields(thing: object) -> dict[str, object]:
    """Return what an instance holds, in its ``__dict__`` and its slots; no property is read."""
    found: dict[str, object] = {}
    try:
        for cls in type(thing).__mro__:
            slots = vars(cls).get("__slots__", ())
            for name in (slots,) if is_a(slots, str) else tuple(slots):
                if is_a(name, str) and not name.startswith("__"):
                    value = attribute(thing, name)
                    if value is not None:
                        found[name] = value
        held = object.__getattribute__(thing, "__dict__")
        if is_a(held, dict):
            first = islice(dict.items(held), _MOST_FIELDS)
            found |= {name: value for name, value in first if is_a(name, str)}
    except Exception:  # noqa: BLE001 - as above; what was read until then is still true
        return found
    return found


def class_names(exception: BaseException) -> frozenset[tuple[str, str]]:
    """Return (top-level package, class name) of the exception's class and of all its bases."""
    names = set()
    for cls in type(exception).__mro__:
        module, name = attribute(cls, "__module__"), attribute(cls, "__name__")
        if is_a(module, str) and is_a(name, str):
            names.add((module.partition(".")[0], name))
    return frozenset(names)


def text(value: object) -> str | None:
    """Return a header's name or value as text, or None if it is neither text nor bytes."""
    if is_a(value, bytes):
        return value.decode("latin-1")
    return value if is_a(value, str) else None


def word(value: object) -> str | None:
    """Return text, or the name of a member of an enumeration; None for anything else."""
    if is_a(value, Enum):
        return text(attribute(value, "name"))
    return value if is_a(value, str) else None


def pairs(things: object) -> list[tuple[object, object]]:
    """Return the pairs of a mapping, or of an iterable of pairs, as far as they can be read."""
    found: list[tuple[object, object]] = []
    try:
        items: Any = attribute(things, "items")
        for name, value in islice(items() if callable(items) else things, _MOST_HEADERS):  # type: ignore[arg-type]
            found.append((name, value))
    except Exception:  # noqa: BLE001 - what was read until then is still true
        return found
    return found


def single_pairs(things: object) -> list[tuple[object, object]]:
    """Return pairs as :func:`pairs` does, one for each value of a name that has a list of them.

    So have those of headers in several libraries, and ``grpc.aio``'s metadata.
    """
    return [
        (name, each)
        for name, value in pairs(things)
        for each in (
            members(value, _MOST_HEADERS) if is_a(value, list) or is_a(value, tuple) else [value]
        )
    ]


def members(things: object, most: int) -> list[object]:
    """Return the first members of a list or a tuple."""
    if not (is_a(things, list) or is_a(things, tuple)):
        return []
    try:
        return list(islice(things, most))
    except Exception:  # noqa: BLE001 - as above
        return []
