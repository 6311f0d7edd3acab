"""What a limiter tells about itself."""

from typing import Literal, NamedTuple

__all__ = ["LimiterHolder", "LimiterStats"]


class LimiterHolder(NamedTuple):
    """A process that has a limiter."""

    host: str
    """The name of its host."""
    pid: int
    """The number of the process there."""
    since: float
    """When it opened the limiter, in seconds since 1970."""
    waits_for: int
    """How many permits the first of those wants who wait in it; 0 if nobody waits."""


class LimiterStats(NamedTuple):
    """What a limiter counts at one moment, and who shares it."""

    limit: int
    """Permits in any window."""
    per: float
    """Length of the window in seconds."""
    effective_limit: int
    """Permits in any window as of now: less than ``limit`` after a refusal, if it is adaptive."""
    permits: int
    """Permits in the window."""
    paused_for: float
    """Seconds until a pause ends; 0.0 if there is none."""
    paused_because: Literal["pause", "refused"] | None
    """Whether somebody called ``pause()``, or a server refused a call."""
    paused_by: int | None
    """The process that has seen to the pause."""
    shared: str | None
    """Where it is shared; None if it is this process's alone."""
    holders: tuple[LimiterHolder, ...]
    """The processes that share it; none if it is this process's alone."""


LimiterHolder.__module__ = "paceline"
LimiterStats.__module__ = "paceline"
