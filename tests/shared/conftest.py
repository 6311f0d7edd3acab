"""A place for a limit that processes share."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def place() -> Iterator[Path]:
    """A path for the file of a limit, in memory where the system has that."""
    memory = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(prefix="paceline-test-", dir=memory) as folder:
        yield Path(folder) / "limit"
