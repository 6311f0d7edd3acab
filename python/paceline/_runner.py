"""Running one batch: reading its input, asking for its permits, ending it with its report."""

from __future__ import annotations

import contextvars
import logging
import os
import sys
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import CancelledError
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from paceline import _core
from paceline._core import Step
from paceline._duck import is_a
from paceline._ending import Ending
from paceline._errors import (
    BatchTimeoutError,
    add_note,
    attach_report,
    refused_for_good,
    stand_in_for,
)
from paceline._input import Input
from paceline._logging import SAY_SO_AFTER, say_waiting, writes_batches
from paceline._options import BatchOptions
from paceline._outcomes import Outcomes
from paceline._report import BatchReport, failure_group

if TYPE_CHECKING:
    from paceline._pool import Pool

__all__ = ["BatchRunner"]

T = TypeVar("T")
R = TypeVar("R")


class BatchRunner(Generic[T]):
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
        self._input = Input(operations, options, told=logged)
        self._options = options
        self._logs_failures = logged
        self._max_workers = max_workers
        # A single operation's exception carries no report.
        self.is_batch = True
        self._is_open = False
        # What an exception that is raised now is put down to.
        self._cause = Ending.INTERRUPT
        self._logged = False
        # For how many operations it has waited when it ended, and how long, if that was long.
        self._waited: tuple[int, float] | None = None
        # Whether its report was made. The consumer of a stream keeps that, and the runner does not:
        # on a worker, operations run beneath frames that know the runner, and the traceback of one
        # that failed holds these.
        self.has_ended = False
        self.consumer: Callable[[], Outcomes[T] | None] = lambda: None

    def _open(self) -> None:
        """Open the batch, and feed it what is known of its input."""
        self._computed_before = time.process_time()
        options, context = self._options, contextvars.copy_context()
        begin = self._pool.runtime.begin
        batch = self._batch = begin(context, self._pool, self._logs_failures, options)
        self._is_open = True
        try:
            self._input.open(batch)
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
            self._log_end(Ending.COMPLETED)
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
                self._cause = Ending.CONSUMER
                yield
                # What is ready goes before an input that may be long in coming.
                if not self._input.slow and (room := self._batch.room()):
                    self._feed_more(room)
            if self._ending() is Ending.CONSUMER:
                # It was left meanwhile, by another thread or a signal handler.
                self.leave()
                return
            self._settle()
            self._keep(self.report(self._records()))
            self._log_end(Ending.COMPLETED)
        except BaseException as error:
            self._end_early(error)
            if is_a(error, StopIteration):
                self._replace_stop_iteration(error, "the limiter")
            raise
        finally:
            self._let_go()

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
        self._cause = Ending.INTERRUPT
        step, count = self._batch.step(may_grow=True)
        if step == Step.GROW:
            self._aside(self._pool.grow)
            step, count = self._batch.step(may_grow=False)
        if step == Step.FEED and not (
            self._input.slow and self._batch.wait_ready(self._input.slow)
        ):
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
        self._cause = Ending.INPUT
        self._input.read(self._batch, count)
        self._cause = Ending.INTERRUPT
        self._pool.grow()

    def _settle(self) -> None:
        """Raise what ended the batch early, if something did."""
        ending = self._ending()
        if ending is Ending.COMPLETED:
            return
        self._cause = Ending.INTERRUPT
        if ending.waits():
            self._aside(self._join)
        self._cause = ending
        raise self._error(ending)

    def _ending(self) -> Ending:
        """What has ended the batch, as far as the workers know."""
        return Ending(self._batch.ended_by())

    def _join(self) -> None:
        """Wait for running operations, and say so when that has lasted a second."""
        began = time.monotonic()
        running = self._batch.join(SAY_SO_AFTER)
        if not running:
            return
        ending = self._ending()
        # What this thread has raised itself has no name there.
        cause = self._cause if ending is Ending.EXIT else ending
        try:
            say_waiting(logging.WARNING, running, 0, f"the batch ends, by {cause.value!r}")
            self._batch.join()
        finally:
            self._waited = running, time.monotonic() - began

    def _note_wait(self, error: BaseException) -> None:
        """Let what ended the batch tell for how many operations it has waited."""
        if self._waited is not None:
            running, seconds = self._waited
            calls = f"{running} running call{'' if running == 1 else 's'}"
            add_note(error, f"paceline: raised after {seconds:.1f} s of waiting for {calls}")

    def _error(self, ending: Ending) -> BaseException:
        """Return what is raised in the place of the result."""
        if ending is Ending.TIMEOUT:
            return BatchTimeoutError(
                f"the batch did not end within {self._options.timeout} seconds"
            )
        if ending is Ending.REFUSED:
            refusal, why = self._batch.refusal()
            return refused_for_good(refusal, *why)
        error: BaseException | None = None
        if ending is Ending.LIMITER:
            error = self._batch.limiter_error()
        elif ending is Ending.OPERATION:
            error = self._batch.first_failure()
        elif ending is Ending.MAX_FAILURES:
            report = self.report(self._records(), ending)
            error = failure_group(report, self._batch.last_failure())
        elif ending is Ending.BROKEN:
            self._pool.check()
        return CancelledError(ending.message()) if error is None else error

    def _end_early(self, error: BaseException, *, left: bool = False) -> None:
        """End the batch with an exception, and let that carry the report."""
        if not self._is_open or not self.is_of_this_process():
            # What the parent has begun does not end in a forked child: that raises as it is.
            return
        batch, cause = self._batch, self._cause
        left = left or (cause is Ending.CONSUMER and is_a(error, GeneratorExit))
        if left and (self.has_ended or not self._is_here()):
            return
        interrupted = is_a(error, KeyboardInterrupt) and cause is not Ending.OPERATION
        if interrupted or (cause is Ending.CONSUMER and not left):
            cause = Ending.INTERRUPT
        try:
            batch.end(waits := cause.waits())
            if waits:
                self._aside(self._join)
            if self.is_batch or cause is not Ending.OPERATION:
                self._close(cause, error)
            self._note_wait(error)
        except BaseException as interruption:
            self._close(Ending.INTERRUPT, interruption)
            self._note_wait(interruption)
            raise

    def _records(self, error: BaseException | None = None) -> _core.Records[T]:
        """Take the batch out of the executor, whatever ended it: with all that is known of it.

        Args:
            error: What is to carry their report.
        """
        # Of a list all operations are known, read or not. Each of the two may be done again.
        self._batch.feed_rest(self._input.rest())
        return self._batch.close(error, None if error is None else stand_in_for(error))

    def leave(self, error: BaseException | None = None) -> None:
        """Let go of a batch whose consumer is done with it; end it, if it was closed before.

        Args:
            error: What the consumer has raised, which then carries the report.
        """
        try:
            if not self.has_ended:
                self._cause = Ending.CONSUMER
                self._end_early(GeneratorExit() if error is None else error, left=True)
        finally:
            self._let_go()

    def _close(self, ending: Ending, error: BaseException) -> None:
        """Take the batch out of the executor for good; ``error`` carries its report."""
        report = self.report(self._records(error), ending)
        self._keep(report)
        self._log_end(ending)
        attach_report(error, report)

    def _keep(self, report: BatchReport[T]) -> None:
        if (consumer := self.consumer()) is not None:
            consumer.kept = report
        self.has_ended = True

    def _let_go(self) -> None:
        """Discard the batch of a stream; its report stays, wherever its end was interrupted."""
        if self._is_open and not self.has_ended and self._is_here():
            self._keep(self.report(self._records(), Ending.INTERRUPT))
        self._discard()

    def remaining(self) -> int | None:
        """How many outcomes are still to be handed over, as far as the input tells."""
        if self.has_ended or self._batch.is_left():
            return 0
        unread = self._input.unread()
        return None if unread is None else self._batch.outstanding() + unread

    @property
    def is_reading(self) -> bool:
        """Whether its owner is inside the input, which may never return."""
        return self._input.is_reading

    @property
    def is_sized(self) -> bool:
        """Whether it was known from the start how many operations there are."""
        return self._input.is_sized

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

    def report(
        self, records: _core.Records[T], ending: Ending = Ending.COMPLETED
    ) -> BatchReport[T]:
        """Make the report of a batch that has ended."""
        return BatchReport._of(  # noqa: SLF001 - users make theirs of outcomes
            records,
            ended_by=ending.value,
            max_workers=self._max_workers,
            computed=(time.process_time() - self._computed_before) / _processors(),
        )

    def _log_end(self, ending: Ending) -> None:
        """Write the line that each batch leaves in the log."""
        if not self._logged and writes_batches():
            self._logged = True
            records = self._records()
            elapsed = records.totals()["elapsed"]
            _core.log_batch(list(records.counts().items()), elapsed, ending.value)


def _processors() -> int:
    """Return on how many processors the threads of this process can compute at once.

    One where they share an interpreter; whether they do can change while a program runs.
    """
    if getattr(sys, "_is_gil_enabled", lambda: True)():
        return 1
    return getattr(os, "process_cpu_count", os.cpu_count)() or 1
