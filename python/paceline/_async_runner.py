"""What drives a batch of coroutines from its first operation to its report."""

from __future__ import annotations

import asyncio
import contextvars
import time
from collections.abc import (
    AsyncIterable,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from contextlib import suppress
from typing import Any, TypeVar, cast

from paceline import _core
from paceline._async_input import AsyncInput
from paceline._async_outcomes import AsyncOutcomes
from paceline._core import Step
from paceline._duck import is_a
from paceline._ending import Ending
from paceline._errors import attach_report
from paceline._input import Input
from paceline._options import BatchOptions
from paceline._report import BatchReport
from paceline._runner import BatchRunner
from paceline._tasks import TURN, TaskPool

__all__ = ["AsyncRunner"]

T = TypeVar("T")
R = TypeVar("R")

# How many operations are read of an input before the loop goes on.
_READ_AT_ONCE = 64

# What ends streams that were left.
_ENDING: set[asyncio.Task[None]] = set()


class AsyncRunner(BatchRunner[T]):
    """One batch of coroutines. It belongs to one task, and leaves none of its own behind."""

    _pool: TaskPool  # type: ignore[assignment]
    _input: Input[T] | AsyncInput[T]  # type: ignore[assignment]

    def __init__(
        self,
        pool: TaskPool,
        operations: Iterable[Callable[[], Awaitable[T]]] | AsyncIterable[Any],
        options: BatchOptions,
        *,
        logged: bool,
        max_workers: int,
    ) -> None:
        plain = cast("Iterable[Callable[[], T]]", operations)
        is_async = not hasattr(type(operations), "__iter__")
        super().__init__(
            pool,  # type: ignore[arg-type]
            () if is_async else plain,
            options,
            logged=logged,
            max_workers=max_workers,
        )
        if is_async:
            self._input = AsyncInput(cast("AsyncIterable[Callable[[], T]]", operations))
        else:
            self._input = Input(plain, options, told=logged, awaits=True)
        # Those that run, by the number of their slot.
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._number = pool.waiting.next_number()
        self._waiting: set[asyncio.Future[None]] = set()
        self._is_woken = False
        # Who ends it, where several tasks take from a stream.
        self._ender: asyncio.Task[Any] | None = None

    def _open(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._computed_before = time.process_time()
        waiting, options = self._pool.waiting, self._options
        wake = waiting.inbox, self._number
        waiting.call(self._number, self._wake)
        context = contextvars.copy_context()
        begin = self._pool.runtime.begin
        batch = self._batch = begin(context, self, self._logs_failures, options, wake)
        self._is_open = True
        try:
            self._input.open(batch)
        except TypeError:
            # Of a list with something else in it nothing is run: no batch has begun.
            self._is_open = False
            batch.discard()
            raise

    def _wake(self) -> None:
        self._is_woken = True
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    async def _rest(self) -> None:
        """Wait until somebody has something to tell."""
        if self._is_woken:
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            with self._pool.stepped_aside():
                await future
        finally:
            self._waiting.discard(future)

    async def run_to_end(self, finish: Callable[[_core.Records[T]], R]) -> R:
        """Run the batch to its end, and return what ``finish`` makes of its records."""
        try:
            self._open()
            while await self._proceed():
                pass
            await self._raise_early_end()
            result = self._completed(finish)
        except BaseException as error:
            if self._is_destroyed(error):
                self.abandon()
                raise
            try:
                await self._stop(error)
            finally:
                self._release()
            raise
        self._release()
        return result

    def stream(self) -> AsyncOutcomes[T]:
        """Open the batch, and return what hands its outcomes over."""
        try:
            self._open()
            return AsyncOutcomes(self)
        except BaseException:
            self._discard()
            raise

    def ready(self, nothing: object) -> Iterator[object]:
        """Iterate over the outcomes that are ready, and then over ``nothing``."""
        return _core.ReadyOutcomes(self._batch, nothing)

    async def next_round(self) -> bool:
        """Wait until an outcome is ready; False at the end of the batch."""
        while self._ender and not self.has_ended:
            # Another task sees to that.
            self._is_woken = False
            await self._rest()
        if self.has_ended:
            return False
        try:
            if await self._proceed():
                # What is raised while the consumer is away is the consumer's.
                return True
            if self._ender or self.has_ended:
                return await self.next_round()
            await self._raise_early_end()
            self._keep_report(self.report(self._records()))
            self._log_end(Ending.COMPLETED)
        except BaseException as error:
            if self._is_destroyed(error):
                raise
            await self._stop(error)
            self._release()
            if is_a(error, StopAsyncIteration):
                # It would be taken for the end.
                replaced = RuntimeError(f"the input raised {error!r}")
                try:
                    raise replaced from error
                finally:
                    # Its traceback holds this frame.
                    del replaced
            raise
        self._release()
        return False

    async def _proceed(self) -> bool:
        """Feed the batch, and wait; True when an outcome is ready, False at the end."""
        while not (self._ender or self.has_ended):
            self._is_woken = False
            self._cause = Ending.INTERRUPT
            step, count = self._batch.look()
            if step == Step.FEED:
                await self._read(count)
                continue
            self._pool.grow()
            if step == Step.SETTLED:
                return False
            if step == Step.HAND_OVER:
                return True
            await self._rest()
        return False

    async def _read(self, count: int) -> None:
        source = self._input
        if isinstance(source, Input):
            self._cause = Ending.INPUT
            source.read(self._batch, min(count, _READ_AT_ONCE))
            self._cause = Ending.INTERRUPT
            self._pool.grow()
            await asyncio.sleep(0)
            return
        if not source.ask(self._wake):
            self._pool.grow()
            # What becomes ready meanwhile is told as well.
            self._batch.expects()
            await self._rest()
        if not self._ender and source.ask(self._wake):
            self._cause = Ending.INPUT
            source.take(self._batch)
            self._cause = Ending.INTERRUPT

    async def _raise_early_end(self) -> None:
        ending = self._ending()
        if ending is not Ending.COMPLETED:
            self._ender = asyncio.current_task()
            self._cause = ending
            # What is raised may tell what became of all.
            interrupted = await self._cancel_all()
            if interrupted is None:
                raise self._error(ending)
            raise interrupted from self._error(ending)
        if self._options.stop_on_failure:
            self._raise_cancelled()

    def _raise_cancelled(self) -> None:
        """Raise what cancelled the first of the operations, if one was: it has no value."""
        records = self._records()
        if not records.counts()["cancelled"]:
            return
        outcomes = map(records.__getitem__, range(len(records)))
        cancelled = (outcome for outcome in outcomes if outcome.status == "cancelled")
        self._cause = Ending.OPERATION
        error = cast("BaseException", next(cancelled).exception)
        try:
            raise error
        finally:
            # Its traceback holds this frame.
            del error, records, outcomes, cancelled

    async def _stop(self, error: BaseException) -> None:
        """End the batch: cancel what runs of it, wait for that, and give the error its report."""
        if not self._is_open or self.has_ended:
            return
        if self._is_ending_elsewhere():
            while not self.has_ended:
                self._is_woken = False
                await self._rest()
            return
        self._ender = asyncio.current_task()
        cause = self._cause
        self._wake()
        try:
            self._batch.end(False)
            interrupted = await self._cancel_all()
            report = self.report(self._records(error), cause)
            self._keep_report(report)
        finally:
            self.has_ended = True
            self._ender = None
            self._wake()
        if self.is_batch or cause is not Ending.OPERATION:
            self._log_end(cause)
            attach_report(error, report)
        if interrupted is not None and not is_a(error, asyncio.CancelledError):
            attach_report(interrupted, report)
            raise interrupted from error

    def _is_ending_elsewhere(self) -> bool:
        return self._ender not in {None, asyncio.current_task()}

    def _is_destroyed(self, error: BaseException) -> bool:
        """Whether the coroutine is closed while it waits, so that nothing may be awaited."""
        return is_a(error, GeneratorExit) and self._cause is Ending.INTERRUPT

    async def _cancel_all(self) -> asyncio.CancelledError | None:
        """Cancel what runs and wait for it. Returns what this task was cancelled by meanwhile."""
        interrupted = None
        asked: set[asyncio.Task[None]] = set()
        while running := self._running():
            try:
                await _cancel(running - asked)
                asked |= running
                for task in running:
                    if not task.done():
                        await asyncio.wait([task])
            except asyncio.CancelledError as error:
                # Whoever cancels again means those as well that have not listened.
                interrupted = error
                asked.clear()
        return interrupted

    def _running(self) -> set[asyncio.Task[None]]:
        """Return its tasks, and that of its input, of which nothing more is asked."""
        self._pool.revive(self.tasks)
        running = set(self.tasks.values())
        return running | self._input.running() if isinstance(self._input, AsyncInput) else running

    async def leave_stream(self, error: BaseException | None = None) -> None:
        """End a stream whose consumer is done with it."""
        if not self.has_ended and self._is_open:
            self._cause = Ending.CONSUMER
            self._batch.leave()
            await self._stop(GeneratorExit() if error is None else error)
        self._release()

    def abandon(self) -> None:
        """End a stream that nobody holds any more, from wherever that is noticed."""
        if not self._is_open or self.has_ended:
            return
        self._batch.leave()
        with suppress(RuntimeError):  # its loop is closed
            self._loop.call_soon_threadsafe(self._leave_behind)
            return
        self._release()

    def _leave_behind(self) -> None:
        """End it in a task of its own."""
        ending = self._loop.create_task(self.leave_stream())
        # A loop holds none.
        _ENDING.add(ending)
        ending.add_done_callback(_ENDING.discard)

    def _keep_report(self, report: BatchReport[T]) -> None:
        if not self._options.attended:
            # Others have it raised or returned, and what is raised would hold itself by it.
            self.kept = report
        self.has_ended = True
        self._wake()

    kept: BatchReport[T] | None = None

    def _release(self) -> None:
        self._pool.waiting.forget(self._number)
        self._discard()
        if isinstance(self._input, AsyncInput):
            self._input.check()


async def _cancel(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel them, and let the loop go on in between."""
    until = time.monotonic() + TURN
    for task in tasks:
        task.cancel()
        if time.monotonic() > until:
            await asyncio.sleep(0)
            until = time.monotonic() + TURN
