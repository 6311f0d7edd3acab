"""The worker threads: their number, their names, and what prepares them."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import threading
import time
from concurrent.futures.thread import BrokenThreadPool

import pytest
from helpers import statuses, wait_until
from observing import PATIENCE, worker_threads

from paceline import BatchExecutor, RateLimiter, Retry


def test_the_initializer_runs_once_in_each_worker() -> None:
    local = threading.local()
    initialized: list[str] = []

    def prepare(greeting: str, *, times: int = 1) -> None:
        local.greeting = greeting * times
        initialized.append(threading.current_thread().name)

    together = threading.Barrier(3)

    def work() -> str:
        together.wait(PATIENCE)
        return local.greeting  # type: ignore[no-any-return]

    with BatchExecutor(
        max_workers=3, thread_name_prefix="prepared", initializer=prepare, initargs=("hello",)
    ) as executor:
        futures = [executor.submit(work) for _ in range(3)]
        assert [future.result(PATIENCE) for future in futures] == ["hello"] * 3
        assert executor.execute_batch([lambda: local.greeting] * 20) == ["hello"] * 20
        assert len(initialized) == len(set(initialized)) == 3


@pytest.mark.parametrize("kind", [ValueError, SystemExit])
def test_a_failing_initializer_breaks_the_executor(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def prepare() -> None:
        time.sleep(0.05)
        raise kind("cannot prepare")

    with BatchExecutor(max_workers=2, initializer=prepare) as executor:
        try:
            futures = [executor.submit(int) for _ in range(5)]
        except BrokenThreadPool:
            futures = []
        for future in futures:
            assert isinstance(future.exception(PATIENCE), BrokenThreadPool)
        with pytest.raises(BrokenThreadPool):
            executor.submit(int).result(PATIENCE)
        for verb in (
            lambda: executor.execute(int),
            lambda: executor.execute_batch([int]),
            lambda: executor.run([int]),
            lambda: list(executor.stream([int])),
            lambda: list(executor.map(int, ["1"])),
        ):
            with pytest.raises(BrokenThreadPool):
                verb()
    assert any(
        record.name == "concurrent.futures" and record.levelname == "CRITICAL"
        for record in caplog.records
    ), "it is logged as the standard library does"


def test_a_failing_initializer_breaks_a_batch_under_way() -> None:
    def prepare() -> None:
        raise ValueError("cannot prepare")

    with BatchExecutor(max_workers=2, initializer=prepare) as executor:
        with pytest.raises(BrokenThreadPool) as caught:
            executor.execute_batch([int] * 100)
    assert isinstance(caught.value.__cause__, ValueError), "the reason is told"
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert report.ended_by == "broken"
    assert statuses(report) == ["not_started"] * 100


def test_a_failing_initializer_ends_a_call_that_waits_to_be_tried_again() -> None:
    prepared = itertools.count()
    failing, release = threading.Event(), threading.Event()

    def prepare() -> None:
        if next(prepared):
            failing.wait(PATIENCE)
            raise ValueError("cannot prepare")

    def refused() -> None:
        raise ConnectionRefusedError

    executor = BatchExecutor(
        max_workers=2, retry=Retry(5, backoff=30, jitter=False), initializer=prepare
    )
    tried = executor.submit(refused)
    wait_until(tried.running)
    running = executor.submit(release.wait, PATIENCE)
    wait_until(running.running)
    pending = executor.submit(int)
    failing.set()
    assert isinstance(tried.exception(PATIENCE), ConnectionRefusedError)
    broken = pending.exception(PATIENCE)
    assert isinstance(broken, BrokenThreadPool)
    assert isinstance(broken.__cause__, ValueError)
    release.set()
    assert running.result(PATIENCE) is True


def test_an_initializer_must_be_callable() -> None:
    with pytest.raises(TypeError, match="initializer"):
        BatchExecutor(initializer="prepare")  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, -1])
def test_there_is_at_least_one_worker(workers: int) -> None:
    with pytest.raises(ValueError, match="max_workers must be greater than 0"):
        BatchExecutor(max_workers=workers)


def test_workers_carry_the_prefix_and_are_threads() -> None:
    with BatchExecutor(max_workers=2, thread_name_prefix="crew") as executor:
        assert worker_threads("crew") == [], "the pool is made when it is needed"
        thread = executor.submit(threading.current_thread).result(PATIENCE)
        assert isinstance(thread, threading.Thread)
        assert thread in worker_threads("crew")
    assert worker_threads("crew") == []


def test_context_variables_reach_each_operation_in_its_own_copy() -> None:
    import contextvars

    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")

    def change() -> str:
        seen = user.get()
        user.set("changed by an operation")
        return seen

    with BatchExecutor(max_workers=1) as executor:
        executor.submit(int).result(PATIENCE)
        token = user.set("ada")
        first = [executor.submit(change) for _ in range(3)]
        mapped = executor.map(lambda _: change(), range(3))
        user.reset(token)
        assert [future.result(PATIENCE) for future in first] == ["ada"] * 3
        assert list(mapped) == ["ada"] * 3
        assert executor.submit(user.get).result(PATIENCE) == "nobody"


def test_every_verb_of_one_executor_works_at_the_same_time() -> None:
    limiter = RateLimiter(100_000, per=1)
    with BatchExecutor(limiter, max_workers=3) as executor:
        jobs = {
            "submit": lambda: [executor.submit(int, n).result(PATIENCE) for n in range(200)],
            "map": lambda: list(executor.map(int, range(200))),
            "batch": lambda: executor.execute_batch(
                [functools.partial(int, n) for n in range(200)]
            ),
            "run": lambda: list(
                executor.run([functools.partial(int, n) for n in range(200)]).values()
            ),
            "stream": lambda: [
                outcome.value
                for outcome in executor.stream(
                    (functools.partial(int, n) for n in range(200)), ordered=True
                )
            ],
            "execute": lambda: [executor.execute(functools.partial(int, n)) for n in range(200)],
        }
        with concurrent.futures.ThreadPoolExecutor(len(jobs)) as callers:
            results = {name: callers.submit(job) for name, job in jobs.items()}
        for name, result in results.items():
            assert result.result(PATIENCE) == list(range(200)), name
