"""What operators use: clouds, monitoring, code, tickets and addresses."""

from __future__ import annotations

from typing import Any

from ..case import case


@case(
    "datadog-api-client",
    "2.62.0",
    "MonitorsApi.get_monitor",
    vendor={"headers": {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "7"}},
)
def datadog(_: str) -> Any:
    from datadog_api_client import ApiClient, Configuration
    from datadog_api_client.v1.api.monitors_api import MonitorsApi

    configuration = Configuration()
    configuration.api_key |= {"apiKeyAuth": "key", "appKeyAuth": "key"}
    MonitorsApi(ApiClient(configuration)).get_monitor(1)


@case(
    "pagerduty",
    "7.2.0",
    'rget("users"), retry[429] = 1',
    off="`client.retry[429] = 1` leaves 2",
    vendor={"headers": {"ratelimit-remaining": "0", "ratelimit-reset": "7"}},
)
def pagerduty(_: str) -> Any:
    from pagerduty import RestApiV2Client

    client = RestApiV2Client("key")
    client.retry[429] = 1
    client.rget("users")


def okta_limit() -> dict[str, str]:
    import time

    reset = str(int(time.time()) + 7)
    return {
        "X-Rate-Limit-Limit": "600",
        "X-Rate-Limit-Remaining": "0",
        "X-Rate-Limit-Reset": reset,
    }


@case(
    "okta",
    "3.4.6",
    "list_users",
    vendor={"headers": okta_limit},
    # It takes its own server's headers for granted.
    blind=dict.fromkeys(
        ("seconds", "none", "date", "503", "hour"),
        "it drops an answer without X-Rate-Limit-Reset, and trips over the None in its place",
    ),
)
def okta(_: str) -> Any:
    import asyncio

    from okta.client import Client

    async def main() -> Any:
        # It has no timeout of its own.
        client = Client({"orgUrl": "https://o.okta.test", "token": "t", "requestTimeout": 30})
        return await client.list_users()

    return asyncio.run(main())


@case("python-jenkins", "1.8.3", "get_whoami")
def jenkins(url: str) -> Any:
    from jenkins import Jenkins

    Jenkins(url).get_whoami()


@case("proxmoxer", "2.3.0", "nodes.get", extras=("requests==2.34.2",))
def proxmoxer(_: str) -> Any:
    from proxmoxer import ProxmoxAPI

    client = ProxmoxAPI("p.test:443", user="u@pam", token_name="t", token_value="v")
    client.nodes.get()


@case("grafana-client", "5.1.4", "organization.get_current_organization")
def grafana(url: str) -> Any:
    from grafana_client import GrafanaApi

    port = int(url.rpartition(":")[2])
    client = GrafanaApi(("u", "p"), host="127.0.0.1", port=port, protocol="http")
    client.organization.get_current_organization()


@case("splunk-sdk", "2.1.1", "client.connect(...).apps.list")
def splunk(url: str) -> Any:
    from splunklib import client

    port = int(url.rpartition(":")[2])
    service = client.Service(host="127.0.0.1", port=port, scheme="http", token="t")
    service.apps.list()


@case("dnsimple", "2.15.0", "identity.whoami")
def dnsimple(url: str) -> Any:
    from dnsimple import Client

    Client(access_token="t", base_url=url).identity.whoami()


@case("launchdarkly-api", "25.0.1", "ProjectsApi.get_projects")
def launchdarkly(url: str) -> Any:
    from launchdarkly_api import ApiClient, Configuration
    from launchdarkly_api.api.projects_api import ProjectsApi

    ProjectsApi(ApiClient(Configuration(host=url))).get_projects()


def shodan_body(_: int, words: str) -> Any:
    return {"error": words}


@case("shodan", "1.31.0", "Shodan.host", body=shodan_body)
def shodan(_: str) -> Any:
    from shodan import Shodan

    Shodan("key").host("192.0.2.1")


def virustotal_body(status: int, words: str) -> Any:
    code = "TooManyRequestsError" if status == 429 else "BadRequestError"
    return {"error": {"code": code, "message": words}}


