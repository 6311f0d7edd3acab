"""Operations run on real Python threads, share them fairly, and never lock one another out."""

from __future__ import annotations

import contextvars
import gc
import statistics
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest
from helpers import Gauge, RecordingLimiter, eager_thread_switches, in_thread, wait_until

from paceline import BatchExecutor, BatchTimeoutError, RateLimiter

# Threads that Python knows.


def test_operations_run_on_named_daemon_threads_that_python_lists() -> None:
    all_in = threading.Barrier(3, timeout=10)

    def who() -> tuple[threading.Thread, bool]:
        all_in.wait()
        thread = threading.current_thread()
        return thread, thread in threading.enumerate()

    with BatchExecutor(None, 3, thread_name_prefix="tenants") as executor:
        answers = executor.execute_batch([who] * 3)
    threads = [thread for thread, _ in answers]
    assert all(listed for _, listed in answers)
    assert len(set(threads)) == len({thread.name for thread in threads}) == 3
    for thread in threads:
        assert isinstance(thread, threading.Thread)
        assert type(thread).__name__ != "_DummyThread"
        assert thread.name.startswith("tenants")
        assert thread.daemon
        assert thread is not threading.current_thread()


def test_the_default_name_says_whose_threads_they_are() -> None:
    with BatchExecutor() as executor:
        assert executor.execute(threading.current_thread).name.startswith("paceline")


def test_threads_are_made_when_they_are_needed() -> None:
    before = threading.active_count()
    executor = BatchExecutor(None, 50)
    assert threading.active_count() == before
    executor.shutdown()
    assert threading.active_count() == before


def test_threads_end_with_shutdown() -> None:
    with BatchExecutor(None, 4) as executor:
        threads = set(executor.execute_batch([threading.current_thread] * 40))
        assert all(thread.is_alive() for thread in threads)
    assert not any(thread.is_alive() for thread in threads)


def test_thread_locals_live_as_long_as_their_worker() -> None:
    local = threading.local()

    def count() -> int:
        local.calls = getattr(local, "calls", 0) + 1
        return int(local.calls)

    with BatchExecutor(None, 1) as executor:
        first = executor.execute_batch([count] * 10)
        second = executor.execute_batch([count] * 10)
        third = executor.execute(count)
    assert [*first, *second, third] == list(range(1, 22))


def test_thread_locals_are_kept_per_worker_when_the_limiter_makes_workers_wait() -> None:
    local = threading.local()
    totals: dict[int, int] = defaultdict(int)

    def count() -> bool:
        local.calls = getattr(local, "calls", 0) + 1
        totals[threading.get_ident()] += 1
        return totals[threading.get_ident()] == local.calls

    with BatchExecutor(RateLimiter(200, per=1, burst=1), 3) as executor:
        assert all(executor.execute_batch([count] * 30))


def test_an_initializer_runs_once_in_each_worker() -> None:
    local = threading.local()
    initialized: list[threading.Thread] = []

    def initialize(value: str) -> None:
        local.value = value
        initialized.append(threading.current_thread())

    with BatchExecutor(None, 3, initializer=initialize, initargs=("ready",)) as executor:
        values = executor.execute_batch([lambda: (local.value, threading.current_thread())] * 60)
    assert {value for value, _ in values} == {"ready"}
    assert len(initialized) == len(set(initialized))
    assert {thread for _, thread in values} <= set(initialized)


# What the caller's thread hands on.

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")


@pytest.fixture
def caller_tenant() -> Iterator[None]:
    token = tenant.set("caller")
    yield
    tenant.reset(token)


def read_and_overwrite(value: str) -> str:
    before = tenant.get()
    tenant.set(value)
    return f"{before} then {tenant.get()}"


CONTEXT_VERBS: dict[str, Callable[[BatchExecutor, list[Any]], list[str]]] = {
    "execute_batch": lambda executor, operations: executor.execute_batch(operations),
    "run": lambda executor, operations: executor.run(operations).values(),
    "stream": lambda executor, operations: [
        outcome.value for outcome in executor.stream(operations, ordered=True)
    ],
    "execute": lambda executor, operations: [executor.execute(op) for op in operations],
    "submit": lambda executor, operations: [executor.submit(op).result(10) for op in operations],
    "map": lambda executor, operations: list(executor.map(lambda op: op(), operations)),
}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("verb", CONTEXT_VERBS)
@pytest.mark.usefixtures("caller_tenant")
def test_each_operation_has_its_own_copy_of_the_callers_context(verb: str, workers: int) -> None:
    operations = [partial(read_and_overwrite, f"operation {index}") for index in range(30)]
    with BatchExecutor(None, workers) as executor:
        seen = CONTEXT_VERBS[verb](executor, operations)
    assert seen == [f"caller then operation {index}" for index in range(30)]
    assert tenant.get() == "caller"


def read() -> str:
    return tenant.get()


