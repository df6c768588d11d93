"""Finding jobs: each way finds what a look at all jobs finds, in the same order, in windows of any size, both ways."""

from __future__ import annotations

import json
import random
from collections.abc import Callable

import msgspec
import pytest

from posthorse import ids
from posthorse.clock import SECOND
from posthorse.rules.job import JobError, Lane, NewJob
from posthorse.rules.lifecycle import Policy, Spent, decide
from posthorse.rules.outcomes import Raised
from posthorse.rules.search.filter import Term
from posthorse.rules.search.text import parse_filter
from posthorse.rules.search.ways import BY_PARKING, Way, plan
from posthorse.rules.search.words import How, Item
from posthorse.store.operations import finding
from posthorse.store.operations.fence import Fence
from posthorse.store.operations.finding import Look
from posthorse.store.operations.finish import Settlement, settle
from posthorse.store.operations.read import JobRow
from posthorse.store.store import Store
from tests.statuses import newest_rows
from tests.store.yard import Yard

PARENT = "01936f5e-7c1a-7d2b-8e3f-0123456789ab"
LANES = [
    Lane(queue, kind, priority) for queue in ("mail", "web") for kind in ("send", "sort", "x") for priority in (0, 5)
]
GROUPS = ["9f3a7c21d04be6f8", "01936f5e7c1a7d2b"]
"""The fingerprints of two groups of errors."""

FILTERS = [
    "",
    "state:processing",
    "state:processing kind:send",
    "state:pending",
    "state:pending kind:s* -queue:web",
    "state:pending kind:unknown",
    "state:scheduled",
    "state:paused",
    "state:paused tag:big",
    "state:failed",
    "state:failed kind:w* -queue:unknown priority:<9",
    "state:failed kind:work,x queue:default",
    "state:failed kind:work -error:ValueError since:1h",
    "state:failed kind:unknown",
    "state:failed error:ValueError",
    "state:failed error:Val*",
    "state:failed -error:ValueError",
    "error:Late",
    "error:La*",
    f"cause:{GROUPS[0]}",
    f"cause:{GROUPS[0]},{GROUPS[1]} state:failed kind:w*",
    f"-cause:{GROUPS[1]} state:failed",
    f"-cause:{GROUPS[0]}",
    f"cause:{GROUPS[1]} state:failed,completed",
    "cause:0000000000000000",
    "state:completed",
    "state:cancelled,completed",
    "-state:pending",
    "-state:failed,processing",
    "kind:send",
    "kind:s*",
    "queue:web -kind:x priority:<5",
    "priority:5",
    "-queue:web",
    "kind:unknown",
    "tenant:acme",
    "tenant:acme,globex kind:send",
    "tenant:acme state:completed",
    "tenant:unknown",
    "tenant:a*",
    "-tenant:acme",
    "tag:big",
    "tag:b*",
    "tag:big tag:new",
    "-tag:big",
    'tag:"say \\"hi\\""',
    "args.n:3",
    "args.n:>3 args.n:<9",
    "args.user.id:7",
    "args.user.name:Ad*",
    "args.items.1:two",
    "args.flag:true",
    "args.flag:null",
    "-args.flag:true",
    "args.nothing:1",
    "reason:failed-in",
    "attempt:1",
    "attempt:>1",
    "took:>0s",
    "took:<1h",
    "waited:>30m",
    "waited:<30m",
    "older:1h",
    "newer:1h",
    "since:1h",
    "until:1h",
    "age:>1h age:<3h kind:send",
    "state:failed age:<1h",
    "state:pending since:1h",
    "schedule:nightly",
    "schedule:night*",
    f"parent:{PARENT}",
    f"parent:{PARENT[:6]}",
]


NOTHING = {
    "state:pending kind:unknown",
    "state:failed kind:unknown",
    "kind:unknown",
    "tenant:unknown",
    "args.nothing:1",
    "cause:0000000000000000",
}


