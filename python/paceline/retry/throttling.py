"""Recognises a server that refused a request because it came too early, and how long it asks for.

Known by shape, without importing anything: ``descope``, ``httpx``, ``requests``, ``urllib``, the
clients of OpenAI, Anthropic and Stripe, botocore, and whatever else carries
``.response.status_code``, or ``.status_code``, ``.status`` or ``.http_status`` of its own, with
``.headers``.

The header is ``Retry-After``, in seconds or as a date (RFC 9110, section 10.2.3). The variants in
milliseconds, ``retry-after-ms`` (OpenAI) and ``x-amz-retry-after`` (AWS), go before it.
"""

from __future__ import annotations

import math
import re
import time
from dataclasses import dataclass
from datetime import UTC

from paceline import _duck

# Too Many Requests (RFC 6585, section 4), and "overloaded" as Anthropic and others answer it.
_REFUSED = frozenset({429, 529})
# These have other meanings too: only with a time to wait do they say "not now". GitHub answers
# its secondary limits with 403; for 503 see RFC 9110, section 15.6.4.
_REFUSED_WITH_A_WAIT = frozenset({403, 503})

# The codes by which AWS services throttle. `LimitExceededException` is left out: it mostly names
# a quota of the account, which no waiting lifts.
_AWS_THROTTLING = frozenset(
    {
        "BandwidthLimitExceeded",
        "EC2ThrottledException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "ThrottledException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)

# `code` is an HTTP status in these, and an error's name or an exit code elsewhere.
_CODE_IS_STATUS = frozenset({("urllib", "HTTPError"), ("google", "GoogleAPICallError")})

_DECIMAL = re.compile(r"\d+(\.\d+)?", re.ASCII)
_MILLISECONDS = ("retry-after-ms", "x-amz-retry-after")
_SHOULD_RETRY = ("x-should-retry", "stripe-should-retry")


@dataclass(frozen=True, slots=True)
class Throttling:
    """What a server said when it refused a request for coming too early.

    Attributes:
        wait: Seconds it asks to be left alone, at least 0, possibly infinite; None if it did not
            say.
        final: It said as well that the request should not be repeated.
    """

    wait: float | None
    final: bool = False


def throttling(exception: BaseException) -> Throttling | None:
    """Return what the server said, or None if the exception is of another kind. Never raises."""
    names = _duck.class_names(exception)
    if ("descope", "RateLimitException") in names:
        return _descope(exception)
    response = _duck.attribute(exception, "response")
    aws_code = _duck.item(_duck.item(response, "Error"), "Code")
    metadata = _duck.item(response, "ResponseMetadata")
    if metadata is not None or _duck.is_a(aws_code, str):
        return _aws(aws_code, metadata)
    status = _duck.status(response, "status_code", "status")
    if status is None:
        status = _duck.status(exception, "status_code", "http_status", "status")
    if status is None and names & _CODE_IS_STATUS:
        status = _duck.status(exception, "code")
    headers = _duck.attribute(response, "headers")
    if headers is None:
        headers = _duck.attribute(exception, "headers")
    return _http(status, headers)


def seconds(value: object) -> float | None:
    """Return a number of seconds or its text as a float of 0 or more, else None.

    Digits without end count as infinite. What RFC 9110 does not allow, such as "-5", "nan" and
    "1e309", is None; fractions it does not allow either, but servers send them.
    """
    try:
        text = _duck.text(value)
        if text is not None:
            text = text.strip()
            return float(text) if _DECIMAL.fullmatch(text) else None
        if _duck.is_a(value, bool) or not (_duck.is_a(value, int) or _duck.is_a(value, float)):
            return None
        number = float(value)
    except OverflowError:
        number = math.inf if _duck.is_a(value, int) and value > 0 else -math.inf
    except Exception:  # noqa: BLE001 - a subclass of str or int may do anything
        return None
    return number if number >= 0 else None


def _descope(exception: BaseException) -> Throttling:
    # The SDK writes 0 for a header that is missing or a date: 0 is "unknown" here, never "now".
    # Its `status_code` is the error code of the body, not 429.
    parameters = _duck.lower_headers(_duck.attribute(exception, "rate_limit_parameters"))
    return Throttling(seconds(parameters.get("retry-after")) or None)


def _aws(code: object, metadata: object) -> Throttling | None:
    headers = _duck.item(metadata, "HTTPHeaders")
    if _duck.is_a(code, str) and code in _AWS_THROTTLING:
        return Throttling(_wait(_duck.lower_headers(headers)))
    status = _duck.item(metadata, "HTTPStatusCode")
    return _http(status if _duck.is_a(status, int) else None, headers)


def _http(status: int | None, headers: object) -> Throttling | None:
    if status not in _REFUSED and status not in _REFUSED_WITH_A_WAIT:
        return None
    lower = _duck.lower_headers(headers)
    wait = _wait(lower)
    if wait is None and status not in _REFUSED:
        return None
    final = any(
        (_duck.text(lower.get(name)) or "").strip().lower() == "false" for name in _SHOULD_RETRY
    )
    return Throttling(wait, final)


def _wait(headers: dict[str, object]) -> float | None:
    for name in _MILLISECONDS:
        milliseconds = seconds(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1_000
    value = headers.get("retry-after")
    wait = seconds(value)
    return _until(value, headers.get("date")) if wait is None else wait


def _until(date: object, sent: object) -> float | None:
    """Return the seconds until an HTTP date.

    They are counted from the response's own ``Date``, so that a wrong clock on either side does no
    harm. Without it they are counted from this machine's clock, and a date in the past says
    nothing but that the clocks differ.
    """
    end = _timestamp(date)
    if end is None:
        return None
    start = _timestamp(sent)
    if start is not None:
        return max(0.0, end - start)
    wait = end - time.time()
    return wait if wait > 0 else None


def _timestamp(value: object) -> float | None:
    text = _duck.text(value)
    if text is None:
        return None
    try:
        # It takes a quarter of the time of importing the package, and few programs ever need it.
        from email.utils import parsedate_to_datetime  # noqa: PLC0415

        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.timestamp()
    except Exception:  # noqa: BLE001 - the parser lets several kinds of error through
        return None
