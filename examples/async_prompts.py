"""Sends prompts by `AsyncOpenAI` under two limits that hold at the same time.

A stub of the API is started in the same loop; it counts requests in both windows, and answers 429
where either is overstepped. With the real API, leave `base_url` and `api_key` away.
"""

import argparse
import asyncio
import json
import sys
import time
from collections import deque
from functools import partial

from openai import AsyncOpenAI

from paceline import AsyncBatchExecutor, RateLimiter


class Window:
    """At most `limit` requests in any `per` seconds, as a server counts them."""

    def __init__(self, limit: int, per: float) -> None:
        self.limit, self.per = limit, per
        self.seen: deque[float] = deque()

    def has_room(self, now: float) -> bool:
        """Whether a request that has arrived now is allowed."""
        while self.seen and self.seen[0] <= now - self.per:
            self.seen.popleft()
        return len(self.seen) < self.limit


class Stub:
    """Answers chat completions, and counts them."""

    def __init__(self, *windows: Window) -> None:
        self.windows = windows
        self.answered = self.refused = 0
        self.connections: set[asyncio.StreamWriter] = set()

    def reply(self, prompt: str) -> tuple[str, dict[str, object]]:
        """Return the status and the body for a request that has just arrived."""
        now = time.monotonic()
        if not all(window.has_room(now) for window in self.windows):
            self.refused += 1
            return "429 Too Many Requests", {"error": {"message": "rate limit"}}
        for window in self.windows:
            window.seen.append(now)
        self.answered += 1
        message = {"role": "assistant", "content": prompt.upper()}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        kind = {"id": "1", "object": "chat.completion", "created": 1, "model": "stub"}
        return "200 OK", {**kind, "choices": [choice]}

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections.add(writer)
        while await reader.readline():
            length = 0
            while line := (await reader.readline()).strip():
                name, _, value = line.decode().partition(":")
                length = int(value) if name.lower() == "content-length" else length
            request = json.loads(await reader.readexactly(length))
            status, body = self.reply(request["messages"][0]["content"])
            await asyncio.sleep(0.01)
            sent = json.dumps(body).encode()
            fields = f"Content-Type: application/json\r\nContent-Length: {len(sent)}\r\n\r\n"
            writer.write(f"HTTP/1.1 {status}\r\n{fields}".encode() + sent)
            await writer.drain()
        writer.close()
        self.connections.discard(writer)


async def ask(client: AsyncOpenAI, prompt: str) -> str:
    """Send one prompt, and return the answer."""
    answer = await client.chat.completions.create(
        model="stub", messages=[{"role": "user", "content": prompt}]
    )
    return str(answer.choices[0].message.content)


async def main(prompts: int) -> int:
    """Send the prompts, and return 1 if anything went wrong."""
    stub = Stub(Window(20, 0.5), Window(60, 2))
    server = await asyncio.start_server(stub.serve, "127.0.0.1")
    port = server.sockets[0].getsockname()[1]
    print(f"Sends {prompts} prompts by AsyncOpenAI, to a stub on this machine.")
    print("It allows 20 requests in any 0.5 s, and 60 in any 2 s; to more it answers 429.")
    limiter = RateLimiter(20, per=0.5) & RateLimiter(60, per=2)
    # The client does not repeat calls by itself: those would take no permits.
    async with (
        AsyncOpenAI(
            api_key="none", base_url=f"http://127.0.0.1:{port}/v1", max_retries=0
        ) as client,
        AsyncBatchExecutor(limiter, max_at_once=20) as executor,
    ):
        began = time.monotonic()
        report = await executor.run(partial(ask, client, f"prompt {n}") for n in range(prompts))
        taken = time.monotonic() - began
    server.close()
    # The client closes its connections when it is left; what it has sent is read to the end.
    while stub.connections:  # noqa: ASYNC110 - a stub of a few lines
        await asyncio.sleep(0.01)
    print(f"answered                          {stub.answered:7}")
    print(f"429s seen by the stub             {stub.refused:7}")
    print(f"seconds taken                     {taken:7.1f}")
    print(f"least seconds the limits allow    {(prompts - 1) // 60 * 2:7.1f}")
    return 0 if report.counts["done"] == stub.answered == prompts and not stub.refused else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--prompts", type=int, default=200)
    sys.exit(asyncio.run(main(**vars(parser.parse_args()))))
