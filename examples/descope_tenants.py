"""Creates 200 tenants through the Descope SDK, as fast as a rate limit allows and never faster.

A stand-in for the Descope API is started on this machine; it counts what arrives, and answers 429
as soon as its limit is overstepped. With a real project, leave `base_url` away.
"""

import argparse
import math
import sys
import time
from collections.abc import Iterator
from functools import partial

from descope import DescopeClient

from paceline import BatchExecutor, Outcome, RateLimiter
from standin import StandIn

try:
    from tqdm import tqdm
except ImportError:
    tqdm = None


def progress(outcomes: Iterator[Outcome[dict]], total: int) -> Iterator[Outcome[dict]]:
    """Show a bar in a terminal, and write a line for every tenth of the work elsewhere."""
    if tqdm is not None and sys.stderr.isatty():
        yield from tqdm(outcomes, total=total)
        return
    for done, outcome in enumerate(outcomes, 1):
        yield outcome
        if done % math.ceil(total / 10) == 0:
            print(f"{done} of {total}", file=sys.stderr, flush=True)


def introduce(tenants: int, limit: int, per: float, least: float) -> None:
    """Say what is going to happen, and what the figures at the end mean."""
    print(f"Creates {tenants} tenants through the Descope SDK, at a server on this machine.")
    print(f"It allows {limit} requests in any {per:g} s; to more it answers 429 for {per:g} s.")
    print(f"So the last one can start after {least:g} s: a good run is hardly longer, with no 429.")
    print(flush=True)


def main(tenants: int, limit: int, per: float) -> int:
    """Create the tenants, and return 1 if anything went wrong."""
    least = (tenants - 1) // limit * per
    introduce(tenants, limit, per, least)
    with StandIn(limit=limit, per=per, lockout=per) as server:
        client = DescopeClient("demo", management_key="demo", base_url=server.url)

        limiter = RateLimiter(limit, per=per)
        operations = [
            partial(client.mgmt.tenant.create, f"Tenant {n}", id=f"tenant-{n}")
            for n in range(tenants)
        ]
        began = time.monotonic()
        with BatchExecutor(limiter, max_workers=5) as executor:
            outcomes = list(progress(executor.stream(operations), total=tenants))
        taken = time.monotonic() - began
        seen = server.stats()

    failures = [outcome for outcome in outcomes if outcome.status != "done"]
    for outcome in failures[:5]:
        print(f"tenant {outcome.index} failed: {outcome.exception!r}", file=sys.stderr)
    created = len(seen.created)
    print(f"created, as the server counted    {created:7}")
    print(f"failed                            {len(failures):7}")
    print(f"429s seen by the server           {seen.refused:7}")
    print(f"seconds taken                     {taken:7.1f}")
    print(f"least seconds the limit allows    {least:7.1f}   ({limit} in any {per:g} s)")
    return 0 if created == tenants and not failures and not seen.refused else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--limit", type=int, default=50, help="requests the server accepts")
    parser.add_argument("--per", type=float, default=4.0, help="in any so many seconds")
    sys.exit(main(**vars(parser.parse_args())))
