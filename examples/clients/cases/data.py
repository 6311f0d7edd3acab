"""Search, databases, and sources of data."""

from __future__ import annotations

from typing import Any

from ..case import case


@case("elasticsearch", "9.5.1", "search", off="`max_retries=0`", frequent=True)
def elasticsearch(url: str, *, off: bool) -> Any:
    from elasticsearch import Elasticsearch

    Elasticsearch(url, **({"max_retries": 0} if off else {})).search()


@case("elasticsearch", "9.5.1", "AsyncElasticsearch.search")
def elasticsearch_async(url: str) -> Any:
    import asyncio

    from elasticsearch import AsyncElasticsearch

    async def main() -> None:
        async with AsyncElasticsearch(url) as client:
            await client.search()

    asyncio.run(main())


@case("opensearch-py", "3.2.0", "search", off="`max_retries=0`")
def opensearch(url: str, *, off: bool) -> Any:
    from opensearchpy import OpenSearch

    OpenSearch(url, **({"max_retries": 0} if off else {})).search()


@case("pinecone", "10.2.0", "list_indexes", off="`RetryConfig(max_retries=0)`")
def pinecone(url: str) -> Any:
    from pinecone import Pinecone

    Pinecone(api_key="key", host=url).list_indexes()


@case("meilisearch", "0.43.0", "get_indexes")
def meilisearch(url: str) -> Any:
    from meilisearch import Client

    Client(url).get_indexes()


@case(
    "algoliasearch",
    "4.48.0",
    "SearchClientSync.list_indices",
    off="`max_rate_limit_retries = 0` leaves 11",
)
def algoliasearch(_: str) -> Any:
    from algoliasearch.search.client import SearchClientSync
    from algoliasearch.search.config import SearchConfig

    SearchClientSync.create_with_config(SearchConfig("APP", "key")).list_indices()


@case(
    "qdrant-client",
    "1.20.0",
    "get_collections",
)
def qdrant(url: str) -> Any:
    from qdrant_client import QdrantClient

    QdrantClient(url, check_compatibility=False).get_collections()


@case("weaviate-client", "4.24.1", "collections.list_all", open={"/v1/meta": {"version": "1.30.0"}})
def weaviate(url: str) -> Any:
    import weaviate

    port = int(url.rpartition(":")[2])
    client = weaviate.connect_to_local(port=port, skip_init_checks=True)
    try:
        client.collections.list_all()
    finally:
        client.close()


@case("typesense", "2.1.1", "collections.retrieve", off="`num_retries=0`")
def typesense(url: str) -> Any:
    import typesense

    port = url.rpartition(":")[2]
    node = {"host": "127.0.0.1", "port": port, "protocol": "http"}
    typesense.Client({"nodes": [node], "api_key": "key"}).collections.retrieve()


def supabase_client(url: str) -> Any:
    from supabase import create_client

    return create_client(url, "key")


def postgrest_body(status: int, words: str) -> Any:
    return {"message": words, "code": str(status), "hint": None, "details": None}


@case("supabase", "2.34.1", "table(...).select", body=postgrest_body)
def supabase(url: str) -> Any:
    supabase_client(url).table("t").select("*").execute()


def supabase_body(status: int, words: str) -> Any:
    return {"statusCode": str(status), "error": words, "message": words, "msg": words}


@case("supabase", "2.34.1", "storage.list_buckets", body=supabase_body)
def supabase_storage(url: str) -> Any:
    supabase_client(url).storage.list_buckets()


@case("supabase", "2.34.1", "auth.sign_in_with_password", body=supabase_body)
def supabase_auth(url: str) -> Any:
    supabase_client(url).auth.sign_in_with_password({"email": "a@b.test", "password": "p"})


@case("appwrite", "27.0.0", "Users.get")
def appwrite(url: str) -> Any:
    from appwrite.client import Client
    from appwrite.services.users import Users

    client = Client()
    client.set_endpoint(url).set_project("p").set_key("key")
    Users(client).get("id")


@case("influxdb-client", "1.50.0", "query_api().query")
def influxdb(url: str) -> Any:
    from influxdb_client import InfluxDBClient

    InfluxDBClient(url, token="key", org="o").query_api().query("buckets()")


@case("clickhouse-connect", "1.12.0", "get_client")
def clickhouse(url: str) -> Any:
    import clickhouse_connect

    clickhouse_connect.get_client(host="127.0.0.1", port=int(url.rpartition(":")[2]))


def fred_body(_: int, words: str) -> str:
    return f'<error message="{words}" />'


@case("fredapi", "0.5.2", "get_series", body=fred_body)
def fredapi(_: str) -> Any:
    from fredapi import Fred

    Fred("a" * 32).get_series("GDP")


@case("wbgapi", "1.0.14", "data.fetch")
def wbgapi(_: str) -> Any:
    import wbgapi

    list(wbgapi.data.fetch("SP.POP.TOTL", "FRA"))


@case("census", "0.8.27", "acs5.get")
def census(_: str) -> Any:
    from census import Census

    Census("key", year=2022).acs5.get("NAME", {"for": "state:*"})


@case(
    "pyzotero",
    "1.16.0",
    "items",
    off="none",
)
def pyzotero(_: str) -> Any:
    from pyzotero import Zotero

    Zotero("1", "user", "key").items()


@case("arxiv", "4.0.2", "Client.results", off="`num_retries=0`")
def arxiv(_: str, *, off: bool) -> Any:
    import arxiv

    client = arxiv.Client(num_retries=0) if off else arxiv.Client()
    return list(client.results(arxiv.Search("all:paceline")))


@case("biopython", "1.88", "Entrez.efetch", off="`Entrez.max_tries = 1`")
def biopython(_: str, *, off: bool) -> Any:
    from Bio import Entrez

    Entrez.email, Entrez.max_tries = "a@b.test", 1 if off else 3
    Entrez.efetch(db="nucleotide", id="1")


@case("overpy", "0.7", "Overpass.query", off="`max_retry_count=0`, the default")
def overpy(url: str) -> Any:
    import overpy

    overpy.Overpass(url=url).query("node(1);out;")


@case("geopy", "2.5.0", "Nominatim.geocode", off="`URLLibAdapter`")
def geopy(_: str, *, off: bool) -> Any:
    from geopy.adapters import URLLibAdapter
    from geopy.geocoders import Nominatim

    options = {"adapter_factory": URLLibAdapter} if off else {}
    Nominatim(user_agent="a", **options).geocode("Berlin")


@case(
    "semanticscholar",
    "0.12.0",
    "get_paper",
    off="`retry=False`",
    blind={"503": "an empty paper is returned, and nothing of the answer is left"},
)
def semanticscholar(_: str, *, off: bool) -> Any:
    from semanticscholar import SemanticScholar

    return SemanticScholar(retry=not off).get_paper("10.1000/1")


@case("pyalex", "0.21", "Works()[id]", off="`pyalex.config.max_retries = 0`, the default")
def pyalex(_: str) -> Any:
    import pyalex

    return pyalex.Works()["W1"]


@case("habanero", "2.9.2", "Crossref.works")
def habanero(_: str) -> Any:
    from habanero import Crossref

    return Crossref().works(ids="10.1000/1")
