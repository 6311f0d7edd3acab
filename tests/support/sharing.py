"""Processes that share a limit, killed and stopped at random, and what they started when."""

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

# Starts operations until it is killed, and writes down when each of them starts: one line of the
# clock that all processes read alike, appended in one go.
WORKER = """
import os, sys, time
from paceline import BatchExecutor, RateLimiter
shared, limit, per, burst, workers, log, seconds = eval(sys.argv[1])
limiter = RateLimiter(limit, per=per, burst=burst, shared=shared)
log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def operation():
    os.write(log, b"%d %d\\n" % (time.monotonic_ns(), os.getpid()))
    time.sleep(0.002)
def operations(until):
    while time.monotonic() < until:
        yield operation
executor = BatchExecutor(limiter, max_workers=workers)
for outcome in executor.stream(operations(time.monotonic() + seconds)):
    outcome.result()
print("done")
"""


class Workers:
    """Processes of one limit."""

    def __init__(
        self, shared: object, limit: int, per: float, *, burst: int | None = None, log: Path
    ) -> None:
        self.settings = (shared, limit, per, burst)
        self.limit, self.per, self.log = limit, per, log
        self.processes: list[subprocess.Popen[str]] = []

    def start(self, count: int, *, workers: int = 4, seconds: float = 3600) -> None:
        for _ in range(count):
            arguments = repr((*self.settings, workers, str(self.log), seconds))
            self.processes.append(
                subprocess.Popen(
                    [sys.executable, "-c", WORKER, arguments],
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )

    def disturb(self, seconds: float, every: float, chance: random.Random) -> tuple[int, int]:
        """Kills one and starts another, or stops one for a while, again and again."""
        killed = stopped = 0
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(every * chance.uniform(0.5, 1.5))
            victim = chance.choice(self.processes)
            if chance.random() < 0.5:
                victim.kill()
                victim.communicate()
                self.processes.remove(victim)
                self.start(1)
                killed += 1
            else:
                victim.send_signal(signal.SIGSTOP)
                time.sleep(every * chance.uniform(0.1, 0.6))
                victim.send_signal(signal.SIGCONT)
                stopped += 1
        return killed, stopped

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.communicate()

    def starts(self) -> list[int]:
        """When operations started, in nanoseconds, of all processes."""
        lines = self.log.read_text().splitlines()
        return sorted(int(line.split()[0]) for line in lines)


@contextmanager
def sharing(
    shared: object, limit: int, per: float, *, log: Path, burst: int | None = None
) -> Iterator[Workers]:
    workers = Workers(shared, limit, per, burst=burst, log=log)
    try:
        yield workers
    finally:
        workers.end()


def fullest_window(starts: list[int], per: float) -> int:
    """The most starts in any window of so many seconds."""
    length, first, most = int(per * 1e9), 0, 0
    for last, start in enumerate(starts):
        while start - starts[first] >= length:
            first += 1
        most = max(most, last - first + 1)
    return most


def rate_reached(starts: list[int], seconds: float) -> float:
    """Starts a second in the last so many seconds."""
    end = starts[-1]
    return sum(end - start <= seconds * 1e9 for start in starts) / seconds


class Other:
    """Another process that evaluates what it is told, one expression after the other.

    Its limiter is `limiter`, and `paceline` and `time` are imported.
    """

    PROGRAM = """
import os, sys, time, paceline
limiter = paceline.RateLimiter(**eval(sys.argv[1]))
print("ready", flush=True)
for line in sys.stdin:
    print(repr(eval(line)), flush=True)
"""

    def __init__(self, **settings: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.PROGRAM, repr(settings)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.answer() == "ready"

    def ask(self, expression: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()

    def answer(self) -> str:
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def tell(self, expression: str) -> str:
        self.ask(expression)
        return self.answer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()
