"""Where gevent has replaced the threads there can be no workers, and whoever asks is told so."""

from __future__ import annotations

import pytest
from childprocess import run_script

PATCHED = """
from gevent import monkey
monkey.patch_all({patched})
from concurrent.futures.thread import BrokenThreadPool
from paceline import BatchExecutor, RateLimiter

class Foreign:
    def acquire(self):
        pass

executor = BatchExecutor({limiter}, max_workers=2)
"""

VERBS = """
called = []
for verb in (
    lambda: executor.execute(lambda: called.append(1)),
    lambda: executor.execute_batch([lambda: called.append(1)] * 3),
    lambda: executor.run([lambda: called.append(1)] * 3),
    lambda: list(executor.stream([lambda: called.append(1)] * 3)),
    lambda: list(executor.map(called.append, [1, 2])),
    lambda: executor.submit(called.append, 1).result(5),
):
    executor = BatchExecutor({limiter}, max_workers=2)
    for _ in range(2):
        try:
            print("returned", verb())
        except BrokenThreadPool as error:
            assert "patch_all(thread=False)" in str(error), error
    executor.shutdown()
print("called", len(called))
"""


@pytest.mark.parametrize("limiter", ["None", "RateLimiter(5, per=1)", "Foreign()"])
def test_every_verb_says_that_there_are_no_threads(limiter: str) -> None:
    ended = run_script((PATCHED + VERBS).format(patched="", limiter=limiter))
    assert ended.assert_silent().stdout == "called 0\n"


def test_a_batch_has_a_report_of_it_and_the_greenlets_go_on() -> None:
    source = (
        PATCHED
        + """
import gevent

other = gevent.spawn(lambda: print("another greenlet"))
try:
    executor.run([int] * 3)
except BrokenThreadPool as error:
    print(error.batch_report.ended_by, error.batch_report.counts["not_started"])
other.join()
"""
    )
    ended = run_script(source.format(patched="", limiter="RateLimiter(5, per=1)"))
    assert sorted(ended.assert_silent().stdout.splitlines()) == ["another greenlet", "broken 3"]


@pytest.mark.parametrize("limiter", ["None", "RateLimiter(50, per=1)", "Foreign()"])
def test_with_real_threads_operations_may_use_what_gevent_has_patched(limiter: str) -> None:
    source = (
        PATCHED
        + """
import time

def slept(value):
    time.sleep(0.01)
    return value

with executor:
    print(list(executor.map(slept, range(5))))
    print([future.result(5) for future in [executor.submit(slept, n) for n in range(5)]])
"""
    )
    ended = run_script(source.format(patched="thread=False", limiter=limiter))
    assert ended.assert_silent().stdout.splitlines() == ["[0, 1, 2, 3, 4]"] * 2
