"""Random batches against a plain Python model of what must become of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from helpers import RecordingLimiter, statuses
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import BatchExecutor, ErrorRecord, Outcome, RateLimiter

VALUE, FAILURE, REFUSAL = "value", "failure", "refusal"

plans = st.lists(
    st.tuples(st.sampled_from([VALUE, VALUE, FAILURE]), st.integers() | st.text(max_size=5)),
    max_size=40,
)
workers = st.integers(min_value=1, max_value=9)
containers = st.sampled_from([list, tuple, iter, lambda operations: (op for op in operations)])
limiters = st.sampled_from([lambda: None, RecordingLimiter, lambda: RateLimiter(10**6, per=1)])

quickly = settings(max_examples=60, deadline=None)


class Planned(Exception):
    """What a planned failure raises."""


def make(plan: list[tuple[str, Any]], starts: list[int]) -> list[Callable[[], Any]]:
    def operation(index: int, kind: str, argument: object) -> object:
        starts.append(index)
        if kind == FAILURE:
            raise Planned(argument)
        return argument

    return [
        partial(operation, index, kind, argument) for index, (kind, argument) in enumerate(plan)
    ]


def expected(plan: list[tuple[str, Any]], on_error: str) -> list[Any]:
    """What ``execute_batch`` returns, worked out one operation at a time."""
    return [
        argument
        if kind == VALUE
        else {"error": str(argument)}
        if on_error == "record"
        else ("exception", argument)
        for kind, argument in plan
    ]


@quickly
@given(plans, workers, st.sampled_from(["record", "return"]), containers, limiters)
def test_execute_batch_returns_what_the_model_returns(
    plan: list[tuple[str, Any]],
    max_workers: int,
    on_error: Any,
    container: Callable[[list[Any]], Any],
    make_limiter: Callable[[], Any],
) -> None:
    starts: list[int] = []
    limiter = make_limiter()
    with BatchExecutor(limiter, max_workers, on_error=on_error) as executor:
        results = executor.execute_batch(container(make(plan, starts)))
    seen = [
        ("exception", result.args[0]) if isinstance(result, Planned) else result
        for result in results
    ]
    assert seen == expected(plan, on_error)
    assert sorted(starts) == list(range(len(plan)))
    for index, result in enumerate(results):
        if isinstance(result, ErrorRecord):
            assert result.index == index
    if isinstance(limiter, RecordingLimiter):
        assert limiter.calls == len(plan)


def check_outcome(outcome: Outcome[Any], plan: list[tuple[str, Any]]) -> None:
    kind, argument = plan[outcome.index]
    if outcome.status == "done":
        assert (kind, outcome.value, outcome.exception) == (VALUE, argument, None)
    elif outcome.status == "failed":
        assert kind == FAILURE
        assert isinstance(outcome.exception, Planned)
        assert outcome.exception.args == (argument,)
    else:
        assert outcome.status == "not_started"
        assert outcome.value is outcome.exception is None


@quickly
@given(plans, workers, containers, limiters)
def test_run_reports_what_the_model_reports(
    plan: list[tuple[str, Any]],
    max_workers: int,
    container: Callable[[list[Any]], Any],
    make_limiter: Callable[[], Any],
) -> None:
    with BatchExecutor(make_limiter(), max_workers) as executor:
        report = executor.run(container(make(plan, [])))
    assert statuses(report) == ["done" if kind == VALUE else "failed" for kind, _ in plan]
    for index, outcome in enumerate(report):
        assert outcome.index == index
        check_outcome(outcome, plan)
    assert report.permits == report.attempts == len(plan)


@quickly
@given(plans, workers, st.integers(min_value=1, max_value=8), containers, limiters)
def test_max_failures_ends_where_the_model_ends(
    plan: list[tuple[str, Any]],
    max_workers: int,
    max_failures: int,
    container: Callable[[list[Any]], Any],
    make_limiter: Callable[[], Any],
) -> None:
    starts: list[int] = []
    limiter = make_limiter()
    failing = [index for index, (kind, _) in enumerate(plan) if kind == FAILURE]
    with BatchExecutor(limiter, max_workers) as executor:
        try:
            report = executor.run(container(make(plan, starts)), max_failures=max_failures)
        except ExceptionGroup as group:
            assert len(failing) >= max_failures
            report = group.batch_report  # type: ignore[attr-defined]
            assert max_failures <= len(group.exceptions) < max_failures + max_workers
            assert list(group.exceptions) == [outcome.exception for outcome in report.failures]
            if max_workers == 1:
                assert len(starts) == failing[max_failures - 1] + 1
        else:
            assert len(failing) < max_failures
            assert len(report) == len(plan)
    for index, outcome in enumerate(report):
        assert outcome.index == index
        check_outcome(outcome, plan)
    begun = [outcome.index for outcome in report if outcome.status != "not_started"]
    assert sorted(starts) == begun == list(range(len(begun)))
    if isinstance(limiter, RecordingLimiter):
        assert limiter.calls == len(starts)


@quickly
@given(plans, workers, limiters)
def test_raising_raises_a_failure_that_began_and_accounts_for_all(
    plan: list[tuple[str, Any]], max_workers: int, make_limiter: Callable[[], Any]
) -> None:
    starts: list[int] = []
    failing = {index for index, (kind, _) in enumerate(plan) if kind == FAILURE}
    with BatchExecutor(make_limiter(), max_workers) as executor:
        try:
            results = executor.execute_batch(make(plan, starts), on_error="raise")
        except Planned as error:
            report = error.batch_report  # type: ignore[attr-defined]
            assert len(report) == len(plan)
            assert any(outcome.exception is error for outcome in report)
            assert len(starts) == sum(outcome.status != "not_started" for outcome in report)
            if max_workers == 1:
                assert max(starts) == min(failing)
        else:
            assert not failing
            assert results == [argument for _, argument in plan]


@quickly
@given(plans, workers, st.booleans(), st.none() | st.integers(1, 20), containers)
def test_stream_hands_over_every_outcome_once(
    plan: list[tuple[str, Any]],
    max_workers: int,
    ordered: bool,
    buffersize: int | None,
    container: Callable[[list[Any]], Any],
) -> None:
    read: list[int] = []

    def watched() -> Iterator[Callable[[], Any]]:
        for index, operation in enumerate(container(make(plan, []))):
            read.append(index)
            yield operation

    indexes = []
    with BatchExecutor(None, max_workers) as executor:
        for outcome in executor.stream(watched(), ordered=ordered, buffersize=buffersize):
            check_outcome(outcome, plan)
            indexes.append(outcome.index)
            if buffersize is not None:
                assert len(read) - len(indexes) <= max_workers + buffersize
    assert sorted(indexes) == list(range(len(plan)))
    if ordered:
        assert indexes == sorted(indexes)