def overwrite_and_reset() -> str:
    token = tenant.set("for a moment")
    tenant.reset(token)
    return "reset"


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("verb", CONTEXT_VERBS)
def test_nothing_is_left_of_an_operation_where_the_callers_context_was_empty(
    verb: str, workers: int
) -> None:
    operations: list[Callable[[], str]] = [
        read,
        partial(read_and_overwrite, "mine"),
        read,
        overwrite_and_reset,
        partial(read_and_overwrite, "mine as well"),
        read,
    ]
    with BatchExecutor(None, workers) as executor:
        seen = contextvars.Context().run(CONTEXT_VERBS[verb], executor, operations * 10)
    assert (
        seen == ["none", "none then mine", "none", "reset", "none then mine as well", "none"] * 10
    )


def test_a_context_that_somebody_kept_is_not_used_again() -> None:
    kept: list[contextvars.Context] = []

    def keep() -> None:
        kept.extend(each for each in gc.get_objects() if isinstance(each, contextvars.Context))

    with BatchExecutor(None, 1) as executor:
        operations = [read, keep, partial(read_and_overwrite, "later"), keep]
        contextvars.Context().run(executor.execute_batch, operations)
    assert kept
    assert all(context.get(tenant) is None for context in kept)


@pytest.mark.parametrize("empty", [False, True])
def test_handlers_and_operations_see_nothing_of_each_others_variables(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, empty: bool
) -> None:
    seen_by_handler = []

    def emit(_handler: object, _record: object) -> None:
        seen_by_handler.append(tenant.get())
        tenant.set("a handler")

    monkeypatch.setattr(type(caplog.handler), "emit", emit)

    def fail() -> None:
        before = tenant.get()
        tenant.set("an operation")
        raise LookupError(before)

    context = contextvars.Context()
    if not empty:
        context.run(tenant.set, "caller")
    with BatchExecutor(None, 1) as executor:
        report = context.run(executor.run, [fail, read] * 10)
    before = "none" if empty else "caller"
    assert [str(outcome.exception) for outcome in report.failures] == [before] * 10
    assert [outcome.value for outcome in report if outcome.status == "done"] == [before] * 10
    assert "an operation" not in seen_by_handler


@pytest.mark.usefixtures("caller_tenant")
def test_the_context_is_that_of_the_call_and_not_of_later_changes() -> None:
    def operations() -> Iterator[Callable[[], str]]:
        for index in range(20):
            tenant.set(f"changed while reading {index}")
            yield tenant.get

    with BatchExecutor(None, 2) as executor:
        assert executor.execute_batch(operations()) == ["caller"] * 20
        tenant.set("at stream")
        stream = executor.stream([tenant.get] * 20)
        tenant.set("after stream")
        assert {outcome.value for outcome in stream} == {"at stream"}
        gate = threading.Event()
        blocker = [executor.submit(gate.wait, 20) for _ in range(2)]
        tenant.set("at submit")
        future = executor.submit(tenant.get)
        tenant.set("after submit")
        gate.set()
        assert future.result(10) == "at submit"
        assert all(future.result(10) for future in blocker)


def test_a_nested_batch_hands_on_the_context_of_its_operation() -> None:
    with BatchExecutor(None, 2) as executor:

        def parent(name: str) -> list[str]:
            tenant.set(name)
            return executor.execute_batch([tenant.get] * 3)

        names = [f"parent {index}" for index in range(6)]
        seen = executor.execute_batch([partial(parent, name) for name in names])
    assert seen == [[name] * 3 for name in names]


@pytest.mark.parametrize("install", [threading.settrace, threading.setprofile])
def test_trace_and_profile_functions_reach_operations(install: Callable[[Any], None]) -> None:
    called: list[str] = []

    def operation_under_test() -> int:
        return 1

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called.append(frame.f_code.co_name)

    install(watch)
    try:
        with BatchExecutor(None, 2) as executor:
            executor.execute_batch([operation_under_test] * 10)
    finally:
        install(None)
    assert called.count("operation_under_test") == 10


# Nesting and sharing.

NESTED_VERBS: dict[str, Callable[[BatchExecutor, Callable[[], int]], int]] = {
    "execute": lambda executor, child: executor.execute(child),
    "execute_batch": lambda executor, child: sum(executor.execute_batch([child, child])),
    "run": lambda executor, child: sum(executor.run([child, child]).values()),
    "stream": lambda executor, child: sum(
        outcome.value for outcome in executor.stream([child, child])
    ),
    "map": lambda executor, child: sum(executor.map(lambda _: child(), range(2))),
    "submit": lambda executor, child: executor.submit(child).result(),
}


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6, per=1)])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("verb", NESTED_VERBS)
def test_an_operation_may_use_its_own_executor_three_deep(
    verb: str, workers: int, limiter: Any
) -> None:
    with BatchExecutor(limiter, workers) as executor:

        def nest(depth: int) -> int:
            if depth == 0:
                return 1
            return NESTED_VERBS[verb](executor, partial(nest, depth - 1))

        branches = 1 if verb in {"execute", "submit"} else 2
        assert executor.execute_batch([partial(nest, 3)] * 3) == [branches**3] * 3


def test_every_worker_may_nest_at_once() -> None:
    with BatchExecutor(None, 4) as executor:
        all_in = threading.Barrier(4, timeout=20)

        def parent() -> list[int]:
            all_in.wait()
            return executor.execute_batch([partial(int, index) for index in range(20)])

        assert executor.execute_batch([parent] * 4) == [list(range(20))] * 4


