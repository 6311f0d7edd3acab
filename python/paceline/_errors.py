"""The exceptions that are ours, and what every exception that ends a batch carries."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from paceline._duck import attribute, is_a
from paceline._report import BatchReport, describe

if TYPE_CHECKING:
    from types import TracebackType

__all__ = [
    "BatchRefusedError",
    "BatchTimeoutError",
    "PermitRefusedError",
    "add_note",
    "attach_report",
    "refused_for_good",
    "report_of",
    "stand_in_for",
]


class BatchTimeoutError(TimeoutError):
    """The time given to a batch has passed.

    Attributes:
        batch_report: What had become of each operation by then.
    """

    batch_report: BatchReport[object]


class BatchRefusedError(RuntimeError):
    """A server went on refusing, or asks for a longer pause than ``Retry(max_pause=)`` allows.

    It ends a batch that has more to start; a submitted call that was never made fails with it. Its
    ``__cause__`` is the last refusal, if that was one of a call of the same executor.

    Attributes:
        batch_report: What had become of each operation of the batch; what never began, and can go
            on later, is ``"not_started"`` there. The exception of a submitted call has none.
    """

    batch_report: BatchReport[object]


class PermitRefusedError(RuntimeError):
    """A limiter's ``acquire()`` returned a false value that is not None.

    The operation was not called.
    """


def report_of(exception: BaseException) -> BatchReport[Any] | None:
    """Return the report of the batch that an exception has ended.

    Args:
        exception: Whatever was raised. Its own report is looked for first, then that of the
            exceptions in it, if it is a group, then that of its cause, and of what was being
            handled when it was raised: so it may be one of yours that was raised ``from`` another.

    Returns:
        The report; None if no batch was ended by any of these.
    """
    seen: set[int] = set()
    waiting: list[BaseException | None] = [exception]
    while waiting:
        error = waiting.pop()
        if error is None or id(error) in seen:
            continue
        seen.add(id(error))
        if is_a(report := attribute(error, "batch_report"), BatchReport):
            return report
        # The last of these is looked at first.
        waiting += [None if error.__suppress_context__ else error.__context__, error.__cause__]
        if isinstance(error, BaseExceptionGroup):
            waiting += reversed(error.exceptions)
    return None


for _public in (BatchRefusedError, BatchTimeoutError, PermitRefusedError, report_of):
    _public.__module__ = "paceline"


def refused_for_good(
    refusal: BaseException | None, refusals: int | None, pause: float | None
) -> BatchRefusedError:
    """Make the exception of what was not called, as the server has refused others.

    Args:
        refusal: The last one, if it is known.
        refusals: How many there were in a row, if they were too many.
        pause: For how many seconds more the server asks to wait, if that is too long.
    """
    if pause is not None:
        why = (
            f"it asks to wait for {pause:.0f} s more, longer than Retry(max_pause=) allows; with "
            "Retry(longer='cut') it would be asked again after max_pause"
        )
    elif refusals is not None:
        why = (
            f"it has refused {refusals} calls in a row, each after a pause, as many as "
            "Retry(attempts=) allows; nothing more was started"
        )
    else:
        why = "Retry(attempts=) and Retry(max_pause=) allow no more"
    error = BatchRefusedError(f"the server goes on refusing: {why}")
    error.__cause__ = refusal
    return error


def attach_report(error: BaseException, report: BatchReport[object]) -> None:
    """Let ``error`` carry the report of the batch that it ends, and a note with the counts."""
    # An exception may refuse attributes; it is raised all the same.
    with suppress(Exception):
        error.batch_report = report  # type: ignore[attr-defined]
    add_note(error, f"paceline: {describe(report.counts)}")


def add_note(error: BaseException, note: str) -> None:
    """Add a note to ``error``, if it takes notes and has not this one."""
    with suppress(Exception):
        # The same exception may be raised from one batch after another.
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def stand_in_for(error: BaseException) -> BaseException:
    """Make what tells of ``error`` in the report that it carries, and does not hold it."""
    kind = type(error)
    if kind.__module__ == "builtins":
        # Nobody else's code has a part in how it is copied.
        with suppress(Exception):
            # As `copy` does, which is not imported for this.
            make, arguments, *state = cast("tuple[Any, ...]", error.__reduce__())
            made: BaseException = make(*arguments)
            if state:
                made.__setstate__(*state)
            made.__cause__ = error.__cause__
            made.__context__ = error.__context__
            made.__suppress_context__ = error.__suppress_context__
            return made.with_traceback(_from_outside(error.__traceback__))
    name = f"{kind.__module__}.{kind.__qualname__}"
    return RuntimeError(f"the operation raised the {name} that carried this report")


def _from_outside(traceback: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this package, which know the report, that it has gone through."""
    while traceback is not None and traceback.tb_frame.f_globals.get("__package__") == __package__:
        traceback = traceback.tb_next
    return traceback
