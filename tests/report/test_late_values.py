"""Values that come after their batch has ended are kept as long as somebody can ask for them."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

from helpers import wait_until
from settling import VERBS, WORKERS, Held, end_by_timeout, report_on

from paceline import BatchExecutor


class Value:
    """Something that can be watched."""


def late_values(count: int, held: Held) -> tuple[list[Callable[[], Value]], list[Any]]:
    seen: list[Any] = []

    def make() -> Value:
        held.begun += 1
        assert held.go.wait(20)
        value = Value()
        seen.append(weakref.ref(value))
        return value

    return [make] * count, seen


def test_values_that_nobody_can_ask_for_are_not_kept() -> None:
    held = Held()
    with BatchExecutor(max_workers=2) as executor:
        operations, seen = late_values(2, held)
        report = report_on(lambda: executor.run(operations), once=lambda: held.begun == 2)
        del report
        gc.collect()
        held.go.set()
        wait_until(lambda: len(seen) == 2)
        wait_until(lambda: all(reference() is None for reference in seen))


def test_values_that_came_late_are_kept_until_the_report_goes() -> None:
    held = Held()
    with BatchExecutor(max_workers=2) as executor:
        operations, seen = late_values(2, held)
        report = report_on(partial(executor.run, operations), once=lambda: held.begun == 2)
        held.go.set()
        executor.shutdown()
        assert all(reference() is not None for reference in seen)
        del report, executor
        gc.collect()
        assert all(reference() is None for reference in seen)


def test_the_collector_finds_a_cycle_through_a_late_value() -> None:
    held = Held()

    class Node:
        report: object

    nodes: list[Any] = []

    def make() -> Node:
        held.begun += 1
        assert held.go.wait(20)
        node = Node()
        nodes.append(weakref.ref(node))
        return node

    for settles in (True, False):
        held.go.clear()
        held.begun = 0
        nodes.clear()
        executor = BatchExecutor(max_workers=1)
        report = report_on(partial(executor.run, [make]), once=lambda: held.begun)
        held.go.set()
        executor.shutdown()
        node = nodes[0]()
        node.report = report
        if settles:
            assert report.settle()
            assert report[0].value is node
        del node, report, executor
        gc.collect()
        assert nodes[0]() is None


def test_a_report_does_not_keep_the_threads() -> None:
    held = Held()
    executor = BatchExecutor(max_workers=WORKERS, thread_name_prefix="settled")
    report = end_by_timeout(VERBS["run"], executor, held)
    held.go.set()
    del executor
    gc.collect()

    def workers() -> list[str]:
        return [each.name for each in threading.enumerate() if each.name.startswith("settled")]

    wait_until(lambda: not workers())
    assert report.settle(0)