@case("vt-py", "0.22.0", "get_object", body=virustotal_body)
def virustotal(_: str) -> Any:
    import vt

    with vt.Client("key") as client:
        client.get_object("/files/abc")


@case("ipinfo", "5.6.0", "getDetails")
def ipinfo(_: str) -> Any:
    import ipinfo

    ipinfo.getHandler("t").getDetails("8.8.8.8")


@case("geoip2", "5.3.0", "webservice.Client.city")
def geoip2(_: str) -> Any:
    from geoip2.webservice import Client

    with Client(1, "key") as client:
        client.city("192.0.2.1")


def tableau_body(status: int, words: str) -> str:
    return (
        '<tsResponse xmlns="http://tableau.com/api">'
        f'<error code="{status}000"><summary>{words}</summary><detail>{words}</detail></error>'
        "</tsResponse>"
    )


@case("tableauserverclient", "0.42", "auth.sign_in", body=tableau_body)
def tableau(url: str) -> Any:
    import tableauserverclient

    server = tableauserverclient.Server(url, use_server_version=False)
    server.auth.sign_in(tableauserverclient.PersonalAccessTokenAuth("n", "t", ""))


@case("github3.py", "4.0.1", "GitHub.user")
def github3(_: str) -> Any:
    import github3

    github3.GitHub().user("name")


def github_limit() -> dict[str, str]:
    import time

    reset = str(int(time.time()) + 7)
    return {
        "X-RateLimit-Limit": "60",
        "X-RateLimit-Remaining": "0",
        "X-RateLimit-Reset": reset,
    }


@case(
    "gidgethub",
    "6.0.0",
    "httpx.GitHubAPI.getitem",
    vendor={"status": 403, "headers": github_limit},
    extras=("httpx==0.28.1",),
)
def gidgethub(_: str) -> Any:
    import asyncio

    import gidgethub.httpx
    import httpx

    async def main() -> None:
        async with httpx.AsyncClient() as client:
            await gidgethub.httpx.GitHubAPI(client, "me").getitem("/users/name")

    asyncio.run(main())


def b2_body(status: int, words: str) -> Any:
    code = "too_many_requests" if status == 429 else "bad_request"
    return {"status": status, "code": code, "message": words}


@case("b2sdk", "2.13.2", "B2Api.authorize_account", off="none", body=b2_body)
def b2(_: str) -> Any:
    from b2sdk.v2 import B2Api, InMemoryAccountInfo

    B2Api(InMemoryAccountInfo()).authorize_account("production", "id", "key")


@case("cloudinary", "1.46.3", "api.ping")
def cloudinary(_: str) -> Any:
    import cloudinary.api

    cloudinary.config(cloud_name="c", api_key="k", api_secret="s")
    cloudinary.api.ping()


@case("hishel", "2.0.0", "CacheClient.get, raise_for_status", extras=("httpx==0.28.1",))
def hishel(url: str) -> Any:
    from hishel.httpx import CacheClient

    CacheClient().get(url).raise_for_status()


@case("gql", "4.4.0", "RequestsHTTPTransport, execute", extras=("requests_toolbelt==1.0.0",))
def gql(url: str) -> Any:
    from gql import Client, gql
    from gql.transport.requests import RequestsHTTPTransport

    Client(transport=RequestsHTTPTransport(url)).execute(gql("{ a }"))


@case(
    "trino",
    "0.340.0",
    "cursor.execute",
    off="`max_attempts=1`",
)
def trino(url: str, *, off: bool) -> Any:
    from trino.dbapi import connect

    port = int(url.rpartition(":")[2])
    options = {"max_attempts": 1} if off else {}
    connect(host="127.0.0.1", port=port, user="u", **options).cursor().execute("SELECT 1")


@case("kaggle", "2.2.5", "dataset_list")
def kaggle(_: str) -> Any:
    import os

    os.environ |= {"KAGGLE_USERNAME": "u", "KAGGLE_KEY": "k"}
    from kaggle.api.kaggle_api_extended import KaggleApi

    client = KaggleApi()
    client.authenticate()
    client.dataset_list()


