"""The policy of repeating: which failures, how often, and how long everybody waits before that."""

# Annotations are evaluated here: those of a dataclass are read where it says that it is from.

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal, NamedTuple, Never, SupportsFloat, SupportsIndex, TypeAlias, TypeVar

from paceline._arguments import refuse
from paceline._checks import as_seconds, duration, is_suspended, positive_int, refuse_undecided
from paceline._core import show
from paceline._errors import BatchRefusedError
from paceline.retry import refusals, results
from paceline.retry.refusals import Finding
from paceline.retry.results import Observe, OnResult, RefusedResponseError
from paceline.retry.unsent import never_sent

RetryOn: TypeAlias = (
    type[Exception] | tuple[type[Exception], ...] | Callable[[Exception], object] | None
)
RetryAfter: TypeAlias = Callable[[Exception], SupportsFloat | timedelta | None] | None


class Verdict(NamedTuple):
    """What follows from one failed attempt: what :meth:`Retry.decide` returns.

    Attributes:
        again: The policy allows another attempt; attempts and budget are counted elsewhere.
        throttled: A limit was hit: everybody is to pause, also when this operation is given up.
        wait: Seconds the server asks for, from 0 to 10**9; None if it did not say. With
            ``longer="cut"`` at most ``max_pause``.
        final: A refusal that no waiting lifts, such as a spent quota. It fails its call at once,
            unless ``on`` says otherwise, and concerns nobody else: ``throttled`` is False.
    """

    again: bool
    throttled: bool
    wait: float | None = None
    final: bool = False


