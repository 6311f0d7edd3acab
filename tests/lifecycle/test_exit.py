"""How the interpreter ends around an executor: without a word, without an abort, without a hang."""

from __future__ import annotations

import textwrap

import pytest
from childprocess import Child, run_script

MODES = pytest.mark.parametrize("dev", [False, True], ids=["plain", "dev"])


@MODES
@pytest.mark.parametrize(
    "script",
    [
        "executor = BatchExecutor()",
        "executor = BatchExecutor(); executor.execute_batch([int] * 20)",
        "executor = BatchExecutor(RateLimiter(5, per=60)); executor.execute_batch([int] * 5)",
        "executor = BatchExecutor(); executor.submit(int).result()",
        "executor = BatchExecutor(); list(executor.stream([int] * 20))",
        "executor = BatchExecutor(); executor.itself = executor; executor.execute(int)",
        "executors = [BatchExecutor() for _ in range(20)]\nfor e in executors: e.execute(int)",
        "with BatchExecutor() as executor: executor.run([int] * 20)",
        "executor = BatchExecutor(); executor.execute(int); executor.shutdown(wait=False)",
        "executor = BatchExecutor(); report = executor.run([int] * 20)",
        "outcomes = BatchExecutor().stream(iter(lambda: int, None)); next(outcomes)",
        "values = BatchExecutor().map(int, ['1'] * 50); next(values)",
        "values = BatchExecutor().map(int, iter(lambda: '1', None), buffersize=2); next(values)",
    ],
)
def test_exit_while_idle(script: str, dev: bool) -> None:
    preamble = "from paceline import BatchExecutor, RateLimiter\n"
    ended = run_script(preamble + script, dev=dev, timeout=15).assert_silent()
    assert ended.stdout == ""


BACKGROUND = """
import itertools
from paceline import BatchExecutor, RateLimiter

class Foreign:
    def acquire(self):
        time.sleep(0.0005)

class Stuck:
    def acquire(self):
        time.sleep(3600)

def work():
    time.sleep(0.002)

def busy():
    sum(range(500))

executor = BatchExecutor({limiter}, max_workers=3)

def background():
    {activity}

threading.Thread(target=background, daemon=True).start()
time.sleep({delay})
"""

ACTIVITIES = {
    "batch of quick ones": ("None", "while True: executor.execute_batch([int] * 1_000_000)"),
    "batches of quick ones": ("None", "while True: executor.execute_batch([int] * 50)"),
    "batch of busy ones": ("None", "executor.execute_batch(itertools.repeat(busy, 10**9))"),
    "batch of sleeps": ("None", "executor.execute_batch([work] * 100_000)"),
    "waiting for a permit": ("RateLimiter(2, per=600)", "executor.execute_batch([work] * 100)"),
    "paced": ("RateLimiter(1000, per=1, burst=1)", "executor.run([work] * 100_000)"),
    "foreign limiter": ("Foreign()", "executor.execute_batch([int] * 100_000)"),
    "stuck foreign limiter": ("Stuck()", "executor.execute_batch([int] * 100)"),
    "stream, stuck foreign limiter": ("Stuck()", "list(executor.stream(itertools.repeat(work)))"),
    "stream": ("None", "list(executor.stream(itertools.repeat(work)))"),
    "stream of quick ones": ("None", "for _ in executor.stream(itertools.repeat(int)): pass"),
    "slow input": ("None", "executor.run(time.sleep(0.3) or int for _ in range(10**9))"),
    "map": ("None", "list(executor.map(int, itertools.repeat('1'), buffersize=4))"),
    "many executors": ("None", "while True: BatchExecutor().execute_batch([int] * 3)"),
    "nested": ("None", "while True: executor.execute(lambda: executor.execute_batch([int] * 3))"),
    "submits": ("None", "while True: executor.submit(work).result()"),
    "execute": ("None", "while True: executor.execute(int)"),
    "permit of a limiter": (
        "None",
        "limiter = RateLimiter(1, per=600)\n    while True: limiter.acquire()",
    ),
}


def background_script(activity: str, delay: float) -> str:
    limiter, source = ACTIVITIES[activity]
    return textwrap.dedent(BACKGROUND).format(limiter=limiter, activity=source, delay=delay)


