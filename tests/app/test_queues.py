"""Queues of an application: declared, read from files, changed live, full, drained."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

import posthorse as ph

SEEDS = """
queues:
  fast: {max_duration: 60s, worker_count: 50, instance_type: t3.medium}
  slow: {max_duration: 6h,  worker_count: 10, instance_type: c5.xlarge}
"""


@pytest.fixture
def mail(app: ph.Posthorse) -> ph.Kind[[int], None]:
    @app.job(queue="mail")
    async def letter(number: int) -> None: ...

    return letter


def test_declaring_a_queue_touches_no_store(tmp_path: Path) -> None:
    app = ph.Posthorse(f"sqlite:///{tmp_path}/none.db")
    queue = app.queue("mail", weight=3, rate="10/s", concurrency=5)
    assert (queue.name, repr(queue)) == ("mail", "<Queue 'mail'>")
    assert not (tmp_path / "none.db").exists()
    assert (queue.settings().weight, queue.settings().rate) == (3, ph.Rate("10/s"))
    app.close()


def test_a_live_change_outlives_the_application_until_it_is_taken_back(app: ph.Posthorse) -> None:
    app.queue("mail", weight=3, max_depth=7).set(weight=5, max_depth=None)
    deployed = ph.Posthorse(app.settings.url)
    queue = deployed.queue("mail", weight=4, max_depth=9)
    assert (queue.settings().weight, queue.settings().max_depth) == (5, None)
    queue.reset("weight")
    assert (queue.settings().weight, queue.settings().max_depth) == (4, None)
    queue.reset()
    assert (queue.settings().weight, queue.settings().max_depth) == (4, 9)
    deployed.close()


def test_verbs_for_coroutines_do_the_same(app: ph.Posthorse) -> None:
    async def main() -> list[tuple[bool, bool, int]]:
        queue, seen = app.queue("mail"), list[tuple[bool, bool, int]]()
        for step in (queue.apause(), queue.adrain(), queue.aset(weight=9), queue.aresume(), queue.areset()):
            await step
            now = await queue.asettings()
            seen.append((now.paused, now.draining, now.weight))
        return seen

    assert asyncio.run(main()) == [
        (True, False, 1),
        (True, True, 1),
        (True, True, 9),
        (False, False, 9),
        (False, False, 1),
    ]


def test_wrong_settings_are_refused_and_change_nothing(app: ph.Posthorse) -> None:
    queue = app.queue("mail")
    with pytest.raises(ph.InvalidOption, match="did you mean 'weight'"):
        queue.set(wieght=3)  # type: ignore[call-arg]  # that is the point
    with pytest.raises(ph.InvalidOption, match="weight is 'heavy'"):
        queue.set(max_depth=3, weight="heavy")  # type: ignore[arg-type]  # that is the point
    with pytest.raises(ph.InvalidOption, match="did you mean 'paused'"):
        queue.reset("pause")
    with pytest.raises(ph.InvalidOption, match="cannot hold code"):
        queue.set(rate=ph.Rate("1/s", per=len))
    with pytest.raises(ph.InvalidOption, match="queue is ''"):
        app.queue("")
    with pytest.raises(ph.InvalidOption, match="order is 'random'"):
        app.queue("mail", order="random")  # type: ignore[arg-type]  # wrong on purpose
    assert queue.settings() == ph.QueueSettings()


# ── files ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["posthorse.yaml", "posthorse.yml"])
def test_queues_may_be_written_as_yaml(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(f"url: sqlite:///of-file.db\n{SEEDS}")
    app = ph.Posthorse()
    assert app.settings.url == "sqlite:///of-file.db"
    slow = app.queue("slow", max_duration="1h", weight=2).settings()
    assert (slow.max_duration, slow.weight, slow.labels) == (21_600.0, 2, {"instance_type": "c5.xlarge"})
    assert slow.concurrency == ph.Concurrency(10)
    app.close()


def test_or_as_toml_with_the_same_words(tmp_path: Path) -> None:
    (tmp_path / "posthorse.toml").write_text(
        '[queues.slow]\nmax_duration = "6h"\nworker_count = 10\ninstance_type = "c5.xlarge"\n'
        'rate = {limit = "10/s", per = "tenant"}\n'
    )
    app = ph.Posthorse()
    slow = app.queue("slow").settings()
    assert (slow.max_duration, slow.concurrency) == (21_600.0, ph.Concurrency(10))
    assert slow.rate == ph.Rate("10/s", per="tenant")
    app.close()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("queues:\n  fast: {max_duraton: 60s}", "did you mean 'max_duration'"),
        ("queues:\n  fast: {weight: no}", "weight is 'no'"),
        ("queues:\n  fast: 3", "write its settings as a table"),
        ("queues: [fast]", "a table for each queue"),
        ("queus: {}", "did you mean 'queues'"),
        ("queues:\n\tfast: {weight: 3}", "not valid YAML"),
        ("queues:\n  fast: {weight: 3}\n  fast: {weight: 4}", "not valid YAML"),
        ("a: &a [1]\nqueues: *a", "alias"),
        ("- 1", "holds no settings"),
        ("[" * 5000, "not valid YAML"),
        ("queues: !!python/object:os.system {}", "YAML|table|queues"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "posthorse.yaml").write_text(text)
    with pytest.raises(ph.InvalidSettings, match=message):
        ph.Posthorse()


def test_two_files_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "posthorse.yaml").write_text("")
    assert ph.Posthorse().settings.url == "sqlite:///posthorse.db"
    (tmp_path / "posthorse.toml").write_text("")
    with pytest.raises(ph.InvalidSettings, match="keep one"):
        ph.Posthorse()


# ── full and drained ─────────────────────────────────────────────────────────────────────────────────


def test_a_full_queue_says_so_and_takes_nothing(app: ph.Posthorse, mail: ph.Kind[[int], None]) -> None:
    app.queue("mail", max_depth=3)
    app.enqueue_many([mail.bind(number) for number in range(2)])
    with pytest.raises(ph.QueueFull, match="2 jobs wait and 3 may") as full:
        app.enqueue_many([mail.bind(number) for number in range(2)])
    assert (full.value.queue, full.value.depth, full.value.max_depth) == ("mail", 2, 3)
    mail.enqueue(3)
    with pytest.raises(ph.QueueFull):
        asyncio.run(mail.aenqueue(4))
    mail.using(queue="other").enqueue(4)
    mail.using(delay="1h").enqueue(5)
    app.queue("mail").set(max_depth=4)
    mail.enqueue(6)


def test_whoever_can_wait_waits_for_room(app: ph.Posthorse, mail: ph.Kind[[int], None]) -> None:
    app.queue("mail", max_depth=1)
    first = mail.enqueue(1)
    with pytest.raises(ph.QueueFull):
        mail.using(block="0.2s").enqueue(2)
    threading.Timer(0.2, first.cancel).start()
    second = mail.using(block="20s").enqueue(2)
    assert second.created

    async def later() -> ph.Job[None]:
        asyncio.get_running_loop().call_later(0.2, lambda: cancelling.append(asyncio.ensure_future(second.acancel())))
        return await mail.using(block="20s").aenqueue(3)

    cancelling: list[asyncio.Future[object]] = []
    assert asyncio.run(later()).created


def test_inside_a_transaction_nobody_waits(app: ph.Posthorse, mail: ph.Kind[[int], None]) -> None:
    app.queue("mail", max_depth=1)
    mail.enqueue(1)
    with app.store.transaction(), pytest.raises(ph.QueueFull):
        mail.using(block="60s").enqueue(2)


def test_a_drained_queue_takes_no_new_jobs_and_works_off_the_others(
    app: ph.Posthorse, mail: ph.Kind[[int], None]
) -> None:
    waiting = mail.enqueue(1)
    elsewhere = ph.Posthorse(app.settings.url)
    app.queue("mail").drain()
    for closed in (mail, mail.using(delay="1h"), mail.using(block="60s")):
        with pytest.raises(ph.QueueClosed, match="posthorse queues resume mail") as error:
            closed.enqueue(2)
        assert error.value.queue == "mail"
    with app.worker():
        waiting.result(timeout=30)
    app.queue("mail").resume()
    mail.enqueue(3)
    elsewhere.close()


def test_a_drained_queue_gives_what_a_key_or_an_identity_finds_and_takes_back_what_it_let_in(
    app: ph.Posthorse, mail: ph.Kind[[int], None]
) -> None:
    keyed, unique = mail.using(key="one"), mail.using(unique=True)
    first, second = keyed.enqueue(1), unique.enqueue(2)
    app.queue("mail").drain()
    assert (keyed.enqueue(1), unique.enqueue(2)) == (first, second)
    assert asyncio.run(keyed.aenqueue(1)) == first
    for new in (mail.using(key="other"), unique):
        with pytest.raises(ph.QueueClosed):
            new.enqueue(3)
        with pytest.raises(ph.QueueClosed):
            asyncio.run(new.aenqueue(3))
    with pytest.raises(ph.QueueClosed):
        app.enqueue_many([keyed.bind(1), mail.bind(4)])
    first.cancel()
    assert first.retry() == "pending"
    assert app.jobs().count() == 2


@pytest.mark.parametrize("block", [-1, "soon", True])
def test_block_is_a_duration(mail: ph.Kind[[int], None], block: float | str) -> None:
    with pytest.raises(ph.InvalidOption, match="block"):
        mail.using(block=block)
