"""Retries: new attempts with new permits, pauses that hold everybody, and giving up."""

from __future__ import annotations

import contextvars
import itertools
import logging
import time
from typing import TYPE_CHECKING, Any

import pytest
from helpers import Metronome, RecordingLimiter, event_of, wait_until

from paceline import BatchExecutor, PermitRefusedError, RateLimiter, Retry

if TYPE_CHECKING:
    from collections.abc import Callable


class Throttled(Exception):
    """Carries a server's wish to wait."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"wait {seconds}")
        self.seconds = seconds


class RefusedWithoutAWord(Exception):
    status_code = 429


def wish(exception: Exception) -> float | None:
    return exception.seconds if isinstance(exception, Throttled) else None


def failing(times: int, error: Callable[[], Exception]) -> Callable[[], int]:
    """An operation that fails so often, and then returns how often it was called."""
    calls = itertools.count(1)

    def operation() -> int:
        call = next(calls)
        if call <= times:
            raise error()
        return call

    return operation


def refused() -> Exception:
    return ConnectionRefusedError("nobody there")


QUICK = Retry(4, backoff=0.01, max_backoff=0.02)


@pytest.mark.parametrize("limiter", ["none", "native", "foreign"])
def test_every_verb_tries_again_with_a_new_permit(limiter: str) -> None:
    foreign = RecordingLimiter()
    made: dict[str, Any] = {"none": None, "native": RateLimiter(10**6, per=1), "foreign": foreign}
    with BatchExecutor(made[limiter], 3, retry=QUICK) as executor:
        assert executor.execute(failing(2, refused)) == 3
        assert executor.execute_batch([failing(n, refused) for n in range(4)]) == [1, 2, 3, 4]
        report = executor.run([failing(n, refused) for n in range(4)])
        assert report.values() == [1, 2, 3, 4]
        assert [outcome.attempts for outcome in report] == [1, 2, 3, 4]
        assert (report.attempts, report.permits, report.retries) == (10, 10, 6)
        streamed = executor.stream([failing(n, refused) for n in range(4)], ordered=True)
        assert [outcome.value for outcome in streamed] == [1, 2, 3, 4]
        assert list(executor.map(lambda n: failing(n, refused)(), [0, 0])) == [1, 1]
        assert executor.submit(failing(3, refused)).result(20) == 4
    if limiter == "foreign":
        assert foreign.calls == 3 + 10 + 10 + 10 + 2 + 4


@pytest.mark.parametrize("limiter", ["none", "native", "foreign"])
@pytest.mark.parametrize("workers", [1, 2])
def test_an_operation_waits_for_a_call_that_is_tried_again(limiter: str, workers: int) -> None:
    foreign = RecordingLimiter()
    made: dict[str, Any] = {"none": None, "native": RateLimiter(10**6, per=1), "foreign": foreign}
    executor = BatchExecutor(made[limiter], workers, retry=QUICK)
    for times in range(4):
        call = failing(times, refused)
        outer = executor.submit(lambda call=call: executor.submit(call).result())
        assert outer.result(10) == times + 1
    executor.shutdown()
    if limiter == "foreign":
        assert foreign.calls == 4 + (1 + 2 + 3 + 4), "one permit for each attempt"


def test_a_retry_that_has_its_permit_is_not_taken_for_a_first_attempt() -> None:
    class Slow:
        def acquire(self) -> None:
            time.sleep(0.001)

    retry = Retry(3, backoff=0.002, max_backoff=0.002)
    executor = BatchExecutor(Slow(), 2, retry=retry)
    for _ in range(200):
        call = failing(1, refused)
        outer = executor.submit(lambda call=call: executor.submit(call).result())
        assert outer.result(10) == 2
    executor.shutdown()


@pytest.mark.parametrize("answer", [False, None])
def test_what_is_refused_a_permit_is_not_tried_again(answer: object) -> None:
    class Granting(Metronome):
        def acquire(self) -> Any:
            super().acquire()
            return None if self.calls == 1 else answer

    retry = Retry(3, on=(Exception,), backoff=0.01)
    with BatchExecutor(Granting(0), 1, retry=retry) as executor:
        future = executor.submit(failing(1, refused))
        if answer is None:
            assert future.result(10) == 2
        else:
            assert isinstance(future.exception(10), PermitRefusedError)


def test_earlier_attempts_are_kept_with_their_times() -> None:
    (outcome,) = BatchExecutor(retry=QUICK).run([failing(2, refused)])
    assert [type(error) for error, *_ in outcome.earlier_attempts] == [ConnectionRefusedError] * 2
    starts = [started for _, started, *_ in outcome.earlier_attempts]
    assert starts == sorted(starts)
    assert starts[-1] < (outcome.started_at or 0)


def test_what_fails_every_time_has_its_last_exception() -> None:
    (outcome,) = BatchExecutor(retry=QUICK).run([failing(99, refused)])
    assert (outcome.status, outcome.attempts) == ("failed", 4)
    assert isinstance(outcome.exception, ConnectionRefusedError)
    assert len(outcome.earlier_attempts) == 3


def test_a_create_that_may_have_happened_is_not_repeated() -> None:
    (outcome,) = BatchExecutor(retry=QUICK).run([failing(1, lambda: TimeoutError("no answer"))])
    assert (outcome.status, outcome.attempts) == ("failed", 1)


def test_no_worker_is_held_while_a_retry_waits() -> None:
    executor = BatchExecutor(max_workers=1, retry=Retry(2, backoff=30.0, jitter=False))
    future = executor.submit(failing(1, refused))
    assert executor.submit(int).result(20) == 0
    assert not future.done()
    # Cancelled while it waits, it ends with what it failed with.
    wait_until(lambda: not future.cancel() and future.done())
    assert isinstance(future.exception(0), ConnectionRefusedError)
    executor.shutdown()


def test_the_end_of_a_batch_drops_its_waiting_retries() -> None:
    executor = BatchExecutor(max_workers=2, retry=Retry(2, backoff=30.0, jitter=False))
    with pytest.raises(TimeoutError) as caught:
        executor.run([failing(1, refused), int], timeout=0.3)
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert [outcome.status for outcome in report] == ["failed", "done"]
    assert isinstance(report[0].exception, ConnectionRefusedError)


@pytest.mark.parametrize(("budget", "retried"), [(0.0, False), (0.1, True), (1.0, True)])
def test_a_share_of_a_small_batch_is_one_at_least(budget: float, retried: bool) -> None:
    executor = BatchExecutor(retry=Retry(3, backoff=0.001, budget=budget))
    for verb in (executor.execute, lambda operation: executor.submit(operation).result(10)):
        if retried:
            assert verb(failing(1, refused)) == 2
        else:
            with pytest.raises(ConnectionRefusedError):
                verb(failing(1, refused))


def test_a_budget_ends_an_outage() -> None:
    executor = BatchExecutor(retry=Retry(10, backoff=0.001, budget=0.25))
    report = executor.run([failing(99, refused)] * 40)
    assert report.counts["failed"] == 40
    assert report.retries <= 10
    assert (
        BatchExecutor(retry=Retry(10, backoff=0.001, budget=3))
        .run([failing(99, refused)] * 40)
        .retries
        == 3
    )


@pytest.mark.parametrize("limiter", ["native", "none", "foreign"])
def test_one_refusal_pauses_everybody(limiter: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="paceline")
    made: dict[str, Any] = {
        "none": None,
        "native": RateLimiter(10**6, per=1),
        "foreign": RecordingLimiter(),
    }
    starts: list[float] = []

    def operation() -> None:
        starts.append(time.monotonic())
        if len(starts) == 5:
            raise Throttled(0.5)
        time.sleep(0.01)

    executor = BatchExecutor(made[limiter], 2, retry=Retry(retry_after=wish))
    report = executor.run([operation] * 30)
    assert report.counts["done"] == 30
    assert report.pauses == 1
    assert 0.4 <= report.paused <= 0.6
    assert max(after - before for before, after in itertools.pairwise(starts)) >= 0.45
    (record,) = [each for each in caplog.records if event_of(each) == "rate_limited"]
    assert record.levelno == logging.WARNING
    assert 0.4 <= record.seconds <= 0.6  # type: ignore[attr-defined]


def test_a_refusal_pauses_though_its_call_began_before_an_earlier_pause(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, logger="paceline")
    starts: list[float] = []

    def refused_after(seconds: float) -> Callable[[], None]:
        first = iter([True])

        def operation() -> None:
            starts.append(time.monotonic())
            time.sleep(seconds)
            if next(first, False):
                raise RefusedWithoutAWord

        return operation

    executor = BatchExecutor(None, 2, retry=Retry(default_pause=0.3))
    report = executor.run([refused_after(0.7), refused_after(0.05)])
    assert report.counts["done"] == 2
    assert starts[-1] - starts[0] >= 0.95, "it was called again at once"
    assert report.pauses == 2
    assert [event_of(each) for each in caplog.records] == ["rate_limited"] * 2


def test_a_pause_reaches_whoever_shares_the_limiter_and_is_named_as_the_bound() -> None:
    limiter = RateLimiter(10**6, per=1)
    executor = BatchExecutor(limiter, 1, retry=Retry(retry_after=wish))
    report = executor.run([failing(1, lambda: Throttled(0.6))])
    assert report.bounded_by == "server pauses"
    assert "server" in report.explain()
    executor.submit(failing(1, lambda: Throttled(0.6)))
    wait_until(lambda: limiter.wait_time() > 0)
    began = time.monotonic()
    BatchExecutor(limiter).execute(int)
    assert time.monotonic() - began >= 0.3
    executor.shutdown()


@pytest.mark.parametrize("limiter", [None, RateLimiter(10**6, per=1)])
def test_of_a_pause_that_a_batch_does_not_outlast_only_its_part_counts(limiter: Any) -> None:
    calls = itertools.count(1)

    def operation() -> None:
        time.sleep(0.1)
        if next(calls) == 8:
            raise Throttled(60)

    executor = BatchExecutor(limiter, 1, retry=Retry(retry_after=wish))
    with pytest.raises(TimeoutError) as caught:
        executor.run([operation] * 30, timeout=2)
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert report.pauses == 1
    assert report.paused > 0
    assert report.working + report.paused + report.permit_wait <= report.elapsed


@pytest.mark.parametrize("foreign", [False, True])
def test_a_batch_that_begins_in_a_pause_is_paused_for_the_rest_of_it(foreign: bool) -> None:
    limiter: Any = RecordingLimiter() if foreign else RateLimiter(10**6, per=1)
    executor = BatchExecutor(limiter, 2, retry=Retry(1, retry_after=wish))
    executor.run([failing(1, lambda: Throttled(0.5))])
    report = executor.run([int] * 3)
    assert report.counts["done"] == 3
    assert 0.3 <= report.paused <= report.elapsed
    # Where no limit says how fast they may, the others follow over as long as the pause was.
    assert report.permit_wait < (0.6 if foreign else 0.1)
    assert foreign or report.bounded_by == "server pauses"


@pytest.mark.parametrize("foreign", [False, True])
def test_a_pause_is_not_taken_off_the_waiting_for_the_limit_beside_it(foreign: bool) -> None:
    limiter: Any = Metronome(0.1) if foreign else RateLimiter(1, per=0.1, margin=0)
    last = failing(1, lambda: Throttled(0.5))
    executor = BatchExecutor(limiter, 2, retry=Retry(2, retry_after=wish))
    report = executor.run([*[int] * 8, last])
    assert report.counts["done"] == 9
    assert report.paused >= 0.4
    assert report.permit_wait >= 0.6
    assert report.permit_wait + report.paused <= report.elapsed
    assert report.bounded_by == "limit"


def test_hostile_wishes_are_cut() -> None:
    executor = BatchExecutor(retry=Retry(2, retry_after=lambda _: 1e9, max_pause=0.2, longer="cut"))
    began = time.monotonic()
    assert executor.execute(failing(1, refused)) == 2
    assert time.monotonic() - began < 10


def test_a_policy_that_raises_leaves_the_failure_with_a_note() -> None:
    def broken(_: Exception) -> bool:
        raise ZeroDivisionError("policy")

    (outcome,) = BatchExecutor(retry=Retry(on=broken)).run([failing(1, refused)])
    assert isinstance(outcome.exception, ConnectionRefusedError)
    assert any("policy" in note for note in outcome.exception.__notes__)


def test_an_adaptive_limiter_is_cut_by_a_refusal() -> None:
    limiter = RateLimiter(1000, per=10, adaptive=True)
    executor = BatchExecutor(limiter, 2, retry=Retry(retry_after=wish))
    executor.execute(failing(1, lambda: Throttled(0.05)))
    assert limiter.effective_limit < 1000


def test_a_share_of_failures_ends_the_batch() -> None:
    operations = [int] * 20 + [failing(99, refused)] * 100
    with pytest.raises(ExceptionGroup) as caught:
        BatchExecutor(max_workers=1).run(operations, max_failures=(0.5, 10))
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert report.ended_by == "max_failures"
    assert report.counts["failed"] == 5


@pytest.mark.parametrize("verb", ["submit", "run"])
def test_each_attempt_sees_the_context_of_the_caller(verb: str) -> None:
    seen: list[str] = []
    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    def operation() -> None:
        seen.append(user.get())
        user.set("an attempt's")
        if len(seen) < 3:
            raise ConnectionRefusedError

    user.set("ada")
    with BatchExecutor(retry=QUICK) as executor:
        if verb == "submit":
            executor.submit(operation).result(20)
        else:
            executor.run([operation])
    assert seen == ["ada"] * 3
