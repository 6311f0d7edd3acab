"""A server that refuses: one call goes first after a pause, and in the end it is given up."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

import pytest
from helpers import RecordingLimiter

from paceline import (
    BatchExecutor,
    BatchRefusedError,
    BatchReport,
    RateLimiter,
    Retry,
)


class TooManyRequests(Exception):
    """As HTTP clients raise it."""

    status_code = 429

    def __init__(self, wait: float | None = None) -> None:
        super().__init__("slow down")
        self.headers = {} if wait is None else {"Retry-After": str(wait)}


class Server:
    """Refuses from one time to another, and counts."""

    def __init__(self, wait: float | None = 0.05, *, latency: float = 0.0) -> None:
        self.wait = wait
        self.latency = latency
        self.refuses = True
        self.calls: list[tuple[float, int]] = []
        self.refused: list[int] = []
        self._lock = threading.Lock()

    def call(self, number: int = 0) -> int:
        with self._lock:
            self.calls.append((time.monotonic(), number))
            refuses = self.refuses
            if refuses:
                self.refused.append(number)
        if refuses:
            raise TooManyRequests(self.wait)
        time.sleep(self.latency)
        return number

    def operations(self, count: int) -> list[Callable[[], int]]:
        return [partial(self.call, number) for number in range(count)]


LIMITERS: dict[str, Callable[[], Any]] = {
    "native": lambda: RateLimiter(10_000, per=1),
    "combined": lambda: RateLimiter(10_000, per=1) & RateLimiter(100_000, per=10),
    "foreign": RecordingLimiter,
    "none": lambda: None,
}

each_limiter = pytest.mark.parametrize("limiter", LIMITERS)


def executor_on(limiter: str, workers: int = 8, **options: Any) -> BatchExecutor:
    options.setdefault("attempts", 4)
    options.setdefault("backoff", 0.02)
    return BatchExecutor(LIMITERS[limiter](), workers, retry=Retry(**options))


def by_run(executor: BatchExecutor, server: Server, count: int) -> object:
    return executor.run(server.operations(count))


def by_batch(executor: BatchExecutor, server: Server, count: int) -> object:
    return executor.execute_batch(server.operations(count))


def by_stream(executor: BatchExecutor, server: Server, count: int) -> object:
    return list(executor.stream(iter(server.operations(count))))


def by_ordered(executor: BatchExecutor, server: Server, count: int) -> object:
    return list(executor.stream(iter(server.operations(count)), ordered=True))


def by_map(executor: BatchExecutor, server: Server, count: int) -> object:
    return list(executor.map(server.call, range(count)))


VERBS = [by_run, by_batch, by_stream, by_ordered, by_map]


@each_limiter
@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_refuses_for_good_ends_a_batch(
    verb: Callable[[BatchExecutor, Server, int], object], limiter: str
) -> None:
    server = Server()
    with executor_on(limiter) as executor:
        with pytest.raises(BatchRefusedError, match="it has refused 4 calls in a row") as caught:
            verb(executor, server, 1000)
        report = caught.value.batch_report
        assert report.ended_by == "refused"
        assert isinstance(caught.value.__cause__, TooManyRequests)
        # Some may have been under way when the first was refused.
        assert 4 <= len(server.calls) <= 3 + 8
        assert 1 <= report.pauses <= 4
        assert 0 < report.paused <= report.elapsed
        assert set(report.counts) - {n for n, c in report.counts.items() if not c} == {
            "failed",
            "not_started",
        }
        begun = {number for _, number in server.calls}
        assert report.counts["failed"] == len(begun)
        assert {each.index for each in report if each.status == "not_started"}.isdisjoint(begun)
        # Where the machine is late to go on after a pause, that is no pause.
        assert "server" in report.explain() or report.paused < report.elapsed / 2
        # What is left can go on, on the same executor.
        server.refuses = False
        assert executor.run(server.operations(50)).counts["done"] == 50


@each_limiter
def test_submitted_calls_fail_and_later_ones_are_made(limiter: str) -> None:
    server = Server()
    with executor_on(limiter) as executor:
        futures = [executor.submit(server.call, number) for number in range(1000)]
        done, late = wait(futures, timeout=30)
        assert not late
        kinds = Counter(type(each.exception()) for each in done)
        begun = {number for _, number in server.calls}
        assert kinds == {TooManyRequests: len(begun), BatchRefusedError: 1000 - len(begun)}
        assert len(server.calls) <= 3 + 8
        for each in done:
            error = each.exception()
            if isinstance(error, BatchRefusedError):
                assert isinstance(error.__cause__, TooManyRequests)
        server.refuses = False
        assert executor.submit(server.call, 7).result(30) == 7


@each_limiter
def test_where_nothing_is_left_to_start_the_outcomes_say_it(limiter: str) -> None:
    together = threading.Barrier(3)
    begun = itertools.count()

    def operation() -> None:
        if next(begun) % 100 < 3:
            together.wait(10)
        raise TooManyRequests(0.05)

    with executor_on(limiter, workers=3) as executor:
        report = executor.run([operation] * 3)
        assert report.ended_by == "completed"
        assert report.counts["failed"] == 3
        assert all(isinstance(each.exception, TooManyRequests) for each in report)
        assert sum(each.attempts for each in report) <= 3 + 3
        # A call that is answered ends the row of refusals, and the pauses are short again.
        assert executor.execute(int) == 0
        begun = itertools.count()
        outcomes = list(executor.stream([operation] * 3, ordered=True))
        assert [each.status for each in outcomes] == ["failed"] * 3
        assert [each.index for each in outcomes] == [0, 1, 2]
        assert executor.execute(int) == 0
        begun = itertools.count(3)
        with pytest.raises(TooManyRequests):
            executor.execute(operation)


@each_limiter
def test_a_pause_that_is_too_long_ends_a_batch_without_another_call(limiter: str) -> None:
    server = Server(wait=600)
    with executor_on(limiter, workers=1, max_pause=0.5) as executor:
        began = time.monotonic()
        with pytest.raises(BatchRefusedError, match=r"wait for (599|600) s more"):
            executor.run(server.operations(100))
        assert len(server.calls) == 1
        # Nobody waits for its end, nor calls before it, by whatever verb.
        for verb in VERBS:
            with pytest.raises(BatchRefusedError) as caught:
                verb(executor, server, 10)
            counts = caught.value.batch_report.counts
            assert sum(counts.values()) == counts["not_started"]
        with pytest.raises(BatchRefusedError, match=r"longer than Retry\(max_pause=\)"):
            executor.execute(server.call)
        with pytest.raises(BatchRefusedError):
            executor.submit(server.call).result(30)
        assert time.monotonic() - began < 30
    assert len(server.calls) == 1


def test_a_pause_that_is_too_long_can_be_cut() -> None:
    server = Server(wait=600)
    with executor_on("none", workers=1, max_pause=0.05, longer="cut", attempts=3) as executor:
        report = executor.run(server.operations(1))
    assert len(server.calls) == 3
    assert report.counts["failed"] == 1


@pytest.mark.parametrize("longer", ["End", "", None, 1, ["end"]])
def test_what_to_do_about_longer_pauses_is_one_of_two_words(longer: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="longer must be 'end' or 'cut', not"):
        Retry(longer=longer)


@each_limiter
@pytest.mark.parametrize("wait", [0.15, None])
def test_one_call_goes_first_after_each_pause_of_an_outage(
    wait: float | None, limiter: str
) -> None:
    server = Server(wait, latency=0.005)
    server.refuses = False
    with executor_on(limiter, workers=16, attempts=20, backoff=0.1) as executor:
        threading.Timer(0.1, setattr, (server, "refuses", True)).start()
        threading.Timer(1.0, setattr, (server, "refuses", False)).start()
        report = executor.run(server.operations(3000))
    assert report.counts["done"] == 3000
    # All workers may meet the beginning of it; after that it is one for each pause.
    assert report.pauses >= 2
    assert len(server.refused) <= 16 + report.pauses


def test_the_others_follow_a_probe_one_by_one() -> None:
    starts: list[float] = []
    tries = itertools.count()

    def operation() -> None:
        starts.append(time.monotonic())
        if next(tries) == 0:
            raise TooManyRequests(0.2)

    with BatchExecutor(RateLimiter(20, per=1), 8, retry=Retry()) as executor:
        report = executor.run([operation])
        assert report.counts["done"] == 1
        starts.clear()
        executor.run([operation] * 6)
    gaps = [after - before for before, after in itertools.pairwise(starts)]
    assert min(gaps) >= 0.045, "20 in a second are 50 ms apart"


def test_executors_on_one_limiter_share_the_probe_and_the_end() -> None:
    server = Server(wait=0.1)
    limiter = RateLimiter(10_000, per=1)
    ended: list[BatchReport[object]] = []

    def work() -> None:
        with BatchExecutor(limiter, 4, retry=Retry(4)) as executor:
            try:
                executor.run(server.operations(300))
            except BatchRefusedError as error:
                ended.append(error.batch_report)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(ended) == 4
    # What was under way at first, and one for each pause that followed; one batch that is late to
    # begin may have a pause more.
    assert len(server.calls) <= 16 + 2 * 4
    assert all(report.ended_by == "refused" for report in ended)


def test_a_probe_that_runs_long_holds_nobody_up() -> None:
    tries = itertools.count()
    starts: list[float] = []
    released = threading.Event()

    def operation() -> None:
        number = next(tries)
        starts.append(time.monotonic())
        if number == 0:
            raise TooManyRequests(0.1)
        if number == 1:
            assert released.wait(30), "nobody else was let through"
        else:
            released.set()

    with BatchExecutor(RateLimiter(10_000, per=1), 2, retry=Retry()) as executor:
        assert executor.run([operation] * 4).counts["done"] == 4


def test_a_probe_may_run_a_batch_of_its_own_executor() -> None:
    tries = itertools.count()
    for workers in (1, 2):
        with BatchExecutor(RateLimiter(10_000, per=1), workers, retry=Retry()) as executor:

            def outer(executor: BatchExecutor = executor) -> list[int]:
                if next(tries) % 2 == 0:
                    raise TooManyRequests(0.05)
                return executor.run([partial(abs, -1)] * 3).values()

            assert executor.run([outer]).values() == [[1, 1, 1]]


def test_a_spent_quota_ends_nothing() -> None:
    class QuotaError(Exception):
        status_code = 429
        code = "insufficient_quota"

    def spent() -> None:
        raise QuotaError("insufficient_quota")

    with BatchExecutor(None, 2, retry=Retry(2)) as executor:
        report = executor.run([*[spent] * 20, partial(abs, -1)])
    assert report.counts["done"] == 1
    assert report.counts["failed"] == 20
    assert report.ended_by == "completed"


def test_nested_batches_end_with_what_they_are_part_of() -> None:
    server = Server()
    with executor_on("native", workers=2) as executor:

        def outer() -> object:
            return executor.run(server.operations(100))

        with pytest.raises(BatchRefusedError) as caught:
            executor.run([outer] * 50)
    report = caught.value.batch_report
    assert report.counts["not_started"] >= 40
    assert all(isinstance(each.exception, BatchRefusedError) for each in report.failures)
    assert len(server.calls) <= 20


def run_script(script: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )


PROGRAM = """
import logging
from paceline import BatchExecutor, Retry
{setting}
class Refused(Exception):
    status_code, headers = 429, {{"Retry-After": "{wait}"}}
