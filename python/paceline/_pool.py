"""The worker threads of an executor, as Python sees them, and what they ask for permits."""

from __future__ import annotations

import contextvars
import logging
import sys
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures.thread import BrokenThreadPool
from contextlib import suppress
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any

from paceline import _core
from paceline._checks import refuse_suspended
from paceline._logging import SAY_SO_AFTER, say_waiting
from paceline._permits import ForeignLimiter, ask_if_there

try:
    import resource
except ImportError:  # on Windows
    resource = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterable

    from paceline._errors import PermitRefusedError

__all__ = ["Pool", "beside_workers", "ending_threads", "runtimes", "threads", "wait_for"]

# What this process is to do once it has a worker.
beside_workers: list[Callable[[], object]] = []
runtimes: weakref.WeakValueDictionary[int, _core.Handle] = weakref.WeakValueDictionary()
threads: dict[threading.Thread, _core.Handle] = {}
# Since Python 3.14 a thread may begin in a copy of the context of whoever starts it, and keeps that
# alive; a worker works for others as well.
_TAKES_CONTEXT = "context" in threading.Thread.__init__.__code__.co_varnames


# How often a worker that waits looks whether it has to do the work itself, in seconds.
_LOOK_AGAIN = 0.01


class Pool:
    """The threads that one process has for an executor.

    Its threads do not keep it alive, nor it the executor: one that everybody else has forgotten
    ends when its work is done. Futures and batches that wait for their turn do keep it.
    """

    def __init__(
        self,
        runtime: _core.Handle,
        *,
        prefix: str,
        initializer: Callable[..., object] | None,
        initargs: Iterable[Any],
        limiter: ForeignLimiter | None,
        retry: object,
    ) -> None:
        self.runtime = runtime
        # Kept for those whose operations are judged by it: its threads do not.
        self._retry = retry
        self._broken: str | None = None
        self._broken_by: BaseException | None = None
        self._prefix = prefix
        self._initializer = initializer
        self._initargs = tuple(initargs)
        # Kept as the policy is.
        self._limiter = limiter
        self._ask: Callable[[], PermitRefusedError | None] = _nothing
        self._numbers = count()
        # The last thread that was wanted could not be started.
        self._is_short = False
        if limiter is not None:
            # Two threads may each make a pool for a runtime, of which one is kept: the limiter, and
            # so whom the workers ask, is the same for both.
            self._ask = partial(ask_if_there, weakref.ref(limiter))
            runtime.ask_by(self._ask)
        runtimes[id(runtime)] = runtime

    def grow(self) -> None:
        """Start as many worker threads as there is work for, up to the executor's workers."""
        try:
            while self._start():
                self._is_short = False
        except RuntimeError:
            self._is_short = True
            # No more threads are to be had; those that run will do the work.
            if self.runtime.is_stranded():
                raise

    def step_aside(self) -> None:
        """On a worker that is going to wait: let another work in its place, until ``unblock``."""
        self.runtime.block()
        try:
            self.grow()
        except BaseException:
            self.runtime.unblock()
            raise

    def stand_in(self) -> bool:
        """On a worker that stepped aside: do what waits, where no thread can be had for it.

        Returns whether that is so, and it is to be called again.
        """
        if self._is_short and not self.runtime.run_next():
            # Those that run may come to wait as well.
            time.sleep(_LOOK_AGAIN)
        return self._is_short

    def check(self) -> None:
        """Raise if the workers could not be set up.

        Raises:
            BrokenThreadPool: With the reason.
        """
        if self._broken is not None:
            raise self._broken_error()

    def join(self) -> None:
        """Wait until every thread has ended, but for the calling one.

        One that asks a limiter for a permit is not waited for: that may never answer, and by now
        nothing is left that needs a permit. Nor are the others then, which have no more to do but
        to end together with it.
        """
        if not self.runtime.works_here():
            self.runtime.join_threads()
        for thread in ending_threads(self.runtime):
            # One that is about to start cannot be joined yet, and finds nothing to do.
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join()

    def is_joined_here(self) -> bool:
        """Whether whoever joins the executor waits for the calling thread."""
        own = threads.get(threading.current_thread()) is self.runtime
        return own or self.runtime.is_joined_here()

    def _start(self) -> bool:
        """Start a worker thread, if there is work for one more; whether it was.

        Whatever interrupts it, such as Ctrl-C, may come before the thread begins or after: one that
        has not begun is abandoned.

        Raises:
            RuntimeError: If no thread is to be had.
        """
        worker = self.runtime.reserve_thread()
        if worker is None:
            return False
        thread = None
        try:
            thread = self._make_thread(worker)
            thread.start()
        except BaseException as error:
            begun = not worker.abandon()
            if not begun and thread is not None:
                threads.pop(thread, None)
            if not isinstance(error, RuntimeError):
                # Others may have counted on this thread.
                with suppress(RuntimeError):
                    self.grow()
            elif begun and error.__context__ is not None:
                # What a signal handler raised where `start` was about to take a lock again.
                raise error.__context__ from None
            raise
        if beside_workers:
            # Another thread may have come first.
            with suppress(IndexError):
                beside_workers.pop()()
        return True

    def _make_thread(self, worker: _core.Worker) -> threading.Thread:
        # Its thread takes it out: that keeps what it was given for as long as it lives, and the
        # initializer may hold the executor.
        initialize: list[Callable[[], object]] = []
        if self._initializer is not None:
            initialize.append(partial(self._initializer, *self._initargs))
        name = f"{self._prefix}_{next(self._numbers)}"
        here, pool = threading.get_native_id(), weakref.ref(self)
        args = (self.runtime, worker, here)
        others = {"initialize": initialize, "pool": pool, "ask": self._ask}
        inherits: dict[str, Any] = {"context": contextvars.Context()} if _TAKES_CONTEXT else {}
        thread = threading.Thread(None, _run, name, args, others, daemon=True, **inherits)
        threads[thread] = self.runtime
        return thread

    def break_down(self, reason: str, cause: BaseException | None) -> None:
        """Let everything that has not started end: the workers cannot be set up."""
        self._broken, self._broken_by = reason, cause
        self.runtime.break_down()
        self.runtime.give_up_all(self._broken_error)

    def _broken_error(self) -> BrokenThreadPool:
        error = BrokenThreadPool(self._broken)
        error.__cause__ = self._broken_by
        return error


