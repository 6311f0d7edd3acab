"""Chats, code, tickets, notes, files and music."""

from __future__ import annotations

from typing import Any

from ..case import case
from ..modes import all_but


def descope_body(status: int, words: str) -> Any:
    code = f"E130{status}" if status == 429 else f"E000{status}"
    return {"errorCode": code, "errorDescription": words, "errorMessage": words}


@case(
    "descope",
    "2.16.1",
    "mgmt.user.load",
    off="none (429 is not repeated, 503 is)",
    body=descope_body,
    open={"/v1/mgmt/license": {"rateLimitTier": "stand-in"}},
    frequent=True,
)
def descope(url: str) -> Any:
    from descope import DescopeClient

    DescopeClient("project", management_key="key", base_url=url).mgmt.user.load("id")


def slack_body(status: int, words: str) -> Any:
    name = "ratelimited" if status == 429 else words.lower().replace(" ", "_")
    return {"ok": False, "error": name}


@case("slack_sdk", "3.48.0", "chat_postMessage", body=slack_body, frequent=True)
def slack(url: str) -> Any:
    from slack_sdk import WebClient

    WebClient("xoxb-1", base_url=f"{url}/api/").chat_postMessage(channel="c", text="t")


@case(
    "slack_sdk",
    "3.48.0",
    "chat_postMessage, 200 with ratelimited",
    vendor={"status": 200, "body": slack_body(429, "")},
    body=slack_body,
)
def slack_200(url: str) -> Any:
    slack(url)


@case("slack_sdk", "3.48.0", "WebhookClient.send, the response returned")
def slack_webhook(url: str) -> Any:
    from slack_sdk import WebhookClient

    return WebhookClient(url).send(text="t")


@case("PyGithub", "2.10.0", "get_user", off="`retry=None`", frequent=True)
def github(url: str, *, off: bool) -> Any:
    from github import Github

    options = {"retry": None} if off else {}
    Github(base_url=url, **options).get_user("name")


GITHUB_LIMIT = {
    "status": 403,
    "body": {"message": "API rate limit exceeded for 127.0.0.1.", "documentation_url": "d"},
}


def primary_limit() -> dict[str, str]:
    import time

    return {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(time.time()) + 7)}


@case(
    "PyGithub",
    "2.10.0",
    "get_user, retry=None, 403 with reset",
    vendor=GITHUB_LIMIT | {"headers": primary_limit},
)
def github_403(url: str) -> Any:
    from github import Github

    Github(base_url=url, retry=None).get_user("name")


@case(
    "githubkit",
    "0.16.1",
    "rest.users.get_by_username",
    off="`auto_retry=False`",
    extras=("hishel<2",),
    env="githubkit",
)
def githubkit(url: str, *, off: bool) -> Any:
    from githubkit import GitHub

    options = {"auto_retry": False} if off else {}
    client = GitHub("token", base_url=url, **options)  # It is not kept by its own namespaces.
    client.rest.users.get_by_username("name")


@case(
    "python-gitlab",
    "8.6.0",
    "projects.get",
    off="`obey_rate_limit=False` (http_* calls)",
)
def gitlab(url: str) -> Any:
    from gitlab import Gitlab

    Gitlab(url, private_token="t").projects.get(1)


@case(
    "jira",
    "3.10.5",
    "issue",
    off="`max_retries=0`",
)
def jira(url: str, *, off: bool) -> Any:
    from jira import JIRA

    options = {"max_retries": 0} if off else {}
    JIRA(url, token_auth="t", get_server_info=False, **options).issue("A-1")


@case("atlassian-python-api", "5.0.5", "Jira.issue", off="`retry_with_header=False`")
def atlassian(url: str, *, off: bool) -> Any:
    from atlassian import Jira

    Jira(url, token="t", retry_with_header=not off).issue("A-1")


def notion_body(status: int, words: str) -> Any:
    code = "rate_limited" if status == 429 else words.lower().replace(" ", "_")
    return {"object": "error", "status": status, "code": code, "message": words}


@case("notion-client", "3.1.0", "users.list", off="`retry=False`", body=notion_body)
def notion(url: str, *, off: bool) -> Any:
    from notion_client import Client

    options = {"retry": False} if off else {}
    Client(auth="t", base_url=url, **options).users.list()


@case("py-trello", "0.20.1", "list_boards")
def trello(_: str) -> Any:
    from trello import TrelloClient

    TrelloClient("key", token="t").list_boards()


