"""Payments, mail, customers, shops and books."""

from __future__ import annotations

from typing import Any

from ..case import case

FERN_OFF = '`request_options={"max_retries": 0}`'


def stripe_body(_: int, words: str) -> Any:
    return {"error": {"message": words, "type": "invalid_request_error", "code": "lock_timeout"}}


@case("stripe", "16.1.0", "StripeClient.v1.customers.list", body=stripe_body, frequent=True)
def stripe(url: str) -> Any:
    import stripe

    client = stripe.StripeClient("sk_test_key", base_addresses={"api": url})
    client.v1.customers.list()


@case(
    "stripe",
    "16.1.0",
    "Customer.list",
    off="`stripe.max_network_retries = 0`",
    body=stripe_body,
)
def stripe_module(url: str, *, off: bool) -> Any:
    import stripe

    stripe.api_key, stripe.api_base = "sk_test_key", url
    if off:
        stripe.max_network_retries = 0
    stripe.Customer.list()


def twilio_body(status: int, words: str) -> Any:
    return {"code": 20000 + status, "message": words, "more_info": "", "status": status}


@case("twilio", "9.13.0", "messages.create", body=twilio_body, frequent=True)
def twilio(_: str) -> Any:
    from twilio.rest import Client

    Client("AC1", "token").messages.create(to="+1", from_="+2", body="x")


@case("twilio", "9.13.0", "messages.list", body=twilio_body)
def twilio_list(_: str) -> Any:
    from twilio.rest import Client

    return Client("AC1", "token").messages.list(limit=5)


@case("sendgrid", "6.12.5", "send")
def sendgrid(url: str) -> Any:
    from sendgrid import SendGridAPIClient
    from sendgrid.helpers.mail import Mail

    SendGridAPIClient("key", host=url).send(Mail("a@b.test", "c@d.test", "s", "x"))


@case("hubspot-api-client", "12.0.0", "contacts.basic_api.get_page", off="`retry=False`")
def hubspot(_: str, *, off: bool) -> Any:
    from hubspot import HubSpot

    options = {"retry": False} if off else {}
    HubSpot(access_token="key", **options).crm.contacts.basic_api.get_page()


@case("simple-salesforce", "1.12.10", "query")
def salesforce(_: str) -> Any:
    from simple_salesforce import Salesforce

    Salesforce(instance="i.salesforce.test", session_id="s").query("SELECT Id FROM Account")


@case("docusign-esign", "6.1.0", "EnvelopesApi.get_envelope", off="none documented")
def docusign(url: str) -> Any:
    from docusign_esign import ApiClient, EnvelopesApi

    EnvelopesApi(ApiClient(host=url)).get_envelope("account", "id")


def quickbooks_body(status: int, words: str) -> Any:
    kind, code = ("THROTTLE", "3001") if status == 429 else ("Validation", "6000")
    return {"Fault": {"type": kind, "Error": [{"Message": words, "code": code}]}}


@case("python-quickbooks", "0.9.12", "Customer.all", body=quickbooks_body)
def quickbooks(_: str) -> Any:
    from intuitlib.client import AuthClient
    from quickbooks import QuickBooks
    from quickbooks.objects.customer import Customer

    auth = AuthClient("id", "secret", "http://localhost", "sandbox", access_token="t")
    Customer.all(qb=QuickBooks(auth_client=auth, company_id="1"))


@case("mailchimp-marketing", "3.0.80", "ping.get")
def mailchimp(_: str) -> Any:
    from mailchimp_marketing import Client

    client = Client()
    client.set_config({"api_key": "key", "server": "us1"})
    client.ping.get()


@case("python-intercom", "5.0.1", "admins.list")
def intercom(url: str) -> Any:
    from intercom import Intercom

    Intercom(token="key", base_url=url).admins.list()


@case("squareup", "46.0.0.20260916", "payments.list", off=FERN_OFF)
def square(url: str, *, off: bool) -> Any:
    from square import Square

    options = {"request_options": {"max_retries": 0}} if off else {}
    list(Square(token="key", base_url=url).payments.list(**options))


@case("plaid-python", "46.0.0", "accounts_get")
def plaid(url: str) -> Any:
    import plaid
    from plaid.api.plaid_api import PlaidApi
    from plaid.model.accounts_get_request import AccountsGetRequest

    client = plaid.ApiClient(plaid.Configuration(host=url))
    PlaidApi(client).accounts_get(AccountsGetRequest(access_token="t"))


@case("ShopifyAPI", "12.7.0", "Product.find")
def shopify(_: str) -> Any:
    import shopify

    version = sorted(v for v in shopify.ApiVersion.versions if v[:2] == "20") or ["unstable"]
    shopify.ShopifyResource.activate_session(shopify.Session("s.myshopify.test", version[-1], "t"))
    shopify.Product.find()


@case("zenpy", "2.0.57", "users.me", off="none")
def zenpy(_: str) -> Any:
    from zenpy import Zenpy

    return Zenpy(subdomain="s", email="a@b.test", token="t").users.me()


@case("woocommerce", "3.0.0", 'get("products"), the response returned')
def woocommerce(url: str) -> Any:
    from woocommerce import API

    return API(url=url, consumer_key="k", consumer_secret="s").get("products")


@case("posthog", "7.91.1", "request.batch_post")
def posthog(url: str) -> Any:
    from posthog.request import batch_post

    batch_post("key", host=url, batch=[])


@case("newrelic-api", "1.0.6", "Applications.list")
def newrelic(_: str) -> Any:
    from newrelic_api import Applications

    Applications(api_key="key").list()


@case(
    "contentful-management",
    "2.16.0",
    "spaces().all",
    off="`max_rate_limit_retries=0`",
    vendor={"headers": {"X-Contentful-RateLimit-Reset": "7"}},
)
def contentful(_: str) -> Any:
    from contentful_management import Client

    Client("key").spaces().all()


@case("pyairtable", "3.5.1", "Table.all", off="`retry_strategy=None`")
def airtable(url: str, *, off: bool) -> Any:
    from pyairtable import Api

    options = {"retry_strategy": None} if off else {}
    Api("key", endpoint_url=url, **options).table("b", "t").all()


@case("asana", "5.4.0", "UsersApi.get_user", off="`retry_strategy = False`")
def asana(url: str, *, off: bool) -> Any:
    import asana

    configuration = asana.Configuration()
    configuration.host = url
    if off:
        configuration.retry_strategy = False
    asana.UsersApi(asana.ApiClient(configuration)).get_user("me", {})


def resend_body(status: int, words: str) -> Any:
    name = "rate_limit_exceeded" if status == 429 else words.lower().replace(" ", "_")
    return {"statusCode": status, "name": name, "message": words}


@case("resend", "2.52.0", "Emails.send", body=resend_body)
def resend(url: str) -> Any:
    import resend

    resend.api_key, resend.api_url = "key", url
    resend.Emails.send({"from": "a@b.test", "to": "c@d.test", "subject": "s", "html": "x"})