@pytest.mark.timeout(180)
@pytest.mark.long
def test_exit_while_a_daemon_thread_runs_a_batch_50_times_in_a_row() -> None:
    for attempt in range(50):
        delay = 0.02 + attempt % 10 * 0.007
        script = background_script("batches of quick ones", delay)
        run_script(script, dev=attempt % 5 == 4, timeout=20).assert_silent()


# Each version has its own ways of ending threads, and refuses new ones from another point on.
@pytest.mark.every_python
@pytest.mark.timeout(120)
@pytest.mark.parametrize("activity", ACTIVITIES)
def test_exit_while_a_daemon_thread_is_inside_a_verb(python: str, activity: str) -> None:
    for attempt in range(4):
        script = background_script(activity, 0.05 + attempt * 0.03)
        run_script(script, dev=attempt == 3, python=python, timeout=25).assert_silent()


@MODES
def test_a_batch_in_a_thread_that_is_no_daemon_completes(dev: bool) -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        def background():
            print(len(executor.execute_batch([lambda: time.sleep(0.01)] * 40)))
        threading.Thread(target=background).start()
        """,
        dev=dev,
    ).assert_silent()
    assert ended.stdout == "40\n"


@MODES
@pytest.mark.parametrize("limiter", ["None", "RateLimiter(4, per=0.1)", "Foreign()"])
def test_submitted_futures_finish(limiter: str, dev: bool) -> None:
    ended = run_script(
        f"""
        from paceline import BatchExecutor, RateLimiter

        class Foreign:
            def acquire(self):
                time.sleep(0.01)

        def work(n):
            time.sleep(0.03)
            print(n, flush=True)

        executor = BatchExecutor({limiter}, max_workers=2)
        for n in range(14):
            executor.submit(work, n)
        """,
        dev=dev,
    ).assert_silent()
    assert sorted(map(int, ended.stdout.split())) == list(range(14))


@MODES
def test_a_future_submitted_by_the_last_statement_finishes(dev: bool) -> None:
    for _ in range(5):
        ended = run_script(
            """
            from paceline import BatchExecutor
            executor = BatchExecutor()
            executor.submit(print, "printed")
            """,
            dev=dev,
        ).assert_silent()
        assert ended.stdout == "printed\n"


@MODES
@pytest.mark.parametrize("forget", ["del executor", "executor.shutdown(wait=False)"])
def test_futures_of_an_executor_that_was_let_go_finish(forget: str, dev: bool) -> None:
    ended = run_script(
        f"""
        from paceline import BatchExecutor
        def work(n):
            time.sleep(0.02)
            print(n, flush=True)
        executor = BatchExecutor(max_workers=2)
        for n in range(8):
            executor.submit(work, n)
        {forget}
        """,
        dev=dev,
    ).assert_silent()
    assert sorted(map(int, ended.stdout.split())) == list(range(8))


@MODES
def test_a_batch_inside_an_operation_ends_with_the_program(dev: bool) -> None:
    ended = run_script(
        """
        from functools import partial
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        def outer():
            try:
                executor.run([partial(time.sleep, 0.01)] * 1000)
            except BaseException as error:
                print(type(error).__name__, error.batch_report.ended_by, error, flush=True)
        executor.submit(outer)
        time.sleep(0.2)
        """,
        dev=dev,
    ).assert_silent()
    assert ended.stdout.startswith("CancelledError exit the program ends"), ended.describe()


@MODES
def test_an_operation_that_runs_at_exit_may_not_submit_and_is_told_so(dev: bool) -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        def late():
            time.sleep(0.3)
            try:
                executor.submit(int)
            except RuntimeError as error:
                print(error)
            else:
                print("submitted")
        executor.submit(late)
        """,
        dev=dev,
    ).assert_silent()
    assert ended.stdout.startswith("cannot schedule new futures"), ended.describe()


