"""Refusals are recognised by their shape, in an exception and in all that hangs on it."""

from __future__ import annotations

import enum
import xmlrpc.client
from concurrent.futures import Future
from http import HTTPStatus
from types import SimpleNamespace
from typing import Any

import pytest
from client_errors import httpx_error, look_alike

from paceline import Retry, Verdict

DEFAULT = Retry()
REFUSED = Verdict(True, True, None)
NOTHING = Verdict(False, False, None)


def waits(seconds: float) -> Verdict:
    return Verdict(True, True, seconds)


def error(**values: Any) -> Exception:
    return look_alike("vendor.errors", "ApiError", **values)


def named(name: str, **values: Any) -> Exception:
    return look_alike("vendor.errors", name, **values)


def with_arguments(*arguments: object) -> Exception:
    return Exception(*arguments)


class MadeOfError(Exception):
    """Keeps what it was made of under a name of its own."""

    def __init__(self, told: dict[str, str], status: int | None = None) -> None:
        self.told = told
        self.status = status


def made_of(told: dict[str, str], status: int | None = None) -> Exception:
    return MadeOfError(told, status)


def response(status: Any, headers: Any = None, **values: Any) -> SimpleNamespace:
    return SimpleNamespace(status_code=status, headers={"server": "x", **(headers or {})}, **values)


class Headers(dict[str, str]):
    """httplib2's response, which is the mapping of the headers."""

    def __init__(self, status: int, **headers: str) -> None:
        super().__init__({name.replace("_", "-"): value for name, value in headers.items()})
        self.status = status


class Code(enum.Enum):
    RESOURCE_EXHAUSTED = (8, "resource exhausted")
    UNAVAILABLE = (14, "unavailable")
    NOT_FOUND = (5, "not found")


class CallError(Exception):
    """gRPC's: its code is a method."""

    def __init__(self, code: Code, details: str = "", metadata: Any = ()) -> None:
        super().__init__(details)
        self._code, self._details, self._metadata = code, details, metadata

    def code(self) -> Code:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return self._metadata


def retry_info(seconds: int, nanos: int = 0) -> bytes:
    """google.rpc.Status with a RetryInfo, as protobuf serializes it."""

    def varint(number: int) -> bytes:
        out = b""
        while number > 127:
            out, number = out + bytes([number & 127 | 128]), number >> 7
        return out + bytes([number])

    def part(number: int, value: bytes) -> bytes:
        return bytes([number << 3 | 2]) + varint(len(value)) + value

    duration = b"\x08" + varint(seconds) + (b"\x10" + varint(nanos) if nanos else b"")
    help_link = part(1, b"type.googleapis.com/google.rpc.Help") + part(2, b"\x0a\x00")
    info = part(1, b"type.googleapis.com/google.rpc.RetryInfo") + part(2, part(1, duration))
    return b"\x08\x08" + part(2, b"slow down") + part(3, help_link) + part(3, info)


GOOGLE = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "details": [
            {"@type": "type.googleapis.com/google.rpc.Help"},
            {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7.5s"},
        ],
    }
}
THROTTLED = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
ATTEMPT: Future[None] = Future()
ATTEMPT.set_exception(httpx_error(429, {"Retry-After": "7"}))

