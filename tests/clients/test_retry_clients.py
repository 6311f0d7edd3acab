"""Real clients beyond a server's limit: one pause for all, nothing twice, nothing lost."""

from __future__ import annotations

import time
from functools import partial

import descope
import httpx
import pytest
import requests
from clients import (
    QUICK,
    WORKERS,
    Client,
    assert_each_once,
    httpx_create,
    operations,
    requests_create,
    sdk_create,
)

from paceline import BatchExecutor, RateLimiter, Retry
from standin import StandIn


@pytest.mark.parametrize("form", ["seconds", "html"])
def test_150_creates_through_the_sdk_at_a_server_that_allows_less(form: str) -> None:
    # The SDK drops the headers of a page that is no JSON, so the 2 s have to be told.
    retry = Retry(default_pause=None if form == "seconds" else 2.5)
    with StandIn(limit=50, per=2.0, lockout=2.0, retry_after=form, **QUICK) as server:
        create = sdk_create(server)
        with BatchExecutor(RateLimiter(120, per=2.0), WORKERS, retry=retry) as executor:
            report = executor.run(operations(create, 150))
        seen = server.stats()
        assert_each_once(server, report)
    assert [outcome for outcome in report if outcome.status != "done"] == []
    assert seen.lockouts
    assert max(seen.lockouts) <= WORKERS
    assert report.attempts == seen.arrivals == 150 + seen.refused
    assert report.retries == seen.refused
    # The refusals of one lock-out are one pause.
    assert report.pauses == len(seen.lockouts)
    assert report.paused >= 1.5 * len(seen.lockouts)
    assert max(outcome.attempts for outcome in report) <= retry.attempts


@pytest.mark.parametrize(
    ("client", "form"),
    [(httpx_create, "date"), (httpx_create, "html"), (requests_create, "seconds")],
)
def test_plain_clients_wait_as_long_as_they_are_told(client: Client, form: str) -> None:
    with StandIn(limit=20, per=1.0, lockout=1.0, retry_after=form, **QUICK) as server:
        with BatchExecutor(RateLimiter(100, per=1.0), 4, retry=Retry()) as executor:
            report = executor.run(operations(client(server), 50))
        seen = server.stats()
        assert_each_once(server, report)
    assert report.counts["done"] == 50
    assert seen.lockouts
    assert max(seen.lockouts) <= 4


def test_a_pause_stops_every_executor_that_shares_the_limiter() -> None:
    limiter = RateLimiter(500, per=1.0)
    with StandIn(limit=30, per=1.0, lockout=2.0, **QUICK) as server:
        create = httpx_create(server)
        with (
            BatchExecutor(limiter, 4, retry=Retry()) as first,
            BatchExecutor(limiter, 4, retry=Retry()) as second,
        ):
            futures = [
                executor.submit(create, f"{side} {number}")
                for number in range(35)
                for side, executor in (("left", first), ("right", second))
            ]
            for future in futures:
                future.result(50)
        seen = server.stats()
    assert set(seen.created.values()) == {1}
    assert len(seen.created) == 70
    assert seen.lockouts
    assert max(seen.lockouts) <= 8


class AnyLimiter:
    """A limiter that is not ours, and never says no."""

    def acquire(self) -> bool:
        return True


def test_with_a_foreign_limiter_the_executor_pauses() -> None:
    with StandIn(limit=20, per=1.0, lockout=1.0, **QUICK) as server:
        with BatchExecutor(AnyLimiter(), 4, retry=Retry()) as executor:
            report = executor.run(operations(sdk_create(server), 50))
        seen = server.stats()
        assert_each_once(server, report)
    assert report.counts["done"] == 50
    assert max(seen.lockouts) <= 4


