"""What goes in and comes out is let go: operations, values, exceptions, and executors."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from typing import Any

import pytest
from helpers import RecordingLimiter, fail, wait_until
from observing import PATIENCE

from paceline import BatchExecutor, BatchTimeoutError, RateLimiter, Retry, _core

pytestmark = pytest.mark.usefixtures("unlogged")


class Watched:
    """Something that can be weakly referred to, and called."""

    def __init__(self, result: Any = None, error: BaseException | None = None) -> None:
        self.result = result
        self.error = error

    def __call__(self) -> Any:
        if self.error is not None:
            raise self.error
        return self.result


class Value: ...


class WatchedError(Exception): ...


def use_execute(executor: BatchExecutor, operation: Watched) -> None:
    with contextlib.suppress(WatchedError):
        executor.execute(operation)


def use_execute_batch(executor: BatchExecutor, operation: Watched) -> None:
    executor.execute_batch([operation])
    executor.execute_batch([operation], on_error="return")
    with contextlib.suppress(WatchedError):
        executor.execute_batch([operation], on_error="raise")


def use_run(executor: BatchExecutor, operation: Watched) -> None:
    report = executor.run([operation])
    with contextlib.suppress(Exception):
        report.values()


def use_stream(executor: BatchExecutor, operation: Watched) -> None:
    list(executor.stream([operation, int]))


def use_stream_half_way(executor: BatchExecutor, operation: Watched) -> None:
    next(executor.stream([operation, operation, operation], buffersize=1))


def use_submit(executor: BatchExecutor, operation: Watched) -> None:
    future = executor.submit(operation)
    future.add_done_callback(lambda it: None)
    wait([future], PATIENCE)


def use_map(executor: BatchExecutor, operation: Watched) -> None:
    with contextlib.suppress(WatchedError):
        list(executor.map(lambda it: it(), [operation, operation]))


def use_max_failures(executor: BatchExecutor, operation: Watched) -> None:
    with contextlib.suppress(ExceptionGroup):
        executor.run([operation] * 3, max_failures=1)


def use_nested(executor: BatchExecutor, operation: Watched) -> None:
    def outer() -> None:
        executor.submit(operation).exception(PATIENCE)
        executor.execute_batch([operation])

    executor.execute(outer)


def use_timeout(executor: BatchExecutor, operation: Watched) -> None:
    import itertools

    with contextlib.suppress(BatchTimeoutError):
        executor.run(itertools.repeat(operation), timeout=0.02, max_failures=10**9)


USES = [
    use_execute,
    use_execute_batch,
    use_run,
    use_stream,
    use_stream_half_way,
    use_submit,
    use_map,
    use_max_failures,
    use_nested,
    use_timeout,
]

LIMITERS = pytest.mark.parametrize(
    "limiter",
    [lambda: None, lambda: RateLimiter(10**6, per=1), RecordingLimiter],
    ids=["no limiter", "ours", "foreign"],
)


@LIMITERS
@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("use", USES)
def test_what_goes_in_and_comes_out_is_let_go(
    use: Callable[[BatchExecutor, Watched], None], fails: bool, limiter: Callable[[], Any]
) -> None:
    """The executor lives on; the operation, its value and its exception do not."""
    with BatchExecutor(limiter(), max_workers=2) as executor:
        value = Value()
        error = WatchedError("watched") if fails else None
        operation = Watched(value, error)
        watched = [weakref.ref(operation), weakref.ref(value)]
        if error is not None:
            watched.append(weakref.ref(error))
        use(executor, operation)
        del operation, value, error
        # The last worker may still be on its way out of the call.
        wait_until(lambda: gc.collect() is not None and all(ref() is None for ref in watched))


@LIMITERS
@pytest.mark.parametrize("use", USES)
def test_an_exception_is_let_go_without_the_collector(
    use: Callable[[BatchExecutor, Watched], None], limiter: Callable[[], Any]
) -> None:
    """No cycle of our making: the references alone set everything free."""
    with BatchExecutor(limiter(), max_workers=1) as executor:
        use(executor, Watched(None, WatchedError("first use")))
        gc.collect()
        gc.disable()
        try:
            value = Value()
            operation = Watched(value)
            watched = [weakref.ref(operation), weakref.ref(value)]
            use(executor, operation)
            del operation, value
            wait_until(lambda: all(ref() is None for ref in watched))
        finally:
            gc.enable()


@LIMITERS
@pytest.mark.parametrize("use", USES)
@pytest.mark.parametrize("fails", [False, True])
def test_reference_counts_come_back_exactly(
    use: Callable[[BatchExecutor, Watched], None], fails: bool, limiter: Callable[[], Any]
) -> None:
    with BatchExecutor(limiter(), max_workers=2) as executor:
        value = Value()
        error = WatchedError("counted") if fails else None
        operation = Watched(value, error)
        kept: list[Any] = [operation, value, error, executor.rate_limiter, fails]

        def counts() -> list[int]:
            if error is not None:
                error.__traceback__ = None
                error.__context__ = None
                # The report that an early end gives to its exception has the exception in it.
                vars(error).pop("batch_report", None)
            gc.collect()
            return [sys.getrefcount(each) for each in kept[:4] if each is not None]

        # Before the first use: after it, something of it may still run.
        before = counts()
        for _ in range(31):
            use(executor, operation)

        def all_back() -> bool:
            now = counts()
            # None is immortal or shared by everyone; the others are ours alone.
            return now[:2] == before[:2] and (error is None or now[2] == before[2])

        wait_until(all_back)


def test_an_executor_lets_go_of_everything_it_was_given() -> None:
    class Limiter:
        def acquire(self) -> None: ...

    class Prepare:
        def __call__(self, argument: Any) -> None: ...

    limiter, prepare, argument = Limiter(), Prepare(), Value()
    executor = BatchExecutor(limiter, initializer=prepare, initargs=(argument,))
    executor.execute_batch([int] * 10)
    executor.submit(int).result(PATIENCE)
    watched = [weakref.ref(each) for each in (limiter, prepare, argument, executor)]
    executor.shutdown()
    del limiter, prepare, argument, executor
    wait_until(lambda: gc.collect() is not None and all(ref() is None for ref in watched))


def test_an_executor_in_a_cycle_with_its_limiter_and_operations_is_collected() -> None:
    class Limiter:
        def acquire(self) -> None: ...

    def make() -> list[weakref.ref[Any]]:
        limiter = Limiter()
        executor = BatchExecutor(limiter, max_workers=2)
        limiter.executor = executor  # type: ignore[attr-defined]
        executor.limiter = limiter  # type: ignore[attr-defined]
        future = executor.submit(lambda: executor)
        future.result(PATIENCE)
        executor.future = future  # type: ignore[attr-defined]
        executor.outcomes = executor.stream([lambda: executor] * 50)  # type: ignore[attr-defined]
        next(executor.outcomes)  # type: ignore[attr-defined]
        return [weakref.ref(limiter), weakref.ref(executor)]

    watched = make()
    wait_until(lambda: gc.collect() is not None and all(ref() is None for ref in watched))


class Owner:
    """As one writes a client: its executor is told of its methods."""

    executor: BatchExecutor

    def prepare(self, *_: object) -> None: ...

    def again(self, _: object) -> bool:
        return False

    def judge(self, _: object) -> None: ...


OWNED: dict[str, Callable[[Owner], BatchExecutor]] = {
    "initializer": lambda owner: BatchExecutor(initializer=owner.prepare),
    "initargs": lambda owner: BatchExecutor(initializer=nothing, initargs=(owner,)),
    "on": lambda owner: BatchExecutor(retry=Retry(on=owner.again)),
    "on_result": lambda owner: BatchExecutor(retry=Retry(on_result=owner.judge)),
    "observe": lambda owner: BatchExecutor(retry=Retry(observe=owner.judge)),
}


def nothing(_: object) -> None: ...


@pytest.mark.parametrize("make", OWNED.values(), ids=OWNED)
def test_an_executor_in_a_cycle_with_what_its_workers_call_is_collected(
    make: Callable[[Owner], BatchExecutor],
) -> None:
    def use() -> list[weakref.ref[Any]]:
        owner = Owner()
        owner.executor = make(owner)
        owner.executor.run([int, fail])
        owner.executor.submit(fail).exception(PATIENCE)
        return [weakref.ref(owner), weakref.ref(owner.executor)]

    threads = threading.active_count()
    watched = use()
    wait_until(lambda: gc.collect() is not None and all(ref() is None for ref in watched))
    wait_until(lambda: threading.active_count() <= threads)


def test_a_suspended_stream_does_not_keep_what_it_handed_over() -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(functools.partial(Value) for _ in range(100))
        outcome = next(outcomes)
        watched = weakref.ref(outcome.value)
        del outcome
        gc.collect()
        assert watched() is None
        outcomes.close()


def test_threads_that_share_a_stream_leave_nothing() -> None:
    def batches() -> int:
        gc.collect()
        return sum(type(each) is _core.Batch for each in gc.get_objects())

    def share_a_stream_of(value: Value) -> None:
        def operation() -> Value:
            time.sleep(0.0005)
            return value

        def take(outcomes: Iterator[Any]) -> None:
            for _ in outcomes:
                time.sleep(0.0005)

        with BatchExecutor(max_workers=4) as executor:
            outcomes = executor.stream(operation for _ in range(100))
            threads = [threading.Thread(target=take, args=(outcomes,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    before = batches()
    values = [Value() for _ in range(5)]
    watched = [weakref.ref(value) for value in values]
    while values:
        share_a_stream_of(values.pop())
    wait_until(lambda: batches() <= before and all(ref() is None for ref in watched))


def test_context_variables_are_let_go() -> None:
    import contextvars

    variable: contextvars.ContextVar[Any] = contextvars.ContextVar("variable", default=None)
    with BatchExecutor(max_workers=2) as executor:
        value = Value()
        watched = weakref.ref(value)
        token = variable.set(value)
        executor.execute_batch([variable.get] * 5)
        executor.submit(variable.get).result(PATIENCE)
        list(executor.map(lambda _: variable.get(), range(5)))
        list(executor.stream([variable.get] * 5))
        variable.reset(token)
        del value, token
        wait_until(lambda: gc.collect() is not None and watched() is None)


def test_threads_end_with_shutdown() -> None:
    before = set(threading.enumerate())
    for limiter in (None, RateLimiter(10**6, per=1), RecordingLimiter()):
        executor = BatchExecutor(limiter, max_workers=4)
        executor.execute_batch([int] * 20)
        executor.submit(int).result(PATIENCE)
        list(executor.stream([int] * 20))
        executor.shutdown()
        assert set(threading.enumerate()) == before
