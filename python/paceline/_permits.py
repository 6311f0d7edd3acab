"""Asking a limiter that is not ours."""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, ContextDecorator
from typing import Protocol

from paceline._core import show
from paceline._errors import PermitRefusedError

__all__ = ["SupportsAcquire", "ask"]


class SupportsAcquire(Protocol):
    """A limiter of any make, as :class:`BatchExecutor` takes it. A mock passes for one."""

    def acquire(self) -> object:
        """Block until there is a permit, and take it.

        Returns:
            None or a true value if there is a permit. Any other false value refuses it: that
            operation fails with :class:`PermitRefusedError`.
        """


def ask(limiter: SupportsAcquire) -> PermitRefusedError | None:
    """Ask for one permit; return None if it was granted, else what the operation fails with.

    Raises:
        TypeError: If the limiter is asynchronous.
        BaseException: Whatever the limiter raises.
    """
    answer = limiter.acquire()
    if answer is None or answer is True:
        return None
    if inspect.isawaitable(answer) or inspect.isgenerator(answer) or _is_to_be_entered(answer):
        # Closed, it does not warn that it was never awaited.
        if close := getattr(answer, "close", None):
            close()
        message = (
            "the rate limiter's acquire() returned an awaitable, a generator or a context manager "
            f"made of one, which would limit nothing: {show(answer)}; a blocking acquire() is "
            "needed"
        )
        raise TypeError(message)
    if answer:
        return None
    return PermitRefusedError(
        f"the rate limiter refused a permit: acquire() returned {show(answer)}, where None or a "
        "true value grants one"
    )


def _is_to_be_entered(answer: object) -> bool:
    """Whether ``answer`` does nothing before it is entered: contextlib makes it of a generator.

    Others may be permits that were taken, and are given back when they are left.
    """
    return isinstance(answer, ContextDecorator) and isinstance(answer, AbstractContextManager)


SupportsAcquire.__module__ = "paceline"
