"""An HTTP server that counts arrivals in an exact sliding window and answers 429 above it.

Run as a script, it prints its port and serves until its standard input is closed. ``GET /reset``
empties the window and answers with the number of 429s since the last reset.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque


class Window:
    """At most ``limit`` arrivals in any ``per`` seconds are served."""

    def __init__(self, limit: int, per: float) -> None:
        self.limit = limit
        self.per = per
        self.refused = 0
        self._served: deque[float] = deque()

    def admit(self) -> bool:
        """Whether this arrival is within the window."""
        now = time.monotonic()
        while self._served and self._served[0] <= now - self.per:
            self._served.popleft()
        if len(self._served) >= self.limit:
            self.refused += 1
            return False
        self._served.append(now)
        return True

    def reset(self) -> int:
        """Forget all arrivals; return how many were refused."""
        refused, self.refused = self.refused, 0
        self._served.clear()
        return refused


async def serve(limit: int, per: float, latency: float) -> None:
    """Serve on a free port of loopback until standard input ends."""
    window = Window(limit, per)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                if head.startswith(b"GET /reset"):
                    status, body = b"200 OK", str(window.reset()).encode()
                else:
                    status = b"200 OK" if window.admit() else b"429 Too Many Requests"
                    body = b"ok"
                    await asyncio.sleep(latency)
                length = str(len(body)).encode()
                writer.write(
                    b"HTTP/1.1 " + status + b"\r\nContent-Length: " + length + b"\r\n\r\n" + body
                )
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=256)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
