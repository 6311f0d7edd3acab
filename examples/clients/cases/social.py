"""Networks of people, chats, encyclopedias and songs."""

from __future__ import annotations

from typing import Any

from ..case import case

TOKEN = {"access_token": "t", "token_type": "bearer", "expires_in": 3600, "scope": "*"}
REDDIT = {"/api/v1/access_token": TOKEN}
REDDIT_WAIT = {
    "headers": {
        "x-ratelimit-remaining": "0",
        "x-ratelimit-used": "996",
        "x-ratelimit-reset": "7",
    }
}


@case(
    "praw",
    "8.0.3",
    "submission.title",
    vendor=REDDIT_WAIT,
    open=REDDIT,
)
def praw(_: str) -> Any:
    import praw

    reddit = praw.Reddit(client_id="id", client_secret="secret", user_agent="a")
    return reddit.submission("abc").title


@case(
    "prawcore",
    "4.0.0",
    "session(...).request",
    vendor=REDDIT_WAIT,
    open=REDDIT,
)
def prawcore(_: str) -> Any:
    import prawcore

    requestor = prawcore.Requestor(user_agent="a user agent")
    authenticator = prawcore.TrustedAuthenticator(
        requestor=requestor, client_id="id", client_secret="secret"
    )
    authorizer = prawcore.ReadOnlyAuthorizer(authenticator=authenticator)
    authorizer.refresh()
    return prawcore.session(authorizer=authorizer).request(method="GET", path="/api/v1/me")


def mastodon_reset() -> dict[str, str]:
    import time
    from datetime import UTC, datetime

    moment = datetime.fromtimestamp(int(time.time()) + 7, UTC).isoformat()
    return {
        "X-RateLimit-Limit": "300",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": moment,
    }


@case(
    "mastodon.py",
    "2.3.3",
    'account, ratelimit_method="throw"',
    vendor={"headers": mastodon_reset},
)
def mastodon(url: str) -> Any:
    from mastodon import Mastodon

    client = Mastodon(
        access_token="t",
        api_base_url=url,
        ratelimit_method="throw",
        version_check_mode="none",
    )
    return client.account(1)


@case("atproto", "0.0.73", "app.bsky.actor.get_profile")
def atproto(url: str) -> Any:
    from atproto import Client

    return Client(base_url=url).app.bsky.actor.get_profile({"actor": "a.test"})


@case("disnake", "2.12.2", "Client.login", off="none", env="disnake")
def disnake(_: str) -> Any:
    import asyncio

    import disnake

    async def main() -> None:
        client = disnake.Client()
        try:
            await client.login("token")
        finally:
            await client.close()

    asyncio.run(main())


def matrix_body(status: int, words: str) -> Any:
    if status == 429:
        return {"errcode": "M_LIMIT_EXCEEDED", "error": words, "retry_after_ms": 7000}
    return {"errcode": "M_UNKNOWN", "error": words}


@case(
    "matrix-nio",
    "0.26.0",
    "get_profile, max_limit_exceeded=0",
    body=matrix_body,
)
def matrix_nio(url: str) -> Any:
    import asyncio

    from nio import AsyncClient, AsyncClientConfig

    async def main() -> Any:
        config = AsyncClientConfig(max_limit_exceeded=0, max_timeouts=1)
        client = AsyncClient(url, "@a:b.test", config=config)
        try:
            return await client.get_profile("@a:b.test")
        finally:
            await client.close()

    return asyncio.run(main())


@case("mattermostdriver", "7.3.2", "users.get_user")
def mattermost(url: str) -> Any:
    from mattermostdriver import Driver

    port = int(url.rpartition(":")[2])
    driver = Driver({"url": "127.0.0.1", "port": port, "scheme": "http", "token": "t"})
    return driver.users.get_user("id")


@case("line-bot-sdk", "3.27.0", "MessagingApi.get_bot_info")
def line_bot(url: str) -> Any:
    from linebot.v3.messaging import ApiClient, Configuration, MessagingApi

    MessagingApi(ApiClient(Configuration(host=url, access_token="t"))).get_bot_info()


@case("vk-api", "11.10.1", "users.get")
def vk(_: str) -> Any:
    from vk_api import VkApi

    VkApi(token="t").get_api().users.get()


def meta_body(status: int, words: str) -> Any:
    code = 17 if status == 429 else 100
    return {"error": {"message": words, "type": "OAuthException", "code": code}}


@case("facebook-business", "26.0.3", "User.api_get", body=meta_body)
def facebook(_: str) -> Any:
    from facebook_business.adobjects.user import User
    from facebook_business.api import FacebookAdsApi

    FacebookAdsApi.init(access_token="t", crash_log=False)
    User("me").api_get()


@case("lyricsgenius", "3.15.0", "Genius.song")
def lyricsgenius(_: str) -> Any:
    from lyricsgenius import Genius

    Genius("t").song(1)


@case("python3-discogs-client", "2.10", "artist(1).name, backoff_enabled = False")
def discogs(_: str) -> Any:
    import discogs_client

    client = discogs_client.Client("a/1.0")
    client.backoff_enabled = False  # With it, the waits double for ever.
    return client.artist(1).name


def stack_body(status: int, words: str) -> Any:
    name = "throttle_violation" if status == 429 else "bad_parameter"
    return {"error_id": 502 if status == 429 else 400, "error_name": name, "error_message": words}


@case("stackapi", "0.3.1", "fetch", body=stack_body)
def stackapi(_: str) -> Any:
    from stackapi import StackAPI

    return StackAPI("stackoverflow").fetch("questions")


@case("wikipedia-api", "0.16.0", "page(...).summary")
def wikipedia_api(_: str) -> Any:
    import wikipediaapi

    return wikipediaapi.Wikipedia("agent (a@b.test)", "en").page("Berlin").summary


def musicbrainz_body(_: int, words: str) -> str:
    return f"<error><text>{words}</text></error>"


@case("musicbrainzngs", "0.7.1", "get_artist_by_id", body=musicbrainz_body)
def musicbrainz(_: str) -> Any:
    import musicbrainzngs

    musicbrainzngs.set_useragent("a", "1", "b@c.test")
    musicbrainzngs.get_artist_by_id("952a4205-023d-4235-897c-6fdb6f58dfaa")


@case("ytmusicapi", "1.12.3", "YTMusic.get_artist")
def ytmusic(_: str) -> Any:
    from ytmusicapi import YTMusic

    return YTMusic().get_artist("UC")


@case("yt-dlp", "2026.10.26", "extract_info")
def yt_dlp(url: str) -> Any:
    from yt_dlp import YoutubeDL

    with YoutubeDL({"quiet": True, "no_warnings": True}) as client:
        client.extract_info(f"{url}/video", download=False)