@dataclass(frozen=True, init=False, repr=False)
class Retry:
    """Which failed operations are repeated, how often, and how long to wait before that.

    Passed as ``BatchExecutor(..., retry=Retry(...))``. Every repetition is a new attempt: it takes
    a new permit, and holds no worker while it waits. When a server says that a limit was hit,
    nobody who shares the limiter starts anything until its wait is over.

    Durations are seconds or a ``timedelta``, from 0 to 10**9, and are kept as seconds. An instance
    never changes, and one may serve any number of executors.

    Args:
        attempts: How often an operation is tried at most, the first attempt included; from 1 to
            2**32 - 1. So many refusals in a row (two at least) also end what waits for the server:
            after each pause one call goes first, and when that is refused as well, the others are
            not tried in vain. One that is answered begins the count anew.
        on: Which failures are repeated: an exception class, a tuple of them, or a callable that
            is given the exception and returns whether to repeat. By default (None) two kinds:
            refusals by which a server asks to come later, and errors of connecting, where no
            request can have been processed. A request that may have been processed, such as one
            whose answer timed out, is repeated only if ``on`` or ``also`` says so. ``on`` takes
            the place of the default, ``also`` and ``statuses`` add to it.
        also: Which failures are repeated beside the two kinds: as for ``on``.
        statuses: HTTP statuses, from 400 to 599, of which failures are repeated as well, such as
            ``{500, 502, 503, 504}``. The server may have done something before it failed: give
            them for calls that may be made twice. They need not be raised: a response that is
            returned with one of them counts as well.
        backoff: Seconds of the first wait at most; each further wait may be twice as long. With
            ``jitter`` the wait is drawn evenly from 0 to that figure ("full jitter": M. Brooker,
            "Exponential Backoff And Jitter", AWS Architecture Blog, 2015). A server that refuses
            several times in a row is waited for at least so long, without ``jitter``, even if it
            asks for less.
        max_backoff: Seconds at which that growth ends; at least ``backoff``.
        jitter: False waits the whole figure each time.
        retry_after: A callable that is given the exception and returns the seconds its server
            asks for, or None if it does not say; it replaces the built-in reading of
            waits. A NaN counts as None. Returning seconds means that a limit was hit.
        on_result: A callable that is given what an operation returned, and returns True if that
            stands for a refusal, whose wait is then read from it if it can be, or the seconds to
            wait; False if it does not, and None to have it judged as by default: a response with
            a status and headers is a refusal if an exception with them would be. The attempt has
            then failed with a :class:`RefusedResponseError`, which has the value.
        observe: Whether to follow what a server tells of its limit before it refuses: True reads
            how many calls are left, and when that is reset, from the headers of responses that
            operations return (``X-RateLimit-Remaining`` and ``-Reset`` and their kind, the least of
            several). A callable is given what an operation returned, and returns a response, its
            headers, or the pair itself, ``(calls, seconds)``; None says nothing. No more calls than
            are left start before the reset, counting those that the server may not have counted
            yet. It only ever makes a :class:`RateLimiter` slower, and a reset further ahead than
            ``max_pause`` is left to the refusal.
        default_pause: Seconds everybody waits when a limit was hit and the server did not say
            for how long; by default exponential from ``backoff``. At most ``max_pause``.
        max_pause: Seconds a pause lasts at most.
        longer: What follows when a server asks for a longer pause. ``"end"``: whatever waits for
            it ends at once, without another call: a batch with :exc:`BatchRefusedError`, submitted
            calls with that as their exception. ``"cut"``: the next call is made after ``max_pause``
            all the same.
        budget: How many attempts of a batch may be repetitions: a number (an int), or a share of
            its operations so far (a float from 0.0 to 1.0; above 0.0 one at least). None sets no
            bound. With it an outage ends the batch instead of multiplying the load. The calls of
            ``submit`` count as one batch, which lasts as long as the executor.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of its range; the message names it.

    An error raised by ``on``, ``also`` or ``retry_after`` means that the operation is not repeated;
    it stays in view as a note on the operation's own exception. One raised by ``on_result`` is the
    cause of the :class:`RefusedResponseError` that the operation then fails with. A rule whose
    answer is still to be awaited has raised a ``TypeError``.

    Refusals are recognised by their shape, in an exception, its causes, what it holds, and in the
    members of a group: the statuses 429, 529 and 420, and 503, 403, 418 and 509 if they say how
    long to wait; gRPC's ``RESOURCE_EXHAUSTED``; error codes such as ``ThrottlingException`` and
    ``rateLimitExceeded``; a positive ``retry_after``. A spent quota, such as
    ``insufficient_quota``, is final: its call fails at once. Repeated as well are refused
    connections, names that do not resolve, and timeouts of connecting.

    >>> Retry(3, backoff=1)
    Retry(attempts=3, backoff=1.0)
    >>> Retry(on=(TimeoutError, ConnectionError), budget=0.1)
    Retry(attempts=5, on=(TimeoutError, ConnectionError), budget=0.1)
    """

    attempts: int
    on: RetryOn
    also: RetryOn
    statuses: frozenset[int]
    backoff: float
    max_backoff: float
    jitter: bool
    retry_after: RetryAfter
    on_result: OnResult
    observe: Observe
    default_pause: float | None
    max_pause: float
    longer: Literal["end", "cut"]
    budget: float | None

    def __init__(
        self,
        attempts: int = 5,
        *_more: Never,
        on: RetryOn = None,
        also: RetryOn = None,
        statuses: Iterable[int] = frozenset(),
        backoff: float | timedelta = 0.5,
        max_backoff: float | timedelta = 60.0,
        jitter: bool = True,
        retry_after: RetryAfter = None,
        on_result: OnResult = None,
        observe: Observe = False,
        default_pause: float | timedelta | None = None,
        max_pause: float | timedelta = 3600.0,
        longer: Literal["end", "cut"] = "end",
        budget: float | None = None,
        **_unknown: Never,
    ) -> None:
        """See the class."""
        if _more or _unknown:
            refuse("Retry", _more, _unknown)
        if not isinstance(jitter, bool):
            raise TypeError(f"jitter must be True or False, not {show(jitter)}")
        pause = None if default_pause is None else duration("default_pause", default_pause)
        values = {
            "attempts": positive_int("attempts", attempts, 2**32 - 1),
            "on": _on("on", on),
            "also": _on("also", also),
            "statuses": _statuses(statuses),
            "backoff": duration("backoff", backoff),
            "max_backoff": duration("max_backoff", max_backoff),
            "jitter": jitter,
            "retry_after": _function("retry_after", retry_after),
            "on_result": _function("on_result", on_result),
            "observe": _observe(observe),
            "default_pause": pause,
            "max_pause": duration("max_pause", max_pause),
            "longer": _longer(longer),
            "budget": _budget(budget),
        }
        for name, value in values.items():
            object.__setattr__(self, name, value)
        if self.on is not None and (self.also is not None or self.statuses):
            raise ValueError(
                "on takes the place of all that is repeated by default; give what is repeated "
                "beside that as also or statuses, without on"
            )
        if self.max_backoff < self.backoff:
            raise ValueError(
                f"max_backoff must be at least backoff ({self.backoff}), not {self.max_backoff}"
            )
        if self.default_pause is not None and self.default_pause > self.max_pause:
            raise ValueError(
                f"default_pause must be at most max_pause ({self.max_pause}),"
                f" not {self.default_pause}"
            )

    def __repr__(self) -> str:
        shown = [f"attempts={self.attempts}"]
        for name, default in _DEFAULTS.items():
            value = getattr(self, name)
            if value != default:
                shown.append(f"{name}={_source(value)}")
        return f"Retry({', '.join(shown)})"

    def decide(self, exception: Exception) -> Verdict:
        """Judge a failed attempt.

        Args:
            exception: What the operation raised.

        Returns:
            Whether to repeat it, whether a limit was hit, and the wait the server asks for.

        Raises:
            Exception: Whatever ``on`` or ``retry_after`` raise; nothing else does.
            TypeError: ``retry_after`` returned something that is no duration.
        """
        finding = refusals.of_exception(exception)
        if isinstance(exception, RefusedResponseError) and not exception.judged:
            return Verdict(False, False)
        if isinstance(exception, BatchRefusedError):
            # Its batch has waited for the server, and has done a part of what it was to do.
            return Verdict(_applies(self.on or self.also, exception), False, None, True)
        wait, asked = finding.wait, False
        if self.retry_after is not None:
            answer = self.retry_after(exception)
            refuse_undecided("retry_after", answer)
            wait = _asked(answer)
            asked = wait is not None
        if self.on is not None:
            again = _applies(self.on, exception)
        else:
            again = asked or self._repeats(exception, finding)
        if wait is not None:
            wait = min(wait, self.max_pause if self.longer == "cut" else _LONGEST)
        return Verdict(again, finding.refused or asked, wait, finding.final and not asked)

    def judge_result(self, value: object) -> RefusedResponseError | None:
        """Judge what an operation returned.

        Returns:
            The exception that the attempt has failed with; None if the value stands for no failure.
        """
        return results.refused(value, self.on_result, self.statuses.__contains__)

    def remaining(self, value: object) -> tuple[int, float] | None:
        """Read what a server tells of its limit, as ``observe`` says.

        Args:
            value: What an operation returned.

        Returns:
            How many calls are left, and the seconds until that is reset; None if it does not say.

        Raises:
            Exception: What ``observe`` raises.
        """
        if self.observe is False:
            return None
        return results.remaining(value, self.observe, self.max_pause)

    def _repeats(self, exception: BaseException, finding: Finding) -> bool:
        """Return whether it is repeated by default, or as ``also`` and ``statuses`` say.

        A group is if each of its members is.
        """
        if isinstance(exception, Exception) and _applies(self.also, exception):
            return True
        if isinstance(exception, BaseExceptionGroup):
            if finding.repeatable or (self.also is None and not self.statuses):
                return finding.repeatable
            leaves = refusals.leaves(exception)
            return bool(leaves) and all(
                self._repeats(leaf, refusals.of_exception(leaf)) for leaf in leaves
            )
        if finding.final:
            return False
        if finding.refused:
            return finding.repeatable
        return finding.status in self.statuses or never_sent(exception)


