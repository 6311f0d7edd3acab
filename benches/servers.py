"""What a permit of a limit on a Redis or Valkey server costs, beside others' limiters there."""

from __future__ import annotations

import datetime as dt
import statistics
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import limits
import pyrate_limiter
import redis
import throttled
from limiters import OURS, Acquire, take_in_threads
from measuring import Candidate, Target, interleave, ratio

from paceline import BatchExecutor, RateLimiter

sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))
import redis_server

# A window that no round fills, so that nobody ever waits.
ROOM = 1_000_000
PER = 10
# So many in a round, of all threads together.
PERMITS = 3200
THREADS = 16
EXECUTOR = "paceline, an executor"


@contextmanager
def on_one_server() -> Iterator[tuple[RateLimiter, dict[str, Acquire]]]:
    """Our limiter, and the call that takes one permit of each library's, all on one server."""
    with redis_server.running() as server:
        socket = f"{server.folder}/s"
        moving_window = limits.strategies.MovingWindowRateLimiter(
            limits.storage.RedisStorage(f"redis+unix://{socket}")
        )
        throttle = throttled.Throttled(
            key="bench",
            using=throttled.RateLimiterType.GCRA.value,
            quota=throttled.per_duration(dt.timedelta(seconds=PER), ROOM, burst=ROOM),
            store=throttled.RedisStore(server=f"unix://{socket}"),
        )
        bucket = pyrate_limiter.RedisBucket.init(
            [pyrate_limiter.Rate(ROOM, PER * 1000)],
            redis.Redis(unix_socket_path=socket),
            "bench",
        )
        item = limits.RateLimitItemPerSecond(ROOM, PER)
        limiter = RateLimiter(ROOM, per=PER, shared=server.address("bench"))
        takes: dict[str, Acquire] = {
            OURS: limiter.acquire,
            "pyrate_limiter": partial(pyrate_limiter.Limiter(bucket).try_acquire, "bench"),
            "limits, moving window": partial(moving_window.hit, item, "bench"),
            "throttled-py, gcra": throttle.limit,
        }
        yield limiter, takes


def run_batch(limiter: RateLimiter) -> None:
    """Start that many operations that do nothing, by as many workers."""
    with BatchExecutor(limiter, max_workers=THREADS) as executor:
        executor.execute_batch([int] * PERMITS)


def shared_server(rounds: int) -> list[Target]:
    """One permit of a limit on a Redis or Valkey server, with 1 thread and 16 after it."""
    if redis_server.find() is None:
        print("  there is no redis-server and no valkey-server")
        return []
    targets = []
    for threads in (1, THREADS):
        with on_one_server() as (limiter, takes):
            candidates: dict[str, Candidate] = {
                name: partial(take_in_threads, acquire, PERMITS, threads)
                for name, acquire in takes.items()
            }
            ours = [OURS]
            if threads > 1:
                candidates[EXECUTOR] = partial(run_batch, limiter)
                ours.append(EXECUTOR)
            for candidate in candidates.values():
                candidate()
            seconds = interleave(candidates, rounds)
        who = "1 thread" if threads == 1 else f"{threads} threads"
        for name, values in seconds.items():
            value = PERMITS / statistics.median(values)
            print(f"  {name + ', ' + who:36}{value:10,.0f} permits a second")
        for name in ours:
            more = {other: ratio(seconds, other, name) for other in takes if other != OURS}
            best = min(more, key=lambda other: more[other])
            what = f"permits of {name}, {who}, times {best}'s"
            targets.append(Target(what, more[best], 3, at_least=True))
    return targets
