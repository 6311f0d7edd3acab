"""Markets, weather, and pictures of the earth."""

from __future__ import annotations

from typing import Any

from ..case import case
from ..modes import all_but


@case("yfinance", "1.7.0", "any call, as YFRateLimitError", skip=all_but("none"))
def yfinance(_: str) -> Any:
    from yfinance.exceptions import YFRateLimitError

    # The requests are made by a native library, which cannot be led here.
    raise YFRateLimitError


@case(
    "alpaca-py", "0.44.0", "TradingClient.get_account", off="`APCA_RETRY_MAX=0` in the environment"
)
def alpaca(_: str) -> Any:
    from alpaca.trading.client import TradingClient

    TradingClient("key", "secret").get_account()


@case("ccxt", "4.5.90", "binance.fetch_time")
def ccxt_binance(_: str) -> Any:
    import ccxt

    ccxt.binance().fetch_time()


@case("ccxt", "4.5.90", "coinbase.fetch_time")
def ccxt_coinbase(_: str) -> Any:
    import ccxt

    ccxt.coinbase().fetch_time()


@case("openmeteo-requests", "1.7.5", "Client.weather_api")
def openmeteo(url: str) -> Any:
    import openmeteo_requests

    openmeteo_requests.Client().weather_api(url, params={})


@case("sentinelhub", "3.12.0", "DownloadClient.get_json", off="`max_download_attempts = 1`")
def sentinelhub(url: str) -> Any:
    from sentinelhub import DownloadClient, SHConfig

    config = SHConfig(use_defaults=True)
    config.max_download_attempts, config.download_sleep_time = 4, 5
    DownloadClient(config=config).get_json(url)


@case("planet", "3.7.0", "data.list_searches", off="none")
def planet(url: str) -> Any:
    from planet import Auth, Planet, Session

    session = Session(auth=Auth.from_key("key"))
    return list(Planet(session=session).data.list_searches())


@case("finnhub-python", "2.4.29", "Client.quote")
def finnhub(_: str) -> Any:
    import finnhub

    finnhub.Client("key").quote("AAPL")
