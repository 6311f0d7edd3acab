from collections.abc import Callable, Sequence
from contextvars import Context
from datetime import timedelta
from os import PathLike
from types import GenericAlias, TracebackType
from typing import (
    Any,
    ClassVar,
    Generic,
    Literal,
    Never,
    Self,
    TypeAlias,
    TypedDict,
    TypeVar,
    final,
    overload,
    type_check_only,
)

from typing_extensions import disjoint_base

from paceline._futures import CallFuture
from paceline._options import BatchOptions
from paceline._stats import LimiterStats
from paceline.retry.policy import Retry

__all__ = [
    "UNBOUNDED",
    "Batch",
    "BatchExecutor",
    "Delivery",
    "Exit",
    "Handle",
    "Inbox",
    "Outcome",
    "Place",
    "RateLimiter",
    "ReadyOutcomes",
    "Records",
    "Step",
    "TaskSlot",
    "Worker",
    "__version__",
    "at_exit",
    "check_operation",
    "check_operations",
    "forked",
    "log_batch",
    "logged_exception",
    "show",
]

__version__: str
UNBOUNDED: int

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

# A submitted call: its future, the function with its arguments, its keywords and its context.
_Call: TypeAlias = tuple[CallFuture[Any], tuple[Any, ...], dict[str, Any], Context]

