"""A server that counts arrivals in an exact window, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Answers 429 to what arrives beyond 100 in any second, exactly, and 200 otherwise, 20 ms later. It
# has a process of its own, so that it counts arrivals when they arrive and not when the threads
# under test leave it the interpreter.
COUNTING_SERVER = """
import asyncio, collections, sys, time

accepted = collections.deque()

class Connection(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, request):
        now = time.monotonic()
        while accepted and accepted[0] <= now - 1.0:
            accepted.popleft()
        status = b"429 Too Many Requests"
        if len(accepted) < 100:
            accepted.append(now)
            status = b"200 OK"
        # The path is when the request was sent, by the same clock.
        delay = b"%.6f" % (now - float(request.split()[1][1:]))
        head = b"\\r\\nContent-Length: 0\\r\\nDelay: " + delay + b"\\r\\n\\r\\n"
        answer = b"HTTP/1.1 " + status + head
        asyncio.get_running_loop().call_later(0.02, self.transport.write, answer)

async def serve():
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(serve())
"""


@contextmanager
def counting_server() -> Iterator[int]:
    """The port of a server that allows 100 requests in any second."""
    with subprocess.Popen(
        [sys.executable, "-c", COUNTING_SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        yield int(process.stdout.readline())
        process.communicate("", timeout=30)
