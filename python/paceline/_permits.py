"""Asking a limiter that is not ours."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from paceline._errors import PermitRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ask"]


def ask(acquire: Callable[[], object]) -> PermitRefusedError | None:
    """Ask for one permit; return None if it was granted, else what the operation fails with.

    Raises:
        TypeError: If the limiter is asynchronous.
        BaseException: Whatever the limiter raises.
    """
    answer = acquire()
    if answer is None or answer is True:
        return None
    if inspect.isawaitable(answer):
        # Closed, it does not warn that it was never awaited.
        if close := getattr(answer, "close", None):
            close()
        message = (
            "the rate limiter's acquire() returned an awaitable, which would limit nothing: "
            f"{answer!r}; a blocking acquire() is needed"
        )
        raise TypeError(message)
    if answer:
        return None
    return PermitRefusedError(f"the rate limiter refused a permit: acquire() returned {answer!r}")
