"""Judges what one case in one mode has shown: right, or what is wrong."""

from __future__ import annotations

from typing import Any

from .case import Case
from .modes import MODES, OFF, WAIT

# The date of an answer is in whole seconds, and a client may hold it for a while.
DATE_MAY_LACK = 2.0


def refused(result: dict[str, Any]) -> bool:
    """Whether the server's answer was a refusal."""
    return result["mode"] == OFF or MODES[result["mode"]].refused


def knowable(case: Case, result: dict[str, Any]) -> bool:
    """Whether the refusal can be told from what came out of the client."""
    if not refused(result) or result["end"] not in ("raised", "returned"):
        return False
    if case.blind_to(result["mode"]):
        return False
    # Without a time to wait a 503 says no more than that the server is in trouble.
    return result["mode"] != "503" or bool(result.get("wait_at")) or result["end"] == "returned"


def wait_stands(result: dict[str, Any]) -> bool:
    """Whether the wait was found on the exception by looking everywhere."""
    return refused(result) and result["end"] == "raised" and bool(result["wait_at"])


def wait_found(result: dict[str, Any]) -> bool:
    """Whether paceline's wait is the server's."""
    said = WAIT if result["mode"] == OFF else MODES[result["mode"]].wait
    wait = result.get("wait")
    least = said - DATE_MAY_LACK if result["mode"] == "date" else said
    return wait is not None and least <= wait <= said


def wait_kept(result: dict[str, Any]) -> bool:
    """Whether the wait was found with the function that raised, and nowhere on the exception."""
    return result["end"] == "raised" and not result["wait_at"] and bool(result.get("wait"))


def fault(case: Case, result: dict[str, Any]) -> str | None:
    """Return what paceline got wrong, or None."""
    if not refused(result):
        return "false alarm" if result.get("throttled") else None
    if knowable(case, result) and not result["throttled"]:
        return "refusal not recognised"
    if knowable(case, result) and wait_stands(result) and not wait_found(result):
        return f"wait is {result['wait']}"
    if result["mode"] == OFF and result["requests"] > 1:
        return f"{result['requests']} requests with its retries switched off"
    return None
