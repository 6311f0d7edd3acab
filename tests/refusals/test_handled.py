"""Whose `except` block it was: what a library has handled counts, what the user has does not."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import httpx
import pytest
from client_errors import httpx_error, look_alike, raised

from paceline import Retry, Verdict

DEFAULT = Retry()
NOTHING = Verdict(False, False, None)


def waits(seconds: float) -> Verdict:
    return Verdict(True, True, seconds)


LIBRARY = """
class LibraryError(Exception):
    status_code = None

def translates(call):
    try:
        return call()
    except Exception:
        raise LibraryError("refused")

def hides(call):
    try:
        return call()
    except Exception as error:
        raise LibraryError("refused") from None

def stumbles(call):
    try:
        return call()
    except Exception as error:
        return {}["missing"]

def raises():
    raise LibraryError("of its own")
"""


@pytest.fixture
def library(tmp_path: Path) -> Iterator[ModuleType]:
    """A library that is installed."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "translating_library.py").write_text(LIBRARY)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("translating_library")
    finally:
        sys.path.remove(str(folder))
        del sys.modules["translating_library"]


def refuse() -> None:
    raise httpx_error(429, {"Retry-After": "7"})


@pytest.mark.parametrize("name", ["translates", "hides", "stumbles"])
def test_what_a_library_handled_counts(library: ModuleType, name: str) -> None:
    caught = raised(lambda: getattr(library, name)(refuse))
    assert DEFAULT.decide(caught) == waits(7)


@pytest.mark.parametrize(("name", "verdict"), [("hides", waits(7)), ("stumbles", NOTHING)])
def test_an_operation_that_is_the_librarys_own_function(
    library: ModuleType, name: str, verdict: Verdict
) -> None:
    """So is one of an application that is installed: only what is raised on purpose counts."""
    try:
        getattr(library, name)(refuse)
    except Exception as caught:
        assert caught.__traceback__ is not None
        decided = DEFAULT.decide(caught.with_traceback(caught.__traceback__.tb_next))
    assert decided == verdict


def test_the_users_own_handlers_are_the_users(library: ModuleType) -> None:
    def mistaken() -> object:
        try:
            return refuse()
        except httpx.HTTPStatusError:
            return {}["missing"]

    def translates() -> None:
        try:
            refuse()
        except httpx.HTTPStatusError:
            raise ValueError("could not create") from None

    def calls_a_library() -> None:
        try:
            refuse()
        except httpx.HTTPStatusError:
            library.raises()

    def cleans_up() -> None:
        try:
            refuse()
        finally:
            library.raises()

    for mistake in (mistaken, translates, calls_a_library, cleans_up):
        caught = raised(mistake)
        assert caught.__context__ is not None
        assert DEFAULT.decide(caught) == NOTHING

    def explicit() -> None:
        try:
            refuse()
        except httpx.HTTPStatusError as cause:
            raise ValueError("could not create") from cause

    assert DEFAULT.decide(raised(explicit)) == waits(7)


def test_what_was_never_raised_has_no_handler() -> None:
    bare = Exception()
    bare.__context__ = look_alike("vendor.errors", "ApiError", status_code=429)
    assert DEFAULT.decide(bare) == NOTHING


def test_a_wait_of_an_earlier_attempt_does_not_lengthen(library: ModuleType) -> None:
    def again() -> None:
        raise httpx_error(429, {"Retry-After": "2"})

    def first() -> None:
        raise httpx_error(429, {"Retry-After": "600"})

    library.fallback = again
    exec(
        compile(
            "def tries(call):\n  try:\n    call()\n  except Exception:\n    fallback()\n",
            str(Path(library.__file__ or "")),
            "exec",
        ),
        library.__dict__,
    )
    assert DEFAULT.decide(raised(lambda: library.tries(first))) == waits(2)
