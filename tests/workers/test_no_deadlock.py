"""An operation may use its own executor and wait for it, whatever the number of workers."""

from __future__ import annotations

import functools
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from typing import Any

import pytest
from childprocess import run_script
from helpers import RecordingLimiter, in_thread, wait_until
from nesting import PATIENCE, WAYS, by_ordered_stream, by_result, by_stream, executor_of, nested

from paceline import BatchExecutor, RateLimiter

LIMITERS = pytest.mark.parametrize(
    "limiter",
    [lambda: None, lambda: RateLimiter(1_000_000, per=1), RecordingLimiter],
    ids=["no limiter", "ours", "foreign"],
)
WORKERS = pytest.mark.parametrize("workers", [1, 2])


@LIMITERS
@WORKERS
@pytest.mark.parametrize("way", WAYS)
def test_three_deep(way: Callable[..., int], workers: int, limiter: Callable[[], Any]) -> None:
    with executor_of(limiter(), workers) as executor:
        assert executor.submit(nested, way, executor, 3).result(PATIENCE) == 3
        assert executor.execute(functools.partial(nested, way, executor, 3)) == 3


@pytest.mark.parametrize("outer", WAYS)
@pytest.mark.parametrize("inner", WAYS)
def test_any_way_inside_any_other(outer: Callable[..., int], inner: Callable[..., int]) -> None:
    with executor_of(RateLimiter(1_000_000, per=1), 1) as executor:

        def middle() -> int:
            return 1 + inner(executor, lambda: 1)

        box: list[int] = []
        thread = threading.Thread(target=lambda: box.append(outer(executor, middle)), daemon=True)
        thread.start()
        thread.join(PATIENCE)
        assert box == [2]


@WORKERS
def test_many_operations_that_all_wait(workers: int) -> None:
    """Each of 30 operations waits for three more; all would block a fixed pool at once."""
    with executor_of(None, workers) as executor:

        def outer(n: int) -> int:
            return sum(future.result() for future in [executor.submit(int, n) for _ in range(3)])

        futures = [executor.submit(outer, n) for n in range(30)]
        assert [future.result(PATIENCE) for future in futures] == [3 * n for n in range(30)]
        assert executor.execute_batch([functools.partial(outer, n) for n in range(30)]) == [
            3 * n for n in range(30)
        ]


def test_waiting_for_one_that_stands_far_back_in_the_queue() -> None:
    with executor_of(None, 1) as executor:
        handed_in: Future[Future[int]] = Future()

        def waits_for_the_last() -> int:
            return handed_in.result(PATIENCE).result()

        first = executor.submit(waits_for_the_last)
        between = [executor.submit(int) for _ in range(50)]
        handed_in.set_result(executor.submit(int, 7))
        assert first.result(PATIENCE) == 7
        assert [future.result(PATIENCE) for future in between] == [0] * 50


def test_waiting_for_one_that_another_operation_is_running() -> None:
    with executor_of(None, 2) as executor:
        release = threading.Event()
        slow = executor.submit(release.wait, PATIENCE)
        waiting = [executor.submit(slow.result) for _ in range(4)]
        quick = executor.submit(int, 3)
        assert quick.result(PATIENCE) == 3, "those that wait do not keep the others from running"
        release.set()
        assert [future.result(PATIENCE) for future in waiting] == [True] * 4


def test_waiting_for_one_that_must_not_run_in_this_thread() -> None:
    """Two operations that need each other's progress: neither may be run inside the other."""
    with executor_of(None, 1) as executor:
        first_step, second_step = threading.Event(), threading.Event()

        def inner() -> str:
            first_step.set()
            assert second_step.wait(PATIENCE)
            return "inner"

        def outer() -> str:
            future = executor.submit(inner)
            return str(future.result()) + " in outer"

        box = executor.submit(outer)
        wait_until(first_step.is_set)
        second_step.set()
        assert box.result(PATIENCE) == "inner in outer"


def test_the_limit_holds_for_nested_operations() -> None:
    limiter = RateLimiter(5, per=0.4)
    starts: list[float] = []
    lock = threading.Lock()

    with BatchExecutor(limiter, max_workers=1) as executor:

        def note() -> None:
            with lock:
                starts.append(time.monotonic())

        def outer() -> None:
            note()
            executor.submit(note).result()
            executor.execute_batch([note] * 2)

        executor.execute_batch([outer] * 4, on_error="raise")
    starts.sort()
    assert len(starts) == 16
    for first, sixth in itertools.pairwise(starts[::5]):
        assert sixth - first > 0.35


