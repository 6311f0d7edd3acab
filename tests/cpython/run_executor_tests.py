"""Runs the interpreter's own tests of executors against `BatchExecutor`.

    python run_executor_tests.py LIMITER REPORT

LIMITER names the limiter beneath the executor (none, native, foreign). What became of each test is
written to the file REPORT as JSON. Exits with 3 when this interpreter does not ship the tests.
"""

from __future__ import annotations

import concurrent.futures
import importlib
import importlib.util
import inspect
import json
import os
import re
import sys
import unittest
from types import ModuleType
from typing import Any

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

from stand_in import executor_class  # noqa: E402

PACKAGE = "test.test_concurrent_futures"
MODULES = ("test_thread_pool", "test_wait", "test_as_completed", "test_shutdown", "test_init")
TESTS_MISSING = 3

THREADS = "reads the private set executor._threads"
LEFT_OUT = {
    "ThreadPoolExecutorTest.test_default_workers": "reads executor._max_workers and expects "
    "the number of processors as the default; ours is 5",
    "ThreadPoolExecutorTest.test_saturation": THREADS,
    "ThreadPoolExecutorTest.test_idle_thread_reuse": THREADS,
    "ThreadPoolShutdownTest.test_threads_terminate": THREADS,
    "ThreadPoolShutdownTest.test_context_manager_shutdown": THREADS,
    "ThreadPoolShutdownTest.test_del_shutdown": THREADS,
    "ThreadPoolShutdownTest.test_shutdown_no_wait": THREADS,
    "ThreadPoolShutdownTest.test_thread_names_assigned": THREADS,
    "ThreadPoolShutdownTest.test_thread_names_default": THREADS
    + " and expects the class's own default name",
}

LEFT_OUT_WITH_LIMITER = {
    "foreign": {
        "ThreadPoolShutdownTest.test_cancel_futures": "expects that something starts between the "
        "first of 50 submits and a shutdown right after them; permits of a limiter that is not "
        "ours are asked for on a thread of their own, which may not have come that far",
    },
}

_IMPORT = re.compile(r"from concurrent\.futures import (\w+)")


class Recorder(unittest.TextTestResult):
    """Keeps the names of the tests that were run and of those that succeeded."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.started: list[str] = []
        self.succeeded: list[str] = []

    def startTest(self, test: unittest.TestCase) -> None:  # noqa: N802
        self.started.append(short_name(test))
        super().startTest(test)

    def addSuccess(self, test: unittest.TestCase) -> None:  # noqa: N802
        self.succeeded.append(short_name(test))
        super().addSuccess(test)


def short_name(test: unittest.TestCase) -> str:
    """`Class.method` of a test."""
    return ".".join(test.id().split(".")[-2:])


def load_modules() -> list[ModuleType]:
    """The interpreter's test modules: a package since 3.12, one file before."""
    try:
        found = importlib.import_module(PACKAGE)
    except ImportError as missing:
        print(f"no {PACKAGE} in {sys.executable}: {missing}")
        raise SystemExit(TESTS_MISSING) from None
    if not hasattr(found, "__path__"):
        return [found]
    return [importlib.import_module(f"{PACKAGE}.{name}") for name in MODULES]


def use_in_scripts(module: ModuleType, limiter: str) -> None:
    """Makes the scripts that a test runs in new interpreters import our class."""
    original = getattr(module, "assert_python_ok", None)
    if original is None:
        return

    def replacement(*args: str, **env_vars: str) -> Any:
        ours = (
            f"import sys; sys.path.insert(0, {HERE!r}); import stand_in; "
            rf"\1 = stand_in.executor_class({limiter!r})"
        )
        *options, script = args
        script, replaced = _IMPORT.subn(ours.replace("\\", "\\\\").replace("\\\\1", r"\1"), script)
        assert replaced == 1, f"the script does not import an executor:\n{script}"
        if sys.flags.dev_mode:
            options = ["-X", "dev", *options]
        return original(*options, script, **env_vars)

    module.assert_python_ok = replacement  # type: ignore[attr-defined]


def collect(
    modules: list[ModuleType], executor: type, limiter: str
) -> tuple[unittest.TestSuite, list[str]]:
    """The tests of thread pools with ours in their place, and the names of those left out."""
    loader = unittest.TestLoader()
    suite = unittest.TestSuite()
    left_out = []
    unsuitable = LEFT_OUT_WITH_LIMITER.get(limiter, {})
    for module in modules:
        mixin = find_mixin(module)
        mixin.executor_type = executor
        for value in list(vars(module).values()):
            if not (isinstance(value, type) and issubclass(value, unittest.TestCase)):
                continue
            if not issubclass(value, mixin):
                continue
            for name in loader.getTestCaseNames(value):
                full_name = f"{value.__name__}.{name}"
                if full_name in LEFT_OUT:
                    source = inspect.getsource(getattr(value, name))
                    assert re.search(r"executor\._[a-z]", source), f"{full_name} has no reason"
                    left_out.append(full_name)
                elif full_name in unsuitable:
                    left_out.append(full_name)
                else:
                    suite.addTest(value(name))
    return suite, left_out


def find_mixin(module: ModuleType) -> Any:
    """The class that gives thread-pool tests their executor."""
    if hasattr(module, "ThreadPoolMixin"):
        return module.ThreadPoolMixin
    return importlib.import_module(f"{PACKAGE}.util").ThreadPoolMixin


def main(limiter: str, report: str) -> int:
    """Runs the tests, writes the report; returns 0 when everything that was run succeeded."""
    modules = load_modules()
    executor = executor_class(limiter)
    # Tests that name the class themselves find it here.
    concurrent.futures.ThreadPoolExecutor = executor  # type: ignore[misc]
    for module in modules:
        use_in_scripts(module, limiter)
    suite, left_out = collect(modules, executor, limiter)
    runner = unittest.TextTestRunner(resultclass=Recorder, verbosity=2)
    result = runner.run(suite)
    assert isinstance(result, Recorder)
    from test import support

    with open(report, "w", encoding="utf-8") as file:
        json.dump(
            {
                "started": result.started,
                "succeeded": result.succeeded,
                "skipped": {short_name(test): why for test, why in result.skipped},
                "left_out": left_out,
                "dangling_threads": bool(support.environment_altered),
            },
            file,
        )
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
