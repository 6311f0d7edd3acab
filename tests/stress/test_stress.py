"""Random mixtures of everything, under a watchdog, with the books checked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "support" / "stress_run.py"


def stress(seed: int, seconds: float, *options: str) -> dict[str, int]:
    ended = subprocess.run(
        [sys.executable, *options, str(SCRIPT), str(seed), str(seconds)],
        capture_output=True,
        text=True,
        timeout=seconds + 120,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (0, ""), f"{ended.stderr}\n{ended.stdout}"
    counts: dict[str, int] = json.loads(ended.stdout)
    # It did happen: each verb was used and each kind of end was seen.
    for what in (
        "use_execute",
        "use_execute_batch",
        "use_run",
        "use_run_that_ends_early",
        "use_stream",
        "use_stream_half_way",
        "use_map",
        "use_submit",
        "early ends",
        "cancelled futures",
        "measured starts",
        "tried again",
        "permits",
        "done",
        "failed",
        "not_started",
    ):
        assert counts.get(what, 0) > 0, f"no {what} in {counts}"
    return counts


@pytest.mark.timeout(150)
@pytest.mark.parametrize("seed", [1, 2])
def test_stress_for_a_moment(seed: int) -> None:
    assert stress(seed, 5)["operations"] > 500


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("options", [(), ("-X", "dev")], ids=["plain", "dev"])
@pytest.mark.parametrize("seed", range(100, 104))
def test_stress(seed: int, options: tuple[str, ...]) -> None:
    assert stress(seed, 45, *options)["operations"] > 5000
