"""Operations that run until they are let go, and the report of a batch that ended before."""

from __future__ import annotations

import _thread
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from helpers import in_thread, wait_until

from paceline import BatchExecutor, BatchReport

WORKERS = 3


class Held:
    """Operations that run until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.begun = 0
        self._lock = threading.Lock()

    def work(self, number: int) -> int:
        with self._lock:
            self.begun += 1
        assert self.go.wait(20)
        if number % 2:
            raise ValueError(f"no {number}")
        return number

    def operations(self, count: int = 20) -> list[Callable[[], int]]:
        return [partial(self.work, number) for number in range(count)]

    def all_run(self) -> bool:
        return self.begun == WORKERS

    def start_over(self, report: BatchReport[Any]) -> None:
        self.go.set()
        assert report.settle(20)
        self.go.clear()
        self.begun = 0


def report_on(
    act: Callable[[], object], *, once: Callable[[], object] | None = None
) -> BatchReport[Any]:
    """What the exception carries that `act` raises, or that Ctrl-C does as soon as `once` holds."""

    def interrupt() -> None:
        assert once is not None
        wait_until(once)
        _thread.interrupt_main()

    if once is not None:
        in_thread(interrupt)
    try:
        act()
    except BaseException as error:  # Ctrl-C among them
        report: BatchReport[Any] = error.batch_report  # type: ignore[attr-defined]
        return report
    raise AssertionError("nothing was raised")


VERBS: dict[str, Callable[..., object]] = {
    "execute_batch": lambda executor, ops, **kw: executor.execute_batch(ops, **kw),
    "run": lambda executor, ops, **kw: executor.run(ops, **kw),
    "stream": lambda executor, ops, **kw: list(executor.stream(ops, **kw)),
    "ordered": lambda executor, ops, **kw: list(executor.stream(ops, ordered=True, **kw)),
    "generator": lambda executor, ops, **kw: executor.run((each for each in ops), **kw),
}


def end_by_timeout(verb: Any, executor: BatchExecutor, held: Held) -> BatchReport[Any]:
    """By a timeout in which all workers begin, on a busy machine a longer one."""
    for timeout in (0.2, 1, 5):
        report = report_on(partial(verb, executor, held.operations(), timeout=timeout))
        if held.all_run():
            return report
        held.start_over(report)
    raise AssertionError("the workers have not begun")
