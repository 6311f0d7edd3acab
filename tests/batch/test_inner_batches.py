"""A batch that is given up takes with it the batches that its operations have begun."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest
from childprocess import run_script
from helpers import Gauge, Metronome, statuses, wait_until
from observing import PATIENCE, stays

from paceline import BatchExecutor, BatchTimeoutError, Outcomes, RateLimiter


def nap(gauge: Gauge) -> None:
    with gauge.running():
        time.sleep(0.01)


def by_execute(executor: BatchExecutor, operation: Callable[[], None]) -> None:
    for _ in range(1000):
        executor.execute(operation)


INNER: dict[str, Callable[[BatchExecutor, Callable[[], None]], object]] = {
    "execute": by_execute,
    "execute_batch": lambda executor, op: executor.execute_batch([op] * 1000),
    "run": lambda executor, op: executor.run([op] * 1000),
    "stream": lambda executor, op: list(executor.stream([op] * 1000)),
    "map": lambda executor, op: list(executor.map(lambda _: op(), range(1000), buffersize=3)),
    "two deep": lambda executor, op: executor.run(
        [lambda: executor.run([op] * 500), lambda: executor.run([op] * 500)]
    ),
}


@pytest.mark.parametrize(
    "limiter",
    [None, RateLimiter(10**6, per=1), Metronome(0.001)],
    ids=["free", "native", "foreign"],
)
@pytest.mark.parametrize("inner", INNER)
def test_a_timeout_ends_what_operations_have_begun(inner: str, limiter: Any) -> None:
    gauge = Gauge()
    begun: list[int] = []
    raised: list[BaseException] = []
    with BatchExecutor(limiter, max_workers=3) as executor:

        def operation() -> None:
            begun.append(1)
            try:
                INNER[inner](executor, partial(nap, gauge))
            except BaseException as error:
                raised.append(error)
                raise

        with pytest.raises(BatchTimeoutError) as caught:
            executor.execute_batch([operation] * 2, timeout=0.3, on_error="raise")
        assert gauge.entered > 0
        wait_until(lambda: len(raised) == len(begun))
        assert stays(lambda: gauge.entered)
    assert {type(error) for error in raised} == {CancelledError}
    # On a busy machine one of them may not have begun in time.
    known = statuses(caught.value.batch_report)  # type: ignore[arg-type]
    assert set(known[: len(begun)]) <= {"running", "failed"}
    if inner != "execute":
        reports = [error.batch_report for error in raised]  # type: ignore[attr-defined]
        assert {report.ended_by for report in reports} == {"outer"}


def test_leaving_a_stream_ends_what_operations_have_begun() -> None:
    gauge = Gauge()
    with BatchExecutor(max_workers=3) as executor:
        first = partial(wait_until, lambda: gauge.entered > 5)
        outcomes = executor.stream([first, lambda: executor.run([partial(nap, gauge)] * 1000)])
        assert next(outcomes).status == "done"
        outcomes.close()
        wait_until(lambda: gauge.now == 0)
        assert stays(lambda: gauge.entered)


def test_a_failure_that_waits_for_running_operations_waits_for_what_they_have_begun() -> None:
    begun = threading.Event()

    def fail() -> None:
        begun.wait(PATIENCE)
        raise ValueError("no")

    with BatchExecutor(max_workers=3) as executor:

        def operation() -> list[int]:
            begun.set()
            executor.run([partial(time.sleep, 0.01)] * 20)
            return executor.run([int] * 20).values()

        with pytest.raises(ExceptionGroup) as caught:
            executor.run([operation, fail], max_failures=1)
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert statuses(report) == ["done", "failed"]
    assert report[0].value == [0] * 20


def test_a_stream_that_an_operation_returns_outlives_its_batch() -> None:
    with BatchExecutor(max_workers=2) as executor:
        (outcomes,) = executor.run([lambda: executor.stream([int] * 50)]).values()
        assert len(list(outcomes)) == 50


@pytest.mark.parametrize("verb", ["run", "stream"])
def test_what_was_begun_and_reads_slowly_ends_at_once(verb: str) -> None:
    read = threading.Semaphore(0)

    def pages() -> Iterator[Callable[[], int]]:
        for _ in range(200):
            time.sleep(0.05)
            read.release()
            yield int

    with BatchExecutor(max_workers=3) as executor:
        operation = partial(lambda: list(getattr(executor, verb)(pages())))
        with pytest.raises(BatchTimeoutError):
            executor.run([operation] * 2, timeout=0.3)
        time.sleep(1)
        assert read._value < 40


def test_a_timeout_ends_what_was_begun_while_the_consumer_is_away() -> None:
    gauge = Gauge()
    with BatchExecutor(max_workers=3) as executor:
        first = partial(wait_until, lambda: gauge.entered > 1)
        inner = partial(executor.run, [partial(nap, gauge)] * 1000)
        outcomes = executor.stream([first, inner], timeout=0.5)
        assert next(outcomes).status == "done"
        time.sleep(0.8)
        assert stays(lambda: gauge.entered)
        with pytest.raises(BatchTimeoutError):
            next(outcomes)


@pytest.mark.parametrize("ended_by", ["failure", "close"])
def test_what_an_operation_that_returned_has_begun_goes_on(ended_by: str) -> None:
    done: list[int] = []

    def begin() -> Outcomes[int]:
        executor.map(lambda number: done.append(number) or time.sleep(0.005), range(40))
        return executor.stream([int] * 5)

    def fail() -> Outcomes[int]:
        wait_until(lambda: done)
        raise ValueError("no")

    with BatchExecutor(max_workers=3) as executor:
        if ended_by == "failure":
            with pytest.raises(ValueError, match="no") as caught:
                executor.execute_batch([begin, fail], on_error="raise")
            returned = caught.value.batch_report[0].value  # type: ignore[attr-defined]
        else:
            outcomes = executor.stream([begin, *[partial(time.sleep, 0.01)] * 100], ordered=True)  # type: ignore[list-item]
            returned = next(outcomes).value
            outcomes.close()
        assert len(list(returned)) == 5  # type: ignore[arg-type]
    assert done == list(range(40))


def test_a_destructor_may_use_the_executor() -> None:
    results: list[object] = []

    class Value:
        def __del__(self) -> None:
            try:
                results.append(executor.execute(int))
            except BaseException as error:
                results.append(error)

    with BatchExecutor(max_workers=1) as executor:
        executor.map(lambda _: Value(), range(3))
        wait_until(lambda: len(results) == 3)
    assert results == [0, 0, 0]


def test_what_was_submitted_and_other_batches_go_on() -> None:
    done: list[int] = []
    timed_out = threading.Event()
    with BatchExecutor(max_workers=4) as executor:

        def operation() -> None:
            executor.submit(lambda: executor.run([partial(done.append, 1)] * 5))
            timed_out.wait(PATIENCE)

        other = executor.submit(executor.run, [partial(time.sleep, 0.02)] * 50)
        with pytest.raises(BatchTimeoutError):
            executor.run([operation], timeout=0.5)
        timed_out.set()
        assert other.result(PATIENCE).counts["done"] == 50
    assert done == [1] * 5


def test_ctrl_c_ends_what_operations_have_begun() -> None:
    result = run_script(
        """
        from functools import partial
        from paceline import BatchExecutor

        started = []

        def leaf(number):
            started.append(number)
            time.sleep(0.01)

        with BatchExecutor(max_workers=4) as executor:
            def tenant(_):
                executor.run([partial(leaf, number) for number in range(3000)])

            threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
            try:
                executor.run([partial(tenant, number) for number in range(4)])
            except KeyboardInterrupt as error:
                at_once = len(started)
                print(error.batch_report.counts["running"])
        print(len(started) <= at_once + 4)
        """,
        timeout=60,
    )
    assert result.assert_silent().stdout.split() == ["4", "True"]


def test_a_stream_inside_hands_over_before_its_worker_asks_a_limiter_again() -> None:
    class Few:
        """Gives two permits, for the outer operation and the first inner one, and then waits."""

        permits = 2
        opened = threading.Event()

        def acquire(self) -> None:
            self.permits -= 1
            if self.permits < 0:
                self.opened.wait(PATIENCE)

    limiter = Few()
    handed: list[int] = []
    with BatchExecutor(limiter, max_workers=1) as executor:

        def operation() -> None:
            for outcome in executor.stream([int] * 3):
                handed.append(outcome.index)
                limiter.opened.set()

        began = time.monotonic()
        executor.execute(operation)
        assert time.monotonic() - began < PATIENCE
    assert handed == [0, 1, 2]
