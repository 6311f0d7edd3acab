"""What to write instead: arguments that do not exist, or that were meant for something else."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from datetime import timedelta
from typing import Any, Never, TypeGuard

__all__ = [
    "PARAMETERS",
    "combined_by",
    "limiter_instead",
    "map_instead",
    "missing",
    "operations_instead",
    "refuse",
    "write_rate",
]

# What other libraries, and whoever writes from memory, call what has another name here.
_PEERS: dict[str, tuple[str, ...]] = {
    # How many.
    **dict.fromkeys(("calls", "max_calls", "max_rate", "requests", "max_requests"), ("limit",)),
    **dict.fromkeys(("rate", "permits", "capacity", "quota"), ("limit", "rate_limiter")),
    "n": ("limit",),
    # In which time.
    **dict.fromkeys(("period", "time_period", "interval", "window", "duration"), ("per",)),
    **dict.fromkeys(("seconds", "time_window", "time_unit", "unit", "every"), ("per",)),
    **dict.fromkeys(("per_second", "per_minute", "per_hour", "rpm", "rps"), ("limit",)),
    **dict.fromkeys(("max_burst", "burst_size", "bucket_size", "bucket"), ("burst",)),
    **dict.fromkeys(("buffer", "safety", "safety_margin", "slack"), ("margin",)),
    # By which limiter.
    **dict.fromkeys(
        ("limiter", "ratelimiter", "rate_limit", "throttle", "limits"), ("rate_limiter",)
    ),
    # With how many threads.
    **dict.fromkeys(("workers", "num_workers", "n_workers", "concurrency"), ("max_workers",)),
    **dict.fromkeys(("max_concurrency", "max_concurrent", "max_threads"), ("max_workers",)),
    **dict.fromkeys(("threads", "num_threads", "n_threads", "n_jobs"), ("max_workers",)),
    **dict.fromkeys(("pool_size", "processes", "parallelism", "max_parallel"), ("max_workers",)),
    "max_at_once": ("max_workers",),
    # How often, and after how long.
    **dict.fromkeys(("max_attempts", "tries", "max_tries"), ("attempts", "retry")),
    **dict.fromkeys(("retries", "max_retries", "num_retries", "total"), ("attempts", "retry")),
    **dict.fromkeys(("retry_policy", "retry_strategy", "stop"), ("attempts", "retry")),
    **dict.fromkeys(("wait", "delay", "initial_delay", "wait_initial"), ("backoff",)),
    **dict.fromkeys(("backoff_factor", "initial_backoff", "min_wait"), ("backoff",)),
    **dict.fromkeys(
        ("max_delay", "wait_max", "max_wait", "backoff_max"), ("max_backoff", "timeout")
    ),
    **dict.fromkeys(("exceptions", "exception_types", "retry_on", "retry_if"), ("on",)),
    **dict.fromkeys(("exception", "retry_exceptions", "retry_on_exception"), ("on",)),
    **dict.fromkeys(("status_forcelist", "status_codes", "codes"), ("statuses",)),
    # How a batch is done.
    **dict.fromkeys(("max_errors", "max_failure", "failures", "fail_fast"), ("max_failures",)),
    **dict.fromkeys(("return_exceptions", "raise_on_error", "errors", "on_failure"), ("on_error",)),
    **dict.fromkeys(("deadline", "max_time", "timeout_seconds"), ("timeout",)),
    **dict.fromkeys(("in_order", "keep_order", "preserve_order"), ("ordered",)),
    **dict.fromkeys(("buffer_size", "prefetch", "queue_size", "maxsize"), ("buffersize",)),
    **dict.fromkeys(("funcs", "functions", "tasks", "jobs", "callables", "ops"), ("operations",)),
    **dict.fromkeys(("func", "function", "callable", "target", "task"), ("fn", "operation")),
    **dict.fromkeys(("name_prefix", "thread_name"), ("thread_name_prefix",)),
    **dict.fromkeys(("init", "setup"), ("initializer",)),
    "cancel": ("cancel_futures",),
    **dict.fromkeys(("error", "err", "exc"), ("exception",)),
    "result": ("value",),
    "chunk_size": ("chunksize",),
}

# What some of ours look like when they are written down.
_WRITTEN = {
    "limit": "limit=200, with per=60 for 200 a minute",
    "per": "per=60, in seconds",
    "rate_limiter": "rate_limiter=RateLimiter(200, per=60)",
    "max_workers": "max_workers=5",
    "attempts": "attempts=3, the first call included",
    "retry": "retry=Retry(attempts=3), the first call included",
    "on": "on=(TimeoutError, ConnectionError)",
    "on_error": 'on_error="raise", "return" or "record"',
    "fn": "fn by position",
    "operation": "operation=functools.partial(fn, ...)",
    "operations": "operations=[functools.partial(fn, item) for item in items]",
}

# What has no counterpart that is an argument.
_INSTEAD = {
    "mp_context": "operations run on threads",
    "max_tasks_per_child": "operations run on threads",
    "args": "bind them, as in functools.partial(fn, ...)",
    "kwargs": "bind them, as in functools.partial(fn, ...)",
}

_BATCH = (
    "it takes operations, which are callables without arguments: write "
    "{verb}([functools.partial(fn, item) for item in items]), or map(fn, items) for the values"
)
_BY_POSITION = {
    **{verb: _BATCH.format(verb=verb) for verb in ("execute_batch", "run", "stream")},
    "execute": "its operation has no arguments: write execute(functools.partial(fn, ...))",
}


# What is looked for on an object under another name.
_ATTRIBUTES = {
    "Outcome": {
        **dict.fromkeys(("error", "exc", "reason"), "exception"),
        **dict.fromkeys(("success", "succeeded", "successful", "is_ok", "done"), "ok"),
        **dict.fromkeys(("state",), "status"),
        **dict.fromkeys(("failed", "is_error"), 'status == "failed"'),
        **dict.fromkeys(("retries", "tries", "attempt"), "attempts"),
        **dict.fromkeys(("elapsed", "seconds", "time", "took", "latency"), "duration"),
        **dict.fromkeys(("waited", "wait"), "permit_wait"),
        **dict.fromkeys(("input", "item", "arguments", "inputs"), "args"),
        **dict.fromkeys(("fn", "func", "function", "callable", "task"), "operation"),
        **dict.fromkeys(("return_value", "output", "data", "unwrap"), "value"),
    },
    "BatchExecutor": {
        **dict.fromkeys(("close", "join", "stop", "terminate", "wait"), "shutdown()"),
        **dict.fromkeys(("gather", "run_all", "execute_all"), "execute_batch() and run()"),
        **dict.fromkeys(("imap", "imap_unordered", "as_completed"), "stream() and map()"),
        **dict.fromkeys(("apply_async", "map_async", "spawn"), "submit()"),
        **dict.fromkeys(("apply", "call"), "execute()"),
        **dict.fromkeys(("starmap", "amap"), "execute_batch() of functools.partial objects"),
    },
    "RateLimiter": {
        **dict.fromkeys(("wait", "consume", "hit", "take", "limit_reached"), "acquire()"),
        **dict.fromkeys(("try_wait", "test", "check", "allow", "acquire_nowait"), "try_acquire()"),
        **dict.fromkeys(("get_wait_time", "time_until", "retry_after"), "wait_time()"),
        **dict.fromkeys(("rate", "calls", "max_calls", "max_rate"), "limit"),
        **dict.fromkeys(("period", "interval", "time_period", "window"), "per"),
        **dict.fromkeys(("sleep", "block", "backoff"), "pause()"),
        **dict.fromkeys(("set_limit", "set_rate", "resize"), "update()"),
        "release": "acquire(): a permit is spent, and comes back by itself when its window is over",
        "map": "BatchExecutor, which has the limiter as rate_limiter",
    },
    "BatchReport": {
        **dict.fromkeys(("results", "outputs", "successes", "result"), "values()"),
        **dict.fromkeys(("errors", "exceptions", "failed", "failure"), "failures"),
        **dict.fromkeys(("done", "succeeded", "completed"), 'counts["done"]'),
        **dict.fromkeys(("total", "count"), "len(report)"),
        **dict.fromkeys(("duration", "seconds", "time", "took"), "elapsed"),
        **dict.fromkeys(("waited", "wait"), "permit_wait"),
        **dict.fromkeys(("raise_for_status", "raise_on_error"), "raise_for_failures()"),
        **dict.fromkeys(("summary", "stats", "describe"), "explain(), or counts"),
        **dict.fromkeys(("rows", "to_dict", "to_dicts", "to_list", "to_dataframe"), "to_rows()"),
        **dict.fromkeys(("outcomes", "items"), "the report itself, a sequence of outcomes"),
        **dict.fromkeys(("wait_for_running", "join"), "settle()"),
    },
}


def missing(class_name: str, name: str) -> str:
    """Return what the ``AttributeError`` says where there is no attribute of that name."""
    message = f"{class_name!r} object has no attribute {name!r}"
    instead = _ATTRIBUTES[class_name].get(name)
    return f"{message}: see {instead}" if instead else message


def combined_by(operator: str) -> str:
    """Return what the ``TypeError`` says where limiters are combined by that operator."""
    return (
        f"limiters are not combined by {operator}: write one & another for limits that both hold, "
        "and RateLimiter(2 * limit, per=...) for twice as much"
    )


# The arguments of what is public.
PARAMETERS = {
    name: names.split()
    for name, names in {
        "BatchExecutor": "rate_limiter max_workers on_error retry thread_name_prefix initializer "
        "initargs",
        "execute_batch": "operations timeout max_failures on_error",
        "run": "operations timeout max_failures",
        "stream": "operations ordered buffersize timeout max_failures",
        "map": "fn timeout chunksize buffersize",
        "execute": "operation",
        "submit": "fn",
        "shutdown": "wait cancel_futures",
        "Retry": "attempts on also statuses backoff max_backoff jitter retry_after on_result "
        "observe default_pause max_pause longer budget",
        "RateLimiter": "limit per burst margin adaptive shared when_lost",
        "Outcome": "index status value exception attempts permit_wait started_at duration "
        "operation",
        "BatchReport": "outcomes ended_by elapsed paused max_workers",
    }.items()
}


def refuse(name: str, more: Collection[object], unknown: Collection[str]) -> Never:
    """Raise a ``TypeError`` that says what to write instead.

    Args:
        name: Of what was called: ``"RateLimiter"``, ``"run"``.
        more: What was given by position and has no place.
        unknown: The names of arguments that it does not have.
    """
    for word in unknown:
        advice = _advice(name, word)
        raise TypeError(f"{name}() got an unexpected keyword argument {word!r}: {advice}")
    given = ", ".join(_kind(value) for value in more)
    advice = _BY_POSITION.get(name) or f"give it by name: {_listed(PARAMETERS[name])}"
    raise TypeError(f"{name}() got more than it takes by position ({given}): {advice}")


def _kind(value: object) -> str:
    return type(value).__name__


def _advice(name: str, word: str) -> str:
    own = PARAMETERS[name]
    meant = (*_PEERS.get(word, ()), word)
    for each in meant:
        if each in own:
            return f"write {_WRITTEN.get(each, f'{each}=...')}"
    if word in _INSTEAD:
        return _INSTEAD[word]
    import difflib  # noqa: PLC0415 - a mistake may take its time, the first import may not

    if close := difflib.get_close_matches(word, own, 1, 0.75):
        return f"did you mean {close[0]}?"
    for each in reversed(meant):
        owners = [f"{owner}()" for owner, names in PARAMETERS.items() if each in names]
        if owners:
            return f"{each} is an argument of {_listed(owners)}"
    return f"it takes {_listed(own)}"


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def operations_instead(given: object) -> str:
    """Return what to write in the place of what is no iterable of operations."""
    if hasattr(given, "__aiter__"):
        return "; an async iterable has to be read by an event loop first"
    if isinstance(given, Callable):  # type: ignore[arg-type]
        return "; for one operation write [operation], or execute(operation) for its value"
    return "; write [functools.partial(fn, item) for item in items]"


def map_instead(fn: Any, iterables: Collection[Any]) -> str | None:
    """Return what to write where ``map`` was given something else than a function and iterables."""
    if not callable(fn) and any(map(callable, iterables)):
        return "map() takes the function first: write map(fn, items)"
    for each in iterables:
        try:
            iter(each)
        except TypeError:
            kind = _kind(each)
            return f"map() takes iterables after fn, not {kind}: for one call write map(fn, [item])"
    return None


# What other limiters are asked by.
_ASKED_BY = ("try_acquire", "acquire_async", "hit", "consume", "wait", "limit", "ratelimit")


def limiter_instead(given: object) -> str:
    """Return what to write in the place of what is no limiter."""
    if isinstance(given, str | int | float):
        return write_rate(given, 60)
    if isinstance(given, list | tuple):
        return "; limits that hold at the same time are combined with &, as in one & another"
    if names := [name for name in _ASKED_BY if callable(getattr(given, name, None))]:
        return (
            f"; it has {names[0]}(): write RateLimiter(200, per=60) for the same limit, or pass an "
            "object whose acquire() calls that and returns when there is a permit"
        )
    return "; write RateLimiter(200, per=60) for 200 a minute"


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
# Compiled where somebody has made the mistake.
_RATE = r"(?i)\s*(\d[\d_]*)\s*(?:/|per|a|an|each|every)\s*([smhd])[a-z]*\s*"
# Beyond these nobody means a rate.
_LEAST, _MOST = 1e-3, 1e15
_EXAMPLE = "; write RateLimiter(200, per=60) for 200 a minute"


def write_rate(limit: object, per: object) -> str:
    """Return how a rate is written that was given in another way, such as ``"200/min"``."""
    unit = per if isinstance(per, str) else ""
    if isinstance(limit, str) and (read := re.fullmatch(_RATE, limit)):
        limit, unit = int(read[1]), read[2]
    seconds = per.total_seconds() if isinstance(per, timedelta) else per
    if per is None or unit:
        seconds = _UNITS.get(unit.strip().lower()[:1], 1)
    if not (_is_number(limit) and _is_number(seconds)):
        return _EXAMPLE
    from fractions import Fraction  # noqa: PLC0415 - as above

    # As few permits as make the same rate.
    exact = Fraction(limit).limit_denominator(10_000)
    return f"; write RateLimiter({exact.numerator}, per={seconds * exact.denominator:g})"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and _LEAST < value < _MOST