@case("mlflow-skinny", "3.17.2", "MlflowClient.get_experiment", env="mlflow")
def mlflow(url: str) -> Any:
    from mlflow import MlflowClient

    MlflowClient(url).get_experiment("1")


@case("zeep", "4.3.3", "Client(wsdl)")
def zeep(url: str) -> Any:
    from zeep import Client

    Client(f"{url}/service.wsdl")


@case("aiobotocore", "3.10.0", "s3 get_object", env="aiobotocore")
def aiobotocore(url: str) -> Any:
    import asyncio

    from aiobotocore.session import get_session

    async def main() -> None:
        session = get_session()
        async with session.create_client(
            "s3",
            endpoint_url=url,
            region_name="us-east-1",
            aws_access_key_id="k",
            aws_secret_access_key="s",
        ) as client:
            await client.get_object(Bucket="bucket", Key="key")

    asyncio.run(main())


def s3_slow_down(status: int, words: str) -> str:
    code = "SlowDown" if status in (429, 503) else words.replace(" ", "")
    return f"<Error><Code>{code}</Code><Message>{words}</Message></Error>"


@case(
    "s3fs",
    "2026.9.0",
    "S3FileSystem.cat_file",
    body=s3_slow_down,
    env="aiobotocore",
)
def s3fs(url: str) -> Any:
    from s3fs import S3FileSystem

    system = S3FileSystem(endpoint_url=url, key="k", secret="s", skip_instance_cache=True)
    system.cat_file("bucket/key")


@case("gcsfs", "2026.10.1", "GCSFileSystem.info", env="gcsfs")
def gcsfs(url: str) -> Any:
    from gcsfs import GCSFileSystem

    # It has no timeout of its own.
    options = {"skip_instance_cache": True, "requests_timeout": 1_000}
    GCSFileSystem(token="anon", endpoint_url=url, **options).info("bucket/key")


@case("aliyun-python-sdk-core", "2.16.1", "do_action_with_exception")
def aliyun(_: str) -> Any:
    from aliyunsdkcore.client import AcsClient
    from aliyunsdkcore.request import CommonRequest

    request = CommonRequest("ecs.aliyun.test", "2014-05-26", "DescribeRegions")
    AcsClient("id", "secret", "cn-hangzhou").do_action_with_exception(request)


@case(
    "tencentcloud-sdk-python-common",
    "3.1.195",
    "CommonClient.call_json, 200 with RequestLimitExceeded",
    vendor={
        "status": 200,
        "body": {
            "Response": {
                "Error": {"Code": "RequestLimitExceeded", "Message": "m"},
                "RequestId": "r",
            }
        },
    },
)
def tencent(_: str) -> Any:
    from tencentcloud.common.common_client import CommonClient
    from tencentcloud.common.credential import Credential

    client = CommonClient("cvm", "2017-03-12", Credential("id", "key"), "ap-guangzhou")
    client.call_json("DescribeZones", {})


@case("ibm-cloud-sdk-core", "3.28.0", "BaseService.send")
def ibm(url: str) -> Any:
    from ibm_cloud_sdk_core import BaseService
    from ibm_cloud_sdk_core.authenticators import NoAuthAuthenticator

    service = BaseService(service_url=url, authenticator=NoAuthAuthenticator())
    service.send(service.prepare_request("GET", "/x"))


@case("msrest", "0.7.1", "ServiceClient.send, ClientRequestError")
def msrest(url: str) -> Any:
    from msrest import Configuration, ServiceClient

    client = ServiceClient(None, Configuration(url))
    client.send(client.get("/x")).raise_for_status()


@case("azure-keyvault-secrets", "4.12.0", "SecretClient.get_secret", off="`retry_total=0`")
def keyvault(_: str, *, off: bool) -> Any:
    import time

    from azure.core.credentials import AccessToken
    from azure.keyvault.secrets import SecretClient

    class Credential:
        def get_token(self, *_: str, **__: Any) -> AccessToken:
            return AccessToken("t", int(time.time()) + 10**6)

    options = {"retry_total": 0} if off else {}
    SecretClient("https://v.vault.azure.test", Credential(), **options).get_secret("name")
