"""Whatever ends a process in an orderly way finds its submitted calls done, `atexit` or not."""

from __future__ import annotations

import http.client
import os
import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from childprocess import Ended, run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# Each call takes a while, so nothing is done unless somebody waits for it.
WORK = """
import os, time
from paceline import BatchExecutor, RateLimiter

class Foreign:
    def acquire(self):
        time.sleep(0.001)

def note(place, line):
    time.sleep(0.02)
    with open(place, "a") as file:
        file.write(f"{line}\\n")

def leave_work(place, first=0, limiter=None):
    executor = BatchExecutor(limiter, max_workers=2)
    for number in range(first, first + 10):
        executor.submit(note, place, number)

def leave_work_to_a_thread(place):
    import threading
    executor = BatchExecutor(max_workers=2)
    def late():
        for number in range(10):
            time.sleep(0.02)
            executor.submit(note, place, number)
    threading.Thread(target=late).start()

def leave_values(place):
    executor = BatchExecutor(max_workers=2)
    # Forgotten, but what was read of it runs on.
    executor.map(lambda number: note(place, number), range(10))
"""

# What gunicorn says when it listens.
PORT = re.compile(r"Listening at: http://127\.0\.0\.1:(\d+)")

KINDS = ["leave_work", "leave_work_to_a_thread", "leave_values"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "work.py").write_text(WORK)
    return tmp_path


def run(place: Path, script: str, *, python: str = sys.executable) -> Ended:
    preamble = "import sys\nsys.path.insert(0, sys.argv[1])\nplace = sys.argv[1] + '/lines'\n"
    script = preamble + textwrap.dedent(script)
    return run_script(script, str(place), python=python, timeout=50)


def lines(place: Path) -> list[int]:
    return sorted(int(line) for line in (place / "lines").read_text().split())


@pytest.mark.every_python
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_process_of_multiprocessing(kind: str, method: str, python: str, place: Path) -> None:
    run(
        place,
        f"""
        import multiprocessing, work
        if __name__ == "__main__":
            process = multiprocessing.get_context({method!r}).Process(
                target=work.{kind}, args=(place,)
            )
            process.start()
            process.join(30)
            assert process.exitcode == 0
        """,
        python=python,
    ).assert_silent()
    assert lines(place) == list(range(10))


def test_a_process_that_the_executor_was_inherited_by(place: Path) -> None:
    run(
        place,
        """
        import multiprocessing, work
        executor = work.BatchExecutor(work.Foreign(), max_workers=2)
        executor.execute_batch([int] * 20)
        def child():
            for number in range(10):
                executor.submit(work.note, place, number)
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        """,
    ).assert_silent()
    assert lines(place) == list(range(10))


@pytest.mark.parametrize("pool", ["multiprocessing", "concurrent.futures"])
@pytest.mark.parametrize("method", ["fork", "forkserver"])
def test_workers_of_process_pools(pool: str, method: str, place: Path) -> None:
    make = {
        "multiprocessing": "multiprocessing.get_context(method).Pool(2)",
        "concurrent.futures": "concurrent.futures.ProcessPoolExecutor(2, "
        "mp_context=multiprocessing.get_context(method))",
    }[pool]
    end = "close(); pool.join()" if pool == "multiprocessing" else "shutdown()"
    run(
        place,
        f"""
        import concurrent.futures, multiprocessing, work
        method = {method!r}
        pool = {make}
        for first in (0, 10, 20):
            call = pool.apply_async if {pool!r} == "multiprocessing" else pool.submit
            if {pool!r} == "multiprocessing":
                pool.apply_async(work.leave_work, (place, first))
            else:
                pool.submit(work.leave_work, place, first)
        pool.{end}
        """,
    ).assert_silent()
    assert lines(place) == list(range(30))


@pytest.mark.parametrize("way", ["sys.exit(3)", "raise SystemExit(3)", "signal"])
def test_a_forked_child_that_exits(way: str, place: Path) -> None:
    """As the workers of gunicorn and other servers that fork do, from a signal handler too."""
    leave = (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3)); "
        "os.kill(os.getpid(), signal.SIGTERM); time.sleep(30)"
        if way == "signal"
        else way
    )
    run(
        place,
        f"""
        import signal, work
        executor = work.BatchExecutor(max_workers=2)
        executor.execute(int)
        pid = os.fork()
        if pid == 0:
            for number in range(10):
                executor.submit(work.note, place, number)
            work.leave_work(place, 10)
            {leave}
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        """,
    ).assert_silent()
    assert lines(place) == list(range(20))


