"""GET requests against a server that allows so many arrivals in any second."""

from __future__ import annotations

import http.client
import math
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import limits
import pyrate_limiter
import ratelimit
import throttled
from measuring import Target

from paceline import BatchExecutor, RateLimiter

REQUESTS = 500
WORKERS = 16
LIMIT = 100
PER = 1.0
LATENCY = 0.020

# The first 100 at once, 100 in each second after it, and the time that the workers need for the
# last hundred.
LEAST = (REQUESTS / LIMIT - 1) * PER + math.ceil(LIMIT / WORKERS) * LATENCY

Get = Callable[[], int]


def window_server() -> AbstractContextManager[int]:
    """The port of a server in a process of its own."""
    return serving(Path(__file__).with_name("window_server.py"))


@contextmanager
def serving(script: Path) -> Iterator[int]:
    """The port of a server that a script runs in a process of its own."""
    process = subprocess.Popen(
        [sys.executable, str(script), str(LIMIT), str(PER), str(LATENCY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdin is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.stdin.close()
        process.wait(10)


class Client:
    """One kept connection per thread."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._local = threading.local()

    def request(self, path: str) -> http.client.HTTPResponse:
        """The answer to one GET; its body is to be read before the next."""
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            self._local.connection = connection
        connection.request("GET", path)
        return connection.getresponse()

    def get(self, path: str = "/") -> tuple[int, bytes]:
        """The status and the body of one GET."""
        response = self.request(path)
        return response.status, response.read()

    def status(self) -> int:
        """The status of one GET, with the connection closed when its thread ends."""
        return self.get()[0]


def with_paceline(get: Get) -> None:
    """Ours."""
    with BatchExecutor(RateLimiter(LIMIT, per=PER), WORKERS) as executor:
        executor.run([get] * REQUESTS).raise_for_failures()


def in_pool(acquire: Callable[[], object], get: Get) -> None:
    """A ThreadPoolExecutor whose operations wait for the limiter before they call."""

    def operation(_: int) -> int:
        acquire()
        return get()

    with ThreadPoolExecutor(WORKERS) as executor:
        list(executor.map(operation, range(REQUESTS)))


def with_pyrate(get: Get) -> None:
    """PyrateLimiter."""
    limiter = pyrate_limiter.Limiter(pyrate_limiter.Rate(LIMIT, int(PER * 1000)))
    in_pool(lambda: limiter.try_acquire("bench"), get)


def with_limits(get: Get) -> None:
    """Limits, asked again when it says so: it has no waiting acquire."""
    strategy = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())
    item = limits.RateLimitItemPerSecond(LIMIT)

    def acquire() -> None:
        while not strategy.hit(item, "bench"):
            reset = strategy.get_window_stats(item, "bench").reset_time
            time.sleep(max(reset - time.time(), 0.001))

    in_pool(acquire, get)


def with_ratelimit(get: Get) -> None:
    """Ratelimit, with the sleeping decorator it comes with."""
    decorated = ratelimit.sleep_and_retry(ratelimit.limits(calls=LIMIT, period=PER)(get))
    in_pool(lambda: None, decorated)


def with_throttled(get: Get) -> None:
    """throttled-py, token bucket, waiting."""
    throttle = throttled.Throttled(
        key="bench",
        quota=throttled.per_sec(LIMIT, burst=LIMIT),
        store=throttled.MemoryStore(),
        timeout=30,
    )
    in_pool(throttle.limit, get)


def with_metronome(get: Get) -> None:
    """A metronome: one start every 10 ms, by absolute deadlines."""
    lock = threading.Lock()
    due = time.monotonic()

    def acquire() -> None:
        nonlocal due
        with lock:
            due = max(due + PER / LIMIT, time.monotonic())
            mine = due
        time.sleep(max(0.0, mine - time.monotonic()))

    in_pool(acquire, get)


OURS = "paceline"
CANDIDATES: dict[str, Callable[[Get], None]] = {
    OURS: with_paceline,
    "pyrate_limiter": with_pyrate,
    "limits, moving window": with_limits,
    "ratelimit": with_ratelimit,
    "throttled-py, token bucket": with_throttled,
    "metronome": with_metronome,
}


def one_run(candidate: Callable[[Get], None], port: int) -> tuple[int, float]:
    """How many 429s one run of a candidate brought, and its seconds."""
    client = Client(port)
    client.get("/reset")
    began = time.monotonic()
    candidate(client.status)
    elapsed = time.monotonic() - began
    return int(client.get("/reset")[1]), elapsed


def loopback(rounds: int) -> list[Target]:
    """500 GETs by 16 workers: 429s, and seconds beside the least possible."""
    runs: dict[str, list[tuple[int, float]]] = {name: [] for name in CANDIDATES}
    own_runs = max(3, rounds)
    with window_server() as port:
        for round_ in range(own_runs):
            for name, candidate in CANDIDATES.items():
                # The peers are there for comparison: two runs each say enough.
                if name == OURS or round_ < 2:
                    runs[name].append(one_run(candidate, port))
    for name, results in runs.items():
        refused = ", ".join(str(count) for count, _ in results)
        fastest = min(seconds for _, seconds in results)
        slowest = max(seconds for _, seconds in results)
        print(f"  {name:36} 429s: {refused:24} seconds: {fastest:.3f} to {slowest:.3f}")
    print(f"  the least possible{'':40} seconds: {LEAST:.3f}")
    ours = runs[OURS]
    return [
        Target(f"429s in {len(ours)} runs", sum(count for count, _ in ours), 0),
        Target("slowest run, times the least possible", max(s for _, s in ours) / LEAST, 1.05),
    ]
