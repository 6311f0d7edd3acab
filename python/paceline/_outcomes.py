"""What a stream returns: its outcomes as they are known, and its report."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from paceline import _core
from paceline._errors import attach_report
from paceline._report import BatchReport

__all__ = ["Outcomes"]

T = TypeVar("T")

# How long a thread waits for another one inside next() before it looks what that is at, in seconds.
_PATIENCE = 0.02


class _Batch(Protocol[T]):
    """What a stream asks of the one that drives its batch."""

    consumer: Callable[[], Outcomes[T] | None]

    @property
    def is_reading(self) -> bool: ...
    @property
    def is_sized(self) -> bool: ...
    def leave(self, error: BaseException | None = None) -> None: ...
    def remaining(self) -> int | None: ...
    def is_of_this_process(self) -> bool: ...


class _More(Generic[T]):
    """What comes in the place of an outcome where none is ready.

    ``filter`` asks it whether it is true: it never is, and goes on with the stream first. Threads
    take turns at that.

    What a signal handler raises here, before the stream goes on, is raised in the consumer's loop:
    as if it had come there.
    """

    def __init__(self, runner: _Batch[T], rounds: Generator[None]) -> None:
        self._runner = runner
        self._rounds = rounds
        self.turn = threading.RLock()

    def __bool__(self) -> bool:
        with self.turn:
            if next(self._rounds, self) is self:
                self._runner.leave()
        return False

    def leave(self, error: BaseException | None) -> bool:
        """Let go of the batch; False while another thread is inside a round, which then does so."""
        if not self.turn.acquire(timeout=_PATIENCE):
            return False
        try:
            # This thread may be inside itself, if a signal handler or the input has come here.
            if not self._rounds.gi_running:  # type: ignore[attr-defined]
                self._runner.leave(error)
                self._rounds.close()
        finally:
            self.turn.release()
        return True


class Outcomes(filter, Generic[T]):  # type: ignore[type-arg]
    """What :meth:`BatchExecutor.stream` returns: an iterator over outcomes, as they are known.

    Best used as a context manager: leaving its block ends the batch, if it has not ended, whatever
    leaves it (the end of the loop, ``break``, an exception, Ctrl-C at any moment), without waiting
    for running operations; :meth:`report` then tells what became of those that were not handed
    over, and the exception that left the block carries the same as ``batch_report``.

    It belongs to one thread at a time; others that take from it wait for their turn. Any thread may
    close it.

    ``operator.length_hint()`` tells how many outcomes are still to come, where the input tells how
    many operations are; ``len()`` the same where the input is a list or a tuple.
    """

    if TYPE_CHECKING:
        _runner: _Batch[T]
        _batch: _core.Batch[T]
        _more: _More[T]
        # The report, when the batch has ended.
        kept: BatchReport[T] | None

        def __next__(self) -> _core._AnyOutcome[T]: ...

        def __exit__(
            self,
            kind: type[BaseException] | None,
            error: BaseException | None,
            traceback: TracebackType | None,
        ) -> None: ...
    else:
        __exit__ = _core.Exit()

    def __new__(cls, runner: _Batch[T], batch: _core.Batch[T], rounds: Generator[None]) -> Self:
        """Iterate over the outcomes of a batch, which goes on with each of the ``rounds``."""
        more = _More(runner, rounds)
        # No frame of Python runs for an outcome that is ready, and none of Rust beneath a round.
        self = super().__new__(cls, None, _core.ReadyOutcomes(batch, more))
        self._runner, self._batch, self._more, self.kept = runner, batch, more, None
        runner.consumer = weakref.ref(self)
        return self

    def __enter__(self) -> Self:
        return self

    def _exit(self, error: BaseException | None) -> None:
        """Leave the block, as far as ``_core.Exit`` has not done so."""
        ended_before = self.kept is not None
        self._leave(error)
        if error is not None and not ended_before and self.kept is not None:
            attach_report(error, self.kept)

    def close(self) -> None:
        """End the batch without waiting for running operations: nothing more of it starts.

        It may be called from any thread, and in a signal handler. A ``next()`` that another thread
        waits in then raises ``StopIteration``; where that is inside the input, when that has
        returned.
        """
        self._batch.leave()
        self._leave(None)

    def _leave(self, error: BaseException | None) -> bool:
        """Have the report made; whether it was: it is not while a thread is inside the input."""
        if not self._runner.is_of_this_process():
            # The thread whose turn it is may be one of the parent's.
            return False
        while not self._more.leave(error):
            if self.kept is None and self._runner.is_reading:
                return False
        return True

    def report(self) -> BatchReport[T]:
        """Return the report of the batch when it has ended.

        Its counts and totals are of all operations. Its outcomes are of those that were not handed
        over: none where the stream came to its end; where it was closed before, those that were
        read ahead of it and the ones that still ran, whose end ``report().settle()`` waits for.

        Raises:
            RuntimeError: Before the end: take all outcomes, or call :meth:`close` first. Also while
                another thread is still inside the input of a stream that was closed: what it reads
                there belongs into the report.
        """
        if self.kept is None and self._batch.is_left():
            self._leave(None)
        if self.kept is None:
            raise RuntimeError(
                "the stream was closed, but its input has not returned to the thread that reads it"
                if self._batch.is_left()
                else "the stream has not ended: take all its outcomes, or close it first"
            )
        return self.kept

    def __bool__(self) -> bool:
        return True

    def __len__(self) -> int:
        remaining = self._runner.remaining() if self._runner.is_sized else None
        if remaining is None:
            raise TypeError("only a stream over a list or a tuple has a length")
        return remaining

    def __length_hint__(self) -> int:
        remaining = self._runner.remaining()
        return NotImplemented if remaining is None else remaining


Outcomes.__module__ = "paceline"
