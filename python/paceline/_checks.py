"""Refusing bad arguments, before anything has started."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Coroutine,
    Generator,
    Iterator,
)
from datetime import timedelta
from types import CodeType
from typing import Any, Generic, SupportsFloat
from weakref import WeakKeyDictionary

from paceline._core import show

__all__ = [
    "as_seconds",
    "duration",
    "failure_limit",
    "is_awaited",
    "is_generator_function",
    "is_suspended",
    "positive_int",
    "refuse_suspended",
    "refuse_undecided",
    "suspended_kind",
]

# Some 31 years: longer waits are mistakes, and platforms differ in the longest they can do.
_LONGEST = 1e9


@contextlib.contextmanager
def _entered() -> Iterator[None]:
    yield


@contextlib.asynccontextmanager
async def _entered_by_coroutines() -> AsyncIterator[None]:
    yield


# What does nothing yet when it is made, of whatever make: compiled modules have types of their own.
_SUSPENDED: dict[type, str] = {
    Coroutine: "a coroutine",
    Generator: "a generator",
    AsyncGenerator: "an asynchronous generator",
    type(_entered()): "a context manager",
    type(_entered_by_coroutines()): "an asynchronous context manager",
}

_ENTERED = {"__enter__": "a context manager", "__aenter__": "an asynchronous context manager"}

# Of each type of values that were asked about.
_KINDS: WeakKeyDictionary[type, str | None] = WeakKeyDictionary()


def suspended_kind(value: object) -> str | None:
    """Say what ``value`` is, if it does nothing before somebody runs, iterates over or enters it.

    Of context managers that is known of those that contextlib makes of generators, and of those
    that can only be entered and are made of a request. None of the value's own code runs.
    """
    cls = type(value)
    try:
        return _KINDS[cls] if cls in _KINDS else _remember(cls)
    except Exception:  # noqa: BLE001 - what a metaclass does
        return None


def _remember(cls: type) -> str | None:
    kinds = (kind for known, kind in _SUSPENDED.items() if issubclass(cls, known))
    _KINDS[cls] = kind = next(kinds, None) or _request_to_enter(cls)
    return kind


# What else than to enter it can be done with a thing that has one of these.
_USES = frozenset(
    {"__await__", "__call__", "__getattr__", "__getattribute__", "__getitem__", "__iter__"}
)


def _request_to_enter(cls: type) -> str | None:
    """Say what instances of ``cls`` are that send a request when they are entered, if they do.

    The clients of several models return them for a stream. They can only be entered, and are made
    of the function that sends the request, or of its coroutine.
    """
    bases = [base for base in cls.__mro__ if base not in (object, Generic)]
    names = {name for base in bases for name in vars(base)}
    if names & _USES or any(not name.startswith("_") for name in names):
        return None
    kind = next((kind for name, kind in _ENTERED.items() if name in names), None)
    makers = (getattr(vars(base).get("__init__"), "__code__", None) for base in bases)
    arguments = (
        name for code in makers if code for name in code.co_varnames[: _arguments_of(code)]
    )
    return kind if any("request" in name for name in arguments) else None


def _arguments_of(code: CodeType) -> int:
    return code.co_argcount + code.co_kwonlyargcount


def refuse_suspended(what: str, answer: object) -> None:
    """Refuse what a function has returned, if it has done nothing with that."""
    if kind := suspended_kind(answer):
        # Closed, a coroutine does not warn that it was never awaited.
        with contextlib.suppress(Exception):
            answer.close()  # type: ignore[attr-defined]
        raise TypeError(f"{what} returned {kind}, which does nothing by itself: {show(answer)}")


def is_awaited(answer: object) -> bool:
    """Whether somebody has to await ``answer`` for what it is to say, or to wait for it."""
    cls = type(answer)
    try:
        return issubclass(cls, Awaitable) or hasattr(cls, "add_done_callback")
    except Exception:  # noqa: BLE001 - what a metaclass does
        return False


def refuse_undecided(what: str, answer: object) -> None:
    """Refuse what a rule has returned, if its answer is still to come."""
    if answer is None or isinstance(answer, bool):
        return
    refuse_suspended(what, answer)
    if is_awaited(answer):
        raise TypeError(f"{what} returned what is to be awaited, and no answer: {show(answer)}")


def is_suspended(operation: object) -> bool:
    """Whether calling ``operation`` gives a coroutine or a generator, which has still to be run."""
    import inspect  # noqa: PLC0415 - what is no plain function is rare, and this imports much

    return is_generator_function(operation) or any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each)
        for each in _called_by(operation)
    )


def is_generator_function(operation: object) -> bool:
    """Whether calling ``operation`` gives a generator, which does nothing before it is iterated."""
    import inspect  # noqa: PLC0415 - as above

    return any(inspect.isgeneratorfunction(each) for each in _called_by(operation))


def _called_by(operation: object) -> tuple[object, object]:
    """Return what ``operation`` calls: itself, and the method that makes it callable."""
    while isinstance(operation, functools.partial):
        operation = operation.func
    call = getattr(type(operation), "__call__", None)  # noqa: B004 - the method itself is looked at
    return operation, call


def positive_int(name: str, value: Any, most: int, kinds: str = "a whole number") -> int:
    """Return ``value`` if it is a whole number from 1 to ``most``."""
    if isinstance(value, bool) or not hasattr(type(value), "__index__"):
        raise TypeError(f"{name} must be {kinds}, not {show(value)}")
    number = value.__index__()
    if not 1 <= number <= most:
        raise ValueError(f"{name} must be greater than 0 and at most {most}, not {show(value)}")
    return int(number)


def as_seconds(value: object) -> float | None:
    """Return a number or a ``timedelta`` as seconds, of any size; None if it is neither."""
    return value.total_seconds() if isinstance(value, timedelta) else _number(value)


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf  # type: ignore[operator]
    except TypeError:
        # It has the method, for others of its kind.
        return None


def duration(name: str, value: object) -> float:
    """Return a duration in seconds, from 0 to 10**9."""
    number = as_seconds(value)
    if number is None:
        raise TypeError(f"{name} must be a number of seconds or a timedelta, not {show(value)}")
    if not 0 <= number <= _LONGEST:
        raise ValueError(f"{name} must be from 0 to {_LONGEST:.0f} seconds, not {show(value)}")
    return number


def failure_limit(value: Any) -> tuple[float, int] | None:
    """Return a limit as share and number of operations: share 0 for a plain count."""
    if value is None:
        return None
    if isinstance(value, tuple):
        try:
            share, of = value
        except ValueError:
            message = f"max_failures must be a count or (share, of), not {show(value)}"
            raise ValueError(message) from None
        number = _number(share)
        if number is None:
            raise TypeError(f"the share in max_failures must be a number, not {show(share)}")
        if not 0 < number <= 1:
            raise ValueError(
                f"the share in max_failures must be above 0 and up to 1, not {show(share)}"
            )
        return number, positive_int("the number of operations in max_failures", of, 2**31)
    return 0.0, positive_int("max_failures", value, 2**62, "a whole number or (share, of)")
