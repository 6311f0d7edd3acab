"""How batches of coroutines end: cancelled at any moment, left, closed by others, nested."""

import asyncio
import contextlib
import contextvars
import gc
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from itertools import chain
from typing import Any

import pytest

from paceline import AsyncBatchExecutor, _tasks, report_of
from paceline._waiting import waiting_in

Operation = Callable[[], Awaitable[Any]]


async def sleep(seconds: float = 0.0) -> float:
    await asyncio.sleep(seconds)
    return seconds


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(40):
            return await main()

    return asyncio.run(within(), debug=True)


def test_a_batch_cancelled_before_its_tasks_began_loses_no_outcome_and_no_slot() -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor(max_at_once=3)
        for turns in range(8):
            task = asyncio.create_task(executor.run([partial(sleep, 30)] * 5))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError) as caught:
                await task
            if report := report_of(caught.value):
                assert report.counts["cancelled"] + report.counts["not_started"] == 5
            assert await executor.execute_batch([sleep] * 5) == [0.0] * 5

    run(main)


def test_a_stream_closed_by_another_task_ends_for_its_consumers() -> None:
    async def main() -> None:
        outcomes = AsyncBatchExecutor(max_at_once=3).stream([partial(sleep, 30)] * 5)

        async def consume() -> int:
            return len([outcome async for outcome in outcomes])

        consumers = [asyncio.create_task(consume()) for _ in range(2)]
        await asyncio.sleep(0.02)
        await asyncio.gather(outcomes.aclose(), outcomes.aclose())
        assert await asyncio.wait_for(asyncio.gather(*consumers), 10) == [0, 0]
        assert outcomes.report().counts["cancelled"] == 3

    run(main)


def test_several_tasks_may_take_from_a_stream() -> None:
    async def main() -> None:
        async def operations() -> AsyncIterator[Operation]:
            for _ in range(30):
                yield partial(sleep, 0.001)

        for source in ([partial(sleep, 0.001)] * 30, operations()):
            outcomes = AsyncBatchExecutor(max_at_once=3).stream(source)

            async def consume(outcomes: Any = outcomes) -> list[int]:
                return [outcome.index async for outcome in outcomes]

            taken = await asyncio.wait_for(asyncio.gather(*[consume() for _ in range(4)]), 20)
            assert sorted(chain.from_iterable(taken)) == list(range(30))

    run(main)


def test_what_an_operation_begins_runs_no_more_at_once_than_it_makes_room_for() -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor(max_at_once=1)
        running = most = 0

        async def count() -> None:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.005)
            running -= 1

        async def gathers() -> None:
            await asyncio.gather(*[executor.run([count] * 3) for _ in range(4)])

        async def submits() -> None:
            for _ in range(4):
                await executor.submit(count)

        await executor.run([gathers] * 3)
        assert most == 1
        # Those that submit have ended by the time the rest runs.
        await executor.run([submits])
        await asyncio.sleep(0.02)
        most = running
        await executor.aclose()
        assert most <= 1

    run(main)


def test_executors_may_be_nested_in_each_other() -> None:
    async def main() -> None:
        one, other = AsyncBatchExecutor(max_at_once=1), AsyncBatchExecutor(max_at_once=1)

        async def nested(depth: int) -> int:
            if not depth:
                return 1
            executor = (one, other)[depth % 2]
            return 1 + await executor.execute(partial(nested, depth - 1))

        assert await asyncio.wait_for(one.execute(partial(nested, 5)), 20) == 6

    run(main)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_stream_that_is_left_leaves_nothing_in_its_loop(is_async: bool) -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor(max_at_once=2)
        closed = []

        async def operations() -> AsyncIterator[Operation]:
            try:
                yield sleep
                await asyncio.sleep(30)
            finally:
                closed.append(1)

        for _ in range(10):
            async for _ in executor.stream(operations() if is_async else [sleep] * 100):
                break
        gc.collect()
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) == 1
        assert closed == [1] * 10 * is_async
        # Its slots look for more.
        assert len(waiting_in(asyncio.get_running_loop())._called) <= 2

    run(main)


def test_a_verb_that_is_destroyed_while_it_waits_awaits_nothing() -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor(max_at_once=2)
        verb = executor.run([partial(sleep, 30)] * 3)
        verb.send(None)
        await asyncio.sleep(0.01)
        assert len(asyncio.all_tasks()) == 3
        verb.close()
        await asyncio.sleep(0.05)
        assert len(asyncio.all_tasks()) == 1

    run(main)


def test_an_operation_that_was_cancelled_is_raised_where_it_has_no_entry() -> None:
    async def main() -> None:
        async def cancelled() -> None:
            raise asyncio.CancelledError("by itself")

        executor = AsyncBatchExecutor()
        with pytest.raises(asyncio.CancelledError, match="by itself"):
            await executor.execute(cancelled)
        with pytest.raises(asyncio.CancelledError, match="by itself") as caught:
            await executor.execute_batch([sleep, cancelled], on_error="raise")
        report = report_of(caught.value)
        assert report is not None
        assert report.counts["done"] == report.counts["cancelled"] == 1
        del report, caught
        entries = await executor.execute_batch([sleep, cancelled], on_error="return")
        assert isinstance(entries[1], asyncio.CancelledError)

    run(main)


def test_an_asynchronous_input_runs_in_one_task_with_one_context() -> None:
    async def main() -> None:
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
        tasks = set()
        seen = []

        async def operations() -> AsyncIterator[Operation]:
            try:
                for number in range(5):
                    tasks.add(asyncio.current_task())
                    seen.append(variable.get())
                    variable.set(number + 1)
                    yield sleep
                    await asyncio.sleep(0)
                await asyncio.sleep(30)
            finally:
                tasks.add(asyncio.current_task())

        with pytest.raises(TimeoutError):
            await AsyncBatchExecutor().run(operations(), timeout=0.1)
        assert seen == [0, 1, 2, 3, 4]
        assert len(tasks) == 1

    run(main)


