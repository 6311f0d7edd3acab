"""Operations that wait for others of the same executor, in all the ways there are."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, as_completed, wait
from contextlib import contextmanager
from typing import Any

from paceline import BatchExecutor

PATIENCE = 10.0
"""Seconds after which a deadlock is told from a slow machine."""


@contextmanager
def executor_of(limiter: Any, workers: int) -> Iterator[BatchExecutor]:
    """An executor that is waited for only if the test went well: a deadlock is not waited for."""
    executor = BatchExecutor(limiter, max_workers=workers)
    try:
        yield executor
    except BaseException:
        executor.shutdown(wait=False, cancel_futures=True)
        raise
    executor.shutdown()


def by_result(executor: BatchExecutor, call: Callable[[], int]) -> int:
    return executor.submit(call).result()


def by_result_with_timeout(executor: BatchExecutor, call: Callable[[], int]) -> int:
    return executor.submit(call).result(timeout=PATIENCE)


def by_exception(executor: BatchExecutor, call: Callable[[], int]) -> int:
    future = executor.submit(call)
    assert future.exception() is None
    return future.result()


def by_wait(executor: BatchExecutor, call: Callable[[], int]) -> int:
    futures = [executor.submit(call), executor.submit(int), executor.submit(int)]
    _done, pending = wait(futures)
    assert not pending
    return futures[0].result()


def by_wait_for_the_first(executor: BatchExecutor, call: Callable[[], int]) -> int:
    future = executor.submit(call)
    done, _ = wait([future], return_when=FIRST_COMPLETED)
    return done.pop().result()


def by_as_completed(executor: BatchExecutor, call: Callable[[], int]) -> int:
    futures = [executor.submit(call), executor.submit(int)]
    return max(future.result() for future in as_completed(futures))


def by_execute(executor: BatchExecutor, call: Callable[[], int]) -> int:
    return executor.execute(call)


def by_execute_batch(executor: BatchExecutor, call: Callable[[], int]) -> int:
    return max(executor.execute_batch([call, int, int], on_error="raise"))


def by_run(executor: BatchExecutor, call: Callable[[], int]) -> int:
    return max(executor.run([call, int, int]).values())


def by_map(executor: BatchExecutor, call: Callable[[], int]) -> int:
    return max(executor.map(lambda operation: operation(), [call, int, int]))


def by_map_ahead(executor: BatchExecutor, call: Callable[[], int]) -> int:
    return max(executor.map(lambda operation: operation(), [call, int, int], buffersize=1))


def by_stream(executor: BatchExecutor, call: Callable[[], int]) -> int:
    return max(outcome.value for outcome in executor.stream([call, int, int]))


def by_ordered_stream(executor: BatchExecutor, call: Callable[[], int]) -> int:
    outcomes = executor.stream([call, int, int], ordered=True, buffersize=1)
    return max(outcome.value for outcome in outcomes)


WAYS = [
    by_result,
    by_result_with_timeout,
    by_exception,
    by_wait,
    by_wait_for_the_first,
    by_as_completed,
    by_execute,
    by_execute_batch,
    by_run,
    by_map,
    by_map_ahead,
    by_stream,
    by_ordered_stream,
]


def nested(way: Callable[..., int], executor: BatchExecutor, depth: int) -> int:
    """`depth`, counted by going down through as many operations that wait for each other."""
    if depth == 0:
        return 0
    return 1 + way(executor, functools.partial(nested, way, executor, depth - 1))
