"""A stand-in for the part of the Descope management API that creates tenants.

It listens on the loopback interface, counts every arrival in an exact sliding window, and answers
429 and locks out for a while when a client oversteps its limit. From a program:

    with StandIn(limit=50, per=4, lockout=4) as server:
        client = DescopeClient("project", management_key="key", base_url=server.url)
        ...
        print(server.stats())

or by itself, where it prints its address and serves until it is interrupted:

    python examples/standin.py --limit 50 --per 4
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import math
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter, deque
from dataclasses import asdict, dataclass, fields
from email.utils import formatdate
from typing import IO, Any, Self
from urllib.parse import parse_qs, urlsplit

RETRY_AFTER_FORMS = ("seconds", "date", "absent", "html")


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How the stand-in behaves; all times in seconds, all shares from 0.0 to 1.0."""

    limit: int = 100
    """Requests accepted in any `per` seconds."""
    per: float = 60.0
    lockout: float = 60.0
    """How long everything is refused after the limit was overstepped."""
    least_latency: float = 0.01
    """An answer leaves this long after its request has arrived,"""
    most_latency: float = 0.05
    """or up to this long."""
    seed: int = 0
    """Of the latencies and of the two shares."""
    unavailable: float = 0.0
    """Share of accepted requests that are answered 503, nothing created."""
    dropped: float = 0.0
    """Share of connections that are closed before anything is read."""
    stall_after: int = 0
    """At this arrival (1 for the first, 0 for none) the server stops answering anybody,"""
    stall: float = 0.0
    """for this long; then it answers all at once."""
    retry_after: str = "seconds"
    """How a 429 says when to return: in seconds, as a date, not at all ("absent"), or in seconds
    on a page of HTML, as a proxy in between would ("html")."""


@dataclass(frozen=True, slots=True)
class Stats:
    """What the stand-in has seen."""

    arrivals: int
    """Requests, whatever their answer; the statistics and the license are not counted."""
    refused: int
    """Of them, answered 429."""
    unavailable: int
    """Of them, answered 503."""
    dropped: int
    """Connections closed unread."""
    worst_window: int
    """The most arrivals in any `per` seconds."""
    lockouts: list[int]
    """Of each lock-out, the requests it refused, the one that caused it included."""
    created: dict[str, int]
    """The names of the tenants, and how often each was created."""