@pytest.fixture
def jobs(yard: Yard) -> dict[str, NewJob]:
    """Return some jobs of each sort."""
    chance = random.Random(7)
    made: list[NewJob] = []
    for number in range(90):
        arguments = {
            "n": number % 12,
            "user": {"id": number % 9, "name": chance.choice(["Ada", "Bob"])},
            "flag": chance.choice([True, False, None]),
            "items": ["one", chance.choice(["two", "2"])],
        }
        made.append(
            NewJob(
                ids.new_id(),
                chance.choice(LANES),
                json.dumps(arguments, separators=(",", ":")),
                delay=3600 * SECOND if number % 11 == 0 else None,
                tenant=chance.choice([None, "acme", "globex", "zeta"]),
                tags=chance.choice([None, '["big"]', '["new","big"]', '["say \\"hi\\""]']),
                options=chance.choice([None, None, '{"schedule":"nightly"}']),
                parent=chance.choice([None, None, PARENT]),
            )
        )
    yard.submit(made[:45])
    yard.pass_time(hours=2)
    later = [with_id(job) for job in made[45:]]
    yard.submit(later)
    runner = yard.runner()
    for number, claimed in enumerate(yard.claim(runner, 40, LANES)):
        attempt = Fence(claimed.job, claimed.epoch, runner)
        if number % 4 == 0:
            yard.complete(attempt)
        elif number % 4 == 1:
            is_late = number % 8 == 5
            error = JobError(("ValueError", "shop.Late")[is_late], "no")
            yard.settle(attempt, Raised(error), policy=Policy(max_attempts=1), cause=GROUPS[is_late])
        elif number % 4 == 2:
            yard.fail(attempt, attempts=5)
    for number, job in enumerate(newest_rows(yard.store, "state:pending", limit=12)):
        yard.ask(job.id, "cancel" if number % 2 else "pause")
    yard.audit()
    return {job.id: job for job in (*made[:45], *later)}


def with_id(job: NewJob) -> NewJob:
    """Return the same job, with the id of a process whose clock is right."""
    moved = ids.moved_to(job.id, ids.milliseconds_of(job.id) * 1000 + 7200 * SECOND)
    return msgspec.structs.replace(job, id=moved)


@pytest.mark.all_postgres
def test_ways_find_what_a_look_at_all_jobs_finds(yard: Yard, jobs: dict[str, NewJob]) -> None:
    everything = newest_rows(yard.store, limit=1000)
    sizes: dict[str, int] = {}
    for text in FILTERS:
        wanted = parse_filter(text)
        expected = {row.id for row in everything if all(holds(term, row, jobs[row.id]) for term in wanted.terms)}
        sizes[text] = len(expected)
        newest: list[str] = []
        for window, limit in ((200, 200), (7, 3), (2, 1)):
            newest = walk(yard.store, text, window, limit)
            assert len(newest) == len(set(newest)), text
            assert set(newest) == expected, (text, window)
            assert walk(yard.store, text, window, limit, oldest_first=True) == newest[::-1], (text, window)
        if plan(wanted).way not in (*BY_PARKING, Way.READY):
            assert newest == sorted(newest, reverse=True), text
        on = yard.store.read(finding.route(wanted))
        assert yard.store.read(finding.tally(on, after=None, window=200)).matching == len(expected), text
    assert {text for text, size in sizes.items() if not size} == NOTHING


@pytest.mark.all_postgres
def test_dead_letters_are_found_by_lane_also_if_many_died_at_once_or_their_lane_is_not_entered_yet(yard: Yard) -> None:
    text = "state:failed kind:send,x"
    lanes = {job: lane for lane in LANES for job in yard.enqueue(3, lane)}
    runner = yard.runner()
    for claimed in yard.claim(runner, len(lanes), LANES):
        died = decide(Spent(), Raised(JobError("ValueError", "no")), Policy(max_attempts=1))
        attempt = Fence(claimed.job, claimed.epoch, runner)
        yard.store.run(settle(Settlement(attempt, died, lanes[claimed.job])))
    expected = {job for job, lane in lanes.items() if lane.kind in ("send", "x")}
    some = ", ".join(f"'{job}'" for job in [*expected][::2])
    parked = "posthorse_parked" if yard.store.backend.capabilities.is_file else "posthorse.parked"
    for change in (
        "since = since",
        "since = 7",
        f"lane = NULL WHERE job IN ({some})",
        f"since = 8 WHERE job IN ({some})",
    ):
        with yard.store.transaction() as connection:
            connection.execute(f"UPDATE {parked} SET {change}")  # type: ignore[attr-defined]  # each driver's has it
        for window, limit in ((200, 200), (7, 3), (2, 1)):
            newest = walk(yard.store, text, window, limit)
            assert len(newest) == len(expected), (change, window)
            assert set(newest) == expected, (change, window)
            assert walk(yard.store, text, window, limit, oldest_first=True) == newest[::-1], (change, window)
    assert plan(parse_filter(text)).way is Way.DEAD


def walk(store: Store, text: str, window: int, limit: int, *, oldest_first: bool = False) -> list[str]:
    on = store.read(finding.route(parse_filter(text)))
    found: list[str] = []
    last = None
    for _ in range(1000):
        seen: Look = store.read(finding.look(on, after=last, window=window, limit=limit, oldest_first=oldest_first))
        found += [place.job for place in seen.found]
        is_full = len(seen.found) == limit
        if seen.is_end and not is_full:
            return found
        last = seen.found[-1] if is_full else seen.last
    raise AssertionError("no end")


