"""The description of the API is valid OpenAPI 3.1, and answers are as it says."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.web import Role, service
from posthorse.web.access import Access
from posthorse.web.handlers import description
from posthorse.web.openapi import describe
from posthorse.web.routes import ROUTES
from tests.web.conftest import API
from tests.web.test_reading import submitted

DESCRIBED: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(describe(ROUTES, root="/jobs")))


def test_the_description_is_valid_and_whole() -> None:
    assert [str(error) for error in OpenAPIV31SpecValidator(DESCRIBED).iter_errors()] == []
    operations = {(method.upper(), path) for path, item in DESCRIBED["paths"].items() for method in item}
    assert operations == {(route.method, route.path.replace(":path}", "}")) for route in ROUTES}


def test_it_is_served_where_the_service_is_mounted(shop: ph.Posthorse) -> None:
    access = Access(name="eva", role=Role.VIEWER)
    from starlette.applications import Starlette
    from starlette.routing import Mount

    with TestClient(Starlette(routes=[Mount("/inner", service(shop, authenticate=lambda _: access))])) as client:
        assert client.get(f"/inner{API}/openapi.json").json()["servers"] == [{"url": "/inner"}]


@pytest.mark.parametrize(
    "path",
    [
        "",
        ":count",
        "/{id}",
        "/{id}/arguments",
        "/{id}/attempts",
        "/{id}/events",
        "/{id}/logs",
        "/{id}/why",
        "/{id}/graph",
    ],
)
def test_answers_are_as_they_are_described(client: TestClient, path: str) -> None:
    job = submitted(client).rpartition("/")[2]
    answer = client.get(f"{API}/jobs{path.replace('{id}', job)}")
    _check(answer, f"{API}/jobs{path}", "get")


def test_other_answers_are_as_they_are_described(client: TestClient) -> None:
    submitted(client)
    for path in ("/queues", "/workers", "/kinds", "/figures", "/errors", "/health", "/schedules"):
        _check(client.get(f"{API}{path}"), f"{API}{path}", "get")
    _check(client.post(f"{API}/jobs", json={"kind": "welcome", "args": {"user_id": 1}}), f"{API}/jobs", "post")
    _check(client.post(f"{API}/jobs", json={"kind": "welcome"}), f"{API}/jobs", "post")


def _check(answer: Any, path: str, method: str) -> None:  # noqa: ANN401
    described = DESCRIBED["paths"][path][method]["responses"][str(answer.status_code)]
    [content] = described["content"].values()
    schema = {**content["schema"], "components": DESCRIBED["components"]}
    Draft202012Validator(schema).validate(answer.json())


def test_the_description_is_made_once(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get(f"{API}/openapi.json")
    monkeypatch.setattr(description, "describe", None)
    again = client.get(f"{API}/openapi.json")
    assert (again.content, again.headers["content-type"]) == (first.content, "application/json")
