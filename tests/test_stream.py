"""`stream`: outcomes as they come, from an input that is read only as fast as they are taken."""

from __future__ import annotations

import functools
import gc
import itertools
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from childprocess import run_script
from helpers import (
    Gauge,
    RecordingLimiter,
    paceline_notes,
    statuses,
    wait_until,
    worst_window,
)
from observing import GatedLimiter, stays

from paceline import BatchExecutor, BatchTimeoutError, Outcome, RateLimiter

PATIENCE = 20.0


class Source:
    """An input that watches how it is read: never too far ahead, always on one thread."""

    def __init__(self, operations: Iterator[Callable[[], Any]], bound: int | None = None) -> None:
        self._operations = operations
        self._bound = bound
        self.read = 0
        self.handed_over = 0
        self.furthest = 0
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[Callable[[], Any]]:
        return self

    def __next__(self) -> Callable[[], Any]:
        operation = next(self._operations)
        self.read += 1
        self.threads.add(threading.get_ident())
        self.furthest = max(self.furthest, self.read - self.handed_over)
        if self._bound is not None:
            assert self.read - self.handed_over <= self._bound
        return operation


def numbers(count: int | None = None) -> Iterator[Callable[[], int]]:
    """Operations that return 0, 1, 2, ..."""
    counted = itertools.count() if count is None else range(count)
    return (functools.partial(int, n) for n in counted)


def naps(seconds: float, count: int | None = None) -> Iterator[Callable[[], None]]:
    """Operations that sleep."""
    counted = itertools.count() if count is None else range(count)
    return (functools.partial(time.sleep, seconds) for _ in counted)


def raise_value_error(n: int) -> None:
    raise ValueError(f"operation {n}")


def raise_lookup_error() -> None:
    raise LookupError("no such row")


# What comes out


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("limited", [False, True])
def test_every_operation_has_one_outcome(workers: int, limited: bool) -> None:
    limiter = RateLimiter(500, per=0.05) if limited else None
    with BatchExecutor(limiter, max_workers=workers) as executor:
        outcomes = list(executor.stream(numbers(2000)))
    assert sorted(outcome.index for outcome in outcomes) == list(range(2000))
    assert all(type(outcome) is Outcome for outcome in outcomes)
    assert all(outcome.value == outcome.index for outcome in outcomes)
    assert set(statuses(outcomes)) == {"done"}


def test_outcomes_come_as_they_complete() -> None:
    releases = [threading.Event() for _ in range(3)]
    operations = [functools.partial(release.wait, PATIENCE) for release in releases]
    with BatchExecutor(max_workers=3) as executor:
        outcomes = executor.stream(operations)
        for index in (1, 2, 0):
            releases[index].set()
            assert next(outcomes).index == index
        assert list(outcomes) == []


def test_ordered_holds_quick_ones_back() -> None:
    release = threading.Event()
    operations = [functools.partial(release.wait, PATIENCE), *numbers(5)]
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(operations, ordered=True)
        threading.Timer(0.1, release.set).start()
        assert [outcome.index for outcome in outcomes] == list(range(6))


def test_a_failure_is_an_outcome_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with BatchExecutor(max_workers=2) as executor:
        operations = [functools.partial(raise_value_error, 0), *numbers(3)]
        outcomes = list(executor.stream(operations, ordered=True))
    assert statuses(outcomes) == ["failed", "done", "done", "done"]
    assert isinstance(outcomes[0].exception, ValueError)
    assert outcomes[0].value is None
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.getMessage() for record in errors] == ["batch_operation_failed"]


def test_an_empty_input_gives_an_empty_stream() -> None:
    with BatchExecutor() as executor:
        assert list(executor.stream([])) == []
        assert list(executor.stream(iter(()), ordered=True)) == []


def test_it_is_an_iterator_that_stays_exhausted() -> None:
    with BatchExecutor() as executor:
        outcomes = executor.stream(numbers(3))
        assert iter(outcomes) is outcomes
        assert len(list(outcomes)) == 3
        for _ in range(3):
            with pytest.raises(StopIteration):
                next(outcomes)


