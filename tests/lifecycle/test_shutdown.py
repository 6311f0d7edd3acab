"""`shutdown`, `with`, and executors that nobody shut down."""

from __future__ import annotations

import pytest
from childprocess import run_script

MODES = pytest.mark.parametrize("dev", [False, True], ids=["plain", "dev"])

VERBS = [
    "executor.submit(int)",
    "executor.execute(int)",
    "executor.execute_batch([int])",
    "executor.execute_batch([])",
    "executor.run([int])",
    "executor.run([])",
    "list(executor.stream([int]))",
    "list(executor.map(int, ['1']))",
    "list(executor.map(int, ['1'], buffersize=1))",
]


@pytest.mark.parametrize(
    "how",
    ["executor.shutdown()", "executor.shutdown(wait=False)", "executor.__exit__(None, None, None)"],
)
@pytest.mark.parametrize("used_before", [False, True])
def test_every_verb_is_refused_after_shutdown(how: str, used_before: bool) -> None:
    ended = run_script(
        f"""
        from paceline import BatchExecutor
        executor = BatchExecutor()
        if {used_before}:
            executor.execute_batch([int] * 10)
            executor.submit(int).result()
        {how}
        for verb in {VERBS!r}:
            try:
                eval(verb)
            except RuntimeError as error:
                assert "after shutdown" in str(error), error
            else:
                print(verb, "was accepted")
        """,
        dev=True,
    ).assert_silent()
    assert ended.stdout == ""


def test_the_input_is_not_touched_after_shutdown() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor()
        executor.shutdown()
        def read():
            raise AssertionError("the input was read")
            yield
        for verb in (executor.execute_batch, executor.run, executor.stream):
            try:
                verb(read())
            except RuntimeError:
                pass
        """
    ).assert_silent()


@MODES
def test_shutdown_twice_and_with_after_shutdown(dev: bool) -> None:
    run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor()
        future = executor.submit(int)
        executor.shutdown(wait=False)
        executor.shutdown()
        executor.shutdown(cancel_futures=True)
        executor.shutdown()
        assert future.result() == 0
        with BatchExecutor() as executor:
            executor.shutdown()
        never_used = BatchExecutor()
        never_used.shutdown()
        never_used.shutdown()
        """,
        dev=dev,
    ).assert_silent()


@MODES
def test_shutdown_waits_for_everything_submitted(dev: bool) -> None:
    run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2, thread_name_prefix="crew")
        futures = [executor.submit(time.sleep, 0.02) for _ in range(10)]
        executor.shutdown()
        assert all(future.done() and not future.cancelled() for future in futures)
        assert not [t for t in threading.enumerate() if t.name.startswith("crew")]
        assert threading.active_count() == 1, threading.enumerate()
        """,
        dev=dev,
    ).assert_silent()


@MODES
def test_shutdown_without_waiting_lets_everything_finish(dev: bool) -> None:
    run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        release = threading.Event()
        futures = [executor.submit(release.wait) for _ in range(8)]
        executor.shutdown(wait=False)
        assert not any(future.done() for future in futures)
        release.set()
        assert all(future.result(20) for future in futures)
        deadline = time.monotonic() + 20
        while threading.active_count() > 1:
            assert time.monotonic() < deadline, threading.enumerate()
            time.sleep(0.005)
        """,
        dev=dev,
    ).assert_silent()


@MODES
@pytest.mark.parametrize("limiter", ["None", "RateLimiter(3, per=600)", "Foreign()"])
def test_cancel_futures_cancels_what_has_not_started(limiter: str, dev: bool) -> None:
    run_script(
        f"""
        from concurrent.futures import wait
        from paceline import BatchExecutor, RateLimiter
        class Foreign:
            def acquire(self):
                time.sleep(0.001)
        started = threading.Semaphore(0)
        release = threading.Event()
        def work():
            started.release()
            assert release.wait(20)
        executor = BatchExecutor({limiter}, max_workers=2)
        futures = [executor.submit(work) for _ in range(20)]
        started.acquire(); started.acquire()
        heard = []
        futures[-1].add_done_callback(heard.append)
        threading.Timer(0.2, release.set).start()
        executor.shutdown(cancel_futures=True)
        assert [future.cancelled() for future in futures] == [False] * 2 + [True] * 18
        assert all(future.exception() is None for future in futures[:2])
        assert heard == [futures[-1]]
        done, pending = wait(futures, timeout=20)
        assert not pending
        """,
        dev=dev,
    ).assert_silent()


