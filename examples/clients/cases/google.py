"""Google's clients, and gRPC."""

from __future__ import annotations

from typing import Any

from ..case import case
from ..recorder import turn_datetime
from .models import google_body, google_wait

SECRET = "projects/p/secrets/s"


def drive_body(status: int, words: str) -> Any:
    reason = "rateLimitExceeded" if status == 429 else words.replace(" ", "")
    body = google_body(status, words)
    body["error"]["errors"] = [{"domain": "global", "reason": reason, "message": words}]
    return body


@case(
    "google-api-python-client",
    "2.202.0",
    "drive files().list().execute()",
    off="`num_retries=0`, the default",
    vendor=google_wait(),
    body=drive_body,
    frequent=True,
)
def googleapiclient(_: str) -> Any:
    from googleapiclient.discovery import build

    build("drive", "v3", developerKey="key").files().list().execute()


@case(
    "google-api-python-client",
    "2.202.0",
    "execute(num_retries=3)",
    off="`num_retries=0`, the default",
    body=drive_body,
)
def googleapiclient_retry(_: str, *, off: bool) -> Any:
    from googleapiclient.discovery import build

    files = build("drive", "v3", developerKey="key").files()
    files.list().execute(num_retries=0 if off else 3)


@case(
    "google-api-python-client",
    "2.202.0",
    "execute(), 403 userRateLimitExceeded",
    vendor={"status": 403, "body": drive_body(429, "User Rate Limit Exceeded")},
    body=drive_body,
)
def googleapiclient_403(_: str) -> Any:
    from googleapiclient.discovery import build

    build("drive", "v3", developerKey="key").files().list().execute()


def storage(url: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.storage import Client

    options = {"api_endpoint": url}
    return Client("p", credentials=AnonymousCredentials(), client_options=options)


@case(
    "google-cloud-storage",
    "3.17.1",
    "Client.get_bucket",
    off="`retry=None`",
    vendor=google_wait(),
    body=drive_body,
)
def storage_bucket(url: str, *, off: bool) -> Any:
    storage(url).get_bucket("b", **({"retry": None} if off else {}))


@case("google-cloud-storage", "3.17.1", "Blob.upload_from_string", body=drive_body)
def storage_upload(url: str) -> Any:
    storage(url).bucket("b").blob("k").upload_from_string("x")


@case(
    "google-cloud-secret-manager",
    "2.32.0",
    'get_secret, transport="rest"',
    vendor=google_wait(),
    body=google_body,
)
def google_api_core(url: str) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.secretmanager import SecretManagerServiceClient

    client = SecretManagerServiceClient(
        transport="rest", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
    )
    client.get_secret(name=SECRET)


def secrets(address: str) -> Any:
    import grpc
    from google.cloud.secretmanager import SecretManagerServiceClient
    from google.cloud.secretmanager_v1.services.secret_manager_service import transports

    channel = grpc.insecure_channel(address)
    transport = transports.SecretManagerServiceGrpcTransport(channel=channel)
    return SecretManagerServiceClient(transport=transport)


@case("google-cloud-secret-manager", "2.32.0", "get_secret", grpc=True, frequent=True)
def google_api_core_grpc(address: str) -> Any:
    secrets(address).get_secret(name=SECRET)


@case(
    "google-cloud-secret-manager",
    "2.32.0",
    "access_secret_version",
    off="`retry=None`",
    grpc=True,
)
def secret_manager_access(address: str, *, off: bool) -> Any:
    options = {"retry": None} if off else {}
    secrets(address).access_secret_version(name=f"{SECRET}/versions/1", **options)


@case("google-cloud-pubsub", "2.44.0", "publish().result()", off="`publish(retry=None)`", grpc=True)
def pubsub(address: str, *, off: bool) -> Any:
    import os

    from google.cloud.pubsub import PublisherClient

    os.environ["PUBSUB_EMULATOR_HOST"] = address
    options = {"retry": None} if off else {}
    PublisherClient().publish("projects/p/topics/t", b"x", **options).result(30)


@case("grpcio", "1.85.3", "channel.unary_unary", grpc=True, frequent=True)
def grpcio(address: str) -> Any:
    import grpc

    with grpc.insecure_channel(address) as channel:
        channel.unary_unary("/service/method")(b"", timeout=5)


@case("grpcio", "1.85.3", "channel.unary_stream", grpc=True)
def grpcio_stream(address: str) -> Any:
    import grpc

    with grpc.insecure_channel(address) as channel:
        list(channel.unary_stream("/service/method")(b"", timeout=5))


@case("grpcio", "1.85.3", "grpc.aio, unary_unary", grpc=True)
def grpcio_aio(address: str) -> Any:
    import asyncio

    import grpc

    async def main() -> None:
        async with grpc.aio.insecure_channel(address) as channel:
            await channel.unary_unary("/service/method")(b"")

    asyncio.run(main())


@case("earthengine-api", "1.7.50", "any call", off="`ee.data.setMaxRetries(0)`", body=drive_body)
def earthengine(_: str) -> Any:
    import ee
    from googleapiclient.discovery import build

    # What it wraps all its requests in; `ee.Initialize` would first ask what the API can do.
    ee.data._get_state().initialized = True
    request = build("drive", "v3", developerKey="key").files().list()
    ee.data._execute_cloud_call(request)


@case("firebase-admin", "7.7.0", "auth.get_user", body=google_body, vendor=google_wait())
def firebase(_: str) -> Any:
    import firebase_admin
    from firebase_admin import auth
    from google.auth.credentials import AnonymousCredentials

    class Anybody(firebase_admin.credentials.Base):
        def get_credential(self) -> Any:
            return AnonymousCredentials()

    if not firebase_admin._apps:
        firebase_admin.initialize_app(Anybody(), {"projectId": "p"})
    auth.get_user("id")


@case("gspread", "6.2.1", "open_by_key", body=google_body, vendor=google_wait())
def gspread(_: str) -> Any:
    import gspread
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession

    credentials = AnonymousCredentials()
    session = AuthorizedSession(credentials)
    gspread.Client(credentials, session).open_by_key("key")


@case(
    "gspread",
    "6.2.1",
    "BackOffHTTPClient, open_by_key",
    off="`HTTPClient`, the default",
    body=google_body,
)
def gspread_backoff(_: str) -> Any:
    import gspread
    from google.auth.credentials import AnonymousCredentials
    from google.auth.transport.requests import AuthorizedSession

    credentials = AnonymousCredentials()
    session = AuthorizedSession(credentials)
    client = gspread.Client(credentials, session, http_client=gspread.BackOffHTTPClient)
    client.open_by_key("key")


@case("googlemaps", "4.10.0", "geocode", off="`retry_over_query_limit=False`")
def googlemaps(_: str) -> Any:
    turn_datetime()
    import googlemaps

    googlemaps.Client("AIzakey").geocode("Berlin")


@case(
    "google-cloud-bigquery",
    "3.47.0",
    "get_dataset",
    off="`retry=None`",
    env="bigquery",
)
def bigquery(url: str, *, off: bool) -> Any:
    from google.auth.credentials import AnonymousCredentials
    from google.cloud.bigquery import Client

    client = Client("p", AnonymousCredentials(), client_options={"api_endpoint": url})
    client.get_dataset("d", **({"retry": None} if off else {}))
