"""What a forked child inherits of its parent's work answers at once, with one error or well."""

from __future__ import annotations

import os
import textwrap

import pytest
from childprocess import run_script

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")

# Every public method of every object, and every way in through the language, is tried by a child
# that was forked while threads of the parent use the same objects: whatever lock is held then.
SCRIPT = """
import concurrent.futures, copy, gc, itertools, operator, random
from paceline import BatchExecutor, RateLimiter, Retry

random.seed({seed})
def failed(*error):
    sys.__excepthook__(*error)
    sys.stderr.flush()
    os._exit(1)
sys.excepthook = failed
sys.setswitchinterval(1e-5)
parent = os.getpid()

class Foreign:
    def acquire(self):
        time.sleep(0.0001)

def work(n=0):
    time.sleep(random.random() / 500)
    if n % 7 == 6:
        raise ValueError(n)
    return os.getpid()

limiter = {limiter}
executor = BatchExecutor(limiter, max_workers=6, retry=Retry(2, on=ValueError, backoff=0))
def operations():
    return (lambda n=n: work(n) for n in itertools.count())

streams = [executor.stream(operations()) for _ in range(2)]
streams.append(executor.stream(operations(), ordered=True, buffersize=3))
streams.append(executor.stream([work] * 10**5))
mapped = executor.map(lambda n: work(0), itertools.count(), buffersize=4)
pending = executor.submit(time.sleep, 600)
queued = [executor.submit(work) for _ in range(3)]
finished = executor.submit(os.getpid)
assert finished.result(20) == parent
for stream in streams:
    next(stream)
next(mapped)
try:
    executor.run([lambda: time.sleep(600)], timeout=0.05)
except TimeoutError as error:
    report = error.batch_report

def consume(take):
    while True:
        take()

def endless_batches():
    while True:
        executor.execute_batch([work] * 20)

def endless_calls():
    while True:
        executor.submit(work).cancel()

takers = [lambda it=it: next(it) for it in streams]
takers += [lambda: next(mapped), lambda: report.settle(timeout=0.001), lambda: len(streams[3])]
takers += [lambda: concurrent.futures.wait([pending], timeout=0.001), pending.done]
for take in takers:
    threading.Thread(target=consume, args=(take,), daemon=True).start()
for job in (endless_batches, endless_calls):
    threading.Thread(target=job, daemon=True).start()

def public(thing):
    names = [name for name in dir(thing) if not name.startswith("_")]
    return [name for name in names if callable(getattr(type(thing), name, None))]

INTERNAL = ["pending.settle", "queued.settle"]
ARGUMENTS = {{
    "add_done_callback": (repr,), "count": (1,), "index": (1,),
}}

def ways(name, thing):
    for method in public(thing):
        if method == "plot" or method.startswith("set_") or f"{{name}}.{{method}}" in INTERNAL:
            # That draws; those are for executors.
            continue
        call = lambda method=method: getattr(thing, method)(*ARGUMENTS.get(method, ()))
        yield f"{{name}}.{{method}}", call
    yield f"repr({{name}})", lambda: repr(thing)
    yield f"next({{name}})", lambda: next(thing)
    yield f"list({{name}})", lambda: list(itertools.islice(thing, 3))
    yield f"length_hint({{name}})", lambda: operator.length_hint(thing)
    yield f"bool({{name}})", lambda: bool(thing)
    yield f"with {{name}}", lambda: thing.__enter__() and thing.__exit__(None, None, None)
    yield f"copy({{name}})", lambda: copy.copy(thing)

def child():
    things = {{f"stream{{n}}": it for n, it in enumerate(streams)}}
    things |= {{"map": mapped, "pending": pending, "queued": queued[-1], "report": report}}
    every = [way for name, thing in things.items() for way in ways(name, thing)]
    every += [
        ("wait", lambda: concurrent.futures.wait([pending, executor.submit(int)])),
        ("as_completed", lambda: list(concurrent.futures.as_completed([pending]))),
        ("stream.report", streams[0].report),
        ("gc", gc.collect),
    ]
    random.shuffle(every)
    for name, call in every:
        began = time.monotonic()
        signal.alarm(10)
        asked[:] = [name]
        try:
            answer = call()
        except RuntimeError as error:
            told = "belongs to the process that this one was forked from" in str(error)
            assert told or name.startswith("report.") and name != "report.settle", (name, error)
        except (StopIteration, TypeError, AttributeError, ValueError):
            # It has no such way, or has ended; a generator may run in the parent just now.
            assert name.partition("(")[0] in ("next", "list", "length_hint", "bool", "copy") or (
                name.partition(" ")[0] == "with" or "map" in name or "report" in name
            ), name
        else:
            if name == "list(map)" and answer == []:
                # A generator that has raised the error once has ended.
                continue
            if name.startswith(("next(stream", "list(stream", "next(map", "list(map")):
                raise AssertionError(f"{{name}} gave {{answer!r}}")
    assert finished.result() == parent
    assert finished.done() and not finished.cancel()
    assert executor.execute_batch([os.getpid] * 5) == [os.getpid()] * 5
    assert executor.submit(os.getpid).result(10) == os.getpid()
    streams.clear()
    gc.collect()
    executor.shutdown()

asked = []
def hung(*_):
    os.write(2, f"{{asked}} hangs\\n".encode())
    os._exit(3)

deadline = time.monotonic() + 25
for number in range(40):
    if number > 5 and time.monotonic() > deadline:
        break
    time.sleep(random.random() / 100)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.signal(signal.SIGALRM, hung)
            child()
            status = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
os._exit(0)
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "limiter",
    [
        pytest.param("None", marks=pytest.mark.long),
        "RateLimiter(10**6, per=1)",
        pytest.param("Foreign()", marks=pytest.mark.long),
    ],
)
def test_every_way_in(limiter: str, seed: int) -> None:
    script = textwrap.dedent(SCRIPT).format(limiter=limiter, seed=seed)
    run_script(script, timeout=100).assert_silent()


def test_a_stream_does_not_hand_the_parents_outcomes_over_once_more() -> None:
    ended = run_script(
        """
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        outcomes = executor.stream([os.getpid] * 50)
        next(outcomes)
        time.sleep(0.1)
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            try:
                next(outcomes)
            except RuntimeError as error:
                print(error, flush=True)
            os._exit(0)
        assert os.waitpid(pid, 0)[1] == 0
        assert len(list(outcomes)) == 49
        """
    ).assert_silent()
    assert "belongs to the process that this one was forked from" in ended.stdout


def test_a_child_may_wait_for_inherited_futures_that_have_ended() -> None:
    run_script(
        """
        from concurrent.futures import as_completed, wait
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        ended = [executor.submit(int) for _ in range(3)]
        wait(ended)
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            for _ in range(2):
                assert set(as_completed(ended)) == set(ended)
                its_own = executor.submit(time.sleep, 0.01)
                assert [*as_completed([*ended, its_own])][-1] is its_own
                assert wait([*ended, executor.submit(int)]).not_done == set()
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """
    ).assert_silent()


@pytest.mark.parametrize("wait", ["inspect", "linecache"])
def test_a_child_does_not_wait_for_an_import_of_the_parents(wait: str) -> None:
    """What the package imports when it needs it, another thread may be about to import."""
    run_script(
        f"""
        from paceline import BatchExecutor
        executor = BatchExecutor(max_workers=2)
        begun = threading.Event()
        class Slow:
            def find_spec(self, name, *_):
                if name == {wait!r} and not begun.is_set():
                    begun.set()
                    time.sleep(0.3)
        for name in ("inspect", "linecache"):
            sys.modules.pop(name, None)
        sys.meta_path.insert(0, Slow())
        class Operation:
            def __call__(self):
                return 1
        threading.Thread(target=executor.execute, args=(Operation(),)).start()
        assert begun.wait(10)
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            executor.execute(Operation())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """
    ).assert_silent()


@pytest.mark.parametrize("wait", ["policy", "words"])
def test_a_child_does_not_wait_for_another_threads_first_use_of_retry(wait: str) -> None:
    run_script(
        f"""
        import paceline
        begun = threading.Event()
        class Slow:
            def find_spec(self, name, *_):
                if name == "paceline.retry.{wait}" and not begun.is_set():
                    begun.set()
                    time.sleep(0.3)
        sys.meta_path.insert(0, Slow())
        def first():
            return paceline.Retry(2)
        threading.Thread(target=first).start()
        assert begun.wait(10)
        pid = os.fork()
        if pid == 0:
            signal.alarm(10)
            with paceline.BatchExecutor(retry=paceline.Retry(2)) as executor:
                executor.execute(int)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        """
    ).assert_silent()