def test_an_input_that_does_not_listen_is_waited_for_though_cancelled_again() -> None:
    async def main() -> None:
        ended = []

        async def operations() -> AsyncIterator[Operation]:
            try:
                await asyncio.sleep(30)
                yield sleep
            finally:
                for _ in range(2):
                    try:
                        await asyncio.sleep(0.05)
                    except asyncio.CancelledError:
                        continue
                ended.append(1)

        task = asyncio.create_task(AsyncBatchExecutor().run(operations()))
        await asyncio.sleep(0.02)
        task.cancel()
        await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert ended == [1]
        assert len(asyncio.all_tasks()) == 1

    run(main)


def test_a_call_that_nobody_got_the_future_of_is_cancelled() -> None:
    async def main() -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))

        async def fail() -> None:
            await asyncio.sleep(0.05)
            raise ValueError

        executor = AsyncBatchExecutor()
        task = asyncio.create_task(executor.submit(fail))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await executor.aclose()
        gc.collect()
        assert not told

    run(main)


def test_a_batch_with_too_many_failures_tells_what_became_of_those_that_ran() -> None:
    async def main() -> None:
        async def fail() -> None:
            await asyncio.sleep(0.01)
            raise ValueError

        async def stubborn() -> str:
            try:
                await asyncio.sleep(30)
            except asyncio.CancelledError:
                await asyncio.sleep(0.01)
            return "done"

        operations = [partial(sleep, 30), fail, stubborn, sleep]
        executor = AsyncBatchExecutor(max_at_once=3)
        with pytest.raises(ExceptionGroup) as caught:
            await executor.run(operations, max_failures=1)
        report = report_of(caught.value)
        assert report is not None
        assert [it.status for it in report] == ["cancelled", "failed", "done", "not_started"]

    run(main)


def test_a_call_that_was_cancelled_is_let_go_without_the_collector() -> None:
    class Big:
        pass

    async def main() -> None:
        async def cancelled(_: Big) -> None:
            raise asyncio.CancelledError

        big = Big()
        gone = weakref.ref(big)
        with contextlib.suppress(asyncio.CancelledError):
            await AsyncBatchExecutor().execute(partial(cancelled, big))
        del big
        await asyncio.sleep(0.01)
        assert gone() is None

    gc.disable()
    try:
        asyncio.run(main())
    finally:
        gc.enable()


def test_leaving_an_executor_by_cancellation_cancels_what_was_submitted() -> None:
    async def main() -> None:
        ended = []

        async def slow() -> None:
            try:
                await asyncio.sleep(30)
            finally:
                await asyncio.sleep(0.01)
                ended.append(1)

        for leaves in (True, False):
            executor = AsyncBatchExecutor()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    if leaves:
                        async with executor:
                            await executor.submit(slow)
                    else:
                        await executor.submit(slow)
                        await executor.aclose()
            assert len(ended) == 2 - leaves
            assert len(asyncio.all_tasks()) == 1

    run(main)


def test_a_submitted_call_may_close_its_executor() -> None:
    async def main() -> None:
        executor = AsyncBatchExecutor()
        other = await executor.submit(sleep, 0.05)

        async def closes() -> bool:
            await executor.aclose()
            return other.done()

        future = await executor.submit(closes)
        assert await asyncio.wait_for(future, 10)

    run(main)


def test_a_stream_does_not_take_what_its_input_raises_for_the_end() -> None:
    class Input:
        def __aiter__(self) -> AsyncIterator[Operation]:
            raise StopAsyncIteration

    def plain() -> Iterator[Operation]:
        yield sleep
        raise StopAsyncIteration

    async def main() -> None:
        for source in (Input(), plain()):
            with pytest.raises(RuntimeError, match="the input raised StopAsyncIteration") as caught:
                async for _ in AsyncBatchExecutor().stream(source):
                    pass
            assert report_of(caught.value) is not None

    run(main)


def test_ctrl_c_between_two_operations_loses_none(monkeypatch: pytest.MonkeyPatch) -> None:
    make = _tasks._Task
    left = [2]

    def interrupted(*arguments: Any, **options: Any) -> Any:
        left[0] -= 1
        if left[0]:
            return make(*arguments, **options)
        arguments[0].close()
        raise KeyboardInterrupt

    monkeypatch.setattr(_tasks, "_Task", interrupted)
    loop = asyncio.new_event_loop()
    executor = AsyncBatchExecutor(max_at_once=3)
    batch = loop.create_task(executor.run([partial(sleep, 30)] * 5))
    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(batch)
    batch.cancel()
    with pytest.raises(asyncio.CancelledError) as caught:
        loop.run_until_complete(asyncio.wait_for(batch, 20))
    report = report_of(caught.value)
    assert report is not None
    assert report.counts["running"] == 0
    after = asyncio.wait_for(executor.execute_batch([sleep] * 9), 20)
    assert len(loop.run_until_complete(after)) == 9
    loop.close()


def test_thousands_are_begun_and_cancelled_by_and_by() -> None:
    async def main() -> None:
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        counting = asyncio.create_task(count())
        batch = asyncio.create_task(
            AsyncBatchExecutor(max_at_once=20_000).run([partial(sleep, 30)] * 20_000)
        )
        while len(asyncio.all_tasks()) < 20_000:
            await asyncio.sleep(0.05)
        batch.cancel()
        turns = 0
        with pytest.raises(asyncio.CancelledError):
            await batch
        assert turns > 10
        counting.cancel()

    asyncio.run(main())