@case("todoist-api-python", "4.0.0", "get_project")
def todoist(_: str) -> Any:
    from todoist_api_python.api import TodoistAPI

    TodoistAPI("t").get_project("1")


def dropbox_body(status: int, words: str) -> Any:
    if status != 429:
        return {"error_summary": words, "error": {".tag": "other"}}
    error = {"reason": {".tag": "too_many_requests"}, "retry_after": 7}
    return {"error_summary": words, "error": error}


@case(
    "dropbox",
    "12.2.4",
    "users_get_current_account",
    off="`max_retries_on_rate_limit=0`",
    body=dropbox_body,
)
def dropbox(_: str, *, off: bool) -> Any:
    import dropbox
    import requests

    options = {"max_retries_on_rate_limit": 0} if off else {}
    session = requests.Session()
    dropbox.Dropbox("t", session=session, **options).users_get_current_account()


@case(
    "auth0-python", "6.8.0", "management clients.list", off='`request_options={"max_retries": 0}`'
)
def auth0(_: str, *, off: bool) -> Any:
    from auth0.management import ManagementClient

    client = ManagementClient(domain="d.auth0.test", token="t")
    list(client.clients.list(**({"request_options": {"max_retries": 0}} if off else {})))


@case("tweepy", "4.17.0", "Client.get_user")
def tweepy(_: str) -> Any:
    from tweepy import Client

    Client("t").get_user(username="n")


@case("spotipy", "2.26.0", "artist", off="a `requests_session` of your own")
def spotipy(_: str, *, off: bool) -> Any:
    import requests
    import spotipy

    session = requests.Session() if off else True
    spotipy.Spotify(auth="t", requests_session=session).artist("4Z8W4fKeB5YxbusRsdQVPb")


@case("mwclient", "0.11.0", "raw_api", off="`max_retries=0`")
def mwclient(_: str, *, off: bool) -> Any:
    import mwclient

    options = {"max_retries": 0} if off else {}
    site = mwclient.Site("w.test", do_init=False, **options)
    site.raw_api("query", http_method="GET", meta="siteinfo")


def telegram_body(status: int, words: str) -> Any:
    body = {"ok": False, "error_code": status, "description": words}
    return body | ({"parameters": {"retry_after": 7}} if status == 429 else {})


@case("python-telegram-bot", "22.8", "Bot.send_message", body=telegram_body)
def telegram(_: str) -> Any:
    import asyncio

    from telegram import Bot

    asyncio.run(Bot("1:t").send_message(1, "x"))


@case("telethon", "1.45.0", "any call, as FloodWaitError", skip=all_but("seconds"))
def telethon(_: str) -> Any:
    from telethon.errors import FloodWaitError

    # Its protocol is its own: the error is made as the client makes it.
    raise FloodWaitError(None, capture=7)


@case("discord.py", "2.7.1", "http.get_user", off="none")
def discord(_: str) -> Any:
    import asyncio

    import discord

    async def main() -> None:
        client = discord.Client(intents=discord.Intents.none())
        async with client:
            await client.login("token")

    asyncio.run(main())


@case("aiogram", "3.31.0", "Bot.send_message", body=telegram_body)
def aiogram(_: str) -> Any:
    import asyncio

    from aiogram import Bot

    async def main() -> None:
        bot = Bot("1:t")
        try:
            await bot.send_message(1, "x")
        finally:
            await bot.session.close()

    asyncio.run(main())


@case("pyTelegramBotAPI", "4.37.1", "TeleBot.send_message", body=telegram_body)
def telebot(_: str) -> Any:
    import telebot

    telebot.TeleBot("1:t").send_message(1, "x")


@case("webexpythonsdk", "2.0.6", "people.me", off="`wait_on_rate_limit=False`")
def webex(url: str, *, off: bool) -> Any:
    from webexpythonsdk import WebexAPI

    WebexAPI(access_token="t", base_url=url, wait_on_rate_limit=not off).people.me()


def lastfm_body(status: int, words: str) -> str:
    code = 29 if status == 429 else 8
    return f'<lfm status="failed"><error code="{code}">{words}</error></lfm>'


@case("pylast", "7.2.0", "Artist.get_listener_count", body=lastfm_body)
def pylast(_: str) -> Any:
    import pylast

    pylast.LastFMNetwork(api_key="key").get_artist("a").get_listener_count()


@case("tmdbsimple", "2.9.8", "Movies.info")
def tmdbsimple(_: str) -> Any:
    import tmdbsimple

    tmdbsimple.API_KEY = "key"
    tmdbsimple.Movies(603).info()
