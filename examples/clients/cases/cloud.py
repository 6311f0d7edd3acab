"""Clouds, clusters and servers."""

from __future__ import annotations

from typing import Any

from ..case import case
from ..recorder import turn_datetime

AWS = {"region_name": "eu-west-1", "aws_access_key_id": "id", "aws_secret_access_key": "key"}
AWS_OFF = '`Config(retries={"total_max_attempts": 1})`'
AWS_WAIT = {"headers": {"x-amz-retry-after": "7000"}}
AZURE_WAIT = {"headers": {"x-ms-retry-after-ms": "7000"}}


def aws(service: str, url: str, *, off: bool = False) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(retries={"total_max_attempts": 1}) if off else None
    return boto3.client(service, endpoint_url=url, config=config, **AWS)


def s3_body(status: int, words: str) -> str:
    code = "SlowDown" if status in (429, 503) else words.replace(" ", "")
    return f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{words}</Message></Error>'


def aws_body(status: int, words: str) -> Any:
    kind = "ThrottlingException" if status == 429 else words.replace(" ", "") + "Exception"
    return {"__type": f"com.amazonaws#{kind}", "message": words}


@case(
    "boto3",
    "1.44.8",
    "s3 get_object",
    off=AWS_OFF,
    vendor=AWS_WAIT,
    body=s3_body,
    frequent=True,
)
def boto3(url: str, *, off: bool) -> Any:
    aws("s3", url, off=off).get_object(Bucket="b", Key="k")


@case("boto3", "1.44.8", "dynamodb get_item", off=AWS_OFF, vendor=AWS_WAIT, body=aws_body)
def boto3_dynamodb(url: str, *, off: bool) -> Any:
    aws("dynamodb", url, off=off).get_item(TableName="t", Key={"k": {"S": "v"}})


@case("boto3", "1.44.8", 'dynamodb, mode="legacy"', vendor=AWS_WAIT, body=aws_body)
def boto3_legacy(url: str) -> Any:
    import boto3
    from botocore.config import Config

    config = Config(retries={"mode": "legacy"})
    client = boto3.client("dynamodb", endpoint_url=url, config=config, **AWS)
    client.get_item(TableName="t", Key={"k": {"S": "v"}})


@case("boto3", "1.44.8", "get_waiter(...).wait", off=AWS_OFF, vendor=AWS_WAIT, body=aws_body)
def boto3_waiter(url: str, *, off: bool) -> Any:
    aws("dynamodb", url, off=off).get_waiter("table_exists").wait(TableName="t")


@case("boto3", "1.44.8", "s3 upload_file", off=AWS_OFF, vendor=AWS_WAIT, body=s3_body)
def boto3_upload(url: str, *, off: bool) -> Any:
    aws("s3", url, off=off).upload_file(__file__, "b", "k")


@case(
    "azure-core",
    "1.41.0",
    "PipelineClient with RetryPolicy, raise_for_status",
    off="`RetryPolicy.no_retries()`",
    vendor=AZURE_WAIT,
    frequent=True,
)
def azure_core(url: str, *, off: bool) -> Any:
    from azure.core import PipelineClient
    from azure.core.pipeline.policies import RetryPolicy
    from azure.core.rest import HttpRequest

    policy = RetryPolicy.no_retries() if off else RetryPolicy()
    client = PipelineClient(url, policies=[policy])
    client.send_request(HttpRequest("GET", url)).raise_for_status()


@case(
    "azure-storage-blob",
    "12.31.1",
    "BlobClient.download_blob",
    off="`retry_total=0`",
    vendor=AZURE_WAIT,
    body=s3_body,
)
def azure_blob(url: str, *, off: bool) -> Any:
    from azure.storage.blob import BlobClient

    options = {"retry_total": 0} if off else {}
    BlobClient(url, "container", "blob", credential=None, **options).download_blob()


@case(
    "azure-data-tables",
    "12.7.0",
    "TableClient.get_entity",
    off="`retry_total=0`",
    vendor=AZURE_WAIT,
)
def azure_tables(url: str, *, off: bool) -> Any:
    from azure.core.credentials import AzureNamedKeyCredential
    from azure.data.tables import TableClient

    options = {"retry_total": 0} if off else {}
    credential = AzureNamedKeyCredential("name", "a2V5")
    TableClient(url, "table", credential=credential, **options).get_entity("p", "r")


COSMOS = {
    "writableLocations": [],
    "readableLocations": [],
    "userConsistencyPolicy": {"defaultConsistencyLevel": "Session"},
}


