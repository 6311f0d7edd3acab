"""Batches of coroutines: the verbs, what they return, and how they end."""

import asyncio
import contextvars
import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from paceline import (
    AsyncBatchExecutor,
    BatchExecutor,
    BatchTimeoutError,
    ErrorRecord,
    RateLimiter,
    Retry,
    report_of,
)


async def double(number: int) -> int:
    await asyncio.sleep(0.001)
    return number * 2


async def fail(number: int) -> int:
    await asyncio.sleep(0)
    raise ValueError(number)


class BoundedElsewhere:
    async def acquire(self) -> None: ...


async def for_ever() -> None:
    await asyncio.Event().wait()


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(40):
            return await main()

    return asyncio.run(within(), debug=True)


def test_the_verbs_return_what_their_twins_do() -> None:
    async def main() -> None:
        async with AsyncBatchExecutor(RateLimiter(1000, per=1), max_at_once=3) as executor:
            assert await executor.execute(partial(double, 4)) == 8
            operations = [partial(double, n) for n in range(5)]
            assert await executor.execute_batch(operations) == [0, 2, 4, 6, 8]
            assert await executor.execute_batch(iter(operations)) == [0, 2, 4, 6, 8]
            report = await executor.run(operations)
            assert report.values() == [0, 2, 4, 6, 8]
            assert report.counts["done"] == 5
            assert report[3].operation is operations[3]
            assert report[3].args == (3,)
            streamed = [it.value async for it in executor.stream(operations, ordered=True)]
            assert streamed == [0, 2, 4, 6, 8]
            future = await executor.submit(double, 21)
            assert await future == 42
        assert repr(executor) == ("AsyncBatchExecutor(RateLimiter(1000, per=1.0), max_at_once=3)")

    run(main)


def test_failures_are_entries_as_on_error_says() -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor()
        operations = [partial(double, 1), partial(fail, 7)]
        done, failed = await executor.execute_batch(operations)
        assert done == 2
        assert isinstance(failed, ErrorRecord)
        assert (failed, failed.index) == ({"error": "7"}, 1)
        returned = (await executor.execute_batch(operations, on_error="return"))[1]
        assert isinstance(returned, ValueError)
        with pytest.raises(ValueError, match="7") as caught:
            await executor.execute_batch([*operations, for_ever], on_error="raise")
        report = report_of(caught.value)
        assert report is not None
        assert report.counts["failed"] == 1
        with pytest.raises(ValueError, match="3"):
            await executor.execute(partial(fail, 3))

    run(main)


def test_no_more_run_at_once_than_may() -> None:
    async def main() -> None:
        running = most = 0

        async def count() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1

        await AsyncBatchExecutor(max_at_once=7).run([count] * 200)
        assert most == 7

    run(main)


def test_the_limit_holds_for_loops_and_threads_together() -> None:
    limiter = RateLimiter(10, per=0.2)
    starts: list[float] = []

    async def in_loop() -> None:
        starts.append(time.monotonic())
        await asyncio.sleep(0.001)

    def in_thread() -> None:
        starts.append(time.monotonic())

    def threads() -> None:
        with BatchExecutor(limiter, max_workers=4) as executor:
            executor.run([in_thread] * 40)

    async def main() -> None:
        beside = threading.Thread(target=threads)
        beside.start()
        await AsyncBatchExecutor(limiter, max_at_once=20).run([in_loop] * 40)
        await asyncio.to_thread(beside.join)

    run(main)
    assert len(starts) == 80
    starts.sort()
    assert all(later - start >= 0.2 for start, later in zip(starts, starts[10:], strict=False))


def test_input_may_be_asynchronous_and_is_read_no_further_than_allowed() -> None:
    async def main() -> None:
        read = 0

        async def operations() -> AsyncIterator[Callable[[], Awaitable[int]]]:
            nonlocal read
            while True:
                await asyncio.sleep(0)
                read += 1
                yield partial(double, read)

        executor = AsyncBatchExecutor(max_at_once=2)
        async with executor.stream(operations(), buffersize=3) as outcomes:
            taken = 0
            async for outcome in outcomes:
                taken += 1
                assert outcome.ok
                await asyncio.sleep(0.001)
                assert read - taken <= 5
                if taken == 30:
                    break
        report = outcomes.report()
        assert sum(report.counts.values()) == read
        assert report.counts["running"] == 0

    run(main)


