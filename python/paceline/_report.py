"""What became of a batch.

Long by its docstrings, which are what users read.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import (
    TYPE_CHECKING,
    Any,
    Generic,
    Literal,
    Never,
    Self,
    TypeAlias,
    TypeVar,
    cast,
    overload,
)

from paceline._arguments import missing, refuse
from paceline._checks import duration, positive_int
from paceline._core import Outcome, Records, show
from paceline._ending import Ending
from paceline._made import MadeRecords, NoRecords, row_of

if TYPE_CHECKING:
    from paceline._core import Totals, _AnyOutcome

    _Bound: TypeAlias = Literal[
        "limit", "workers", "operations", "computing", "server pauses", "idle workers"
    ]

if not TYPE_CHECKING:
    # For who asks for the annotations.
    _AnyOutcome = Outcome

__all__ = ["BatchReport", "describe", "failure_group"]

T_co = TypeVar("T_co", covariant=True)

ENDED_BY = tuple(ending.value for ending in Ending)

_TOTALS = (
    "elapsed",
    "permit_wait",
    "paused",
    "working",
    "permits",
    "attempts",
    "retries",
    "pauses",
)

_MEANS: dict[_Bound, str] = {
    "limit": "waiting for the limit, so more workers would not make it faster",
    "workers": "running operations on all workers, so more workers would make it faster, up to the "
    "limit if there is one",
    "operations": "running operations, all of them at the same time, so more workers would not "
    "make it faster",
    "computing": "computing in Python, on every processor that it can use (one, unless it is a "
    "free-threaded build), so more workers would hardly make it faster",
    "server pauses": "paused because the server asked for it, so a lower limit may be faster",
    "idle workers": "with workers idle or busy with other batches: there were fewer operations "
    "than workers, as where the input or the consumer is slow, or retries wait",
}
# Of a server that has answered no call.
_REFUSED_ALL = "paused because the server refused every call, so the limit is hardly the cause"

# The same as parts beside another one.
_PARTS: dict[str, str] = {
    "limit": "waiting for the limit",
    "workers": "running operations on all workers",
    "server pauses": "paused by the server",
    "idle workers": "with workers idle",
}

# Percent of the time, from which on what bounded a run says enough.
_MOST = 50

# Seconds in which a batch is begun and ended, whatever it does.
_TOO_SHORT = 0.001

# Of the elapsed time: where the process computes for so long, no number of workers gains more than
# a quarter.
_COMPUTING = 0.8


class BatchReport(Sequence[Outcome[T_co]], Generic[T_co]):
    """The outcomes of a batch in input order, and the totals that explain its time.

    It is true whether or not there are outcomes in it.

    What still ran when the batch ended is waited for by :meth:`settle`.

    Pickled, it keeps its counts and totals but no outcomes, which hold whatever the operations
    returned and raised: so an exception that carries one can be sent to another process. What needs
    the outcomes raises ``RuntimeError`` there.

    Attributes:
        counts: How many operations there are of each status. Of a stream these are all, also
            those whose outcomes were handed over before.
        elapsed: Seconds from the beginning of the batch to this report; once it was settled, to the
            end of the last operation.
        permit_wait: Seconds that operations waited for a permit while a worker was free for them,
            also in vain, those in ``paused`` left out; and, summed over the workers, that they
            waited inside, in ``acquire()`` of a :class:`RateLimiter` which they called themselves.
        paused: Seconds of the batch that fell into pauses which a server asked this executor for.
            What it asked another one that shares the limiter is ``permit_wait`` here.
        working: Seconds that operations ran and did not wait for permits, summed over the workers;
            of those that still ran, until this report was made or settled.
        permits: Permits taken. One of a limiter that is not ours may have come too late for a call,
            when the batch had ended.
        attempts: Calls made.
        retries: Calls that repeated a failed one.
        pauses: Pauses that the server asked for.
        ended_by: Why the batch ended: ``"completed"``; ``"timeout"``; ``"max_failures"``;
            ``"interrupt"``, what a signal handler raised; ``"limiter"`` or ``"input"``, what that
            raised; ``"operation"``, a failure that ends the batch; ``"refused"``, a server that
            goes on refusing or asks for too long a pause; ``"consumer"``, who left the
            loop over a stream; ``"outer"``, that an operation of another batch had begun it, which
            was given up; ``"shutdown"`` with ``cancel_futures``; ``"broken"``, as the
            ``initializer`` raised, or gevent or eventlet have patched threads; ``"exit"``, the end
            of the program.
    """

    __slots__ = (
        "_computed",
        "_max_workers",
        "_records",
        "_waited_inside",
        "attempts",
        "counts",
        "elapsed",
        "ended_by",
        "paused",
        "pauses",
        "permit_wait",
        "permits",
        "retries",
        "working",
    )

    def __init__(
        self,
        outcomes: Iterable[Outcome[T_co]],
        *_more: Never,
        ended_by: str = "completed",
        elapsed: float | timedelta = 0.0,
        paused: float | timedelta = 0.0,
        max_workers: int = 5,
        **_unknown: Never,
    ) -> None:
        """Make a report by hand, for tests of code that takes one.

        Args:
            outcomes: In the order of their indexes.
            ended_by: One of the words above.
            elapsed: Seconds that the batch took.
            paused: Seconds of it that fell into pauses which a server asked for.
            max_workers: How many operations ran at once, at most.

        Raises:
            TypeError: If an argument is of the wrong type.
            ValueError: If the outcomes are not in order, or another argument is out of its range.
        """
        if _more or _unknown:
            refuse("BatchReport", _more, _unknown)
        if ended_by not in ENDED_BY:
            words = ", ".join(map(repr, ENDED_BY))
            raise ValueError(f"ended_by must be one of {words}, not {show(ended_by)}")
        made = MadeRecords(outcomes, duration("elapsed", elapsed), duration("paused", paused))
        workers = positive_int("max_workers", max_workers, 2**15)
        self._set_up(cast("Records[T_co]", made), ended_by, workers, 0.0)

    @classmethod
    def _of(
        cls, records: Records[T_co], *, ended_by: str, max_workers: int, computed: float
    ) -> Self:
        """Make the report of a batch that was run."""
        self = cls.__new__(cls)
        self._set_up(records, ended_by, max_workers, computed)
        return self

    def _set_up(
        self, records: Records[T_co], ended_by: str, max_workers: int, computed: float
    ) -> None:
        # Outcomes are made when they are asked for, one at a time, so that other threads and
        # signals have their turn.
        self._records = records
        self._max_workers = max_workers
        # Seconds of processor time that the process took meanwhile.
        self._computed = computed
        self.ended_by = ended_by
        self._sum_up()

    def _sum_up(self) -> None:
        self.counts = self._records.counts()
        totals = self._records.totals()
        self.elapsed = totals["elapsed"]
        self.permit_wait = totals["permit_wait"]
        self.paused = totals["paused"]
        self.working = totals["working"]
        self._waited_inside = totals["waited_inside"]
        self.permits = totals["permits"]
        self.attempts = totals["attempts"]
        self.retries = totals["retries"]
        self.pauses = totals["pauses"]

    @overload
    def __getitem__(self, index: int, /) -> _AnyOutcome[T_co]: ...
    @overload
    def __getitem__(self, index: slice, /) -> tuple[_AnyOutcome[T_co], ...]: ...
    def __getitem__(
        self, index: int | slice, /
    ) -> _AnyOutcome[T_co] | tuple[_AnyOutcome[T_co], ...]:
        try:
            places = range(len(self))[index]
        except IndexError:
            message = f"there is no outcome {index}, of {len(self)}"
            raise IndexError(message) from None
        except TypeError:
            message = (
                f"a report has its outcomes by place, a number or a slice, not {show(index)}; how "
                'many there are of a status is in its counts, as in report.counts["done"]'
            )
            raise TypeError(message) from None
        return self._records[places] if isinstance(places, int) else tuple(self._at(places))

    def __len__(self) -> int:
        return len(self._records)

    def __bool__(self) -> bool:
        # Of a stream whose outcomes were all handed over there is something to tell as well.
        return True

    def __iter__(self) -> Iterator[_AnyOutcome[T_co]]:
        return self._at(range(len(self)))

    def _at(self, places: Iterable[int]) -> Iterator[_AnyOutcome[T_co]]:
        records = self._records
        return (records[place] for place in places)

    def to_rows(self) -> list[dict[str, Any]]:
        """Return a flat dictionary for each outcome, such as a table is made of.

        Each has ``index``, ``status``, ``value``, ``error`` (the exception's text) and
        ``error_type`` (the name of its class), both None where there is none, ``attempts``,
        ``permit_wait``, ``started_at`` and ``duration``.
        """
        return [row_of(outcome) for outcome in self]

    def _compared_by(self) -> tuple[object, ...]:
        totals = [getattr(self, name) for name in (*_TOTALS, "_waited_inside")]
        return (self.ended_by, self.counts, totals, self._max_workers)

    def __eq__(self, other: object) -> bool:
        """Whether all that the two tell is the same."""
        if not isinstance(other, BatchReport):
            return NotImplemented
        if self is other:
            return True
        if self._compared_by() != other._compared_by():
            return False
        return _known_of(self) == _known_of(other)

    def __hash__(self) -> int:
        return hash((self.ended_by, self.elapsed, self.permits))

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Never:
            raise AttributeError(missing("BatchReport", name), name=name, obj=self)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: object) -> Self:
        return self

    def __reduce__(self) -> tuple[object, ...]:
        totals = cast("Totals", {name: getattr(self, name) for name in _TOTALS})
        totals["waited_inside"] = self._waited_inside
        left_behind = _left_behind_by(self._records)
        settings = (self.ended_by, self._max_workers, self._computed)
        return _without_outcomes, (NoRecords(self.counts, totals, left_behind), *settings)

    def __repr__(self) -> str:
        return f"<BatchReport: {describe(self.counts)} in {self.elapsed:.3f} s>"

    def settle(self, timeout: float | timedelta | None = None) -> bool:
        """Wait for the operations that still ran when the batch ended, and complete the report.

        Their outcomes, until then ``"running"``, become ``"done"`` or ``"failed"``, and the counts,
        the totals, :attr:`failures` and :meth:`values` follow. Nothing new starts: no operation
        that had not begun, and no further attempt of one that fails. An outcome that was taken from
        the report before stays as it was.

        It may be called from any thread, as often as one likes, also after ``shutdown()``. Ctrl-C
        ends the wait, and nothing is lost by that.

        Args:
            timeout: Seconds, or a ``timedelta``, to wait at most; from 0 to 10**9. None means until
                the last of them has ended.

        Returns:
            Whether the report is complete: nothing of the batch runs any more. False if the timeout
            has passed; what had ended by then is in the report.

        Raises:
            TypeError: If ``timeout`` is of the wrong type.
            ValueError: If ``timeout`` is out of its range.
            RuntimeError: In one of the operations that it would wait for; of a report that was
                pickled, or in a forked child, if operations still ran by then.
        """
        seconds = None if timeout is None else duration("timeout", timeout)
        try:
            return self._records.settle(seconds) == 0
        finally:
            self._sum_up()

    def values(self) -> list[T_co]:
        """Return the values of all operations, in input order.

        Raises:
            ExceptionGroup: If any operation failed; see :meth:`raise_for_failures`.
            RuntimeError: If any operation has no value for another reason, or its outcome was
                handed over by a stream before.
        """
        self.raise_for_failures()
        if earlier := sum(self.counts.values()) - len(self):
            raise RuntimeError(f"{earlier} values are not here: they were handed over before")
        if missing := len(self) - self.counts["done"]:
            message = f"{missing} operations have no value: {describe(self.counts)}"
            raise RuntimeError(message)
        return cast("list[T_co]", self._records.values(None))

    @property
    def failures(self) -> tuple[_AnyOutcome[T_co], ...]:
        """The outcomes of the operations that failed, in input order."""
        return tuple(self._at(self._records.failed()))

    def raise_for_failures(self) -> None:
        """Raise the exceptions of all failed operations, if there are any.

        Of a stream these are the exceptions of those that were not handed over.

        Raises:
            ExceptionGroup: Of the exceptions, in input order (``BaseExceptionGroup`` if one of
                them is not an ``Exception``).
            RuntimeError: If all that failed were handed over by a stream before.
        """
        if group := failure_group(self):
            try:
                raise group
            finally:
                # Its traceback holds this frame.
                del group
        if failed := self.counts["failed"]:
            raise RuntimeError(f"{failed} operations failed, which were handed over before")

    def _total(self) -> int:
        return sum(self.counts.values())

    def _spent(self) -> dict[_Bound, float]:
        """Return the seconds that each of what may bound a run took of those that elapsed."""
        at_once = min(self._max_workers, self._total()) or 1
        spent: dict[_Bound, float] = {
            "workers": self.working / at_once,
            # Those that wait inside do so side by side.
            "limit": self.permit_wait - self._waited_inside * (1 - 1 / at_once),
            "server pauses": self.paused,
        }
        spent["idle workers"] = max(self.elapsed - sum(spent.values()), 0.0)
        return spent

    def _bound(self) -> tuple[_Bound, float]:
        """Return what bounded the run, and the seconds that it took."""
        spent = self._spent()
        bound = max(spent, key=lambda each: spent[each])
        share = self._computed / self.elapsed if self.attempts and self.elapsed else 0.0
        if bound in {"workers", "idle workers"} and _COMPUTING <= share <= 2 - _COMPUTING:
            return "computing", self._computed
        if bound == "workers" and self._total() <= self._max_workers:
            return "operations", spent["workers"]
        return bound, spent[bound]

    @property
    def bounded_by(
        self,
    ) -> Literal["limit", "workers", "operations", "computing", "server pauses", "idle workers"]:
        """What bounded the speed of the run, by the largest part of the elapsed time.

        ``"limit"``: waiting for permits with a worker free. ``"server pauses"``: pauses that the
        server asked for. ``"workers"``: operations that ran, as if all workers had shared them;
        ``"operations"`` if there were no more of them than workers. ``"idle workers"``: what is
        left, in which workers had nothing of this batch to do. ``"computing"``, instead of running
        or idling: for four fifths of the elapsed time or more the process was on the processors
        that its threads can use: one where they share an interpreter lock, otherwise all.
        """
        return self._bound()[0]

    def explain(self) -> str:
        """Return what bounded the run, and what to change, in a sentence.

        Where that took less than half of the time, a second sentence says what took the rest.
        """
        if not self.attempts and not self.permit_wait and not self.paused:
            return "No operation was called."
        if 0 < self.elapsed < _TOO_SHORT:
            return f"{self.elapsed * 1000:.2f} ms is too short to tell what took the time."
        bound, seconds = self._bound()
        percent = self._percent(seconds)
        refused_all = bound == "server pauses" and not self.counts["done"]
        means = _REFUSED_ALL if refused_all else _MEANS[bound]
        said = f"{percent} % of {self.elapsed:.3f} s was spent {means}."
        if percent < _MOST:
            spent = self._spent()
            instead = {"operations": "workers", "computing": "workers"}.get(bound, bound)
            others = sorted((name for name in spent if name != instead), key=lambda it: -spent[it])
            parts = [f"{self._percent(spent[name])} % {_PARTS[name]}" for name in others]
            rest = [part for part in parts if not part.startswith("0 %")]
            if rest:
                said += f" The rest: {', '.join(rest)}."
        return said

    def _percent(self, seconds: float) -> int:
        return round(100 * min(seconds / self.elapsed, 1.0)) if self.elapsed else 0


def describe(counts: dict[str, int]) -> str:
    """Return the counts of a report as words, such as ``"3 done, 1 failed of 4 operations"``."""
    words = [f"{count} {status.replace('_', ' ')}" for status, count in counts.items() if count]
    return f"{', '.join(words) or 'nothing done'} of {sum(counts.values())} operations"


def failure_group(
    report: BatchReport[object], last: BaseException | None = None
) -> BaseExceptionGroup[BaseException] | None:
    """Return the exceptions of all failed operations as a group; None if there are none.

    Args:
        report: Of the batch.
        last: The last failure that was handed over before. It stands for all of those where the
            report holds none itself.
    """
    errors = [each.exception for each in report.failures if each.exception is not None]
    failed = report.counts["failed"]
    message = f"{failed} of {sum(report.counts.values())} operations failed"
    if earlier := failed - len(errors):
        message += f", {earlier} of which were handed over before"
    if not errors and last is not None:
        errors.append(last)
    return BaseExceptionGroup(message, errors) if errors else None


def _left_behind_by(records: object) -> int:
    """Return how many outcomes are not sent with a report."""
    if isinstance(records, NoRecords):
        return records.left_behind
    return len(cast("Records[object]", records))


def _known_of(report: BatchReport[object]) -> list[Outcome[object]] | int:
    """Return the outcomes of a report, or how many were left behind."""
    records: object = report._records  # noqa: SLF001 - its own module
    return records.left_behind if isinstance(records, NoRecords) else list(report)


def _without_outcomes(
    records: NoRecords, ended_by: str, max_workers: int, computed: float
) -> BatchReport[Never]:
    without = cast("Records[Never]", records)
    return BatchReport._of(  # noqa: SLF001 - its own module
        without, ended_by=ended_by, max_workers=max_workers, computed=computed
    )


BatchReport.__module__ = "paceline"
