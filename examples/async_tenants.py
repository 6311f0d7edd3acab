"""Creates 200 tenants by an asynchronous client, as fast as a rate limit allows and never faster.

`httpx.AsyncClient` sends the requests that the Descope SDK would send. A stand-in for the Descope
API is started on this machine; it counts what arrives, and answers 429 as soon as its limit is
overstepped.
"""

import argparse
import asyncio
import sys
import time
from functools import partial

import httpx

from paceline import AsyncBatchExecutor, RateLimiter, Retry
from standin import StandIn


async def create(client: httpx.AsyncClient, name: str) -> str:
    """Create one tenant, and return its identifier."""
    response = await client.post("/v1/mgmt/tenant/create", json={"name": name, "id": name})
    response.raise_for_status()
    return str(response.json()["id"])


async def create_all(url: str, tenants: int, limit: int, per: float) -> list[str]:
    """Create the tenants; what the whole program comes to, with a real server."""
    limiter = RateLimiter(limit, per=per)
    async with (
        httpx.AsyncClient(base_url=url, timeout=30) as client,
        AsyncBatchExecutor(limiter, max_at_once=10, retry=Retry(attempts=3)) as executor,
    ):
        operations = (partial(create, client, f"tenant-{n}") for n in range(tenants))
        report = await executor.run(operations)
    print(report.explain())
    return report.values()


def main(tenants: int, limit: int, per: float) -> int:
    """Create the tenants, and return 1 if anything went wrong."""
    least = (tenants - 1) // limit * per
    print(f"Creates {tenants} tenants by httpx.AsyncClient, at a server on this machine.")
    print(f"It allows {limit} requests in any {per:g} s; to more it answers 429 for {per:g} s.")
    print(flush=True)
    with StandIn(limit=limit, per=per, lockout=per) as server:
        began = time.monotonic()
        created = asyncio.run(create_all(server.url, tenants, limit, per))
        taken = time.monotonic() - began
        seen = server.stats()
    print(f"created, as the server counted    {len(seen.created):7}")
    print(f"429s seen by the server           {seen.refused:7}")
    print(f"seconds taken                     {taken:7.1f}")
    print(f"least seconds the limit allows    {least:7.1f}   ({limit} in any {per:g} s)")
    return 0 if len(created) == len(seen.created) == tenants and not seen.refused else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tenants", type=int, default=200)
    parser.add_argument("--limit", type=int, default=50, help="requests the server accepts")
    parser.add_argument("--per", type=float, default=4.0, help="in any so many seconds")
    sys.exit(main(**vars(parser.parse_args())))
