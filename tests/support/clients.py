"""Creates tenants at the stand-in server, through real clients."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import requests
from descope import DescopeClient

from paceline import BatchReport
from standin import StandIn

WORKERS = 8
QUICK: dict[str, Any] = {"least_latency": 0.001, "most_latency": 0.01}


def sdk_create(server: StandIn) -> Callable[[str], object]:
    client = DescopeClient("project", management_key="key", base_url=server.url)
    return client.mgmt.tenant.create  # type: ignore[no-any-return]


def httpx_create(server: StandIn) -> Callable[[str], object]:
    def create(name: str) -> object:
        # Without certificates, which take longer to load than all the rest.
        with httpx.Client(base_url=server.url, trust_env=False, verify=False) as session:
            answer = session.post("/v1/mgmt/tenant/create", json={"name": name}, timeout=20)
            return answer.raise_for_status().json()

    return create


def requests_create(server: StandIn) -> Callable[[str], object]:
    def create(name: str) -> object:
        with requests.Session() as session:
            session.trust_env = False
            url = f"{server.url}/v1/mgmt/tenant/create"
            response = session.post(url, json={"name": name}, timeout=20)
            response.raise_for_status()
            return response.json()

    return create


Client = Callable[[StandIn], Callable[[str], object]]
CLIENTS = {"descope": sdk_create, "httpx": httpx_create, "requests": requests_create}


def operations(create: Callable[[str], object], count: int) -> list[Callable[[], object]]:
    return [partial(create, f"Tenant {number}") for number in range(count)]


def assert_each_once(server: StandIn, report: BatchReport[object]) -> None:
    names = {f"Tenant {outcome.index}": 1 for outcome in report if outcome.status == "done"}
    assert server.stats().created == names
