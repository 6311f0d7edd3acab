"""What becomes of a batch whose limiter raises, or answers with what is no answer."""

from __future__ import annotations

import ctypes
import threading
import time
from concurrent.futures import Future
from functools import partial

import pytest
from helpers import (
    RaisingLimiter,
    RecordingLimiter,
    paceline_notes,
    statuses,
)

from paceline import BatchExecutor


def test_a_raising_limiter_ends_the_batch_with_its_own_exception() -> None:
    error = ConnectionError("the limiter's store is away")
    limiter = RaisingLimiter(error, permits=3)
    with BatchExecutor(limiter, 1) as executor, pytest.raises(ConnectionError) as caught:
        executor.execute_batch([int] * 10)
    assert caught.value is error
    report = error.batch_report  # type: ignore[attr-defined]
    assert statuses(report) == ["done"] * 3 + ["not_started"] * 7
    assert report.ended_by == "limiter"
    assert limiter.calls == 4
    assert len(paceline_notes(error)) == 1
    frames = [entry.name for entry in caught.traceback]
    assert frames[-1] == "acquire"


def test_a_raising_limiter_waits_for_operations_that_run() -> None:
    finished = threading.Event()

    def slow() -> str:
        time.sleep(0.3)
        finished.set()
        return "slow"

    error = OSError("away")
    with BatchExecutor(RaisingLimiter(error, permits=1), 2) as executor:
        with pytest.raises(OSError, match="away"):
            executor.run([slow, int, int])
        assert finished.is_set()
    report = error.batch_report  # type: ignore[attr-defined]
    assert statuses(report) == ["done", "not_started", "not_started"]
    assert report[0].value == "slow"


def test_the_executor_outlives_a_limiter_that_raised() -> None:
    limiter = RaisingLimiter(OSError("away"), permits=2)
    with BatchExecutor(limiter, 2) as executor:
        with pytest.raises(OSError, match="away"):
            executor.run([int] * 5)
        limiter.permits = 10_000
        assert executor.execute_batch([int] * 5) == [0] * 5
        limiter.permits = 0
        with pytest.raises(OSError, match="away") as caught:
            executor.run([int] * 2)
    assert statuses(caught.value.batch_report) == ["not_started"] * 2  # type: ignore[attr-defined]


def test_execute_raises_what_its_limiter_raised() -> None:
    error = OSError("away")
    with BatchExecutor(RaisingLimiter(error)) as executor, pytest.raises(OSError) as caught:
        executor.execute(int)
    assert caught.value is error


def test_a_limiter_whose_answer_has_no_truth_ends_the_batch() -> None:
    class Ambiguous:
        def __bool__(self) -> bool:
            message = "no truth in here"
            raise ValueError(message)

    ran: list[int] = []
    with (
        BatchExecutor(RecordingLimiter(Ambiguous())) as executor,
        pytest.raises(ValueError, match="no truth in here") as caught,
    ):
        executor.run([partial(ran.append, 1)] * 3)
    assert ran == []
    assert statuses(caught.value.batch_report) == ["not_started"] * 3  # type: ignore[attr-defined]


def test_submitted_futures_receive_what_the_limiter_raised() -> None:
    error = OSError("away")
    with BatchExecutor(RaisingLimiter(error, permits=1), 1) as executor:
        futures = [executor.submit(int) for _ in range(3)]
        assert futures[0].result(10) == 0
        assert futures[1].exception(10) is error
        assert futures[2].exception(10) is error


@pytest.mark.parametrize("error", [OSError("away"), SystemExit(3)])
def test_what_the_limiter_raises_for_an_operation_that_waits_is_in_the_future(
    error: BaseException,
) -> None:
    ran: list[int] = []
    limiter = RaisingLimiter(error, permits=1)
    with BatchExecutor(limiter, 1) as executor:

        def outer() -> tuple[Future[None], BaseException | None]:
            future = executor.submit(ran.append, 1)
            try:
                future.result()
            except BaseException as raised:
                return future, raised
            return future, None

        future, raised = executor.submit(outer).result(20)
        assert raised is error
        assert future.exception(20) is error
    assert ran == []
    assert limiter.calls == 2


def test_a_stream_raises_what_the_limiter_raised() -> None:
    error = OSError("away")
    with BatchExecutor(RaisingLimiter(error, permits=2), 1) as executor:
        outcomes = []
        with pytest.raises(OSError) as caught:
            for outcome in executor.stream([int] * 5):
                outcomes.append(outcome)
    assert caught.value is error
    handed_over = [outcome.index for outcome in outcomes]
    reported = [outcome.index for outcome in error.batch_report]  # type: ignore[attr-defined]
    assert sorted(handed_over + reported) == list(range(5))


@pytest.mark.parametrize("error", [KeyboardInterrupt("away"), SystemExit(3), GeneratorExit()])
def test_exceptions_outside_exception_propagate_from_a_limiter(error: BaseException) -> None:
    with (
        BatchExecutor(RaisingLimiter(error, permits=1), 1) as executor,
        pytest.raises(type(error)) as caught,
    ):
        executor.execute_batch([int] * 3)
    assert caught.value is error
    report = error.batch_report  # type: ignore[union-attr]
    assert len(report) == 3
    assert report[2].status == "not_started"


@pytest.mark.parametrize("verb", ["stream", "map"])
def test_what_no_generator_may_raise_is_replaced_with_the_report(verb: str) -> None:
    error = StopIteration("no more permits")
    with BatchExecutor(RaisingLimiter(error, permits=1), 1) as executor:
        with pytest.raises(RuntimeError, match="StopIteration") as caught:
            if verb == "map":
                list(executor.map(int, "123"))
            else:
                list(executor.stream([int] * 3))
    assert caught.value.__cause__ is error
    assert caught.value.batch_report.ended_by == "limiter"  # type: ignore[attr-defined]


class Late(BaseException):
    """As libraries throw it at a thread whose call takes too long."""


def test_what_is_thrown_at_a_worker_between_operations_is_as_raised_by_the_limiter() -> None:
    with BatchExecutor(RecordingLimiter(), 1) as executor:
        identity = executor.execute(threading.get_ident)
        throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
        # Nothing of Python runs between this and the next permit.
        late = partial(throw, ctypes.c_ulong(identity), ctypes.py_object(Late))
        with pytest.raises(Late) as caught:
            executor.run([int, late, int, int])
        report = caught.value.batch_report  # type: ignore[attr-defined]
        assert statuses(report) == ["done", "done", "not_started", "not_started"]
        assert report.ended_by == "limiter"
        assert executor.execute_batch([int] * 3) == [0] * 3
        assert executor.execute(threading.get_ident) == identity
