"""What is built on models, and services for it: search, speech, sandboxes, traces."""

from __future__ import annotations

from typing import Any

from ..case import case
from ..recorder import turn_datetime
from .models import MESSAGES, NO_RETRIES

FERN_OFF = '`request_options={"max_retries": 0}`'


@case("langchain-openai", "1.7.4", "ChatOpenAI.invoke", off=NO_RETRIES, env="agents")
def langchain_openai(url: str, *, off: bool) -> Any:
    from langchain_openai import ChatOpenAI

    options = {"max_retries": 0} if off else {}
    ChatOpenAI(base_url=url, api_key="key", model="m", **options).invoke("Hello")


@case("langchain-anthropic", "1.7.10", "ChatAnthropic.invoke", off=NO_RETRIES, env="agents")
def langchain_anthropic(url: str, *, off: bool) -> Any:
    from langchain_anthropic import ChatAnthropic

    options = {"max_retries": 0} if off else {}
    ChatAnthropic(base_url=url, api_key="key", model="m", **options).invoke("Hello")


@case("langsmith", "0.14.17", "Client.read_project", env="agents")
def langsmith(url: str) -> Any:
    from langsmith import Client

    Client(api_url=url, api_key="key").read_project(project_name="p")


@case("instructor", "1.17.0", "from_openai, create", env="agents")
def instructor(url: str) -> Any:
    import instructor
    from openai import OpenAI

    client = instructor.from_openai(OpenAI(base_url=url, api_key="key"))
    client.chat.completions.create(model="m", messages=MESSAGES, response_model=int)


@case("pydantic-ai-slim", "2.68.0", "Agent.run_sync", env="agents")
def pydantic_ai(url: str) -> Any:
    turn_datetime()
    from pydantic_ai import Agent
    from pydantic_ai.models.openai import OpenAIChatModel
    from pydantic_ai.providers.openai import OpenAIProvider

    model = OpenAIChatModel("m", provider=OpenAIProvider(base_url=url, api_key="key"))
    Agent(model).run_sync("Hello")


@case("openai-agents", "0.24.0", "Runner.run_sync", env="agents")
def openai_agents(url: str) -> Any:
    from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
    from openai import AsyncOpenAI

    set_tracing_disabled(True)
    client = AsyncOpenAI(base_url=url, api_key="key")
    agent = Agent("a", model=OpenAIChatCompletionsModel("m", client))
    Runner.run_sync(agent, "Hello")


@case("fal-client", "1.0.3", "SyncClient.submit")
def fal(_: str) -> Any:
    from fal_client import SyncClient

    SyncClient(key="key").submit("fal-ai/flux", arguments={})


@case("runpod", "1.12.0", "Endpoint.run")
def runpod(_: str) -> Any:
    import runpod

    runpod.api_key = "key"
    runpod.Endpoint("id").run({"input": {}})


@case("deepgram-sdk", "7.16.0", "manage.v1.projects.list", off=FERN_OFF)
def deepgram(_: str, *, off: bool) -> Any:
    from deepgram import DeepgramClient

    options = {"request_options": {"max_retries": 0}} if off else {}
    DeepgramClient(api_key="key").manage.v1.projects.list(**options)


@case("cartesia", "4.2.0", "voices.list", off=NO_RETRIES)
def cartesia(url: str, *, off: bool) -> Any:
    from cartesia import Cartesia

    options = {"max_retries": 0} if off else {}
    Cartesia(api_key="key", base_url=url, **options).voices.list()


@case("ai21", "4.3.0", "chat.completions.create")
def ai21(url: str) -> Any:
    from ai21 import AI21Client
    from ai21.models.chat import ChatMessage

    client = AI21Client(api_key="key", api_host=url)
    messages = [ChatMessage(role="user", content="Hello")]
    client.chat.completions.create(model="m", messages=messages)


@case("aleph-alpha-client", "11.5.1", "Client.models")
def aleph_alpha(url: str) -> Any:
    from aleph_alpha_client import Client

    Client("t", host=url).models()


@case("langfuse", "5.0.4", "api.health.health", env="agents")
def langfuse(url: str) -> Any:
    from langfuse import Langfuse

    client = Langfuse(public_key="p", secret_key="s", base_url=url, tracing_enabled=False)
    client.api.health.health()


