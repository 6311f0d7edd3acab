"""After a fork the child has a fresh pool and fresh permits, and the parent notices nothing."""

from __future__ import annotations

import os

import pytest
from childprocess import Ended, run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

PREAMBLE = """
import functools, gc, itertools
from paceline import BatchExecutor, RateLimiter

def in_child(job, seconds=20):
    '''Forks; the child runs `job` and exits with 0 if it returns, by SIGALRM if it hangs.'''
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(seconds)
    status = 1
    try:
        job()
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

def join(pid):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {status}"
"""


def run_forking(script: str, *, dev: bool = False, timeout: float = 40) -> Ended:
    import textwrap

    return run_script(PREAMBLE + textwrap.dedent(script), dev=dev, timeout=timeout).assert_silent()


MODES = pytest.mark.parametrize("dev", [False, True], ids=["plain", "dev"])


@MODES
@pytest.mark.parametrize("limiter", ["None", "RateLimiter(10_000, per=1)", "Foreign()"])
def test_fork_with_an_idle_pool(limiter: str, dev: bool) -> None:
    run_forking(
        f"""
        class Foreign:
            def acquire(self):
                pass
        executor = BatchExecutor({limiter}, max_workers=3, thread_name_prefix="crew")
        assert executor.execute_batch([int] * 20) == [0] * 20
        assert executor.submit(int).result(20) == 0
        parent_threads = {{thread.ident for thread in threading.enumerate()}}

        def child():
            assert threading.active_count() == 1
            assert executor.execute_batch([os.getpid] * 20) == [os.getpid()] * 20
            assert executor.submit(os.getpid).result(10) == os.getpid()
            assert executor.execute(os.getpid) == os.getpid()
            assert len(executor.run([int] * 5).values()) == 5
            assert len(list(executor.stream([int] * 50))) == 50
            assert list(executor.map(int, ["1"] * 50)) == [1] * 50
            names = {{t.name for t in threading.enumerate() if t.name.startswith("crew")}}
            assert names
            executor.shutdown()
            assert threading.active_count() == 1, threading.enumerate()

        join(in_child(child))
        assert {{thread.ident for thread in threading.enumerate()}} == parent_threads
        assert executor.execute_batch([int] * 20) == [0] * 20
        assert executor.submit(int).result(20) == 0
        """,
        dev=dev,
    )


@MODES
def test_fork_before_the_pool_was_made(dev: bool) -> None:
    run_forking(
        """
        executor = BatchExecutor(max_workers=2)
        join(in_child(lambda: executor.execute_batch([int] * 5)))
        assert executor.execute_batch([int] * 5) == [0] * 5
        """,
        dev=dev,
    )


@MODES
@pytest.mark.parametrize("leaving", ["os._exit", "interpreter exit"])
def test_fork_in_the_middle_of_a_batch(leaving: str, dev: bool) -> None:
    run_forking(
        f"""
        executor = BatchExecutor(RateLimiter(2000, per=1, burst=1), max_workers=3)
        results = []
        def work(n):
            time.sleep(0.001)
            return n
        operations = [lambda n=n: work(n) for n in range(500)]
        def batch():
            results.append(executor.execute_batch(operations))
        thread = threading.Thread(target=batch)
        thread.start()
        time.sleep(0.05)

        def child():
            assert executor.execute_batch(operations[:20]) == list(range(20))
            assert executor.submit(work, 7).result(10) == 7

        for _ in range(5):
            if {leaving!r} == "os._exit":
                join(in_child(child))
                continue
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                child()
                sys.exit(0)
            join(pid)
        thread.join(20)
        assert results == [list(range(500))]
        """,
        dev=dev,
    )


@MODES
def test_a_forked_child_that_uses_nothing_exits_cleanly(dev: bool) -> None:
    run_forking(
        """
        executor = BatchExecutor(RateLimiter(100, per=60), max_workers=3)
        outcomes = executor.stream(itertools.repeat(int))
        next(outcomes)
        threading.Thread(
            target=lambda: executor.execute_batch([lambda: time.sleep(0.01)] * 80), daemon=True
        ).start()
        future = executor.submit(time.sleep, 0.3)
        time.sleep(0.05)
        for _ in range(5):
            pid = os.fork()
            if pid == 0:
                signal.alarm(20)
                sys.exit(0)
            join(pid)
        """,
        dev=dev,
    )


def test_a_child_may_drop_and_close_what_it_inherits() -> None:
    run_forking(
        """
        executor = BatchExecutor(max_workers=2)
        outcomes = executor.stream(lambda: time.sleep(0.01) for _ in itertools.count())
        values = executor.map(abs, itertools.count(), buffersize=3)
        next(outcomes)
        next(values)

        def child():
            global executor, outcomes, values
            outcomes.close()
            values.close()
            del outcomes, values
            executor.shutdown(wait=True, cancel_futures=True)
            del executor
            gc.collect()

        join(in_child(child))
        for _ in range(20):
            assert next(outcomes).status == "done"
        assert [next(values) for _ in range(20)] == list(range(1, 21))
        outcomes.close()
        """,
        dev=True,
    )


