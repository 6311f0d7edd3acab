"""Outcomes and reports that users make for their tests, rows, and finding a report."""

from __future__ import annotations

import copy
import pickle
import re
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import pytest

from paceline import BatchExecutor, BatchReport, BatchTimeoutError, Outcome, report_of

Made: Any = Outcome
Report: Any = BatchReport
ERROR = ValueError("no such tenant")


def divide(number: int, by: int) -> float:
    return number / by


def test_an_outcome_has_what_it_was_made_of() -> None:
    operation = partial(divide, 6, by=2)
    outcome = Outcome(
        4,
        "done",
        value=3.0,
        attempts=2,
        permit_wait=0.5,
        started_at=12.25,
        duration=0.125,
        operation=operation,
    )
    assert (outcome.index, outcome.status, outcome.value, outcome.ok) == (4, "done", 3.0, True)
    assert (outcome.attempts, outcome.permit_wait, outcome.started_at) == (2, 0.5, 12.25)
    assert (outcome.duration, outcome.exception, outcome.earlier_attempts) == (0.125, None, ())
    assert (outcome.operation, outcome.args, outcome.kwargs) == (operation, (6,), {"by": 2})
    failed: Outcome[float] = Outcome(0, "failed", exception=ERROR)
    assert (failed.exception, failed.attempts, failed.started_at) == (ERROR, 1, None)
    waiting: Outcome[float] = Outcome(0, "not_started")
    assert (waiting.attempts, waiting.value, waiting.operation) == (0, None, None)
    assert repr(failed).startswith("Outcome(index=0, status='failed', exception=ValueError(")


@pytest.mark.parametrize(
    ("make", "error", "told"),
    [
        (Made, TypeError, "index"),
        (lambda: Made(-1, "done"), ValueError, "index must be at least 0, not -1"),
        (lambda: Made("1", "done"), TypeError, "index must be an int, not '1'"),
        (lambda: Made(True, "done"), TypeError, "index must be an int"),
        (lambda: Made(1, "ok"), ValueError, "status must be one of 'done', 'failed', 'running'"),
        (lambda: Made(1, None), ValueError, "not None"),
        (lambda: Made(1, "failed"), ValueError, "an exception is needed"),
        (lambda: Made(1, "failed", exception="no"), TypeError, "must be an exception, not 'no'"),
        (lambda: Made(1, "failed", exception=ValueError), TypeError, "the class ValueError"),
        (lambda: Made(1, "failed", exception=ERROR, value=1), ValueError, "done has a value"),
        (lambda: Made(1, "done", exception=ERROR), ValueError, "only what failed"),
        (lambda: Made(1, "running", value=1), ValueError, "only what is done has a value"),
        (lambda: Made(1, "done", attempts=-1), ValueError, "attempts must be at least 0"),
        (lambda: Made(1, "done", duration=-1.0), ValueError, "duration must be 0 seconds or more"),
        (lambda: Made(1, "done", permit_wait="1"), TypeError, "permit_wait must be a number"),
        (lambda: Made(1, "done", started_at="1"), TypeError, "started_at must be a number"),
        (lambda: Made(1, "done", error=ERROR), TypeError, "'error': write exception="),
        (lambda: Made(1, "done", 5), TypeError, "value"),
        (lambda: Report([1]), TypeError, "in place 0 is 1"),
        (lambda: Report([Made(1, "done"), Made(1, "done")]), ValueError, "in place 1 is index 1"),
        (lambda: Report([], ended_by="tired"), ValueError, "'completed', 'timeout'"),
        (lambda: Report([], elapsed=-1), ValueError, "elapsed must be from 0"),
        (lambda: Report([], max_workers=0), ValueError, "max_workers"),
        (lambda: Report([], workers=2), TypeError, "write max_workers=5"),
        (lambda: Report([], 5), TypeError, "ended_by"),
    ],
)
def test_what_makes_no_sense_is_refused(make: Any, error: type[Exception], told: str) -> None:
    with pytest.raises(error) as caught:
        make()
    assert told in str(caught.value)


SAMPLES: list[Outcome[Any]] = [
    Outcome(0, "done", value=[1, 2], duration=0.5, started_at=3.5),
    Outcome(1, "failed", exception=ERROR, attempts=3, permit_wait=1.5),
    Outcome(2, "running", duration=0.1),
    Outcome(3, "not_started"),
    Outcome(4, "cancelled"),
]


@pytest.mark.parametrize("outcome", SAMPLES, ids=lambda each: each.status)
def test_an_outcome_is_equal_to_its_pickled_self(outcome: Outcome[Any]) -> None:
    again = pickle.loads(pickle.dumps(outcome))
    assert again == outcome
    assert hash(again) == hash(outcome)
    assert copy.deepcopy(outcome) is outcome
    assert [each for each in SAMPLES if each == again] == [outcome]
    assert outcome != 5
    assert repr(again) == repr(outcome)


def test_outcomes_that_differ_are_not_equal() -> None:
    base: dict[str, Any] = {"value": 1, "attempts": 2, "permit_wait": 1.0, "duration": 2.0}
    one = Made(1, "done", **base)
    assert one == Made(1, "done", **base)
    assert one != Made(2, "done", **base)
    for name in base:
        assert one != Made(1, "done", **{**base, name: 9}), name
    assert Made(1, "failed", exception=ValueError(1)) == Made(1, "failed", exception=ValueError(1))
    assert Made(1, "failed", exception=ValueError(1)) != Made(1, "failed", exception=ValueError(2))
    assert Made(1, "failed", exception=ValueError(1)) != Made(1, "failed", exception=KeyError(1))


