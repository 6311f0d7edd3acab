"""What operations made on the way cost, in time and in memory."""

from __future__ import annotations

import json
import statistics
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from measuring import Target, in_subprocess, interleave, ratio
from rivals import Operation, bounded_window, pool_map, submit_then_collect

from paceline import BatchExecutor, RateLimiter

WORKERS = 5
STREAMED = 200_000
RIVALS_STREAMED = 20_000


def returned(value: int) -> int:
    """The value, as an operation would return it."""
    return value


def lazily_made(count: int) -> Iterator[Operation]:
    """``count`` operations, each made when it is asked for."""
    for index in range(count):
        yield partial(returned, index)


def exhaust(iterator: Iterable[Any]) -> None:
    """Take everything and keep nothing."""
    deque(iterator, maxlen=0)


def lazy_map(count: int) -> None:
    """``ThreadPoolExecutor.map`` with a bounded window, by ``buffersize`` where there is one."""
    if sys.version_info >= (3, 14):
        with ThreadPoolExecutor(WORKERS) as executor:
            exhaust(executor.map(lambda op: op(), lazily_made(count), buffersize=2 * WORKERS + 1))
    else:
        exhaust(bounded_window(lazily_made(count), WORKERS, 2 * WORKERS + 1))


def stream_speed(rounds: int) -> list[Target]:
    """Lazily made operations through stream and through a bounded window."""
    window = "map(buffersize=)" if sys.version_info >= (3, 14) else "submit, bounded window"
    with (
        BatchExecutor(RateLimiter(10**9, per=1), WORKERS) as native,
        BatchExecutor(None, WORKERS) as free,
    ):
        seconds = interleave(
            {
                "paceline, native limiter": lambda: exhaust(native.stream(lazily_made(STREAMED))),
                "paceline, no limiter": lambda: exhaust(free.stream(lazily_made(STREAMED))),
                window: partial(lazy_map, RIVALS_STREAMED),
            },
            3 * rounds,
        )
    counts = {name: RIVALS_STREAMED if name == window else STREAMED for name in seconds}
    for name, values in seconds.items():
        least, median = min(values), statistics.median(values)
        print(
            f"  {name:36}{counts[name] / least:12,.0f} operations a second, "
            f"median {counts[name] / median:12,.0f}"
        )
    times = ratio(seconds, window, "paceline, no limiter") * STREAMED / RIVALS_STREAMED
    return [Target(f"stream, times the throughput of {window}", times, 20, at_least=True)]


def memory_of(way: str, count: int) -> float:
    """Bytes that ``way`` adds to the peak (to the resident size for stream), in its own process."""
    return float(json.loads(in_subprocess(Path(__file__), way, str(count))))


def stream_memory(rounds: int) -> list[Target]:  # noqa: ARG001 (memory is measured once)
    """Growth of resident memory over 1,000,000 lazily made operations."""
    grown = memory_of("stream", 1_000_000) / 1e6
    print(f"  paceline stream, 1,000,000 operations: {grown:.1f} MB more")
    return [Target("stream over 1,000,000 operations, MB of growth", grown, 8)]


def batch_memory(rounds: int) -> list[Target]:  # noqa: ARG001 (memory is measured once)
    """Peak memory per operation of a prepared list, beyond the list of results."""
    count = 1_000_000
    per_operation = {
        "paceline, native limiter": memory_of("native", count) / count,
        "paceline, no limiter": memory_of("free", count) / count,
        "ThreadPoolExecutor, submit": memory_of("submit", count // 10) / (count // 10),
        "ThreadPoolExecutor, map": memory_of("map", count // 10) / (count // 10),
    }
    for name, value in per_operation.items():
        print(f"  {name:36}{value:10.0f} bytes per operation beyond the results")
    return [
        Target(f"execute_batch, {name}, bytes per operation", per_operation[name], 100)
        for name in ("paceline, native limiter", "paceline, no limiter")
    ]


def memory_now(field: str) -> int:
    """Bytes of this process: ``VmRSS`` is what it holds, ``VmHWM`` the most it ever held."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in status.splitlines() if line.startswith(field + ":"))
    return 1024 * int(line.split()[1])


def nothing() -> None:
    """Do nothing."""


def measure(way: str, count: int) -> float:
    """Bytes that one run of ``way`` over ``count`` operations adds to this process."""
    executor = BatchExecutor(RateLimiter(10**9, per=1) if way == "native" else None, WORKERS)
    if way == "stream":
        exhaust(executor.stream(lazily_made(20_000)))
        before = memory_now("VmRSS")
        exhaust(executor.stream(lazily_made(count)))
        return memory_now("VmRSS") - before
    operations = [nothing] * count
    ways = {
        "native": lambda: executor.execute_batch(operations),
        "free": lambda: executor.execute_batch(operations),
        "submit": lambda: submit_then_collect(operations, WORKERS),
        "map": lambda: pool_map(operations, WORKERS),
    }
    executor.execute_batch(operations[:1000])
    before = memory_now("VmHWM")
    results = ways[way]()
    return memory_now("VmHWM") - before - 8 * len(results)


if __name__ == "__main__":
    print(json.dumps(measure(sys.argv[1], int(sys.argv[2]))))
