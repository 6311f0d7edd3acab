"""The futures of submitted calls: real ones, that a worker can wait for without a deadlock."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from paceline._pool import Pool

__all__ = ["CallFuture", "submit"]

T = TypeVar("T")


class _Waiters(list[Any]):
    """The waiters of a future, which ``wait`` and ``as_completed`` put in and take out.

    A worker that puts one in is going to wait, so a spare worker may take its place.
    """

    __slots__ = ("_blocked", "_pool")

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._blocked: dict[int, int] = {}

    def append(self, waiter: Any) -> None:
        super().append(waiter)
        if self._pool.runtime.works_here():
            here = threading.get_ident()
            self._blocked[here] = self._blocked.get(here, 0) + 1
            self._pool.runtime.block()
            self._pool.grow()

    def remove(self, waiter: Any) -> None:
        super().remove(waiter)
        here = threading.get_ident()
        if self._blocked.get(here):
            self._blocked[here] -= 1
            self._pool.runtime.unblock()


class CallFuture(Future[T]):
    """The future of a call that waits for a worker and a permit in its executor's queue."""

    number: int | None = None

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool
        self._waiters = _Waiters(pool)

    def cancel(self) -> bool:
        """Cancel the call if it has not started; it then takes no permit.

        A call that waits to be tried again is given up: it ends with its last exception.

        Returns:
            Whether the call is cancelled.
        """
        number = self.number
        if number is None or not self._pool.runtime.is_current():
            return super().cancel()
        if (taken := self._pool.runtime.withdraw(number)) is None:
            return self.cancelled()
        _, error = taken
        self.give_up(error)
        return error is None

    def give_up(self, error: BaseException | None) -> None:
        """End a call that was taken out of the queue: cancelled, or with its last exception."""
        if error is not None:
            self.set_exception(error)
        elif super().cancel():
            self.set_running_or_notify_cancel()

    def result(self, timeout: float | None = None) -> T:
        """As of every future; a worker of the same executor may run the call itself."""
        helping = self._help(timeout)
        try:
            return super().result(timeout)
        finally:
            if helping:
                self._pool.runtime.unblock()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """As of every future; a worker of the same executor may run the call itself."""
        helping = self._help(timeout)
        try:
            return super().exception(timeout)
        finally:
            if helping:
                self._pool.runtime.unblock()

    def _help(self, timeout: float | None) -> bool:
        """Keep a worker that waits for its own executor from standing in its way.

        Returns whether another worker may work in its place until it has waited.
        """
        pool, number = self._pool, self.number
        if self.done() or number is None or not pool.runtime.works_here():
            return False
        if timeout is None:
            pool.run_here(number)
        if self.done():
            return False
        # What runs elsewhere, or must not be waited for to the end, needs another worker.
        pool.runtime.block()
        try:
            pool.grow()
        except BaseException:
            pool.runtime.unblock()
            raise
        return True


def submit(
    pool: Pool, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> CallFuture[T]:
    """Queue a call in the caller's context."""
    future = CallFuture[T](pool)
    call = (future, fn, args, kwargs, contextvars.copy_context())
    future.number = pool.runtime.submit(call)
    try:
        pool.dispatch()
        pool.grow()
    except RuntimeError:
        # No thread is there to run it, nor can one be started.
        pool.runtime.withdraw(future.number)
        raise
    return future
