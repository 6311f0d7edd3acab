"""What stands behind a report made by hand, or unpickled; and the rows one is written down as."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Never

from paceline._core import Outcome, show
from paceline._duck import is_a

if TYPE_CHECKING:
    from paceline._core import Totals

__all__ = ["MadeRecords", "NoRecords", "row_of"]

STATUSES = ("done", "failed", "running", "not_started", "cancelled")


class MadeRecords:
    """Outcomes that somebody has made, as a report looks at its records."""

    def __init__(self, outcomes: Iterable[Outcome[Any]], elapsed: float, paused: float) -> None:
        self._outcomes = tuple(outcomes)
        self._elapsed = elapsed
        self._paused = paused
        last = -1
        for place, outcome in enumerate(self._outcomes):
            if not is_a(outcome, Outcome):
                raise TypeError(f"outcomes must be Outcomes; in place {place} is {show(outcome)}")
            if outcome.index <= last:
                raise ValueError(
                    "outcomes must be in the order of their indexes, each of which there is once: "
                    f"in place {place} is index {outcome.index}, after {last}"
                )
            last = outcome.index

    def __len__(self) -> int:
        return len(self._outcomes)

    def __getitem__(self, place: int) -> Outcome[Any]:
        return self._outcomes[place]

    def failed(self) -> list[int]:
        return [place for place, each in enumerate(self._outcomes) if each.status == "failed"]

    def values(self, _failed: None) -> list[Any]:
        return [each.value for each in self._outcomes if each.ok]

    def settle(self, _timeout: float | None) -> int:
        """Return how many still run: what was made by hand does not change."""
        return self.counts()["running"]

    def counts(self) -> dict[str, int]:
        counts = dict.fromkeys(STATUSES, 0)
        for each in self._outcomes:
            counts[each.status] += 1
        return counts

    def totals(self) -> Totals:
        attempts = sum(each.attempts for each in self._outcomes)
        return {
            "permits": attempts,
            "attempts": attempts,
            "retries": sum(max(each.attempts - 1, 0) for each in self._outcomes),
            "pauses": 1 if self._paused else 0,
            "paused": self._paused,
            "permit_wait": sum(each.permit_wait for each in self._outcomes),
            "waited_inside": 0.0,
            "working": sum(each.duration for each in self._outcomes),
            "elapsed": self._elapsed,
        }


_LEFT_BEHIND = "the report was pickled, which left its outcomes behind"


class NoRecords:
    """The records of a batch whose outcomes were all left behind."""

    def __init__(self, counts: dict[str, int], totals: Totals, left_behind: int) -> None:
        self._counts = counts
        self._totals = totals
        self.left_behind = left_behind

    def _check(self) -> None:
        if self.left_behind:
            raise RuntimeError(_LEFT_BEHIND)

    def __len__(self) -> int:
        self._check()
        return 0

    def failed(self) -> list[int]:
        self._check()
        return []

    def values(self, _failed: None) -> list[Never]:
        self._check()
        return []

    def settle(self, _timeout: float | None) -> int:
        if self._counts["running"]:
            raise RuntimeError(_LEFT_BEHIND)
        return 0

    def counts(self) -> dict[str, int]:
        return self._counts

    def totals(self) -> Totals:
        return self._totals


def row_of(outcome: Outcome[Any]) -> dict[str, Any]:
    """Return an outcome as a flat dictionary."""
    error = outcome.exception
    return {
        "index": outcome.index,
        "status": outcome.status,
        "value": outcome.value,
        "error": None if error is None else _text_of(error),
        "error_type": None if error is None else type(error).__name__,
        "attempts": outcome.attempts,
        "permit_wait": outcome.permit_wait,
        "started_at": outcome.started_at,
        "duration": outcome.duration,
    }


def _text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception as raised:  # noqa: BLE001 - an exception may do anything
        return f"<{type(error).__name__}: its str() raised {type(raised).__name__}>"
