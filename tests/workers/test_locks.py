"""No lock of ours is held while Python code runs: the collector takes them, and may run anywhere.

Whatever is done with an operation, a value or an exception here runs the collector, and so does
every allocation; another thread runs it as well. A lock held meanwhile would never be had.
"""

from __future__ import annotations

from textwrap import dedent, indent

import pytest
from childprocess import run_script

SCRIPT = """
import gc, itertools
from functools import partial
from paceline import BatchExecutor, RateLimiter, Retry

collections = 0
class Restless:
    # Whatever is done with one runs the collector, and so does what is not to be found.
    def __getattribute__(self, name):
        gc.collect()
        return object.__getattribute__(self, name)
    def __getattr__(self, name):
        gc.collect()
        raise AttributeError(name)
    def __eq__(self, other):
        gc.collect()
        return self is other
    def __hash__(self):
        gc.collect()
        return 1
    def __bool__(self):
        gc.collect()
        return True
    def __repr__(self):
        gc.collect()
        return "Restless()"
    def __call__(self, *args, **kwargs):
        gc.collect()
        return Restless()
    def method(self, *args):
        return Restless()
    def __del__(self):
        gc.collect()

class Failure(Restless, Exception):
    def __str__(self):
        gc.collect()
        return "failure"

class OddPartial(partial):
    func = property(lambda self: gc.collect())
    def __getattr__(self, name):
        gc.collect()
        raise AttributeError(name)

def plain(*args, **kwargs):
    return Restless()

def fails(*args, **kwargs):
    raise Failure("failed")

def given(failing):
    last = fails if failing else plain
    attributed = partial(plain, 1)
    attributed.extra = Restless()
    kinds = [
        lambda: Restless(),
        lambda: partial(Restless(), Restless()),
        lambda: partial(Restless().method, 1),
        lambda: Restless().method,
        lambda: OddPartial(plain, 1),
        lambda: partial(partial(plain, key=1), Restless()),
        lambda: attributed,
        lambda: partial(plain, Restless()),
        lambda: partial(last, Restless()),
        lambda: last,
    ]
    for index in range(60):
        yield kinds[index // 3 % len(kinds)]()

def batch(failing=False):
    return list(given(failing))

class Limiter(Restless):
    def acquire(self):
        gc.collect()
        return True

executor = BatchExecutor({limiter}, max_workers=3, retry={retry})

def seen(phase, info):
    # This is code of anybody's, which looks at ours as well.
    global collections
    collections += phase == "start"
    repr(executor)
    sum(range(20))
gc.callbacks.append(seen)
over = False
def collect():
    while not over:
        gc.collect()
        time.sleep(0.0005)
thread = threading.Thread(target=collect)
gc.freeze()
sys.setswitchinterval(1e-5)
thread.start()
gc.set_threshold(1)
def expect(length, items):
    assert len(items) == length, (length, len(items))
def raises(kind, call):
    try:
        call()
    except kind as error:
        return error
    raise AssertionError(f"no {{kind}}")
try:
{verb}
    executor.shutdown()
finally:
    gc.set_threshold(700)
    over = True
    thread.join()
    gc.callbacks.clear()
assert collections > 50, collections
"""

VERBS = {
    "execute": """
        for operation in given(False):
            executor.execute(operation)
        raises(Failure, lambda: executor.execute(fails))
    """,
    "execute_batch": """
        expect(60, executor.execute_batch(batch()))
        expect(60, executor.execute_batch(batch(True)))
        expect(60, executor.execute_batch(given(True), on_error="return"))
        raises(Failure, lambda: executor.execute_batch(batch(True), on_error="raise"))
        raises(Failure, lambda: executor.execute_batch(given(True), on_error="raise"))
    """,
    "run": """
        report = executor.run(given(True))
        expect(60, report)
        expect(len(report.failures), [each.operation for each in report.failures])
        raises(ExceptionGroup, report.raise_for_failures)
        raises(ExceptionGroup, lambda: executor.run(batch(True), max_failures=3))
        raises(ExceptionGroup, lambda: executor.run(given(True), max_failures=3))
    """,
    "stream": """
        expect(60, [each.operation for each in executor.stream(given(True))])
        expect(60, list(executor.stream(given(True), ordered=True, buffersize=4)))
        expect(60, list(executor.stream(batch(True))))
        raises(ExceptionGroup, lambda: list(executor.stream(given(True), max_failures=3)))
        with executor.stream(given(True)) as outcomes:
            next(outcomes)
        expect(1, [next(executor.stream(given(False)))])
        mixed = itertools.chain(given(True), [3])
        raises(TypeError, lambda: list(executor.stream(mixed)))
    """,
    "map": """
        values = [Restless() for _ in range(50)]
        expect(50, list(executor.map(plain, values)))
        expect(50, list(executor.map(Restless(), values, buffersize=3)))
        raises(Failure, lambda: list(executor.map(fails, values)))
    """,
    "submit": """
        futures = [executor.submit(operation) for operation in given(True)]
        expect(60, [future.exception() is None for future in futures])
        futures = [executor.submit(operation) for operation in given(False)]
        executor.shutdown(wait=False, cancel_futures=True)
    """,
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("limiter", "retry"),
    [
        ("None", "None"),
        ("RateLimiter(10**6, per=1)", "Retry(2, on=lambda error: True, backoff=0.001)"),
        ("Limiter()", "None"),
    ],
    ids=["none", "ours-retry", "foreign"],
)
def test_the_collector_may_run_anywhere(verb: str, limiter: str, retry: str) -> None:
    body = indent(dedent(VERBS[verb]), "    ")
    script = SCRIPT.format(limiter=limiter, retry=retry, verb=body)
    run_script(script, timeout=50).assert_silent()
