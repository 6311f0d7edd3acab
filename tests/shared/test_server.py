"""A limit that processes share by a Redis or Valkey server."""

import asyncio
import logging
import os
import pickle
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis_server
from redis_server import Server
from sharing import Other, fullest_window, rate_reached, sharing

from paceline import AsyncBatchExecutor, BatchExecutor, RateLimiter, Retry, report_of

MINUTE = 60.0

pytestmark = pytest.mark.skipif(
    sys.platform == "win32" or redis_server.find() is None,
    reason="there is no redis-server and no valkey-server",
)


@pytest.fixture
def server() -> Iterator[Server]:
    with redis_server.running() as server:
        yield server


class RefusedError(Exception):
    def __init__(self, retry_after: float) -> None:
        super().__init__("429 Too Many Requests")
        self.status_code, self.headers = 429, {"Retry-After": str(retry_after)}


def test_two_limiters_of_one_name_are_one_limit(server: Server) -> None:
    one, other = (RateLimiter(5, per=MINUTE, shared=server.address("x")) for _ in range(2))
    assert [one.try_acquire(), other.try_acquire(3), one.try_acquire(2)] == [True, True, False]
    assert other.try_acquire()
    assert not one.try_acquire()
    assert 55 < one.wait_time() < 65
    began = time.monotonic()
    assert not other.acquire(timeout=20)
    assert time.monotonic() - began < 10, "it is known that it would take longer"
    third = RateLimiter(5, per=MINUTE, shared=server.address("y"))
    assert third.try_acquire(5)


def test_a_window_is_exact_and_used_up(server: Server) -> None:
    limiter = RateLimiter(10, per=0.25, margin=0, shared=server.address("x"))
    starts = []
    for _ in range(45):
        assert limiter.acquire()
        starts.append(time.monotonic_ns())
    assert fullest_window(starts, 0.249) <= 10
    assert starts[-1] - starts[0] < 1_500_000_000


def test_processes_are_killed_and_stopped_and_the_server_forgets(
    server: Server, tmp_path: Path
) -> None:
    disturb(server, tmp_path, (50, 0.5), seconds=6, every=0.25)


@pytest.mark.long
@pytest.mark.timeout(180)
@pytest.mark.parametrize(("limit", "per"), [(50, 0.5), (200, 5)])
def test_a_minute_of_that(server: Server, tmp_path: Path, limit: int, per: float) -> None:
    disturb(server, tmp_path, (limit, per), seconds=60, every=1)


def disturb(
    server: Server, folder: Path, rate: tuple[int, float], *, seconds: float, every: float
) -> None:
    """Kill and stop processes at random, and have the server forget, and kill its connections."""
    limit, per = rate
    seed = random.randrange(1 << 32)
    log = folder / "starts"
    with sharing(server.address("x"), limit, per, log=log) as workers:
        workers.start(8)
        while not log.exists():
            time.sleep(0.01)
        done = threading.Event()

        def forget() -> None:
            for command in ("FLUSHALL", "SCRIPT FLUSH", "CLIENT KILL TYPE normal", "FLUSHALL"):
                if not done.wait(seconds / 5):
                    server.tell(command)

        forgets = threading.Thread(target=forget)
        forgets.start()
        disturbed = workers.disturb(seconds, every, random.Random(seed))
        done.set()
        forgets.join()
        time.sleep(max(4 * per, 1.5))
        alive = [process.poll() is None for process in workers.processes]
    starts = workers.starts()
    assert all(alive), seed
    assert fullest_window(starts, per) <= limit, (seed, disturbed)
    # Each of two flushes costs a window, and what is waited for it.
    assert rate_reached(starts, seconds) > 0.9 * limit / per * (1 - 3 * per / seconds), seed


