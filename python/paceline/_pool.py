"""The worker threads of an executor, as Python sees them, and what happens to them at exit."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures.thread import BrokenThreadPool
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from paceline import _core
from paceline._permits import ask

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Pool"]

_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_threads: dict[threading.Thread, Pool] = {}


class Pool:
    """The threads that one process has for an executor.

    It knows the executor's runtime but not the executor, so that its threads do not keep an
    executor alive that everybody else has forgotten.
    """

    def __init__(
        self,
        runtime: _core.Runtime,
        *,
        name: str,
        initializer: Callable[..., object] | None,
        initargs: Iterable[Any],
        acquire: Callable[[], object] | None,
    ) -> None:
        self.runtime = runtime
        self.broken: str | None = None
        self._name = name
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._acquire = acquire
        self._started = 0
        self._dispatching = False
        self._lock = threading.Lock()
        _pools.add(self)

    def grow(self) -> None:
        """Start as many worker threads as there is work for, up to the executor's workers."""
        while (worker := self.runtime.take_on()) is not None:
            try:
                self._start(worker, self._next_name())
            except RuntimeError:
                # No more threads are to be had; those that run will do the work.
                if worker.abandon() == 0:
                    raise
                return

    def dispatch(self) -> None:
        """See to it that somebody asks a limiter that is not ours for permits."""
        with self._lock:
            if self._acquire is None or self._dispatching:
                return
            self._dispatching = True
        try:
            self._start(self._dispatch, f"{self._name}_dispatcher")
        except RuntimeError:
            self._dispatching = False
            raise

    def run_here(self, number: int) -> None:
        """On a worker, run a submitted call in the place of the operation that waits for it."""
        if not self.runtime.works_here() or not self.runtime.holds(number):
            return
        if self._acquire is None:
            self.runtime.run_here(number, permit=False)
            return
        if (refusal := ask(self._acquire)) is None:
            self.runtime.run_here(number, permit=True)
        elif (taken := self.runtime.withdraw(number)) is not None:
            future = taken[0][0]
            future.set_running_or_notify_cancel()
            future.set_exception(refusal)

    def check(self) -> None:
        """Raise if the workers could not be set up.

        Raises:
            BrokenThreadPool: with the reason.
        """
        if self.broken is not None:
            raise BrokenThreadPool(self.broken)

    def join(self) -> None:
        """Wait until every thread has ended, but for the calling one."""
        for thread, pool in list(_threads.items()):
            if pool is self and thread is not threading.current_thread():
                thread.join()

    def _next_name(self) -> str:
        with self._lock:
            number, self._started = self._started, self._started + 1
        return f"{self._name}_{number}"

    def _start(self, run: Callable[[], object], name: str) -> None:
        thread = threading.Thread(target=self._run, args=(run,), name=name, daemon=True)
        _threads[thread] = self
        try:
            thread.start()
        except BaseException:
            del _threads[thread]
            raise

    def _run(self, run: Callable[[], object]) -> None:
        try:
            if self._initializer is not None and isinstance(run, _core.Worker):
                try:
                    self._initializer(*self._initargs)
                except BaseException:
                    logging.getLogger("concurrent.futures").critical(
                        "Exception in initializer:", exc_info=True
                    )
                    self._break()
                    run.abandon()
                    return
            run()
        finally:
            _threads.pop(threading.current_thread(), None)

    def _break(self) -> None:
        self.broken = "A thread initializer failed, the thread pool is not usable anymore"
        self.runtime.break_down()
        for (future, *_), _error in self.runtime.withdraw_all():
            if future.set_running_or_notify_cancel():
                future.set_exception(BrokenThreadPool(self.broken))

    def _dispatch(self) -> None:
        assert self._acquire is not None
        dispatcher = self.runtime.dispatcher()
        # A limiter that is not ours is called from Python, with nothing of Rust beneath it.
        while dispatcher.wait():
            try:
                refusal = ask(self._acquire)
            except BaseException as error:
                dispatcher.fail(error)
            else:
                if refusal is None:
                    dispatcher.grant()
                else:
                    dispatcher.refuse(refusal)
            self.grow()


def _at_exit() -> None:
    """Let submitted calls finish and every worker end; nothing else starts any more."""
    _core.exiting()
    try:
        for pool in list(_pools):
            if pool.runtime.is_current():
                pool.runtime.close_at_exit()
        for thread in list(_threads):
            thread.join()
    except KeyboardInterrupt:
        _end_process()


def _end_process() -> None:
    """End as a process that Ctrl-C was pressed on, without waiting for running operations."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    if os.name == "posix":
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    os._exit(130)


def _after_fork_in_child() -> None:
    _core.forked()
    _threads.clear()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