@case("serpapi", "1.2.0", "Client.search")
def serpapi(_: str) -> Any:
    import serpapi

    serpapi.Client(api_key="key").search(q="Hello")


@case("scrapingbee", "2.2.0", "get, the response returned")
def scrapingbee(_: str) -> Any:
    from scrapingbee import ScrapingBeeClient

    return ScrapingBeeClient(api_key="key").get("http://example.test")


@case("apify-client", "3.4.0", "user().get", off="`max_retries=0`")
def apify(url: str, *, off: bool) -> Any:
    from datetime import timedelta

    from apify_client import ApifyClient

    options = {"max_retries": 0} if off else {}
    # It waits in native code, in real time.
    short = timedelta(seconds=1)
    ApifyClient("t", api_url=url, timeout_short=short, **options).user().get()


@case("browserbase", "1.22.0", "projects.list", off=NO_RETRIES)
def browserbase(url: str, *, off: bool) -> Any:
    from browserbase import Browserbase

    options = {"max_retries": 0} if off else {}
    Browserbase(api_key="key", base_url=url, **options).projects.list()


@case("llama-cloud", "2.19.0", "projects.list", off=NO_RETRIES)
def llama_cloud(url: str, *, off: bool) -> Any:
    from llama_cloud import LlamaCloud

    options = {"max_retries": 0} if off else {}
    LlamaCloud(api_key="key", base_url=url, **options).projects.list()


@case("unstructured-client", "0.46.4", "workflows.list_workflows")
def unstructured(url: str) -> Any:
    from unstructured_client import UnstructuredClient

    client = UnstructuredClient(api_key_auth="key", server_url=url)
    client.workflows.list_workflows(request={})


def dashscope_body(status: int, words: str) -> Any:
    code = "Throttling.RateQuota" if status == 429 else "InvalidParameter"
    return {"code": code, "message": words, "request_id": "r"}


@case(
    "dashscope",
    "2.0.2",
    "Generation.call",
    body=dashscope_body,
)
def dashscope(_: str) -> Any:
    import dashscope

    return dashscope.Generation.call("qwen", prompt="Hello", api_key="key")


@case(
    "zhipuai",
    "2.1.5.20250825",
    "chat.completions.create",
    off=NO_RETRIES,
    extras=("sniffio==1.3.1",),
    env="zhipuai",
)
def zhipuai(url: str, *, off: bool) -> Any:
    from zhipuai import ZhipuAI

    options = {"max_retries": 0} if off else {}
    client = ZhipuAI(api_key="a.b", base_url=url, **options)
    client.chat.completions.create(model="m", messages=MESSAGES)


def deepl_body(_: int, words: str) -> Any:
    return {"message": words}


@case("deepl", "1.32.0", "DeepLClient.get_usage", body=deepl_body)
def deepl(url: str) -> Any:
    import deepl

    deepl.DeepLClient("key", server_url=url).get_usage()


@case("azure-search-documents", "12.0.0", "SearchClient.get_document_count", off="`retry_total=0`")
def azure_search(_: str, *, off: bool) -> Any:
    from azure.core.credentials import AzureKeyCredential
    from azure.search.documents import SearchClient

    options = {"retry_total": 0} if off else {}
    key = AzureKeyCredential("key")
    SearchClient("https://s.search.test", "index", key, **options).get_document_count()


@case("chromadb-client", "1.5.9", "HttpClient.heartbeat", env="chromadb")
def chromadb(url: str) -> Any:
    import chromadb

    chromadb.HttpClient("127.0.0.1", int(url.rpartition(":")[2])).heartbeat()


@case("zyte-api", "0.11.0", "ZyteAPI.get", off="none")
def zyte(url: str) -> Any:
    from zyte_api import ZyteAPI

    ZyteAPI(api_key="key", api_url=f"{url}/").get(
        {"url": "http://example.test", "httpResponseBody": True}
    )


@case("clerk-backend-api", "7.0.0", "users.get")
def clerk(url: str) -> Any:
    from clerk_backend_api import Clerk

    Clerk(bearer_auth="key", server_url=url).users.get(user_id="u")


@case("workos", "10.6.0", "organizations.list_organizations")
def workos(url: str) -> Any:
    turn_datetime()
    from workos import WorkOSClient

    WorkOSClient(api_key="key", client_id="c", base_url=url).organizations.list_organizations()
