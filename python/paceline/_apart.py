"""Calls whose frames do not hold the frames that called them."""

from __future__ import annotations

from collections.abc import Generator, Iterable

__all__ = ["exhausting"]


def exhausting() -> Generator[None, Iterable[None]]:
    """Iterate over whatever is sent, one thing after the other.

    A frame that outlives its call, as those of a failure do, holds the frame that has called it,
    and so on down to the bottom of the stack. While a generator waits for the next thing, nobody
    has called it: what was called beneath holds this frame only, in which nothing is kept. (It
    iterates, as that is not counted where Python counts how deep calls are nested.)
    """
    while True:
        sent = yield
        for _ in sent:
            pass
        del sent