def test_two_streams_side_by_side() -> None:
    with BatchExecutor(max_workers=2) as executor:
        pairs = list(
            zip(
                executor.stream(numbers(300), ordered=True),
                executor.stream(numbers(300), ordered=True),
                strict=True,
            )
        )
    assert [(one.value, other.value) for one, other in pairs] == [(n, n) for n in range(300)]


@pytest.mark.parametrize("buffersize", [0, -1])
def test_a_buffersize_that_holds_nothing_is_refused(buffersize: int) -> None:
    with BatchExecutor() as executor, pytest.raises(ValueError, match="buffersize"):
        executor.stream(numbers(3), buffersize=buffersize)


def test_bad_input_is_refused() -> None:
    async def never_awaited() -> None: ...

    with BatchExecutor() as executor:
        with pytest.raises(TypeError):
            executor.stream(7)  # type: ignore[call-overload]
        for entry in (7, never_awaited):
            with pytest.raises(TypeError) as caught:
                list(executor.stream(iter([int, int, entry])))  # type: ignore[list-item]
            assert "2" in str(caught.value), "the message names the entry"


# How the input is read


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("buffersize", [1, 2, 5, 64])
@pytest.mark.parametrize("workers", [1, 4])
def test_the_input_is_never_read_further_than_the_bound(
    workers: int, buffersize: int, ordered: bool
) -> None:
    source = Source(numbers(600), bound=workers + buffersize)
    with BatchExecutor(max_workers=workers) as executor:
        for outcome in executor.stream(source, ordered=ordered, buffersize=buffersize):
            source.handed_over += 1
            if outcome.index % 97 == 0:
                time.sleep(0.002)
    assert (source.read, source.handed_over) == (600, 600)
    assert source.furthest >= min(2, buffersize), "it does read ahead"


@pytest.mark.parametrize("ordered", [False, True])
def test_the_bound_holds_with_slow_and_failing_operations(ordered: bool) -> None:
    def work(n: int) -> int:
        if n % 7 == 0:
            time.sleep(0.01)
        if n % 5 == 0:
            raise_value_error(n)
        return n

    source = Source((functools.partial(work, n) for n in range(150)), bound=3 + 4)
    with BatchExecutor(RecordingLimiter(), max_workers=3) as executor:
        for _ in executor.stream(source, ordered=ordered, buffersize=4):
            source.handed_over += 1
    assert source.read == 150


def test_the_smallest_buffer_still_keeps_every_worker_busy() -> None:
    together = threading.Barrier(4)
    operations = (functools.partial(together.wait, PATIENCE) for _ in range(40))
    with BatchExecutor(max_workers=4) as executor:
        assert len(list(executor.stream(operations, buffersize=1))) == 40


def test_the_default_reads_no_more_than_three_times_the_workers_ahead() -> None:
    workers = 3
    source = Source(naps(0.002, 150), bound=workers + 2 * workers + 1)
    with BatchExecutor(max_workers=workers) as executor:
        for _ in executor.stream(source):
            source.handed_over += 1
    assert source.read == 150


def test_the_default_reads_far_ahead_only_of_quick_operations() -> None:
    workers = 2
    source = Source(numbers(60_000), bound=workers + 320)
    with BatchExecutor(max_workers=workers) as executor:
        for _ in executor.stream(source):
            source.handed_over += 1
    assert source.read == 60_000
    assert source.furthest > workers + 2 * workers + 1


def test_the_default_comes_back_when_operations_become_slow() -> None:
    workers = 2
    source = Source(itertools.chain(numbers(20_000), naps(0.003)))
    with BatchExecutor(max_workers=workers) as executor:
        outcomes = executor.stream(source)
        for _ in range(20_000 + 1500):
            next(outcomes)
            source.handed_over += 1
        source.furthest = 0
        for _ in range(50):
            next(outcomes)
            source.handed_over += 1
        assert source.furthest <= workers + 2 * workers + 1
        outcomes.close()


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(1000, per=0.01)])
def test_the_input_is_read_on_the_consumers_thread_only(limiter: Any) -> None:
    source = Source(numbers(500))
    with BatchExecutor(limiter, max_workers=3) as executor:
        for _ in executor.stream(source, buffersize=3):
            pass
    assert source.threads == {threading.get_ident()}


