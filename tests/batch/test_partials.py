"""Partials are kept as what they call and with what, where nobody can tell the difference."""

from __future__ import annotations

import collections
import contextvars
import functools
import gc
import sys
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from helpers import wait_until

from paceline import BatchExecutor, RateLimiter, Retry

# So many come first that what follows is read in one go.
QUICK = 3000


def told(*args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What it was called with."""
    return args, kwargs


class Loud(partial):  # type: ignore[type-arg]
    """A partial with a way of its own to be called."""

    def __call__(self) -> Any:  # type: ignore[override]
        return "loud", super().__call__()


def with_state(state: tuple[Any, ...]) -> Callable[[], Any]:
    changed = partial(told)
    changed.__setstate__(state)  # type: ignore[attr-defined]
    return changed


class Pair(tuple[int, int]):
    """A tuple of a class of its own."""

    __slots__ = ()


ARGUMENTS: list[tuple[Any, ...]] = [(), (1,), (None,), ((),), ((1, 2),), (Pair((1, 2)),), (1, 2, 3)]


@pytest.mark.parametrize("in_context", [False, True])
@pytest.mark.parametrize("arguments", ARGUMENTS)
def test_it_is_called_with_its_arguments(arguments: tuple[Any, ...], in_context: bool) -> None:
    def operations() -> Iterator[Callable[[], Any]]:
        for _ in range(QUICK):
            yield partial(told, *arguments)

    context = contextvars.Context()
    if in_context:
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")
        context.run(variable.set, 1)
    with BatchExecutor(None, 3) as executor:
        values = context.run(executor.execute_batch, operations())
    assert all(args == arguments and not kwargs for args, kwargs in values)
    assert [type(arg) for arg in values[-1][0]] == [type(arg) for arg in arguments]


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: partial(told, 1, key=2), id="keywords"),
        pytest.param(lambda: partial(partial(told, 1), 2), id="of a partial"),
        pytest.param(lambda: partial(Loud(told, 1)), id="of a subclass"),
        pytest.param(lambda: Loud(told, 1), id="subclass"),
        pytest.param(lambda: partial(partial, told), id="of the class"),
        pytest.param(lambda: partial("{}{}".format, 1, 2), id="method"),
        pytest.param(lambda: with_state((told, (3,), {"key": 4}, None)), id="new state"),
        pytest.param(lambda: with_state((told, (3,), None, None)), id="new state, no keywords"),
        pytest.param(lambda: with_state((told, Pair((1, 2)), None, None)), id="new state, pair"),
    ],
)
def test_every_kind_is_called_as_it_would_be(made: Callable[[], Callable[[], object]]) -> None:
    def operations() -> Iterator[Callable[[], object]]:
        for _ in range(QUICK):
            yield partial(told, 0)
        for _ in range(QUICK):
            yield made()

    with BatchExecutor(None, 3) as executor:
        values = executor.execute_batch(operations())
    assert {repr(value) for value in values[QUICK:]} == {repr(made()())}


@pytest.mark.skipif(sys.version_info < (3, 14), reason="placeholders are new in Python 3.14")
def test_a_placeholder_is_missed_as_it_would_be() -> None:
    made = partial(told, functools.Placeholder, 1)  # type: ignore[attr-defined]
    with BatchExecutor(None, 3) as executor:
        report = executor.run(made for _ in range(QUICK))
    assert report.counts["failed"] == QUICK
    assert "expected at least 1" in str(report[-1].exception)


class Resource:
    """Something that can be referred to weakly."""

    def __init__(self) -> None:
        self.holds: object = None


def with_attribute(resource: Resource, _ended: list[object]) -> Callable[[], object]:
    operation = partial(weakref.ref(resource))
    operation.resource = resource  # type: ignore[attr-defined]
    return operation


def with_finalizer(resource: Resource, ended: list[object]) -> Callable[[], object]:
    def unless_ended() -> Resource | None:
        return None if resource in ended else resource

    operation = partial(unless_ended)
    weakref.finalize(operation, ended.append, resource)
    return operation


@pytest.mark.parametrize("attach", [with_attribute, with_finalizer])
def test_what_hangs_on_an_operation_lasts_until_it_runs(attach: Callable[..., Any]) -> None:
    ended: list[object] = []

    def operations() -> Iterator[Callable[[], object]]:
        for _ in range(QUICK):
            yield partial(told, 0)
        for _ in range(QUICK):
            yield attach(Resource(), ended)

    with BatchExecutor(None, 3) as executor:
        values = executor.execute_batch(operations())
    assert all(type(value) is Resource for value in values[QUICK:])


def test_it_is_repeated_with_its_arguments() -> None:
    attempts: collections.Counter[int] = collections.Counter()

    def fail_once(number: int) -> int:
        attempts[number] += 1
        if number % 500 == 0 and attempts[number] == 1:
            raise ConnectionRefusedError
        return number

    retry = Retry(3, on=(ConnectionRefusedError,), backoff=0.001)
    with BatchExecutor(None, 3, retry=retry) as executor:
        values = executor.execute_batch(partial(fail_once, number) for number in range(QUICK))
    assert values == list(range(QUICK))
    assert sum(attempts.values()) == QUICK + QUICK // 500


def test_none_of_them_waits_for_the_collector_to_look_at() -> None:
    most = 0

    def count(number: int) -> None:
        nonlocal most
        if number % 1000 == 0:
            alive = sum(type(each) is partial for each in gc.get_objects())
            most = max(most, alive - before)

    before = sum(type(each) is partial for each in gc.get_objects())
    with BatchExecutor(None, 3) as executor:
        for _ in executor.stream(partial(count, number) for number in range(10 * QUICK)):
            pass
    assert most < 50, "a thousand were read ahead"


@pytest.mark.parametrize("arguments", [1, 2])
def test_a_stream_in_a_cycle_with_arguments_that_wait_is_collected(arguments: int) -> None:
    waiting = 0

    def operations(resource: Resource) -> Iterator[Callable[[], object]]:
        nonlocal waiting
        for _ in range(20):
            yield partial(told, 0)
        while True:
            waiting += 1
            yield partial(told, *[resource] * arguments)

    resource = Resource()
    gone = weakref.ref(resource)
    executor = BatchExecutor(RateLimiter(20, per=3600), 2)
    try:
        outcomes = executor.stream(operations(resource), buffersize=5)
        resource.holds = outcomes
        for _ in range(20):
            next(outcomes)
        assert waiting > 0
        del outcomes, resource
        assert gone() is not None
        gc.collect()
        wait_until(lambda: gone() is None)
    finally:
        executor.shutdown(cancel_futures=True)
