"""What drives a batch of coroutines from its first operation to its report."""

from __future__ import annotations

import asyncio
import time
from collections.abc import (
    AsyncIterable,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Iterator,
)
from typing import Any, Generic, TypeVar, cast

from paceline import _core
from paceline._async_outcomes import AsyncOutcomes
from paceline._core import Step
from paceline._duck import is_a
from paceline._ending import Ending
from paceline._errors import attach_report
from paceline._input import Input
from paceline._options import BatchOptions
from paceline._report import BatchReport
from paceline._runner import BatchRunner
from paceline._tasks import TaskPool

__all__ = ["AsyncRunner"]

T = TypeVar("T")
R = TypeVar("R")

# How many operations are read of an input before the loop goes on.
_READ_AT_ONCE = 64


class _AsyncInput(Generic[T]):
    """An input that is awaited: it is asked for one operation at a time, by a task."""

    is_sized = False
    is_reading = False

    def __init__(self, operations: AsyncIterable[Callable[[], T]]) -> None:
        self._operations = operations
        self._iterator: AsyncIterator[Callable[[], T]] | None = None
        self.reading: asyncio.Task[Callable[[], T]] | None = None

    def open(self, batch: _core.Batch[T]) -> None:
        batch.know(None)

    async def _next(self) -> Callable[[], T]:
        if self._iterator is None:
            self._iterator = aiter(self._operations)
        return await anext(self._iterator)

    def ask(self, wake: Callable[[object], None]) -> bool:
        """Whether it has answered; if not, it will."""
        if self.reading is None:
            self.reading = asyncio.get_running_loop().create_task(self._next())
            self.reading.add_done_callback(wake)
        return self.reading.done()

    def take(self, batch: _core.Batch[T]) -> None:
        """Feed the batch what it has answered."""
        reading, self.reading = self.reading, None
        assert reading is not None  # noqa: S101 - it was asked
        try:
            operation = reading.result()
        except StopAsyncIteration:
            batch.finish_input()
            return
        batch.begin_reading(1)
        try:
            batch.read(operation)
        finally:
            batch.end_reading()

    async def end(self) -> None:
        """Let go of it: what it was asked for is cancelled, and its generator closed."""
        if self.reading is not None:
            self.reading.cancel()
            await asyncio.wait([self.reading])
            if not self.reading.cancelled():
                self.reading.exception()
        if (close := getattr(self._iterator, "aclose", None)) is not None:
            await close()

    def rest(self) -> list[Callable[[], T]]:
        return []

    def unread(self) -> None:
        """Nobody knows."""


class AsyncRunner(BatchRunner[T]):
    """One batch of coroutines. It belongs to one task, and leaves none of its own behind."""

    _pool: TaskPool  # type: ignore[assignment]
    _input: Input[T] | _AsyncInput[T]  # type: ignore[assignment]

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
            self._input = _AsyncInput(cast("AsyncIterable[Callable[[], T]]", operations))
        else:
            self._input = Input(plain, options, told=logged, awaits=True)
        # Those that run, by the number of their slot.
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self._number = pool.waiting.next_number()
        self._woken: asyncio.Future[None] | None = None
        self._is_woken = False

    def _open(self) -> None:
        self._computed_before = time.process_time()
        waiting, options = self._pool.waiting, self._options
        wake = waiting.inbox, self._number
        waiting.call(self._number, self._wake)
        context = self._pool.context()
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

    def _wake(self, _: object = None) -> None:
        self._is_woken = True
        if self._woken is not None and not self._woken.done():
            self._woken.set_result(None)

    async def _rest(self) -> None:
        """Wait until somebody has something to tell."""
        with self._pool.stepped_aside():
            while not self._is_woken:
                self._woken = asyncio.get_running_loop().create_future()
                await self._woken
            self._woken = None

    async def run_to_end(self, finish: Callable[[_core.Records[T]], R]) -> R:
        """Run the batch to its end, and return what ``finish`` makes of its records."""
        try:
            self._open()
            while await self._proceed():
                pass
            self._raise_early_end()
            return self._completed(finish)
        except BaseException as error:
            await self._stop(error)
            raise
        finally:
            await self._release()

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
        if self.has_ended:
            return False
        try:
            if await self._proceed():
                # What is raised while the consumer is away is the consumer's.
                return True
            self._raise_early_end()
            self._keep_report(self.report(self._records()))
            self._log_end(Ending.COMPLETED)
        except BaseException as error:
            await self._stop(error)
            await self._release()
            raise
        await self._release()
        return False

    async def _proceed(self) -> bool:
        """Feed the batch, and wait; True when an outcome is ready, False at the end."""
        while True:
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
        if source.reading is not None and source.reading.done():
            self._cause = Ending.INPUT
            source.take(self._batch)
            self._cause = Ending.INTERRUPT

    def _raise_early_end(self) -> None:
        ending = self._ending()
        if ending is not Ending.COMPLETED:
            self._cause = ending
            raise self._error(ending)

    async def _stop(self, error: BaseException) -> None:
        """End the batch: cancel what runs of it, wait for that, and give the error its report."""
        if not self._is_open or self.has_ended:
            return
        cause = self._cause
        self._batch.end(False)
        interrupted = await self._cancel_all()
        report = self.report(self._records(error), cause)
        self._keep_report(report)
        if self.is_batch or cause is not Ending.OPERATION:
            self._log_end(cause)
            attach_report(error, report)
        if interrupted is not None and not is_a(error, asyncio.CancelledError):
            attach_report(interrupted, report)
            raise interrupted from error

    async def _cancel_all(self) -> asyncio.CancelledError | None:
        """Cancel what runs and wait for it. Returns what this task was cancelled by meanwhile."""
        interrupted = None
        asked: set[asyncio.Task[None]] = set()
        while running := set(self.tasks.values()):
            for task in running - asked:
                task.cancel()
            asked |= running
            try:
                await asyncio.wait(running)
            except asyncio.CancelledError as error:
                # Whoever cancels again means those as well that have not listened.
                interrupted = error
                asked.clear()
        return interrupted

    async def leave_stream(self, error: BaseException | None = None) -> None:
        """End a stream whose consumer is done with it."""
        if not self.has_ended and self._is_open:
            self._cause = Ending.CONSUMER
            self._batch.leave()
            await self._stop(GeneratorExit() if error is None else error)
        await self._release()

    def abandon(self) -> None:
        """End a stream that nobody holds any more, from wherever that is noticed."""
        if self._is_open and not self.has_ended:
            self._batch.leave()
            for task in self.tasks.copy().values():
                loop = task.get_loop()
                if not loop.is_closed():
                    loop.call_soon_threadsafe(task.cancel)

    def _keep_report(self, report: BatchReport[T]) -> None:
        self.kept = report
        self.has_ended = True

    kept: BatchReport[T] | None = None

    async def _release(self) -> None:
        self._pool.waiting.forget(self._number)
        try:
            if isinstance(self._input, _AsyncInput):
                await self._input.end()
        finally:
            self._discard()