def test_a_stream_may_move_to_another_thread() -> None:
    source = Source(numbers(500))
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(source, buffersize=3)
        first = list(itertools.islice(outcomes, 10))
        source.threads.clear()
        rest: list[Outcome[int]] = []
        consumer = threading.Thread(target=lambda: rest.extend(outcomes))
        consumer.start()
        consumer.join(PATIENCE)
    assert sorted(outcome.index for outcome in first + rest) == list(range(500))
    assert source.threads == {consumer.ident}


def test_a_sleeping_consumer_stops_the_starts() -> None:
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            pass

    source = Source(itertools.repeat(work), bound=2 + 5)
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(source, buffersize=5)
        for _ in range(3):
            next(outcomes)
            source.handed_over += 1
        wait_until(lambda: gauge.entered == source.read)
        assert stays(lambda: (source.read, gauge.entered))
        assert source.read - source.handed_over <= 2 + 5
        outcomes.close()


@pytest.mark.parametrize("kind", [list, tuple])
@pytest.mark.parametrize("ordered", [False, True])
def test_a_list_is_read_no_further_ahead_than_anything_else(kind: Any, ordered: bool) -> None:
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            pass

    with BatchExecutor(max_workers=2) as executor:
        executor.execute_batch([int] * 20)  # so that there are workers who wait for something
        outcomes = executor.stream(kind([work] * 500), buffersize=1, ordered=ordered)
        assert stays(lambda: gauge.entered)
        assert gauge.entered == 0, "it has started though nobody has asked for an outcome"
        for handed_over in range(1, 6):
            next(outcomes)
            assert stays(lambda: gauge.entered, seconds=0.05)
            assert gauge.entered <= handed_over + 2 + 1
        assert len(list(outcomes)) == 495


def test_what_was_not_read_of_a_list_is_in_the_report() -> None:
    def leave() -> None:
        raise SystemExit(3)

    operations = [*numbers(20), leave, *numbers(979)]
    with BatchExecutor(max_workers=2) as executor:
        handed_over, error = consume(executor.stream(operations, buffersize=4))
        assert isinstance(error, SystemExit)
        report = error.batch_report  # type: ignore[attr-defined]
        assert_nothing_is_lost(handed_over, report, 1000)
        assert report.counts["not_started"] > 900


def test_changing_a_list_later_changes_no_stream() -> None:
    operations: list[Any] = list(numbers(100))
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(operations, ordered=True)
        operations[:] = ["no operation"] * 5
        assert [outcome.value for outcome in outcomes] == list(range(100))


def test_a_slow_input_does_not_hold_finished_outcomes_back() -> None:
    """An outcome that is ready is handed over before an input that blocks is asked for more."""

    def trickle() -> Iterator[Callable[[], int]]:
        for n in range(5):
            time.sleep(0.15)
            yield functools.partial(int, n)

    came_at = []
    began = time.monotonic()
    with BatchExecutor(max_workers=2) as executor:
        for _ in executor.stream(trickle(), buffersize=100):
            came_at.append(time.monotonic() - began)
    assert len(came_at) == 5
    assert came_at[0] < 0.55, "the first came before the whole input had been read"


def test_an_endless_input_runs_in_constant_memory() -> None:
    ended = run_script(
        """
        import itertools, json, resource
        from paceline import BatchExecutor

        def peak():
            return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

        executor = BatchExecutor(max_workers=4)
        outcomes = executor.stream(iter(lambda: int, None))
        for _ in itertools.islice(outcomes, 30_000):
            pass
        before = peak()
        for _ in itertools.islice(outcomes, 200_000):
            pass
        grown = peak() - before
        outcomes.close()
        executor.shutdown()
        print(json.dumps(grown if sys.platform != "darwin" else grown // 1024))
        """,
        timeout=50,
    ).assert_silent()
    assert json.loads(ended.stdout) <= 8 * 1024, f"{ended.stdout.strip()} KiB more"


# Leaving early


class Running:
    """Operations that count their starts and last until they are released."""

    def __init__(self) -> None:
        self.gauge = Gauge()
        self.release = threading.Event()
        self.ended = threading.Semaphore(0)

    def quick(self) -> None:
        with self.gauge.running():
            pass

    def slow(self) -> None:
        with self.gauge.running():
            self.release.wait(PATIENCE)
        self.ended.release()

    def operations(self) -> Iterator[Callable[[], None]]:
        """One that ends at once, then those that last, for ever."""
        yield self.quick
        while True:
            yield self.slow

    def assert_nothing_more_starts(self) -> None:
        assert stays(lambda: self.gauge.entered)


