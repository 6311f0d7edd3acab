"""Whatever is done a thousand times: no threads, no memory and no file descriptors stay behind."""

from __future__ import annotations

import json

import pytest
from childprocess import run_script

WATCH = """
import contextlib, gc, itertools, json, resource
from paceline import BatchExecutor, BatchTimeoutError, RateLimiter

class Foreign:
    def acquire(self):
        pass

def fail():
    raise ValueError("always")

def system_threads():
    try:
        return len(os.listdir("/proc/self/task"))
    except FileNotFoundError:
        return threading.active_count()

def open_files():
    for folder in ("/proc/self/fd", "/dev/fd"):
        with contextlib.suppress(FileNotFoundError):
            return len(os.listdir(folder))
    return 0

def resident():
    '''KiB in use now, or the peak where the system does not tell.'''
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() // 1024
    except FileNotFoundError:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak // 1024 if sys.platform == "darwin" else peak

def settle(expected_threads):
    deadline = time.monotonic() + 20
    while system_threads() > expected_threads and time.monotonic() < deadline:
        time.sleep(0.005)
    gc.collect()

def measure():
    return {"threads": system_threads(), "files": open_files(), "resident": resident(),
            "blocks": sys.getallocatedblocks()}
"""


def growth(script: str, timeout: float) -> dict[str, int]:
    """What a script that prints two measurements says has been added between them."""
    ended = run_script(WATCH + script, timeout=timeout).assert_silent()
    before, after = (json.loads(line) for line in ended.stdout.splitlines())
    return {name: after[name] - before[name] for name in before}


@pytest.mark.long
@pytest.mark.timeout(150)
@pytest.mark.parametrize("ending", ["executor.shutdown()", "del executor"])
def test_three_thousand_executors(ending: str) -> None:
    added = growth(
        f"""
limiters = [None, RateLimiter(1_000_000, per=1), Foreign()]
def one(number):
    executor = BatchExecutor(limiters[number % 3], max_workers=2)
    executor.execute_batch([int, fail, int])
    executor.submit(int).result()
    list(executor.map(int, "12", buffersize=1))
    next(executor.stream(itertools.repeat(int)))
    {ending}

import logging
logging.getLogger("paceline").setLevel("CRITICAL")
threads = system_threads()
for number in range(700):
    one(number)
settle(threads)
print(json.dumps(measure()))
for number in range(3000):
    one(number)
settle(threads)
print(json.dumps(measure()))
""",
        timeout=120,
    )
    assert added["threads"] <= 0
    assert added["files"] == 0
    assert added["blocks"] < 750, "less than one object for four executors"
    assert added["resident"] < 6 * 1024


OPERATIONS = """
import logging
logging.getLogger("paceline").setLevel("CRITICAL")
executor = BatchExecutor({limiter}, max_workers=3)

def batches(n):
    for _ in range(n // 100):
        executor.execute_batch([int] * 90 + [fail] * 10)

def runs(n):
    for _ in range(n // 100):
        executor.run(iter([int] * 90 + [fail] * 10))

def executes(n):
    for _ in range(n):
        executor.execute(int)

def submits(n):
    for _ in range(n // 100):
        futures = [executor.submit(int) for _ in range(100)]
        for future in futures[50:]:
            future.cancel()
        for future in futures:
            future.cancelled() or future.result()

def maps(n):
    for _ in range(n // 100):
        list(executor.map(int, itertools.repeat("1", 100), buffersize=8))

def streams(n):
    for _ in range(n // 100):
        for outcome in executor.stream(itertools.repeat(int, 100)):
            pass
        next(executor.stream(itertools.repeat(int)))

def long_stream(n):
    for outcome in executor.stream(itertools.repeat(int, n)):
        pass

def timeouts(n):
    for _ in range(max(3, n // 20_000)):
        try:
            executor.run(itertools.repeat(lambda: time.sleep(0.001)), timeout=0.01)
        except BatchTimeoutError:
            pass

{activity}(30_000)
gc.collect()
print(json.dumps(measure()))
{activity}({count})
gc.collect()
print(json.dumps(measure()))
"""


def check_operations(activity: str, limiter: str, count: int, timeout: float) -> None:
    added = growth(
        OPERATIONS.format(activity=activity, limiter=limiter, count=count), timeout=timeout
    )
    assert added["threads"] <= 0, added
    assert added["files"] == 0, added
    assert added["blocks"] < 1000, added
    assert added["resident"] < 4 * 1024, added


ACTIVITIES = [
    "batches",
    "runs",
    "executes",
    "submits",
    "maps",
    "streams",
    "long_stream",
    "timeouts",
]


@pytest.mark.long
@pytest.mark.parametrize("limiter", ["None", "RateLimiter(10**9, per=0.001)", "Foreign()"])
@pytest.mark.parametrize("activity", ACTIVITIES)
def test_operations_leave_nothing_behind(activity: str, limiter: str) -> None:
    if limiter.startswith("Rate") and activity != "batches":
        limiter = "RateLimiter(100_000, per=0.01)"
    check_operations(activity, limiter, 30_000, timeout=50)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("limiter", ["None", "Foreign()"])
@pytest.mark.parametrize("activity", ACTIVITIES)
def test_a_million_operations_leave_nothing_behind(activity: str, limiter: str) -> None:
    check_operations(activity, limiter, 1_000_000, timeout=800)
