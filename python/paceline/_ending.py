"""Why a batch ends, and what follows from that."""

from __future__ import annotations

from enum import Enum

__all__ = ["Ending"]


class Ending(Enum):
    """Why a batch has ended, by the word for it that its report has."""

    COMPLETED = "completed"
    TIMEOUT = "timeout"
    MAX_FAILURES = "max_failures"
    # What a signal handler raised.
    INTERRUPT = "interrupt"
    LIMITER = "limiter"
    INPUT = "input"
    OPERATION = "operation"
    # By a server, of which nothing more is expected.
    REFUSED = "refused"
    CONSUMER = "consumer"
    OUTER = "outer"
    SHUTDOWN = "shutdown"
    BROKEN = "broken"
    EXIT = "exit"

    def waits(self) -> bool:
        """Whether what it raises waits until the running operations have ended."""
        return self not in _AT_ONCE

    def message(self) -> str:
        """Return what is said where the batch has ended without anything having been raised."""
        return _SAYS.get(self, _SAYS[Ending.SHUTDOWN])


_AT_ONCE = frozenset({Ending.INTERRUPT, Ending.TIMEOUT, Ending.CONSUMER, Ending.OUTER})

_SAYS = {
    Ending.SHUTDOWN: "the executor was shut down, and what had not started cancelled",
    Ending.OUTER: "the batch that this one is part of has ended early",
    Ending.EXIT: "the program ends, so nothing more of the batch was started",
}
