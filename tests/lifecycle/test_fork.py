"""After a fork the child has a fresh pool and fresh permits, and the parent notices nothing."""

from __future__ import annotations

import os

import pytest
from forking import run_forking

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")


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
