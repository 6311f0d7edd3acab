"""Ctrl-C once more, while what the first one ended is waited for."""

from __future__ import annotations

import signal
import time

import pytest
from childprocess import Child, Ended
from interrupting import VERBS

LONG = """
import itertools
from paceline import BatchExecutor
running = threading.Semaphore(0)
def work():
    running.release()
    time.sleep(600)
def tell():
    for _ in range(int(sys.argv[1])):
        running.acquire()
    print("running", flush=True)
threading.Thread(target=tell, daemon=True).start()
executor = BatchExecutor(max_workers=2)
operations = [work] * 10
# What was registered last comes first.
threading._register_atexit(print, "at exit", flush=True)
def until_interrupted(call):
    try:
        call()
    except KeyboardInterrupt:
        print("interrupted", flush=True)
    else:
        raise AssertionError("nothing was raised")
"""


def interrupt_after(script: str, *lines: str, running: int = 2, python: str | None = None) -> Ended:
    """How a script ends that gets Ctrl-C whenever it has printed the next of these lines."""
    options = {} if python is None else {"python": python}
    with Child(script, str(running), **options) as child:
        for line in lines:
            child.expect(line)
            # By now it waits again.
            time.sleep(0.3)
            child.send(signal.SIGINT)
        return child.finish(10)


def assert_ended_by_ctrl_c(ended: Ended) -> None:
    ended.assert_not_crashed()
    assert ended.returncode in (130, 1, -signal.SIGINT), ended.describe()


@pytest.mark.parametrize("verb", VERBS)
def test_a_second_ctrl_c_while_we_wait_at_exit_ends_the_process(verb: str) -> None:
    script = LONG + f"until_interrupted(lambda: {VERBS[verb]})"
    running = 1 if verb in ("execute", "result") else 2
    ended = interrupt_after(script, "running", "at exit", running=running)
    assert_ended_by_ctrl_c(ended)
    assert "interrupted\n" in ended.stdout
    assert ended.stderr == "", ended.describe()


def test_uncaught_ctrl_c_then_a_second_one_at_exit() -> None:
    ended = interrupt_after(LONG + "executor.execute_batch(operations)", "running", "at exit")
    assert_ended_by_ctrl_c(ended)
    assert "KeyboardInterrupt" in ended.stderr
    assert "paceline: " in ended.stderr, "the note with the counts is in the traceback"
    assert ended.stderr.count("Traceback") == 1, ended.describe()


LEAVING = {
    "with": """
def leave():
    with executor:
        until_interrupted(lambda: executor.execute_batch(operations))
until_interrupted(leave)
""",
    "with, by the exception": """
def leave():
    with executor:
        try:
            executor.execute_batch(operations)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
            raise
until_interrupted(leave)
""",
    "shutdown": """
until_interrupted(lambda: executor.run(operations))
until_interrupted(executor.shutdown)
""",
    "stream": """
until_interrupted(lambda: list(executor.stream(operations)))
until_interrupted(lambda: executor.__exit__(None, None, None))
""",
    "submit": """
executor.submit(work)
executor.submit(work)
until_interrupted(lambda: time.sleep(600))
until_interrupted(executor.shutdown)
""",
}


@pytest.mark.parametrize("leaving", LEAVING)
def test_a_second_ctrl_c_ends_the_wait_of_shutdown_and_a_third_the_exit(leaving: str) -> None:
    ended = interrupt_after(LONG + LEAVING[leaving], "running", "interrupted", "at exit")
    assert_ended_by_ctrl_c(ended)
    assert ended.stdout.count("interrupted\n") == 2, ended.describe()
    assert ended.stderr == "", ended.describe()


@pytest.mark.every_python
@pytest.mark.parametrize("leaving", ["with", "shutdown", "stream"])
def test_what_still_runs_after_the_second_ctrl_c_finishes_at_exit(
    leaving: str, python: str
) -> None:
    """Until Python 3.12 an interrupted `Thread.join` takes a thread that runs for ended."""
    # The call ends when the main thread has been waiting for it at exit for a while.
    script = """
released = threading.Event()
def work():
    running.release()
    released.wait()
    print("finished", flush=True)
ending = threading.Event()
def release():
    ending.wait()
    time.sleep(0.5)
    released.set()
executor = BatchExecutor(max_workers=1)
operations = [work] * 10
# From Python 3.12 on no thread can be started by then.
threading.Thread(target=release, daemon=True).start()
threading._register_atexit(ending.set)
"""
    script = LONG + script + LEAVING[leaving]
    ended = interrupt_after(script, "running", "interrupted", running=1, python=python)
    ended.assert_silent()
    assert ended.stdout.endswith("interrupted\nat exit\nfinished\n"), ended.describe()
    assert ended.stdout.count("finished") == 1, ended.describe()


def test_ctrl_c_at_exit_with_submitted_futures_ends_the_process() -> None:
    script = LONG + "for _ in range(5): executor.submit(work)"
    ended = interrupt_after(script, "at exit")
    assert_ended_by_ctrl_c(ended)
