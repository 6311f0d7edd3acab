"""What a RateLimiter accepts, says of itself and decides, without measuring time closely."""

from __future__ import annotations

import copy
import math
import pickle
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from unittest.mock import patch

import pytest
from helpers import eager_thread_switches, wait_until
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline import Outcome, RateLimiter

Act = Callable[[RateLimiter], object]


@contextmanager
def waiting(*limiters_and_weights: tuple[RateLimiter, int]) -> Iterator[list[threading.Thread]]:
    """Threads that stand in line one after the other, and are let go in the end."""
    threads: list[threading.Thread] = []
    for limiter, weight in limiters_and_weights:
        before = limiter.wait_time()
        thread = threading.Thread(target=limiter.acquire, args=(weight,), daemon=True)
        thread.start()
        threads.append(thread)
        deadline = time.monotonic() + 10
        while limiter.wait_time() <= before and time.monotonic() < deadline:
            time.sleep(0.001)
    yield threads
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        ((0,), {}, "limit must be at least 1, not 0"),
        ((-5,), {}, "limit must be at least 1, not -5"),
        ((2**63 + 1,), {}, "not 9223372036854775809"),
        ((10**400,), {}, "limit must be at most 9223372036854775808, not 1000"),
        ((10**5000,), {}, "limit must be at most"),
        ((-(10**5000),), {}, "limit must be at least 1"),
        ((5, 0), {}, "per must be at least a nanosecond, not 0"),
        ((5, 1e-12), {}, "per must be at least a nanosecond, not 1e-12"),
        ((5, -1.5), {}, "per must be at least a nanosecond, not -1.5"),
        ((5, -(10**400)), {}, "per must be at least a nanosecond"),
        ((5, math.nan), {}, "per must be a finite number of seconds, not nan"),
        ((5, math.inf), {}, "per must be a finite number of seconds, not inf"),
        ((5, -math.inf), {}, "per must be a finite number of seconds, not -inf"),
        ((5, 1e300), {}, "not 1e+300"),
        ((5, 10**400), {}, "per must be at most"),
        ((5, timedelta.max), {}, "per must be at most"),
        (
            (5, timedelta(seconds=-1)),
            {},
            "per must be at least a nanosecond, not datetime",
        ),
        ((5, 1), {"burst": 0}, "burst must be at least 1, not 0"),
        ((5, 1), {"burst": -1}, "burst must be at least 1, not -1"),
        ((5, 1), {"burst": 6}, "burst must be between 1 and the limit of 5, not 6"),
        ((2**40, 1e9), {"burst": 2**32}, "not 4294967296"),
        ((2**62, 1), {"burst": 1}, "4611686018427387904 permits in 1 seconds"),
        ((10**6, 10**6), {"burst": 10**6, "adaptive": True}, "burst=1000000 at one permit in"),
        ((5, 1), {"margin": -0.1}, "margin must be 0 seconds or more, not -0.1"),
        ((5, 1), {"margin": math.nan}, "margin must be a finite number of seconds, not nan"),
        ((5, 1), {"margin": 1e300}, "margin must be at most"),
    ],
)
def test_values_out_of_range_are_refused_by_name(
    arguments: tuple[Any, ...], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        RateLimiter(*arguments, **options)
    assert named in str(refusal.value)
    assert len(str(refusal.value)) < 250


@pytest.mark.parametrize(
    ("arguments", "options", "named"),
    [
        (("5",), {}, "limit must be an int, not '5'"),
        ((5.0,), {}, "limit must be an int, not 5.0"),
        ((True,), {}, "limit must be an int, not True"),
        ((None,), {}, "limit must be an int, not None"),
        ((timedelta(1),), {}, "limit must be an int, not datetime.timedelta"),
        ((5, "1"), {}, "per must be a number of seconds or a timedelta, not '1'"),
        ((5, True), {}, "per must be a number of seconds or a timedelta, not True"),
        ((5, None), {}, "per must be a number of seconds or a timedelta, not None"),
        ((5, 1j), {}, "per must be a number of seconds or a timedelta, not 1j"),
        ((5, 1), {"burst": 1.0}, "burst must be an int, not 1.0"),
        ((5, 1), {"burst": False}, "burst must be an int, not False"),
        ((5, 1), {"margin": "0"}, "margin must be a number of seconds or a timedelta, not '0'"),
        ((5, 1), {"margin": False}, "margin must be a number of seconds or a timedelta, not False"),
        ((5, 1), {"adaptive": 1}, "adaptive must be a bool, not 1"),
        (
            (5, 1, 2),
            {},
            "give it by name: limit, per, burst, margin, adaptive, shared and when_lost",
        ),
    ],
)
def test_other_types_are_refused_by_name(
    arguments: tuple[Any, ...], options: dict[str, Any], named: str
) -> None:
    with pytest.raises(TypeError) as refusal:
        RateLimiter(*arguments, **options)
    assert named in str(refusal.value)


@pytest.mark.parametrize("method", ["acquire", "try_acquire", "wait_time"])
@pytest.mark.parametrize(
    ("limiter", "weight", "error", "named"),
    [
        (
            RateLimiter(5, per=1),
            6,
            ValueError,
            "weight must be at most 5, as no more is ever granted at once, not 6",
        ),
        (
            RateLimiter(5, per=1, burst=2),
            3,
            ValueError,
            "at most 2, as no more is ever granted at once, not 3",
        ),
        (
            RateLimiter(5, per=1) & RateLimiter(2, per=1),
            3,
            ValueError,
            "at most 2, as no more is ever granted at once, not 3",
        ),
        (RateLimiter(5, per=1), 2**64, ValueError, "weight must be at most"),
        (RateLimiter(5, per=1), 0, ValueError, "weight must be at least 1, not 0"),
        (RateLimiter(5, per=1), -1, ValueError, "weight must be at least 1, not -1"),
        (RateLimiter(5, per=1), True, TypeError, "weight must be an int, not True"),
        (RateLimiter(5, per=1), 1.0, TypeError, "weight must be an int, not 1.0"),
        (RateLimiter(5, per=1), None, TypeError, "weight must be an int, not None"),
    ],
)
def test_a_weight_that_can_never_be_granted_is_refused_at_once(
    method: str, limiter: RateLimiter, weight: Any, error: type[Exception], named: str
) -> None:
    with pytest.raises(error) as refusal:
        getattr(limiter, method)(weight)
    assert named in str(refusal.value)
    assert limiter.wait_time(min(part.burst or part.limit for part in limiter.parts)) == 0.0


@pytest.mark.parametrize("act", [lambda a, t: a.acquire(timeout=t), lambda a, t: a.pause(t)])
@pytest.mark.parametrize(
    ("seconds", "error"),
    [
        (-0.5, ValueError),
        (math.nan, ValueError),
        (math.inf, ValueError),
        (1e300, ValueError),
        ("1", TypeError),
        (True, TypeError),
    ],
)
def test_times_to_wait_are_checked(
    act: Callable[[RateLimiter, Any], object], seconds: Any, error: type[Exception]
) -> None:
    limiter = RateLimiter(5, per=1)
    with pytest.raises(error, match="must be"):
        act(limiter, seconds)
    assert limiter.wait_time(5) == 0.0


def test_it_tells_what_it_was_made_with() -> None:
    limiter = RateLimiter(200, per=timedelta(minutes=1), burst=5, margin=timedelta(seconds=2))
    assert (limiter.limit, limiter.per, limiter.burst, limiter.margin) == (200, 60.0, 5, 2.0)
    assert (limiter.adaptive, limiter.effective_limit) == (False, 200)
    assert RateLimiter(5, per=1).burst is None
    assert RateLimiter(5, per=1, adaptive=True).adaptive is True
    with pytest.raises(AttributeError):
        limiter.limit = 5  # type: ignore[misc]


@pytest.mark.parametrize(("per", "margin"), [(1, 0.01), (10, 0.1), (25, 0.25), (3600, 0.25)])
def test_the_default_margin(per: float, margin: float) -> None:
    assert RateLimiter(5, per).margin == margin


@pytest.mark.parametrize(
    ("limiter", "text"),
    [
        (RateLimiter(5, per=1), "RateLimiter(5, per=1.0)"),
        (RateLimiter(5, 60), "RateLimiter(5, per=60.0)"),
        (RateLimiter(5, 60, margin=0.25), "RateLimiter(5, per=60.0, margin=0.25)"),
        (RateLimiter(5, 60, margin=0), "RateLimiter(5, per=60.0, margin=0.0)"),
        (
            RateLimiter(5, 0.1, burst=1, margin=0.5, adaptive=True),
            "RateLimiter(5, per=0.1, burst=1, margin=0.5, adaptive=True)",
        ),
        (
            RateLimiter(5, per=1) & RateLimiter(9, 60),
            "RateLimiter(5, per=1.0) & RateLimiter(9, per=60.0)",
        ),
    ],
)
def test_its_repr_is_what_one_would_write(limiter: RateLimiter, text: str) -> None:
    assert repr(limiter) == text


@settings(deadline=None)
@given(
    limit=st.integers(1, 2**63),
    per=st.floats(1e-9, 4e9),
    paced=st.booleans(),
    margin=st.none() | st.floats(0, 4e9),
    adaptive=st.booleans(),
)
def test_its_repr_can_be_pasted_back(
    limit: int, per: float, *, paced: bool, margin: float | None, adaptive: bool
) -> None:
    paced = paced and limit <= per * 1e8
    burst = 1 if paced else None
    limiter = RateLimiter(limit, per, burst=burst, margin=margin, adaptive=adaptive)
    same: RateLimiter = eval(repr(limiter))
    assert repr(same) == repr(limiter)
    assert (same.limit, same.per, same.burst, same.adaptive) == (limit, per, burst, adaptive)
    assert same.margin == pytest.approx(limiter.margin, abs=1e-9)


def test_like_a_lock_it_is_not_copied() -> None:
    limiter = RateLimiter(5, per=1)
    for duplicate in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="cannot pickle"):
            duplicate(limiter)
    assert weakref.ref(limiter)() is limiter
    assert {limiter: 1}[limiter] == 1
    assert limiter != RateLimiter(5, per=1)