def test_an_outcome_does_not_wait_for_a_slow_asynchronous_input() -> None:
    async def main() -> None:
        more = asyncio.Event()

        async def operations() -> AsyncIterator[Callable[[], Awaitable[int]]]:
            yield partial(double, 1)
            await more.wait()
            yield partial(double, 2)

        values = []
        async for outcome in AsyncBatchExecutor().stream(operations()):
            values.append(outcome.value)
            more.set()
        assert values == [2, 4]

    run(main)


def test_a_plain_input_is_read_lazily() -> None:
    async def main() -> None:
        read = 0

        def operations() -> Iterator[Callable[[], Awaitable[int]]]:
            nonlocal read
            while True:
                read += 1
                yield partial(double, read)

        outcomes = AsyncBatchExecutor(max_at_once=2).stream(operations(), buffersize=1)
        for taken in range(1, 20):
            assert (await anext(outcomes)).ok
            await asyncio.sleep(0.002)
            assert read <= taken + 3
        await outcomes.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(outcomes)

    run(main)


def test_a_timeout_cancels_what_runs_and_waits_for_that() -> None:
    async def main() -> None:
        ended = []

        async def slow() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                await asyncio.sleep(0.01)
                ended.append(1)

        executor = AsyncBatchExecutor(max_at_once=2)
        with pytest.raises(BatchTimeoutError) as caught:
            await executor.run([partial(double, 1), slow, slow, slow], timeout=0.1)
        report = report_of(caught.value)
        assert report is not None
        assert [it.status for it in report] == ["done", "cancelled", "cancelled", "not_started"]
        assert len(ended) == 2
        assert report.counts["cancelled"] == 2
        assert report.failures == ()
        assert isinstance(report[1].exception, asyncio.CancelledError)

    run(main)


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
def test_cancelling_the_verb_cancels_its_operations(verb: str) -> None:
    async def main() -> None:
        ended = []

        async def slow() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                await asyncio.sleep(0.01)
                ended.append(1)

        executor = AsyncBatchExecutor(max_at_once=3)

        async def use() -> None:
            if verb == "stream":
                async with executor.stream([slow] * 5) as outcomes:
                    async for _ in outcomes:
                        pass
            else:
                await getattr(executor, verb)([slow] * 5)

        task = asyncio.create_task(use())
        await asyncio.sleep(0.05)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        assert len(ended) == 3
        report = report_of(caught.value)
        assert report is not None
        assert report.counts["cancelled"] == 3
        assert report.counts["not_started"] == 2
        assert await executor.execute(partial(double, 1)) == 2

    run(main)


def test_one_operation_that_is_cancelled_is_that_outcome_alone() -> None:
    async def main() -> None:
        async def cancelled() -> None:
            current = asyncio.current_task()
            assert current is not None
            current.cancel()
            await asyncio.sleep(1)

        report = await AsyncBatchExecutor().run([partial(double, 1), cancelled, partial(double, 2)])
        assert [it.status for it in report] == ["done", "cancelled", "done"]
        with pytest.raises(RuntimeError, match="1 operations have no value"):
            report.values()

    run(main)


def test_max_failures_end_a_batch_by_their_group() -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor(max_at_once=1)
        caught = 0
        try:
            await executor.run([partial(fail, n) for n in range(9)], max_failures=3)
        except* ValueError as group:
            caught = len(group.exceptions)
            report = report_of(group) or report_of(sys.exception() or group)
        assert caught == 3
        del report

    run(main)


def test_what_the_input_raises_is_raised_with_the_report() -> None:
    async def main() -> None:
        async def awaited() -> AsyncIterator[Callable[[], Awaitable[int]]]:
            yield partial(double, 1)
            raise KeyError("input")

        def plain() -> Iterator[Callable[[], Awaitable[int]]]:
            yield partial(double, 1)
            raise KeyError("input")

        for operations in (awaited(), plain()):
            with pytest.raises(KeyError) as caught:
                await AsyncBatchExecutor().run(operations)
            report = report_of(caught.value)
            assert report is not None
            assert sum(report.counts.values()) == 1

    run(main)


