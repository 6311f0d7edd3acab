"""The input of a batch: where its operations come from, known from the start or read on the way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from operator import length_hint
from typing import Generic, TypeVar

from paceline import _core
from paceline._options import MOST_AHEAD, BatchOptions

__all__ = ["Input"]

T = TypeVar("T")

# An input that took more seconds to answer is slow. It is asked again when no outcome has become
# ready for a share of that time. So an input that works for its answers loses no more than that,
# and an outcome waits for the input no longer than about ten times its own call took.
_SLOW = 0.005
_SHARE = 0.1
_MOST_WAITED = 1.0


class Input(Generic[T]):
    """The operations of one batch, which its owner reads for the workers."""

    def __init__(
        self,
        operations: Iterable[Callable[[], T]],
        options: BatchOptions,
        *,
        told: bool,
        awaits: bool = False,
    ) -> None:
        self._operations = operations
        # Whether what operations return is awaited.
        self._awaits = awaits
        self._options = options
        # Whether outcomes are to know their operations, also where they are handed over on the way.
        self._told = told
        # Whether it was known from the start how many operations there are.
        self.is_sized = isinstance(operations, list | tuple)
        # Whether its owner is inside it, which it may never return from.
        self.is_reading = False
        # How long to wait for outcomes before more is asked for, in seconds; 0 if that was quick to
        # answer the last time.
        self.slow = 0.0
        self._unread: Iterator[Callable[[], T]] = iter(())
        # What is known before it is read; at an early end it is moved to the rest.
        self._known: Iterator[Callable[[], T]] = iter(())
        self._rest: list[Callable[[], T]] = []

    def open(self, batch: _core.Batch[T]) -> None:
        """Feed a batch what is known of its input.

        Raises:
            TypeError: If a list has something else in it than operations.
        """
        operations, self._operations = self._operations, ()
        options = self._options
        # What outcomes are to know of their operations. Those of `map` are not its caller's.
        if not isinstance(operations, list | tuple):
            self._unread = iter(operations)
            if not options.attended and self._told:
                batch.know(None)
        elif not options.attended and options.ahead[1] < _core.UNBOUNDED:
            whole = list(operations)
            self._unread = self._known = iter(whole)
            _core.check_operations(whole, self._awaits)
            batch.know(whole)
        else:
            if options.attended:
                batch.know(operations)
            batch.feed(operations if type(operations) is list else list(operations))

    def read(self, batch: _core.Batch[T], count: int) -> None:
        """Read some more operations, and say so if there are no more."""
        batch.begin_reading(min(count, MOST_AHEAD))
        self.is_reading = True
        began = time.monotonic()
        try:
            # Nothing is done here for each operation. True says that enough was read, or that
            # there is something else to do first.
            exhausted = not any(map(batch.read, self._unread))
        finally:
            self.is_reading = False
            batch.end_reading()
        took = time.monotonic() - began
        is_slow = not self._options.attended and took > _SLOW
        self.slow = min(took * _SHARE, _MOST_WAITED) if is_slow else 0.0
        # Of a list it is known before another is asked for.
        if exhausted or (self._unread is self._known and not length_hint(self._known)):
            batch.finish_input()

    def rest(self) -> list[Callable[[], T]]:
        """Return the operations that are known and were not read."""
        # Each of the two may be done again.
        self._rest.extend(self._known)
        return self._rest

    def unread(self) -> int | None:
        """How many operations are still to be read, as far as it tells."""
        unread = -1
        with suppress(Exception):
            unread = length_hint(self._unread, -1)
        return None if unread < 0 else unread