@pytest.mark.parametrize("way", ["", "kind:work", "tenant:acme", "-state:failed"])
def test_a_range_that_ends_at_a_job_is_the_same_in_both_directions(
    yard: Yard, jobs: dict[str, NewJob], way: str
) -> None:
    everything = walk(yard.store, way, 200, 200)
    job = everything[len(everything) // 2]
    older, newer = everything[len(everything) // 2 + 1 :], everything[: len(everything) // 2 + 1]
    for text, expected in ((f"{way} until:{job}", older), (f"{way} since:{job}", newer)):
        assert walk(yard.store, text, 200, 200) == expected
        assert walk(yard.store, text, 200, 200, oldest_first=True) == expected[::-1]
    assert older
    assert newer[-1] == job


def test_an_id_and_a_part_of_it_find_the_job(yard: Yard, jobs: dict[str, NewJob]) -> None:
    job = next(iter(jobs))
    other = [*jobs][-1]
    assert walk(yard.store, job, 10, 10) == [job]
    assert walk(yard.store, f"id:{job},{other}", 10, 10) == [other, job]
    assert walk(yard.store, f"{job} kind:unknown", 10, 10) == []
    assert walk(yard.store, f"id:{job[-8:]}", 10, 10) == [job]
    assert set(walk(yard.store, f"-id:{job[-8:]}", 100, 100)) == {*jobs} - {job}
    assert walk(yard.store, f"id:{PARENT}", 10, 10) == []


# ── the model ────────────────────────────────────────────────────────────────────────────────────────


def holds(term: Term, row: JobRow, job: NewJob) -> bool:
    return any(fits(term, item, row, job) for item in term.items) is not term.is_not


def fits(term: Term, item: Item, row: JobRow, job: NewJob) -> bool:
    value, now = item.value, row.now
    ended_at = row.finished_at if row.finished_at is not None else row.created_at

    def compare(found: float | None) -> bool:
        seconds = value.total_seconds() * SECOND if hasattr(value, "total_seconds") else float(str(value))
        compared: dict[How, Callable[[float], bool]] = {
            How.IS: lambda f: f == seconds,
            How.ABOVE: lambda f: f > seconds,
            How.BELOW: lambda f: f < seconds,
        }
        return found is not None and compared[item.how](found)

    def text(found: str | None) -> bool:
        return found is not None and (found == value if item.how is How.IS else found.startswith(str(value)))

    match term.word:
        case "state":
            return row.state == value
        case "kind" | "queue" | "tenant":
            return text(getattr(row, term.word))
        case "priority":
            return compare(row.priority)
        case "tag":
            return any(text(tag) for tag in json.loads(row.tags or "[]"))
        case "error":
            kind = json.loads(row.error)["type"] if row.error else None
            return text(kind) or text(kind and kind.rpartition(".")[2])
        case "cause":
            return row.state == "failed" and GROUPS[json.loads(row.error or "{}")["type"] == "shop.Late"] == value
        case "reason":
            return row.reason is not None and row.reason.startswith(str(value).replace("-", " "))
        case "attempt":
            return compare(max(1, row.errors) if row.state == "failed" else row.errors + 1)
        case "took":
            return (
                row.finished_at is not None and row.started_at is not None and compare(row.finished_at - row.started_at)
            )
        case "waited":
            started = row.started_at or row.finished_at or now
            could = row.run_at if row.run_at and row.run_at > row.created_at else row.created_at
            if row.started_at and could > row.started_at:
                could = row.created_at
            return compare(started - could)
        case "age" | "since" | "until":
            age = now - ids.milliseconds_of(row.id) * 1000
            span = value.total_seconds() * SECOND  # type: ignore[union-attr]  # no moments here
            return age < span if term.word == "since" or item.how is How.BELOW else age > span
        case "older" | "newer":
            span = value.total_seconds() * SECOND  # type: ignore[union-attr]  # a span
            return (now - ended_at >= span) is (term.word == "older")
        case "schedule":
            return text(json.loads(job.options or "{}").get("schedule"))
        case "parent":
            return job.parent is not None and job.parent.startswith(str(value))
        case _:
            return argument(term, item, json.loads(job.arguments))


def argument(term: Term, item: Item, found: object) -> bool:
    for key in term.path.split("."):
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]  # type: ignore[index]
        except LookupError:
            return False
    if item.how in (How.ABOVE, How.BELOW):
        return isinstance(found, int) and (found > item.value if item.how is How.ABOVE else found < item.value)  # type: ignore[operator]
    written = found if isinstance(found, str) else json.dumps(found)
    return written == item.value if item.how is How.IS else written.startswith(str(item.value))