def test_bad_operations_are_refused_before_anything_starts() -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor()
        coroutine = double(1)
        with pytest.raises(TypeError, match="operation 1 must be callable"):
            await executor.run([partial(double, 1), coroutine])  # type: ignore[list-item]
        coroutine.close()

        async def generator() -> AsyncIterator[int]:
            yield 1

        with pytest.raises(TypeError, match="operation 0 is an asynchronous generator function"):
            await executor.run([generator])  # type: ignore[list-item]
        report = await executor.run([lambda: 5])  # type: ignore[arg-type,return-value,list-item]
        assert "must return something to await, not 5" in str(report[0].exception)
        with pytest.raises(TypeError, match="rate_limiter must be a RateLimiter or None"):
            AsyncBatchExecutor(BoundedElsewhere())  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="max_at_once must be"):
            AsyncBatchExecutor(max_at_once=0)
        await executor.aclose()
        with pytest.raises(RuntimeError, match="after shutdown"):
            await executor.run([partial(double, 1)])
        with pytest.raises(RuntimeError, match="after shutdown"):
            await executor.submit(double, 1)

    run(main)


def test_operations_see_the_variables_of_their_caller_each_in_a_copy() -> None:
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")

    async def main() -> None:
        async def read_and_set() -> str:
            before = variable.get()
            variable.set("changed")
            await asyncio.sleep(0)
            return before

        executor = AsyncBatchExecutor(max_at_once=1)
        variable.set("caller")
        first = await executor.execute_batch([read_and_set] * 3)
        variable.set("other")
        second = await executor.execute_batch([read_and_set] * 2)
        assert first == ["caller"] * 3
        assert second == ["other"] * 2
        assert variable.get() == "other"

    run(main)


def test_operations_may_use_their_own_executor() -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor(max_at_once=2)

        async def nested(depth: int) -> int:
            if depth == 0:
                return 1
            parts = await executor.execute_batch([partial(nested, depth - 1)] * 2)
            outcomes = executor.stream([partial(double, 0)] * 3)
            assert [it.ok async for it in outcomes] == [True] * 3
            future = await executor.submit(double, 0)
            await future
            return sum(parts)

        assert await executor.execute_batch([partial(nested, 3)] * 4) == [8] * 4

    run(main)


def test_retries_and_pauses_are_those_of_the_policy() -> None:
    class RefusedError(Exception):
        status_code = 429

        def __init__(self) -> None:
            super().__init__("429 Too Many Requests")
            self.headers = {"Retry-After": "0.2"}

    async def main() -> None:
        limiter = RateLimiter(1000, per=1)
        left = [RefusedError(), ConnectionError("reset")]

        async def refused_first() -> str:
            await asyncio.sleep(0)
            if left:
                raise left.pop(0)
            return "done"

        executor = AsyncBatchExecutor(limiter, retry=Retry(3, also=ConnectionError, backoff=0.01))
        began = time.monotonic()
        report = await executor.run([refused_first])
        assert report.values() == ["done"]
        assert report[0].attempts == 3
        assert time.monotonic() - began >= 0.2

    run(main)


def test_a_stream_that_is_left_by_break_ends_with_its_last_holder() -> None:
    async def main() -> None:
        ended = asyncio.Event()

        async def slow() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                ended.set()

        async for _ in AsyncBatchExecutor(max_at_once=2).stream([partial(double, 1), slow]):
            break
        await asyncio.wait_for(ended.wait(), 5)

    run(main)


