"""A limiter's wait, and what may happen to the process meanwhile: signals, forks, its end."""

from __future__ import annotations

import os
import signal

import pytest
from childprocess import run_script

unix_only = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals and fork")


@unix_only
def test_ctrl_c_ends_the_wait_of_the_main_thread() -> None:
    done = run_script(
        """
        import os, signal, threading, time
        from paceline import RateLimiter

        for limiter in (RateLimiter(1, per=60), RateLimiter(1, per=60) & RateLimiter(5, per=1)):
            limiter.acquire()
            before = limiter.wait_time()
            sent = []
            def interrupt():
                time.sleep(0.3)
                sent.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGINT)
            threading.Thread(target=interrupt).start()
            try:
                limiter.acquire()
            except KeyboardInterrupt:
                late = time.monotonic() - sent[0]
                assert late < 1, late
            else:
                raise SystemExit("not interrupted")
            # It left the queue and took nothing.
            assert limiter.wait_time() < before
        """
    )
    done.assert_silent()


@unix_only
def test_a_signal_handler_runs_while_the_main_thread_waits() -> None:
    done = run_script(
        """
        import signal, time
        from paceline import RateLimiter

        ran = []
        signal.signal(signal.SIGALRM, lambda *_: ran.append(time.monotonic()))
        limiter = RateLimiter(1, per=1)
        limiter.acquire()
        began = time.monotonic()
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert limiter.acquire() is True
        assert 0.15 < ran[0] - began < 0.9, ran[0] - began
        assert time.monotonic() - began >= 0.9
        """
    )
    done.assert_silent()


@unix_only
def test_a_forked_child_begins_afresh() -> None:
    done = run_script(
        """
        import os, threading, time
        from paceline import RateLimiter

        single = RateLimiter(2, per=60)
        both = single & RateLimiter(3, per=60)
        single.acquire(2)
        threading.Thread(target=both.acquire, daemon=True).start()
        single.pause(1000)
        pid = os.fork()
        if pid == 0:
            assert single.wait_time() == 0.0
            assert both.acquire(2, timeout=1) is True
            assert both.acquire(timeout=1) is False
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert single.wait_time() > 900
        """
    )
    done.assert_silent()


@unix_only
def test_a_child_forked_while_threads_use_the_limiter_is_not_locked() -> None:
    done = run_script(
        """
        import os, sys, threading, time
        from paceline import RateLimiter

        busy = RateLimiter(10**6, per=0.01)
        waited = RateLimiter(5, per=0.005)
        both = busy & waited
        end = time.monotonic() + 5
        def hammer(limiter):
            while time.monotonic() < end:
                limiter.acquire()
        for limiter in (busy, busy, waited, waited, both, both):
            threading.Thread(target=hammer, args=(limiter,), daemon=True).start()
        for _ in range(40):
            pid = os.fork()
            if pid == 0:
                for limiter in (busy, waited, both):
                    for _ in range(7):
                        assert limiter.acquire(timeout=20) is True
                os._exit(0)
            deadline = time.monotonic() + 20
            while True:
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    break
                if time.monotonic() > deadline:
                    os.kill(pid, 9)
                    sys.exit("the child is locked")
                time.sleep(0.002)
            assert status == 0, status
        os._exit(0)
        """,
        timeout=55,
    )
    done.assert_silent()


@unix_only
def test_a_signal_handler_that_forks_leaves_the_child_its_own_turn() -> None:
    done = run_script(
        """
        import os, signal, time
        from paceline import RateLimiter

        limiter = RateLimiter(1, per=2)
        limiter.acquire()
        children = []
        signal.signal(signal.SIGALRM, lambda *_: children.append(os.fork()))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        began = time.monotonic()
        assert limiter.acquire() is True
        waited = time.monotonic() - began
        if children == [0]:
            os._exit(0 if waited < 1.5 else 1)
        assert waited >= 1.9, waited
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 0
        """
    )
    done.assert_silent()


@unix_only
def test_a_daemon_thread_may_wait_while_the_interpreter_ends() -> None:
    done = run_script(
        """
        import threading, time
        from paceline import RateLimiter

        limiter = RateLimiter(1, per=60)
        limiter.acquire()
        threading.Thread(target=limiter.acquire, daemon=True).start()
        time.sleep(0.1)
        """
    )
    assert done.returncode in (0, -signal.SIGINT), done.stderr
    assert done.stderr == ""


def test_a_daemon_thread_that_waits_does_not_hold_up_the_calls_that_finish_at_exit() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor, RateLimiter

        limiter = RateLimiter(1, per=0.3)
        executor = BatchExecutor(limiter, max_workers=2)
        limiter.acquire()
        for _ in range(3):
            threading.Thread(target=limiter.acquire, daemon=True).start()
        time.sleep(0.05)
        for _ in range(2):
            executor.submit(print, "ran")
        """,
        timeout=15,
    ).assert_silent()
    assert ended.stdout == "ran\nran\n"


def test_a_daemon_thread_lets_go_of_what_the_calls_need_that_finish_at_exit() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor, RateLimiter

        limiter = RateLimiter(1, per=0.3)
        limiter.acquire()
        lock = threading.Lock()
        def wait_with_the_lock():
            with lock:
                limiter.acquire()
        threading.Thread(target=wait_with_the_lock, daemon=True).start()
        time.sleep(0.05)
        def work():
            with lock:
                print("ran")
        executor = BatchExecutor()
        executor.submit(work)
        """,
        timeout=15,
    ).assert_silent()
    assert ended.stdout == "ran\n"


