"""Code written for the executor that ours replaces keeps working, through the path it imports."""

from __future__ import annotations

import ast
import inspect
import json
import threading
import time
from functools import partial
from typing import Any
from unittest.mock import Mock

import pytest
from descope_mgmt.domain.services import batch_executor
from descope_mgmt.domain.services.batch_executor import BatchExecutor
from helpers import Gauge, RecordingLimiter

import paceline


def test_the_module_does_nothing_but_re_export() -> None:
    statements = ast.parse(inspect.getsource(batch_executor)).body[1:]
    assert [type(statement) for statement in statements] == [ast.ImportFrom, ast.Assign]
    assert BatchExecutor is paceline.BatchExecutor


def test_limiter_and_workers_may_be_positional() -> None:
    limiter = Mock()
    executor = BatchExecutor(limiter, 7)
    assert executor.rate_limiter is limiter
    assert executor.max_workers == 7


def test_limiter_may_be_given_by_keyword_alone() -> None:
    limiter = Mock()
    executor = BatchExecutor(rate_limiter=limiter)
    assert executor.rate_limiter is limiter
    assert executor.max_workers == 5


def test_without_a_limiter_there_is_no_limit() -> None:
    executor = BatchExecutor()
    assert executor.rate_limiter is None
    assert executor.execute_batch([lambda: 1]) == [1]


def test_a_native_limiter_reads_back_as_the_same_object() -> None:
    limiter = paceline.RateLimiter(3, per=60)
    assert BatchExecutor(limiter).rate_limiter is limiter


def test_making_an_executor_asks_the_limiter_for_nothing() -> None:
    limiter = Mock()
    BatchExecutor(limiter)
    assert limiter.acquire.call_count == 0


def test_a_limiter_may_be_replaced_in_part_at_any_time() -> None:
    limiter = Mock()
    executor = BatchExecutor(limiter)
    before, limiter.acquire = limiter.acquire, Mock()
    assert executor.execute_batch([int] * 3) == [0] * 3
    assert executor.submit(int).result() == 0
    assert (before.call_count, limiter.acquire.call_count) == (0, 4)


@pytest.mark.parametrize("size", [0, 1, 5, 100])
def test_a_mock_limiter_is_asked_once_per_operation_without_arguments(size: int) -> None:
    limiter = Mock()
    results = BatchExecutor(rate_limiter=limiter, max_workers=3).execute_batch([int] * size)
    assert results == [0] * size
    assert limiter.acquire.call_count == size
    assert all(call.args == () and not call.kwargs for call in limiter.acquire.call_args_list)
    assert [name for name, _, _ in limiter.mock_calls if name != "acquire"] == []


def test_each_permit_comes_before_its_operation() -> None:
    events: list[str] = []
    limiter = Mock()
    limiter.acquire.side_effect = lambda: events.append("permit")
    operations = [partial(events.append, f"start {index}") for index in range(4)]
    BatchExecutor(limiter, max_workers=1).execute_batch(operations)
    expected = [("permit", f"start {index}") for index in range(4)]
    assert events == [event for pair in expected for event in pair]


def test_permits_never_fall_behind_starts() -> None:
    limiter = RecordingLimiter()
    shortfalls: list[int] = []
    started = 0
    lock = threading.Lock()

    def operation() -> None:
        nonlocal started
        with lock:
            started += 1
            if limiter.calls < started:
                shortfalls.append(started)

    BatchExecutor(limiter, max_workers=8).execute_batch([operation] * 300)
    assert shortfalls == []
    assert limiter.calls == started == 300


def test_a_failure_becomes_a_dict_with_its_message() -> None:
    def fail() -> None:
        message = "tenant exists"
        raise ValueError(message)

    results: list[Any] = BatchExecutor(Mock()).execute_batch([lambda: {"id": 1}, fail, int])
    assert results == [{"id": 1}, {"error": "tenant exists"}, 0]
    assert isinstance(results[1], dict)
    assert json.loads(json.dumps(results)) == results


def test_results_come_in_input_order_whatever_ends_first() -> None:
    def sleep_then_return(index: int) -> int:
        time.sleep((9 - index) * 0.01)
        return index

    operations = [partial(sleep_then_return, index) for index in range(10)]
    assert BatchExecutor(Mock(), max_workers=10).execute_batch(operations) == list(range(10))


def test_operations_run_in_parallel_up_to_max_workers() -> None:
    gauge = Gauge()
    all_in = threading.Barrier(3, timeout=10)

    def operation() -> None:
        with gauge.running():
            all_in.wait()

    BatchExecutor(Mock(), max_workers=3).execute_batch([operation] * 9)
    assert gauge.most == 3


def test_one_executor_serves_many_batches() -> None:
    executor = BatchExecutor(Mock(), max_workers=2)
    for size in range(20):
        assert executor.execute_batch([partial(int, size)] * size) == [size] * size


@pytest.mark.parametrize("container", [list, tuple, iter, lambda ops: (op for op in ops)])
def test_any_iterable_of_operations_is_a_batch(container: Any) -> None:
    operations = [partial(int, index) for index in range(6)]
    assert BatchExecutor(Mock()).execute_batch(container(operations)) == list(range(6))


def test_a_subclass_may_have_a_constructor_of_its_own() -> None:
    class TenantExecutor(BatchExecutor):
        def __init__(self, client: object, *, tenants: int) -> None:
            super().__init__(rate_limiter=Mock(), max_workers=2)
            self.client = client
            self.tenants = tenants

        def create_all(self) -> list[int]:
            return self.execute_batch([partial(int, index) for index in range(self.tenants)])

    client = object()
    executor = TenantExecutor(client, tenants=3)
    assert executor.client is client
    assert executor.max_workers == 2
    assert executor.create_all() == [0, 1, 2]
    assert executor.rate_limiter.acquire.call_count == 3
