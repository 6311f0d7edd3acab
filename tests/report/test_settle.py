"""`report.settle()`: what still ran at an early end is waited for, and completes the report."""

from __future__ import annotations

import _thread
import gc
import pickle
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any

import pytest
from helpers import eager_thread_switches, in_thread, statuses, wait_until
from settling import VERBS, WORKERS, Held, end_by_timeout, report_on

from paceline import BatchExecutor, BatchReport, BatchTimeoutError, Retry


def end_by_interrupt(verb: Any, executor: BatchExecutor, held: Held) -> BatchReport[Any]:
    return report_on(lambda: verb(executor, held.operations()), once=held.all_run)


def end_by_max_failures_and_interrupt(
    verb: Any, executor: BatchExecutor, held: Held
) -> BatchReport[Any]:
    """The failure ends it, and Ctrl-C the wait for what runs."""

    def fail() -> None:
        wait_until(lambda: held.begun == WORKERS - 1)
        raise ValueError("the last straw")

    def interrupt() -> None:
        wait_until(lambda: held.begun == WORKERS - 1)
        time.sleep(0.2)
        _thread.interrupt_main()

    in_thread(interrupt)
    operations: list[Any] = held.operations()
    operations.insert(WORKERS - 1, fail)
    return report_on(lambda: verb(executor, operations, max_failures=1))


ENDINGS = [end_by_timeout, end_by_interrupt, end_by_max_failures_and_interrupt]


@pytest.mark.parametrize("end", ENDINGS)
@pytest.mark.parametrize("name", VERBS)
def test_settling_completes_the_report_and_starts_nothing(name: str, end: Any) -> None:
    held = Held()
    with BatchExecutor(max_workers=WORKERS) as executor:
        report = end(VERBS[name], executor, held)
        running = [each.index for each in report if each.status == "running"]
        unstarted = report.counts["not_started"]
        failed = report.counts["failed"]
        assert len(running) == held.begun > 0
        assert report.settle(0) is False
        assert report.counts["running"] == len(running)
        held.go.set()
        assert report.settle(20) is True
    assert report.counts["running"] == 0
    assert report.counts["not_started"] == unstarted
    assert held.begun == len(running), "something was started"
    by_index = {each.index: each for each in report}
    numbers = [index - (index >= WORKERS and failed) for index in running]
    for index, number in zip(running, numbers, strict=True):
        outcome = by_index[index]
        assert outcome.status == ("failed" if number % 2 else "done")
        assert outcome.value == (None if number % 2 else number)
        assert outcome.attempts == 1
        assert outcome.started_at is not None
    assert report.counts["failed"] == failed + sum(number % 2 for number in numbers)
    assert report.counts["done"] == sum(not number % 2 for number in numbers)
    assert [each.index for each in report.failures] == sorted(
        each.index for each in report if each.status == "failed"
    )
    assert sum(report.counts.values()) == len(report)
    assert report.working <= report.elapsed * WORKERS + 0.01
    with pytest.raises(ExceptionGroup, match="operations failed"):
        report.raise_for_failures()


@pytest.mark.parametrize("ordered", [False, True])
def test_a_closed_stream_settles(ordered: bool) -> None:
    held = Held()
    with BatchExecutor(max_workers=WORKERS) as executor:
        operations: list[Callable[[], Any]] = [partial(time.sleep, 0.1), *held.operations()]
        outcomes = executor.stream(operations, ordered=ordered)
        assert next(outcomes).index == 0
        wait_until(lambda: held.begun)
        outcomes.close()
        report = outcomes.report()
        running = report.counts["running"]
        wait_until(lambda: held.begun == running)
        held.go.set()
        assert report.settle()
    assert held.begun == running
    assert report.counts == {
        "done": 1 + (running + 1) // 2,
        "failed": running // 2,
        "running": 0,
        "not_started": len(operations) - 1 - running,
        "cancelled": 0,
    }
    assert statuses(report)[:running] == ["done", "failed", "done"][:running]
    assert [each.index for each in report] == list(range(1, len(operations)))


def test_values_follow_once_nothing_is_missing() -> None:
    held = Held()
    with BatchExecutor(max_workers=2) as executor:
        operations = [partial(held.work, number) for number in (0, 2)]
        report = report_on(
            lambda: executor.run([lambda: -2, *operations]), once=lambda: held.begun == 2
        )
        with pytest.raises(RuntimeError, match="have no value"):
            report.values()
        held.go.set()
        assert report.settle()
        assert report.values() == [-2, 0, 2]


def test_a_single_operation_settles() -> None:
    held = Held()
    with BatchExecutor(max_workers=1) as executor:
        report = report_on(lambda: executor.execute(partial(held.work, 4)), once=lambda: held.begun)
        held.go.set()
        assert report.settle()
        assert report.values() == [4]


