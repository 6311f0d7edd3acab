"""What only looks done, or like a limiter, is refused; what was cancelled within is a failure."""

from __future__ import annotations

import asyncio
import collections.abc
import logging
import multiprocessing
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import CancelledError, Future
from concurrent.futures.thread import BrokenThreadPool
from contextlib import ExitStack, asynccontextmanager, contextmanager, nullcontext
from functools import partial, wraps
from typing import Any, Generic, TypeVar

import pytest
from helpers import statuses

from paceline import BatchExecutor, Retry

T = TypeVar("T")

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


class Compiled(collections.abc.Coroutine[Any, Any, Any]):
    """A coroutine of another type, as compiled modules have them, and aiohttp's requests are."""

    def send(self, _: Any) -> Any:
        requests.append(1)

    def throw(self, *_: Any) -> Any: ...

    def close(self) -> None: ...

    def __await__(self) -> Any:
        yield


class CompiledGenerator(collections.abc.Generator[Any, Any, Any]):
    def send(self, _: Any) -> Any:
        requests.append(1)
        raise StopIteration

    def throw(self, *_: Any) -> Any:
        raise StopIteration


@contextmanager
def entered() -> Iterator[int]:
    """As ``httpx.stream`` is, which sends its request when it is entered."""
    yield from pages()


@asynccontextmanager
async def entered_by_coroutines() -> AsyncIterator[int]:
    yield 1


async def coroutine(*_: Any) -> None: ...


class StreamManager(Generic[T]):
    """As several clients of models return it, which send their request when it is entered."""

    def __init__(self, api_request: Callable[[], T], *, output: object = None) -> None:
        self.__api_request = api_request
        self.__output = output

    def __enter__(self) -> T:
        return self.__api_request()

    def __exit__(self, *_: object) -> None: ...


class OwnStreamManager(StreamManager[T]):
    def __init__(self, own: Callable[[], T]) -> None:
        super().__init__(own)

    def _own(self) -> None: ...


class AsyncStreamManager:
    def __init__(self, request_func: Callable[[], Any]) -> None:
        self._request_func = request_func

    async def __aenter__(self) -> Any:
        return await self._request_func()

    async def __aexit__(self, *_: object) -> None: ...


SUSPENDED: dict[str, tuple[Callable[[], Any], str]] = {
    "coroutine": (Compiled, "returned a coroutine"),
    "next page": (lambda: anext(pages_to_come()), "returned a coroutine"),
    "generator": (CompiledGenerator, "returned a generator"),
    "context manager": (entered, "returned a context manager"),
    "stream manager": (partial(StreamManager, pages), "returned a context manager"),
    "own stream manager": (partial(OwnStreamManager, pages), "returned a context manager"),
    "asynchronous stream manager": (
        partial(AsyncStreamManager, coroutine),
        "returned an asynchronous context manager",
    ),
    "asynchronous context manager": (entered_by_coroutines, "returned an asynchronous context"),
}


@pytest.mark.filterwarnings("ignore:coroutine method:RuntimeWarning")
@pytest.mark.parametrize(("give", "message"), SUSPENDED.values(), ids=SUSPENDED)
@pytest.mark.parametrize("retry", [None, Retry()])
def test_an_operation_that_returns_what_does_nothing_by_itself_has_failed(
    retry: Retry | None, give: Callable[[], Any], message: str
) -> None:
    requests.clear()
    with BatchExecutor(max_workers=2, retry=retry) as executor:
        report = executor.run([give, *[int] * 500, give])
        assert statuses(report) == ["failed", *["done"] * 500, "failed"]
        with pytest.raises(TypeError, match=f"the operation {message}.* does nothing by itself"):
            report[0].result()
        assert statuses(executor.stream(iter([give]))) == ["failed"]
        assert type(executor.submit(give).result(10)) is type(give())
    assert not requests


class Response(StreamManager[int]):
    """One that has more to it than to be entered."""

    status = 200


class Sent(StreamManager[int]):
    def __iter__(self) -> Iterator[int]:
        yield 1


class Permit:
    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        self._release()


class Begun:
    """What can be awaited and has begun, like a future."""

    def __await__(self) -> Iterator[None]:
        yield


@pytest.mark.parametrize(
    "give",
    [
        Begun,
        Future,
        nullcontext,
        ExitStack,
        partial(Response, int),
        partial(Sent, int),
        partial(Permit, int),
        lambda: map(int, ()),
        threading.Lock,
    ],
)
def test_other_values_are_values(give: Callable[[], Any], executor: BatchExecutor) -> None:
    value = give()
    assert executor.execute(lambda: value) is value


async def asynchronous_generator(*_: Any) -> AsyncIterator[None]:
    yield


