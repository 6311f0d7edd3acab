"""Tells from tracebacks where an exception comes from: whose code, and over which response.

Python gives an exception that is raised in an ``except`` block the one handled there as its
``__context__``. A library that translates the errors of the client beneath it leaves the refusal
there, with ``from None`` as well. A bug in the user's own handler has the refusal there, too, but
is no refusal: what tells them apart is the code that the handler stands in.

Many a library drops the response when it raises, or stumbles when it reads it (a ``Retry-After``
that is a date, where it takes a number for granted). The function that raised had it at hand all
the same, and a traceback keeps the functions' variables.
"""

from __future__ import annotations

import inspect
import opcode
import os
import re
from types import FrameType, TracebackType

from paceline import _duck
from paceline.retry.responses import response_of

_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - of the interpreter itself
_RAISE = opcode.opmap["RAISE_VARARGS"]

# Deeper than the recursion limit of most programs.
_MOST_FRAMES = 2_000
# From the function that raised to the one that made the request it is a few calls.
_MOST_LOOKED_AT = 12
_MOST_VARIABLES = 100


def context(exception: BaseException, origin: TracebackType | None) -> BaseException | None:
    """Return the exception during whose handling a library raised this one.

    Args:
        exception: One that may have been raised while another was handled.
        origin: The traceback of the exception that left the operation: it begins in the function
            that was called.

    The first frame of a traceback is the one that caught the exception last: the handler's. Where
    the operation itself is a function of that library, or an application is installed as a
    library is, only an explicit ``raise`` counts, not an error that just happened in the handler.
    """
    handled = _duck.attribute(exception, "__context__")
    if not _duck.is_a(handled, BaseException):
        return None
    caught = _duck.attribute(handled, "__traceback__")
    if not _duck.is_a(caught, TracebackType) or not _is_installed(caught.tb_frame):
        return None
    if origin is not None and _package(origin.tb_frame) == _package(caught.tb_frame):
        raised = _duck.attribute(exception, "__traceback__")
        if not (_duck.is_a(raised, TracebackType) and _raises(raised, caught.tb_frame)):
            return None
    return handled


def responses(exception: BaseException, origin: TracebackType | None) -> list[object]:
    """Return the responses over which a library raised this exception.

    Those are among the variables of the function that raised it, or of the nearest of its callers
    that has any; the user's own functions are not looked at, nor what called them. For ``origin``
    see :func:`context`: of the library that the operation itself belongs to only an explicit
    ``raise`` counts.
    """
    traceback = _duck.attribute(exception, "__traceback__")
    entries: list[TracebackType] = []
    while _duck.is_a(traceback, TracebackType) and len(entries) < _MOST_FRAMES:
        entries.append(traceback)
        traceback = traceback.tb_next
    for entry in reversed(entries[-_MOST_LOOKED_AT:]):
        if not _is_installed(entry.tb_frame):
            break
        found = _responses_in(entry.tb_frame)
        if found:
            own = origin is not None and _package(origin.tb_frame) == _package(entry.tb_frame)
            explicit = entry is entries[-1] and _at_raise(entry)
            return found if explicit or not own else []
    return []


def _responses_in(frame: FrameType) -> list[object]:
    if not frame.f_code.co_flags & inspect.CO_OPTIMIZED:
        return []  # Of a module or a class.
    found = map(response_of, list(frame.f_locals.values())[:_MOST_VARIABLES])
    return [each for each in found if each is not None]


def _is_installed(frame: FrameType) -> bool:
    file = frame.f_code.co_filename
    if not os.path.isabs(file):  # noqa: PTH117 - this is no place to make paths
        # Cython writes the path within its own source tree.
        file = _duck.text(frame.f_globals.get("__file__")) or file
    if _INSTALLED.search(file):
        return True
    return file.startswith((_STANDARD_LIBRARY, "<frozen "))


def _package(frame: FrameType) -> str:
    return (_duck.text(frame.f_globals.get("__name__")) or "").partition(".")[0]


def _raises(traceback: TracebackType | None, frame: FrameType) -> bool:
    """Return whether the frame was left by a ``raise`` statement of its own."""
    for _ in range(_MOST_FRAMES):
        if traceback is None:
            return False
        if traceback.tb_frame is frame:
            return _at_raise(traceback)
        traceback = traceback.tb_next
    return False


def _at_raise(traceback: TracebackType) -> bool:
    code, at = traceback.tb_frame.f_code.co_code, traceback.tb_lasti
    return 0 <= at < len(code) and code[at] == _RAISE
