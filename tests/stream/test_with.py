"""A `stream` as a context manager, closed from anywhere, and how many outcomes are to come."""

from __future__ import annotations

import _thread
import gc
import io
import operator
import queue
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from typing import Any

import pytest
from helpers import eager_thread_switches, in_thread, wait_until
from observing import PATIENCE, Blocker

from paceline import BatchExecutor, BatchReport, BatchTimeoutError, RateLimiter, Retry


def operations(count: int = 60, seconds: float = 0.001) -> list[Callable[[], None]]:
    return [partial(time.sleep, seconds)] * count


def leave_at_the_end(outcomes: Any) -> None:
    for _ in outcomes:
        pass


def leave_by_break(outcomes: Any) -> None:
    for _ in outcomes:
        break


def leave_by_exception(outcomes: Any) -> None:
    for _ in outcomes:
        raise LookupError("in the body")


def leave_by_ctrl_c(outcomes: Any) -> None:
    for _ in outcomes:
        raise KeyboardInterrupt


def leave_before_the_first(_outcomes: Any) -> None:
    return


def leave_by_close(outcomes: Any) -> None:
    next(outcomes)
    outcomes.close()


LEAVE: dict[Callable[[Any], None], tuple[str, type[BaseException] | None]] = {
    leave_at_the_end: ("completed", None),
    leave_by_break: ("consumer", None),
    leave_by_exception: ("consumer", LookupError),
    leave_by_ctrl_c: ("interrupt", KeyboardInterrupt),
    leave_before_the_first: ("consumer", None),
    leave_by_close: ("consumer", None),
}


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("leave", LEAVE)
def test_the_report_is_there_whatever_leaves_the_block(
    leave: Callable[[Any], None], ordered: bool
) -> None:
    ended_by, kind = LEAVE[leave]
    seen = 0

    def watched(outcomes: Any) -> Iterator[Any]:
        nonlocal seen
        for outcome in outcomes:
            seen += 1
            yield outcome

    raised: BaseException | None = None
    with BatchExecutor(max_workers=2) as executor:
        try:
            with executor.stream(operations(), ordered=ordered) as outcomes:
                leave(outcomes if leave is leave_by_close else watched(outcomes))
        except BaseException as error:
            raised = error
        report = outcomes.report()
        assert report.ended_by == ended_by
        assert sum(report.counts.values()) == 60
        if leave is not leave_by_close:
            assert len(report) == 60 - seen
        assert list(outcomes) == []
        assert report.settle()
        assert report.counts["running"] == 0
    assert type(raised) is (kind or type(None))
    if raised is not None:
        assert raised.batch_report is report  # type: ignore[attr-defined]


def test_an_exception_after_the_end_carries_no_report() -> None:
    def take_all_then_raise(outcomes: Any) -> None:
        with outcomes:
            assert len(list(outcomes)) == 3
            raise LookupError

    with BatchExecutor() as executor:
        outcomes = executor.stream(operations(3))
        with pytest.raises(LookupError) as caught:
            take_all_then_raise(outcomes)
        assert not hasattr(caught.value, "batch_report")
        assert outcomes.report().ended_by == "completed"


def test_what_ended_the_stream_keeps_its_own_report() -> None:
    def take_all() -> None:
        with executor.stream(operations(50, 0.05), timeout=0.1) as outcomes:
            streams.append(outcomes)
            list(outcomes)

    streams: list[Any] = []
    with BatchExecutor(max_workers=1) as executor:
        with pytest.raises(BatchTimeoutError) as caught:
            take_all()
        assert caught.value.batch_report is streams[0].report()
        assert streams[0].report().ended_by == "timeout"


def test_exit_stacks_and_closing_take_a_stream() -> None:
    with BatchExecutor() as executor:
        with ExitStack() as stack:
            first = stack.enter_context(executor.stream(operations()))
            next(first)
        assert first.report().ended_by == "consumer"
        with closing(executor.stream(operations())) as second:
            next(second)
        assert second.report().ended_by == "consumer"


def test_leaving_does_not_wait_for_running_operations() -> None:
    go = threading.Event()
    with BatchExecutor(max_workers=1) as executor:
        began = time.monotonic()
        with executor.stream([partial(go.wait, 20)] * 3, buffersize=1) as outcomes:
            source = in_thread(lambda: next(outcomes))
            time.sleep(0.1)
            outcomes.close()
            source[0].join(10)
        assert time.monotonic() - began < 10
        report = outcomes.report()
        assert report.counts["running"] == 1
        go.set()
        assert report.settle()


