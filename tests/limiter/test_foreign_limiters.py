"""Whatever has a blocking ``acquire()`` paces a batch, and is asked where and when it should be."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import warnings
import weakref
from collections.abc import Awaitable, Callable, Generator, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from typing import Any
from unittest.mock import AsyncMock, MagicMock, Mock, create_autospec

import pyrate_limiter
import pytest
from helpers import (
    Metronome,
    RecordingLimiter,
    in_thread,
    statuses,
    worst_window,
)

from paceline import (
    BatchExecutor,
    BatchTimeoutError,
    ErrorRecord,
    PermitRefusedError,
    RateLimiter,
    _executor,
)


@pytest.mark.parametrize(
    "limiter",
    [
        Mock(),
        MagicMock(),
        Mock(**{"acquire.return_value": None}),
        Mock(spec=RateLimiter),
        create_autospec(RateLimiter, instance=True),
    ],
)
def test_mocks_grant(limiter: Mock) -> None:
    with BatchExecutor(limiter) as executor:
        assert executor.execute_batch([int] * 20) == [0] * 20
    assert limiter.acquire.call_count == 20


def test_a_proxy_of_a_limiter_of_ours_is_a_limiter() -> None:
    limiter = RateLimiter(3, per=60)
    with BatchExecutor(weakref.proxy(limiter)) as executor:
        assert executor.execute_batch([int] * 3) == [0] * 3
    assert not limiter.try_acquire()


def test_the_class_of_limiters_is_no_limiter() -> None:
    with pytest.raises(TypeError, match="made first"):
        BatchExecutor(RateLimiter)


def test_a_permit_that_is_still_asked_for_in_the_end_is_not_counted() -> None:
    limiter = Metronome(0.3)
    with BatchExecutor(limiter, 2) as executor, pytest.raises(BatchTimeoutError) as caught:
        executor.run([int] * 9, timeout=0.5)  # while the third is being waited for
    report = caught.value.batch_report
    assert report.permits == report.attempts == 2


def test_pyrate_limiter_behind_an_acquire_method() -> None:
    class Pyrate:
        def __init__(self, *rates: pyrate_limiter.Rate) -> None:
            self._limiter = pyrate_limiter.Limiter(list(rates))

        def acquire(self) -> bool:
            return bool(self._limiter.try_acquire("tenants"))

    starts: list[float] = []
    with BatchExecutor(Pyrate(pyrate_limiter.Rate(10, 500)), max_workers=4) as executor:
        report = executor.run([lambda: starts.append(time.monotonic())] * 25)
    assert statuses(report) == ["done"] * 25
    assert worst_window(starts, 0.45) <= 10
    assert max(starts) - min(starts) >= 0.9


class Released(threading.Semaphore):
    """Its permits are given back, as nobody does with those of a plain one."""


@pytest.mark.parametrize("permits", [8, 30])
def test_a_semaphore_that_is_refilled_is_a_limiter(permits: int) -> None:
    semaphore = Released(permits)
    operations = [lambda: semaphore.release()] * 30  # noqa: PLW0108 (a bound method hides the call)
    with BatchExecutor(semaphore, max_workers=4) as executor:
        assert executor.run(operations).counts["done"] == 30


@pytest.mark.parametrize("limiter", [object(), 20, "20/s", [], {"acquire": 1}, lambda: None])
def test_a_limiter_without_acquire_is_refused_at_construction(limiter: Any) -> None:
    with pytest.raises(TypeError, match="acquire"):
        BatchExecutor(limiter)
    with pytest.raises(TypeError, match="acquire"):
        BatchExecutor(rate_limiter=limiter, max_workers=2)


def test_an_acquire_that_cannot_be_called_is_refused_at_construction() -> None:
    class Broken:
        acquire = 3

    with pytest.raises(TypeError, match="acquire"):
        BatchExecutor(Broken())  # type: ignore[arg-type]


@pytest.mark.parametrize("grant", [None, True, 1, "yes", [0], object(), Mock()])
def test_none_and_true_values_grant(grant: object) -> None:
    with BatchExecutor(RecordingLimiter(grant), 2) as executor:
        report = executor.run([int] * 4)
    assert statuses(report) == ["done"] * 4


@pytest.mark.parametrize("refusal", [False, 0, 0.0, "", [], ()])
def test_other_false_values_refuse_and_the_operation_never_runs(refusal: object) -> None:
    ran: list[int] = []
    limiter = RecordingLimiter(refusal)
    with BatchExecutor(limiter, 2) as executor:
        report = executor.run([partial(ran.append, index) for index in range(5)])
    assert ran == []
    assert statuses(report) == ["failed"] * 5
    assert [type(outcome.exception) for outcome in report] == [PermitRefusedError] * 5
    assert limiter.calls == 5


def test_a_refusal_is_a_runtime_error_and_an_error_record() -> None:
    assert issubclass(PermitRefusedError, RuntimeError)
    with BatchExecutor(RecordingLimiter(False)) as executor:
        (record,) = executor.execute_batch([int])
    assert isinstance(record, ErrorRecord)
    assert isinstance(record.exception, PermitRefusedError)
    assert record == {"error": str(record.exception)}
    assert record["error"]


def test_refusals_hit_the_operations_they_were_given_for() -> None:
    answers = [index % 3 != 0 for index in range(60)]
    limiter = Mock()
    limiter.acquire.side_effect = answers
    ran: list[int] = []
    with BatchExecutor(limiter, 4) as executor:
        report = executor.run([partial(ran.append, index) for index in range(60)])
    assert sorted(ran) == [index for index, granted in enumerate(answers) if granted]
    assert statuses(report) == ["done" if granted else "failed" for granted in answers]


def test_execute_raises_the_refusal() -> None:
    ran: list[int] = []
    with (
        BatchExecutor(RecordingLimiter(0)) as executor,
        pytest.raises(PermitRefusedError),
    ):
        executor.execute(partial(ran.append, 1))
    assert ran == []


def test_a_refused_future_has_the_refusal_as_its_exception() -> None:
    with BatchExecutor(RecordingLimiter(0)) as executor:
        assert isinstance(executor.submit(int).exception(10), PermitRefusedError)


def test_refusals_count_as_failures() -> None:
    limiter = RecordingLimiter(0)
    with BatchExecutor(limiter, 1) as executor, pytest.raises(ExceptionGroup) as caught:
        executor.run([int] * 10, max_failures=3)
    assert [type(error) for error in caught.value.exceptions] == [PermitRefusedError] * 3
    assert limiter.calls == 3


# Which thread asks.


def verbs_that_block(executor: BatchExecutor) -> list[Callable[[], object]]:
    return [
        lambda: executor.execute(int),
        lambda: executor.execute_batch([int] * 10),
        lambda: executor.run([int] * 10),
        lambda: executor.run(iter([int] * 10)),
    ]


class OneAtATime:
    """A foreign limiter that remembers who asks it, and fails if two do so at once."""

    def __init__(self) -> None:
        self.threads: set[threading.Thread] = set()
        self.calls = 0
        self._asked = threading.Lock()

    def acquire(self) -> None:
        assert self._asked.acquire(blocking=False), "asked by two threads at once"
        self.threads.add(threading.current_thread())
        self.calls += 1
        time.sleep(0.0002)
        self._asked.release()


@pytest.mark.parametrize("verb", range(4))
def test_blocking_verbs_ask_on_workers_one_at_a_time(verb: int) -> None:
    limiter = OneAtATime()
    with BatchExecutor(limiter, 3) as executor:
        verbs_that_block(executor)[verb]()
        thread, _ = in_thread(verbs_that_block(executor)[verb])
        thread.join(20)
    assert limiter.calls == (2 if verb == 0 else 20)
    assert all(thread.name.startswith("paceline_") for thread in limiter.threads)


def test_other_verbs_ask_on_workers_one_at_a_time() -> None:
    limiter = OneAtATime()
    with BatchExecutor(limiter, 3) as executor:
        for future in [executor.submit(time.sleep, 0.001) for _ in range(10)]:
            future.result(10)
        list(executor.map(time.sleep, [0.001] * 10))
        list(executor.stream([partial(time.sleep, 0.001)] * 10))
    assert limiter.calls == 30
    assert all(thread.name.startswith("paceline_") for thread in limiter.threads)


def test_a_nested_batch_asks_on_workers_one_at_a_time() -> None:
    limiter = OneAtATime()
    with BatchExecutor(limiter, 2) as executor:

        def parent() -> list[int]:
            return executor.execute_batch([int] * 5)

        assert executor.execute_batch([parent] * 3) == [[0] * 5] * 3
    assert limiter.calls == 18


def test_the_thread_that_asks_starts_the_operation_itself() -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter, 4) as executor:
        ran = [executor.execute(threading.current_thread) for _ in range(20)]
    assert ran == limiter.threads


def test_a_limiter_is_asked_in_the_context_of_the_caller() -> None:
    request: ContextVar[str] = ContextVar("request", default="nobody's")
    seen: list[str] = []

    class Seeing:
        def acquire(self) -> None:
            seen.append(request.get())
            request.set("the limiter's")

    def use(executor: BatchExecutor, name: str) -> list[str]:
        request.set(name)
        values = [executor.execute(request.get), *executor.execute_batch([request.get] * 2)]
        return [*values, executor.submit(request.get).result(10)]

    with BatchExecutor(Seeing(), 2) as executor:
        for name in ("ada", "bob"):
            assert copy_context().run(use, executor, name) == [name] * 4
        assert executor.execute_batch([request.get] * 3) == ["nobody's"] * 3
    assert seen == ["ada"] * 4 + ["bob"] * 4 + ["nobody's"] * 3


def test_submit_returns_while_the_limiter_keeps_everybody_waiting() -> None:
    gate = threading.Event()
    limiter = Mock()
    limiter.acquire.side_effect = lambda: gate.wait(20)
    with BatchExecutor(limiter, 2) as executor:
        began = time.monotonic()
        futures = [executor.submit(int) for _ in range(50)]
        assert time.monotonic() - began < 2
        assert not any(future.done() for future in futures)
        gate.set()
        assert [future.result(10) for future in futures] == [0] * 50
    assert limiter.acquire.call_count == 50


def test_a_waiting_limiter_does_not_hold_up_operations_that_run() -> None:
    finished_while_waiting: list[bool] = []
    gate = threading.Event()

    class SecondPermitWaits:
        calls = 0

        def acquire(self) -> None:
            self.calls += 1
            if self.calls == 2:
                finished_while_waiting.append(gate.wait(20))

    with BatchExecutor(SecondPermitWaits(), 2) as executor:
        executor.execute_batch([gate.set, int])
    assert finished_while_waiting == [True]


# What would limit nothing.


class AsyncLimiter:
    async def acquire(self) -> bool:
        return True


class FutureLike(Awaitable[bool]):
    def __await__(self) -> Generator[Any, None, bool]:
        yield
        return True


class EnteredLimiter:
    @contextmanager
    def acquire(self) -> Iterator[None]:
        yield


class IteratedLimiter:
    def acquire(self) -> Iterator[bool]:
        yield True


@pytest.mark.parametrize(
    "make",
    [
        AsyncLimiter,
        asyncio.Lock,
        AsyncMock,
        lambda: Mock(**{"acquire.return_value": FutureLike()}),
        EnteredLimiter,
        IteratedLimiter,
    ],
)
@pytest.mark.parametrize("verb", ["execute", "execute_batch", "run", "submit", "stream"])
def test_a_limiter_that_does_nothing_when_it_is_called_is_a_type_error(
    make: Callable[[], Any], verb: str
) -> None:
    ran: list[int] = []

    def operation() -> None:
        ran.append(1)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        # A limiter that is async on its face may be refused as early as this.
        with pytest.raises(TypeError, match=r"(?i)await|async") as raised:
            with BatchExecutor(make(), 2) as executor:
                if verb == "execute":
                    executor.execute(operation)
                elif verb == "submit":
                    executor.submit(operation).result(10)
                elif verb == "stream":
                    list(executor.stream([operation] * 3))
                else:
                    getattr(executor, verb)([operation] * 3)
        assert raised.value is not None
        gc.collect()
    assert ran == []
    assert [str(warning.message) for warning in caught] == []


def test_a_permit_that_is_given_back_when_it_is_left_is_a_permit() -> None:
    class Permit:
        def __enter__(self) -> None: ...
        def __exit__(self, *_: object) -> None: ...

    with BatchExecutor(RecordingLimiter(Permit())) as executor:
        assert executor.execute_batch([int] * 3) == [0] * 3


# Operations that wait for calls of their own.


class Slow(RecordingLimiter):
    """A foreign limiter that takes a while to answer, so that others ask meanwhile."""

    def acquire(self) -> object:
        time.sleep(0.002)
        return super().acquire()


@pytest.mark.parametrize("limiter", [RecordingLimiter, Slow])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_call_that_an_operation_waits_for_is_asked_for_once(
    workers: int, limiter: Callable[[], RecordingLimiter]
) -> None:
    asked = limiter()
    with BatchExecutor(asked, workers) as executor:

        def outer() -> int:
            return sum(future.result() for future in [executor.submit(int, 1) for _ in range(3)])

        futures = [executor.submit(outer) for _ in range(20)]
        assert [future.result(20) for future in futures] == [3] * 20
    assert asked.calls == 20 + 60


def test_a_call_that_is_cancelled_while_an_operation_asks_for_it() -> None:
    class Held(RecordingLimiter):
        asking = threading.Event()
        gate = threading.Event()

        def acquire(self) -> object:
            if self.calls == 1:
                self.asking.set()
                assert self.gate.wait(20)
            return super().acquire()

    limiter = Held()
    ran: list[int] = []
    with BatchExecutor(limiter, 1) as executor:
        inner: list[Future[None]] = []

        def outer() -> str:
            inner.append(executor.submit(ran.append, 1))
            try:
                inner[0].result()
            except CancelledError:
                return "cancelled"
            return "ran"

        future = executor.submit(outer)
        assert limiter.asking.wait(20)
        assert inner[0].cancel()
        after = executor.submit(ran.append, 2)
        limiter.gate.set()
        assert future.result(20) == "cancelled"
        after.result(20)
    assert ran == [2]
    assert limiter.calls == 2, "the next call uses the permit"


def test_a_metronome_sets_the_pace() -> None:
    starts: list[float] = []
    with BatchExecutor(Metronome(0.02), 4) as executor:
        executor.execute_batch([lambda: starts.append(time.monotonic())] * 20)
    assert max(starts) - min(starts) >= 19 * 0.02 - 0.005


def test_one_foreign_limiter_may_be_shared_by_threads() -> None:
    limiter = OneAtATime()
    with BatchExecutor(limiter, 3) as executor:
        threads = [in_thread(partial(executor.execute_batch, [int] * 100)) for _ in range(4)]
        for thread, _ in threads:
            thread.join(20)
        assert [box for _, box in threads] == [[[0] * 100]] * 4
    assert limiter.calls == 400


def test_nothing_starts_unasked_where_threads_come_first_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each may make what an executor keeps of its threads, and one of these is dropped."""
    make = _executor.Pool
    granted: list[None] = []
    starts: list[None] = []

    class Counting:
        def acquire(self) -> None:
            granted.append(None)

    def slower(*args: Any, **kwargs: Any) -> Any:
        monkeypatch.setattr("paceline._executor.Pool", make)
        made = make(*args, **kwargs)
        # Another thread has made one meanwhile, which is kept.
        executor.execute(partial(starts.append, None))
        return made

    def nested() -> None:
        starts.append(None)
        executor.execute_batch([partial(starts.append, None)] * 5)

    monkeypatch.setattr("paceline._executor.Pool", slower)
    with BatchExecutor(Counting(), max_workers=2) as executor:
        executor.execute(nested)
        executor.execute(nested)
    assert len(starts) == len(granted) == 13
