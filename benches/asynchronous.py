"""Batches and permits in asyncio, beside what limits there."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise

import aiolimiter
import aiometer
import throttled.asyncio
from measuring import Target, interleave, ratio

from paceline import AsyncBatchExecutor, RateLimiter

ROOM = 10**9
CALLS = 5_000
AT_ONCE = 100
OURS = "paceline"


async def nothing() -> None:
    """Do nothing."""


async def gathered() -> None:
    """All at once behind a semaphore: no limit, no outcomes, no report."""
    slots = asyncio.Semaphore(AT_ONCE)

    async def one() -> None:
        async with slots:
            await nothing()

    await asyncio.gather(*(one() for _ in range(CALLS)))


async def by_aiolimiter() -> None:
    """The same, with a leaky bucket that never leaks too slowly."""
    slots, limiter = asyncio.Semaphore(AT_ONCE), aiolimiter.AsyncLimiter(ROOM, 1)

    async def one() -> None:
        async with slots, limiter:
            await nothing()

    await asyncio.gather(*(one() for _ in range(CALLS)))


async def by_aiometer() -> None:
    """Its own runner."""
    await aiometer.run_all([nothing] * CALLS, max_at_once=AT_ONCE, max_per_second=ROOM)


async def by_throttled() -> None:
    """The same, with throttled-py's GCRA."""
    slots = asyncio.Semaphore(AT_ONCE)
    throttle = throttled.asyncio.Throttled(
        key="bench",
        using=throttled.asyncio.RateLimiterType.GCRA.value,
        quota=throttled.asyncio.per_sec(ROOM, burst=ROOM),
        store=throttled.asyncio.MemoryStore(),
    )

    async def one() -> None:
        async with slots:
            await throttle.limit()
            await nothing()

    await asyncio.gather(*(one() for _ in range(CALLS)))


async def ours() -> None:
    """A batch with a limit, outcomes and a report."""
    executor = AsyncBatchExecutor(RateLimiter(ROOM, per=1), max_at_once=AT_ONCE)
    await executor.run([nothing] * CALLS)


def _run(main: Callable[[], Awaitable[None]]) -> None:
    async def within() -> None:
        await main()

    asyncio.run(within())


def async_batch(rounds: int) -> list[Target]:
    """5,000 coroutines that do nothing, 100 at once, in asyncio."""
    candidates = {
        OURS: ours,
        "gather with a semaphore": gathered,
        "gather with aiolimiter": by_aiolimiter,
        "aiometer": by_aiometer,
        "gather with throttled-py": by_throttled,
    }
    seconds = interleave({name: partial(_run, main) for name, main in candidates.items()}, rounds)
    for name, values in seconds.items():
        print(f"  {name:36}{statistics.median(values) * 1e3:10.2f} ms")
    fastest = min(
        (name for name in seconds if name not in (OURS, "gather with a semaphore")),
        key=lambda name: statistics.median(seconds[name]),
    )
    return [
        Target(
            "a batch, of gather with a semaphore",
            ratio(seconds, OURS, "gather with a semaphore"),
            1,
        ),
        Target(f"{fastest}'s time, times ours", ratio(seconds, fastest, OURS), 2, at_least=True),
    ]


async def _take(permits: int) -> None:
    limiter = RateLimiter(ROOM, per=1)
    for _ in range(permits):
        await limiter.acquire_async()


async def _take_by_aiolimiter(permits: int) -> None:
    limiter = aiolimiter.AsyncLimiter(ROOM, 1)
    for _ in range(permits):
        await limiter.acquire()


async def _starts(rate: int, count: int) -> list[float]:
    limiter = RateLimiter(rate, per=1, burst=1, margin=0)
    clock, starts = asyncio.get_running_loop().time, []
    for _ in range(count):
        await limiter.acquire_async()
        starts.append(clock())
    return starts


def async_permits(rounds: int) -> list[Target]:
    """One awaited permit that does not wait, and an even pace of 50 and of 1,000 a second."""
    permits = 20_000
    seconds = interleave(
        {
            OURS: lambda: asyncio.run(_take(permits)),
            "aiolimiter": lambda: asyncio.run(_take_by_aiolimiter(permits)),
        },
        rounds,
    )
    for name, values in seconds.items():
        print(f"  {name:36}{1e6 * statistics.median(values) / permits:10.3f} us a permit")
    targets = [
        Target("us for an awaited permit", 1e6 * statistics.median(seconds[OURS]) / permits, 5)
    ]
    for rate in (50, 1_000):
        reached = []
        for _ in range(rounds):
            starts = asyncio.run(_starts(rate, 2 * rate))
            steps = [later - start for start, later in pairwise(starts)]
            reached.append(1 / (statistics.mean(steps) * rate))
        print(f"  {rate} a second: {min(reached):.4f} to {max(reached):.4f} of the rate")
        share = statistics.median(reached)
        targets.append(Target(f"{rate} a second, of the rate", share, 0.985, at_least=True))
    return targets
