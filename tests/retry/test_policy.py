"""The retry policy: what it accepts, what it shows, and the user's own rules in it."""

from __future__ import annotations

import copy
import math
import pickle
from datetime import timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import httpx
import pytest
from client_errors import httpx_error

from paceline import BatchExecutor
from paceline.retry.policy import Retry, Verdict


class Busy(Exception):
    """Raised by the operations of these tests."""


@pytest.mark.parametrize(
    "on", [Busy, (ValueError, Busy), lambda error: isinstance(error, Busy), Exception]
)
def test_on_decides_what_is_repeated(on: Any) -> None:
    assert Retry(on=on).decide(Busy()) == Verdict(True, False, None)


@pytest.mark.parametrize("on", [ValueError, (), (ValueError, KeyError), lambda _: 0])
def test_on_decides_what_is_not_repeated(on: Any) -> None:
    assert Retry(on=on).decide(Busy()) == Verdict(False, False, None)
    # A limit that was hit still is everybody's concern.
    error = httpx_error(429, {"Retry-After": "3"})
    assert Retry(on=on).decide(error) == Verdict(False, True, 3.0)


@pytest.mark.parametrize(
    ("returned", "wait"),
    [
        (4, 4.0),
        (0, 0.0),
        (-1, 0.0),
        (Decimal("1.5"), 1.5),
        (timedelta(seconds=9), 9.0),
        (math.inf, 1e9),
        (10**400, 1e9),
        (-(10**400), 0.0),
    ],
)
def test_retry_after_of_the_users_own(returned: Any, wait: float) -> None:
    assert Retry(retry_after=lambda _: returned).decide(Busy()) == Verdict(True, True, wait)


@pytest.mark.parametrize("returned", [None, math.nan])
def test_retry_after_that_does_not_know(returned: Any) -> None:
    retry = Retry(retry_after=lambda _: returned)
    assert retry.decide(Busy()) == Verdict(False, False, None)
    # It replaces the reading of the header, not the recognition of the refusal.
    assert retry.decide(httpx_error(429, {"Retry-After": "3"})) == Verdict(True, True, None)


@pytest.mark.parametrize("returned", ["5", b"5", True, object(), [5]])
def test_retry_after_that_returns_no_duration(returned: Any) -> None:
    with pytest.raises(TypeError, match="retry_after must return"):
        Retry(retry_after=lambda _: returned).decide(Busy())


def test_errors_of_the_users_own_callables_come_through() -> None:
    def broken(_: Exception) -> Any:
        raise LookupError("broken rule")

    with pytest.raises(LookupError, match="broken rule"):
        Retry(on=broken).decide(Busy())
    with pytest.raises(LookupError, match="broken rule"):
        Retry(retry_after=broken).decide(Busy())


def test_max_pause_cuts_where_it_is_to() -> None:
    error = httpx_error(429, {"Retry-After": "600"})
    assert Retry(max_pause=10, longer="cut").decide(error).wait == 10.0
    assert Retry(max_pause=0, longer="cut").decide(error).wait == 0.0
    assert Retry(max_pause=10).decide(error).wait == 600.0


# The class itself


def test_the_defaults() -> None:
    retry = Retry()
    assert retry.attempts == 5
    assert retry.on is None
    assert retry.backoff == 0.5
    assert retry.max_backoff == 60.0
    assert retry.jitter is True
    assert retry.retry_after is None
    assert retry.default_pause is None
    assert retry.max_pause == 3600.0
    assert retry.budget is None


