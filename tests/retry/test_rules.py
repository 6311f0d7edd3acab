"""What is repeated beside the refusals: `also`, and `statuses`."""

from __future__ import annotations

from typing import Any

import pytest
from client_errors import httpx_error, look_alike

from paceline import Retry, Verdict

NOTHING = Verdict(False, False, None)


def waits(seconds: float) -> Verdict:
    return Verdict(True, True, seconds)


def error(**values: Any) -> Exception:
    return look_alike("vendor.errors", "ApiError", **values)


@pytest.mark.parametrize(
    "also", [ValueError, (ValueError, KeyError), lambda each: isinstance(each, ValueError)]
)
def test_also_adds_to_the_default(also: Any) -> None:
    retry = Retry(also=also)
    assert retry.decide(ValueError()) == Verdict(True, False, None)
    assert retry.decide(TypeError()) == NOTHING
    assert retry.decide(error(retry_after=5)) == waits(5)
    assert retry.decide(ConnectionRefusedError()) == Verdict(True, False, None)


def test_statuses_add_to_the_default() -> None:
    retry = Retry(statuses={500, 502, 503, 504})
    assert retry.statuses == frozenset({500, 502, 503, 504})
    for status in (500, 503):
        assert retry.decide(httpx_error(status)) == Verdict(True, False, None)
        assert retry.decide(error(code=status)) == Verdict(True, False, None)
    assert retry.decide(httpx_error(503, {"Retry-After": "7"})) == waits(7)
    assert retry.decide(httpx_error(501)) == NOTHING
    cause = look_alike("app", "Failed", __cause__=httpx_error(502))
    assert retry.decide(cause) == Verdict(True, False, None)
    assert eval(repr(retry), {"Retry": Retry}) == retry
    assert repr(retry) == "Retry(attempts=5, statuses={500, 502, 503, 504})"


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        ({"statuses": 500}, TypeError, "statuses must be HTTP statuses, .* not 500"),
        ({"statuses": "500"}, TypeError, "statuses must be HTTP statuses, .* not '500'"),
        ({"statuses": ["500"]}, TypeError, "statuses must be whole numbers, not '500'"),
        ({"statuses": {200}}, ValueError, "statuses must be from 400 to 599, not 200"),
        ({"also": 5}, TypeError, "also must be an exception class, .* not 5"),
        ({"also": int}, TypeError, "also must name subclasses of Exception, not "),
        ({"on": OSError, "also": OSError}, ValueError, "on takes the place .* without on"),
        ({"on": OSError, "statuses": {500}}, ValueError, "on takes the place .* without on"),
        ({"on_result": 5}, TypeError, "on_result must be callable, not 5"),
    ],
)
def test_bad_rules_are_refused(
    arguments: dict[str, Any], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        Retry(**arguments)
