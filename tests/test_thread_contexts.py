"""Threads of the package begin in an empty context, whoever made them start."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from childprocess import interpreters, run_script

# What Python 3.14 does with threads where it was told to, for the versions before.
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


@pytest.mark.parametrize("limiter", ["None", "Foreign()"])
@pytest.mark.parametrize("python", interpreters(), ids=lambda path: Path(path).parts[-3])
def test_nobody_sees_the_variables_of_another_caller(python: str, limiter: str) -> None:
    script = INHERITING + SCRIPT.format(limiter=limiter)
    options = ["-X", "thread_inherit_context=1"] if python_has_the_option(python) else []
    run_script(script, python=python, options=options).assert_silent()


def python_has_the_option(python: str) -> bool:
    if python == sys.executable:
        return sys.version_info >= (3, 14)
    version = run_script("print(sys.version_info >= (3, 14))", python=python).stdout
    return version.strip() == "True"


def test_a_worker_has_no_variables_of_its_own() -> None:
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
"""
    ).assert_silent()
