"""Operations that wait for others of their executor, thousands deep, end by an exception."""

from __future__ import annotations

import sys

import pytest
from childprocess import run_script

SCRIPT = """
from functools import partial
from paceline import BatchExecutor

sys.setrecursionlimit(1_000_000)
{setting}
executor = BatchExecutor({limiter}max_workers=1)
deepest = 0

def check(outcome):
    if outcome.exception is not None:
        raise outcome.exception

def nest(level):
    global deepest
    deepest = level
    if level < 2500:
        {way}

def outermost():
    try:
        nest(0)
    except BaseException as error:
        return error

error = executor.submit(outermost).result()
while isinstance(error, ExceptionGroup):
    (error,) = error.exceptions
print(deepest)
assert deepest == 2500 or isinstance(error, RecursionError), error
assert executor.execute_batch([int] * 5) == [0] * 5
executor.shutdown()
"""

WAYS = {
    "execute": "executor.execute(partial(nest, level + 1))",
    "execute_batch": "executor.execute_batch([partial(nest, level + 1)], on_error='raise')",
    "run": "executor.run([partial(nest, level + 1)]).raise_for_failures()",
    "stream": "[check(it) for it in executor.stream([partial(nest, level + 1)])]",
    "map": "list(executor.map(nest, [level + 1]))",
    "submit": "executor.submit(nest, level + 1).result()",
}


@pytest.mark.every_python
@pytest.mark.parametrize("way", WAYS)
def test_it_raises(way: str, python: str) -> None:
    script = SCRIPT.format(way=WAYS[way], setting="", limiter="")
    ended = run_script(script, python=python, timeout=50).assert_silent()
    if python == sys.executable:
        assert int(ended.stdout) > 200


@pytest.mark.parametrize("kilobytes", [256, 1024])
def test_a_small_stack(kilobytes: int) -> None:
    setting = f"threading.stack_size({kilobytes} * 1024)"
    script = SCRIPT.format(way=WAYS["execute"], setting=setting, limiter="")
    ended = run_script(script, timeout=50).assert_silent()
    assert int(ended.stdout) > 10


def test_a_limiter_of_another_make() -> None:
    setting = "class Foreign:\n    def acquire(self): pass"
    script = SCRIPT.format(way=WAYS["submit"], setting=setting, limiter="Foreign(), ")
    run_script(script, timeout=50).assert_silent()
