"""The logger ``paceline``, and what its lines say."""

from __future__ import annotations

import logging
from contextlib import suppress
from datetime import datetime, timedelta

from paceline import _core

__all__ = ["SAY_SO_AFTER", "say_waiting", "writes_batches"]

# Seconds after which somebody who waits for running operations says so.
SAY_SO_AFTER = 1.0


_COUNTS = ("done", "failed", "running", "not_started", "cancelled")
_NUMBERS: dict[str, type[int | float]] = {
    "index": int,
    "attempt": int,
    "count": int,
    "seconds": float,
    "elapsed": float,
    **dict.fromkeys(_COUNTS, int),
}

_TEXTS = ("error", "error_type", "error_types", "ended_by")

# What is said of each event, after its name.
_SAYS = {
    "batch_operation_failed": "operation %(index)d failed after %(seconds).2f s: "
    "%(error_type)s: %(error)s",
    "more_operations_failed": "and %(count)d more failed in the last second: %(error_types)s",
    "operation_retried": "operation %(index)d failed, attempt %(attempt)d, and is tried again in "
    "%(seconds).2f s: %(error_type)s: %(error)s",
    "rate_limited": "a server refused a call, and all wait for it for %(seconds).2f s, "
    "until %(until)s",
    "limiter_paused": "no permits for %(seconds).2f s, until %(until)s",
    "waiting_for_limit": "no permit for %(seconds).1f s, until %(until)s",
    "batch_ended": "%(ended_by)s after %(elapsed).3f s: %(done)d done, %(failed)d failed, "
    "%(running)d running, %(not_started)d not started, %(cancelled)d cancelled",
}


def _fill_in(record: logging.LogRecord) -> bool:
    """Complete a record that crossed from Rust, which has its event as message, and text as fields.

    It becomes what ``logger.error("...", ..., exc_info=exception, extra=...)`` would have made.
    """
    fields = vars(record)
    event = fields.get("msg")
    says = _SAYS.get(event) if isinstance(event, str) else None
    if says is None or "event" in fields:
        return True
    for name, kind in _NUMBERS.items():
        if isinstance(text := fields.get(name), str):
            fields[name] = kind(text)
    fields["event"] = event
    arguments = {name: fields[name] for name in (*_TEXTS, *_NUMBERS) if name in fields}
    if "%(until)s" in says:
        arguments["until"] = _clock(fields["seconds"])
    record.msg = f"{event}: {says}"
    # As one mapping: whoever groups records has the same text for all of an event.
    record.args = arguments
    if event == "batch_operation_failed" and (exception := _core.logged_exception()) is not None:
        record.exc_info = (type(exception), exception, exception.__traceback__)
    return True


def _clock(seconds: float) -> str:
    """Return the time of day in so many seconds, with the date where it is another."""
    now = datetime.now().astimezone()
    try:
        then = now + timedelta(seconds=seconds)
    except OverflowError:
        return "further notice"
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%Y-%m-%d %H:%M:%S}"


# A program that has not set up logging is told of a server's pause of more seconds.
_LONG_PAUSE = 30.0


class _Unheard(logging.NullHandler):
    """Keeps a program silent that has not set up logging, but for its first long pause."""

    def __init__(self) -> None:
        super().__init__()
        # Taken by the thread that tells.
        self._untold = [True]

    def handle(self, record: logging.LogRecord) -> bool:
        fields = vars(record)
        if fields.get("event") != "rate_limited" or fields["seconds"] <= _LONG_PAUSE:
            return False
        if logging.lastResort is None or _is_set_up():
            return False
        with suppress(IndexError):
            self._untold.pop()
            logging.lastResort.handle(record)
        return True


def _is_set_up() -> bool:
    """Whether some other handler gets what is logged here."""
    current: logging.Logger | None = logger
    while current is not None:
        if any(not isinstance(each, logging.NullHandler) for each in current.handlers):
            return True
        current = current.parent if current.propagate else None
    return False


logger = logging.getLogger("paceline")
logger.addHandler(_Unheard())
logger.addFilter(_fill_in)


def writes_batches() -> bool:
    """Whether anybody wants the line that each batch leaves in the log.

    Asked here and not in Rust: nothing of logging's own raises here, so whatever does is raised by
    a signal handler, and is the caller's.
    """
    return logger.isEnabledFor(logging.DEBUG)


def say_waiting(level: int, running: int, not_started: int, before: str) -> None:
    """Write the line that a wait for operations leaves in the log once it has lasted a second.

    Args:
        level: INFO where such a wait is usual, WARNING where nobody would expect it.
        running: How many operations run.
        not_started: How many more are to start.
        before: What is to come when they have ended.
    """
    calls = f"{running} running call{'' if running == 1 else 's'}"
    if not_started:
        calls += f" and {not_started} that {'has' if not_started == 1 else 'have'} not started"
    # Whatever handlers raise, the wait goes on; Ctrl-C is no `Exception`.
    with suppress(Exception):
        logger.log(
            level,
            "%s: waiting for %s before %s",
            event := "waiting_for_calls",
            calls,
            before,
            extra={"event": event, "running": running, "not_started": not_started},
        )