def leave_by_break(executor: BatchExecutor, running: Running) -> None:
    for _ in executor.stream(running.operations(), buffersize=6):
        break


def leave_by_exception(executor: BatchExecutor, running: Running) -> None:
    def consume() -> None:
        for _ in executor.stream(running.operations(), buffersize=6):
            raise LookupError("in the consumer")

    with pytest.raises(LookupError, match="in the consumer"):
        consume()


def leave_by_close(executor: BatchExecutor, running: Running) -> None:
    outcomes = executor.stream(running.operations(), buffersize=6)
    next(outcomes)
    outcomes.close()
    outcomes.close()
    with pytest.raises(StopIteration):
        next(outcomes)


def leave_by_del(executor: BatchExecutor, running: Running) -> None:
    outcomes = executor.stream(running.operations(), buffersize=6)
    next(outcomes)
    del outcomes


def leave_by_garbage_collection(executor: BatchExecutor, running: Running) -> None:
    class Holder: ...

    holder = Holder()
    holder.itself = holder  # type: ignore[attr-defined]
    holder.outcomes = executor.stream(running.operations(), buffersize=6)  # type: ignore[attr-defined]
    next(holder.outcomes)  # type: ignore[attr-defined]
    del holder
    gc.collect()


@pytest.mark.parametrize(
    "leave",
    [
        leave_by_break,
        leave_by_exception,
        leave_by_close,
        leave_by_del,
        leave_by_garbage_collection,
    ],
)
def test_leaving_stops_the_batch_without_waiting(
    leave: Callable[[BatchExecutor, Running], None],
) -> None:
    running = Running()
    executor = BatchExecutor(max_workers=2)
    try:
        began = time.monotonic()
        leave(executor, running)
        assert time.monotonic() - began < 2, "running operations were waited for"
        in_flight = running.gauge.now
        assert in_flight <= 2
        running.assert_nothing_more_starts()
        running.release.set()
        # Those that were running finish, and the slots they leave start nothing of this batch.
        for _ in range(in_flight):
            assert running.ended.acquire(timeout=PATIENCE)
        running.assert_nothing_more_starts()
        assert executor.execute_batch(list(numbers(10))) == list(range(10))
    finally:
        running.release.set()
        executor.shutdown()


def test_leaving_gives_permits_back_to_others() -> None:
    limiter = RateLimiter(2, per=600)
    executor = BatchExecutor(limiter, max_workers=2)
    outcomes = executor.stream(numbers(), buffersize=4)
    next(outcomes)
    next(outcomes)
    outcomes.close()
    assert not limiter.try_acquire(), "both permits were used"
    # Nobody waits for a third, or this would take ten minutes.
    executor.shutdown()


def test_leaving_while_a_foreign_limiter_is_asked() -> None:
    limiter = GatedLimiter()
    executor = BatchExecutor(limiter, max_workers=2)
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            pass

    outcomes = executor.stream(itertools.repeat(work), buffersize=4)
    box: list[Any] = []
    consumer = threading.Thread(target=lambda: box.append(next(outcomes, None)), daemon=True)
    consumer.start()
    wait_until(lambda: limiter.asked)
    limiter.gate.set()
    consumer.join(PATIENCE)
    assert box[0].status == "done"
    outcomes.close()
    assert stays(lambda: gauge.entered)
    executor.shutdown()


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6)])
def test_leaving_again_and_again_never_stalls_the_next(limiter: Any) -> None:
    executor = BatchExecutor(limiter, max_workers=2)
    until = time.monotonic() + 4

    def leave_often() -> None:
        while time.monotonic() < until:
            next(executor.stream([raise_lookup_error] * 3, buffersize=1))

    logging.getLogger("paceline").disabled = True
    try:
        thread = threading.Thread(target=leave_often, daemon=True)
        thread.start()
        thread.join(4 + PATIENCE)
        assert not thread.is_alive()
    finally:
        logging.getLogger("paceline").disabled = False
        executor.shutdown(wait=False)