def test_outcomes_taken_before_stay_and_others_are_the_same_again() -> None:
    held = Held()
    with BatchExecutor(max_workers=2) as executor:
        report = report_on(
            lambda: executor.run([lambda: 0, *held.operations(1)]), once=lambda: held.begun
        )
        before = list(report)
        held.go.set()
        assert report.settle()
        after = list(report)
        assert statuses(before) == ["done", "running"]
        assert after[0] is before[0]
        assert after[1] is not before[1]
        assert after[1] is report[1]


def test_a_batch_that_ended_by_itself_is_settled_at_once() -> None:
    with BatchExecutor() as executor:
        report = executor.run([lambda: 1] * 3)
        assert report.settle()
        assert report.settle(0)
    assert report.settle()
    assert report.values() == [1] * 3


def test_settling_twice_and_from_many_threads() -> None:
    held = Held()
    with BatchExecutor(max_workers=WORKERS) as executor:
        report = end_by_timeout(VERBS["run"], executor, held)
        waiting = [in_thread(report.settle) for _ in range(8)]
        time.sleep(0.05)
        assert all(thread.is_alive() for thread, _ in waiting)
        held.go.set()
        for thread, box in waiting:
            thread.join(20)
            assert box == [True]
        assert report.settle()
        assert report.counts["done"] == 2


def test_what_has_ended_by_the_timeout_is_in_the_report() -> None:
    first, second = Held(), Held()
    first.go.set()
    quick, begun = threading.Event(), threading.Event()

    def soon() -> str:
        begun.set()
        assert quick.wait(20)
        return "soon"

    with BatchExecutor(max_workers=2) as executor:
        report = report_on(
            lambda: executor.run([soon, partial(second.work, 2)]),
            once=lambda: begun.is_set() and second.begun,
        )
        assert report.counts["running"] == 2
        quick.set()
        wait_until(lambda: not report.settle(0) and report.counts["done"] == 1)
        assert statuses(report) == ["done", "running"]
        assert report[0].value == "soon"
        second.go.set()
        assert report.settle(20)
        assert report.values() == ["soon", 2]


@pytest.mark.parametrize(
    ("timeout", "kind"),
    [(-1, ValueError), (float("nan"), ValueError), (2e9, ValueError), ("1", TypeError)],
)
def test_bad_timeouts_are_refused(timeout: Any, kind: type[Exception]) -> None:
    with BatchExecutor() as executor:
        report = executor.run([lambda: 1])
    with pytest.raises(kind, match="timeout"):
        report.settle(timeout)


def test_ctrl_c_ends_the_wait_and_loses_nothing() -> None:
    held = Held()
    with BatchExecutor(max_workers=WORKERS) as executor:
        report = end_by_timeout(VERBS["run"], executor, held)

        def interrupt() -> None:
            time.sleep(0.1)
            _thread.interrupt_main()

        in_thread(interrupt)
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            report.settle()
        assert time.monotonic() - began < 5
        assert report.counts["running"] == WORKERS
        held.go.set()
        assert report.settle()
        assert report.counts["running"] == 0


def test_after_shutdown() -> None:
    held = Held()
    executor = BatchExecutor(max_workers=WORKERS)
    report = end_by_timeout(VERBS["run"], executor, held)
    executor.shutdown(wait=False)
    assert not report.settle(0.01)
    held.go.set()
    executor.shutdown(wait=True)
    began = time.monotonic()
    assert report.settle(0)
    assert time.monotonic() - began < 1
    assert report.counts["done"] == 2


def test_leaving_with_has_settled_what_ran() -> None:
    held = Held()
    with BatchExecutor(max_workers=WORKERS) as executor:
        report = end_by_timeout(VERBS["run"], executor, held)
        threading.Timer(0.2, held.go.set).start()
    assert report.settle(0)
    assert report.counts["done"] == 2


def test_a_forgotten_executor_does_not_lose_them() -> None:
    held = Held()
    report = end_by_timeout(VERBS["run"], BatchExecutor(max_workers=WORKERS), held)
    gc.collect()
    held.go.set()
    assert report.settle(20)
    assert report.counts["done"] == 2


def test_nothing_is_tried_again_after_the_end() -> None:
    held = Held()
    calls = 0

    def fails() -> None:
        nonlocal calls
        calls += 1
        assert held.go.wait(20)
        raise LookupError("not yet")

    retry = Retry(5, on=lambda error: isinstance(error, LookupError), backoff=0.001)
    with BatchExecutor(max_workers=1, retry=retry) as executor:
        report = report_on(lambda: executor.run([fails] * 3), once=lambda: calls)
        held.go.set()
        assert report.settle()
    assert calls == 1
    assert statuses(report) == ["failed", "not_started", "not_started"]
    assert repr(report[0].exception) == "LookupError('not yet')"


