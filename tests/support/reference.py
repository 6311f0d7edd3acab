"""What this machine manages at the moment, for tests that measure time to compare with."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# Sleeps in steps of 5 ms until its input ends, and tells by how many seconds it woke late in all.
_SLEEPER = """
import select, sys, time
late = 0.0
print("ready", flush=True)
while True:
    due = time.monotonic() + 0.005
    ended, _, _ = select.select([sys.stdin], [], [], 0.005)
    if ended:
        break
    late += time.monotonic() - due
print(late)
"""


class Lateness:
    """By how many seconds a process that only sleeps woke late meanwhile."""

    seconds = 0.0


@contextmanager
def lateness() -> Iterator[Lateness]:
    """Measure how late this machine wakes a process that only sleeps, beside the block."""
    measured = Lateness()
    with subprocess.Popen(
        [sys.executable, "-c", _SLEEPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield measured
        finally:
            measured.seconds = float(process.communicate("", timeout=30)[0])


def plain_pace(rate: float, steps: int) -> float:
    """Return the steps a second of plain sleeps that keep this rate as a metronome does.

    A step that is more than a millisecond late is not made up for.
    """
    interval = 1 / rate
    began = due = time.monotonic()
    for _ in range(steps):
        due += interval
        time.sleep(max(0.0, due - time.monotonic()))
        now = time.monotonic()
        if now - due > 0.001:
            due = now
    return steps / (time.monotonic() - began)
