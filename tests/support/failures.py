"""Operations that fail, and what is logged of their failures."""

from __future__ import annotations

import logging

import pytest
from helpers import event_of

from paceline import Retry

EVENT = "batch_operation_failed"


class QuotaError(Exception):
    """What the failing operations of these tests raise."""


def fail(message: str = "no quota left") -> None:
    raise QuotaError(message)


def failures_in(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if event_of(record) == EVENT]


def unreachable() -> None:
    raise ConnectionRefusedError


PATIENT = Retry(3, backoff=60, jitter=False)
