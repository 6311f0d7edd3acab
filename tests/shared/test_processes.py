"""Processes that share a limit are killed, stopped and started: no window is over the limit."""

import mmap
import os
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from sharing import Other, fullest_window, rate_reached, sharing

from paceline import BatchExecutor, RateLimiter, Retry

MINUTE = 60.0
# Words of the file, as src/engine/backends/host_file/layout.rs has them.
MOVED, BOOT, TIME_SPACE, WALL_AHEAD = 7, 8, 9, 10

not_on_windows = pytest.mark.skipif(sys.platform == "win32", reason="no such signals on Windows")


def change_word(file: Path, word: int, change: int = 0, *, to: int | None = None) -> None:
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as words:
        (before,) = struct.unpack_from("=Q", words, word * 8)
        after = before + change if to is None else to
        struct.pack_into("=Q", words, word * 8, after % (1 << 64))


@not_on_windows
@pytest.mark.parametrize(
    ("limit", "per", "seconds", "every"),
    [
        pytest.param(50, 0.5, 5, 0.25, id="short"),
        pytest.param(50, 0.5, 60, 1, id="minute-of-50", marks=pytest.mark.long),
        pytest.param(200, 5, 60, 1, id="minute-of-200", marks=pytest.mark.long),
    ],
)
@pytest.mark.timeout(180)
def test_kills_and_stops_at_random_cost_no_window_and_hold_up_nobody(
    place: Path, limit: int, per: float, seconds: float, every: float
) -> None:
    seed = random.randrange(1 << 32)
    log = place.with_name("starts")
    with sharing(str(place), limit, per, log=log) as workers:
        workers.start(8)
        while not log.exists():
            time.sleep(0.01)
        disturbed = workers.disturb(seconds, every, random.Random(seed))
        calm = max(4 * per, 1.5)
        time.sleep(calm)
        alive = [process.poll() is None for process in workers.processes]
    starts = workers.starts()
    assert all(alive), seed
    assert fullest_window(starts, per) <= limit, (seed, disturbed)
    assert rate_reached(starts, seconds) > 0.9 * limit / per, (seed, disturbed)


@not_on_windows
def test_a_process_that_was_stopped_while_it_waited_longest_holds_up_nobody(place: Path) -> None:
    settings = {"limit": 4, "per": 0.4, "margin": 0, "shared": str(place)}
    with Other(**settings) as first, Other(**settings) as second:
        assert second.tell("limiter.try_acquire(4)") == "True"
        first.ask("limiter.acquire(4)")
        time.sleep(0.1)
        first.process.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        for _ in range(40):
            assert second.tell("limiter.acquire()") == "True"
        elapsed = time.monotonic() - began
        first.process.send_signal(signal.SIGCONT)
        assert elapsed < 10, "forty permits at ten a second"
        second.ask("[limiter.acquire() for _ in range(8)]")
        assert first.answer() == "True", "it is served when it is back"


def test_one_that_waits_for_many_permits_is_not_overtaken_for_ever(place: Path) -> None:
    settings = {"limit": 20, "per": 0.2, "margin": 0, "shared": str(place)}
    with Other(**settings) as light, Other(**settings) as other:
        greedy = "[limiter.acquire() for _ in range(600)] and None"
        light.ask(greedy)
        other.ask(greedy)
        heavy = RateLimiter(20, per=0.2, margin=0, shared=place)
        time.sleep(0.1)
        for _ in range(3):
            assert heavy.acquire(20, timeout=4)
        assert (light.answer(), other.answer()) == ("None", "None")


def test_waiting_processes_share_the_permits(place: Path) -> None:
    log = place.with_name("starts")
    with sharing(str(place), 10, 0.1, log=log) as workers:
        workers.start(4, workers=2)
        time.sleep(4)
    count: dict[str, int] = {}
    for line in log.read_text().splitlines():
        process = line.split()[1]
        count[process] = count.get(process, 0) + 1
    assert len(count) == 4
    # Nobody starves: a fair share would be a quarter.
    assert min(count.values()) > sum(count.values()) / 16, count


