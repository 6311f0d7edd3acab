"""`BatchExecutor` under the constructor that CPython's executor tests call."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures.thread import BrokenThreadPool
from typing import Any

from paceline import BatchExecutor, RateLimiter


class _ForeignLimiter:
    """Any object with `acquire()`: workers call it, one at a time."""

    def acquire(self) -> bool:
        return True


LIMITERS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "native": lambda: RateLimiter(1_000_000, per=0.001, margin=0),
    "foreign": _ForeignLimiter,
}


def executor_class(limiter: str) -> type[BatchExecutor]:
    """A `BatchExecutor` that starts everything through a limiter of the named kind."""

    class ThreadPoolExecutor(BatchExecutor):
        def __init__(
            self,
            max_workers: int = 5,
            thread_name_prefix: str = "paceline",
            initializer: Callable[..., object] | None = None,
            initargs: tuple[Any, ...] = (),
        ) -> None:
            super().__init__(
                LIMITERS[limiter](),
                max_workers,
                thread_name_prefix=thread_name_prefix,
                initializer=initializer,
                initargs=initargs,
            )

        @property
        def _broken(self) -> bool:
            """What the tests of failing initializers poll, told by public means."""
            try:
                self.submit(int)
            except BrokenThreadPool:
                return True
            return False

    return ThreadPoolExecutor