@pytest.mark.parametrize("leave", ["pass", "sys.exit(3)"])
def test_a_child_that_a_signal_handler_forks_while_the_end_waits(leave: str, place: Path) -> None:
    run(
        place,
        f"""
        import work
        executor = work.BatchExecutor(max_workers=2)
        executor.submit(time.sleep, 0.6)
        def handler(*_):
            pid = os.fork()
            if pid == 0:
                work.leave_work(place)
                {leave}
            else:
                status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
                assert status == {0 if leave == "pass" else 3}, status
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        """,
    ).assert_silent()
    assert lines(place) == list(range(10))


def test_a_child_that_a_handler_of_atexit_forks_is_refused(place: Path) -> None:
    """It goes on with the handlers that are left, and nobody would wait for what it submits."""
    ended = run(
        place,
        """
        import atexit, work
        work.BatchExecutor().execute(int)
        def late():
            pid = os.fork()
            if pid == 0:
                try:
                    work.leave_work(place)
                except RuntimeError as error:
                    print(error, flush=True)
            else:
                assert os.waitpid(pid, 0)[1] == 0
        atexit.register(late)
        """,
    ).assert_silent()
    assert "after interpreter shutdown" in ended.stdout


USES = {
    "operation": "work.BatchExecutor(max_workers=2).execute(fork)",
    "initializer": "work.BatchExecutor(max_workers=1, initializer=fork).execute(int)",
    "initializer that raises": "work.BatchExecutor(max_workers=1, initializer=lambda: fork() and 0 "
    "or exec('if not pids[0]: raise ValueError')).execute(int)",
    "limiter": "work.BatchExecutor(Limiter(), max_workers=2).submit(int).result()",
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_child_forked_on_a_thread_of_ours_that_returns(use: str, place: Path) -> None:
    run(
        place,
        f"""
        import logging, work
        logging.getLogger("concurrent.futures").disabled = True
        pids = []
        def fork():
            pids.append(os.fork())
            if pids == [0]:
                work.leave_work(place)
        class Limiter:
            def acquire(self):
                fork()
        {use}
        (pid,) = pids
        signal.signal(signal.SIGALRM, lambda *_: os.kill(pid, signal.SIGKILL))
        signal.alarm(20)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """,
    ).assert_silent()
    assert lines(place) == list(range(10))


@pytest.mark.every_python
@pytest.mark.parametrize("end", ["", "sys.exit()", "0 / 0", "forks_again()", "asks_in_vain()"])
def test_a_child_forked_on_another_thread_than_the_main_one(
    end: str, python: str, place: Path
) -> None:
    """Its end is no end of the interpreter: nobody but us waits for our calls and our threads."""
    run(
        place,
        f"""
        import work
        executor = work.BatchExecutor(max_workers=2)
        threading.excepthook = lambda *_: None
        def forks(job):
            pid = os.fork()
            if pid == 0:
                return job()
            until = time.monotonic() + 10
            while (status := os.waitpid(pid, os.WNOHANG)) == (0, 0):
                time.sleep(0.01)
                if time.monotonic() > until:
                    os.kill(pid, signal.SIGKILL)
            if status != (pid, 0):
                os._exit(1)
        def forks_again():
            forks(lambda: executor.execute(int))
        class Never:
            def acquire(self):
                time.sleep(600)
        never = work.BatchExecutor(Never(), max_workers=1)
        def asks_in_vain():
            future = never.submit(int)
            time.sleep(0.05)
            future.cancel()
        def child():
            for number in range(10):
                executor.submit(work.note, place, number)
            {end}
        executor.execute(int)
        thread = threading.Thread(target=forks, args=(child,))
        thread.start()
        thread.join()
        """,
        python=python,
    ).assert_silent()
    assert lines(place) == list(range(10))


@pytest.mark.parametrize("late", ["atexit.register(leave)", "in_a_child()"])
def test_a_package_that_is_imported_too_late_says_so(late: str, place: Path) -> None:
    """As ``concurrent.futures`` does, when nobody would see to what is submitted."""
    ended = run(
        place,
        f"""
        import atexit, concurrent.futures.thread, multiprocessing
        def leave():
            try:
                import work
            except RuntimeError as error:
                print(error, flush=True)
            else:
                work.leave_work(place)
        def in_a_child():
            process = multiprocessing.get_context("fork").Process(target=child)
            process.start()
            process.join(30)
            assert process.exitcode == 0
        def child():
            threading.Thread(target=lambda: (time.sleep(0.2), leave())).start()
        {late}
        """,
    ).assert_silent()
    assert ended.stdout == "can't register atexit after shutdown\n"


@pytest.mark.skipif(sys.version_info[:2] == (3, 12), reason="it starts no threads by then")
def test_a_package_that_a_thread_imports_late(place: Path) -> None:
    """While the interpreter waits for threads that are no daemons, it is soon enough."""
    run(
        place,
        """
        import concurrent.futures.thread
        def late():
            threading.main_thread().join()
            time.sleep(0.1)
            import work
            work.leave_work(place)
        threading.Thread(target=late).start()
        """,
    ).assert_silent()
    assert lines(place) == list(range(10))


@pytest.mark.parametrize("register", ["first", "last"])
def test_what_other_handlers_take_down_is_there_until_all_is_done(
    register: str, place: Path
) -> None:
    handler = """
        import atexit, shutil, tempfile, weakref
        folder = tempfile.TemporaryDirectory()
        pool = []
        atexit.register(pool.append, "closed")
        """
    ended = run(
        place,
        f"""
        {handler if register == "first" else ""}
        import work
        executor = work.BatchExecutor(max_workers=2)
        executor.execute(int)
        {handler if register == "last" else ""}
        def call(number):
            time.sleep(0.05)
            open(folder.name + f"/{{number}}", "w").close()
            work.note(place, number)
            assert not pool
        for number in range(10):
            executor.submit(call, number)
        """,
    ).assert_silent()
    assert ended.stdout == ""
    assert lines(place) == list(range(10))


@pytest.mark.slow
def test_a_worker_of_pytest_xdist(place: Path) -> None:
    (place / "conftest.py").write_text(
        "import os, work\n"
        "def pytest_sessionfinish(session):\n"
        "    if 'PYTEST_XDIST_WORKER' in os.environ:\n"
        f"        work.leave_work({str(place / 'lines')!r})\n"
    )
    (place / "test_nothing.py").write_text("def test_nothing(): pass\n")
    run_script(
        f"""
        import subprocess
        command = [sys.executable, "-m", "pytest", "-q", "-n1", "-p", "no:cacheprovider", "."]
        # This test may run in such a worker itself.
        environment = {{k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}}
        done = subprocess.run(
            command, cwd={str(place)!r}, capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stdout + done.stderr
        """,
        timeout=180,
    ).assert_silent()
    assert lines(place) == list(range(10))


# An application whose answer leaves work behind, as a view that sends its mails later.
APPLICATION = """
import os, work

def application(environ, start_response):
    work.leave_work(os.environ["LINES"])
    start_response("200 OK", [("Content-Length", "0")])
    return []
"""


@pytest.mark.parametrize("way", ["stopped", "quit", "renewed"])
def test_a_worker_of_gunicorn(way: str, place: Path) -> None:
    """That ends when the server does, at once or in good order, or after so many requests."""
    (place / "application.py").write_text(APPLICATION)
    most = "1" if way == "renewed" else "0"
    options = ["--worker-class=gthread", "--threads=2", "--bind=127.0.0.1:0", "--no-control-socket"]
    command = [sys.executable, "-m", "gunicorn", *options, f"--max-requests={most}", "application"]
    environment = os.environ | {"PYTHONPATH": str(place), "LINES": str(place / "lines")}
    with subprocess.Popen(
        command, cwd=place, env=environment, stderr=subprocess.PIPE, text=True
    ) as server:
        try:
            assert server.stderr is not None
            said = iter(server.stderr.readline, "")
            port = int(next(filter(None, (PORT.search(line) for line in said)))[1])
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            connection.close()
            if way == "renewed":
                assert any("Worker exiting" in line for line in said)
            server.send_signal(signal.SIGQUIT if way == "quit" else signal.SIGTERM)
            server.communicate(timeout=40)
        finally:
            server.kill()
    assert lines(place) == list(range(10))


def test_a_loop_that_submits_until_its_thread_ends(place: Path) -> None:
    """A thread that is no daemon goes on when the main one has ended, and so do its calls."""
    run(
        place,
        """
        import multiprocessing, work
        def child():
            executor = work.BatchExecutor(max_workers=2)
            def loop():
                threading.main_thread().join(0.3)
                for number in range(10):
                    assert executor.submit(abs, -number).result() == number
                    executor.submit(work.note, place, number)
            threading.Thread(target=loop).start()
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        """,
    ).assert_silent()
    assert lines(place) == list(range(10))


def test_a_daemon_thread_does_not_keep_a_child(place: Path) -> None:
    run(
        place,
        """
        import itertools, multiprocessing, work
        def child():
            executor = work.BatchExecutor(max_workers=2)
            jobs = [
                lambda: executor.execute_batch(itertools.repeat(int)),
                lambda: list(executor.stream(itertools.repeat(lambda: time.sleep(0.001)))),
                lambda: [executor.submit(int).result() for _ in itertools.count()],
                lambda: work.BatchExecutor(work.RateLimiter(1, per=600)).run([int] * 5),
            ]
            for job in jobs:
                threading.Thread(target=job, daemon=True).start()
            time.sleep(0.1)
            for number in range(10):
                executor.submit(work.note, place, number)
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        """,
    ).assert_silent()
    assert lines(place) == list(range(10))
