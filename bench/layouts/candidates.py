"""The candidate layouts: tables and statements, nothing else.

States: 1 pending, 2 processing, 3 completed. Times are in microseconds. A claim is given lanes with the last `seq` seen
in each, best lane first. Many values travel as one text each, '{a,b}' or a JSON array, because lists of parameters are
expensive in Python. Jobs are updated by id, never by ctid: a row that another session changed meanwhile would be
skipped silently. `id = any(array[x])` says `id = x` in a way that can be neither hashed nor merged nor walked in order,
so an index lookup is the only plan left.
"""

from dataclasses import dataclass, replace
from typing import LiteralString


@dataclass(frozen=True)
class Layout:
    name: str
    idea: str
    tables: LiteralString
    enqueue_many: LiteralString
    enqueue_one: LiteralString
    claim: LiteralString
    complete: LiteralString
    fill_ready: LiteralString | None = None  # run after jobs were generated inside the server

    @property
    def notes_claims(self) -> bool:
        return "%(claim)s" in self.claim


def jobs_table(fillfactor: LiteralString, more_columns: LiteralString = "") -> LiteralString:
    return (
        """create sequence seq;
    create table jobs (
        id uuid primary key, lane int not null, seq bigint not null, state smallint not null,
        epoch int not null default 0, version int not null default 0, errors smallint not null default 0,
        args text not null, result text, error text, tenant text, tags text[],
        created_at bigint not null, started_at bigint, finished_at bigint"""
        + more_columns
        + ") with (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 20000, fillfactor = "
        + fillfactor
        + ");"
    )


_READY: LiteralString = """
    create table ready (lane int not null, seq bigint not null, job uuid not null, primary key (lane, seq))
        with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);"""

_LEASES: LiteralString = """
    create table leases (
        job uuid primary key, epoch int not null, runner bigint not null, claimed_at bigint not null)
        with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);"""

_CLAIMS: LiteralString = """
    create table claims (
        id uuid primary key, runner bigint not null, claimed_at bigint not null,
        jobs uuid[] not null, epochs int[] not null)
        with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
    alter table claims alter jobs set storage external;"""

_GIVEN: LiteralString = """
    with given as materialized (
        select nextval('seq') as seq, id, lane, args::text as args
        from rows from (
            unnest(%(jobs)s::uuid[]), unnest(%(lanes)s::int[]), json_array_elements(%(args)s::json)
        ) as given(id, lane, args))"""

_GIVEN_ONE: LiteralString = """
    with given as materialized (
        select nextval('seq') as seq, %(job)s::uuid as id, %(lane)s::int as lane, %(args)s::text as args)"""

_INTO_JOBS: LiteralString = """
    insert into jobs (id, lane, seq, state, args, created_at)
    select id, lane, seq, 1, args, %(now)s from given"""

_INTO_JOBS_AND_READY: LiteralString = (
    ", stored as (" + _INTO_JOBS + ") insert into ready (lane, seq, job) select lane, seq, id from given"
)

_FILL_READY: LiteralString = (
    "insert into ready (lane, seq, job) select lane, seq, id from jobs where state = 1 order by seq"
)

_TAKEN: LiteralString = """
    with taken as (
        delete from ready where ctid = any(array(
            select head.place
            from unnest(%(lanes)s::int[], %(after)s::bigint[]) as wanted(lane, after)
            cross join lateral (
                select ready.ctid as place from ready
                where ready.lane = wanted.lane and ready.seq > wanted.after
                order by ready.seq limit %(room)s for update skip locked) as head
            limit %(room)s))
        returning lane, seq, job)"""

_OPENED: LiteralString = """,
    opened as materialized (
        select taken.*, held.epoch, held.args, held.errors from taken
        cross join lateral (
            select epoch, args, errors from jobs where jobs.id = taken.job offset 0) as held)"""

_REPORTED: LiteralString = """
    with reported as materialized (
        select job, epoch, result::text as result, started_at
        from rows from (
            unnest(%(jobs)s::uuid[]), unnest(%(epochs)s::int[]), json_array_elements(%(results)s::json),
            unnest(%(started)s::bigint[])) as reported(job, epoch, result, started_at))"""

_COMPLETE_FENCED_BY_STATE: LiteralString = (
    _REPORTED
    + """
    update jobs set state = 3, result = reported.result, finished_at = %(now)s, version = version + 1
    from reported where jobs.id = any(array[reported.job]) and jobs.epoch = reported.epoch and jobs.state = 2
    returning jobs.id::text"""
)

ONE_TABLE = Layout(
    name="A",
    idea="one table, partial index on what is pending",
    tables=jobs_table("50", ", runner bigint") + "create index on jobs (lane, seq) where state = 1;",
    enqueue_many=_GIVEN + _INTO_JOBS,
    enqueue_one=_GIVEN_ONE + _INTO_JOBS,
    claim="""
    update jobs
    set state = 2, epoch = epoch + 1, version = version + 1, runner = %(runner)s, started_at = %(now)s
    where ctid = any(array(
        select head.place
        from unnest(%(lanes)s::int[], %(after)s::bigint[]) as wanted(lane, after)
        cross join lateral (
            select jobs.ctid as place from jobs
            where jobs.lane = wanted.lane and jobs.seq > wanted.after and jobs.state = 1
            order by jobs.seq limit %(room)s for update skip locked) as head
        limit %(room)s))
    returning id::text, lane, seq, epoch, args, errors""",
    complete=_COMPLETE_FENCED_BY_STATE,
)

