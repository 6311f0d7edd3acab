"""Threads that cannot be started, or whose start a signal interrupts."""

from __future__ import annotations

import pytest
from childprocess import run_script

# What a signal handler raises in `Thread.start`, whose other callers go on as ever.
INTERRUPTED = """
from paceline import BatchExecutor, RateLimiter
moment, verb = sys.argv[1:]
start = threading.Thread.start
countdown = 1
class Foreign:
    def acquire(self):
        pass
class Alarm(Exception):
    pass
def interrupted(thread):
    global countdown
    if threading.current_thread() is not threading.main_thread():
        return start(thread)
    countdown -= 1
    if countdown != 0 or moment == "after it":
        start(thread)
    if countdown == 0:
        raise Alarm
threading.Thread.start = interrupted
"""

# An executor with as many workers as the argument says, one of which has begun and waits.
ONE_AT_WORK = """
from paceline import BatchExecutor
executor = BatchExecutor(max_workers=int(sys.argv[1]))
go_on = threading.Event()
first = executor.submit(go_on.wait)
while not first.running():
    time.sleep(0.001)
(worker,) = (t for t in threading.enumerate() if t is not threading.main_thread())
"""

VERBS = [
    "executor.submit(time.sleep, 0)",
    "executor.execute(int)",
    "executor.execute_batch([int] * 3)",
    "executor.run([int] * 3)",
    "list(executor.stream([int] * 3))",
    "list(executor.map(int, '123'))",
    "list(executor.map(int, '123', buffersize=1))",
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("moment", ["before it", "after it"])
@pytest.mark.parametrize("limiter", ["None", "RateLimiter(10**6, 1)", "Foreign()"])
def test_a_signal_at_the_start_of_a_thread_loses_no_worker(
    verb: str, moment: str, limiter: str
) -> None:
    run_script(
        INTERRUPTED
        + f"""
for number in 1, 2:
    executor = BatchExecutor({limiter}, max_workers=1)
    countdown, raised = number, []
    try:
        {verb}
    except Alarm as error:
        raised.append(error)
    assert bool(raised) == (countdown <= 0)
    assert executor.execute_batch([int] * 3) == [0, 0, 0]
    assert executor.submit(int).result() == 0
    executor.shutdown()
    assert threading.enumerate() == [threading.main_thread()]
""",
        moment,
        verb,
    ).assert_silent()


@pytest.mark.parametrize("python_thread", ["lost", "begins"])
def test_a_signal_within_the_start_of_a_thread_loses_no_worker(python_thread: str) -> None:
    # CPython forgets a thread that begins when an Exception comes to who starts it; the thread
    # then prints a traceback and ends.
    error = {"lost": "Exception", "begins": "KeyboardInterrupt"}[python_thread]
    ended = run_script(
        f"""
        import json
        from paceline import BatchExecutor
        name = "_start_joinable_thread" if sys.version_info >= (3, 13) else "_start_new_thread"
        really = getattr(threading, name)
        def interrupted(*args, **kwargs):
            setattr(threading, name, really)
            really(*args, **kwargs)
            raise {error}
        setattr(threading, name, interrupted)
        executor = BatchExecutor(max_workers=1)
        try:
            executor.run([int] * 3)
            raise AssertionError
        except {error} as caught:
            kept = caught
        assert executor.execute_batch([int] * 3) == [0, 0, 0]
        executor.shutdown()
        time.sleep(0.3)  # let the lost thread print
        print(json.dumps([outcome.status for outcome in kept.batch_report]))
        """
    )
    assert ended.returncode == 0, ended.describe()
    assert len(ended.last_json()) == 3
    if python_thread == "begins":
        ended.assert_silent()
    else:
        assert ended.stderr.count("Traceback") == ended.stderr.count("KeyError") == 1


def test_a_worker_that_an_interrupted_thread_was_to_be_is_started_for_those_who_wait() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=1)
        start, submitted = threading.Thread.start, threading.Event()
        def submit():
            global future
            future = executor.submit(int)
            submitted.set()
        def interrupted(thread):
            threading.Thread.start = start
            # Whoever comes now sees that a thread is on its way.
            threading.Thread(target=submit).start()
            submitted.wait()
            raise KeyboardInterrupt
        threading.Thread.start = interrupted
        try:
            executor.submit(int)
            raise AssertionError
        except KeyboardInterrupt:
            pass
        assert future.result(20) == 0
        """
    ).assert_silent()


def test_what_a_handler_raises_where_a_lock_is_taken_again_is_raised() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        class Alarm(BaseException):
            pass
        start = threading.Thread.start
        def interrupted(thread):
            threading.Thread.start = start
            start(thread)
            # As CPython does when a handler raises at the end of the wait within.
            try:
                raise Alarm
            finally:
                threading.Lock().release()
        for verb in "submit(int)", "execute_batch([int] * 3)", "run([int] * 3)":
            executor = BatchExecutor(max_workers=1)
            threading.Thread.start = interrupted
            try:
                eval("executor." + verb)
                raise AssertionError
            except Alarm:
                pass
            assert executor.execute_batch([int] * 3) == [0, 0, 0]
        """
    ).assert_silent()


