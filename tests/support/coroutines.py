"""Coroutines for batches, and a loop for a test."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any


async def double(number: int) -> int:
    await asyncio.sleep(0.001)
    return number * 2


async def fail(number: int) -> int:
    await asyncio.sleep(0)
    raise ValueError(number)


class BoundedElsewhere:
    async def acquire(self) -> None: ...


async def for_ever() -> None:
    await asyncio.Event().wait()


def run(main: Callable[[], Awaitable[Any]]) -> Any:
    async def within() -> Any:
        async with asyncio.timeout(40):
            return await main()

    return asyncio.run(within(), debug=True)
