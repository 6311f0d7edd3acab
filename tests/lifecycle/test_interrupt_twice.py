"""Ctrl-C once more, while what the first one ended is waited for."""

from __future__ import annotations

import signal
import time

import pytest
from childprocess import Child, Ended, run_script
from interrupting import VERBS

LONG = """
import itertools
from paceline import BatchExecutor
running = threading.Semaphore(0)
def work():
    running.release()
    time.sleep(600)
def tell():
    running.acquire(); {more}
    print("running", flush=True)
threading.Thread(target=tell, daemon=True).start()
executor = BatchExecutor(max_workers=2)
"""


def assert_ended_by_ctrl_c(ended: Ended) -> None:
    ended.assert_not_crashed()
    assert ended.returncode in (130, 1, -signal.SIGINT), ended.describe()


@pytest.mark.parametrize("verb", VERBS)
def test_a_second_ctrl_c_while_we_wait_at_exit_ends_the_process(verb: str) -> None:
    single = verb in ("execute", "result")
    script = LONG.format(more="" if single else "running.acquire()") + (
        f"try:\n    {VERBS[verb]}\n"
        'except KeyboardInterrupt:\n    print("interrupted", flush=True)\n'
    )
    with Child(script) as child:
        child.expect("running")
        time.sleep(0.05)
        child.send(signal.SIGINT)
        child.expect("interrupted", timeout=10)
        time.sleep(0.5)
        child.send(signal.SIGINT)
        ended = child.finish(10)
    assert_ended_by_ctrl_c(ended)
    assert ended.stderr == "", ended.describe()


def test_uncaught_ctrl_c_then_a_second_one_at_exit() -> None:
    script = LONG.format(more="running.acquire()") + "executor.execute_batch([work] * 10)"
    with Child(script) as child:
        child.expect("running")
        time.sleep(0.05)
        child.send(signal.SIGINT)
        time.sleep(1)
        child.send(signal.SIGINT)
        ended = child.finish(10)
    assert_ended_by_ctrl_c(ended)
    assert "KeyboardInterrupt" in ended.stderr
    assert "paceline: " in ended.stderr, "the note with the counts is in the traceback"
    assert ended.stderr.count("Traceback") == 1, ended.describe()


@pytest.mark.parametrize("leaving", ["with", "shutdown", "submit"])
def test_a_second_ctrl_c_ends_the_wait_of_shutdown_and_a_third_the_exit(leaving: str) -> None:
    ways = {
        "with": """
try:
    with executor:
        try:
            executor.execute_batch([work] * 10)
        except KeyboardInterrupt:
            print("first", flush=True)
            raise
except KeyboardInterrupt:
    print("second", flush=True)
""",
        "shutdown": """
try:
    executor.execute_batch([work] * 10)
except KeyboardInterrupt:
    print("first", flush=True)
try:
    executor.shutdown()
except KeyboardInterrupt:
    print("second", flush=True)
""",
        "submit": """
executor.submit(work)
executor.submit(work)
try:
    running.acquire()
    time.sleep(600)
except KeyboardInterrupt:
    print("first", flush=True)
try:
    executor.shutdown()
except KeyboardInterrupt:
    print("second", flush=True)
""",
    }
    script = LONG.format(more="running.acquire()") + ways[leaving]
    if leaving == "submit":
        script = script.replace("running.acquire()\n    time.sleep", "time.sleep")
    with Child(script) as child:
        child.expect("running")
        time.sleep(0.05)
        child.send(signal.SIGINT)
        child.expect("first", timeout=10)
        time.sleep(0.3)
        child.send(signal.SIGINT)
        child.expect("second", timeout=10)
        time.sleep(0.5)
        child.send(signal.SIGINT)
        ended = child.finish(10)
    assert_ended_by_ctrl_c(ended)
    assert ended.stderr == "", ended.describe()


