"""How a verb has its batch run."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paceline import _core

__all__ = ["BatchOptions", "default_ahead"]


# How many quick operations are read ahead, in all.
MOST_AHEAD = 1024


class BatchOptions:
    """How a batch is to be treated, as ``src/python/options.rs`` reads it."""

    # No NamedTuple: to make the class of one is a good part of what the package takes to import.
    __slots__ = ("ahead", "attended", "delivery", "max_failures", "stop_on_failure", "timeout")

    def __init__(
        self,
        *,
        delivery: _core.Delivery,
        attended: bool,
        ahead: tuple[int, int, int],
        timeout: float | None,
        stop_on_failure: bool,
        max_failures: tuple[float, int] | None,
    ) -> None:
        self.delivery = delivery
        self.attended = attended
        self.ahead = ahead
        self.timeout = timeout
        self.stop_on_failure = stop_on_failure
        self.max_failures = max_failures


def default_ahead(workers: int) -> tuple[int, int, int]:
    """Bounds on the operations that are read and not handed over.

    For any, for quick ones, and for quick ones of which nothing is held but their arguments.

    CPython's collector runs when so many more objects were made than freed as its first threshold
    says, and an operation is made of two that count, or more. From half of the threshold on it
    would run all the time, so it stays below.
    """
    least = 2 * workers + 1
    threshold = gc.get_threshold()[0] if gc.isenabled() else 0
    heavy = min(MOST_AHEAD, threshold * 9 // 20) if threshold else MOST_AHEAD
    return least, max(least, heavy), max(least, MOST_AHEAD)
