"""A server that refuses for a time: how many calls are made in vain, beside pyarallel.

Both send 100 requests a second from 16 workers. In one row the server is out of order for three
seconds; in the other it allows half of what both were told, and locks out whoever oversteps that.
"""

from __future__ import annotations

import http.client
import statistics
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from loopback import Client, serving
from measuring import Target

from paceline import BatchExecutor, BatchReport, RateLimiter, Retry

try:
    import pyarallel
except ImportError:  # it needs Python 3.12
    pyarallel = None

LIMIT = 100
WORKERS = 16
REQUESTS = 500
OUTAGE = 3.0
ATTEMPTS = 12

Call = Callable[[int], int]


class TooManyRequestsError(Exception):
    """As HTTP clients raise it."""

    status_code = 429

    def __init__(self, headers: http.client.HTTPMessage) -> None:
        super().__init__("429 Too Many Requests")
        self.headers = headers


def refusing_server() -> AbstractContextManager[int]:
    """The port of a server that allows 100 requests a second, until it is told otherwise."""
    return serving(Path(__file__).with_name("refusing_server.py"))


class Run:
    """One run of one candidate: its calls, and when they were refused."""

    def __init__(self, port: int, path: str, outage: bool) -> None:
        self._client = Client(port)
        self._path = path
        self._outage = outage
        self._lock = threading.Lock()
        self._served = 0
        self._port = port
        self.refused_at: list[float] = []

    def call(self, number: int) -> int:
        """One request; in the middle of the run the outage begins."""
        response = self._client.request(self._path)
        response.read()
        if response.status == 429:
            with self._lock:
                self.refused_at.append(time.monotonic())
            raise TooManyRequestsError(response.headers)
        with self._lock:
            self._served += 1
            breaks = self._outage and self._served == REQUESTS // 2
        if breaks:
            Client(self._port).get(f"/outage?seconds={OUTAGE}")
        return number


def with_paceline(call: Call, burst: int | None, default_pause: float | None) -> int:
    """Ours; returns how many pauses there were."""
    retry = Retry(attempts=ATTEMPTS, default_pause=default_pause)
    with BatchExecutor(RateLimiter(LIMIT, per=1, burst=burst), WORKERS, retry=retry) as executor:
        report: BatchReport[int] = executor.run(
            [lambda number=number: call(number) for number in range(REQUESTS)]
        )
    report.raise_for_failures()
    return report.pauses


def with_pyarallel(call: Call) -> int:
    """pyarallel, which pauses its limiter as well; its pauses are not counted."""
    retry = pyarallel.Retry(
        attempts=ATTEMPTS,
        on=(TooManyRequestsError,),
        wait_from=lambda error: float(error.headers.get("Retry-After") or 0) or None,
    )
    limiter = pyarallel.Limiter(pyarallel.RateLimit(LIMIT, "second"))
    results = pyarallel.parallel_map(
        call, range(REQUESTS), workers=WORKERS, rate_limit=limiter, retry=retry
    )
    assert len(list(results)) == REQUESTS
    return 0


def compare(rounds: int, what: str, limit: int, path: str, outage: bool) -> list[Target]:
    """Refusals of both sides, round by round in turn."""
    candidates: dict[str, Callable[[Call], int]] = {
        "paceline": lambda call: with_paceline(call, None, None),
        "paceline, burst=1": lambda call: with_paceline(call, 1, None),
    }
    if pyarallel is not None:
        candidates["pyarallel"] = with_pyarallel
    refusals: dict[str, list[int]] = {name: [] for name in candidates}
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    pauses: dict[str, list[int]] = {name: [] for name in candidates}
    with refusing_server() as port:
        for round_ in range(rounds):
            names = list(candidates)
            turn = round_ % len(names)
            for name in names[turn:] + names[:turn]:
                Client(port).get(f"/reset?limit={limit}")
                run = Run(port, path, outage)
                began = time.monotonic()
                pauses[name].append(candidates[name](run.call))
                seconds[name].append(time.monotonic() - began)
                refusals[name].append(int(Client(port).get(f"/reset?limit={limit}")[1]))
    for name in candidates:
        counts = ", ".join(map(str, refusals[name]))
        episodes = ", ".join(map(str, pauses[name]))
        took = statistics.median(seconds[name])
        told = f"  pauses: {episodes}" if any(pauses[name]) else ""
        print(f"  {what}, {name:24} refusals: {counts:24} median seconds: {took:.2f}{told}")
    per_pause = [
        refused / max(paused, 1)
        for refused, paused in zip(refusals["paceline"], pauses["paceline"], strict=True)
    ]
    targets = [Target(f"{what}: refusals for each pause", statistics.median(per_pause), 3)]
    if pyarallel is None:
        print(f"  pyarallel needs Python 3.12, this is {sys.version.split()[0]}")
        return targets
    theirs = statistics.median(refusals["pyarallel"])
    for name in ("paceline", "paceline, burst=1"):
        ours = statistics.median(refusals[name])
        targets.append(Target(f"{what}: refusals, {name}", ours, theirs))
    return targets


def outage(rounds: int) -> list[Target]:
    """An outage of 3 s in the middle of 500 GETs, 100 a second: requests that are refused."""
    rounds = max(3, rounds)
    asks = compare(rounds, "Retry-After 0.5", 10**6, "/?wait=0.5", True)
    return asks + compare(rounds, "no Retry-After", 10**6, "/", True)


def lockout(rounds: int) -> list[Target]:
    """500 GETs, 100 a second where 50 are allowed, and a second of lock-out: refusals."""
    return compare(max(3, rounds), "told twice too high", LIMIT // 2, "/?wait=1", False)
