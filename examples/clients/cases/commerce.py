"""Marketing, mail, payments, shops and accounts."""

from __future__ import annotations

from typing import Any

from ..case import case
from .business import FERN_OFF


@case(
    "klaviyo-api", "25.0.0", "Accounts.get_accounts, max_retries=1", off="`max_retries=1` leaves 4"
)
def klaviyo(_: str) -> Any:
    from klaviyo_api import KlaviyoAPI

    KlaviyoAPI("key", max_delay=60, max_retries=1).Accounts.get_accounts()


@case("xero-python", "15.2.0", "AccountingApi.get_accounts", off="none documented")
def xero(_: str) -> Any:
    import time

    from xero_python.accounting import AccountingApi
    from xero_python.api_client import ApiClient, Configuration
    from xero_python.api_client.oauth2 import OAuth2Token

    token = {
        "access_token": "t",
        "refresh_token": "r",
        "token_type": "Bearer",
        "expires_in": 1800,
        "expires_at": time.time() + 10**6,
        "scope": ["accounting.settings"],
    }
    client = ApiClient(Configuration(oauth2_token=OAuth2Token(client_id="i", client_secret="s")))
    client.oauth2_token_getter(lambda: token)
    client.oauth2_token_saver(lambda _: None)
    AccountingApi(client).get_accounts("tenant")


@case(
    "boxsdk",
    "10.18.0",
    "users.get_user_me",
)
def box(_: str) -> Any:
    from box_sdk_gen import BoxClient, BoxDeveloperTokenAuth

    BoxClient(auth=BoxDeveloperTokenAuth(token="t")).users.get_user_me()


@case("boxsdk", "3.14.0", "user().get", off="`API.MAX_RETRY_ATTEMPTS = 0`", env="box3")
def box3(_: str, *, off: bool) -> Any:
    from boxsdk import Client, OAuth2
    from boxsdk.config import API

    API.MAX_RETRY_ATTEMPTS = 0 if off else 5
    Client(OAuth2("id", "secret", access_token="t")).user().get()


@case("monday", "2.2.1", "boards.fetch_boards")
def monday(_: str) -> Any:
    from monday import MondayClient

    MondayClient("t").boards.fetch_boards()


@case("mailjet-rest", "1.9.1", "send.create")
def mailjet(_: str) -> Any:
    from mailjet_rest import Client

    return Client(auth=("key", "secret"), version="v3.1").send.create(data={"Messages": []})


def postmark_body(status: int, words: str) -> Any:
    return {"ErrorCode": status, "Message": words}


@case("postmarker", "1.0", "bounces.all", body=postmark_body)
def postmarker(_: str) -> Any:
    from postmarker.core import PostmarkClient

    return list(PostmarkClient(server_token="t").bounces.all())


@case("mailersend", "2.2.0", "domains.list_domains")
def mailersend(_: str) -> Any:
    from mailersend import MailerSendClient

    return MailerSendClient(api_key="key").domains.list_domains()


@case("brevo-python", "5.1.0", "account.get_account", off=FERN_OFF)
def brevo(url: str, *, off: bool) -> Any:
    from brevo import Brevo

    options = {"request_options": {"max_retries": 0}} if off else {}
    Brevo(api_key="key", base_url=url).account.get_account(**options)


@case("sib-api-v3-sdk", "7.6.0", "AccountApi.get_account")
def sib_api(url: str) -> Any:
    from sib_api_v3_sdk import AccountApi, ApiClient, Configuration

    configuration = Configuration()
    configuration.host = url
    AccountApi(ApiClient(configuration)).get_account()


@case("braintree", "4.48.0", "customer.find")
def braintree(url: str) -> Any:
    from braintree import BraintreeGateway, Configuration, Environment

    port = url.rpartition(":")[2]
    place = Environment("stand-in", "127.0.0.1", port, url, False, None)
    gateway = BraintreeGateway(
        Configuration(environment=place, merchant_id="m", public_key="p", private_key="k")
    )
    gateway.customer.find("1")


def mollie_body(status: int, words: str) -> Any:
    return {"status": status, "title": words, "detail": words}


@case("mollie-api-python", "4.0.0", "payments.list", body=mollie_body)
def mollie(_: str) -> Any:
    from mollie.api.client import Client

    client = Client()
    client.set_api_key("test_" + "x" * 30)
    client.payments.list()


def razorpay_body(status: int, words: str) -> Any:
    code = "BAD_REQUEST_ERROR" if status < 500 else "SERVER_ERROR"
    return {"error": {"code": code, "description": words}}


@case("razorpay", "2.0.1", "payment.all", body=razorpay_body)
def razorpay(url: str) -> Any:
    import razorpay

    razorpay.Client(auth=("key", "secret"), base_url=url).payment.all()


def chargebee_body(status: int, words: str) -> Any:
    name = "api_request_limit_exceeded" if status == 429 else "param_wrong_value"
    kind = "invalid_request"
    return {"message": words, "type": kind, "api_error_code": name, "http_status_code": status}