REFUSALS: dict[str, tuple[Exception, Verdict]] = {
    # Statuses, wherever a client keeps them.
    "status_code": (error(status_code=429), REFUSED),
    "http_status": (error(http_status=429), REFUSED),
    "status": (error(status=429), REFUSED),
    "status as text": (error(status="429"), REFUSED),
    "status of http": (error(status=HTTPStatus.TOO_MANY_REQUESTS), REFUSED),
    "response_code": (error(response_code=429), REFUSED),
    "code": (error(code=429), REFUSED),
    "code as text": (error(code="429"), REFUSED),
    "a private status": (error(_status=429), REFUSED),
    "a private http_status": (
        error(_http_status=503, _http_headers={"Retry-After": "7"}, http_status=lambda: 503),
        waits(7),
    ),
    "errno": (OSError(429, "too many requests"), REFUSED),
    "overloaded": (error(status_code=529), REFUSED),
    "flood": (named("FloodWaitError", code=420, seconds=31), waits(31)),
    # Responses, under any name or among the arguments.
    "response": (error(response=response(429, {"Retry-After": "7"})), waits(7)),
    "http_response": (error(http_response=response(429, {"Retry-After": "7"})), waits(7)),
    "an answer": (error(answer=response(429, {"Retry-After": "7"})), waits(7)),
    "an argument": (with_arguments("no page", response(429, {"retry-after": "7"})), waits(7)),
    "code of a response": (
        error(response=SimpleNamespace(code=429, headers={"Retry-After": "2.0"})),
        waits(2),
    ),
    "headers of meta": (
        error(status_code=503, meta=SimpleNamespace(status=503, headers={"retry-after": "7"})),
        waits(7),
    ),
    "the response is the headers": (error(resp=Headers(429, retry_after="30")), waits(30)),
    "the response is the headers, 503": (error(resp=Headers(503, retry_after="3")), waits(3)),
    "headers of the exception": (error(status=429, headers={"Retry-After": "7"}), waits(7)),
    "headers with lists": (error(status=429, headers={"Retry-After": ["7", "9"]}), waits(9)),
    "headers of another name": (
        error(status_code=429, vendor_response_headers={"retry-after": "7"}),
        waits(7),
    ),
    "headers beside a made-up response": (
        error(response=SimpleNamespace(status_code=503, headers={}), raw={"Retry-After": "7"}),
        waits(7),
    ),
    # gRPC.
    "gRPC": (CallError(Code.RESOURCE_EXHAUSTED), REFUSED),
    "gRPC, retry-after": (
        CallError(Code.RESOURCE_EXHAUSTED, metadata=(("retry-after", "7"),)),
        waits(7),
    ),
    "gRPC, pushback": (
        CallError(Code.RESOURCE_EXHAUSTED, metadata=[("grpc-retry-pushback-ms", "7000")]),
        waits(7),
    ),
    "gRPC of asyncio": (
        CallError(Code.RESOURCE_EXHAUSTED, metadata={"retry-after": ["7"]}),
        waits(7),
    ),
    "gRPC, RetryInfo": (
        CallError(
            Code.RESOURCE_EXHAUSTED,
            metadata=(("grpc-status-details-bin", retry_info(300, 500_000_000)),),
        ),
        waits(300.5),
    ),
    "gRPC, unavailable with a wait": (
        CallError(Code.UNAVAILABLE, metadata=(("grpc-status-details-bin", retry_info(7)),)),
        waits(7),
    ),
    "gRPC status as an attribute": (error(status=Code.RESOURCE_EXHAUSTED), REFUSED),
    # Bodies that were parsed, or kept as text.
    "Google's body": (error(code=429, details=GOOGLE), waits(7.5)),
    "Google's details": (error(code=429, _details=GOOGLE["error"]["details"]), waits(7.5)),
    "Google's message": (
        error(
            code=429,
            details=[SimpleNamespace(retry_delay=SimpleNamespace(seconds=7, nanos=500_000_000))],
        ),
        waits(7.5),
    ),
    "a body as text": (
        error(status=429, body='{"details": {"retryAfterSeconds": 7}}'),
        waits(7),
    ),
    "a body that the response has read": (
        error(response=response(429, _content=b'{"error": {"details": [{"retryDelay": "7s"}]}}')),
        waits(7),
    ),
    "Telegram's body": (
        error(code=429, body={"ok": False, "parameters": {"retry_after": 35}}),
        waits(35),
    ),
    "403 of Google": (
        error(resp=Headers(403), error_details=[{"reason": "userRateLimitExceeded"}]),
        REFUSED,
    ),
    "403 of Salesforce": (
        error(status=403, content=[{"errorCode": "REQUEST_LIMIT_EXCEEDED"}]),
        REFUSED,
    ),
    "400 of Plaid": (
        error(status=400, body='{"error_type": "RATE_LIMIT_EXCEEDED"}'),
        REFUSED,
    ),
    "200 of Slack": (error(response=response(200, data={"error": "ratelimited"})), REFUSED),
    "AWS": (error(response=THROTTLED), REFUSED),
    "a waiter of AWS": (error(last_response=THROTTLED), REFUSED),
    "503 of S3": (
        error(
            response={"Error": {"Code": "SlowDown"}, "ResponseMetadata": {"HTTPStatusCode": 503}}
        ),
        REFUSED,
    ),
    "GraphQL": (error(errors=[{"extensions": {"code": "THROTTLED"}}]), REFUSED),
    "GraphQL in an argument": (
        with_arguments("failed", [{"extensions": {"code": "RATE_LIMITED", "retry_in_seconds": 9}}]),
        waits(9),
    ),
    "a body that the error was made of": (made_of({"code": "rateLimited"}), REFUSED),
    "headers that the error was made of": (made_of({"retry-after": "7"}, 429), waits(7)),
    "a code that is a word": (error(code="rate_limit_exceeded"), REFUSED),
    "a code in parts": (error(code="Throttling.User"), REFUSED),
    "a code of a namespace": (error(code="com.amazonaws#ThrottlingException"), REFUSED),
    "errcode": (xmlrpc.client.ProtocolError("x", 429, "", {"Retry-After": "7"}), waits(7)),
    "status as bytes": (error(status=b"429"), REFUSED),
    "kafka": (named("ThrottlingQuotaExceededError"), REFUSED),
    "a quota of requests": (named("RequestQuotaExceededError"), REFUSED),
    "an error_type in a list": (
        error(items=[SimpleNamespace(error_type="RATELIMIT")]),
        REFUSED,
    ),
    # Waits that are attributes.
    "retry_after": (error(retry_after=25), waits(25)),
    "retry_after as text": (error(retry_after="25"), waits(25)),
    "retry_after of 503": (error(status=503, retry_after=7.0), waits(7)),
    "retry_after_secs": (named("TooManyRequests", retry_after_secs=7), waits(7)),
    "retry_after_s": (named("ResourceExhaustedResponse", retry_after_s=7), waits(7)),
    "retry_in_seconds": (error(retry_in_seconds=7), waits(7)),
    "retry_after_ms": (error(status=429, retry_after_ms=7000), waits(7)),
    "backoff": (error(status_code=429, backoff=7), waits(7)),
    # Names of classes.
    "OverpassTooManyRequests": (named("OverpassTooManyRequests"), REFUSED),
    "YFRateLimitError": (named("YFRateLimitError"), REFUSED),
    "RateLimitExceeded": (named("RateLimitExceeded"), REFUSED),
    "RateLimitExceededException, 403": (named("RateLimitExceededException", status=403), REFUSED),
    "RateLimitExceededExceedsMaxWait": (named("RateLimitExceededExceedsMaxWait", wait=9), waits(9)),
    "Throttled": (named("Throttled", wait=9), waits(9)),
    # Texts.
    "urllib3": (Exception("too many 429 error responses"), REFUSED),
    "a status line": (Exception("429 Client Error: Too Many Requests for url: http://x"), REFUSED),
    "HTTP 429": (Exception('HTTP 429: {"error": "slow"}'), REFUSED),
    "curl": (with_arguments(22, "The requested URL returned error: 429"), REFUSED),
    "snowflake": (error(msg="failed, last status 429 Too Many Requests"), REFUSED),
    "words for a wait": (
        error(status_code=429, message="Rate limit reached. Please try again in 6m0s."),
        waits(360),
    ),
    "words": (Exception("API rate limit exceeded for user 7"), REFUSED),
    "words of the last attempt": (Exception("Still rate-limited after 3 attempts"), REFUSED),
    "words, 400": (error(http_status=400, message="(#17) User request limit reached"), REFUSED),
    "words, 403": (Exception("403 Client Error: rate limit exceeded for url: x"), REFUSED),
    "words for both": (
        Exception("Telegram says: [420 FLOOD_WAIT_X] - Too many requests, a wait of 25 seconds"),
        waits(25),
    ),
    # What holds another exception.
    "a cause": (look_alike("app", "Failed", __cause__=error(status_code=429)), REFUSED),
    "a cause that says more": (
        error(status_code=429, __cause__=httpx_error(429, {"Retry-After": "7"})),
        waits(7),
    ),
    "reason": (error(reason=Exception("too many 429 error responses")), REFUSED),
    "an argument that is one": (with_arguments(with_arguments(error(status_code=429))), REFUSED),
    "a last attempt": (named("RetryError", last_attempt=ATTEMPT), waits(7)),
    "exceptions of attempts": (
        error(exceptions=[error(status_code=500), error(status_code=429)]),
        REFUSED,
    ),
    "a group": (
        ExceptionGroup("", [error(retry_after=5), ExceptionGroup("", [error(retry_after=9)])]),
        waits(9),
    ),
    "a cause that is a group": (
        look_alike("app", "Failed", __cause__=ExceptionGroup("", [error(retry_after=5)])),
        waits(5),
    ),
}

