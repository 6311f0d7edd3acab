"""What became of each operation, one by one and in total."""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest
from helpers import fail, statuses

from paceline import (
    BatchExecutor,
    BatchReport,
    BatchTimeoutError,
    Outcome,
    RateLimiter,
)

STATUSES = {"done", "failed", "running", "not_started", "cancelled"}


@pytest.fixture
def mixed(executor: BatchExecutor) -> BatchReport[Any]:
    """Five operations, of which the second and the fourth fail."""
    return executor.run([partial(int, 10), fail, partial(int, 30), partial(fail, "again"), list])


# One outcome


def test_an_outcome_is_its_own_copy(mixed: BatchReport[Any]) -> None:
    outcome = mixed[1]
    assert copy.copy(outcome) is outcome
    assert copy.deepcopy([outcome])[0] is outcome


def test_a_done_outcome_has_its_value(mixed: BatchReport[Any]) -> None:
    outcome = mixed[2]
    assert isinstance(outcome, Outcome)
    assert (outcome.index, outcome.status, outcome.value) == (2, "done", 30)
    assert outcome.exception is None
    assert outcome.attempts == 1


def test_a_failed_outcome_has_its_exception(mixed: BatchReport[Any]) -> None:
    outcome = mixed[3]
    assert (outcome.index, outcome.status) == (3, "failed")
    assert outcome.value is None
    assert isinstance(outcome.exception, ValueError)
    assert outcome.exception.args == ("again",)
    assert outcome.attempts == 1


def test_an_operation_that_returns_an_exception_has_not_failed(executor: BatchExecutor) -> None:
    error = ValueError("a value")
    (outcome,) = executor.run([lambda: error])
    assert (outcome.status, outcome.exception) == ("done", None)
    assert outcome.value is error


def test_an_outcome_that_never_began_says_so() -> None:
    with (
        BatchExecutor(RateLimiter(1, per=60)) as executor,
        pytest.raises(BatchTimeoutError) as caught,
    ):
        executor.run([int, int], timeout=0.5)
    outcome = caught.value.batch_report[1]
    assert (outcome.index, outcome.status, outcome.value) == (1, "not_started", None)
    assert outcome.exception is None
    assert outcome.attempts == 0
    assert not outcome.duration


@pytest.mark.parametrize(
    "field",
    ["index", "status", "value", "exception", "attempts", "permit_wait", "started_at", "duration"],
)
def test_outcomes_are_frozen(mixed: BatchReport[Any], field: str) -> None:
    before = getattr(mixed[0], field)
    with pytest.raises((AttributeError, TypeError)):
        setattr(mixed[0], field, 1)
    with pytest.raises((AttributeError, TypeError)):
        delattr(mixed[0], field)
    assert getattr(mixed[0], field) == before


def test_the_repr_of_an_outcome_tells_what_happened(mixed: BatchReport[Any]) -> None:
    done, failed = repr(mixed[2]), repr(mixed[1])
    assert done.startswith("Outcome(")
    assert "done" in done
    assert "30" in done
    assert failed.startswith("Outcome(")
    assert "failed" in failed
    assert "ValueError('no')" in failed


def test_a_value_whose_repr_raises_does_not_break_the_batch(executor: BatchExecutor) -> None:
    class Shy:
        def __repr__(self) -> str:
            message = "no repr"
            raise RuntimeError(message)

    report = executor.run([Shy])
    assert isinstance(report[0].value, Shy)
    with pytest.raises(RuntimeError, match="no repr"):
        repr(report[0])
    assert "BatchReport" in repr(report)


def test_durations_and_stamps_are_in_seconds_of_the_monotonic_clock(
    executor: BatchExecutor,
) -> None:
    before = time.monotonic()
    (outcome,) = executor.run([partial(time.sleep, 0.2)])
    assert before <= outcome.started_at <= time.monotonic() - 0.2
    assert 0.2 <= outcome.duration < 2
    assert 0 <= outcome.permit_wait <= outcome.started_at - before


def test_outcome_and_report_are_generic() -> None:
    assert Outcome[int] is not None
    assert BatchReport[str] is not None


# A report


def test_a_report_is_a_sequence(mixed: BatchReport[Any]) -> None:
    assert isinstance(mixed, Sequence)
    assert len(mixed) == 5
    assert [outcome.index for outcome in mixed] == [0, 1, 2, 3, 4]
    assert [outcome.index for outcome in reversed(mixed)] == [4, 3, 2, 1, 0]
    assert mixed[-1].index == 4
    assert mixed[-5].index == 0
    assert mixed[2] in mixed
    assert mixed.index(mixed[3]) == 3
    assert mixed.count(mixed[3]) == 1
    assert statuses(mixed[1:4]) == ["failed", "done", "failed"]
    assert [outcome.index for outcome in mixed[::-2]] == [4, 2, 0]
    assert list(mixed[3:1]) == []
    assert bool(mixed)


@pytest.mark.parametrize("index", [5, -6, 10**30])
def test_an_index_outside_is_an_index_error(mixed: BatchReport[Any], index: int) -> None:
    with pytest.raises(IndexError, match=f"no outcome {index}, of 5"):
        mixed[index]


