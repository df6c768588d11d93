"""`posthorse queues`: the list, and changes that hold until they are reset."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Shop


def listed(shop: Shop, *words: str) -> dict[str, dict[str, object]]:
    return {queue["queue"]: queue for queue in json.loads(shop.done("queues", "--json", *words))}


def test_without_a_store_there_are_no_queues(shop: Shop) -> None:
    result = shop.run("queues", "--url", "sqlite:///none.db")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "no queue yet" in result.stderr
    assert not (shop.folder / "none.db").exists()


def test_queues_are_listed_with_what_waits_and_what_was_said(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "7")
    shop.done("enqueue", "welcome", "8", "--delay", "1h")
    shop.done("queues", "set", "mail", "weight=3", "max_depth=100", "rate=10/s", "labels=zone=a")
    mail = listed(shop)["mail"]
    assert (mail["state"], mail["waiting"], mail["scheduled"], mail["workers"]) == ("open", 1, 1, [])
    assert mail["live"] == {"weight": 3, "max_depth": 100, "rate": "10/s", "labels": {"zone": "a"}}
    table = shop.done("queues").splitlines()
    assert table[0].split()[:3] == ["QUEUE", "STATE", "WAITING"]
    assert "weight=3" in table[-1]
    assert "rate=10/s" in table[-1]


def test_pause_drain_and_resume_are_told(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "7")
    assert shop.done("queues", "pause", "mail") == "mail  paused"
    assert listed(shop)["mail"]["state"] == "paused"
    assert shop.done("queues", "resume", "mail") == "mail  open"
    assert shop.done("queues", "drain", "mail") == "mail  draining"
    refused = shop.run("enqueue", "welcome", "8")
    assert refused.exit_code == 4
    assert "posthorse queues resume mail" in refused.stderr
    assert json.loads(shop.done("queues", "resume", "mail", "--json"))["state"] == "open"


def test_a_full_queue_is_a_conflict(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "7")
    shop.done("queues", "set", "mail", "max_depth=1")
    refused = shop.run("enqueue", "welcome", "8")
    assert (refused.exit_code, refused.stdout) == (4, "")
    assert "is full" in refused.stderr


def test_reset_takes_back_some_or_all(shop: Shop) -> None:
    shop.done("enqueue", "welcome", "7")
    shop.done("queues", "set", "mail", "weight=3", "order=lifo", "window=22:00-06:00 Europe/Berlin")
    shop.done("queues", "reset", "mail", "window")
    assert listed(shop)["mail"]["live"] == {"weight": 3, "order": "lifo"}
    shop.done("queues", "set", "mail", "weight=none")
    assert listed(shop)["mail"]["live"] == {"weight": None, "order": "lifo"}
    shop.done("queues", "reset", "mail")
    assert listed(shop)["mail"]["live"] == {}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("set", "mail", "wieght=3"), "did you mean 'weight'"),
        (("set", "mail", "weight=heavy"), "weight is 'heavy'"),
        (("set", "mail", "weight"), "write SETTING=VALUE"),
        (("set", "mail", "window=22:00-06:00 Mars/Base"), "no time zone"),
        (("set", "mail"), "missing argument"),
        (("reset", "mail", "wieght"), "did you mean 'weight'"),
        (("pause",), "missing argument"),
        (("pause", "mial"), "did you mean 'mail'"),
        (("pause", "a*b"), "queue is 'a*b'"),
        (("stop", "mail"), "no such command"),
    ],
)
def test_wrong_words_are_refused(shop: Shop, words: tuple[str, ...], message: str) -> None:
    shop.done("enqueue", "welcome", "7")
    result = shop.run("queues", *words)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_queue_may_be_paused_before_its_first_job(shop: Shop) -> None:
    result = shop.run("queues", "pause", "brandnew")
    assert (result.exit_code, result.stdout.strip()) == (0, "brandnew  paused")
    assert "No job was ever" in result.stderr


@pytest.mark.parametrize("label", ["zone", "zone=", "=a", "zone=a b"])
def test_a_label_of_a_worker_is_a_name_and_a_value(shop: Shop, label: str) -> None:
    result = shop.run("worker", "--label", label)
    assert result.exit_code == 2
    assert "label" in result.stderr