READY_BESIDE_JOBS = Layout(
    name="B",
    idea="ready beside jobs; claim and completion each update the job (HOT)",
    tables=jobs_table("40", ", runner bigint") + _READY,
    enqueue_many=_GIVEN + _INTO_JOBS_AND_READY,
    enqueue_one=_GIVEN_ONE + _INTO_JOBS_AND_READY,
    claim=_TAKEN
    + """
    update jobs
    set state = 2, epoch = epoch + 1, version = version + 1, runner = %(runner)s, started_at = %(now)s
    from taken where jobs.id = any(array[taken.job])
    returning jobs.id::text, jobs.lane, taken.seq, jobs.epoch, jobs.args, jobs.errors""",
    complete=_COMPLETE_FENCED_BY_STATE,
    fill_ready=_FILL_READY,
)

READY_AND_LEASES = Layout(
    name="C",
    idea="ready, and a lease row for each claimed job",
    tables=jobs_table("50") + _READY + _LEASES,
    enqueue_many=_GIVEN + _INTO_JOBS_AND_READY,
    enqueue_one=_GIVEN_ONE + _INTO_JOBS_AND_READY,
    claim=_TAKEN
    + _OPENED
    + """,
    leased as (
        insert into leases (job, epoch, runner, claimed_at)
        select job, epoch + 1, %(runner)s, %(now)s from opened)
    select job::text, lane, seq, epoch + 1, args, errors from opened""",
    complete=_REPORTED
    + """,
    fenced as (
        delete from leases using reported
        where leases.job = any(array[reported.job]) and leases.epoch = reported.epoch
        returning reported.job, reported.epoch, reported.result, reported.started_at)
    update jobs
    set state = 3, epoch = fenced.epoch, result = fenced.result, started_at = fenced.started_at,
        finished_at = %(now)s, version = version + 1
    from fenced where jobs.id = any(array[fenced.job])
    returning jobs.id::text""",
    fill_ready=_FILL_READY,
)

LEASES_BY_RUNNER = Layout(
    name="C2",
    idea="as C, leases indexed by runner",
    tables=READY_AND_LEASES.tables + "create index on leases (runner);",
    enqueue_many=READY_AND_LEASES.enqueue_many,
    enqueue_one=READY_AND_LEASES.enqueue_one,
    claim=READY_AND_LEASES.claim,
    complete=READY_AND_LEASES.complete,
    fill_ready=_FILL_READY,
)


def ready_and_claims(name: str, fillfactor: LiteralString) -> Layout:
    return Layout(
        name=name,
        idea=f"ready, and one claims row for each claimed batch; fillfactor {fillfactor}",
        tables=jobs_table(fillfactor) + _READY + _CLAIMS,
        enqueue_many=_GIVEN + _INTO_JOBS_AND_READY,
        enqueue_one=_GIVEN_ONE + _INTO_JOBS_AND_READY,
        claim=_TAKEN
        + _OPENED
        + """,
    noted as (
        insert into claims (id, runner, claimed_at, jobs, epochs)
        select %(claim)s, %(runner)s, %(now)s, array_agg(job), array_agg(epoch)
        from opened having count(*) > 0)
    select job::text, lane, seq, epoch, args, errors from opened""",
        complete=_REPORTED
        + """,
    closed as (delete from claims where id = any(%(closed)s::uuid[]))
    update jobs
    set state = 3, result = reported.result, started_at = reported.started_at, finished_at = %(now)s,
        version = version + 1
    from reported where jobs.id = any(array[reported.job]) and jobs.epoch = reported.epoch and jobs.state = 1
    returning jobs.id::text""",
        fill_ready=_FILL_READY,
    )


READY_AND_CLAIMS = ready_and_claims("D", "50")
CANDIDATES = (ONE_TABLE, READY_BESIDE_JOBS, READY_AND_LEASES, LEASES_BY_RUNNER, READY_AND_CLAIMS)

_SOUGHT_BY_INDEX: LiteralString = "jobs.id = any(array[reported.job])"

# Layout D again, with the two most obvious ways to write completions.
JOINED_PLAINLY = replace(
    READY_AND_CLAIMS,
    name="D plain",
    idea="as D, completion joins jobs by plain equality",
    complete=READY_AND_CLAIMS.complete.replace(_SOUGHT_BY_INDEX, "jobs.id = reported.job"),
)
JOINED_BY_PLACE = replace(
    READY_AND_CLAIMS,
    name="D ctid",
    idea="as D, completion joins jobs by the ctid of a look-up",
    complete=READY_AND_CLAIMS.complete.replace(
        "from reported where " + _SOUGHT_BY_INDEX,
        """from (
        select reported.*, held.place from reported
        cross join lateral (select ctid as place from jobs where jobs.id = reported.job offset 0) as held
    ) as reported
    where jobs.ctid = reported.place and jobs.id = reported.job""",
    ),
)
COUNTEREXAMPLES = (JOINED_PLAINLY, JOINED_BY_PLACE)
