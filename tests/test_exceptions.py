"""Exceptions are kept whole, and what cannot be a batch is refused before anything runs."""

from __future__ import annotations

import gc
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any
from unittest.mock import Mock

import pytest
from helpers import RecordingLimiter, statuses, wait_until

from paceline import BatchExecutor, BatchTimeoutError, ErrorRecord, RateLimiter


class TenantError(Exception):
    """What the operations of these tests raise."""


def innermost_line(error: BaseException) -> str:
    return str(traceback.extract_tb(error.__traceback__)[-1].line)


def fail_deep(depth: int) -> None:
    if depth:
        fail_deep(depth - 1)
    message = "deep"
    raise TenantError(message)  # the operation's own line


# Whole


def raise_through(verb: str, executor: BatchExecutor, operation: Callable[[], Any]) -> Exception:
    """The exception that ``operation`` raises, as ``verb`` hands it over."""
    error: Any
    if verb == "record":
        (entry,) = executor.execute_batch([operation])
        error = entry.exception
    elif verb == "return":
        (error,) = executor.execute_batch([operation], on_error="return")
    elif verb == "run":
        error = executor.run([operation])[0].exception
    elif verb == "stream":
        (outcome,) = executor.stream([operation])
        error = outcome.exception
    elif verb == "submit":
        error = executor.submit(operation).exception(10)
    else:
        call: Callable[[], Any] = {
            "raise": lambda: executor.execute_batch([operation], on_error="raise"),
            "execute": lambda: executor.execute(operation),
            "map": lambda: list(executor.map(lambda _: operation(), [1])),
        }[verb]
        with pytest.raises(Exception) as caught:
            call()
        error = caught.value
    assert isinstance(error, Exception)
    return error


VERBS = ["record", "return", "raise", "run", "execute", "stream", "submit", "map"]


@pytest.mark.parametrize("verb", VERBS)
def test_the_traceback_reaches_the_operations_own_line(verb: str) -> None:
    with BatchExecutor(None, 2) as executor:
        error = raise_through(verb, executor, partial(fail_deep, 5))
    assert type(error) is TenantError
    frames = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert frames[-6:] == ["fail_deep"] * 6
    assert "# the operation's own line" in innermost_line(error)


@pytest.mark.parametrize("verb", VERBS)
def test_cause_context_and_attributes_are_kept(verb: str) -> None:
    cause = OSError("connection reset")

    def fail() -> None:
        try:
            int("x")
        except ValueError:
            error = TenantError("could not create")
            error.tenant = 7  # type: ignore[attr-defined]
            error.add_note("asked twice")
            raise error from cause

    with BatchExecutor(None, 2) as executor:
        error = raise_through(verb, executor, fail)
    assert error.__cause__ is cause
    assert isinstance(error.__context__, ValueError)
    assert error.tenant == 7  # type: ignore[attr-defined]
    assert error.__notes__[0] == "asked twice"


@pytest.mark.parametrize("verb", VERBS)
def test_an_exception_does_not_gain_a_context_from_another_operation(verb: str) -> None:
    def fail() -> None:
        raise TenantError

    with BatchExecutor(None, 1) as executor:
        executor.run([partial(fail_deep, 0)] * 3)
        error = raise_through(verb, executor, fail)
    assert error.__context__ is None


@pytest.mark.parametrize("verb", VERBS)
def test_stop_iteration_from_an_operation_is_a_failure_like_any_other(verb: str) -> None:
    error = StopIteration("over")

    def fail() -> None:
        raise error

    with BatchExecutor() as executor:
        if verb == "map":
            # A generator may not let a StopIteration out; the standard library's map raises this.
            with pytest.raises((RuntimeError, StopIteration)):
                list(executor.map(lambda _: fail(), [1, 2]))
        else:
            assert raise_through(verb, executor, fail) is error
        assert executor.execute_batch([int]) == [0]


class NoStr(Exception):
    def __str__(self) -> str:
        message = "no str"
        raise RuntimeError(message)


class NoStrNoRepr(NoStr):
    def __repr__(self) -> str:
        message = "no repr"
        raise RuntimeError(message)


class StrLeaves(Exception):
    def __str__(self) -> str:
        sys.exit("out of __str__")


class StrIsNoString(Exception):
    def __str__(self) -> Any:
        return 3


