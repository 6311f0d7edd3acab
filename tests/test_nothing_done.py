"""What only looks done, or like a limiter, is refused; what was cancelled within is a failure."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial, wraps
from typing import Any

import pytest
from helpers import statuses

from paceline import BatchExecutor, Retry

requests: list[int] = []


def pages() -> Iterator[int]:
    requests.append(1)
    yield 1


async def pages_to_come() -> AsyncIterator[int]:
    yield 1


class Pages:
    def __call__(self) -> Iterator[int]:
        yield from pages()

    def method(self) -> Iterator[int]:
        yield from pages()

    @staticmethod
    def static() -> Iterator[int]:
        yield from pages()


def returned(give: Callable[[], Any]) -> Any:
    """Return what is given, as an operation that is no generator function itself."""
    return give()


FUNCTIONS: dict[str, Callable[[], Any]] = {
    "function": pages,
    "partial": partial(pages),
    "method": Pages().method,
    "partial of a method": partial(Pages().method),
    "static method": Pages.static,
    "instance": Pages(),
    "partial of an instance": partial(Pages()),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_a_generator_function_is_refused(function: Callable[[], Any], executor: Any) -> None:
    requests.clear()
    for verb in (executor.run, executor.execute_batch, lambda them: list(executor.stream(them))):
        for operations in ([int, function], iter([int, function])):
            with pytest.raises(TypeError, match=r"operation 1 is a generator function.*list\("):
                verb(operations)
    with pytest.raises(TypeError, match="operation is a generator function"):
        executor.execute(function)
    with pytest.raises(TypeError, match="fn is a generator function"):
        executor.submit(function)
    with pytest.raises(TypeError, match="fn is a generator function"):
        executor.map(function)
    with pytest.raises(TypeError, match="initializer must be a function"):
        BatchExecutor(initializer=function)
    with pytest.raises(TypeError, match="on must not be"):
        Retry(on=function)  # type: ignore[arg-type]
    assert not requests


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (pages, r"returned a generator, .*list\("),
        (pages_to_come, "returned an asynchronous generator"),
    ],
)
def test_an_operation_that_returns_a_generator_has_failed(
    give: Callable[[], Any], message: str, executor: BatchExecutor
) -> None:
    requests.clear()
    report = executor.run([int, partial(returned, give), *[int] * 500, partial(returned, give)])
    assert statuses(report) == ["done", "failed", *["done"] * 500, "failed"]
    with pytest.raises(TypeError, match=message):
        executor.execute(partial(returned, give))
    with pytest.raises(TypeError, match=message):
        executor.execute_batch([partial(returned, give)], on_error="raise")
    with pytest.raises(TypeError, match=message):
        list(executor.map(lambda _: give(), [1]))
    # As with a coroutine, a future may have one as its value.
    assert type(executor.submit(partial(returned, give)).result(10)) is type(give())
    assert not requests
    assert executor.execute(lambda: list(pages())) == [1]


LOCKS: dict[str, Callable[[], Any]] = {
    "Lock": threading.Lock,
    "RLock": threading.RLock,
    "Semaphore": lambda: threading.Semaphore(3),
    "BoundedSemaphore": lambda: threading.BoundedSemaphore(3),
    "Condition": threading.Condition,
    "multiprocessing.Lock": multiprocessing.Lock,
    "multiprocessing.RLock": multiprocessing.RLock,
    "multiprocessing.Semaphore": lambda: multiprocessing.Semaphore(3),
    "multiprocessing.BoundedSemaphore": lambda: multiprocessing.BoundedSemaphore(3),
    "multiprocessing.Condition": multiprocessing.Condition,
    "asyncio.Lock": asyncio.Lock,
    "asyncio.Semaphore": lambda: asyncio.Semaphore(3),
    "asyncio.BoundedSemaphore": lambda: asyncio.BoundedSemaphore(3),
    "asyncio.Condition": asyncio.Condition,
}


class Wrapped:
    """An object of one's own, whose ``acquire`` is that of a lock."""

    def __init__(self, acquire: Callable[..., Any]) -> None:
        self.acquire = acquire


@pytest.mark.parametrize("make", LOCKS.values(), ids=LOCKS)
def test_a_lock_is_no_limiter(make: Callable[[], Any]) -> None:
    lock = make()
    bound = partial(lock.acquire, True)

    @wraps(lock.acquire)
    def wrapper() -> Any:
        return lock.acquire()

    for limiter in (lock, Wrapped(lock.acquire), Wrapped(bound), Wrapped(wrapper)):
        with pytest.raises(TypeError, match=r"must not be a lock or a semaphore.*max_workers=n"):
            BatchExecutor(limiter)


class Refilled(threading.Semaphore):
    """Somebody may release this one."""


def test_a_subclass_of_a_semaphore_may_be_one() -> None:
    semaphore = Refilled(0)
    with BatchExecutor(semaphore, max_workers=2) as executor:
        threading.Timer(0.05, semaphore.release, [5]).start()
        assert executor.execute_batch([int] * 5) == [0] * 5


@pytest.mark.parametrize("kind", [asyncio.CancelledError, CancelledError])
def test_what_was_cancelled_within_an_operation_is_its_failure(
    kind: type[BaseException], executor: BatchExecutor
) -> None:
    async def cancelled() -> None:
        raise kind

    def operation() -> None:
        asyncio.run(cancelled())

    report = executor.run([int, operation, int])
    assert statuses(report) == ["done", "failed", "done"]
    assert type(report[1].exception) is kind
    assert executor.execute_batch([operation, int]) == [{"error": ""}, 0]
    assert sorted(statuses(executor.stream([int, operation]))) == ["done", "failed"]
    with pytest.raises(kind):
        executor.execute(operation)
    with pytest.raises(kind):
        executor.execute_batch([operation], on_error="raise")
    with pytest.raises(kind):
        list(executor.map(lambda _: operation(), [1]))
    with pytest.raises(kind):
        executor.submit(operation).result(10)
    with pytest.raises(BaseExceptionGroup):
        report.raise_for_failures()
