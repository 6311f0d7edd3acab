"""Runs Python scripts in processes of their own, where a hang or an abort harms nobody else."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

# The shell of a background job hands SIGINT on as ignored; a script under test must not inherit it.
_PREAMBLE = """\
import os, signal, sys, threading, time
signal.signal(signal.SIGINT, signal.default_int_handler)
"""

# Python 3.12 and newer warn of every fork of a process with threads; that is what is tested.
_QUIET = ["-W", "ignore:This process:DeprecationWarning"]


def other_interpreters() -> list[str]:
    """Those of the virtual environments beside the sources, but for the one that runs this."""
    found = {}
    for environment in sorted(Path(__file__).resolve().parents[2].glob(".venv*")):
        for python in (environment / "bin" / "python", environment / "Scripts" / "python.exe"):
            if python.exists():
                found.setdefault(environment.resolve(), str(python))
    found.pop(Path(sys.prefix).resolve(), None)
    return list(found.values())


@dataclass(frozen=True)
class Ended:
    """How a script ended."""

    returncode: int
    stdout: str
    stderr: str

    def assert_silent(self) -> Self:
        """Fails unless the script ended well and said nothing on stderr; returns itself."""
        assert (self.returncode, self.stderr) == (0, ""), self.describe()
        return self

    def assert_not_crashed(self) -> Self:
        """Fails if a fatal signal or an interpreter abort ended the script; returns itself."""
        fatal = {-signal.SIGABRT, -signal.SIGSEGV, -signal.SIGBUS, -signal.SIGILL}
        assert self.returncode not in fatal, self.describe()
        assert "Fatal Python error" not in self.stderr, self.describe()
        assert "panicked" not in self.stderr, self.describe()
        return self

    def last_json(self) -> Any:
        """The last line of standard output, read as JSON."""
        lines = self.stdout.strip().splitlines()
        assert lines, self.describe()
        return json.loads(lines[-1])

    def describe(self) -> str:
        """Everything known about the end, for an assertion's message."""
        return f"exit status {self.returncode}\n-- stdout\n{self.stdout}\n-- stderr\n{self.stderr}"


class Child:
    """A script that is running; its output is read line by line."""

    def __init__(
        self,
        source: str,
        *args: str,
        dev: bool = False,
        python: str = sys.executable,
        options: Sequence[str] = (),
    ) -> None:
        options = ["-X", "faulthandler", *(["-X", "dev"] if dev else []), *_QUIET, *options]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        self._process = subprocess.Popen(
            [python, *options, "-c", _PREAMBLE + textwrap.dedent(source), *args],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._read: list[str] = []

    @property
    def pid(self) -> int:
        """The process id of the script."""
        return self._process.pid

    def expect(self, line: str, timeout: float = 30) -> None:
        """Reads stdout up to and including `line`; fails when it does not come in `timeout` s."""
        assert self._process.stdout is not None
        watchdog = threading.Timer(timeout, self._abort)
        watchdog.start()
        try:
            while True:
                got = self._process.stdout.readline()
                self._read.append(got)
                if got.rstrip("\n") == line:
                    return
                if not got:
                    stderr = self._process.stderr.read() if self._process.stderr else ""
                    said = "".join(self._read)
                    raise AssertionError(f"{line!r} never came\n-- stdout\n{said}\n{stderr}")
        finally:
            watchdog.cancel()

    def send(self, signum: int) -> None:
        """Sends a signal to the script."""
        self._process.send_signal(signum)

    def finish(self, timeout: float = 30) -> Ended:
        """Waits for the end; a script that takes longer fails with the stacks of its threads."""
        try:
            out, err = self._process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            self._abort()
            out, err = self._process.communicate()
            ended = Ended(self._process.returncode, "".join(self._read) + out, err)
            message = f"the script did not end within {timeout} s\n{ended.describe()}"
            raise AssertionError(message) from None
        return Ended(self._process.returncode, "".join(self._read) + out, err)

    def _abort(self) -> None:
        # SIGABRT makes faulthandler print every thread's stack; a forked child that shares the
        # pipe, or a process that cannot even do that, is killed.
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGABRT)
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


def run_script(
    source: str,
    *args: str,
    timeout: float = 30,
    dev: bool = False,
    python: str = sys.executable,
    options: Sequence[str] = (),
) -> Ended:
    """Runs `source` to its end, at most `timeout` seconds; `dev` adds `-X dev`."""
    with Child(source, *args, dev=dev, python=python, options=options) as child:
        return child.finish(timeout)
