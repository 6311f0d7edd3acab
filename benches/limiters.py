"""What a permit costs, alone and contended, and how even a pace is."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import limits
import pyrate_limiter
import ratelimit
import throttled
from measuring import Target, interleave, ratio

from paceline import BatchExecutor, RateLimiter

ROOM = 10**9
PERMITS = 2_000
OURS = "paceline"

Acquire = Callable[[], object]


def fresh_limiters() -> dict[str, Acquire]:
    """The call that takes one permit, for each library, from a limiter that never has to wait."""
    moving_window = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())
    item = limits.RateLimitItemPerSecond(ROOM)
    throttle = throttled.Throttled(
        key="bench",
        using=throttled.RateLimiterType.GCRA.value,
        quota=throttled.per_sec(ROOM, burst=ROOM),
        store=throttled.MemoryStore(),
    )
    bucket = pyrate_limiter.InMemoryBucket([pyrate_limiter.Rate(ROOM, 1000)])

    @ratelimit.sleep_and_retry
    @ratelimit.limits(calls=ROOM, period=1)
    def decorated() -> None:
        """Do nothing: the decorator is what is measured."""

    return {
        OURS: RateLimiter(ROOM, per=1).acquire,
        "ratelimit": decorated,
        "pyrate_limiter": partial(pyrate_limiter.Limiter(bucket).try_acquire, "bench"),
        "limits, moving window": partial(moving_window.hit, item, "bench"),
        "throttled-py, gcra": throttle.limit,
    }


def take(acquire: Acquire, permits: int) -> None:
    """Take that many permits, one after the other."""
    for _ in range(permits):
        acquire()


def take_in_threads(acquire: Acquire, permits: int, threads: int) -> None:
    """Take that many permits, shared out among threads that begin together."""
    together = threading.Barrier(threads + 1)

    def work() -> None:
        together.wait()
        take(acquire, permits // threads)

    workers = [threading.Thread(target=work) for _ in range(threads)]
    for worker in workers:
        worker.start()
    together.wait()
    for worker in workers:
        worker.join()


def acquire_cost(rounds: int) -> list[Target]:
    """One uncontended permit, beside the other libraries."""
    seconds = interleave(
        {name: partial(take, acquire, PERMITS) for name, acquire in fresh_limiters().items()},
        rounds,
    )
    for name, values in seconds.items():
        value = statistics.median(values)
        print(f"  {name:36}{1e6 * value / PERMITS:10.3f} us a permit")
    cost = {name: ratio(seconds, OURS, name) for name in seconds if name != OURS}
    cheapest = max(cost, key=lambda name: cost[name])
    return [Target(f"one permit, of {cheapest}'s", cost[cheapest], 0.25)]


def acquire_contended(rounds: int) -> list[Target]:
    """One permit with 8 threads after it, beside one thread alone."""
    permits = 80_000
    limiter = RateLimiter(ROOM, per=1)
    seconds = interleave(
        {
            "1 thread": partial(take_in_threads, limiter.acquire, permits, 1),
            "8 threads": partial(take_in_threads, limiter.acquire, permits, 8),
        },
        rounds,
    )
    for name, values in seconds.items():
        value = statistics.median(values)
        print(f"  {name:36}{1e6 * value / permits:10.3f} us a permit")
    cost = ratio(seconds, "8 threads", "1 thread")
    return [Target("one permit among 8 threads, times alone", cost, 2)]


def evenness(starts: list[float], rate: int) -> tuple[float, float]:
    """Share of the rate that was achieved, and of intervals within 1 ms of the ideal."""
    intervals = [later - earlier for earlier, later in pairwise(starts)]
    even = sum(abs(interval - 1 / rate) <= 1e-3 for interval in intervals) / len(intervals)
    return len(intervals) / (starts[-1] - starts[0]) / rate, even


def pace(rate: int, seconds: float) -> tuple[list[float], float]:
    """When operations started at ``rate`` a second, and the share of a core that it took."""
    starts: list[float] = []
    limiter = RateLimiter(rate, per=1, burst=1, margin=0)
    with BatchExecutor(limiter, 4) as executor:
        executor.execute(int)
        time.sleep(2 / rate)
        processor = time.process_time()
        executor.execute_batch([lambda: starts.append(time.monotonic())] * round(rate * seconds))
        processor = time.process_time() - processor
    return starts, processor / (starts[-1] - starts[0])


def pace_of_the_machine(rate: int, seconds: float) -> list[float]:
    """The same by sleeping until absolute deadlines: as even as this machine wakes its threads."""
    starts = []
    due = time.monotonic()
    for _ in range(round(rate * seconds)):
        time.sleep(max(0.0, due - time.monotonic()))
        starts.append(time.monotonic())
        due += 1 / rate
    return starts


def paced(rounds: int) -> list[Target]:
    """50 and 1,000 starts a second, evenly spaced."""
    targets = []
    for rate, length in ((50, 10.0), (1000, 4.0)):
        # By turns: what disturbs a machine every second would meet all starts of a run, or none.
        machine, ours, cores = [], [], []
        for _ in range(rounds):
            machine.append(evenness(pace_of_the_machine(rate, length / rounds), rate))
            starts, core = pace(rate, length / rounds)
            ours.append(evenness(starts, rate))
            cores.append(core)
        _, as_machine = map(statistics.mean, zip(*machine, strict=True))
        achieved, even = map(statistics.mean, zip(*ours, strict=True))
        core = statistics.mean(cores)
        print(
            f"  {rate:5} a second: {achieved:.4f} of the rate, {even:.2%} of intervals within "
            f"1 ms (plain sleeps here: {as_machine:.2%}), {core:.2%} of a core"
        )
        targets += [
            Target(f"{rate} a second, share of the rate", achieved, 0.985, at_least=True),
            Target(f"{rate} a second, intervals within 1 ms", even, 0.99, at_least=True),
        ]
        if rate == 50:
            targets.append(Target(f"{rate} a second, share of a core", core, 0.03))
    return targets
