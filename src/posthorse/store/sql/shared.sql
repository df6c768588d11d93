-- Statements that mean the same to SQLite and to PostgreSQL. Each difference lives in sqlite.sql or
-- postgres.sql under the same name, and a test pins the list of them.

-- ## schema_version
-- The version of the schema that the store was made with.
SELECT value FROM @meta WHERE name = 'schema_version'

-- ## set_meta
-- Writes one fact about the store.
INSERT INTO @meta (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- ## now
-- The store's clock.
SELECT :now

-- ── lanes ──────────────────────────────────────────────────────────────────────────────────────────

-- ## find_lane
-- The lane of a queue, kind and priority.
SELECT id FROM @lanes WHERE queue = :queue AND kind = :kind AND priority = :priority AND solo = :solo

-- ## make_lane
-- Makes a lane; one that another process made meanwhile is as good.
INSERT INTO @lanes (queue, kind, priority, solo) VALUES (:queue, :kind, :priority, :solo)
ON CONFLICT (queue, kind, priority, solo) DO UPDATE SET queue = excluded.queue
RETURNING id

-- ## lanes_after
-- Lanes that were made since the last look.
SELECT id, queue, kind, priority, solo FROM @lanes WHERE id > :known ORDER BY id

-- ── submit ─────────────────────────────────────────────────────────────────────────────────────────

-- ## take_keys
-- Reserves idempotency keys; answers with those that were free.
-- rows: tenant text, scope text, key text, job uuid, fingerprint text
INSERT INTO @keys (tenant, scope, key, job, fingerprint)
SELECT r.tenant, r.scope, r.key, r.job, r.fingerprint FROM {rows} WHERE true
ON CONFLICT (tenant, scope, key) DO NOTHING
RETURNING job

-- ## find_keys
-- The jobs behind keys.
-- rows: tenant text, scope text, key text
SELECT k.tenant, k.scope, k.key, k.job, k.fingerprint
FROM {rows} JOIN @keys k ON k.tenant = r.tenant AND k.scope = r.scope AND k.key = r.key

-- ── the end of a lease ─────────────────────────────────────────────────────────────────────────────

-- ## end_lease
-- Ends a lease: the fence of everything that follows in this transaction. No row: somebody else did.
DELETE FROM @leases WHERE job = :job AND epoch = :epoch RETURNING claimed_at

-- ## held_lease
-- The lease on a job, if there is one.
SELECT epoch, runner FROM @leases WHERE job = :job

-- ## job_budget
-- What a job has spent, and where it is at home.
SELECT j.errors, j.crashes, j.losses, lanes.queue, lanes.kind, lanes.priority
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## already_ended
-- Which of these attempts ended as their worker says, in a commit whose reply was lost.
-- rows: job uuid, epoch int
SELECT j.id FROM {rows} JOIN @jobs j ON j.id = r.job AND j.epoch = r.epoch WHERE j.state = :state

-- ## settle
-- Writes how an attempt ended. The lease ended in the same transaction.
UPDATE @jobs SET
    state = :state, epoch = :epoch, version = version + 2, errors = :errors, crashes = :crashes,
    losses = :losses, reason = :reason, lane = :lane, error = coalesce(:error, error), result = :result,
    run_at = CASE WHEN CAST(:wait AS bigint) IS NULL THEN run_at ELSE :now + CAST(:wait AS bigint) END,
    started_at = coalesce(started_at, CAST(:claimed_at AS bigint)),
    finished_at = CASE WHEN :is_final THEN :now END
WHERE id = :job
RETURNING version, run_at

-- ## move
-- Writes what was asked of a job that nobody runs.
UPDATE @jobs SET
    state = :state, version = version + 1, reason = :reason,
    finished_at = CASE WHEN :is_final THEN :now END
WHERE id = :job
RETURNING version, run_at

-- ## revive
-- Starts the budgets of a finished job anew; the epoch rises so that nothing older can write.
UPDATE @jobs SET
    state = 'pending', version = version + 1, epoch = epoch + 1, errors = 0, crashes = 0, losses = 0,
    reason = :reason, run_at = NULL, finished_at = NULL, result = NULL, lane = :lane
WHERE id = :job
RETURNING version, run_at

-- ## park
-- Sets a job aside: scheduled, blocked, paused or failed.
INSERT INTO @parked (job, state, due_at, since) VALUES (:job, :state, :due_at, :now)

-- ## unpark
-- Takes a job back from where it was set aside.
DELETE FROM @parked WHERE job = :job RETURNING state

-- ## withdraw
-- Takes a job out of its lane. No row: it was claimed meanwhile.
DELETE FROM @ready WHERE lane = :lane AND seq = :seq AND job = :job RETURNING seq

-- ## record
-- Writes what happened, under the version of the job that the same transaction made.
INSERT INTO @events (job, version, at, name, detail) VALUES (:job, :version, :now, :name, :detail)

-- ── controls ───────────────────────────────────────────────────────────────────────────────────────

-- ## ask_runner
-- Asks the runner of a job to pause or cancel it. A cancel is not weakened by a later pause.
INSERT INTO @controls (job, runner, action, at) VALUES (:job, :runner, :action, :now)
ON CONFLICT (job) DO UPDATE SET runner = excluded.runner, at = excluded.at,
    action = CASE WHEN @controls.action = 'cancel' THEN 'cancel' ELSE excluded.action END

-- ## unask_runner
-- Drops what was asked of a job's runner.
DELETE FROM @controls WHERE job = :job RETURNING action

-- ## asked_of
-- What was asked of jobs that were given back meanwhile.
-- rows: job uuid, epoch int
SELECT c.job, c.action FROM {rows} CROSS JOIN @controls c
WHERE c.job = r.job AND NOT EXISTS (SELECT 1 FROM @leases l WHERE l.job = c.job)

-- ## withdraw_pause
-- A resume takes back a pause that did not happen yet.
DELETE FROM @controls WHERE job = :job AND action = 'pause'

-- ## requests_for
-- What is asked of the jobs of a runner.
SELECT job, action FROM @controls WHERE runner = :runner

-- ## still_held
-- Which of these attempts still have their lease.
-- rows: job uuid, epoch int
SELECT l.job FROM {rows} JOIN @leases l ON l.job = r.job AND l.epoch = r.epoch

-- ## stale_controls
-- Drops what was asked of attempts that are over.
DELETE FROM @controls WHERE NOT EXISTS (
    SELECT 1 FROM @leases WHERE @leases.job = @controls.job AND @leases.runner = @controls.runner)

-- ── checkpoints ────────────────────────────────────────────────────────────────────────────────────

-- ## load_checkpoint
-- Where a long job stands.
SELECT slices, done, total, pace, note, cursors, kept FROM @checkpoints WHERE job = :job

-- ── runners ────────────────────────────────────────────────────────────────────────────────────────

-- ## register_runner
-- Enters an incarnation of a runner; from now on it may claim. Its id is its own: it is there only when the reply
-- to an earlier commit was lost.
INSERT INTO @runners (id, worker, boot, host, pid, version, started_at, beat_at, expires_at,
    concurrency, queues, kinds, labels)
VALUES (:id, :worker, :boot, :host, :pid, :version, :now, :now, :lease_now + :lease,
    :concurrency, :queues, :kinds, :labels)
ON CONFLICT (id) DO NOTHING

-- ## beat
-- Renews the lease of a runner. No row: it was given up for dead, and must stop.
UPDATE @runners SET beat_at = :now, expires_at = :lease_now + :lease, running = :running, draining = :draining
WHERE id = :id AND boot = :boot
RETURNING id

-- ## set_idle
-- Says whether a runner waits for work; only then is it told of new jobs.
UPDATE @runners SET idle = :idle WHERE id = :id

-- ## retire_runner
-- Takes a runner off the list; leases that it left behind are found by the sweep.
DELETE FROM @runners WHERE id = :id

-- ## bury_expired
-- Takes runners off the list that did not renew their lease, or that ran before this machine was booted.
DELETE FROM @runners WHERE boot <> :boot OR expires_at < :lease_now - :grace RETURNING id, worker

-- ## orphans
-- Leases whose runner is not on the list, with what the decision about their jobs needs.
SELECT l.job, l.epoch, j.errors, j.crashes, j.losses, k.epoch, lanes.queue, lanes.kind, lanes.priority
FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @checkpoints k ON k.job = l.job
WHERE NOT EXISTS (SELECT 1 FROM @runners r WHERE r.id = l.runner)
LIMIT :limit

-- ## leases_of
-- What a runner holds, with what the decision about its jobs needs.
SELECT l.job, l.epoch, j.errors, j.crashes, j.losses, k.epoch, lanes.queue, lanes.kind, lanes.priority
FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @checkpoints k ON k.job = l.job
WHERE l.runner = :runner

-- ## suspects
-- Queues and kinds of jobs that wait to run alone.
SELECT lanes.queue, lanes.kind FROM @lanes lanes
WHERE lanes.solo AND EXISTS (SELECT 1 FROM @ready ready WHERE ready.lane = lanes.id)

-- ## take_duty
-- Takes or keeps a chore for a while. No row: somebody else has it.
INSERT INTO @duties (name, holder, until) VALUES (:name, :holder, :lease_now + :span)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE @duties.holder = excluded.holder OR @duties.until < :lease_now
RETURNING name

-- ## leave_duty
-- Gives a chore up, so that the next one need not wait.
DELETE FROM @duties WHERE name = :name AND holder = :holder

-- ## next_due
-- When the next job that waits for its time is due, in microseconds from now.
SELECT due_at - :now FROM @parked WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1

-- ── reading ────────────────────────────────────────────────────────────────────────────────────────

-- ## job
-- A job as it stands.
SELECT j.id, CASE WHEN l.job IS NULL THEN j.state ELSE 'processing' END, j.reason,
    lanes.kind, lanes.queue, lanes.priority, j.tenant, j.tags, j.errors, j.crashes, j.losses, j.options,
    c.action, j.error, r.worker, j.created_at, j.run_at, coalesce(j.started_at, l.claimed_at), j.finished_at,
    k.done, k.total, k.pace, k.note,
    CASE WHEN l.claimed_at > k.updated_at THEN l.claimed_at ELSE k.updated_at END, :now
FROM @jobs j
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @leases l ON l.job = j.id
LEFT JOIN @runners r ON r.id = l.runner
LEFT JOIN @controls c ON c.job = l.job
LEFT JOIN @checkpoints k ON k.job = j.id
WHERE j.id = :job

-- ## outcome
-- How a job ended, if it did.
SELECT j.state, j.result, j.error, j.reason, lanes.kind
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## jobs
-- Jobs from the newest to the oldest, before a given one, that fit every filter that is set.
SELECT j.id, CASE WHEN l.job IS NULL THEN j.state ELSE 'processing' END, j.reason,
    lanes.kind, lanes.queue, lanes.priority, j.tenant, j.tags, j.errors, j.crashes, j.losses, j.options,
    c.action, j.error, r.worker, j.created_at, j.run_at, coalesce(j.started_at, l.claimed_at), j.finished_at,
    k.done, k.total, k.pace, k.note,
    CASE WHEN l.claimed_at > k.updated_at THEN l.claimed_at ELSE k.updated_at END, :now
FROM @jobs j
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @leases l ON l.job = j.id
LEFT JOIN @runners r ON r.id = l.runner
LEFT JOIN @controls c ON c.job = l.job
LEFT JOIN @checkpoints k ON k.job = j.id
WHERE j.id < :before
    AND (CAST(:state AS text) IS NULL
        OR CASE WHEN l.job IS NULL THEN j.state ELSE 'processing' END = CAST(:state AS text))
    AND (CAST(:queue AS text) IS NULL OR lanes.queue = CAST(:queue AS text))
    AND (CAST(:kind AS text) IS NULL OR lanes.kind = CAST(:kind AS text))
ORDER BY j.id DESC
LIMIT :limit

-- ## arguments
-- What a job was enqueued with.
SELECT arguments FROM @jobs WHERE id = :job

-- ## events
-- What happened to a job, in order.
SELECT version, at, name, detail FROM @events WHERE job = :job ORDER BY version

-- ## workers
-- The runners on the list; the last column says how long ago each one beat, in microseconds.
SELECT id, worker, host, pid, version, started_at, beat_at, idle, draining, running, concurrency,
    queues, kinds, :now - beat_at
FROM @runners ORDER BY worker, started_at, id

-- ## living_kinds
-- The kinds that each living runner has registered.
SELECT kinds FROM @runners WHERE boot = :boot AND expires_at > :lease_now

-- ## depths
-- How many jobs wait in each lane.
SELECT lanes.queue, lanes.kind, lanes.priority, count(*), min(ready.seq)
FROM @ready ready JOIN @lanes lanes ON lanes.id = ready.lane
GROUP BY lanes.queue, lanes.kind, lanes.priority
ORDER BY lanes.queue, lanes.kind, lanes.priority

-- ## parked_counts
-- How many jobs are set aside, by state.
SELECT state, count(*) FROM @parked GROUP BY state ORDER BY state

-- ## running_count
-- How many jobs somebody holds a lease on.
SELECT count(*) FROM @leases