@pytest.mark.parametrize("error", [NoStr(), NoStrNoRepr(), StrIsNoString()])
@pytest.mark.parametrize("verb", VERBS)
def test_an_exception_that_cannot_be_printed_does_no_harm(verb: str, error: Exception) -> None:
    def fail() -> None:
        raise error

    error.__dict__.clear()
    with BatchExecutor(None, 2) as executor:
        assert raise_through(verb, executor, fail) is error
        results: list[Any] = executor.execute_batch([int, fail, dict])
    assert results[0] == 0
    assert results[2] == {}
    assert isinstance(results[1], ErrorRecord)
    assert results[1].exception is error
    assert isinstance(results[1]["error"], str)
    assert type(error).__name__ in results[1]["error"]


def test_what_is_no_exception_is_raised_also_from_an_exceptions_text() -> None:
    error = StrLeaves()

    def fail() -> None:
        raise error

    with BatchExecutor(None, 2) as executor:
        with pytest.raises(SystemExit) as caught:
            executor.execute_batch([int, fail])
        report = caught.value.batch_report  # type: ignore[attr-defined]
        assert statuses(report) == ["done", "failed"]
        assert report[1].exception is error
        # Where nobody needs the text, nothing happens.
        assert executor.run([fail])[0].exception is error


@pytest.mark.parametrize("text", ["", "\ud800 half a pair", "a\x00b", "100 %s {} %(x)d", "é" * 9])
def test_any_text_survives_in_the_error(text: str) -> None:
    def fail() -> None:
        raise TenantError(text)

    with BatchExecutor() as executor:
        assert executor.execute_batch([fail]) == [{"error": text}]


def test_a_failure_may_be_an_exception_group() -> None:
    group = ExceptionGroup("both", [ValueError("a"), KeyError("b")])

    def fail() -> None:
        raise group

    with BatchExecutor() as executor:
        report = executor.run([fail])
        with pytest.raises(ExceptionGroup) as caught:
            report.raise_for_failures()
    assert caught.value.exceptions == (group,)


# Nothing is kept alive


class Payload:
    """Something that a test can see being let go."""

    def work(self) -> Payload:
        return self

    def fail(self) -> None:
        kept_in_frame = self
        raise TenantError(kept_in_frame is self)


def assert_let_go(references: list[weakref.ref[Any]]) -> None:
    # A worker may be about to let go of what it has just handed over.
    def all_gone() -> bool:
        gc.collect()
        return not any(reference() is not None for reference in references)

    wait_until(all_gone, timeout=5)


@pytest.mark.parametrize("limiter", [None, RecordingLimiter(), RateLimiter(10**6)])
def test_an_idle_executor_keeps_neither_operations_nor_results(limiter: Any) -> None:
    with BatchExecutor(limiter, 3) as executor:
        payloads = [Payload() for _ in range(20)]
        references = [weakref.ref(payload) for payload in payloads]
        results = executor.execute_batch([payload.work for payload in payloads])
        report = executor.run([payload.work for payload in payloads])
        assert results == report.values() == payloads
        executor.execute(payloads[0].work)
        executor.submit(payloads[0].work).result(10)
        list(executor.stream([payload.work for payload in payloads]))
        list(executor.map(Payload.work, payloads))
        del payloads, results, report
        assert_let_go(references)


@pytest.mark.parametrize("verb", VERBS)
def test_a_failure_is_let_go_with_its_traceback(verb: str) -> None:
    with BatchExecutor(None, 2) as executor:
        payload = Payload()
        reference = weakref.ref(payload)
        error = raise_through(verb, executor, payload.fail)
        error_reference = weakref.ref(error)
        del payload
        assert reference() is not None, "the traceback holds the frame"
        del error
        assert_let_go([reference, error_reference])


def test_an_early_end_and_its_report_are_let_go() -> None:
    gate = threading.Event()
    with BatchExecutor(None, 2) as executor:
        payloads = [Payload() for _ in range(6)]
        references = [weakref.ref(payload) for payload in payloads]
        operations: list[Callable[[], Any]] = [
            payloads[0].work,
            payloads[1].fail,
            partial(gate.wait, 20),
            partial(gate.wait, 20),
            *[payload.work for payload in payloads],
        ]
        try:
            executor.run(operations, timeout=0.2)
        except BatchTimeoutError as error:
            assert statuses(error.batch_report)[:2] == ["done", "failed"]
            error.own_cycle = error  # type: ignore[attr-defined]
        gate.set()
        del payloads, operations
        assert_let_go(references)