@MODES
@pytest.mark.parametrize(
    "verb",
    [
        "executor.submit(int)",
        "executor.execute(int)",
        "executor.execute_batch([int])",
        "executor.run([int])",
        "list(executor.stream([int]))",
        "list(executor.map(int, ['1']))",
    ],
)
@pytest.mark.parametrize("used_before", [False, True])
def test_verbs_in_an_atexit_callback_are_refused(verb: str, used_before: bool, dev: bool) -> None:
    """By then Python may not start threads any more; a callback registered last runs first."""
    ended = run_script(
        f"""
        import atexit
        @atexit.register
        def last():
            try:
                {verb}
            except RuntimeError:
                print("refused")
        from paceline import BatchExecutor
        executor = BatchExecutor()
        if {used_before}:
            executor.execute(int)
        """,
        dev=dev,
    ).assert_silent()
    assert ended.stdout == "refused\n"


@MODES
def test_sys_exit_and_exceptions_inside_with_wait_for_running_futures(dev: bool) -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor
        with BatchExecutor() as executor:
            executor.submit(lambda: (time.sleep(0.2), print("finished")))
            sys.exit(7)
        """,
        dev=dev,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "finished\n", "")


def test_an_exception_that_ends_the_program_is_all_that_is_said() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor()
        threading.Thread(
            target=lambda: executor.execute_batch([int] * 10**7), daemon=True
        ).start()
        time.sleep(0.05)
        raise LookupError("the program's own")
        """,
    ).assert_not_crashed()
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0] == "Traceback (most recent call last):"
    assert ended.stderr.splitlines()[-1] == "LookupError: the program's own"
    assert ended.stderr.count("Traceback") == 1


@MODES
def test_a_batch_that_ended_early_is_waited_for_at_exit(dev: bool) -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor, BatchTimeoutError
        executor = BatchExecutor(max_workers=2)
        def work():
            time.sleep(0.4)
            print("finished", flush=True)
        try:
            executor.execute_batch([work] * 10, timeout=0.1)
        except BatchTimeoutError:
            print("timeout", flush=True)
        """,
        dev=dev,
    ).assert_silent()
    assert ended.stdout == "timeout\nfinished\nfinished\n"


def test_objects_that_outlive_the_modules_do_no_harm() -> None:
    run_script(
        """
        from paceline import BatchExecutor, RateLimiter
        class Late:
            def __init__(self):
                self.limiter = RateLimiter(5, per=1) & RateLimiter(100, per=60)
                self.executor = BatchExecutor(self.limiter)
                self.report = self.executor.run([int, str])
                self.outcomes = self.executor.stream([int] * 100)
                next(self.outcomes)
                self.future = self.executor.submit(int)
            def __del__(self):
                self.executor.shutdown(wait=False)
        sys.late = Late()
        sys.late.cycle = sys.late
        """,
        dev=True,
    ).assert_silent()


def test_an_executor_made_when_the_interpreter_has_ended_is_told_so() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor
        class Late:
            def __del__(self, made=BatchExecutor, write=os.write):
                try:
                    made().execute_batch([int])
                except RuntimeError as error:
                    write(1, str(error).encode())
        late = Late()
        """,
    ).assert_silent()
    assert ended.stdout == "cannot schedule new futures after interpreter shutdown"


def test_os_exit_ends_at_once() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor()
        executor.submit(time.sleep, 600)
        time.sleep(0.05)
        os._exit(5)
        """,
        timeout=15,
    )
    assert (ended.returncode, ended.stderr) == (5, "")


def test_idle_workers_use_no_processor_time() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor, RateLimiter
        executors = [BatchExecutor(limiter, max_workers=4)
                     for limiter in (None, RateLimiter(100, per=1), type("Foreign", (), {
                         "acquire": lambda self: None})())]
        for executor in executors:
            executor.execute_batch([int] * 20)
            executor.submit(int).result()
            list(executor.stream([int] * 20))
        before = time.process_time()
        time.sleep(1)
        print(time.process_time() - before)
        """,
    ).assert_silent()
    assert float(ended.stdout) < 0.02


def test_sigterm_with_a_handler_that_exits() -> None:
    with Child(
        """
        from paceline import BatchExecutor
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        executor = BatchExecutor(max_workers=2)
        print("ready", flush=True)
        executor.execute_batch([lambda: time.sleep(0.01)] * 100_000)
        """
    ) as child:
        child.expect("ready")
        import signal
        import time

        time.sleep(0.2)
        child.send(signal.SIGTERM)
        ended = child.finish(15)
    assert (ended.returncode, ended.stderr) == (143, "")
