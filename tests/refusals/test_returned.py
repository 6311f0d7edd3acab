"""Refusals that are returned: the attempt has failed, with an exception that has the value."""

from __future__ import annotations

import contextvars
import http.client
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock, Mock

import httpx
import pytest
import requests

from paceline import BatchExecutor, RateLimiter, RefusedResponseError, Retry, Verdict

REFUSED_HEADERS = {"Retry-After": "0.05", "Server": "x"}


def of_httpx(status: int, headers: dict[str, str]) -> object:
    return httpx.Response(status, headers=headers)


def of_requests(status: int, headers: dict[str, str]) -> object:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers)
    return response


def of_aiohttp(status: int, headers: dict[str, str]) -> object:
    """As aiohttp's: a status of the instance, headers that are a property of the class."""

    class ClientResponse:
        status: int | None = None

        @property
        def headers(self) -> dict[str, str]:
            return headers

    response = ClientResponse()
    response.status = status
    return response


def of_http_client(status: int, headers: dict[str, str]) -> object:
    """As urllib's, and urllib3's, which have the same attributes."""
    response = http.client.HTTPResponse.__new__(http.client.HTTPResponse)
    response.status = status
    response.headers = http.client.HTTPMessage()
    response.fp = None  # type: ignore[assignment]
    for name, value in headers.items():
        response.headers[name] = value
    return response


def of_slots(status: int, headers: dict[str, str]) -> object:
    @dataclass(slots=True)
    class Answer:
        status_code: int
        headers: dict[str, str]

    return Answer(status, headers)


def of_httplib2(status: int, headers: dict[str, str]) -> object:
    """Is itself the mapping of its headers."""

    class Response(dict[str, str]):
        status: int

    response = Response({name.lower(): value for name, value in headers.items()})
    response.status = status
    return response


def with_content(status: int, headers: dict[str, str]) -> object:
    """What `httplib2.Http.request` returns."""
    return of_httplib2(status, headers), b"{}"


def with_error(status: int, headers: dict[str, str]) -> object:
    return None, of_aiohttp(status, headers), None if status == 200 else "not now"


def of_attributes(status: int, headers: dict[str, str]) -> object:
    """A mapping whose entries are attributes as well."""

    class Response(dict[str, Any]):
        status_code: int
        headers: dict[str, str]

        def __getattr__(self, name: str) -> Any:
            return self[name]

    return Response(status_code=status, headers=headers)


def of_a_clients_own(status: int, headers: dict[str, str]) -> object:
    """Has a word for its status, and keeps what came over the network."""

    @dataclass
    class Answer:
        status_code: str
        transport_response: object

    return Answer("M_LIMIT_EXCEEDED", of_aiohttp(status, headers))


CLIENTS = [of_httpx, of_requests, of_aiohttp, of_http_client, of_slots, of_httplib2]
CLIENTS += [with_content, with_error, of_attributes, of_a_clients_own]
client = pytest.mark.parametrize("response", CLIENTS, ids=lambda made: made.__name__)


def refused_once(refusal: object, value: object) -> Callable[[], object]:
    answers: Iterator[object] = iter([refusal])
    return lambda: next(answers, value)


