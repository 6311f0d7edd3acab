"""Paceline beside the other ways to do the same, all in one run.

python benches/compare.py                 every row
python benches/compare.py noop-5 paced    the rows named
python benches/compare.py --rounds 10     more rounds
python benches/compare.py --list          the names
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable

import arrivals
import asynchronous
import batches
import futures
import limiters
import loopback
import refusals
import servers
import sharing
import startup
import streams
from measuring import Target

ROWS: dict[str, Callable[[int], list[Target]]] = {
    "import": startup.importing,
    "fresh": startup.fresh,
    "noop-5": batches.noop_5,
    "noop-32": batches.noop_32,
    "retry": batches.retry_cost,
    "other-limiter": batches.other_limiter,
    "python-work": batches.python_work,
    "sleep-50": batches.sleep_50,
    "sleep-500": batches.sleep_500,
    "submitted": futures.submitted,
    "stream-speed": streams.stream_speed,
    "stream-memory": streams.stream_memory,
    "batch-memory": streams.batch_memory,
    "acquire": limiters.acquire_cost,
    "acquire-contended": limiters.acquire_contended,
    "shared-acquire": sharing.shared_acquire,
    "shared-contended": sharing.shared_contended,
    "shared-server": servers.shared_server,
    "paced": limiters.paced,
    "async-batch": asynchronous.async_batch,
    "async-permits": asynchronous.async_permits,
    "loopback": loopback.loopback,
    "arrivals": arrivals.arrivals,
    "outage": refusals.outage,
    "lockout": refusals.lockout,
}


def main() -> int:
    """Run the rows asked for; 1 if a target was missed and ``--strict`` was given."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows; all by default")
    parser.add_argument("--rounds", type=int, default=5, help="rounds of each row (default 5)")
    parser.add_argument("--list", action="store_true", help="list the rows and leave")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    arguments = parser.parse_args()
    if arguments.list:
        for name, row in ROWS.items():
            print(f"{name:20}{(row.__doc__ or '').splitlines()[0]}")
        return 0
    unknown = [name for name in arguments.rows if name not in ROWS]
    if unknown:
        parser.error(f"no such row: {', '.join(unknown)}; --list names them")
    print(
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"{os.cpu_count()} processors, {platform.system()}"
    )
    began = time.monotonic()
    targets: list[Target] = []
    for name in arguments.rows or ROWS:
        row = ROWS[name]
        print(f"\n{name}: {(row.__doc__ or '').splitlines()[0]}")
        found = row(arguments.rounds)
        targets += found
        for target in found:
            print(target, flush=True)
    missed = [target for target in targets if not target.met]
    print(
        f"\n{len(targets) - len(missed)} of {len(targets)} targets met, "
        f"{time.monotonic() - began:.0f} s"
    )
    return 1 if missed and arguments.strict else 0


if __name__ == "__main__":
    sys.exit(main())
