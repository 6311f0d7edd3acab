"""HTTP clients, and what is put around them."""

from __future__ import annotations

from typing import Any

from ..case import case

FORCED = "Retry(3, status_forcelist=[429, 503])"


@case("httpx", "0.28.1", "get, raise_for_status", frequent=True)
def httpx(url: str) -> Any:
    import httpx

    return httpx.get(url).raise_for_status()


@case("httpx", "0.28.1", "get, the response returned")
def httpx_returned(url: str) -> Any:
    import httpx

    return httpx.get(url)


@case("httpx2", "2.16.2", "get, raise_for_status")
def httpx2(url: str) -> Any:
    import httpx2

    return httpx2.get(url).raise_for_status()


@case("requests", "2.34.2", "get, raise_for_status", frequent=True)
def requests(url: str) -> Any:
    import requests

    requests.get(url, timeout=9).raise_for_status()


@case("requests", "2.34.2", "get, the response returned")
def requests_returned(url: str) -> Any:
    import requests

    return requests.get(url, timeout=9)


@case(
    "requests",
    "2.34.2",
    f"HTTPAdapter(max_retries={FORCED})",
    off="`max_retries=0`, the default",
    frequent=True,
)
def requests_retry(url: str, *, off: bool) -> Any:
    import requests
    from urllib3.util import Retry

    session = requests.Session()
    retries = 0 if off else Retry(3, status_forcelist=[429, 503], backoff_factor=1)
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=retries))
    session.get(url).raise_for_status()


@case("requests", "2.34.2", "HTTPAdapter(max_retries=3)", off="`max_retries=0`, the default")
def requests_adapter(url: str, *, off: bool) -> Any:
    import requests

    session = requests.Session()
    session.mount("http://", requests.adapters.HTTPAdapter(max_retries=0 if off else 3))
    session.get(url).raise_for_status()


@case("urllib3", "2.8.0", "request, the response returned", off="`retries=False`", frequent=True)
def urllib3(url: str, *, off: bool) -> Any:
    import urllib3

    options = {"retries": False} if off else {}
    return urllib3.PoolManager().request("GET", url, **options)


@case("urllib3", "2.8.0", FORCED, off="`retries=False`")
def urllib3_retry(url: str, *, off: bool) -> Any:
    import urllib3

    retries = False if off else urllib3.Retry(3, status_forcelist=[429, 503])
    return urllib3.PoolManager().request("GET", url, retries=retries)


@case("stdlib", "3.11", "urllib.request.urlopen", frequent=True)
def urllib(url: str) -> Any:
    import urllib.request

    urllib.request.urlopen(url)


@case("aiohttp", "3.14.5", "get, raise_for_status", frequent=True)
def aiohttp(url: str) -> Any:
    import asyncio

    import aiohttp

    async def get() -> None:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            response.raise_for_status()

    asyncio.run(get())


@case("aiohttp", "3.14.5", "get, the response returned")
def aiohttp_returned(url: str) -> Any:
    import asyncio

    import aiohttp

    async def get() -> Any:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return response

    return asyncio.run(get())


@case(
    "niquests",
    "3.21.2",
    "Session(retries=3).get, raise_for_status",
    off="`retries=0`, the default",
    env="niquests",
)
def niquests(url: str, *, off: bool) -> Any:
    import niquests

    niquests.Session(retries=0 if off else 3).get(url).raise_for_status()


@case("curl_cffi", "0.17.0", "requests.get, raise_for_status")
def curl_cffi(url: str) -> Any:
    import curl_cffi

    curl_cffi.requests.get(url, timeout=0.5).raise_for_status()


@case("pycurl", "7.49.0", "perform with FAILONERROR")
def pycurl(url: str) -> Any:
    import pycurl

    curl = pycurl.Curl()
    curl.setopt(pycurl.URL, url)
    curl.setopt(pycurl.FAILONERROR, 1)
    curl.setopt(pycurl.TIMEOUT_MS, 500)
    curl.perform()


@case("requests-cache", "1.3.3", "CachedSession.get, raise_for_status")
def requests_cache(url: str) -> Any:
    import requests_cache

    requests_cache.CachedSession(backend="memory").get(url).raise_for_status()


@case(
    "tenacity",
    "9.2.1",
    "@retry(stop=stop_after_attempt(3)) around httpx",
    off="`stop_after_attempt(1)`",
    frequent=True,
)
def tenacity(url: str, *, off: bool) -> Any:
    import httpx
    from tenacity import retry, stop_after_attempt, wait_fixed

    @retry(stop=stop_after_attempt(1 if off else 3), wait=wait_fixed(1))
    def get() -> None:
        httpx.get(url).raise_for_status()

    get()


@case("backoff", "2.2.1", "@on_exception(expo, max_tries=3) around httpx", off="`max_tries=1`")
def backoff(url: str, *, off: bool) -> Any:
    import backoff
    import httpx

    @backoff.on_exception(backoff.expo, httpx.HTTPError, max_tries=1 if off else 3)
    def get() -> None:
        httpx.get(url).raise_for_status()

    get()


@case("stamina", "26.1.0", "@retry(on=HTTPError) around httpx", off="`attempts=1`")
def stamina(url: str, *, off: bool) -> Any:
    import httpx
    import stamina

    @stamina.retry(on=httpx.HTTPError, attempts=1 if off else 10)
    def get() -> None:
        httpx.get(url).raise_for_status()

    get()


class AppError(Exception):
    """A program's own."""


@case("httpx", "0.28.1", "raise AppError from the HTTPStatusError")
def raise_from(url: str) -> Any:
    import httpx

    try:
        httpx.get(url).raise_for_status()
    except httpx.HTTPError as error:
        raise AppError("no answer") from error


@case("anyio", "4.16.0", "a task group around httpx")
def anyio(url: str) -> Any:
    import anyio
    import httpx

    async def get() -> None:
        async with httpx.AsyncClient() as client:
            (await client.get(url)).raise_for_status()

    async def main() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(get)

    anyio.run(main)
