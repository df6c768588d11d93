"""Steering one job over HTTP, deleting it in the version that the client knows, and sending it events."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.web import Role
from tests.web.conftest import API, Login
from tests.web.test_reading import submitted


def failed(client: TestClient, shop: ph.Posthorse, why: str = "x") -> str:
    place = submitted(client, "broken", why=why)
    with shop.worker():
        assert client.get(f"{place}?wait=30").json()["state"] == "failed"
    return place


def test_a_job_is_paused_resumed_cancelled_and_retried(client: TestClient) -> None:
    place = submitted(client)
    for verb, state in (("pause", "paused"), ("resume", "pending"), ("cancel", "cancelled"), ("retry", "pending")):
        done = client.post(f"{place}:{verb}")
        assert (done.status_code, done.json()["state"]) == (202, state)
        assert done.headers["etag"] == client.get(place).headers["etag"]
    client.post(f"{place}:cancel", json={"force": True})
    refused = client.post(f"{place}:pause", json={})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:posthorse:problem:invalid-transition")


def test_a_retry_with_other_arguments_checks_them(client: TestClient, shop: ph.Posthorse) -> None:
    place = failed(client, shop)
    wrong = client.post(f"{place}:retry", json={"arguments": {"why": 7}})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/arguments/why")
    assert client.get(place).json()["state"] == "failed"
    assert client.post(f"{place}:retry", json={"arguments": {"why": "other"}}).status_code == 202
    assert client.get(f"{place}/arguments").json()["arguments"] == {"why": "other"}


def test_a_dead_letter_is_discarded(client: TestClient, shop: ph.Posthorse) -> None:
    assert client.post(f"{failed(client, shop)}:discard").json()["state"] == "cancelled"


@pytest.mark.parametrize("body", [{"force": "yes"}, {"nonsense": 1}, []])
def test_a_body_that_says_something_else_is_refused(client: TestClient, body: object) -> None:
    place = submitted(client)
    assert client.post(f"{place}:cancel", json=body).status_code == 422
    assert client.get(place).json()["state"] == "pending"


def test_a_job_is_deleted_in_the_version_that_is_known(client: TestClient, shop: ph.Posthorse) -> None:
    place = submitted(client)
    stale = client.get(place).headers["etag"]
    assert client.delete(place).status_code == 428
    for malformed in ("*", "abc", f"W/{stale}", '"v1"', f"{stale}, {stale}"):
        assert client.delete(place, headers={"If-Match": malformed}).status_code == 400, malformed
    assert client.delete(place, headers={"If-Match": stale}).status_code == 409, "it is not over"
    fresh = client.post(f"{place}:cancel").headers["etag"]
    assert client.delete(place, headers={"If-Match": stale}).status_code == 412
    assert shop.jobs().count() == 1
    deleted = client.delete(place, headers={"If-Match": fresh})
    assert (deleted.status_code, deleted.content) == (204, b"")
    assert client.get(place).status_code == 404


def test_an_event_reaches_the_job_that_waits_for_it(client: TestClient, shop: ph.Posthorse) -> None:
    @shop.job
    def approval(ctx: ph.Context) -> object:
        return ctx.wait_event("approved")

    assert approval.kind == "approval"
    answer = client.post(f"{API}/jobs", json={"kind": "approval"})
    place = answer.headers["location"]
    sent = [client.post(f"{place}:event", json={"name": "approved", "payload": {"by": who}}) for who in ("eva", "adam")]
    assert [(one.status_code, one.json()["sent"]) for one in sent] == [(202, True), (202, False)]
    with shop.worker():
        assert client.get(f"{place}?wait=30").json()["state"] == "completed"
    assert client.get(f"{place}/result").json()["result"] == {"by": "eva"}
    assert client.post(f"{place}:event", json={"payload": 1}).status_code == 422


def test_the_log_says_who_changed_what(login: Login, client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    place = submitted(client)
    caplog.clear()
    with caplog.at_level("INFO", "posthorse.web"):
        operator = login(Role.OPERATOR, name="eva")
        operator.post(f"{place}:pause")
        operator.get(place)
    assert [one.message for one in caplog.records if one.name == "posthorse.web"] == [
        f"'eva': POST '{place}:pause', 202"
    ]
