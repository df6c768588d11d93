-- Statements that mean the same to SQLite and to PostgreSQL. Each difference lives in sqlite.sql or
-- postgres.sql under the same name, and a test pins the list of them.

-- ## schema_version
-- The version of the schema that the store was made with.
SELECT value FROM @meta WHERE name = 'schema_version'

-- ## set_meta
-- Writes one fact about the store.
INSERT INTO @meta (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- ## store_identity
-- Which store this is.
SELECT value FROM @meta WHERE name = 'store_id'

-- ## set_savepoint
-- In a transaction of the user's: from here on, what fails is undone alone.
SAVEPOINT posthorse_call

-- ## undo_to_savepoint
-- Takes back what an operation wrote before it failed.
ROLLBACK TO posthorse_call

-- ## release_savepoint
-- The operation is a part of the transaction now.
RELEASE posthorse_call

-- ## now
-- The store's clock.
SELECT :now

-- ── lanes ──────────────────────────────────────────────────────────────────────────────────────────

-- ## find_lane
-- The lane of a queue, kind and priority.
SELECT id FROM @lanes
WHERE queue = :queue AND kind = :kind AND priority = :priority AND solo = :solo AND tenant = :tenant AND keyed = :keyed

-- ## make_lane
-- Makes a lane; one that another process made meanwhile is as good.
INSERT INTO @lanes (queue, kind, priority, solo, tenant, keyed) VALUES (:queue, :kind, :priority, :solo, :tenant, :keyed)
ON CONFLICT (queue, kind, priority, solo, tenant, keyed) DO UPDATE SET queue = excluded.queue
RETURNING id

-- ## news
-- How often queues were changed, and the lanes that were made since the last look; one row without a lane when
-- there are none.
SELECT changes.number, :now, lanes.id,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM (SELECT coalesce((SELECT value FROM @meta WHERE name = 'queues'), '0') AS number) AS changes
LEFT JOIN @lanes lanes ON lanes.id > :known
ORDER BY lanes.id

-- ## filled_lanes
-- Lanes that hold jobs, and where their heads stand: two steps of an index for each, however many lanes there are.
WITH RECURSIVE filled(lane) AS (
    SELECT min(lane) FROM @ready
    UNION ALL
    SELECT (SELECT min(lane) FROM @ready WHERE lane > filled.lane) FROM filled WHERE filled.lane IS NOT NULL
)
SELECT filled.lane, (SELECT min(seq) FROM @ready WHERE lane = filled.lane) FROM filled WHERE filled.lane IS NOT NULL

-- ## lanes_with_jobs
-- Which of these lanes hold jobs.
-- pairs: lane int, after bigint
SELECT CAST(r.lane AS integer) FROM {rows}
WHERE (SELECT true FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT 1)

-- ## waits
-- How long the jobs at the heads of lanes have waited, in microseconds.
-- rows: lane int, after bigint
SELECT r.lane, (SELECT :now - coalesce(j.run_at, j.created_at) FROM @jobs j WHERE j.id = (
    SELECT job FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT 1))
FROM {rows}

-- ── queues ─────────────────────────────────────────────────────────────────────────────────────────

-- ## queue_settings
-- What was said of queues while they were at work.
SELECT name, settings FROM @queues ORDER BY name

-- ## count_change
-- Counts a change of queues. Whoever changes one does this first, so that changes come one after the other.
INSERT INTO @meta (name, value) VALUES ('queues', '1')
ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(@meta.value AS bigint) + 1 AS text)

-- ## settings_of_queue
-- What was said of one queue.
SELECT settings FROM @queues WHERE name = :name

-- ## set_queue
-- Writes what is said of a queue.
INSERT INTO @queues (name, settings, changed_at) VALUES (:name, :settings, :now)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, changed_at = excluded.changed_at

-- ## reset_queue
-- Takes back all that was said of a queue.
DELETE FROM @queues WHERE name = :name

-- ## depth
-- How many jobs wait in a queue to be run, counted in each of its lanes up to a limit.
SELECT sum((SELECT count(*) FROM (SELECT 1 FROM @ready WHERE lane = lanes.id LIMIT :limit) AS counted))
FROM @lanes lanes WHERE lanes.queue = :queue

-- ## longest_wait
-- How long the oldest job of a queue has waited to be run, in microseconds.
SELECT max((SELECT :now - coalesce(j.run_at, j.created_at) FROM @jobs j WHERE j.id = (
    SELECT job FROM @ready WHERE lane = lanes.id ORDER BY seq LIMIT 1)))
FROM @lanes lanes WHERE lanes.queue = :queue

-- ## queue_depths
-- How many jobs wait in each queue to be run, and how long the first of them has waited, in microseconds.
SELECT lanes.queue, sum((SELECT count(*) FROM @ready WHERE lane = lanes.id)), max((
    SELECT :now - coalesce(j.run_at, j.created_at) FROM @jobs j WHERE j.id = (
        SELECT job FROM @ready WHERE lane = lanes.id ORDER BY seq LIMIT 1)))
FROM @lanes lanes GROUP BY lanes.queue ORDER BY lanes.queue

-- ## queue_leases
-- How many jobs of each queue somebody holds a lease on.
SELECT lanes.queue, count(*) FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
GROUP BY lanes.queue

-- ## queue_parked
-- How many jobs of each queue are set aside, by state.
SELECT lanes.queue, p.state, count(*) FROM @parked p
JOIN @jobs j ON j.id = p.job
JOIN @lanes lanes ON lanes.id = j.lane
GROUP BY lanes.queue, p.state

