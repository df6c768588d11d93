"""A submitter meets jobs of others by their keys and identities: it learns no id of them, and changes none."""

from __future__ import annotations

from typing import Any

import pytest

import posthorse as ph
from posthorse.web import Role
from tests.web.conftest import API, Login

JOBS = f"{API}/jobs"


@pytest.mark.parametrize("on_conflict", ["replace", "reschedule", "raise"])
def test_no_submitter_takes_over_the_job_of_another(
    shop: ph.Posthorse,
    login: Login,
    on_conflict: Any,  # noqa: ANN401
) -> None:
    @shop.job(unique=ph.Unique(by=["doc"], on_conflict=on_conflict))
    def index(doc: int, text: str) -> None: ...

    def body(text: str) -> dict[str, Any]:
        return {"kind": index.kind, "args": {"doc": 1, "text": text}}

    eva, adam = login(Role.SUBMITTER, name="eva"), login(Role.SUBMITTER, name="adam")
    own = eva.post(JOBS, json=body("a"))
    for taken in (adam.post(JOBS, json=body("b")), adam.post(f"{JOBS}:bulk", json={"jobs": [body("b")]})):
        assert (taken.status_code, taken.json()["type"]) == (409, "urn:posthorse:problem:not-unique")
        assert own.json()["id"] not in taken.text
    place = own.headers["location"]
    assert eva.get(f"{place}/arguments").json()["arguments"]["text"] == "a"
    assert adam.get(place).status_code == 404
    if on_conflict == "raise":
        return
    assert eva.post(JOBS, json=body("c")).json()["id"] == own.json()["id"]
    index.enqueue(1, "d")
    assert eva.get(f"{place}/arguments").json()["arguments"]["text"] == "d", "it is read by whom it was submitted"
