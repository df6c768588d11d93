"""Views: each has one JSON form, to the byte, and programs can read it back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import NamedTuple

import msgspec
import pytest

from posthorse.rules.events import Event
from posthorse.rules.job import Attempt, BadItem, JobError, State, Status
from posthorse.rules.progress import Progress
from posthorse.rules.queues import QueueSettings, checked_layer, settings_of
from posthorse.rules.schedules import ScheduleState, ScheduleStatus
from posthorse.rules.why.answer import Code, Estimate, Reason, Why
from posthorse.store.operations.queues import QueueRow, QueueServer, QueuesRead
from posthorse.store.operations.read import WorkerRow
from posthorse.views.attempt import AttemptView
from posthorse.views.bad_item import BadItemView
from posthorse.views.base import View
from posthorse.views.job import JobDetailView, JobView, OutcomeView, UnfinishedView
from posthorse.views.queue import QueueView, queue_views, unused
from posthorse.views.schedule import ScheduleView
from posthorse.views.why import WhyView
from posthorse.views.worker import WorkerView

NOW = datetime(2026, 11, 30, 12, 0, 0, 250_000, tzinfo=UTC)
MICROSECONDS = 1_796_040_000_250_000
BERLIN = timezone(timedelta(hours=1))
FAILURE = JobError(type="ValueError", message="no price")
STATUS = Status(
    id="01936f5e-7c1a-7d2b-8e3f-0123456789ab",
    state=State.PROCESSING,
    reason=None,
    kind="letters",
    queue="mail",
    priority=-5,
    tenant="t",
    tags=["b", "a"],
    attempt=2,
    max_attempts=None,
    crashes=1,
    interruptions=0,
    progress=Progress(5, 10, 2.5, timedelta(seconds=2), NOW, (NOW, NOW + timedelta(seconds=1)), "at work"),
    requested="pause",
    error=FAILURE,
    worker="web-1",
    created_at=NOW,
    run_at=None,
    started_at=NOW,
    finished_at=None,
    schedule="nightly",
    scheduled_at=NOW,
)
AT, LATER = '"2026-11-30T12:00:00.250000Z"', '"2026-11-30T12:00:01.250000Z"'
JOB = (
    '"id":"01936f5e-7c1a-7d2b-8e3f-0123456789ab","state":"processing","reason":null,"waits_for":null,'
    '"kind":"letters","queue":"mail","priority":-5,"tenant":"t","tags":["b","a"],"metadata":{},"attempt":2,"max_attempts":null,'
    '"crashes":1,"interruptions":0,"progress":{"done":5,"total":10,"fraction":0.5,"rate":2.5,"remaining":2.0,'
    f'"eta":{AT},"eta_range":[{AT},{LATER}],"note":"at work"}},"requested":"pause",'
    '"error":{"type":"ValueError","message":"no price","traceback":null},"worker":"web-1",'
    f'"created_at":{AT},"run_at":null,"started_at":{AT},"finished_at":null,"schedule":"nightly","scheduled_at":{AT}'
)
BAD = BadItem(loop="one", number=1, item=1j, is_retryable=False, error=FAILURE, at=NOW)
BAD_ITEM = (
    f'{{"loop":"one","number":1,"at":{AT},"item":"1j","is_retryable":false,'
    '"error":{"type":"ValueError","message":"no price"},"shard":null}'
)
ATTEMPT = Attempt(number=1, outcome="failed", started_at=None, finished_at=NOW, worker=None, error=FAILURE)
DETAIL = JobDetailView.assemble(
    STATUS,
    arguments='{"first": [1]}',
    result=None,
    bad_items=1,
    attempts=[ATTEMPT],
    events=[
        Event(job="j", number=3, name="lost", at=NOW, attempt=1, worker="w", reason="gone", detail={"pid": 1}),
    ],
)
WORKER = WorkerRow(
    "r", "web-1", "web", 7, "1.0", MICROSECONDS, MICROSECONDS, False, False, 1, 4, ["mail"], [], 1_500_000
)
SCHEDULE = ScheduleStatus(
    name="nightly",
    state=ScheduleState.ACTIVE,
    when="0 3 * * *",
    kind="letters",
    queue="mail",
    next_at=NOW.astimezone(BERLIN),
    last_at=None,
    last_job=None,
    skipped=0,
)
WHY = Why(
    job="1",
    state=State.BLOCKED,
    kind="letters",
    queue="mail",
    at=NOW,
    reasons=[
        Reason(
            code=Code.RATE,
            sentence="It waits.",
            facts={"ahead": 2, "next_at": NOW},
            advice="wait",
            command="posthorse queues",
            start=Estimate(NOW, None, "the rate"),
        ),
        Reason(code=Code.RUNNING, sentence="It runs."),
    ],
    start=Estimate(NOW, None, "the rate"),
)


class Ended(NamedTuple):
    job: str
    state: State
    reason: str | None
    result: str | None
    error: JobError | None


VIEWS: dict[str, tuple[View, str]] = {
    "job": (JobView.of(STATUS), f"{{{JOB}}}"),
    "unfinished job": (UnfinishedView.of(STATUS), f'{{{JOB},"result":null}}'),
    "everything about a job": (
        DETAIL,
        f'{{{JOB},"arguments":{{"first": [1]}},"result":null,"bad_items":1,"attempts":[{{"number":1,"outcome":"failed",'
        f'"started_at":null,"finished_at":{AT},"worker":null,"error":{{"type":"ValueError","message":"no price"}}}}],'
        f'"events":[{{"number":3,"covers":1,"name":"lost","at":{AT},"attempt":1,"worker":"w","reason":"gone",'
        '"detail":{"pid":1}}]}',
    ),
    "failed outcome": (
        OutcomeView.of(Ended("1", State.FAILED, "failed in 1 attempt", None, FAILURE)),
        '{"id":"1","state":"failed","reason":"failed in 1 attempt","result":null,'
        '"error":{"type":"ValueError","message":"no price"}}',
    ),
    "outcome of a retried job": (
        OutcomeView.of(Ended("1", State.COMPLETED, None, "[1]", FAILURE)),
        '{"id":"1","state":"completed","reason":null,"result":[1],"error":null}',
    ),
    "attempt": (
        AttemptView.of(ATTEMPT),
        f'{{"number":1,"outcome":"failed","started_at":null,"finished_at":{AT},"worker":null,'
        '"error":{"type":"ValueError","message":"no price"}}',
    ),
    "bad item": (BadItemView.of(BAD), BAD_ITEM),
    "worker": (
        WorkerView.of(WORKER, timedelta(seconds=2)),
        f'{{"id":"r","worker":"web-1","host":"web","pid":7,"version":"1.0","state":"working","started_at":{AT},'
        f'"beat_at":{AT},"silent_for":1.5,"running":1,"concurrency":4,"queues":["mail"],"kinds":[]}}',
    ),
    "schedule": (
        ScheduleView.of(SCHEDULE),
        '{"name":"nightly","state":"active","when":"0 3 * * *","kind":"letters","queue":"mail",'
        '"next_at":"2026-11-30T13:00:00.250000+01:00","last_at":null,"last_job":null,"skipped":0}',
    ),
    "why": (
        WhyView.of(WHY),
        f'{{"id":"1","state":"blocked","kind":"letters","queue":"mail","at":{AT},"reasons":[{{"code":"rate","sentence":'
        f'"It waits.","facts":{{"ahead":2,"next_at":{AT}}},"advice":"wait","command":"posthorse queues","start":'
        f'{{"earliest":{AT},"latest":null,"basis":"the rate"}}}},{{"code":"running","sentence":"It runs.","facts":{{}},'
        f'"advice":null,"command":null,"start":null}}],"start":{{"earliest":{AT},"latest":null,"basis":"the rate"}}}}',
    ),
    "queue": (
        QueueView.of(QueueRow("mail", 2, 1_500_000, 1, {State.FAILED: 3}), now=0, workers=["w", "v", "w"]),
        '{"queue":"mail","state":"open","waiting":2,"oldest":1.5,"running":1,"scheduled":0,"blocked":0,"paused":0,'
        '"failed":3,"held":{},"workers":["v","w"],"runners":3,"settings":{"max_depth":null,"order":"fifo","weight":1,'
        '"max_duration":null,"labels":{},"rate":null,"concurrency":null,"fair":false,"retry_budget":null,"window":null,'
        '"throttle":null,"ageing":60.0,"keep":null,"log_level":null,"paused":false,"draining":false},"live":{}}',
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_json_form_is_the_promised_one_to_the_byte(name: str) -> None:
    view, promised = VIEWS[name]
    assert view.to_json().decode() == promised


@pytest.mark.parametrize("name", VIEWS)
def test_view_is_read_back_from_its_json(name: str) -> None:
    view, _ = VIEWS[name]
    assert msgspec.json.decode(view.to_json(), type=type(view)) == view


@pytest.mark.parametrize("name", VIEWS)
def test_view_has_a_json_schema_that_names_every_field(name: str) -> None:
    kind = type(VIEWS[name][0])
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]
    assert list(schema["properties"]) == list(kind.__struct_fields__)


@pytest.mark.parametrize("name", VIEWS)
def test_view_cannot_be_changed(name: str) -> None:
    view, _ = VIEWS[name]
    with pytest.raises(AttributeError, match="immutable"):
        setattr(view, view.__struct_fields__[0], None)


def test_first_bad_items_are_there_only_if_asked_for() -> None:
    assert b"first_bad_items" not in DETAIL.to_json()
    told = JobDetailView.assemble(
        STATUS, arguments="{}", result="1", bad_items=1, attempts=[], events=[], first_bad_items=[BAD]
    )
    assert told.to_json().decode().endswith(f'"events":[],"first_bad_items":[{BAD_ITEM}]}}')


@pytest.mark.parametrize(
    ("silent_for", "is_draining", "running", "state"),
    [
        (2_000_001, True, 1, "silent"),
        (2_000_000, True, 1, "draining"),
        (0, False, 1, "working"),
        (0, False, 0, "idle"),
    ],
)
def test_state_of_a_runner_follows_from_its_heartbeat_and_its_jobs(
    silent_for: int, is_draining: bool, running: int, state: str
) -> None:
    row = WORKER._replace(silent_for=silent_for, is_draining=is_draining, running=running)
    assert WorkerView.of(row, timedelta(seconds=2)).state == state


@pytest.mark.parametrize(
    ("settings", "state"),
    [
        (QueueSettings(paused=True, draining=True), "paused"),
        (QueueSettings(draining=True), "draining"),
        (settings_of(checked_layer({"window": "01:00-02:00"}, queue="mail")), "closed"),
        (settings_of(checked_layer({"window": "00:00-02:00"}, queue="mail")), "open"),
    ],
)
def test_state_of_a_queue_follows_from_its_settings(settings: QueueSettings, state: str) -> None:
    assert QueueView.of(unused("mail"), settings, now=0).state == state


def test_queues_with_jobs_or_settings_are_shown_with_the_runners_that_serve_them() -> None:
    found = QueuesRead(
        now=0,
        live={"new": {"weight": 2}},
        servers=[QueueServer("all", [], []), QueueServer("mailer", ["mail"], ["zone=a"])],
        rows=[QueueRow("mail", 1, 0, 0, {}), QueueRow("other", 0, None, 0, {})],
        held={"mail": {"rate of mail": 4}},
    )
    settings = {"mail": QueueSettings(labels={"zone": "a"}), "new": QueueSettings(weight=2)}
    mail, new, other = queue_views(found, settings)
    assert (mail.queue, mail.workers, mail.waiting, mail.held) == ("mail", ("mailer",), 1, {"rate of mail": 4})
    assert (new.queue, new.workers, new.settings["weight"], new.live) == ("new", ("all",), 2, {"weight": 2})
    assert (other.queue, other.workers, other.settings["weight"]) == ("other", ("all",), 1)
