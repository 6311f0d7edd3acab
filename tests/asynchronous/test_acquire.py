"""Permits for event loops, in one line with threads."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import paceline._waiting
from paceline import RateLimiter

MINUTE = 60.0


@pytest.fixture
def descriptors() -> Callable[[], int]:
    """How many files and sockets are open."""
    listing = Path("/proc/self/fd")
    if not listing.exists():
        pytest.skip("the system does not list them")
    return lambda: len(list(listing.iterdir()))


def test_a_permit_is_awaited_and_counts() -> None:
    async def main() -> None:
        limiter = RateLimiter(3, per=0.3, margin=0)
        began = time.monotonic()
        assert await limiter.acquire_async() is True
        assert await limiter.acquire_async(2) is True
        assert time.monotonic() - began < 0.2
        async with limiter as entered:
            assert entered is None
        assert time.monotonic() - began >= 0.3

    asyncio.run(main())


def test_with_takes_a_permit_too() -> None:
    limiter = RateLimiter(1, per=0.1, margin=0)
    began = time.monotonic()
    for _ in range(3):
        with limiter:
            pass
    assert time.monotonic() - began >= 0.2


def test_nothing_is_taken_before_it_is_awaited() -> None:
    async def main() -> None:
        limiter = RateLimiter(1, per=MINUTE)
        waiting = limiter.acquire_async()
        assert limiter.try_acquire()
        assert await limiter.acquire_async(timeout=0.01) is False
        waiting.close()

    asyncio.run(main())


def test_a_timeout_is_false_at_once_where_the_wait_is_known_to_be_longer() -> None:
    async def main() -> None:
        limiter = RateLimiter(1, per=MINUTE)
        assert await limiter.acquire_async(timeout=5)
        began = time.monotonic()
        assert await limiter.acquire_async(timeout=30) is False
        assert time.monotonic() - began < 5
        # Behind one who waits for something that may come sooner, nobody knows.
        combined = limiter & RateLimiter(1, per=MINUTE)
        first = asyncio.create_task(combined.acquire_async())
        await asyncio.sleep(0)
        assert await combined.acquire_async(timeout=0.05) is False
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(main())


@pytest.mark.parametrize(
    ("arguments", "options", "error", "words"),
    [
        ((0,), {}, ValueError, "weight must be"),
        ((6,), {}, ValueError, "weight must be at most 5"),
        (("1",), {}, TypeError, "weight must be an int"),
        ((), {"timeout": -1}, ValueError, "timeout must"),
        ((), {"timeout": "1"}, TypeError, "timeout must"),
    ],
)
def test_bad_arguments_are_refused_and_nothing_is_taken(
    arguments: Any, options: Any, error: type[Exception], words: str
) -> None:
    limiter = RateLimiter(5, per=MINUTE)

    async def main() -> None:
        with pytest.raises(error, match=words):
            await limiter.acquire_async(*arguments, **options)

    asyncio.run(main())
    assert limiter.try_acquire(5)


def test_outside_of_a_loop_it_says_what_to_do() -> None:
    waiting = RateLimiter(1, per=1).acquire_async()
    with pytest.raises(RuntimeError, match="none is running here: elsewhere call acquire"):
        waiting.send(None)


def test_tasks_and_threads_stand_in_one_line() -> None:
    limiter = RateLimiter(1, per=0.02, margin=0)
    order: list[int] = []

    def in_thread(number: int) -> None:
        limiter.acquire()
        order.append(number)

    async def in_task(number: int) -> None:
        await limiter.acquire_async()
        order.append(number)

    async def main() -> None:
        limiter.acquire()
        limiter.pause(1)
        threads, tasks = [], []
        for number in range(20):
            if number % 2:
                threads.append(threading.Thread(target=in_thread, args=(number,)))
                threads[-1].start()
            else:
                tasks.append(asyncio.create_task(in_task(number)))
            # Until it stands in line.
            await asyncio.sleep(0.015)
        await asyncio.gather(*tasks)
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.005)

    asyncio.run(main())
    assert order == list(range(20))


def test_ten_thousand_tasks_and_eight_threads_and_half_of_them_cancelled() -> None:
    limiter = RateLimiter(5_000, per=0.5, margin=0)
    starts: list[float] = []
    order: list[int] = []

    def in_thread() -> None:
        for _ in range(20):
            limiter.acquire()
            starts.append(time.monotonic())

    async def in_task(number: int) -> None:
        await limiter.acquire_async()
        starts.append(time.monotonic())
        order.append(number)

    async def main() -> None:
        tasks = [asyncio.create_task(in_task(number)) for number in range(10_000)]
        await asyncio.sleep(0)
        threads = [threading.Thread(target=in_thread) for _ in range(8)]
        for thread in threads:
            thread.start()
        for task in tasks[1::2]:
            task.cancel()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        cancelled = [it for it in done if isinstance(it, asyncio.CancelledError)]
        assert len(cancelled) + len(order) == 10_000
        assert len(cancelled) >= 2_500, "those that still waited"
        while any(thread.is_alive() for thread in threads):
            await asyncio.sleep(0.005)

    asyncio.run(main())
    assert order == sorted(order)
    assert len(starts) == len(order) + 160
    starts.sort()
    over = [b - a for a, b in zip(starts, starts[5_000:], strict=False) if b - a < 0.49]
    assert over == []
    # No permit is lost: what was not used is there again.
    time.sleep(0.55)
    assert limiter.try_acquire(5_000)


def test_one_that_is_cancelled_in_any_moment_loses_no_permit() -> None:
    limiter = RateLimiter(1_000, per=MINUTE)

    async def main() -> Counter[str]:
        limiter.pause(0.2)
        tasks = [asyncio.create_task(limiter.acquire_async()) for _ in range(400)]
        await asyncio.sleep(0.19)
        for task in tasks:
            # In the middle of their being served.
            await asyncio.sleep(0)
            task.cancel()
        return Counter(map(repr, await asyncio.gather(*tasks, return_exceptions=True)))

    ended = asyncio.run(main())
    assert limiter.stats().permits == ended["True"], ended
    # They may all have been cancelled before the pause is over.
    assert limiter.acquire(1_000 - ended["True"], timeout=30)


def test_loops_in_several_threads_share_a_limit() -> None:
    limiter = RateLimiter(10, per=0.2, margin=0)
    starts: list[float] = []

    async def main() -> None:
        async def one() -> None:
            async with limiter:
                starts.append(time.monotonic())

        await asyncio.gather(*(one() for _ in range(20)))

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(starts) == 80
    starts.sort()
    assert all(later - start >= 0.19 for start, later in zip(starts, starts[10:], strict=False))


def test_a_loop_that_is_closed_in_the_middle_holds_up_nobody() -> None:
    limiter = RateLimiter(1, per=0.2, margin=0)
    limiter.acquire()
    loop = asyncio.new_event_loop()
    task = loop.create_task(limiter.acquire_async())
    loop.run_until_complete(asyncio.sleep(0.01))
    loop.close()
    assert not limiter.try_acquire(), "it stands in line yet"
    del task, loop
    gc.collect()
    assert limiter.acquire(timeout=5)


def test_a_loop_and_what_waits_in_it_are_let_go() -> None:
    limiter = RateLimiter(5, per=0.05)

    async def main() -> None:
        await asyncio.gather(*(limiter.acquire_async() for _ in range(9)))

    asyncio.run(main())
    gc.collect()
    assert not list(paceline._waiting._WAITING)


def test_asyncio_s_own_ways_of_waiting_work() -> None:
    async def main() -> None:
        limiter = RateLimiter(1, per=MINUTE)
        await asyncio.wait_for(limiter.acquire_async(), 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(limiter.acquire_async(), 0.02)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await limiter.acquire_async()
        with pytest.raises(ExceptionGroup) as caught:
            async with asyncio.TaskGroup() as group:
                group.create_task(limiter.acquire_async())
                group.create_task(limiter.acquire_async(9))
        assert isinstance(caught.value.exceptions[0], ValueError)
        assert not limiter.try_acquire()

    asyncio.run(main(), debug=True)


def test_a_pause_holds_for_loops_and_an_update_wakes_them() -> None:
    async def main() -> None:
        limiter = RateLimiter(1, per=MINUTE, margin=0)
        await limiter.acquire_async()
        waiting = asyncio.create_task(limiter.acquire_async())
        await asyncio.sleep(0.02)
        assert not waiting.done()
        began = time.monotonic()
        limiter.update(2, per=MINUTE)
        assert await asyncio.wait_for(waiting, 5)
        assert time.monotonic() - began < 5
        limiter.update(10, per=MINUTE)
        limiter.pause(0.2)
        assert await limiter.acquire_async()
        assert time.monotonic() - began >= 0.2

    asyncio.run(main())


def test_uvloop_works() -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> float:
        limiter = RateLimiter(20, per=0.1, margin=0)
        began = time.monotonic()
        await asyncio.gather(*(limiter.acquire_async() for _ in range(60)))
        return time.monotonic() - began

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(main()) >= 0.2


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in Python 3.12")
def test_eager_tasks_work() -> None:
    async def main() -> None:
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        limiter = RateLimiter(5, per=0.1, margin=0)
        waiting = [asyncio.create_task(limiter.acquire_async()) for _ in range(12)]
        assert sum(task.done() for task in waiting) == 5
        assert all(await asyncio.gather(*waiting))

    asyncio.run(main())


def test_a_loop_that_cannot_watch_sockets_looks_by_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Proactor(asyncio.SelectorEventLoop):
        def add_reader(self, *_: object) -> None:
            raise NotImplementedError

    async def main() -> float:
        limiter = RateLimiter(10, per=0.1, margin=0)
        began = time.monotonic()
        await asyncio.gather(*(limiter.acquire_async() for _ in range(30)))
        return time.monotonic() - began

    with asyncio.Runner(loop_factory=Proactor) as runner:
        # The loop itself needs a socket to be woken by; there it may have it.
        assert runner.run(main()) >= 0.2


def test_a_shared_limit_is_awaited(tmp_path: Path) -> None:
    one, other = (RateLimiter(4, per=0.3, margin=0, shared=tmp_path / "limit") for _ in range(2))

    async def main() -> list[float]:
        starts = []

        async def take(limiter: RateLimiter) -> None:
            async with limiter:
                starts.append(time.monotonic())

        await asyncio.gather(*(take(limiter) for limiter in (one, other) * 6))
        return sorted(starts)

    starts = asyncio.run(main())
    assert len(starts) == 12
    assert all(later - start >= 0.29 for start, later in zip(starts, starts[4:], strict=False))


def test_nothing_is_left_when_the_interpreter_ends_while_tasks_wait() -> None:
    program = """
