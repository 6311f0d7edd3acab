"""The logger ``paceline``."""

from __future__ import annotations

import logging

__all__ = ["writes_batches"]


_COUNTS = ("done", "failed", "running", "not_started", "cancelled")
_NUMBERS: dict[str, type[int | float]] = {
    "index": int,
    "attempt": int,
    "seconds": float,
    "elapsed": float,
    **dict.fromkeys(_COUNTS, int),
}


def _restore_numbers(record: logging.LogRecord) -> bool:
    """Give the fields of a record that crossed from Rust as text their types back."""
    for name, kind in _NUMBERS.items():
        text = getattr(record, name, None)
        if isinstance(text, str):
            setattr(record, name, kind(text))
    return True


logger = logging.getLogger("paceline")
logger.addHandler(logging.NullHandler())
logger.addFilter(_restore_numbers)


def writes_batches() -> bool:
    """Whether anybody wants the line that each batch leaves in the log.

    Asked here and not in Rust: nothing of logging's own raises here, so whatever does is raised by
    a signal handler, and is the caller's.
    """
    return logger.isEnabledFor(logging.DEBUG)
