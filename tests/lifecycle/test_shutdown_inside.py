"""`shutdown()` on a thread that it would have to wait for: it does not wait there."""

from __future__ import annotations

import os

import pytest
from childprocess import run_script

PREAMBLE = """
from functools import partial
from concurrent.futures import CancelledError
from paceline import BatchExecutor
sleeps = [partial(time.sleep, 0.02)] * 30
cancel = sys.argv[1] == "True"
def use(verb):
    try:
        return len(verb())
    except CancelledError as error:
        return getattr(error, "batch_report", None) and error.batch_report.ended_by
"""


@pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")
@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("verb", ["run", "execute_batch", "stream", "map"])
def test_in_a_signal_handler(verb: str, cancel: bool) -> None:
    ended = run_script(
        PREAMBLE
        + f"""
executor = BatchExecutor(max_workers=2)
signal.signal(signal.SIGTERM, lambda *_: executor.shutdown(cancel_futures=cancel))
threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
verbs = {{
    "run": lambda: executor.run(sleeps),
    "execute_batch": lambda: executor.execute_batch(sleeps),
    "stream": lambda: list(executor.stream(sleeps)),
    "map": lambda: list(executor.map(lambda _: time.sleep(0.02), range(30))),
}}
print(use(verbs[{verb!r}]))
""",
        str(cancel),
        timeout=15,
    ).assert_silent()
    assert ended.stdout == ("shutdown\n" if cancel else "30\n"), ended.describe()


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("verb", ["run", "execute_batch", "stream"])
def test_in_the_input(verb: str, cancel: bool) -> None:
    ended = run_script(
        PREAMBLE
        + f"""
executor = BatchExecutor(max_workers=2)
def operations():
    yield from sleeps[:10]
    executor.shutdown(cancel_futures=cancel)
    yield from sleeps[10:]
print(use(lambda: list(executor.{verb}(operations()))))
""",
        str(cancel),
        timeout=15,
    ).assert_silent()
    assert ended.stdout == ("shutdown\n" if cancel else "30\n"), ended.describe()


@pytest.mark.parametrize("cancel", [False, True])
@pytest.mark.parametrize("verb", ["run", "submit", "stream"])
def test_in_a_limiter(verb: str, cancel: bool) -> None:
    ended = run_script(
        PREAMBLE
        + f"""
class Closing:
    asked = 0
    def acquire(self):
        self.asked += 1
        if self.asked == 3:
            executor.shutdown(cancel_futures=cancel)
executor = BatchExecutor(Closing(), max_workers=2)
def submit(operations):
    futures = [executor.submit(operation) for operation in operations]
    return [future.result() for future in futures]
print(use(lambda: list({"submit" if verb == "submit" else f"executor.{verb}"}(sleeps))))
""",
        str(cancel),
        timeout=15,
    ).assert_silent()
    expected = {"submit": "None\n"}.get(verb, "shutdown\n") if cancel else "30\n"
    assert ended.stdout == expected, ended.describe()


STUCK = """
        from paceline import BatchExecutor
        class Stuck:
            asked = 0
            def acquire(self):
                self.asked += 1
                if self.asked > 6:
                    asking.set()
                    release.wait()
        asking, release = threading.Event(), threading.Event()
        executor = BatchExecutor(Stuck(), max_workers=3)
        assert executor.execute_batch([lambda: time.sleep(0.01)] * 6) == [None] * 6
        future = executor.submit(int)
        assert asking.wait(10)
        assert future.cancel()
"""


def test_a_worker_in_a_limiter_that_never_answers_is_not_waited_for() -> None:
    run_script(
        STUCK
        + """
        began = time.monotonic()
        executor.shutdown()
        assert time.monotonic() - began < 5
        """,
        timeout=20,
    ).assert_silent()


def test_workers_end_when_the_limiter_answers_after_shutdown() -> None:
    run_script(
        STUCK
        + """
        executor.shutdown()
        assert threading.active_count() > 1
        release.set()
        until = time.monotonic() + 10
        while threading.active_count() > 1 and time.monotonic() < until:
            time.sleep(0.01)
        assert threading.active_count() == 1, threading.enumerate()
        """,
        timeout=20,
    ).assert_silent()