@pytest.mark.parametrize("index", ["0", 1.0, None])
def test_an_index_that_is_no_index_is_a_type_error(mixed: BatchReport[Any], index: Any) -> None:
    with pytest.raises(TypeError):
        mixed[index]


def test_an_outcome_is_the_same_whichever_way_it_is_reached(mixed: BatchReport[Any]) -> None:
    for place, outcome in enumerate(mixed):
        assert outcome is mixed[place] is mixed[place - len(mixed)] is mixed[place:][0]
        assert outcome in mixed
        assert mixed.index(outcome) == place
        assert mixed.count(outcome) == 1
    assert list(reversed(mixed)) == list(mixed)[::-1]
    assert all(outcome is mixed[outcome.index] for outcome in mixed.failures)


def test_outcomes_are_made_when_they_are_asked_for() -> None:
    def outcomes() -> int:
        gc.collect()  # what earlier tests have left
        return sum(type(thing) is Outcome for thing in gc.get_objects())

    before = outcomes()
    with BatchExecutor(RateLimiter(2, per=600), 2) as executor:
        with pytest.raises(BatchTimeoutError) as caught:
            executor.run([int] * 1000, timeout=0.5)
        report = caught.value.batch_report
        assert report.counts["not_started"] == 998
        assert report[999].status == "not_started"
        assert outcomes() - before == 1
        assert statuses(report) == ["done"] * 2 + ["not_started"] * 998
        assert [outcome.index for outcome in report] == list(range(1000))


def test_a_report_of_many_operations_is_there_at_once() -> None:
    ended = 0.0

    def work() -> None:
        nonlocal ended
        ended = time.monotonic()

    with BatchExecutor(None, 1) as executor:
        delays = []
        for _ in range(3):
            report = executor.run([work] * 300_000)
            delays.append(time.monotonic() - ended)
            assert report.counts["done"] == len(report)
            del report
    # An outcome of each would be half a second, during which no other thread has its turn.
    assert min(delays) < 0.2


def test_the_report_of_an_unordered_stream_is_in_the_order_of_the_input() -> None:
    release = threading.Event()

    def operations() -> Iterator[Any]:
        yield release.wait
        yield from [int, fail, int]
        time.sleep(0.2)
        message = "input"
        raise LookupError(message)

    def release_soon() -> None:
        time.sleep(0.4)
        release.set()

    with BatchExecutor(None, 2) as executor:
        threading.Thread(target=release_soon).start()
        with pytest.raises(LookupError) as caught:
            list(executor.stream(operations(), buffersize=9))
    report = caught.value.batch_report  # type: ignore[attr-defined]
    indices = [outcome.index for outcome in report]
    assert indices == sorted(indices)
    assert 0 in indices
    assert report.counts["done"] == 3
    assert report.counts["failed"] == 1
    assert all(outcome in report for outcome in report.failures)


def test_failures_are_the_failed_outcomes_in_order(mixed: BatchReport[Any]) -> None:
    assert [outcome.index for outcome in mixed.failures] == [1, 3]


def test_counts_are_per_status(mixed: BatchReport[Any]) -> None:
    assert set(mixed.counts) <= STATUSES
    assert mixed.counts["done"] == 3
    assert mixed.counts["failed"] == 2
    assert sum(mixed.counts.values()) == 5


def test_values_are_all_the_values_when_nothing_failed(executor: BatchExecutor) -> None:
    report = executor.run([partial(int, 1), dict, lambda: None])
    assert report.values() == [1, {}, None]
    report.raise_for_failures()


def test_values_raise_when_anything_failed(mixed: BatchReport[Any]) -> None:
    with pytest.raises(ExceptionGroup):
        mixed.values()


def test_failures_are_raised_in_one_group(mixed: BatchReport[Any]) -> None:
    with pytest.raises(ExceptionGroup) as caught:
        mixed.raise_for_failures()
    assert list(caught.value.exceptions) == [outcome.exception for outcome in mixed.failures]
    matched, rest = caught.value.split(lambda error: str(error) == "again")
    assert matched is not None
    assert rest is not None


def test_values_of_an_unfinished_batch_are_not_passed_off_as_all() -> None:
    with (
        BatchExecutor(RateLimiter(1, per=60)) as executor,
        pytest.raises(BatchTimeoutError) as caught,
    ):
        executor.run([int, int, int], timeout=0.5)
    with pytest.raises(RuntimeError, match="2 operations have no value: 1 done, 2 not started"):
        caught.value.batch_report.values()


def test_an_empty_batch_has_an_empty_report(executor: BatchExecutor) -> None:
    for empty in ([], (), iter([])):
        report = executor.run(empty)
        assert len(report) == 0
        assert list(report) == []
        assert report.values() == []
        assert list(report.failures) == []
        report.raise_for_failures()
        assert report.ended_by == "completed"
        assert sum(report.counts.values()) == 0
        assert report.working == report.permit_wait == report.paused == 0
        assert report.explain() == "No operation was called."
        assert report.bounded_by == "idle workers"


