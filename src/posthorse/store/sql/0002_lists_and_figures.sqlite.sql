-- From version 1 to 2: what lists, figures, logs, retention, the stream of events, steps, and jobs that wait for others
-- need. Workers of version 1 go on beside it: columns may be empty, and tables are new.

-- ## add_tables
-- Create tables for figures, logs and retention.
CREATE TABLE @tallies (
    span      integer NOT NULL,
    began_at  integer NOT NULL,
    queue     text NOT NULL,
    kind      text NOT NULL,
    tenant    text NOT NULL,
    happened  text NOT NULL,
    source    text NOT NULL,
    count     integer NOT NULL,
    micros    integer NOT NULL,
    histogram text NOT NULL,
    PRIMARY KEY (span, began_at, queue, kind, tenant, happened, source)
) WITHOUT ROWID;

CREATE TABLE @errors (
    fingerprint text PRIMARY KEY,
    kind        text NOT NULL,
    type        text NOT NULL,
    message     text NOT NULL,
    sample      text NOT NULL,
    first_at    integer NOT NULL,
    last_at     integer NOT NULL,
    release     text,
    count       integer NOT NULL
) WITHOUT ROWID;

CREATE TABLE @depths (
    at        integer NOT NULL,
    queue     text NOT NULL,
    waiting   integer NOT NULL,
    running   integer NOT NULL,
    scheduled integer NOT NULL,
    blocked   integer NOT NULL,
    paused    integer NOT NULL,
    failed    integer NOT NULL,
    waited    integer,
    PRIMARY KEY (at, queue)
) WITHOUT ROWID;

CREATE TABLE @releases (
    name     text PRIMARY KEY,
    first_at integer NOT NULL
) WITHOUT ROWID;

