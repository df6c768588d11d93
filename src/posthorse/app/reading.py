"""Read jobs: turn stored rows into statuses and outcomes."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace as replace_struct

from posthorse.app.verbs import Verb, look_over, look_up
from posthorse.clock import moment
from posthorse.errors import CodecError, InvalidOption, JobCancelled, JobFailed, JobNotFound, ResultExpired
from posthorse.rules.cursor import key_of_cursor
from posthorse.rules.in_flow import OF_ITEMS
from posthorse.rules.job import BadItem, JobError, Options, State, Status
from posthorse.rules.packing import PACKED, PLAIN_TEXTS, JobTexts, PackedError, What
from posthorse.rules.parts import PartNow, progress_of_parts
from posthorse.rules.progress import Pace, Progress, progress_at
from posthorse.rules.registry import Registry
from posthorse.rules.values.kept import decode_kept
from posthorse.rules.values.results import decode_result
from posthorse.rules.values.type_mismatch import short
from posthorse.store.operations import parts, read
from posthorse.store.operations.bad_items import BadItemRow
from posthorse.store.operations.bad_items_of_parts import START, BadItemPlace, bad_items_of_known
from posthorse.store.operations.flow_reading import flow_count
from posthorse.store.operations.one_job import why_missing
from posthorse.store.operations.outputs import outputs_of_items

if TYPE_CHECKING:
    from posthorse.app.client import Posthorse

MAX_BAD_ITEMS = 10_000
"""Maximum for one page."""


HAS_PACKED = f'"{PACKED}'
"""What JSON with a packed text has in it."""


class Finished(msgspec.Struct, frozen=True):
    """How a job ended."""

    job: str
    state: State
    result: str | None
    error: JobError | None
    reason: str | None
    result_type: object

    def value(self) -> object:
        """Return the result of the job. Raises JobFailed or JobCancelled if it has none."""
        if self.state is State.COMPLETED:
            return decode_result(self.result or "null", self.result_type)
        if self.state is State.CANCELLED:
            raise JobCancelled(f"job {self.job} was cancelled")
        raise JobFailed(f"job {self.job} failed ({self.reason}): {self.error}")


def status_of(app: Posthorse, job_id: str) -> Verb[Status]:
    """Read a job as it is now. Raises JobNotFound."""
    row = yield from look_up(app, read.job(job_id))
    if row is None:
        raise (yield from look_up(app, why_missing(job_id)))
    options = Options.decode(row.options)
    status = yield from status_with_steps(app, row, options)
    if may_have_parts(options, row.kind, app.registry):
        status = replace(status, progress=(yield from _progress_of_parts(app, job_id, status.progress)))
    if status.state is State.BLOCKED:
        return replace(status, waits_for=(yield from _children_left(app, job_id)))
    if status.state is not State.PENDING:
        return status
    from posthorse.app.why import cause_of  # here, because processes that only enqueue never ask

    return replace(status, waits_for=(yield from cause_of(app, status)))


def _children_left(app: Posthorse, job_id: str) -> Verb[str | None]:
    """Return how many children a blocked job waits for, in words; None if it waits for none."""
    count = yield from look_up(app, flow_count(job_id))
    if count is None or not count.open:
        return None
    return f"{count.open:,} of its {count.total:,} child{'' if count.total == 1 else 'ren'} to be over"


def status_with_steps(app: Posthorse, row: read.JobRow, options: Options | None = None) -> Verb[Status]:
    """Turn a stored row into a status; the progress of a flow is how many of its steps are over."""
    options = options or Options.decode(row.options)
    status = make_status(row, app.registry, options)
    if status.kind not in app.registry and is_flow(options):
        count = yield from look_up(app, flow_count(row.id))
        if count is not None:
            return replace(status, progress=Progress(done=count.total - count.open, total=count.total))
    return status


def end_of(app: Posthorse, job_id: str) -> Verb[Finished | None]:
    """Read how a job ended; None while it has not. Raises JobNotFound."""
    row = yield from look_up(app, read.outcome(job_id))
    if row is None:
        raise (yield from look_up(app, why_missing(job_id)))
    state = State(row.state)
    if not state.is_final:
        return None
    result_type: object = app.registry[row.kind].signature.result_type if row.kind in app.registry else object
    result, error = row.result, None
    if result == "null" and state is State.COMPLETED and row.kind not in app.registry:
        return (yield from _outcome_of_flow(app, job_id))
    texts = PLAIN_TEXTS
    if is_packed(result) or (row.error is not None and HAS_PACKED in row.error):
        texts = yield from texts_of(app, job_id)
    if result is not None:
        result = texts.unpack(result, "result")
    if row.error is not None:
        error = texts.error_in(row.error)
    return Finished(job_id, state, result, error, row.reason, result_type)


def is_flow(options: Options) -> bool:
    """Return whether a job with these options is a flow."""
    place = options.flow
    return place is not None and place.is_flow


def _outcome_of_flow(app: Posthorse, job_id: str) -> Verb[Finished]:
    """Read how a completed job without a result of its own ended: the result of a flow is that of one of its steps."""
    row = yield from look_up(app, read.job(job_id))
    place = None if row is None else Options.decode(row.options).flow
    if row is not None and place is not None and place.gathers:
        return (yield from _gathered(app, job_id, row.kind.removesuffix(OF_ITEMS)))
    if place is not None and place.result is not None:
        ended = yield from end_of(app, place.result)
        if ended is not None and ended.state is State.COMPLETED:
            return replace_struct(ended, job=job_id)
    return Finished(job_id, State.COMPLETED, "null", None, None, object)


def _gathered(app: Posthorse, job_id: str, kind: str) -> Verb[Finished]:
    """Read the results of the jobs for the items of a list, as one list."""
    rows = yield from look_over(app, outputs_of_items(job_id))
    texts = (app.registry.packing.of_stored(row.id, row.options).unpack(row.result or "null", "result") for row in rows)
    one: Any = app.registry[kind].signature.result_type if kind in app.registry else object
    return Finished(job_id, State.COMPLETED, f"[{','.join(texts)}]", None, None, list.__class_getitem__(one))


def arguments_of(app: Posthorse, job_id: str) -> Verb[str]:
    """Read the arguments of a job as JSON; where they cannot be unpacked, the JSON says why. Raises JobNotFound."""
    stored = yield from look_up(app, read.call(job_id))
    if stored is None:
        raise (yield from look_up(app, why_missing(job_id)))
    return opened_json(stored.arguments, "arguments", app.registry.packing.of_stored(job_id, stored.options))


def texts_of(app: Posthorse, job_id: str) -> Verb[JobTexts]:
    """Return what unpacks the texts of a job."""
    row = yield from look_up(app, read.job(job_id))
    return app.registry.packing.of_stored(job_id, None if row is None else row.options)


def is_packed(text: str | None) -> bool:
    """Return whether a codec packed a stored text."""
    return text is not None and text.startswith(PACKED)


def make_status(row: read.JobRow, registry: Registry, options: Options | None = None) -> Status:
    """Turn a stored row into a status. `options`: those in the row, if they are decoded already."""
    state = State(row.state)
    options = options or Options.decode(row.options)
    texts = registry.packing.of(row.id, options.tenant)
    declared = registry[row.kind].options.max_attempts if row.kind in registry else None
    return Status(
        id=row.id,
        state=state,
        reason=row.reason,
        kind=row.kind,
        queue=row.queue,
        priority=row.priority,
        tenant=row.tenant,
        tags=() if row.tags is None else tuple(msgspec.json.decode(row.tags, type=list[str])),
        attempt=max(1, row.errors) if state is State.FAILED else row.errors + 1,
        max_attempts=options.max_attempts or declared,
        crashes=row.crashes,
        interruptions=row.interruptions,
        progress=_progress(row, state, texts),
        requested=row.request,
        error=None if row.error is None else texts.error_in(row.error),
        worker=row.worker,
        created_at=moment(row.created_at),
        run_at=None if row.run_at is None else moment(row.run_at),
        started_at=None if row.started_at is None else moment(row.started_at),
        finished_at=None if row.finished_at is None else moment(row.finished_at),
        schedule=options.schedule,
        metadata=options.metadata or {},
        scheduled_at=None if options.scheduled_at is None else moment(options.scheduled_at),
    )


def may_have_parts(options: Options, kind: str, registry: Registry) -> bool:
    """Return whether a job with these options may have parts."""
    declared = registry[kind].options.shards if kind in registry else None
    return options.part is None and (options.shards or declared) is not None


def is_to_be_cut(app: Posthorse, job_id: str) -> Verb[bool]:
    """Return whether a job may have parts; False if it does not exist."""
    row = yield from look_up(app, read.job(job_id))
    return row is not None and may_have_parts(Options.decode(row.options), row.kind, app.registry)


def _progress_of_parts(app: Posthorse, job_id: str, own: Progress) -> Verb[Progress]:
    """Read how far the parts of a job are; return its own progress if it has none yet."""
    rows = yield from look_up(app, parts.parts_of(job_id))
    if not rows:
        return own
    return progress_of_parts([_part_now(row) for row in rows], moment(rows[0].now))


def _part_now(row: read.JobRow) -> PartNow:
    part, state = Options.decode(row.options).part, State(row.state)
    total = row.total
    if row.done is None and part is not None:
        total = part.range.total
    return PartNow(
        done=row.done or 0,
        total=row.done if state is State.COMPLETED and row.done is not None else total,
        pace=Pace() if row.pace is None else Pace.decode(row.pace),
        is_running=state is State.PROCESSING,
        is_over=state.is_final,
        since=None if row.updated_at is None else moment(row.updated_at),
    )


def bad_items_of(app: Posthorse, job_id: str, *, limit: int, after: BadItem | None) -> Verb[list[BadItem]]:
    """Read bad items of a job after a given one. Raises JobNotFound, InvalidOption."""
    if type(limit) is not int or not 1 <= limit <= MAX_BAD_ITEMS:
        raise InvalidOption(f"limit is {short(limit)}; it must be a whole number from 1 to {MAX_BAD_ITEMS:,}")
    if after is not None and not isinstance(after, BadItem):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidOption(f"after is {short(after)}; give the last BadItem that was read before")
    place = START if after is None else BadItemPlace(after.shard, after.loop, after.number)
    found = yield from look_up(app, bad_items_of_known(job_id, after=place, limit=limit))
    if found is None:
        raise (yield from look_up(app, why_missing(job_id)))
    own, packing = PLAIN_TEXTS, app.registry.packing
    if any(each.shard is None and _has_packed(each.row) for each in found):
        own = yield from texts_of(app, job_id)
    return [
        _bad_item(each.row, None, own)
        if each.shard is None
        else _bad_item(each.row, each.shard, packing.of_stored(each.job, each.options))
        for each in found
    ]


def _has_packed(row: BadItemRow) -> bool:
    return any(map(is_packed, (row.item, row.message, row.traceback)))


def _bad_item(row: BadItemRow, shard: int | None, texts: JobTexts) -> BadItem:
    match row.form:
        case "value":
            item = decode_kept(texts.unpack(row.item, "bad item"))
        case "key":
            item = key_of_cursor(msgspec.json.decode(texts.unpack(row.item, "bad item")))
        case _:
            item = texts.unpack_free(row.item, "bad item")
    message = texts.unpack_free(row.message, "bad item")
    traceback = None if row.traceback is None else texts.unpack_free(row.traceback, "bad item")
    return BadItem(
        loop=row.loop,
        number=row.number,
        item=item,
        is_retryable=row.form != "text",
        error=JobError(type=row.type, message=message, traceback=traceback),
        at=moment(row.at),
        shard=shard,
    )


def _note(text: str, texts: JobTexts) -> str:
    try:
        return texts.unpack_free(text, "note")
    except CodecError as error:  # a note is a small part of a status
        return f"({error})"


def opened_detail(detail: str | None, texts: JobTexts) -> str | None:
    """Return the detail of an event as JSON without packed parts. Those that do not open say why."""
    if detail is None or HAS_PACKED not in detail:
        return detail
    told: dict[str, object] = msgspec.json.decode(detail, type=dict[str, object])
    if "packed" in told:
        error = texts.opened(msgspec.convert(told, PackedError))
        del told["packed"]
        told |= {"message": error.message, "traceback": error.traceback}
    before = told.get("before")
    if isinstance(before, str) and is_packed(before):
        told["before"] = msgspec.Raw(opened_json(before, "arguments", texts).encode())
    return msgspec.json.encode(told).decode()


def opened_json(text: str, what: What, texts: JobTexts) -> str:
    """Return the JSON that is stored as this text; a JSON text that says why if it does not open."""
    try:
        return texts.unpack(text, what)
    except (CodecError, ResultExpired) as error:
        return msgspec.json.encode(f"({error})").decode()


def check_kind(app: Posthorse, job_id: str, kind: str) -> Verb[None]:
    """Raise JobNotFound for a job that does not exist, or has another kind than the handle."""
    row = yield from look_up(app, read.job(job_id))
    if row is None:
        raise (yield from look_up(app, why_missing(job_id)))
    found = app.registry[row.kind].kind if row.kind in app.registry else row.kind  # old rows may have an alias
    if found != kind:
        raise JobNotFound(
            f"job {job_id} is of the kind {row.kind!r} and not of {kind!r}, so its result is another type; ask its own "
            "kind, or app.get_job(…)"
        )


def _progress(row: read.JobRow, state: State, texts: JobTexts) -> Progress:
    if row.done is None or row.pace is None:
        return Progress()
    return progress_at(
        row.done,
        row.total,
        Pace.decode(row.pace),
        moment(row.now),
        note=None if row.note is None else _note(row.note, texts),
        since=None if row.updated_at is None else moment(row.updated_at),
        running=state is State.PROCESSING,
    )
