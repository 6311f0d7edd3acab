"""A fork at any moment: beside busy threads, between operations, and in a signal handler."""

from __future__ import annotations

import os

import pytest
from childprocess import run_script
from forking import run_forking

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["ours", "foreign"])
def test_fork_while_threads_hammer_limiter_and_executor(kind: str) -> None:
    run_forking(
        f"""
        sys.setswitchinterval(1e-5)
        shared = RateLimiter(1_000_000, per=0.5)
        class Foreign:
            def acquire(self):
                return shared.try_acquire() or True
        executor = BatchExecutor(shared if {kind!r} == "ours" else Foreign(), max_workers=3)
        stop = False
        failures = []

        def hammer(job):
            try:
                while not stop:
                    job()
            except BaseException as error:
                failures.append(error)

        jobs = [
            lambda: shared.try_acquire(),
            lambda: shared.acquire(timeout=1),
            lambda: executor.submit(int).result(20),
            lambda: executor.execute_batch([int] * 30),
            lambda: list(itertools.islice(executor.stream(itertools.repeat(int)), 30)),
            lambda: BatchExecutor(shared, max_workers=1).execute_batch([int] * 3),
        ]
        threads = [threading.Thread(target=hammer, args=(job,)) for job in jobs]
        for thread in threads: thread.start()

        def child():
            assert shared.acquire(timeout=5)
            assert shared.try_acquire()
            assert executor.execute_batch([int] * 10) == [0] * 10
            assert executor.submit(int).result(10) == 0
            assert BatchExecutor(shared).execute_batch([int] * 10) == [0] * 10
            executor.shutdown()

        deadline = time.monotonic() + 12
        for number in range(30):
            if number > 5 and time.monotonic() > deadline:
                break
            join(in_child(child))
        stop = True
        for thread in threads:
            thread.join(20)
            assert not thread.is_alive()
        assert not failures, failures
        """,
        timeout=90,
    )


@pytest.mark.long
def test_fork_while_other_threads_use_the_package_for_the_first_time() -> None:
    """What is made only once is not to be in the making when a child is forked."""
    for _ in range(15):
        run_forking(
            """
            sys.setswitchinterval(1e-5)
            class Foreign:
                def acquire(self):
                    pass
            executor = BatchExecutor(Foreign(), max_workers=3)
            class Operation:
                def __call__(self):
                    return 0
            jobs = [
                lambda: executor.submit(int).result(20),
                lambda: executor.execute_batch([lambda: 0] * 3),
                lambda: next(executor.stream(itertools.repeat(functools.partial(int)))),
                lambda: BatchExecutor().execute_batch([Operation()] * 3),
                lambda: executor.run([int])[0].started_at,
            ]
            threads = [threading.Thread(target=job, daemon=True) for job in jobs]
            for thread in threads: thread.start()

            def child():
                for job in jobs:
                    job()

            join(in_child(child, 8))
            for thread in threads: thread.join(20)
            executor.shutdown()
            """
        )


PLACES = {
    "rule": "run(retry=Retry(2, on=fork))",
    "rule of results": "run(retry=Retry(on_result=lambda value: fork() and None))",
    "handler": "logging.getLogger('paceline').addHandler(Handler()); run()",
    "callback": "executor = BatchExecutor(max_workers=2); gate = threading.Event(); "
    "held = [executor.submit(gate.wait, 20) for _ in range(2)]; "
    "futures = [executor.submit(work) for _ in range(20)]; "
    "futures[3].add_done_callback(fork); gate.set(); [future.result() for future in futures]",
    "destructor of an argument": "run((partial(lambda _: work(), Dropped()) for _ in range(20)))",
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_a_worker_that_forks_between_operations_runs_none_in_the_child(place: str) -> None:
    """What the parent has begun stays the parent's, whatever of the user's has forked."""
    ended = run_script(
        f"""
        import logging
        from functools import partial
        from paceline import BatchExecutor, Retry
        parent, children, ran = os.getpid(), [], 0
        def fork(*_):
            if os.getpid() == parent and threading.current_thread() is not threading.main_thread():
                if not children:
                    children.append(0)
                    pid = os.fork()
                    if pid:
                        children[0] = pid
            return False
        def work():
            global ran
            if os.getpid() != parent:
                os._exit(1)
            time.sleep(0.002)
            ran += 1
        def fails():
            work()
            raise ValueError
        class Handler(logging.Handler):
            def handle(self, record):
                fork()
        class Dropped:
            def __del__(self):
                fork()
        logging.getLogger("paceline").propagate = False
        def run(operations=None, **settings):
            with BatchExecutor(max_workers=2, **settings) as executor:
                executor.run(operations or [fails, *[work] * 19])
        {place}
        if not children:
            sys.exit("nothing has forked")
        assert ran == 20, ran
        print(os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]))
        """
    ).assert_silent()
    assert ended.stdout == "0\n"


def test_a_child_does_not_wait_for_what_a_worker_was_just_finding_out() -> None:
    """What is found out once in a process, beside the program: so a fork may come amid it.

    It takes microseconds, and there is one chance for each process.
    """
    for _ in range(20):
        run_forking(
            """
            executor = BatchExecutor(max_workers=3)
            assert executor.execute_batch([int] * 20) == [0] * 20
            assert executor.submit(int).result(20) == 0
            {thread.ident for thread in threading.enumerate()}
            def child():
                assert executor.execute_batch([int] * 20) == [0] * 20
                assert executor.execute(int) == executor.submit(int).result(10) == 0
                executor.shutdown()
            join(in_child(child, 10))
            """
        )


READERS = {
    "run": "executor.run(operations())",
    "batch": "executor.execute_batch(operations(), on_error='raise')",
    "stream": "list(executor.stream(operations()))",
    "ordered stream": "list(executor.stream(operations(), ordered=True))",
    "map": "list(executor.map(lambda each: each(), operations(), buffersize=1))",
}


@pytest.mark.parametrize("then", ["raise KeyError", "yield int"])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_an_input_that_forks_ends_the_batch_in_the_child(read: str, then: str) -> None:
    """In the child it is over, with one error."""
    run_forking(
        f"""
        executor = BatchExecutor(max_workers=2)
        parent, pids = os.getpid(), []
        def operations():
            yield int
            yield int
            pids.append(os.fork())
            if not pids[0]:
                {then}
            yield int
        try:
            {read}
        except RuntimeError as error:
            assert "belongs to the process that this one was forked from" in str(error)
            assert os.getpid() != parent
            del error
            gc.collect()
            assert executor.execute_batch([int] * 5) == [0] * 5
        else:
            assert os.getpid() == parent
            join(pids[0])
        """
    )


WAITS = {
    "batch": "executor.run([lambda: time.sleep(1)])",
    "stream": "list(executor.stream([lambda: time.sleep(1)]))",
    "settle": "report.settle()",
    "shutdown": "executor.shutdown()",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_a_signal_handler_that_forks_ends_the_wait_in_the_child(wait: str) -> None:
    run_script(
        f"""
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        try:
            executor.run([lambda: time.sleep(1)], timeout=0.05)
        except TimeoutError as error:
            report = error.batch_report
        pids = []
        signal.signal(signal.SIGALRM, lambda *_: pids.append(os.fork()))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        try:
            {wait}
        except RuntimeError as error:
            assert pids == [0]
            assert "forked" in str(error)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == 3
        """
    ).assert_silent()
