"""Whatever ends while a server is waited for, nobody hangs."""

from __future__ import annotations

import pytest
from childprocess import run_script

ENDS = """
import itertools, os, signal, sys, threading, time
from concurrent.futures import CancelledError, wait
from paceline import BatchExecutor, BatchTimeoutError, RateLimiter, Retry

class Refused(Exception):
    status_code, headers = 429, {{"Retry-After": "0.2"}}

tries = itertools.count()
probing = threading.Event()

def operation():
    number = next(tries)
    if number == 0:
        raise Refused("later")
    if number == 1:
        probing.set()
        time.sleep(0.3)
    return number

limiter = {limiter}
executor = BatchExecutor(limiter, 4, retry=Retry(attempts=3))
other = BatchExecutor(limiter, 4, retry=Retry(attempts=3))

def later(act):
    def run():
        if {in_probe}:
            probing.wait(10)
        else:
            time.sleep(0.1)
        act()
    threading.Thread(target=run, daemon=True).start()

{act}
# Whoever comes next goes on, within the time of a pause and a probe.
began = time.monotonic()
assert other.run([operation] * 5, timeout=20).counts["done"] == 5
if not executor._runtime().is_over():
    assert executor.run([operation] * 5, timeout=20).counts["done"] == 5
executor.shutdown()
other.shutdown()
print("ended")
"""

ACTS = {
    "interrupt": """
later(lambda: os.kill(os.getpid(), signal.SIGINT))
try:
    executor.run([operation] * 100)
except KeyboardInterrupt as error:
    assert sum(error.batch_report.counts.values()) == 100
""",
    "timeout": """
try:
    executor.run([operation] * 100_000, timeout=0.25)
except BatchTimeoutError as error:
    assert sum(error.batch_report.counts.values()) == 100_000
""",
    "shutdown": """
later(lambda: executor.shutdown(wait=False, cancel_futures=True))
futures = [executor.submit(operation) for _ in range(50)]
try:
    executor.run([operation] * 100_000)
except (CancelledError, RuntimeError):
    pass
assert not wait(futures, 20).not_done
""",
    "stream": """
outcomes = executor.stream([operation] * 100)
next(outcomes)
outcomes.close()
""",
    "fork": """
def fork():
    pid = os.fork()
    if pid == 0:
        try:
            assert executor.run([int] * 5, timeout=20).counts["done"] == 5
            os._exit(0)
        except BaseException:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code == 0, code
thread = threading.Thread(target=lambda: executor.run([operation] * 20))
thread.start()
probing.wait(10) if {in_probe} else time.sleep(0.1)
fork()
thread.join()
""",
}


@pytest.mark.parametrize("in_probe", [False, True], ids=["in the pause", "in the probe"])
@pytest.mark.parametrize("limiter", ["RateLimiter(10_000, per=1)", "None"])
@pytest.mark.parametrize("act", ACTS)
def test_nobody_hangs_whatever_ends_while_a_server_is_waited_for(
    act: str, limiter: str, in_probe: bool
) -> None:
    script = ENDS.format(
        act=ACTS[act].replace("{in_probe}", str(in_probe)), limiter=limiter, in_probe=in_probe
    )
    ended = run_script(script, timeout=50)
    assert (ended.returncode, ended.stdout) == (0, "ended\n"), ended.describe()
    assert "Traceback" not in ended.stderr, ended.describe()