def test_a_combination_has_parts_and_no_numbers_of_its_own() -> None:
    a, b, c = RateLimiter(1, per=1), RateLimiter(2, per=1), RateLimiter(3, per=1)
    both = a & b
    assert type(both) is RateLimiter
    assert both.parts == (a, b)
    assert (both & c).parts == (*(c & both).parts[1:], c) == (a, b, c)
    assert (both & (b & c)).parts == (a, b, c)
    assert a & a is a
    assert a.parts == (a,)
    for name in ("limit", "per", "burst", "margin", "adaptive", "effective_limit"):
        with pytest.raises(AttributeError, match=f"no {name} of its own: see its parts"):
            getattr(both, name)
    with pytest.raises(TypeError, match="unsupported operand"):
        a & 5  # type: ignore[operator]


def test_a_combination_charges_all_of_its_parts_or_none() -> None:
    small, large = RateLimiter(2, per=60), RateLimiter(5, per=60)
    both = small & large
    assert [both.try_acquire() for _ in range(4)] == [True, True, False, False]
    assert [large.try_acquire() for _ in range(4)] == [True, True, True, False]
    assert both.wait_time() == pytest.approx(60.25, abs=5)


def test_the_limit_is_spent_at_once_and_then_the_window_is_full() -> None:
    limiter = RateLimiter(5, per=60)
    assert all(limiter.acquire() for _ in range(3))
    assert limiter.acquire(2)
    assert not limiter.try_acquire()
    assert limiter.wait_time() == pytest.approx(60.25, abs=5)
    assert limiter.wait_time(5) >= limiter.wait_time()


