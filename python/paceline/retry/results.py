"""Refusals that are returned and not raised: clients that hand back the response of a 429."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, SupportsFloat, TypeAlias

from paceline import _duck
from paceline._checks import as_seconds, refuse_undecided
from paceline._core import show
from paceline.retry import headers, refusals
from paceline.retry.refusals import Finding
from paceline.retry.responses import response_of

# What `observe` may return: how many calls are left, and the seconds until that is reset; or what
# has the headers that tell it.
Observe: TypeAlias = Callable[[Any], object] | bool
OnResult: TypeAlias = Callable[[object], SupportsFloat | timedelta | bool | None] | None


class RefusedResponseError(Exception):
    """An operation returned what stands for a refusal, such as a response of status 429.

    The attempt has failed with it, and so has the operation if it is not repeated.

    Args:
        value: What the operation returned.
        retry_after: Seconds that the server asks to be left alone; None if it did not say.
        status: The HTTP status, if there is one.

    Attributes:
        value: As given; ``response`` is the same.
        retry_after: As given.
        status: As given.
    """

    def __init__(
        self, value: object, *, retry_after: float | None = None, status: int | None = None
    ) -> None:
        """See the class."""
        super().__init__(value)
        self.value = value
        self.retry_after = retry_after
        self.status = status
        self._finding = Finding(True, retry_after, repeatable=True, status=status)

    @property
    def judged(self) -> bool:
        """Whether ``on_result`` did not fail when it was asked about the value."""
        return self._finding != Finding()

    @property
    def response(self) -> object:
        """What the operation returned."""
        return self.value

    def __str__(self) -> str:
        """Say what was returned, but not what is in it."""
        error = self.__cause__
        if error is not None:
            return f"on_result raised {error!r} when it was asked about the returned {self._kind}"
        status = "" if self.status is None else f" of status {self.status}"
        asked = "" if self.retry_after is None else f"; it asks for {self.retry_after:g} s"
        return f"the operation returned a refusal: {self._kind}{status}{asked}"

    @property
    def _kind(self) -> str:
        return type(self.value).__name__


RefusedResponseError.__module__ = "paceline"


def refused(
    value: object, on_result: OnResult, is_repeated: Callable[[int | None], bool]
) -> RefusedResponseError | None:
    """Return the failure that a returned value stands for, or None.

    Args:
        value: What an operation returned.
        on_result: The user's rule, which goes before the reading of responses.
        is_repeated: Whether the policy repeats this status as well.

    What ``on_result`` raises is the cause of a failure that is not repeated: the value is kept, and
    the mistake is seen.
    """
    response = response_of(value)
    if on_result is not None:
        try:
            answer = on_result(value)
            refuse_undecided("on_result", answer)
            asked = _asked(answer)
        except Exception as error:  # noqa: BLE001 - whatever the user's rule raises
            failure = RefusedResponseError(value)
            failure.__cause__ = error
            failure._finding = Finding()  # noqa: SLF001 - of our own making
            try:
                return failure
            finally:
                # The traceback of its cause holds this frame.
                del failure
        if asked is False:
            return None
        if asked is not None:
            wait = _wait_of(value, response) if asked is True else (asked or None)
            status = refusals.of_response(value if response is None else response).status
            return RefusedResponseError(value, retry_after=wait, status=status)
    if response is None:
        return None
    finding = refusals.of_response(response)
    if finding.refused and finding.wait is None:
        finding = replace(finding, wait=_wait_of(value, response))
    if not (finding.refused or finding.final or is_repeated(finding.status)):
        return None
    failure = RefusedResponseError(value, retry_after=finding.wait, status=finding.status)
    failure._finding = finding  # noqa: SLF001 - as above
    return failure


def _wait_of(value: object, response: object) -> float | None:
    wait = None if response is None else refusals.wait_of(response)
    return refusals.wait_of(value) if wait is None else wait


def remaining(value: object, observe: Observe, longest: float) -> tuple[int, float] | None:
    """Return how many calls a server says are left, and the seconds until that is reset.

    Args:
        value: What an operation returned.
        observe: The user's rule for finding that, or True.
        longest: Seconds: a reset further ahead is left to the refusal that it leads to.

    Raises:
        TypeError: ``observe`` returned a pair that is none of figures, or has still to be awaited.
    """
    if callable(observe):
        found = observe(value)
        refuse_undecided("observe", found)
    else:
        response = response_of(value)
        found = value if response is None else response
    told: tuple[int, float] | None
    if isinstance(found, tuple) and not hasattr(found, "_fields"):
        told = _pair(found)
    elif _duck.is_mapping(found) or isinstance(found, list):
        told = headers.remaining(found)
    else:
        told = headers.remaining(_duck.attribute(found, "headers"))
    return told if told is not None and 0 < told[1] <= longest else None


def _pair(pair: tuple[object, ...]) -> tuple[int, float]:
    count, wait = pair if len(pair) == 2 else (None, None)  # noqa: PLR2004 - as documented
    seconds = as_seconds(wait)
    if isinstance(count, bool) or not isinstance(count, int) or seconds is None:
        raise TypeError(f"observe must return calls left and seconds as a pair, not {show(pair)}")
    return min(max(0, count), 2**63), seconds


def _asked(answer: object) -> float | bool | None:
    """Return what ``on_result`` said: seconds, True, False, or None for "judge it yourself"."""
    if answer is None or isinstance(answer, bool):
        return answer
    number = as_seconds(answer)
    if number is None:
        raise TypeError(
            f"on_result must return seconds, a timedelta, a bool or None, not {show(answer)}"
        )
    return None if math.isnan(number) else max(0.0, number)
