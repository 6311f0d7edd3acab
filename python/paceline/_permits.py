"""Asking a limiter that is not ours."""

from __future__ import annotations

import functools
import sys
import threading
import weakref
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ContextDecorator
from typing import Protocol

from paceline._checks import is_awaited, suspended_kind
from paceline._core import show
from paceline._errors import PermitRefusedError

__all__ = ["ForeignLimiter", "SupportsAcquire", "ask_if_there", "check_limiter"]

# Beyond so many wrappers nothing is looked for.
_MOST_WRAPPERS = 100


class SupportsAcquire(Protocol):
    """A limiter of any make, as :class:`BatchExecutor` takes it. A mock passes for one."""

    def acquire(self) -> object:
        """Block until there is a permit, and take it.

        Returns:
            None or a true value if there is a permit. Any other false value refuses it: that
            operation fails with :class:`PermitRefusedError`.
        """


def check_limiter(limiter: SupportsAcquire) -> None:
    """Refuse a lock or a semaphore of the standard library, also behind wrappers of functools.

    Its ``acquire()`` would fit, but nothing ever releases it, so that it would be waited for for
    ever. A subclass is taken: somebody may refill it.

    Raises:
        TypeError: If it is one.
    """
    method: object = limiter.acquire
    for _ in range(_MOST_WRAPPERS):
        if isinstance(method, functools.partial):
            method = method.func
        elif (wrapped := getattr(method, "__wrapped__", None)) is not None:
            method = wrapped
        else:
            break
    primitives = _primitives()
    # A proxy of one says that it is of that type, and is not.
    if type(limiter) not in primitives and issubclass(type(limiter), tuple(primitives)):
        return
    for each in (limiter, getattr(method, "__self__", None)):
        if type(each) in primitives:
            kind = f"{type(each).__module__}.{type(each).__name__}"
            raise TypeError(
                f"rate_limiter must not be a lock or a semaphore: nothing ever releases a {kind}, "
                "so calls would wait for it for ever; for at most n calls at once use "
                "max_workers=n, for n calls in so many seconds RateLimiter(n, per=seconds)"
            )


def _primitives() -> set[type]:
    """The types of the standard library that can be acquired, of those modules that are in use."""
    names = ("Lock", "RLock", "Semaphore", "BoundedSemaphore", "Condition")
    proxies = ("AcquirerProxy", "ConditionProxy")
    known: set[type] = {type(threading.Lock()), type(threading.RLock())}
    for module, kinds in (
        ("threading", (*names[2:], "_RLock")),
        ("multiprocessing.synchronize", names),
        ("_multiprocessing", ("SemLock",)),
        ("multiprocessing.managers", proxies),
        ("asyncio.locks", names),
    ):
        loaded = sys.modules.get(module)
        found = (getattr(loaded, kind, None) for kind in kinds)
        # What tests have put in the place of a module may hold anything.
        known.update(kind for kind in found if isinstance(kind, type))
    return known


def _ask(limiter: SupportsAcquire) -> PermitRefusedError | None:
    """Ask for one permit; return None if it was granted, else what the operation fails with.

    Raises:
        TypeError: If the limiter is asynchronous, or returns a future.
        BaseException: Whatever the limiter raises.
    """
    answer = limiter.acquire()
    if answer is None or answer is True:
        return None
    if is_awaited(answer) or suspended_kind(answer) or _is_to_be_entered(answer):
        # Closed, it does not warn that it was never awaited.
        if close := getattr(answer, "close", None):
            close()
        message = (
            "the rate limiter's acquire() returned an awaitable, a future, a generator or a "
            f"context manager made of one, which would limit nothing: {show(answer)}; a blocking "
            "acquire() is needed"
        )
        raise TypeError(message)
    if answer:
        return None
    return PermitRefusedError(
        f"the rate limiter refused a permit: acquire() returned {show(answer)}, where None or a "
        "true value grants one"
    )


class ForeignLimiter:
    """A limiter that is not ours, as an executor holds it.

    Its threads refer to this weakly: the limiter may hold the executor. Whatever waits for a permit
    keeps the pool, and that keeps this.
    """

    __slots__ = ("__weakref__", "_limiter")

    def __init__(self, limiter: SupportsAcquire) -> None:
        self._limiter = limiter

    def ask(self) -> PermitRefusedError | None:
        """Ask for one permit, by the method that it has now: a test may have replaced it."""
        return _ask(self._limiter)


def ask_if_there(reference: weakref.ref[ForeignLimiter]) -> PermitRefusedError | None:
    """Ask for one permit. Where the limiter has gone, so has all that a permit was for.

    Raises:
        ReferenceError: If it has gone: nothing may start by that.
    """
    limiter = reference()
    if limiter is None:
        raise ReferenceError("the executor's limiter has gone")
    return limiter.ask()


def _is_to_be_entered(answer: object) -> bool:
    """Whether ``answer`` does nothing before it is entered, or can be entered by coroutines only.

    The first is so where contextlib makes it of a generator. Others may be permits that were taken,
    and are given back when they are left.
    """
    if not isinstance(answer, AbstractContextManager):
        return isinstance(answer, AbstractAsyncContextManager)
    return isinstance(answer, ContextDecorator)


SupportsAcquire.__module__ = "paceline"
