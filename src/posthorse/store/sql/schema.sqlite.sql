-- The schema on SQLite, version 2. Times are microseconds since the epoch on this machine's clock; what judges a
-- lease (runners.expires_at, duties.until) counts from the boot of the machine. Hot tables are clustered on their key.

CREATE TABLE @meta (
    name  text PRIMARY KEY,
    value text NOT NULL
);

-- A lane is one line of waiting jobs: queue + kind + priority. A solo lane holds suspects, which run alone. In a fair
-- queue each tenant has its own lanes. A keyed lane holds jobs whose sequence depends on each job's own value.
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

-- A job is inserted once and stays. Its row is written again when a lease on it ends, not when one begins; while it is
-- leased, only the holder of the lease writes the row. reason says why a job is in its state; for a completed job it is
-- the name of the worker that completed it.
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
    tags        text,
    awaited     integer NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX @jobs_by_lane ON @jobs (lane, id);
CREATE INDEX @jobs_by_tenant ON @jobs (tenant, id) WHERE tenant IS NOT NULL;
CREATE INDEX @jobs_by_parent ON @jobs (parent, id) WHERE parent IS NOT NULL;

-- What may run now, and nothing else.
CREATE TABLE @ready (
    lane integer NOT NULL,
    seq  integer NOT NULL,
    job  text NOT NULL,
    PRIMARY KEY (lane, seq)
) WITHOUT ROWID;

-- Which runner runs which job. Rows come and go, and are never updated: a row that exists is the fence.
CREATE TABLE @leases (
    job        text PRIMARY KEY,
    epoch      integer NOT NULL,
    runner     text NOT NULL,
    claimed_at integer NOT NULL
) WITHOUT ROWID;

