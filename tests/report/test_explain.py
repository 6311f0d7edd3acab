"""The totals of a report: where the time of a batch went, and what would make it faster."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from helpers import Metronome, in_thread
from reference import lateness

from paceline import BatchExecutor, RateLimiter


def test_totals_explain_a_batch_bounded_by_its_workers(executor: BatchExecutor) -> None:
    with lateness() as late:
        report = executor.run([partial(time.sleep, 0.1)] * 6)
    assert report.working >= 0.6
    assert report.working == pytest.approx(sum(each.duration for each in report), abs=1e-3)
    assert report.working / 2 <= report.elapsed
    assert report.permit_wait <= 0.05 + late.seconds
    assert report.bounded_by == "workers"
    assert " on all workers, so more workers would make it faster, " in report.explain()


def test_where_all_operations_run_at_once_more_workers_do_not_help() -> None:
    with BatchExecutor(max_workers=5) as executor:
        report = executor.run([partial(time.sleep, 0.5)] * 4)
    assert report.bounded_by == "operations"
    assert report.explain().endswith("at the same time, so more workers would not make it faster.")


@pytest.mark.parametrize("lasting", [0.0, 0.05])
def test_where_python_computes_more_workers_do_not_help(
    monkeypatch: pytest.MonkeyPatch, lasting: float
) -> None:
    # As if the process had been on a processor all the time, which a busy machine does not let it.
    monkeypatch.setattr("paceline._runner.time.process_time", time.perf_counter)

    def spread() -> Iterator[Callable[[], None]]:
        for _ in range(6):
            time.sleep(0.01)
            yield partial(time.sleep, lasting)

    with BatchExecutor(max_workers=2) as executor:
        report = executor.run(spread())
    assert report.bounded_by == "computing"
    assert report.explain().startswith(("100 % ", "99 % "))
    assert report.explain().endswith("so more workers would hardly make it faster.")
    assert pickle.loads(pickle.dumps(report)).explain() == report.explain()


@pytest.mark.parametrize(("processors", "bound"), [(2, "computing"), (8, "workers")])
def test_without_the_interpreter_lock_all_processors_can_compute(
    monkeypatch: pytest.MonkeyPatch, processors: int, bound: str
) -> None:
    # As on a free-threaded build, with a process that is on two processors all the time.
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    monkeypatch.setattr("os.process_cpu_count", lambda: processors, raising=False)
    monkeypatch.setattr("paceline._runner.time.process_time", lambda: 2 * time.perf_counter())
    with BatchExecutor(max_workers=2) as executor:
        report = executor.run([partial(time.sleep, 0.05)] * 8)
    assert report.bounded_by == bound


@pytest.mark.parametrize("limiter", [RateLimiter(20, per=1, burst=1, margin=0), Metronome(0.05)])
def test_totals_explain_a_batch_bounded_by_its_limit(limiter: Any) -> None:
    with BatchExecutor(limiter, 3) as executor:
        report = executor.run([int] * 11)
    assert 0.49 <= report.elapsed < 2
    assert report.permit_wait == pytest.approx(
        sum(outcome.permit_wait for outcome in report), abs=1e-3
    )
    assert 0.4 <= report.permit_wait <= report.elapsed + 0.05
    assert report.bounded_by == "limit"
    assert report.explain().endswith("for the limit, so more workers would not make it faster.")


@pytest.mark.parametrize("verb", ["run", "stream"])
@pytest.mark.parametrize("started", [0, 1])
@pytest.mark.parametrize("foreign", [False, True])
def test_a_wait_for_the_limit_that_a_timeout_ends_is_put_down_to_the_limit(
    verb: str, started: int, foreign: bool
) -> None:
    limiter: Any = Metronome(1) if foreign else RateLimiter(1, per=1)
    if not started:
        limiter.acquire()
    with BatchExecutor(limiter, 2) as executor, pytest.raises(TimeoutError) as caught:
        list(getattr(executor, verb)([int] * 5, timeout=0.4))
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert report.attempts == started
    assert 0.3 <= report.permit_wait <= report.elapsed
    assert report.bounded_by == "limit"
    assert " waiting for the limit, " in report.explain()


def slow_input() -> Iterator[Callable[[], int]]:
    for _ in range(3):
        time.sleep(0.05)
        yield int


def test_totals_explain_a_batch_whose_workers_are_idle() -> None:
    with BatchExecutor(max_workers=5) as executor:
        report = executor.run(slow_input())
    assert report.bounded_by == "idle workers"
    assert " was spent with workers idle or busy with other batches: " in report.explain()


def test_each_outcome_knows_how_long_it_waited_for_its_permit() -> None:
    with (
        lateness() as late,
        BatchExecutor(RateLimiter(10, per=1, burst=1, margin=0), 3) as executor,
    ):
        report = executor.run([int] * 4)
    within = 0.05 + late.seconds
    assert report[0].permit_wait <= within
    for outcome in report[1:]:
        assert outcome.permit_wait == pytest.approx(0.1, abs=within)


def test_no_outcome_has_waited_longer_than_its_batch_was_there() -> None:
    with BatchExecutor(RateLimiter(1, per=0.6, margin=0), 3) as executor:
        other, _ = in_thread(lambda: executor.run([int] * 3))
        time.sleep(0.4)  # one of its operations has waited for most of that
        report = executor.run([int])
        other.join(30)
    assert report[0].permit_wait <= report.elapsed
