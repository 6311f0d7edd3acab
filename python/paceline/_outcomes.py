"""What a stream returns: its outcomes as they are known, and its report."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from paceline import _core
from paceline._report import BatchReport

if TYPE_CHECKING:
    from paceline._batch import Drive

__all__ = ["Outcomes"]

T = TypeVar("T")


class _More(Generic[T]):
    """What comes in the place of an outcome where none is ready.

    ``filter`` asks it whether it is true: it never is, and goes on with the stream first. Threads
    take turns at that.

    What a signal handler raises here, before the stream goes on, is raised in the consumer's loop:
    as if it had come there.
    """

    def __init__(self, drive: Drive[T], rounds: Generator[None]) -> None:
        self._drive = drive
        self._rounds = rounds
        self._turn = threading.RLock()

    def __bool__(self) -> bool:
        with self._turn:
            if next(self._rounds, self) is self:
                self._drive.leave()
        return False


class Outcomes(filter, Generic[T]):  # type: ignore[type-arg]
    """What :meth:`BatchExecutor.stream` returns: an iterator over outcomes, as they are known.

    It belongs to one thread at a time; others that take from it wait for their turn.
    """

    if TYPE_CHECKING:
        _drive: Drive[T]
        _rounds: Generator[None]

        def __next__(self) -> _core.Outcome[T]: ...

    def __new__(cls, drive: Drive[T], batch: _core.Batch[T], rounds: Generator[None]) -> Self:
        """Iterate over the outcomes of a batch, which goes on with each of the ``rounds``."""
        # No frame of Python runs for an outcome that is ready, and none of Rust beneath a round.
        ready = _core.Ready(batch, _More(drive, rounds))
        self = super().__new__(cls, None, ready)
        self._drive, self._rounds = drive, rounds
        return self

    def close(self) -> None:
        """End the batch without waiting for running operations: nothing more of it starts."""
        self._rounds.close()
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
