"""What is written in another library's words, or from memory, is told how it is written here."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

import pyrate_limiter
import pytest

import paceline
from paceline import BatchExecutor, RateLimiter, Retry
from paceline._arguments import PARAMETERS

SECRET = "sk-live-0123456789"


def fetch(*_: object) -> int:
    return 1


async def fetch_async(*_: object) -> int:
    return 1


class Settings:
    """As a configuration with a password in it is printed."""

    def __repr__(self) -> str:
        return SECRET


def pyrate() -> pyrate_limiter.Limiter:
    return pyrate_limiter.Limiter(pyrate_limiter.Rate(5, 1000))


def with_executor(use: Callable[[Any], object]) -> Callable[[], object]:
    def act() -> object:
        with BatchExecutor() as executor:
            return use(executor)

    return act


def after_shutdown(use: Callable[[Any], object]) -> Callable[[], object]:
    def act() -> object:
        executor = BatchExecutor()
        executor.shutdown()
        return use(executor)

    return act


def of_report(use: Callable[[Any], object]) -> Callable[[], object]:
    return with_executor(lambda executor: use(executor.run([fetch])))


Limiter: Any = RateLimiter
Executor: Any = BatchExecutor
Policy: Any = Retry

# What is written, the exception, and what its message says to write instead.
RIDDLES: list[tuple[Callable[[], object], type[Exception], str]] = [
    # Rates
    (lambda: Limiter(200), TypeError, "RateLimiter(200, per=60) for 200 a minute"),
    (Limiter, TypeError, "RateLimiter(200, per=60)"),
    (lambda: Limiter(per=60), TypeError, "RateLimiter(200, per=60)"),
    (lambda: Limiter("200/min"), TypeError, "write RateLimiter(200, per=60)"),
    (lambda: Limiter("5 per second"), TypeError, "write RateLimiter(5, per=1)"),
    (lambda: Limiter("1000/hour"), TypeError, "write RateLimiter(1000, per=3600)"),
    (lambda: Limiter("fast"), TypeError, "write RateLimiter(200, per=60)"),
    (lambda: Limiter(200, per="minute"), TypeError, "write RateLimiter(200, per=60)"),
    (lambda: Limiter(200, per="hours"), TypeError, "write RateLimiter(200, per=3600)"),
    (lambda: Limiter(200, "60"), TypeError, "RateLimiter(200, per="),
    (lambda: Limiter(0.5), TypeError, "write RateLimiter(1, per=2)"),
    (lambda: Limiter(2.5, per=60), TypeError, "write RateLimiter(5, per=120)"),
    (lambda: Limiter(200.0, timedelta(minutes=1)), TypeError, "write RateLimiter(200, per=60)"),
    (lambda: Limiter(float("nan"), per=60), TypeError, "write RateLimiter(200, per=60)"),
    (lambda: Limiter(rate=200, period=60), TypeError, "'rate': write limit=200"),
    (lambda: Limiter(200, period=60), TypeError, "'period': write per=60, in seconds"),
    (lambda: Limiter(calls=200, per=60), TypeError, "'calls': write limit=200"),
    (lambda: Limiter(200, per=60, max_burst=5), TypeError, "write burst="),
    (lambda: Limiter(200, per=60, max_workers=5), TypeError, "argument of BatchExecutor()"),
    (lambda: Limiter(200, 60, 5), TypeError, "burst"),
    (lambda: Limiter(200, per=60).try_acquire("name"), TypeError, "weight must be an int"),
    (lambda: Limiter(200, per=60).pause("1 min"), TypeError, "number of seconds"),
    (lambda: Limiter(200, per=60).wait(), AttributeError, "'wait': see acquire()"),
    (lambda: Limiter(200, per=60).release(), AttributeError, "comes back by itself"),
    (lambda: Limiter(200, per=60).rate, AttributeError, "see limit"),
    (lambda: Limiter(200, per=60).nonsense, AttributeError, "no attribute 'nonsense'"),
    (lambda: Limiter(200, 60) + Limiter(5, 1), TypeError, "write one & another"),
    (lambda: Limiter(200, 60) | Limiter(5, 1), TypeError, "write one & another"),
    # Executors
    (lambda: Executor("200/min"), TypeError, "write RateLimiter(200, per=60)"),
    (lambda: Executor(200), TypeError, "write RateLimiter(200, per=60)"),
    (lambda: Limiter(per_minute=200), TypeError, "limit=200, with per=60 for 200 a minute"),
    (lambda: Executor([Limiter(5, 1)]), TypeError, "combined with &"),
    (lambda: Executor(RateLimiter), TypeError, "RateLimiter(100, per=60)"),
    (lambda: Executor(pyrate()), TypeError, "it has try_acquire()"),
    (lambda: Executor(retry=3), TypeError, "write retry=Retry(attempts=3)"),
    (lambda: Executor(limiter=None), TypeError, "'limiter': write rate_limiter=RateLimiter("),
    (lambda: Executor(rate=5), TypeError, "'rate': write rate_limiter=RateLimiter("),
    (lambda: Executor(workers=5), TypeError, "'workers': write max_workers=5"),
    (lambda: Executor(max_concurrency=5), TypeError, "write max_workers=5"),
    (lambda: Executor(concurrency=5), TypeError, "write max_workers=5"),
    (lambda: Executor(max_attempts=5), TypeError, "write retry=Retry(attempts=3)"),
    (lambda: Executor(max_retries=5), TypeError, "write retry=Retry(attempts=3)"),
    (lambda: Executor(max_worker=5), TypeError, "max_workers"),
    (lambda: Executor(period=60), TypeError, "per is an argument of RateLimiter()"),
    (lambda: Executor(timeout=60), TypeError, "timeout is an argument of execute_batch(), run()"),
    (lambda: Executor(nonsense=60), TypeError, "it takes rate_limiter, max_workers"),
    (lambda: Executor(None, 5, "raise"), TypeError, "on_error"),
    (lambda: Executor(on_error="ignore"), ValueError, "'record', 'return', 'raise'"),
    # Policies
    (lambda: Policy(max_attempts=5), TypeError, "write attempts=3"),
    (lambda: Policy(retries=5), TypeError, "write attempts=3, the first call included"),
    (lambda: Policy(delay=5), TypeError, "write backoff="),
    (lambda: Policy(exceptions=ValueError), TypeError, "write on=("),
    (lambda: Policy(3, ValueError), TypeError, "by name: attempts, on,"),
    (lambda: Policy(on="ValueError"), TypeError, "an exception class"),
    # Batches
    (with_executor(lambda it: it.run(fetch, [1])), TypeError, "functools.partial(fn, item)"),
    (with_executor(lambda it: it.execute_batch(fetch, [1])), TypeError, "or map(fn, items)"),
    (with_executor(lambda it: it.stream(fetch, [1])), TypeError, "stream([functools.partial("),
    (with_executor(lambda it: it.execute(fetch, 1)), TypeError, "execute(functools.partial("),
    (with_executor(lambda it: it.run(fetch)), TypeError, "write [operation], or execute("),
    (with_executor(lambda it: it.run(fetch())), TypeError, "functools.partial(fn, item)"),
    (with_executor(lambda it: it.run([(fetch, 1)])), TypeError, "a tuple (function, int)"),
    (with_executor(lambda it: it.run([fetch()])), TypeError, "not an int; if that is what a call"),
    (with_executor(lambda it: it.run([fetch_async])), TypeError, "lambda: asyncio.run("),
    (with_executor(lambda it: it.run([partial(fetch_async, 1)])), TypeError, "fetch_async"),
    (with_executor(lambda it: it.run([fetch], on_error="raise")), TypeError, "execute_batch()"),
    (with_executor(lambda it: it.run([fetch], retry=3)), TypeError, "of BatchExecutor()"),
    (with_executor(lambda it: it.run([fetch], max_attempts=3)), TypeError, "of BatchExecutor()"),
    (with_executor(lambda it: it.run([fetch], workers=3)), TypeError, "of BatchExecutor()"),
    (with_executor(lambda it: it.run([fetch], ordered=True)), TypeError, "of stream()"),
    (with_executor(lambda it: it.run([fetch], max_errors=3)), TypeError, "write max_failures="),
    (with_executor(lambda it: it.run(tasks=[fetch])), TypeError, "'operations'"),
    (with_executor(lambda it: it.stream([fetch], buffer_size=3)), TypeError, "write buffersize="),
    (
        with_executor(lambda it: it.execute_batch([fetch], return_exceptions=True)),
        TypeError,
        'write on_error="raise", "return" or "record"',
    ),
    (with_executor(lambda it: it.map(fetch, [1], workers=3)), TypeError, "of BatchExecutor()"),
    (with_executor(lambda it: it.map(fetch(), [1])), TypeError, "fn must be callable, not an int"),
    (with_executor(lambda it: it.map([1], fetch)), TypeError, "write map(fn, items)"),
    (with_executor(lambda it: it.map(fetch, 5)), TypeError, "not int: for one call write map(fn"),
    (with_executor(lambda it: it.submit(fetch())), TypeError, "fn must be callable, not an int"),
    (with_executor(lambda it: it.shutdown(cancel=True)), TypeError, "write cancel_futures="),
    (after_shutdown(lambda it: it.run([fetch])), RuntimeError, "make another one"),
    (after_shutdown(lambda it: it.submit(fetch)), RuntimeError, "make another one"),
    (after_shutdown(lambda it: it.stream([fetch])), RuntimeError, "make another one"),
    # Reports
    (of_report(lambda report: report["done"]), TypeError, 'report.counts["done"]'),
    (lambda: BatchExecutor().close(), AttributeError, "see shutdown()"),
    (lambda: BatchExecutor().gather([int]), AttributeError, "see execute_batch() and run()"),
    (lambda: BatchExecutor().nonsense, AttributeError, "no attribute 'nonsense'"),
    (of_report(lambda report: report.results), AttributeError, "see values()"),
    (of_report(lambda report: report.errors), AttributeError, "see failures"),
    (of_report(lambda report: report.done), AttributeError, 'see counts["done"]'),
    (of_report(lambda report: report.nonsense), AttributeError, "no attribute 'nonsense'"),
    (of_report(lambda report: report[0].error), AttributeError, "see exception"),
    (of_report(lambda report: report[0].success), AttributeError, "see ok"),
    (of_report(lambda report: report[0].nonsense), AttributeError, "no attribute 'nonsense'"),
    (of_report(lambda report: report[5]), IndexError, "there is no outcome 5, of 1"),
]


@pytest.mark.parametrize(("write", "error", "told"), RIDDLES)
def test_what_is_meant_is_told(
    write: Callable[[], object], error: type[Exception], told: str
) -> None:
    with pytest.raises(error) as caught:
        write()
    assert told in str(caught.value)
    assert len(str(caught.value)) < 400


SECRETS: list[Callable[[Any], object]] = [
    lambda it: it.run([(fetch, SECRET)]),
    lambda it: it.run([{"key": SECRET}]),
    lambda it: it.run([SECRET]),
    lambda it: it.run(Settings()),
    lambda it: it.run([Settings()]),
    lambda it: it.run(fetch, SECRET),
    lambda it: it.run([partial(fetch_async, SECRET)]),
    lambda it: it.run([partial(fetch_async, key=SECRET)]),
    lambda it: it.run([fetch], key=SECRET),
    lambda it: it.execute((fetch, SECRET)),
    lambda it: it.submit((fetch, SECRET)),
    lambda it: it.submit(partial(fetch_async, SECRET)),
    lambda it: it.map((fetch, SECRET), [1]),
    lambda it: it.run([fetch], timeout=(SECRET,)),
    lambda it: it.run([fetch], max_failures=(SECRET, 1, 2)),
    lambda it: BatchExecutor(Settings()),  # type: ignore[arg-type]
    lambda it: BatchExecutor((SECRET,)),  # type: ignore[arg-type]
    lambda it: BatchExecutor(initializer=partial(fetch_async, SECRET)),
    lambda it: BatchExecutor(initializer=(fetch, SECRET)),  # type: ignore[arg-type]
    lambda it: Limiter(Settings(), per=1),
    lambda it: Limiter((SECRET,), per=1),
    lambda it: Limiter(1, per=[SECRET]),
    lambda it: Limiter(1, 1, Settings()),
    lambda it: Policy(on=partial(fetch_async, SECRET)),
    lambda it: Policy(on=(Settings(),)),
]


@pytest.mark.parametrize("write", SECRETS)
def test_no_message_has_an_argument_in_it(write: Callable[[Any], object]) -> None:
    with BatchExecutor() as executor, pytest.raises((TypeError, ValueError)) as caught:
        write(executor)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(caught.value.__cause__)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_arguments_that_messages_name_are_those_that_there_are(name: str) -> None:
    owners: tuple[Any, ...] = (paceline, BatchExecutor)
    member = next(getattr(owner, name) for owner in owners if hasattr(owner, name))
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = inspect.signature(member).parameters.values()
    names = [each.name for each in parameters if each.kind not in kinds and each.name != "self"]
    assert names == PARAMETERS[name]


EXECUTOR = BatchExecutor()


@pytest.mark.parametrize(
    ("member", "given"),
    [
        (BatchExecutor, []),
        (EXECUTOR.execute, [fetch]),
        (EXECUTOR.execute_batch, [[]]),
        (EXECUTOR.run, [[]]),
        (EXECUTOR.stream, [[]]),
        (EXECUTOR.map, [fetch, []]),
        (EXECUTOR.shutdown, []),
        (RateLimiter, [5, 1]),
        (Retry, []),
    ],
)
def test_every_public_callable_names_its_arguments_to_who_does_not_know_them(
    member: Any, given: list[Any]
) -> None:
    names = [
        each.name
        for each in inspect.signature(member).parameters.values()
        if each.kind not in {each.VAR_KEYWORD, each.VAR_POSITIONAL}
    ]
    with pytest.raises(TypeError) as caught:
        member(*given, qqqqq=1)
    message = str(caught.value)
    assert message.startswith(f"{member.__name__}() got an unexpected keyword argument 'qqqqq'")
    for name in names:
        assert name in message
