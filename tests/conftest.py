"""What several test modules get."""

from __future__ import annotations

import gc
import logging
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from childprocess import other_interpreters
from observing import Blocker

from paceline import BatchExecutor


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Let what a test logged be sent as UTF-8, as pytest-xdist does with reports."""
    report = yield
    report.sections = [
        (name, text.encode("utf-8", "backslashreplace").decode()) for name, text in report.sections
    ]
    return report


def pytest_configure() -> None:
    """Take Ctrl-C, also where the shell of a background job had it ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """Leave what there is before the first test out of what the collector looks at in each."""
    gc.collect()
    gc.freeze()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--other-pythons",
        action="store_true",
        help="run tests that are marked every_python on the interpreters of .venv-* in the place "
        "of this one",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("every_python"):
        others = metafunc.config.getoption("other_pythons")
        pythons = other_interpreters() if others else [sys.executable]
        metafunc.parametrize("python", pythons, ids=lambda python: Path(python).parts[-3])


@pytest.fixture
def unlogged() -> Iterator[None]:
    """For tests of what is let go: pytest keeps what is logged as long as a test runs.

    The exceptions of failures are part of that.
    """
    logger = logging.getLogger("paceline")
    level = logger.level
    logger.setLevel(logging.CRITICAL + 1)
    yield
    logger.setLevel(level)


@pytest.fixture
def blocker() -> Iterator[Blocker]:
    operation = Blocker()
    yield operation
    operation.release.set()


@pytest.fixture
def executor() -> Iterator[BatchExecutor]:
    with BatchExecutor(max_workers=2) as made:
        yield made