CREATE TABLE @keeps (
    scope   text NOT NULL,
    name    text NOT NULL,
    words   text NOT NULL,
    said_at integer NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;

CREATE TABLE @logs (
    job     text NOT NULL,
    epoch   integer NOT NULL,
    piece   integer NOT NULL,
    attempt integer NOT NULL,
    at      integer NOT NULL,
    lines   text NOT NULL,
    PRIMARY KEY (job, epoch, piece)
) WITHOUT ROWID

-- ## add_stream
-- Create tables for the stream of what happens to jobs.
CREATE TABLE @stream (
    place   integer PRIMARY KEY AUTOINCREMENT,
    at      integer NOT NULL,
    name    text NOT NULL,
    attempt integer,
    version integer,
    jobs    text NOT NULL,
    detail  text
);

CREATE TABLE @watchers (
    name   text PRIMARY KEY,
    wanted text NOT NULL,
    until  integer NOT NULL
) WITHOUT ROWID;

CREATE TABLE @readers (
    name         text PRIMARY KEY,
    place        text NOT NULL,
    moved_at     integer NOT NULL,
    unwatched_at integer
) WITHOUT ROWID

-- ## add_release
-- Let runners name the release of the application, and number their tallies.
ALTER TABLE @runners ADD COLUMN release text;
ALTER TABLE @runners ADD COLUMN tallied integer NOT NULL DEFAULT 0

-- ## add_lane
-- Let parked jobs name their lane, and the group of their error.
ALTER TABLE @parked ADD COLUMN lane integer;
ALTER TABLE @parked ADD COLUMN cause text

-- ## add_joins
-- Create tables for jobs that wait for others.
CREATE TABLE @edges (
    job       text NOT NULL,
    dependent text NOT NULL,
    needs     text NOT NULL,
    met       integer NOT NULL,
    PRIMARY KEY (job, dependent)
) WITHOUT ROWID;
CREATE INDEX @edges_by_dependent ON @edges (dependent);

CREATE TABLE @joins (
    job     text PRIMARY KEY,
    missing integer NOT NULL DEFAULT 0,
    open    integer NOT NULL DEFAULT 0,
    failed  integer NOT NULL DEFAULT 0,
    total   integer NOT NULL DEFAULT 0,
    skipped integer NOT NULL DEFAULT 0,
    asked   text,
    phase   text,
    wait    integer,
    walked  text,
    width   integer,
    passed  integer NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX @joins_walked ON @joins (job) WHERE walked IS NOT NULL;
CREATE INDEX @joins_width ON @joins (job) WHERE width IS NOT NULL;

CREATE TABLE @ends (
    id   text PRIMARY KEY,
    at   integer NOT NULL,
    jobs text NOT NULL
) WITHOUT ROWID

-- ## add_awaited
-- Let jobs say that others wait for them.
ALTER TABLE @jobs ADD COLUMN awaited integer NOT NULL DEFAULT 0

-- ## parked_without_lane
-- Find parked jobs whose lane is not entered.
-- index
CREATE INDEX @parked_without_lane ON @parked (job) WHERE lane IS NULL

-- ## enter_lanes
-- Enter the lanes of parked jobs.
-- in batches
UPDATE @parked SET lane = coalesce((SELECT lane FROM @jobs WHERE id = @parked.job), 0)
WHERE job IN (SELECT job FROM @parked WHERE lane IS NULL AND job > :after ORDER BY job LIMIT 1000)
RETURNING job

-- ## parked_dead
-- Index dead letters by lane.
-- index
CREATE INDEX @parked_dead ON @parked (lane, since) WHERE state = 'failed'

-- ## parked_by_cause
-- Index dead letters by the group of their error.
-- index
CREATE INDEX @parked_by_cause ON @parked (cause, job) WHERE cause IS NOT NULL

-- ## jobs_by_lane
-- Index jobs by lane, for lists of a queue or a kind.
-- index
CREATE INDEX @jobs_by_lane ON @jobs (lane, id)

-- ## jobs_by_tenant
-- Index jobs by tenant.
-- index
CREATE INDEX @jobs_by_tenant ON @jobs (tenant, id) WHERE tenant IS NOT NULL

-- ## jobs_by_parent
-- Index children by their parent.
-- index
CREATE INDEX @jobs_by_parent ON @jobs (parent, id) WHERE parent IS NOT NULL

-- ## add_steps
-- Create tables for the steps of jobs, and for what they wait for.
CREATE TABLE @steps (
    job   text NOT NULL,
    name  text NOT NULL,
    epoch integer NOT NULL,
    at    integer NOT NULL,
    form  text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (job, name)
) WITHOUT ROWID;

CREATE TABLE @signals (
    tenant     text NOT NULL,
    topic      text NOT NULL,
    payload    text NOT NULL,
    sent_at    integer NOT NULL,
    expires_at integer NOT NULL,
    PRIMARY KEY (tenant, topic)
) WITHOUT ROWID;
CREATE INDEX @signals_by_expires_at ON @signals (expires_at);

CREATE TABLE @listeners (
    tenant text NOT NULL,
    topic  text NOT NULL,
    job    text NOT NULL,
    epoch  integer NOT NULL,
    PRIMARY KEY (tenant, topic, job)
) WITHOUT ROWID;
CREATE INDEX @listeners_by_job ON @listeners (job)

-- ## add_conditions
-- Create a table for what went wrong, and let reports say since when a condition holds.
CREATE TABLE @incidents (
    subject text PRIMARY KEY,
    name    text NOT NULL,
    at      integer NOT NULL,
    detail  text NOT NULL
) WITHOUT ROWID;
ALTER TABLE @alarms ADD COLUMN since integer

-- ## add_stock
-- Create tables for stocks of results, and for the jobs that make them.
CREATE TABLE @stocks (
    name      text NOT NULL,
    tenant    text NOT NULL,
    declared  text NOT NULL,
    level     integer,
    refilling integer NOT NULL DEFAULT 0,
    seen_at   integer NOT NULL,
    PRIMARY KEY (name, tenant)
) WITHOUT ROWID;

CREATE TABLE @stocked (
    job    text PRIMARY KEY,
    stock  text NOT NULL,
    tenant text NOT NULL,
    key    text NOT NULL,
    state  text NOT NULL,
    since  integer NOT NULL,
    asked  integer NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX @stocked_by_shelf ON @stocked (stock, tenant, key, state, since);
CREATE INDEX @stocked_open ON @stocked (state) WHERE state IN ('ordered', 'failed');
CREATE UNIQUE INDEX @stocked_by_key ON @stocked (stock, tenant, key) WHERE key <> '' AND state IN ('ordered', 'failed')

-- ## add_tokens
-- Create a table for the tokens of the HTTP service.
CREATE TABLE @tokens (
    id             text PRIMARY KEY,
    name           text NOT NULL,
    digest         text NOT NULL,
    role           text NOT NULL,
    tenant         text,
    sees_arguments integer NOT NULL,
    created_at     integer NOT NULL,
    created_by     text NOT NULL,
    expires_at     integer,
    used_at        integer,
    revoked_at     integer
) WITHOUT ROWID
