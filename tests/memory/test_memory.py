"""How much memory a large job takes, and what streaming costs, each measured in its own process."""

from __future__ import annotations

import json

import pytest
from childprocess import run_script

PEAK = """
import itertools, json, resource
from paceline import BatchExecutor

def peak():
    '''The most memory this process ever had resident, in bytes.'''
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024
"""


def batch_bytes_per_operation(count: int, verb: str) -> float:
    """Peak memory of a batch on a prepared list, without the list of results, per operation."""
    ended = run_script(
        PEAK
        + f"""
executor = BatchExecutor(max_workers=4)
executor.{verb}([int] * 1000)
operations = [int] * {count}
before = peak()
results = executor.{verb}(operations)
grown = peak() - before
assert len(results) == {count}
print(json.dumps(grown - sys.getsizeof([None] * {count})))
""",
        timeout=100,
    ).assert_silent()
    return float(json.loads(ended.stdout)) / count


def test_a_batch_takes_little_more_than_its_results() -> None:
    assert batch_bytes_per_operation(300_000, "execute_batch") <= 100


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_batch_of_a_million_takes_little_more_than_its_results() -> None:
    assert batch_bytes_per_operation(1_000_000, "execute_batch") <= 100


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("ordered", [False, True])
def test_a_stream_of_a_million_runs_in_constant_memory(ordered: bool) -> None:
    ended = run_script(
        PEAK
        + f"""
executor = BatchExecutor(max_workers=4)
for _ in executor.stream(itertools.repeat(int, 20_000)):
    pass
before = peak()
count = 0
for outcome in executor.stream((int for _ in range(1_000_000)), ordered={ordered}):
    count += 1
assert count == 1_000_000
print(json.dumps(peak() - before))
""",
        timeout=250,
    ).assert_silent()
    assert json.loads(ended.stdout) <= 8 * 1024 * 1024


def stream_gain(count: int, clock: str) -> dict[str, float]:
    """How many times what a stream takes the standard library's bounded submit takes."""
    ended = run_script(
        PEAK
        + f"""
import collections
from concurrent.futures import ThreadPoolExecutor

def bounded_submit(count, window=9):
    with ThreadPoolExecutor(4) as pool:
        waiting = collections.deque()
        for _ in range(count):
            if len(waiting) == window:
                waiting.popleft().result()
            waiting.append(pool.submit(int))
        for future in waiting:
            future.result()

def stream(count, **options):
    with BatchExecutor(max_workers=4) as executor:
        for outcome in executor.stream(itertools.repeat(int, count), **options):
            outcome.value

def seconds(job, count, **options):
    began = time.{clock}()
    job(count, **options)
    return (time.{clock}() - began) / count

stream(5000)
bounded_submit(500)
# Interleaved, so that what else the machine does hits all alike; the totals are compared.
theirs, ours, ours_ordered = 0, 0, 0
for _ in range(10):
    theirs += seconds(bounded_submit, {count})
    ours += seconds(stream, {count} * 20)
    ours_ordered += seconds(stream, {count} * 20, ordered=True)
print(json.dumps({{"unordered": theirs / ours, "ordered": theirs / ours_ordered}}))
""",
        timeout=100,
    ).assert_silent()
    return dict(json.loads(ended.stdout))


def test_streaming_costs_a_fraction_of_bounded_submits() -> None:
    # Whatever else the machine does, its time of the processor is a process's own.
    gains = stream_gain(1000, "process_time")
    assert gains["unordered"] >= 10, gains
    assert gains["ordered"] >= 10, gains


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_streaming_costs_a_twentieth_of_bounded_submits() -> None:
    gains = stream_gain(5000, "perf_counter")
    assert gains["unordered"] >= 20, gains
    assert gains["ordered"] >= 20, gains