@case("chargebee", "3.29.0", "Customer.list", body=chargebee_body)
def chargebee(_: str) -> Any:
    import certifi
    from chargebee import Chargebee

    Chargebee.ca_cert_path = certifi.where()  # It has a bundle of its own.
    Chargebee(api_key="key", site="s").Customer.list()


def smartsheet_body(status: int, words: str) -> Any:
    return {"errorCode": 4003 if status == 429 else 1012, "message": words, "refId": "r"}


@case(
    "smartsheet-python-sdk",
    "4.4.0",
    "Users.get_current_user, errors_as_exceptions",
    off="`max_retry_time=0` leaves 2",
    body=smartsheet_body,
)
def smartsheet(_: str) -> Any:
    from smartsheet import Smartsheet

    client = Smartsheet("t")
    client.errors_as_exceptions(True)
    client.Users.get_current_user()


def nylas_body(status: int, words: str) -> Any:
    kind = "rate_limit_error" if status == 429 else "invalid_request_error"
    return {"request_id": "r", "error": {"type": kind, "message": words}}


@case("nylas", "6.18.0", "grants.list", body=nylas_body)
def nylas(url: str) -> Any:
    from nylas import Client

    Client("key", api_uri=url).grants.list()


def easypost_body(status: int, words: str) -> Any:
    return {"error": {"code": "RATE_LIMITED" if status == 429 else "BAD", "message": words}}


@case("easypost", "10.7.0", "address.retrieve", body=easypost_body)
def easypost(_: str) -> Any:
    from easypost import EasyPostClient

    EasyPostClient("key").address.retrieve("adr_1")


def gocardless_body(status: int, words: str) -> Any:
    kind = "rate_limit_error" if status == 429 else "invalid_api_usage"
    reason = "rate_limit_exceeded" if status == 429 else "bad_request"
    error = {
        "message": words,
        "type": kind,
        "code": status,
        "errors": [{"reason": reason, "message": words}],
    }
    return {"error": error}


@case("gocardless-pro", "3.22.0", "customers.list", body=gocardless_body)
def gocardless(_: str) -> Any:
    from gocardless_pro import Client

    Client(access_token="t", environment="sandbox").customers.list()


@case(
    "paypalrestsdk",
    "1.13.3",
    "Payment.find",
    open={
        "/v1/oauth2/token": {
            "access_token": "t",
            "token_type": "Bearer",
            "expires_in": 10**6,
            "scope": "s",
            "app_id": "a",
        }
    },
)
def paypal(_: str) -> Any:
    import sys

    from paypalrestsdk import Api, Payment

    # After a 401 it fetches new tokens until the stack is full.
    sys.setrecursionlimit(400)
    api = Api({"mode": "sandbox", "client_id": "i", "client_secret": "s"})
    Payment.find("PAY-1", api=api)


@case("vonage", "4.9.1", "account.get_balance")
def vonage(_: str) -> Any:
    from vonage import Auth, Vonage

    Vonage(Auth(api_key="key", api_secret="secret")).account.get_balance()


@case("plivo", "4.63.0", "account.get")
def plivo(_: str) -> Any:
    import plivo

    plivo.RestClient("MA" + "X" * 18, "token").account.get()


def messagebird_body(status: int, words: str) -> Any:
    return {"errors": [{"code": 9 if status != 429 else 429, "description": words}]}


@case("messagebird", "2.2.0", "balance", body=messagebird_body)
def messagebird(_: str) -> Any:
    from messagebird import Client

    Client("key").balance()


@case("office365-rest-python-client", "3.3.0", "web.get().execute_query()")
def office365(_: str) -> Any:
    from office365.runtime.auth.token_response import TokenResponse
    from office365.sharepoint.client_context import ClientContext

    token = TokenResponse(access_token="t", token_type="Bearer")
    context = ClientContext("https://s.sharepoint.test/sites/a").with_access_token(lambda: token)
    context.web.get().execute_query()


def amazon_body(status: int, words: str) -> Any:
    code = "QuotaExceeded" if status == 429 else "InvalidInput"
    return {"errors": [{"code": code, "message": words, "details": ""}]}


@case(
    "python-amazon-sp-api",
    "2.1.35",
    "Sellers.get_marketplace_participation",
    body=amazon_body,
    open={
        "/auth/o2/token": {
            "access_token": "t",
            "expires_in": 3600,
            "token_type": "bearer",
            "refresh_token": "r",
        }
    },
)
def amazon_sp(_: str) -> Any:
    from sp_api.api import Sellers

    credentials = {"refresh_token": "r", "lwa_app_id": "i", "lwa_client_secret": "s"}
    return Sellers(credentials=credentials).get_marketplace_participation()


@case("trello", "0.9.7.3", "boards.get", env="trello")
def trello_old(_: str) -> Any:
    from trello import TrelloApi

    TrelloApi("key").boards.get("id")
