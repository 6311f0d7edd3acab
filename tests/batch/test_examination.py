"""Operations are examined as they are read: quickly, and each of them is added once."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import pytest
from childprocess import run_script
from helpers import eager_thread_switches

from paceline import BatchExecutor
from paceline._checks import is_suspended


class Client:
    def get(self, number: int = 0) -> int:
        return number

    def __call__(self) -> int:
        return 0


def called(_client: Client, _number: int) -> Callable[[], object]:
    """An operation that only Python can examine."""
    return Client()


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda client, number: lambda: client.get(number), id="closures"),
        pytest.param(lambda client, number: client.get, id="bound methods"),
        pytest.param(lambda client, number: partial(client.get, number), id="partials of methods"),
        pytest.param(lambda client, number: partial(int, number), id="partials of a class"),
        pytest.param(lambda client, number: str(number).upper, id="methods of builtins"),
        pytest.param(called, id="callable objects"),
    ],
)
@pytest.mark.parametrize("verb", ["execute_batch", "stream"])
def test_only_callable_objects_are_examined_by_running_python(
    made: Callable[[Client, int], Callable[[], object]], verb: str
) -> None:
    """What runs Python for each takes ten times as long as all the rest."""
    examined = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal examined
        examined += event == "call" and frame.f_code is is_suspended.__code__

    client = Client()
    operations = [made(client, number) for number in range(100)]
    with BatchExecutor() as executor:
        sys.setprofile(count)
        try:
            list(getattr(executor, verb)(iter(operations)))
        finally:
            sys.setprofile(None)
    # A worker may have examined some.
    assert (examined > 0) == (made is called)


class Slow:
    """An operation that takes its time whenever it is examined."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getattr__(self, name: str) -> Any:
        time.sleep(0.002)
        raise AttributeError(name)

    def __call__(self) -> int:
        return self.number


class SlowAtFirst(Slow):
    """It takes its time when it is examined for the first time only."""

    examined = False

    def __getattr__(self, name: str) -> Any:
        if not self.examined:
            self.examined = True
            time.sleep(0.015)
        raise AttributeError(name)


def test_operations_are_examined_though_the_examination_gives_way() -> None:
    """What examines an operation may let other threads in; the order stays that of the input."""

    def operations() -> Iterator[Callable[[], int]]:
        number = 0
        for _ in range(12):
            for _ in range(700):
                yield partial(int, number)
                number += 1
            for _ in range(3):
                yield Slow(number)
                number += 1
            time.sleep(0.004)

    with eager_thread_switches(), BatchExecutor(None, 5) as executor:
        values = [outcome.value for outcome in executor.stream(operations(), ordered=True)]
    assert values == list(range(12 * 703))


async def coroutine_function() -> None:
    pass


def test_what_others_have_added_meanwhile_is_not_added_again() -> None:
    """A worker may still examine what the owner has added, and read on from, long ago."""
    numbers = itertools.count()

    def operations() -> Iterator[Callable[[], int]]:
        for _ in range(10):
            for _ in range(5000):
                yield partial(int, next(numbers))
            yield SlowAtFirst(next(numbers))
            time.sleep(0.004)

    with eager_thread_switches(), BatchExecutor(None, 5) as executor:
        values = [outcome.value for outcome in executor.stream(operations(), ordered=True)]
    assert values == list(range(next(numbers)))


@pytest.mark.parametrize("between", [0, 50, 500, 2000, 5000])
def test_what_has_come_in_the_place_of_the_examined_is_examined(between: int) -> None:
    def operations() -> Iterator[Any]:
        yield from [partial(int, 1)] * 5000
        yield SlowAtFirst(1)
        time.sleep(0.004)
        for _ in range(between):
            yield partial(int, 1)
        yield coroutine_function
        time.sleep(0.03)
        yield from [partial(int, 1)] * 20

    with eager_thread_switches(), BatchExecutor(None, 5) as executor:
        for _ in range(5):
            with pytest.raises(TypeError, match=f"operation {5001 + between} is a coroutine"):
                executor.execute_batch(operations())


@pytest.mark.parametrize("objects", [0, 1, 5, 100])
def test_the_index_is_right_wherever_the_examination_has_begun(objects: int) -> None:
    def operations(bad_at: int) -> Iterator[Any]:
        yield from [partial(int, 1)] * (bad_at - objects)
        yield from [Client() for _ in range(objects)]
        yield coroutine_function
        yield from [partial(int, 1)] * 1000

    with BatchExecutor() as executor:
        for bad_at in range(100, 1000, 30):
            with pytest.raises(TypeError, match=f"operation {bad_at} is a coroutine"):
                list(executor.stream(operations(bad_at)))


@pytest.mark.parametrize("attempt", range(4))
def test_the_collector_may_run_when_the_first_method_is_examined(attempt: int) -> None:
    """The names that are looked up are made once: that lets go of the interpreter."""
    run_script(
        """
        import gc, itertools, operator
        from paceline import BatchExecutor

        class Client:
            def get(self):
                return 1

        def function():
            return 1

        def collect():
            while not over.is_set():
                gc.collect()
                time.sleep(0)

        client, over = Client(), threading.Event()
        collector = threading.Thread(target=collect)
        collector.start()
        # Written in C, so the other thread waits for the interpreter when an operation is read.
        delays = map(sum, itertools.repeat(range(1_000_000)))
        methods = [function, client.get, function, client.get]
        operations = map(operator.itemgetter(0), zip(methods, delays))
        with BatchExecutor() as executor:
            assert len(list(executor.stream(operations))) == 4
        over.set()
        collector.join()
        """
    ).assert_silent()


def test_an_operation_that_its_examination_changes_is_called_as_it_is_then() -> None:
    class Changing:
        def __init__(self) -> None:
            self.operation = partial(self)

        def __getattr__(self, name: str) -> Any:
            self.operation.__setstate__((str, (name,), {}, None))  # type: ignore[attr-defined]
            raise AttributeError(name)

        def __call__(self) -> str:
            return "as it was"

    def operations() -> Iterator[Callable[[], object]]:
        for number in range(3000):
            yield partial(int, number)
        yield Changing().operation

    with BatchExecutor(None, 3) as executor:
        assert executor.execute_batch(operations())[-1] != "as it was"