class EnteredByCoroutines:
    """As pools of connections return it."""

    async def __aenter__(self) -> None: ...

    async def __aexit__(self, *_: object) -> None: ...


@pytest.mark.filterwarnings("ignore:coroutine:RuntimeWarning")
@pytest.mark.parametrize(
    "acquire",
    [
        coroutine,
        asynchronous_generator,
        pages,
        CompiledGenerator,
        Compiled,
        Future,
        entered,
        entered_by_coroutines,
        EnteredByCoroutines,
    ],
)
def test_a_limiter_that_only_looks_as_if_it_waited_limits_nothing(acquire: Any) -> None:
    class Limiter:
        def acquire(self) -> Any:
            return acquire()

    with BatchExecutor(Limiter(), max_workers=1) as executor:
        with pytest.raises(TypeError, match="would limit nothing"):
            executor.run([int])
        with pytest.raises(TypeError, match="would limit nothing"):
            executor.submit(int).result(10)


@pytest.mark.parametrize("give", [coroutine, pages, entered])
def test_an_initializer_that_has_done_nothing_has_failed(
    give: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL + 1, "concurrent.futures")
    executor = BatchExecutor(max_workers=1, initializer=partial(returned, give))
    with executor, pytest.raises(BrokenThreadPool) as caught:
        executor.execute(int)
    assert "the initializer returned a" in str(caught.value.__cause__)


def test_a_rule_that_has_decided_nothing_is_not_taken_for_yes() -> None:
    retry = Retry(3, on=lambda _: coroutine(), backoff=0)
    with pytest.raises(TypeError, match="the rule of Retry returned a coroutine"):
        retry.decide(ValueError())
    with BatchExecutor(max_workers=1, retry=retry) as executor:
        (outcome,) = executor.run([lambda: 1 // 0])
    assert (outcome.status, outcome.attempts) == ("failed", 1)


@pytest.mark.parametrize("give", [coroutine, pages, entered, Begun, Future])
def test_a_rule_whose_answer_is_still_to_come_has_raised(
    give: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr("sys.unraisablehook", unraisable.append)

    def rule(_: Any) -> Any:
        return give()

    for retry in (Retry(on=rule), Retry(also=rule), Retry(retry_after=rule)):
        with pytest.raises(TypeError, match="returned"):
            retry.decide(ValueError())
    failure: Any = Retry(on_result=rule).judge_result(int)
    assert "on_result returned" in str(failure.__cause__)
    with pytest.raises(TypeError, match="observe returned"):
        Retry(observe=rule).remaining(int)
    with BatchExecutor(max_workers=1, retry=Retry(observe=rule)) as executor:
        assert statuses(executor.run([int])) == ["done"]
    assert "observe returned" in str(unraisable[0].exc_value)


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

    proxy = weakref.proxy(lock)
    for limiter in (lock, proxy, Wrapped(lock.acquire), Wrapped(bound), Wrapped(wrapper)):
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


@pytest.mark.parametrize("last", [ValueError(), KeyboardInterrupt()])
def test_a_group_of_what_was_cancelled_is_a_failure(
    last: BaseException, executor: BatchExecutor
) -> None:
    cancelled = BaseExceptionGroup("a part", [asyncio.CancelledError()])

    def operation() -> None:
        raise BaseExceptionGroup("all of it", [cancelled, last])

    if isinstance(last, Exception):
        assert statuses(executor.run([int, operation, int])) == ["done", "failed", "done"]
    else:
        with pytest.raises(BaseExceptionGroup, match="all of it"):
            executor.run([int, operation, int])


def nested(levels: int) -> BaseExceptionGroup:
    group: BaseException = asyncio.CancelledError()
    for _ in range(levels):
        group = BaseExceptionGroup("twice the same", [group, group])
    assert isinstance(group, BaseExceptionGroup)
    return group


class Endless(BaseExceptionGroup):
    @property
    def exceptions(self) -> Any:
        return (Endless("anew", [asyncio.CancelledError()]),)


@pytest.mark.parametrize(
    "group",
    [
        BaseExceptionGroup("many", [asyncio.CancelledError() for _ in range(3000)]),
        nested(12),
        Endless("endless", [asyncio.CancelledError()]),
    ],
    ids=["many", "nested", "endless"],
)
def test_a_group_of_what_was_cancelled_may_be_of_any_size(
    group: BaseException, executor: BatchExecutor
) -> None:
    def operation() -> None:
        raise group

    # Its text is short; its traceback is not to be written.
    logging.getLogger("paceline").propagate = False
    try:
        assert statuses(executor.run([int, operation, int])) == ["done", "failed", "done"]
    finally:
        logging.getLogger("paceline").propagate = True
