"""What ``map`` returns: the values of a batch, whose calls begin before anybody takes one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Never, TypeVar, cast

from paceline import _core
from paceline._duck import is_a
from paceline._ending import Ending
from paceline._runner import BatchRunner

__all__ = ["ValueRunner"]

T = TypeVar("T")


class ValueRunner(BatchRunner[T]):
    """A batch of which the values are handed over, and that the first failure ends."""

    def begin(self) -> Iterator[T]:
        """Begin at once, whether or not anybody takes the values that are returned."""

        def begin_all() -> Iterator[T]:
            while room := self._batch.room():
                self._feed_more(room)
            self._start()
            self._batch.leave_to_run(True)
            return self._values()

        return self._opened(begin_all)

    def _values(self) -> Iterator[T]:
        self._batch.leave_to_run(False)
        taken: list[_core.Outcome[T]] = []
        failure: list[Exception] = []
        for outcome in self._outcomes():
            # What the caller has taken is not to be held here until it asks for the next.
            taken.append(outcome)
            failed = outcome.exception is not None
            del outcome
            if failed:
                self._fail(cast("BaseException", taken[0].exception))
            self._read_on(failure)
            yield _value_of(taken)
            if failure:
                self._end_by_input(failure)

    def _read_on(self, failure: list[Exception]) -> None:
        """Begin the next call while the consumer has a value, as the standard library does."""
        if self._input.slow or not (room := self._batch.room()):
            return
        try:
            self._feed_more(room)
        except Exception as error:  # noqa: BLE001 - it waits until the value has been taken
            failure.append(error)
        self._cause = Ending.CONSUMER

    def _end_by_input(self, failure: list[Exception]) -> Never:
        self._cause = Ending.INPUT
        self._end_early(failure[0])
        raise failure.pop()

    def _fail(self, error: BaseException) -> None:
        """End a batch of which a call has failed, whose exception is to be raised."""
        self._batch.end(False)
        self._close(Ending.OPERATION, error)
        if is_a(error, StopIteration):
            self._replace_stop_iteration(error, "the call")


def _value_of(taken: list[_core.Outcome[T]]) -> T:
    outcome = taken.pop()
    if outcome.exception is not None:
        try:
            raise outcome.exception
        finally:
            # The traceback holds this frame; it is not to hold the exception.
            del outcome
    return outcome.value  # type: ignore[return-value]
