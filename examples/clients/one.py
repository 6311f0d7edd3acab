"""Runs one case in all its modes, in this process, and prints a line of JSON for each.

python -m clients.one NAME [MODE ...]
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from typing import Any

from .case import Case, load
from .modes import MODES, OFF, answer
from .recorder import NoEndError, Recorder
from .server import RefusingServer
from .shapes import find


def modes_of(case: Case) -> list[str]:
    """Return the names of the modes that a case is run in."""
    names = [*MODES, OFF] if case.switchable else [*MODES]
    return [name for name in names if name not in case.skip]


def run(case: Case, mode: str, server: Any, recorder: Recorder) -> dict[str, Any]:
    """Let the client be answered in one way, and tell what it did."""
    how = MODES["seconds" if mode == OFF else mode]
    vendor = case.vendor if mode == "vendor" else None
    reply = answer(how, vendor, case.body) if how.status else None
    if case.grpc:
        server.reset(mode)
    else:
        server.reset(reply, case.open)
    recorder.reset(impatient=mode == "timeout")
    options = {"off": mode == OFF} if case.switchable else {}
    found: dict[str, Any] = {"case": case.name, "mode": mode}
    try:
        value = case.call(server.url, **options)
    except NoEndError:
        found |= {"end": "no end"}
    except Exception as error:  # noqa: BLE001 - that is what is looked at
        date = server.last_headers.get("Retry-After") if mode == "date" else None
        found |= {"end": "raised", **judge(error, how.wait, date)}
    else:
        found |= {"end": "returned", **judge_value(value)}
    asked = list(server.requests)
    found |= {"requests": len(asked), "slept": round(sum(recorder.slept), 2), "paths": asked[:3]}
    return found


def judge(error: Exception, wait: int | None, date: str | None) -> dict[str, Any]:
    """Ask paceline, and look for oneself."""
    from paceline import Retry  # noqa: PLC0415 - after the clocks were replaced

    verdict = Retry(max_pause=10**9).decide(error)
    statuses, waits = find(error, wait, date)
    return {
        "raised": chain(error),
        "text": str(error)[:300],
        "throttled": verdict.throttled,
        "again": verdict.again,
        "wait": verdict.wait,
        "status_at": statuses,
        "wait_at": waits,
    }


def judge_value(value: Any) -> dict[str, Any]:
    """Ask paceline what it makes of a value that came back."""
    from paceline import BatchExecutor, Retry  # noqa: PLC0415 - as above

    kind = type(value)
    found = {"returned": f"{kind.__module__}.{kind.__qualname__}", "throttled": False}
    retry = Retry(attempts=1)
    with BatchExecutor(None, 1, retry=retry) as executor:
        outcome = executor.run([lambda: value])[0]
    if outcome.exception is not None:
        verdict = retry.decide(outcome.exception)
        found |= {"throttled": verdict.throttled, "again": verdict.again, "wait": verdict.wait}
    return found


def chain(error: BaseException) -> str:
    """Return the classes of an exception and its causes."""
    names = []
    link: BaseException | None = error
    while link is not None and len(names) < 4:  # noqa: PLR2004 - enough to know it by
        names.append(f"{type(link).__module__}.{type(link).__qualname__}")
        link = link.__cause__
    return " from ".join(names)


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("name")
    parser.add_argument("modes", nargs="*")
    parser.add_argument("--nowhere-else", action="store_true", help="leave other addresses alone")
    options = parser.parse_args()
    case = load()[options.name]
    warnings.simplefilter("ignore")
    recorder = Recorder()
    server: Any
    if case.grpc:
        from .grpc_server import RefusingGrpcServer  # noqa: PLC0415 - needs grpcio

        server = RefusingGrpcServer()
    else:
        server = RefusingServer()
        if not options.nowhere_else:
            server.be_everywhere()
    recorder.install()
    for mode in options.modes or modes_of(case):
        print(json.dumps(run(case, mode, server, recorder)), flush=True)
    sys.stdout.flush()
    # Clients leave threads behind that need not be waited for.
    import os  # noqa: PLC0415

    os._exit(0)


if __name__ == "__main__":
    main()