def verbs(executor: BatchExecutor, operation: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
    return {
        "execute": lambda: executor.execute(operation),
        "execute_batch": lambda: executor.execute_batch([operation], on_error="raise")[0],
        "run": lambda: executor.run([operation]).values()[0],
        "stream": lambda: next(executor.stream([operation])).value,
        "submit": lambda: executor.submit(operation).result(),
        "map": lambda: next(executor.map(lambda _: operation(), [1])),
    }


@client
@pytest.mark.parametrize("verb", verbs(BatchExecutor(), int))
def test_a_returned_refusal_is_waited_for_and_repeated(
    response: Callable[..., object], verb: str
) -> None:
    good = response(200, {"Server": "x"})
    operation = refused_once(response(429, REFUSED_HEADERS), good)
    with BatchExecutor(RateLimiter(100, per=1), 2, retry=Retry()) as executor:
        began = time.monotonic()
        assert verbs(executor, operation)[verb]() is good
        assert time.monotonic() - began >= 0.05


@client
def test_at_the_end_it_is_the_outcome(response: Callable[..., object]) -> None:
    refusal = response(429, {"Retry-After": "0.01"})
    with BatchExecutor(RateLimiter(100, per=1), 2, retry=Retry(2)) as executor:
        (outcome,) = executor.run([lambda: refusal])
    assert (outcome.status, outcome.attempts) == ("failed", 2)
    error = outcome.exception
    assert isinstance(error, RefusedResponseError)
    assert error.value is refusal
    assert error.response is refusal
    assert (error.status, error.retry_after) == (429, 0.01)
    assert str(error).startswith("the operation returned a refusal: ")
    assert str(error).endswith(" of status 429; it asks for 0.01 s")


@client
@pytest.mark.parametrize("status", [200, 204, 301, 400, 401, 403, 404, 422, 500, 503])
def test_other_responses_are_values(response: Callable[..., object], status: int) -> None:
    value = response(status, {"Server": "x"})
    with BatchExecutor(None, 2, retry=Retry()) as executor:
        assert executor.execute(lambda: value) is value
    with BatchExecutor(None, 2) as executor:
        refusal = response(429, REFUSED_HEADERS)
        assert executor.execute(lambda: refusal) is refusal, "without a policy nothing is judged"


def test_503_that_says_when_and_statuses_that_are_to_be_repeated() -> None:
    good = object()
    with BatchExecutor(None, 2, retry=Retry(backoff=0.01)) as executor:
        assert (
            executor.execute(refused_once(httpx.Response(503, headers=REFUSED_HEADERS), good))
            is good
        )
    with BatchExecutor(None, 2, retry=Retry(statuses={500}, backoff=0.01)) as executor:
        assert executor.execute(refused_once(httpx.Response(500), good)) is good
        (outcome,) = executor.run([lambda: httpx.Response(500)])
        assert isinstance(outcome.exception, RefusedResponseError)
        assert outcome.attempts == 5


def test_a_spent_quota_is_final() -> None:
    body = {"error": {"code": "insufficient_quota"}}
    with BatchExecutor(None, 2, retry=Retry()) as executor:
        report = executor.run([lambda: httpx.Response(429, json=body)] * 10)
    assert report.counts["failed"] == 10
    assert {each.attempts for each in report} == {1}
    assert report.paused == 0


PLAIN = [None, 7, True, "429", b"429", 4.29, {"status_code": 429, "headers": {}}, [429], (429, {})]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_are_values(value: object) -> None:
    with BatchExecutor(None, 2, retry=Retry()) as executor:
        assert executor.execute(lambda: value) is value


class Lazy:
    """A proxy that would fetch what it stands for."""

    touched = False

    def __getattr__(self, name: str) -> Any:
        Lazy.touched = True
        raise AssertionError(name)


class Hostile:
    """Has what a response has, and raises whatever is read."""

    @property
    def status_code(self) -> int:
        raise ZeroDivisionError

    headers = status_code


@pytest.mark.parametrize(
    "value",
    [
        Mock(),
        MagicMock(),
        Hostile(),
        Exception(429),
        httpx.Response,
        SimpleNamespace(status_code=429),
        SimpleNamespace(headers={"Retry-After": "7"}),
        SimpleNamespace(status_code="busy", headers={}),
        SimpleNamespace(status=True, headers={}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_response_is_a_value(value: object) -> None:
    with BatchExecutor(None, 2, retry=Retry()) as executor:
        assert executor.execute(lambda: value) is value


def test_a_proxy_is_not_touched() -> None:
    lazy = Lazy()
    with BatchExecutor(None, 2, retry=Retry()) as executor:
        assert executor.execute(lambda: lazy) is lazy
    assert not Lazy.touched


def test_a_type_is_remembered_but_not_its_instances() -> None:
    good, bad = SimpleNamespace(), SimpleNamespace(status_code=429, headers={"Retry-After": "0.01"})
    with BatchExecutor(None, 1, retry=Retry(1)) as executor:
        report = executor.run([lambda: good, lambda: bad, lambda: good])
    assert [each.status for each in report] == ["done", "failed", "done"]


# on_result


@pytest.mark.parametrize(
    ("answer", "wait"),
    [(True, None), (3, 3.0), (0.5, 0.5), (timedelta(seconds=2), 2.0), (0, None), (-1, None)],
)
def test_on_result_says_that_it_is_a_refusal(answer: Any, wait: float | None) -> None:
    retry = Retry(on_result=lambda value: answer if value == "busy" else None)
    failure = retry.judge_result("busy")
    assert failure is not None
    assert (failure.value, failure.retry_after) == ("busy", wait)
    assert retry.decide(failure) == Verdict(True, True, wait)
    assert retry.judge_result("done") is None
    assert "busy" not in str(failure), "what is in a value is not for logs"


@pytest.mark.parametrize("answer", [None, float("nan")])
def test_on_result_that_leaves_it_to_the_default(answer: Any) -> None:
    retry = Retry(on_result=lambda _: answer)
    assert retry.judge_result("busy") is None
    refusal = retry.judge_result(httpx.Response(429, headers={"Retry-After": "7"}))
    assert refusal is not None
    assert refusal.retry_after == 7


def test_on_result_reads_the_wait_and_can_accept() -> None:
    for refusal in (
        httpx.Response(200, headers={"Retry-After": "7"}),
        {"error": "ratelimited", "retry_after": 7},
        '{"error": {"retry_after": 7}}',
        SimpleNamespace(retry_after=7),
    ):
        failure = Retry(on_result=lambda _: True).judge_result(refusal)
        assert failure is not None
        assert failure.retry_after == 7
    assert Retry(on_result=lambda _: False).judge_result(httpx.Response(429)) is None


@pytest.mark.parametrize("verb", verbs(BatchExecutor(), int))
def test_on_result_is_asked_about_every_value(verb: str) -> None:
    """In the context of the operation's caller."""
    variable = contextvars.ContextVar("variable", default="nothing")
    seen = []

    def rule(value: object) -> float | None:
        seen.append((value, variable.get()))
        return 0.01 if value == "busy" else None

    with BatchExecutor(RateLimiter(100, per=1), 2, retry=Retry(on_result=rule)) as executor:
        variable.set("the caller's")
        assert verbs(executor, refused_once("busy", "done"))[verb]() == "done"
    assert seen == [("busy", "the caller's"), ("done", "the caller's")]


def test_on_result_that_raises_keeps_the_value_and_shows_the_mistake() -> None:
    calls = []

    def broken(value: object) -> bool:
        raise LookupError("broken rule")

    def operation() -> str:
        calls.append(1)
        return "made"

    for retry in (Retry(on_result=broken), Retry(on_result=broken, on=Exception)):
        with BatchExecutor(None, 2, retry=retry) as executor:
            (outcome,) = executor.run([operation])
        error = outcome.exception
        assert isinstance(error, RefusedResponseError)
        assert error.value == "made"
        assert isinstance(error.__cause__, LookupError)
        assert "on_result raised LookupError('broken rule')" in str(error)
        assert outcome.attempts == 1
    assert len(calls) == 2


@pytest.mark.parametrize("answer", ["5", object(), [5]])
def test_on_result_that_returns_something_else(answer: Any) -> None:
    failure = Retry(on_result=lambda _: answer).judge_result("made")
    assert failure is not None
    assert "on_result must return seconds" in str(failure)


def test_on_result_that_ends_the_program() -> None:
    def rule(_: object) -> bool:
        raise KeyboardInterrupt

    with BatchExecutor(None, 1, retry=Retry(on_result=rule)) as executor:
        with pytest.raises(KeyboardInterrupt):
            executor.execute(int)


def test_a_rule_of_ones_own_sees_the_exception() -> None:
    good = object()
    rule = Retry(on=lambda error: isinstance(error, RefusedResponseError))
    with BatchExecutor(None, 1, retry=rule) as executor:
        operation = refused_once(httpx.Response(429, headers=REFUSED_HEADERS), good)
        assert executor.execute(operation) is good


def test_a_pause_holds_for_everybody() -> None:
    starts = []
    answers = iter([httpx.Response(429, headers={"Retry-After": "0.3"})])

    def operation() -> object:
        starts.append(time.monotonic())
        return next(answers, None)

    with BatchExecutor(RateLimiter(100, per=1), 1, retry=Retry()) as executor:
        executor.run([operation] * 3)
    assert len(starts) == 4
    assert starts[1] - starts[0] >= 0.29


def test_the_exception_by_itself() -> None:
    error = RefusedResponseError("value", retry_after=3, status=429)
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.value, copy.retry_after, copy.status) == ("value", 3, 429)
    assert Retry().decide(copy) == Verdict(True, True, 3.0)
    assert Retry().decide(RefusedResponseError(httpx.Response(429))) == Verdict(True, True, None)
    assert Retry().decide(ExceptionGroup("", [error])) == Verdict(True, True, 3.0)


@pytest.mark.parametrize(
    "value",
    [
        (of_httpx(429, {}), of_httpx(200, {})),
        (1, 2, 3, of_httpx(429, {"Retry-After": "7"})),
        [of_httpx(429, {"Retry-After": "7"}), None],
        SimpleNamespace(response=of_httpx(429, {"Retry-After": "7"})),
        SimpleNamespace(status=429, response={"headers": {}}),
    ],
    ids=["two responses", "a row", "a list", "no status", "no response"],
)
def test_what_only_holds_a_response_somewhere_is_none(value: object) -> None:
    with BatchExecutor(None, 1, retry=Retry()) as executor:
        assert executor.execute(lambda: value) is value
