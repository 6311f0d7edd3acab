"""Operations so short that one worker is left alone with them, until one turns out to be long."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from paceline import BatchExecutor, RateLimiter

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
    "limiter", [lambda: None, lambda: RateLimiter(10**9)], ids=["no limiter", "ours"]
)


@VERBS
@LIMITERS
@pytest.mark.parametrize("workers", [2, 5])
def test_a_long_operation_does_not_hold_up_what_comes_after_it(
    verb: Verb, limiter: Callable[[], Any], workers: int
) -> None:
    later = threading.Event()

    def operations() -> Iterator[Callable[[], bool]]:
        for _ in range(3):
            yield from [nothing] * SHORT_ONES
            yield lambda: later.wait(LONG)
            yield from [nothing] * 100
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
