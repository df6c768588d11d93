"""Queues, schedules, workers, kinds, figures, errors, and what autoscalers and Prometheus read."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

import posthorse as ph
from posthorse.web.service import Service
from tests.web.conftest import API, HOST
from tests.web.test_reading import submitted


def test_a_queue_is_shown_changed_paused_and_drained(client: TestClient) -> None:
    submitted(client)
    [mail] = client.get(f"{API}/queues").json()["queues"]
    assert (mail["queue"], mail["waiting"], mail["state"]) == ("mail", 1, "open")
    place = f"{API}/queues/mail"
    assert client.get(place).json()["waiting"] == 1
    changed = client.patch(place, json={"rate": "10/s", "max_depth": 5}).json()
    assert changed["live"] == {"rate": "10/s", "max_depth": 5}
    assert client.patch(place, json={"max_depth": None}).json()["settings"]["max_depth"] is None
    for verb, state in (("pause", "paused"), ("resume", "open"), ("drain", "draining")):
        assert client.post(f"{place}:{verb}").json()["state"] == state
    refused = client.post(f"{API}/jobs", json={"kind": "welcome", "args": {"user_id": 8}})
    assert (refused.status_code, refused.json()["type"]) == (503, "urn:posthorse:problem:queue-closed")


@pytest.mark.parametrize("name", ["a/b", "a:pause", "ready", "héllo wörld", "'; DROP TABLE jobs; --"])
def test_a_queue_may_have_any_name(client: TestClient, name: str) -> None:
    from urllib.parse import quote

    place = f"{API}/queues/{quote(name, safe='')}"
    assert client.get(place).status_code == 404
    assert client.post(f"{place}:pause").json()["queue"] == name
    assert client.get(place).json()["state"] == "paused"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"rate": "fast"}, "/rate"), ({"nonsense": 1}, "/nonsense"), ({"self": 1}, "/self"), ({"weight": 0}, "/weight")],
)
def test_a_setting_that_is_none_is_located(client: TestClient, body: dict[str, object], pointer: str) -> None:
    refused = client.patch(f"{API}/queues/mail", json=body)
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, pointer)
    assert client.get(f"{API}/queues").json()["queues"] == []


@pytest.mark.parametrize("name", ["*", "%20", "x" * 300, "%00"])
def test_a_queue_that_cannot_be_is_not_found(client: TestClient, name: str) -> None:
    assert client.post(f"{API}/queues/{name}:pause").status_code == 404


def test_a_schedule_is_shown_steered_and_triggered(client: TestClient, shop: ph.Posthorse) -> None:
    shop.schedule(bound_welcome(shop), name="nightly", cron="0 3 * * *", tz="Europe/Berlin")
    place = f"{API}/schedules/nightly"
    [shown] = client.get(f"{API}/schedules").json()["schedules"]
    assert (shown["name"], shown["kind"]) == ("nightly", "welcome")
    assert client.post(f"{place}:pause").json()["state"] == "paused"
    assert client.post(f"{place}:resume").json()["state"] != "paused"
    assert len(client.get(f"{place}:preview?limit=3").json()["times"]) == 3
    triggered = client.post(f"{place}:trigger")
    assert triggered.status_code == 202
    assert client.get(triggered.headers["location"]).json()["schedule"] == "nightly"
    missing = client.get(f"{API}/schedules/nightlie")
    assert (missing.status_code, "nightly" in missing.json()["detail"]) == (404, True)


def bound_welcome(shop: ph.Posthorse) -> ph.Call[object]:
    from posthorse.app.kind import Kind

    welcome: Kind[[int], object] = Kind(shop, shop.registry["welcome"])
    return welcome.bind(7)


def test_workers_kinds_and_health(client: TestClient, shop: ph.Posthorse, store_url: str) -> None:
    submitted(client)
    sick = client.get(f"{API}/health").json()
    assert sick == {"ok": False, "workers": 0, "unserved": [{"queue": "mail", "kind": "welcome", "waiting": 1}]}
    kinds = {one["kind"]: one for one in client.get(f"{API}/kinds").json()["kinds"]}
    assert kinds["welcome"]["arguments"]["required"] == ["user_id"]
    assert kinds["welcome"]["arguments"]["properties"]["user_id"] == {"type": "integer"}
    assert kinds["pack"]["arguments"]["$defs"]["Order"]["required"] == ["item", "count"]
    bare = ph.Posthorse(store_url)
    with shop.worker(), TestClient(Service(bare, hosts={HOST}, is_open=True)) as other:
        assert client.get(f"{API}/workers").json()["workers"][0]["state"] in ("idle", "working")
        assert client.get(f"{API}/health").json()["ok"]
        assert [one["kind"] for one in other.get(f"{API}/kinds").json()["kinds"]] == ["broken", "pack", "welcome"]
    bare.close()


def test_figures_errors_and_the_need_for_workers(client: TestClient, shop: ph.Posthorse) -> None:
    done, broken = submitted(client), submitted(client, "broken", why="x")
    with shop.worker():
        for place in (done, broken):
            client.get(f"{place}?wait=30")
    rows = {row["key"]: row for row in client.get(f"{API}/figures?since=1h").json()["rows"]}
    assert (rows["welcome"]["completed"], rows["broken"]["failed"]) == (1, 1)
    [group] = client.get(f"{API}/errors?since=2020-01-01T00:00:00Z").json()["errors"]
    assert (group["type"], group["count"]) == ("ValueError", 1)
    for _ in range(3):
        submitted(client)
    load = client.get(f"{API}/autoscale/mail?concurrency=1&target=1").json()["queue"]
    assert (load["backlog"], load["running"], load["desired"] >= 1) == (3, 0, True)
    assert client.get(f"{API}/autoscale/empty").json()["queue"]["desired"] == 0


@pytest.mark.parametrize(
    "query",
    ["figures?since=99999999d", "figures?since=x", "figures?by=colour", "figures?since=2026-01-01T00:00:00",
     "autoscale/mail?concurrency=0", "autoscale/mail?target=0", "autoscale/mail?target=nan", "errors?since=-1"],
)  # fmt: skip
def test_a_time_that_is_none_is_refused(client: TestClient, query: str) -> None:
    refused = client.get(f"{API}/{query}")
    assert refused.status_code == 422, refused.text


def test_prometheus_reads_the_figures_of_the_store(client: TestClient) -> None:
    pytest.importorskip("prometheus_client")
    submitted(client)
    page = client.get("/metrics")
    assert page.headers["content-type"].startswith("text/plain")
    assert 'jobs_queue_depth{queue="mail",state="pending"} 1.0' in page.text
    assert "jobs_slots" not in page.text, "a service is not a worker"
