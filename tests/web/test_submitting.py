"""Submitting over HTTP: what `enqueue` accepts is accepted, what it refuses is refused, and the mistake is located."""

from __future__ import annotations

from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.web import Role
from posthorse.web.service import Service
from tests.web.conftest import API, HOST, Login

JOBS = f"{API}/jobs"
WELCOME: dict[str, Any] = {"kind": "welcome", "args": {"user_id": 7}}


def pointers(response: Response) -> list[str]:
    """Return where the mistakes of a request are; the problem itself is checked, too."""
    problem = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["type"].startswith("urn:posthorse:problem:")
    assert problem["status"] == response.status_code
    assert "Traceback" not in response.text
    return [flaw["pointer"] for flaw in problem.get("errors", [])]


def test_a_submitted_job_is_stored_and_says_where_it_is(client: TestClient, shop: ph.Posthorse) -> None:
    submitted = client.post(JOBS, json=WELCOME | {"priority": 3, "tags": ["new"], "metadata": {"user": 1}})
    assert submitted.status_code == 202, submitted.text
    assert submitted.headers["retry-after"] == "1"
    job = submitted.json()
    assert submitted.headers["location"] == f"{JOBS}/{job['id']}"
    assert (job["state"], job["queue"], job["priority"], job["tags"]) == ("pending", "mail", 3, ["new"])
    assert client.get(submitted.headers["location"]).json()["id"] == job["id"]
    assert shop.get_job(job["id"]).status().metadata == {"user": 1}


def test_a_preferred_wait_returns_the_result(client: TestClient, shop: ph.Posthorse) -> None:
    with shop.worker():
        done = client.post(JOBS, json=WELCOME, headers={"Prefer": "respond-async, wait=30"})
    assert done.status_code == 200, done.text
    assert done.headers["preference-applied"] == "wait=30"
    assert (done.json()["state"], done.json()["result"]) == ("completed", "welcome 7 ")


def test_a_wait_that_was_too_short_returns_the_job_as_it_is(client: TestClient) -> None:
    waiting = client.post(JOBS, json=WELCOME, headers={"Prefer": "wait=0"})
    assert (waiting.status_code, waiting.json()["state"]) == (202, "pending")


@pytest.mark.parametrize("preference", ["wait=-1", "wait=abc", "wait=1e9", "", "wait", "wait=99999999999"])
def test_a_preference_that_cannot_be_read_does_not_count(client: TestClient, preference: str) -> None:
    submitted = client.post(JOBS, json=WELCOME, headers={"Prefer": preference})
    assert submitted.status_code == 202
    assert "preference-applied" not in submitted.headers


def test_the_same_idempotency_key_gives_the_same_job(client: TestClient, shop: ph.Posthorse) -> None:
    first, second = (client.post(JOBS, json=WELCOME, headers={"Idempotency-Key": "once"}) for _ in range(2))
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert shop.jobs().count() == 1
    other = client.post(JOBS, json=WELCOME | {"args": {"user_id": 8}}, headers={"Idempotency-Key": "once"})
    assert (other.status_code, other.json()["type"]) == (409, "urn:posthorse:problem:key-conflict")