@final
class RateLimiter:
    """At most ``limit`` permits in any window of ``per`` seconds, first come first served.

    The window is exact, wherever it begins: after a burst, after idling, and with any number of
    threads and executors on one limiter. Waiters stand in one queue and nobody overtakes its
    head, however heavy the request there is; but for a combination made with ``&`` that waits
    for another of its limiters. A limiter may be shared among threads, executors and event
    loops, and with ``shared`` among processes: such a one can be pickled and copied, and goes
    on sharing. One of this process alone cannot, like a lock. It uses the monotonic clock.

    Memory grows with the permits in the window, not with ``limit``: 16 bytes for each (up to 32
    while it grows), so a window of a million permits takes 16 to 32 MB when it is full.

    A process that is forked begins with an empty window and an empty queue: the permits of its
    parent are not counted there, unless the limiter is shared.

    Args:
        limit: Permits in any window, from 1 to 2**63.
        per: Length of the window, in seconds or as a ``timedelta``. It has no default: nobody is to
            be sixty times too fast for having forgotten it.
        burst: How many permits may follow each other at once, from 1 to ``limit``; the rest is
            spaced evenly at ``(per + margin) / limit`` seconds (GCRA), with the margin in effect.
            The window still holds: where it makes a start wait for longer, another burst may
            follow. ``burst=1`` is a metronome.
            By default permits are given as soon as the window has room, so ``limit`` calls or
            fewer start at once. A start that the system delays by up to half an interval (or a
            millisecond, if that is more) does not delay those after it. A pace is kept for bursts
            of up to 4,294,967,295 permits.
        margin: How much longer than ``per`` a permit is kept, in seconds or as a ``timedelta``:
            servers count arrivals, and the network moves them closer together. By default it is
            learnt for each call of an executor from how long it takes: its duration less the
            shortest lately seen, at most ``max(0.05, per / 50)`` seconds, and that much while it
            runs. The permit of an ``acquire()`` of yours is kept 1 % of ``per`` longer, at most
            0.25 s. 0 turns the margin off.
        adaptive: Whether a refusal (429) halves the limit in effect, once per episode. An
            executor without a :class:`Retry` recognises none. The limit grows back by a twentieth
            of ``limit`` (at least 1) per window, pauses not counted; never beyond ``limit`` and
            never below 1. Additive increase and multiplicative decrease, after D.-M. Chiu and
            R. Jain, "Analysis of the increase and decrease algorithms for congestion avoidance in
            computer networks", Computer Networks and ISDN Systems 17 (1989).
        shared: What all who open it share one limit by: a name, for the processes of this user on
            this host, or a path (a ``Path``, or a string with a separator) to a file that need not
            exist. It may be 10,000,000 permits at most. Or the address of a limit on a Redis or
            Valkey server, for all hosts that reach it: ``redis://host:6379/0#name``. All give the
            same ``limit``, ``per`` and ``burst``; when permits have left the window, those of a
            newcomer hold for everybody.
        when_lost: What becomes of those who wait while there is no contact with the server:
            ``"wait"`` until it is back, or ``"raise"`` a ``ConnectionError``. Never does anything
            start without a permit.

    Raises:
        ValueError: If a number is out of its range, or is not finite; if ``shared`` is in use with
            other numbers, or is no place where a limit can be.
        OSError: If the file of a shared limit cannot be opened or made; a ``ConnectionError`` if
            the server does not answer.
        TypeError: If an argument is of another type.

    Example:
        >>> RateLimiter(200, per=60)
        RateLimiter(200, per=60.0)
    """

    def __new__(
        cls,
        limit: int,
        per: float | timedelta,
        *,
        burst: int | None = None,
        margin: float | timedelta | None = None,
        adaptive: bool = False,
        shared: str | PathLike[str] | None = None,
        when_lost: Literal["wait", "raise"] = "wait",
    ) -> Self: ...
    def acquire(self, weight: int = 1, *, timeout: float | timedelta | None = None) -> bool:
        """Waits for a permit and takes it.

        The permit counts from the instant this returns. Other threads run while it waits, and in
        the main thread signal handlers do. A handler may use the same limiter: while one runs,
        other waiters may go first. What a handler raises, as Ctrl-C does, ends the wait. A wait
        that ends early takes nothing.

        Args:
            weight: How many permits to take, all at once.
            timeout: How long to wait at most, in seconds or as a ``timedelta``; without limit by
                default.

        Returns:
            True, or False if the permit was not to be had in time: at once, if the wait is known
            to be longer than ``timeout``, counting those who wait already.

        Raises:
            ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``, so that
                waiting would never end, also after an :meth:`update` meanwhile; if ``timeout`` is
                negative or not finite.
            TypeError: If an argument is of another type.
        """

    async def acquire_async(
        self, weight: int = 1, *, timeout: float | timedelta | None = None
    ) -> bool:
        """The same for an event loop of asyncio: waits in one line with threads and other loops.

        Awaited, it waits as :meth:`acquire` does, and the loop goes on meanwhile. A task that is
        cancelled while it waits leaves the line, and takes nothing. ``async with limiter`` waits
        for one permit. Several loops, each in its thread, may wait at one limiter.

        Args:
            weight: How many permits to take, all at once.
            timeout: How long to wait at most, in seconds or as a ``timedelta``; without limit by
                default.

        Returns:
            True, or False if the permit was not to be had in time, as :meth:`acquire` does.

        Raises:
            ValueError: As :meth:`acquire` does.
            TypeError: If an argument is of another type.
            RuntimeError: If no event loop of asyncio is running.
        """

    def __enter__(self) -> None: ...
    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> None: ...
    async def __aenter__(self) -> None: ...
    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
        /,
    ) -> None: ...
    def try_acquire(self, weight: int = 1) -> bool:
        """Takes a permit if there is one now, without waiting.

        Args:
            weight: How many permits to take, all at once.

        Returns:
            Whether it was taken; False while anyone waits in the queue, except for another part
            of a combination.

        Raises:
            ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``.
            TypeError: If ``weight`` is of another type.
        """

    def wait_time(self, weight: int = 1) -> float:
        """The least time until a permit would be granted, without taking it.

        Args:
            weight: How many permits would be taken, all at once.

        Returns:
            Seconds, counting everyone who waits in the queue and would go first; 0.0 if there is
            a permit now. It may turn out to be less where somebody waits for a combination, or
            where calls end that run now, as without a ``margin`` a call that runs counts as one
            that takes long.

        Raises:
            ValueError: If ``weight`` is below 1, or more than ``limit`` or ``burst``.
            TypeError: If ``weight`` is of another type.
        """

    def pause(self, seconds: float | timedelta) -> None:
        """Gives no permit to anybody for a time.

        A later call can lengthen the pause and never shortens it. Pausing a combination pauses
        each of its parts, and so everybody who uses one of them.

        Args:
            seconds: How long from now, in seconds or as a ``timedelta``.

        Raises:
            ValueError: If ``seconds`` is negative or not finite.
            TypeError: If it is of another type.
        """

    def update(self, limit: int, per: float | timedelta) -> None:
        """Goes on with another limit, for those too who wait already.

        What was permitted still counts, and for so much longer as the window is longer now. Of
        before that nothing is known, so after a change to a longer window the first one may hold
        more. A limit in effect that was lowered stays the same part of the limit; ``burst`` stays
        as it is and is paced at the new limit, a margin that was given stays, and one that is
        learnt goes on learning.

        Args:
            limit: Permits in any window, as in the constructor.
            per: Length of the window, as in the constructor.

        Raises:
            ValueError: If a number is out of its range; if ``limit`` is less than ``burst``.
                Nothing is changed then.
            TypeError: If an argument is of another type.
            AttributeError: If it is a combination: update its ``parts``.
        """

    def stats(self) -> LimiterStats:
        """What is counted now, and who shares it.

        Returns:
            A :class:`LimiterStats`.

        Raises:
            AttributeError: If it is a combination: its ``parts`` have them.
        """

    def __reduce__(self) -> tuple[Any, ...]:
        """One that is shared can be pickled and copied: what is made goes on sharing.

        Raises:
            TypeError: If it counts in this process alone.
        """

    def __and__(self, other: RateLimiter, /) -> RateLimiter:
        """A limiter that grants when both can, and charges both or neither.

        ``RateLimiter(10, per=1) & RateLimiter(200, per=60)`` keeps 10 a second and 200 a minute.
        Any number can be combined, and one limiter can be part of several combinations.

        Who waits for a combination stands in the queue of each part. One of the parts is due last,
        and there nobody overtakes. At the other parts those behind go first, as long as they leave
        the permit that will be needed when the last part is due: so a part that has no room does
        not hold up those who do not need it, and they make nobody late. While the time is not
        known, as others are ahead at some part, no permit is kept at the other parts.
        """

    def __rand__(self, other: RateLimiter, /) -> RateLimiter:
        """The same from the other side."""

    @property
    def parts(self) -> tuple[RateLimiter, ...]:
        """The limiters it was combined from, or itself alone."""

    @property
    def limit(self) -> int:
        """Permits in any window.

        Raises:
            AttributeError: If it is a combination: its ``parts`` have limits, it has none. The
                same holds for the properties below.
        """

    @property
    def per(self) -> float:
        """Length of the window in seconds."""

    @property
    def burst(self) -> int | None:
        """Permits that may follow each other at once; None if they are not paced."""

    @property
    def margin(self) -> float:
        """How much longer than ``per`` permits are kept, in seconds.

        The margin that was given, or else the largest of the permits whose margin was learnt in
        the last ``per`` seconds, or up to twice as long; 1 % of ``per``, at most 0.25 s, before
        there was one.
        """

    @property
    def adaptive(self) -> bool:
        """Whether refusals lower the limit in effect."""

    @property
    def effective_limit(self) -> int:
        """Permits in any window as of now: ``limit``, or less after a refusal if ``adaptive``."""

