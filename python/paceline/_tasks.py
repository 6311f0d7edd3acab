"""The tasks of an asynchronous executor in one event loop."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import Context, ContextVar
from typing import Any, Protocol

from paceline import _core
from paceline._waiting import waiting_in

__all__ = ["TaskPool"]

# How long operations are started in one go before the loop goes on, in seconds.
_TURN = 0.0005

# In whose operation a coroutine runs.
_INSIDE: ContextVar[TaskPool | None] = ContextVar("paceline_inside", default=None)

# Since Python 3.12 a task may begin at once, right after its permit was taken.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class _Owner(Protocol):
    """Whose operations they are: what keeps their tasks while they run."""

    tasks: set[asyncio.Task[None]]


class TaskPool:
    """The slots of an executor in one loop, each for one operation at a time."""

    def __init__(self, core: _core.BatchExecutor, loop: asyncio.AbstractEventLoop) -> None:
        # It closes the scheduler when nobody holds it any more.
        self._core = core
        self.runtime = core._runtime()  # noqa: SLF001 - the executor is made of it
        self.waiting = waiting_in(loop)
        self._slots: dict[int, _core.TaskSlot] = {}
        # Slots that are to look for something to start.
        self._ready: deque[int] = deque()
        self._has_turn = False

    def grow(self) -> None:
        """Have as many slots as there is work for, up to the executor's."""
        number = self.waiting.next_number()
        while slot := self.runtime.reserve_slot(self.waiting.inbox, number):
            self._slots[number] = slot
            self.waiting.call(number, self._look, number)
            self._look(number)
            number = self.waiting.next_number()

    def _look(self, number: int) -> None:
        self._ready.append(number)
        if not self._has_turn:
            self._has_turn = True
            asyncio.get_running_loop().call_soon(self._take_turn)

    def _take_turn(self) -> None:
        """Start what can start, for as long as the loop is not held up by it."""
        until = time.monotonic() + _TURN
        while self._ready:
            self._start(self._ready.popleft())
            if time.monotonic() > until:
                asyncio.get_running_loop().call_soon(self._take_turn)
                return
        self._has_turn = False

    def _start(self, number: int) -> None:
        slot = self._slots.get(number)
        if slot is None:
            return
        started = slot.next()
        if started is True:
            del self._slots[number]
            self.waiting.forget(number)
        elif started is not None:
            owner, context = started
            self._make_task(number, slot, owner, context)

    def _make_task(
        self, number: int, slot: _core.TaskSlot, owner: _Owner, context: Context
    ) -> None:
        run = self._run(number, slot)
        loop = asyncio.get_running_loop()
        task = asyncio.Task(run, loop=loop, context=context, **_EAGER)
        if not task.done():
            owner.tasks.add(task)
            task.add_done_callback(owner.tasks.discard)

    async def _run(self, number: int, slot: _core.TaskSlot) -> None:
        value = error = None
        try:
            _INSIDE.set(self)
            awaitable = slot.call()
            try:
                value = await awaitable
            except TypeError as raised:
                if hasattr(type(awaitable), "__await__"):
                    raise
                raise TypeError(
                    f"an operation must return something to await, not {_core.show(awaitable)}: "
                    "pass an async function, or run functions on threads by BatchExecutor"
                ) from raised
        except BaseException as raised:  # noqa: BLE001 - it is the operation's outcome
            error = raised
        try:
            slot.done(value, error)
        finally:
            # Its traceback holds this frame.
            del error, value
            self._look(number)

    @contextmanager
    def stepped_aside(self) -> Generator[None]:
        """Where an operation of this executor waits for others: let another run in its place."""
        if _INSIDE.get() is not self:
            yield
            return
        self.runtime.block()
        try:
            self.grow()
            yield
        finally:
            self.runtime.unblock()
