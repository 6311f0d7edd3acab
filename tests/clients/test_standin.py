"""The stand-in server of the examples and tests: it counts right, and does what it is told."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from descope import AuthException, DescopeClient, RateLimitException
from hypothesis import given
from hypothesis import strategies as st

import standin
from standin import RETRY_AFTER_FORMS, Behaviour, StandIn, Window

SOURCE = Path(standin.__file__)
QUICK: dict[str, Any] = {"least_latency": 0.0, "most_latency": 0.0}


def admitted(window: Window, *times: float) -> list[bool]:
    return [window.arrive(now) is None for now in times]


# The window, without a network


def test_the_window_slides() -> None:
    window = Window(limit=2, per=1.0, lockout=0.0)
    # The third is early wherever the window begins; exactly one `per` after the first is not.
    assert admitted(window, 0.0, 0.875, 0.9375) == [True, True, False]
    assert admitted(window, 1.0, 1.75, 1.875) == [True, False, True]
    assert window.worst == 4
    assert window.arrivals == 6
    assert window.refused == 2


def test_a_lock_out_refuses_all_until_it_is_over() -> None:
    window = Window(limit=1, per=1.0, lockout=5.0)
    assert window.arrive(0.0) is None
    assert window.arrive(0.5) == 5.0
    assert window.arrive(2.0) == 3.5
    assert window.arrive(5.25) == 0.25
    assert window.arrive(5.5) is None
    assert window.arrive(5.6) == 5.0
    assert window.lockouts == [3, 1]


def test_what_is_refused_does_not_count_against_the_limit() -> None:
    window = Window(limit=2, per=1.0, lockout=0.5)
    assert admitted(window, 0.0, 0.0, 0.9, 1.39, 1.4) == [True, True, False, False, True]
    assert window.worst == 3


@given(
    st.lists(st.floats(0.0, 2.0), max_size=60),
    st.integers(1, 5),
    st.floats(0.1, 3.0),
)
def test_the_counts_agree_with_a_naive_model(gaps: list[float], limit: int, per: float) -> None:
    window = Window(limit, per, lockout=0.0)
    now, times, accepted = 0.0, [], []
    for gap in gaps:
        now += gap
        times.append(now)
        if window.arrive(now) is None:
            accepted.append(now)
    for ends in (accepted, times):
        fullest = max((sum(end - per < t <= end for t in ends) for end in ends), default=0)
        assert fullest <= (limit if ends is accepted else window.worst)
    assert window.worst == fullest
    assert window.arrivals == len(times)
    assert window.refused == len(times) - len(accepted) == sum(window.lockouts)


# The server, through the real SDK


def sdk(server: StandIn) -> DescopeClient:
    return DescopeClient("project", management_key="key", base_url=server.url, timeout_seconds=20)


def test_tenants_are_created_and_counted() -> None:
    with StandIn(**QUICK) as server:
        client = sdk(server)
        assert client.mgmt.tenant.create("Acme", id="acme") == {"id": "acme"}
        made = client.mgmt.tenant.create("Acme", self_provisioning_domains=["acme.example"])
        assert made["id"] not in {"", "acme"}
        client.mgmt.tenant.create("Other", custom_attributes={"tier": "gold"})
        assert client.mgmt.tenant.load("acme")["name"] == "Acme"
        tenants = client.mgmt.tenant.load_all()["tenants"]
        assert [tenant["name"] for tenant in tenants] == ["Acme", "Acme", "Other"]
        assert tenants[1]["selfProvisioningDomains"] == ["acme.example"]
        assert tenants[2]["customAttributes"] == {"tier": "gold"}
        seen = server.stats()
    assert seen.created == {"Acme": 2, "Other": 1}
    # Three creations and two readings; neither the license nor the statistics.
    assert seen.arrivals == seen.worst_window == 5
    assert (seen.refused, seen.unavailable, seen.dropped, seen.lockouts) == (0, 0, 0, [])


def test_wrong_requests_are_errors_of_the_api() -> None:
    with StandIn(**QUICK) as server:
        with pytest.raises(AuthException) as caught:
            sdk(server).mgmt.tenant.create("")
        assert caught.value.status_code == 400
        with pytest.raises(AuthException) as caught:
            sdk(server).mgmt.tenant.load("nobody")
        assert caught.value.status_code == 404
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            assert client.get("/v1/elsewhere").status_code == 404
            for body in (b"", b"{", b"[]", b"{}", b'{"name": 5}'):
                assert client.post("/v1/mgmt/tenant/create", content=body).status_code == 400
        assert server.stats().created == {}


def test_overstepping_locks_out_and_says_for_how_long() -> None:
    with StandIn(limit=2, per=60, lockout=30, **QUICK) as server:
        client = sdk(server)
        for number in range(2):
            client.mgmt.tenant.create(f"Tenant {number}")
        for number in range(3):
            with pytest.raises(RateLimitException) as caught:
                client.mgmt.tenant.create(f"Early {number}")
            assert caught.value.status_code == "E130429"
            assert caught.value.rate_limit_parameters["Retry-After"] in {29, 30}
        seen = server.stats()
    assert seen.refused == 3
    assert seen.lockouts == [3]
    assert seen.worst_window == 5
    assert sorted(seen.created) == ["Tenant 0", "Tenant 1"]


def test_a_lock_out_ends_when_the_server_said() -> None:
    with StandIn(limit=1, per=0.5, lockout=1.0, **QUICK) as server:
        client = sdk(server)
        client.mgmt.tenant.create("First")
        with pytest.raises(RateLimitException) as caught:
            client.mgmt.tenant.create("Early")
        time.sleep(caught.value.rate_limit_parameters["Retry-After"])
        client.mgmt.tenant.create("Second")
        assert server.stats().lockouts == [1]


@pytest.mark.parametrize("form", RETRY_AFTER_FORMS)
def test_every_form_of_retry_after(form: str) -> None:
    with StandIn(limit=1, lockout=20, retry_after=form, **QUICK) as server:
        url = f"{server.url}/v1/mgmt/tenant/all"
        assert httpx.get(url, trust_env=False).status_code == 200
        response = httpx.get(url, trust_env=False)
        with pytest.raises(RateLimitException) as caught:
            sdk(server).mgmt.tenant.load_all()
    assert response.status_code == 429
    said = caught.value.rate_limit_parameters
    if form == "html":
        assert response.headers["Retry-After"] == "20"
        assert response.headers["Content-Type"] == "text/html"
        assert said == {}
    elif form == "date":
        until = parsedate_to_datetime(response.headers["Retry-After"])
        sent = parsedate_to_datetime(response.headers["Date"])
        assert 19 <= (until - sent).total_seconds() <= 21
        assert said == {"Retry-After": 0}
    elif form == "absent":
        assert "Retry-After" not in response.headers
        assert said == {"Retry-After": 0}
    else:
        assert response.headers["Retry-After"] == "20"
        assert 18 <= said["Retry-After"] <= 20


def requests_of(server: StandIn, count: int) -> list[int | str]:
    """Send so many requests, each on a connection of its own; return statuses or errors."""
    answers: list[int | str] = []
    for number in range(count):
        connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=20)
        try:
            body = json.dumps({"name": f"Tenant {number}"})
            connection.request("POST", "/v1/mgmt/tenant/create", body)
            answers.append(connection.getresponse().status)
        except ConnectionError as error:
            answers.append(type(error).__name__)
        finally:
            connection.close()
    return answers


def test_shares_of_failures_are_kept_and_can_be_repeated() -> None:
    def run() -> tuple[list[int | str], Any]:
        with StandIn(limit=10_000, unavailable=0.3, dropped=0.1, seed=7, **QUICK) as server:
            answers = requests_of(server, 300)
            return [x if isinstance(x, int) else "lost" for x in answers], server.stats()

    answers, seen = run()
    assert run()[0] == answers
    assert answers.count(200) + answers.count(503) + answers.count("lost") == 300
    assert 50 < answers.count(503) < 130
    assert 10 < answers.count("lost") < 60
    assert seen.unavailable == answers.count(503)
    assert seen.dropped >= answers.count("lost")
    assert seen.arrivals == 300 - answers.count("lost")
    assert sum(seen.created.values()) == answers.count(200)


def in_threads(count: int, job: Callable[[], object]) -> None:
    threads = [threading.Thread(target=job) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_stall_holds_up_everybody_once() -> None:
    with StandIn(stall_after=3, stall=0.8, **QUICK) as server:
        taken = []
        for _ in range(5):
            began = time.monotonic()
            assert requests_of(server, 1) == [200]
            taken.append(time.monotonic() - began)
    assert taken[2] >= 0.8
    assert min(taken) < 0.4
    assert sum(taken) < 2.4


def test_latency_is_within_its_bounds_and_does_not_queue() -> None:
    with StandIn(limit=10_000, least_latency=0.3, most_latency=0.4) as server:
        began = time.monotonic()
        in_threads(30, lambda: requests_of(server, 1))
        taken = time.monotonic() - began
        assert server.stats().arrivals == 30
    assert 0.3 <= taken < 3.0


def test_no_arrival_is_lost_or_counted_twice_under_load() -> None:
    with StandIn(limit=150, per=60, lockout=60, **QUICK) as server:
        in_threads(8, lambda: requests_of(server, 100))
        seen = server.stats()
    assert seen.arrivals == seen.worst_window == 800
    assert sum(seen.created.values()) == 150
    assert seen.refused == 650
    assert seen.lockouts == [650]


def test_a_connection_serves_several_requests_and_ones_that_come_in_pieces() -> None:
    with StandIn(**QUICK) as server:
        with httpx.Client(base_url=server.url, trust_env=False) as client:
            for number in range(3):
                answer = client.post("/v1/mgmt/tenant/create", json={"name": f"T{number}"})
                assert answer.status_code == 200
        with socket.create_connection(("127.0.0.1", urlsplit(server.url).port or 0)) as raw:
            for piece in (
                b"POST /v1/mgmt/tenant/create HTTP",
                b"/1.1\r\nHost: x\r\nContent-",
                b"Length: 13\r\n\r",
                b'\n{"name"',
                b': "P"}',
            ):
                raw.sendall(piece)
                time.sleep(0.05)
            assert raw.recv(4096).startswith(b"HTTP/1.1 200 OK\r\n")
        assert server.stats().created == {"T0": 1, "T1": 1, "T2": 1, "P": 1}


# The process


def refuses(url: str) -> bool:
    try:
        socket.create_connection(("127.0.0.1", urlsplit(url).port or 0), timeout=5).close()
    except OSError:
        return True
    return False


def test_it_is_gone_after_the_block_whatever_happened_in_it() -> None:
    with pytest.raises(LookupError), StandIn(**QUICK) as server:
        assert not refuses(server.url)
        raise LookupError
    assert refuses(server.url)


def test_it_ends_when_its_parent_is_killed() -> None:
    script = (
        "import os, signal, sys\n"
        "from standin import StandIn\n"
        "server = StandIn().__enter__()\n"
        "print(server.url, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(SOURCE.parent)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    url = child.stdout.strip()
    assert url.startswith("http://127.0.0.1:"), child.stderr
    deadline = time.monotonic() + 20
    while not refuses(url):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_it_says_when_it_cannot_start(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(RuntimeError, match="exit code 2"), StandIn(retry_after="maybe"):
        pass
    assert "invalid choice: 'maybe'" in capfd.readouterr().err
    with pytest.raises(TypeError, match="limits"):
        StandIn(limits=5)


def test_it_serves_by_itself_until_it_is_interrupted() -> None:
    with subprocess.Popen(
        [sys.executable, str(SOURCE), "--limit", "1"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert not refuses(process.stdout.readline().strip())
            process.send_signal(2)
            assert process.communicate(timeout=20) == ("", "")
            assert process.returncode == 0
        finally:
            process.kill()


def test_every_setting_is_an_option() -> None:
    text = subprocess.run(
        [sys.executable, str(SOURCE), "--help"], capture_output=True, text=True, timeout=20
    ).stdout
    for name in Behaviour.__dataclass_fields__:
        assert f"--{name.replace('_', '-')}" in text
