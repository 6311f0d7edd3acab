"""Refusals that a library drops when it raises, found with the function that raised."""

from __future__ import annotations

import gc
import importlib
import sys
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from paceline import Retry, Verdict

DEFAULT = Retry(max_pause=10_000)
NOTHING = Verdict(False, False, None)
DATED = {"Retry-After": "Sun, 06 Nov 1994 08:49:44 GMT", "Date": "Sun, 06 Nov 1994 08:49:37 GMT"}

LIBRARY = """
import json

class Response:
    def __init__(self, status_code, headers, body=None):
        self.status_code, self.headers, self.body = status_code, headers, body

class Error(Exception):
    pass

class StatusError(Exception):
    def __init__(self, status_code):
        self.status_code = status_code

class RateLimited(Exception):
    pass

class ConnectionFailed(Exception):
    pass

def says_nothing(response):
    raise Error

def says_the_status(response):
    raise StatusError(response.status_code)

def is_called_so(response):
    raise RateLimited

def reads_seconds(response):
    return seconds(response.headers["Retry-After"])

def seconds(text):
    return int(text)

def reads_json(response):
    return json.loads("<html>")

def stumbles(response):
    return {}["missing"]

def keeps_an_older(response):
    raise ConnectionFailed

def lost_an_answer(response):
    raise OSError(104, "reset by peer")

def translates(response):
    try:
        raise ConnectionFailed
    except ConnectionFailed:
        raise Error from None

def calls(function, response):
    return function()

def has_two(response):
    first = Response(200, {"Content-Type": "text/plain"})
    raise Error

def gets_another(response):
    says_nothing(Response(500, {"Content-Type": "text/plain"}))
"""


@pytest.fixture
def library(tmp_path: Path) -> Iterator[ModuleType]:
    """A library that is installed."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    (folder / "dropping_library.py").write_text(LIBRARY)
    sys.path.insert(0, str(folder))
    try:
        yield importlib.import_module("dropping_library")
    finally:
        sys.path.remove(str(folder))
        del sys.modules["dropping_library"]


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        call()
    return caught.value


def decided(library: ModuleType, name: str, status: int, headers: dict[str, str]) -> Verdict:
    response = library.Response(status, headers)
    return DEFAULT.decide(raised(lambda: getattr(library, name)(response)))


@pytest.mark.parametrize("name", ["says_nothing", "says_the_status", "is_called_so", "stumbles"])
def test_the_response_is_found(library: ModuleType, name: str) -> None:
    expected = Verdict(again=True, throttled=True, wait=7.0)
    assert decided(library, name, 429, {"Retry-After": "7"}) == expected
    assert decided(library, name, 503, {"Retry-After": "7"}) == expected
    unknown = Verdict(again=True, throttled=True, wait=None)
    assert decided(library, name, 429, {"Content-Type": "text/html"}) == unknown


@pytest.mark.parametrize("name", ["reads_seconds", "reads_json"])
def test_a_library_that_cannot_read_the_answer(library: ModuleType, name: str) -> None:
    expected = Verdict(again=True, throttled=True, wait=7.0)
    assert decided(library, name, 429, DATED) == expected


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500, 503])
@pytest.mark.parametrize("name", ["says_nothing", "says_the_status", "stumbles", "reads_json"])
def test_other_answers_are_no_refusals(library: ModuleType, name: str, status: int) -> None:
    assert decided(library, name, status, {"Content-Type": "text/html"}) == NOTHING


@pytest.mark.parametrize(
    "name", ["keeps_an_older", "lost_an_answer", "translates", "has_two", "gets_another"]
)
def test_an_answer_to_something_else_does_not_count(library: ModuleType, name: str) -> None:
    assert decided(library, name, 429, {"Retry-After": "7"}) == NOTHING


def test_the_users_own_functions_are_not_looked_at(library: ModuleType) -> None:
    def mistaken() -> object:
        response = library.Response(429, {"Retry-After": "7"})
        return {}["missing"] or response

    assert DEFAULT.decide(raised(mistaken)) == NOTHING
    response = library.Response(429, {"Retry-After": "7"})
    assert DEFAULT.decide(raised(lambda: library.calls(mistaken, response))) == NOTHING


@pytest.mark.parametrize(("name", "is_refusal"), [("says_nothing", True), ("stumbles", False)])
def test_an_operation_that_is_the_librarys_own_function(
    library: ModuleType, name: str, is_refusal: bool
) -> None:
    """So is one of an application that is installed: only what is raised on purpose counts."""
    response = library.Response(429, {"Retry-After": "7"})
    caught = raised(lambda: getattr(library, name)(response))
    traceback = caught.__traceback__
    while traceback is not None and "site-packages" not in traceback.tb_frame.f_code.co_filename:
        traceback = traceback.tb_next
    assert traceback is not None
    assert DEFAULT.decide(caught.with_traceback(traceback)).throttled == is_refusal


def test_a_spent_quota_is_final(library: ModuleType) -> None:
    body = {"error": {"code": "insufficient_quota"}}
    response = library.Response(429, {"Retry-After": "7"}, body)
    verdict = DEFAULT.decide(raised(lambda: library.says_nothing(response)))
    assert verdict == Verdict(again=False, throttled=False, wait=None, final=True)


def test_frames_of_modules_are_left_alone(library: ModuleType, tmp_path: Path) -> None:
    text = "response = Response(429, {'Retry-After': '7'})\nraise ValueError"
    file = str(tmp_path / "site-packages" / "script.py")
    code = compile(text, file, "exec")
    names = {"Response": library.Response}
    assert DEFAULT.decide(raised(lambda: exec(code, names))) == NOTHING


def test_what_was_looked_at_is_let_go_with_the_exception(library: ModuleType) -> None:
    response = library.Response(429, {"Retry-After": "7"})
    kept = weakref.ref(response)
    gc.disable()
    try:
        try:
            library.says_nothing(response)
        except library.Error as error:
            assert DEFAULT.decide(error).throttled
        del response
        assert kept() is None
    finally:
        gc.enable()
