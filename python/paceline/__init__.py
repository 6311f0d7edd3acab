"""Batches of Python calls in parallel, as fast as a rate limit allows and never faster."""

from paceline import _logging as _logging
from paceline._core import Outcome, RateLimiter
from paceline._core import __version__ as __version__
from paceline._error_record import ErrorRecord
from paceline._errors import (
    BatchRefusedError,
    BatchTimeoutError,
    PermitRefusedError,
    report_of,
)
from paceline._executor import BatchExecutor
from paceline._outcomes import Outcomes
from paceline._permits import SupportsAcquire
from paceline._report import BatchReport
from paceline.retry.policy import Retry, Verdict
from paceline.retry.results import RefusedResponseError

__all__ = [
    "BatchExecutor",
    "BatchRefusedError",
    "BatchReport",
    "BatchTimeoutError",
    "ErrorRecord",
    "Outcome",
    "Outcomes",
    "PermitRefusedError",
    "RateLimiter",
    "RefusedResponseError",
    "Retry",
    "SupportsAcquire",
    "Verdict",
    "report_of",
]