@MODES
def test_shutdown_from_a_worker(dev: bool) -> None:
    """A worker cannot wait for its own end; everything submitted before still finishes."""
    ended = run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        gate = threading.Event()
        def leave(**how):
            assert gate.wait(20)
            executor.shutdown(**how)
            try:
                executor.submit(int)
            except RuntimeError:
                return "shut"
        pending = [executor.submit(leave, wait=True)] + [executor.submit(int) for _ in range(10)]
        gate.set()
        assert pending[0].result(20) == "shut"
        assert [future.result(20) for future in pending[1:]] == [0] * 10
        executor.shutdown()

        executor = BatchExecutor(max_workers=1)
        def cancel():
            executor.shutdown(wait=True, cancel_futures=True)
        gate = threading.Event()
        executor.submit(gate.wait)
        futures = [executor.submit(cancel)] + [executor.submit(int) for _ in range(5)]
        gate.set()
        assert futures[0].result(20) is None
        assert all(future.cancelled() for future in futures[1:])

        executor = BatchExecutor(max_workers=2)
        values = executor.execute_batch([executor.shutdown] + [int] * 50)
        assert values == [None] + [0] * 50
        print("completed")
        """,
        dev=dev,
    ).assert_silent()
    assert ended.stdout == "completed\n"


def test_shutdown_from_a_done_callback() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=1)
        gate = threading.Event()
        first = executor.submit(gate.wait)
        second = executor.submit(int)
        first.add_done_callback(lambda _: executor.shutdown(wait=True))
        gate.set()
        assert second.result(20) == 0
        executor.shutdown()
        """
    ).assert_silent()


@pytest.mark.parametrize("refuse", ["return False", "raise OSError"])
@pytest.mark.parametrize("cancel", [True, False])
def test_shutdown_from_the_callback_of_a_call_that_got_no_permit(refuse: str, cancel: bool) -> None:
    run_script(
        f"""
        from paceline import BatchExecutor
        gate = threading.Event()
        class Limiter:
            asked = 0
            def acquire(self):
                assert gate.wait(20)
                self.asked += 1
                if self.asked == 1:
                    {refuse}
        executor = BatchExecutor(Limiter(), max_workers=1)
        first = executor.submit(int)
        second = executor.submit(int)
        back = threading.Event()
        def leave(_):
            executor.shutdown(cancel_futures={cancel})
            back.set()
        first.add_done_callback(leave)
        gate.set()
        assert back.wait(20)
        if {cancel}:
            assert second.cancelled()
        else:
            assert second.result(20) == 0
        assert first.exception(20) is not None
        executor.shutdown()
        assert threading.active_count() == 1
        """
    ).assert_silent()


@MODES
@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream", "map"])
@pytest.mark.parametrize("wait", [True, False])
def test_shutdown_during_another_threads_batch_lets_it_complete(
    verb: str, wait: bool, dev: bool
) -> None:
    ended = run_script(
        f"""
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        began = threading.Event()
        def work():
            began.set()
            time.sleep(0.01)
        verbs = {{
            "execute_batch": lambda: executor.execute_batch([work] * 40),
            "run": lambda: executor.run([work] * 40).values(),
            "stream": lambda: [outcome.value for outcome in executor.stream([work] * 40)],
            "map": lambda: list(executor.map(lambda _: work(), range(40))),
        }}
        results = []
        thread = threading.Thread(target=lambda: results.extend(verbs[{verb!r}]()))
        thread.start()
        assert began.wait(20)
        executor.shutdown(wait={wait})
        try:
            executor.execute(int)
        except RuntimeError:
            print("refused")
        thread.join(20)
        assert results == [None] * 40, results
        executor.shutdown()
        assert threading.active_count() == 1, threading.enumerate()
        """,
        dev=dev,
    ).assert_silent()
    assert ended.stdout == "refused\n"


@MODES
@pytest.mark.parametrize("verb", ["execute_batch", "run"])
def test_cancel_futures_ends_another_threads_batch_and_nothing_is_lost(
    verb: str, dev: bool
) -> None:
    run_script(
        f"""
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        running = threading.Semaphore(0)
        release = threading.Event()
        def work():
            running.release()
            assert release.wait(20)
        box = []
        def batch():
            try:
                box.append(executor.{verb}([work] * 40))
            except BaseException as error:
                box.append(error)
        thread = threading.Thread(target=batch)
        thread.start()
        running.acquire(); running.acquire()
        threading.Timer(0.1, release.set).start()
        executor.shutdown(cancel_futures=True)
        thread.join(20)
        assert not thread.is_alive()
        report = getattr(box[0], "batch_report", box[0])
        assert report.ended_by == "shutdown", box
        assert [outcome.index for outcome in report] == list(range(40))
        assert [outcome.status for outcome in report] == ["done"] * 2 + ["cancelled"] * 38
        assert report.counts["cancelled"] == 38
        """,
        dev=dev,
    ).assert_silent()