-- Jobs that are neither ready, nor running, nor over: scheduled, blocked, paused; and dead letters. Jobs with a gate
-- are held before it, in the order of rank and place. For other jobs place is 0 if they wait for a span, not for a
-- moment. lane is the job's; it is missing where a worker of version 1 parked the job, until the sweep enters it. cause
-- is the group of the error of a dead letter.
CREATE TABLE @parked (
    job    text PRIMARY KEY,
    state  text NOT NULL,
    due_at integer,
    since  integer NOT NULL,
    gate   text,
    rank   integer,
    place  integer,
    lane   integer,
    cause  text
) WITHOUT ROWID;
CREATE INDEX @parked_by_due_at ON @parked (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX @parked_by_state ON @parked (state, since);
CREATE INDEX @parked_by_gate ON @parked (gate, rank, place) WHERE gate IS NOT NULL;
CREATE INDEX @parked_dead ON @parked (lane, since) WHERE state = 'failed';
CREATE INDEX @parked_by_cause ON @parked (cause, job) WHERE cause IS NOT NULL;
CREATE INDEX @parked_without_lane ON @parked (job) WHERE lane IS NULL;

-- Gates: one for each limit in use, or for each value of its partition key. Tokens of a rate are used up to `through`,
-- in nanoseconds. The requirement is stored for the sweep, which tends gates. due_at: when to look at the jobs that are
-- held before it.
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

-- Jobs that passed a gate. A row no longer counts once its job's lease, or the job, is over, so cleaning up is not
-- urgent. Epoch 0: a job with a position in a sequence that another gate keeps out; a paused one has none.
CREATE TABLE @slots (
    gate  text NOT NULL,
    job   text NOT NULL,
    epoch integer NOT NULL,
    until text NOT NULL,
    PRIMARY KEY (gate, job)
) WITHOUT ROWID;
CREATE INDEX @slots_by_job ON @slots (job);

-- The order of sequences: jobs and their positions, set when they are enqueued. A claim deletes those that are over.
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

-- Who needs an end of whom: `dependent` waits for `job` to be completed, failed or over. It is met once, whatever happens
-- to the job later. Kept as long as the jobs.
CREATE TABLE @edges (
    job       text NOT NULL,
    dependent text NOT NULL,
    needs     text NOT NULL,
    met       integer NOT NULL,
    PRIMARY KEY (job, dependent)
) WITHOUT ROWID;
CREATE INDEX @edges_by_dependent ON @edges (dependent);

-- Who waits, and for how much: edges that are not met (missing), children that are not over (open), and how many of the
-- children are dead letters (failed). phase says what follows when nothing is left to wait for: `end` for parents whose
-- own code is done, or that have none; `run` for those that run again, and `again` once they do. skipped: cancelled,
-- because its needs could not be met. asked: what a user requested of the whole family; walked: up to which of its
-- children that was done, until it was done to all. wait: how long it waits after its needs are met. width: how many of
-- its children may run at once. passed: how many joins its code went past before it returned; dead letters among the
-- children that it added before them do not fail it.
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

-- Ends of jobs that others wait for, and that are not counted yet: a row for each commit, with a JSON list of jobs and
-- states. Nearly always empty.
CREATE TABLE @ends (
    id   text PRIMARY KEY,
    at   integer NOT NULL,
    jobs text NOT NULL
) WITHOUT ROWID;

-- Requests to running jobs: pause or cancel. Nearly always empty.
CREATE TABLE @controls (
    job    text PRIMARY KEY,
    runner text NOT NULL,
    action text NOT NULL,
    at     integer NOT NULL
) WITHOUT ROWID;
CREATE INDEX @controls_by_runner ON @controls (runner);

-- The state of a long job: one row, rewritten in place with every slice.
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

-- Items that a long job tolerated, with their errors, until a retry succeeds. form says what item holds: the value, the
-- key by which its source finds it again, or only its repr. Epoch 0: the slice was not committed, because it had too
-- many.
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

-- Steps of jobs: named results, which no later attempt repeats. form says what value holds.
CREATE TABLE @steps (
    job   text NOT NULL,
    name  text NOT NULL,
    epoch integer NOT NULL,
    at    integer NOT NULL,
    form  text NOT NULL,
    value text NOT NULL,
    PRIMARY KEY (job, name)
) WITHOUT ROWID;

-- Events that jobs wait for: each is a fact that stays until it expires. The topic of an event for one job begins with
-- the id of the job. tenant is '' for none.
CREATE TABLE @signals (
    tenant     text NOT NULL,
    topic      text NOT NULL,
    payload    text NOT NULL,
    sent_at    integer NOT NULL,
    expires_at integer NOT NULL,
    PRIMARY KEY (tenant, topic)
) WITHOUT ROWID;
CREATE INDEX @signals_by_expires_at ON @signals (expires_at);

-- Jobs that wait for an event, since the end of the attempt with this epoch. A row may stay behind when its job goes on
-- without the event; then the job has another epoch, or is not blocked.
CREATE TABLE @listeners (
    tenant text NOT NULL,
    topic  text NOT NULL,
    job    text NOT NULL,
    epoch  integer NOT NULL,
    PRIMARY KEY (tenant, topic, job)
) WITHOUT ROWID;
CREATE INDEX @listeners_by_job ON @listeners (job);

-- What jobs logged: pieces of about a second of one attempt, each named by the number of its first line. Of many lines
-- only the first and the last are kept, so numbers may be missing between two pieces.
CREATE TABLE @logs (
    job     text NOT NULL,
    epoch   integer NOT NULL,
    piece   integer NOT NULL,
    attempt integer NOT NULL,
    at      integer NOT NULL,
    lines   text NOT NULL,
    PRIMARY KEY (job, epoch, piece)
) WITHOUT ROWID;

-- Idempotency keys and identities; they outlive partitions and retention of jobs. One without an expiry counts for
-- ever, or for as long as its job says.
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

-- Events of a job beyond the happy path, which its own timestamps show. version is the job's.
CREATE TABLE @events (
    job     text NOT NULL,
    version integer NOT NULL,
    at      integer NOT NULL,
    name    text NOT NULL,
    detail  text,
    PRIMARY KEY (job, version)
) WITHOUT ROWID;

-- One row per incarnation of a runner; its lease covers all the jobs that it holds. release is the application's.
-- tallied numbers the tallies that it wrote, so that none is written twice.
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
    labels      text NOT NULL,
    release     text,
    tallied     integer NOT NULL DEFAULT 0
);

-- Live settings of queues: JSON, which wins over code and files. meta.queues counts the changes.
CREATE TABLE @queues (
    name       text PRIMARY KEY,
    settings   text NOT NULL,
    changed_at integer NOT NULL
);

-- Schedules: what code declares (timing, policies and call; fingerprint tells declarations apart), and how far each one
-- is: times up to `through` are handled. open_jobs are its jobs that are not known to be over.
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