def test_durations_are_kept_as_seconds() -> None:
    retry = Retry(
        backoff=timedelta(seconds=2),
        max_backoff=timedelta(minutes=2),
        default_pause=timedelta(minutes=1),
        max_pause=timedelta(hours=2),
    )
    assert retry.backoff == 2.0
    assert retry.max_backoff == 120.0
    assert retry.default_pause == 60.0
    assert retry.max_pause == 7200.0
    assert type(Retry(backoff=1).backoff) is float


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attempts": 0}, "attempts .* not 0"),
        ({"attempts": -3}, "attempts .* not -3"),
        ({"attempts": 2**40}, "attempts .* not 1099511627776"),
        ({"backoff": -1}, "backoff .* not -1"),
        ({"backoff": math.nan}, "backoff .* not nan"),
        ({"backoff": math.inf}, "backoff .* not inf"),
        ({"backoff": 10**400}, r"backoff .* not 10+\.\.\.$"),
        ({"backoff": 61}, r"max_backoff .*61\.0.* not 60\.0"),
        ({"max_backoff": 0.1}, r"max_backoff .*0\.5.* not 0\.1"),
        ({"max_backoff": math.inf}, "max_backoff .* not inf"),
        ({"max_pause": -1}, "max_pause .* not -1"),
        ({"max_pause": math.inf}, "max_pause .* not inf"),
        (
            {"max_pause": timedelta(days=365_000)},
            r"max_pause .* not datetime\.timedelta\(days=365000\)",
        ),
        ({"default_pause": -0.1}, r"default_pause .* not -0\.1"),
        ({"default_pause": 60, "max_pause": 5}, r"default_pause .*5\.0.* not 60\.0"),
        ({"budget": -1}, "budget .* not -1"),
        ({"budget": 1.5}, r"budget .* not 1\.5"),
        ({"budget": -0.5}, r"budget .* not -0\.5"),
        ({"budget": math.nan}, "budget .* not nan"),
        ({"budget": 2**70}, "budget .* not 1180591620717411303424"),
    ],
)
def test_values_out_of_range_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Retry(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"attempts": True}, "attempts .* not True"),
        ({"attempts": 2.0}, r"attempts .* not 2\.0"),
        ({"attempts": "3"}, "attempts .* not '3'"),
        ({"attempts": None}, "attempts .* not None"),
        ({"backoff": "1"}, "backoff .* not '1'"),
        ({"backoff": None}, "backoff .* not None"),
        ({"max_backoff": True}, "max_backoff .* not True"),
        ({"max_pause": None}, "max_pause .* not None"),
        ({"default_pause": "60"}, "default_pause .* not '60'"),
        ({"jitter": 1}, "jitter .* not 1"),
        ({"jitter": None}, "jitter .* not None"),
        ({"budget": "10%"}, "budget .* not '10%'"),
        ({"budget": True}, "budget .* not True"),
        ({"on": int}, "on .* not the class int"),
        ({"on": BaseException}, "on .* not the class BaseException"),
        ({"on": (ValueError, KeyboardInterrupt)}, "on .* not the class KeyboardInterrupt"),
        ({"on": (ValueError, "KeyError")}, "on .* not 'KeyError'"),
        ({"on": [ValueError]}, "on must be an exception class, a tuple of them or callable, not "),
        ({"on": 429}, "on must be an exception class, a tuple of them or callable, not 429"),
        ({"retry_after": 5}, "retry_after must be callable, not 5"),
    ],
)
def test_values_of_the_wrong_kind_are_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Retry(**arguments)


async def later(_: Exception) -> bool:
    return True


class Later:
    async def __call__(self, _: Exception) -> bool:
        return True


@pytest.mark.parametrize("function", [later, partial(later), Later()])
def test_coroutine_functions_are_refused(function: Any) -> None:
    # What it returns would always be true.
    with pytest.raises(TypeError, match="on must not be a coroutine function"):
        Retry(on=function)
    with pytest.raises(TypeError, match="retry_after must not be a coroutine function"):
        Retry(retry_after=function)


def test_only_attempts_may_go_by_position() -> None:
    assert Retry(3).attempts == 3
    with pytest.raises(TypeError):
        Retry(3, ValueError)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "retry",
    [
        Retry(),
        Retry(1, jitter=False, budget=0),
        Retry(3, on=ConnectionError, backoff=0, max_backoff=0),
        Retry(on=(TimeoutError, OSError), default_pause=0.1, max_pause=12, budget=0.25),
        Retry(on=(httpx.TransportError,), retry_after=math.copysign, budget=1.0),  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_a_repr_can_be_pasted_back(retry: Retry) -> None:
    names = {"Retry": Retry, "httpx": httpx, "math": math}
    # httpx names its exceptions by the public module.
    assert eval(repr(retry), names) == retry


def test_a_repr_shows_what_was_set_only() -> None:
    assert repr(Retry()) == "Retry(attempts=5)"
    assert repr(Retry(budget=0.1)) == "Retry(attempts=5, budget=0.1)"


def test_an_instance_never_changes() -> None:
    retry = Retry()
    with pytest.raises(AttributeError):
        retry.attempts = 9  # type: ignore[misc]
    with pytest.raises(AttributeError):
        retry.other = 9  # type: ignore[attr-defined]


def test_a_policy_of_ones_own_may_have_attributes() -> None:
    class Named(Retry):
        def __init__(self, name: str, attempts: int) -> None:
            super().__init__(attempts)
            self.name = name

    retry = Named("imports", 3)
    assert (retry.name, retry.attempts) == ("imports", 3)
    with pytest.raises(AttributeError):
        retry.attempts = 9  # type: ignore[misc]
    (outcome,) = BatchExecutor(retry=retry).run([int])
    assert outcome.status == "done"


def test_a_budget_may_be_any_whole_number() -> None:
    class Five:
        def __index__(self) -> int:
            return 5

    budget = Retry(budget=Five()).budget  # type: ignore[arg-type]
    assert (budget, type(budget)) == (5, int)


def test_equality_hash_copies_and_pickles() -> None:
    retry = Retry(3, on=(TimeoutError,), budget=7)
    same = Retry(3, on=(TimeoutError,), budget=7)
    assert retry == same
    assert hash(retry) == hash(same)
    assert retry != Retry(4, on=(TimeoutError,), budget=7)
    assert copy.deepcopy(retry) == retry
    assert pickle.loads(pickle.dumps(retry)) == retry
