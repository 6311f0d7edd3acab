"""The waits that servers ask for, in each form in which they write them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from email.utils import formatdate
from typing import Any

import pytest
from client_errors import httpx_error, look_alike
from hypothesis import given
from hypothesis import strategies as st

from paceline import Retry
from paceline.retry import durations, headers

SERVER = 1_900_000_000  # 2030, by the server's clock
DATE = {"Date": formatdate(SERVER, usegmt=True)}


def iso(seconds: float, zone: timezone = UTC) -> str:
    return datetime.fromtimestamp(SERVER + seconds, zone).isoformat()


def wait_of(status: int, found: dict[str, str]) -> float | None:
    return Retry(max_pause=1e9).decide(httpx_error(status, {**DATE, **found})).wait


FORMS: dict[str, tuple[dict[str, str], float | None]] = {
    # RFC 9110, section 10.2.3, and what servers make of it.
    "seconds": ({"Retry-After": "7"}, 7),
    "a fraction": ({"Retry-After": "7.25"}, 7.25),
    "a date": ({"Retry-After": formatdate(SERVER + 7, usegmt=True)}, 7),
    "a date of RFC 850": ({"Retry-After": "Sunday, 17-Mar-30 17:46:47 GMT"}, 7),
    "a date of asctime": ({"Retry-After": "Sun Mar 17 17:46:47 2030"}, 7),
    "a date with a zone": ({"Retry-After": "Sun, 17 Mar 2030 19:46:47 +0200"}, 7),
    "a date in ISO 8601": ({"Retry-After": "2030-03-17T17:46:47Z"}, 7),
    "seconds since 1970": ({"Retry-After": str(SERVER + 7)}, 7),
    "milliseconds since 1970": ({"Retry-After": str((SERVER + 7) * 1000)}, 7),
    "a duration": ({"Retry-After": "7s"}, 7),
    "joined on the way": ({"Retry-After": "7, 9"}, 9),
    "with a prefix": ({"X-Retry-After": "7"}, 7),
    "of a rate limit": ({"X-RateLimit-Retry-After": "7"}, 7),
    "0": ({"Retry-After": "0"}, None),
    "a date that has passed": ({"Retry-After": formatdate(SERVER - 7, usegmt=True)}, None),
    "a moment that has passed": ({"Retry-After": str(SERVER - 7)}, None),
    "digits without end": ({"Retry-After": "9" * 400}, 1e9),
    # In milliseconds: OpenAI, AWS, Azure, and gRPC over HTTP.
    "retry-after-ms": ({"retry-after-ms": "1500"}, 1.5),
    "x-amz-retry-after": ({"x-amz-retry-after": "1500"}, 1.5),
    "x-ms-retry-after-ms": ({"x-ms-retry-after-ms": "1500"}, 1.5),
    "rounded up beside it": ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
    "longer beside it": ({"retry-after-ms": "1500", "retry-after": "3"}, 3),
    "shorter beside it": ({"retry-after-ms": "7000", "retry-after": "1"}, 7),
    "0 ms": ({"retry-after-ms": "0"}, None),
    # Zotero.
    "Backoff": ({"Backoff": "7"}, 7),
    # Resets as a moment: GitHub, GitLab, X, Okta, Auth0, Hetzner, DigitalOcean.
    "GitHub": ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(SERVER + 7)}, 7),
    "X": ({"x-rate-limit-remaining": "0", "x-rate-limit-reset": str(SERVER + 7)}, 7),
    "GitLab": ({"RateLimit-ResetTime": formatdate(SERVER + 7, usegmt=True)}, 7),
    "in milliseconds": ({"X-RateLimit-Reset": str((SERVER + 7) * 1000)}, 7),
    "X, of a day": (
        {"x-user-limit-24hour-remaining": "0", "x-user-limit-24hour-reset": str(SERVER + 70)},
        70,
    ),
    # As seconds left: Datadog, Contentful, PagerDuty, Reddit, Discord.
    "Datadog": ({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"}, 7),
    "Contentful": ({"X-Contentful-RateLimit-Reset": "7"}, 7),
    "Discord": (
        {"X-RateLimit-Reset-After": "6.5", "X-RateLimit-Reset": f"{SERVER + 6.5:.3f}"},
        6.5,
    ),
    "milliseconds left": ({"X-RateLimit-Reset-Ms": "1500"}, 1.5),
    # As a date: Anthropic, Jira.
    "Anthropic": (
        {
            "anthropic-ratelimit-requests-remaining": "49",
            "anthropic-ratelimit-requests-reset": iso(900),
            "anthropic-ratelimit-input-tokens-remaining": "0",
            "anthropic-ratelimit-input-tokens-reset": iso(7),
        },
        7,
    ),
    "Jira": ({"X-RateLimit-Reset": iso(7, timezone(timedelta(hours=5)))}, 7),
    # As a duration: OpenAI, Groq.
    "OpenAI": (
        {
            "x-ratelimit-remaining-requests": "59",
            "x-ratelimit-reset-requests": "1s",
            "x-ratelimit-remaining-tokens": "0",
            "x-ratelimit-reset-tokens": "6m0s",
        },
        360,
    ),
    "OpenAI, short": ({"x-ratelimit-reset-requests": "120ms"}, 0.12),
    "Groq": ({"x-ratelimit-reset-tokens": "1m26.4s"}, 86.4),
    # The IETF's drafts: versions 8 to 10, 7, and those before.
    "draft": ({"RateLimit": '"default";r=0;t=7'}, 7),
    "draft, several": ({"RateLimit": '"burst";r=0;t=7, "day, week";r=12;t=9000'}, 7),
    "draft, all at 0": ({"RateLimit": '"burst";r=0;t=7, "day";r=0;t=9000'}, 9000),
    "draft, partition": ({"RateLimit": '"default";r=0;t=7;pk=:c2hvcA==:'}, 7),
    "draft, window": (
        {"RateLimit": '"default";r=0', "RateLimit-Policy": '"other";q=9;w=9, "default";q=100;w=60'},
        60,
    ),
    "draft 7": ({"RateLimit": "limit=100, remaining=0, reset=7"}, 7),
    "draft 7, with calls left": ({"RateLimit": "limit=100, remaining=3, reset=7"}, None),
    "three headers": (
        {
            "RateLimit-Limit": "100, 100;w=60",
            "RateLimit-Remaining": "0",
            "RateLimit-Reset": "7",
        },
        7,
    ),
    # Several at once.
    "the longer of two": (
        {
            "Retry-After": "7",
            "X-RateLimit-Remaining": "0",
            "X-RateLimit-Reset": str(SERVER + 60),
        },
        60,
    ),
    "of a limit with calls left": (
        {"X-RateLimit-Remaining": "3", "X-RateLimit-Reset": str(SERVER + 60)},
        None,
    ),
    "GitHub, secondary": (
        {
            "Retry-After": "60",
            "X-RateLimit-Remaining": "4000",
            "X-RateLimit-Reset": str(SERVER + 3000),
        },
        60,
    ),
    "a reset that has passed": ({"X-RateLimit-Reset": str(SERVER - 7)}, None),
    "overspent": ({"X-RateLimit-Remaining": "-2", "X-RateLimit-Reset": "7"}, 7),
    # What is none.
    "the limit itself": ({"X-RateLimit-Limit": "100", "X-RateLimit-Used": "100"}, None),
    "text": ({"Retry-After": "soon", "X-RateLimit-Reset": "later"}, None),
    "a setting": ({"Content-Length": "7", "X-Backoff-Policy": "7", "Age": "7"}, None),
}


@pytest.mark.parametrize(("found", "wait"), FORMS.values(), ids=FORMS)
def test_each_form(found: dict[str, str], wait: float | None) -> None:
    assert wait_of(429, found) == (None if wait is None else pytest.approx(wait))


def says_so_for_sure(found: dict[str, str]) -> bool:
    """Whether headers ask to wait, or name a limit of which nothing remains."""
    names = " ".join(found).lower()
    return (
        "retry-after" in names
        or "backoff" in names
        or "emaining" in str(found)
        or "=0" in str(found)
    )


@pytest.mark.parametrize("case", FORMS)
@pytest.mark.parametrize("status", [403, 503])
def test_each_form_with_a_status_that_has_other_meanings(case: str, status: int) -> None:
    found, wait = FORMS[case]
    verdict = Retry(max_pause=1e9).decide(httpx_error(status, {**DATE, **found}))
    if wait is not None and says_so_for_sure(found):
        assert (verdict.throttled, verdict.wait) == (True, pytest.approx(wait))
    else:
        assert verdict.throttled == (case in ("0", "0 ms"))
        assert verdict.wait is None


def test_without_a_date_moments_are_counted_from_our_own_clock() -> None:
    for text in (str(int(time.time()) + 100), iso(time.time() + 100 - SERVER)):
        wait = Retry().decide(httpx_error(429, {"X-RateLimit-Reset": text})).wait
        assert wait is not None
        assert 50 < wait <= 100


@pytest.mark.parametrize(
    ("value", "wait"),
    [
        (timedelta(minutes=1), 60),
        (timedelta(days=2, seconds=1), 172_801),
        (datetime.fromtimestamp(SERVER + 7, UTC), 7),
        (datetime.fromtimestamp(SERVER + 7, timezone(timedelta(hours=-9))), 7),
        ({"seconds": 7, "nanos": 500_000_000}, 7.5),
        ("1h2m3s", 3723),
        ("1h 2m 3s", 3723),
        ("1d", 86_400),
        ("7 seconds", 7),
        ("2 minutes", 120),
        ("500µs", 0.0005),
        ("5ns", 5e-9),
        ("7 apples", None),
        ("7s!", None),
        ("s", None),
        ("", None),
        ("2030-03-17", SERVER // 86_400 * 86_400 - SERVER),
        ("2030-03-17T17:46:47.500+00:00", 7.5),
        ("Mon, 31 Feb 2030 00:00:00 GMT", None),
        (True, None),
        (object(), None),
        (b"7", 7),
    ],
)
def test_values(value: Any, wait: float | None) -> None:
    found = durations.wait(value, SERVER)
    assert found == (None if wait is None else pytest.approx(wait))


@pytest.mark.parametrize("year", ["30", "79", "80", "99"])
def test_years_of_two_digits_are_never_more_than_50_ahead(year: str) -> None:
    moment = durations.timestamp(f"Sunday, 06-Nov-{year} 08:49:37 GMT")
    assert moment is not None
    read = datetime.fromtimestamp(moment, UTC).year
    assert read % 100 == int(year)
    assert read <= datetime.now(UTC).year + 50


DATES = st.datetimes(datetime(2001, 9, 10), datetime(2280, 1, 1)).map(  # noqa: DTZ001 - added
    lambda moment: moment.replace(tzinfo=UTC, microsecond=0)
)


@given(DATES)
def test_dates_are_read_as_they_were_written(moment: datetime) -> None:
    seconds = moment.timestamp()
    assert durations.timestamp(formatdate(seconds, usegmt=True)) == seconds
    assert durations.timestamp(moment.isoformat()) == seconds
    assert durations.wait(int(seconds), seconds - 7) == 7
    assert durations.wait(str(int(seconds) * 1000), seconds - 7) == 7


@given(st.integers(0, 10**9 - 1))
def test_what_may_be_seconds_is(number: int) -> None:
    assert durations.wait(str(number), SERVER) == number


NAMES = st.sampled_from(
    [
        "Retry-After",
        "X-RateLimit-Reset",
        "RateLimit",
        "RateLimit-Policy",
        "X-RateLimit-Remaining",
        "retry-after-ms",
        "Date",
        "x-ratelimit-reset-tokens",
        "Backoff",
    ]
)
VALUES = st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.none(), st.booleans())


@given(st.lists(st.tuples(st.one_of(NAMES, st.text(), st.integers()), VALUES)))
def test_no_headers_break_the_reading(pairs: list[tuple[Any, Any]]) -> None:
    waits = headers.read(pairs)
    for wait in (waits.asked, waits.spent, waits.reset):
        assert wait is None or wait > 0
    error = look_alike("somewhere", "Refused", status=429, headers=pairs)
    verdict = Retry().decide(error)
    assert verdict.throttled
    assert verdict.wait is None or 0 < verdict.wait <= 3600