-- The times that schedules have run for, kept for a while, so that a clock that is set back does not run them again. If
-- they come again, fired_at is 0. The instant of a time that came again n times is n microseconds later.
CREATE TABLE @fires (
    schedule text NOT NULL,
    due_at   integer NOT NULL,
    fired_at integer NOT NULL,
    PRIMARY KEY (schedule, due_at)
) WITHOUT ROWID;

-- What was reported to whom: to an observer (its kind), or to the log (*). Of dead letters: the queue, and up to when. Of
-- other conditions: the subject, at which look, and since when the condition holds; without `since` it is over. The
-- subject '' is the observer itself, which entered then.
CREATE TABLE @alarms (
    name    text NOT NULL,
    subject text NOT NULL,
    through integer NOT NULL,
    since   integer,
    PRIMARY KEY (name, subject)
) WITHOUT ROWID;

-- What went wrong and leaves no other trace: workers that were lost, times of schedules that were missed. detail is JSON.
CREATE TABLE @incidents (
    subject text PRIMARY KEY,
    name    text NOT NULL,
    at      integer NOT NULL,
    detail  text NOT NULL
) WITHOUT ROWID;

-- Leaderships: chores that one process at a time does.
CREATE TABLE @duties (
    name   text PRIMARY KEY,
    holder text NOT NULL,
    until  integer NOT NULL
);

-- What happened to jobs, by time, queue, kind and tenant ('' for none): how often, and how long they waited (started) or
-- ran (ends), as a sum and as a histogram (JSON: counts by bucket). span is the length of the time in seconds. What is
-- written once is in one row, named by its source; rows are read by adding them up, and folded into longer spans. Errors
-- of a group are counted as `error:` and its fingerprint, without a queue.
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

-- Errors in groups: those of one kind that are alike have one fingerprint. sample is a job that failed with it; release
-- is the first in which it occurred.
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

-- How deep queues were: samples. waited is for how long the oldest job had waited, in microseconds.
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

-- When the first runner of each release of the application started.
CREATE TABLE @releases (
    name     text PRIMARY KEY,
    first_at integer NOT NULL
) WITHOUT ROWID;

-- How long jobs are kept: what code declares of a kind or a queue (scope), as JSON.
CREATE TABLE @keeps (
    scope   text NOT NULL,
    name    text NOT NULL,
    words   text NOT NULL,
    said_at integer NOT NULL,
    PRIMARY KEY (scope, name)
) WITHOUT ROWID;

-- What happened to jobs, while it is watched: one row for all that one commit did to several jobs (`jobs` is a JSON list
-- of their ids). What concerns no job has an empty list, and a detail, as JSON. There is one writer at a time, so places
-- are in the order of commits.
CREATE TABLE @stream (
    place   integer PRIMARY KEY AUTOINCREMENT,
    at      integer NOT NULL,
    name    text NOT NULL,
    attempt integer,
    version integer,
    jobs    text NOT NULL,
    detail  text
);

-- Who watches the stream, until when, and what they want: JSON, with names and kinds of jobs. Without a row, nothing is
-- written to it.
CREATE TABLE @watchers (
    name   text PRIMARY KEY,
    wanted text NOT NULL,
    until  integer NOT NULL
) WITHOUT ROWID;

-- How far durable readers of the stream are. unwatched_at: when it was found that the watch of one had ended, until it was
-- told so.
CREATE TABLE @readers (
    name         text PRIMARY KEY,
    place        text NOT NULL,
    moved_at     integer NOT NULL,
    unwatched_at integer
) WITHOUT ROWID;

-- Stocks: what code declares of each (JSON), a row for each tenant with a shelf of its own ('' for none). level wins over
-- the declared one. refilling: it was found low, and is not full again.
CREATE TABLE @stocks (
    name      text NOT NULL,
    tenant    text NOT NULL,
    declared  text NOT NULL,
    level     integer,
    refilling integer NOT NULL DEFAULT 0,
    seen_at   integer NOT NULL,
    PRIMARY KEY (name, tenant)
) WITHOUT ROWID;

-- The jobs that make results for stocks: ordered, made (its result can be taken), failed (it ended without one, and holds
-- its place for a while) or taken. since: when that began. key is '' on a shelf, else JSON. asked: a result by key was read.
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
CREATE UNIQUE INDEX @stocked_by_key ON @stocked (stock, tenant, key) WHERE key <> '' AND state IN ('ordered', 'failed');

-- Tokens of the HTTP service: the SHA-256 of their secrets, what their holders may do, and when they were used, to the hour.
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
) WITHOUT ROWID;
