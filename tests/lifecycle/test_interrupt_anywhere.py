"""A signal handler may raise between any two calls of ours: nothing is lost or left behind."""

from __future__ import annotations

import pytest
from childprocess import run_script

VERBS = {
    "submit": "executor.submit(int)",
    "execute": "executor.execute(int)",
    "batch": "executor.execute_batch([int] * 3)",
    "batch of a generator": "executor.execute_batch(int for _ in range(3))",
    "stream": "list(executor.stream([int] * 3))",
    "map": "list(executor.map(int, '123'))",
    "bounded map": "list(executor.map(int, '123', buffersize=1))",
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