import asyncio, threading
from paceline import RateLimiter
limiter = RateLimiter(1, per=0.05)
async def main():
    for _ in range(9):
        asyncio.create_task(limiter.acquire_async())
    await asyncio.sleep(0.12)
thread = threading.Thread(target=asyncio.run, args=(main(),))
thread.start()
asyncio.run(main())
print("done")
"""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("done\n", "", 0)


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_wait_that_would_never_end_after_an_update_is_an_error(
    tmp_path: Path, is_shared: bool
) -> None:
    async def main() -> None:
        limiter = RateLimiter(
            10, per=0.5, margin=0, shared=tmp_path / "limit" if is_shared else None
        )
        assert limiter.try_acquire(10)
        heavy, light = (asyncio.create_task(limiter.acquire_async(it)) for it in (5, 1))
        await asyncio.sleep(0)
        limiter.update(2, 0.5)
        with pytest.raises(ValueError, match="weight must be at most 2"):
            await asyncio.wait_for(heavy, 30)
        assert await asyncio.wait_for(light, 30)

    asyncio.run(main())


def test_loops_that_have_ended_keep_nothing_until_their_timeouts(
    descriptors: Callable[[], int],
) -> None:
    limiter = RateLimiter(1, per=0.001, margin=0)

    async def main() -> None:
        await asyncio.gather(*(limiter.acquire_async(timeout=3600) for _ in range(3)))

    asyncio.run(main())
    before = descriptors()
    for _ in range(30):
        asyncio.run(main())
    gc.collect()
    assert descriptors() <= before + 2


def test_of_many_who_wait_for_a_shared_limit_only_the_first_looks_again(tmp_path: Path) -> None:
    async def main() -> None:
        limiter = RateLimiter(1, per=MINUTE, shared=tmp_path / "limit")
        assert limiter.try_acquire()
        waiting = [asyncio.create_task(limiter.acquire_async()) for _ in range(2000)]
        await asyncio.sleep(0.1)
        before = time.process_time()
        await asyncio.sleep(1)
        assert time.process_time() - before < 0.25
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())


@pytest.mark.parametrize("timeout", [100_000, 2000])
def test_many_come_at_once_with_a_timeout(timeout: float) -> None:
    """Each learns whether its turn comes in time without looking at all who wait before it."""

    async def waiting(timeout: float | None) -> float:
        limiter = RateLimiter(200, per=MINUTE)
        assert limiter.try_acquire(200)
        began = time.process_time()
        tasks = [asyncio.create_task(limiter.acquire_async(timeout=timeout)) for _ in range(10_000)]
        for _ in range(5):
            await asyncio.sleep(0)
        took = time.process_time() - began
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return took

    alone = min(asyncio.run(waiting(None)) for _ in range(3))
    assert min(asyncio.run(waiting(timeout)) for _ in range(3)) < 6 * alone