def test_collections_find_every_cycle_through_a_report() -> None:
    with BatchExecutor() as executor:
        payload = Payload()
        report = executor.run([payload.work])
        payload.report = report  # type: ignore[attr-defined]
        reference = weakref.ref(payload)
        del payload, report
        assert_let_go([reference])


def test_an_executor_in_a_cycle_is_collected() -> None:
    class Owner:
        def __init__(self) -> None:
            self.executor = BatchExecutor(self, 2)

        def acquire(self) -> None:
            pass

    owner = Owner()
    owner.executor.execute_batch([int] * 5)
    reference = weakref.ref(owner)
    del owner
    assert_let_go([reference])


def test_garbage_is_not_left_behind_by_failures() -> None:
    with BatchExecutor(None, 2) as executor:
        executor.execute_batch([partial(fail_deep, 1)] * 10)
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            executor.execute_batch([partial(fail_deep, 1)] * 10)
            executor.run([partial(fail_deep, 1)] * 10)
            gc.collect()
            ours = [item for item in gc.garbage if isinstance(item, TenantError | TracebackType)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
    assert ours == []


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
    assert "0" in str(caught.value)
    assert repr(first) in str(caught.value)


async def coroutine_function() -> None:
    pass


class AsyncCallable:
    async def __call__(self) -> None:
        pass

    async def method(self) -> None:
        pass


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
]


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
    assert "7" in str(caught.value)
    assert repr(value)[:20] in str(caught.value)


@pytest.mark.parametrize("entry", [param.values for param in NOT_OPERATIONS])
def test_a_bad_entry_of_an_iterator_ends_the_batch_where_it_is(entry: tuple[Any, str]) -> None:
    value, word = entry
    ran: list[int] = []

    def read() -> Iterator[Any]:
        yield from [partial(ran.append, 0), partial(ran.append, 1), value, int]

    with BatchExecutor() as executor, pytest.raises(TypeError, match=word) as caught:
        executor.execute_batch(read())
    assert "2" in str(caught.value)
    assert repr(value)[:20] in str(caught.value)
    report = caught.value.batch_report  # type: ignore[attr-defined]
    assert sorted(ran) == [outcome.index for outcome in report if outcome.status == "done"]
    assert len(report) in {2, 3}


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
    "max_workers", [0, -1, True, False, "5", 1.5, None, 10**9, 10**30, -(2**63)]
)
def test_a_bad_max_workers_is_refused_with_its_value(max_workers: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="max_workers") as caught:
        BatchExecutor(None, max_workers)
    assert str(max_workers) in str(caught.value)


def test_max_workers_may_be_anything_that_is_an_index() -> None:
    class Three:
        def __index__(self) -> int:
            return 3

    assert BatchExecutor(None, Three()).max_workers == 3  # type: ignore[arg-type]


@pytest.mark.parametrize("on_error", ["rais", "RECORD", "", None, 3, ["raise"]])
def test_a_bad_on_error_is_refused_with_its_value(on_error: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="on_error") as caught:
        BatchExecutor(on_error=on_error)
    assert repr(on_error) in str(caught.value)
    if on_error is None:
        return
    ran: list[int] = []
    with BatchExecutor() as executor, pytest.raises((ValueError, TypeError), match="on_error"):
        executor.execute_batch([partial(ran.append, 1)], on_error=on_error)
    assert ran == []


async def prepare() -> None:
    pass


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("initializer", 3),
        ("initializer", prepare),
        ("initargs", 5),
        ("thread_name_prefix", None),
        ("retry", 5),
        ("retry", Mock()),
    ],
)
def test_a_bad_setting_is_refused_with_its_value(setting: str, value: Any) -> None:
    with pytest.raises(TypeError, match=setting) as caught:
        BatchExecutor(**{setting: value})
    assert repr(value) in str(caught.value)


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(TypeError):
        BatchExecutor(max_worker=3)  # type: ignore[call-arg]


def test_a_timeout_beyond_any_number_is_none() -> None:
    with BatchExecutor() as executor:
        assert executor.execute_batch([int], timeout=10**400) == [0]
        assert list(executor.map(int, ["1"], timeout=10**400)) == [1]


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
