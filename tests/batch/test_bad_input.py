"""What cannot be a batch, and what cannot be a setting, is refused before anything runs."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial, partialmethod
from types import FunctionType, MethodType
from typing import Any
from unittest.mock import Mock

import pytest
from helpers import RecordingLimiter

from paceline import BatchExecutor, Retry

# Bad input


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
@pytest.mark.parametrize("batch", [None, 5, 1.5, object(), int, lambda: None])
def test_what_is_not_iterable_is_no_batch(verb: str, batch: Any) -> None:
    limiter = RecordingLimiter()
    with BatchExecutor(limiter) as executor, pytest.raises(TypeError, match="iterable"):
        list(getattr(executor, verb)(batch))
    assert limiter.calls == 0


@pytest.mark.parametrize("batch", ["abc", b"abc", {"a": 1}, [1, 2], range(3)])
def test_what_holds_no_callables_is_no_batch(batch: Any) -> None:
    limiter = RecordingLimiter()
    first = next(iter(batch))
    with BatchExecutor(limiter) as executor, pytest.raises(TypeError, match="callable") as caught:
        executor.execute_batch(batch)
    assert limiter.calls == 0
    assert f"operation 0 must be callable, not a{'n' * isinstance(first, int)} " in str(
        caught.value
    )
    assert type(first).__name__ in str(caught.value)


async def coroutine_function() -> None:
    pass


class AsyncCallable:
    async def __call__(self) -> None:
        pass

    async def method(self) -> None:
        pass


def partial_of_itself() -> partial[Any]:
    """What ``partial.__setstate__`` allows; to call it is an endless recursion."""
    circle: partial[Any] = partial(int)
    circle.__setstate__((circle, (), {}, {}))  # type: ignore[attr-defined]
    return circle


NOT_OPERATIONS = [
    pytest.param(None, "callable", id="None"),
    pytest.param("create_tenant", "callable", id="str"),
    pytest.param(17, "callable", id="int"),
    pytest.param((int, 3), "callable", id="tuple"),
    pytest.param(coroutine_function, "coroutine", id="coroutine function"),
    pytest.param(partial(coroutine_function), "coroutine", id="partial of one"),
    pytest.param(partial(partial(coroutine_function)), "coroutine", id="partial of a partial"),
    pytest.param(AsyncCallable(), "coroutine", id="instance with async __call__"),
    pytest.param(AsyncCallable().method, "coroutine", id="async method"),
    pytest.param(partial(AsyncCallable().method), "coroutine", id="partial of an async method"),
    pytest.param(MethodType(AsyncCallable(), 1), "coroutine", id="async callable as a method"),
    pytest.param(partial_of_itself(), "fewer than 100", id="partial of itself"),
]
if sys.version_info >= (3, 13):

    class WithPartialMethods:
        async def method(self, number: int) -> None:
            pass

        of_method = partialmethod(method, 1)
        of_function = partialmethod(partial(coroutine_function), 1)

    NOT_OPERATIONS += [
        pytest.param(WithPartialMethods().of_method, "coroutine", id="partialmethod"),
        pytest.param(WithPartialMethods().of_function, "coroutine", id="partialmethod of partial"),
        pytest.param(
            partial(WithPartialMethods.of_method, WithPartialMethods()),
            "coroutine",
            id="partial of a partialmethod",
        ),
    ]
if sys.version_info >= (3, 12):

    def plain() -> None:
        """What the marked function has its code from."""

    marked = FunctionType(plain.__code__, {})
    inspect.markcoroutinefunction(marked)
    NOT_OPERATIONS += [
        pytest.param(marked, "coroutine", id="marked function"),
        pytest.param(partial(marked), "coroutine", id="partial of a marked function"),
    ]

    def test_functions_of_one_code_are_told_apart_by_their_mark() -> None:
        with (
            BatchExecutor() as executor,
            pytest.raises(TypeError, match="operation 1 is a coroutine"),
        ):
            executor.execute_batch([plain, marked])


@pytest.mark.parametrize("entry", [param.values for param in NOT_OPERATIONS])
@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
@pytest.mark.parametrize("container", [list, tuple])
def test_every_entry_of_a_list_is_checked_before_any_runs(
    container: type, verb: str, entry: tuple[Any, str]
) -> None:
    value, word = entry
    ran: list[int] = []
    limiter = RecordingLimiter()
    operations = container([partial(ran.append, index) for index in range(7)] + [value, int])
    with BatchExecutor(limiter) as executor, pytest.raises(TypeError, match=word) as caught:
        list(getattr(executor, verb)(operations))
    assert ran == []
    assert limiter.calls == 0
    assert str(caught.value).startswith("operation 7 ")


@pytest.mark.parametrize("entry", [param.values for param in NOT_OPERATIONS])
def test_a_bad_entry_of_an_iterator_ends_the_batch_where_it_is(entry: tuple[Any, str]) -> None:
    value, word = entry
    ran: list[int] = []

    def read() -> Iterator[Any]:
        yield from [partial(ran.append, 0), partial(ran.append, 1), value, int]

    with BatchExecutor() as executor, pytest.raises(TypeError, match=word) as caught:
        executor.execute_batch(read())
    assert str(caught.value).startswith("operation 2 ")
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert sorted(ran) == [outcome.index for outcome in report if outcome.status == "done"]
    assert len(report) == 3
    assert report[2].status == "not_started"


@pytest.mark.parametrize("verb", ["run", "stream"])
@pytest.mark.parametrize("good", [5, 2000])
def test_what_was_read_behind_a_bad_entry_is_in_the_report(verb: str, good: int) -> None:
    read: list[int] = []

    def entries() -> Iterator[Any]:
        for index in range(2 * good):
            read.append(index)
            yield 5 if index == good else int

    options = {"buffersize": 1500} if verb == "stream" else {}
    handed_over = 0
    with BatchExecutor(None, 2) as executor, pytest.raises(TypeError) as caught:
        for _ in getattr(executor, verb)(entries(), **options):
            handed_over += 1
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert handed_over + len(report) == len(read)
    assert sum(report.counts.values()) == len(read)
    (bad,) = [outcome for outcome in report if outcome.index == good]
    assert bad.status == "not_started"


@pytest.mark.parametrize("entry", [param.values for param in NOT_OPERATIONS])
def test_execute_takes_operations_only(entry: tuple[Any, str]) -> None:
    value, word = entry
    limiter = RecordingLimiter()
    with BatchExecutor(limiter) as executor, pytest.raises(TypeError, match=word):
        executor.execute(value)
    assert limiter.calls == 0


def test_classes_and_callable_objects_are_operations() -> None:
    class Callable_:  # noqa: N801 (the builtin's name is taken)
        def __call__(self) -> int:
            return 9

    with BatchExecutor() as executor:
        assert executor.execute_batch([int, dict, Callable_(), "a".upper]) == [0, {}, 9, "A"]


def test_the_representation_of_a_bad_entry_may_raise() -> None:
    class Shy:
        def __repr__(self) -> str:
            message = "no repr"
            raise RuntimeError(message)

    with BatchExecutor() as executor, pytest.raises(TypeError, match="1"):
        executor.execute_batch([int, Shy()])  # type: ignore[list-item]


def test_a_long_representation_is_not_printed_in_full() -> None:
    with BatchExecutor() as executor, pytest.raises(TypeError) as caught:
        executor.execute_batch([int, "x" * 1_000_000])  # type: ignore[list-item]
    assert len(str(caught.value)) < 5_000


def test_a_list_that_changes_while_it_runs_is_the_batch_it_was() -> None:
    operations: list[Callable[[], Any]] = []

    def clear() -> str:
        operations.clear()
        return "cleared"

    operations.extend([clear, *[int] * 50])
    with BatchExecutor(None, 1) as executor:
        assert executor.execute_batch(operations) == ["cleared"] + [0] * 50

    operations.extend([lambda: operations.append(int), *[int] * 50])
    with BatchExecutor(None, 1) as executor:
        assert len(executor.execute_batch(operations)) == 51


# Bad settings


@pytest.mark.parametrize(
    ("max_workers", "error"),
    [
        *((number, ValueError) for number in (0, -1, 10**9, 10**30, -(2**63))),
        *((other, TypeError) for other in (True, False, "5", 1.5)),
    ],
)
def test_a_bad_max_workers_is_refused_with_its_value(
    max_workers: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="max_workers") as caught:
        BatchExecutor(None, max_workers)
    assert str(max_workers) in str(caught.value)


def test_no_number_of_workers_means_as_many_as_in_the_standard_library() -> None:
    with ThreadPoolExecutor() as standard:
        assert BatchExecutor(None, None).max_workers == standard._max_workers  # type: ignore[attr-defined]


def test_max_workers_may_be_anything_that_is_an_index() -> None:
    class Three:
        def __index__(self) -> int:
            return 3

    assert BatchExecutor(None, Three()).max_workers == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("on_error", ["rais", "RECORD", "", None, 3])
def test_a_bad_on_error_is_refused_with_its_value(on_error: Any) -> None:
    with pytest.raises(ValueError, match="on_error") as caught:
        BatchExecutor(on_error=on_error)
    assert repr(on_error) in str(caught.value)
    if on_error is None:
        return
    ran: list[int] = []
    with BatchExecutor() as executor, pytest.raises(ValueError, match="on_error"):
        executor.execute_batch([partial(ran.append, 1)], on_error=on_error)
    assert ran == []


async def prepare() -> None:
    pass


@pytest.mark.parametrize(
    ("setting", "value", "shown"),
    [
        ("initializer", 3, "3"),
        ("initializer", prepare, "the function prepare"),
        ("initargs", 5, "5"),
        ("thread_name_prefix", None, "None"),
        ("thread_name_prefix", ["secret"], "a list"),
        ("retry", 5, "5"),
        ("retry", Mock(), "a Mock"),
        ("retry", Mock(spec=Retry), "a Mock"),
    ],
)
def test_a_bad_setting_is_refused_with_its_value(setting: str, value: Any, shown: str) -> None:
    with pytest.raises(TypeError, match=setting) as caught:
        BatchExecutor(**{setting: value})
    assert shown in str(caught.value)


class CannotBeShown:
    def __repr__(self) -> str:
        raise LookupError("no repr")


@pytest.mark.parametrize("setting", ["rate_limiter", "max_workers", "initializer", "retry"])
def test_a_bad_setting_is_refused_however_it_prints(setting: str) -> None:
    with pytest.raises(TypeError, match=f"{setting} .*CannotBeShown"):
        BatchExecutor(**{setting: CannotBeShown()})
    with pytest.raises(TypeError, match=setting) as caught:
        BatchExecutor(**{setting: [0] * 100_000})
    assert len(str(caught.value)) < 250


def test_a_call_that_was_made_too_early_is_told_what_to_pass() -> None:
    with BatchExecutor() as executor:
        with pytest.raises(TypeError, match=r"operation 1 must be .*, pass functools\.partial"):
            executor.run([int, 0])  # type: ignore[list-item]
        with pytest.raises(TypeError, match=r"fn must be callable, not an int"):
            executor.submit(3)  # type: ignore[arg-type]


class NoFloat:
    """Has the method of numbers, as the durations of numpy do, and is none."""

    def __float__(self) -> float:
        raise TypeError("a duration of another kind")


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
@pytest.mark.parametrize(
    "terms", [{"timeout": NoFloat()}, {"max_failures": (NoFloat(), 10)}, {"max_failures": ("1", 9)}]
)
def test_bad_terms_are_refused_by_their_name(verb: str, terms: dict[str, Any]) -> None:
    ((name, _),) = terms.items()
    with BatchExecutor() as executor, pytest.raises(TypeError, match=name):
        getattr(executor, verb)([int], **terms)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError):
        BatchExecutor(max_worker=3)  # type: ignore[call-arg]


def test_every_verb_refuses_after_shutdown() -> None:
    executor = BatchExecutor()
    executor.execute_batch([int])
    executor.shutdown()
    executor.shutdown()
    verbs: list[Callable[[], Any]] = [
        lambda: executor.execute(int),
        lambda: executor.execute_batch([int]),
        lambda: executor.run([int]),
        lambda: list(executor.stream([int])),
        lambda: list(executor.map(int, ["1"])),
        lambda: executor.submit(int),
    ]
    for verb in verbs:
        with pytest.raises(RuntimeError, match="shutdown"):
            verb()
