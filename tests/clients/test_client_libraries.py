"""The frequent client libraries, refused for real: seen as refusals, and nothing else is.

Each runs in a process of its own against the refusing server of examples/clients, which says what
the client did, what stands on the exception, and what `Retry()` made of it. The client's own sleeps
are counted there, not slept.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).parents[2] / "examples"
WAIT = 7
REFUSALS = ("seconds", "none", "date", "vendor", "503")
OTHERS = ("400", "401", "403", "404", "409", "422", "500", "timeout")

# Requests that one call sends by default at `Retry-After: 7`.
REQUESTS = {
    "aiohttp": 1,
    "anthropic": 3,
    "azure_core": 4,
    "backoff": 3,
    "boto3": 3,
    "boto3_dynamodb": 4,
    "descope": 1,
    "elasticsearch": 4,
    "github": 11,
    "github_403": 1,
    "google_api_core": 1,
    "google_api_core_grpc": 1,
    "google_genai": 1,
    "grpcio": 1,
    "grpcio_aio": 1,
    "httpx": 1,
    "httpx_returned": 1,
    "huggingface_hub": 1,
    "ollama": 1,
    "openai": 3,
    "raise_from": 1,
    "requests": 1,
    "requests_retry": 4,
    "requests_returned": 1,
    "slack": 1,
    "stripe": 1,
    "stripe_module": 1,
    "tenacity": 3,
    "urllib": 1,
    "urllib3": 4,
}
# These drop the headers: the refusal is seen, its wait is nowhere.
LOST = {"requests_retry"}
# These have no timeout of their own that could be shortened here.
ENDLESS = {"aiohttp"}


def answers(name: str, *modes: str) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "clients.one", "--nowhere-else", name, *modes],
        cwd=EXAMPLES,
        env=os.environ | {"NO_PROXY": "*", "no_proxy": "*"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=170,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [line["mode"] for line in lines] == list(modes), done.stderr
    return {line["mode"]: line for line in lines}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", REQUESTS)
def test_refusals_are_seen_with_their_waits_and_other_failures_are_not(name: str) -> None:
    others = [mode for mode in OTHERS if name not in ENDLESS or mode != "timeout"]
    off = ["off"] if REQUESTS[name] > 1 else []
    found = answers(name, *REFUSALS, *others, *off)
    for mode in REFUSALS:
        refused(name, mode, found[mode])
    for mode in others:
        assert found[mode]["requests"] >= 1, found[mode]
        assert not found[mode]["throttled"], found[mode]
    for mode in off:
        assert found[mode]["requests"] == 1, found[mode]
        assert found[mode]["slept"] == 0, found[mode]
        assert found[mode]["wait"] == WAIT, found[mode]


def refused(name: str, mode: str, answer: dict[str, Any]) -> None:
    assert answer["requests"] >= 1, answer
    if mode == "seconds":
        assert answer["requests"] == REQUESTS[name], answer
    if answer["end"] == "returned":
        assert answer["throttled"], answer
        if mode in ("seconds", "503"):
            assert answer["wait"] == WAIT, answer
        return
    assert answer["end"] == "raised", answer
    # A 503 without a time to wait says no more than that the server is in trouble.
    if mode != "503" or answer["wait_at"]:
        assert answer["throttled"], answer
        assert answer["again"], answer
    if mode == "none":
        assert answer["wait"] is None, answer
    elif answer["wait_at"]:
        assert answer["wait"] is not None, answer
        assert WAIT - 2 * (mode == "date") <= answer["wait"] <= WAIT, answer
    if mode == "seconds":
        assert bool(answer["wait_at"]) == (name not in LOST), answer