def test_what_waits_in_the_parent_does_not_run_in_the_child() -> None:
    ended = run_forking(
        """
        executor = BatchExecutor(max_workers=1)
        parent = os.getpid()
        gate = threading.Event()
        def work():
            if os.getpid() != parent:
                print("run in the child", flush=True)
        executor.submit(gate.wait)
        futures = [executor.submit(work) for _ in range(10)]

        def child():
            assert executor.execute_batch([int] * 10) == [0] * 10
            executor.shutdown()

        join(in_child(child))
        gate.set()
        for future in futures:
            future.result(20)
        """
    )
    assert ended.stdout == ""


def test_the_child_has_permits_of_its_own() -> None:
    run_forking(
        """
        limiter = RateLimiter(3, per=600)
        both = limiter & RateLimiter(5, per=600)
        executor = BatchExecutor(limiter, max_workers=2)
        assert executor.execute_batch([int] * 3) == [0] * 3
        assert not limiter.try_acquire()

        def child():
            assert executor.execute_batch([int] * 2) == [0] * 2
            assert both.try_acquire()
            assert not limiter.try_acquire()

        join(in_child(child))
        assert not limiter.try_acquire()
        """
    )


def test_a_thread_that_waits_for_a_permit_does_not_wait_in_the_child() -> None:
    run_forking(
        """
        limiter = RateLimiter(1, per=600)
        limiter.acquire()
        for _ in range(4):
            threading.Thread(target=limiter.acquire, daemon=True).start()
        time.sleep(0.1)

        def child():
            assert limiter.wait_time() == 0
            assert limiter.acquire(timeout=5)
            assert not limiter.try_acquire()

        join(in_child(child))
        """
    )


def test_an_executor_that_was_shut_down_stays_so_in_the_child() -> None:
    run_forking(
        """
        executor = BatchExecutor()
        executor.execute(int)
        executor.shutdown()

        def child():
            for verb in (executor.submit, executor.execute):
                try:
                    verb(int)
                except RuntimeError:
                    pass
                else:
                    raise AssertionError("accepted")

        join(in_child(child))
        """
    )


def test_shutdown_in_the_child_leaves_the_parent_running() -> None:
    run_forking(
        """
        executor = BatchExecutor(max_workers=2)
        executor.execute_batch([int] * 4)
        future = executor.submit(time.sleep, 0.3)
        join(in_child(lambda: executor.shutdown(cancel_futures=True)))
        assert future.result(20) is None
        assert executor.execute_batch([int] * 4) == [0] * 4
        """
    )


def test_fork_from_inside_an_operation() -> None:
    run_forking(
        """
        executor = BatchExecutor(RateLimiter(10_000, per=1), max_workers=2)

        def child():
            assert executor.execute_batch([int] * 10) == [0] * 10
            assert executor.submit(int).result(10) == 0
            assert executor.execute(int) == 0

        def work():
            join(in_child(child))
            return os.getpid()

        assert executor.execute_batch([work] * 6) == [os.getpid()] * 6
        assert executor.submit(work).result(20) == os.getpid()
        """
    )


def test_a_grandchild() -> None:
    run_forking(
        """
        executor = BatchExecutor(max_workers=2)
        def generation(left):
            assert executor.execute_batch([int] * 10) == [0] * 10
            if left:
                join(in_child(lambda: generation(left - 1)))
            assert executor.submit(int).result(10) == 0
        generation(3)
        """
    )


@pytest.mark.parametrize("limiter", ["None", "RateLimiter(5000, per=1)", "Foreign()"])
def test_multiprocessing_with_the_fork_method(limiter: str) -> None:
    run_forking(
        f"""
        import multiprocessing
        class Foreign:
            def acquire(self):
                pass
        context = multiprocessing.get_context("fork")
        executor = BatchExecutor({limiter}, max_workers=2)
        executor.execute_batch([int] * 10)

        def job(n):
            return sum(executor.execute_batch([lambda: n] * 20))

        processes = [context.Process(target=job, args=(n,)) for n in range(4)]
        for process in processes: process.start()
        for process in processes: process.join(20)
        assert [process.exitcode for process in processes] == [0] * 4
        with context.Pool(3) as pool:
            assert pool.map(job, range(8)) == [20 * n for n in range(8)]
            pool.close()
            pool.join()
        assert job(5) == 100
        """
    )


def test_a_process_pool_fed_from_inside_operations() -> None:
    run_forking(
        """
        import concurrent.futures, multiprocessing
        context = multiprocessing.get_context("fork")
        with (
            BatchExecutor(max_workers=3) as executor,
            concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as processes,
        ):
            operations = [lambda n=n: processes.submit(abs, -n).result(20) for n in range(30)]
            assert executor.execute_batch(operations) == list(range(30))
        """
    )


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
