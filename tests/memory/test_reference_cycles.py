"""Nothing that a failure reaches waits for Python's collector: for every verb and way to end."""

from __future__ import annotations

import gc
import logging
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from childprocess import run_script
from helpers import RecordingLimiter, wait_until
from interrupting import VERBS

from paceline import BatchExecutor, Retry


class Local:
    """What a frame keeps."""


class Planned(Exception):
    """A failure that can be weakly referred to, unlike those of Python itself."""


class Final(BaseException):
    """What ends a batch, whatever that was told of failures."""


class Watch:
    """Operations, an input and a limiter, each of which has a local that is watched."""

    def __init__(self, kind: type[BaseException]) -> None:
        self._kind = kind
        self._seen: list[weakref.ref[Any]] = []

    def note(self, thing: Any) -> Any:
        with suppress(TypeError):
            self._seen.append(weakref.ref(thing))
        return thing

    def all_gone(self) -> bool:
        return all(reference() is None for reference in self._seen)

    def works(self, *_: object) -> Any:
        return self.note(Local())

    def holds(self, *_: object) -> Any:
        local = self.works()
        time.sleep(0.06)
        return local

    def fails(self, *_: object) -> Any:
        local = self.works()
        raise self.note(self._kind(local is None))

    def exits(self, *_: object) -> Any:
        local = self.works()
        raise self.note(Final(local is None))

    def leaves(self, *_: object) -> Any:
        local = self.works()
        raise SystemExit(local is None)

    def stops(self, *_: object) -> Any:
        local = self.works()
        raise StopIteration(local is None)

    def nests(self, executor: BatchExecutor) -> Any:
        local = self.works()
        executor.execute_batch([self.works, self.fails], on_error="raise")
        return local

    def nests_a_call(self, executor: BatchExecutor) -> Any:
        local = self.works()
        executor.submit(self.fails).result()
        return local

    def asks_a_call(self, executor: BatchExecutor) -> Any:
        return executor.submit(self.fails).exception()

    def reads(self, *last: object) -> Iterator[Any]:
        local = self.works()
        yield from (self.works, self.fails, *last)
        raise self.note(self._kind(local is None))

    def acquire(self) -> None:
        self.fails()


def drain(outcomes: Any) -> None:
    for outcome in outcomes:
        del outcome
    outcomes.report()


BATCHES: dict[str, Callable[..., Any]] = {
    "record": lambda executor, *a, **k: executor.execute_batch(*a, **k),
    "return": lambda executor, *a, **k: executor.execute_batch(*a, on_error="return", **k),
    "raise": lambda executor, *a, **k: executor.execute_batch(*a, on_error="raise", **k),
    "run": lambda executor, *a, **k: executor.run(*a, **k),
    "values": lambda executor, *a, **k: executor.run(*a, **k).values(),
    "raise_for_failures": lambda executor, *a, **k: executor.run(*a, **k).raise_for_failures(),
    "stream": lambda executor, *a, **k: drain(executor.stream(*a, **k)),
    "ordered": lambda executor, *a, **k: drain(executor.stream(*a, ordered=True, **k)),
}


