"""Operations so short that one worker is left alone with them, until one turns out to be long."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from helpers import wait_until
from streaming import most_ahead

from paceline import BatchExecutor, BatchTimeoutError, RateLimiter

SHORT_ONES = 3000
LONG = 30.0

Verb = Callable[[BatchExecutor, Any], list[Any]]


def nothing() -> bool:
    return True


def batch_of(executor: BatchExecutor, operations: Any) -> list[Any]:
    return executor.execute_batch(operations)


def run_of(executor: BatchExecutor, operations: Any) -> list[Any]:
    return executor.run(operations).values()


def stream_of(executor: BatchExecutor, operations: Any) -> list[Any]:
    return [outcome.value for outcome in executor.stream(operations, ordered=True)]


def map_of(executor: BatchExecutor, operations: Any) -> list[Any]:
    return list(executor.map(lambda operation: operation(), operations))


def bounded_map_of(executor: BatchExecutor, operations: Any) -> list[Any]:
    return list(executor.map(lambda operation: operation(), operations, buffersize=500))


def submit_of(executor: BatchExecutor, operations: Any) -> list[Any]:
    return [future.result() for future in [executor.submit(each) for each in operations]]


VERBS = pytest.mark.parametrize(
    "verb", [batch_of, run_of, stream_of, map_of, bounded_map_of, submit_of]
)
LIMITERS = pytest.mark.parametrize(
    "limiter", [lambda: None, lambda: RateLimiter(10**9, per=1)], ids=["no limiter", "ours"]
)


@VERBS
@LIMITERS
@pytest.mark.parametrize("workers", [2, 5])
def test_a_long_operation_does_not_hold_up_what_comes_after_it(
    verb: Verb, limiter: Callable[[], Any], workers: int
) -> None:
    later = threading.Event()
    # A stream in order reads no further than this until what is long has ended.
    between = 2 * workers + 1 - 2 if verb is stream_of else 100

    def operations() -> Iterator[Callable[[], bool]]:
        for _ in range(3):
            yield from [nothing] * SHORT_ONES
            yield lambda: later.wait(LONG)
            yield from [nothing] * between
            yield lambda: later.set() is None

    with BatchExecutor(limiter(), workers) as executor:
        assert all(verb(executor, list(operations())))
        later.clear()
        assert all(verb(executor, operations()))


@pytest.mark.parametrize("verb", [batch_of, run_of, stream_of, bounded_map_of])
def test_an_input_that_blocks_does_not_hold_up_what_was_read(verb: Verb) -> None:
    ran = threading.Event()

    def operations() -> Iterator[Callable[[], bool]]:
        for _ in range(3):
            yield from [nothing] * SHORT_ONES
            yield lambda: ran.set() is None
            assert ran.wait(LONG)
            ran.clear()

    with BatchExecutor(None, 2) as executor:
        assert all(verb(executor, operations()))


@pytest.mark.parametrize("workers", [2, 3])
def test_an_input_that_blocks_does_not_hold_up_what_was_read_whatever_else_runs(
    workers: int,
) -> None:
    stop = threading.Event()
    ran = threading.Event()

    def without_end() -> Iterator[Callable[[], bool]]:
        while not stop.is_set():
            yield nothing

    def exhaust(executor: BatchExecutor) -> None:
        for _ in executor.stream(without_end()):
            pass

    def operations() -> Iterator[Callable[[], bool]]:
        for _ in range(5):
            yield from [nothing] * SHORT_ONES
            yield lambda: ran.set() is None
            began = time.monotonic()
            assert ran.wait(LONG)
            waits.append(time.monotonic() - began)
            ran.clear()

    waits: list[float] = []
    with BatchExecutor(None, workers) as executor:
        beside = threading.Thread(target=exhaust, args=(executor,))
        beside.start()
        try:
            assert all(stream_of(executor, operations()))
        finally:
            stop.set()
            beside.join()
    # A few milliseconds each; before, as long as the other stream went on without a gap.
    assert sorted(waits)[2] < 0.2


@pytest.mark.parametrize("verb", ["run", "execute_batch", "stream"])
def test_no_more_than_one_operation_is_read_beyond_the_deadline(verb: str) -> None:
    read_after: list[float] = []

    def operations() -> Iterator[Callable[[], bool]]:
        began = time.monotonic()
        yield from [nothing] * SHORT_ONES
        while True:
            time.sleep(0.02)
            read_after.append(time.monotonic() - began)
            yield nothing

    with BatchExecutor(None, 3) as executor, pytest.raises(BatchTimeoutError):
        list(getattr(executor, verb)(operations(), timeout=0.5))
    assert len([each for each in read_after if each > 0.5]) <= 1


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_a_long_operation_does_not_hold_back_outcomes(workers: int) -> None:
    taken = threading.Event()

    def operations() -> Iterator[Callable[[], bool]]:
        yield from [nothing] * SHORT_ONES
        yield lambda: taken.wait(LONG)

    with BatchExecutor(None, workers) as executor:
        values = []
        for outcome in executor.stream(operations()):
            values.append(outcome.value)
            if len(values) == SHORT_ONES:
                taken.set()
        assert len(values) == SHORT_ONES + 1
        assert all(values)


@VERBS
def test_every_worker_joins_in_when_operations_become_long(verb: Verb) -> None:
    workers = 8
    together = threading.Barrier(workers)

    def operations() -> Iterator[Callable[[], Any]]:
        for _ in range(2):
            yield from [nothing] * SHORT_ONES
            # Each waits until all are at work.
            yield from [lambda: together.wait(LONG) >= 0] * workers

    with BatchExecutor(None, workers) as executor:
        assert all(verb(executor, list(operations())))


def test_a_short_operation_may_wait_for_others_of_its_executor() -> None:
    with BatchExecutor(None, 1) as single, BatchExecutor(None, 2) as executor:

        def nested() -> bool:
            return executor.submit(executor.submit(nothing).result).result(LONG)

        operations: list[Callable[[], bool]] = [nothing] * SHORT_ONES
        assert all(executor.execute_batch([*operations, nested] * 2))
        assert all(single.execute_batch([*operations, nested] * 2))


def test_outcomes_are_handed_over_while_the_input_is_slow() -> None:
    taken: list[bool] = []
    taken_before_slow: list[int] = []

    def operations() -> Iterator[Callable[[], bool]]:
        yield from [nothing] * SHORT_ONES
        for _ in range(6):
            time.sleep(0.1)
            taken_before_slow.append(len(taken))
            yield nothing

    with BatchExecutor(None, 5) as executor:
        for outcome in executor.stream(operations()):
            taken.append(outcome.value)
    # The first may come in the middle of what is read in one go, and that is handed over next.
    for late, before in enumerate(taken_before_slow[1:]):
        assert before >= SHORT_ONES + late - 1, taken_before_slow


def test_no_more_is_read_ahead_than_is_said() -> None:
    read = 0
    taken = 0
    most = 0

    def operations() -> Iterator[Callable[[], bool]]:
        nonlocal read, most
        for _ in range(50_000):
            read += 1
            most = max(most, read - taken)
            yield nothing

    with BatchExecutor(None, 5) as executor:
        for _ in executor.stream(operations()):
            taken += 1
    assert taken == 50_000
    assert most_ahead() / 2 < most <= most_ahead() + 1  # the one that is being handed over


class Operation:
    def __call__(self) -> bool:
        return True


@pytest.mark.parametrize("blocks", [False, True], ids=["input goes on", "input blocks"])
@pytest.mark.parametrize("verb", [run_of, stream_of])
def test_what_is_no_operation_is_refused_among_short_ones(verb: Verb, blocks: bool) -> None:
    async def coroutine_function() -> None: ...

    later: list[weakref.ref[Operation]] = []

    def operations() -> Iterator[Any]:
        yield from [nothing] * SHORT_ONES
        yield coroutine_function
        if blocks:
            time.sleep(0.1)
        for _ in range(100):
            operation = Operation()
            later.append(weakref.ref(operation))
            yield operation

    with BatchExecutor(None, 5) as executor:
        with pytest.raises(TypeError, match=rf"operation {SHORT_ONES} is a coroutine") as raised:
            verb(executor, operations())
        counts = raised.value.batch_report.counts  # type: ignore[attr-defined]
        assert counts["failed"] == 0
        assert counts["done"] <= SHORT_ONES
        raised.value.__traceback__ = None
        del raised
        wait_until(lambda: gc.collect() is not None and all(ref() is None for ref in later))


@pytest.mark.parametrize("blocks", [False, True], ids=["at once", "after a while"])
def test_what_was_read_before_the_input_failed_is_not_lost(blocks: bool) -> None:
    def operations() -> Iterator[Callable[[], bool]]:
        yield from [nothing] * SHORT_ONES
        if blocks:
            time.sleep(0.1)
        raise LookupError("no more")

    with BatchExecutor(None, 5) as executor:
        with pytest.raises(LookupError, match="no more") as raised:
            executor.run(operations())
        report = raised.value.batch_report  # type: ignore[attr-defined]
        assert len(report) == SHORT_ONES
        taken = 0
        with pytest.raises(LookupError, match="no more") as raised:
            for _ in executor.stream(operations()):
                taken += 1
        report = raised.value.batch_report  # type: ignore[attr-defined]
        assert taken + len(report) == SHORT_ONES
        assert report.counts["done"] >= taken
        assert report.counts["done"] + report.counts["not_started"] == SHORT_ONES


def test_an_idle_stream_costs_no_time() -> None:
    with BatchExecutor(None, 5) as executor:
        stream = executor.stream(nothing for _ in range(10**9))
        for _ in range(5000):
            next(stream)
        time.sleep(0.2)
        before = time.process_time()
        time.sleep(1.0)
        assert time.process_time() - before < 0.05


@LIMITERS
@pytest.mark.parametrize("workers", [1, 4])
def test_operations_that_are_not_written_in_python_let_other_threads_run(
    limiter: Callable[[], RateLimiter | None], workers: int
) -> None:
    turns = 0
    over = threading.Event()

    def watch() -> None:
        nonlocal turns
        while not over.is_set():
            time.sleep(0.001)
            turns += 1

    # None of them makes the interpreter look whether another thread wants it.
    operations = [partial(sum, range(3000))] * 20_000
    with BatchExecutor(limiter(), max_workers=workers) as executor:
        executor.execute_batch(operations[:100])
        watcher = threading.Thread(target=watch)
        watcher.start()
        executor.execute_batch(operations)
        had = turns
        over.set()
        watcher.join()
    # It would have one or two where a worker kept the interpreter for all of a second.
    assert had >= 10


def test_operations_that_let_others_run_are_followed_by_the_next_at_once() -> None:
    resource = pytest.importorskip("resource", reason="needs what POSIX tells of a process")
    count, slept = 400, []
    with BatchExecutor(None, max_workers=4) as executor:
        for _ in range(5):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw
            executor.execute_batch([partial(time.sleep, 0.005)] * count)
            slept.append(resource.getrusage(resource.RUSAGE_SELF).ru_nvcsw - before)
    # Once by itself, sometimes for the interpreter, and not once more to let others have that.
    assert min(slept) < 2 * count