FALSE_ALARMS: dict[str, Exception] = {
    "500 that a client reports as 429": error(
        http_status=429, reason="too many 500 error responses", headers={}
    ),
    "503 that a client reports as 429": error(
        status_code=429,
        response=SimpleNamespace(status_code=429, headers={}),
        __cause__=error(response=response(503)),
    ),
    "503 without a wait": error(status=503),
    "403 without a wait": error(status=403),
    "403 with calls left": error(
        status=403, headers={"x-ratelimit-remaining": "4000", "x-ratelimit-reset": "99"}
    ),
    "500 with a wait": error(status=500, retry_after=7),
    "404 with a wait": error(response=response(404, {"Retry-After": "7"})),
    "another private http_status": error(_http_status=404, code=429),
    "a code of the application": error(status_code=400, code=429),
    "a long code of the application": error(code=1429),
    "a negative code": error(code=-429),
    "a code that contains it": error(code="E130429"),
    "an errno": OSError(104, "connection reset"),
    "an errno that is a status of others": OSError(503, "no such thing"),
    "a port": error(port=429),
    "a number of the application": error(order=429, count=429, line=429, id=429),
    "an exit code": with_arguments(429),
    "two arguments": with_arguments(429, "no such user"),
    "an id in a message": ValueError("user 429 was not found"),
    "a message with a status of others": ValueError("status of order 429 is unknown"),
    "a status in a user's data": error(
        params={"status": 429, "code": "rate_limited"}, instance={"status": 429}
    ),
    "a status in an argument's data": with_arguments({"status": 429}),
    "a status in the data that an error was made of": made_of({"status": "429"}),
    "a code in a body that says otherwise": made_of({"code": "rate_limited"}, 404),
    "the data of a refused document": error(
        errors=[{"index": {"status": 400, "data": {"status": 429, "code": "throttled"}}}]
    ),
    "words about a setting": ValueError("the rate limit must be above 0, not 0"),
    "a rule in words": error(message="a rate limited plan has no such call"),
    "words with 500": error(response=response(500), message="rate limit exceeded"),
    "words with 404": error(status=404, message="no rule: too many requests"),
    "a code with 500": error(status=500, body={"error": {"type": "THROTTLE"}}),
    "a code with 404": error(response=response(404, data={"code": "rate_limited"})),
    "a setting": named("InvalidRateLimitError"),
    "a quota of something else": named("StorageQuotaExceededError"),
    "a limiter's own trouble": named("RateLimiterError"),
    "a memory that is exhausted": named("ResourceExhaustedError"),
    "a quota of an account": error(
        response={"Error": {"Code": "LimitExceededException"}, "ResponseMetadata": {}}
    ),
    "a class of that name with 500": named("RateLimitError", response=response(500)),
    "a class of that name with 404": named("RateLimitNotFound", status_code=404),
    "gRPC of another status": CallError(Code.NOT_FOUND, metadata=(("retry-after", "7"),)),
    "gRPC, unavailable": CallError(Code.UNAVAILABLE),
    "a request with such headers": error(
        request=SimpleNamespace(status_code=429, headers={"Retry-After": "7"})
    ),
    "a wait of a library": error(wait=9, seconds=9, backoff=9),
    "a retry_after that is none": error(retry_after=None),
    "a retry_after of 0": error(retry_after=0),
    "a truth": error(status_code=True, code=True, retry_after=True),
}