def test_waiting_for_two_executors_at_once() -> None:
    with executor_of(None, 1) as one, executor_of(None, 1) as other:

        def outer() -> int:
            futures = [one.submit(int, 1), other.submit(int, 2), Future[int]()]
            futures[2].set_result(3)
            return sum(future.result() for future in wait(futures).done)

        assert one.submit(outer).result(PATIENCE) == 6
        assert other.submit(outer).result(PATIENCE) == 6


def test_result_from_a_done_callback() -> None:
    with executor_of(None, 1) as executor:
        answers: list[int] = []
        gate = threading.Event()
        first = executor.submit(gate.wait, PATIENCE)
        second = executor.submit(int, 5)

        def callback(_: Future[Any]) -> None:
            answers.append(second.result())
            answers.append(executor.submit(int, 6).result())
            answers.extend(executor.execute_batch([functools.partial(int, 7)] * 2))
            answers.extend(executor.map(int, ["8", "9"]))
            done, _pending = wait([executor.submit(int, 10)])
            answers.append(done.pop().result())

        first.add_done_callback(callback)
        gate.set()
        wait_until(lambda: len(answers) == 7, timeout=PATIENCE)
    assert answers == [5, 6, 7, 7, 8, 9, 10]


class RefusingFirst:
    """A foreign limiter that grants everything but its first permit."""

    def __init__(self, error: Exception | None) -> None:
        self.gate = threading.Event()
        self._error = error
        self._asked = 0

    def acquire(self) -> bool:
        assert self.gate.wait(PATIENCE)
        self._asked += 1
        if self._asked == 1 and self._error is not None:
            raise self._error
        return self._asked > 1


@WORKERS
@pytest.mark.parametrize("error", [None, OSError("away")], ids=["refused", "raised"])
def test_result_from_the_callback_of_a_call_that_got_no_permit(
    error: Exception | None, workers: int
) -> None:
    limiter = RefusingFirst(error)
    with executor_of(limiter, workers) as executor:
        answers: list[Any] = []
        first = executor.submit(int)
        second = executor.submit(int, 5)

        def callback(it: Future[int]) -> None:
            answers.append(second.result())
            answers.append(executor.submit(int, 6).result())
            answers.extend(executor.map(int, ["7", "8"]))
            answers.append(it.exception())

        first.add_done_callback(callback)
        limiter.gate.set()
        assert second.result(PATIENCE) == 5
        wait_until(lambda: len(answers) == 5, timeout=PATIENCE)
    assert answers == [5, 6, 7, 8, first.exception()]
    assert first.exception() is error or error is None


def test_result_of_the_future_itself_in_its_callback() -> None:
    with executor_of(None, 1) as executor:
        gate = threading.Event()
        future = executor.submit(gate.wait, PATIENCE)
        answers: list[bool] = []
        future.add_done_callback(lambda it: answers.append(it.result()))
        gate.set()
        wait_until(lambda: answers)
    assert answers == [True]


@pytest.mark.every_python
def test_batches_nest_as_deep_as_python_recurses(python: str) -> None:
    run_script(
        """
        from functools import partial
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=1)
        def nest():
            global depth
            depth += 1
            return executor.execute_batch([nest])
        def begin(frames):
            return begin(frames - 1) if frames else executor.execute_batch([nest])
        # The stack may come to its end at any of the calls that each level makes.
        for frames in range(12):
            depth = 0
            executor.execute_batch([partial(begin, frames)])
            assert depth > 100, depth
        """,
        python=python,
    ).assert_silent()


def test_chained_callbacks_go_deep() -> None:
    with executor_of(None, 1) as executor:
        done: Future[int] = Future()

        def step(n: int) -> None:
            if n == 500:
                done.set_result(n)
            else:
                executor.submit(int).add_done_callback(lambda _: step(n + 1))

        step(0)
        assert done.result(PATIENCE) == 500


def test_an_operation_that_cancels_what_it_waits_for() -> None:
    with executor_of(None, 1) as executor:

        def outer() -> bool:
            future = executor.submit(int)
            cancelled = future.cancel()
            _done, pending = wait([future], timeout=PATIENCE)
            return cancelled and not pending

        assert executor.submit(outer).result(PATIENCE)


