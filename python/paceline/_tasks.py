"""The tasks of an asynchronous executor in one event loop."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from collections import deque
from collections.abc import Coroutine, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

from paceline import _core
from paceline._waiting import waiting_in

__all__ = ["TURN", "TaskPool"]

# How long operations are started, or cancelled, in one go before the loop goes on, in seconds.
TURN = 0.0005

# In which operation a coroutine runs.
_INSIDE: ContextVar[_Operation | None] = ContextVar("paceline_inside", default=None)

# Since Python 3.12 a task may begin at once, right after its permit was taken.
_EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class _Operation:
    """An operation that runs, and may wait for others of its own executor.

    Whatever it began knows it by its context, also after its end, and much of that may wait at the
    same time: it makes room for one, as it is one itself.
    """

    __slots__ = ("_has_ended", "_outer", "_pool", "_waits")

    def __init__(self, pool: TaskPool, outer: _Operation | None) -> None:
        self._pool = pool
        # In which operation its batch was begun.
        self._outer = outer
        self._waits = 0
        self._has_ended = False

    def of(self, pool: TaskPool) -> _Operation | None:
        """Return the innermost one that holds a slot of a pool."""
        operation: _Operation | None = self
        while operation is not None and (
            operation._pool is not pool or operation._has_ended  # noqa: SLF001 - its own
        ):
            operation = operation._outer  # noqa: SLF001 - its own
        return operation

    def wait(self) -> None:
        """Let another run in its place."""
        self._waits += 1
        if self._waits == 1:
            self._pool.runtime.block()

    def go_on(self) -> None:
        """Say that it waits no more."""
        self._waits -= 1
        if not self._waits and not self._has_ended:
            self._pool.runtime.unblock()

    def end(self) -> None:
        """Its slot is free, whatever it began and left behind."""
        self._has_ended = True
        if self._waits:
            self._pool.runtime.unblock()


class _LaterTask(asyncio.Task[None]):
    """A task that begins in the next turn of the loop, and is not cancelled before.

    What has not begun ends without a step, and nothing would be told of the operation.
    """

    def cancel(self, msg: Any | None = None) -> bool:
        coroutine = cast("Coroutine[Any, Any, None]", self.get_coro())
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            self.get_loop().call_soon(super().cancel, msg)
            return True
        return super().cancel(msg)


_Task = asyncio.Task if _EAGER else _LaterTask


class TaskPool:
    """The slots of an executor in one loop, each for one operation at a time.

    A batch is opened with its owner, which has the tasks of its operations as ``tasks``, by the
    numbers of their slots.
    """

    def __init__(self, core: _core.BatchExecutor, loop: asyncio.AbstractEventLoop) -> None:
        # It closes the scheduler when nobody holds it any more.
        self._core = core
        self.runtime = core._runtime()  # noqa: SLF001 - the executor is made of it
        self.waiting = waiting_in(loop)
        self._slots: dict[int, _core.TaskSlot] = {}
        # Slots that are to look for something to start.
        self._ready: deque[int] = deque()
        self._has_turn = False
        self._grows = False

    def grow(self) -> None:
        """Have as many slots as there is work for, up to the executor's; many of them by and by."""
        if self._grows:
            return
        until = time.monotonic() + TURN
        number = self.waiting.next_number()
        while slot := self.runtime.reserve_slot(self.waiting.inbox, number):
            self._slots[number] = slot
            self.waiting.call(number, self._look, number)
            self._look(number)
            number = self.waiting.next_number()
            if time.monotonic() > until:
                asyncio.get_running_loop().call_soon(self._grow_on)
                self._grows = True
                return

    def _grow_on(self) -> None:
        self._grows = False
        self.grow()

    def _look(self, number: int) -> None:
        self._ready.append(number)
        if not self._has_turn:
            asyncio.get_running_loop().call_soon(self._take_turn)
            self._has_turn = True

    def _take_turn(self) -> None:
        """Start what can start, for as long as the loop is not held up by it."""
        loop, slots, ready = asyncio.get_running_loop(), self._slots, self._ready
        until = time.monotonic() + TURN
        slot = None
        try:
            while ready:
                number = ready.popleft()
                slot = slots.get(number)
                started = None if slot is None else slot.next()
                if started is True:
                    del slots[number]
                    self.waiting.forget(number)
                elif slot is not None and started is not None:
                    owner, context = started
                    tasks: dict[int, asyncio.Task[None]] = owner.tasks
                    run = self._run(number, slot, tasks)
                    task = _Task(run, loop=loop, context=context, **_EAGER)
                    if not task.done():
                        tasks[number] = task
                slot = None
                if time.monotonic() > until:
                    break
        except BaseException:
            # Ctrl-C, where nobody sees to it: what was to begin has no task.
            if slot is not None:
                slot.done(None, asyncio.CancelledError())
                ready.append(number)
            raise
        finally:
            self._has_turn = bool(ready)
            if ready:
                loop.call_soon(self._take_turn)

    async def _run(
        self, number: int, slot: _core.TaskSlot, tasks: dict[int, asyncio.Task[None]]
    ) -> None:
        value = error = None
        operation = _Operation(self, _INSIDE.get())
        try:
            _INSIDE.set(operation)
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
        operation.end()
        try:
            slot.done(value, error)
        finally:
            # Its traceback holds this frame.
            del error, value
            self._look(number)
            tasks.pop(number, None)

    def revive(self, tasks: dict[int, asyncio.Task[None]]) -> None:
        """Free the slots of tasks that Ctrl-C has ended outside of their operations."""
        for number in [number for number, task in tasks.items() if task.done()]:
            if (slot := self._slots.get(number)) is not None:
                slot.done(None, asyncio.CancelledError())
            self._look(number)
            del tasks[number]

    @contextmanager
    def stepped_aside(self) -> Generator[None]:
        """Where an operation of this executor waits for others: let another run in its place."""
        inside = _INSIDE.get()
        operation = None if inside is None else inside.of(self)
        if operation is None:
            yield
            return
        operation.wait()
        try:
            self.grow()
            yield
        finally:
            operation.go_on()
