"""The futures of submitted calls: real ones, that a worker can wait for without a deadlock."""

from __future__ import annotations

import contextvars
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from paceline._pool import Pool

__all__ = ["CallFuture", "submit"]

T = TypeVar("T")


class _Event(threading.Event):
    """What ``wait`` and ``as_completed`` wait for: meanwhile a spare takes a worker's place."""

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self.pools = [pool]

    def wait(self, timeout: float | None = None) -> bool:
        if self.is_set():
            return True
        aside = []
        try:
            for pool in self.pools:
                if pool.runtime.works_here():
                    pool.step_aside()
                    aside.append(pool)
            while timeout is None and True in [each.stand_in() for each in aside]:
                if self.is_set():
                    return True
            return super().wait(timeout)
        finally:
            for pool in aside:
                pool.runtime.unblock()


class _Waiters(list[Any]):
    """The waiters of a future, which ``wait`` and ``as_completed`` put in and take out."""

    __slots__ = ("_pool",)

    def __init__(self, pool: Pool) -> None:
        super().__init__()
        self._pool = pool

    def append(self, waiter: Any) -> None:
        self._pool.runtime.check_process()
        super().append(waiter)
        # A waiter is put into all futures before any of them can set its event.
        event = getattr(waiter, "event", None)
        if type(event) is threading.Event:
            waiter.event = _Event(self._pool)
        elif isinstance(event, _Event) and self._pool not in event.pools:
            event.pools.append(self._pool)


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
        if number is None or self._state in _ENDED or not self._pool.runtime.is_current():
            return super().cancel()
        cancelled = self._pool.runtime.give_up(number, None)
        return self.cancelled() if cancelled is None else cancelled

    def settle(self, error: BaseException | None) -> None:
        """End a call that was taken out of the queue: with ``error``, or as cancelled.

        Where something was raised meanwhile, it is called again.
        """
        if error is None:
            if super().cancel() and self._state == "CANCELLED":
                self.set_running_or_notify_cancel()
        elif not self.done():
            self.set_exception(error)

    def result(self, timeout: float | None = None) -> T:
        """Return the call's value, as every future does.

        A worker of the same executor that waits here may run the call itself.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: If the call has not ended within ``timeout``.
            CancelledError: If it was cancelled.
            BaseException: Whatever the call raised.
        """
        helping = self._help(timeout)
        try:
            self._stand_in(helping, timeout)
            return super().result(timeout)
        finally:
            if helping:
                self._pool.runtime.unblock()
            # The traceback of what the call raised holds this frame, and the future that.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the call raised, or None, as every future does.

        A worker of the same executor that waits here may run the call itself.

        Args:
            timeout: Seconds to wait at most; None for as long as it takes.

        Raises:
            TimeoutError: If the call has not ended within ``timeout``.
            CancelledError: If it was cancelled.
        """
        helping = self._help(timeout)
        try:
            self._stand_in(helping, timeout)
            return super().exception(timeout)
        finally:
            if helping:
                self._pool.runtime.unblock()
            # As above, if the call was run beneath this frame.
            del self

    def _stand_in(self, helping: bool, timeout: float | None) -> None:
        """Do what waits for a thread, where none is to be had and this one waits for that."""
        try:
            while helping and timeout is None and not self.done() and self._pool.stand_in():
                pass
        finally:
            # As above.
            del self

    def __repr__(self) -> str:
        try:
            return super().__repr__()
        except RuntimeError:
            return f"<{type(self).__name__} at {id(self):#x} of the process forked from>"

    def _help(self, timeout: float | None) -> bool:
        """Keep a worker that waits for its own executor from standing in its way.

        Returns whether another worker may work in its place until it has waited.
        """
        pool, number = self._pool, self.number
        try:
            # In a forked child what had ended before can still be asked for.
            if number is None or self._state in _ENDED or not pool.runtime.works_here():
                return False
            if timeout is None:
                pool.runtime.run_here(number)
            if self.done():
                return False
            # What runs elsewhere, or must not be waited for to the end, needs another worker.
            pool.step_aside()
            return True
        finally:
            del self


_ENDED = frozenset({"CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED"})
_forks = 0


class _Unowned:
    """In a forked child, the condition of a future that the parent is still to settle.

    Whatever asks for the future's state enters it first. ``wait`` and ``as_completed`` acquire
    those of all futures, and are refused when they put their waiter in.
    """

    def __init__(self, future: CallFuture[Any]) -> None:
        self._check_process = future._pool.runtime.check_process  # noqa: SLF001

    def acquire(self) -> None:
        """Acquire nothing: it may be held by a thread that this process has not."""

    def release(self) -> None:
        """Release nothing."""

    def __enter__(self) -> None:
        self._check_process()

    def __exit__(self, *_: object) -> None:
        """Nobody has entered."""


class _Condition:
    """What a forked child has as ``CallFuture._condition``, so that nobody else pays for it."""

    def __get__(self, future: CallFuture[Any], _owner: type) -> Any:
        made_in, condition = future.__dict__.get("_made", (None, None))
        if made_in == _forks:
            return condition
        if future._state not in _ENDED:  # noqa: SLF001
            return _Unowned(future)
        # Nobody changes any more what had ended before the fork.
        name = f"_condition_{_forks}"
        if name not in future.__dict__:
            # Nor is anybody told of it: it may be waited for beside others.
            future._waiters = []  # noqa: SLF001
        return future.__dict__.setdefault(name, threading.Condition())

    def __set__(self, future: CallFuture[Any], condition: threading.Condition) -> None:
        future.__dict__["_made"] = _forks, condition


def _after_fork_in_child() -> None:
    global _forks  # noqa: PLW0603
    _forks += 1
    CallFuture._condition = _Condition()  # type: ignore[assignment]  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def submit(
    pool: Pool, fn: Callable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> CallFuture[T]:
    """Queue a call in the caller's context."""
    future: CallFuture[T] = CallFuture(pool)
    call = (future, (fn, *args), kwargs, contextvars.copy_context())
    try:
        # Gives the future its number: a signal may come before anything is returned.
        wants_thread = pool.runtime.submit(call)
        if wants_thread:
            pool.grow()
    except BaseException:
        # No thread is there to run it, nor can one be started; or a signal came between.
        if future.number is not None:
            pool.runtime.give_up(future.number, None)
        raise
    return future
