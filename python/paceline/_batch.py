"""Driving one batch: reading its input, asking for its permits, ending it with its report."""

from __future__ import annotations

import contextvars
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from functools import partial
from operator import length_hint
from typing import TYPE_CHECKING, Generic, Never, TypeVar, cast

from paceline import _core
from paceline._core import Step
from paceline._duck import is_a
from paceline._errors import (
    BatchTimeoutError,
    add_note,
    attach_report,
    refused_for_good,
    stand_in_for,
)
from paceline._logging import SAY_SO_AFTER, say_waiting, writes_batches
from paceline._outcomes import Outcomes
from paceline._report import BatchReport, failure_group

if TYPE_CHECKING:
    from paceline._pool import Pool

__all__ = ["BatchOptions", "Drive", "default_ahead"]

T = TypeVar("T")
R = TypeVar("R")


class BatchOptions:
    """How a batch is to be treated, as ``src/python/options.rs`` reads it."""

    # No NamedTuple: to make the class of one is a good part of what the package takes to import.
    __slots__ = ("ahead", "attended", "delivery", "max_failures", "stop_on_failure", "timeout")

    def __init__(
        self,
        *,
        delivery: _core.Delivery,
        attended: bool,
        ahead: tuple[int, int, int],
        timeout: float | None,
        stop_on_failure: bool,
        max_failures: tuple[float, int] | None,
    ) -> None:
        self.delivery = delivery
        self.attended = attended
        self.ahead = ahead
        self.timeout = timeout
        self.stop_on_failure = stop_on_failure
        self.max_failures = max_failures


# How many quick operations are read ahead, in all.
MOST_AHEAD = 1024


