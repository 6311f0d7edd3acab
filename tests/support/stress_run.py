"""Uses executors at random from many threads for a while, and checks the books.

    python stress_run.py SEED SECONDS

Prints one JSON object of counts. Exits with 1, and says on stderr what was wrong, when an operation
has no outcome or two, started too often or after its batch had ended, when starts and permits
differ, or when a window holds more starts than its limit. A watchdog prints all stacks if nothing
moves.
"""

from __future__ import annotations

import collections
import contextlib
import faulthandler
import functools
import itertools
import json
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, as_completed, wait
from typing import Any

from helpers import worst_window
from stress_books import Books, CountingLimiter, Deliberate, Flaky, Operation, fail, leave

from paceline import BatchExecutor, BatchReport, BatchTimeoutError, Outcome, RateLimiter, Retry

STALL = 60.0
"""Seconds in which a round must end."""

SWITCH_INTERVAL = 1e-6
"""Seconds; the interpreter then changes threads wherever it may."""


class Round:
    """One or two executors on one limiter, used by several threads until they are shut down."""

    def __init__(self, rng: random.Random, books: Books, limiter: Any) -> None:
        self._rng = rng
        self._books = books
        self._lock = threading.Lock()
        self.operations: list[Operation] = []
        self.never: list[tuple[Operation, str]] = []
        """Operations that were reported as never begun."""
        self.futures: list[tuple[Future[int], Operation]] = []
        self.early_ends = 0
        self.cancels = 0
        retry = Retry(3, on=(Flaky,), backoff=0.001, max_backoff=0.002, budget=None)
        self.retrying = rng.random() < 0.5
        self.executors = [
            BatchExecutor(
                limiter,
                max_workers=rng.choice([1, 1, 2, 3, 5]),
                retry=retry if self.retrying else None,
            )
            for _ in range(rng.choice([1, 1, 2]))
        ]

    # What is run

    def make(self, executor: BatchExecutor, rng: random.Random) -> Operation:
        kind = rng.random()
        behaviour: Callable[[], object] | None = None
        if kind < 0.12:
            behaviour = functools.partial(time.sleep, rng.random() * 0.002)
        elif kind < 0.24:
            behaviour = fail
        elif kind < 0.28:
            behaviour = functools.partial(self.nested_submit, executor)
        elif kind < 0.31:
            behaviour = functools.partial(self.nested_batch, executor)
        elif kind < 0.315:
            behaviour = functools.partial(self.nested_wait, executor)
        return self.register(behaviour)

    def register(self, behaviour: Callable[[], object] | None) -> Operation:
        with self._lock:
            name = len(self.operations)
            operation = Operation(behaviour, name, 2 if self.retrying and name % 5 == 4 else 1)
            self.operations.append(operation)
        return operation

    def make_many(self, executor: BatchExecutor, rng: random.Random) -> list[Operation]:
        return [self.make(executor, rng) for _ in range(rng.choice([1, 3, 10, 40]))]

    def nested_submit(self, executor: BatchExecutor) -> None:
        operation = self.register(None)
        future = executor.submit(operation)
        self.note_future(future, operation)
        try:
            value = future.result()
        except Flaky:
            # A shutdown ended it between two tries; this operation is not to be tried again.
            raise Deliberate from None
        self._books.check(value == operation.name, "a nested result is another's")

    def nested_batch(self, executor: BatchExecutor) -> None:
        operations = [self.register(None) for _ in range(3)]
        values = executor.execute_batch(operations)
        if any(isinstance(getattr(each, "exception", None), Flaky) for each in values):
            # As above.
            raise Deliberate
        self._books.check(values == [each.name for each in operations], "a nested batch is wrong")

    def nested_wait(self, executor: BatchExecutor) -> None:
        operations = [self.register(None) for _ in range(2)]
        futures = [executor.submit(operation) for operation in operations]
        for future, operation in zip(futures, operations, strict=True):
            self.note_future(future, operation)
        done, pending = wait(futures)
        self._books.check(len(done) == 2 and not pending, "a nested wait came back early")

    def note_future(self, future: Future[int], operation: Operation) -> None:
        with self._lock:
            self.futures.append((future, operation))

    # What is used

    def use(self, executor: BatchExecutor, rng: random.Random) -> None:
        verb = rng.choice(
            [
                self.use_execute,
                self.use_execute_batch,
                self.use_run,
                self.use_run_that_ends_early,
                self.use_stream,
                self.use_stream_half_way,
                self.use_map,
                self.use_submit,
                self.use_submit,
            ]
        )
        self._books.add(verb.__name__)
        verb(executor, rng)

    def use_execute(self, executor: BatchExecutor, rng: random.Random) -> None:
        operation = self.make(executor, rng)
        try:
            value = executor.execute(operation)
        except Deliberate:
            value = operation.name
        self._books.check(value == operation.name, "execute gave another's value")
        self._books.check(operation.starts == operation.tries, "execute lost a start")

    def use_execute_batch(self, executor: BatchExecutor, rng: random.Random) -> None:
        operations = self.make_many(executor, rng)
        lazy = rng.random() < 0.3
        given: Any = iter(operations) if lazy else operations
        with self.ending_early(operations, lazy=lazy):
            values = executor.execute_batch(given, on_error="return")
            self._books.check(len(values) == len(operations), "entries are missing")
            for value, operation in zip(values, operations, strict=True):
                self._books.check(
                    value == operation.name or isinstance(value, Exception),
                    f"entry {value!r} of operation {operation.name}",
                )
                self._books.check(operation.starts == operation.tries, "an entry lost a start")

    def use_run(self, executor: BatchExecutor, rng: random.Random) -> None:
        operations = self.make_many(executor, rng)
        with self.ending_early(operations):
            report = executor.run(operations)
            self.check_report(report, operations)
            self._books.check(report.ended_by == "completed", f"ended by {report.ended_by}")
            starts = sum(operation.tries for operation in operations)
            self._books.check(report.permits == report.attempts == starts, "permits are not starts")

    def use_run_that_ends_early(self, executor: BatchExecutor, rng: random.Random) -> None:
        operations = self.make_many(executor, rng)
        options: dict[str, Any] = {}
        how = rng.random()
        if how < 0.4:
            options["timeout"] = rng.random() * 0.02
        elif how < 0.8:
            options["max_failures"] = rng.choice([1, 2])
        else:
            operations[len(operations) // 2] = self.register(leave)
        with self.ending_early(operations):
            self.check_report(executor.run(operations, **options), operations)

    def use_stream(self, executor: BatchExecutor, rng: random.Random) -> None:
        operations = self.make_many(executor, rng)
        ordered = rng.random() < 0.5
        handed_over: list[Outcome[int]] = []
        outcomes = executor.stream(
            iter(operations), ordered=ordered, buffersize=rng.choice([None, 1, 4])
        )
        with self.ending_early(operations, handed_over):
            handed_over.extend(outcomes)
            self._books.check(len(handed_over) == len(operations), "a stream lost outcomes")
            self.check_outcomes(handed_over, operations)
            if ordered:
                indices = [outcome.index for outcome in handed_over]
                self._books.check(indices == sorted(indices), "an ordered stream is not in order")

    def use_stream_half_way(self, executor: BatchExecutor, rng: random.Random) -> None:
        operations = self.make_many(executor, rng)
        handed_over: list[Outcome[int]] = []
        with self.ending_early(operations, handed_over):
            for outcome in executor.stream(iter(operations), buffersize=rng.choice([None, 2])):
                handed_over.append(outcome)
                if rng.random() < 0.3:
                    break
        with self._lock:
            self.early_ends += 1
        self.check_outcomes(handed_over, operations)

    def use_map(self, executor: BatchExecutor, rng: random.Random) -> None:
        operations = [self.register(None) for _ in range(rng.choice([1, 5, 30]))]
        try:
            values = list(
                executor.map(
                    lambda operation: operation(), operations, buffersize=rng.choice([None, 1, 5])
                )
            )
        except Flaky:
            # A shutdown came between two tries.
            self.count_end()
            executor.submit(int)
            self._books.check(False, "an operation was not tried again")
        except (RuntimeError, CancelledError):
            self.count_end()
            raise
        else:
            self._books.check(values == [each.name for each in operations], "map is wrong")

    def use_submit(self, executor: BatchExecutor, rng: random.Random) -> None:
        mine = []
        try:
            for _ in range(rng.choice([1, 5, 30])):
                operation = self.make(executor, rng)
                future = executor.submit(operation)
                self.note_future(future, operation)
                mine.append(future)
                if rng.random() < 0.2:
                    rng.choice(mine).cancel()
                    with self._lock:
                        self.cancels += 1
        finally:
            how = rng.random()
            if how < 0.4:
                wait(mine)
            elif how < 0.6:
                for future in as_completed(mine):
                    future.cancelled() or future.exception()

    # Whether it was right

    @contextlib.contextmanager
    def ending_early(
        self,
        operations: list[Operation],
        handed_over: list[Outcome[int]] | None = None,
        *,
        lazy: bool = False,
    ) -> Iterator[None]:
        """Checks the report of a batch that a shutdown, a time limit or a failure ended; a `lazy`
        input need not have been read to its end."""
        try:
            yield
        except (BatchTimeoutError, ExceptionGroup, SystemExit) as error:
            self.check_early_end(error, operations, handed_over, lazy)
        except (RuntimeError, CancelledError) as error:
            if getattr(error, "batch_report", None) is not None:
                self.check_early_end(error, operations, handed_over, lazy)
            else:
                self.count_end()
            raise

    def count_end(self) -> None:
        with self._lock:
            self.early_ends += 1

    def check_early_end(
        self,
        error: BaseException,
        operations: list[Operation],
        handed_over: list[Outcome[int]] | None,
        lazy: bool,
    ) -> None:
        self.count_end()
        self._books.add("early ends")
        report: BatchReport[int] = error.batch_report  # type: ignore[attr-defined]
        if handed_over is None:
            read = len(report) if lazy else len(operations)
            self.check_report(report, operations[:read])
            with self._lock:
                self.never.extend((operation, "not read") for operation in operations[read:])
            return
        self.check_outcomes([*handed_over, *report], operations)
        read = len(handed_over) + len(report)
        with self._lock:
            self.never.extend((operation, "not read") for operation in operations[read:])
        self._books.check(
            sum(report.counts.values()) == len(handed_over) + len(report), "counts do not add up"
        )

    def check_report(self, report: BatchReport[int], operations: list[Operation]) -> None:
        indices = [outcome.index for outcome in report]
        self._books.check(indices == list(range(len(operations))), f"outcomes of {indices}")
        counted = collections.Counter(outcome.status for outcome in report)
        self._books.check(counted == +collections.Counter(report.counts), "counts are wrong")
        self.check_outcomes(list(report), operations)

    def check_outcomes(self, outcomes: list[Outcome[int]], operations: list[Operation]) -> None:
        indices = [outcome.index for outcome in outcomes]
        self._books.check(len(indices) == len(set(indices)), f"two outcomes of one: {indices}")
        for outcome in outcomes:
            operation = operations[outcome.index]
            self._books.add(outcome.status)
            if outcome.status == "done":
                self._books.check(outcome.value == operation.name, "another's value")
                self._books.check(operation.starts == operation.tries, "done without its starts")
            elif outcome.status == "failed":
                self._books.check(outcome.exception is not None, "failed without an exception")
                enough = 1 if isinstance(outcome.exception, Flaky) else operation.tries
                self._books.check(operation.starts == enough, "failed without its starts")
            elif outcome.status != "running":
                with self._lock:
                    self.never.append((operation, outcome.status))

    def close(self) -> int:
        """Checks what can be known when everything has ended; returns the number of starts."""
        for future, operation in self.futures:
            self._books.check(future.done(), "a future never ended")
            if future.cancelled():
                self._books.add("cancelled futures")
                self._books.check(operation.starts == 0, "a cancelled future was run")
            elif future.done() and future.exception() is None:
                self._books.check(future.result() == operation.name, "another's result")
                self._books.check(operation.starts == operation.tries, "a result lost a start")
                self._books.add("tried again", operation.tries - 1)
        for operation, status in self.never:
            self._books.check(operation.starts == 0, f"reported as {status}, and it was run")
        for operation in self.operations:
            self._books.check(operation.starts <= operation.tries, "started too often")
        self._books.add("operations", len(self.operations))
        return sum(operation.starts for operation in self.operations)


def in_threads(jobs: list[Callable[[], None]], books: Books) -> list[threading.Thread]:
    """Starts a thread for each job; what a job raises is wrong."""

    def run(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:
            import traceback

            trace = "".join(traceback.format_exception(error))
            books.check(False, f"a thread ended with {trace}")

    threads = [threading.Thread(target=run, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    return threads


def round_of_books(rng: random.Random, books: Books) -> None:
    """Every verb at random, on executors that are shut down in the middle of it."""
    limiter = rng.choice(
        [
            lambda: None,
            CountingLimiter,
            CountingLimiter,
            lambda: RateLimiter(500, per=0.05),
            lambda: RateLimiter(5000, per=1, burst=5) & RateLimiter(400, per=0.05),
        ]
    )()
    current = Round(rng, books, limiter)
    until = time.monotonic() + rng.random() * 0.5
    seeds = [rng.random() for _ in range(rng.choice([2, 4, 8]))]

    def use(seed: float) -> None:
        mine = random.Random(seed)
        while time.monotonic() < until:
            try:
                current.use(mine.choice(current.executors), mine)
            except (RuntimeError, CancelledError):
                # After the shutdown.
                return

    threads = in_threads([functools.partial(use, seed) for seed in seeds], books)
    if rng.random() < 0.6:
        time.sleep(rng.random() * 0.3)
        for executor in current.executors:
            executor.shutdown(wait=rng.random() < 0.5, cancel_futures=rng.random() < 0.5)
        with current._lock:
            current.early_ends += len(threads)
    for thread in threads:
        thread.join()
    for executor in current.executors:
        executor.shutdown()
    starts = current.close()
    books.add("starts", starts)
    if isinstance(limiter, CountingLimiter):
        # A permit under way when the last operation that could use it is gone is one too many.
        spare = current.early_ends + current.cancels
        books.check(
            starts <= limiter.granted <= starts + spare,
            f"{limiter.granted} permits for {starts} starts, {spare} could be spare",
        )
        books.add("permits", limiter.granted)


def round_of_windows(rng: random.Random, books: Books) -> None:
    """Starts are measured by operations written in C, which run before threads can change."""
    per = rng.choice([0.1, 0.2])
    limit = rng.choice([5, 20, 60])
    burst = rng.choice([None, None, 1, 3])
    limiter: Any = RateLimiter(limit, per=per, burst=burst, margin=0)
    if rng.random() < 0.3:
        limiter = limiter & RateLimiter(10_000, per=0.05)
    executors = [BatchExecutor(limiter, max_workers=rng.choice([1, 3, 6])) for _ in range(2)]
    count = min(limit * 2, 40)
    starts: list[float] = []
    lock = threading.Lock()

    def collect(verb: Callable[[BatchExecutor], list[float]], executor: BatchExecutor) -> None:
        values = verb(executor)
        books.check(len(values) == count, "a start is missing")
        with lock:
            starts.extend(values)

    clock = time.monotonic
    verbs: list[Callable[[BatchExecutor], list[float]]] = [
        lambda executor: executor.execute_batch([clock] * count),
        lambda executor: list(executor.run(itertools.repeat(clock, count)).values()),
        lambda executor: [o.value for o in executor.stream(itertools.repeat(clock, count))],
        lambda executor: [f.result() for f in [executor.submit(clock) for _ in range(count)]],
        lambda executor: [executor.execute(clock) for _ in range(count)],
    ]
    jobs = [
        functools.partial(collect, verb, rng.choice(executors)) for verb in rng.sample(verbs, 3)
    ]
    for thread in in_threads(jobs, books):
        thread.join()
    for executor in executors:
        executor.shutdown()
    slack = 0.02
    worst = worst_window(starts, per - slack)
    books.check(worst <= limit, f"{worst} starts in {per - slack} s, limit {limit}")
    books.add("measured starts", len(starts))


def main(seed: int, seconds: float) -> int:
    sys.setswitchinterval(SWITCH_INTERVAL)
    import logging

    logging.getLogger("paceline").setLevel(logging.CRITICAL)
    rng = random.Random(seed)
    books = Books()
    until = time.monotonic() + seconds
    while time.monotonic() < until and not books.wrong:
        faulthandler.dump_traceback_later(STALL, exit=True)
        books.add("rounds")
        if rng.random() < 0.8:
            round_of_books(rng, books)
        else:
            round_of_windows(rng, books)
    faulthandler.cancel_dump_traceback_later()
    books.check(threading.active_count() == 1, f"threads are left: {threading.enumerate()}")
    for message in books.wrong[:20]:
        print(f"seed {seed}: {message}", file=sys.stderr)
    print(json.dumps(books.counts))
    return 1 if books.wrong else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), float(sys.argv[2])))