FINAL: dict[str, Exception] = {
    "a spent quota": error(status_code=429, code="insufficient_quota"),
    "with a wait": error(code="insufficient_quota", response=response(429, {"Retry-After": "7"})),
    "in a body": error(status_code=429, body={"error": {"type": "insufficient_quota"}}),
    "in a body as text": error(
        response=response(429, _content=b'{"error": {"code": "insufficient_quota"}}')
    ),
    "in a message": error(
        status_code=429, args=("Error code: 429 - {'code': 'insufficient_quota'}",)
    ),
    "in a cause": error(
        status_code=429, __cause__=error(status_code=429, code="billing_hard_limit_reached")
    ),
    "gRPC, too large": CallError(
        Code.RESOURCE_EXHAUSTED, "Received message larger than max (5 vs. 4)"
    ),
}


@pytest.mark.parametrize(("case", "verdict"), REFUSALS.values(), ids=REFUSALS)
def test_refusals(case: Exception, verdict: Verdict) -> None:
    assert DEFAULT.decide(case) == verdict


@pytest.mark.parametrize("case", FALSE_ALARMS.values(), ids=FALSE_ALARMS)
def test_false_alarms(case: Exception) -> None:
    assert DEFAULT.decide(case) == NOTHING


@pytest.mark.parametrize("case", FINAL.values(), ids=FINAL)
def test_what_no_waiting_lifts_is_final_and_concerns_nobody_else(case: Exception) -> None:
    assert DEFAULT.decide(case) == Verdict(False, False, None, final=True)
    # The user's own word goes before that.
    assert Retry(on=Exception).decide(case).again
    assert Retry(also=Exception).decide(case).again