-- ## servers
-- Living runners: what each of them serves.
SELECT worker, queues, labels FROM @runners WHERE boot = :boot AND expires_at > :lease_now

-- ── submit ─────────────────────────────────────────────────────────────────────────────────────────

-- ## take_keys
-- Reserves keys, some for a while; answers with the jobs of those that were free.
-- rows: tenant text, scope text, key text, job uuid, fingerprint text, span bigint
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at)
SELECT r.tenant, r.scope, r.key, r.job, r.fingerprint, :now + r.span FROM {rows} WHERE true
ON CONFLICT (tenant, scope, key) DO NOTHING
RETURNING job

-- ## find_keys
-- The jobs behind keys, and whether the time of the key is over.
-- rows: tenant text, scope text, key text
SELECT k.tenant, k.scope, k.key, k.job, k.fingerprint, coalesce(k.expires_at <= :now, false)
FROM {rows} JOIN @keys k ON k.tenant = r.tenant AND k.scope = r.scope AND k.key = r.key

-- ## pass_key_on
-- Gives a key whose job is over to another job. No row: that job is not over, or somebody else was faster.
UPDATE @keys SET job = :job, fingerprint = :fingerprint, expires_at = NULL
WHERE tenant = :tenant AND scope = :scope AND key = :key AND EXISTS (
    SELECT 1 FROM @jobs j WHERE j.id = @keys.job AND j.state IN ('completed', 'failed', 'cancelled'))
RETURNING job

-- ## states_of
-- The states of jobs; those that are gone are left out.
-- rows: job uuid
SELECT j.id, j.state FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## owner_state
-- The states of jobs, and whether they were ever started; those that are gone are left out.
-- rows: job uuid
SELECT j.id, j.state, j.started_at IS NOT NULL OR EXISTS (SELECT 1 FROM @leases l WHERE l.job = j.id)
FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## hand_over_keys
-- Gives locked keys to other jobs.
-- rows: tenant text, scope text, key text, job uuid, fingerprint text, span bigint
UPDATE @keys SET job = r.job, fingerprint = r.fingerprint, expires_at = :now + r.span
FROM {rows} WHERE @keys.tenant = r.tenant AND @keys.scope = r.scope AND @keys.key = r.key

-- ## forget_keys
-- Deletes keys whose time is over, unless they were handed over at this moment.
DELETE FROM @keys WHERE expires_at <= :now AND (tenant, scope, key) IN (
    SELECT tenant, scope, key FROM @keys WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)
RETURNING 1

-- ## supersede
-- Gives a job that waits what a newer one brings.
UPDATE @jobs SET
    state = :state, version = version + 1, run_at = CAST(:run_at AS bigint), arguments = :arguments,
    options = :options, tags = :tags
WHERE id = :job

-- ## line_up_again
-- Puts a job back to where it was taken from in this transaction.
INSERT INTO @ready (lane, seq, job) VALUES (:lane, :seq, :job)

-- ## postpone
-- Gives a job that is set aside another time.
UPDATE @parked SET due_at = :due_at WHERE job = :job

-- ## identity_of
-- What makes a job the same as another, and whether it was ever started.
SELECT j.tenant, lanes.kind, j.arguments, j.options, j.started_at IS NOT NULL
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## point_key
-- A key that a job took, which then turned out to be an earlier one, names that one.
UPDATE @keys SET job = :earlier WHERE tenant = :tenant AND scope = :scope AND key = :key AND job = :job
RETURNING job

-- ── the end of a lease ─────────────────────────────────────────────────────────────────────────────

-- ## end_lease
-- Ends a lease: the fence of everything that follows in this transaction. No row: somebody else did.
DELETE FROM @leases WHERE job = :job AND epoch = :epoch AND runner = :runner RETURNING claimed_at

-- ## held_lease
-- The lease on a job, if there is one.
SELECT epoch, runner FROM @leases WHERE job = :job

-- ## job_budget
-- What a job has spent, and where it is at home.
SELECT j.errors, j.crashes, j.losses,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## already_ended
-- Which of these attempts ended as their worker says, in a commit whose reply was lost.
-- rows: job uuid, epoch int
SELECT j.id FROM {rows} JOIN @jobs j ON j.id = r.job AND j.epoch = r.epoch WHERE j.state = :state

-- ## settled
-- part
-- How an attempt ended.
UPDATE @jobs SET
    state = :state, epoch = :epoch, version = version + 2, errors = :errors, crashes = :crashes,
    losses = :interruptions, reason = :reason, lane = :lane, error = coalesce(:error, error), result = :result,
    run_at = CASE WHEN CAST(:wait AS bigint) IS NULL THEN run_at ELSE :now + CAST(:wait AS bigint) END,
    started_at = coalesce(started_at, CAST(:claimed_at AS bigint)),
    finished_at = CASE WHEN :is_final THEN :now END
WHERE id = :job

-- ## settle
-- Writes how an attempt ended. The lease ended in the same transaction.
{settled}
RETURNING version, run_at, :now - CAST(:claimed_at AS bigint)

-- ## move
-- Writes what was asked of a job that nobody runs.
UPDATE @jobs SET
    state = :state, version = version + 1, reason = :reason,
    finished_at = CASE WHEN :is_final THEN :now END
WHERE id = :job
RETURNING version, run_at

