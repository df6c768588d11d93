"""The fixtures of these tests: an application with some kinds, and clients of its service, in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.web import Access, Role
from posthorse.web.service import Service

HOST = "testserver"
API = "/api/v1"


@dataclass
class Order:
    item: str
    count: int


@pytest.fixture
def shop(app: ph.Posthorse) -> ph.Posthorse:
    """Return an application on each store, with kinds."""

    @app.job(queue="mail")
    def welcome(user_id: int, name: str = "") -> str:
        return f"welcome {user_id} {name}"

    @app.job
    def pack(order: Order, notes: list[str] | None = None) -> int:
        return order.count

    @app.job(max_attempts=1)
    def broken(why: str) -> None:
        raise ValueError(why)

    assert {welcome.kind, pack.kind, broken.kind} <= set(app.registry)
    return app


Login = Callable[..., TestClient]
"""Makes a client whose requests have an access: by its role, a tenant, and whether it sees arguments."""


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """Yield the clients of a test, each with an event loop of its own until the end."""
    with ExitStack() as opened:
        yield opened


@pytest.fixture
def client(shop: ph.Posthorse, clients: ExitStack) -> TestClient:
    """Return a client that may do everything, as on the machine of `posthorse serve`."""
    return clients.enter_context(TestClient(Service(shop, hosts={HOST}, is_open=True), raise_server_exceptions=True))


@pytest.fixture
def login(shop: ph.Posthorse, clients: ExitStack) -> Login:
    """Return what makes clients with less access."""

    def make(role: Role, *, name: str = "eva", tenant: str | None = None, sees: bool = False) -> TestClient:
        access = Access(name=name, role=role, tenant=tenant, sees_arguments=sees)
        return clients.enter_context(TestClient(Service(shop, authenticate=lambda _: access)))

    return make
