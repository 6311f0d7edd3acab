"""The executor's verbs.

Long by the docstrings and overloads of the verbs, which are what users read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Literal,
    Never,
    ParamSpec,
    TypeVar,
    cast,
    overload,
)

import paceline
from paceline import _core
from paceline._arguments import missing, refuse
from paceline._checks import duration, failure_limit, positive_int
from paceline._core import Delivery
from paceline._error_record import ErrorRecord, error_record
from paceline._futures import submit
from paceline._options import BatchOptions, default_ahead
from paceline._outcomes import Outcomes
from paceline._permits import ForeignLimiter, SupportsAcquire
from paceline._pool import Pool, wait_for
from paceline._report import BatchReport
from paceline._runner import BatchRunner
from paceline._settings import (
    as_input,
    calls_of,
    check_on_error,
    check_rate_limiter,
    check_retry,
    check_sizes,
    check_thread_setup,
    check_workers,
    warn_in_event_loop,
)
from paceline._values import ValueRunner

__all__ = ["BatchExecutor"]

T = TypeVar("T")
R = TypeVar("R", bound=BatchRunner[Any])
P = ParamSpec("P")

MOST_BUFFERED = 2**31


class BatchExecutor(_core.BatchExecutor, Executor):
    """Runs Python calls in parallel, as fast as a rate limit allows and never faster.

    Args:
        rate_limiter: A :class:`RateLimiter`, or any object with a blocking ``acquire()``, which
            is then called once before each call of an operation, on the worker that makes it and by
            one worker at a time. None means no limit.
        max_workers: How many operations run at once, at most; from 1 to 32768. None means what it
            means to ``ThreadPoolExecutor``: the processors that there are and 4 more, up to 32.
        on_error: What ``execute_batch`` puts in the place of a failed operation's value:
            ``"record"`` an :class:`ErrorRecord`, ``"return"`` the exception itself; ``"raise"``
            ends the batch with the first failure.
        retry: When failed operations are called again, a :class:`Retry`. None means never.
        thread_name_prefix: What the names of the worker threads begin with.
        initializer: Called on each worker thread when it starts, also on those that work in the
            place of others which wait inside their operations. Once it has raised, every verb
            raises ``concurrent.futures.thread.BrokenThreadPool`` from that.
        initargs: The arguments of ``initializer``.

    Raises:
        TypeError: If an argument is of the wrong type, or ``rate_limiter`` has no ``acquire()``.
        ValueError: If ``max_workers`` is out of its range, or ``on_error`` is none of those words.
    """

    def __init__(
        self,
        rate_limiter: SupportsAcquire | None = None,
        max_workers: int | None = 5,
        *_more: Never,
        on_error: Literal["record", "return", "raise"] = "record",
        retry: paceline.Retry | None = None,
        thread_name_prefix: str = "paceline",
        initializer: Callable[..., object] | None = None,
        initargs: Iterable[Any] = (),
        **_unknown: Never,
    ) -> None:
        if _more or _unknown:
            refuse("BatchExecutor", _more, _unknown)
        workers = check_workers(max_workers)
        native = check_rate_limiter(rate_limiter)
        check_thread_setup(initializer, initargs, thread_name_prefix)
        if retry is not None:
            check_retry(retry)
        self._rate_limiter = rate_limiter
        self._max_workers = workers
        self._on_error = check_on_error(on_error)
        foreign = None
        if rate_limiter is not None and native is None:
            foreign = ForeignLimiter(rate_limiter)
        self._thread_setup: dict[str, Any] = {
            "prefix": thread_name_prefix,
            "initializer": initializer,
            "initargs": tuple(initargs),
            "limiter": foreign,
            "retry": retry,
        }
        self._configure(workers, native, foreign is not None, retry)
        self._pools: dict[int, Pool] = {}

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Never:
            raise AttributeError(missing("BatchExecutor", name), name=name, obj=self)

    @property
    def rate_limiter(self) -> SupportsAcquire | None:
        """The limiter that this executor was made with."""
        return self._rate_limiter

    @property
    def max_workers(self) -> int:
        """How many operations run at once, at most."""
        return self._max_workers

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._rate_limiter!r}, max_workers={self._max_workers})"

    @property
    def _pool(self) -> Pool:
        """The threads that this process has for the executor: a forked child has its own."""
        runtime = self._runtime()
        pool = self._pools.get(runtime.number())
        if pool is None:
            # However many threads come first at once, all of them get the same one.
            pool = self._pools.setdefault(runtime.number(), Pool(runtime, **self._thread_setup))
        pool.check()
        return pool

    def execute(self, operation: Callable[[], T], *_more: Never, **_unknown: Never) -> T:
        """Run one operation on a worker, and return its value.

        Args:
            operation: A callable without arguments.

        Raises:
            TypeError: If ``operation`` is not callable, or is a coroutine or generator function, or
                returns a coroutine or a generator, which nobody would run.
            BaseException: Whatever the operation, or the limiter, raises.
            RuntimeError: After :meth:`shutdown`.
        """
        if _more or _unknown:
            refuse("execute", _more, _unknown)
        _core.check_operation("operation", operation)
        runner = self._runner_of(
            BatchRunner, [operation], Delivery.AT_END, stop_on_failure=True, logged=False
        )
        runner.is_batch = False
        # A failure would have ended it.
        return runner.to_end(lambda records: cast("T", records.values(None)[0]))

    @overload
    def execute_batch(
        self,
        operations: Iterable[Callable[[], T]],
        *_more: Never,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        on_error: Literal["raise"],
        **_unknown: Never,
    ) -> list[T]: ...
    @overload
    def execute_batch(
        self,
        operations: Iterable[Callable[[], T]],
        *_more: Never,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        on_error: Literal["record"],
        **_unknown: Never,
    ) -> list[T | ErrorRecord]: ...
    @overload
    def execute_batch(
        self,
        operations: Iterable[Callable[[], T]],
        *_more: Never,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        on_error: Literal["return"],
        **_unknown: Never,
    ) -> list[T | Exception]: ...
    @overload
    def execute_batch(
        self,
        operations: Iterable[Callable[[], T]],
        *_more: Never,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        on_error: Literal["record", "return", "raise"] | None = None,
        **_unknown: Never,
    ) -> list[Any]: ...
    def execute_batch(
        self,
        operations: Iterable[Callable[[], T]],
        *_more: Never,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        on_error: Literal["record", "return", "raise"] | None = None,
        **_unknown: Never,
    ) -> list[Any]:
        """Run the operations, and return one entry for each, in their order.

        The entry is the operation's value; of one that failed, what ``on_error`` says. One that
        returns a coroutine or a generator, which nobody would run, has failed with a ``TypeError``.
        ``asyncio.CancelledError`` is a failure like any other.

        Args:
            operations: Callables without arguments. A list is checked as a whole before anything
                runs; any other iterable is read as the workers need it, on the calling thread.
            timeout: Seconds, or a ``timedelta``, for the whole batch, waiting for permits and
                retries included; from 0 to 10**9. None means no limit. The input runs on the
                calling thread, and is not interrupted.
            max_failures: The batch ends when so many operations have failed, or, as a pair
                ``(share, of)``, when that share, above 0 and up to 1, of the last ``of`` operations
                failed, which is not known before so many have ended. None means never.
            on_error: For this batch, instead of the executor's ``on_error``; None uses that.

        Returns:
            As many entries as there are operations.

        Raises:
            TypeError: If an operation is not callable, or is a coroutine or generator function, or
                an argument is of the wrong type.
            ValueError: If ``timeout``, ``max_failures`` or ``on_error`` is out of its range.
            BatchTimeoutError: If ``timeout`` has passed.
            BatchRefusedError: If the server goes on refusing, or asks for too long a pause, and
                something was not begun; see :class:`Retry`.
            ExceptionGroup: Of the failures, if there were ``max_failures``.
            BaseException: With ``on_error="raise"`` the first failure; always what the limiter or
                the input raises, and what an operation raises that is not an ``Exception``.
            CancelledError: After ``shutdown(cancel_futures=True)``; in an operation, if the batch
                that this operation belongs to was given up: by a timeout, by Ctrl-C, or with its
                stream. It is the one of ``concurrent.futures``.
            RuntimeError: After :meth:`shutdown`.

        Whatever ends the batch early has the outcomes so far as ``batch_report``.
        """
        if _more or _unknown:
            refuse("execute_batch", _more, _unknown)
        mode = self._on_error if on_error is None else check_on_error(on_error)
        runner = self._runner_of(
            BatchRunner,
            operations,
            Delivery.AT_END,
            timeout=timeout,
            max_failures=max_failures,
            stop_on_failure=mode == "raise",
            logged=mode != "raise",
        )
        failed = error_record if mode == "record" else None
        return runner.to_end(lambda records: records.values(failed))

    def run(
        self,
        operations: Iterable[Callable[[], T]],
        *_more: Never,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        **_unknown: Never,
    ) -> BatchReport[T]:
        """Run the operations, and return what became of each, with the totals.

        Arguments and exceptions are those of :meth:`execute_batch`; an operation's failure is
        recorded.
        """
        if _more or _unknown:
            refuse("run", _more, _unknown)
        runner = self._runner_of(
            BatchRunner, operations, Delivery.AT_END, timeout=timeout, max_failures=max_failures
        )
        return runner.to_end(runner.report)

    def stream(
        self,
        operations: Iterable[Callable[[], T]],
        *_more: Never,
        ordered: bool = False,
        buffersize: int | None = None,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        **_unknown: Never,
    ) -> Outcomes[T]:
        """Run the operations, and iterate over what becomes of each, as it is known.

        The input is read inside ``next()``, on the thread that calls it. What is ready is handed
        over before an input that was slow to answer is asked again, and for a tenth of that time it
        is waited for what may become ready. An input that blocks holds up whatever becomes ready
        later: see "Input that comes now and then" in ``docs/streams.md``. Use it in a ``with``:
        leaving that ends the batch without waiting for running operations, and ``report()`` tells
        what became of what was not handed over. Closing the iterator, from any thread, ends it as
        well, and so does dropping it.

        Args:
            operations: Callables without arguments; may be endless.
            ordered: Hand outcomes over in the order of the input, not of completion.
            buffersize: How many operations are read ahead of the workers, at most: what was read
                and not handed over never exceeds ``max_workers + buffersize``. By default
                ``max_workers + 1``, growing while operations take less than 100 microseconds: up to
                1024 in all while those read last are partials of one function (not of methods)
                without keywords, and after others up to nine twentieths of the first of
                ``gc.get_threshold()``, beyond which CPython's collector would be at work all the
                time (by default 315 in all on Python 3.11). Set it where arguments are large.
            timeout: As for :meth:`execute_batch`, from this call on; the time that the consumer
                takes counts as well.
            max_failures: As for :meth:`execute_batch`.

        Returns:
            An iterator that has ``close()``, and at the end ``report()``. Of a stream that was left
            early that tells which operations have run, or still do, though their outcomes were not
            handed over.

        Raises:
            BaseException: What :meth:`execute_batch` raises, from ``next()``; for bad arguments,
                and after :meth:`shutdown`, at once.
        """
        if _more or _unknown:
            refuse("stream", _more, _unknown)
        workers = self._max_workers
        if buffersize is None:
            ahead = default_ahead(workers)
        else:
            most = workers + positive_int("buffersize", buffersize, MOST_BUFFERED)
            ahead = (most, most, most)
        return self._runner_of(
            BatchRunner,
            operations,
            Delivery.IN_ORDER if ordered else Delivery.AS_COMPLETED,
            timeout=timeout,
            max_failures=max_failures,
            attended=False,
            ahead=ahead,
        ).outcomes()

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Queue a call, and return its future. Never blocks.

        The call starts when a worker and a permit are free for it, in the order of submission.

        Args:
            fn: Called with the rest of the arguments.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            The future of the call's value. Cancelled before its call starts, it takes no permit.
            While it waits to be called again, ``cancel()`` returns False as for any call that has
            begun, but it is not called again: it ends with the exception of its last call.

        Raises:
            RuntimeError: After :meth:`shutdown`.
            TypeError: If ``fn`` is not callable, or is a coroutine or generator function. The value
                of a future may be a coroutine or a generator.
        """
        _core.check_operation("fn", fn)
        return submit(self._pool, fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., T],
        *iterables: Iterable[Any],
        timeout: float | timedelta | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
        **_unknown: Never,
    ) -> Iterator[T]:
        """Call ``fn`` with the items of the iterables, and iterate over the values in order.

        As ``concurrent.futures.Executor.map`` of Python 3.14: without ``buffersize`` the input is
        read at once, and the calls run whether or not the values are taken. They are run as a
        batch, not by :meth:`submit`.

        Args:
            fn: Called with one item of each iterable.
            iterables: The input; the shortest ends it.
            timeout: Seconds, or a ``timedelta``, from this call after which a value that is not
                there raises; from 0 to 10**9. None means never.
            chunksize: Accepted, and without effect, as with all threads.
            buffersize: How many calls may be under way whose values were not yet taken, from 1 on.

        Returns:
            An iterator over the values, in the order of the input.

        Raises:
            ValueError: If ``timeout``, ``chunksize`` or ``buffersize`` is out of its range.
            TypeError: If ``fn`` is not callable, or is a coroutine or generator function, or
                another argument is of the wrong type.
            RuntimeError: After :meth:`shutdown`.
            TimeoutError: From ``next()``, when ``timeout`` has passed.
            BaseException: From ``next()``, whatever that call raised, or a ``TypeError`` if it
                returned a coroutine or a generator; it ends the iterator. The
                ``batch_report`` of the exception tells of the calls whose values were not taken.
        """
        if _unknown:
            refuse("map", (), _unknown)
        check_sizes(chunksize, buffersize)
        calls = calls_of(fn, iterables)
        runner = self._runner_of(
            ValueRunner,
            list(calls) if buffersize is None else calls,
            Delivery.IN_ORDER,
            timeout=timeout,
            attended=False,
            logged=False,
            ahead=(buffersize or _core.UNBOUNDED,) * 3,
        )
        return runner.begin()

    def shutdown(
        self,
        wait: bool = True,
        *_more: Never,
        cancel_futures: bool = False,
        **_unknown: Never,
    ) -> None:
        """Take no more work; what was taken up is still done.

        Args:
            wait: Return when nothing runs or waits any more and the threads have ended. A thread
                that it would have to wait for itself does not wait: one of the executor's workers,
                one that runs a batch of it (in a signal handler or in the input), or the one that
                asks the limiter.
            cancel_futures: What has not started does not start: futures are cancelled, and batches
                end with ``concurrent.futures.CancelledError``.
        """
        if _more or _unknown:
            refuse("shutdown", _more, _unknown)
        runtime = self._runtime()
        runtime.close(cancel_futures)
        if cancel_futures:
            runtime.give_up_all(None)
        pool = self._pools.get(runtime.number())
        if wait and pool is not None and not pool.is_joined_here():
            wait_for([runtime], "the executor is shut down")
            # Where a stream waits for its consumer, its workers stay until it is done.
            if runtime.is_over():
                pool.join()

    def _runner_of(
        self,
        kind: type[R],
        operations: Iterable[Callable[[], T]],
        delivery: Delivery,
        *,
        timeout: float | timedelta | None = None,
        max_failures: int | tuple[float, int] | None = None,
        stop_on_failure: bool = False,
        logged: bool = True,
        attended: bool = True,
        ahead: tuple[int, int, int] | None = None,
    ) -> R:
        if attended:
            warn_in_event_loop()
        operations = as_input(operations)
        options = BatchOptions(
            delivery=delivery,
            attended=attended,
            ahead=ahead or default_ahead(self._max_workers),
            timeout=None if timeout is None else duration("timeout", timeout),
            stop_on_failure=stop_on_failure,
            max_failures=failure_limit(max_failures),
        )
        return kind(self._pool, operations, options, logged=logged, max_workers=self._max_workers)


BatchExecutor.__module__ = "paceline"
