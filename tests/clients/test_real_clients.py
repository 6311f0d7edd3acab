"""Real clients within a server's limit: it never refuses, whatever it does."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import pytest
from clients import CLIENTS, QUICK, WORKERS, Client, httpx_create, operations

from paceline import BatchExecutor, RateLimiter
from standin import StandIn

client = pytest.mark.parametrize("client", CLIENTS.values(), ids=CLIENTS)


@pytest.fixture(scope="module", autouse=True)
def nothing_else_comes_between_a_start_and_its_arrival() -> Iterator[None]:
    """The margin is for the network, not for what a client does at first or for others' garbage.

    The first request of a client loads what it needs, and collecting what hundreds of other tests
    have left behind stops every thread: either takes as long as the margin.
    """
    with StandIn(limit=1000, per=1.0, **QUICK) as server, BatchExecutor(None, WORKERS) as executor:
        for create in CLIENTS.values():
            assert executor.run(operations(create(server), WORKERS)).counts["failed"] == 0
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@client
def test_a_server_with_the_same_limit_never_refuses(client: Client) -> None:
    with StandIn(limit=40, per=1.0, lockout=5, **QUICK) as server:
        with BatchExecutor(RateLimiter(40, per=1.0, margin=0.15), WORKERS) as executor:
            report = executor.run(operations(client(server), 130))
        seen = server.stats()
    assert report.counts["done"] == 130
    assert seen.refused == 0
    assert seen.worst_window <= 40


def test_a_server_that_stalls_and_recovers_gets_no_burst() -> None:
    stall = {"stall_after": 10, "stall": 2.0}
    with StandIn(limit=20, per=1.0, lockout=5, **QUICK, **stall) as server:
        limiter = RateLimiter(20, per=1.0, burst=1, margin=0.15)
        with BatchExecutor(limiter, WORKERS) as executor:
            report = executor.run(operations(httpx_create(server), 50))
        seen = server.stats()
    assert report.counts["done"] == 50
    assert seen.refused == 0


def test_several_executors_share_one_limit() -> None:
    limiter = RateLimiter(30, per=1.0, margin=0.15)
    with StandIn(limit=30, per=1.0, lockout=5, **QUICK) as server:
        create = httpx_create(server)
        with BatchExecutor(limiter, 4) as first, BatchExecutor(limiter, 4) as second:
            futures = [
                executor.submit(create, f"{side} {number}")
                for number in range(40)
                for side, executor in (("left", first), ("right", second))
            ]
            for future in futures:
                future.result(30)
        seen = server.stats()
    assert len(seen.created) == 80
    assert seen.refused == 0


@client
def test_without_a_policy_a_refusal_is_an_ordinary_failure(client: Client) -> None:
    with StandIn(limit=5, per=60, lockout=60, **QUICK) as server:
        with BatchExecutor(max_workers=2) as executor:
            report = executor.run(operations(client(server), 20))
        seen = server.stats()
    assert report.counts["done"] == 5
    assert report.counts["failed"] == 15
    assert report.retries == 0
    assert seen.arrivals == 20
