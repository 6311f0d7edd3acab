"""A signal handler may raise between any two calls of ours: nothing is lost or left behind."""

from __future__ import annotations

import pytest
from childprocess import run_script

pytestmark = pytest.mark.long

VERBS = {
    "submit": "executor.submit(int)",
    "execute": "executor.execute(int)",
    "batch": "executor.execute_batch([int] * 3)",
    "batch of a generator": "executor.execute_batch(int for _ in range(3))",
    "stream": "list(executor.stream([int] * 3))",
    "map": "list(executor.map(int, '123'))",
    "bounded map": "list(executor.map(int, '123', buffersize=1))",
    "first failure": "failing(executor.execute_batch, [int, fail, int], on_error='raise')",
    "failing operation": "failing(executor.execute, fail)",
    "failing input": "failing(executor.run, (fail() for _ in range(3)))",
    "timeout": "failing(executor.run, [lambda: time.sleep(0.01)], timeout=0)",
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("limiter", ["None", "RateLimiter(10**6, 1)", "Foreign()"])
def test_an_exception_at_any_call_leaves_a_usable_executor(verb: str, limiter: str) -> None:
    # CPython looks for signals where calls begin and end, where a profile function is told of them.
    ended = run_script(
        """
        import pathlib
        import paceline
        from paceline import BatchExecutor, RateLimiter
        ours = str(pathlib.Path(paceline.__file__).parent)
        class Alarm(BaseException):
            pass
        class Foreign:
            def acquire(self):
                pass
        def fail():
            raise ValueError
        def failing(verb, *args, **kwargs):
            try:
                verb(*args, **kwargs)
            except (ValueError, TimeoutError):
                pass
        def interrupt(frame, event, arg):
            global countdown
            if frame.f_code.co_filename.startswith(ours):
                countdown -= 1
                if countdown == 0:
                    raise Alarm
        verb, limiter = (compile(text, "", "eval") for text in sys.argv[1:])
        place, countdown = 0, 0
        while countdown <= 0:
            place += 1
            executor, countdown, raised = BatchExecutor(eval(limiter), max_workers=1), place, None
            sys.setprofile(interrupt)
            try:
                eval(verb)
            except Alarm as error:
                raised = error  # and all that its traceback holds
            sys.setprofile(None)
            assert (raised is None) == (countdown > 0), place
            assert executor.execute_batch([int] * 2) == [0, 0]
            assert executor.submit(int).result() == 0
            executor.shutdown()
        print(place)
        """,
        VERBS[verb],
        limiter,
        timeout=50,
    )
    ended.assert_silent()
    assert ended.last_json() > 40


@pytest.mark.parametrize(
    "verb", ["executor.shutdown(wait=False, cancel_futures=True)", "futures[0].cancel()"]
)
def test_an_exception_at_any_call_leaves_no_future_unsettled(verb: str) -> None:
    ended = run_script(
        """
        import pathlib
        import paceline
        from concurrent.futures import wait
        from paceline import BatchExecutor, Retry
        ours = str(pathlib.Path(paceline.__file__).parent)
        class Alarm(BaseException):
            pass
        def interrupt(frame, event, arg):
            global countdown
            if ours in frame.f_code.co_filename or "concurrent" in frame.f_code.co_filename:
                countdown -= 1
                if countdown == 0:
                    raise Alarm
        def fail():
            raise ConnectionRefusedError
        verb = compile(sys.argv[1], "", "eval")
        place, countdown = 0, 0
        while countdown <= 0:
            place += 1
            executor = BatchExecutor(max_workers=1, retry=Retry(2, backoff=0.2, jitter=False))
            release = threading.Event()
            futures = [executor.submit(fail)]
            while futures[0].number is None or not futures[0].running():
                time.sleep(0.001)
            running = executor.submit(release.wait)
            while not running.running():
                time.sleep(0.001)
            futures += [executor.submit(int) for _ in range(3)]
            countdown = place
            sys.setprofile(interrupt)
            try:
                eval(verb)
            except Alarm:
                pass
            sys.setprofile(None)
            release.set()
            assert not wait(futures, timeout=10).not_done, place
            executor.shutdown()
        print(place)
        """,
        verb,
        timeout=50,
    )
    ended.assert_silent()
    assert ended.last_json() > 5