@case(
    "azure-cosmos",
    "4.17.1",
    "ContainerProxy.read_item",
    off="none (0 counts as not given)",
    open={"/": COSMOS},
    vendor=AZURE_WAIT,
)
def azure_cosmos(url: str) -> Any:
    from azure.cosmos import CosmosClient

    client = CosmosClient(url, credential="a2V5", connection_verify=False)
    client.get_database_client("d").get_container_client("c").read_item("i", "p")


@case("msgraph-core", "1.5.2", "GraphClientFactory client, raise_for_status")
def msgraph(url: str) -> Any:
    import asyncio

    from msgraph_core import GraphClientFactory

    async def main() -> None:
        client = GraphClientFactory.create_with_default_middleware()
        (await client.get(url)).raise_for_status()

    asyncio.run(main())


@case(
    "kubernetes",
    "37.0.1",
    "CoreV1Api.list_namespace",
    off="`Configuration.retries = False`",
    frequent=True,
)
def kubernetes(url: str, *, off: bool) -> Any:
    from kubernetes import client

    configuration = client.Configuration(host=url)
    if off:
        configuration.retries = False
    client.CoreV1Api(client.ApiClient(configuration)).list_namespace()


@case(
    "databricks-sdk",
    "0.162.0",
    "clusters.get",
    off="none (`retry_timeout_seconds=0` counts as 300)",
    open={"/.well-known": {}, "/oidc": {}},
)
def databricks(url: str) -> Any:
    from databricks.sdk import WorkspaceClient

    WorkspaceClient(host=url, token="key").clusters.get("id")


@case(
    "snowflake-connector-python",
    "5.2.0",
    "connect",
    off="`retry_max_attempts=1`",
    env="snowflake",
    skip=("hour", "timeout"),  # It sleeps and waits in native code, in real time.
)
def snowflake(url: str) -> Any:
    import snowflake.connector

    host, _, port = url.removeprefix("http://").partition(":")
    snowflake.connector.connect(
        account="a", user="u", password="p", host=host, port=int(port), protocol="http"
    )


def hetzner_body(status: int, words: str) -> Any:
    code = "rate_limit_exceeded" if status == 429 else words.lower().replace(" ", "_")
    return {"error": {"code": code, "message": words, "details": {}}}


@case("hcloud", "2.27.0", "servers.get_all", off="none", body=hetzner_body)
def hcloud(url: str) -> Any:
    from hcloud import Client

    Client("key", api_endpoint=url).servers.get_all()


@case("linode_api4", "5.48.0", "profile", off="`retry=False`")
def linode(url: str, *, off: bool) -> Any:
    from linode_api4 import LinodeClient

    LinodeClient("key", base_url=url, retry=not off).profile()


@case(
    "pydo",
    "0.44.0",
    "account.get",
    off="`retry_total=0`",
    blind={"hour": "it has slept the hour when its own timeout is raised: the wait is over"},
)
def pydo(_: str, *, off: bool) -> Any:
    turn_datetime()
    from pydo import Client

    Client("key", **({"retry_total": 0} if off else {})).account.get()


@case("cloudflare", "5.9.0", "zones.get", off="`max_retries=0`")
def cloudflare(url: str, *, off: bool) -> Any:
    from cloudflare import Cloudflare

    options = {"max_retries": 0} if off else {}
    Cloudflare(api_token="key", base_url=url, **options).zones.get(zone_id="z")


def vault_body(_: int, words: str) -> Any:
    return {"errors": [words]}


@case("hvac", "2.4.0", "secrets.kv.v2.read_secret_version", body=vault_body)
def hvac(url: str) -> Any:
    import hvac

    client = hvac.Client(url, token="key")
    client.secrets.kv.v2.read_secret_version("path", raise_on_deleted_version=True)


@case("ovh", "1.2.0", "Client.get")
def ovh(url: str) -> Any:
    import ovh

    keys = {"application_key": "a", "application_secret": "s", "consumer_key": "c"}
    ovh.Client(endpoint="ovh-eu", **keys).get("/auth/time", _need_auth=False)


@case("minio", "7.2.20", "get_object", off="`http_client=PoolManager(retries=False)`", body=s3_body)
def minio(url: str, *, off: bool) -> Any:
    import urllib3
    from minio import Minio

    pool = urllib3.PoolManager(retries=False) if off else None
    address = url.removeprefix("http://")
    client = Minio(address, "id", "key", secure=False, region="eu", http_client=pool)
    client.get_object("bucket", "key")


@case("docker", "7.2.0", "containers.list")
def docker(url: str) -> Any:
    import docker

    address = url.replace("http", "tcp", 1)
    docker.DockerClient(address, version="1.44").containers.list()
