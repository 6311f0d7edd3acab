"""The verbs of the asynchronous executor: the same as those on threads, awaited."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from contextvars import ContextVar
from datetime import timedelta
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary

import paceline
from paceline import _core
from paceline._async_outcomes import AsyncOutcomes
from paceline._async_runner import AsyncRunner
from paceline._checks import duration, failure_limit, positive_int
from paceline._core import Delivery, RateLimiter, show
from paceline._error_record import error_record
from paceline._options import BatchOptions, default_ahead
from paceline._report import BatchReport
from paceline._settings import as_input, check_on_error, check_rate_limiter, check_retry
from paceline._tasks import TaskPool

__all__ = ["AsyncBatchExecutor"]

T = TypeVar("T")
P = ParamSpec("P")

Operations: TypeAlias = (
    Iterable[Callable[[], Awaitable[T]]] | AsyncIterable[Callable[[], Awaitable[T]]]
)

# Which submitted calls a coroutine runs in.
_WITHIN: ContextVar[frozenset[asyncio.Task[Any]]] = ContextVar(
    "paceline_within", default=frozenset()
)

_MOST_AT_ONCE = 2**15
_MOST_BUFFERED = 2**31


class AsyncBatchExecutor:
    """Runs coroutines in parallel in an event loop of asyncio, as fast as a rate limit allows.

    It has the verbs of :class:`BatchExecutor`, which are awaited; its operations are callables
    without arguments that return something to await, such as ``functools.partial(fetch, url)`` of
    an ``async def fetch``. Its limiter may be shared with threads and other loops: all stand in one
    line. Nothing that a verb began outlives it: whatever ends it early, cancellation too, cancels
    the operations that run, and waits for them. Several loops may use one executor, each with
    ``max_at_once`` operations.

    Args:
        rate_limiter: A :class:`RateLimiter`. None means no limit.
        max_at_once: How many operations run at once, at most; from 1 to 32768.
        on_error: What ``execute_batch`` puts in the place of a failed operation's value, as in
            :class:`BatchExecutor`.
        retry: When failed operations are called again, a :class:`Retry`. None means never.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If ``max_at_once`` is out of its range, or ``on_error`` is none of those words.
    """

    def __init__(
        self,
        rate_limiter: RateLimiter | None = None,
        max_at_once: int = 100,
        *,
        on_error: Literal["record", "return", "raise"] = "record",
        retry: paceline.Retry | None = None,
    ) -> None:
        native = check_rate_limiter(rate_limiter)
        if rate_limiter is not None and native is None:
            raise TypeError(
                "rate_limiter must be a RateLimiter or None, as the acquire() of another one would "
                f"hold up the event loop, not {show(rate_limiter)}"
            )
        if retry is not None:
            check_retry(retry)
        self._rate_limiter = native
        self._max_at_once = positive_int("max_at_once", max_at_once, _MOST_AT_ONCE)
        self._on_error = check_on_error(on_error)
        self._retry = retry
        self._is_closed = False
        self._pools: WeakKeyDictionary[asyncio.AbstractEventLoop, TaskPool] = WeakKeyDictionary()
        self._submitted: set[asyncio.Task[Any]] = set()

    @property
    def rate_limiter(self) -> RateLimiter | None:
        """The limiter that this executor was made with."""
        return self._rate_limiter

    @property
    def max_at_once(self) -> int:
        """How many operations run at once in a loop, at most."""
        return self._max_at_once

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._rate_limiter!r}, max_at_once={self._max_at_once})"

    async def execute(self, operation: Callable[[], Awaitable[T]]) -> T:
        """Run one operation, and return its value.

        Args:
            operation: A callable without arguments that returns something to await.

        Raises:
            TypeError: If ``operation`` is not callable, or returns nothing to await.
            BaseException: Whatever the operation raises.
            RuntimeError: After :meth:`aclose`.
        """
        runner = self._runner_of([operation], Delivery.AT_END, stop_on_failure=True, logged=False)
        runner.is_batch = False
        return await runner.run_to_end(lambda records: cast("T", records.values(None)[0]))

    async def execute_batch(
        self,
        operations: Operations[T],
        *,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        on_error: Literal["record", "return", "raise"] | None = None,
    ) -> list[Any]:
        """Run the operations, and return one entry for each, in their order.

        Arguments, entries and exceptions are those of :meth:`BatchExecutor.execute_batch`; the
        input may be asynchronous. What ends it early, ``asyncio.CancelledError`` too, has the
        outcomes so far as ``batch_report``; the operations that ran have been cancelled by then,
        and have ended.
        """
        mode = self._on_error if on_error is None else check_on_error(on_error)
        runner = self._runner_of(
            operations,
            Delivery.AT_END,
            timeout=timeout,
            max_failures=max_failures,
            stop_on_failure=mode == "raise",
            logged=mode != "raise",
        )
        failed = error_record if mode == "record" else None
        return await runner.run_to_end(lambda records: records.values(failed))

    async def run(
        self,
        operations: Operations[T],
        *,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
    ) -> BatchReport[T]:
        """Run the operations, and return what became of each, with the totals.

        Arguments and exceptions are those of :meth:`execute_batch`; an operation's failure is
        recorded.
        """
        runner = self._runner_of(
            operations, Delivery.AT_END, timeout=timeout, max_failures=max_failures
        )
        return await runner.run_to_end(runner.report)

    def stream(
        self,
        operations: Operations[T],
        *,
        ordered: bool = False,
        buffersize: int | None = None,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
    ) -> AsyncOutcomes[T]:
        """Run the operations, and iterate over what becomes of each, as it is known.

        The input is read while the consumer waits for an outcome. An asynchronous one is asked for
        one operation at a time, and outcomes that become ready meanwhile are handed over. Use it in
        ``async with``: leaving that ends the batch.

        Args:
            operations: Callables without arguments that return something to await; may be endless,
                and may be asynchronous.
            ordered: Hand outcomes over in the order of the input, not of completion.
            buffersize: How many operations are read ahead, at most: what was read and not handed
                over never exceeds ``max_at_once + buffersize``. By default ``max_at_once + 1``.
            timeout: As for :meth:`execute_batch`, from this call on.
            max_failures: As for :meth:`execute_batch`.

        Returns:
            An asynchronous iterator that has ``aclose()``, and at the end ``report()``.
        """
        most = self._max_at_once
        if buffersize is None:
            ahead = default_ahead(most)
        else:
            ahead = (most + positive_int("buffersize", buffersize, _MOST_BUFFERED),) * 3
        return self._runner_of(
            operations,
            Delivery.IN_ORDER if ordered else Delivery.AS_COMPLETED,
            timeout=timeout,
            max_failures=max_failures,
            attended=False,
            ahead=ahead,
        ).stream()

    async def submit(
        self, fn: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> asyncio.Future[T]:
        """Queue a call, and return its future.

        The call starts when a slot and a permit are free for it, in the order of submission.
        Cancelling the future cancels the call. :meth:`aclose` waits for it.

        Raises:
            RuntimeError: After :meth:`aclose`.
        """
        self._check_open()
        operation = functools.partial(fn, *args, **kwargs)
        task = asyncio.get_running_loop().create_task(self._execute_submitted(operation))
        self._submitted.add(task)
        task.add_done_callback(self._submitted.discard)
        try:
            # It stands in line when this returns.
            await asyncio.sleep(0)
        except BaseException:
            # Nobody gets its future.
            task.cancel()
            raise
        return task

    async def _execute_submitted(self, operation: Callable[[], Awaitable[T]]) -> T:
        current = cast("asyncio.Task[Any]", asyncio.current_task())
        _WITHIN.set(_WITHIN.get() | {current})
        return await self.execute(operation)

    async def aclose(self) -> None:
        """Take no more work, and wait for what was submitted in this loop.

        Being cancelled cancels that, and waits for it. A submitted call that closes its executor
        waits for the others.
        """
        self._is_closed = True
        interrupted = None
        while own := self._submitted_here() - _WITHIN.get():
            try:
                await asyncio.wait(own)
            except asyncio.CancelledError as error:
                interrupted = error
                for task in own:
                    task.cancel()
        if interrupted is not None:
            raise interrupted

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            # Structured: what was submitted does not outlive a block that has failed.
            for task in self._submitted_here():
                task.cancel()
        await self.aclose()

    def _submitted_here(self) -> frozenset[asyncio.Task[Any]]:
        loop = asyncio.get_running_loop()
        return frozenset(task for task in self._submitted.copy() if task.get_loop() is loop)

    def _check_open(self) -> None:
        if self._is_closed:
            raise RuntimeError(
                "cannot schedule new futures after shutdown: aclose(), or leaving async with, has "
                "ended the executor; make another one"
            )

    def _pool(self) -> TaskPool:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop)
        if pool is None:
            core = _core.BatchExecutor()
            core._configure(  # noqa: SLF001 - an executor is made of it
                self._max_at_once, self._rate_limiter, False, self._retry, True
            )
            pool = self._pools[loop] = TaskPool(core, loop)
        return pool

    def _runner_of(
        self,
        operations: Operations[T],
        delivery: Delivery,
        *,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        stop_on_failure: bool = False,
        logged: bool = True,
        attended: bool = True,
        ahead: tuple[int, int, int] | None = None,
    ) -> AsyncRunner[T]:
        self._check_open()
        if not hasattr(type(operations), "__aiter__"):
            operations = as_input(cast("Iterable[Callable[[], Any]]", operations))
        options = BatchOptions(
            delivery=delivery,
            attended=attended,
            ahead=ahead or default_ahead(self._max_at_once),
            timeout=None if timeout is None else duration("timeout", timeout),
            stop_on_failure=stop_on_failure,
            max_failures=failure_limit(max_failures),
        )
        workers = self._max_at_once
        return AsyncRunner(self._pool(), operations, options, logged=logged, max_workers=workers)


AsyncBatchExecutor.__module__ = "paceline"
