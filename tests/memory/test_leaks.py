"""Nothing stays behind: no threads, no memory, no references, no file descriptors."""

from __future__ import annotations

import contextlib
import functools
import gc
import json
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from typing import Any

import pytest
from childprocess import run_script
from helpers import RecordingLimiter, fail, wait_until
from observing import PATIENCE

from paceline import BatchExecutor, BatchTimeoutError, RateLimiter, Retry, _core

pytestmark = pytest.mark.usefixtures("unlogged")

WATCH = """
import contextlib, gc, itertools, json, resource
from paceline import BatchExecutor, BatchTimeoutError, RateLimiter

class Foreign:
    def acquire(self):
        pass

def fail():
    raise ValueError("always")

def system_threads():
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return threading.active_count()

def open_files():
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(FileNotFoundError):
            return len(os.listdir(folder))
    return 0

def resident():
    '''KiB in use now, or the peak where the system does not tell.'''
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() // 1024
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak

def settle(expected_threads):
    deadline = time.monotonic() + 20
    while system_threads() > expected_threads and time.monotonic() < deadline:
        time.sleep(0.005)
    gc.collect()

def measure():
    return {"threads": system_threads(), "files": open_files(), "resident": resident(),
            "blocks": sys.getallocatedblocks()}
"""


def growth(script: str, timeout: float) -> dict[str, int]:
    """What a script that prints two measurements says has been added between them."""
    ended = run_script(WATCH + script, timeout=timeout).assert_silent()
    before, after = (json.loads(line) for line in ended.stdout.splitlines())
    return {name: after[name] - before[name] for name in before}


@pytest.mark.long
@pytest.mark.timeout(150)
@pytest.mark.parametrize("ending", ["executor.shutdown()", "del executor"])
def test_three_thousand_executors(ending: str) -> None:
    added = growth(
        f"""
limiters = [None, RateLimiter(1_000_000, per=1), Foreign()]
def one(number):
    executor = BatchExecutor(limiters[number % 3], max_workers=2)
    executor.execute_batch([int, fail, int])
    executor.submit(int).result()
    list(executor.map(int, "12", buffersize=1))
    next(executor.stream(itertools.repeat(int)))
    {ending}

import logging
logging.getLogger("paceline").setLevel("CRITICAL")
threads = system_threads()
for number in range(700):
    one(number)
settle(threads)
print(json.dumps(measure()))
for number in range(3000):
    one(number)
settle(threads)
print(json.dumps(measure()))
""",
        timeout=120,
    )
    assert added["threads"] <= 0
    assert added["files"] == 0
    assert added["blocks"] < 750, "less than one object for four executors"
    assert added["resident"] < 6 * 1024


OPERATIONS = """
import logging
logging.getLogger("paceline").setLevel("CRITICAL")
executor = BatchExecutor({limiter}, max_workers=3)

def batches(n):
    for _ in range(n // 100):
        executor.execute_batch([int] * 90 + [fail] * 10)

def runs(n):
    for _ in range(n // 100):
        executor.run(iter([int] * 90 + [fail] * 10))

def executes(n):
    for _ in range(n):
        executor.execute(int)

def submits(n):
    for _ in range(n // 100):
        futures = [executor.submit(int) for _ in range(100)]
        for future in futures[50:]:
            future.cancel()
        for future in futures:
            future.cancelled() or future.result()

def maps(n):
    for _ in range(n // 100):
        list(executor.map(int, itertools.repeat("1", 100), buffersize=8))

def streams(n):
    for _ in range(n // 100):
        for outcome in executor.stream(itertools.repeat(int, 100)):
            pass
        next(executor.stream(itertools.repeat(int)))

def long_stream(n):
    for outcome in executor.stream(itertools.repeat(int, n)):
        pass

def timeouts(n):
    for _ in range(max(3, n // 20_000)):
        try:
            executor.run(itertools.repeat(lambda: time.sleep(0.001)), timeout=0.01)
        except BatchTimeoutError:
            pass

{activity}(30_000)
gc.collect()
print(json.dumps(measure()))
{activity}({count})
gc.collect()
print(json.dumps(measure()))
"""


def check_operations(activity: str, limiter: str, count: int, timeout: float) -> None:
    added = growth(
        OPERATIONS.format(activity=activity, limiter=limiter, count=count), timeout=timeout
    )
    assert added["threads"] <= 0, added
    assert added["files"] == 0, added
    assert added["blocks"] < 1000, added
    assert added["resident"] < 4 * 1024, added


ACTIVITIES = [
    "batches",
    "runs",
    "executes",
    "submits",
    "maps",
    "streams",
    "long_stream",
    "timeouts",
]


@pytest.mark.long
@pytest.mark.parametrize("limiter", ["None", "RateLimiter(10**9, per=0.001)", "Foreign()"])
@pytest.mark.parametrize("activity", ACTIVITIES)
def test_operations_leave_nothing_behind(activity: str, limiter: str) -> None:
    if limiter.startswith("Rate") and activity != "batches":
        limiter = "RateLimiter(100_000, per=0.01)"
    check_operations(activity, limiter, 30_000, timeout=50)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("limiter", ["None", "Foreign()"])
@pytest.mark.parametrize("activity", ACTIVITIES)
def test_a_million_operations_leave_nothing_behind(activity: str, limiter: str) -> None:
    check_operations(activity, limiter, 1_000_000, timeout=800)


# References


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