def run_there(operations: list[Any]) -> list[Outcome[Any]]:
    with BatchExecutor() as executor:
        return list(executor.run(operations))


def test_outcomes_of_a_batch_go_to_another_process() -> None:
    operations = [partial(divide, 4, by=2), partial(divide, 4, by=0)]
    with ProcessPoolExecutor(1) as processes:
        done, failed = processes.submit(run_there, operations).result(60)
    assert done.result() == 2
    with pytest.raises(ZeroDivisionError):
        failed.result()


def test_a_report_can_have_every_end_that_is_documented() -> None:
    _, _, described = (BatchReport.__doc__ or "").partition("ended_by:")
    words = re.findall(r'``"(\w+)"``', described)
    assert len(words) > 10
    for word in words:
        assert BatchReport([], ended_by=word).ended_by == word


def test_a_report_made_by_hand_is_one() -> None:
    report = BatchReport(SAMPLES, ended_by="timeout", elapsed=4.0, max_workers=2)
    assert list(report) == SAMPLES
    assert report.counts == dict.fromkeys(report.counts, 1)
    assert report.failures == (SAMPLES[1],)
    assert (report.attempts, report.retries, report.permit_wait) == (5, 2, 1.5)
    assert (report.working, report.elapsed, report.ended_by) == (0.6, 4.0, "timeout")
    with pytest.raises(ExceptionGroup, match="1 of 5 operations failed"):
        report.values()
    assert BatchReport(SAMPLES[:1]).values() == [[1, 2]]
    assert (
        str(report)
        == repr(report)
        == (
            "<BatchReport: 1 done, 1 failed, 1 running, 1 not started, 1 cancelled of 5 operations"
            " in 4.000 s>"
        )
    )
    assert report == BatchReport(SAMPLES, ended_by="timeout", elapsed=4.0, max_workers=2)
    assert report != BatchReport(SAMPLES, elapsed=4.0, max_workers=2)
    assert report != BatchReport(SAMPLES[:4], ended_by="timeout", elapsed=4.0, max_workers=2)
    assert report != SAMPLES
    sent = pickle.loads(pickle.dumps(report))
    assert sent == pickle.loads(pickle.dumps(report))
    assert sent != report, "it has left its outcomes behind"
    assert sent.counts == report.counts


def test_a_report_can_be_made_of_the_outcomes_of_another() -> None:
    with BatchExecutor(max_workers=3) as executor:
        report = executor.run([partial(divide, 4, by=each) for each in (1, 2, 0)])
    made = BatchReport(report, elapsed=report.elapsed, max_workers=3)
    assert list(made) == list(report)
    assert made.counts == report.counts
    assert made.working == pytest.approx(report.working)


def test_a_minority_is_not_told_as_the_whole() -> None:
    outcomes = [Made(each, "done", duration=2.0, permit_wait=1.5) for each in range(2)]
    report = BatchReport(outcomes, elapsed=9.0, paused=1.0, max_workers=1)
    assert report.bounded_by == "workers"
    assert report.explain() == (
        "44 % of 9.000 s was spent running operations on all workers, so more workers would make "
        "it faster, up to the limit if there is one. The rest: 33 % waiting for the limit, "
        "11 % paused by the server, 11 % with workers idle."
    )
    whole = BatchReport(outcomes, elapsed=4.0, max_workers=1)
    assert "The rest" not in whole.explain()


def test_rows_are_flat_and_plain() -> None:
    rows = BatchReport(SAMPLES[:2]).to_rows()
    assert rows[0] == {
        "index": 0,
        "status": "done",
        "value": [1, 2],
        "error": None,
        "error_type": None,
        "attempts": 1,
        "permit_wait": 0.0,
        "started_at": 3.5,
        "duration": 0.5,
    }
    assert (rows[1]["error"], rows[1]["error_type"]) == ("no such tenant", "ValueError")
    assert list(rows[0]) == list(rows[1])


def test_an_exception_without_a_text_has_a_row_all_the_same() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise LookupError

    (row,) = BatchReport([Made(0, "failed", exception=Mute())]).to_rows()
    assert row["error"] == "<Mute: its str() raised LookupError>"


# Where the report is


def timed_out() -> BaseException:
    with BatchExecutor(max_workers=1) as executor:
        try:
            executor.run(
                [partial(divide, 1, 1)] * 3 + [partial(__import__("time").sleep, 0.2)], timeout=0.05
            )
        except BatchTimeoutError as error:
            return error
    raise AssertionError


def test_the_report_is_found_wherever_the_exception_is() -> None:
    error = timed_out()
    report = report_of(error)
    assert report is not None
    assert report is error.batch_report  # type: ignore[attr-defined]
    caused = RuntimeError("mine")
    caused.__cause__ = error
    handled = KeyError("mine")
    handled.__context__ = caused
    group = ExceptionGroup("some", [ValueError(), ExceptionGroup("inner", [handled])])
    for each in (caused, handled, group):
        assert report_of(each) is report
    assert report_of(ValueError()) is None
    handled.__suppress_context__ = True
    assert report_of(handled) is None


def test_a_circle_of_exceptions_has_no_report() -> None:
    one, two = ValueError(1), ValueError(2)
    one.__cause__, two.__cause__ = two, one
    one.__context__ = two
    assert report_of(one) is None


def test_parts_of_a_split_group_have_it_no_more_but_the_whole_has() -> None:
    with BatchExecutor() as executor, pytest.raises(ExceptionGroup) as caught:
        executor.run([partial(divide, 1, 0)] * 5, max_failures=2)
    report = report_of(caught.value)
    assert report is not None
    assert report.ended_by == "max_failures"