def test_a_nested_result_with_a_timeout_ends_in_time() -> None:
    with executor_of(None, 1) as executor:
        release = threading.Event()

        def outer() -> str:
            future = executor.submit(release.wait, PATIENCE)
            try:
                future.result(timeout=0.1)
            except TimeoutError:
                return "timed out"
            return "waited"

        box = executor.submit(outer)
        # The operation waited for runs elsewhere, or the time could not be kept.
        assert box.result(PATIENCE) == "timed out"
        release.set()


def test_a_failure_crosses_every_level() -> None:
    def fail() -> int:
        raise LookupError("at the bottom")

    with executor_of(None, 1) as executor:
        for way in WAYS:
            if way in (by_stream, by_ordered_stream):
                continue
            kinds: tuple[type[BaseException], ...] = (LookupError, ExceptionGroup, AssertionError)
            with pytest.raises(kinds):
                executor.submit(way, executor, fail).result(PATIENCE)
        assert executor.submit(nested, by_result, executor, 3).result(PATIENCE) == 3


def test_nested_streams_left_half_way() -> None:
    with executor_of(None, 1) as executor:

        def outer() -> int:
            taken = 0
            for _ in executor.stream(itertools.repeat(int), buffersize=2):
                taken += 1
                if taken == 5:
                    break
            return taken

        assert executor.execute_batch([outer] * 10) == [5] * 10


@pytest.mark.parametrize("cancel_futures", [False, True])
def test_shutdown_while_operations_wait_for_each_other(cancel_futures: bool) -> None:
    for _ in range(20):
        executor = BatchExecutor(max_workers=1)
        outcomes: list[Any] = []

        def outer(executor: BatchExecutor = executor, outcomes: list[Any] = outcomes) -> None:
            try:
                outcomes.append(executor.submit(time.sleep, 0.001).result(PATIENCE))
            except BaseException as error:
                outcomes.append(error)

        futures = [executor.submit(outer) for _ in range(5)]
        thread, _box = in_thread(
            functools.partial(executor.shutdown, cancel_futures=cancel_futures)
        )
        thread.join(PATIENCE)
        assert not thread.is_alive()
        assert all(future.done() for future in futures)
        assert len(outcomes) == sum(not future.cancelled() for future in futures)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("cancel_futures", [False, True])
@LIMITERS
def test_8_threads_run_batches_while_others_shut_down(
    limiter: Callable[[], Any], cancel_futures: bool
) -> None:
    for attempt in range(15):
        executor = BatchExecutor(limiter(), max_workers=3)
        wrong: list[Any] = []
        completed = threading.Semaphore(0)

        def run_batches(
            executor: BatchExecutor = executor,
            wrong: list[Any] = wrong,
            completed: threading.Semaphore = completed,
        ) -> None:
            while True:
                try:
                    values = executor.execute_batch([int] * 20)
                except BaseException as error:
                    report = getattr(error, "batch_report", None)
                    if report is not None:
                        if not cancel_futures or len(report) != 20:
                            wrong.append(error)
                    elif not isinstance(error, RuntimeError):
                        wrong.append(error)
                    return
                if values != [0] * 20:
                    wrong.append(values)
                    return
                completed.release()

        threads = [threading.Thread(target=run_batches, daemon=True) for _ in range(8)]
        for thread in threads:
            thread.start()
        for _ in range(attempt * 3):
            assert completed.acquire(timeout=PATIENCE)
        ending = [
            threading.Thread(
                target=functools.partial(executor.shutdown, cancel_futures=cancel_futures),
                daemon=True,
            )
            for _ in range(3)
        ]
        for thread in ending:
            thread.start()
        for thread in threads + ending:
            thread.join(PATIENCE)
            assert not thread.is_alive()
        assert not wrong


@LIMITERS
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("verb", ["run", "execute_batch", "stream", "map"])
def test_a_nested_batch_keeps_to_its_timeout(
    verb: str, workers: int, limiter: Callable[[], Any]
) -> None:
    release = threading.Event()

    def outer() -> None:
        if verb == "map":
            list(executor.map(lambda _: release.wait(PATIENCE), [1], timeout=0.1))
        else:
            list(getattr(executor, verb)([functools.partial(release.wait, PATIENCE)], timeout=0.1))

    with executor_of(limiter(), workers) as executor:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            executor.execute(outer)
        assert time.monotonic() - began < PATIENCE / 2
        release.set()
        assert executor.execute_batch([int] * 5) == [0] * 5