-- ## revive
-- Starts the budgets of a finished job anew; the epoch rises so that nothing older can write. One that was never started
-- may be started from now on: that is where the time counts from after which it expires.
UPDATE @jobs SET
    state = :state, version = version + 1, epoch = epoch + 1, errors = 0, crashes = 0, losses = 0,
    reason = :reason, finished_at = NULL, result = NULL, lane = :lane,
    run_at = :now + CASE WHEN started_at IS NULL THEN coalesce(CAST(:wait AS bigint), 0) ELSE CAST(:wait AS bigint) END
WHERE id = :job
RETURNING version, run_at

-- ## rewrite_arguments
-- Gives a job that is over other arguments.
UPDATE @jobs SET arguments = :arguments WHERE id = :job

-- ## park
-- Sets a job aside: scheduled, blocked, paused or failed. place is 0 where it waits for a span, and not for a moment.
INSERT INTO @parked (job, state, due_at, since, place) VALUES (:job, :state, :due_at, :now, CAST(:place AS bigint))

-- ## unpark
-- Takes a job back from where it was set aside.
DELETE FROM @parked WHERE job = :job RETURNING state

-- ## withdraw
-- Takes a job out of its lane. No row: it was claimed meanwhile.
DELETE FROM @ready WHERE lane = :lane AND seq = :seq AND job = :job RETURNING seq

-- ## runner_on_list
-- Whose runner it is.
SELECT worker, pid FROM @runners WHERE id = :id

-- ## times_of
-- When a job was started first, when it ended, and its reason: of a completed job, its worker.
SELECT started_at, finished_at, reason FROM @jobs WHERE id = :job

-- ## record
-- Writes what happened, under the version of the job that the same transaction made.
INSERT INTO @events (job, version, at, name, detail) VALUES (:job, :version, :now, :name, :detail)

-- ## last_event
-- The last thing that happened to a job.
SELECT version, name, detail FROM @events WHERE job = :job ORDER BY version DESC LIMIT 1

-- ## record_again
-- Writes what happened in place of the last time that it did.
UPDATE @events SET version = :version, at = :now, detail = :detail WHERE job = :job AND version = :instead_of

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
-- Which of these attempts of a runner still have their lease.
-- rows: job uuid, epoch int
SELECT l.job FROM {rows} JOIN @leases l ON l.job = r.job AND l.epoch = r.epoch AND l.runner = :runner

-- ## stale_controls
-- Drops what was asked of attempts that are over.
DELETE FROM @controls WHERE NOT EXISTS (
    SELECT 1 FROM @leases WHERE @leases.job = @controls.job AND @leases.runner = @controls.runner)

-- ── one job apart from its lane ────────────────────────────────────────────────────────────────────

-- ## is_alive
-- Whether a runner may claim.
SELECT 1 FROM @runners WHERE id = :runner AND boot = :boot AND expires_at > :lease_now

-- ## take_up
-- Takes a job up that waited for its time; one that was taken up before it has no such time any more.
UPDATE @jobs SET
    state = 'pending', version = version + 1, reason = NULL, run_at = CASE WHEN run_at > :now THEN NULL ELSE run_at END
WHERE id = :job
RETURNING version

-- ## lease_out
-- Leases a job that was taken out of where it waited.
INSERT INTO @leases (job, epoch, runner, claimed_at) SELECT id, epoch + 1, :runner, :now FROM @jobs WHERE id = :job
RETURNING epoch

-- ## leased
-- What its runner must know of a job.
SELECT j.id, l.epoch, j.lane, j.seq, j.errors, j.crashes, j.losses, j.arguments, j.options, j.run_at
FROM @leases l JOIN @jobs j ON j.id = l.job
WHERE l.job = :job

-- ## lateness
-- How long ago a job that was not started before might have been started, in microseconds; no row for another one.
SELECT :now - CASE WHEN run_at > created_at THEN run_at ELSE created_at END
FROM @jobs WHERE id = :job AND started_at IS NULL

-- ## holder
-- Who holds the lease on a job, and when that runner beat last.
SELECT r.worker, r.host, r.pid, r.beat_at, l.claimed_at FROM @leases l JOIN @runners r ON r.id = l.runner WHERE l.job = :job

-- ── gates ──────────────────────────────────────────────────────────────────────────────────────────

-- ## make_gates
-- Enters gates that are met for the first time.
-- rows: gate text, most int, step bigint, burst int
INSERT INTO @gates (key, most, step, burst) SELECT r.gate, r.most, r.step, r.burst FROM {rows} WHERE true
ON CONFLICT (key) DO NOTHING

-- ## move_gates
-- Writes up to when tokens are given out, what is demanded now, and when to look at those who are held.
-- rows: gate text, through bigint, most int, step bigint, burst int, due_at bigint, taken int
UPDATE @gates SET through = r.through, most = r.most, step = r.step, burst = r.burst, due_at = r.due_at,
    used_at = CASE WHEN r.taken > 0 THEN :now ELSE @gates.used_at END
FROM {rows} WHERE @gates.key = r.gate

-- ## set_gates_back
-- Lets gates have been passed now, and not at a moment that is still to come.
-- rows: gate text, through bigint
UPDATE @gates SET through = r.through, used_at = :now, due_at = CASE WHEN due_at > :now THEN :now ELSE due_at END
FROM {rows} WHERE @gates.key = r.gate

-- ## take_slots
-- Enters jobs that passed gates.
-- rows: gate text, job uuid, epoch int, until text
INSERT INTO @slots (gate, job, epoch, until) SELECT r.gate, r.job, r.epoch, r.until FROM {rows} WHERE true
ON CONFLICT (gate, job) DO UPDATE SET epoch = excluded.epoch, until = excluded.until