@pytest.mark.parametrize("verb", ["submit(int).result()", "execute_batch([int] * 2)"])
def test_a_verb_too_deep_to_start_a_thread_says_so(verb: str) -> None:
    run_script(
        """
        from paceline import BatchExecutor
        BatchExecutor().execute_batch([int])
        sys.setrecursionlimit(200)
        def deep(levels, verb):
            return deep(levels - 1, verb) if levels else eval("executor." + verb)
        too_deep = 0
        for levels in range(100, 200):
            executor = BatchExecutor(max_workers=1)
            try:
                assert deep(levels, sys.argv[1]) in (0, [0, 0])
            except RecursionError:
                too_deep += 1
        assert 0 < too_deep < 100, too_deep
        """,
        verb,
    ).assert_silent()


def test_threads_that_were_never_made_are_made_the_next_time() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        class Foreign:
            def acquire(self):
                pass
        executor = BatchExecutor(Foreign(), max_workers=1)
        pool = executor._pool
        # A signal came before there was so much as a thread.
        pool.grow = lambda: None
        future = executor.submit(int)
        worker = pool.runtime.reserve_thread()
        assert worker is not None and pool.runtime.reserve_thread() is None
        del worker
        del pool.grow
        pool.grow()
        assert future.result() == 0
        """
    ).assert_silent()
    run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=1)
        pool = executor._pool
        pool.grow = lambda: None
        future = executor.submit(int)
        worker = pool.runtime.reserve_thread()
        assert worker is not None and pool.runtime.reserve_thread() is None
        del worker
        del pool.grow
        pool.grow()
        assert future.result() == 0
        """
    ).assert_silent()


def test_the_last_thread_ends_though_a_further_one_could_not_be_started() -> None:
    run_script(
        ONE_AT_WORK
        + """
start = threading.Thread.start
def no_more(thread):
    executor.shutdown(wait=False)
    go_on.set()
    # The other one does it, has nothing more to do, and counts on this one to be the last.
    time.sleep(0.5)
    raise RuntimeError("can't start new thread")
threading.Thread.start = no_more
second = executor.submit(int)
threading.Thread.start = start
worker.join(10)
assert not worker.is_alive()
assert second.result() == 0
""",
        "2",
    ).assert_silent()


def test_threads_end_though_a_further_one_could_not_be_started() -> None:
    run_script(
        ONE_AT_WORK
        + """
pool = first._pool
# As for a worker that waits inside its operation; the further thread is not started.
pool.grow = lambda: None
pool.runtime.block()
second = executor.submit(int)
further = pool.runtime.reserve_thread()
pool.runtime.unblock()
executor.shutdown(wait=False)
go_on.set()
assert second.result() == 0
worker.join(10)
assert not worker.is_alive(), "it waits for the other"
further.abandon()
assert not pool.runtime.is_stranded(), "nothing is left to do"
pool.runtime.join_threads()
""",
        "1",
    ).assert_silent()
