"""Signal handlers of the program's own: they run promptly, may do anything, and lose nothing."""

from __future__ import annotations

import json

from childprocess import run_script


def test_a_signal_handler_that_raises_something_else_ends_the_batch_as_well() -> None:
    result = run_script(
        """
        import os, signal, threading, time
        from paceline import BatchExecutor, RateLimiter

        class Drain(Exception):
            pass

        def drain(*_):
            raise Drain("the platform asks us to stop")

        signal.signal(signal.SIGTERM, drain)
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        executor = BatchExecutor(RateLimiter(3, per=60), max_workers=2)
        try:
            executor.run([int] * 10)
        except Drain as error:
            print(error.batch_report.counts["done"], len(error.batch_report))
        executor.shutdown()
        """
    )
    result.assert_silent()
    assert result.stdout.split() == ["3", "10"]


def test_no_signal_is_lost_in_small_batches_where_nothing_is_logged() -> None:
    ended = run_script(
        """
        import json, random
        from paceline import BatchExecutor
        class Alarm(Exception):
            pass
        armed, raised, caught = False, 0, 0
        def handler(*_):
            global armed, raised
            if armed:
                armed = False
                raised += 1
                raise Alarm
        signal.signal(signal.SIGALRM, handler)
        executor = BatchExecutor(max_workers=2)
        # Both threads are there: where a signal meets the start of one, CPython prints an error.
        executor.run([lambda: time.sleep(0.1)] * 2)
        def run_on():
            # Not within the try itself: CPython 3.13 leaves the jump back of a loop out of it.
            while armed:
                executor.run([int] * 3)
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                armed = True
                signal.setitimer(signal.ITIMER_REAL, random.uniform(2e-5, 3e-4))
                run_on()
            except Alarm:
                caught += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        print(json.dumps([raised, caught]))
        """
    ).assert_silent()
    raised, caught = ended.last_json()
    assert raised == caught > 100


def test_handlers_that_return_run_promptly_and_change_nothing() -> None:
    ended = run_script(
        """
        import json
        from paceline import BatchExecutor, RateLimiter
        sent, handled = [], []
        signal.signal(signal.SIGUSR1, lambda *_: handled.append(time.monotonic()))
        def send():
            for _ in range(10):
                time.sleep(0.08)
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGUSR1)
        sender = threading.Thread(target=send)
        sender.start()
        with BatchExecutor(RateLimiter(1, per=0.2), max_workers=2) as executor:
            assert executor.execute_batch([int] * 6) == [0] * 6
            sender.join()
        time.sleep(0.05)
        print(json.dumps(sorted(b - a for a, b in zip(sent, handled, strict=True))))
        """
    ).assert_silent()
    latencies = json.loads(ended.stdout)
    assert len(latencies) == 10
    assert latencies[len(latencies) // 2] < 0.1


def test_a_handler_may_use_the_executor() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor, RateLimiter
        limiter = RateLimiter(100_000, per=1)
        executor = BatchExecutor(limiter, max_workers=1)
        futures, batches = [], []
        def handler(*_):
            futures.append(executor.submit(int))
            batches.append(executor.execute_batch([int] * 3))
            limiter.try_acquire()
        signal.signal(signal.SIGUSR1, handler)
        def send():
            for _ in range(20):
                time.sleep(0.02)
                os.kill(os.getpid(), signal.SIGUSR1)
        sender = threading.Thread(target=send)
        sender.start()
        assert executor.execute_batch([lambda: time.sleep(0.002)] * 300) == [None] * 300
        sender.join()
        time.sleep(0.05)
        assert len(futures) >= 10, "signals may merge, but not so many"
        assert [future.result(20) for future in futures] == [0] * len(futures)
        assert batches == [[0] * 3] * len(futures)
        signal.signal(signal.SIGUSR1, lambda *_: executor.shutdown(wait=False))
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        assert executor.execute_batch([lambda: time.sleep(0.01)] * 40) == [None] * 40
        try:
            executor.execute(int)
        except RuntimeError:
            print("shut")
        """,
        timeout=40,
    ).assert_silent()
    assert ended.stdout == "shut\n"


def test_ctrl_c_leaves_the_batch_of_another_thread_alone() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        results = []
        thread = threading.Thread(target=lambda: results.extend(
            executor.execute_batch([lambda: time.sleep(0.01)] * 60)))
        thread.start()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
        try:
            executor.execute_batch([lambda: time.sleep(0.01)] * 1000)
        except KeyboardInterrupt:
            pass
        thread.join(20)
        assert results == [None] * 60
        assert executor.execute_batch([int] * 5) == [0] * 5
        """,
        timeout=30,
    ).assert_silent()


def test_repeated_interrupts_never_leave_the_executor_unusable() -> None:
    run_script(
        """
        import random
        from paceline import BatchExecutor, RateLimiter
        random.seed(7)
        executor = BatchExecutor(RateLimiter(100_000, per=1), max_workers=2)
        interrupts = 0
        verbs = [
            lambda: executor.execute_batch([lambda: time.sleep(0.001)] * 200),
            lambda: executor.run([int] * 200_000),
            lambda: list(executor.stream([int] * 20_000)),
            lambda: list(executor.map(int, ["1"] * 5000)),
            lambda: [executor.submit(int).result() for _ in range(5000)],
        ]
        for round in range(40):
            signalling = threading.Timer(random.uniform(0, 0.05), os.kill,
                                         (os.getpid(), signal.SIGINT))
            try:
                signalling.start()
                verbs[round % len(verbs)]()
                signalling.join()
                time.sleep(0.05)
            except KeyboardInterrupt:
                interrupts += 1
            signalling.join()
        assert interrupts == 40, interrupts
        assert executor.execute_batch([int] * 50) == [0] * 50
        executor.shutdown()
        assert threading.active_count() == 1, threading.enumerate()
        """,
        timeout=50,
    ).assert_silent()