-- ## join_sequences
-- Gives jobs that were just inserted their places in sequences.
-- rows: gate text, job uuid
INSERT INTO @sequences (gate, place, job)
SELECT r.gate, j.seq, j.id FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job
ON CONFLICT (gate, place, job) DO NOTHING

-- ## leave_sequence
-- Takes its place in a sequence from a job that is to run again: it stands where others do who come then. Where it passed
-- before does not count any more, unless they wait for it to be mended.
DELETE FROM @sequences WHERE job = :job;
DELETE FROM @slots WHERE job = :job AND NOT (until = 'mend' AND :is_dead);
SELECT 1

-- ## leave_sequences
-- Forgets jobs in sequences that are over.
-- rows: gate text
DELETE FROM @sequences WHERE gate IN (SELECT r.gate FROM {rows}) AND NOT EXISTS (
    SELECT 1 FROM @jobs j WHERE j.id = @sequences.job AND j.state NOT IN ('completed', 'failed', 'cancelled'))

-- ## drop_slots
-- Forgets those who left, at some gates.
-- rows: gate text
DELETE FROM @slots WHERE gate IN (SELECT r.gate FROM {rows}) AND NOT EXISTS (
    SELECT 1 FROM @taken taken WHERE taken.gate = @slots.gate AND taken.job = @slots.job)

-- ## gates_to_tend
-- Gates whose next token was waited for; those before which jobs are held that might pass, or whose clock was set back;
-- those that nobody uses.
SELECT key FROM @gates WHERE due_at <= :now
UNION
SELECT g.key FROM @gates g
WHERE EXISTS (SELECT 1 FROM @parked p WHERE p.gate = g.key)
    AND (g.most IS NULL OR g.most > (SELECT count(*) FROM @taken taken WHERE taken.gate = g.key))
    AND (g.step = 0 OR g.through + g.step - g.burst * g.step <= :now * 1000 OR g.used_at > :now + 1000000)
UNION
SELECT g.key FROM @gates g
WHERE g.used_at < :now - :patience AND g.through < :now * 1000
    AND NOT EXISTS (SELECT 1 FROM @taken taken WHERE taken.gate = g.key)
LIMIT :limit

-- ## gates_of
-- Gates whose names begin so.
SELECT key FROM @gates WHERE substr(key, 1, length(CAST(:beginning AS text))) = CAST(:beginning AS text)

-- ## loosen_gates
-- What was demanded last counts no more: those who are held are lined up, and what is demanded now is asked at their claim.
-- rows: gate text
UPDATE @gates SET most = NULL, step = 0 WHERE key IN (SELECT r.gate FROM {rows})

-- ## neglected_gates
-- Gates that nobody passed for long, before which jobs are held; or whose clock was set back since.
SELECT g.key FROM @gates g
WHERE (g.used_at < :now - :patience OR (g.step = 0 AND g.used_at > :now + 1000000)) AND EXISTS (SELECT 1 FROM @parked p WHERE p.gate = g.key)
LIMIT :limit

-- ## try_gates
-- Notes that the first who are held before gates are to try again.
-- rows: gate text
UPDATE @gates SET used_at = :now WHERE key IN (SELECT r.gate FROM {rows})

-- ## forget_gates
-- Forgets those of the gates given that nobody passed for long, though they are open: the limit is gone, or its workers.
-- rows: gate text
DELETE FROM @gates WHERE key IN (SELECT r.gate FROM {rows})
    AND used_at < :now - :patience AND through < :now * 1000
    AND NOT EXISTS (SELECT 1 FROM @slots s WHERE s.gate = @gates.key)

-- ## forgotten_gate
-- A gate that was forgotten while jobs were held before it. From gate to gate: however many are held before one, it is
-- looked at once.
WITH RECURSIVE held (gate) AS (
    SELECT (SELECT gate FROM @parked WHERE gate IS NOT NULL ORDER BY gate LIMIT 1)
    UNION ALL
    SELECT (SELECT p.gate FROM @parked p WHERE p.gate > held.gate ORDER BY p.gate LIMIT 1)
    FROM held WHERE held.gate IS NOT NULL
)
SELECT held.gate FROM held
WHERE held.gate IS NOT NULL AND NOT EXISTS (SELECT 1 FROM @gates g WHERE g.key = held.gate)
LIMIT 1

-- ## limits_at_work
-- Gates as people want to see them: those that are passed, or were a moment ago, with how many are inside and how many
-- are held before them, the most first.
SELECT g.key, g.most, g.step, g.burst, g.through,
    (SELECT count(*) FROM @taken taken WHERE taken.gate = g.key), (SELECT count(*) FROM @parked p WHERE p.gate = g.key), :now
FROM @gates g
WHERE g.through > :now * 1000 OR EXISTS (SELECT 1 FROM @taken taken WHERE taken.gate = g.key)
    OR EXISTS (SELECT 1 FROM @parked p WHERE p.gate = g.key)
ORDER BY 7 DESC, g.key
LIMIT :limit

-- ## gates_of_lane
-- The same of some gates; nothing of those that were never passed.
-- rows: gate text
SELECT g.key, g.most, g.step, g.burst, g.through,
    (SELECT count(*) FROM @taken taken WHERE taken.gate = g.key), 0, :now
FROM {rows} JOIN @gates g ON g.key = r.gate
ORDER BY g.key

