"""What is to be known of a library before it is refused."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from . import cases


@dataclass(frozen=True, slots=True)
class Case:
    """One library, and one call of it.

    Attributes:
        name: What it is chosen by: the name of its function.
        package: The distribution that is installed.
        version: Its version.
        call: Builds the client and makes the call, as the library's own documentation does. It is
            given the address of the server, and where it has a parameter `off`, whether the
            client's own retries are to be switched off.
        title: The call as the table names it.
        off: How the client's own retries are switched off, for people; None where it has none.
        vendor: The answer by which this vendor's server tells the wait in its own way: status,
            headers, body.
        body: What this vendor's server says in an error, where the client needs it to be so.
        open: What is answered to requests under a path, where a client has to be let in first.
        blind: Why the refusal cannot be known from what the client raises, if so; a mapping if
            that is so in some modes.
        extras: More distributions, as `name==version`.
        env: The virtual environment, where another case's packages would be in the way.
        grpc: It speaks gRPC.
        frequent: It belongs to the first part of the table.
        skip: Modes that do not end in a case's time, or mean nothing to it.
    """

    name: str
    package: str
    version: str
    call: Callable[..., Any]
    title: str
    off: str | None
    vendor: Mapping[str, Any] | None
    body: Callable[[int, str], Any] | None
    open: Mapping[str, Any]
    blind: str | Mapping[str, str] | None
    extras: tuple[str, ...]
    env: str
    grpc: bool
    frequent: bool
    skip: tuple[str, ...]

    @property
    def switchable(self) -> bool:
        """Whether the call can be made without the client's own retries."""
        return "off" in inspect.signature(self.call).parameters

    def blind_to(self, mode: str) -> str | None:
        """Return why a refusal of this mode cannot be known, or None."""
        return self.blind.get(mode) if isinstance(self.blind, Mapping) else self.blind


REGISTRY: dict[str, Case] = {}


def case(
    package: str,
    version: str,
    title: str,
    *,
    off: str | None = None,
    vendor: Mapping[str, Any] | None = None,
    body: Callable[[int, str], Any] | None = None,
    open: Mapping[str, Any] | None = None,  # noqa: A002 - what the server does
    blind: str | Mapping[str, str] | None = None,
    extras: tuple[str, ...] = (),
    env: str | None = None,
    grpc: bool = False,
    frequent: bool = False,
    skip: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a function as the call of a case; for the arguments see `Case`."""

    def register(call: Callable[..., Any]) -> Callable[..., Any]:
        name = call.__name__.rstrip("_")
        if name in REGISTRY:
            raise ValueError(f"two cases are called {name!r}")
        REGISTRY[name] = Case(
            name,
            package,
            version,
            call,
            title,
            off,
            vendor,
            body,
            open or {},
            blind,
            extras,
            env or call.__module__.rpartition(".")[2],
            grpc,
            frequent,
            skip,
        )
        return call

    return register


def load() -> dict[str, Case]:
    """Return all cases by their names. The libraries themselves are not imported."""
    for module in sorted(each.name for each in pkgutil.iter_modules(cases.__path__)):
        importlib.import_module(f"{cases.__name__}.{module}")
    return REGISTRY
