"""What Ctrl-C leaves of a batch: a report, nothing that starts, and an executor that ends."""

from __future__ import annotations

import sys
from typing import Any

import pytest
from childprocess import run_script
from helpers import SEND_INTERRUPT

sends_ctrl_c = pytest.mark.skipif(
    sys.platform == "win32", reason="a process cannot send itself Ctrl-C there"
)

WAITS = {
    "native permits": """
        executor = BatchExecutor(RateLimiter(2, per=60), max_workers=4)
        operations = [work] * 50
        """,
    "running operations": """
        executor = BatchExecutor(None, max_workers=4)
        operations = [work] * 4
        """,
    "free workers": """
        executor = BatchExecutor(None, max_workers=2)
        operations = [work] * 50
        """,
    "foreign permits": """
        class Sleepy:
            calls = 0
            def acquire(self):
                self.calls += 1
                if self.calls > 2:
                    time.sleep(30)
        executor = BatchExecutor(Sleepy(), max_workers=4)
        operations = [work] * 50
        """,
    "a lock of the limiter": """
        # A plain semaphore is refused.
        class Permits(threading.Semaphore):
            pass
        executor = BatchExecutor(Permits(2), max_workers=4)
        operations = [work] * 50
        """,
    "the input": """
        executor = BatchExecutor(None, max_workers=4)
        def read():
            for index in range(50):
                if index == 2:
                    time.sleep(30)
                yield work
        operations = read()
        """,
}

INTERRUPTED = (
    SEND_INTERRUPT
    + """
import json, sys
from paceline import BatchExecutor, RateLimiter

started, finished = [], []

def work():
    started.append(time.monotonic())
    time.sleep(1.5)
    finished.append(time.monotonic())

{setup}
interrupt_after(0.5)
try:
    {call}
except KeyboardInterrupt as error:
    ended = time.monotonic()
    report = getattr(error, "batch_report", None)
    notes = [n for n in getattr(error, "__notes__", []) if n.startswith("paceline: ")]
else:
    sys.exit("not interrupted")
running_at_end = len(started) - len(finished)
time.sleep(0.4)
late_starts = sum(start > ended for start in started)
began_waiting = time.monotonic()
executor.shutdown()
print(json.dumps({{
    "delay": ended - interrupt_sent_at[0],
    "statuses": report and [outcome.status for outcome in report],
    "ended_by": report and report.ended_by,
    "indexes": report and [outcome.index for outcome in report],
    "notes": notes,
    "started": len(started),
    "finished_after_shutdown": len(finished),
    "running_at_end": running_at_end,
    "late_starts": late_starts,
}}))
"""
)


def interrupted(setup: str, call: str) -> dict[str, Any]:
    lines = [line.strip("\n") for line in setup.splitlines() if line.strip()]
    indent = min(len(line) - len(line.lstrip()) for line in lines)
    source = INTERRUPTED.format(setup="\n".join(line[indent:] for line in lines), call=call)
    result = run_script(source)
    result.assert_silent()
    outcome: dict[str, Any] = result.last_json()
    return outcome


@sends_ctrl_c
@pytest.mark.parametrize("verb", ["execute_batch", "run"])
@pytest.mark.parametrize("waiting_for", WAITS)
def test_an_interrupt_ends_a_batch_at_once(waiting_for: str, verb: str) -> None:
    ended = interrupted(WAITS[waiting_for], f"executor.{verb}(operations)")
    # A tenth of a second is promised; the rest is for a machine that others use as well.
    assert ended["delay"] < 0.6
    assert ended["late_starts"] == 0
    assert ended["running_at_end"] == ended["started"] > 0
    assert ended["finished_after_shutdown"] == ended["started"]
    assert ended["ended_by"] == "interrupt"
    assert ended["indexes"] == list(range(len(ended["indexes"])))
    assert ended["statuses"].count("running") == ended["started"]
    assert set(ended["statuses"]) <= {"running", "not_started"}
    if waiting_for != "the input":
        assert len(ended["statuses"]) == (4 if waiting_for == "running operations" else 50)
    (note,) = ended["notes"]
    assert str(ended["started"]) in note


@sends_ctrl_c
def test_an_interrupt_ends_a_single_call() -> None:
    setup = "executor = BatchExecutor(None, max_workers=2)"
    ended = interrupted(setup, "executor.execute(work)")
    assert ended["delay"] < 0.6
    assert ended["finished_after_shutdown"] == ended["started"] == 1


@sends_ctrl_c
def test_an_interrupt_ends_an_endless_batch_of_quick_operations() -> None:
    result = run_script(
        SEND_INTERRUPT
        + """
import itertools, json
from collections import Counter
from paceline import BatchExecutor

executor = BatchExecutor(None, max_workers=4)
interrupt_after(0.4)
try:
    executor.run(itertools.repeat(int))
except KeyboardInterrupt as error:
    ended = time.monotonic()
    report = error.batch_report
    counts = Counter(outcome.status for outcome in report)
    in_order = all(outcome.index == index for index, outcome in enumerate(report))
executor.shutdown()
print(json.dumps([ended - interrupt_sent_at[0], counts, in_order]))
"""
    )
    result.assert_silent()
    delay, counts, in_order = result.last_json()
    assert delay < 1.5
    assert counts["done"] > 100
    assert in_order


@sends_ctrl_c
def test_an_interrupt_ends_the_wait_that_another_early_end_began() -> None:
    setup = """
    executor = BatchExecutor(None, max_workers=2)
    def fail():
        time.sleep(0.2)
        raise ValueError("first")
    operations = [work, fail, work]
    """
    ended = interrupted(setup, "executor.execute_batch(operations, on_error='raise')")
    assert ended["delay"] < 0.6
    assert ended["statuses"] == ["running", "failed", "not_started"]
    assert ended["finished_after_shutdown"] == ended["started"] == 1


@sends_ctrl_c
def test_leaving_the_with_block_and_exit_wait_for_operations_that_run() -> None:
    for ending in ("with", "exit"):
        block = "with executor:" if ending == "with" else "if True:"
        result = run_script(
            SEND_INTERRUPT
            + f"""
import sys
from paceline import BatchExecutor

def work():
    time.sleep(1.0)
    sys.stdout.write("finished\\n")

executor = BatchExecutor(None, max_workers=2)
interrupt_after(0.3)
try:
    {block}
        executor.execute_batch([work] * 6)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
        )
        result.assert_silent()
        expected = ["finished", "finished", "interrupted"]
        if ending == "exit":
            expected = ["interrupted", "finished", "finished"]
        assert result.stdout.split() == expected


@sends_ctrl_c
def test_a_signal_handler_that_raises_something_else_ends_the_batch_as_well() -> None:
    result = run_script(
        """
        import os, signal, threading, time
        from paceline import BatchExecutor, RateLimiter

        class Drain(Exception):
            pass

        def drain(*_):
            raise Drain("the platform asks us to stop")

        signal.signal(signal.SIGTERM, drain)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        executor = BatchExecutor(RateLimiter(3, per=60), max_workers=2)
        try:
            executor.run([int] * 10)
        except Drain as error:
            print(error.batch_report.counts["done"], len(error.batch_report))
        executor.shutdown()
        """
    )
    result.assert_silent()
    assert result.stdout.split() == ["3", "10"]