@pytest.mark.parametrize("pauses", [20, pytest.param(200, marks=pytest.mark.long)])
def test_a_pause_holds_for_all_processes_at_once(place: Path, pauses: int) -> None:
    settings = {"limit": 2_000_000, "per": 1.0, "shared": str(place)}
    limiter = RateLimiter(2_000_000, per=1.0, shared=place)
    # One that is held up until after the pause gets none.
    starts = "iter(lambda: limiter.acquire(timeout=0) and time.monotonic(), False)"
    program = f"max({starts}, default=0)"
    late = []
    with Other(**settings) as other:
        for _ in range(pauses):
            # It takes permits until it gets none, and tells when the last one was.
            other.ask(program)
            time.sleep(0.01)
            paused = time.monotonic()
            limiter.pause(0.05)
            late.append(float(other.answer()) - paused)
            assert limiter.stats().paused_for >= 0
            assert limiter.acquire()
    late.sort()
    assert late[len(late) * 99 // 100 - 1] < 0.05, late


def test_a_shorter_pause_shortens_nobodys(place: Path) -> None:
    limiter = RateLimiter(5, per=1, shared=place)
    with Other(limit=5, per=1.0, shared=str(place)) as other:
        limiter.pause(30)
        other.tell("limiter.pause(1)")
        assert limiter.wait_time() > 25
        assert other.tell("limiter.try_acquire()") == "False"
        assert float(other.tell("limiter.wait_time()")) > 25


class RefusedError(Exception):
    def __init__(self, retry_after: float) -> None:
        super().__init__("429 Too Many Requests")
        self.status_code, self.headers = 429, {"Retry-After": str(retry_after)}


def test_a_refusal_pauses_other_processes_and_cuts_an_adaptive_limit(place: Path) -> None:
    limiter = RateLimiter(20, per=MINUTE, adaptive=True, shared=place)
    executor = BatchExecutor(limiter, 1, retry=Retry(2))
    left = [RefusedError(1)]

    def refused_once() -> str:
        if left:
            raise left.pop()
        return "done"

    with Other(limit=20, per=MINUTE, adaptive=True, shared=str(place)) as other:
        running = threading.Thread(target=executor.run, args=([refused_once],))
        running.start()
        while limiter.stats().paused_because is None:
            time.sleep(0.005)
        assert other.tell("limiter.try_acquire()") == "False"
        stats = eval(other.tell("tuple(limiter.stats()[2:7])"))
        assert stats[0] == 10
        assert 0 < stats[2] <= 1
        assert stats[3:] == ("refused", os.getpid())
        running.join()
        assert other.tell("limiter.acquire(8)") == "True"
        assert other.tell("limiter.try_acquire()") == "False", "ten of twenty"
    executor.shutdown()


def test_a_pace_is_kept_by_all_together(place: Path) -> None:
    log = place.with_name("starts")
    with sharing(str(place), 25, 0.5, burst=1, log=log) as workers:
        workers.start(3, workers=2)
        time.sleep(3)
    starts = workers.starts()
    steps = [later - start for start, later in pairwise(starts)]
    # One every 20 ms. What the system delays is made up for by half of that at most; and between
    # the permit and the line that tells of it the system may delay a start again.
    assert len(starts) > 80
    assert sorted(steps)[len(steps) // 20] > 8_000_000


def test_a_file_that_is_deleted_is_made_anew_with_what_counts(place: Path) -> None:
    settings = {"limit": 6, "per": MINUTE, "shared": str(place)}
    limiter = RateLimiter(6, per=MINUTE, shared=place)
    with Other(**settings) as other:
        assert limiter.try_acquire(2)
        assert other.tell("limiter.try_acquire(2)") == "True"
        place.unlink()
        # It is looked for once a second.
        time.sleep(1.1)
        assert limiter.try_acquire()
        assert place.exists()
        assert other.tell("limiter.try_acquire()") == "True"
        assert RateLimiter(6, per=MINUTE, shared=place).stats().permits == 6
        assert not limiter.try_acquire()
        assert other.tell("limiter.try_acquire()") == "False"


def test_one_that_dies_while_it_replaces_the_file_holds_up_nobody(place: Path) -> None:
    limiter = RateLimiter(6, per=MINUTE, shared=place)
    assert limiter.try_acquire(2)
    change_word(place, MOVED, to=1)
    assert limiter.acquire(timeout=5)
    assert limiter.stats().permits == 3


@not_on_windows
def test_kills_while_the_numbers_change_lose_no_permit(place: Path) -> None:
    program = """
import sys, itertools
from paceline import RateLimiter
limiter = RateLimiter(1000, per=600, shared=sys.argv[1])
print("ready", flush=True)
for turn in itertools.count():
    limiter.update(1000 + turn % 5, per=600)
"""
    limiter = RateLimiter(1000, per=600, shared=place)
    taken = 0
    for round_ in range(8):
        child = subprocess.Popen([sys.executable, "-c", program, str(place)], stdout=-1)
        assert child.stdout
        child.stdout.readline()
        until = time.monotonic() + 0.1 + round_ / 100
        while time.monotonic() < until:
            taken += limiter.acquire(timeout=5)
            time.sleep(0.002)
        child.kill()
        child.communicate()
        limiter.update(1000, per=600)
    permits = limiter.stats().permits
    # A permit may count that was given back as the file changed; none that was taken is forgotten.
    assert taken <= permits <= taken + 16


def test_permits_of_before_a_restart_of_the_host_count(place: Path) -> None:
    assert RateLimiter(5, per=MINUTE, shared=place).try_acquire(3)
    # As if the host had been started anew an hour ago, with its clock at zero: times of then are an
    # hour larger than those of now for the same moment.
    hour = 3_600 * 10**9
    for word, change in ((BOOT, 1), (WALL_AHEAD, -hour)):
        change_word(place, word, change)
    change_slots(place, hour)
    limiter = RateLimiter(5, per=MINUTE, shared=place)
    assert limiter.stats().permits == 3
    assert 50 < limiter.wait_time(3) <= 61


def test_permits_of_long_before_a_restart_do_not(place: Path) -> None:
    assert RateLimiter(5, per=MINUTE, shared=place).try_acquire(3)
    change_word(place, BOOT, 1)
    change_word(place, WALL_AHEAD, -70 * 10**9)
    assert RateLimiter(5, per=MINUTE, shared=place).stats().permits == 0


def test_nothing_counts_for_longer_than_it_can_if_the_wall_clock_was_set_back(place: Path) -> None:
    assert RateLimiter(5, per=MINUTE, shared=place).try_acquire(3)
    change_word(place, BOOT, 1)
    change_word(place, WALL_AHEAD, 3_600 * 10**9)
    limiter = RateLimiter(5, per=MINUTE, shared=place)
    assert limiter.stats().permits == 3
    assert limiter.wait_time(3) <= 62


def change_slots(file: Path, change: int) -> None:
    first = 512 + 8 * 128
    words = struct.unpack(f"={file.stat().st_size // 8}Q", file.read_bytes())
    for slot in range(first, len(words)):
        if words[slot]:
            change_word(file, slot, change)


@pytest.mark.skipif(sys.platform != "linux", reason="time namespaces are Linux's")
def test_another_time_namespace_is_refused(place: Path) -> None:
    RateLimiter(5, per=MINUTE, shared=place)
    change_word(place, TIME_SPACE, 1)
    with pytest.raises(ValueError, match="another time namespace"):
        RateLimiter(5, per=MINUTE, shared=place)


def test_processes_that_have_ended_leave_room_for_others(place: Path) -> None:
    """Also those that could not say so, however many and however lately."""
    limiter = RateLimiter(5, per=MINUTE, shared=place)
    program = """
import os, sys
from paceline import RateLimiter
kept = [RateLimiter(5, per=60, shared=sys.argv[1]) for _ in range(50)]
os._exit(0)
"""
    for _ in range(4):
        subprocess.run([sys.executable, "-c", program, str(place)], timeout=30, check=True)
    assert RateLimiter(5, per=MINUTE, shared=place).try_acquire()
    other = RateLimiter(5, per=MINUTE, shared=place)
    assert len(limiter.stats().holders) == 2
    del other


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("is_shared", [False, True])
def test_a_child_forked_during_an_update_can_update_too(place: Path, is_shared: bool) -> None:
    program = """
import os, signal, sys, threading
from paceline import RateLimiter
limiter = RateLimiter(5, per=60, shared=sys.argv[1] or None)
done = threading.Event()
def update():
    while not done.is_set():
        limiter.update(5, 60)
threads = [threading.Thread(target=update) for _ in range(3)]
for thread in threads:
    thread.start()
codes = set()
for _ in range(30):
    child = os.fork()
    if child == 0:
        signal.alarm(10)
        # Of a shared one it may be what the child before has changed it to for a moment.
        assert limiter.limit in (5, 6)
        limiter.update(6, 60)
        limiter.update(5, 60)
        os._exit(0)
    codes.add(os.waitpid(child, 0)[1])
    if codes != {0}:
        break
done.set()
print(codes)
"""
    command = [sys.executable, "-W", "ignore", "-c", program, str(place) if is_shared else ""]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("{0}\n", "")
