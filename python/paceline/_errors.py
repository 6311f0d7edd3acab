"""The exceptions that are ours, and what every exception that ends a batch carries."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from paceline._report import describe

if TYPE_CHECKING:
    from paceline._report import BatchReport

__all__ = ["BatchTimeoutError", "PermitRefusedError", "add_note", "attach_report"]


class BatchTimeoutError(TimeoutError):
    """The time given to a batch has passed.

    Attributes:
        batch_report: What had become of each operation by then.
    """

    batch_report: BatchReport[object]


class PermitRefusedError(RuntimeError):
    """A limiter's ``acquire()`` returned a false value that is not None.

    The operation was not called.
    """


for _public in (BatchTimeoutError, PermitRefusedError):
    _public.__module__ = "paceline"


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