-- ## held_in_queues
-- How many jobs of each queue are held before each gate, the most first.
SELECT lanes.queue, p.gate, count(*) FROM @parked p
JOIN @jobs j ON j.id = p.job
JOIN @lanes lanes ON lanes.id = j.lane
WHERE p.gate IS NOT NULL
GROUP BY lanes.queue, p.gate
ORDER BY count(*) DESC, p.gate
LIMIT :limit

-- ── checkpoints ────────────────────────────────────────────────────────────────────────────────────

-- ## load_checkpoint
-- Where a long job stands.
SELECT slices, done, total, pace, note, cursors, kept FROM @checkpoints WHERE job = :job

-- ## loops_of
-- Where the loops of a job stand.
SELECT cursors FROM @checkpoints WHERE job = :job

-- ## attempts_since_slice
-- How attempts ended since the last committed slice, the latest first, without deploys and pauses; and its retries.
SELECT name, detail FROM @events
WHERE job = :job AND name IN ('attempt_failed', 'failed', 'lost', 'crashed', 'retried')
    AND at >= coalesce((SELECT advanced_at FROM @checkpoints WHERE job = :job), 0)
ORDER BY version DESC LIMIT 40

-- ── bad items ──────────────────────────────────────────────────────────────────────────────────────

-- ## keep_bad_items
-- Keeps items that a slice tolerated, with their errors; one that was retried in vain, with its latest. Epoch 0: the
-- slice was not committed, because there were too many; the next attempt meets them again and has the same numbers.
-- rows: job uuid, loop text, number bigint, epoch int, form text, item text, type text, message text, traceback text
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback)
SELECT r.job, r.loop, r.number, r.epoch, :now, r.form, r.item, r.type, r.message, r.traceback FROM {rows} WHERE true
ON CONFLICT (job, loop, number) DO UPDATE SET
    epoch = excluded.epoch, at = excluded.at, form = excluded.form, item = excluded.item, type = excluded.type,
    message = excluded.message, traceback = excluded.traceback

-- ## drop_bad_items
-- Forgets bad items whose retry succeeded.
-- rows: job uuid, loop text, number bigint
DELETE FROM @bad_items WHERE (job, loop, number) IN (SELECT r.job, r.loop, r.number FROM {rows})

-- ## bad_items
-- Bad items of a job after a given one, in order.
SELECT loop, number, at, form, item, type, message, traceback FROM @bad_items
WHERE job = :job AND (loop, number) > (:loop, CAST(:number AS bigint))
ORDER BY loop, number LIMIT :limit

-- ## bad_items_to_retry
-- Bad items of one loop that a retry can take up, in order.
SELECT number, form, item FROM @bad_items
WHERE job = :job AND loop = :loop AND number > :after AND number <= :upto AND form <> 'text'
    AND epoch > 0
ORDER BY number LIMIT :limit

-- ## count_bad_items
-- How many bad items each loop of a job has, which is the last that a retry can take up, and how many are of slices
-- that were not committed.
SELECT loop, count(*), coalesce(max(CASE WHEN form <> 'text' AND epoch > 0 THEN number END), 0),
    count(CASE WHEN epoch = 0 THEN 1 END)
FROM @bad_items
WHERE job = :job GROUP BY loop ORDER BY loop

-- ## uncommitted_bad_items
-- Bad items of slices that were not committed.
SELECT loop, number FROM @bad_items WHERE job = :job AND epoch = 0

-- ## rewrite_cursors
-- Writes where the loops of a job stand, when nobody runs it.
UPDATE @checkpoints SET cursors = :cursors WHERE job = :job

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

-- ## rescue_expired
-- Takes runners off the list that did not renew their lease, or that ran before this machine was booted.
DELETE FROM @runners WHERE boot <> :boot OR expires_at < :lease_now - :grace RETURNING id, worker

-- ## orphans
-- Leases whose runner is not on the list, with what the decision about their jobs needs.
SELECT l.job, l.epoch, l.runner, j.errors, j.crashes, j.losses, k.epoch,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @checkpoints k ON k.job = l.job
WHERE NOT EXISTS (SELECT 1 FROM @runners r WHERE r.id = l.runner)
LIMIT :limit

-- ## leases_of
-- What a runner holds, with what the decision about its jobs needs.
SELECT l.job, l.epoch, l.runner, j.errors, j.crashes, j.losses, k.epoch,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @checkpoints k ON k.job = l.job
WHERE l.runner = :runner

-- ## take_leadership
-- Takes or keeps a chore for a while. No row: somebody else has it. All take it for the same span, so that what lasts
-- longer was taken before the clock was set back.
INSERT INTO @duties (name, holder, until) VALUES (:name, :holder, :lease_now + :span)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE @duties.holder = excluded.holder OR @duties.until < :lease_now OR @duties.until > excluded.until
RETURNING name

-- ## leave_leadership
-- Gives a chore up, so that the next one need not wait.
DELETE FROM @duties WHERE name = :name AND holder = :holder

-- ## next_due
-- When the next job that waits for its time is due, and the next gate is to be looked at, in microseconds from now;
-- whether any job is held before a gate; and the store's clock.
SELECT
    (SELECT due_at - :now FROM @parked WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1),
    (SELECT due_at - :now FROM @gates WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1),
    (SELECT count(*) FROM (SELECT 1 FROM @parked WHERE gate IS NOT NULL LIMIT 1) AS held),
    :now

-- ── a clock that was set back ──────────────────────────────────────────────────────────────────────

-- ## waits_begun_later
-- Jobs that wait for their time since a moment that is still to come: by how much that is, and whether they wait for a
-- span, as retries and the jitter of schedules do, and not for a moment.
SELECT p.job, p.since - :moment,
    p.place IS NOT NULL OR j.started_at IS NOT NULL OR j.options LIKE '%"scheduled_at":%'
