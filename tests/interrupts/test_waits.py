"""A signal ends the wait of a verb, whichever it is, whatever it waits for, whoever handles it."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import Any

import pytest
from childprocess import run_script
from interrupting import VERBS

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")


@dataclass(frozen=True)
class Moment:
    """What a verb waits for when the signal comes."""

    made: str
    operations: str
    begun: tuple[str, ...]
    """What the report says of the operations that have begun."""
    size: int | None
    """How many operations have been read by then; None where that is not said."""


TWO_RUN = ("running", "running")
FREE_WORKERS = Moment("BatchExecutor(max_workers=2)", "[work] * 200", TWO_RUN, 200)

# With a limiter that grants two, a third worker is free, and what is waited for is a permit.
MOMENTS = {
    "running operations": Moment(
        "BatchExecutor(max_workers=4)", "[work] * 4", (*TWO_RUN, *TWO_RUN), 4
    ),
    "our permits": Moment(
        "BatchExecutor(RateLimiter(2, per=600), max_workers=3)", "[work] * 50", TWO_RUN, 50
    ),
    "foreign permits": Moment(
        "BatchExecutor(Foreign(), max_workers=3)", "[work] * 50", TWO_RUN, 50
    ),
    "a lock of the limiter": Moment(
        "BatchExecutor(Permits(2), max_workers=3)", "[work] * 50", TWO_RUN, 50
    ),
    "the input": Moment("BatchExecutor(max_workers=4)", "slow_input()", TWO_RUN, 2),
}

SIGNALS = {"SIGINT": "KeyboardInterrupt", "SIGUSR1": "Alarm"}
LISTS = ["execute_batch", "run", "stream", "map"]
TABLE = [
    (verb, moment, signum)
    for verb in LISTS
    for moment in MOMENTS
    for signum in SIGNALS
    # `map` reads its input first, and an exception while the input is read is the input's.
    if moment != "the input" or (verb != "map" and signum == "SIGINT")
]
PROMISED = 0.1
"""Seconds in which a verb ends after a signal."""

SCRIPT = """
import itertools, json, logging
from paceline import BatchExecutor, RateLimiter

class Foreign:
    def __init__(self):
        self.calls = 0
    def acquire(self):
        self.calls += 1
        if self.calls > 2:
            time.sleep(600)

class Permits(threading.Semaphore):  # a plain one is refused
    pass

def slow_input():
    yield work
    yield work
    time.sleep(600)

def broken_input():
    yield work
    yield work
    until_started(2)
    raise LookupError("the input is broken")

class Alarm(Exception):
    pass

def handler(signum, frame):
    raise KeyboardInterrupt if signum == signal.SIGINT else Alarm

started, finished = [], []
begun, release = threading.Semaphore(0), threading.Event()

def until_started(count):
    while len(started) < count:
        time.sleep(0.001)

def work():
    started.append(None)
    begun.release()
    release.wait()
    finished.append(None)

def fail():
    until_started(1)
    raise ValueError("first")

class Waiting(logging.Handler):
    def emit(self, record):
        if record.event == "waiting_for_calls":
            begun.release()

logging.getLogger("paceline").addHandler(Waiting())

def send():
    global sent
    # For the operations, and where the end waits already, for the word of that.
    for _ in range(expected):
        begun.acquire()
    time.sleep(0.1)
    sent = time.monotonic()
    os.kill(os.getpid(), signum)

verb, made, operations, signum, expected = sys.argv[1:]
signum, expected = signal.Signals[signum], int(expected)
signal.signal(signum, handler)
executor, operations = eval(made), eval(operations)
verb = compile(verb, "", "eval")
sender = threading.Thread(target=send)
sender.start()
try:
    eval(verb)
except (KeyboardInterrupt, Alarm) as error:
    latency = time.monotonic() - sent
    raised, report = type(error).__name__, getattr(error, "batch_report", None)
    notes = [note for note in getattr(error, "__notes__", []) if note.startswith("paceline: ")]
    del error