@pytest.mark.parametrize("status", [400, 401, 404, 409, 410, 422, 500, 502, 504])
@pytest.mark.parametrize("where", ["status_code", "status", "code", "response_code"])
def test_other_statuses(status: int, where: str) -> None:
    assert DEFAULT.decide(error(**{where: status})) == NOTHING
    assert DEFAULT.decide(error(**{where: str(status)})) == NOTHING
    assert DEFAULT.decide(error(**{where: status, "headers": {"Retry-After": "7"}})) == NOTHING


def test_a_group_is_repeated_only_if_each_of_its_members_is() -> None:
    refusal, failure = error(retry_after=5), ValueError("mistake")
    unsent = ConnectionRefusedError()
    assert DEFAULT.decide(ExceptionGroup("", [refusal, failure])) == Verdict(False, True, 5.0)
    assert DEFAULT.decide(ExceptionGroup("", [refusal, unsent])) == Verdict(True, True, 5.0)
    assert DEFAULT.decide(ExceptionGroup("", [unsent])) == Verdict(True, False, None)
    assert DEFAULT.decide(ExceptionGroup("", [failure])) == NOTHING
    both = ExceptionGroup("", [refusal, ExceptionGroup("", [failure])])
    assert Retry(also=ValueError).decide(both) == Verdict(True, True, 5.0)
    assert Retry(also=KeyError).decide(both) == Verdict(False, True, 5.0)
    down = ExceptionGroup("", [refusal, httpx_error(500)])
    assert Retry(statuses={500}).decide(down) == Verdict(True, True, 5.0)
    wrapped = look_alike("app", "Failed", __cause__=ExceptionGroup("", [refusal, failure]))
    assert DEFAULT.decide(wrapped) == Verdict(False, True, 5.0)
    spent = error(status_code=429, code="insufficient_quota")
    assert DEFAULT.decide(ExceptionGroup("", [spent])) == Verdict(False, False, None, True)
    assert DEFAULT.decide(ExceptionGroup("", [spent, refusal])) == Verdict(False, True, 5.0)


def test_the_last_of_many_members_counts() -> None:
    many = [ValueError(str(number)) for number in range(500)]
    group = ExceptionGroup("", [*many, error(retry_after=5)])
    assert DEFAULT.decide(group) == Verdict(False, True, 5.0)


def test_a_part_that_was_refused_pauses_and_is_not_repeated_as_a_whole() -> None:
    bulk = error(errors=[{"index": {"status": 201}}, {"create": {"status": 429}}])
    assert DEFAULT.decide(bulk) == Verdict(False, True, None)


def test_slots_and_properties() -> None:
    class Slotted(Exception):
        __slots__ = ("_kept", "answer")

        @property
        def retry_after(self) -> int:
            return 25

    slotted = Slotted()
    assert DEFAULT.decide(slotted) == waits(25)
    slotted.answer = response(429, {"Retry-After": "60"})
    assert DEFAULT.decide(slotted) == waits(60)
