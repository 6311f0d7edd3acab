"""Batches of coroutines: the verbs, what they return, and how they end."""

import asyncio
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial

import pytest
from coroutines import double, fail, for_ever, run

from paceline import (
    AsyncBatchExecutor,
    BatchExecutor,
    BatchTimeoutError,
    ErrorRecord,
    RateLimiter,
    report_of,
)


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
