"""A server that counts arrivals exactly: refusals and time, by what the margin is.

400 GETs by 16 workers, 100 in any second, where a second of lock-out follows an overstep. On the
way to the server each call is held up for a random time, or opens a connection of its own, or the
whole program is a new one whose first calls open the connections.
"""

from __future__ import annotations

import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx
from loopback import LIMIT, PER, WORKERS, Client
from measuring import Target, in_subprocess
from refusals import refusing_server

from paceline import BatchExecutor, RateLimiter

REQUESTS = 400
DEFAULT = "default"
# The least of them by which a server refuses nothing is what the default is held against.
FIXED = (0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.06)
"""Seconds."""


@dataclass
class Runs:
    """Of one margin: the refusals of each run, and its seconds."""

    refused: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def safe(self) -> bool:
        """Whether no run was refused anything."""
        return not any(self.refused)


def late(port: int, margin: float | None, delay: float, *, anew: bool = False) -> float:
    """Run with calls that are up to ``delay`` seconds late; return its seconds."""
    shared, chance = Client(port), random.Random(0)

    def call(held_up: float) -> int:
        time.sleep(held_up)
        return (Client(port) if anew else shared).get()[0]

    operations = [partial(call, chance.uniform(0, delay)) for _ in range(REQUESTS)]
    began = time.monotonic()
    with BatchExecutor(RateLimiter(LIMIT, per=PER, margin=margin), WORKERS) as executor:
        executor.run(operations).raise_for_failures()
    return time.monotonic() - began


def new_program(port: int, margin: float | None) -> float:
    """Run in a program of its own, with one ``httpx`` client; return its seconds."""
    return float(in_subprocess(Path(__file__), str(port), str(margin)))


def with_httpx(port: int, margin: float | None) -> float:
    """What the new program does."""
    with (
        httpx.Client(trust_env=False) as client,
        BatchExecutor(RateLimiter(LIMIT, per=PER, margin=margin), WORKERS) as executor,
    ):
        began = time.monotonic()
        executor.run([partial(client.get, f"http://127.0.0.1:{port}/")] * REQUESTS)
        return time.monotonic() - began


WORLDS: dict[str, Callable[[int, float | None], float]] = {
    "0 to 20 ms on the way": partial(late, delay=0.02),
    "0 to 50 ms on the way": partial(late, delay=0.05),
    "a new connection for each": partial(late, delay=0.0, anew=True),
    "a new program with httpx": new_program,
}


def compare(world: str, run: Callable[[int, float | None], float], rounds: int) -> list[Target]:
    """Run with each margin by turns; those that are fixed five times each."""
    margins: dict[str, float | None] = {DEFAULT: None}
    margins |= {f"margin={margin:g}": margin for margin in FIXED}
    runs = {name: Runs() for name in margins}
    with refusing_server() as port:
        for round_ in range(rounds):
            for name, margin in margins.items():
                if name == DEFAULT or round_ < 5:
                    Client(port).get("/reset")
                    runs[name].seconds.append(run(port, margin))
                    runs[name].refused.append(int(Client(port).get("/reset")[1]))
    for name, of_it in runs.items():
        refused = ", ".join(map(str, of_it.refused))
        median = statistics.median(of_it.seconds)
        print(f"  {world}, {name:12} seconds: {median:.3f}  429s: {refused}")
    default = runs.pop(DEFAULT)
    safe = [statistics.median(fixed.seconds) for fixed in runs.values() if fixed.safe]
    targets = [Target(f"{world}: 429s in {rounds} runs", sum(default.refused), 0)]
    if safe:
        beside = statistics.median(default.seconds) / min(safe)
        targets.append(Target(f"{world}: time, of the least safe margin", beside, 1.03))
    return targets


def arrivals(rounds: int) -> list[Target]:
    """400 GETs, 100 in any second as the server counts: 429s and time, by the margin."""
    return [
        target for world, run in WORLDS.items() for target in compare(world, run, max(5, rounds))
    ]


if __name__ == "__main__":
    given = None if sys.argv[2] == "None" else float(sys.argv[2])
    print(with_httpx(int(sys.argv[1]), given))
