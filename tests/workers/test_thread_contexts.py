"""Threads of the package begin in an empty context, whoever made them start."""

from __future__ import annotations

import pytest
from childprocess import run_script

# With this, Python 3.14 and newer start threads in the context of whoever starts them. The versions
# before take no notice of it, and do the same by what follows.
OPTION = ["-X", "thread_inherit_context=1"]
INHERITING = """
import contextvars, threading

if not getattr(sys.flags, "thread_inherit_context", False):
    class Thread(threading.Thread):
        def __init__(self, *args, context=None, **kwargs):
            super().__init__(*args, **kwargs)
            self.given = context

        def start(self):
            self.context = contextvars.copy_context() if self.given is None else self.given
            super().start()

        def run(self):
            self.context.run(super().run)

    threading.Thread = Thread
"""

SCRIPT = """
import gc, logging, weakref
from paceline import BatchExecutor, Retry

request = contextvars.ContextVar("request", default=None)
seen = []

def fails():
    raise ValueError

class Foreign:
    def acquire(self):
        seen.append(("limiter", request.get()))

class Handler(logging.Handler):
    def emit(self, record):
        seen.append(("log", request.get()))

class Value:
    pass

logging.getLogger("paceline").addHandler(Handler())
executor = BatchExecutor(
    {limiter}, max_workers=1, retry=Retry(2, on=lambda error: seen.append(("on", request.get())))
)
value = Value()

def first(value):
    request.set(value)
    executor.run([fails])
    assert seen and all(it[1] in (value, None) for it in seen), seen
    list(executor.stream([fails]))

contextvars.copy_context().run(first, value)
seen.clear()
# A caller without variables: nobody sees those of the one before.
executor.run([fails])
list(executor.stream([fails]))
assert executor.submit(request.get).result() is None
assert any(kind == "on" for kind, _ in seen), seen
assert all(it is None for _, it in seen), seen
# An idle worker does not keep what the caller had.
gone = weakref.ref(value)
del value
seen.clear()
gc.collect()
assert gone() is None
"""


@pytest.mark.every_python
@pytest.mark.parametrize("limiter", ["None", "Foreign()"])
def test_nobody_sees_the_variables_of_another_caller(python: str, limiter: str) -> None:
    script = INHERITING + SCRIPT.format(limiter=limiter)
    run_script(script, python=python, options=OPTION).assert_silent()


@pytest.mark.every_python
def test_a_worker_has_no_variables_of_its_own(python: str) -> None:
    run_script(
        INHERITING
        + """
from paceline import BatchExecutor
contextvars.ContextVar("request").set("A")
found = []
executor = BatchExecutor(
    max_workers=2, initializer=lambda: found.append(len(contextvars.copy_context()))
)
executor.execute(int)
executor.shutdown()
assert found == [0], found
""",
        python=python,
        options=OPTION,
    ).assert_silent()
