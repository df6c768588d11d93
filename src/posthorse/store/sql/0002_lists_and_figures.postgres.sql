-- From version 1 to 2: what lists, figures, logs, retention, the stream of events, steps, and jobs that wait for others
-- need. Workers of version 1 go on beside it: columns may be empty, and tables are new.

-- ## add_tables
-- Create tables for figures, logs and retention.
CREATE TABLE @tallies (
    span      integer NOT NULL,
    began_at  bigint NOT NULL,
    queue     text NOT NULL,
    kind      text NOT NULL,
    tenant    text NOT NULL,
    happened  text NOT NULL,
    source    text NOT NULL,
    count     bigint NOT NULL,
    micros    bigint NOT NULL,
    histogram text NOT NULL,
    PRIMARY KEY (span, began_at, queue, kind, tenant, happened, source)
);

CREATE TABLE @errors (
    fingerprint text PRIMARY KEY,
    kind        text NOT NULL,
    type        text NOT NULL,
    message     text NOT NULL,
    sample      uuid NOT NULL,
    first_at    bigint NOT NULL,
    last_at     bigint NOT NULL,
    release     text,
    count       bigint NOT NULL
);

CREATE TABLE @depths (
    at        bigint NOT NULL,
    queue     text NOT NULL,
    waiting   bigint NOT NULL,
    running   bigint NOT NULL,
    scheduled bigint NOT NULL,
    blocked   bigint NOT NULL,
    paused    bigint NOT NULL,
    failed    bigint NOT NULL,
    waited    bigint,
    PRIMARY KEY (at, queue)
);

CREATE TABLE @releases (
    name     text PRIMARY KEY,
    first_at bigint NOT NULL
);

CREATE TABLE @keeps (
    scope   text NOT NULL,
    name    text NOT NULL,
    words   text NOT NULL,
    said_at bigint NOT NULL,
    PRIMARY KEY (scope, name)
);

CREATE TABLE @logs (
    job     uuid NOT NULL,
    epoch   integer NOT NULL,
    piece   integer NOT NULL,
    attempt integer NOT NULL,
    at      bigint NOT NULL,
    lines   text NOT NULL,
    PRIMARY KEY (job, epoch, piece)
)

-- ## add_stream
-- Create tables for the stream of what happens to jobs.
CREATE TABLE @stream (
    place   bigint GENERATED ALWAYS AS IDENTITY,
    xid     xid8 NOT NULL DEFAULT pg_current_xact_id(),
    at      bigint NOT NULL,
    name    text NOT NULL,
    attempt integer,
    version integer,
    jobs    text NOT NULL,
    detail  text,
    PRIMARY KEY (xid, place)
);
ALTER TABLE @stream ALTER COLUMN jobs SET STORAGE EXTERNAL;

CREATE TABLE @ticks (
    number   bigint PRIMARY KEY,
    at       bigint NOT NULL,
    snapshot pg_snapshot NOT NULL
);

CREATE TABLE @watchers (
    name   text PRIMARY KEY,
    wanted text NOT NULL,
    until  bigint NOT NULL
);

CREATE TABLE @readers (
    name         text PRIMARY KEY,
    place        text NOT NULL,
    moved_at     bigint NOT NULL,
    unwatched_at bigint
)

-- ## add_release
-- Let runners name the release of the application, and number their tallies.
ALTER TABLE @runners ADD COLUMN release text, ADD COLUMN tallied bigint NOT NULL DEFAULT 0

-- ## add_lane
-- Let parked jobs name their lane, and the group of their error.
ALTER TABLE @parked ADD COLUMN lane integer, ADD COLUMN cause text

-- ## add_joins
-- Create tables for jobs that wait for others.
CREATE TABLE @edges (
    job       uuid NOT NULL,
    dependent uuid NOT NULL,
    needs     text NOT NULL,
    met       boolean NOT NULL,
    PRIMARY KEY (job, dependent)
) WITH (fillfactor = 70);
CREATE INDEX edges_by_dependent ON @edges (dependent);

