"""Tells whether a value is a response, or holds one: by its class, running no code of its own."""

from __future__ import annotations

from weakref import WeakKeyDictionary

_STATUSES = ("status_code", "status", "status_int", "code")
_HEADERS = ("headers", "_headers", "header")
# Where a client's own answer, of which the status may be a word, keeps what came over the network.
_INNER = ("transport_response", "http_response", "raw_response", "response")
# `(response, content)` of httplib2; others give `(result, response, error)`.
_TUPLES = (2, 3)

# Of each type of values, whether its class defines a status, and headers; None for one whose
# instances can have neither.
_KINDS: WeakKeyDictionary[type, tuple[bool, bool] | None] = WeakKeyDictionary()
_BOTH = (True, True)
_UNKNOWN = (False, False)


def may_be_response(value: object) -> bool:
    """Return whether there is a :func:`response_of` a value."""
    return response_of(value) is not None


def response_of(value: object, *, within: bool = True) -> object:
    """Return a value that has a status and headers, the response that it holds, or None.

    Where ``within`` it is searched as well, that is in an attribute, or in a pair or a triple. None
    of its own code runs: so a proxy that would fetch what it stands for does not, and a mock is not
    asked.
    """
    cls = type(value)
    if cls is tuple and within:
        return _only_one(value)  # type: ignore[arg-type]
    try:
        kind = _KINDS.get(cls, _UNKNOWN)
        if kind is _UNKNOWN:
            kind = _remember(cls)
        if kind is None or kind == _BOTH:
            return value if kind else None
        held = object.__getattribute__(value, "__dict__")
        if not (kind[0] or any(name in held for name in _STATUSES)):
            return None
        if kind[1] or any(name in held for name in _HEADERS):
            return value
        inner = (held[name] for name in _INNER if within and name in held)
        return next((response_of(each, within=False) for each in inner), None)
    except Exception:  # noqa: BLE001 - what a metaclass does
        return None


def _only_one(values: tuple[object, ...]) -> object:
    if len(values) not in _TUPLES:
        return None
    responses = (response_of(each, within=False) for each in values)
    found = [each for each in responses if each is not None]
    # With several, nobody knows which of them says what became of the call.
    return found[0] if len(found) == 1 else None


def _remember(cls: type) -> tuple[bool, bool] | None:
    if issubclass(cls, BaseException | type):
        kind = None
    elif issubclass(cls, dict) and cls is not dict and _declares(cls):
        kind = _BOTH  # A mapping whose entries are attributes as well.
    else:
        # httplib2's is itself the mapping of its headers.
        kind = (_defines(cls, _STATUSES), issubclass(cls, dict) or _defines(cls, _HEADERS))
        if kind != _BOTH and cls.__dictoffset__ == 0:
            kind = None
    _KINDS[cls] = kind
    return kind


def _defines(cls: type, names: tuple[str, ...]) -> bool:
    return any(name in vars(base) for base in cls.__mro__ for name in names)


def _declares(cls: type) -> bool:
    declared: set[str] = set()
    for base in cls.__mro__:
        declared.update(getattr(base, "__annotations__", ()))
    return not (declared.isdisjoint(_STATUSES) or declared.isdisjoint(_HEADERS))