def test_earlier_attempts_are_kept_with_what_came_late() -> None:
    held = Held()
    calls = 0

    def works_late() -> int:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise LookupError("not yet")
        assert held.go.wait(20)
        return 7

    retry = Retry(5, on=lambda error: isinstance(error, LookupError), backoff=0.001)
    with BatchExecutor(max_workers=1, retry=retry) as executor:
        report = report_on(lambda: executor.run([works_late]), once=lambda: calls == 2)
        held.go.set()
        assert report.settle()
    assert report[0].value == 7
    assert report[0].attempts == 2
    assert [repr(each[0]) for each in report[0].earlier_attempts] == ["LookupError('not yet')"]
    assert report.attempts == 2


def test_nested_batches_settle_each_by_its_own_report() -> None:
    held = Held()
    inner_reports: list[BatchReport[Any]] = []

    def outer(executor: BatchExecutor) -> None:
        try:
            executor.run(held.operations(4))
        except CancelledError as error:
            inner_reports.append(error.batch_report)  # type: ignore[attr-defined]
            raise

    with BatchExecutor(max_workers=WORKERS) as executor:
        report = report_on(
            lambda: executor.run([partial(outer, executor)]), once=lambda: held.begun
        )
        assert statuses(report) == ["running"]
        held.go.set()
        assert report.settle(20)
        assert statuses(report) == ["failed"]
        assert isinstance(report[0].exception, CancelledError)
        assert inner_reports[0].settle(20)
        assert inner_reports[0].counts["running"] == 0
        assert inner_reports[0].counts["not_started"] > 0


@pytest.mark.parametrize("depth", [0, 1])
def test_an_operation_that_would_wait_for_itself_is_told(depth: int) -> None:
    reports: list[BatchReport[Any]] = []
    raised: list[BaseException] = []

    begun = threading.Event()

    def settles() -> None:
        begun.set()
        wait_until(lambda: reports)
        try:
            reports[0].settle()
        except RuntimeError as error:
            raised.append(error)

    def nests() -> None:
        executor.run([settles])

    with BatchExecutor(max_workers=1) as executor:
        operation = nests if depth else settles
        reports.append(report_on(lambda: executor.run([operation]), once=begun.is_set))
        assert reports[0].settle(20)
    assert "it would wait for" in str(raised[0])


def test_another_operation_of_the_executor_may_wait_for_it() -> None:
    held = Held()
    with BatchExecutor(max_workers=WORKERS) as executor:
        report = report_on(lambda: executor.run(held.operations(1)), once=lambda: held.begun)
        threading.Timer(0.1, held.go.set).start()
        assert executor.execute(report.settle)
    assert report.values() == [0]


def test_a_pickled_report_cannot_be_settled_while_something_runs() -> None:
    held = Held()
    with BatchExecutor(max_workers=WORKERS) as executor:
        report = end_by_timeout(VERBS["run"], executor, held)
        unsettled = pickle.loads(pickle.dumps(report))
        held.go.set()
        assert report.settle()
        settled = pickle.loads(pickle.dumps(report))
    with pytest.raises(RuntimeError, match="pickled"):
        unsettled.settle()
    assert settled.settle()
    assert settled.counts == report.counts


def test_failures_that_come_late_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    held = Held()
    with BatchExecutor(max_workers=WORKERS) as executor:
        report = end_by_timeout(VERBS["run"], executor, held)
        held.go.set()
        assert report.settle()
        assert report.settle()
    failed = [each for each in caplog.records if each.levelname == "ERROR"]
    assert len(failed) == report.counts["failed"] == 1


def test_settling_while_operations_end_loses_none() -> None:
    rounds = 60 if sys.version_info < (3, 13) else 40
    with eager_thread_switches(), BatchExecutor(max_workers=8) as executor:
        for number in range(rounds):
            go = threading.Event()
            begun: list[int] = []

            def work(index: int, go: threading.Event = go, begun: list[int] = begun) -> int:
                begun.append(index)
                assert go.wait(20)
                return index

            operations = [partial(work, index) for index in range(8)]
            report = report_on(partial(executor.run, operations, timeout=0.02))
            settling = [in_thread(report.settle) for _ in range(4)]
            if number % 2:
                time.sleep(0.001)
            go.set()
            for thread, box in settling:
                thread.join(20)
                assert box == [True]
            done = [each.index for each in report if each.status == "done"]
            assert done == sorted(begun)
            assert all(each.value == each.index for each in report if each.index in done)
            assert report.counts["done"] == len(begun)
            assert report.counts["not_started"] == 8 - len(begun)


def test_a_timeout_error_carries_a_report_that_settles_to_what_to_repeat() -> None:
    ran: list[int] = []
    go = threading.Event()

    def work(number: int) -> int:
        go.wait(20)
        ran.append(number)
        return number

    operations = [partial(work, number) for number in range(12)]
    with BatchExecutor(max_workers=2) as executor:
        try:
            executor.run(operations, timeout=0.2)
        except BatchTimeoutError as error:
            report: BatchReport[Any] = error.batch_report
        go.set()
        assert report.settle()
        left = [operations[each.index] for each in report if each.status == "not_started"]
        executor.run(left)
    assert sorted(ran) == list(range(12)), "each ran once"
