-- The schema on PostgreSQL, version 2. Times are bigint microseconds since the epoch on the server's clock.
-- No foreign keys on hot tables; no index that a heartbeat or a checkpoint must touch.

CREATE TABLE @meta (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- A lane is one line of waiting jobs: queue + kind + priority. A solo lane holds suspects, which run alone. In a fair
-- queue each tenant has its own lanes. A keyed lane holds jobs whose sequence depends on each job's own value.
CREATE TABLE @lanes (
    id       integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    queue    text NOT NULL,
    kind     text NOT NULL,
    priority smallint NOT NULL,
    solo     boolean NOT NULL,
    tenant   text NOT NULL,
    keyed    boolean NOT NULL,
    UNIQUE (queue, kind, priority, solo, tenant, keyed)
);

CREATE SEQUENCE @seq;

-- A job is inserted once and stays. Its row is written again when a lease on it ends, not when one begins; while it is
-- leased, only the holder of the lease writes the row. reason says why a job is in its state; for a completed job it is
-- the name of the worker that completed it.
CREATE TABLE @jobs (
    id          uuid PRIMARY KEY,
    lane        integer NOT NULL,
    seq         bigint NOT NULL,
    epoch       integer NOT NULL DEFAULT 0,
    version     integer NOT NULL DEFAULT 1,
    errors      integer NOT NULL DEFAULT 0,
    crashes     integer NOT NULL DEFAULT 0,
    losses      integer NOT NULL DEFAULT 0,
    created_at  bigint NOT NULL,
    run_at      bigint,
    started_at  bigint,
    finished_at bigint,
    parent      uuid,
    state       text NOT NULL,
    arguments   text NOT NULL,
    result      text,
    error       text,
    reason      text,
    options     text,
    tenant      text,
    tags        text,
    awaited     boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
CREATE INDEX jobs_by_lane ON @jobs (lane, id);
CREATE INDEX jobs_by_tenant ON @jobs (tenant, id) WHERE tenant IS NOT NULL;
CREATE INDEX jobs_by_parent ON @jobs (parent, id) WHERE parent IS NOT NULL;

-- What may run now, and nothing else.
CREATE TABLE @ready (
    lane integer NOT NULL,
    seq  bigint NOT NULL,
    job  uuid NOT NULL,
    PRIMARY KEY (lane, seq)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Which runner runs which job. Rows come and go, and are never updated: a row that exists is the fence.
CREATE TABLE @leases (
    job        uuid PRIMARY KEY,
    epoch      integer NOT NULL,
    runner     uuid NOT NULL,
    claimed_at bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);

-- Jobs that are neither ready, nor running, nor over: scheduled, blocked, paused; and dead letters. Jobs with a gate
-- are held before it, in the order of rank and place. For other jobs place is 0 if they wait for a span, not for a
-- moment. lane is the job's; it is missing where a worker of version 1 parked the job, until the sweep enters it. cause
-- is the group of the error of a dead letter.
CREATE TABLE @parked (
    job    uuid PRIMARY KEY,
    state  text NOT NULL,
    due_at bigint,
    since  bigint NOT NULL,
    gate   text,
    rank   smallint,
    place  bigint,
    lane   integer,
    cause  text
);
CREATE INDEX ON @parked (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX ON @parked (state, since);
CREATE INDEX ON @parked (gate, rank, place) WHERE gate IS NOT NULL;
CREATE INDEX parked_dead ON @parked (lane, since) WHERE state = 'failed';
CREATE INDEX parked_by_cause ON @parked (cause, job) WHERE cause IS NOT NULL;
CREATE INDEX parked_without_lane ON @parked (job) WHERE lane IS NULL;

-- Gates: one for each limit in use, or for each value of its partition key. Tokens of a rate are used up to `through`,
-- in nanoseconds. The requirement is stored for the sweep, which tends gates. due_at: when to look at the jobs that are
-- held before it.
CREATE TABLE @gates (
    key     text PRIMARY KEY,
    through bigint NOT NULL DEFAULT 0,
    most    integer,
    step    bigint NOT NULL,
    burst   integer NOT NULL,
    due_at  bigint,
    used_at bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX ON @gates (due_at) WHERE due_at IS NOT NULL;

-- Jobs that passed a gate. A row no longer counts once its job's lease, or the job, is over, so cleaning up is not
-- urgent. Epoch 0: a job with a position in a sequence that another gate keeps out; a paused one has none.
CREATE TABLE @slots (
    gate  text NOT NULL,
    job   uuid NOT NULL,
    epoch integer NOT NULL,
    until text NOT NULL,
    PRIMARY KEY (gate, job)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX slots_by_job ON @slots (job);

-- The order of sequences: jobs and their positions, set when they are enqueued. A claim deletes those that are over.
CREATE TABLE @sequences (
    gate  text NOT NULL,
    place bigint NOT NULL,
    job   uuid NOT NULL,
    PRIMARY KEY (gate, place, job)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
CREATE INDEX ON @sequences (job);

CREATE VIEW @taken AS
SELECT s.gate, s.job FROM @slots s
WHERE CASE s.until
    WHEN 'lease' THEN (SELECT true FROM @leases l WHERE l.job = s.job AND l.epoch = s.epoch)
    ELSE (
        SELECT true FROM @jobs j
        WHERE j.id = s.job AND j.state NOT IN ('completed', 'cancelled') AND (j.state <> 'failed' OR s.until = 'mend')
            AND (j.state <> 'paused' OR s.epoch > 0))
    END;

-- Who needs an end of whom: `dependent` waits for `job` to be completed, failed or over. It is met once, whatever happens
-- to the job later. Kept as long as the jobs.
CREATE TABLE @edges (
    job       uuid NOT NULL,
    dependent uuid NOT NULL,
    needs     text NOT NULL,
    met       boolean NOT NULL,
    PRIMARY KEY (job, dependent)
) WITH (fillfactor = 70);
CREATE INDEX edges_by_dependent ON @edges (dependent);

-- Who waits, and for how much: edges that are not met (missing), children that are not over (open), and how many of the
-- children are dead letters (failed). phase says what follows when nothing is left to wait for: `end` for parents whose
-- own code is done, or that have none; `run` for those that run again, and `again` once they do. skipped: cancelled,
-- because its needs could not be met. asked: what a user requested of the whole family; walked: up to which of its
-- children that was done, until it was done to all. wait: how long it waits after its needs are met. width: how many of
-- its children may run at once. passed: how many joins its code went past before it returned; dead letters among the
-- children that it added before them do not fail it.
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

-- Ends of jobs that others wait for, and that are not counted yet: a row for each commit, with a JSON list of jobs and
-- states. Nearly always empty.
CREATE TABLE @ends (
    id   uuid PRIMARY KEY,
    at   bigint NOT NULL,
    jobs text NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Requests to running jobs: pause or cancel. Nearly always empty.
CREATE TABLE @controls (
    job    uuid PRIMARY KEY,
    runner uuid NOT NULL,
    action text NOT NULL,
    at     bigint NOT NULL
);
CREATE INDEX ON @controls (runner);

-- The state of a long job: one row, rewritten in place with every slice.
CREATE TABLE @checkpoints (
    job         uuid PRIMARY KEY,
    epoch       integer NOT NULL,
    slices      integer NOT NULL,
    done        bigint NOT NULL,
    total       bigint,
    updated_at  bigint NOT NULL,
    advanced_at bigint,
    pace        text NOT NULL,
    note        text,
    cursors     text NOT NULL,
    kept        text NOT NULL
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

-- Items that a long job tolerated, with their errors, until a retry succeeds. form says what item holds: the value, the
-- key by which its source finds it again, or only its repr. Epoch 0: the slice was not committed, because it had too
-- many.
CREATE TABLE @bad_items (
    job       uuid NOT NULL,
    loop      text NOT NULL,
    number    bigint NOT NULL,
    epoch     integer NOT NULL,
    at        bigint NOT NULL,
    form      text NOT NULL,
    item      text NOT NULL,
    type      text NOT NULL,
    message   text NOT NULL,
    traceback text,
    PRIMARY KEY (job, loop, number)
);

-- Steps of jobs: named results, which no later attempt repeats. form says what value holds.
CREATE TABLE @steps (
    job   uuid NOT NULL,
    name  text NOT NULL,
    epoch integer NOT NULL,
    at    bigint NOT NULL,
    form  text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (job, name)
);

-- Events that jobs wait for: each is a fact that stays until it expires. The topic of an event for one job begins with
-- the id of the job. tenant is '' for none.
CREATE TABLE @signals (
    tenant     text NOT NULL,
    topic      text NOT NULL,
    payload    text NOT NULL,
    sent_at    bigint NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (tenant, topic)
);
CREATE INDEX signals_by_expires_at ON @signals (expires_at);

-- Jobs that wait for an event, since the end of the attempt with this epoch. A row may stay behind when its job goes on
-- without the event; then the job has another epoch, or is not blocked.
CREATE TABLE @listeners (
    tenant text NOT NULL,
    topic  text NOT NULL,
    job    uuid NOT NULL,
    epoch  integer NOT NULL,
    PRIMARY KEY (tenant, topic, job)
);
CREATE INDEX listeners_by_job ON @listeners (job);

-- What jobs logged: pieces of about a second of one attempt, each named by the number of its first line. Of many lines
-- only the first and the last are kept, so numbers may be missing between two pieces.
CREATE TABLE @logs (
    job     uuid NOT NULL,
    epoch   integer NOT NULL,
    piece   integer NOT NULL,
    attempt integer NOT NULL,
    at      bigint NOT NULL,
    lines   text NOT NULL,
    PRIMARY KEY (job, epoch, piece)
);

-- Idempotency keys and identities; they outlive partitions and retention of jobs. One without an expiry counts for
-- ever, or for as long as its job says.
CREATE TABLE @keys (
    tenant      text NOT NULL,
    scope       text NOT NULL,
    key         text NOT NULL,
    job         uuid NOT NULL,
    fingerprint text NOT NULL,
    expires_at  bigint,
    PRIMARY KEY (tenant, scope, key)
);
CREATE INDEX ON @keys (expires_at) WHERE expires_at IS NOT NULL;

-- Events of a job beyond the happy path, which its own timestamps show. version is the job's.
CREATE TABLE @events (
    job     uuid NOT NULL,
    version integer NOT NULL,
    at      bigint NOT NULL,
    name    text NOT NULL,
    detail  text,
    PRIMARY KEY (job, version)
);

-- One row per incarnation of a runner; its lease covers all the jobs that it holds. release is the application's.
-- tallied numbers the tallies that it wrote, so that none is written twice.
CREATE TABLE @runners (
    id          uuid PRIMARY KEY,
    worker      text NOT NULL,
    boot        text NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    version     text NOT NULL,
    started_at  bigint NOT NULL,
    beat_at     bigint NOT NULL,
    expires_at  bigint NOT NULL,
    idle        boolean NOT NULL DEFAULT false,
    draining    boolean NOT NULL DEFAULT false,
    running     integer NOT NULL DEFAULT 0,
    concurrency integer NOT NULL,
    queues      text NOT NULL,
    kinds       text NOT NULL,
    labels      text NOT NULL,
    release     text,
    tallied     bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- Live settings of queues: JSON, which wins over code and files. meta.queues counts the changes.
CREATE TABLE @queues (
    name       text PRIMARY KEY,
    settings   text NOT NULL,
    changed_at bigint NOT NULL
);

-- Schedules: what code declares (timing, policies and call; fingerprint tells declarations apart), and how far each one
-- is: times up to `through` are handled. open_jobs are its jobs that are not known to be over.
CREATE TABLE @schedules (
    name        text PRIMARY KEY,
    fingerprint text NOT NULL,
    timing      text NOT NULL,
    policies    text NOT NULL,
    call        text NOT NULL,
    paused      boolean NOT NULL DEFAULT false,
    through     bigint NOT NULL,
    declared_at bigint NOT NULL,
    seen_at     bigint NOT NULL,
    last_at     bigint,
    last_job    text,
    open_jobs   text NOT NULL DEFAULT '[]',
    skipped     bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- The times that schedules have run for, kept for a while, so that a clock that is set back does not run them again. If
-- they come again, fired_at is 0. The instant of a time that came again n times is n microseconds later.
CREATE TABLE @fires (
    schedule text NOT NULL,
    due_at   bigint NOT NULL,
    fired_at bigint NOT NULL,
    PRIMARY KEY (schedule, due_at)
);

-- What was reported to whom: to an observer (its kind), or to the log (*). Of dead letters: the queue, and up to when. Of
-- other conditions: the subject, at which look, and since when the condition holds; without `since` it is over. The
-- subject '' is the observer itself, which entered then.
CREATE TABLE @alarms (
    name    text NOT NULL,
    subject text NOT NULL,
    through bigint NOT NULL,
    since   bigint,
    PRIMARY KEY (name, subject)
);

-- What went wrong and leaves no other trace: workers that were lost, times of schedules that were missed. detail is JSON.
CREATE TABLE @incidents (
    subject text PRIMARY KEY,
    name    text NOT NULL,
    at      bigint NOT NULL,
    detail  text NOT NULL
);

-- Leaderships: chores that one process at a time does.
CREATE TABLE @duties (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  bigint NOT NULL
);

-- What happened to jobs, by time, queue, kind and tenant ('' for none): how often, and how long they waited (started) or
-- ran (ends), as a sum and as a histogram (JSON: counts by bucket). span is the length of the time in seconds. What is
-- written once is in one row, named by its source; rows are read by adding them up, and folded into longer spans. Errors
-- of a group are counted as `error:` and its fingerprint, without a queue.
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

-- Errors in groups: those of one kind that are alike have one fingerprint. sample is a job that failed with it; release
-- is the first in which it occurred.
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

-- How deep queues were: samples. waited is for how long the oldest job had waited, in microseconds.
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

-- When the first runner of each release of the application started.
CREATE TABLE @releases (
    name     text PRIMARY KEY,
    first_at bigint NOT NULL
);

-- How long jobs are kept: what code declares of a kind or a queue (scope), as JSON.
CREATE TABLE @keeps (
    scope   text NOT NULL,
    name    text NOT NULL,
    words   text NOT NULL,
    said_at bigint NOT NULL,
    PRIMARY KEY (scope, name)
);

-- What happened to jobs, while it is watched: one row for all that one commit did to several jobs (`jobs` is a JSON list
-- of their ids). What concerns no job has an empty list, and a detail, as JSON. A row belongs to the first tick whose
-- snapshot sees it; in a tick, rows are in the order of place.
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
-- Ids do not compress, and trying costs more than the rest of the row.
ALTER TABLE @stream ALTER COLUMN jobs SET STORAGE EXTERNAL;

-- Ticks: snapshots that readers of the stream take while there is news. They order what commits in any order.
CREATE TABLE @ticks (
    number   bigint PRIMARY KEY,
    at       bigint NOT NULL,
    snapshot pg_snapshot NOT NULL
);

-- Who watches the stream, until when, and what they want: JSON, with names and kinds of jobs. Without a row, nothing is
-- written to it.
CREATE TABLE @watchers (
    name   text PRIMARY KEY,
    wanted text NOT NULL,
    until  bigint NOT NULL
);

-- How far durable readers of the stream are. unwatched_at: when it was found that the watch of one had ended, until it was
-- told so.
CREATE TABLE @readers (
    name         text PRIMARY KEY,
    place        text NOT NULL,
    moved_at     bigint NOT NULL,
    unwatched_at bigint
);

-- Stocks: what code declares of each (JSON), a row for each tenant with a shelf of its own ('' for none). level wins over
-- the declared one. refilling: it was found low, and is not full again. A process that orders locks the row.
CREATE TABLE @stocks (
    name      text NOT NULL,
    tenant    text NOT NULL,
    declared  text NOT NULL,
    level     integer,
    refilling boolean NOT NULL DEFAULT false,
    seen_at   bigint NOT NULL,
    PRIMARY KEY (name, tenant)
) WITH (fillfactor = 40, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500);

-- The jobs that make results for stocks: ordered, made (its result can be taken), failed (it ended without one, and holds
-- its place for a while) or taken. since: when that began. key is '' on a shelf, else JSON. asked: a result by key was read.
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
CREATE UNIQUE INDEX stocked_by_key ON @stocked (stock, tenant, key) WHERE key <> '' AND state IN ('ordered', 'failed');

-- Tokens of the HTTP service: the SHA-256 of their secrets, what their holders may do, and when they were used, to the hour.
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
);
