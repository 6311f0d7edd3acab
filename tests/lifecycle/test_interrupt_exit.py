"""A signal handler that raises while the program's end waits for running calls ends the process."""

from __future__ import annotations

import os
import signal

import pytest
from childprocess import interpreters, run_script

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
@pytest.mark.parametrize("python", interpreters())
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


def test_ctrl_c_at_any_call_while_the_end_waits_ends_the_process() -> None:
    # What is registered with threading comes before the handlers of atexit; the last comes first.
    script = """
def interrupt(frame, event, arg, left=[int(sys.argv[1])]):
    # Where Python calls the hook itself, it says what is raised and goes on.
    hook = frame.f_code.co_name in ("_before_threads_end", "_register")
    if frame.f_code.co_filename.endswith("_pool.py") and not hook:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt
executor.shutdown(wait=False)
threading._register_atexit(sys.setprofile, interrupt)
"""
    place, code = 1, -signal.SIGINT
    while code == -signal.SIGINT:
        ended = run_script(BUSY.replace("20_000", "200") + script, str(place), timeout=20)
        assert ended.stderr == "", (place, ended.describe())
        code = ended.returncode
        place += 1
    assert code == 0, ended.describe()
    assert place > 6


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
