"""Runs scripts that fork."""

from __future__ import annotations

import textwrap

from childprocess import Ended, run_script

PREAMBLE = """
import functools, gc, itertools
from paceline import BatchExecutor, RateLimiter

def in_child(job, seconds=20):
    '''Forks; the child runs `job` and exits with 0 if it returns, by SIGALRM if it hangs.'''
    pid = os.fork()
    if pid:
        return pid
    signal.alarm(seconds)
    status = 1
    try:
        job()
        status = 0
    except BaseException:
        import traceback
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)

def join(pid):
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == 0, f"the child ended with {status}"
"""


def run_forking(script: str, *, dev: bool = False, timeout: float = 40) -> Ended:
    return run_script(PREAMBLE + textwrap.dedent(script), dev=dev, timeout=timeout).assert_silent()
