"""Who may call what: every route with every role, without a login, from other sites, and under other names.

The walk is made from the table of routes, so a new route is in it.
"""

from __future__ import annotations

import re

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.errors import InvalidOption
from posthorse.web import Access, Role, service
from posthorse.web.access import Permission, Scope
from posthorse.web.route import AnyRoute
from posthorse.web.routes import ROUTES
from posthorse.web.service import Service
from tests.web.conftest import HOST, Login

UNKNOWN = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"
WALK = pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")

MAY = {
    Role.VIEWER: {Permission.READ},
    Role.SUBMITTER: {Permission.SUBMIT},
    Role.OPERATOR: {Permission.READ, Permission.STEER},
    Role.ADMIN: {Permission.READ, Permission.SUBMIT, Permission.STEER, Permission.DELETE},
}
"""What the manual says, and not what the code says."""


def call(client: TestClient, route: AnyRoute, **headers: str) -> int:
    """Call a route, with an id that no job has; return the status."""
    path = re.sub(r"\{\w+(:path)?\}", UNKNOWN, route.path)
    answer = client.request(route.method, path, json={} if route.has_body else None, headers=headers)
    assert answer.status_code < 500, answer.text
    return answer.status_code


def is_allowed(role: Role, route: AnyRoute, *, sees: bool) -> bool:
    may = set(MAY[role])
    if role is Role.SUBMITTER and route.scope is Scope.JOB:
        may |= {Permission.READ, Permission.READ_DATA}
    if sees and role is not Role.SUBMITTER:
        may.add(Permission.READ_DATA)
    return route.needs is Permission.NOTHING or any(one & route.needs for one in may)


@WALK
def test_each_role_may_do_what_the_manual_says(login: Login, route: AnyRoute) -> None:
    for role in Role:
        for sees in (False, True):
            status = call(login(role, sees=sees), route)
            assert (status != 403) == is_allowed(role, route, sees=sees), (role, sees, status)


@WALK
def test_without_a_login_nothing_is_done(shop: ph.Posthorse, route: AnyRoute) -> None:
    with TestClient(service(shop)) as unmounted, TestClient(service(shop, authenticate=lambda _: None)) as unknown:
        expected = (200, 200) if route.needs is Permission.NOTHING else (403, 401)
        assert (call(unmounted, route), call(unknown, route)) == expected


@WALK
def test_credentials_of_a_tenant_reach_no_whole_store(login: Login, route: AnyRoute) -> None:
    status = call(login(Role.ADMIN, tenant="acme", sees=True), route)
    assert (status == 403) == (route.scope is Scope.STORE)


@WALK
def test_a_page_of_another_site_changes_nothing(client: TestClient, route: AnyRoute) -> None:
    is_safe = route.method == "GET"
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.evil.example"},
    ):
        assert (call(client, route, **headers) == 403) != is_safe, headers
    for headers in ({"Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://testserver"}):
        assert call(client, route, **headers) != 403, headers


@WALK
def test_a_name_that_was_bent_to_lead_here_is_refused(client: TestClient, route: AnyRoute) -> None:
    for host in ("evil.example", "testserver.evil.example", "testserver:80:80", ""):
        assert call(client, route, Host=host) == 421, host
    assert call(client, route, Host="TESTSERVER:8080") != 421


def test_who_asks_is_told_by_the_application_around(shop: ph.Posthorse) -> None:
    async def who(request: object) -> Access | None:
        given = getattr(request, "headers", {}).get("x-user")
        return None if given is None else Access(name=given, role=Role.VIEWER)

    with TestClient(service(shop, authenticate=who)) as client:
        place = f"/api/v1/jobs/{UNKNOWN}"
        assert [client.get(place).status_code, client.get(place, headers={"X-User": "eva"}).status_code] == [401, 404]


@pytest.mark.parametrize("wrong", [{"role": "king"}, {"name": ""}, {"tenant": "*"}])
def test_an_access_that_is_none_is_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(InvalidOption):
        Access(**{"name": "eva", "role": "viewer", **wrong})  # type: ignore[arg-type]


def test_a_login_that_fails_is_a_defect_and_shows_nothing(shop: ph.Posthorse, caplog: pytest.LogCaptureFixture) -> None:
    def who(_: object) -> Access:
        raise RuntimeError("canary")

    with TestClient(Service(shop, authenticate=who, hosts={HOST}), raise_server_exceptions=False) as client:
        failed = client.get(f"/api/v1/jobs/{UNKNOWN}")
    assert (failed.status_code, failed.json()["type"]) == (500, "urn:posthorse:problem:internal")
    assert "canary" not in failed.text
    assert failed.json()["trace_id"] in caplog.text
    assert "canary" in caplog.text


@pytest.mark.parametrize("origin", ["http://[x", "http://[", "null", ""])
def test_a_malformed_origin_is_foreign(client: TestClient, origin: str) -> None:
    refused = client.post("/api/v1/jobs", json={"kind": "welcome", "args": {"user_id": 7}}, headers={"Origin": origin})
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:posthorse:problem:forbidden")
