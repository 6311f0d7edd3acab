"""Ctrl-C at particular moments: while what is not ours runs, and where a batch is at its end."""

from __future__ import annotations

import pytest
from childprocess import run_script


def test_an_interrupt_while_the_input_is_read() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        def slow_input():
            for _ in range(5):
                yield int
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(600)
            yield int
        with BatchExecutor(max_workers=2) as executor:
            for verb in (executor.execute_batch, executor.run, lambda ops: list(
                    executor.stream(ops, buffersize=50))):
                try:
                    verb(slow_input())
                except KeyboardInterrupt as error:
                    assert sum(error.batch_report.counts.values()) == 5, error.batch_report
                    assert error.batch_report.ended_by == "interrupt"
                else:
                    raise AssertionError("nothing was raised")
            assert executor.execute_batch([int] * 5) == [0] * 5
        """,
        timeout=15,
    ).assert_silent()


@pytest.mark.parametrize("verb", ["list", "tuple", "generator", "stream"])
def test_ctrl_c_while_operations_are_checked_is_no_fault_of_theirs(verb: str) -> None:
    verbs = {
        "list": "executor.execute_batch(operations)",
        "tuple": "executor.run(tuple(operations))",
        "generator": "executor.run(iter(operations))",
        "stream": "list(executor.stream(operations))",
    }
    run_script(
        f"""
        from paceline import BatchExecutor
        class Call:
            def __init__(self, interrupts):
                self.interrupts = interrupts
            def __call__(self):
                pass
            def __getattr__(self, name):
                # Whoever asks whether this is a coroutine function comes here.
                if self.interrupts and threading.current_thread() is threading.main_thread():
                    self.interrupts = False
                    os.kill(os.getpid(), signal.SIGINT)
                    for _ in range(100):
                        pass
                raise AttributeError(name)
        operations = [Call(place == 70) for place in range(100)]
        executor = BatchExecutor(max_workers=2)
        try:
            {verbs[verb]}
        except KeyboardInterrupt as error:
            report = error.batch_report
        assert report.ended_by == "interrupt"
        counts = report.counts
        if {verb != "generator"}:
            assert (len(report), counts["not_started"]) == (100, 100), counts
        else:
            # The one that was being checked is among them, and what was read with it.
            assert 71 <= len(report) == sum(counts.values()), counts
        assert executor.execute_batch([int]) == [0]
        """
    ).assert_silent()


def test_ctrl_c_while_an_exception_gives_its_text() -> None:
    run_script(
        """
        from paceline import BatchExecutor
        class Odd(Exception):
            def __str__(self):
                if threading.current_thread() is threading.main_thread():
                    os.kill(os.getpid(), signal.SIGINT)
                    for _ in range(100):
                        pass
                return "odd"
        def fail():
            raise Odd
        executor = BatchExecutor(max_workers=2)
        try:
            executor.execute_batch([int, fail, int])
        except KeyboardInterrupt as error:
            report = error.batch_report
        assert [outcome.status for outcome in report] == ["done", "failed", "done"]
        assert type(report[1].exception) is Odd
        """
    ).assert_silent()


@pytest.mark.parametrize("verb", ["execute_batch", "run"])
def test_ctrl_c_while_a_log_handler_runs_on_the_callers_thread(verb: str) -> None:
    run_script(
        f"""
        import logging
        from paceline import BatchExecutor
        class Slow(logging.Handler):
            def emit(self, record):
                if threading.current_thread() is threading.main_thread():
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(5)
        logger = logging.getLogger("paceline")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(Slow())
        executor = BatchExecutor(max_workers=2)
        try:
            executor.{verb}([int] * 3)
        except KeyboardInterrupt as error:
            report = error.batch_report
        assert sum(report.counts.values()) == len(report) == 3
        assert report.counts["done"] >= 1, report
        """
    ).assert_silent()


@pytest.mark.parametrize("verb", ["execute_batch", "run"])
def test_ctrl_c_after_the_last_operation_has_the_whole_report(verb: str) -> None:
    run_script(
        f"""
        import itertools
        from paceline import BatchExecutor
        SIZE = 200_000
        executor = BatchExecutor(max_workers=1)
        for delay in (0, 0.001, 0.01, 0.02, 0.05, 0.1):
            numbers = itertools.count(1)
            def work():
                if next(numbers) == SIZE:
                    threading.Timer(delay, os.kill, (os.getpid(), signal.SIGINT)).start()
            returned = False
            try:
                results = executor.{verb}([work] * SIZE)
                returned = True
                time.sleep(0.5)
            except KeyboardInterrupt as error:
                if not returned:
                    assert error.batch_report.counts["done"] >= SIZE - 1, error.batch_report
                    assert len(error.batch_report) == SIZE
        """,
        timeout=50,
    ).assert_silent()


@pytest.mark.parametrize("verb", ["execute_batch", "run", "stream"])
def test_ctrl_c_is_prompt_with_a_million_operations_to_go(verb: str) -> None:
    call = (
        "list(executor.stream(operations))" if verb == "stream" else f"executor.{verb}(operations)"
    )
    ended = run_script(
        f"""
        import json
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        operations = [lambda: time.sleep(0.001)] * 1_000_000
        latencies = []
        for _ in range(3):
            def interrupt():
                global sent
                sent = time.monotonic()
                os.kill(os.getpid(), signal.SIGINT)
            threading.Timer(0.5, interrupt).start()
            try:
                {call}
            except KeyboardInterrupt as error:
                latencies.append(time.monotonic() - sent)
                report = error.batch_report
            assert sum(report.counts.values()) == 1_000_000, report
            assert report[-1].status == "not_started"
            del report
        print(json.dumps(min(latencies)))
        """
    ).assert_silent()
    assert ended.last_json() < 0.5


def test_an_interrupt_between_two_steps_of_a_stream_belongs_to_the_consumer() -> None:
    run_script(
        """
        import itertools
        from paceline import BatchExecutor
        started = []
        executor = BatchExecutor(max_workers=2)
        try:
            for outcome in executor.stream(itertools.repeat(lambda: started.append(0))):
                if len(started) > 50:
                    os.kill(os.getpid(), signal.SIGINT)
                    time.sleep(5)
        except KeyboardInterrupt as error:
            pass
        time.sleep(0.1)
        begun = len(started)
        time.sleep(0.2)
        assert len(started) == begun
        executor.shutdown()
        """,
        timeout=15,
    ).assert_silent()


def test_ctrl_c_ends_an_endless_batch_of_quick_operations() -> None:
    ended = run_script(
        """
        import itertools, json
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=4)
        numbers = itertools.count(1)
        def work():
            global sent
            if next(numbers) == 20_000:
                sent = time.monotonic()
                os.kill(os.getpid(), signal.SIGINT)
        try:
            executor.run(itertools.repeat(work))
        except KeyboardInterrupt as error:
            latency = time.monotonic() - sent
            report = error.batch_report
        executor.shutdown()
        assert report.counts["done"] >= 20_000 - 4, report
        assert [outcome.index for outcome in report] == list(range(len(report)))
        print(json.dumps(latency))
        """
    ).assert_silent()
    assert ended.last_json() < 1.5


@pytest.mark.parametrize(
    ("block", "lines"),
    [
        ("with executor", ["finished", "finished", "interrupted"]),
        ("if True", ["interrupted", "finished", "finished"]),
    ],
    ids=["with", "exit"],
)
def test_leaving_the_with_block_and_exit_wait_for_operations_that_run(
    block: str, lines: list[str]
) -> None:
    ended = run_script(
        f"""
        from paceline import BatchExecutor
        running = threading.Barrier(3)
        def work():
            running.wait()
            time.sleep(0.5)
            print("finished\\n", end="", flush=True)
        def interrupt():
            running.wait()
            os.kill(os.getpid(), signal.SIGINT)
        executor = BatchExecutor(max_workers=2)
        threading.Thread(target=interrupt).start()
        try:
            {block}:
                executor.execute_batch([work] * 6)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """
    ).assert_silent()
    assert ended.stdout.split() == lines
