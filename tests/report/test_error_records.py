"""What stands in the place of a failed operation's value: a dictionary, and more."""

from __future__ import annotations

import copy
import dataclasses
import json
import multiprocessing
import pickle
from functools import partial
from threading import Lock
from typing import Any

import httpx
import pytest
from helpers import fail

from paceline import BatchExecutor, ErrorRecord


def test_an_error_record_is_a_dict_and_more(executor: BatchExecutor) -> None:
    results: list[Any] = executor.execute_batch([int, partial(fail, "tenant exists")])
    record = results[1]
    assert isinstance(record, ErrorRecord)
    assert isinstance(record, dict)
    assert record == {"error": "tenant exists"}
    assert record["error"] == "tenant exists"
    assert list(record) == ["error"]
    assert record.index == 1
    assert isinstance(record.exception, ValueError)
    assert "tenant exists" in repr(record)


def test_an_error_record_is_written_as_json(executor: BatchExecutor) -> None:
    results = executor.execute_batch([partial(fail, "tenant “exists”\n")])
    assert json.loads(json.dumps(results)) == [{"error": "tenant “exists”\n"}]


def test_an_error_record_can_be_told_from_a_result_that_looks_like_one(
    executor: BatchExecutor,
) -> None:
    results = executor.execute_batch([lambda: {"error": "a value"}, partial(fail, "a value")])
    assert results[0] == results[1]
    assert [isinstance(result, ErrorRecord) for result in results] == [False, True]


def test_an_error_record_can_be_copied_and_pickled(executor: BatchExecutor) -> None:
    (record,) = executor.execute_batch([partial(fail, "tenant exists")])
    record["tenant"] = "7"
    for duplicate in (copy.copy(record), copy.deepcopy(record), pickle.loads(pickle.dumps(record))):
        assert duplicate == {"error": "tenant exists", "tenant": "7"}
        assert isinstance(duplicate, ErrorRecord)
        assert duplicate.index == 0
        assert isinstance(duplicate.exception, ValueError)


class Unread(Exception):
    """One that pickles, and cannot be made of what was pickled."""

    def __init__(self, *, code: int) -> None:
        super().__init__(f"code {code}")


def not_found() -> None:
    response = httpx.Response(404, request=httpx.Request("GET", "http://localhost/"))
    response.raise_for_status()


def holding_a_lock() -> None:
    error = ValueError("no such tenant")
    error.lock = Lock()  # type: ignore[attr-defined]
    raise error


def unread() -> None:
    raise Unread(code=7)


@pytest.mark.parametrize(
    ("operation", "text"),
    [
        (not_found, "HTTPStatusError: Client error '404 Not Found'"),
        (holding_a_lock, "ValueError: no such tenant"),
        (unread, "Unread: code 7"),
    ],
)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_what_cannot_be_pickled_is_received_as_its_description(
    executor: BatchExecutor, operation: Any, text: str, protocol: int
) -> None:
    (record,) = executor.execute_batch([operation])
    received = pickle.loads(pickle.dumps(record, protocol))
    assert received == record
    assert (type(received), received.index) == (ErrorRecord, 0)
    assert type(received.exception) is RuntimeError
    assert str(received.exception).startswith(text)


def test_what_cannot_be_pickled_is_copied_as_it_is(executor: BatchExecutor) -> None:
    results = executor.execute_batch([int, not_found])
    for copied in (copy.copy(results), copy.deepcopy(results)):
        assert copied == results
        assert copied[1].exception is results[1].exception


def results_of_a_shard(shard: int) -> list[Any]:
    return BatchExecutor().execute_batch([not_found, partial(int, shard)])


def test_the_results_of_a_child_process_arrive() -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        ((failed, value),) = pool.map_async(results_of_a_shard, [3]).get(30)
    assert value == 3
    assert failed["error"].startswith("Client error '404 Not Found'")
    assert failed.index == 0


def test_a_dataclass_with_results_is_made_a_dictionary(executor: BatchExecutor) -> None:
    @dataclasses.dataclass
    class Import:
        results: list[Any]

    made = Import(executor.execute_batch([int, partial(fail, "tenant exists")]))
    assert dataclasses.asdict(made) == {"results": [0, {"error": "tenant exists"}]}
    assert dataclasses.astuple(made) == ([0, {"error": "tenant exists"}],)
    rebuilt = dataclasses.asdict(made)["results"][1]
    assert (rebuilt.exception, rebuilt.index) == (None, None)
    for duplicate in (copy.copy(rebuilt), pickle.loads(pickle.dumps(rebuilt))):
        assert duplicate == rebuilt
        assert duplicate.exception is None
