"""The service inside other applications: mounted by FastAPI and Starlette, beside any other one, and two at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

import posthorse as ph
from posthorse.web import Access, Role, service
from posthorse.web.service import Service

ADMIN = Access(name="eva", role=Role.ADMIN, sees_arguments=True)


@pytest.fixture
def shop(tmp_path: Path) -> ph.Posthorse:
    return make_shop(tmp_path / "shop.db")


def make_shop(file: Path) -> ph.Posthorse:
    app = ph.Posthorse(f"sqlite:///{file}")

    @app.job
    def welcome(user_id: int) -> int:
        return user_id

    assert welcome.kind == "welcome"
    return app


def ours(app: ph.Posthorse) -> Service:
    return service(app, authenticate=lambda _: ADMIN)


def tour(client: TestClient, at: str) -> None:
    """Submit a job and read it, where the service says that it is."""
    submitted = client.post(f"{at}/api/v1/jobs", json={"kind": "welcome", "args": {"user_id": 7}})
    assert submitted.status_code == 202, submitted.text
    assert submitted.headers["location"].startswith(f"{at}/api/v1/jobs/")
    assert client.get(submitted.headers["location"]).json()["id"] == submitted.json()["id"]
    assert client.get(f"{at}/livez").status_code == 200
    assert client.get(f"{at}/nothing").headers["content-type"] == "application/problem+json"


def test_it_is_mounted_in_starlette(shop: ph.Posthorse) -> None:
    api = Starlette(routes=[Route("/", lambda _: PlainTextResponse("home")), Mount("/jobs", ours(shop))])
    with TestClient(api) as client:
        tour(client, "/jobs")
        assert client.get("/").text == "home"
    shop.close()


def test_it_is_mounted_in_fastapi(shop: ph.Posthorse) -> None:
    fastapi = pytest.importorskip("fastapi")
    api = fastapi.FastAPI()
    api.mount("/inner/jobs", ours(shop))
    with TestClient(api) as client:
        tour(client, "/inner/jobs")
    shop.close()


def test_it_is_beside_an_application_that_mounts_nothing(shop: ph.Posthorse) -> None:
    begun: list[str] = []

    async def other(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            begun.append((await receive())["type"])
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
        else:
            await PlainTextResponse(scope["path"])(scope, receive, send)

    with TestClient(ours(shop).beside(other, at="/jobs")) as client:
        tour(client, "/jobs")
        assert [client.get(path).text for path in ("/", "/jobsx", "/other/jobs")] == ["/", "/jobsx", "/other/jobs"]
    assert begun == ["lifespan.startup"], "the other application gets its own"
    shop.close()


def test_two_services_in_one_process_keep_apart(tmp_path: Path) -> None:
    shops = [make_shop(tmp_path / f"{name}.db") for name in ("a", "b")]
    api: ASGIApp = Starlette(routes=[Mount(f"/{name}", ours(shop)) for name, shop in zip("ab", shops, strict=True)])
    with TestClient(api) as client:
        tour(client, "/a")
        tour(client, "/b")
        tour(client, "/b")
    assert [shop.jobs().count() for shop in shops] == [1, 2]
    for shop in shops:
        shop.close()


def test_a_location_is_quoted_where_the_mount_is_not_ascii(shop: ph.Posthorse) -> None:
    with TestClient(Starlette(routes=[Mount("/jöbs x", Service(shop, is_open=True))])) as client:
        made = client.post("/j%C3%B6bs%20x/api/v1/jobs", json={"kind": "welcome", "args": {"user_id": 7}})
        assert made.status_code == 202, made.text
        assert made.headers["location"].startswith("/j%C3%B6bs%20x/api/v1/jobs/")
        assert client.get(made.headers["location"]).status_code == 200
