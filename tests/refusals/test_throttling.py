"""How the retry policy reads a server's refusal, from real clients and from hostile ones."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import descope
import httpx
import pytest
from client_errors import (
    aws_error,
    httpx_error,
    look_alike,
    openai_error,
    raised,
    requests_error,
    stripe_error,
    urllib_error,
)
from descope.http_client import HTTPClient
from hypothesis import given
from hypothesis import strategies as st

from paceline.retry.policy import Retry, Verdict

# By default a wait is left as long as the server wants it.
DEFAULT = Retry(longer="cut")

CLIENTS = [httpx_error, requests_error, urllib_error, openai_error, stripe_error, aws_error]
client = pytest.mark.parametrize("error", CLIENTS, ids=lambda f: f.__name__)


@client
@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_in_seconds(error: Callable[..., Exception], status: int) -> None:
    assert DEFAULT.decide(error(status, {"Retry-After": "7"})) == Verdict(True, True, 7.0)


@client
def test_429_without_a_header_is_throttling_of_unknown_length(
    error: Callable[..., Exception],
) -> None:
    assert DEFAULT.decide(error(429)) == Verdict(True, True, None)


@client
def test_503_without_a_header_may_have_been_processed(error: Callable[..., Exception]) -> None:
    assert DEFAULT.decide(error(503)) == Verdict(False, False, None)


@client
@pytest.mark.parametrize("status", [400, 404, 500, 502, 504])
def test_other_statuses_are_not_repeated(error: Callable[..., Exception], status: int) -> None:
    assert DEFAULT.decide(error(status, {"Retry-After": "7"})) == Verdict(False, False, None)


@client
def test_a_date_is_counted_from_the_answers_own_clock(error: Callable[..., Exception]) -> None:
    # Both an hour behind: a client that asked its own clock would not wait at all.
    then = int(time.time()) - 3600
    headers = {
        "Date": formatdate(then, usegmt=True),
        "Retry-After": formatdate(then + 30, usegmt=True),
    }
    assert DEFAULT.decide(error(429, headers)) == Verdict(True, True, 30.0)


@client
def test_a_date_without_a_clock_beside_it(error: Callable[..., Exception]) -> None:
    headers = {"Retry-After": formatdate(time.time() + 100, usegmt=True)}
    wait = DEFAULT.decide(error(429, headers)).wait
    assert wait is not None
    assert 50 < wait <= 100


@client
@pytest.mark.parametrize("status", [429, 503])
def test_zero_seconds_is_a_wait_of_unknown_length(
    error: Callable[..., Exception], status: int
) -> None:
    assert DEFAULT.decide(error(status, {"Retry-After": "0"})) == Verdict(True, True, None)


def test_a_past_date_on_clocks_that_differ_says_nothing() -> None:
    error = httpx_error(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert DEFAULT.decide(error) == Verdict(True, True, None)
    # On 503 nothing is left then that asks to come again.
    error = httpx_error(503, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert DEFAULT.decide(error) == Verdict(False, False, None)


@pytest.mark.parametrize(
    "date",
    [
        "Sun, 06 Nov 2094 08:49:37 GMT",
        "Sunday, 06-Nov-68 08:49:37 GMT",
        "Sat Nov  6 08:49:37 2094",
    ],
)
def test_all_three_forms_of_a_date_are_read_and_cut(date: str) -> None:
    error = httpx_error(429, {"Retry-After": date})
    assert DEFAULT.decide(error) == Verdict(True, True, 3600.0)


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        ("1.5", 1.5),
        (" 12 ", 12.0),
        (b"9", 9.0),
        (3, 3.0),
        (2.5, 2.5),
        (10**400, 3600.0),
        ("9" * 400, 3600.0),
        ("9" * 100_000, 3600.0),
        (math.inf, 3600.0),
        (86_400, 3600.0),
        ("-5", None),
        (-5, None),
        (-(10**400), None),
        ("nan", None),
        (math.nan, None),
        ("inf", None),
        ("1e309", None),
        ("1_000", None),
        ("٣", None),
        ("", None),
        ("soon", None),
        (True, None),
        (None, None),
        ([], None),
        ("Mon, 99 Foo 2094 99:99:99 GMT", None),
        ("Sun, 06 Nov 99999999999 08:49:37 GMT", None),
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        (b"\xff\xfe", None),
    ],
)
@pytest.mark.parametrize("name", ["Retry-After", "retry-after", "RETRY-AFTER", b"Retry-After"])
def test_every_value_a_server_can_send(name: Any, value: Any, wait: float | None) -> None:
    response = Mock(status_code=429, headers={name: value})
    error = look_alike("somewhere", "Refused", response=response)
    assert DEFAULT.decide(error) == Verdict(True, True, wait)


@given(st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.none()))
def test_no_value_breaks_the_verdict(value: Any) -> None:
    response = Mock(status_code=429, headers={"retry-after": value})
    verdict = DEFAULT.decide(look_alike("somewhere", "Refused", response=response))
    assert verdict.again
    assert verdict.throttled
    assert verdict.wait is None or 0 <= verdict.wait <= 3600


def test_milliseconds_go_before_seconds() -> None:
    error = openai_error(429, {"retry-after-ms": "1500", "retry-after": "2"})
    assert DEFAULT.decide(error).wait == 1.5
    error = aws_error(429, {"x-amz-retry-after": "250"})
    assert DEFAULT.decide(error).wait == 0.25


@pytest.mark.parametrize("name", ["x-should-retry", "Stripe-Should-Retry"])
def test_a_server_that_says_do_not_repeat_is_believed(name: str) -> None:
    error = openai_error(429, {name: "false", "Retry-After": "5"})
    assert DEFAULT.decide(error) == Verdict(False, True, 5.0)
    # The user's own word goes before the server's.
    assert Retry(on=type(error)).decide(error) == Verdict(True, True, 5.0)


def test_overloaded_and_secondary_limits() -> None:
    assert DEFAULT.decide(openai_error(529)) == Verdict(True, True, None)
    assert DEFAULT.decide(httpx_error(403, {"Retry-After": "60"})) == Verdict(True, True, 60.0)
    assert DEFAULT.decide(httpx_error(403)) == Verdict(False, False, None)


@pytest.mark.parametrize(
    "code", ["Throttling", "ThrottlingException", "SlowDown", "TooManyRequestsException"]
)
def test_aws_throttling_is_known_by_its_code(code: str) -> None:
    response = {
        "Error": {"Code": code, "Message": "Rate exceeded"},
        "ResponseMetadata": {"HTTPStatusCode": 400, "HTTPHeaders": {}},
    }
    error = look_alike("botocore.exceptions", "ClientError", response=response)
    assert DEFAULT.decide(error) == Verdict(True, True, None)


def test_a_quota_of_an_aws_account_is_not_throttling() -> None:
    response = {"Error": {"Code": "LimitExceededException"}, "ResponseMetadata": {}}
    error = look_alike("botocore.exceptions", "ClientError", response=response)
    assert DEFAULT.decide(error) == Verdict(False, False, None)


# descope


def descope_error(response: httpx.Response) -> Exception:
    return raised(lambda: HTTPClient("project", secure=False)._raise_from_response(response))


DESCOPE_BODY = {"errorCode": "E130429", "errorDescription": "slow down", "errorMessage": "slow"}


@pytest.mark.parametrize(
    ("response", "wait"),
    [
        (httpx.Response(429, json=DESCOPE_BODY, headers={"Retry-After": "60"}), 60.0),
        (httpx.Response(429, json=DESCOPE_BODY, headers={"Retry-After": "99999"}), 3600.0),
        (httpx.Response(429, json=DESCOPE_BODY, headers={"Retry-After": "0"}), None),
        (httpx.Response(429, json=DESCOPE_BODY, headers={"Retry-After": "-1"}), None),
        (httpx.Response(429, json=DESCOPE_BODY), None),
        (
            httpx.Response(
                429,
                json=DESCOPE_BODY,
                headers={
                    "Retry-After": "Sun, 06 Nov 1994 08:50:37 GMT",
                    "Date": "Sun, 06 Nov 1994 08:49:37 GMT",
                },
            ),
            60.0,
        ),
        (httpx.Response(429, text="<html>no</html>", headers={"Retry-After": "60"}), 60.0),
    ],
    ids=["seconds", "clamped", "zero", "negative", "absent", "date", "no JSON"],
)
def test_descope_refusals(response: httpx.Response, wait: float | None) -> None:
    error = descope_error(response)
    assert type(error) is descope.RateLimitException
    assert DEFAULT.decide(error) == Verdict(True, True, wait)


def test_a_subclass_of_the_descope_refusal() -> None:
    class Ours(descope.RateLimitException):
        pass

    error = Ours(rate_limit_parameters={"Retry-After": 5})
    assert DEFAULT.decide(error) == Verdict(True, True, 5.0)


@pytest.mark.parametrize("parameters", [None, [], "Retry-After", {"Retry-After": object()}, 5])
def test_descope_refusals_with_odd_parameters(parameters: Any) -> None:
    error = descope.RateLimitException(rate_limit_parameters=parameters)
    assert DEFAULT.decide(error) == Verdict(True, True, None)


def test_other_descope_errors_are_not_repeated() -> None:
    for status in (400, 401, 500, 503):
        error = descope_error(httpx.Response(status, json={}))
        assert type(error) is descope.AuthException
        assert DEFAULT.decide(error) == Verdict(False, False, None)


# Hostile exceptions


class Thorns:
    """Raises at whatever is done with it."""

    def __getattribute__(self, name: str) -> Any:
        raise ZeroDivisionError(name)

    def __getitem__(self, key: object) -> Any:
        raise ZeroDivisionError(key)

    def __iter__(self) -> Any:
        raise ZeroDivisionError

    def __bool__(self) -> bool:
        raise ZeroDivisionError


class Thorny(Exception):
    """Every attribute a policy might look at raises."""

    @property
    def response(self) -> Any:
        raise ZeroDivisionError

    status_code = status = http_status = headers = code = response
    reason = original_error = rate_limit_parameters = args = response


def test_properties_that_raise() -> None:
    assert DEFAULT.decide(Thorny()) == Verdict(False, False, None)
    for package, name in [("urllib", "URLError"), ("requests", "ConnectionError")]:
        error = look_alike(package, name, base=Thorny)
        assert DEFAULT.decide(error) == Verdict(False, False, None)
    error = look_alike("descope", "RateLimitException", base=Thorny)
    assert DEFAULT.decide(error) == Verdict(True, True, None)


def test_responses_that_raise_keep_what_could_be_read() -> None:
    error = look_alike("x", "E", response=Thorns())
    assert DEFAULT.decide(error) == Verdict(False, False, None)
    error = look_alike("x", "E", response=SimpleNamespace(status_code=429, headers=Thorns()))
    assert DEFAULT.decide(error) == Verdict(True, True, None)
    response = SimpleNamespace(status_code=429, headers={"Retry-After": Thorns()})
    error = look_alike("x", "E", response=response)
    assert DEFAULT.decide(error) == Verdict(True, True, None)
    error = look_alike("x", "E", response={"Error": Thorns(), "ResponseMetadata": Thorns()})
    assert DEFAULT.decide(error) == Verdict(False, False, None)
    error = look_alike("x", "E", response=SimpleNamespace(status_code=Thorns()))
    assert DEFAULT.decide(error) == Verdict(False, False, None)
    error = look_alike("requests", "ConnectionError", reason=Thorns(), original_error=Thorns())
    assert DEFAULT.decide(error) == Verdict(False, False, None)


def test_mocks_and_endless_headers() -> None:
    assert DEFAULT.decide(look_alike("x", "E", response=Mock())) == Verdict(False, False, None)

    class Endless:
        def items(self) -> Iterator[tuple[str, str]]:
            while True:
                yield "x", "y"

    error = look_alike("x", "E", response=Mock(status_code=429, headers=Endless()))
    assert DEFAULT.decide(error) == Verdict(True, True, None)


def test_headers_as_pairs_and_given_twice() -> None:
    response = Mock(status_code=429, headers=[(b"retry-after", b"4"), ("Retry-After", "9")])
    assert DEFAULT.decide(look_alike("x", "E", response=response)).wait == 9.0
