"""Operations that are awaited: what they may be, may do, and leave behind."""

import asyncio
import contextvars
import gc
import logging
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import AsyncIterator
from functools import partial

import pytest
from coroutines import BoundedElsewhere, double, fail, for_ever, run

from paceline import (
    AsyncBatchExecutor,
    BatchExecutor,
    RateLimiter,
    Retry,
)


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
