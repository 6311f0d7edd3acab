"""A signal handler that raises while the program's end waits for running calls ends the process."""

from __future__ import annotations

import os
import signal

import pytest
from childprocess import run_script

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

# Calls short enough that the workers are back in Python all the time.
BUSY = """
from paceline import BatchExecutor
executor = BatchExecutor(max_workers=4)
for _ in range(20_000):
    executor.submit(time.sleep, 0.001)
def ring(handler, seconds=0.3):
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.01)
"""


@pytest.mark.every_python
def test_an_exception_of_a_handler_is_shown_and_ends_the_process(python: str) -> None:
    script = """
def handler(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise TimeoutError("too long")
ring(handler)
"""
    ended = run_script(BUSY + script, python=python, timeout=20)
    assert ended.returncode == 1, ended.describe()
    assert ended.stderr.rstrip().endswith("TimeoutError: too long")
    assert "ignored" not in ended.stderr


@pytest.mark.parametrize(
    ("argument", "code", "message"), [("3", 3, ""), ("None", 0, ""), ("'bye'", 1, "bye\n")]
)
def test_a_handler_that_exits_ends_the_process(argument: str, code: int, message: str) -> None:
    # It is called again and again while the process ends.
    script = f"""
def handler(*_):
    sys.exit({argument})
print("printed")
ring(handler)
"""
    ended = run_script(BUSY + script, timeout=20)
    assert (ended.returncode, ended.stderr) == (code, message), ended.describe()
    assert ended.stdout == "printed\n"


def test_a_handler_that_exits_again_at_any_call_has_its_message_written_once() -> None:
    script = """
def handler(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    sys.exit("bye")
def interrupt(frame, event, arg, left=[int(sys.argv[1])]):
    if frame.f_code.co_name in ("_end_process", "_exit_code") and event != "c_call":
        left[0] -= 1
        if not left[0]:
            os.write(1, b"again\\n")
            sys.exit("bye")
threading._register_atexit(sys.setprofile, interrupt)
ring(handler)
"""
    place, again = 1, True
    while again:
        ended = run_script(BUSY + script, str(place), timeout=20)
        assert (ended.returncode, ended.stderr) == (1, "bye\n"), (place, ended.describe())
        again = ended.stdout == "again\n"
        place += 1
    assert place > 6


# Begins before the package is told that threads end, as what was registered last comes first.
AT_ANY_CALL = """
def interrupt(frame, event, arg, left=[int(sys.argv[1])]):
    code = frame.f_code
    if code.co_filename.endswith(("_exit.py", "_pool.py")) and {condition}:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
threading._register_atexit(sys.setprofile, interrupt)
"""
PREPARED_BY = ("_before_threads_end", "_is_interpreter_ending")
WAITS = f"code.co_name not in {PREPARED_BY}"
# What a handler raises comes after the call of a function in C, not before.
PREPARES = f"code.co_name in {PREPARED_BY} and event != 'c_call'"


@pytest.mark.every_python
def test_ctrl_c_at_any_call_while_the_end_waits_ends_the_process(python: str) -> None:
    at_any_call = AT_ANY_CALL.format(condition=WAITS)
    script = BUSY.replace("20_000", "200") + "executor.shutdown(wait=False)" + at_any_call
    place, code = 1, -signal.SIGINT
    while code == -signal.SIGINT:
        ended = run_script(script, str(place), python=python, timeout=20)
        assert ended.stderr == "", (place, ended.describe())
        code = ended.returncode
        place += 1
    assert code == 0, ended.describe()
    assert place > 6


@pytest.mark.every_python
def test_ctrl_c_at_any_call_before_the_end_waits_loses_no_work(python: str) -> None:
    script = """
from paceline import BatchExecutor
for _ in range(3):
    BatchExecutor(max_workers=1).submit(lambda: (time.sleep(0.1), print("done", flush=True)))
"""
    place, interrupted = 1, True
    while interrupted:
        ended = run_script(
            script + AT_ANY_CALL.format(condition=PREPARES), str(place), python=python, timeout=20
        )
        assert ended.stdout == "done\n" * 3, (place, ended)
        interrupted = "KeyboardInterrupt" in ended.stderr
        place += 1
    assert place > 4


def test_ctrl_c_ends_the_flush_of_what_nobody_reads() -> None:
    script = """
_, writing = os.pipe()
os.dup2(writing, 1)
os.set_blocking(1, False)
try:
    while True:
        os.write(1, b"x" * 4096)
except BlockingIOError:
    os.set_blocking(1, True)
sys.stdout.write("not flushed")
for seconds in (0.3, 0.8):
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGINT))
    timer.daemon = True
    timer.start()
"""
    ended = run_script(BUSY + script, timeout=20)
    assert (ended.returncode, ended.stderr) == (-signal.SIGINT, ""), ended.describe()
