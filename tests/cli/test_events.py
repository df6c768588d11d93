"""`posthorse events`: what it prints, and how it ends."""

from __future__ import annotations

import json
import signal

from posthorse.cli.exits import Exit
from posthorse.store.operations.telling import queues_and_watchers
from tests.cli.conftest import Shop
from tests.waiting import until


def is_watched(shop: Shop) -> bool:
    return bool(shop.app.store.read(queues_and_watchers()).watchers)


def test_it_follows_until_interrupted_and_reads_on_from_a_cursor(shop: Shop) -> None:
    shop.done("migrate")
    process = shop.start("events", "-f", "--json", "-k", "welcome")
    assert process.stdout is not None
    until(lambda: is_watched(shop))
    job = shop.done("enqueue", "welcome", "7")
    first = json.loads(process.stdout.readline())
    assert (first["name"], first["job"], first["kind"], first["queue"]) == ("submitted", job, "welcome", "mail")
    shop.done("cancel", job)
    second = json.loads(process.stdout.readline())
    assert (second["name"], second["job"]) == ("cancelled", job)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == Exit.INTERRUPTED
    assert "Traceback" not in said
    read = [json.loads(line) for line in shop.done("events", "--json").splitlines()]
    assert read == [first, second]
    read_on = [json.loads(line) for line in shop.done("events", "--json", "--after", first["cursor"]).splitlines()]
    assert read_on == [second]
    [line] = shop.done("events", "-n", "cancelled").splitlines()
    assert line.split()[1:] == ["cancelled", job, "welcome"]


def test_it_says_why_there_is_nothing(shop: Shop) -> None:
    result = shop.run("events")
    assert (result.exit_code, result.stdout) == (Exit.OK, "")
    assert "There is no store at" in result.stderr
    shop.done("migrate")
    result = shop.run("events")
    assert (result.exit_code, result.stdout) == (Exit.OK, "")
    assert "only while something watches" in result.stderr


def test_wrong_words_are_explained(shop: Shop) -> None:
    shop.done("migrate")
    for words, told in (
        (("-n", "finished"), "there is no event 'finished'"),
        (("--after", "now"), "not a cursor"),
    ):
        result = shop.run("events", *words)
        assert result.exit_code == Exit.USAGE
        assert told in result.stderr