def test_a_stream_that_nothing_holds_still_ends_without_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        with BatchExecutor(max_workers=1) as executor:
            outcomes = executor.stream(operations())
            next(outcomes)
            gone = weakref.ref(outcomes._runner)
            with outcomes:
                pass
            del outcomes
            assert gone() is None
    finally:
        gc.enable()


def slow() -> None:
    time.sleep(0.7)


class Refused(Exception):
    pass


def refuse() -> None:
    raise Refused


@pytest.mark.parametrize("waits_for", ["operation", "limit", "retry", "turn"])
@pytest.mark.parametrize("ordered", [False, True])
def test_close_from_another_thread_ends_a_next_that_waits(
    waits_for: str, ordered: bool, blocker: Blocker
) -> None:
    limiter = RateLimiter(1, per=60) if waits_for == "limit" else None
    retry = Retry(3, on=lambda _error: True, backoff=60, max_backoff=60, jitter=False)
    with BatchExecutor(limiter, max_workers=1, retry=retry) as executor:
        if limiter is not None:
            limiter.acquire()
        operation = refuse if waits_for == "retry" else blocker
        outcomes = executor.stream([operation] * 5, ordered=ordered, buffersize=1)
        consumers = [
            in_thread(lambda: list(outcomes)) for _ in range(2 if waits_for == "turn" else 1)
        ]
        time.sleep(0.15)
        began = time.monotonic()
        outcomes.close()
        report = outcomes.report()
        for thread, box in consumers:
            thread.join(10)
            assert box == [[]]
        # Far sooner than what they wait for would have come.
        assert time.monotonic() - began < PATIENCE / 2
        assert report.ended_by == "consumer"
        assert sum(report.counts.values()) == 5
        assert report is outcomes.report()
        blocker.release.set()
        assert report.settle()
        assert report.counts["running"] == 0
        assert list(outcomes) == []


def test_close_while_another_thread_is_inside_the_input() -> None:
    source: queue.SimpleQueue[Callable[[], int] | None] = queue.SimpleQueue()
    with BatchExecutor(max_workers=1) as executor:
        outcomes = executor.stream(iter(source.get, None))
        thread, box = in_thread(lambda: list(outcomes))
        time.sleep(0.1)
        outcomes.close()
        assert thread.is_alive()
        with pytest.raises(RuntimeError, match="its input has not returned"):
            outcomes.report()
        source.put(lambda: 1)
        thread.join(10)
        assert box == [[]]
        report = outcomes.report()
        assert [each.status for each in report] == ["not_started"]
        assert report.ended_by == "consumer"


def test_close_ends_the_wait_for_running_operations_of_a_failed_batch() -> None:
    go = threading.Event()

    def fail() -> None:
        raise LookupError("enough")

    with BatchExecutor(max_workers=2) as executor:
        source: list[Callable[[], object]] = [partial(go.wait, 20), fail]
        outcomes = executor.stream(source, max_failures=1)
        thread, box = in_thread(lambda: list(outcomes))
        time.sleep(0.2)
        assert thread.is_alive()
        outcomes.close()
        thread.join(10)
        assert isinstance(box[0], ExceptionGroup)
        report = box[0].batch_report  # type: ignore[attr-defined]
        assert report.counts["running"] == 1
        assert report.ended_by == "max_failures"
        go.set()
        assert report.settle()


@pytest.mark.parametrize("where", ["input", "operation", "handler"])
def test_close_from_within(where: str) -> None:
    with BatchExecutor(max_workers=1) as executor:
        streams: list[Any] = []

        def source() -> Iterator[Callable[[], object]]:
            yield lambda: 1
            if where == "input":
                streams[0].close()
            while True:
                yield streams[0].close if where == "operation" else slow

        def close(*_: object) -> None:
            streams[0].close()

        streams.append(executor.stream(source(), buffersize=1))
        before = signal.signal(signal.SIGALRM, close)
        try:
            if where == "handler":
                signal.setitimer(signal.ITIMER_REAL, 0.2)
            began = time.monotonic()
            assert len(list(streams[0])) <= 2
            assert time.monotonic() - began < 10
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
        assert streams[0].report().ended_by == "consumer"
        assert streams[0].report().settle()


