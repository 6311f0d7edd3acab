"""The ways to run a list of operations that people use today."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from typing import Any

Operation = Callable[[], Any]


class Unlimited:
    """A limiter that never waits."""

    def acquire(self) -> None:
        """Grant at once."""


def plain_loop(operations: Iterable[Operation]) -> list[Any]:
    """One operation after the other, on the calling thread."""
    return [operation() for operation in operations]


def submit_then_collect(operations: Sequence[Operation], workers: int) -> list[Any]:
    """Submit all behind a limiter, collect as they complete: the usual service class."""
    limiter = Unlimited()
    results = []
    with ThreadPoolExecutor(max_workers=workers) as executor:
        futures = []
        for operation in operations:
            limiter.acquire()
            futures.append(executor.submit(operation))
        for future in as_completed(futures):
            try:
                results.append(future.result())
            except Exception as error:  # noqa: BLE001 (what that class does)
                results.append({"error": str(error)})
    return results


def pool_map(operations: Iterable[Operation], workers: int) -> list[Any]:
    """``ThreadPoolExecutor.map`` over the operations."""
    with ThreadPoolExecutor(max_workers=workers) as executor:
        return list(executor.map(lambda operation: operation(), operations))


def shared_iterator(operations: Sequence[Operation], workers: int) -> list[Any]:
    """Threads that pull from one iterator: no limit, no context, no outcomes."""
    results: list[Any] = [None] * len(operations)
    numbered = enumerate(operations)

    def work() -> None:
        for index, operation in numbered:
            results[index] = operation()

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def bounded_window(operations: Iterable[Operation], workers: int, ahead: int) -> Iterator[Any]:
    """Submit with at most ``ahead`` operations not handed over: map(buffersize=) by hand."""
    pending: deque[Future[Any]] = deque()
    with ThreadPoolExecutor(max_workers=workers) as executor:
        for operation in operations:
            pending.append(executor.submit(operation))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
