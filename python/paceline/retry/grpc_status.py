"""Reads the status of a failed gRPC call, without importing anything of gRPC.

Waits are in its trailing metadata: ``retry-after`` in seconds, ``grpc-retry-pushback-ms`` in
milliseconds (gRFC A6, client retries), and ``grpc-status-details-bin``, a serialized
``google.rpc.Status`` (googleapis, google/rpc/status.proto and error_details.proto), whose
``RetryInfo`` is decoded by hand.
"""

from __future__ import annotations

from collections.abc import Iterator

from paceline import _duck

# The codes of gRPC that refuse before anything was done, and the HTTP statuses that mean the same
# (googleapis, google/rpc/code.proto).
_STATUSES = {"RESOURCE_EXHAUSTED": 429, "UNAVAILABLE": 503}
_DETAILS = "grpc-status-details-bin"
_RETRY_INFO = "google.rpc.RetryInfo"

# The wire format of protocol buffers.
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_MOST_PARTS = 1_000


def status(code: object) -> int | None:
    """Return the HTTP status of what ``code()`` gave: a member of ``grpc.StatusCode``, or alike."""
    return _STATUSES.get(_duck.word(code) or "")


def metadata(exception: BaseException) -> list[tuple[object, object]]:
    """Return the trailing metadata of a failed call."""
    return _duck.single_pairs(_duck.method(exception, "trailing_metadata"))


def retry_delay(pairs: list[tuple[object, object]]) -> float | None:
    """Return the seconds in the ``RetryInfo`` among a failed call's metadata."""
    for key, value in pairs:
        if _duck.text(key) == _DETAILS and _duck.is_a(value, bytes):
            for number, detail in _parts(value):
                if number == 3 and _duck.is_a(detail, bytes):  # noqa: PLR2004 - Status.details
                    wait = _delay(detail)
                    if wait is not None:
                        return wait
    return None


def _delay(detail: bytes) -> float | None:
    """Return the delay in a ``google.protobuf.Any``, if that holds a ``RetryInfo``."""
    holder = dict(_parts(detail))
    url, packed = holder.get(1), holder.get(2)
    if not (_duck.is_a(url, bytes) and url.decode("latin-1").endswith(_RETRY_INFO)):
        return None
    delay = dict(_parts(packed)).get(1) if _duck.is_a(packed, bytes) else None
    if not _duck.is_a(delay, bytes):
        return None
    duration = dict(_parts(delay))
    whole, nanos = duration.get(1, 0), duration.get(2, 0)
    if not (_duck.is_a(whole, int) and _duck.is_a(nanos, int)) or whole >= 2**63:
        return None
    return whole + min(nanos, 10**9) / 1e9


def _parts(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the numbered fields of a message, as far as it is well formed."""
    at = 0
    for _ in range(_MOST_PARTS):
        key, at = _varint(message, at)
        if key is None:
            return
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            if value is None:
                return
            yield number, value
            continue
        size: int | None = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _LENGTH:
            size, at = _varint(message, at)
        if size is None or at + size > len(message):
            return
        yield number, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int | None, int]:
    value = 0
    for shift, byte in enumerate(message[at : at + _LONGEST_VARINT]):
        value |= (byte & 127) << 7 * shift
        if byte < 128:  # noqa: PLR2004 - the last byte has no continuation bit
            return value, at + shift + 1
    return None, at