@final
class Outcome(Generic[_T_co]):
    """What became of one operation of a batch. It never changes.

    Outcomes come from :meth:`BatchExecutor.run`, :meth:`BatchExecutor.stream`, and the
    ``batch_report`` of an exception that ended a batch. They can also be made by hand, for tests of
    code that takes them. All times are in seconds.

    Two are equal if all that is below is, but for ``operation`` and ``earlier_attempts``, and
    exceptions count as equal that are of one type with the same arguments. Pickled, an outcome
    keeps what it is compared by.

    Args:
        index: The operation's place in its batch, from 0.
        status: One of the words below.
        value: What it returned, if it is done.
        exception: What it raised; needed if it has failed.
        attempts: How often it was called; by default once, or never if it did not start.
        permit_wait: Seconds that it waited for permits.
        started_at: When its last attempt started, on the clock of ``time.monotonic()``.
        duration: Seconds that its last attempt took.
        operation: What was called.

    Raises:
        TypeError: If an argument is of the wrong type.
        ValueError: If a number is negative or not finite, ``status`` is no such word, or ``value``
            or ``exception`` do not go with it.
    """

    @overload
    def __new__(
        cls,
        index: int,
        status: Literal["done"],
        *,
        value: _T_co = ...,
        exception: None = None,
        attempts: int | None = None,
        permit_wait: float | timedelta = 0.0,
        started_at: float | None = None,
        duration: float | timedelta = 0.0,
        operation: Callable[[], _T_co] | None = None,
    ) -> Self: ...
    @overload
    def __new__(
        cls,
        index: int,
        status: Literal["failed"],
        *,
        value: None = None,
        exception: BaseException,
        attempts: int | None = None,
        permit_wait: float | timedelta = 0.0,
        started_at: float | None = None,
        duration: float | timedelta = 0.0,
        operation: Callable[[], _T_co] | None = None,
    ) -> Self: ...
    @overload
    def __new__(
        cls,
        index: int,
        status: Literal["running", "not_started", "cancelled"],
        *,
        value: None = None,
        exception: None = None,
        attempts: int | None = None,
        permit_wait: float | timedelta = 0.0,
        started_at: float | None = None,
        duration: float | timedelta = 0.0,
        operation: Callable[[], _T_co] | None = None,
    ) -> Self: ...
    @property
    def ok(self) -> bool:
        """Whether it is done."""

    def result(self) -> _T_co:
        """What the operation returned; raises what it has raised.

        Raises:
            BaseException: What its last attempt raised, if it has failed.
            RuntimeError: If it is neither done nor failed.
        """

    @property
    def operation(self) -> Callable[[], _T_co] | None:
        """The operation itself, as it stands in the list or tuple that was the batch.

        It is looked up there when it is asked for: so do not change a list that you still ask for.
        Of a batch that was read from an iterator, a stream knows it, and ``run`` where it failed;
        as it was given, or a partial like it. None where it is not known.
        """

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments of an operation that is a ``functools.partial``; empty of any other."""

    @property
    def kwargs(self) -> dict[str, Any]:
        """Its keyword arguments; empty of any other."""

    @property
    def index(self) -> int:
        """The operation's place in its batch, from 0."""

    @property
    def status(self) -> Literal["done", "failed", "running", "not_started", "cancelled"]:
        """What became of the operation.

        ``"done"``: it returned ``value``.
        ``"failed"``: it raised ``exception``, or its permit was refused; or it had failed and
        waited to be tried again when the batch ended.
        ``"running"``: it had started and not ended when the report was made; its thread runs on,
        and :meth:`BatchReport.settle` waits for what becomes of it.
        ``"not_started"``: the batch ended before its turn.
        ``"cancelled"``: it had not started when ``shutdown(cancel_futures=True)`` was called.
        """

    @property
    def value(self) -> _T_co | None:
        """What the operation returned; None also if it is not done, so look at ``status``."""

    @property
    def exception(self) -> BaseException | None:
        """What its last attempt raised, with the traceback into it; None if it has not failed.

        The report that an exception carries only refers to that exception, so that neither keeps
        the other alive: when it is gone, a ``RuntimeError`` that names its type is here. For one of
        Python's own types, which cannot be weakly referred to, it is a copy from the beginning.
        """

    @property
    def attempts(self) -> int:
        """How often it was called; 0 if never, also when its permit was refused."""

    @property
    def permit_wait(self) -> float:
        """Seconds that it waited for permits, over all attempts.

        That is with a worker free for it, and inside of it: when it called ``acquire()`` of a
        :class:`RateLimiter` itself. Pauses that a server asked this executor for are left out: the
        report has those.
        """

    @property
    def started_at(self) -> float | None:
        """When its last attempt started, in seconds on the clock of ``time.monotonic()``.

        None if it was never called.
        """

    @property
    def duration(self) -> float:
        """Seconds that its last attempt took; if it still runs, until the report was made.

        Waiting for permits inside of it is part of that. 0.0 if it was never called.
        """

    @property
    def earlier_attempts(self) -> tuple[tuple[BaseException, float, float, float], ...]:
        """The failed attempts before the last one, in their order.

        Each is a tuple of ``(exception, started_at, duration, permit_wait)``: what it raised,
        when it started on the clock of ``time.monotonic()``, how long it took and how long it
        waited for its permit, all in seconds.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...
    def __getnewargs_ex__(self) -> tuple[tuple[int, str], dict[str, Any]]: ...
    def __copy__(self) -> Self: ...
    def __deepcopy__(self, _memo: object) -> Self: ...
    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...

# What type checkers see of an outcome that the package hands out, so that they tell the type of its
# value by its `status`. There are no such classes.

@final
@type_check_only
class DoneOutcome(Outcome[_T_co]):  # type: ignore[misc]
    @property
    def ok(self) -> Literal[True]: ...
    @property
    def status(self) -> Literal["done"]: ...
    @property
    def value(self) -> _T_co: ...
    @property
    def exception(self) -> None: ...

@final
@type_check_only
class OtherOutcome(Outcome[_T_co]):  # type: ignore[misc]
    @property
    def ok(self) -> Literal[False]: ...
    @property
    def status(self) -> Literal["failed", "running", "not_started", "cancelled"]: ...
    @property
    def value(self) -> None: ...

_AnyOutcome: TypeAlias = DoneOutcome[_T_co] | OtherOutcome[_T_co]

# What follows is what the package's own modules stand on. Nothing of it is public.

@disjoint_base
class BatchExecutor:
    """What the public ``BatchExecutor`` stands on: a configuration, and a state per process."""

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self: ...
    def _configure(
        self,
        max_workers: int,
        limiter: RateLimiter | None,
        foreign: bool,
        retry: Retry | None,
        awaits: bool = False,
    ) -> None:
        """Sets it up, once.

        Args:
            max_workers: How many operations run at once, at most.
            limiter: A limiter of ours.
            foreign: Whether there is one that is not ours, whose permits come from Python.
            retry: When failed operations are called again.
            awaits: Whether what operations return is awaited.

        Raises:
            RuntimeError: If it was set up before.
        """

    def _runtime(self) -> Handle:
        """The state that the calling process has of it.

        Raises:
            RuntimeError: If it was not set up.
        """

@final
class Inbox:
    """What came for those who wait in one event loop."""

    def __new__(cls) -> Self: ...
    def fileno(self) -> int:
        """What the loop is to watch for reading; below 0 where it has to look by itself."""

    def empty(self) -> list[int]:
        """The numbers of the places that came since this was last called."""

@final
class Place:
    """A place in the line of a limiter, for an event loop."""

    @staticmethod
    def try_take(limiter: RateLimiter, weight: int) -> bool:
        """Takes permits if they are known to be free, without asking a server."""

    @staticmethod
    def stand(
        limiter: RateLimiter,
        weight: int,
        timeout: float | timedelta | None,
        inbox: Inbox,
        number: int,
    ) -> Place | bool:
        """A place at the end of the line; whether the permits were had, if that is known at once.

        ``number`` comes into the inbox whenever the turn may have come.
        """

    def look(self) -> bool | None:
        """Takes the permits if the turn has come.

        Returns:
            True if they were taken; False if the time is over, or is known to be over before; None
            if the number of this place comes into the inbox when to look again.

        Raises:
            RuntimeError: In a forked child.
            ValueError: If the wait would never end, as the limit was lowered meanwhile.
            ConnectionError: If contact was lost, and that is to raise.
        """

    def leave(self) -> None:
        """Leaves the line; nothing is taken."""

@final
class Handle:
    """What one process has of an executor. Any thread may call it, except where it says so."""

    def number(self) -> int:
        """Tells it from every other runtime, also from that of a forked child."""

    def is_current(self) -> bool:
        """Whether it belongs to the process that asks."""

    def exit_if_forked(self) -> None:
        """Ends a forked child, on a thread of the executor's that has gone on there.

        What was submitted there is done before.
        """

    def ask_by(self, asker: Callable[[], BaseException | None]) -> None:
        """Says what asks the limiter that is not ours for a permit.

        Args:
            asker: Called on a worker that waits inside an operation. Returns None for a permit, or
                what the operation fails with; what it raises ends the batch.
        """

    def begin(
        self,
        caller: Context,
        pool: object,
        logged: bool,
        options: BatchOptions,
        wake: tuple[Inbox, int] | None = None,
    ) -> Batch[Any]:
        """Opens a batch, owned by the calling thread.

        Args:
            caller: The context in which the verb was called, to be copied for its operations.
            pool: Lives as long as the batch has operations, whoever else forgets it.
            logged: Whether failures are logged, because they are only recorded.
            options: How the batch is to be treated.
            wake: The inbox of an event loop that owns it, and the number that comes there where a
                thread would be woken.

        Raises:
            RuntimeError: After shutdown, or when the interpreter is exiting.
        """

    def submit(self, job: _Call) -> bool:
        """Queues a call, and sets the ``number`` of its future to its place there.

        Returns whether there is work for a further worker thread.

        Raises:
            RuntimeError: After shutdown, or when the interpreter is exiting.
        """

    def give_up(self, number: int, error: BaseException | None) -> bool | None:
        """Takes a call back that has not started, or that waits to be tried again.

        Its future is settled: with what it failed with the last time, or with ``error``, or as
        cancelled.

        Returns:
            Whether it was cancelled; None if it runs or has ended.

        Raises:
            BaseException: What a callback or a signal handler raised meanwhile.
        """

    def give_up_all(self, make_error: Callable[[], BaseException] | None) -> None:
        """Gives all such calls up, those that were never tried with what ``make_error`` returns.

        Raises:
            BaseException: What was raised meanwhile, when all are settled.
        """

    def works_here(self) -> bool:
        """Whether the calling thread is one of the workers."""

    def is_joined_here(self) -> bool:
        """Whether ``join`` waits for the calling thread: a worker, or the owner of a batch."""

    def run_here(self, number: int) -> None:
        """Runs a submitted call on the calling thread, a worker, unless it has started."""

    def run_next(self) -> bool:
        """Runs the next submitted call on the calling thread, where all threads wait inside others.

        Returns whether they do.
        """

    def block(self) -> None:
        """A worker begins to wait for a call of its own executor, so a spare may replace it."""

    def unblock(self) -> None:
        """That worker has waited."""

    def reserve_thread(self) -> Worker | None:
        """A worker thread to start, if there is work for a further one."""

    def reserve_slot(self, inbox: Inbox, number: int) -> TaskSlot | None:
        """A slot for a task, if there is work for a further one.

        ``number`` comes into the inbox when the slot is to look for something to start.
        """

    def is_stranded(self) -> bool:
        """Whether there is something to start now, and no thread to do it."""

    def is_asking(self) -> bool:
        """Whether a worker asks a limiter that is not ours, and not inside an operation."""

    def check_process(self) -> None:
        """Does nothing, in the process that it belongs to.

        Raises:
            RuntimeError: In a process that was forked from that, as almost everything here does.
        """

    def break_down(self) -> None:
        """The workers cannot be set up: everything that has not started ends."""

    def close(self, cancel: bool) -> None:
        """Takes no more work; with ``cancel``, nothing of a batch starts any more."""

    def close_at_exit(self) -> None:
        """Ends what waits for an owner that will not come back; submitted calls go on."""

    def is_over(self) -> bool:
        """Whether there will never be anything to do any more."""

    def join(self, timeout: float | None = None) -> bool:
        """Waits until nothing waits or runs any more. Ctrl-C ends the wait.

        Args:
            timeout: Seconds; None means no limit.

        Returns:
            Whether nothing does.
        """

    def unfinished(self) -> tuple[int, int]:
        """How many operations run, and how many more are to start that have not."""

    def join_threads(self) -> None:
        """Waits until every worker thread is about to end. Ctrl-C ends the wait."""

@final
class ReadyOutcomes(Generic[_T]):
    """An iterator over the outcomes of a batch as they are ready, until the batch is discarded."""

    def __new__(cls, batch: Batch[_T], more: object) -> Self:
        """Iterate over the outcomes of ``batch``.

        Args:
            batch: The batch.
            more: What ``next`` returns if no outcome is ready, or if all have been taken that were
                ready at first and more input is wanted.
        """

    def __iter__(self) -> Self: ...
    def __next__(self) -> _AnyOutcome[_T]: ...

@final
class Batch(Generic[_T]):
    """One batch. It belongs to the thread that opened it, which alone may call it.

    But any thread may leave it, and ask how many outcomes there are to come.
    """

    def leave(self) -> None:
        """Ends it, whatever its owner does meanwhile: nothing more of it starts or is handed over.

        No wait of its owner goes on.
        """

    def is_left(self) -> bool:
        """Whether it was left."""

    def outstanding(self) -> int:
        """How many of its operations were read and not handed over."""

    def check_process(self) -> None:
        """Does nothing, in the process that it belongs to.

        Raises:
            RuntimeError: In a process that was forked from that, as almost everything here does;
                but ``discard`` and ``end`` have nothing to do there.
        """

    def feed(self, operations: list[Callable[[], _T]]) -> None:
        """Adds all operations that there will be, after checking each.

        Raises:
            TypeError: If one is not callable, or is a coroutine or generator function. That
                ends the batch, and
                all of them are in its report.
        """

    def know(self, sequence: Sequence[Callable[[], _T]] | None) -> None:
        """Says where outcomes find their operations.

        Args:
            sequence: The list or tuple that is the whole batch; None for a stream over anything
                else, so that each operation is kept until its outcome is handed over.
        """

    def feed_rest(self, operations: list[Callable[[], _T]]) -> None:
        """Adds what was read, and what was checked before and will not be read, at an early end.

        Args:
            operations: What is left of the input. It is empty afterwards.
        """

    def begin_reading(self, count: int) -> None:
        """Begins to read: many operations in one go, if a worker keeps watch meanwhile.

        Args:
            count: How many operations to read.
        """

    def read(self, operation: Callable[[], _T]) -> bool:
        """Takes one operation that was read.

        Returns:
            Whether there is something else to do before the next is read: all were read that were
            to be, a worker waits for those before, or outcomes can be handed over.

        Raises:
            TypeError: If it is not callable, or is a coroutine or generator function. That
                ends the batch, and
                it is in its report.
            BaseException: What its examination raised that is no ``Exception``; the same.
        """

    def end_reading(self) -> None:
        """Adds what was read in one go."""

    def wait_ready(self, seconds: float) -> bool:
        """Waits for an outcome before the input is asked for more, which may take long.

        Args:
            seconds: How long at most.

        Returns:
            Whether there is something else to do first. Without waiting that long False if nothing
            of the batch waits or runs.
        """

    def finish_input(self) -> None:
        """Tells that there will be no more operations."""

    def step(self, may_grow: bool) -> tuple[Step, int]:
        """Waits until there is something for the owner to do. Ctrl-C ends the wait.

        Args:
            may_grow: Whether that may be ``GROW``: to start a thread that works in the place of
                this one, a worker, while it waits.

        Returns:
            What to do, and for how many operations.
        """

    def look(self) -> tuple[Step, int]:
        """What the owner is to do next, and for how many operations.

        It does not wait: where that is ``REST``, the owner will be woken.
        """

    def expects(self) -> bool:
        """Whether an outcome may become ready that is not; if so the owner will be woken."""

    def runs(self) -> bool:
        """Whether something of it runs; if so the owner will be woken."""

    def room(self) -> int:
        """How many more operations are wanted at once."""

    def leave_to_run(self, leave: bool) -> None:
        """Says whether what was read is to run when nobody holds the batch any more."""

    def end(self, patient: bool) -> None:
        """Starts nothing more; ``patient`` lets those start that have their permit."""

    def join(self, timeout: float | None = None) -> int:
        """Waits until nothing of it runs, or it was left. Ctrl-C ends the wait.

        Args:
            timeout: Seconds; None means no limit.

        Returns:
            For how many operations it would wait on.
        """

    def close(
        self, error: BaseException | None = None, stand_in: BaseException | None = None
    ) -> Records[_T]:
        """Takes it out of its executor, and returns its records; the same whenever it is called.

        They do not hold ``error``, which is to carry their report. Where that is among them,
        ``stand_in`` is in its place, and is what they give once ``error`` is gone, or at once if it
        cannot be weakly referred to.

        Failures are logged that became final only with that, of what was to be tried again.

        Raises:
            BaseException: What a signal handler raises meanwhile, and anything else that is not an
                ``Exception``. Called again, it returns the records.
        """

    def discard(self) -> None:
        """Takes it out of its executor, and drops whatever it still holds."""

    def ended_by(self) -> str:
        """A word for why it ended, or ``"completed"``. To be asked before it is closed."""

    def limiter_error(self) -> BaseException | None:
        """What the limiter raised. Takes it."""

    def last_failure(self) -> BaseException | None:
        """The last failure that was handed over; None if there is none, or no ``max_failures``."""

    def refusal(self) -> tuple[BaseException | None, tuple[int | None, float | None]]:
        """The refusal that ended it; None if that was met by another executor, or long before.

        And how many in a row were too many, or how many seconds of a pause.
        """

    def first_failure(self) -> BaseException | None:
        """The error that ended it, if one did."""

@final
class Records(Generic[_T_co]):
    """What became of the operations of a batch that has ended.

    Places count the operations that were not handed over, in input order, from 0.
    """

    def __len__(self) -> int: ...
    def __getitem__(self, place: int, /) -> _AnyOutcome[_T_co]:
        """The outcome in one place, made when it is first asked for.

        Raises:
            IndexError: If there are not so many.
        """

    def failed(self) -> list[int]:
        """The places of the operations that failed, in input order."""

    @overload
    def values(self, failed: None) -> list[_T_co | BaseException]: ...
    @overload
    def values(self, failed: Callable[[str, BaseException, int], object] | None) -> list[Any]:
        """The values of the operations that have finished, in input order.

        Args:
            failed: Makes the entry of an operation that failed, from the exception's text, the
                exception and the index. Without it the entry is the exception.

        Raises:
            BaseException: What ``failed`` raises, and what an exception raises for its text if
                that is not an ``Exception``.
        """

    def settle(self, timeout: float | None) -> int:
        """Waits until nothing of it runs any more. Ctrl-C ends the wait.

        Args:
            timeout: Seconds; None means no limit.

        Returns:
            How many operations still run.

        Raises:
            RuntimeError: In a forked child, and in an operation that it would wait for.
        """

    def counts(self) -> dict[str, int]:
        """How many operations there are of each status, with those that were handed over."""

    @classmethod
    def __class_getitem__(cls, key: Any) -> GenericAlias: ...
    def totals(self) -> Totals:
        """The sums over the batch."""

@final
class Exit:
    """The ``__exit__`` of streams, which no signal handler comes before."""

    def __new__(cls) -> Self: ...
    def __get__(self, instance: object | None, owner: object | None = None, /) -> Any: ...
    def __call__(
        self, stream: object, kind: object, error: object, traceback: object, /
    ) -> None: ...

@final
class Delivery:
    """How the outcomes of a batch reach its owner.

    ``AT_END``: all at once, when it has ended. ``IN_ORDER`` and ``AS_COMPLETED``: one by one, in
    the order of the input, or of completion.
    """

    AT_END: ClassVar[Delivery]
    IN_ORDER: ClassVar[Delivery]
    AS_COMPLETED: ClassVar[Delivery]

@final
class Step:
    """What the owner of a batch is to do next."""

    FEED: ClassVar[Step]
    HAND_OVER: ClassVar[Step]
    REST: ClassVar[Step]
    GROW: ClassVar[Step]
    SETTLED: ClassVar[Step]

    __hash__: ClassVar[None]  # type: ignore[assignment]

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __int__(self) -> int: ...

@final
class TaskSlot:
    """A place for one operation at a time in an event loop."""

    def next(self) -> tuple[Any, Context] | Literal[True] | None:
        """Takes the next operation, if one may start.

        Returns:
            The ``pool`` that its batch was opened with, and the context that its task is to have;
            True if there will never be one, so that the slot is to be forgotten; None if there may
            be one later.
        """

    def call(self) -> Any:
        """Calls the operation, in its task."""

    def done(self, value: Any, error: BaseException | None = None) -> None:
        """Books how the operation ended.

        Args:
            value: What was awaited of it.
            error: What it raised instead.
        """

@final
class Worker:
    """One worker thread that is to be started."""

    # Takes one, which the slot of the type does not say.
    def __call__(self, *args: int, **kwargs: Never) -> bool:
        """Works until there is nothing more to do. Called on the worker's own thread.

        Args:
            args: How many bytes of stack that has.
            kwargs: Nothing.

        Returns:
            Whether a limiter that is not ours is to be asked for a permit, and then this to be
            called again. So nothing of Rust is beneath a limiter that may never answer: until
            Python 3.14 a thread that comes back to an interpreter which ends is unwound, and Rust
            cannot be.
        """

    def context(self) -> Context | None:
        """A copy of the context of the caller whose operation is next; None if that has gone."""

    def answer(self, refusal: BaseException | None) -> None:
        """Tells the limiter's answer: None for a permit, or what the operation fails with."""

    def fail(self, error: BaseException) -> None:
        """The limiter has raised ``error``, or it was thrown at the thread between operations."""

    def abandon(self) -> bool:
        """Tells that the thread was not started, unless it has begun; whether it never will."""

