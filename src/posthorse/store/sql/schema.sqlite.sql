-- The schema on SQLite, version 1. Times are microseconds since the epoch on this machine's clock; what judges a
-- lease (runners.expires_at, duties.until) counts from the boot of the machine. Hot tables are clustered on their key.

CREATE TABLE @meta (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- A lane is one line of waiting jobs: queue + kind + priority. A solo lane holds suspects, which run alone; where tenants
-- take turns each has its own; a keyed lane holds jobs with a place in a sequence of their own.
CREATE TABLE @lanes (
    id       integer PRIMARY KEY,
    queue    text NOT NULL,
    kind     text NOT NULL,
    priority integer NOT NULL,
    solo     integer NOT NULL,
    tenant   text NOT NULL,
    keyed    integer NOT NULL,
    UNIQUE (queue, kind, priority, solo, tenant, keyed)
);

-- A job is inserted once and stays. Its row is written again when a lease on it ends, not when one begins;
-- while a lease stands, only the holder of the lease writes the row. reason says why a job is in its state; of a
-- completed job it is the name of the worker that completed it.
CREATE TABLE @jobs (
    id          text PRIMARY KEY,
    lane        integer NOT NULL,
    seq         integer NOT NULL,
    epoch       integer NOT NULL DEFAULT 0,
    version     integer NOT NULL DEFAULT 1,
    errors      integer NOT NULL DEFAULT 0,
    crashes     integer NOT NULL DEFAULT 0,
    losses      integer NOT NULL DEFAULT 0,
    created_at  integer NOT NULL,
    run_at      integer,
    started_at  integer,
    finished_at integer,
    parent      text,
    state       text NOT NULL,
    arguments   text NOT NULL,
    result      text,
    error       text,
    reason      text,
    options     text,
    tenant      text,
    tags        text
) WITHOUT ROWID;

-- What may run now, and nothing else.
CREATE TABLE @ready (
    lane integer NOT NULL,
    seq  integer NOT NULL,
    job  text NOT NULL,
    PRIMARY KEY (lane, seq)
) WITHOUT ROWID;

-- Who runs what. Rows come and go, and are never updated: a row that is there is the fence.
CREATE TABLE @leases (
    job        text PRIMARY KEY,
    epoch      integer NOT NULL,
    runner     text NOT NULL,
    claimed_at integer NOT NULL
) WITHOUT ROWID;

-- Jobs that are neither ready, nor running, nor over: scheduled, blocked, paused; and dead letters. Those with a gate are
-- held before it, in the order of rank and place; of others place is 0 where they wait for a span, and not for a moment.
CREATE TABLE @parked (
    job    text PRIMARY KEY,
    state  text NOT NULL,
    due_at integer,
    since  integer NOT NULL,
    gate   text,
    rank   integer,
    place  integer
) WITHOUT ROWID;
CREATE INDEX @parked_by_due_at ON @parked (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX @parked_by_state ON @parked (state, since);
CREATE INDEX @parked_by_gate ON @parked (gate, rank, place) WHERE gate IS NOT NULL;

-- Limits at work: a gate for each limit, or for each value that it is kept apart by. Tokens of a rate are given out up to
-- `through`, in nanoseconds; what the limit demands is noted for those who look after gates. due_at: when to look at the
-- jobs that are held before it.
CREATE TABLE @gates (
    key     text PRIMARY KEY,
    through integer NOT NULL DEFAULT 0,
    most    integer,
    step    integer NOT NULL,
    burst   integer NOT NULL,
    due_at  integer,
    used_at integer NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX @gates_by_due_at ON @gates (due_at) WHERE due_at IS NOT NULL;

-- Who passed a gate. An entry is worth nothing once its job's lease, or the job, is over: nobody has to clean up in time.
-- Epoch 0: a job with a place in a sequence that something else keeps out; paused it has none.
CREATE TABLE @slots (
    gate  text NOT NULL,
    job   text NOT NULL,
    epoch integer NOT NULL,
    until text NOT NULL,
    PRIMARY KEY (gate, job)
) WITHOUT ROWID;
CREATE INDEX @slots_by_job ON @slots (job);

-- The order of sequences: jobs with a place since they were enqueued. Those that are over are forgotten at the next claim.
CREATE TABLE @sequences (
    gate  text NOT NULL,
    place integer NOT NULL,
    job   text NOT NULL,
    PRIMARY KEY (gate, place, job)
) WITHOUT ROWID;
CREATE INDEX @sequences_by_job ON @sequences (job);

CREATE VIEW @taken AS
SELECT s.gate, s.job FROM @slots s
WHERE CASE s.until
    WHEN 'lease' THEN (SELECT true FROM @leases l WHERE l.job = s.job AND l.epoch = s.epoch)
    ELSE (
        SELECT true FROM @jobs j
        WHERE j.id = s.job AND j.state NOT IN ('completed', 'cancelled') AND (j.state <> 'failed' OR s.until = 'mend')
            AND (j.state <> 'paused' OR s.epoch > 0))
    END;

-- What somebody asks of a running job: pause or cancel. Nearly always empty.
CREATE TABLE @controls (
    job    text PRIMARY KEY,
    runner text NOT NULL,
    action text NOT NULL,
    at     integer NOT NULL
) WITHOUT ROWID;
CREATE INDEX @controls_by_runner ON @controls (runner);

-- Where a long job stands: one row, rewritten in place with every slice.
CREATE TABLE @checkpoints (
    job         text PRIMARY KEY,
    epoch       integer NOT NULL,
    slices      integer NOT NULL,
    done        integer NOT NULL,
    total       integer,
    updated_at  integer NOT NULL,
    advanced_at integer,
    pace        text NOT NULL,
    note        text,
    cursors     text NOT NULL,
    kept        text NOT NULL
) WITHOUT ROWID;

-- Items that a long job tolerated, with their errors, until a retry of them succeeds. form says what item holds: the
-- value itself, the key by which its source finds it again, or no more than how it looked. Epoch 0: of a slice that was not
-- committed, because it had too many.
CREATE TABLE @bad_items (
    job       text NOT NULL,
    loop      text NOT NULL,
    number    integer NOT NULL,
    epoch     integer NOT NULL,
    at        integer NOT NULL,
    form      text NOT NULL,
    item      text NOT NULL,
    type      text NOT NULL,
    message   text NOT NULL,
    traceback text,
    PRIMARY KEY (job, loop, number)
) WITHOUT ROWID;

-- Idempotency keys and identities; they outlive partitions and retention of jobs. What has no time counts for ever, or
-- for as long as its job says.
CREATE TABLE @keys (
    tenant      text NOT NULL,
    scope       text NOT NULL,
    key         text NOT NULL,
    job         text NOT NULL,
    fingerprint text NOT NULL,
    expires_at  integer,
    PRIMARY KEY (tenant, scope, key)
) WITHOUT ROWID;
CREATE INDEX @keys_by_expires_at ON @keys (expires_at) WHERE expires_at IS NOT NULL;

-- What happened to a job beyond the happy path, which its own timestamps tell. version is the job's.
CREATE TABLE @events (
    job     text NOT NULL,
    version integer NOT NULL,
    at      integer NOT NULL,
    name    text NOT NULL,
    detail  text,
    PRIMARY KEY (job, version)
) WITHOUT ROWID;

-- One row per incarnation of a runner; its lease covers all the jobs that it holds.
CREATE TABLE @runners (
    id          text PRIMARY KEY,
    worker      text NOT NULL,
    boot        text NOT NULL,
    host        text NOT NULL,
    pid         integer NOT NULL,
    version     text NOT NULL,
    started_at  integer NOT NULL,
    beat_at     integer NOT NULL,
    expires_at  integer NOT NULL,
    idle        integer NOT NULL DEFAULT 0,
    draining    integer NOT NULL DEFAULT 0,
    running     integer NOT NULL DEFAULT 0,
    concurrency integer NOT NULL,
    queues      text NOT NULL,
    kinds       text NOT NULL,
    labels      text NOT NULL
);

-- What was said of queues while they were at work: JSON, which wins over what code and files say. meta.queues counts
-- the changes.
CREATE TABLE @queues (
    name       text PRIMARY KEY,
    settings   text NOT NULL,
    changed_at integer NOT NULL
);

-- Schedules: what code declares (timing, policies and call; fingerprint tells declarations apart), and how far each one
-- is: times up to `through` are dealt with. open_jobs are its jobs that were not seen to be over.
CREATE TABLE @schedules (
    name        text PRIMARY KEY,
    fingerprint text NOT NULL,
    timing      text NOT NULL,
    policies    text NOT NULL,
    call        text NOT NULL,
    paused      integer NOT NULL DEFAULT 0,
    through     integer NOT NULL,
    declared_at integer NOT NULL,
    seen_at     integer NOT NULL,
    last_at     integer,
    last_job    text,
    open_jobs   text NOT NULL DEFAULT '[]',
    skipped     integer NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- The times that schedules were run for, kept for a while: a clock that is put back does not run them again, unless they
-- come again: fired_at is 0 then. The instant of a time that came again n times is n microseconds later.
CREATE TABLE @fires (
    schedule text NOT NULL,
    due_at   integer NOT NULL,
    fired_at integer NOT NULL,
    PRIMARY KEY (schedule, due_at)
) WITHOUT ROWID;

-- Up to when dead letters were told of: to whom (the kind of an observer, or * for the log), and of which queue.
CREATE TABLE @alarms (
    name    text NOT NULL,
    subject text NOT NULL,
    through integer NOT NULL,
    PRIMARY KEY (name, subject)
) WITHOUT ROWID;

-- Chores that one process at a time does: sweeping, promoting.
CREATE TABLE @duties (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  integer NOT NULL
);
