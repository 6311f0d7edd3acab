"""What becomes of the workers where the process ends, or forks."""

from __future__ import annotations

# What `signal` is made of: that takes longer to import than this file.
import _signal  # type: ignore[import-not-found]
import atexit
import logging
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from paceline import _core, _pool
from paceline._logging import say_waiting


def _say_at_exit(*args: Any) -> None:
    """Say it, unless logging is gone: a handler whose file is closed is not to complain."""
    raises = logging.raiseExceptions
    logging.raiseExceptions = False
    try:
        say_waiting(*args)
    finally:
        logging.raiseExceptions = raises


def _wait_for_workers() -> None:
    """Let submitted calls finish and every worker end; nothing else starts any more."""
    known = (reference() for reference in _pool.runtimes.valuerefs())
    every = {*known, *list(_pool.threads.values())}
    runtimes = [each for each in every if each is not None and each.is_current()]
    _pool.wait_for(runtimes, "the program ends", begin=_core.Handle.close_at_exit, say=_say_at_exit)
    for runtime in runtimes:
        runtime.join_threads()
    for runtime in runtimes:
        for thread in _pool.ending_threads(runtime):
            if thread.is_alive():
                thread.join()


def _end_process(error: BaseException) -> None:
    """End the process without waiting for running operations, as ``error`` would have."""
    with suppress(ValueError):
        # Where what follows has to wait, a further Ctrl-C ends it at once.
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    code = 130 if isinstance(error, KeyboardInterrupt) else 1
    if isinstance(error, SystemExit):
        code = _exit_code(error)
    elif not isinstance(error, KeyboardInterrupt):
        with suppress(Exception):
            sys.excepthook(type(error), error, error.__traceback__)
    _flush()
    if isinstance(error, KeyboardInterrupt) and os.name == "posix":
        os.kill(os.getpid(), _signal.SIGINT)
    os._exit(code)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()


def _exit_code(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code & 0xFF if -(2**31) <= error.code < 2**31 else 255
    # Once, however often a signal handler exits meanwhile: in one call in C, within which none is
    # called, the iterator is used up and its line written.
    list(map(sys.stderr.write, _last_line.setdefault(0, iter((f"{error.code}\n",)))))
    return 1


_last_line: dict[int, Iterator[str]] = {}


# What is imported only when it is needed, on any thread.
_IMPORTED_LATE = ("paceline.retry.policy", "inspect", "pickle", "difflib", "fractions")


def _before_fork() -> None:
    """Let another thread come to the end of such an import, or the child waits for that thread."""
    locks = getattr(sys.modules["_frozen_importlib"], "_module_locks", ())
    for name in _IMPORTED_LATE:
        if name in locks:
            __import__(name)


# The end of this thread is that of the process, unless a child was forked on another one.
_FIRST_THREAD = threading.main_thread().ident
# Whether `threading` was told to end its threads.
_ends_threads = False


def _after_fork_in_child() -> None:
    global _ends_threads  # noqa: PLW0603
    _core.forked()
    _pool.threads.clear()
    _ends_threads = False
    forked_elsewhere = threading.get_ident() != _FIRST_THREAD
    _pool.beside_workers[:] = [_watch_main_thread] if forked_elsewhere else []


def _watch_main_thread() -> None:
    """In a child that was forked on another thread than the first, see to its end.

    Nobody else does: when that thread returns, which is the main one here, the process goes on for
    as long as it has others, and workers would wait for work for ever.
    """
    with suppress(RuntimeError):
        threading.Thread(target=_finish_after_main, name="paceline_exit", daemon=True).start()


def _finish_after_main() -> None:
    main = threading.main_thread()
    # Not by `Thread.join`, which from Python 3.14 on does not return in such a child.
    while main.ident in sys._current_frames():  # noqa: SLF001
        time.sleep(0.02)
    if _ends_threads:
        return
    _finish()
    # Some threads do not come back, such as a worker that asks a limiter which never answers, and
    # would keep the process.
    _flush()
    os._exit(0)


def _before_threads_end() -> None:
    """Called when ``threading`` ends its threads, before it waits for them.

    The interpreter's end goes on with what ``atexit`` knows: then we are to be the first there, as
    submitted calls may use what other handlers take down. Whoever else ends its threads, such as a
    child of ``multiprocessing``, may end the process next: then a thread that is waited for sees to
    ours.
    """
    global _ends_threads  # noqa: PLW0603
    _ends_threads = True
    try:
        atexit.unregister(_core.at_exit)
    finally:
        # Not by a function, at whose beginning a signal handler may raise.
        atexit.register(_core.at_exit, _wait_for_workers, _end_process)
    if _is_interpreter_ending():
        return
    try:
        threading.Thread(target=_finish, name="paceline_exit", daemon=False).start()
    except RuntimeError:
        _core.at_exit(_wait_for_workers, _end_process)


def _is_interpreter_ending() -> bool:
    """Whether ``threading`` is told to end its threads by nothing that is written in Python."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)  # noqa: SLF001
    if frame is None:
        return False
    # What stands between the two differs among the versions of Python.
    while frame.f_back is not None:
        frame = frame.f_back
    ends_threads = threading._shutdown  # type: ignore[attr-defined]  # noqa: SLF001
    return frame.f_code is getattr(ends_threads, "__code__", None)


def _finish() -> None:
    """Wait for all threads that may still submit calls, and then for these."""
    ours = {threading.main_thread(), threading.current_thread()}
    while others := [it for it in threading.enumerate() if not it.daemon and it not in ours]:
        for thread in others:
            # One that is about to start cannot be joined yet.
            if thread.is_alive():
                thread.join()
        time.sleep(0.001)
    _core.at_exit(_wait_for_workers, _end_process)


# In Rust, so that nothing that a signal handler raises comes between the two.
atexit.register(_core.at_exit, _wait_for_workers, _end_process)
# As `concurrent.futures` does, refuse to be imported first when the threads have been ended: nobody
# would see to it that what is submitted then is done. While the interpreter waits for threads that
# are no daemons, `atexit` still does.
with suppress(AttributeError):
    try:
        threading._register_atexit(_before_threads_end)  # type: ignore[attr-defined]  # noqa: SLF001
    except RuntimeError:
        if not _is_interpreter_ending():
            raise
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_child=_after_fork_in_child)
