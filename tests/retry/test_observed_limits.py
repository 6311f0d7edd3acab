"""What servers tell of their limits before they refuse, for policies that follow it."""

from __future__ import annotations

import sys
import threading
import time
from email.utils import formatdate
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from paceline import BatchExecutor, RateLimiter, Retry
from paceline.retry import headers

NOW = 1_900_000_000


class Server:
    """Allows so many calls in each window, whenever that begins, and tells what is left."""

    def __init__(self, limit: int, window: float) -> None:
        self.limit, self.window = limit, window
        self.lock = threading.Lock()
        self.ends = 0.0
        self.left = 0
        self.refusals = 0
        self.arrivals: list[float] = []

    def call(self) -> Any:
        with self.lock:
            now = time.monotonic()
            self.arrivals.append(now)
            if now >= self.ends:
                self.ends, self.left = now + self.window, self.limit
            reset = self.ends - now
            if self.left == 0:
                self.refusals += 1
                return SimpleNamespace(status_code=429, headers={"Retry-After": f"{reset:.3f}"})
            self.left -= 1
            told = {"X-RateLimit-Remaining": str(self.left), "X-RateLimit-Reset": f"{reset:.3f}"}
        time.sleep(0.01)
        return SimpleNamespace(status_code=200, headers=told)


def run(server: Server, retry: Retry, calls: int = 40) -> list[Any]:
    # The limit is told far too high.
    with BatchExecutor(RateLimiter(1000, per=1), max_workers=6, retry=retry) as executor:
        return executor.run([server.call] * calls).values()


def test_a_server_that_tells_what_is_left_need_not_refuse() -> None:
    unheard, heard = Server(10, 0.4), Server(10, 0.4)
    run(unheard, Retry())
    values = run(heard, Retry(observe=True))
    assert len(values) == 40
    # Where a window begins, a few calls start before it has told anything.
    assert heard.refusals <= 1 < unheard.refusals


def test_a_rule_of_ones_own_says_where_it_is() -> None:
    server = Server(10, 0.4)

    def call() -> dict[str, Any]:
        response = server.call()
        if response.status_code == 429:
            return {"refused": response}
        return {"left": int(response.headers["X-RateLimit-Remaining"]), "response": response}

    def observe(value: dict[str, Any]) -> object:
        return value.get("response")

    retry = Retry(observe=observe, on_result=lambda value: "refused" in value)
    with BatchExecutor(RateLimiter(1000, per=1), max_workers=6, retry=retry) as executor:
        report = executor.run([call] * 40)
    assert report.counts["done"] == 40
    assert server.refusals <= 1


def test_it_never_makes_the_limiter_faster() -> None:
    starts = []

    def call() -> Any:
        starts.append(time.monotonic())
        return SimpleNamespace(status_code=200, headers={"RateLimit": '"a";r=1000;t=1'})

    limiter = RateLimiter(5, per=0.3, margin=0)
    with BatchExecutor(limiter, max_workers=4, retry=Retry(observe=True)) as executor:
        executor.run([call] * 15)
    starts.sort()
    assert all(late - early >= 0.29 for early, late in zip(starts, starts[5:], strict=False))


def test_news_that_more_is_left_wakes_those_who_wait() -> None:
    first, ended, woken = threading.Barrier(4), threading.Event(), threading.Event()

    def call(number: int) -> int:
        if number < 4:
            first.wait(20)
        if number == 1:
            time.sleep(0.2)  # the answer to 0 has been heard
            ended.set()
        elif number in (2, 3):
            assert woken.wait(20)
        elif number == 4:
            ended.wait(20)
            time.sleep(0.2)  # the worker of 1 waits for a permit for 5
        elif number == 5:
            woken.set()
        return number

    # Of the four that 0 hears of three may be on their way, so that one more call starts: 4, which
    # hears of more.
    told = {0: (4, 30.0), 4: (100, 30.0)}
    retry = Retry(observe=told.get)
    with BatchExecutor(RateLimiter(1000, per=1), max_workers=4, retry=retry) as executor:
        report = executor.run([partial(call, number) for number in range(6)], timeout=25)
    assert report.counts["done"] == 6


@pytest.mark.parametrize("seconds", [0, -1, 3601, float("inf"), float("nan")])
def test_a_reset_that_is_no_use_is_left_alone(seconds: float) -> None:
    retry = Retry(observe=lambda _: (0, seconds))
    with BatchExecutor(RateLimiter(100, per=1), 1, retry=retry) as executor:
        assert executor.run([int] * 3, timeout=20).counts["done"] == 3


@pytest.mark.parametrize("told", [(1,), (1, 2, 3), ("1", 2), (True, 2), (1, "soon"), (1.5, 2)])
def test_a_rule_that_returns_something_else(told: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is shown, and the operation is done: what it returned is no failure."""
    shown: list[str] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda args: shown.append(str(args.exc_value)))
    with BatchExecutor(RateLimiter(100, per=1), 1, retry=Retry(observe=lambda _: told)) as executor:
        assert executor.run([int]).counts["done"] == 1
    assert "observe must return calls left and seconds as a pair, not " in shown[0]


@pytest.mark.parametrize("observe", [5, "x", None])
def test_bad_rules_are_refused(observe: Any) -> None:
    with pytest.raises(TypeError, match="observe must be True, False or callable, not "):
        Retry(observe=observe)


def test_other_values_and_limiters_are_no_matter() -> None:
    for limiter in (None, SimpleNamespace(acquire=lambda: None), RateLimiter(100, per=1)):
        with BatchExecutor(limiter, 1, retry=Retry(observe=True)) as executor:
            assert (
                executor.run([int, dict, object, lambda: httpx.Response(200)]).counts["done"] == 4
            )


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": str(NOW + 9)}, (7, 9)),
        ({"RateLimit": '"a";r=7;t=9, "b";r=3;t=99'}, (3, 99)),
        ({"RateLimit-Remaining": "7", "RateLimit-Reset": "9"}, (7, 9)),
        (
            {
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1s",
                "x-ratelimit-remaining-tokens": "3",
                "x-ratelimit-reset-tokens": "6m0s",
            },
            (59, 1),
        ),
        ({"X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "9"}, (0, 9)),
        ({"X-RateLimit-Remaining": "7"}, None),
        ({"X-RateLimit-Reset": "9"}, None),
        ({"X-RateLimit-Remaining": "7", "X-RateLimit-Reset": str(NOW - 9)}, None),
        ({}, None),
    ],
)
def test_what_headers_tell(found: dict[str, str], told: tuple[int, float] | None) -> None:
    found = {"Date": formatdate(NOW, usegmt=True), **found}
    assert headers.remaining(found) == told