def default_ahead(workers: int) -> tuple[int, int, int]:
    """Bounds on the operations that are read and not handed over.

    For any, for quick ones, and for quick ones of which nothing is held but their arguments.

    CPython's collector runs when so many more objects were made than freed as its first threshold
    says, and an operation is made of two that count, or more. From half of the threshold on it
    would run all the time, so it stays below.
    """
    least = 2 * workers + 1
    threshold = gc.get_threshold()[0] if gc.isenabled() else 0
    heavy = min(MOST_AHEAD, threshold * 9 // 20) if threshold else MOST_AHEAD
    return least, max(least, heavy), max(least, MOST_AHEAD)


# What is said of a batch that ended, without anything having been raised, by one of these.
_CANCELLED = {
    "shutdown": "the executor was shut down, and what had not started cancelled",
    "outer": "the batch that this one is part of has ended early",
    "exit": "the program ends, so nothing more of the batch was started",
}

# While one of these goes on, its exception does not wait for running operations.
_IMPATIENT = frozenset({"interrupt", "timeout", "consumer", "outer"})


# An input that took more seconds to answer is slow. It is asked again when no outcome has become
# ready for a share of that time. So an input that works for its answers loses no more than that,
# and an outcome waits for the input no longer than about ten times its own call took.
_SLOW = 0.005
_SHARE = 0.1
_MOST_WAITED = 1.0


class Drive(Generic[T]):
    """One batch, from its first operation to its report. It belongs to its owner's thread.

    From the moment it is open whatever is raised ends it, also by a signal handler between any two
    calls. So it is opened where that is caught.
    """

    _batch: _core.Batch[T]

    def __init__(
        self,
        pool: Pool,
        operations: Iterable[Callable[[], T]],
        options: BatchOptions,
        *,
        logged: bool,
        max_workers: int,
    ) -> None:
        self._pool = pool
        self._operations = operations
        self._options = options
        self._logs_failures = logged
        self._max_workers = max_workers
        # A single operation's exception carries no report.
        self.is_batch = True
        self._is_open = False
        # What an exception that is raised now is put down to.
        self._cause = "interrupt"
        self._logged = False
        # For how many operations it has waited when it ended, and how long, if that was long.
        self._waited: tuple[int, float] | None = None
        # Whether its owner is inside the input, which may never return.
        self.is_reading = False
        # Whether it was known from the start how many operations there are.
        self.is_sized = isinstance(operations, list | tuple)
        # Whether its report was made. The consumer of a stream keeps that, and the drive does not:
        # on a worker, operations run beneath frames that know the drive, and the traceback of one
        # that failed holds these.
        self.has_ended = False
        self.consumer: Callable[[], Outcomes[T] | None] = _nobody
        # How long it waits for outcomes before it asks for more input, in seconds; 0 if that was
        # quick to answer the last time.
        self._slow = 0.0
        self._hands_over = not options.attended
        self._input: Iterator[Callable[[], T]] = iter(())
        # What is known of the input before it is read; at an early end it is moved to the rest.
        self._unread: Iterator[Callable[[], T]] = iter(())
        self._rest: list[Callable[[], T]] = []

    def _open(self) -> None:
        """Open the batch, and feed it what is known of its input."""
        operations, self._operations = self._operations, ()
        self._computed_before = time.process_time()
        options, context = self._options, contextvars.copy_context()
        begin = self._pool.runtime.begin
        batch = self._batch = begin(context, self._pool, self._logs_failures, options)
        self._is_open = True
        try:
            # What outcomes are to know of their operations. Those of `map` are not its caller's.
            if not isinstance(operations, list | tuple):
                self._input = iter(operations)
                if not options.attended and self._logs_failures:
                    batch.know(None)
            elif not options.attended and options.ahead[1] < _core.UNBOUNDED:
                whole = list(operations)
                self._input = self._unread = iter(whole)
                _core.check_operations(whole)
                batch.know(whole)
            else:
                if options.attended:
                    batch.know(operations)
                batch.feed(operations if type(operations) is list else list(operations))
        except TypeError:
            # Of a list with something else in it nothing is run: no batch has begun.
            self._is_open = False
            batch.discard()
            raise

    def _start(self) -> None:
        """Have the workers begin with what was fed."""
        self._pool.grow()

    def to_end(self, finish: Callable[[_core.Records[T]], R]) -> R:
        """Run the batch to its end, and return what ``finish`` makes of its records."""
        try:
            self._open()
            self._start()
            advance = self._advance if self._options.timeout is None else self._advance_aside
            while advance():
                pass
            self._settle()
            return self._completed(finish)
        except BaseException as error:
            self._end_early(error)
            raise
        finally:
            self._discard()

    def _completed(self, finish: Callable[[_core.Records[T]], R]) -> R:
        result = finish(self._records())
        if self.is_batch:
            self._log_end("completed")
        return result

    def outcomes(self) -> Outcomes[T]:
        """Open the batch, and hand the outcomes on as they are ready."""
        return self._opened(self._outcomes)

    def _opened(self, begin: Callable[[], R]) -> R:
        try:
            self._open()
            return begin()
        except BaseException as error:
            try:
                self._end_early(error)
            finally:
                self._discard()
            raise

    def _outcomes(self) -> Outcomes[T]:
        return Outcomes(self, self._batch, self._rounds())

    def _rounds(self) -> Generator[None]:
        """In each round outcomes become ready; the consumer takes them before the next."""
        try:
            self._start()
            advance = self._advance if self._options.timeout is None else self._advance_aside
            while advance():
                self._cause = "consumer"
                yield
                # What is ready goes before an input that may be long in coming.
                if not self._slow and (room := self._batch.room()):
                    self._feed_more(room)
            if self._batch.ended_by() == "consumer":
                # It was left meanwhile, by another thread or a signal handler.
                self.leave()
                return
            self._settle()
            self._keep(self.report(self._records()))
            self._log_end("completed")
        except BaseException as error:
            self._end_early(error)
            if is_a(error, StopIteration):
                self._replace_stop_iteration(error, "the limiter")
            raise
        finally:
            self._let_go()

    def begin_values(self) -> Iterator[T]:
        """Begin at once, whether or not anybody takes the values that are returned."""

        def begin() -> Iterator[T]:
            while room := self._batch.room():
                self._feed_more(room)
            self._start()
            self._batch.leave_to_run(True)
            return self._values()

        return self._opened(begin)

    def _values(self) -> Iterator[T]:
        self._batch.leave_to_run(False)
        taken: list[_core.Outcome[T]] = []
        failure: list[Exception] = []
        for outcome in self._outcomes():
            # What the caller has taken is not to be held here until it asks for the next.
            taken.append(outcome)
            failed = outcome.exception is not None
            del outcome
            if failed:
                self._fail(cast("BaseException", taken[0].exception))
            self._read_on(failure)
            yield _value_of(taken)
            if failure:
                self._end_by_input(failure)

    def _read_on(self, failure: list[Exception]) -> None:
        """Begin the next call while the consumer has a value, as the standard library does."""
        if self._slow or not (room := self._batch.room()):
            return
        try:
            self._feed_more(room)
        except Exception as error:  # noqa: BLE001 - it waits until the value has been taken
            failure.append(error)
        self._cause = "consumer"

    def _end_by_input(self, failure: list[Exception]) -> Never:
        self._cause = "input"
        self._end_early(failure[0])
        raise failure.pop()

    def _fail(self, error: BaseException) -> None:
        """End a batch of which a call has failed, whose exception is to be raised."""
        self._batch.end(False)
        self._close("operation", error)
        if is_a(error, StopIteration):
            self._replace_stop_iteration(error, "the call")

    def _replace_stop_iteration(self, error: BaseException, raiser: str) -> None:
        # No generator may let it out: what Python raises instead would have no report.
        replaced = RuntimeError(f"{raiser} raised {error!r}")
        if report := getattr(error, "batch_report", None):
            attach_report(replaced, report)
        try:
            raise replaced from error
        finally:
            # Its traceback holds this frame.
            del replaced

    def _advance(self) -> bool:
        self._cause = "interrupt"
        step, count = self._batch.step(may_grow=True)
        if step == Step.GROW:
            self._aside(self._pool.grow)
            step, count = self._batch.step(may_grow=False)
        if step == Step.FEED and not (self._slow and self._batch.wait_ready(self._slow)):
            self._feed(count)
        return step != Step.SETTLED

    def _advance_aside(self) -> bool:
        # A worker leaves the operations to others, so that it can go when the time is up.
        return self._aside(self._advance)

    def _feed_more(self, room: int) -> None:
        if self._options.timeout is None:
            self._feed(room)
        else:
            self._aside(partial(self._feed, room))

    def _aside(self, act: Callable[[], R]) -> R:
        """On a worker, let another thread work in its place meanwhile."""
        runtime = self._pool.runtime
        if not runtime.works_here():
            return act()
        self._pool.step_aside()
        try:
            return act()
        finally:
            runtime.unblock()

    def _feed(self, count: int) -> None:
        self._cause = "input"
        self._batch.begin_reading(min(count, MOST_AHEAD))
        self.is_reading = True
        began = time.monotonic()
        try:
            # Nothing is done here for each operation. True says that enough was read, or that
            # there is something else to do first.
            exhausted = not any(map(self._batch.read, self._input))
        finally:
            self.is_reading = False
            self._batch.end_reading()
        took = time.monotonic() - began
        self._slow = min(took * _SHARE, _MOST_WAITED) if self._hands_over and took > _SLOW else 0.0
        # Of a list it is known before another is asked for.
        if exhausted or (self._input is self._unread and not length_hint(self._unread)):
            self._batch.finish_input()
        self._cause = "interrupt"
        self._pool.grow()

    def _settle(self) -> None:
        """Raise what ended the batch early, if something did."""
        ended_by = self._batch.ended_by()
        if ended_by == "completed":
            return
        self._cause = "interrupt"
        if ended_by not in _IMPATIENT:
            self._aside(self._join)
        self._cause = ended_by
        raise self._error(ended_by)

    def _join(self) -> None:
        """Wait for running operations, and say so when that has lasted a second."""
        began = time.monotonic()
        running = self._batch.join(SAY_SO_AFTER)
        if not running:
            return
        ended_by = self._batch.ended_by()
        # What this thread has raised itself has no name there.
        cause = self._cause if ended_by == "exit" else ended_by
        try:
            say_waiting(logging.WARNING, running, 0, f"the batch ends, by {cause!r}")
            self._batch.join()
        finally:
            self._waited = running, time.monotonic() - began

    def _note_wait(self, error: BaseException) -> None:
        """Let what ended the batch tell for how many operations it has waited."""
        if self._waited is not None:
            running, seconds = self._waited
            calls = f"{running} running call{'' if running == 1 else 's'}"
            add_note(error, f"paceline: raised after {seconds:.1f} s of waiting for {calls}")

    def _error(self, ended_by: str) -> BaseException:
        if ended_by == "timeout":
            return BatchTimeoutError(
                f"the batch did not end within {self._options.timeout} seconds"
            )
        if ended_by == "refused":
            refusal, why = self._batch.refusal()
            return refused_for_good(refusal, *why)
        if ended_by == "limiter" and (error := self._batch.limiter_error()) is not None:
            return error
        if ended_by == "operation" and (error := self._batch.first_failure()) is not None:
            return error
        if ended_by == "max_failures":
            report = self.report(self._records(), ended_by)
            if (failures := failure_group(report, self._batch.last_failure())) is not None:
                return failures
        if ended_by == "broken":
            self._pool.check()
        return CancelledError(_CANCELLED.get(ended_by, _CANCELLED["shutdown"]))

    def _end_early(self, error: BaseException, *, left: bool = False) -> None:
        """End the batch with an exception, and let that carry the report."""
        if not self._is_open:
            return
        batch, cause = self._batch, self._cause
        left = left or (cause == "consumer" and is_a(error, GeneratorExit))
        if left and (self.has_ended or not self._is_here()):
            return
        interrupted = is_a(error, KeyboardInterrupt) and cause != "operation"
        if interrupted or (cause == "consumer" and not left):
            cause = "interrupt"
        try:
            patient = cause not in _IMPATIENT
            batch.end(patient)
            if patient:
                self._aside(self._join)
            if self.is_batch or cause != "operation":
                self._close(cause, error)
            self._note_wait(error)
        except BaseException as interruption:
            self._close("interrupt", interruption)
            self._note_wait(interruption)
            raise

    def _records(self, error: BaseException | None = None) -> _core.Records[T]:
        """Take the batch out of the executor, whatever ended it: with all that is known of it.

        Args:
            error: What is to carry their report.
        """
        # Of a list all operations are known, read or not. Each of the three may be done again.
        self._rest.extend(self._unread)
        self._batch.feed_rest(self._rest)
        return self._batch.close(error, None if error is None else stand_in_for(error))

    def leave(self, error: BaseException | None = None) -> None:
        """Let go of a batch whose consumer is done with it; end it, if it was closed before.

        Args:
            error: What the consumer has raised, which then carries the report.
        """
        try:
            if not self.has_ended:
                self._cause = "consumer"
                self._end_early(GeneratorExit() if error is None else error, left=True)
        finally:
            self._let_go()

    def _close(self, ended_by: str, error: BaseException) -> None:
        """Take the batch out of the executor for good; ``error`` carries its report."""
        report = self.report(self._records(error), ended_by)
        self._keep(report)
        self._log_end(ended_by)
        attach_report(error, report)

    def _keep(self, report: BatchReport[T]) -> None:
        if (consumer := self.consumer()) is not None:
            consumer.kept = report
        self.has_ended = True

    def _let_go(self) -> None:
        """Discard the batch of a stream; its report stays, wherever its end was interrupted."""
        if self._is_open and not self.has_ended and self._is_here():
            self._keep(self.report(self._records(), "interrupt"))
        self._discard()

    def remaining(self) -> int | None:
        """How many outcomes are still to be handed over, as far as the input tells."""
        if self.has_ended or self._batch.is_left():
            return 0
        unread = -1
        with suppress(Exception):
            unread = length_hint(self._input, -1)
        return None if unread < 0 else self._batch.outstanding() + unread

    def _is_here(self) -> bool:
        """Whether somebody may ask for its report: not in a forked child, nor in the end."""
        return self.is_of_this_process() and not sys.is_finalizing()

    def is_of_this_process(self) -> bool:
        """Whether it was not begun by the process that this one was forked from."""
        return self._pool.runtime.is_current()

    def check_process(self) -> None:
        """Raise if it was."""
        self._pool.runtime.check_process()

    def _discard(self) -> None:
        """Take the batch out of the executor, if it is still there."""
        if self._is_open:
            self._batch.discard()

    def report(self, records: _core.Records[T], ended_by: str = "completed") -> BatchReport[T]:
        """Make the report of a batch that has ended."""
        return BatchReport._of(  # noqa: SLF001 - users make theirs of outcomes
            records,
            ended_by=ended_by,
            max_workers=self._max_workers,
            computed=(time.process_time() - self._computed_before) / _processors(),
        )

    def _log_end(self, ended_by: str) -> None:
        """Write the line that each batch leaves in the log."""
        if not self._logged and writes_batches():
            self._logged = True
            records = self._records()
            elapsed = records.totals()["elapsed"]
            _core.log_batch(list(records.counts().items()), elapsed, ended_by)


def _nobody() -> None:
    """Stand for the consumer of a batch that has none."""


def _processors() -> int:
    """Return on how many processors the threads of this process can compute at once.

    One where they share an interpreter; whether they do can change while a program runs.
    """
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return 1
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1


def _value_of(taken: list[_core.Outcome[T]]) -> T:
    outcome = taken.pop()
    if outcome.exception is not None:
        try:
            raise outcome.exception
        finally:
            # The traceback holds this frame; it is not to hold the exception.
            del outcome
    return outcome.value  # type: ignore[return-value]