for _public in (Retry, Verdict):
    _public.__module__ = "paceline"

# What a repr leaves out.
_DEFAULTS = Retry.__init__.__kwdefaults__ or {}

_FIRST_ERROR, _LAST_STATUS = 400, 599
# Seconds that a server may ask for at most: those of the longest duration.
_LONGEST = 1e9

_F = TypeVar("_F", bound=Callable[..., object] | None)


def _budget(value: object) -> float | None:
    if value is None:
        return None
    if isinstance(value, SupportsIndex) and not isinstance(value, bool):
        value = value.__index__()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"budget must be a number of retries, a share or None, not {show(value)}")
    if isinstance(value, float) and not 0 <= value <= 1:
        raise ValueError(
            f"budget as a share must be from 0.0 to 1.0, not {show(value)}; "
            "for a number, give an int"
        )
    if not 0 <= value < 2**63:
        raise ValueError(f"budget must be at least 0 and below 2**63, not {show(value)}")
    return value


def _longer(value: object) -> object:
    if not isinstance(value, str) or value not in {"end", "cut"}:
        raise ValueError(f"longer must be 'end' or 'cut', not {show(value)}")
    return value


def _on(name: str, value: RetryOn) -> RetryOn:
    if isinstance(value, type | tuple):
        for cls in value if isinstance(value, tuple) else (value,):
            if not (isinstance(cls, type) and issubclass(cls, Exception)):
                raise TypeError(f"{name} must name subclasses of Exception, not {show(cls)}")
        return value
    return _function(name, value, "an exception class, a tuple of them or callable")