def test_submitted_calls_are_waited_for_and_cancelled_by_their_future() -> None:
    async def main() -> None:
        done = []

        async def slow(number: int) -> None:
            await asyncio.sleep(0.05)
            done.append(number)

        async with AsyncBatchExecutor(max_at_once=1) as executor:
            futures = [await executor.submit(slow, n) for n in range(4)]
            futures[2].cancel()
        assert done == [0, 1, 3]
        assert futures[2].cancelled()
        with pytest.raises(KeyError):
            async with AsyncBatchExecutor() as executor:
                future = await executor.submit(for_ever)
                raise KeyError
        assert future.cancelled()

    run(main)


def test_loops_in_threads_use_one_executor() -> None:
    executor = AsyncBatchExecutor(RateLimiter(1000, per=1), max_at_once=5)
    results = []

    def in_thread() -> None:
        results.append(asyncio.run(executor.execute_batch([partial(double, n) for n in range(50)])))

    threads = [threading.Thread(target=in_thread) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert results == [[n * 2 for n in range(50)]] * 4


def test_the_loop_goes_on_beside_a_batch_that_does_nothing() -> None:
    async def main() -> None:
        late = []

        async def beat() -> None:
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0.002)
                late.append(time.perf_counter() - began - 0.002)

        async def nothing() -> None:
            pass

        beating = asyncio.create_task(beat())
        for _ in range(5):
            await AsyncBatchExecutor().run(nothing for _ in range(4000))
        beating.cancel()
        late.sort()
        assert late[len(late) // 2] < 0.05

    asyncio.run(main())


def test_what_has_ended_is_let_go_without_the_collector() -> None:
    class Big:
        pass

    async def main() -> None:
        executor = AsyncBatchExecutor(max_at_once=4)
        big = Big()
        gone = weakref.ref(big)

        async def use(thing: Big) -> Big:
            await asyncio.sleep(0)
            return thing

        operations = [partial(use, big)] * 8
        report = await executor.run(operations)
        assert report[7].value is big
        async for outcome in executor.stream(list(operations)):
            del outcome
        del report, operations, big
        await asyncio.sleep(0.01)
        assert gone() is None

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_failures_are_logged_and_batches_leave_their_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "paceline")
    run(lambda: AsyncBatchExecutor().run([partial(double, 1), partial(fail, 9)]))
    messages = [record.getMessage() for record in caplog.records]
    assert any("index 1" in it or "operation 1" in it for it in messages), messages


@pytest.mark.parametrize("how", ["interrupt", "raise"])
def test_ctrl_c_ends_it_with_the_report(how: str) -> None:
    program = """
import asyncio, os, signal, sys
from functools import partial
from paceline import AsyncBatchExecutor, report_of
async def interrupt():
    await asyncio.sleep(0.1)
    if sys.argv[1] == "raise":
        raise KeyboardInterrupt
    os.kill(os.getpid(), signal.SIGINT)
    await asyncio.sleep(30)
async def slow():
    try:
        await asyncio.sleep(30)
    finally:
        print("ended")
async def main():
    try:
        await AsyncBatchExecutor(max_at_once=3).run([interrupt, slow])
    except BaseException as error:
        print(type(error).__name__, report_of(error).counts["not_started"])
        raise
try:
    asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted")
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program, how],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    name = "CancelledError" if how == "interrupt" else "KeyboardInterrupt"
    assert done.stdout.split() == ["ended", name, "0", "interrupted"]


@pytest.mark.parametrize("verb", ["execute", "execute_batch", "run"])
def test_a_verb_of_threads_that_holds_up_a_loop_warns(verb: str) -> None:
    with BatchExecutor(max_workers=2) as executor:
        operations = int if verb == "execute" else [int]

        async def main() -> None:
            with pytest.warns(RuntimeWarning, match="use an AsyncBatchExecutor") as caught:
                getattr(executor, verb)(operations)
            assert caught[0].filename == __file__
            # Nothing is said of what does not wait, nor where it waits elsewhere.
            assert await asyncio.wrap_future(executor.submit(int)) == 0
            assert await asyncio.to_thread(executor.execute, int) == 0

        asyncio.run(main())


def test_coroutine_functions_are_pointed_to_the_asynchronous_twin() -> None:
    with BatchExecutor() as executor, pytest.raises(TypeError, match="an AsyncBatchExecutor"):
        executor.run([partial(double, 1)])
