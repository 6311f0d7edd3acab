"""The input of a batch of coroutines, where it is awaited itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from typing import Generic, TypeVar, cast

from paceline import _core

__all__ = ["AsyncInput"]

T = TypeVar("T")


class AsyncInput(Generic[T]):
    """An input that is awaited: it is asked for one operation at a time.

    It runs in one task from its first operation to its last, with one context, as in ``async for``.
    """

    is_sized = False
    is_reading = False

    def __init__(self, operations: AsyncIterable[Callable[[], T]]) -> None:
        self._operations = operations
        self._task: asyncio.Task[None] | None = None
        self._asked: asyncio.Future[None] | None = None
        self._answer: Callable[[], T] | None = None
        self._has_answer = False
        self._error: BaseException | None = None
        self._is_over = False
        # What is raised as it is let go of.
        self._last_error: BaseException | None = None

    def open(self, batch: _core.Batch[T]) -> None:
        batch.know(None)

    def ask(self, wake: Callable[[], None]) -> bool:
        """Whether it has answered; if not, it will."""
        if self._has_answer or self._is_over:
            return True
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._give(wake))
        elif self._asked is not None and not self._asked.done():
            self._asked.set_result(None)
        return False

    async def _give(self, wake: Callable[[], None]) -> None:
        iterator: AsyncIterator[Callable[[], T]] | None = None
        exhausted = False
        try:
            iterator = aiter(self._operations)
            while not self._is_over:
                try:
                    self._answer = await anext(iterator)
                except StopAsyncIteration:
                    exhausted = True
                    break
                self._has_answer = True
                wake()
                self._asked = asyncio.get_running_loop().create_future()
                await self._asked
        except BaseException as error:  # noqa: BLE001 - it ends the batch, in its own task
            self._error = error
        finally:
            self._is_over = True
            wake()
        if not exhausted and (close := getattr(iterator, "aclose", None)) is not None:
            try:
                await close()
            except BaseException as error:  # noqa: BLE001 - as above
                self._last_error = error

    def take(self, batch: _core.Batch[T]) -> None:
        """Feed the batch what it has answered."""
        if not self._has_answer:
            error, self._error = self._error, None
            if error is None:
                batch.finish_input()
                return
            try:
                raise error
            finally:
                # Its traceback holds this frame.
                del error
        operation, self._answer, self._has_answer = self._answer, None, False
        batch.begin_reading(1)
        try:
            batch.read(operation)  # type: ignore[arg-type]
        finally:
            batch.end_reading()

    def running(self) -> set[asyncio.Task[None]]:
        """Let go of it. Returns its task, if that runs, which is then to be cancelled."""
        self._is_over = True
        return set() if self._task is None or self._task.done() else {self._task}

    def check(self) -> None:
        """Raise what was raised as it was let go of."""
        error, self._last_error, self._error = self._last_error, None, None
        if error is not None:
            try:
                raise error
            finally:
                # Its traceback holds this frame.
                del error

    def rest(self) -> list[Callable[[], T]]:
        """Return what it has answered and was not taken."""
        operation, self._answer, self._has_answer = self._answer, None, False
        with suppress(TypeError):
            _core.check_operations([cast("Callable[[], T]", operation)], True)
            return [cast("Callable[[], T]", operation)]
        return []

    def unread(self) -> None:
        """Nobody knows."""