else:
    raise AssertionError("nothing was raised")
sender.join()
# What the machine itself takes to wake this thread with a signal, at this moment.
reference = threading.Thread(target=send)
expected = 0
try:
    reference.start()
    time.sleep(600)
except (KeyboardInterrupt, Alarm):
    latency -= time.monotonic() - sent
reference.join()
assert len(finished) == 0, "running operations were waited for"
at_the_end = len(started)
release.set()
executor.shutdown()
assert len(finished) == len(started) == at_the_end, "something was started after the signal"
print(json.dumps({
    "raised": raised,
    "latency": latency,
    "begun": at_the_end,
    "ended_by": report and report.ended_by,
    "indices": report and [outcome.index for outcome in report],
    "statuses": report and [outcome.status for outcome in report],
    "notes": notes,
}))
"""


def signalled(verb: str, moment: Moment, signum: str, *, ending: bool = False) -> dict[str, Any]:
    """What is seen of a verb that got the signal; that which ended soonest, of up to three."""
    seen: list[dict[str, Any]] = []
    while len(seen) < 3 and not (seen and seen[-1]["latency"] < PROMISED):
        expected = str(moment.begun.count("running") + ending)
        ended = run_script(SCRIPT, verb, moment.made, moment.operations, signum, expected)
        seen.append(ended.assert_silent().last_json())
    return min(seen, key=lambda each: each["latency"])


def check(seen: dict[str, Any], moment: Moment, signum: str) -> None:
    assert seen["raised"] == SIGNALS[signum]
    assert seen["latency"] < PROMISED
    assert seen["begun"] == moment.begun.count("running")
    assert seen["ended_by"] == "interrupt"
    # An honest picture of the moment: what runs was not waited for.
    size = len(seen["statuses"])
    assert seen["statuses"] == [*moment.begun, *["not_started"] * (size - len(moment.begun))]
    assert moment.size in (None, size)
    assert seen["indices"] == list(range(size))
    note = seen["notes"][0]  # another one may say how long the end has waited
    assert str(seen["begun"]) in note


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("verb", [verb for verb in VERBS if verb != "result"])
def test_a_signal_ends_the_wait_for_a_worker(verb: str, signum: str) -> None:
    moment = FREE_WORKERS
    if verb == "execute":
        moment = replace(moment, begun=("running",), size=1)
    elif verb in ("endless stream", "map ahead"):
        moment = replace(moment, size=None)
    check(signalled(VERBS[verb], moment, signum), moment, signum)


@pytest.mark.parametrize(("verb", "waiting_for", "signum"), TABLE)
def test_a_signal_ends_any_other_wait(verb: str, waiting_for: str, signum: str) -> None:
    moment = MOMENTS[waiting_for]
    check(signalled(VERBS[verb], moment, signum), moment, signum)


ENDS = {
    "on_error": ("[work, fail, work]", ("running", "failed"), 3),
    "broken input": ("broken_input()", TWO_RUN, 2),
}


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("end", ENDS)
def test_a_signal_ends_the_wait_that_another_early_end_began(end: str, signum: str) -> None:
    operations, begun, size = ENDS[end]
    moment = replace(FREE_WORKERS, operations=operations, begun=begun, size=size)
    verb = "executor.execute_batch(operations, on_error='raise')"
    check(signalled(verb, moment, signum, ending=True), moment, signum)


@pytest.mark.parametrize("signum", SIGNALS)
def test_a_signal_ends_the_wait_for_a_result(signum: str) -> None:
    moment = replace(FREE_WORKERS, begun=("running",))
    seen = signalled(VERBS["result"], moment, signum)
    assert (seen["raised"], seen["begun"]) == (SIGNALS[signum], 1)
    assert seen["latency"] < PROMISED
    assert seen["statuses"] is None
