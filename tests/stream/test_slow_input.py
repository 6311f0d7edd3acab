"""A stream over an input that is slow: what is ready is handed over before that is asked again."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from paceline import BatchExecutor

GAP = 1.0


def finish() -> float:
    """When it has ended."""
    time.sleep(0.02)
    return time.monotonic()


def fed_slowly(count: int, gap: float) -> Iterator[Callable[[], float]]:
    """A queue that somebody puts an operation into, now and then."""
    waiting: queue.Queue[Any] = queue.Queue()

    def feed() -> None:
        for _ in range(count):
            time.sleep(gap)
            waiting.put(finish)
        waiting.put(None)

    threading.Thread(target=feed, daemon=True).start()
    return iter(waiting.get, None)


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("workers", [1, 4])
def test_an_outcome_does_not_wait_for_the_input(
    workers: int, timeout: float | None, ordered: bool
) -> None:
    late = []
    with BatchExecutor(max_workers=workers) as executor:
        for outcome in executor.stream(fed_slowly(3, GAP), ordered=ordered, timeout=timeout):
            assert outcome.value is not None
            late.append(time.monotonic() - outcome.value)
    # The last one has the end of the input to wait for, which is there at once.
    assert len(late) == 3
    assert max(late) < GAP / 2, late


def test_a_slow_input_keeps_all_workers_busy() -> None:
    """Operations that take longer than the input are still run side by side."""
    barrier = threading.Barrier(3)

    def slowly() -> Iterator[Callable[[], int]]:
        for _ in range(3):
            time.sleep(0.1)
            yield partial(barrier.wait, 10)

    with BatchExecutor(max_workers=3) as executor:
        values = {outcome.value for outcome in executor.stream(slowly())}
    assert values == {0, 1, 2}


def test_a_slow_input_does_not_hold_up_the_end_or_a_timeout() -> None:
    def slowly() -> Iterator[Callable[[], None]]:
        while True:
            time.sleep(0.3)
            yield partial(time.sleep, 0.5)

    with BatchExecutor(max_workers=1) as executor:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            list(executor.stream(slowly(), timeout=1))
        assert time.monotonic() - began < 10


def test_a_timeout_is_noticed_before_a_slow_input_is_asked_again() -> None:
    """Here it passes while the stream waits for an outcome first."""
    asked = []

    def slowly() -> Iterator[Callable[[], None]]:
        while True:
            asked.append(time.monotonic())
            time.sleep(1)
            yield partial(time.sleep, 2)

    with BatchExecutor(max_workers=1) as executor, pytest.raises(TimeoutError):
        # It would wait for a tenth of the second that the input took.
        list(executor.stream(slowly(), timeout=1.05))
    assert len(asked) == 1, asked
