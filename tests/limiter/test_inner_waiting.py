"""What an operation waits for in a limiter of its own is permit wait, and is told as that."""

from __future__ import annotations

import pickle
import time
from functools import partial

import pytest

from paceline import BatchExecutor, RateLimiter, Retry


def spend(limiter: RateLimiter, weight: int, working: float = 0.0) -> None:
    limiter.acquire(weight)
    time.sleep(working)


@pytest.mark.parametrize("verb", ["run", "stream"])
def test_waiting_inside_is_permit_wait(verb: str) -> None:
    tokens = RateLimiter(1000, per=0.5, margin=0)
    with BatchExecutor(RateLimiter(1000, per=1), max_workers=3) as executor:
        if verb == "run":
            report = executor.run([partial(spend, tokens, 400)] * 8)
            outcomes = list(report)
        else:
            stream = executor.stream([partial(spend, tokens, 400)] * 8)
            outcomes = list(stream)
            report = stream.report()
    waited = [outcome.permit_wait for outcome in outcomes]
    assert sum(each > 0.1 for each in waited) >= 5
    assert report.permit_wait == pytest.approx(sum(waited), abs=1e-3)
    assert report.working < 0.3 * report.permit_wait
    assert report.bounded_by == "limit"
    assert "more workers would not make it faster" in report.explain()
    assert pickle.loads(pickle.dumps(report)).explain() == report.explain()
    for outcome in outcomes:
        assert outcome.permit_wait <= outcome.duration + 0.05


def test_what_one_operation_has_waited_is_not_put_down_to_the_next() -> None:
    limiter = RateLimiter(1, per=0.3, margin=0)
    with BatchExecutor(max_workers=1) as executor:
        report = executor.run([limiter.acquire, limiter.acquire, *[int] * 5])
    assert report[1].permit_wait > 0.2
    assert [outcome.permit_wait for outcome in report[2:]] == [0.0] * 5


def test_an_inner_batch_keeps_its_own_account() -> None:
    """One worker runs both: what the inner operation waits is not the outer one's."""
    limiter = RateLimiter(1, per=0.3, margin=0)
    with BatchExecutor(max_workers=1) as executor:

        def outer() -> float:
            limiter.acquire()
            limiter.acquire()
            inner = executor.run([limiter.acquire])
            future = executor.submit(limiter.acquire)
            future.result()
            return inner[0].permit_wait

        report = executor.run([outer])
    assert 0.2 < report[0].permit_wait < 0.5
    inner = report[0].value
    assert inner is not None
    assert 0.2 < inner < 0.5


def test_waits_in_vain_and_those_of_failed_attempts_count() -> None:
    limiter = RateLimiter(1, per=60)
    limiter.acquire()
    paced = RateLimiter(1, per=0.2, margin=0)

    def fails() -> None:
        paced.acquire()
        assert not limiter.acquire(timeout=0.01)
        raise ConnectionRefusedError

    with BatchExecutor(max_workers=1, retry=Retry(3, backoff=0)) as executor:
        (outcome,) = executor.run([fails])
    assert outcome.attempts == 3
    assert outcome.permit_wait > 0.3
    assert sum(attempt[3] for attempt in outcome.earlier_attempts) <= outcome.permit_wait
