"""`--json` keeps its form to the byte: what every command prints is compared with what was recorded, on both stores.

Ids, times, names of machines, and figures that depend on time are replaced; the rest is compared, order included.
"""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

import posthorse as ph
from posthorse.version import VERSION
from tests.cli.conftest import Shop
from tests.cli.test_steering import work_off
from tests.waiting import until, until_state

RECORDED = Path(__file__).with_name("json_forms.txt")
SCHEDULES = """

app.schedule(welcome.bind(1), name="nightly", cron="0 3 * * *", tz="Asia/Tokyo")
app.schedule(welcome.bind(2), name="over", at=datetime.fromisoformat("2020-01-01T00:00:00+00:00"))
"""
VOLATILE = (
    (r'"next":"[\w-]{60,}"', '"next":"<cursor>"'),
    (r'"traceback":"(?:[^"\\]|\\.)*"', '"traceback":"…"'),
    (r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<id>"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?", "<time>"),
    (r"(?<=:)-?\d+\.\d+(?:e-?\d+)?(?=[,}\]])", "<float>"),
    (re.escape(socket.gethostname()) + r"(?=[:\"])", "<host>"),
    (r"(?<=<host>:)\d+", "<pid>"),
    (r'(?<="pid":)\d+', "<pid>"),
    (re.escape(f'"version":"{VERSION}"'), '"version":"<version>"'),
    (r'"store":"[^"]*"', '"store":"<store>"'),
    (r'"seconds":\d+', '"seconds":<float>'),
    (r'"steps":\d+', '"steps":<steps>'),
    (r"(?<=completed )\w+(?= ago)", "<span>"),
)


class Recorder:
    """A record of commands and what they print."""

    def __init__(self, shop: Shop) -> None:
        self._shop = shop
        self._told: list[str] = []

    def __call__(self, *words: str, title: str | None = None) -> None:
        """Run a command with --json; its output may be several lines."""
        result = self._shop.run(*words, "--json")
        self._told.append(f"$ {title or ' '.join(words)}\n{result.stdout}")

    def text(self) -> str:
        told = "".join(self._told)
        for pattern, shown in VOLATILE:
            told = re.sub(pattern, shown, told)
        return told


@pytest.fixture
def told(any_shop: Shop) -> Recorder:
    with (any_shop.folder / "shop.py").open("a", encoding="utf-8") as file:
        file.write(SCHEDULES)
    return Recorder(any_shop)


def test_every_command_prints_the_json_that_was_recorded(any_shop: Shop, told: Recorder, tmp_path: Path) -> None:
    told("jobs", title="jobs of no store")
    told("queues", title="queues of no store")
    told("workers", title="workers of no store")
    told("schedules", title="schedules of no store")
    told("migrate")
    _record_jobs(any_shop, told)
    _record_running(any_shop, told)
    _record_queues(told)
    _record_schedules(any_shop, told)
    _record_stock(any_shop, told)
    actual = tmp_path / "json_forms.txt"
    actual.write_text(told.text(), encoding="utf-8")
    assert actual.read_text(encoding="utf-8") == RECORDED.read_text(encoding="utf-8"), f"what was printed: {actual}"