@pytest.mark.every_python
@pytest.mark.parametrize("leaving", ["with", "shutdown", "stream"])
def test_what_still_runs_after_the_second_ctrl_c_finishes_at_exit(
    leaving: str, python: str
) -> None:
    """Until Python 3.12 an interrupted `Thread.join` takes a thread that runs for ended."""
    ways = {
        "with": """
def leave():
    with executor:
        interrupted(lambda: executor.execute_batch([work] * 10))
interrupted(leave)
""",
        "shutdown": """
interrupted(lambda: executor.run([work] * 10))
interrupted(executor.shutdown)
""",
        "stream": """
interrupted(lambda: list(executor.stream([work] * 10)))
interrupted(lambda: executor.__exit__(None, None, None))
""",
    }
    script = """
from paceline import BatchExecutor
released = threading.Event()
def work():
    print("running", flush=True)
    released.wait()
    print("finished", flush=True)
def interrupted(call):
    try:
        call()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    else:
        raise AssertionError("nothing was raised")
executor = BatchExecutor(max_workers=1)
"""
    # The call ends when the main thread has been waiting for it at exit for a while.
    end = """
def release():
    time.sleep(0.5)
    released.set()
threading.Thread(target=release, daemon=True).start()
print("at the end", flush=True)
"""
    with Child(script + ways[leaving] + end, python=python) as child:
        child.expect("running")
        time.sleep(0.05)
        child.send(signal.SIGINT)
        child.expect("interrupted", timeout=10)
        time.sleep(0.3)
        child.send(signal.SIGINT)
        child.expect("at the end", timeout=10)
        ended = child.finish(20).assert_silent()
    assert ended.stdout.count("running") == 1, ended.describe()
    assert ended.stdout.endswith("at the end\nfinished\n"), ended.describe()


def test_ctrl_c_at_exit_with_submitted_futures_ends_the_process() -> None:
    script = LONG.format(more="running.acquire()") + ("for _ in range(5): executor.submit(work)\n")
    with Child(script) as child:
        child.expect("running")
        time.sleep(0.5)
        child.send(signal.SIGINT)
        time.sleep(0.5)
        child.send(signal.SIGINT)
        ended = child.finish(10)
    ended.assert_not_crashed()
    assert ended.returncode != 0, ended.describe()


def test_a_second_ctrl_c_ends_the_wait_of_an_end_that_waits() -> None:
    """An input that raises waits for running operations; Ctrl-C ends that wait."""
    script = LONG.format(more="running.acquire()") + (
        "def broken():\n"
        "    yield work\n"
        "    yield work\n"
        "    time.sleep(0.2)\n"
        "    raise LookupError('the input is broken')\n"
        "try:\n"
        "    executor.execute_batch(broken())\n"
        "except KeyboardInterrupt as error:\n"
        "    assert error.batch_report.counts['running'] == 2\n"
        "    print('interrupted', flush=True)\n"
        "    os._exit(0)\n"
    )
    with Child(script) as child:
        child.expect("running")
        time.sleep(0.6)
        child.send(signal.SIGINT)
        child.expect("interrupted", timeout=10)
        child.finish(10).assert_silent()


def test_repeated_interrupts_never_leave_the_executor_unusable() -> None:
    run_script(
        """
        import random
        from paceline import BatchExecutor, RateLimiter
        random.seed(7)
        executor = BatchExecutor(RateLimiter(100_000, per=1), max_workers=2)
        interrupts = 0
        verbs = [
            lambda: executor.execute_batch([lambda: time.sleep(0.001)] * 200),
            lambda: executor.run([int] * 200_000),
            lambda: list(executor.stream([int] * 20_000)),
            lambda: list(executor.map(int, ["1"] * 5000)),
            lambda: [executor.submit(int).result() for _ in range(5000)],
        ]
        for round in range(40):
            signalling = threading.Timer(random.uniform(0, 0.05), os.kill,
                                         (os.getpid(), signal.SIGINT))
            try:
                signalling.start()
                verbs[round % len(verbs)]()
                signalling.join()
                time.sleep(0.05)
            except KeyboardInterrupt:
                interrupts += 1
            signalling.join()
        assert interrupts == 40, interrupts
        assert executor.execute_batch([int] * 50) == [0] * 50
        executor.shutdown()
        assert threading.active_count() == 1, threading.enumerate()
        """,
        timeout=50,
    ).assert_silent()