class Window:
    """Decides which arrivals are accepted, and counts all."""

    def __init__(self, limit: int, per: float, lockout: float) -> None:
        self.limit, self.per, self.lockout = limit, per, lockout
        self.arrivals = 0
        self.refused = 0
        self.worst = 0
        self.lockouts: list[int] = []
        self._accepted: deque[float] = deque()
        self._all: deque[float] = deque()
        self._locked_until = -math.inf

    def arrive(self, now: float) -> float | None:
        """Count an arrival; return None if it is accepted, else the seconds of lock-out left."""
        self.arrivals += 1
        self._all.append(now)
        for times in (self._all, self._accepted):
            while times and times[0] <= now - self.per:
                times.popleft()
        self.worst = max(self.worst, len(self._all))
        if now >= self._locked_until:
            if len(self._accepted) < self.limit:
                self._accepted.append(now)
                return None
            self._locked_until = now + self.lockout
            self.lockouts.append(0)
        self.refused += 1
        self.lockouts[-1] += 1
        return self._locked_until - now


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response; `counted` ones are delayed like those of the real service."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = "application/json"
    counted: bool = True

    def encode(self) -> bytes:
        """Return the response as it goes over the wire."""
        lines = [f"HTTP/1.1 {self.status} {http.client.responses[self.status]}"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines += [f"Content-Type: {self.content_type}", f"Content-Length: {len(self.body)}", "", ""]
        return "\r\n".join(lines).encode() + self.body


def ok(body: object, *, counted: bool = True) -> Answer:
    """Return a success."""
    return Answer(200, json.dumps(body).encode(), counted=counted)


def error(status: int, code: str, text: str, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """Return an error as the API words it."""
    body = {"errorCode": code, "errorDescription": text, "errorMessage": text}
    return Answer(status, json.dumps(body).encode(), headers)


class Api:
    """The endpoints, and what they remember."""

    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour
        self.window = Window(behaviour.limit, behaviour.per, behaviour.lockout)
        self.random = random.Random(behaviour.seed)  # noqa: S311 - repeatable, not secret
        self.stalled_until = -math.inf
        self.unavailable = 0
        self.dropped = 0
        self.created: Counter[str] = Counter()
        self.tenants: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, target: str, body: bytes) -> Answer:
        """Answer a request that has arrived this very moment."""
        now = time.monotonic()
        if target == "/stats":
            return ok(asdict(self.stats()), counted=False)
        if target == "/v1/mgmt/license":
            return ok({"rateLimitTier": "stand-in"}, counted=False)
        lockout = self.window.arrive(now)
        if self.window.arrivals == self.behaviour.stall_after:
            self.stalled_until = now + self.behaviour.stall
        if lockout is not None:
            return self.refusal(lockout)
        if self.random.random() < self.behaviour.unavailable:
            self.unavailable += 1
            return error(503, "E000503", "Service unavailable")
        return self.route(method, target, body)

    def route(self, method: str, target: str, body: bytes) -> Answer:
        """Do what an accepted request asks for."""
        url = urlsplit(target)
        match method, url.path:
            case "POST", "/v1/mgmt/tenant/create":
                return self.create(body)
            case "GET", "/v1/mgmt/tenant/all":
                return ok({"tenants": list(self.tenants.values())})
            case "GET", "/v1/mgmt/tenant":
                return self.load(parse_qs(url.query).get("id", [""])[0])
        return error(404, "E011001", f"No such endpoint: {method} {url.path}")

    def create(self, body: bytes) -> Answer:
        """Create a tenant. A name that is taken is counted again, so that repeats show."""
        try:
            wanted = json.loads(body)
            name = wanted["name"]
        except (ValueError, TypeError, KeyError):
            name = None
        if not isinstance(name, str) or not name:
            return error(400, "E011002", "Request is missing required arguments")
        self.created[name] += 1
        identifier = wanted.get("id") or f"T{len(self.tenants):027}"
        self.tenants[identifier] = {
            "id": identifier,
            "name": name,
            "selfProvisioningDomains": wanted.get("selfProvisioningDomains") or [],
            "customAttributes": wanted.get("customAttributes") or {},
            "createdTime": int(time.time()),
        }
        return ok({"id": identifier})

    def load(self, identifier: str) -> Answer:
        """Return one tenant."""
        if identifier not in self.tenants:
            return error(404, "E011004", "Tenant not found")
        return ok(self.tenants[identifier])

    def refusal(self, lockout: float) -> Answer:
        """Return the 429 of a lock-out with so many seconds left."""
        form = self.behaviour.retry_after
        headers: tuple[tuple[str, str], ...] = ()
        if form == "date":
            now = time.time()
            end = math.ceil(now + lockout)
            headers = (("Date", formatdate(now, usegmt=True)),)
            headers += (("Retry-After", formatdate(end, usegmt=True)),)
        elif form != "absent":
            # What a difference of two times is rounded to is no second more.
            headers = (("Retry-After", str(math.ceil(lockout - 1e-6))),)
        if form == "html":
            return Answer(429, b"<html>Too many requests</html>", headers, "text/html")
        return error(429, "E130429", "API rate limit exceeded", headers)

    def delay(self) -> float:
        """Return how long the next answer takes."""
        behaviour = self.behaviour
        latency = self.random.uniform(behaviour.least_latency, behaviour.most_latency)
        return max(latency, self.stalled_until - time.monotonic())

    def drops(self) -> bool:
        """Decide whether a new connection is dropped."""
        drop = self.random.random() < self.behaviour.dropped
        self.dropped += drop
        return drop

    def stats(self) -> Stats:
        """Return what was seen so far."""
        return Stats(
            arrivals=self.window.arrivals,
            refused=self.window.refused,
            unavailable=self.unavailable,
            dropped=self.dropped,
            worst_window=self.window.worst,
            lockouts=self.window.lockouts,
            created=dict(self.created),
        )


class Connection(asyncio.Protocol):
    """Reads requests from one client, one after the other, and writes the answers."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a new client, or drop it."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - what create_server gives
        self.transport = transport
        if self.api.drops():
            transport.abort()

    def data_received(self, data: bytes) -> None:
        """Answer as soon as a request has arrived whole."""
        self.received += data
        head, end, rest = self.received.partition(b"\r\n\r\n")
        if not end:
            return
        request, *headers = head.decode("latin-1").split("\r\n")
        length = 0
        for line in headers:
            name, _, value = line.partition(":")
            if name.lower() == "content-length":
                length = int(value)
        if len(rest) < length:
            return
        self.received = rest[length:]
        method, target, _ = request.split(" ", 2)
        answer = self.api.answer(method, target, rest[:length])
        delay = self.api.delay() if answer.counted else 0.0
        asyncio.get_running_loop().call_later(delay, self.write, answer.encode())

    def write(self, answer: bytes) -> None:
        """Send an answer, unless the client has gone."""
        if not self.transport.is_closing():
            self.transport.write(answer)


async def serve(behaviour: Behaviour) -> None:
    """Print the address and serve for ever."""
    api = Api(behaviour)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(api), "127.0.0.1", 0, backlog=1024)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


class StandIn:
    """The stand-in in a process of its own, for the length of a `with` block.

    Args:
        behaviour: Fields of `Behaviour`, by keyword.

    The process ends with the block, and by itself if this process dies.
    """

    def __init__(self, **behaviour: Any) -> None:
        self.behaviour = Behaviour(**behaviour)
        self.url = ""

    def __enter__(self) -> Self:
        options = [f"--{name.replace('_', '-')}={v}" for name, v in asdict(self.behaviour).items()]
        self._process = subprocess.Popen(
            [sys.executable, "-I", __file__, "--until-stdin-closes", *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        # A child that neither prints nor ends would hold up `readline` for ever.
        watchdog = threading.Timer(30, self._process.kill)
        watchdog.start()
        try:
            self.url = self._stream(self._process.stdout).readline().strip()
        finally:
            watchdog.cancel()
            watchdog.join()
            if not self.url:
                self._end()
        if not self.url:
            raise RuntimeError(f"the stand-in did not start: exit code {self._process.returncode}")
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def stats(self) -> Stats:
        """Return what the server has seen so far."""
        while True:
            connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=30)
            try:
                connection.request("GET", "/stats")
                return Stats(**json.load(connection.getresponse()))
            except ConnectionError:
                # Dropped, as others are. A server that is gone is an error.
                if self._process.poll() is not None:
                    raise
            finally:
                connection.close()

    def _end(self) -> None:
        self._stream(self._process.stdin).close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        finally:
            self._stream(self._process.stdout).close()

    @staticmethod
    def _stream(stream: IO[str] | None) -> IO[str]:
        assert stream is not None  # noqa: S101 - asked for when the process was made
        return stream


def end_with_parent() -> None:
    """Wait until the program that started us closes our input, or is gone, and end."""
    while os.read(0, 1024):
        pass
    os._exit(0)


def main() -> None:
    """Serve until interrupted, or until the program that started us is gone."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for field in fields(Behaviour):
        choices = RETRY_AFTER_FORMS if field.name == "retry_after" else None
        option = f"--{field.name.replace('_', '-')}"
        parser.add_argument(
            option, type=type(field.default), default=field.default, choices=choices
        )
    parser.add_argument("--until-stdin-closes", action="store_true")
    options = vars(parser.parse_args())
    if options.pop("until_stdin_closes"):
        threading.Thread(target=end_with_parent, daemon=True).start()
    # At once: there is nothing to save, and open connections would make asyncio talk about them.
    signal.signal(signal.SIGINT, lambda *_: os._exit(0))
    asyncio.run(serve(Behaviour(**options)))


if __name__ == "__main__":
    main()
