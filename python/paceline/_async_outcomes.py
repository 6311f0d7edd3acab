"""What an asynchronous stream returns: its outcomes as they are known, and its report."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Protocol, Self, TypeVar

from paceline._errors import attach_report
from paceline._report import BatchReport

if TYPE_CHECKING:
    from paceline import _core

__all__ = ["AsyncOutcomes"]

T = TypeVar("T")


class _Runner(Protocol[T]):
    """What a stream asks of the one that drives its batch."""

    kept: BatchReport[T] | None

    def ready(self, nothing: object) -> Iterator[object]: ...
    async def next_round(self) -> bool: ...
    async def leave_stream(self, error: BaseException | None = None) -> None: ...
    def abandon(self) -> None: ...


# What comes in the place of an outcome where none is ready.
_NOTHING = object()


class AsyncOutcomes(Generic[T]):
    """What :meth:`AsyncBatchExecutor.stream` returns: an asynchronous iterator over outcomes.

    Best used in ``async with``: leaving the block ends the batch, if it has not ended, cancels what
    runs of it, and waits for that; :meth:`report` then tells what became of what was not handed
    over. Several tasks may take from it, and any of them may close it, which is its end for all.
    """

    def __init__(self, runner: _Runner[T]) -> None:
        """Iterate over the outcomes of a batch."""
        self._runner = runner
        self._ready = runner.ready(_NOTHING)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _core._AnyOutcome[T]:
        while True:
            if self._runner.kept is None:
                outcome = next(self._ready, _NOTHING)
                if outcome is not _NOTHING:
                    return outcome  # type: ignore[return-value]
            if not await self._runner.next_round():
                raise StopAsyncIteration

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        ended_before = self._runner.kept is not None
        await self._runner.leave_stream(error)
        if error is not None and not ended_before and self._runner.kept is not None:
            attach_report(error, self._runner.kept)

    async def aclose(self) -> None:
        """End the batch: nothing more starts, what runs is cancelled and waited for."""
        await self._runner.leave_stream()

    def report(self) -> BatchReport[T]:
        """Return the report of the batch when it has ended.

        Its counts and totals are of all operations; its outcomes of those that were not handed
        over.

        Raises:
            RuntimeError: Before the end: take all outcomes, or await :meth:`aclose` first.
        """
        if self._runner.kept is None:
            raise RuntimeError(
                "the stream has not ended: take all its outcomes, or await aclose() first"
            )
        return self._runner.kept

    def __del__(self) -> None:
        if (runner := self.__dict__.get("_runner")) is not None and runner.kept is None:
            runner.abandon()


AsyncOutcomes.__module__ = "paceline"
