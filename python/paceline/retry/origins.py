"""Tells whose ``except`` block an exception comes from: a library's, or one of the user's own.

Python gives an exception that is raised in an ``except`` block the one handled there as its
``__context__``. A library that translates the errors of the client beneath it leaves the refusal
there, with ``from None`` as well. A bug in the user's own handler has the refusal there, too, but
is no refusal: what tells them apart is the code that the handler stands in.
"""

from __future__ import annotations

import opcode
import os
import re
from types import FrameType, TracebackType

from paceline import _duck

_INSTALLED = re.compile(r"[/\\](?:site|dist)-packages[/\\]")
_STANDARD_LIBRARY = os.path.dirname(os.__file__) + os.sep  # noqa: PTH120 - of the interpreter itself
_RAISE = opcode.opmap["RAISE_VARARGS"]

# Deeper than the recursion limit of most programs.
_MOST_FRAMES = 2_000


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
            code, at = frame.f_code.co_code, traceback.tb_lasti
            return 0 <= at < len(code) and code[at] == _RAISE
        traceback = traceback.tb_next
    return False
