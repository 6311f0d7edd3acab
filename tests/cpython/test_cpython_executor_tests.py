"""CPython's tests of executors hold for `BatchExecutor`, on each interpreter at hand that has them.

The interpreters are this one and those of the virtual environments `.venv*` beside the sources that
have the package installed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from childprocess import other_interpreters

HERE = Path(__file__).resolve().parent
RUNNER = HERE / "run_executor_tests.py"
TESTS_MISSING = 3
PROBE = """
import importlib.util, sys
import paceline
sys.exit(0 if importlib.util.find_spec("test.test_concurrent_futures") else 3)
"""

# Each kind of limiter takes another way from submit to start; -X dev also checks memory.
RUNS = [("none", "plain"), ("none", "dev"), ("native", "plain"), ("foreign", "dev")]


@dataclass(frozen=True)
class Run:
    process: subprocess.Popen[bytes]
    log: Path
    report: Path


def reason_to_skip(python: str) -> str | None:
    probe = subprocess.run([python, "-c", PROBE], capture_output=True, text=True, timeout=60)
    if probe.returncode == 0:
        return None
    if probe.returncode == TESTS_MISSING:
        return f"{python} does not ship test.test_concurrent_futures"
    return f"{python} has no paceline: {probe.stderr.strip().splitlines()[-1]}"


@pytest.fixture(scope="module")
def runs(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> Iterator[dict[str, Any]]:
    """All runs, started together: the tests spend most of their time asleep."""
    started: dict[str, Any] = {}
    others = pytestconfig.getoption("other_pythons")
    for number, python in enumerate(other_interpreters() if others else [sys.executable]):
        started[python] = reason_to_skip(python)
        if started[python] is not None:
            continue
        started[python] = {}
        for limiter, mode in RUNS:
            folder = tmp_path_factory.mktemp(f"cpython-{number}-{limiter}-{mode}")
            log, report = folder / "log", folder / "report"
            options = ["-X", "dev"] if mode == "dev" else []
            with log.open("wb") as output:
                process = subprocess.Popen(
                    [python, *options, str(RUNNER), limiter, str(report)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=folder,
                )
            started[python][limiter, mode] = Run(process, log, report)
    yield started
    for of_one in started.values():
        if isinstance(of_one, dict):
            for run in of_one.values():
                run.process.kill()
                run.process.wait()


# All of it in one process, which starts the runs.
@pytest.mark.xdist_group("cpython")
@pytest.mark.timeout(400)
@pytest.mark.parametrize(("limiter", "mode"), RUNS, ids=["-".join(run) for run in RUNS])
@pytest.mark.every_python
def test_cpython_executor_tests(runs: dict[str, Any], python: str, limiter: str, mode: str) -> None:
    if isinstance(runs[python], str):
        # It has no such tests, or not our package: the reason names the interpreter.
        pytest.skip(runs[python])
    run: Run = runs[python][limiter, mode]
    try:
        status = run.process.wait(300)
    except subprocess.TimeoutExpired:
        run.process.kill()
        pytest.fail(f"the tests hang\n{run.log.read_text()}")
    log = run.log.read_text()
    assert status == 0, log
    report = json.loads(run.report.read_text())
    assert set(report["succeeded"]) == set(report["started"]), log
    assert report["skipped"] == {}, log
    assert not report["dangling_threads"], f"threads outlived a test\n{log}"

    # What was run is what CPython has: each concern is there, and no entry of the table is stale.
    classes = {name.split(".")[0] for name in report["started"]}
    assert classes >= {
        "ThreadPoolExecutorTest",
        "ThreadPoolWaitTests",
        "ThreadPoolAsCompletedTest",
        "ThreadPoolShutdownTest",
        "ThreadPoolInitializerTest",
        "ThreadPoolFailingInitializerTest",
    }
    sys.path.insert(0, str(HERE))
    try:
        from run_executor_tests import LEFT_OUT, LEFT_OUT_WITH_LIMITER
    finally:
        sys.path.remove(str(HERE))
    unsuitable = LEFT_OUT_WITH_LIMITER.get(limiter, {})
    assert set(report["left_out"]) == {*LEFT_OUT, *unsuitable}