@MODES
def test_a_forgotten_executor_ends_its_threads(dev: bool) -> None:
    run_script(
        """
        import gc, weakref
        from paceline import BatchExecutor, RateLimiter
        class Foreign:
            def acquire(self):
                pass
        def threads():
            return [thread for thread in threading.enumerate() if thread.name.startswith("lost")]
        for limiter in (None, RateLimiter(1000, per=1), Foreign()):
            for cycle in (False, True):
                executor = BatchExecutor(limiter, max_workers=3, thread_name_prefix="lost")
                executor.execute_batch([int] * 10)
                list(executor.map(int, ["1"] * 10))
                list(executor.stream([int] * 10))
                assert threads()
                if cycle:
                    executor.itself = executor
                forgotten = weakref.ref(executor)
                del executor
                gc.collect()
                assert forgotten() is None
                deadline = time.monotonic() + 20
                while threads():
                    assert time.monotonic() < deadline, threads()
                    time.sleep(0.005)
        """,
        dev=dev,
    ).assert_silent()


@MODES
def test_a_forgotten_executor_finishes_what_was_submitted(dev: bool) -> None:
    run_script(
        """
        from paceline import BatchExecutor
        def futures():
            executor = BatchExecutor(max_workers=2)
            return [executor.submit(lambda n=n: (time.sleep(0.01), n)[1]) for n in range(20)]
        assert [future.result(20) for future in futures()] == list(range(20))
        assert list(BatchExecutor().map(int, ["1"] * 50)) == [1] * 50
        assert len(list(BatchExecutor().stream([int] * 50))) == 50
        assert BatchExecutor().execute_batch([int] * 50) == [0] * 50
        """,
        dev=dev,
    ).assert_silent()


def test_a_worker_may_hold_the_last_reference() -> None:
    """The executor is then collected on one of its own threads."""
    run_script(
        """
        from paceline import BatchExecutor
        def threads():
            return [thread for thread in threading.enumerate() if thread.name.startswith("own")]
        for _ in range(20):
            executor = BatchExecutor(max_workers=2, thread_name_prefix="own")
            gate = threading.Event()
            future = executor.submit(lambda kept: gate.wait(20), executor)
            del executor
            gate.set()
            assert future.result(20)
            del future
        deadline = time.monotonic() + 20
        while threads():
            assert time.monotonic() < deadline, threads()
            time.sleep(0.005)
        """,
        dev=True,
    ).assert_silent()


@MODES
def test_with_waits_and_hands_exceptions_on(dev: bool) -> None:
    run_script(
        """
        from paceline import BatchExecutor
        done = []
        try:
            with BatchExecutor(max_workers=2) as executor:
                assert isinstance(executor, BatchExecutor)
                for n in range(6):
                    executor.submit(lambda n=n: (time.sleep(0.02), done.append(n)))
                raise LookupError("inside")
        except LookupError:
            assert sorted(done) == list(range(6))
        else:
            raise AssertionError("the exception was swallowed")
        """,
        dev=dev,
    ).assert_silent()


def test_shutdown_from_many_threads_at_once() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        for round in range(30):
            executor = BatchExecutor(max_workers=3)
            futures = [executor.submit(time.sleep, 0.001) for _ in range(20)]
            threads = [threading.Thread(target=executor.shutdown) for _ in range(6)]
            for thread in threads: thread.start()
            for thread in threads: thread.join(20)
            assert not any(thread.is_alive() for thread in threads)
            assert all(future.done() for future in futures)
        """,
        dev=True,
    ).assert_silent()


def test_a_worker_that_is_just_starting_is_no_obstacle() -> None:
    """Its work may be done by then, by the worker before it."""
    run_script(
        """
        from paceline import BatchExecutor
        begins = threading.Thread._set_native_id
        def begins_late(thread):
            if thread.name == "paceline_1":
                late.set()
                time.sleep(0.4)
            begins(thread)
        late = threading.Event()
        threading.Thread._set_native_id = begins_late
        executor = BatchExecutor(max_workers=2)
        other = threading.Thread(
            target=lambda: [executor.submit(time.sleep, 0.05) for _ in range(2)]
        )
        other.start()
        assert late.wait(10)
        executor.shutdown()
        other.join()
        """
    ).assert_silent()