# What the C library gives a thread is the limit of when the process began, or this.
_STACK_LIMIT = resource.getrlimit(resource.RLIMIT_STACK)[0] if resource is not None else 0
_DEFAULT_STACK = 2**23
# Windows gives no less, nor do Python's builds for other C libraries.
_SMALL_STACK = 2**20

_NOT_INITIALIZED = "A thread initializer failed, the thread pool is not usable anymore"
_NO_REAL_THREADS = (
    "threading.Thread does not start a thread of the operating system here, and an executor's "
    "workers have to be some: where gevent or eventlet patch the standard library, leave threads "
    "out, as in gevent.monkey.patch_all(thread=False)"
)


def _nothing(*_: object) -> None:
    """Do nothing."""


def _ask(worker: _core.Worker, ask: Callable[[], PermitRefusedError | None]) -> None:
    """Ask for the permit that a worker is to start with."""
    try:
        refusal = (worker.context() or contextvars.Context()).run(ask)
    except BaseException as error:  # noqa: BLE001 - it is raised where the permit is missed
        worker.fail(error)
    else:
        worker.answer(refusal)


def _run(
    runtime: _core.Handle,
    worker: _core.Worker,
    started_from: int,
    *,
    initialize: list[Callable[[], object]],
    pool: weakref.ref[Pool],
    ask: Callable[[], PermitRefusedError | None],
) -> None:
    try:
        unusable = cause = None
        if threading.get_native_id() == started_from:
            unusable = _NO_REAL_THREADS
        else:
            try:
                if initialize:
                    refuse_suspended("the initializer", initialize.pop()())
            except BaseException as error:
                logging.getLogger("concurrent.futures").critical(
                    "Exception in initializer:", exc_info=True
                )
                # Without this frame, which knows the pool.
                cause = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
                unusable = _NOT_INITIALIZED
        # What it was made of is not needed any more, whether or not it was called.
        initialize.clear()
        if unusable is not None:
            worker.abandon()
            if (owner := pool()) is not None:
                owner.break_down(unusable, cause)
            # The traceback of the cause leads to this frame, and the pool holds the cause.
            del owner, cause
        else:
            size = _stack_size()
            while True:
                try:
                    while worker(size):
                        _ask(worker, ask)
                    break
                except BaseException as error:  # noqa: BLE001 - raised where the permit is missed
                    # Thrown at this thread from another, as at an operation that takes too long;
                    # by now that has ended.
                    worker.fail(error)
    finally:
        # The initializer or the limiter may have forked.
        runtime.exit_if_forked()
        threads.pop(threading.current_thread(), None)


def _stack_size() -> int:
    """How many bytes of stack a thread has that was just started, or fewer."""
    if size := threading.stack_size():
        return size
    if sys.platform == "linux" and _STACK_LIMIT > 0:
        return min(_STACK_LIMIT, _DEFAULT_STACK)
    return _SMALL_STACK


def ending_threads(runtime: _core.Handle) -> list[threading.Thread]:
    """Return the threads of a runtime that end now: none, while one of them asks a limiter."""
    if runtime.is_asking():
        return []
    # Copied in one go: the collector may run anybody's code while a list of pairs is made, and
    # threads end meanwhile.
    return [thread for thread, its in threads.copy().items() if its is runtime]


def wait_for(
    runtimes: list[_core.Handle],
    before: str,
    *,
    begin: Callable[[_core.Handle], object] = _nothing,
    say: Callable[..., None] = say_waiting,
) -> None:
    """Wait until nothing of them waits or runs, and say so when that has lasted a second.

    Args:
        runtimes: One after the other.
        before: What is to come then.
        begin: Called with each of them first.
        say: Writes the line.
    """
    until = time.monotonic() + SAY_SO_AFTER
    said = False
    for runtime in runtimes:
        begin(runtime)
        if said:
            runtime.join()
        elif not runtime.join(max(until - time.monotonic(), 0.0)):
            said = True
            counts = [each.unfinished() for each in runtimes]
            say(logging.INFO, *map(sum, zip(*counts, strict=True)), before)
            runtime.join()
