"""An HTTP server with an exact sliding window that refuses in one of two ways.

Run as a script, it prints its port and serves until its standard input is closed. Whoever oversteps
its limit is locked out for a second: all arrivals until then are answered with 429. ``GET /outage``
has it refuse everything for so many seconds from then on, and ``GET /reset`` forgets all, sets the
limit to what its query says, and answers with the number of refusals since the last reset. A
refusal is answered at once, and says for how long to stay away if the path asks for that.
"""

from __future__ import annotations

import asyncio
import sys
import time
from urllib.parse import parse_qs, urlsplit

from window_server import Window

LOCKOUT = 1.0


class RefusingWindow(Window):
    """A window that locks out whoever oversteps it, and is refused altogether for a time."""

    refuses_until = 0.0

    def admit(self) -> bool:
        """Whether this arrival is served."""
        now = time.monotonic()
        if now < self.refuses_until:
            self.refused += 1
            return False
        admitted = super().admit()
        if not admitted:
            self.refuses_until = now + LOCKOUT
        return admitted


async def serve(limit: int, per: float, latency: float) -> None:
    """Serve on a free port of loopback until standard input ends."""
    window = RefusingWindow(limit, per)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = urlsplit(head.split(b" ", 2)[1].decode())
                query = {name: values[0] for name, values in parse_qs(target.query).items()}
                status, body, more = b"200 OK", b"ok", b""
                if target.path == "/reset":
                    window.limit = int(query.get("limit", window.limit))
                    window.refuses_until = 0.0
                    body = str(window.reset()).encode()
                elif target.path == "/outage":
                    window.refuses_until = time.monotonic() + float(query["seconds"])
                elif window.admit():
                    await asyncio.sleep(latency)
                else:
                    status = b"429 Too Many Requests"
                    if "wait" in query:
                        more = f"Retry-After: {query['wait']}\r\n".encode()
                length = str(len(body)).encode()
                writer.write(
                    b"HTTP/1.1 %b\r\n%bContent-Length: %b\r\n\r\n%b" % (status, more, length, body)
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
