"""The walk over an exception never raises, never loops, and is bounded, whatever hangs on it."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock, NonCallableMock

import pytest
from client_errors import look_alike
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import RefusedResponseError, Retry, Verdict

DEFAULT = Retry()
NOTHING = Verdict(False, False, None)

NAMES = [
    *("status_code", "http_status", "status", "response_code", "code", "errno", "_status"),
    *("response", "resp", "meta", "last_response", "last_attempt", "reason", "cause", "headers"),
    *("body", "details", "error_details", "errors", "content", "items", "retry_after", "wait"),
    *("retry_delay", "reset_at", "message", "args", "__cause__", "__context__", "_exception"),
    *("exceptions", "anything", "type", "error", "trailing_metadata"),
]


class Answers:
    """Has whatever it is asked for."""

    def __getattr__(self, name: str) -> Any:
        return Answers()

    def __call__(self, *arguments: object, **named: object) -> Any:
        return Answers()

    def __getitem__(self, key: object) -> Any:
        return Answers()

    def __iter__(self) -> Iterator[Any]:
        while True:
            yield Answers(), Answers()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0

    def __int__(self) -> int:
        return 429

    __index__ = __int__


class Raises:
    """Raises whatever is done with it."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    __call__ = __getitem__ = __iter__ = __bool__ = __len__ = __eq__ = __getattribute__  # type: ignore[assignment]
    __hash__ = None  # type: ignore[assignment]


class Deep:
    """Goes on for ever, each time with something new."""

    @property
    def response(self) -> Any:
        return Deep()

    headers = body = error = details = cause = reason = response


class OddText(str):
    __slots__ = ()

    def strip(self, *_: Any) -> Any:
        raise ZeroDivisionError

    lower = lstrip = isdecimal = strip


class OddNumber(int):
    def __le__(self, other: object) -> bool:
        raise ZeroDivisionError

    __lt__ = __ge__ = __gt__ = __eq__ = __le__
    __hash__ = int.__hash__


class OddMapping(dict[Any, Any]):
    def items(self) -> Any:
        raise ZeroDivisionError

    __getitem__ = __iter__ = items  # type: ignore[assignment]


def odd_things() -> list[Any]:
    ring: dict[str, Any] = {}
    ring["error"] = ring["body"] = [ring]
    nested: Any = {"error": {}}
    for _ in range(5_000):
        nested = {"error": nested}
    return [
        *(Answers(), Raises(), Deep(), Mock(), MagicMock(), NonCallableMock(), ring, nested),
        *(OddText("429"), OddText("insufficient_quota"), OddNumber(429), OddMapping(code=429)),
        *(object(), type, Exception, sys, print, lambda: 429, iter([]), range(10**9)),
        *(float("nan"), float("inf"), 10**400, -1, b"\xff", "\ud800", "[" * 100_000),
        *(ExceptionGroup("", [ValueError(429)]), SimpleNamespace(), (429,), {429}),
    ]


@pytest.mark.parametrize("name", NAMES)
def test_odd_things_under_every_name(name: str) -> None:
    for thing in odd_things():
        values = {} if name.startswith("__") or name == "args" else {name: thing}
        error = look_alike("somewhere", "Odd", **values)
        if name == "__cause__" and issubclass(type(thing), BaseException):
            error.__cause__ = thing
        if name == "args":
            error.args = (thing, [thing], {"error": thing})
        assert isinstance(DEFAULT.decide(error), Verdict)
        assert isinstance(DEFAULT.decide(look_alike("x", "E", holder=error)), Verdict)


@pytest.mark.parametrize("name", NAMES)
def test_properties_that_raise(name: str) -> None:
    def broken(self: object) -> Any:
        raise ZeroDivisionError

    cls = type("Broken", (Exception,), {name: property(broken)})
    assert DEFAULT.decide(cls()) == NOTHING


@pytest.mark.parametrize(
    "thing", [Mock(), MagicMock(), Answers()], ids=lambda it: type(it).__name__
)
def test_what_a_mock_makes_up_is_no_refusal(thing: Any) -> None:
    for name in NAMES:
        if not name.startswith("__") and name != "args":
            assert DEFAULT.decide(look_alike("x", "E", **{name: thing})) == NOTHING
    assert DEFAULT.decide(Exception(thing, [thing], {"error": thing})) == NOTHING

    class MadeUp(Exception):
        def __getattr__(self, name: str) -> Any:
            return getattr(thing, name)

    assert DEFAULT.decide(MadeUp()) == NOTHING
    assert not isinstance(thing, Mock) or not thing.trailing_metadata.called


