"""Rounds in which every candidate runs, tables of what they took, and targets held against them.

A shared machine changes its speed by a factor of two and more from one second to the next. So two
candidates are compared round by round, where both meet the same moment, and the median over the
rounds counts: the best of each alone may be those of two different moments.
"""

from __future__ import annotations

import gc
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

Candidate = Callable[[], object]


@dataclass(frozen=True)
class Target:
    """A figure that was measured, beside the bound it has to keep."""

    what: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the bound was kept."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound

    def __str__(self) -> str:
        """One line: met or missed, what, how much, and the bound."""
        mark = "met   " if self.met else "MISSED"
        relation = ">=" if self.at_least else "<="
        return f"  {mark}  {self.what}: {self.measured:.4g} (target {relation} {self.bound:g})"


def seconds_of(candidate: Candidate) -> float:
    """The wall-clock seconds of one call, begun without garbage of others."""
    gc.collect()
    began = time.perf_counter()
    candidate()
    return time.perf_counter() - began


def interleave(candidates: Mapping[str, Candidate], rounds: int) -> dict[str, list[float]]:
    """Seconds of each candidate in each round.

    Every round runs every candidate once, each round beginning with another one, so that a busy
    moment of the machine does not fall on one candidate alone.
    """
    names = list(candidates)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for round_ in range(rounds):
        turn = round_ % len(names)
        for name in names[turn:] + names[:turn]:
            seconds[name].append(seconds_of(candidates[name]))
    return seconds


def ratio(seconds: Mapping[str, list[float]], candidate: str, baseline: str) -> float:
    """How many times as long as ``baseline`` the candidate took: the median over the rounds."""
    pairs = zip(seconds[candidate], seconds[baseline], strict=True)
    return statistics.median(ours / theirs for ours, theirs in pairs)


def best(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """The least seconds of each candidate: what it takes when nobody disturbs it."""
    return {name: min(values) for name, values in seconds.items()}


def print_seconds(seconds: Mapping[str, list[float]], baseline: str, heading: str) -> None:
    """A table of best and median milliseconds, and of the ratio to the baseline."""
    print(f"  {'':36}{'best ms':>11}{'median ms':>11}{heading:>16}")
    for name, values in seconds.items():
        print(
            f"  {name:36}{min(values) * 1e3:11.2f}{statistics.median(values) * 1e3:11.2f}"
            f"{ratio(seconds, name, baseline):16.2f}"
        )


def in_subprocess(script: Path, *arguments: str) -> str:
    """Standard output of a script run in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
