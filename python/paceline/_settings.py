"""What an executor and its verbs are given, each checked before anything has started."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar, cast

from paceline import _core
from paceline._arguments import limiter_instead, map_instead, operations_instead
from paceline._checks import is_suspended, positive_int
from paceline._core import show
from paceline._duck import is_a
from paceline._permits import check_limiter

if TYPE_CHECKING:
    from paceline._permits import SupportsAcquire

__all__ = [
    "as_input",
    "calls_of",
    "check_on_error",
    "check_rate_limiter",
    "check_retry",
    "check_sizes",
    "check_thread_setup",
    "check_workers",
    "warn_in_event_loop",
]

T = TypeVar("T")

ON_ERROR = ("record", "return", "raise")

MOST_WORKERS = 2**15


def check_workers(max_workers: int | None) -> int:
    """Return how many workers there are; by default as many as ``ThreadPoolExecutor`` has."""
    if max_workers is None:
        count = getattr(os, "process_cpu_count", os.cpu_count)
        max_workers = min(32, (count() or 1) + 4)
    return positive_int("max_workers", max_workers, MOST_WORKERS)


def check_rate_limiter(limiter: SupportsAcquire | None) -> _core.RateLimiter | None:
    """Return the limiter if it is one of ours; None if it is of another make, or there is none."""
    # A mock or a proxy says that it is what it stands for.
    native = limiter if is_a(limiter, _core.RateLimiter) else None
    if limiter is not None and not callable(getattr(limiter, "acquire", None)):
        raise TypeError(
            f"rate_limiter must have an acquire() method or be None, not {show(limiter)}"
            f"{limiter_instead(limiter)}"
        )
    if cast("object", limiter) is _core.RateLimiter:
        raise TypeError("rate_limiter must be made first, as in RateLimiter(100, per=60)")
    if limiter is not None and native is None:
        check_limiter(limiter)
    return native


def check_thread_setup(
    initializer: Callable[..., object] | None, initargs: object, prefix: object
) -> None:
    """Refuse what the worker threads cannot be set up with."""
    if initializer is not None and (not callable(initializer) or is_suspended(initializer)):
        raise TypeError(
            "initializer must be a function, and neither async nor a generator: "
            f"{show(initializer)}"
        )
    if not isinstance(initargs, Iterable):
        raise TypeError(f"initargs must be an iterable of arguments, not {show(initargs)}")
    if not isinstance(prefix, str):
        raise TypeError(f"thread_name_prefix must be a string, not {show(prefix)}")


def check_retry(retry: object) -> None:
    """Refuse what is no policy."""
    # Here, as the package has no use for it until somebody has made one.
    from paceline.retry.policy import Retry  # noqa: PLC0415

    if not is_a(retry, Retry):
        raise TypeError(
            f"retry must be a Retry or None, not {show(retry)}; write retry=Retry(attempts=3), "
            "where the first call is counted as well"
        )


def check_on_error(on_error: str) -> str:
    """Return the word, if it is one of those that there are."""
    if on_error not in ON_ERROR:
        raise ValueError(
            f"on_error must be one of {', '.join(map(repr, ON_ERROR))}, not {show(on_error)}"
        )
    return on_error


def as_input(operations: Iterable[Callable[[], T]]) -> Iterable[Callable[[], T]]:
    """Return a list or a tuple as it is, and an iterator over anything else."""
    if isinstance(operations, list | tuple):
        return operations
    try:
        return iter(operations)
    except TypeError as error:
        raise TypeError(
            f"operations must be an iterable of callables, not {show(operations)}"
            f"{operations_instead(operations)}"
        ) from error


def warn_in_event_loop() -> None:
    """Warn where a verb that waits is called in a running event loop, which it holds up."""
    # Where it was never imported, no loop can run.
    events = sys.modules.get("asyncio.events")
    if events is not None and events._get_running_loop() is not None:  # noqa: SLF001 - it is public
        warnings.warn(
            "this holds up the event loop that runs here until the batch has ended: use an "
            "AsyncBatchExecutor, or await asyncio.to_thread(...) of it",
            RuntimeWarning,
            stacklevel=4,
        )


def check_sizes(chunksize: object, buffersize: object) -> None:
    """Refuse the sizes that ``map`` cannot do with."""
    if not isinstance(chunksize, SupportsIndex | float):
        raise TypeError(f"chunksize must be an integer, not {show(chunksize)}")
    if cast("int", chunksize) < 1:
        raise ValueError(f"chunksize must be >= 1, not {show(chunksize)}")
    if buffersize is not None and not isinstance(buffersize, int):
        raise TypeError(f"buffersize must be an integer or None, not {show(buffersize)}")
    if buffersize is not None and not 1 <= buffersize <= sys.maxsize:
        raise ValueError(
            f"buffersize must be None or > 0 and at most {sys.maxsize}, not {show(buffersize)}"
        )


def calls_of(
    fn: Callable[..., T], iterables: Collection[Iterable[Any]]
) -> Iterator[Callable[[], T]]:
    """Return the calls that ``map`` makes of a function and the items of iterables."""
    try:
        _core.check_operation("fn", fn)
        return (functools.partial(fn, *items) for items in zip(*iterables, strict=False))
    except TypeError as error:
        if told := map_instead(fn, iterables):
            raise TypeError(told) from error
        raise