def test_rings() -> None:
    first, second = look_alike("x", "E"), look_alike("x", "E")
    first.__cause__, second.__cause__ = second, first
    for each in (first, second):
        each.response = each.reason = each.body = each  # type: ignore[attr-defined]
        each.args = (first, second, [first, second])
    assert DEFAULT.decide(first) == NOTHING
    second.status_code = 429  # type: ignore[attr-defined]
    assert DEFAULT.decide(first) == Verdict(True, True, None)


def test_great_numbers() -> None:
    began = time.monotonic()
    chain = look_alike("x", "E", status_code=429)
    links = [chain]
    for _ in range(5_000):
        chain = look_alike("x", "E", __cause__=chain)
        links.append(chain)
    assert DEFAULT.decide(chain) == NOTHING, "too deep to be of one call"
    wide = look_alike(
        "x", "E", errors=[{"code": 404}] * 10**5, details={str(n): n for n in range(10**5)}
    )
    assert DEFAULT.decide(wide) == NOTHING
    groups: Exception = look_alike("x", "E")
    for _ in range(500):
        groups = ExceptionGroup("", [groups, groups])
    assert isinstance(DEFAULT.decide(groups), Verdict)
    many = ExceptionGroup("", [look_alike("x", "E") for _ in range(5_000)])
    assert DEFAULT.decide(many) == NOTHING
    assert time.monotonic() - began < 30
    # Taken apart link by link: the interpreter would do it by recursion.
    for link in links:
        link.__cause__ = None


def test_a_property_that_blocks_is_not_followed_by_others() -> None:
    reads = []

    class Slow(Exception):
        @property
        def cause(self) -> Any:
            return None

        @property
        def retry_after(self) -> None:
            reads.append(1)
            time.sleep(1.1)

    errors = [Slow(str(number)) for number in range(50)]
    group = ExceptionGroup("", errors)
    began = time.monotonic()
    assert DEFAULT.decide(group).throttled is False
    assert len(reads) < 10
    assert time.monotonic() - began < 30


THINGS = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.integers(400, 600),
        st.floats(),
        st.text(max_size=20),
        st.binary(max_size=20),
        st.sampled_from(["429", "throttled", "insufficient_quota", '{"code": 429}', "HTTP 429"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.dictionaries(st.one_of(st.sampled_from(NAMES), st.text(max_size=5)), inner, max_size=4),
        st.dictionaries(st.sampled_from(NAMES[:-10]), inner, max_size=4).map(
            lambda held: SimpleNamespace(**held)
        ),
        st.dictionaries(st.sampled_from(NAMES[:20]), inner, max_size=4).map(
            lambda held: look_alike("any", "Error", **held)
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=80, deadline=None)
@given(
    st.dictionaries(st.sampled_from(NAMES[:24]), THINGS, max_size=6), st.lists(THINGS, max_size=3)
)
def test_nothing_that_hangs_on_an_exception_breaks_the_walk(
    held: dict[str, Any], arguments: list[Any]
) -> None:
    error = look_alike("any", "Error", **held)
    error.args = tuple(arguments)
    verdict = DEFAULT.decide(error)
    assert verdict.again == verdict.throttled
    assert not (verdict.final and verdict.throttled)
    assert verdict.wait is None or 0 < verdict.wait <= 3600
    group = ExceptionGroup("", [error, error])
    assert DEFAULT.decide(group) == verdict


@settings(max_examples=60, deadline=None)
@given(THINGS)
def test_no_returned_value_breaks_the_judgement(value: Any) -> None:
    for retry in (Retry(), Retry(on_result=lambda _: True)):
        failure = retry.judge_result(value)
        assert failure is None or isinstance(failure, RefusedResponseError)
        assert failure is None or str(failure)


def test_nothing_is_imported() -> None:
    script = """
import sys
from paceline import Retry
class Refused(Exception):
    code = "429"
    headers = {"Retry-After": "Sun, 06 Nov 2094 08:49:37 GMT", "RateLimit": '"a";r=0;t=7'}
    body = '{"error": {"details": [{"retryDelay": "7s"}]}}'
    def trailing_metadata(self):
        return (("grpc-status-details-bin", b"\\x08\\x08"),)
before = set(sys.modules)
verdict = Retry().decide(ExceptionGroup("", [Refused(), Refused()]))
Retry().judge_result(Refused)
assert verdict.throttled
print(sorted(set(sys.modules) - before))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60
    )
    assert (done.stdout, done.stderr, done.returncode) == ("[]\n", "", 0)