@pytest.mark.parametrize("key", ["", "k" * 513])
def test_an_idempotency_key_that_is_none_is_refused(client: TestClient, shop: ph.Posthorse, key: str) -> None:
    refused = client.post(JOBS, json=WELCOME, headers={"Idempotency-Key": key})
    assert (refused.status_code, refused.json()["errors"][0]["header"]) == (400, "Idempotency-Key")
    assert shop.jobs().count() == 0


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"kind": "welcome", "args": {"user_id": "7"}}, "/args/user_id"),
        ({"kind": "welcome", "args": {"user_id": True}}, "/args/user_id"),
        ({"kind": "welcome", "args": {"user_id": None}}, "/args/user_id"),
        ({"kind": "welcome", "args": {"user_id": 2**63}}, None),
        ({"kind": "welcome", "args": {}}, "/args/user_id"),
        ({"kind": "welcome"}, "/args/user_id"),
        ({"kind": "welcome", "args": {"user_id": 7, "__proto__": 1}}, "/args/__proto__"),
        ({"kind": "welcome", "args": [7]}, "/args"),
        ({"kind": "pack", "args": {"order": {"item": "tea", "count": "3"}}}, "/args/order/count"),
        ({"kind": "pack", "args": {"order": {"item": "tea", "count": 3}, "notes": [1]}}, "/args/notes"),
        ({"kind": "os.system", "args": {}}, "/kind"),
        ({"kind": "../x"}, "/kind"),
        ({"args": {}}, ""),
        (WELCOME | {"nonsense": 1}, ""),
        (WELCOME | {"priority": 1.5}, "/priority"),
        (WELCOME | {"priority": 2**31}, "/priority"),
        (WELCOME | {"delay": -1}, "/delay"),
        (WELCOME | {"delay": "soon"}, "/delay"),
        (WELCOME | {"run_at": "2026-11-12T08:30:00"}, "/run_at"),
        (WELCOME | {"run_at": "2026-W01-1"}, "/run_at"),
        (WELCOME | {"run_at": "10000-01-01T00:00:00Z"}, "/run_at"),
        (WELCOME | {"queue": "*"}, "/queue"),
        (WELCOME | {"queue": ""}, "/queue"),
        (WELCOME | {"timeout": 0}, "/timeout"),
        (WELCOME | {"max_attempts": -1}, "/max_attempts"),
        (WELCOME | {"key": ""}, "/key"),
        (WELCOME | {"tags": ["a" * 300]}, "/tags"),
    ],
    ids=str,
)
def test_a_mistake_is_named_by_its_place_and_stores_nothing(
    client: TestClient, shop: ph.Posthorse, body: dict[str, Any], pointer: str | None
) -> None:
    refused = client.post(JOBS, json=body)
    if pointer is None:  # Python's integers have no limit
        assert refused.status_code == 202
        return
    assert refused.status_code == 422, refused.text
    assert pointers(refused) == [pointer]
    assert shop.jobs().count() == 0


def test_a_job_is_checked_without_being_stored(client: TestClient, shop: ph.Posthorse) -> None:
    checked = client.post(f"{JOBS}?validate_only=true", json=WELCOME)
    assert (checked.status_code, checked.json()["arguments"]) == (200, {"user_id": 7})
    assert pointers(client.post(f"{JOBS}?validate_only=true", json={"kind": "welcome"})) == ["/args/user_id"]
    assert shop.jobs().count() == 0


def test_a_queue_without_room_says_when_to_come_again(client: TestClient, shop: ph.Posthorse) -> None:
    shop.queue("mail").set(max_depth=1)
    client.post(JOBS, json=WELCOME)
    full = client.post(JOBS, json=WELCOME)
    assert (full.status_code, full.json()["type"]) == (503, "urn:posthorse:problem:queue-full")
    assert int(full.headers["retry-after"]) >= 1


def test_a_service_without_an_application_submits_nothing(store_url: str) -> None:
    bare = ph.Posthorse(store_url)
    with TestClient(Service(bare, hosts={HOST}, is_open=True)) as client:
        refused = client.post(JOBS, json=WELCOME)
        assert (refused.status_code, refused.json()["type"]) == (501, "urn:posthorse:problem:no-application")
        assert bare.jobs().count() == 0
    bare.close()


def test_a_submitter_reads_its_own_jobs_alone(login: Login, client: TestClient) -> None:
    eva, adam = login(Role.SUBMITTER, name="eva"), login(Role.SUBMITTER, name="adam")
    own = eva.post(JOBS, json=WELCOME, headers={"Idempotency-Key": "k"})
    assert own.status_code == 202
    place = own.headers["location"]
    assert [who.get(place).status_code for who in (eva, adam, client)] == [200, 404, 200]
    taken = adam.post(JOBS, json=WELCOME, headers={"Idempotency-Key": "k"})
    assert taken.status_code == 409
    assert own.json()["id"] not in taken.text
    others = client.post(JOBS, json=WELCOME).headers["location"]
    assert eva.get(others).status_code == 404


def test_credentials_of_a_tenant_submit_its_jobs_alone(login: Login, shop: ph.Posthorse) -> None:
    acme = login(Role.ADMIN, tenant="acme")
    job = acme.post(JOBS, json=WELCOME)
    assert shop.get_job(job.json()["id"]).status().tenant == "acme"
    assert acme.post(JOBS, json=WELCOME | {"tenant": "acme"}).status_code == 202
    assert acme.post(JOBS, json=WELCOME | {"tenant": "other"}).status_code == 403
    assert login(Role.ADMIN, tenant="other").get(job.headers["location"]).status_code == 404
    assert shop.jobs().count() == 2