def _applies(rule: RetryOn, exception: Exception) -> bool:
    if rule is None:
        return False
    if isinstance(rule, type | tuple):
        return isinstance(exception, rule)
    answer = rule(exception)
    refuse_undecided("the rule of Retry", answer)
    return bool(answer)


def _statuses(value: object) -> frozenset[int]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise TypeError(f"statuses must be HTTP statuses, such as {{500, 503}}, not {show(value)}")
    found = set()
    for each in value:
        if isinstance(each, bool) or not isinstance(each, int):
            raise TypeError(f"statuses must be whole numbers, not {show(each)}")
        if not _FIRST_ERROR <= each <= _LAST_STATUS:
            raise ValueError(f"statuses must be from 400 to 599, not {show(each)}")
        found.add(int(each))
    return frozenset(found)


def _function(name: str, value: _F, kinds: str = "callable") -> _F:
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be {kinds}, not {show(value)}")
    if value is not None and is_suspended(value):
        raise TypeError(f"{name} must not be a coroutine function: {show(value)}")
    return value


def _observe(value: Observe) -> Observe:
    if value is None:
        raise TypeError("observe must be True, False or callable, not None")
    if isinstance(value, bool):
        return value
    return _function("observe", value, "True, False or callable")


def _asked(value: object) -> float | None:
    """Return what ``retry_after`` returned as seconds, at least 0, or None."""
    if value is None:
        return None
    number = as_seconds(value)
    if number is None:
        raise TypeError(f"retry_after must return seconds, a timedelta or None, not {show(value)}")
    return None if math.isnan(number) else max(0.0, number)


def _source(value: object) -> str:
    """Return an expression for a setting: classes and functions by the name they go by."""
    if isinstance(value, tuple):
        inner = ", ".join(_source(part) for part in value)
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    if isinstance(value, frozenset):
        return f"{{{', '.join(map(repr, sorted(value)))}}}"
    name = getattr(value, "__qualname__", None)
    if not isinstance(name, str) or "<" in name:
        return repr(value)
    module = getattr(value, "__module__", None)
    return name if module in (None, "builtins") else f"{module}.{name}"