FROM @parked p JOIN @jobs j ON j.id = p.job
WHERE p.state = 'scheduled' AND p.since > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)
ORDER BY p.since DESC LIMIT :limit

-- ## move_waits
-- Lets waits begin, and end, so much earlier.
-- rows: job uuid, begins bigint, ends bigint
UPDATE @jobs SET run_at = run_at - r.ends, created_at = CASE WHEN created_at > :moment THEN :moment ELSE created_at END
FROM {rows} WHERE @jobs.id = r.job AND EXISTS (SELECT 1 FROM @parked p WHERE p.job = r.job);
UPDATE @parked SET due_at = due_at - r.ends, since = since - r.begins FROM {rows} WHERE @parked.job = r.job

-- ## keys_taken_later
-- Keys that count for a while, and were taken at a moment that is still to come: their jobs, and for how long they count.
SELECT k.tenant, k.scope, k.key, k.job, k.expires_at - j.created_at
FROM @keys k JOIN @jobs j ON j.id = k.job
WHERE k.expires_at > :moment AND j.created_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)
ORDER BY k.expires_at DESC LIMIT :limit

-- ## move_keys
-- Lets keys, and their jobs, begin at a moment.
-- rows: tenant text, scope text, key text, job uuid, span bigint
UPDATE @keys SET expires_at = :moment + r.span
FROM {rows} WHERE @keys.tenant = r.tenant AND @keys.scope = r.scope AND @keys.key = r.key AND @keys.job = r.job;
UPDATE @jobs SET created_at = :moment FROM {rows} WHERE @jobs.id = r.job AND created_at > :moment

-- ## lined_up_page
-- Jobs that are lined up behind a place, and whether each was created, or due, at a moment that is still to come.
SELECT page.lane, page.seq, page.job,
    j.created_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)
        OR coalesce(j.run_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint), false)
FROM (SELECT lane, seq, job FROM @ready WHERE (lane, seq) > (:lane, :seq) ORDER BY lane, seq LIMIT :limit) AS page
JOIN @jobs j ON j.id = page.job

-- ## move_lined_up
-- Lets jobs begin to wait at a moment.
-- rows: lane int, seq bigint, job uuid
UPDATE @jobs SET created_at = CASE WHEN created_at > :moment THEN :moment ELSE created_at END,
    run_at = CASE WHEN run_at > :moment THEN :moment ELSE run_at END
FROM {rows}
WHERE @jobs.id = r.job AND EXISTS (SELECT 1 FROM @ready w WHERE w.lane = r.lane AND w.seq = r.seq AND w.job = r.job)

-- ## move_checkpoints
-- Lets no checkpoint lie in the future.
UPDATE @checkpoints SET
    updated_at = CASE WHEN updated_at > :moment THEN :moment ELSE updated_at END,
    advanced_at = CASE WHEN advanced_at > :moment THEN :moment ELSE advanced_at END
WHERE updated_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint) OR advanced_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)

-- ## move_beats
-- Lets no runner have beaten in the future, and its lease last as long as it did then; leases that count from the boot of a
-- machine know no clock.
UPDATE @runners SET beat_at = :moment, expires_at = CASE boot WHEN '' THEN expires_at - beat_at + :moment ELSE expires_at END
WHERE beat_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)

-- ## is_set_back
-- Whether something happened at a moment that is still to come.
SELECT EXISTS (SELECT 1 FROM @parked WHERE state = 'scheduled' AND since > CAST(:moment AS bigint) + CAST(:tolerance AS bigint))
    OR EXISTS (SELECT 1 FROM @runners WHERE beat_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint))
    OR (SELECT created_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint) FROM @jobs ORDER BY id DESC LIMIT 1)

-- ── schedules ──────────────────────────────────────────────────────────────────────────────────────

-- ## schedules
-- All schedules as they stand.
SELECT name, fingerprint, timing, policies, call, paused, through, seen_at, last_at, last_job, skipped, :now
FROM @schedules ORDER BY name

-- ## declare_schedules
-- Writes what code declares. Where the times are others than before, they count from now on, unless the clock was set
-- back, which is dealt with first. Only a worker attends.
-- rows: name text, fingerprint text, timing text, policies text, call text
INSERT INTO @schedules (name, fingerprint, timing, policies, call, through, declared_at, seen_at)
SELECT r.name, r.fingerprint, r.timing, r.policies, r.call, :now, :now, CASE WHEN :attended THEN :now ELSE 0 END
FROM {rows} WHERE true
ON CONFLICT (name) DO UPDATE SET
    fingerprint = excluded.fingerprint, timing = excluded.timing, policies = excluded.policies, call = excluded.call,
    through = CASE WHEN @schedules.timing = excluded.timing OR @schedules.through > excluded.through
        THEN @schedules.through ELSE excluded.through END,
    declared_at = excluded.declared_at, seen_at = excluded.seen_at

-- ## see_schedules
-- Says that somebody attends to schedules as they are declared.
-- rows: name text, fingerprint text
UPDATE @schedules SET seen_at = :now
FROM {rows} WHERE @schedules.name = r.name AND @schedules.fingerprint = r.fingerprint

-- ## pass_schedule
-- Deals with the times of a schedule up to a moment. No row: somebody else did, or it was paused or changed meanwhile.
UPDATE @schedules SET through = :handled_until
WHERE name = :name AND fingerprint = :fingerprint AND through = :known AND NOT paused
RETURNING open_jobs