def test_a_batch_goes_on_when_the_server_is_back(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    limiter = RateLimiter(5, per=0.2, shared=server.address("x"))
    with caplog.at_level(logging.WARNING, "paceline"), BatchExecutor(limiter, 4) as executor:
        restarting = threading.Timer(0.5, server.restart)
        restarting.start()
        assert executor.execute_batch([lambda: 1] * 40) == [1] * 40
        restarting.join()
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert "limiter_lost" in told
    assert "limiter_found" in told


def test_a_batch_of_coroutines_goes_on_or_ends_without_contact(
    server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    async def one() -> int:
        return 1

    async def main() -> None:
        waits = RateLimiter(5, per=0.2, shared=server.address("x"))
        restarting = threading.Timer(0.5, server.restart)
        restarting.start()
        assert await AsyncBatchExecutor(waits).execute_batch([one] * 40) == [1] * 40
        await asyncio.to_thread(restarting.join)
        raises = RateLimiter(5, per=1, shared=server.address("y"), when_lost="raise")
        stopping = threading.Timer(0.5, server.stop)
        stopping.start()
        with pytest.raises(ConnectionError, match="no contact") as caught:
            async with asyncio.timeout(20):
                await AsyncBatchExecutor(raises).run([one] * 100)
        report = report_of(caught.value)
        assert report is not None
        assert (report.ended_by, report.counts["not_started"] > 0) == ("limiter", True)
        stopping.join()

    with caplog.at_level(logging.WARNING, "paceline"):
        asyncio.run(main())
    told = [record.getMessage().split()[0] for record in caplog.records]
    assert "limiter_lost" in told
    assert "limiter_found" in told


def test_without_contact_it_waits_or_raises(server: Server) -> None:
    waits = RateLimiter(5, per=1, shared=server.address("x"))
    raises = RateLimiter(5, per=1, shared=server.address("x"), when_lost="raise")
    assert repr(raises).endswith("#x', when_lost='raise')")
    server.stop()
    with pytest.raises(ConnectionError, match="no contact with redis"):
        for _ in range(1000):
            raises.acquire()
    with pytest.raises(ConnectionError):
        raises.try_acquire()
    with BatchExecutor(raises, 2) as executor:
        with pytest.raises(ConnectionError, match="no contact") as caught:
            executor.execute_batch([int] * 100)
        assert caught.value.batch_report.counts["not_started"] > 0  # type: ignore[attr-defined]
        with pytest.raises(ConnectionError):
            executor.submit(int).result(20)
    assert not waits.acquire(timeout=0.2)
    assert not waits.try_acquire()
    server.restart()
    assert waits.acquire(timeout=20)


def test_a_server_that_is_not_there_is_told(server: Server) -> None:
    address = server.address("x")
    server.stop()
    with pytest.raises(ConnectionError, match="no contact with redis"):
        RateLimiter(1, per=1, shared=address)
    with pytest.raises(ConnectionError, match=r"redis://127\.0\.0\.1:1/0#x: ") as caught:
        RateLimiter(1, per=1, shared="redis://:secret@127.0.0.1:1/0#x")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("shared", "when_lost", "words"),
    [
        ("redis://cache/0", "wait", "put its name behind a #"),
        ("http://cache#x", "wait", 'not one that begins with "http"'),
        ("redis://cache#x", "open", 'when_lost must be "wait" or "raise", not'),
    ],
)
def test_what_is_no_address_is_refused(shared: str, when_lost: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RateLimiter(1, per=1, shared=shared, when_lost=when_lost)


def test_other_numbers_are_refused_while_permits_count(server: Server) -> None:
    limiter = RateLimiter(5, per=0.3, margin=0, shared=server.address("x"))
    assert limiter.try_acquire()
    for limit, per in ((6, 0.3), (5, 0.4)):
        with pytest.raises(ValueError, match=r"in use with limit=5, per=0\.3, which is not limit="):
            RateLimiter(limit, per=per, shared=server.address("x"))
    time.sleep(0.5)
    newcomer = RateLimiter(2, per=MINUTE, shared=server.address("x"))
    assert newcomer.try_acquire()
    assert limiter.try_acquire(), "those of the newcomer hold for everybody"
    assert not limiter.try_acquire()
    assert (limiter.limit, limiter.per) == (2, MINUTE)


def test_an_update_holds_for_all_and_keeps_what_counts(server: Server) -> None:
    settings = {"limit": 5, "per": MINUTE, "shared": server.address("x")}
    limiter = RateLimiter(5, per=MINUTE, shared=server.address("x"))
    with Other(**settings) as other:
        assert other.tell("limiter.acquire(4)") == "True"
        limiter.update(8, per=MINUTE)
        assert limiter.acquire(2, timeout=10)
        while other.tell("limiter.limit") != "8":
            time.sleep(0.01)
        assert other.tell("limiter.try_acquire(2)") == "True"
        assert not limiter.try_acquire()


def test_a_refusal_pauses_other_processes_and_cuts_an_adaptive_limit(server: Server) -> None:
    address = server.address("x")
    limiter = RateLimiter(20, per=MINUTE, adaptive=True, shared=address)
    left = [RefusedError(1)]

    def refused_once() -> str:
        if left:
            raise left.pop()
        return "done"

    with Other(limit=20, per=MINUTE, adaptive=True, shared=address) as other:
        with BatchExecutor(limiter, 1, retry=Retry(2)) as executor:
            assert executor.execute_batch([refused_once]) == ["done"]
        assert other.tell("limiter.acquire(8)") == "True"
        assert other.tell("limiter.effective_limit") == "10"
        assert other.tell("limiter.try_acquire()") == "False", "ten of twenty"


def test_a_copy_and_a_child_share_it(server: Server) -> None:
    limiter = RateLimiter(10, per=MINUTE, shared=server.address("x"))
    copied = pickle.loads(pickle.dumps(limiter))
    assert copied.try_acquire(4)
    child = os.fork()
    if not child:
        taken = limiter.acquire(2, timeout=20)
        os._exit(0 if taken else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert limiter.try_acquire(4)
    assert not limiter.try_acquire()


def test_a_pause_holds_for_other_processes(server: Server) -> None:
    settings = {"limit": 1000, "per": 1.0, "shared": server.address("x")}
    limiter = RateLimiter(1000, per=1.0, shared=server.address("x"))
    with Other(**settings) as other:
        assert other.tell("limiter.acquire()") == "True"
        limiter.pause(0.4)
        time.sleep(0.05)
        began = time.monotonic()
        assert other.tell("limiter.acquire()") == "True"
        assert 0.25 < time.monotonic() - began < 5
        limiter.pause(30)
        stats = limiter.stats()
        assert 25 < stats.paused_for <= 30
        assert (stats.paused_because, stats.paused_by) == ("pause", os.getpid())
        assert {holder.pid for holder in stats.holders} == {os.getpid(), other.process.pid}
        assert stats.shared == server.address("x")


@pytest.mark.parametrize("pauses", [20, pytest.param(200, marks=pytest.mark.long)])
def test_a_pause_stops_starts_of_another_process_in_time(server: Server, pauses: int) -> None:
    settings = {"limit": 1_000_000, "per": 1.0, "shared": server.address("x")}
    limiter = RateLimiter(1_000_000, per=1.0, shared=server.address("x"))
    # It takes permits until it waits for one, and tells when it had the last before that.
    acquire = "(time.monotonic(), limiter.acquire(), time.monotonic())"
    starts = f"iter(lambda: (lambda it: it[2] - it[0] < 0.1 and it[2])({acquire}), False)"
    program = f"max({starts}, default=0)"
    late = []
    with Other(**settings) as other:
        for _ in range(pauses):
            other.ask(program)
            time.sleep(0.02)
            paused = time.monotonic()
            limiter.pause(0.2)
            late.append(float(other.answer()) - paused)
            assert limiter.acquire(timeout=20)
    late.sort()
    # One that is held up until after the pause gets none.
    assert sum(it > -1 for it in late) > pauses / 2, late
    # A round trip and 10 ms are promised; the rest is for processes that wait for a processor.
    assert late[len(late) * 99 // 100 - 1] < 0.05, late


def test_a_combination_takes_of_both_or_none(server: Server) -> None:
    shared = RateLimiter(4, per=MINUTE, shared=server.address("x"))
    private = RateLimiter(2, per=0.3, margin=0)
    both = shared & private
    began = time.monotonic()
    for _ in range(4):
        assert both.acquire(timeout=20)
    assert 0.3 <= time.monotonic() - began < 10
    assert shared.stats().permits == 4
    time.sleep(0.35)
    assert not both.acquire(timeout=0.1)
    assert private.try_acquire(2), "nothing was taken of it"


def test_one_limit_twice_in_a_combination_is_charged_once(server: Server) -> None:
    one, other = (RateLimiter(1, per=MINUTE, shared=server.address("x")) for _ in range(2))
    third = RateLimiter(1, per=MINUTE, shared=server.address("y"))
    assert (one & other & third).parts == (one, third)
    assert (one & other & third).acquire(timeout=20)
    raises = RateLimiter(1, per=MINUTE, shared=server.address("x"), when_lost="raise")
    with pytest.raises(ValueError, match="are one limit"):
        one & raises


def test_nothing_is_left_of_a_process_that_ends(server: Server) -> None:
    program = """
import sys
from paceline import AsyncBatchExecutor, BatchExecutor, RateLimiter, Retry, report_of
limiter = RateLimiter(3, per=0.1, shared=sys.argv[1])
with BatchExecutor(limiter, 2) as executor:
    executor.execute_batch([int] * 9)
print("done")
"""
    command = [sys.executable, "-c", program, server.address("x")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "done\n", "")


def test_a_loop_goes_on_while_the_server_is_asked(server: Server) -> None:
    async def main() -> float:
        limiter = RateLimiter(50, per=60, shared=server.address("loop"))
        assert await limiter.acquire_async()
        server.tell("CLIENT PAUSE 700 ALL")
        waiting = asyncio.create_task(limiter.acquire_async(weight=20))
        longest = 0.0
        while not waiting.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            longest = max(longest, time.monotonic() - before)
        assert await waiting
        return longest

    assert asyncio.run(main()) < 0.4
