"""Checked by mypy and pyright, never run: the types that users of the package see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from contextlib import closing
from datetime import timedelta
from functools import partial
from typing import Any, Literal, assert_type
from unittest.mock import Mock

from paceline import (
    BatchExecutor,
    BatchReport,
    BatchTimeoutError,
    ErrorRecord,
    Outcome,
    Outcomes,
    PermitRefusedError,
    RateLimiter,
    RefusedResponseError,
    Retry,
    SupportsAcquire,
    Verdict,
    report_of,
)


def length(text: str) -> int:
    return len(text)


def lengths(texts: list[str]) -> Iterator[Callable[[], int]]:
    return (partial(length, text) for text in texts)


class AnyLimiter:
    def acquire(self) -> None: ...


# Limiters

limiter = RateLimiter(200, per=60)
RateLimiter(10, timedelta(seconds=1), burst=2, margin=timedelta(milliseconds=5))
assert_type(limiter.acquire(), bool)
assert_type(limiter.acquire(2, timeout=1.5), bool)
assert_type(limiter.try_acquire(weight=3), bool)
assert_type(limiter.wait_time(), float)
assert_type(limiter.limit, int)
assert_type(limiter.per, float)
assert_type(limiter.burst, int | None)
assert_type(limiter.margin, float)
assert_type(limiter.pause(2.0), None)
(limiter & RateLimiter(10, per=1)).acquire(1, timeout=2)

RateLimiter("200", 60)  # type: ignore[arg-type]
RateLimiter(200)  # type: ignore[call-arg]
RateLimiter(200, 60, 5)  # type: ignore[call-arg]
limiter.limit = 5  # type: ignore[misc]

# Executors

executor = BatchExecutor(rate_limiter=limiter, max_workers=5)
BatchExecutor(AnyLimiter())
BatchExecutor(None, 3, on_error="return", retry=Retry(3), thread_name_prefix="create")
standard: Executor = executor

BatchExecutor(Mock())
BatchExecutor(5)  # type: ignore[arg-type]
BatchExecutor(on_error="ignore")  # type: ignore[arg-type]
BatchExecutor(retry=3)  # type: ignore[arg-type]
BatchExecutor(None, 5, "record")  # type: ignore[arg-type]
BatchExecutor(None, None)
BatchExecutor(limiter=limiter)  # type: ignore[arg-type]

assert_type(executor.max_workers, int)
assert_type(executor.execute(partial(length, "one")), int)
executor.execute(length)  # type: ignore[arg-type]
executor.execute_batch(lengths([]), timeout=timedelta(seconds=5), max_failures=3)
executor.run([1, 2])  # type: ignore[arg-type]
executor.run(lengths([]), on_error="raise")  # type: ignore[arg-type]

report = executor.run(lengths(["one", "two"]))
assert_type(report, BatchReport[int])
assert_type(report.values(), list[int])
first: Outcome[int] = report[0]
assert_type(first.operation, Callable[[], int] | None)
assert_type(first.args, tuple[Any, ...])
assert_type(first.kwargs, dict[str, Any])
assert_type(first.result(), int)
assert_type(report.to_rows(), list[dict[str, Any]])
sequence: Sequence[Outcome[int]] = report
wider: BatchReport[object] = report
assert_type(report.elapsed, float)
assert_type(report.retries, int)
assert_type(report.counts, dict[str, int])
assert_type(report.explain(), str)
for failure in report.failures:
    kept: Outcome[int] = failure
assert_type(report.raise_for_failures(), None)
assert_type(report.settle(), bool)
assert_type(report.settle(timeout=timedelta(seconds=1)), bool)

with closing(executor.stream(lengths(["one"]))) as outcomes:
    assert_type(outcomes, Outcomes[int])
    following: Outcome[int] = next(outcomes)
assert_type(outcomes.report(), BatchReport[int])
with executor.stream(lengths(["one"])) as in_block:
    assert_type(in_block, Outcomes[int])
    taken: Outcome[int] = next(in_block)
assert_type(len(in_block), int)
for outcome in executor.stream(lengths(["one"]), ordered=True, buffersize=10):
    base: Outcome[int] = outcome
    assert_type(base.value, int | None)
    assert_type(outcome.index, int)
    assert_type(outcome.attempts, int)
    assert_type(outcome.value, int | None)
    assert_type(base.exception, BaseException | None)
    assert_type(outcome.permit_wait, float)
    if outcome.status == "done":
        assert_type(outcome.value, int)
    if outcome.ok is True:
        assert_type(outcome.value, int)
    else:
        assert_type(outcome.value, None)
        assert_type(outcome.exception, BaseException | None)
    if outcome.status != "done":
        continue
    assert_type(outcome.value, int)
    if outcome.status == "finished":  # type: ignore[comparison-overlap]
        pass

assert_type(executor.submit(length, "one"), Future[int])
executor.submit(length, 5)  # type: ignore[arg-type]
assert_type(
    list(executor.map(length, ["one"], timeout=timedelta(seconds=5), buffersize=2)), list[int]
)
with executor as entered:
    assert_type(entered, BatchExecutor)
assert_type(executor.shutdown(wait=True, cancel_futures=True), None)


class Subclass(BatchExecutor):
    def __init__(self, name: str) -> None:
        super().__init__(None, 2)
        self.name = name


with Subclass("mine") as mine:
    assert_type(mine.name, str)


# Failures


def judge(record: ErrorRecord, timed_out: BatchTimeoutError, refused: PermitRefusedError) -> None:
    plain: dict[str, str] = record
    assert_type(record["error"], str)
    assert_type(record.exception, BaseException)
    assert_type(record.index, int)
    standard_timeout: TimeoutError = timed_out
    runtime_error: RuntimeError = refused
    del plain, standard_timeout, runtime_error


# Made by hand

made = Outcome(0, "done", value=5, duration=0.5)
assert_type(made, Outcome[int])
by_hand: BatchReport[int] = BatchReport([made, Outcome(1, "failed", exception=ValueError())])
assert_type(report_of(ValueError()), BatchReport[Any] | None)
Outcome(0, "ok")  # type: ignore[call-overload]
Outcome(0, "failed")  # type: ignore[call-overload]
Outcome(0, "running", value=5)  # type: ignore[call-overload]
foreign: SupportsAcquire = AnyLimiter()


# Retries


def may_be_repeated(error: Exception) -> bool:
    return isinstance(error, TimeoutError)


def seconds_asked_for(error: Exception) -> float | None:
    return 5.0 if error.args else None


retry = Retry(3, on=may_be_repeated, retry_after=seconds_asked_for, budget=0.1)
Retry(on=TimeoutError, backoff=timedelta(seconds=1))
Retry(on=(TimeoutError, ConnectionError), default_pause=60, budget=20)
Retry(also=(TimeoutError, OSError), statuses={500, 502}, on_result=lambda value: value is None)
Retry(on_result=lambda _: timedelta(seconds=1))
Retry(observe=True)
Retry(observe=lambda answer: answer.headers)
Retry(observe="x")  # type: ignore[arg-type]
Retry(statuses=500)  # type: ignore[arg-type]
Retry(on_result=lambda _: "soon")  # type: ignore[arg-type, return-value]
verdict = retry.decide(ValueError())
assert_type(verdict, Verdict)
assert_type(verdict.wait, float | None)
assert_type(verdict.final, bool)
assert_type(RefusedResponseError("value", retry_after=1.0).value, object)
assert_type(retry.attempts, int)
assert_type(retry.backoff, float)
assert_type(retry.budget, float | None)
retry.attempts = 5  # type: ignore[misc]
Retry(on="TimeoutError")  # type: ignore[arg-type]
Retry(on=lambda: True)  # type: ignore[arg-type, misc]
Retry(retry_after=str)  # type: ignore[arg-type]
mode: Literal["record", "return", "raise"] = "raise"
executor.execute_batch(lengths([]), on_error=mode)