def test_many_threads_close_while_many_take() -> None:
    with eager_thread_switches(), BatchExecutor(max_workers=4) as executor:
        for number in range(40):
            outcomes = executor.stream(operations(200, 0), ordered=bool(number % 2))
            taken: list[int] = []

            def take(outcomes: Any = outcomes, taken: list[int] = taken) -> None:
                taken.extend(each.index for each in outcomes)

            takers = [in_thread(take) for _ in range(3)]
            if number % 3:
                wait_until(lambda taken=taken: taken)
            closers = [in_thread(outcomes.close) for _ in range(3)]
            for thread, box in takers + closers:
                thread.join(20)
                assert box == [None]
            report: BatchReport[None] = outcomes.report()
            assert report.settle()
            left = [each.index for each in report]
            if report.ended_by == "consumer":
                assert sorted(taken + left) == list(range(200)), "each outcome once"
            assert len(set(taken)) == len(taken)
            assert sum(report.counts.values()) == 200
            assert report.counts["running"] == 0


def test_ctrl_c_while_leaving_still_has_the_report() -> None:
    """A second Ctrl-C falls into the leaving itself, as often as that is tried."""
    for number in range(30):
        with BatchExecutor(max_workers=2) as executor:
            stream = executor.stream(operations(50, 0.0005))
            timer = threading.Timer(0.0005 * number / 10, _thread.interrupt_main)

            def leave(stream: Any = stream, timer: threading.Timer = timer) -> None:
                with stream as outcomes:
                    next(outcomes)
                    timer.start()
                # Where the leaving was quicker.
                while True:
                    time.sleep(0.001)

            with pytest.raises(KeyboardInterrupt):
                leave()
            assert sum(stream.report().counts.values()) == 50


SIZED: dict[str, Callable[[], Any]] = {
    "list": lambda: operations(30),
    "tuple": lambda: tuple(operations(30)),
}
HINTED: dict[str, Callable[[], Any]] = {
    **SIZED,
    "deque": lambda: deque(operations(30)),
    "iterator": lambda: iter(operations(30)),
    "dict": lambda: dict.fromkeys([partial(time.sleep, 0.001) for _ in range(30)]),
}


@pytest.mark.parametrize("buffersize", [None, 1])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("name", HINTED)
def test_how_many_are_to_come(name: str, ordered: bool, buffersize: int | None) -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(HINTED[name](), ordered=ordered, buffersize=buffersize)
        for number in range(30):
            assert operator.length_hint(outcomes) == 30 - number
            if name in SIZED:
                assert len(outcomes) == 30 - number
            else:
                with pytest.raises(TypeError, match="has a length"):
                    len(outcomes)
            next(outcomes)
        assert list(outcomes) == []
        assert operator.length_hint(outcomes, 5) == 0
        assert outcomes


def test_nothing_is_to_come_after_close() -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(operations(30))
        outcomes.close()
        assert len(outcomes) == 0
        assert bool(outcomes)


@pytest.mark.parametrize("bad", [ValueError("no hint"), -3, "three"])
def test_inputs_without_a_usable_hint(bad: object) -> None:
    class Source:
        def __init__(self) -> None:
            self.left = operations(5)

        def __iter__(self) -> Iterator[Callable[[], None]]:
            return self

        def __next__(self) -> Callable[[], None]:
            if not self.left:
                raise StopIteration
            return self.left.pop()

        def __length_hint__(self) -> Any:
            if isinstance(bad, Exception):
                raise bad
            return bad

    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(Source())
        assert operator.length_hint(outcomes, 77) == 77
        assert len(list(outcomes)) == 5
        assert operator.length_hint(executor.stream(iter(operations().pop, None)), 77) == 77


def test_progress_bars_know_the_total(monkeypatch: pytest.MonkeyPatch) -> None:
    tqdm = pytest.importorskip("tqdm")
    # It would start a thread.
    monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)
    with BatchExecutor(max_workers=2) as executor:
        shown = tqdm.tqdm(executor.stream(operations(30)), file=io.StringIO())
        assert shown.total == 30
        assert len(list(shown)) == 30


@pytest.mark.parametrize("seconds", [None, 0.0003])
@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize(("workers", "buffersize"), [(1, 1), (4, 3), (2, 40)])
def test_buffersize_bounds_what_begins_ahead(
    workers: int, buffersize: int, ordered: bool, seconds: float | None
) -> None:
    begun = 0
    most = 0
    lock = threading.Lock()

    def work() -> None:
        nonlocal begun
        with lock:
            begun += 1
        if seconds:
            time.sleep(seconds)

    read = 0

    def source() -> Iterator[Callable[[], None]]:
        nonlocal read
        for _ in range(3000 if seconds is None else 300):
            read += 1
            yield work

    with BatchExecutor(max_workers=workers) as executor:
        outcomes = executor.stream(source(), ordered=ordered, buffersize=buffersize)
        for taken, _ in enumerate(outcomes, 1):
            if taken % 97 == 0:
                time.sleep(0.003)
            most = max(most, begun - taken, read - taken)
    assert most <= workers + buffersize
