"""Programs that take any `concurrent.futures.Executor` take ours, with a rate limit underneath."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from concurrent.futures import as_completed
from typing import Any

import dask
import dask.bag
import pytest
from helpers import RecordingLimiter, worst_window
from observing import PATIENCE, worker_threads
from tqdm import tqdm

from paceline import BatchExecutor, RateLimiter

# asyncio


def test_run_in_executor() -> None:
    limiter = RecordingLimiter()

    async def main(executor: BatchExecutor) -> list[int]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, pow, n, 2) for n in range(30)]
        return await asyncio.gather(*calls)

    with BatchExecutor(limiter, max_workers=3) as executor:
        assert asyncio.run(main(executor)) == [n * n for n in range(30)]
    assert limiter.calls == 30


def test_run_in_executor_raises_in_the_coroutine() -> None:
    def fail() -> None:
        raise LookupError("no such user")

    async def main(executor: BatchExecutor) -> None:
        with pytest.raises(LookupError, match="no such user"):
            await asyncio.get_running_loop().run_in_executor(executor, fail)

    with BatchExecutor(max_workers=1) as executor:
        asyncio.run(main(executor))


def test_a_timeout_of_asyncio_takes_no_permit() -> None:
    limiter = RateLimiter(1, per=600)
    assert limiter.acquire()

    async def main(executor: BatchExecutor) -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(loop.run_in_executor(executor, int), 0.1)

    executor = BatchExecutor(limiter, max_workers=1)
    asyncio.run(main(executor))
    # The operation was cancelled, so nothing keeps this from ending.
    executor.shutdown(wait=True)


def longest_hold_up(executor: BatchExecutor, calls: int) -> tuple[float, list[float]]:
    """The longest time the loop did not run in while `calls` paced calls were gathered, in
    seconds, and when each call started."""

    async def main() -> tuple[float, list[float]]:
        longest = 0.0
        finished = False

        async def heartbeat() -> None:
            nonlocal longest
            interval = 0.002
            before = time.monotonic()
            while not finished:
                await asyncio.sleep(interval)
                now = time.monotonic()
                longest = max(longest, now - before - interval)
                before = now

        beating = asyncio.create_task(heartbeat())
        await asyncio.sleep(0.01)
        loop = asyncio.get_running_loop()
        starts = await asyncio.gather(
            *(loop.run_in_executor(executor, time.monotonic) for _ in range(calls))
        )
        finished = True
        await beating
        return longest, starts

    return asyncio.run(main())


@pytest.mark.parametrize("kind", ["ours", "foreign"])
def test_200_paced_calls_never_hold_the_loop_up(kind: str) -> None:
    limiter: Any
    if kind == "ours":
        limiter = RateLimiter(20, per=0.1, margin=0)
    else:

        class Paced:
            def acquire(self) -> None:
                time.sleep(0.005)

        limiter = Paced()
    measured = []
    with BatchExecutor(limiter, max_workers=4) as executor:
        for _ in range(6):
            longest, starts = longest_hold_up(executor, 200)
            assert len(starts) == 200
            # Pacing was real, so there was something to wait for.
            assert max(starts) - min(starts) > 0.8
            if kind == "ours":
                assert worst_window(starts, 0.08) <= 20
            measured.append(longest)
            if longest < 0.05:
                return
    pytest.fail(f"the loop was held up each time: {measured}")


# dask


def test_dask_computes_on_our_executor() -> None:
    limiter = RecordingLimiter()
    names: set[str] = set()

    @dask.delayed  # type: ignore[untyped-decorator, unused-ignore]
    def square(n: int) -> int:
        names.add(threading.current_thread().name)
        return n * n

    with BatchExecutor(limiter, max_workers=3, thread_name_prefix="dasked") as executor:
        with dask.config.set(pool=executor):
            total = dask.delayed(sum)([square(n) for n in range(40)])
            assert total.compute(scheduler="threads") == sum(n * n for n in range(40))
        assert limiter.calls >= 41
        assert names <= {thread.name for thread in worker_threads("dasked")}


def test_dask_bag_runs_on_our_executor() -> None:
    with (
        BatchExecutor(RateLimiter(1000, per=0.1), max_workers=2) as executor,
        dask.config.set(pool=executor, scheduler="threads"),
    ):
        bag = dask.bag.from_sequence(range(100), npartitions=10)
        assert bag.map(lambda n: n + 1).filter(lambda n: n % 2).sum().compute() == 2500


def test_dask_raises_what_a_task_raises() -> None:
    @dask.delayed  # type: ignore[untyped-decorator, unused-ignore]
    def fail() -> None:
        raise LookupError("no such partition")

    with (
        BatchExecutor(max_workers=2) as executor,
        dask.config.set(pool=executor, scheduler="threads"),
        pytest.raises(LookupError, match="no such partition"),
    ):
        fail().compute()


# tqdm


def test_tqdm_counts_completed_futures() -> None:
    screen = io.StringIO()
    with BatchExecutor(RateLimiter(1000, per=0.1), max_workers=4) as executor:
        futures = [executor.submit(pow, n, 2) for n in range(50)]
        bar = tqdm(as_completed(futures, timeout=PATIENCE), total=len(futures), file=screen)
        results = {future.result() for future in bar}
    assert results == {n * n for n in range(50)}
    assert bar.n == 50
    assert "50/50" in screen.getvalue()
