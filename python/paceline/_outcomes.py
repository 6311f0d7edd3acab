"""What a stream returns: its outcomes as they are known, and its report."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Generic, Self, TypeVar, cast

from paceline import _core
from paceline._report import BatchReport

if TYPE_CHECKING:
    from paceline._batch import Drive

__all__ = ["Outcomes"]

T = TypeVar("T")


class _InTurn(Generic[T]):
    """A generator that threads take turns at, where they would be told that it is running.

    What a signal handler raises here, before the generator goes on, is raised in the consumer's
    loop: as if it had come there.
    """

    def __init__(self, generator: Generator[T]) -> None:
        self._generator = generator
        self._turn = threading.RLock()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> T:
        with self._turn:
            return next(self._generator)


class Outcomes(chain[_core.Outcome[T]]):
    """What :meth:`BatchExecutor.stream` returns: an iterator over outcomes, as they are known.

    It belongs to one thread at a time; others that take from it wait for their turn.
    """

    if TYPE_CHECKING:
        _drive: Drive[T]
        _runs: Generator[Iterator[_core.Outcome[T]]]

    def __new__(cls, drive: Drive[T], runs: Generator[Iterator[_core.Outcome[T]]]) -> Self:
        """Iterate over the outcomes of all ``runs``, one run after the other."""
        # No frame of Python runs for an outcome that is ready.
        self = cast("Self", cls.from_iterable(_InTurn(runs)))
        self._drive, self._runs = drive, runs
        return self

    def close(self) -> None:
        """End the batch without waiting for running operations: nothing more of it starts."""
        self._runs.close()
        self._drive.leave()

    def report(self) -> BatchReport[T]:
        """Return the report of the batch when it has ended.

        Its counts and totals are of all operations. Its outcomes are of those that were not handed
        over: none where the stream came to its end; where it was closed before, those that were
        read ahead of it and the ones that still ran.

        Raises:
            RuntimeError: Before the end. Take all outcomes, or call :meth:`close` first.
        """
        if self._drive.ended is None:
            raise RuntimeError("the stream has not ended: take all its outcomes, or close it first")
        return self._drive.ended


Outcomes.__module__ = "paceline"