@type_check_only
class Totals(TypedDict):
    """The sums over a batch: numbers of permits, calls and pauses; seconds."""

    permits: int
    attempts: int
    retries: int
    pauses: int
    paused: float
    permit_wait: float
    waited_inside: float
    working: float
    elapsed: float

def check_operation(name: str, operation: object) -> None:
    """Refuses what no worker could call.

    Args:
        name: Of the argument, for the message.
        operation: The argument.

    Raises:
        TypeError: If it is not callable, or is a coroutine or generator function.
    """

def check_operations(operations: list[Callable[[], Any]], awaits: bool = False) -> None:
    """Checks a batch before anything of it is read.

    Args:
        operations: All of them.
        awaits: Whether what they return is awaited.

    Raises:
        TypeError: If one is not callable, or is a coroutine or generator function.
    """

def log_batch(counts: Sequence[tuple[str, int]], elapsed: float, ended_by: str) -> None:
    """Writes the line that each batch leaves in the log.

    Args:
        counts: Of each status, how many operations.
        elapsed: Seconds that the batch took.
        ended_by: A word for why it ended.

    Raises:
        BaseException: What a signal handler raises meanwhile, and anything else that is not an
            ``Exception``.
    """

def logged_exception() -> BaseException | None:
    """The exception that the event is about which is being logged on this thread, if one is."""

def at_exit(wait: Callable[[], None], give_up: Callable[[BaseException], None]) -> None:
    """Called when the process exits: no thread but the main one and the workers goes on in Python.

    Args:
        wait: Waits for the workers, which do not go on either when it has returned.
        give_up: Ends the process after what a signal handler has raised meanwhile.
    """

def forked() -> None:
    """Called in a process that was just forked, before anything else is done there."""

def show(value: object) -> str:
    """The value as it appears in the message of an exception: its repr, cut short.

    Of one whose repr raises an ``Exception``, its type.

    Raises:
        BaseException: What the repr raises that is not an ``Exception``.
    """
