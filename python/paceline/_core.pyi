from datetime import timedelta
from typing import Self, final

__all__ = ["RateLimiter"]

@final
class RateLimiter:
    """At most ``limit`` permits in any window of ``per`` seconds, first come first served.

    The window is exact, wherever it begins: after a burst, after idling, and with any number of
    threads and executors on one limiter. Waiters stand in one queue and nobody overtakes its
    head, however heavy the request there is. A limiter may be shared among threads, executors
    and event loops; like a lock, it cannot be pickled or copied. It uses the monotonic clock.

    Memory grows with the permits in the window, not with ``limit``: 16 bytes for each (up to 32
    while it grows), so a window of a million permits takes 16 to 32 MB when it is full.

    A process that is forked begins with an empty window and an empty queue: the permits of its
    parent are not counted there.

    Args:
        limit: Permits in any window, from 1 to 2**63.
        per: Length of the window, in seconds or as a ``timedelta``.
        burst: How many permits may follow each other at once, from 1 to ``limit``; the rest is
            spaced evenly at ``per / limit`` seconds (GCRA), and the window still holds.
            ``burst=1`` is a metronome. By default permits are given as soon as the window has
            room, so ``limit`` calls or fewer start at once. A start that the system delays by
            up to half an interval (or a millisecond, if that is more) does not delay those
            after it. A pace is kept for bursts of up to 4,294,967,295 permits.
        margin: How much longer than ``per`` the window is kept, in seconds or as a
            ``timedelta``: servers count arrivals, and the network moves them closer together.
            By default 1 % of ``per``, at most 0.25 s. 0 turns it off.
        adaptive: Whether the limit in effect is halved when an executor meets a refusal (429),
            once per episode, and grows back by a twentieth of ``limit`` (at least 1) per window,
            never beyond ``limit`` and never below 1. Additive increase and multiplicative
            decrease, after D.-M. Chiu and R. Jain, "Analysis of the increase and decrease
            algorithms for congestion avoidance in computer networks", Computer Networks and
            ISDN Systems 17 (1989).

    Raises:
        ValueError: If a number is out of its range, or is not finite.
        TypeError: If an argument is of another type.

    Example:
        >>> RateLimiter(200, per=60)
        RateLimiter(200, per=60.0)
    """

    def __new__(
        cls,
        limit: int,
        per: float | timedelta = 1.0,
        *,
        burst: int | None = None,
        margin: float | timedelta | None = None,
        adaptive: bool = False,
    ) -> Self: ...
    def acquire(self, weight: int = 1, *, timeout: float | timedelta | None = None) -> bool:
        """Waits for a permit and takes it.

        The permit counts from the instant this returns. Other threads run while it waits; in the
        main thread, Ctrl-C ends the wait. A wait that ends early takes nothing.

        Args:
            weight: How many permits to take, all at once.
            timeout: How long to wait at most, in seconds or as a ``timedelta``; without limit by
                default.

        Returns:
            True, or False if the permit was not to be had in time: at once, if the wait is known
            to be longer than ``timeout``, counting those who wait already.

        Raises:
            ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``, so that
                waiting would never end; if ``timeout`` is negative or not finite.
            TypeError: If an argument is of another type.
        """

    def try_acquire(self, weight: int = 1) -> bool:
        """Takes a permit if there is one now, without waiting.

        Args:
            weight: How many permits to take, all at once.

        Returns:
            Whether it was taken; False while anyone waits in the queue.

        Raises:
            ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``.
            TypeError: If ``weight`` is of another type.
        """

    def wait_time(self, weight: int = 1) -> float:
        """The least time until a permit would be granted, without taking it.

        Args:
            weight: How many permits would be taken, all at once.

        Returns:
            Seconds, counting everyone who waits in the queue; 0.0 if there is a permit now.

        Raises:
            ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``.
            TypeError: If ``weight`` is of another type.
        """

    def pause(self, seconds: float | timedelta) -> None:
        """Gives no permit to anybody for a time.

        A later call can lengthen the pause and never shortens it. Pausing a combination pauses
        each of its parts, and so everybody who uses one of them.

        Args:
            seconds: How long from now, in seconds or as a ``timedelta``.

        Raises:
            ValueError: If ``seconds`` is negative or not finite.
            TypeError: If it is of another type.
        """

    def __and__(self, other: RateLimiter, /) -> RateLimiter:
        """A limiter that grants when both can, and charges both or neither.

        ``RateLimiter(10) & RateLimiter(200, per=60)`` keeps 10 a second and 200 a minute. Any
        number can be combined, and one limiter can be part of several combinations.
        """

    def __rand__(self, other: RateLimiter, /) -> RateLimiter:
        """The same from the other side."""

    @property
    def parts(self) -> tuple[RateLimiter, ...]:
        """The limiters it was combined from, or itself alone."""

    @property
    def limit(self) -> int:
        """Permits in any window.

        Raises:
            AttributeError: If it is a combination: its ``parts`` have limits, it has none. The
                same holds for the properties below.
        """

    @property
    def per(self) -> float:
        """Length of the window in seconds."""

    @property
    def burst(self) -> int | None:
        """Permits that may follow each other at once; None if they are not paced."""

    @property
    def margin(self) -> float:
        """How much longer than ``per`` the window is kept, in seconds."""

    @property
    def adaptive(self) -> bool:
        """Whether refusals lower the limit in effect."""

    @property
    def effective_limit(self) -> int:
        """Permits in any window as of now: ``limit``, or less after a refusal if ``adaptive``."""
