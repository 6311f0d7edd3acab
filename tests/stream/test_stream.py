"""`stream`: outcomes as they come."""

from __future__ import annotations

import functools
import itertools
import threading
import time

import pytest
from helpers import RecordingLimiter, event_of, statuses, worst_window
from observing import PATIENCE
from streaming import numbers

from paceline import BatchExecutor, Outcome, RateLimiter


def raise_value_error(n: int) -> None:
    raise ValueError(f"operation {n}")


# What comes out


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("limited", [False, True])
def test_every_operation_has_one_outcome(workers: int, limited: bool) -> None:
    limiter = RateLimiter(500, per=0.05) if limited else None
    with BatchExecutor(limiter, max_workers=workers) as executor:
        outcomes = list(executor.stream(numbers(2000)))
    assert sorted(outcome.index for outcome in outcomes) == list(range(2000))
    assert all(type(outcome) is Outcome for outcome in outcomes)
    assert all(outcome.value == outcome.index for outcome in outcomes)
    assert set(statuses(outcomes)) == {"done"}


def test_outcomes_come_as_they_complete() -> None:
    releases = [threading.Event() for _ in range(3)]
    operations = [functools.partial(release.wait, PATIENCE) for release in releases]
    with BatchExecutor(max_workers=3) as executor:
        outcomes = executor.stream(operations)
        for index in (1, 2, 0):
            releases[index].set()
            assert next(outcomes).index == index
        assert list(outcomes) == []


def test_ordered_holds_quick_ones_back() -> None:
    release = threading.Event()
    operations = [functools.partial(release.wait, PATIENCE), *numbers(5)]
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(operations, ordered=True)
        threading.Timer(0.1, release.set).start()
        assert [outcome.index for outcome in outcomes] == list(range(6))


def test_a_failure_is_an_outcome_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with BatchExecutor(max_workers=2) as executor:
        operations = [functools.partial(raise_value_error, 0), *numbers(3)]
        outcomes = list(executor.stream(operations, ordered=True))
    assert statuses(outcomes) == ["failed", "done", "done", "done"]
    assert isinstance(outcomes[0].exception, ValueError)
    assert outcomes[0].value is None
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [event_of(record) for record in errors] == ["batch_operation_failed"]


def test_an_empty_input_gives_an_empty_stream() -> None:
    with BatchExecutor() as executor:
        assert list(executor.stream([])) == []
        assert list(executor.stream(iter(()), ordered=True)) == []


def test_it_is_an_iterator_that_stays_exhausted() -> None:
    with BatchExecutor() as executor:
        outcomes = executor.stream(numbers(3))
        assert iter(outcomes) is outcomes
        assert len(list(outcomes)) == 3
        for _ in range(3):
            with pytest.raises(StopIteration):
                next(outcomes)


def test_two_streams_side_by_side() -> None:
    with BatchExecutor(max_workers=2) as executor:
        pairs = list(
            zip(
                executor.stream(numbers(300), ordered=True),
                executor.stream(numbers(300), ordered=True),
                strict=True,
            )
        )
    assert [(one.value, other.value) for one, other in pairs] == [(n, n) for n in range(300)]


@pytest.mark.parametrize("buffersize", [0, -1])
def test_a_buffersize_that_holds_nothing_is_refused(buffersize: int) -> None:
    with BatchExecutor() as executor, pytest.raises(ValueError, match="buffersize"):
        executor.stream(numbers(3), buffersize=buffersize)


def test_bad_input_is_refused() -> None:
    async def never_awaited() -> None: ...

    with BatchExecutor() as executor:
        with pytest.raises(TypeError):
            executor.stream(7)  # type: ignore[call-overload]
        for entry in (7, never_awaited):
            with pytest.raises(TypeError) as caught:
                list(executor.stream(iter([int, int, entry])))  # type: ignore[list-item]
            assert "2" in str(caught.value), "the message names the entry"


# The limit


@pytest.mark.parametrize("ordered", [False, True])
def test_a_stream_keeps_to_the_limit(ordered: bool) -> None:
    limiter = RateLimiter(20, per=0.25)
    with BatchExecutor(limiter, max_workers=4) as executor:
        operations = itertools.repeat(time.monotonic, 90)
        starts = [outcome.value for outcome in executor.stream(operations, ordered=ordered)]
    assert worst_window(starts, 0.23) <= 20


def test_a_foreign_limiter_is_asked_once_for_each_start() -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter, max_workers=3) as executor:
        assert len(list(executor.stream(numbers(300)))) == 300
        assert limiter.calls == 300
        assert threading.current_thread() not in limiter.threads


def test_context_variables_reach_the_operations_of_a_stream() -> None:
    import contextvars

    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    with BatchExecutor(max_workers=2) as executor:
        token = user.set("ada")
        outcomes = executor.stream(itertools.repeat(user.get, 300))
        user.reset(token)
        assert {outcome.value for outcome in outcomes} == {"ada"}


def test_concurrent_consumers_of_one_stream_get_each_outcome_once() -> None:
    with BatchExecutor(max_workers=3) as executor:
        outcomes = executor.stream(list(numbers(3000)))
        got: list[list[int]] = [[], [], []]

        def take(mine: list[int]) -> None:
            for outcome in outcomes:
                mine.append(outcome.index)

        consumers = [threading.Thread(target=take, args=(mine,), daemon=True) for mine in got]
        for consumer in consumers:
            consumer.start()
        for consumer in consumers:
            consumer.join(PATIENCE)
            assert not consumer.is_alive()
    assert sorted(itertools.chain.from_iterable(got)) == list(range(3000))