def test_a_timeout_that_is_too_short_fails_at_once() -> None:
    limiter = RateLimiter(1, per=60)
    assert limiter.acquire(timeout=0)
    began = time.monotonic()
    assert limiter.acquire(timeout=0) is False
    assert limiter.acquire(timeout=timedelta(seconds=50)) is False
    assert time.monotonic() - began < 5
    assert (limiter & RateLimiter(5, per=1)).acquire(timeout=50) is False
    assert time.monotonic() - began < 5


def test_a_timeout_counts_those_who_wait() -> None:
    limiter = RateLimiter(1, per=1)
    limiter.acquire()
    with waiting((limiter, 1), (limiter, 1)):
        assert limiter.wait_time() > 1.5
        began = time.monotonic()
        assert limiter.acquire(timeout=1.5) is False
        assert time.monotonic() - began < 1


def test_a_timeout_that_a_pause_overtakes_ends_the_wait_and_takes_nothing() -> None:
    limiter = RateLimiter(1, per=0.4, margin=0)
    limiter.acquire()
    timer = threading.Timer(0.1, limiter.pause, [1.5])
    timer.start()
    began = time.monotonic()
    assert limiter.acquire(timeout=1) is False
    assert time.monotonic() - began < 1.4
    timer.join()
    assert limiter.acquire(timeout=10)


def test_a_waiter_that_gives_up_makes_way() -> None:
    limiter = RateLimiter(2, per=1.5, margin=0)
    limiter.acquire()
    heavy: list[bool] = []
    light: list[float] = []
    head = threading.Thread(target=lambda: heavy.append(limiter.acquire(2, timeout=1.6)))
    head.start()
    time.sleep(0.1)
    began = time.monotonic()

    def take() -> None:
        limiter.acquire()
        light.append(time.monotonic() - began)

    behind = threading.Thread(target=take)
    behind.start()
    time.sleep(0.1)
    # Now the head cannot be served in time, finds out when its turn was due, and leaves.
    limiter.pause(2)
    head.join(10)
    behind.join(10)
    assert heavy == [False]
    # It took nothing: there is room for one more beside the one behind it.
    assert light[0] < 3
    assert limiter.try_acquire()