-- ## hold_schedule
-- Keeps others from changing a schedule until the end of this transaction.
UPDATE @schedules SET name = name WHERE name = :name RETURNING open_jobs

-- ## take_fires
-- Reserves times of a schedule; answers with those that it was not run for yet.
-- rows: due_at bigint
INSERT INTO @fires (schedule, due_at, fired_at)
SELECT :name, r.due_at, :now FROM {rows} WHERE true
ON CONFLICT (schedule, due_at) DO NOTHING
RETURNING due_at

-- ## set_fires_free
-- Lets times come again that were run by a clock that was ahead.
UPDATE @fires SET fired_at = 0 WHERE schedule = :name AND due_at > :after

-- ## take_fires_again
-- Reserves those of the times that come again.
-- rows: time bigint
UPDATE @fires SET fired_at = :now FROM {rows} WHERE schedule = :name AND due_at = r.time AND fired_at = 0
RETURNING due_at

-- ## forget_fires
-- Forgets times that no clock is put back to.
DELETE FROM @fires WHERE schedule = :name AND due_at < :before AND fired_at < :before

-- ## note_runs
-- Writes what came of the times of a schedule.
UPDATE @schedules SET
    last_at = coalesce(:last_at, last_at), last_job = coalesce(:last_job, last_job), open_jobs = :open_jobs,
    skipped = skipped + :skipped
WHERE name = :name

-- ## pause_schedule
-- Pauses a schedule.
UPDATE @schedules SET paused = true WHERE name = :name RETURNING name

-- ## resume_schedule
-- Lets a paused schedule go on; the times of the pause are passed over. If the clock was set back, the schedule shows it.
UPDATE @schedules SET through = CASE WHEN paused AND through < :now THEN :now ELSE through END, paused = false
WHERE name = :name RETURNING name

-- ── dead letters ───────────────────────────────────────────────────────────────────────────────────

-- ## new_dead_letters
-- The newest dead letters of a time, the newest first, and the store's clock: one step of an index for each.
SELECT newest.since, newest.job, lanes.queue, lanes.kind, :now
FROM (
    SELECT job, since FROM @parked
    WHERE state = 'failed' AND since > :now - :within AND since <= :now ORDER BY since DESC LIMIT :limit
) AS newest CROSS JOIN @jobs j CROSS JOIN @lanes lanes
WHERE j.id = newest.job AND lanes.id = j.lane
ORDER BY newest.since DESC

-- ## errors_of
-- How the errors of jobs begin: with their classes. What follows may be long.
-- rows: job uuid
SELECT j.id, substr(j.error, 1, 300) FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## alarms
-- Up to when somebody was told of a queue.
-- rows: name text, subject text
SELECT a.name, a.subject, a.through FROM {rows} CROSS JOIN @alarms a WHERE a.name = r.name AND a.subject = r.subject

-- ## raise_alarm
-- Says that somebody is told of what came after a moment. No row: somebody else did, meanwhile. What was told under a
-- clock that was put back since counts no more.
INSERT INTO @alarms (name, subject, through) VALUES (:name, :subject, :through)
ON CONFLICT (name, subject) DO UPDATE SET through = excluded.through
WHERE @alarms.through <= :after OR @alarms.through > :now
RETURNING through

-- ── reading ────────────────────────────────────────────────────────────────────────────────────────

-- ## statuses
-- Jobs as they stand; others say which.
SELECT j.id, CASE WHEN l.job IS NULL THEN j.state ELSE 'processing' END,
    CASE WHEN j.state <> 'completed' THEN j.reason END,
    lanes.kind, lanes.queue, lanes.priority, j.tenant, j.tags, j.errors, j.crashes, j.losses, j.options,
    c.action, j.error, r.worker, j.created_at, j.run_at, coalesce(j.started_at, l.claimed_at), j.finished_at,
    k.done, k.total, k.pace, k.note,
    CASE WHEN l.claimed_at > k.updated_at THEN l.claimed_at ELSE k.updated_at END, :now,
    CASE WHEN j.state = 'completed' THEN j.reason END
FROM @jobs j
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @leases l ON l.job = j.id
LEFT JOIN @runners r ON r.id = l.runner
LEFT JOIN @controls c ON c.job = l.job
LEFT JOIN @checkpoints k ON k.job = j.id

-- ## job
-- A job as it stands.
{statuses}
WHERE j.id = :job

-- ## outcome
-- How a job ended, if it did.
SELECT j.state, j.result, j.error, CASE WHEN j.state <> 'completed' THEN j.reason END, lanes.kind
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## jobs
-- Jobs from the newest to the oldest, before a given one, that fit every filter that is set.
{statuses}
WHERE j.id < :before
    AND (CAST(:state AS text) IS NULL
        OR CASE WHEN l.job IS NULL THEN j.state ELSE 'processing' END = CAST(:state AS text))
    AND (CAST(:queue AS text) IS NULL OR lanes.queue = CAST(:queue AS text))
    AND (CAST(:kind AS text) IS NULL OR lanes.kind = CAST(:kind AS text))
ORDER BY j.id DESC
LIMIT :limit

-- ## jobs_by_id
-- Jobs as they stand, by their ids.
-- rows: job uuid
{statuses}
WHERE j.id IN (SELECT r.job FROM {rows})

-- ## running
-- The newest jobs that somebody holds a lease on, before a given one.
SELECT l.job FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
WHERE l.job < :before
    AND (CAST(:queue AS text) IS NULL OR lanes.queue = CAST(:queue AS text))
    AND (CAST(:kind AS text) IS NULL OR lanes.kind = CAST(:kind AS text))
