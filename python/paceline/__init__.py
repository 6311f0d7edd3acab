"""Batches of Python calls in parallel, as fast as a rate limit allows and never faster."""

import typing as _typing

from paceline import _exit as _exit
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

if _typing.TYPE_CHECKING:
    from paceline._async_executor import AsyncBatchExecutor
    from paceline._async_outcomes import AsyncOutcomes
    from paceline._stats import LimiterHolder, LimiterStats
    from paceline.retry.policy import Retry, Verdict
    from paceline.retry.results import RefusedResponseError

__all__ = [
    "AsyncBatchExecutor",
    "AsyncOutcomes",
    "BatchExecutor",
    "BatchRefusedError",
    "BatchReport",
    "BatchTimeoutError",
    "ErrorRecord",
    "LimiterHolder",
    "LimiterStats",
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

if not _typing.TYPE_CHECKING:
    # What judges failures is half of the package, and needs much of the standard library. It is
    # imported when somebody first asks for one of these names: without a `Retry` nothing is judged,
    # and whoever makes one has it here. So that is on a thread of the user's, and in time. Were it
    # at the first failure, a worker would import while others do or fork, or the process ends.
    _RETRY = ("RefusedResponseError", "Retry", "Verdict", "retry")

    _STATS = ("LimiterHolder", "LimiterStats")
    # With it comes asyncio, which takes longer to import than all the rest.
    _ASYNC = ("AsyncBatchExecutor", "AsyncOutcomes")

    def __getattr__(name: str) -> object:
        if name in _ASYNC:
            from paceline._async_executor import AsyncBatchExecutor  # noqa: PLC0415
            from paceline._async_outcomes import AsyncOutcomes  # noqa: PLC0415

            globals().update(AsyncBatchExecutor=AsyncBatchExecutor, AsyncOutcomes=AsyncOutcomes)
            return globals()[name]
        if name in _STATS:
            from paceline._stats import LimiterHolder, LimiterStats  # noqa: PLC0415

            globals().update(LimiterHolder=LimiterHolder, LimiterStats=LimiterStats)
            return globals()[name]
        if name not in _RETRY:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}", name=name)
        from paceline.retry.policy import RefusedResponseError, Retry, Verdict  # noqa: PLC0415

        globals().update(RefusedResponseError=RefusedResponseError, Retry=Retry, Verdict=Verdict)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *_RETRY, *_STATS, *_ASYNC})