def test_the_repr_of_a_report_is_short_and_counts(executor: BatchExecutor) -> None:
    report = executor.run([partial(str, "x" * 100)] * 990 + [fail] * 10)
    text = repr(report)
    assert text.startswith(("<BatchReport", "BatchReport("))
    assert len(text) < 500
    assert "990" in text
    assert "10" in text


def test_a_copy_of_a_report_is_the_report(mixed: BatchReport[Any]) -> None:
    assert copy.copy(mixed) is mixed
    assert copy.deepcopy(mixed) is mixed


def test_a_pickled_report_keeps_its_totals_and_no_outcomes(mixed: BatchReport[Any]) -> None:
    sent = pickle.loads(pickle.dumps(mixed))
    assert isinstance(sent, BatchReport)
    lost_with_them: list[Callable[[], object]] = [
        sent.values,
        sent.raise_for_failures,
        lambda: sent.failures,
        lambda: len(sent),
        lambda: list(sent),
        lambda: sent[0],
    ]
    for lost in lost_with_them:
        with pytest.raises(RuntimeError, match="pickled"):
            lost()
    assert sent.counts == mixed.counts
    assert (sent.elapsed, sent.working, sent.ended_by) == (
        mixed.elapsed,
        mixed.working,
        "completed",
    )
    assert (repr(sent), sent.explain()) == (repr(mixed), mixed.explain())


def test_a_report_is_true_whatever_is_in_it(
    executor: BatchExecutor, mixed: BatchReport[Any]
) -> None:
    for report in (mixed, pickle.loads(pickle.dumps(mixed)), executor.run([])):
        assert bool(report) is True


@pytest.mark.parametrize("count", [0, 5])
def test_a_pickled_report_without_outcomes_has_lost_none(
    executor: BatchExecutor, count: int
) -> None:
    outcomes = executor.stream([int] * count)
    assert len(list(outcomes)) == count
    sent = pickle.loads(pickle.dumps(outcomes.report()))
    assert (len(sent), list(sent), sent.failures) == (0, [], ())
    assert sent.counts["done"] == count


def test_a_pickled_report_can_be_pickled_again(mixed: BatchReport[Any]) -> None:
    sent = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(mixed))))
    with pytest.raises(RuntimeError, match="pickled"):
        len(sent)


def test_an_exception_that_ended_a_batch_can_be_sent_to_another_process() -> None:
    def operation() -> object:
        return threading.Lock()  # cannot be pickled

    with BatchExecutor(max_workers=1) as executor, pytest.raises(ValueError, match="no") as caught:
        executor.execute_batch([operation, fail], on_error="raise")
    sent = pickle.loads(pickle.dumps(caught.value))
    assert (type(sent), str(sent), sent.__notes__) == (ValueError, "no", caught.value.__notes__)
    assert sent.batch_report.counts["failed"] == 1
    assert isinstance(copy.deepcopy(caught.value), ValueError)


def test_totals_are_the_sums_of_the_outcomes(mixed: BatchReport[Any]) -> None:
    assert mixed.working == pytest.approx(sum(outcome.duration for outcome in mixed), abs=1e-3)
    assert mixed.permit_wait == pytest.approx(
        sum(outcome.permit_wait for outcome in mixed), abs=1e-3
    )
    assert mixed.attempts == 5
    assert mixed.permits == 5
    assert mixed.retries == 0
    assert mixed.pauses == 0
    assert mixed.paused == 0
    assert mixed.ended_by == "completed"


def test_a_report_outlives_its_executor_and_may_be_read_by_many_threads() -> None:
    with BatchExecutor(None, 2) as executor:
        report = executor.run([partial(int, index) for index in range(2000)])
    del executor
    wrong: list[int] = []

    def read() -> None:
        wrong.extend(index for index in range(2000) if report[index].value != index)
        if report.values() != list(range(2000)):
            wrong.append(-1)

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(20)
    assert wrong == []


# What stands for a failure


def test_on_error_return_gives_the_exception_itself(executor: BatchExecutor) -> None:
    error = KeyError("tenant")

    def fail_with_it() -> None:
        raise error

    results: list[Any] = executor.execute_batch([int, fail_with_it, int], on_error="return")
    assert results == [0, error, 0]
    assert results[1] is error


def test_on_error_of_the_executor_is_the_default_and_the_call_overrides_it() -> None:
    with BatchExecutor(on_error="return") as executor:
        assert isinstance(executor.execute_batch([fail])[0], ValueError)
        assert executor.execute_batch([fail], on_error="record") == [{"error": "no"}]
        with pytest.raises(ValueError, match="no"):
            executor.execute_batch([fail], on_error="raise")
        assert isinstance(executor.execute_batch([fail])[0], ValueError)


def test_execute_raises_what_its_operation_raised_whatever_on_error_says() -> None:
    for on_error in ("record", "return", "raise"):
        with (
            BatchExecutor(on_error=on_error) as executor,
            pytest.raises(ValueError, match="no"),
        ):
            executor.execute(fail)


def test_a_report_records_failures_whatever_on_error_says() -> None:
    with BatchExecutor(on_error="raise") as executor:
        assert statuses(executor.run([fail, int])) == ["failed", "done"]
