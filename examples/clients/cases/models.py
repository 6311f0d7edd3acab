"""Model providers, and what people build their prompts on."""

from __future__ import annotations

from typing import Any

from ..case import case

MESSAGES = [{"role": "user", "content": "Hello"}]
NO_RETRIES = "`max_retries=0`"


def google_body(status: int, words: str) -> Any:
    """Return an error as Google's services put it."""
    return {"error": {"code": status, "message": words, "status": words.upper().replace(" ", "_")}}


def google_wait(status: int = 429) -> dict[str, Any]:
    """Return Google's way to tell a wait: in the body, no header."""
    info = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "7s"}
    body = google_body(status, "Resource exhausted")
    body["error"] |= {
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.Help", "links": []}, info],
    }
    return {"status": status, "body": body}


@case("openai", "3.57.0", "chat.completions.create", off=NO_RETRIES, frequent=True)
def openai(url: str, *, off: bool) -> Any:
    from openai import OpenAI

    client = OpenAI(base_url=url, api_key="key", **({"max_retries": 0} if off else {}))
    client.chat.completions.create(model="m", messages=MESSAGES)


@case("openai", "3.57.0", "AsyncOpenAI, chat.completions.create")
def openai_async(url: str) -> Any:
    import asyncio

    from openai import AsyncOpenAI

    async def main() -> None:
        client = AsyncOpenAI(base_url=url, api_key="key")
        await client.chat.completions.create(model="m", messages=MESSAGES)

    asyncio.run(main())


@case("anthropic", "2.14.0", "messages.create", off=NO_RETRIES, frequent=True)
def anthropic(url: str, *, off: bool) -> Any:
    from anthropic import Anthropic

    client = Anthropic(base_url=url, api_key="key", **({"max_retries": 0} if off else {}))
    client.messages.create(model="m", max_tokens=9, messages=MESSAGES)


@case(
    "google-genai",
    "3.6.1",
    "models.generate_content",
    vendor=google_wait(),
    body=google_body,
    frequent=True,
)
def google_genai(url: str) -> Any:
    from google import genai

    client = genai.Client(api_key="key", http_options={"base_url": url})
    client.models.generate_content(model="m", contents="Hello")


@case(
    "google-genai",
    "3.6.1",
    "aio.models.generate_content",
    vendor=google_wait(),
    body=google_body,
)
def google_genai_async(url: str) -> Any:
    import asyncio

    from google import genai

    async def main() -> None:
        # It has no timeout of its own.
        options = {"base_url": url, "timeout": 60_000}
        client = genai.Client(api_key="key", http_options=options)
        await client.aio.models.generate_content(model="m", contents="Hello")

    asyncio.run(main())


@case("google-genai", "3.6.1", "interactions.create", vendor=google_wait(), body=google_body)
def google_genai_interactions(url: str) -> Any:
    from google import genai

    client = genai.Client(api_key="key", http_options={"base_url": url})
    client.interactions.create(model="m", input="Hello")


@case("groq", "1.7.0", "chat.completions.create", off=NO_RETRIES)
def groq(url: str, *, off: bool) -> Any:
    from groq import Groq

    client = Groq(base_url=url, api_key="key", **({"max_retries": 0} if off else {}))
    client.chat.completions.create(model="m", messages=MESSAGES)


@case("together", "3.1.1", "chat.completions.create", off=NO_RETRIES)
def together(url: str, *, off: bool) -> Any:
    from together import Together

    client = Together(base_url=url, api_key="key", **({"max_retries": 0} if off else {}))
    client.chat.completions.create(model="m", messages=MESSAGES)


@case("cohere", "7.3.1", "ClientV2.chat", off='`request_options={"max_retries": 0}`')
def cohere(url: str, *, off: bool) -> Any:
    from cohere import ClientV2

    client = ClientV2(base_url=url, api_key="key")
    options = {"request_options": {"max_retries": 0}} if off else {}
    client.chat(model="m", messages=MESSAGES, **options)


@case("mistralai", "3.7.0", "chat.complete")
def mistralai(url: str) -> Any:
    from mistralai.client import Mistral

    Mistral(server_url=url, api_key="key").chat.complete(model="m", messages=MESSAGES)


HUGGING_FACE = {"headers": {"RateLimit": '"api";r=0;t=7', "RateLimit-Policy": '"api";q=500;w=300'}}


@case("huggingface_hub", "2.4.0", "HfApi.model_info", vendor=HUGGING_FACE, frequent=True)
def huggingface_hub(url: str) -> Any:
    from huggingface_hub import HfApi

    HfApi(endpoint=url, token="hf_key").model_info("owner/name")


@case("huggingface_hub", "2.4.0", "InferenceClient.chat_completion", vendor=HUGGING_FACE)
def huggingface_chat(url: str) -> Any:
    from huggingface_hub import InferenceClient

    InferenceClient(base_url=url, api_key="hf_key").chat_completion(MESSAGES)