def test_threads_share_one_executor_and_its_limit_of_workers() -> None:
    gauge = Gauge()

    def operation(thread: int, index: int) -> tuple[int, int]:
        with gauge.running():
            time.sleep(0.001)
            return thread, index

    with BatchExecutor(None, 3) as executor:
        batches = [
            in_thread(
                partial(
                    executor.execute_batch,
                    [partial(operation, thread, index) for index in range(40)],
                )
            )
            for thread in range(6)
        ]
        for thread, _ in batches:
            thread.join(30)
    for number, (_, box) in enumerate(batches):
        assert box == [[(number, index) for index in range(40)]]
    assert gauge.most == 3


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6, per=1)])
def test_a_small_batch_does_not_wait_for_the_end_of_a_large_one(workers: int, limiter: Any) -> None:
    large_done = 0
    lock = threading.Lock()

    def large_operation() -> None:
        nonlocal large_done
        time.sleep(0.004 * workers)
        with lock:
            large_done += 1

    with BatchExecutor(limiter, workers) as executor:
        large, box = in_thread(partial(executor.run, [large_operation] * 400))
        wait_until(lambda: large_done >= 20)
        executor.execute_batch([int] * 8)
        done_when_small_ended = large_done
        large.join(30)
    assert len(box[0]) == 400
    assert done_when_small_ended < 200


def test_a_single_call_does_not_wait_for_a_batch() -> None:
    with BatchExecutor(None, 2) as executor:
        large, box = in_thread(partial(executor.run, [partial(time.sleep, 0.005)] * 400))
        time.sleep(0.1)
        executor.execute(int)
        assert executor.submit(int).result(10) == 0
        assert box == []
        large.join(30)


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6, per=1)])
def test_racing_batches_keep_their_results_apart(limiter: Any) -> None:
    all_in = threading.Barrier(8, timeout=20)

    def race(executor: BatchExecutor, number: int) -> int:
        all_in.wait()
        wrong = 0
        for round_ in range(25):
            expected = [number * 1000 + round_ + index for index in range(20)]
            wrong += executor.execute_batch([partial(int, value) for value in expected]) != expected
        return wrong

    with eager_thread_switches(), BatchExecutor(limiter, 4) as executor:
        racers = [in_thread(partial(race, executor, number)) for number in range(8)]
        for thread, _ in racers:
            thread.join(50)
    assert [box for _, box in racers] == [[0]] * 8


def test_the_first_use_may_come_from_many_threads_at_once() -> None:
    for _ in range(20):
        all_in = threading.Barrier(6, timeout=20)
        executor = BatchExecutor(None, 2)

        def first_use(
            executor: BatchExecutor = executor, barrier: threading.Barrier = all_in
        ) -> set[threading.Thread]:
            barrier.wait()
            return set(executor.execute_batch([threading.current_thread] * 5))

        with eager_thread_switches():
            users = [in_thread(first_use) for _ in range(6)]
            for thread, _ in users:
                thread.join(20)
        executor.shutdown()
        assert len(set().union(*(box[0] for _, box in users))) <= 2


# The interpreter stays free.


def speed_of_a_python_loop(seconds: float) -> float:
    """Steps a second of a loop in this thread."""
    began = time.perf_counter()
    steps = 0
    while time.perf_counter() - began < seconds:
        for _ in range(1000):
            steps += 1
    return steps / (time.perf_counter() - began)


class Sleepy:
    """A foreign limiter that never grants before a batch of half a second ends."""

    def acquire(self) -> None:
        time.sleep(0.6)


@pytest.mark.parametrize("make", [lambda: RateLimiter(1, per=60), Sleepy])
def test_other_threads_keep_their_speed_while_a_batch_waits_for_permits(
    make: Callable[[], Any],
) -> None:
    kept = []
    with BatchExecutor(make(), 8) as executor:
        # In turns, each compared with the one before it: the machine may slow down for seconds.
        for _ in range(5):
            idle = speed_of_a_python_loop(0.15)
            batch, box = in_thread(partial(executor.run, [int] * 9, timeout=0.5))
            time.sleep(0.1)
            kept.append(speed_of_a_python_loop(0.15) / idle)
            assert box == []
            batch.join(20)
            assert isinstance(box[0], BatchTimeoutError)
    assert statistics.median(kept) > 0.6, kept


def test_other_threads_are_not_held_up_while_a_batch_waits_for_results() -> None:
    with BatchExecutor(None, 4) as executor:
        batch, _ = in_thread(partial(executor.run, [partial(time.sleep, 0.5)] * 4))
        gaps = []
        last = time.perf_counter()
        while batch.is_alive():
            time.sleep(0.001)
            gaps.append(time.perf_counter() - last)
            last = time.perf_counter()
    # A processor shared with others may hold a thread up for a while; a held interpreter lock
    # would do so for the whole of the batch.
    assert sorted(gaps)[len(gaps) // 2] < 0.02
    assert max(gaps) < 0.25