class Again:
    """An operation that raises one exception whenever it is called."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._errors = [watch.note(Planned())]

    def __call__(self) -> None:
        local = self._watch.works()
        raise self._errors[local is None]


def one_failure_twice(run: Callable[..., Any], watch: Watch, _: BatchExecutor) -> None:
    again = Again(watch)
    try:
        run([again, watch.works, again])
    finally:
        # The frames of its traceback know it.
        again.__dict__.clear()


def amid_another(run: Callable[..., Any], watch: Watch, _: BatchExecutor) -> None:
    try:
        watch.fails()
    except Exception:
        run([watch.works, watch.fails])


def after_shutdown(run: Callable[..., Any], watch: Watch, executor: BatchExecutor) -> None:
    executor.shutdown()
    run([watch.works])


def shutdown(run: Callable[..., Any], watch: Watch, executor: BatchExecutor) -> None:
    cancel = partial(executor.shutdown, False, cancel_futures=True)
    run([watch.works, watch.fails, cancel, *[watch.holds] * 6])


ENDS: dict[str, Callable[[Callable[..., Any], Watch, BatchExecutor], Any]] = {
    "well": lambda run, w, _: run([w.works] * 5),
    "failures": lambda run, w, _: run([w.works, w.fails] * 3),
    "failures of an iterator": lambda run, w, _: run(iter([w.works, w.fails] * 3)),
    "one failure twice": one_failure_twice,
    "max_failures": lambda run, w, _: run([w.works, *[w.fails] * 5], max_failures=2),
    "timeout": lambda run, w, _: run([w.works, w.fails, *[w.holds] * 4], timeout=0.03),
    "no Exception": lambda run, w, _: run([w.works, w.fails, w.exits, w.works]),
    "sys.exit": lambda run, w, _: run([w.works, w.leaves]),
    "input": lambda run, w, _: run(w.reads()),
    "no operation": lambda run, w, _: run(w.reads(3)),
    "no operation in a list": lambda run, w, _: run([w.works, 3]),
    "shutdown": shutdown,
    "after shutdown": after_shutdown,
    "amid another": amid_another,
    "nested batch": lambda run, w, executor: run([partial(w.nests, executor), w.works]),
    "nested call": lambda run, w, executor: run([partial(w.nests_a_call, executor), w.works]),
    "nested call, asked": lambda run, w, executor: run([partial(w.asks_a_call, executor)] * 2),
}

SETTINGS = pytest.mark.parametrize(
    ("limiter", "kind"),
    [
        pytest.param(lambda: None, ValueError, id="built in"),
        pytest.param(RecordingLimiter, Planned, id="foreign limiter"),
    ],
)
KINDS = pytest.mark.parametrize("kind", [Planned, ValueError])


def assert_all_is_let_go(watch: Watch, use: Callable[[], Any]) -> None:
    """With the collector off, nothing that was watched outlives the exception that is handled."""

    def call() -> None:
        local = watch.works()
        use()
        del local

    gc.collect()
    gc.disable()
    # What pytest keeps of the log is not ours.
    logger = logging.getLogger("paceline")
    logger.propagate = False
    try:
        try:
            call()
        except BaseException as error:
            watch.note(error)
        wait_until(watch.all_gone, timeout=5)
    finally:
        gc.enable()
        logger.propagate = True


@SETTINGS
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("verb", BATCHES)
def test_batches(verb: str, end: str, limiter: Any, kind: type[Exception]) -> None:
    with BatchExecutor(limiter(), 2) as executor:
        watch = Watch(kind)
        run = partial(BATCHES[verb], executor)
        assert_all_is_let_go(watch, lambda: ENDS[end](run, watch, executor))


@KINDS
@pytest.mark.parametrize("verb", BATCHES)
@pytest.mark.parametrize("attempts", [1, 2])
def test_batches_with_retries(verb: str, attempts: int, kind: type[Exception]) -> None:
    watch = Watch(kind)

    def again(error: Exception) -> bool:
        if attempts == 1:
            watch.fails()
        return isinstance(error, kind)

    with BatchExecutor(None, 2, retry=Retry(2, on=again, backoff=0.001)) as executor:
        assert_all_is_let_go(watch, lambda: BATCHES[verb](executor, [watch.works, watch.fails]))


@KINDS
@pytest.mark.parametrize("verb", BATCHES)
def test_rules_of_results_that_raise(verb: str, kind: type[Exception]) -> None:
    watch = Watch(kind)
    with BatchExecutor(None, 2, retry=Retry(2, on_result=watch.fails)) as executor:
        assert_all_is_let_go(watch, lambda: BATCHES[verb](executor, [watch.works] * 3))


def cancelled(watch: Watch, executor: BatchExecutor) -> None:
    held = [executor.submit(watch.holds) for _ in range(2)]
    future = executor.submit(watch.works)
    future.cancel()
    try:
        future.result()
    finally:
        del future, held


def kept(watch: Watch, executor: BatchExecutor) -> None:
    future = executor.submit(watch.fails)
    try:
        with suppress(Planned, ValueError):
            future.result()
        future.result()
    finally:
        del future


CALLS: dict[str, Callable[[Watch, BatchExecutor], Any]] = {
    "execute": lambda w, executor: executor.execute(w.works),
    "execute fails": lambda w, executor: executor.execute(w.fails),
    "execute exits": lambda w, executor: executor.execute(w.exits),
    "execute, nested batch": lambda w, executor: executor.execute(partial(w.nests, executor)),
    "execute, nested call": lambda w, executor: executor.execute(partial(w.nests_a_call, executor)),
    "submit": lambda w, executor: executor.submit(w.works).result(),
    "submit fails": lambda w, executor: executor.submit(w.fails).result(),
    "submit fails, kept": kept,
    "submit exits": lambda w, executor: executor.submit(w.exits).result(),
    "submit stops": lambda w, executor: executor.submit(w.stops).result(),
    "exception": lambda w, executor: executor.submit(w.fails).exception(),
    "result in time": lambda w, executor: executor.submit(w.holds).result(0.01),
    "exception in time": lambda w, executor: executor.submit(w.holds).exception(0.01),
    "cancelled": cancelled,
    "wait": lambda w, executor: wait([executor.submit(w.fails), executor.submit(w.works)]),
    "call in a call": lambda w, executor: executor.submit(w.nests_a_call, executor).result(),
    "call in a call, asked": lambda w, executor: executor.submit(w.asks_a_call, executor).result(),
    "call in a call, in time": lambda w, executor: executor.submit(
        lambda: executor.submit(w.holds).result(0.01)
    ).result(),
    "batch in a call": lambda w, executor: executor.submit(w.nests, executor).result(),
}

MAPS: dict[str, Callable[[Watch, Callable[..., Any]], Any]] = {
    "well": lambda w, each: list(each(w.works, range(4))),
    "fails": lambda w, each: list(each(w.fails, range(4))),
    "fails later": lambda w, each: list(each(lambda f: f(), [w.works, w.works, w.fails, w.works])),
    "exits": lambda w, each: list(each(w.exits, range(4))),
    "stops": lambda w, each: list(each(w.stops, range(4))),
    "in time": lambda w, each: list(each(w.holds, range(4), timeout=0.03)),
    "left": lambda w, each: next(each(w.works, range(9))),
    "input": lambda w, each: list(each(lambda f: f(), w.reads())),
}


@SETTINGS
@pytest.mark.parametrize("case", CALLS)
def test_single_calls(case: str, limiter: Any, kind: type[Exception]) -> None:
    with BatchExecutor(limiter(), 2) as executor:
        watch = Watch(kind)
        assert_all_is_let_go(watch, lambda: CALLS[case](watch, executor))


@SETTINGS
@pytest.mark.parametrize("buffersize", [None, 1])
@pytest.mark.parametrize("end", MAPS)
def test_map(end: str, buffersize: int | None, limiter: Any, kind: type[Exception]) -> None:
    with BatchExecutor(limiter(), 2) as executor:
        watch = Watch(kind)
        each = partial(executor.map, buffersize=buffersize)
        assert_all_is_let_go(watch, lambda: MAPS[end](watch, each))


ALL_VERBS: dict[str, Callable[..., Any]] = {
    **BATCHES,
    "execute": lambda executor, operations: executor.execute(operations[0]),
    "submit": lambda executor, operations: executor.submit(operations[0]).result(),
    "map": lambda executor, operations: list(executor.map(operations[0], range(3))),
    "call in a call": lambda executor, operations: executor.submit(
        lambda: executor.submit(operations[0]).result()
    ).result(),
}


@KINDS
@pytest.mark.parametrize("answer", ["raises", False, "awaitable"])
@pytest.mark.parametrize("verb", ALL_VERBS)
def test_limiters_that_raise_or_refuse(verb: str, answer: Any, kind: type[Exception]) -> None:
    watch = Watch(kind)

    async def awaitable() -> None: ...

    class Limiter:
        def acquire(self) -> Any:
            if answer == "raises":
                watch.fails()
            return awaitable() if answer == "awaitable" else answer

    with BatchExecutor(Limiter(), 2) as executor:
        assert_all_is_let_go(watch, lambda: ALL_VERBS[verb](executor, [watch.works] * 3))


@KINDS
@pytest.mark.parametrize("verb", ALL_VERBS)
def test_initializers_that_raise(
    verb: str, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    # It is logged, and pytest would keep that.
    caplog.set_level(logging.CRITICAL + 1, "concurrent.futures")
    watch = Watch(kind)

    def use() -> None:
        with BatchExecutor(None, 2, initializer=watch.fails) as executor:
            ALL_VERBS[verb](executor, [watch.works] * 3)

    assert_all_is_let_go(watch, use)


def left_by_break(watch: Watch, executor: BatchExecutor) -> None:
    for outcome in executor.stream([watch.works, watch.fails] * 9):
        del outcome
        break


def left_by_an_exception(watch: Watch, executor: BatchExecutor) -> None:
    for outcome in executor.stream([watch.works, watch.fails] * 9):
        del outcome
        watch.fails()


def closed(watch: Watch, executor: BatchExecutor) -> None:
    outcomes = executor.stream([watch.works, watch.fails] * 9)
    next(outcomes)
    outcomes.close()
    outcomes.report()


def asked_beyond_its_end(watch: Watch, executor: BatchExecutor) -> None:
    outcomes = executor.stream([watch.fails] * 3, max_failures=1)
    for _ in range(5):
        with suppress(Exception):
            next(outcomes)
    outcomes.report()


def streamed_by_an_operation(watch: Watch, executor: BatchExecutor) -> None:
    def streams() -> None:
        for _outcome in executor.stream([watch.works, *[watch.fails] * 6], max_failures=2):
            pass

    executor.execute(streams)


@KINDS
@pytest.mark.parametrize(
    "leave",
    [
        left_by_break,
        left_by_an_exception,
        closed,
        asked_beyond_its_end,
        streamed_by_an_operation,
    ],
)
def test_streams(leave: Callable[[Watch, BatchExecutor], None], kind: type[Exception]) -> None:
    with BatchExecutor(None, 2) as executor:
        watch = Watch(kind)
        assert_all_is_let_go(watch, lambda: leave(watch, executor))


def ask_calls(executor: BatchExecutor, operations: list[Any]) -> Any:
    return [future.exception() for future in [executor.submit(each) for each in operations]]


def wait_for_calls(executor: BatchExecutor, operations: list[Any]) -> Any:
    return wait([executor.submit(each) for each in operations])


KEPT: dict[str, Callable[[BatchExecutor, list[Any]], Any]] = {
    "record": lambda executor, each: executor.execute_batch(each),
    "return": lambda executor, each: executor.execute_batch(each, on_error="return"),
    "run": lambda executor, each: executor.run(each),
    "run of an iterator": lambda executor, each: executor.run(iter(each)),
    "stream": lambda executor, each: list(executor.stream(each)),
    "calls": ask_calls,
    "wait": wait_for_calls,
}


@SETTINGS
@pytest.mark.parametrize("verb", KEPT)
@pytest.mark.parametrize("workers", [1, 3])
def test_what_an_operation_keeps_of_those_it_has_waited_for(
    workers: int, verb: str, limiter: Any, kind: type[Exception]
) -> None:
    """Those run beneath it, on its own thread, and their frames outlive it."""
    watch = Watch(kind)
    with BatchExecutor(limiter(), workers) as executor:

        def operation() -> bool:
            local = watch.works()
            kept = KEPT[verb](executor, [watch.works, watch.fails, watch.fails])
            return local is kept

        assert_all_is_let_go(watch, lambda: executor.execute_batch([operation] * 3))


@KINDS
@pytest.mark.parametrize("rule", ["on", "on_result"])
def test_what_an_operation_keeps_of_a_rule_that_raised(rule: str, kind: type[Exception]) -> None:
    watch = Watch(kind)
    retry = Retry(2, on_result=watch.fails) if rule == "on_result" else Retry(2, on=watch.fails)
    with BatchExecutor(max_workers=1, retry=retry) as executor:

        def operation() -> int:
            kept = executor.run([watch.works, watch.fails])
            return len(kept)

        assert_all_is_let_go(watch, lambda: executor.execute_batch([operation] * 3))


@pytest.mark.parametrize("verb", VERBS)
def test_ctrl_c(verb: str) -> None:
    run_script(
        f"""
        import gc, itertools, weakref
        from paceline import BatchExecutor

        class Local: ...

        watched = []
        def work():
            local = Local()
            watched.append(weakref.ref(local))
            if len(watched) % 2:
                time.sleep(0.02)
                signal.raise_signal(signal.SIGINT)
            time.sleep(0.02)
            raise ValueError(local is None)

        def use():
            local = Local()
            watched.append(weakref.ref(local))
            operations = [work] * 200
            {VERBS[verb]}

        gc.disable()
        with BatchExecutor(max_workers=2) as executor:
            try:
                use()
            except (KeyboardInterrupt, ValueError):
                pass
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            deadline = time.monotonic() + 10
            while any(reference() for reference in watched) and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not any(reference() for reference in watched)
        """
    ).assert_silent()


@KINDS
def test_a_report_tells_of_the_exception_that_carries_it(kind: type[Exception]) -> None:
    def fails() -> None:
        raise kind("this one")  # the operation's own line

    with BatchExecutor(None, 1) as executor, pytest.raises(kind) as caught:
        executor.execute_batch([int, fails], on_error="raise")
    report: Any = caught.value.batch_report  # type: ignore[attr-defined]
    raised = report[1].exception
    if kind is Planned:
        assert raised is caught.value
        assert report.failures[0].exception is caught.value
    else:
        # It cannot be weakly referred to: what is there is its like.
        assert (type(raised), raised.args) == (kind, ("this one",))
        assert raised.__traceback__.tb_frame.f_code.co_name == "fails"
    with pytest.raises(ExceptionGroup, match="1 of 2 operations failed"):
        report.values()
    del raised, caught
    gc.collect()
    assert report[1].status == "failed"
    message = "this one" if kind is ValueError else "raised the .*Planned that carried this report"
    with pytest.raises((ValueError, RuntimeError), match=message):
        raise report[1].exception
