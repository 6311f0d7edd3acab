"""Three processes share one limit. One is killed in the middle, and another one takes its place.

Each creates a third of the tenants through the Descope SDK. A stand-in for the Descope API is
started on this machine; it counts what arrives from all of them, and answers 429 as soon as its
limit is overstepped. With a real project, leave `base_url` away.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from descope import DescopeClient

from paceline import BatchExecutor, RateLimiter
from standin import StandIn


def work(settings: str) -> None:
    """Create the tenants that are named: what each of the processes does."""
    url, shared, limit, per, names = json.loads(settings)
    client = DescopeClient("demo", management_key="demo", base_url=url)
    # All that makes the processes share one limit.
    limiter = RateLimiter(limit, per=per, shared=shared)
    operations = [partial(client.mgmt.tenant.create, name, id=name) for name in names]
    with BatchExecutor(limiter, max_workers=3) as executor:
        executor.run(operations).raise_for_failures()


def start(*settings: object) -> subprocess.Popen[str]:
    """A process that creates tenants."""
    command = [sys.executable, __file__, "--work", json.dumps(settings)]
    return subprocess.Popen(command, text=True)


def main(tenants: int, limit: int, per: float) -> int:
    """Create the tenants, and return 1 if anything went wrong."""
    least = (tenants - 1) // limit * per
    print(f"Three processes create {tenants} tenants through the Descope SDK, at a server here.")
    print(f"It allows {limit} requests in any {per:g} s, from all of them; to more it answers 429.")
    print(f"One is killed (kill -9) in the middle and replaced. At best it takes {least:g} s.")
    print(flush=True)
    names = [f"tenant-{n}" for n in range(tenants)]
    with (
        StandIn(limit=limit, per=per, lockout=per) as server,
        tempfile.TemporaryDirectory(prefix="paceline-demo-") as folder,
    ):
        shared = (server.url, str(Path(folder) / "limit"), limit, per)
        began = time.monotonic()
        processes = [start(*shared, names[n::3]) for n in range(3)]
        while len(server.stats().created) < 0.45 * tenants:
            time.sleep(0.05)
        victim = processes.pop()
        victim.kill()
        victim.wait()
        # What it had sent is at the server by now, or never will be.
        time.sleep(0.2)
        created = set(server.stats().created)
        left = [name for name in names[2::3] if name not in created]
        print(
            f"killed one of them, with {len(created)} tenants created, {len(left)} of its own not"
        )
        processes.append(start(*shared, left))
        codes = [process.wait() for process in processes]
        taken = time.monotonic() - began
        seen = server.stats()
    print(f"created, as the server counted    {len(seen.created):7}")
    print(f"429s seen by the server           {seen.refused:7}")
    print(f"processes that failed             {sum(code != 0 for code in codes):7}")
    print(f"seconds taken                     {taken:7.1f}")
    print(f"least seconds the limit allows    {least:7.1f}   ({limit} in any {per:g} s)")
    return 0 if len(seen.created) == tenants and not any(codes) and not seen.refused else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--limit", type=int, default=50, help="requests the server accepts")
    parser.add_argument("--per", type=float, default=4.0, help="in any so many seconds")
    parser.add_argument("--work", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        work(arguments.work)
        sys.exit()
    sys.exit(main(arguments.tenants, arguments.limit, arguments.per))