def waiting_for_another(executor: BatchExecutor, *, then: Callable[[], object] = int) -> None:
    time.sleep(0.05)
    wait([executor.submit(int)])
    then()


@pytest.mark.parametrize("timeout", [None, 60])
@pytest.mark.parametrize("verb", ["run", "stream"])
def test_a_nested_batch_whose_input_raises_while_an_operation_waits(
    verb: str, timeout: float | None
) -> None:
    def operations() -> Iterator[Callable[[], object]]:
        yield functools.partial(waiting_for_another, executor)
        yield int
        raise LookupError("no more input")

    def outer() -> None:
        list(getattr(executor, verb)(operations(), timeout=timeout))

    with executor_of(None, 1) as executor:
        with pytest.raises(LookupError):
            executor.submit(outer).result(PATIENCE)


@pytest.mark.parametrize("verb", ["run", "stream"])
def test_a_nested_batch_with_a_timeout_whose_input_waits_for_an_operation(verb: str) -> None:
    ended = threading.Event()

    def operations() -> Iterator[Callable[[], object]]:
        yield functools.partial(waiting_for_another, executor, then=ended.set)
        assert ended.wait(PATIENCE)
        yield int

    def outer() -> int:
        return len(list(getattr(executor, verb)(operations(), timeout=60)))

    with executor_of(None, 1) as executor:
        assert executor.submit(outer).result(PATIENCE) == 2


def test_nested_streams_whose_limiter_raises() -> None:
    class Failing:
        def __init__(self) -> None:
            self.asked = itertools.count(1)

        def acquire(self) -> None:
            if next(self.asked) % 7 == 0:
                raise ConnectionError("away")

    def outer(depth: int) -> None:
        operations = [functools.partial(outer, depth - 1) if depth else int] * 3
        for _ in executor.stream(operations):
            pass

    with executor_of(Failing(), 1) as executor:
        futures = [executor.submit(outer, 2) for _ in range(10)]
        assert not wait(futures, timeout=2 * PATIENCE).not_done


NO_MORE_THREADS = """
from concurrent.futures import as_completed, wait
from paceline import BatchExecutor, RateLimiter

class Foreign:
    def acquire(self):
        time.sleep(0.001)

done = []

def note(number):
    done.append(number)

def ask(number, others):
    queued.wait()
    {way}
    done.append(number)

queued = threading.Event()
executor = BatchExecutor({limiter}, max_workers={workers})
executor.execute_batch([lambda: time.sleep(0.05)] * {workers})
"""

WAITING = {
    "wait": "wait(others)",
    "as_completed": "list(as_completed(others))",
    "result": "[other.result() for other in others]",
    "exception": "[other.exception() for other in others]",
}


@pytest.mark.parametrize("limiter", ["None", "RateLimiter(2, per=0.05)", "Foreign()"])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", WAITING)
def test_where_no_further_thread_can_be_started(way: str, workers: int, limiter: str) -> None:
    script = NO_MORE_THREADS.format(way=WAITING[way], workers=workers, limiter=limiter)
    run_script(
        script
        + """
def no_more(thread):
    raise RuntimeError("can't start new thread")

threading.Thread.start = no_more
later, last = [], []
calls = [executor.submit(ask, 0, later), executor.submit(ask, 1, later)]
# What is waited for waits itself.
later += [executor.submit(ask, 2, last), executor.submit(ask, 3, last)]
last.append(executor.submit(note, 4))
queued.set()
assert not wait([*calls, *later, *last], timeout=20).not_done
assert sorted(done) == [0, 1, 2, 3, 4], done
executor.shutdown()
"""
    ).assert_silent()


@pytest.mark.every_python
@pytest.mark.parametrize("way", WAITING)
def test_in_the_end_of_the_process(way: str, python: str) -> None:
    """From Python 3.12 to 3.12.1 no thread can be started there."""
    script = NO_MORE_THREADS.format(way=WAITING[way], workers=1, limiter="None")
    ended = run_script(
        script
        + """
import atexit
atexit.register(lambda: print(sorted(done)))

def ask_at_the_end():
    while threading.main_thread().is_alive():
        time.sleep(0.01)
    ask(0, others)

others = []
executor.submit(ask_at_the_end)
others += [executor.submit(note, 1), executor.submit(note, 2)]
queued.set()
""",
        python=python,
        timeout=20,
    ).assert_silent()
    assert ended.stdout == "[0, 1, 2]\n"