@case("huggingface_hub", "2.4.0", "HfApi.list_models", vendor=HUGGING_FACE)
def huggingface_list(url: str) -> Any:
    from huggingface_hub import HfApi

    return list(HfApi(endpoint=url, token="hf_key").list_models())


@case("huggingface_hub", "2.4.0", "hf_hub_download", vendor=HUGGING_FACE)
def huggingface_download(url: str) -> Any:
    from tempfile import TemporaryDirectory

    from huggingface_hub import hf_hub_download

    with TemporaryDirectory() as folder:
        hf_hub_download("owner/name", "file.json", endpoint=url, cache_dir=folder)


@case("replicate", "1.0.7", "models.get")
def replicate(url: str) -> Any:
    from replicate import Client

    Client(api_token="key", base_url=url).models.get("owner/name")


@case("replicate", "1.0.7", "predictions.create")
def replicate_post(url: str) -> Any:
    from replicate import Client

    Client(api_token="key", base_url=url).predictions.create(version="1", input={})


@case("ollama", "0.6.3", "Client.chat")
def ollama(url: str) -> Any:
    from ollama import Client

    Client(url).chat("m", messages=MESSAGES)


@case("voyageai", "0.5.0", "Client.embed")
def voyageai(url: str) -> Any:
    import voyageai

    voyageai.Client(api_key="key", base_url=url).embed(["Hello"], model="m")


@case("litellm", "1.110.2", 'completion(model="openai/...")', off=NO_RETRIES, env="litellm")
def litellm(url: str, *, off: bool) -> Any:
    import litellm

    options = {"max_retries": 0, "num_retries": 0} if off else {}
    litellm.completion("openai/m", MESSAGES, api_base=url, api_key="key", **options)


@case("litellm", "1.110.2", 'completion(model="anthropic/...")', env="litellm")
def litellm_anthropic(url: str) -> Any:
    import litellm

    litellm.completion("anthropic/m", MESSAGES, api_base=url, api_key="key")


@case(
    "litellm",
    "1.110.2",
    'completion(model="gemini/...")',
    vendor=google_wait(),
    body=google_body,
    env="litellm",
)
def litellm_gemini(url: str) -> Any:
    import litellm

    litellm.completion("gemini/m", MESSAGES, api_base=url, api_key="key")


@case("cerebras-cloud-sdk", "1.91.0", "chat.completions.create", off=NO_RETRIES)
def cerebras(url: str, *, off: bool) -> Any:
    from cerebras.cloud.sdk import Cerebras

    options = {"max_retries": 0} if off else {}
    client = Cerebras(base_url=url, api_key="key", warm_tcp_connection=False, **options)
    client.chat.completions.create(model="m", messages=MESSAGES)


@case("writer-sdk", "3.0.0", "chat.chat", off=NO_RETRIES)
def writer(url: str, *, off: bool) -> Any:
    from writerai import Writer

    client = Writer(base_url=url, api_key="key", **({"max_retries": 0} if off else {}))
    client.chat.chat(model="m", messages=MESSAGES)


@case("perplexityai", "0.46.1", "chat.completions.create", off=NO_RETRIES)
def perplexity(url: str, *, off: bool) -> Any:
    from perplexity import Perplexity

    client = Perplexity(base_url=url, api_key="key", **({"max_retries": 0} if off else {}))
    client.chat.completions.create(model="m", messages=MESSAGES)


@case("elevenlabs", "2.78.0", "voices.search", off='`request_options={"max_retries": 0}`')
def elevenlabs(url: str, *, off: bool) -> Any:
    from elevenlabs.client import ElevenLabs

    options = {"request_options": {"max_retries": 0}} if off else {}
    ElevenLabs(base_url=url, api_key="key").voices.search(**options)


@case("tavily-python", "0.8.5", "TavilyClient.search")
def tavily(url: str) -> Any:
    from tavily import TavilyClient

    TavilyClient(api_key="key", api_base_url=url).search("Hello")


@case("exa-py", "2.28.0", "Exa.search")
def exa(url: str) -> Any:
    from exa_py import Exa

    Exa(api_key="key", base_url=url).search("Hello")


@case("firecrawl-py", "4.55.0", "Firecrawl.scrape")
def firecrawl(url: str) -> Any:
    from firecrawl import Firecrawl

    Firecrawl(api_key="fc-key", api_url=url).scrape("http://example.test/")


@case("assemblyai", "1.8.2", "Transcriber.submit")
def assemblyai(url: str) -> Any:
    import assemblyai

    assemblyai.settings.base_url, assemblyai.settings.api_key = url, "key"
    assemblyai.Transcriber().submit("http://example.test/sound.mp3")