def test_a_limiter_that_asks_ours_does_so_until_the_last_call_at_exit() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor, RateLimiter

        class Wrapped:
            limiter = RateLimiter(1, per=0.2)
            def acquire(self):
                return self.limiter.acquire()

        executor = BatchExecutor(Wrapped(), max_workers=2)
        for _ in range(3):
            executor.submit(print, "ran")
        """,
        timeout=15,
    ).assert_silent()
    assert ended.stdout == "ran\nran\nran\n"


def test_nobody_stands_in_line_behind_a_thread_that_will_not_come_back() -> None:
    ended = run_script(
        """
        import atexit

        def last():
            limiter.acquire()
            print("last")

        # Registered first, it runs last: after the workers have ended.
        atexit.register(last)
        from paceline import RateLimiter

        limiter = RateLimiter(1, per=0.3)
        limiter.acquire()
        for _ in range(3):
            threading.Thread(target=limiter.acquire, daemon=True).start()
        time.sleep(0.05)
        """,
        timeout=15,
    ).assert_silent()
    assert ended.stdout == "last\n"


HANDLERS = {
    "acquires": "assert limiter.acquire() is True",
    "acquires in time": "assert limiter.acquire(timeout=0.9) is True",
    "tries": "while not limiter.try_acquire(): time.sleep(limiter.wait_time())",
    "acquires more": "assert limiter.acquire(2) is True",
    "executes": "assert executor.execute(int) == 0",
    "runs": "assert executor.execute_batch([int] * 3) == [0] * 3",
    "waits for a call": "assert executor.submit(int).result() == 0",
    "waits for one who stood behind": "behind.join()",
    "is interrupted": "number == signal.SIGALRM and interrupt(signal.SIGUSR1); limiter.acquire()",
}


@unix_only
@pytest.mark.parametrize("limiter", ["single", "single & RateLimiter(9, per=1)"])
@pytest.mark.parametrize("handler", HANDLERS.values(), ids=HANDLERS)
def test_a_signal_handler_may_wait_for_a_permit_before_the_code_it_interrupts(
    handler: str, limiter: str
) -> None:
    ended = run_script(
        f"""
from paceline import BatchExecutor, RateLimiter

single = RateLimiter(2, per=0.4)
limiter = {limiter}
executor = BatchExecutor(limiter, max_workers=1)

def interrupt(number):
    threading.Timer(0.1, os.kill, (os.getpid(), number)).start()

def handle(number, _):
    {handler}
    print("handled", flush=True)

for number in (signal.SIGALRM, signal.SIGUSR1):
    signal.signal(number, handle)
limiter.acquire(2)
behind = threading.Thread(target=limiter.acquire)
threading.Timer(0.05, behind.start).start()
interrupt(signal.SIGALRM)
assert limiter.acquire(timeout=20) is True
print("granted", flush=True)
behind.join()
executor.shutdown()
        """,
        timeout=25,
    ).assert_silent()
    handled = 2 if "SIGUSR1" in handler else 1
    assert ended.stdout == "handled\n" * handled + "granted\n"


@unix_only
def test_one_who_was_interrupted_keeps_its_place() -> None:
    ended = run_script(
        """
        from paceline import RateLimiter

        limiter = RateLimiter(1, per=0.5)
        limiter.acquire()
        def wait_behind(name):
            limiter.acquire()
            print(name, flush=True)
        def stand_behind(name):
            thread = threading.Thread(target=wait_behind, args=(name,))
            thread.start()
            return thread
        def handle(*_):
            stand_behind("last")
            first.join()
            print("handled", flush=True)
        signal.signal(signal.SIGALRM, handle)
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGALRM)).start()
        first = None
        def stand_first():
            global first
            first = stand_behind("first")
        threading.Timer(0.1, stand_first).start()
        limiter.acquire()
        print("main", flush=True)
        """
    ).assert_silent()
    assert ended.stdout == "first\nhandled\nmain\nlast\n"


@unix_only
def test_a_signal_handler_that_raises_while_others_go_first_leaves_them_the_line() -> None:
    ended = run_script(
        """
        from paceline import RateLimiter

        single = RateLimiter(1, per=0.3)
        limiter = single & RateLimiter(9, per=1)
        def handle(*_):
            limiter.acquire()
            raise ZeroDivisionError
        signal.signal(signal.SIGALRM, handle)
        limiter.acquire()
        behind = threading.Thread(target=limiter.acquire)
        threading.Timer(0.05, behind.start).start()
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGALRM)).start()
        try:
            limiter.acquire()
        except ZeroDivisionError:
            print("raised")
        behind.join()
        assert limiter.acquire(timeout=5) is True
        assert limiter.wait_time() > 0
        """
    ).assert_silent()
    assert ended.stdout == "raised\n"
