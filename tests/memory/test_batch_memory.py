"""Batches leave nothing behind, and need little beyond their results while they run."""

from __future__ import annotations

import gc
import logging
import sys
import time
from functools import partial
from typing import Any

import pytest
from childprocess import run_script
from helpers import RecordingLimiter, wait_until

from paceline import BatchExecutor, BatchTimeoutError, RateLimiter

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self")

# What getrusage calls the peak is inherited from the process that started this one.
READ_MEMORY = """
import re

def memory(name):
    '''Bytes of this process: VmRSS is what it holds now, VmHWM the most it ever held.'''
    with open("/proc/self/status") as status:
        return 1024 * int(re.search(rf"{name}:\\s+(\\d+) kB", status.read()).group(1))
"""


def fail() -> None:
    message = "no"
    raise ValueError(message)


def live_objects() -> int:
    gc.collect()
    return len(gc.get_objects())


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6, per=1)])
def test_batches_leave_no_objects_behind(limiter: Any, caplog: pytest.LogCaptureFixture) -> None:
    # What pytest keeps of the log is not ours.
    caplog.set_level(logging.CRITICAL + 1, "paceline")
    with BatchExecutor(limiter, 4) as executor:

        def round_of_batches() -> None:
            executor.execute_batch([int, fail] * 20)
            executor.run([partial(str, index) for index in range(40)])
            executor.execute(int)
            with pytest.raises(ValueError, match="no"):
                executor.execute_batch([fail] * 5, on_error="raise")
            if isinstance(limiter, RecordingLimiter):
                limiter.threads.clear()
                limiter.times.clear()

        for _ in range(20):
            round_of_batches()
        before = live_objects()
        for _ in range(200):
            round_of_batches()
        # One object a batch would be 800.
        assert live_objects() - before < 200


def test_timed_out_batches_leave_no_objects_behind() -> None:
    with BatchExecutor(RateLimiter(1, per=60), 2) as executor:

        def time_out() -> None:
            with pytest.raises(BatchTimeoutError):
                executor.run([int] * 20, timeout=0.005)

        for _ in range(10):
            time_out()
        before = live_objects()
        for _ in range(100):
            time_out()
        assert live_objects() - before < 100


def test_reference_counts_of_shared_objects_are_balanced() -> None:
    marker = object()

    def give() -> object:
        return marker

    def counts() -> tuple[int, int]:
        return sys.getrefcount(marker), sys.getrefcount(give)

    with BatchExecutor(None, 3) as executor:
        before = counts()
        for _ in range(50):
            executor.execute_batch([give] * 50)
            executor.run([give] * 50)
            list(executor.stream([give] * 50))
        wait_until(lambda: counts() == before, timeout=5)


@LINUX
def test_executors_leave_no_file_descriptors_or_kernel_threads_behind() -> None:
    result = run_script(
        """
        import json, os
        from paceline import BatchExecutor, RateLimiter

        def use():
            with BatchExecutor(RateLimiter(10**6, per=1), 4) as executor:
                executor.execute_batch([int] * 8)

        def held():
            return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))

        use()
        before = held()
        for _ in range(200):
            use()
        print(json.dumps([before, held()]))
        """
    )
    result.assert_silent()
    before, after = result.last_json()
    assert after[0] <= before[0]
    assert after[1] <= before[1] + 1


def test_an_idle_executor_costs_no_processor_time() -> None:
    with BatchExecutor(RateLimiter(10, per=1), 8) as executor:
        executor.execute_batch([partial(time.sleep, 0.01)] * 8)
        before = time.process_time()
        time.sleep(1)
        assert time.process_time() - before < 0.05


@LINUX
@pytest.mark.parametrize("limiter", ["None", "RateLimiter(10**9, per=1)", "Foreign()"])
def test_a_large_prepared_batch_needs_little_beyond_its_results(limiter: str) -> None:
    result = run_script(
        READ_MEMORY
        + f"""
import gc, json
from paceline import BatchExecutor, RateLimiter

class Foreign:
    def acquire(self):
        pass

def operation():
    return None

SIZE = 200_000
executor = BatchExecutor({limiter}, 5)
executor.execute_batch([operation] * 1000)
operations = [operation] * SIZE
gc.collect()
before = memory("VmHWM")
results = executor.execute_batch(operations)
after = memory("VmHWM")
assert results == [None] * SIZE
print(json.dumps((after - before) / SIZE - 8))
""",
        timeout=50,
    )
    result.assert_silent()
    # The results are a list of one shared object: 8 bytes each.
    assert result.last_json() <= 100


@LINUX
def test_memory_stays_where_it_is_over_many_batches() -> None:
    result = run_script(
        READ_MEMORY
        + """
import gc, json
from paceline import BatchExecutor

def operation():
    return bytes(100)

def fail():
    raise ValueError("no" * 100)

operations = ([operation] * 9 + [fail]) * 200
with BatchExecutor(None, 4) as executor:
    for _ in range(10):
        executor.run(operations)
    gc.collect()
    before = memory("VmRSS")
    for _ in range(60):
        executor.run(operations)
    gc.collect()
    print(json.dumps(memory("VmRSS") - before))
""",
        timeout=50,
    )
    result.assert_silent()
    # 120,000 operations; 100 bytes of each would be 12 MB.
    assert result.last_json() < 6_000_000
