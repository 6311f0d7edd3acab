"""The demo does what it says, and says what happened."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from standin import StandIn

DEMO = Path(__file__).parents[2] / "examples" / "descope_tenants.py"

# Stands where tqdm would be found, and cannot be imported.
NO_TQDM = "raise ImportError('not here')"
# A limiter that lets everything through, as if somebody had forgotten the limit.
NO_LIMIT = """
import runpy, sys, paceline
paceline.RateLimiter = lambda *_, **__: None
sys.argv = sys.argv[1:]
sys.path.insert(0, {folder!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env={"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **environment},
        capture_output=True,
        text=True,
        timeout=50,
    )


def table(output: str) -> dict[str, float]:
    rows = re.findall(r"^(.+?) {2,}([\d.]+)( .*)?$", output, re.MULTILINE)
    return {name: float(figure) for name, figure, _ in rows}


SHARED = DEMO.with_name("shared_limit.py")

ARGUMENTS = ("--tenants", "25", "--limit", "10", "--per", "1")


def test_a_run_ends_with_the_table() -> None:
    result = run(str(DEMO), *ARGUMENTS)
    assert result.returncode == 0, result.stderr
    rows = table(result.stdout)
    assert rows["created, as the server counted"] == 25
    assert rows["failed"] == 0
    assert rows["429s seen by the server"] == 0
    assert rows["least seconds the limit allows"] == 2.0
    assert 2.0 <= rows["seconds taken"] < 30
    assert "Traceback" not in result.stderr


def test_a_pipe_gets_three_lines_of_what_happens_and_one_for_each_tenth() -> None:
    result = run(str(DEMO), *ARGUMENTS)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Creates 25 tenants")
    assert "10 requests in any 1 s" in lines[1]
    assert "after 2 s" in lines[2]
    assert lines[3] == ""
    assert "\r" not in result.stdout + result.stderr
    assert result.stderr.splitlines() == [f"{done} of 25" for done in range(3, 25, 3)]


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo terminal")
def test_a_terminal_gets_a_bar() -> None:
    import pty
    import termios

    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with os.fdopen(ours, "rb", closefd=True) as shown:
        process = subprocess.Popen(
            [sys.executable, str(DEMO), *ARGUMENTS],
            stdout=subprocess.DEVNULL,
            stderr=theirs,
        )
        os.close(theirs)
        said = b""
        # Where the last process that writes has gone, reading fails on Linux.
        with contextlib.suppress(OSError):
            while block := shown.read1(4096):
                said += block
        assert process.wait(50) == 0
    assert b"25/25" in said


def test_progress_without_tqdm(tmp_path: Path) -> None:
    (tmp_path / "tqdm.py").write_text(NO_TQDM)
    result = run(str(DEMO), *ARGUMENTS, PYTHONPATH=str(tmp_path))
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "24 of 25"
    assert table(result.stdout)["failed"] == 0


def test_a_run_that_oversteps_the_limit_says_so(tmp_path: Path) -> None:
    script = tmp_path / "no_limit.py"
    script.write_text(NO_LIMIT.format(folder=str(DEMO.parent)))
    result = run(str(script), str(DEMO), *ARGUMENTS)
    assert result.returncode == 1
    rows = table(result.stdout)
    assert rows["created, as the server counted"] == 10
    assert rows["failed"] == rows["429s seen by the server"] == 15
    assert "RateLimitException" in result.stderr or "E130429" in result.stderr


@pytest.mark.parametrize("tenants", ["1", "10"])
def test_what_fits_the_limit_needs_no_time(tenants: str) -> None:
    result = run(str(DEMO), "--tenants", tenants, "--limit", "10", "--per", "60")
    assert result.returncode == 0, result.stderr
    rows = table(result.stdout)
    assert rows["created, as the server counted"] == int(tenants)
    assert rows["least seconds the limit allows"] == 0


def test_three_processes_share_one_limit_and_one_is_killed() -> None:
    result = run(str(SHARED), "--tenants", "40", "--limit", "10", "--per", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = table(result.stdout)
    assert rows["created, as the server counted"] == 40
    assert rows["429s seen by the server"] == 0
    assert rows["processes that failed"] == 0
    assert 3.0 <= rows["seconds taken"] < 30
    assert "killed one of them, with" in result.stdout


def test_processes_that_do_not_share_it_are_refused() -> None:
    alone = """
import runpy, sys, paceline
real = paceline.RateLimiter
paceline.RateLimiter = lambda *args, shared, **kwargs: real(*args, **kwargs)
sys.argv = sys.argv[1:]
sys.path.insert(0, {folder!r})
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    with StandIn(limit=10, per=1, lockout=1) as server, TemporaryDirectory() as folder:
        for part in range(2):
            names = [f"tenant-{part}-{n}" for n in range(9)]
            settings = json.dumps([server.url, f"{folder}/limit", 10, 1, names])
            script = alone.format(folder=str(DEMO.parent))
            run("-c", script, str(SHARED), "--work", settings)
        assert server.stats().refused > 0


def test_an_asynchronous_client_is_limited_too() -> None:
    script = str(DEMO.with_name("async_tenants.py"))
    result = run(script, "--tenants", "25", "--limit", "10", "--per", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = table(result.stdout)
    assert rows["created, as the server counted"] == 25
    assert rows["429s seen by the server"] == 0
    assert 2.0 <= rows["seconds taken"] < 30
    assert result.stderr == ""


@pytest.mark.long
def test_two_limits_hold_for_the_client_of_a_model() -> None:
    pytest.importorskip("openai")
    result = run(str(DEMO.with_name("async_prompts.py")), "--prompts", "70")
    assert result.returncode == 0, result.stdout + result.stderr
    assert table(result.stdout)["429s seen by the stub"] == 0
