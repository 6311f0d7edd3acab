"""`report.settle()` in a forked child, at exit, and on a daemon thread that is left behind."""

from __future__ import annotations

import os

import pytest
from childprocess import run_script

PRELUDE = """
import atexit, gc, json
from functools import partial
from paceline import BatchExecutor, BatchTimeoutError

go = threading.Event()

def held(number):
    go.wait(10)
    return number

executor = BatchExecutor(max_workers=2)
try:
    executor.run([partial(held, number) for number in range(4)], timeout=0.2)
except BatchTimeoutError as error:
    report = error.batch_report
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_told_at_once() -> None:
    script = """
    ended = BatchExecutor(max_workers=1).run([int])
    reader, writer = os.pipe()
    if os.fork() == 0:
        said = []
        for timeout in (None, 0):
            try:
                report.settle(timeout)
            except RuntimeError as error:
                said.append(str(error))
        # What was there before the fork can be read, and what is complete is so here.
        said.append([each.status for each in report])
        said.append(ended.settle())
        del report
        gc.collect()
        os.write(writer, json.dumps(said).encode())
        os._exit(0)
    os.wait()
    said = json.loads(os.read(reader, 10_000))
    go.set()
    settled = report.settle()
    if os.fork() == 0:
        here = [report.settle(), [each.value for each in report]]
        os.write(writer, json.dumps(here).encode())
        os._exit(0)
    os.wait()
    print(json.dumps([said, settled, json.loads(os.read(reader, 10_000))]))
    """
    ended = run_script(PRELUDE + _dedent(script)).assert_silent()
    (first, second, seen, complete), settled, later = ended.last_json()
    assert first == second
    assert "forked" in first
    assert seen == ["running", "running", "not_started", "not_started"]
    assert complete
    assert settled
    assert later == [True, [0, 1, None, None]]


def test_at_exit_it_finds_what_the_exit_has_waited_for() -> None:
    script = """
    threading.Timer(0.3, go.set).start()
    """
    # Registered before the package's own handler, so called after it.
    early = """
    import atexit, json
    def tell():
        print(json.dumps([report.settle(0), report.counts["done"]]))
    atexit.register(tell)
    """
    ended = run_script(_dedent(early) + PRELUDE + _dedent(script)).assert_silent()
    assert ended.last_json() == [True, 2]


def test_a_daemon_thread_that_settles_does_not_keep_the_program() -> None:
    script = """
    threading.Thread(target=report.settle, daemon=True).start()
    time.sleep(0.1)
    threading.Timer(0.3, go.set).start()
    """
    run_script(PRELUDE + _dedent(script)).assert_silent()


def _dedent(text: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in text.splitlines())