def _record_jobs(shop: Shop, told: Recorder) -> None:
    @shop.app.job(max_attempts=1)
    def picky(ctx: ph.Context, first: object) -> int:
        for batch in ctx.slices(range(30), tolerate=100, size=10):
            for number in batch:
                with batch.tolerate(number if number else {1, 2}):
                    if number < 3:
                        raise ValueError(f"no\x1b price\n{number}")
        return ctx.progress.done

    told("enqueue", "welcome", "1", "Ann")
    told("enqueue", "welcome", "1", "--key", "k")
    told("enqueue", "welcome", "1", "--key", "k")
    pending = shop.done("enqueue", "welcome", "9", "\x1b\u202e", "--tag", "b", "--tag", "a", "--tenant", "t")
    later = shop.done("enqueue", "anything", "[1, 2.50]", "x={}", "--delay", "1h", "-q", "slow", "--priority", "5")
    broken = shop.done("enqueue", "broken", "\x9bwhy", "--max-attempts", "1")
    tolerant = picky.enqueue({"a": [1]}).id
    told("jobs", title="jobs that wait")
    told("show", pending, title="show pending")
    told("pause", pending, title="pause pending")
    told("show", pending, title="show paused")
    told("jobs", "--filter", "state:paused")
    told("resume", pending, title="resume pending")
    told("wait", pending, later, "--timeout", "0", title="wait in vain")
    work_off(shop, pending, broken, tolerant)
    until(lambda: shop.listed("--state", "pending") == [])
    told("jobs", title="jobs that are over")
    for job, name in ((pending, "completed"), (later, "scheduled"), (broken, "failed"), (tolerant, "tolerant")):
        told("show", job, title=f"show {name}")
    told("show", tolerant, "--bad-items", title="show tolerant --bad-items")
    told("show", pending, "--bad-items", title="show completed --bad-items")
    told("bad-items", tolerant, title="bad-items")
    told("bad-items", tolerant, "--after", "loop:2", "-n", "1", title="bad-items --after")
    told("wait", pending, broken, tolerant, title="wait")
    told("watch", pending, broken, tolerant, title="watch")
    told("cancel", later, title="cancel scheduled")
    told("wait", later, title="wait cancelled")
    told("show", later, title="show cancelled")
    told("retry", broken, title="retry failed")
    told("show", broken, title="show retried")
    told("discard", broken, title="discard pending")
    told("why", broken, title="why pending")
    told("why", pending, title="why completed")
    told("cancel", "--all", "kind:broken", "--dry-run")
    told("cancel", "--all", "kind:broken")
    told("retry", "--all", "kind:broken")
    told("run", "welcome", "3")
    told("run", "count", "25")
    told("run", "broken", "why", "--max-attempts", "1")
    told("prune", "--dry-run")
    told("prune", "--older-than", "60d")
    told("send-event", "approved", '{"by": "eva"}', "--job", pending, title="send-event")
    told("send-event", "approved", "2", "--job", pending, title="send-event again")
    told("delete", tolerant, title="delete completed")
    told("delete", later, tolerant, title="delete cancelled, and one that is gone")
    told("health")


def _record_running(shop: Shop, told: Recorder) -> None:
    with shop.working(concurrency=3):
        job = shop.app.get_job(shop.done("enqueue", "endless"))
        until_state(job, "processing")
        until(lambda: '"state":"working"' in shop.done("workers", "--json"))
        told("workers")
        told("show", job.id, title="show processing")
        told("jobs", "--state", "processing")
        told("queues", title="queues that are served")
        told("cancel", job.id, title="cancel processing")
        until_state(job, "cancelled")
        told("show", job.id, title="show cancelled after a start")


def _record_queues(told: Recorder) -> None:
    told("queues", "pause", "mail")
    told("queues", "drain", "mail", "slow")
    told(
        "queues", "set", "mail", "weight=3", "rate=10/s", "labels=zone=a,b=c", "max_duration=90s", "window=22:00-06:00"
    )
    told("queues", "set", "new", "concurrency=2", "ageing=0")
    told("queues")
    told("queues", "reset", "mail", "weight", "window")
    told("queues", "resume", "mail")
    told("queues", "reset", "new")


def _record_schedules(shop: Shop, told: Recorder) -> None:
    told("schedules", title="schedules that no worker met")
    told("schedules", "pause", "nightly", "none")
    told("schedules", title="schedules with a paused one")
    told("schedules", "resume", "nightly")
    told("schedules", "trigger", "nightly")
    told("schedules", title="schedules with a triggered one")
    told("schedules", "next", "nightly", "-n", "2")
    told("schedules", "forget", "nightly", "none")
    told("jobs", "-n", "1", "-k", "welcome", title="jobs of a schedule")


def _record_stock(shop: Shop, told: Recorder) -> None:
    told("stock", title="stock without any")
    with (shop.folder / "shop.py").open("a", encoding="utf-8") as file:
        file.write('\napp.stock(welcome.bind(1), level=2, name="vouchers")\n')
    shop.forget()
    told("stock", "refill", "vouchers")
    told("stock", "level", "vouchers", "3")
    told("stock", "empty", "vouchers")
    told("stock", title="stock that was refilled")
