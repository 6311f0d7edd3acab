"""Recognises errors of connecting: the server cannot have processed a request it never got.

Timeouts of reading and connections lost after sending are not among them: what they ask for may
have happened. Known by name over the base classes, without importing anything.
"""

from __future__ import annotations

from paceline import _duck

_NEVER_SENT = frozenset(
    {
        ("builtins", "ConnectionRefusedError"),
        ("socket", "gaierror"),
        ("httpx", "ConnectError"),
        ("httpx", "ConnectTimeout"),
        ("httpx", "PoolTimeout"),
        ("httpx2", "ConnectError"),
        ("httpx2", "ConnectTimeout"),
        ("httpx2", "PoolTimeout"),
        ("httpcore", "ConnectError"),
        ("httpcore", "ConnectTimeout"),
        ("httpcore", "PoolTimeout"),
        ("requests", "ConnectTimeout"),
        ("urllib3", "ConnectTimeoutError"),
        ("urllib3", "NewConnectionError"),
        ("botocore", "EndpointConnectionError"),
        ("botocore", "ConnectTimeoutError"),
        ("botocore", "ProxyConnectionError"),
        ("aiohttp", "ClientConnectorError"),
    }
)

# These say "something with the connection"; what it was is in the exception they carry.
_WRAPPERS = frozenset(
    {
        ("requests", "ConnectionError"),
        ("urllib", "URLError"),
        ("urllib3", "MaxRetryError"),
        ("urllib3", "ProxyError"),
        ("openai", "APIConnectionError"),
        ("anthropic", "APIConnectionError"),
        ("stripe", "APIConnectionError"),
    }
)
_CARRIED_IN = ("reason", "original_error", "__cause__")

_BAD_CERTIFICATE = ("ssl", "SSLCertVerificationError")

# More than any library nests; a bound, because causes may form a ring.
_MOST_CARRIED = 20


def never_sent(exception: BaseException) -> bool:
    """Return whether the request cannot have reached the server. Never raises.

    A certificate that was refused is not counted: trying again cannot help.
    """
    looked_at: set[int] = set()
    to_look_at = [exception]
    found = False
    while to_look_at and len(looked_at) < _MOST_CARRIED:
        current = to_look_at.pop()
        if id(current) in looked_at:
            continue
        looked_at.add(id(current))
        names = _duck.class_names(current)
        if _BAD_CERTIFICATE in names:
            return False
        if names & _NEVER_SENT:
            found = True
            to_look_at.extend(_exceptions(_duck.attribute(current, "__cause__")))
        elif names & _WRAPPERS:
            to_look_at.extend(_carried(current))
    return found


def _carried(wrapper: BaseException) -> list[BaseException]:
    arguments = _duck.attribute(wrapper, "args")
    first = arguments[:1] if _duck.is_a(arguments, tuple) else ()
    return _exceptions(*(_duck.attribute(wrapper, name) for name in _CARRIED_IN), *first)


def _exceptions(*things: object) -> list[BaseException]:
    return [thing for thing in things if _duck.is_a(thing, BaseException)]
