"""The plans of the hot statements cannot flip: they reach rows by key or by place, whatever the statistics say."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import psycopg
import pytest
from psycopg import sql

from posthorse.rules.search.text import parse_filter
from posthorse.rules.search.ways import IdRange
from posthorse.rules.search.ways import plan as way_of
from posthorse.store.base import BoundQuery
from posthorse.store.operations.claim import few_of_each
from posthorse.store.operations.finding import Route, look, tally
from posthorse.store.postgres.connections import LOCAL_PLANNING, LOCAL_SETTINGS, SESSION
from posthorse.store.postgres.statements import dialect
from posthorse.store.queries import Queries, Row, Value, rows_as_arrays
from posthorse.store.sqlite.backend import SqliteBackend
from posthorse.store.sqlite.statements import DIALECT
from tests.servers import MigratedDatabases
from tests.store.yard import HOME, Yard

HOT = (
    "enqueue",
    "enqueue_alike",
    "enqueue_one",
    "shares",
    "lanes_with_jobs",
    "claim",
    "claim_together",
    "heads",
    "newest_heads",
    "claim_newest",
    "waits",
    "depth",
    "complete",
    "give_back",
    "checkpoint",
    "promote",
    "settle",
    "lock_job",
    "claim_places",
    "jobs_at",
    "lock_gates",
    "gate_states",
    "move_gates",
    "take_slots",
    "drop_slots",
    "hold",
    "release_held",
    "new_dead_letters",
    "errors_of",
    "enter_lanes",
    "without_lane",
    "old_jobs",
    "forget_jobs",
    "drop_results",
    "awaited_among",
    "take_stock",
    "put_orders",
    "end_orders",
    "replace_by_key",
    "make_room",
    "tidy_failed_keys",
    "open_orders",
    "kept_by_key",
    "shelf",
)
TABLES = {"jobs", "ready", "leases", "parked", "checkpoints", "controls", "gates", "slots", "stocked"}
WHOLE_WORK = {"parked_without_lane": "(lane IS NULL)"}
"""Partial indexes that contain only the rows to find, with their predicates: all of such an index may be read, if that
is the only condition. PostgreSQL shows it as a filter if rows are locked, because it looks at their newest versions."""
JOBS = 20_000

Statistics = Callable[[psycopg.Connection[Any]], None]


def empty(connection: psycopg.Connection[Any]) -> None:
    """Leave the empty tables without statistics."""


def stale(connection: psycopg.Connection[Any]) -> None:
    """Analyze while the tables are empty, then fill them."""
    connection.execute("ANALYZE posthorse.jobs, posthorse.ready, posthorse.leases, posthorse.parked")
    fill(connection)


def right(connection: psycopg.Connection[Any]) -> None:
    """Analyze the tables as they are."""
    fill(connection)
    connection.execute("ANALYZE")


def drained(connection: psycopg.Connection[Any]) -> None:
    """Analyze while the tables are full, then empty them."""
    right(connection)
    connection.execute("DELETE FROM posthorse.ready; DELETE FROM posthorse.leases; DELETE FROM posthorse.parked")


def fill(connection: psycopg.Connection[Any]) -> None:
    connection.execute(
        f"""INSERT INTO posthorse.jobs (id, lane, seq, created_at, state, arguments, tenant)
        SELECT lpad(to_hex(n), 32, '0')::uuid, 1, n, 0, 'pending', '{{}}', 'tenant ' || n % 50
        FROM generate_series(1, {JOBS}) AS n"""
    )
    connection.execute(
        "INSERT INTO posthorse.ready (lane, seq, job) SELECT lane, seq, id FROM posthorse.jobs WHERE seq % 2 = 0"
    )
    connection.execute(
        """INSERT INTO posthorse.leases (job, epoch, runner, claimed_at)
        SELECT id, 1, id, 0 FROM posthorse.jobs WHERE seq % 8 = 1"""
    )
    connection.execute(
        """INSERT INTO posthorse.parked (job, state, due_at, since)
        SELECT id, 'scheduled', seq, 0 FROM posthorse.jobs WHERE seq % 8 = 3"""
    )
    connection.execute(
        """INSERT INTO posthorse.parked (job, state, since, gate, rank, place)
        SELECT id, 'blocked', 0, 'gate ' || seq % 4, 0, seq FROM posthorse.jobs WHERE seq % 8 = 5"""
    )
    connection.execute(
        """INSERT INTO posthorse.gates (key, step, burst)
        SELECT DISTINCT gate, 0, 0 FROM posthorse.parked WHERE gate IS NOT NULL
        UNION SELECT 'key ' || seq, 0, 0 FROM posthorse.jobs WHERE seq % 2 = 0"""
    )
    connection.execute(
        """INSERT INTO posthorse.stocked (job, stock, tenant, key, state, since)
        SELECT id, 'stock ' || seq % 3, '', CASE seq % 3 WHEN 0 THEN 'key ' || seq ELSE '' END, 'made', seq
        FROM posthorse.jobs WHERE seq % 2 = 1"""
    )
    connection.execute(
        """INSERT INTO posthorse.slots (gate, job, epoch, until)
        SELECT 'key ' || seq, id, 1, 'lease' FROM posthorse.jobs WHERE seq % 8 = 1"""
    )


@pytest.fixture(scope="module", params=[empty, stale, right, drained], ids=lambda state: state.__name__)
def planned(request: pytest.FixtureRequest, databases: MigratedDatabases) -> Iterator[psycopg.Connection[Any]]:
    with databases.fresh("18") as url, psycopg.connect(url, autocommit=True) as connection:
        request.param(connection)
        yield connection


@pytest.mark.parametrize("name", HOT)
def test_prepared_plan_goes_by_key(planned: psycopg.Connection[Any], name: str) -> None:
    """A prepared plan is made once for every size of batch."""
    planned.execute("RESET ALL")
    planned.execute(SESSION)
    check(plan_of(planned, name, rows=1), name)


@pytest.mark.parametrize("rows", [1, 30, 1000])
@pytest.mark.parametrize("name", HOT)
def test_plan_behind_a_pooler_goes_by_key(planned: psycopg.Connection[Any], name: str, rows: int) -> None:
    """Without preparing, each call is planned for its own values."""
    planned.execute("RESET ALL")
    with planned.transaction():
        planned.execute(LOCAL_SETTINGS)
        planned.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        check(plan_of(planned, name, rows=rows), name)


def test_the_check_finds_what_it_looks_for(planned: psycopg.Connection[Any]) -> None:
    planned.execute("RESET ALL")
    explained = planned.execute(
        "EXPLAIN (FORMAT JSON) SELECT * FROM posthorse.jobs j JOIN posthorse.ready r ON r.job = j.id"
    ).fetchall()[0][0]
    with pytest.raises(AssertionError):
        check(explained[0]["Plan"], "bad")


@pytest.mark.parametrize("empty", [0, 160])
def test_a_claim_from_many_deep_lanes_looks_at_few_of_their_jobs(databases: MigratedDatabases, empty: int) -> None:
    lanes, depth, room = 40, 300, 80
    with databases.fresh("18") as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"""INSERT INTO posthorse.ready (lane, seq, job)
            SELECT 1 + n % {lanes}, n, lpad(to_hex(n), 32, '0')::uuid FROM generate_series(1, {lanes * depth}) AS n"""
        )
        connection.execute(SESSION)
        yard = Yard(url)
        probes = [(lane, 0) for lane in range(1, lanes + empty + 1)]
        few = few_of_each(room, len(probes))
        values: dict[str, Value] = {"runner": yard.runner(), "room": room, "few": few}
        yard.store.close()
        plan = plan_of(connection, "claim_together", batch=probes, given=values)
        looked_at = sum(
            node["Actual Rows"] * node["Actual Loops"]
            for node, _ in walk(plan)
            if node["Node Type"].startswith("Index") and node.get("Relation Name") == "ready"
        )
        assert room <= looked_at <= 8 * room


@pytest.mark.parametrize("frame", ["jobs_found", "jobs_counted"])
@pytest.mark.parametrize("window", [250, 1_000])
def test_a_window_over_many_lanes_reads_few_more_jobs_than_it_gives(
    databases: MigratedDatabases, frame: str, window: int
) -> None:
    """What a window costs must follow from its size, so that it can be fitted to the time that is left."""
    lanes, jobs = 100, 40_000
    with databases.fresh("18") as url, psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            f"""INSERT INTO posthorse.jobs (id, lane, seq, created_at, state, arguments)
            SELECT lpad(to_hex(n), 32, '0')::uuid, 1 + n % {lanes}, n, n, 'completed', '{{}}'
            FROM generate_series(1, {jobs}) AS n"""
        )
        connection.execute(SESSION)
        on = Route(way_of(parse_filter("queue:mail state:cancelled")), range(1, lanes + 1), IdRange(), 0)
        asked = statement_of(frame, on, window)
        found = plan_of(connection, asked.query, batch=asked.rows, given=asked.values)
        read = {"jobs_by_lane": 0, "jobs_pkey": 0}
        for node, _ in walk(found):
            if node.get("Relation Name") == "jobs":
                read[node["Index Name"]] += (
                    node["Actual Rows"] * node["Actual Loops"]
                    + node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
                )
        assert read["jobs_by_lane"] <= 4 * window + 3 * lanes
        assert window / 2 <= read["jobs_pkey"] <= window


def statement_of(frame: str, on: Route, window: int) -> BoundQuery:
    """Return the query of a look or of a count."""
    if frame == "jobs_counted":
        return next(tally(on, after=None, window=window).start())
    return next(look(on, after=None, window=window, limit=50).start())


def check(plan: dict[str, Any], name: str) -> None:
    for node, is_inner in walk(plan):
        kind, table = node["Node Type"], node.get("Relation Name")
        where = f"{name}: {kind} of {table or node.get('Function Name')}\n{json.dumps(plan, indent=1)}"
        if table in TABLES:
            assert kind in ("Index Scan", "Index Only Scan", "Tid Scan", "ModifyTable"), where
            if kind != "ModifyTable" and kind != "Tid Scan":
                only = WHOLE_WORK.get(node["Index Name"], "")
                is_work = bool(only) and node.get("Filter", only) == only
                assert "Index Cond" in node or is_work, f"all of an index is read: {where}"
        assert kind not in ("Hash Join", "Merge Join", "Hash"), where
        assert not (is_inner and kind == "Function Scan"), f"the batch is read again for each row: {where}"


def walk(node: dict[str, Any], *, is_inner: bool = False) -> Iterator[tuple[dict[str, Any], bool]]:
    yield node, is_inner
    for child in node.get("Plans", ()):
        inner = node["Node Type"] == "Nested Loop" and child["Parent Relationship"] == "Inner"
        yield from walk(child, is_inner=inner)


SAMPLES: dict[str, Value] = {
    "boot": "", "channel": "c", "sequence": '"posthorse".seq', "shift": 0, "tolerance": 10**15, "room": 100,
    "limit": 100, "step": 1, "epoch": 1, "done": 1, "errors": 0, "crashes": 0, "losses": 0, "lane": 1, "claimed_at": 0,
    "made_at": 0, "few": 3, "is_final": False, "state": "pending", "gate": "gate 1", "within": 1, "again": True,
}  # fmt: skip


def plan_of(
    connection: psycopg.Connection[Any],
    name: str,
    *,
    rows: int = 1,
    batch: Sequence[Row] | None = None,
    given: Mapping[str, Value] | None = None,
    more: Mapping[str, Value] | None = None,
) -> dict[str, Any]:
    """Return the plan of a statement for this many rows, or for these; with values, run it and count rows."""
    query = Queries(dialect("posthorse"))[name]
    batch = batch or [tuple(sample(kind, n) for _, kind in query.columns) for n in range(1, rows + 1)]
    id = ids_of(1)
    values: dict[str, Value] = {"job": id, "id": id, "runner": id, **SAMPLES, **(more or {}), **(given or {})}
    values |= rows_as_arrays(batch, query.columns)
    [statement] = query.statements
    parameters = ", ".join(
        "NULL" if values.get(n) is None else sql.Literal(values[n]).as_string() for n in statement.names
    )
    connection.execute(f"PREPARE hot AS {statement.sql}".encode())
    try:
        analyze = "ANALYZE, " if given is not None else ""
        found = connection.execute(f"EXPLAIN ({analyze}FORMAT JSON) EXECUTE hot({parameters})".encode()).fetchall()
    finally:
        connection.execute("DEALLOCATE hot")
    plan: dict[str, Any] = found[0][0][0]["Plan"]
    return plan


def sample(kind: str, number: int) -> Value:
    return {"uuid": ids_of(number), "text": "{}"}.get(kind, 1)


def ids_of(number: int) -> str:
    text = f"{number:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


WAYS = {
    "by_range": "jobs_pkey",
    "by_ids": "jobs_pkey",
    "by_lease": "leases_pkey",
    "by_parking": "parked_state_since_idx",
    "by_dead": "parked_dead",
    "by_line": "ready_pkey",
    "by_lane": "jobs_by_lane",
    "by_tenant": "jobs_by_tenant",
    "by_cause": "parked_by_cause",
}
"""The ways of finding jobs, and the index that each uses."""

OF_A_WAY: dict[str, Value] = {
    "near": ids_of(JOBS), "far": ids_of(0), "near_at": 10**9, "far_at": 0, "window": 100, "share": 20,
    "value_0": "mail",
}  # fmt: skip


@pytest.mark.parametrize("direction", ["newest", "oldest"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("judged", ["kind_is", "state_is_over"])
def test_a_way_of_finding_jobs_goes_by_its_index(
    planned: psycopg.Connection[Any], way: str, direction: str, judged: str
) -> None:
    name = f"jobs_found {way} {direction} {judged}"
    assert Queries(dialect("posthorse"))[name].goes_by_key
    planned.execute("RESET ALL")
    with planned.transaction():
        planned.execute(f"SET LOCAL statement_timeout = 0{LOCAL_PLANNING}".encode())
        plan = plan_of(planned, name, rows=3, batch=None, more=OF_A_WAY)
    used = {node["Index Name"] for node, _ in walk(plan) if "Index Name" in node}
    assert WAYS[way] in used
    for node, _ in walk(plan):
        table = node.get("Relation Name")
        if table in TABLES:
            where = f"{way}: {node['Node Type']} of {table}\n{json.dumps(plan, indent=1)}"
            assert node["Node Type"] in ("Index Scan", "Index Only Scan"), where
            assert "Index Cond" in node, f"all of an index is read: {where}"
            assert table != "jobs" or node["Index Name"] in (WAYS[way], "jobs_pkey"), where
        if table == "jobs" and way in ("by_lane", "by_tenant") and node["Index Name"] == "jobs_pkey":
            assert "few.id" in node["Index Cond"], f"jobs of other lanes are read: {way}\n{json.dumps(plan, indent=1)}"


# ── SQLite ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", HOT)
def test_sqlite_reaches_rows_by_key(sqlite_yard: Yard, name: str) -> None:
    sqlite_yard.store.lanes({HOME})
    backend = sqlite_yard.store.backend
    assert isinstance(backend, SqliteBackend)
    connection = backend.connect()
    for statement in Queries(DIALECT)[name].statements:
        nothing = [None] * len(statement.names)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", nothing).fetchall()
        for *_, step in plan:
            # Values that are given are scanned; stored rows are looked up.
            made_here = ("VIRTUAL TABLE", "SCAN CONSTANT", "SCAN (subquery", "SCAN chosen", "SCAN counted")
            is_given = any(text in step for text in made_here)
            is_made = step in {f"SCAN {name}" for name in ("e", "r", "due", "first", "newest", "last", "merged", "few")}
            is_work = step.endswith(tuple(f"USING INDEX posthorse_{index}" for index in WHOLE_WORK))
            is_work = is_work or step in ("SCAN posthorse_watchers", "SCAN posthorse_joins")  # whether there is any
            assert not step.startswith("SCAN") or is_given or is_made or is_work, f"{name}: {step}"
    connection.close()


@pytest.mark.parametrize("direction", ["newest", "oldest"])
@pytest.mark.parametrize("way", WAYS)
def test_a_way_on_sqlite_goes_by_its_index(sqlite_yard: Yard, way: str, direction: str) -> None:
    sqlite_yard.store.lanes({HOME})
    backend = sqlite_yard.store.backend
    assert isinstance(backend, SqliteBackend)
    connection = backend.connect()
    [statement] = Queries(DIALECT)[f"jobs_found {way} {direction} kind_is"].statements
    plan = connection.execute(f"EXPLAIN QUERY PLAN {statement.sql}", [None] * len(statement.names)).fetchall()
    steps = [str(step) for *_, step in plan]
    connection.close()
    for step in steps:
        is_made = any(
            name in step for name in ("few", "matching", "last", "one", "CONSTANT", "VIRTUAL", "nearest", "ends")
        )
        is_made = is_made or step in (
            "SCAN r",
            "SCAN of_lanes",
            "SCAN of_tenants",
            "SCAN of_causes",
            "SCAN (subquery-2)",
        )
        assert not step.startswith("SCAN") or is_made or way in step, steps
    if way in ("by_lane", "by_tenant"):
        column = way.removeprefix("by_")
        assert sum(f"posthorse_jobs_{way} (({column},id)" in step for step in steps) == 2, steps
    if way == "by_dead":
        assert sum("posthorse_parked_dead (lane=? AND since" in step for step in steps) == 3, steps