ORDER BY l.job DESC
LIMIT :limit

-- ## set_aside
-- The newest jobs that are set aside in a state, before a given one.
SELECT p.job FROM @parked p
JOIN @jobs j ON j.id = p.job
JOIN @lanes lanes ON lanes.id = j.lane
WHERE p.job < :before AND p.state = :state
    AND (CAST(:queue AS text) IS NULL OR lanes.queue = CAST(:queue AS text))
    AND (CAST(:kind AS text) IS NULL OR lanes.kind = CAST(:kind AS text))
ORDER BY p.job DESC
LIMIT :limit

-- ## fitting
-- Jobs that fit every part of a filter that is set; others say which of them. Tags and errors are JSON: a tag is looked
-- for in its quotes, the type of an error where it always stands.
SELECT j.id FROM @jobs j
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @leases l ON l.job = j.id
WHERE (CAST(:state AS text) IS NULL
        OR CASE WHEN l.job IS NULL THEN j.state ELSE 'processing' END = CAST(:state AS text))
    AND (CAST(:queue AS text) IS NULL OR lanes.queue = CAST(:queue AS text))
    AND (CAST(:kind AS text) IS NULL OR lanes.kind = CAST(:kind AS text))
    AND (CAST(:tenant AS text) IS NULL OR j.tenant = CAST(:tenant AS text))
    AND (CAST(:tag AS text) IS NULL OR j.tags <> replace(replace(
        j.tags, '[' || CAST(:tag AS text), ''), ',' || CAST(:tag AS text), ''))
    AND (CAST(:error AS text) IS NULL
        OR substr(j.error, 1, length(CAST(:error AS text)) + 10) = '{"type":"' || CAST(:error AS text) || '"'
        OR j.error <> replace(j.error, '.' || CAST(:error AS text) || '","message":', ''))
    AND (CAST(:reason AS text) IS NULL OR j.state <> 'completed'
        AND lower(substr(j.reason, 1, length(CAST(:reason AS text)))) = CAST(:reason AS text))
    AND (CAST(:older AS bigint) IS NULL OR coalesce(j.finished_at, j.created_at) <= :now - CAST(:older AS bigint))
    AND (CAST(:newer AS bigint) IS NULL OR coalesce(j.finished_at, j.created_at) > :now - CAST(:newer AS bigint))

-- ## matching
-- Those after a given one, the oldest first; without those that are over, if so wished.
{fitting}
    AND j.id > :after
    AND (:with_over OR j.state NOT IN ('completed', 'failed', 'cancelled'))
ORDER BY j.id
LIMIT :limit

-- ## matching_set_aside
-- The same for a state in which jobs are set aside: they are few among all that there ever were.
SELECT p.job FROM @parked p
WHERE p.job > :after AND p.state = :state AND EXISTS (
{fitting}
    AND j.id = p.job)
ORDER BY p.job
LIMIT :limit

-- ## matching_running
-- The same for those that run, found by their leases.
SELECT l2.job FROM @leases l2
WHERE l2.job > :after AND EXISTS (
{fitting}
    AND j.id = l2.job)
ORDER BY l2.job
LIMIT :limit

-- ## count_matching
-- How many jobs fit a filter.
SELECT count(*) FROM ({fitting}) AS fitting

-- ## count_set_aside
-- The same for a state in which jobs are set aside.
SELECT count(*) FROM @parked p
WHERE p.state = :state AND EXISTS (
{fitting}
    AND j.id = p.job)

-- ## lined_up
-- The jobs that are next in their lanes.
SELECT ready.job FROM @ready ready
JOIN @lanes lanes ON lanes.id = ready.lane
WHERE (CAST(:queue AS text) IS NULL OR lanes.queue = CAST(:queue AS text))
    AND (CAST(:kind AS text) IS NULL OR lanes.kind = CAST(:kind AS text))
ORDER BY lanes.priority DESC, ready.seq
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

-- ## what_the_living_serve
-- The queues that each living runner takes from, none for all of them, the kinds that it knows, and its labels.
SELECT queues, kinds, labels FROM @runners WHERE boot = :boot AND expires_at > :lease_now

-- ## who_takes_jobs
-- What each living runner takes that takes new jobs, and whether it had a free place when it beat last.
SELECT queues, kinds, labels, running >= concurrency FROM @runners
WHERE boot = :boot AND expires_at > :lease_now AND NOT draining

-- ## depths
-- How many jobs wait in each lane.
SELECT lanes.queue, lanes.kind, lanes.priority, count(*), min(ready.seq)
FROM @ready ready JOIN @lanes lanes ON lanes.id = ready.lane
GROUP BY lanes.queue, lanes.kind, lanes.priority
ORDER BY lanes.queue, lanes.kind, lanes.priority

-- ## parked_counts
-- How many jobs are set aside, by state.
SELECT state, count(*) FROM @parked GROUP BY state ORDER BY state

-- ## count_unfit
-- How many jobs are set aside because their arguments do not fit the code of the workers.
SELECT count(*) FROM (
    SELECT 1 FROM @parked p JOIN @jobs j ON j.id = p.job
    WHERE p.state = 'blocked' AND p.gate IS NULL AND substr(j.reason, 1, 6) = 'unfit:' LIMIT :limit
) AS unfit

-- ## running_count
-- How many jobs somebody holds a lease on.
SELECT count(*) FROM @leases
