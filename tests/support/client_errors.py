"""Errors as real clients raise them, and look-alikes of those that are not installed here."""

from __future__ import annotations

import email.message
import urllib.error
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import requests


def raised(call: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as caught:
        call()
    error = caught.value
    assert isinstance(error, Exception)
    return error


# Real clients, fed with answers instead of a network.


def httpx_error(status: int, headers: dict[str, str] | None = None) -> Exception:
    transport = httpx.MockTransport(lambda _: httpx.Response(status, headers=headers))
    with httpx.Client(transport=transport) as client:
        return raised(lambda: client.get("http://server/").raise_for_status())


def requests_error(status: int, headers: dict[str, str] | None = None) -> Exception:
    response = requests.Response()
    response.status_code = status
    response.headers.update(headers or {})
    return raised(response.raise_for_status)


def urllib_error(status: int, headers: dict[str, str] | None = None) -> Exception:
    message = email.message.Message()
    for name, value in (headers or {}).items():
        message[name] = value
    error = urllib.error.HTTPError("http://server/", status, "refused", message, None)
    error.close()
    return error


def look_alike(
    module: str, name: str, base: type[Exception] = Exception, **values: Any
) -> Exception:
    error: Exception = type(name, (base,), {"__module__": module})("look-alike")
    for key, value in values.items():
        setattr(error, key, value)
    return error


def openai_error(status: int, headers: dict[str, str] | None = None) -> Exception:
    response = httpx.Response(status, headers=headers)
    return look_alike("openai", "APIStatusError", response=response, status_code=status)


def stripe_error(status: int, headers: dict[str, str] | None = None) -> Exception:
    return look_alike(
        "stripe._error", "StripeError", http_status=status, headers=headers or {}, code="code"
    )


def aws_error(status: int, headers: dict[str, str] | None = None) -> Exception:
    lower = {name.lower(): value for name, value in (headers or {}).items()}
    response = {
        "Error": {"Code": "SomethingElse"},
        "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": lower},
    }
    return look_alike("botocore.exceptions", "ClientError", response=response)