def test_a_stream_never_iterated_lets_go() -> None:
    gauge = Gauge()

    def work() -> None:
        with gauge.running():
            pass

    executor = BatchExecutor(max_workers=2)
    executor.stream(itertools.repeat(work))
    assert stays(lambda: gauge.entered)
    assert gauge.entered <= 2 + 320
    executor.shutdown()


# Ends that raise


def assert_nothing_is_lost(handed_over: list[Outcome[Any]], report: Any, read: int) -> None:
    """What was handed over and what the report holds are the operations read, each once."""
    indices = [outcome.index for outcome in handed_over] + [outcome.index for outcome in report]
    assert sorted(indices) == list(range(read))
    assert sum(report.counts.values()) == read
    for status, count in report.counts.items():
        assert count == statuses([*handed_over, *report]).count(status), status


def consume(outcomes: Iterator[Outcome[Any]]) -> tuple[list[Outcome[Any]], BaseException]:
    handed_over: list[Outcome[Any]] = []
    try:
        for outcome in outcomes:
            handed_over.append(outcome)
    except BaseException as error:
        return handed_over, error
    pytest.fail("the stream ended well")


def test_timeout_raises_without_waiting() -> None:
    running = Running()
    source = Source(running.operations())
    executor = BatchExecutor(max_workers=2)
    try:
        began = time.monotonic()
        handed_over, error = consume(executor.stream(source, timeout=0.2, buffersize=3))
        assert 0.15 < time.monotonic() - began < 3
        assert isinstance(error, BatchTimeoutError)
        assert isinstance(error, TimeoutError)
        report = error.batch_report
        assert report.ended_by == "timeout"
        assert_nothing_is_lost(handed_over, report, source.read)
        assert report.counts["running"] == 2
        assert len(paceline_notes(error)) == 1
        running.assert_nothing_more_starts()
    finally:
        running.release.set()
        executor.shutdown()


def test_timeout_passes_while_the_consumer_is_away() -> None:
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(naps(0.01), timeout=0.2)
        next(outcomes)
        time.sleep(0.4)
        with pytest.raises(BatchTimeoutError):
            for _ in range(1000):
                next(outcomes)


@pytest.mark.parametrize("ordered", [False, True])
def test_max_failures_ends_the_stream(ordered: bool) -> None:
    def work(n: int) -> int:
        time.sleep(0.001)
        if n % 4 == 3:
            raise_value_error(n)
        return n

    source = Source(functools.partial(work, n) for n in itertools.count())
    with BatchExecutor(max_workers=2) as executor:
        outcomes = executor.stream(source, max_failures=5, ordered=ordered, buffersize=3)
        handed_over, error = consume(outcomes)
        assert isinstance(error, ExceptionGroup)
        assert all(isinstance(each, ValueError) for each in error.exceptions)
        report = error.batch_report  # type: ignore[attr-defined]
        assert report.ended_by == "max_failures"
        assert 5 <= report.counts["failed"] <= 5 + 1
        # The failures that were handed over are the consumer's already; the message counts all.
        assert len(error.exceptions) == statuses(report).count("failed") >= 1
        assert error.message.startswith(f"{report.counts['failed']} of {source.read} ")
        assert_nothing_is_lost(handed_over, report, source.read)
        # This end waits for what was running.
        assert report.counts.get("running", 0) == 0
        with pytest.raises(StopIteration):
            next(outcomes)


@pytest.mark.parametrize("after", [0, 1, 5, 200])
def test_an_input_that_raises_ends_the_stream_with_everything_in_the_report(after: int) -> None:
    def broken() -> Iterator[Callable[[], int]]:
        yield from numbers(after)
        raise LookupError("the input is broken")

    with BatchExecutor(max_workers=2) as executor:
        handed_over, error = consume(executor.stream(broken(), buffersize=4))
        assert isinstance(error, LookupError)
        assert str(error) == "the input is broken"
        report = error.batch_report  # type: ignore[attr-defined]
        assert report.ended_by == "input"
        assert_nothing_is_lost(handed_over, report, after)
        assert report.counts.get("running", 0) == 0
        assert len(paceline_notes(error)) == 1


