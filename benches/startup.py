"""What it takes to begin: importing the package, and making an executor for a single operation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from statistics import median

from measuring import Target, interleave, print_seconds, ratio

from paceline import BatchExecutor, RateLimiter, Retry

NOTHING = "pass"
RIVAL = "import concurrent.futures.thread"
OURS = "from paceline import BatchExecutor"
WITH_RETRY = "from paceline import Retry"
# What the package cannot do without, as its annotations can be read at run time.
LEAST = f"{RIVAL}, typing, datetime"

POOL = "ThreadPoolExecutor"
FRESH = "paceline"
FRESH_RETRY = "paceline, with a retry policy"
MADE = 100


def importing(rounds: int) -> list[Target]:
    """Import the package in a fresh interpreter, beside what imports an executor of Python's."""
    scripts = (NOTHING, RIVAL, LEAST, OURS, WITH_RETRY)
    # Isolated, so that no variable keeps Python from writing what it has compiled.
    run = partial(subprocess.run, check=True)
    candidates = {script: partial(run, [sys.executable, "-I", "-c", script]) for script in scripts}
    for candidate in candidates.values():
        candidate()
    seconds = interleave(candidates, 8 * rounds)
    print_seconds(seconds, NOTHING, "times nothing")
    # Of medians: the differences of single rounds may be next to nothing.
    beyond = {name: median(seconds[name]) - median(seconds[NOTHING]) for name in scripts}
    print("  beyond Python itself, times the rival")
    for name in scripts[1:]:
        print(f"  {name:60}{beyond[name] / beyond[RIVAL]:8.2f}")
    return [Target("importing, beyond Python itself", beyond[OURS] / beyond[RIVAL], 1.8)]


def nothing() -> None:
    """Do nothing."""


def _with_pool() -> None:
    for _ in range(MADE):
        with ThreadPoolExecutor(5) as executor:
            executor.submit(nothing).result()


def _with_ours(make: Callable[[], BatchExecutor]) -> None:
    for _ in range(MADE):
        with make() as executor:
            executor.submit(nothing).result()


def fresh(rounds: int) -> list[Target]:
    """Make an executor, have it do one call that does nothing, and shut it down; 100 times."""
    limiter = RateLimiter(10**9, per=1)
    policy = Retry()
    seconds = interleave(
        {
            POOL: _with_pool,
            FRESH: partial(_with_ours, lambda: BatchExecutor(limiter)),
            FRESH_RETRY: partial(_with_ours, lambda: BatchExecutor(limiter, retry=policy)),
        },
        4 * rounds,
    )
    print_seconds(seconds, POOL, "times the pool")
    return [Target(f"a fresh executor, times a {POOL}", ratio(seconds, FRESH, POOL), 2)]
