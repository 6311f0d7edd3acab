"""What a batch costs beyond its operations."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

from measuring import Target, best, interleave, print_seconds, ratio, seconds_of
from rivals import Unlimited, plain_loop, pool_map, shared_iterator, submit_then_collect

from paceline import BatchExecutor, RateLimiter, Retry

LOOP = "plain loop"
NATIVE = "paceline, native limiter"
UNLIMITED = "paceline, no limiter"
COLD = "paceline, made and shut down each time"
SUBMIT = "ThreadPoolExecutor, submit"
MAP = "ThreadPoolExecutor, map"
SHARED = "threads around one iterator"


def never_waits() -> RateLimiter:
    """A native limiter with room for more than any row takes."""
    return RateLimiter(10**9, per=1)


def nothing() -> None:
    """Do nothing."""


def retry_cost(rounds: int) -> list[Target]:
    """20,000 operations that do nothing, with a retry policy that nothing needs."""
    operations = [nothing] * 20_000
    with (
        BatchExecutor(never_waits(), 5) as plain,
        BatchExecutor(never_waits(), 5, retry=Retry()) as retrying,
    ):
        candidates = {
            "without retry": partial(plain.execute_batch, operations),
            "with retry": partial(retrying.execute_batch, operations),
        }
        seconds = interleave(candidates, 40 * rounds)
    print_seconds(seconds, "without retry", "times without")
    cost = ratio(seconds, "with retry", "without retry")
    return [Target("batch with a retry policy, times one without", cost, 1.03)]


def _with_another_limiter(operations: list[Callable[[], object]], workers: int) -> None:
    with BatchExecutor(Unlimited(), workers) as executor:
        executor.execute_batch(operations)


def other_limiter(rounds: int) -> list[Target]:
    """5,000 operations that do nothing, with a limiter that is not ours; 1, 2, 5 and 32 workers."""
    operations: list[Callable[[], object]] = [nothing] * 5_000
    targets = []
    for workers, most in ((1, 1.0), (2, 0.6), (5, 0.3), (32, 0.12)):
        candidates = {
            SUBMIT: partial(submit_then_collect, operations, workers),
            "paceline": partial(_with_another_limiter, operations, workers),
        }
        seconds = interleave(candidates, 2 * rounds)
        print(f"  {workers} workers")
        print_seconds(seconds, SUBMIT, "times ThreadPoolExecutor")
        cost = ratio(seconds, "paceline", SUBMIT)
        targets.append(Target(f"another limiter, {workers} workers, of {SUBMIT}", cost, most))
    return targets


def spin(steps: int) -> None:
    """Keep the interpreter busy."""
    for _ in range(steps):
        pass


def steps_of(seconds: float) -> int:
    """How many steps of ``spin`` take that long here, called as the row calls it."""
    steps = 500
    for _ in range(3):
        operations = [partial(spin, steps)] * 200
        fastest = min(seconds_of(partial(plain_loop, operations)) for _ in range(15)) / 200
        steps = max(1, round(steps * seconds / fastest))
    return steps


def _cold(operations: list[partial[None]] | list[object], workers: int) -> None:
    with BatchExecutor(never_waits(), workers) as executor:
        executor.execute_batch(operations)  # type: ignore[arg-type]


def no_operations_cost_nothing(workers: int, rounds: int) -> list[Target]:
    """20,000 operations that do nothing."""
    operations = [nothing] * 20_000
    with (
        BatchExecutor(never_waits(), workers) as native,
        BatchExecutor(None, workers) as unlimited,
    ):
        native.execute_batch(operations)
        unlimited.execute_batch(operations)
        seconds = interleave(
            {
                LOOP: partial(plain_loop, operations),
                NATIVE: partial(native.execute_batch, operations),
                UNLIMITED: partial(unlimited.execute_batch, operations),
                COLD: partial(_cold, operations, workers),
                SHARED: partial(shared_iterator, operations, workers),
                SUBMIT: partial(submit_then_collect, operations, workers),
                MAP: partial(pool_map, operations, workers),
            },
            # A fraction of a millisecond is soon disturbed.
            3 * rounds,
        )
    print_seconds(seconds, LOOP, "times the loop")
    return [
        Target(f"{NATIVE}, {workers} workers, times the loop", ratio(seconds, NATIVE, LOOP), 6),
        Target(
            f"native limiter, {workers} workers, of {SUBMIT}",
            ratio(seconds, NATIVE, SUBMIT),
            1 / 80,
        ),
    ]


def noop_5(rounds: int) -> list[Target]:
    """20,000 operations that do nothing, 5 workers."""
    return no_operations_cost_nothing(5, rounds)


def noop_32(rounds: int) -> list[Target]:
    """20,000 operations that do nothing, 32 workers."""
    return no_operations_cost_nothing(32, rounds)


def python_work(rounds: int) -> list[Target]:
    """20,000 operations of 20 us of Python work each, 8 workers."""
    workers = 8
    operations = [partial(spin, steps_of(20e-6))] * 20_000
    with (
        BatchExecutor(never_waits(), workers) as native,
        BatchExecutor(None, workers) as unlimited,
    ):
        native.execute_batch(operations[:100])
        unlimited.execute_batch(operations[:100])
        seconds = interleave(
            {
                LOOP: partial(plain_loop, operations),
                NATIVE: partial(native.execute_batch, operations),
                UNLIMITED: partial(unlimited.execute_batch, operations),
                SHARED: partial(shared_iterator, operations, workers),
                SUBMIT: partial(submit_then_collect, operations, workers),
                MAP: partial(pool_map, operations, workers),
            },
            3 * rounds,
        )
    print_seconds(seconds, LOOP, "times the loop")
    return [Target("native limiter, times the loop", ratio(seconds, NATIVE, LOOP), 1.1)]


def sleeps(count: int, duration: float, workers: int, bound: float, rounds: int) -> list[Target]:
    """``count`` sleeps of ``duration`` seconds on ``workers`` workers, against the ideal."""
    operations = [partial(time.sleep, duration)] * count
    ideal = count * duration / workers
    with (
        BatchExecutor(never_waits(), workers) as native,
        BatchExecutor(None, workers) as unlimited,
    ):
        native.execute_batch(operations)
        unlimited.execute_batch(operations)
        seconds = interleave(
            {
                NATIVE: partial(native.execute_batch, operations),
                UNLIMITED: partial(unlimited.execute_batch, operations),
                SHARED: partial(shared_iterator, operations, workers),
                SUBMIT: partial(submit_then_collect, operations, workers),
                MAP: partial(pool_map, operations, workers),
            },
            rounds,
        )
    seconds["the ideal"] = [ideal] * rounds
    print_seconds(seconds, "the ideal", "times the ideal")
    # The ideal knows no slow moments.
    of_ideal = ideal / best(seconds)[NATIVE]
    return [Target(f"native limiter, {workers} workers, of the ideal", of_ideal, bound, True)]


def sleep_50(rounds: int) -> list[Target]:
    """2,000 sleeps of 10 ms, 50 workers."""
    return sleeps(2_000, 0.010, 50, 0.95, rounds)


def sleep_500(rounds: int) -> list[Target]:
    """5,000 sleeps of 5 ms, 500 workers."""
    return sleeps(5_000, 0.005, 500, 0.22, rounds)