def refuse():
    raise Refused("later")
for _ in range(3):
    with BatchExecutor(None, 1, retry=Retry(2, max_pause=0.2)) as executor:
        executor.run([refuse])
"""


@pytest.mark.parametrize(
    ("wait", "setting", "lines"),
    [
        ("0.1", "", 0),
        ("29", "", 0),
        ("600", "", 1),
        ("600", "logging.getLogger('paceline').setLevel(logging.ERROR)", 0),
        ("600", "logging.basicConfig(level=logging.ERROR)", 0),
        ("600", "logging.basicConfig()", 3),
        ("600", "logging.lastResort = None", 0),
        ("600", "import sys; sys.stderr = None", 0),
    ],
)
def test_a_program_without_logging_is_told_of_a_long_pause_once(
    wait: str, setting: str, lines: int
) -> None:
    ran = run_script(PROGRAM.format(wait=wait, setting=setting))
    assert ran.returncode == 0, ran.stderr
    written = [line for line in ran.stderr.splitlines() if "batch_operation_failed" not in line]
    written = [line for line in written if "rate_limited" in line]
    assert len(written) == lines, ran.stderr
    for line in written:
        assert "600.00 s, until " in line
    if lines == 0 and "basicConfig" not in setting:
        assert not ran.stderr


def test_threads_that_switch_all_the_time_lose_no_wake_up() -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for limiter in (RateLimiter(100_000, per=1), None):
            fails = itertools.cycle([True, *[False] * 40])

            def operation(fails: Iterator[bool] = fails) -> None:
                if next(fails):
                    raise TooManyRequests(0.002)

            with BatchExecutor(limiter, 8, retry=Retry(50, backoff=0.001)) as executor:
                futures: list[Future[None]] = [executor.submit(operation) for _ in range(300)]
                report = executor.run([operation] * 1000, timeout=60)
                assert report.counts["done"] == 1000
                assert not wait(futures, 60).not_done
    finally:
        sys.setswitchinterval(interval)