def test_a_limiter_that_raises_ends_the_stream() -> None:
    class Down:
        def __init__(self) -> None:
            self.calls = 0

        def acquire(self) -> None:
            self.calls += 1
            if self.calls > 10:
                raise ConnectionError("limiter is down")

    source = Source(numbers())
    with BatchExecutor(Down(), max_workers=2) as executor:
        handed_over, error = consume(executor.stream(source, buffersize=4))
        assert isinstance(error, ConnectionError)
        report = error.batch_report  # type: ignore[attr-defined]
        assert report.ended_by == "limiter"
        assert_nothing_is_lost(handed_over, report, source.read)
        assert report.counts["done"] == 10
        assert report.counts["not_started"] == source.read - 10


def test_system_exit_in_an_operation_ends_the_stream() -> None:
    def leave() -> None:
        raise SystemExit(3)

    source = Source(itertools.chain(numbers(20), [leave], numbers()))
    with BatchExecutor(max_workers=2) as executor:
        handed_over, error = consume(executor.stream(source, buffersize=4))
        assert isinstance(error, SystemExit)
        assert error.code == 3
        report = error.batch_report  # type: ignore[attr-defined]
        assert report.ended_by == "operation"
        assert_nothing_is_lost(handed_over, report, source.read)


def test_shutdown_with_cancel_futures_ends_a_stream_of_another_thread() -> None:
    running = Running()
    source = Source(running.operations())
    executor = BatchExecutor(max_workers=2)
    box: list[Any] = []
    consumer = threading.Thread(
        target=lambda: box.append(consume(executor.stream(source, buffersize=4))), daemon=True
    )
    consumer.start()
    wait_until(lambda: running.gauge.now == 2 and source.read == 7)
    executor.shutdown(wait=False, cancel_futures=True)
    running.release.set()
    consumer.join(PATIENCE)
    handed_over, error = box[0]
    report = error.batch_report
    assert report.ended_by == "shutdown"
    assert_nothing_is_lost(handed_over, report, source.read)
    assert report.counts["cancelled"] >= 1


# The limit


@pytest.mark.parametrize("ordered", [False, True])
def test_a_stream_keeps_to_the_limit(ordered: bool) -> None:
    limiter = RateLimiter(20, per=0.25)
    with BatchExecutor(limiter, max_workers=4) as executor:
        operations = itertools.repeat(time.monotonic, 90)
        starts = [outcome.value for outcome in executor.stream(operations, ordered=ordered)]
    assert worst_window(starts, 0.23) <= 20


def test_a_foreign_limiter_is_asked_once_for_each_start() -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter, max_workers=3) as executor:
        assert len(list(executor.stream(numbers(300)))) == 300
        assert limiter.calls == 300
        assert threading.current_thread() not in limiter.threads
        assert len(set(limiter.threads)) == 1


def test_context_variables_reach_the_operations_of_a_stream() -> None:
    import contextvars

    user: contextvars.ContextVar[str] = contextvars.ContextVar("user", default="nobody")
    with BatchExecutor(max_workers=2) as executor:
        token = user.set("ada")
        outcomes = executor.stream(itertools.repeat(user.get, 300))
        user.reset(token)
        assert {outcome.value for outcome in outcomes} == {"ada"}


def test_concurrent_consumers_of_one_stream_get_each_outcome_once() -> None:
    with BatchExecutor(max_workers=3) as executor:
        outcomes = executor.stream(list(numbers(3000)))
        got: list[list[int]] = [[], [], []]
        failures: list[BaseException] = []

        def take(mine: list[int]) -> None:
            try:
                for outcome in outcomes:
                    mine.append(outcome.index)
            except BaseException as error:
                failures.append(error)

        consumers = [threading.Thread(target=take, args=(mine,), daemon=True) for mine in got]
        for consumer in consumers:
            consumer.start()
        for consumer in consumers:
            consumer.join(PATIENCE)
            assert not consumer.is_alive()
    # As with a generator, a thread that finds another inside may be told so; nothing is lost.
    assert all(isinstance(error, ValueError) for error in failures)
    taken = sorted(itertools.chain.from_iterable(got))
    assert len(taken) == len(set(taken))
    if not failures:
        assert taken == list(range(3000))
