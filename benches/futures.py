"""What a submitted call costs, beside a ``ThreadPoolExecutor``'s."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor, wait
from functools import partial

from measuring import Target, interleave, print_seconds, ratio

from paceline import BatchExecutor, RateLimiter

WORKERS = 5
CALLS = 5_000
RIVAL = "ThreadPoolExecutor"
OURS = "paceline, native limiter"


def nothing() -> None:
    """Do nothing."""


def all_at_once(executor: Executor) -> None:
    """Submit all, then wait for all."""
    wait([executor.submit(nothing) for _ in range(CALLS)])


def one_by_one(executor: Executor) -> None:
    """Submit one, and wait for its result before the next."""
    for _ in range(CALLS):
        executor.submit(nothing).result()


def from_asyncio(executor: Executor) -> None:
    """Await all in an event loop."""

    async def gather() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(executor, nothing) for _ in range(CALLS)))

    asyncio.run(gather())


SHAPES: dict[str, Callable[[Executor], None]] = {
    "submitted all at once": all_at_once,
    "submitted one by one": one_by_one,
    "awaited in asyncio": from_asyncio,
}


def submitted(rounds: int) -> list[Target]:
    """5,000 submitted calls that do nothing."""
    targets = []
    with (
        ThreadPoolExecutor(WORKERS) as rival,
        BatchExecutor(RateLimiter(10**9, per=1), WORKERS) as ours,
    ):
        for name, shape in SHAPES.items():
            candidates = {RIVAL: partial(shape, rival), OURS: partial(shape, ours)}
            seconds = interleave(candidates, 6 * rounds)
            print(f"  {name}")
            print_seconds(seconds, RIVAL, "times the first")
            times = ratio(seconds, OURS, RIVAL)
            targets.append(Target(f"calls {name}, times {RIVAL}", times, 1.1))
    return targets
