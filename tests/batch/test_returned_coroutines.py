"""An operation of a batch that returns a coroutine has not done its work: that is a failure."""

from __future__ import annotations

import contextvars
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from helpers import statuses

from paceline import BatchExecutor, Retry

REQUEST: contextvars.ContextVar[int] = contextvars.ContextVar("REQUEST")

made: list[Any] = []


async def create() -> None:
    """What was to be awaited."""


def forget_to_await() -> Any:
    made.append(create())
    return made[-1]


def in_empty_context(call: Callable[[], Any]) -> Any:
    return contextvars.Context().run(call)


def in_context_with_a_variable(call: Callable[[], Any]) -> Any:
    context = contextvars.Context()
    context.run(REQUEST.set, 1)
    return context.run(call)


@pytest.mark.parametrize("within", [in_empty_context, in_context_with_a_variable])
@pytest.mark.parametrize("verb", ["run", "stream"])
def test_it_is_a_failure_wherever_it_comes(within: Any, verb: str) -> None:
    operations = [*[int] * 500, forget_to_await, *[int] * 500, forget_to_await]
    with BatchExecutor(max_workers=2, retry=Retry()) as executor:
        outcomes = within(lambda: sorted(getattr(executor, verb)(operations), key=index_of))
    expected = [*["done"] * 500, "failed", *["done"] * 500, "failed"]
    assert statuses(outcomes) == expected
    failure = outcomes[500]
    assert failure.attempts == 1
    assert isinstance(failure.exception, TypeError)
    assert str(failure.exception).startswith(
        "the operation returned a coroutine, which a thread cannot run: the coroutine create; "
    )
    # It is closed, so nobody is warned of it.
    assert [inspect.getcoroutinestate(each) for each in made] == ["CORO_CLOSED"] * len(made)


def index_of(outcome: Any) -> int:
    index: int = outcome.index
    return index


class Once:
    """Awaited, it returns to whoever runs the coroutine, once."""

    def __await__(self) -> Any:
        yield


async def wait_once() -> int:
    await Once()
    return 7


def test_one_that_somebody_else_runs_is_not_closed() -> None:
    coroutine = wait_once()
    coroutine.send(None)
    with BatchExecutor() as executor, pytest.raises(TypeError, match="returned a coroutine"):
        executor.execute(lambda: coroutine)
    with pytest.raises(StopIteration) as ended:
        coroutine.send(None)
    assert ended.value.value == 7


def test_it_is_raised_where_failures_are() -> None:
    with BatchExecutor() as executor:
        with pytest.raises(TypeError, match="returned a coroutine"):
            executor.execute(forget_to_await)
        with pytest.raises(TypeError, match="returned a coroutine"):
            executor.execute_batch([forget_to_await], on_error="raise")
        with pytest.raises(TypeError, match="returned a coroutine"):
            list(executor.map(lambda _: forget_to_await(), [1]))


def test_a_future_may_have_one_as_its_value() -> None:
    with BatchExecutor() as executor:
        coroutine = executor.submit(forget_to_await).result()
    assert inspect.getcoroutinestate(coroutine) == "CORO_CREATED"
    coroutine.close()