CREATE TABLE @joins (
    job     uuid PRIMARY KEY,
    missing integer NOT NULL DEFAULT 0,
    open    integer NOT NULL DEFAULT 0,
    failed  integer NOT NULL DEFAULT 0,
    total   integer NOT NULL DEFAULT 0,
    skipped boolean NOT NULL DEFAULT false,
    asked   text,
    phase   text,
    wait    bigint,
    walked  uuid,
    width   integer,
    passed  integer NOT NULL DEFAULT 0
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX joins_walked ON @joins (job) WHERE walked IS NOT NULL;
CREATE INDEX joins_width ON @joins (job) WHERE width IS NOT NULL;

CREATE TABLE @ends (
    id   uuid PRIMARY KEY,
    at   bigint NOT NULL,
    jobs text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000)

-- ## add_awaited
-- Let jobs say that others wait for them.
ALTER TABLE @jobs ADD COLUMN awaited boolean NOT NULL DEFAULT false

-- ## parked_without_lane
-- Find parked jobs whose lane is not entered.
-- index
CREATE INDEX CONCURRENTLY parked_without_lane ON @parked (job) WHERE lane IS NULL

-- ## enter_lanes
-- Enter the lanes of parked jobs.
-- in batches
UPDATE @parked SET lane = coalesce((SELECT lane FROM @jobs WHERE id = @parked.job), 0)
WHERE job IN (SELECT job FROM @parked WHERE lane IS NULL AND job > :after ORDER BY job LIMIT 1000 FOR UPDATE SKIP LOCKED)
RETURNING job

-- ## parked_dead
-- Index dead letters by lane.
-- index
CREATE INDEX CONCURRENTLY parked_dead ON @parked (lane, since) WHERE state = 'failed'

-- ## parked_by_cause
-- Index dead letters by the group of their error.
-- index
CREATE INDEX CONCURRENTLY parked_by_cause ON @parked (cause, job) WHERE cause IS NOT NULL

-- ## jobs_by_lane
-- Index jobs by lane, for lists of a queue or a kind.
-- index
CREATE INDEX CONCURRENTLY jobs_by_lane ON @jobs (lane, id)

-- ## jobs_by_tenant
-- Index jobs by tenant.
-- index
CREATE INDEX CONCURRENTLY jobs_by_tenant ON @jobs (tenant, id) WHERE tenant IS NOT NULL

-- ## jobs_by_parent
-- Index children by their parent.
-- index
CREATE INDEX CONCURRENTLY jobs_by_parent ON @jobs (parent, id) WHERE parent IS NOT NULL

-- ## add_steps
-- Create tables for the steps of jobs, and for what they wait for.
CREATE TABLE @steps (
    job   uuid NOT NULL,
    name  text NOT NULL,
    epoch integer NOT NULL,
    at    bigint NOT NULL,
    form  text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (job, name)
);

CREATE TABLE @signals (
    tenant     text NOT NULL,
    topic      text NOT NULL,
    payload    text NOT NULL,
    sent_at    bigint NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (tenant, topic)
);
CREATE INDEX signals_by_expires_at ON @signals (expires_at);

CREATE TABLE @listeners (
    tenant text NOT NULL,
    topic  text NOT NULL,
    job    uuid NOT NULL,
    epoch  integer NOT NULL,
    PRIMARY KEY (tenant, topic, job)
);
CREATE INDEX listeners_by_job ON @listeners (job)

-- ## add_conditions
-- Create a table for what went wrong, and let reports say since when a condition holds.
CREATE TABLE @incidents (
    subject text PRIMARY KEY,
    name    text NOT NULL,
    at      bigint NOT NULL,
    detail  text NOT NULL
);
ALTER TABLE @alarms ADD COLUMN since bigint

-- ## add_stock
-- Create tables for stocks of results, and for the jobs that make them.
CREATE TABLE @stocks (
    name      text NOT NULL,
    tenant    text NOT NULL,
    declared  text NOT NULL,
    level     integer,
    refilling boolean NOT NULL DEFAULT false,
    seen_at   bigint NOT NULL,
    PRIMARY KEY (name, tenant)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

CREATE TABLE @stocked (
    job    uuid PRIMARY KEY,
    stock  text NOT NULL,
    tenant text NOT NULL,
    key    text NOT NULL,
    state  text NOT NULL,
    since  bigint NOT NULL,
    asked  boolean NOT NULL DEFAULT false
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX stocked_by_shelf ON @stocked (stock, tenant, key, state, since);
CREATE UNIQUE INDEX stocked_by_key ON @stocked (stock, tenant, key) WHERE key <> '' AND state IN ('ordered', 'failed')

-- ## add_tokens
-- Create a table for the tokens of the HTTP service.
CREATE TABLE @tokens (
    id             text PRIMARY KEY,
    name           text NOT NULL,
    digest         text NOT NULL,
    role           text NOT NULL,
    tenant         text,
    sees_arguments boolean NOT NULL,
    created_at     bigint NOT NULL,
    created_by     text NOT NULL,
    expires_at     bigint,
    used_at        bigint,
    revoked_at     bigint
)
