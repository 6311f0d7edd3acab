"""A process has one interpreter that uses the package, whatever others it makes."""

from __future__ import annotations

from childprocess import run_script

BESIDE_ANOTHER = """
import functools
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters  # as it was called before Python 3.13
import paceline

print = functools.partial(print, flush=True)
executor = paceline.BatchExecutor(max_workers=2)
print(executor.execute(lambda: "before"))
other = interpreters.create()
interpreters.run_string(
    other,
    '''if True:
    try:
        import paceline
    except ImportError:
        print("refused", flush=True)
    ''',
)
if {destroy}:
    interpreters.destroy(other)
print(executor.execute(lambda: "after"))
print(paceline.RateLimiter(5, per=1).acquire())
"""


def test_another_interpreter_cannot_import_it_and_harms_nobody() -> None:
    for destroy in (True, False):
        ended = run_script(BESIDE_ANOTHER.format(destroy=destroy), timeout=15).assert_silent()
        assert ended.stdout.split() == ["before", "refused", "after", "True"]


ONLY_IN_ANOTHER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters  # as it was called before Python 3.13
other = interpreters.create()
interpreters.run_string(
    other,
    '''if True:
    try:
        import paceline
    except ImportError:
        pass  # Python 3.12 and newer refuse it where an interpreter has a lock of its own
    ''',
)
"""


def test_another_interpreter_that_has_imported_it_does_not_keep_the_process() -> None:
    """It ends when the process does: then whoever lets go of Python does not come back."""
    run_script(ONLY_IN_ANOTHER, timeout=15).assert_silent()