def test_every_verb_repeats() -> None:
    with StandIn(limit=3, per=0.5, lockout=1.0, **QUICK) as server:
        create = httpx_create(server)
        with BatchExecutor(None, 2, retry=Retry()) as executor:
            assert "id" in executor.execute(partial(create, "execute"))
            entries = executor.execute_batch([partial(create, f"batch {n}") for n in range(4)])
            assert all("id" in entry for entry in entries)
            assert len(list(executor.map(create, [f"map {n}" for n in range(4)]))) == 4
            outcomes = list(executor.stream(partial(create, f"stream {n}") for n in range(4)))
            assert [outcome.status for outcome in outcomes] == ["done"] * 4
            assert executor.submit(create, "submit").result(30)
        seen = server.stats()
    assert len(seen.created) == 14
    assert set(seen.created.values()) == {1}
    assert seen.refused > 0


# Outages


TROUBLE = {"unavailable": 0.10, "dropped": 0.02, "seed": 3}
EITHER_CLIENT: dict[str, tuple[Client, tuple[type[Exception], ...]]] = {
    "httpx": (httpx_create, (httpx.HTTPStatusError, httpx.TransportError)),
    "requests": (requests_create, (requests.RequestException,)),
}


@pytest.mark.parametrize(("client", "on"), EITHER_CLIENT.values(), ids=EITHER_CLIENT)
@pytest.mark.parametrize("budget", [0.5, 20, 0])
def test_an_unreliable_server(
    client: Client, on: tuple[type[Exception], ...], budget: float
) -> None:
    count = 300
    retry = Retry(4, on=on, backoff=0.01, max_backoff=0.1, budget=budget)
    with StandIn(limit=10_000, **QUICK, **TROUBLE) as server:
        with BatchExecutor(RateLimiter(1000, per=1), WORKERS, retry=retry) as executor:
            report = executor.run(operations(client(server), count))
        seen = server.stats()
        # Neither a 503 nor a dropped connection has created anything here.
        assert_each_once(server, report)
    assert report.counts["done"] + report.counts["failed"] == count
    allowed = budget * count if isinstance(budget, float) else budget
    assert report.retries <= allowed
    assert report.attempts == count + report.retries
    assert seen.arrivals + seen.dropped >= report.attempts
    for outcome in report.failures:
        assert isinstance(outcome.exception, on)
    if budget == 0.5:
        assert report.retries > 10
        assert report.counts["failed"] <= 5
    else:
        # The budget was spent to the last, and then failures were final.
        assert report.retries == budget
        assert report.counts["failed"] >= 5
    # A 503 without Retry-After is no reason to hold up the others.
    assert report.pauses == 0


def test_by_default_what_may_have_happened_is_not_repeated() -> None:
    with StandIn(limit=10_000, **QUICK, **TROUBLE) as server:
        with BatchExecutor(None, WORKERS, retry=Retry()) as executor:
            report = executor.run(operations(httpx_create(server), 200))
        seen = server.stats()
    assert report.retries == 0
    assert report.counts["failed"] == 200 - sum(seen.created.values())
    assert report.counts["failed"] > 5


def test_a_server_that_is_not_there_yet() -> None:
    """Refused connections are repeated by default, and end with the last exception."""
    with StandIn(**QUICK) as server:
        create = httpx_create(server)
    began = time.monotonic()
    with BatchExecutor(None, 4, retry=Retry(3, backoff=0.05, jitter=False)) as executor:
        report = executor.run(operations(create, 4))
    taken = time.monotonic() - began
    assert [outcome.attempts for outcome in report] == [3] * 4
    assert all(isinstance(outcome.exception, httpx.ConnectError) for outcome in report)
    assert 0.15 <= taken < 10


def test_all_attempts_refused_ends_with_the_refusal() -> None:
    with StandIn(limit=1, per=60, lockout=60, retry_after="absent", **QUICK) as server:
        create = sdk_create(server)
        retry = Retry(3, default_pause=0.1, backoff=0.01)
        with BatchExecutor(None, 2, retry=retry) as executor:
            report = executor.run(operations(create, 3))
        seen = server.stats()
    assert sorted(outcome.status for outcome in report) == ["done", "failed", "failed"]
    for outcome in report.failures:
        assert 1 <= outcome.attempts <= 3
        assert isinstance(outcome.exception, descope.RateLimitException)
    # They share the calls that go first after the pauses.
    assert 3 <= seen.refused <= 5
