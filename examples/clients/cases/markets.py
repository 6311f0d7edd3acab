"""Exchanges, prices, news, maps and chains of blocks."""

from __future__ import annotations

from typing import Any

from ..case import case


def binance_body(status: int, words: str) -> Any:
    return {"code": -1003 if status == 429 else -1100, "msg": words}


@case("python-binance", "1.0.37", "Client.get_exchange_info", body=binance_body)
def binance(_: str) -> Any:
    from binance.client import Client

    Client("key", "secret", ping=False).get_exchange_info()


@case("pybit", "5.17.0", "HTTP.get_server_time")
def pybit(_: str) -> Any:
    from pybit.unified_trading import HTTP

    HTTP().get_server_time()


@case("coinbase-advanced-py", "1.8.4", "RESTClient.get_public_products")
def coinbase(_: str) -> Any:
    from coinbase.rest import RESTClient

    RESTClient().get_public_products()


@case("pycoingecko", "3.2.0", "CoinGeckoAPI.ping")
def coingecko(_: str) -> Any:
    from pycoingecko import CoinGeckoAPI

    CoinGeckoAPI().ping()


@case("polygon-api-client", "1.16.3", "RESTClient.get_last_trade", off="`retries=0`", env="polygon")
def polygon(_: str, *, off: bool) -> Any:
    from polygon import RESTClient

    RESTClient("key", **({"retries": 0} if off else {})).get_last_trade("A")


def newsapi_body(status: int, words: str) -> Any:
    code = "rateLimited" if status == 429 else "parameterInvalid"
    return {"status": "error", "code": code, "message": words}


@case("newsapi-python", "0.2.7", "get_sources", body=newsapi_body)
def newsapi(_: str) -> Any:
    from newsapi import NewsApiClient

    NewsApiClient("key").get_sources()


def opencage_body(status: int, words: str) -> Any:
    return {"status": {"code": status, "message": words}, "results": []}


@case(
    "opencage",
    "3.4.0",
    "geocode",
    body=opencage_body,
    blind={"503": "an empty list is returned, and nothing of the answer is left"},
)
def opencage(_: str) -> Any:
    from opencage.geocoder import OpenCageGeocode

    return OpenCageGeocode("0" * 32).geocode("Berlin")


@case("web3", "8.0.0", "eth.block_number", env="web3")
def web3(url: str) -> Any:
    from web3 import HTTPProvider, Web3

    return Web3(HTTPProvider(url)).eth.block_number


@case("pyowm", "3.5.0", "weather_at_place")
def pyowm(_: str) -> Any:
    from pyowm import OWM

    OWM("key").weather_manager().weather_at_place("Berlin")


@case(
    "alpha-vantage",
    "3.0.0",
    "TimeSeries.get_intraday",
    blind="it never looks at the status: a KeyError over what the body lacks, the response gone",
    extras=("pandas",),
)
def alpha_vantage(_: str) -> Any:
    from alpha_vantage.timeseries import TimeSeries

    TimeSeries(key="key").get_intraday("A")