def test_nobody_overtakes_those_who_wait() -> None:
    limiter = RateLimiter(10, per=1, margin=0)
    limiter.acquire(9)
    order: list[str] = []

    def take(name: str, weight: int) -> None:
        limiter.acquire(weight)
        order.append(name)

    heavy = threading.Thread(target=take, args=("heavy", 10))
    heavy.start()
    while limiter.wait_time() < 1:
        time.sleep(0.001)
    # There is room for one, but somebody heavier came first.
    assert limiter.try_acquire() is False
    light = threading.Thread(target=take, args=("light", 1))
    light.start()
    heavy.join(10)
    light.join(10)
    assert order == ["heavy", "light"]


def test_the_order_is_the_order_of_coming() -> None:
    limiter = RateLimiter(1, per=0.05)
    limiter.acquire()
    limiter.pause(0.5)
    order: list[int] = []

    def take(number: int) -> None:
        limiter.acquire()
        order.append(number)

    def next_due() -> float:
        return time.monotonic() + limiter.wait_time()

    threads = [threading.Thread(target=take, args=(number,)) for number in range(10)]
    for thread in threads:
        before = next_due()
        thread.start()
        wait_until(lambda before=before: next_due() >= before + 0.04)
    for thread in threads:
        thread.join(10)
    assert order == list(range(10))


def test_one_part_may_serve_several_combinations() -> None:
    shared, other = RateLimiter(3, per=60), RateLimiter(100, per=60)
    first, second = shared & other, RateLimiter(100, per=60) & shared
    assert [first.try_acquire(), second.try_acquire(), shared.try_acquire()] == [True] * 3
    assert not first.try_acquire()
    assert not second.try_acquire()
    assert other.wait_time(99) == 0.0
    assert other.wait_time(100) > 0.0


def test_combinations_that_share_parts_in_either_order_do_not_lock_up() -> None:
    a, b, c = (RateLimiter(50, per=0.02, margin=0) for _ in range(3))
    mixed = [a & b, b & a, b & c, c & b & a, a, c]
    threads = [
        threading.Thread(target=lambda one=one: [one.acquire(1 + i % 3) for i in range(100)])
        for one in mixed
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def test_a_pause_is_for_everybody_and_only_ever_longer() -> None:
    limiter = RateLimiter(100, per=1)
    both = limiter & RateLimiter(100, per=1)
    limiter.pause(50)
    limiter.pause(timedelta(seconds=1))
    limiter.pause(0)
    assert limiter.wait_time() == pytest.approx(50, abs=5)
    assert not limiter.try_acquire()
    assert both.wait_time() == pytest.approx(50, abs=5)
    both.pause(100)
    assert limiter.wait_time() == pytest.approx(100, abs=5)


def test_a_pause_holds_those_who_wait_already() -> None:
    limiter = RateLimiter(1, per=0.2)
    limiter.acquire()
    began = time.monotonic()
    with waiting((limiter, 1)):
        limiter.pause(1)
    assert time.monotonic() - began >= 1


def test_threads_together_get_no_more_than_the_limit() -> None:
    limiter = RateLimiter(1000, per=60)
    granted: list[int] = []
    barrier = threading.Barrier(8)

    def take() -> None:
        barrier.wait()
        granted.append(sum(limiter.try_acquire() for _ in range(400)))

    with eager_thread_switches():
        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
    assert sum(granted) == 1000


def test_a_huge_limit_allocates_nothing() -> None:
    limiter = RateLimiter(2**63, per=1)
    assert limiter.acquire(2**63)
    assert not limiter.try_acquire()


def test_waits_beyond_the_end_of_time_are_told_and_harm_nobody() -> None:
    limiter = RateLimiter(1, per=4.6e9, burst=1, margin=4.6e9)
    limiter.pause(threading.TIMEOUT_MAX)
    both = limiter & RateLimiter(3, per=4.6e9, adaptive=True)
    for waits in (limiter, both, limiter, both):
        threading.Thread(target=waits.acquire, daemon=True).start()
    deadline = time.monotonic() + 10
    while limiter.wait_time() < 1.8e10 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert limiter.wait_time() > 1.8e10
    assert limiter.acquire(timeout=threading.TIMEOUT_MAX) is False
    assert not both.try_acquire()


@pytest.mark.parametrize("cls", [RateLimiter, Outcome])
def test_a_patch_that_would_have_no_effect_is_refused(cls: type) -> None:
    name = "acquire" if cls is RateLimiter else "value"
    with pytest.raises(TypeError, match="immutable type"), patch.object(cls, name):
        pytest.fail("the workers ask the limiter without Python")
