"""Which errors of connecting the retry policy repeats: those before a request was sent."""

from __future__ import annotations

import socket
import ssl
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import requests
from client_errors import look_alike, raised

from paceline.retry.policy import Retry, Verdict

DEFAULT = Retry()


@pytest.fixture
def closed_port() -> Iterator[int]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # bound, never listening: connections are refused
        yield bound.getsockname()[1]


@pytest.fixture
def deaf_port() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()  # the kernel accepts, nobody ever answers
        yield listening.getsockname()[1]


GETTERS: list[Callable[[str], object]] = [
    lambda url: httpx.get(url, timeout=0.2, trust_env=False),
    lambda url: requests.get(url, timeout=0.2, proxies={"http": "", "https": ""}),
    lambda url: urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=0.2),
]
getter = pytest.mark.parametrize("get", GETTERS, ids=["httpx", "requests", "urllib"])


@getter
def test_a_refused_connection_is_repeated(get: Callable[[str], object], closed_port: int) -> None:
    error = raised(lambda: get(f"http://127.0.0.1:{closed_port}/"))
    assert DEFAULT.decide(error) == Verdict(True, False, None)


@getter
def test_a_name_that_does_not_resolve_is_repeated(
    get: Callable[[str], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = raised(lambda: get("http://nowhere.invalid/"))
    assert DEFAULT.decide(error) == Verdict(True, False, None)


@getter
def test_an_answer_that_times_out_is_not_repeated(
    get: Callable[[str], object], deaf_port: int
) -> None:
    error = raised(lambda: get(f"http://127.0.0.1:{deaf_port}/"))
    assert DEFAULT.decide(error) == Verdict(False, False, None)


def test_connect_timeouts_of_clients_are_repeated() -> None:
    before_sending = (
        httpx.ConnectTimeout("late"),
        httpx.PoolTimeout("none free"),
        requests.ConnectTimeout("late"),
    )
    after_sending = (
        httpx.ReadTimeout("late"),
        httpx.WriteTimeout("late"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        httpx.ReadError("reset"),
        requests.ReadTimeout("late"),
        requests.ConnectionError("lost"),
        requests.exceptions.SSLError("bad certificate"),
    )
    assert [DEFAULT.decide(error) for error in before_sending] == [
        Verdict(True, False, None) for _ in before_sending
    ]
    assert [DEFAULT.decide(error) for error in after_sending] == [
        Verdict(False, False, None) for _ in after_sending
    ]


def test_builtin_errors() -> None:
    assert DEFAULT.decide(ConnectionRefusedError()).again
    assert DEFAULT.decide(socket.gaierror()).again
    for error in (
        ConnectionResetError(),
        ConnectionAbortedError(),
        BrokenPipeError(),
        TimeoutError(),
        ConnectionError(),
        OSError(),
        ValueError("429"),
        Exception(429),
    ):
        assert DEFAULT.decide(error) == Verdict(False, False, None)


@pytest.mark.parametrize("package", ["openai", "anthropic", "stripe"])
def test_wrappers_are_judged_by_what_they_wrap(package: str) -> None:
    error = look_alike(package, "APIConnectionError")
    assert not DEFAULT.decide(error).again
    error.__cause__ = httpx.ReadTimeout("late")
    assert not DEFAULT.decide(error).again
    error.__cause__ = httpx.ConnectError("refused")
    assert DEFAULT.decide(error).again


def test_a_translation_of_the_users_own_is_left_alone() -> None:
    error = ValueError("could not create")
    error.__cause__ = httpx.ConnectError("refused")
    assert DEFAULT.decide(error) == Verdict(False, False, None)


def test_a_refused_certificate_is_not_repeated() -> None:
    error = httpx.ConnectError("handshake failed")
    error.__cause__ = ssl.SSLCertVerificationError("self-signed certificate")
    assert DEFAULT.decide(error) == Verdict(False, False, None)


def test_causes_in_a_ring_and_in_great_number() -> None:
    first = look_alike("openai", "APIConnectionError")
    second = look_alike("openai", "APIConnectionError", __cause__=first)
    first.__cause__ = second
    assert DEFAULT.decide(first) == Verdict(False, False, None)
    chain: Any = httpx.ConnectError("refused")
    for _ in range(10_000):
        chain = look_alike("openai", "APIConnectionError", __cause__=chain)
    assert DEFAULT.decide(chain) == Verdict(False, False, None)
    # Taken apart link by link: the interpreter would do it by recursion.
    while chain is not None:
        chain.__cause__, chain = None, chain.__cause__
