-- Statements that are the same for SQLite and PostgreSQL. A statement that differs is in sqlite.sql or postgres.sql
-- under the same name, and a test pins the list of these.

-- ## schema_version
-- Return the version of the schema.
SELECT value FROM @meta WHERE name = 'schema_version'

-- ## set_meta
-- Write one fact about the store.
INSERT INTO @meta (name, value) VALUES (:name, :value)
ON CONFLICT (name) DO UPDATE SET value = excluded.value

-- ## forget_meta
-- Forget one fact about the store.
DELETE FROM @meta WHERE name = :name

-- ## migration
-- Return how far a migration is that has begun.
SELECT value FROM @meta WHERE name = 'migration'

-- ## set_new_fact
-- Write one fact about the store, unless it is known.
INSERT INTO @meta (name, value) VALUES (:name, :value) ON CONFLICT (name) DO NOTHING

-- ## store_identity
-- Return which store this is.
SELECT value FROM @meta WHERE name = 'store_id'

-- ## set_savepoint
-- In a transaction of the user's: begin a part that can be undone alone.
SAVEPOINT posthorse_call

-- ## undo_to_savepoint
-- Take back what an operation wrote before it failed.
ROLLBACK TO posthorse_call

-- ## release_savepoint
-- Make the operation a part of the transaction.
RELEASE posthorse_call

-- ## now
-- Return the store's clock.
SELECT :now

-- ── lanes ──────────────────────────────────────────────────────────────────────────────────────────

-- ## find_lane
-- Return the lane of a queue, kind and priority.
SELECT id FROM @lanes
WHERE queue = :queue AND kind = :kind AND priority = :priority AND solo = :solo AND tenant = :tenant AND keyed = :keyed

-- ## make_lane
-- Create a lane, unless another process just did.
INSERT INTO @lanes (queue, kind, priority, solo, tenant, keyed) VALUES (:queue, :kind, :priority, :solo, :tenant, :keyed)
ON CONFLICT (queue, kind, priority, solo, tenant, keyed) DO UPDATE SET queue = excluded.queue
RETURNING id

-- ## news
-- Return how often queues were changed, and the lanes created since the last look; one row without a lane if there are
-- none.
SELECT changes.number, :now, lanes.id,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM (SELECT coalesce((SELECT value FROM @meta WHERE name = 'queues'), '0') AS number) AS changes
LEFT JOIN @lanes lanes ON lanes.id > :known
ORDER BY lanes.id

-- ## filled_lanes
-- Return lanes that hold jobs, with the positions of their heads: two steps of an index for each, however many lanes
-- there are.
WITH RECURSIVE filled(lane) AS (
    SELECT min(lane) FROM @ready
    UNION ALL
    SELECT (SELECT min(lane) FROM @ready WHERE lane > filled.lane) FROM filled WHERE filled.lane IS NOT NULL
)
SELECT filled.lane, (SELECT min(seq) FROM @ready WHERE lane = filled.lane) FROM filled WHERE filled.lane IS NOT NULL

-- ## queues_of_lanes
-- Return the queues and kinds of lanes, each once.
-- rows: lane int
SELECT DISTINCT lanes.queue, lanes.kind FROM {rows} JOIN @lanes lanes ON lanes.id = r.lane ORDER BY 1, 2

-- ## lanes_with_jobs
-- Return which of these lanes hold jobs.
-- pairs: lane int, after bigint
SELECT CAST(r.lane AS integer) FROM {rows}
WHERE (SELECT true FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT 1)

-- ## waits
-- Return how long the jobs at the heads of lanes have waited, in microseconds.
-- rows: lane int, after bigint
SELECT r.lane, (SELECT :now - coalesce(j.run_at, j.created_at) FROM @jobs j WHERE j.id = (
    SELECT job FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT 1))
FROM {rows}

-- ── queues ─────────────────────────────────────────────────────────────────────────────────────────

-- ## queue_settings
-- Return the live settings of queues.
SELECT name, settings FROM @queues ORDER BY name

-- ## count_change
-- Count a change of queues. Every change begins with this, so that changes come one after the other.
INSERT INTO @meta (name, value) VALUES ('queues', '1')
ON CONFLICT (name) DO UPDATE SET value = CAST(CAST(@meta.value AS bigint) + 1 AS text)

-- ## queues_and_watchers
-- Return the live settings of queues, and what watchers of the stream want, with how many microseconds that holds.
SELECT 'queue', name, settings, CAST(NULL AS bigint) FROM @queues
UNION ALL
SELECT 'watcher', name, wanted, until - :now FROM @watchers WHERE until > :now

-- ## settings_of_queue
-- Return the live settings of one queue.
SELECT settings FROM @queues WHERE name = :name

-- ## set_queue
-- Write live settings of a queue.
INSERT INTO @queues (name, settings, changed_at) VALUES (:name, :settings, :now)
ON CONFLICT (name) DO UPDATE SET settings = excluded.settings, changed_at = excluded.changed_at

-- ## reset_queue
-- Remove all live settings of a queue.
DELETE FROM @queues WHERE name = :name

-- ## depth
-- Return how many jobs wait in a queue, counted in each of its lanes up to a limit.
SELECT CAST(coalesce(sum((
    SELECT count(*) FROM (SELECT 1 FROM @ready WHERE lane = lanes.id LIMIT :limit) AS counted)), 0) AS bigint)
FROM @lanes lanes WHERE lanes.queue = :queue

-- ## longest_wait
-- Return how long the oldest job of a queue has waited, in microseconds.
SELECT max((SELECT :now - coalesce(j.run_at, j.created_at) FROM @jobs j WHERE j.id = (
    SELECT job FROM @ready WHERE lane = lanes.id ORDER BY seq LIMIT 1)))
FROM @lanes lanes WHERE lanes.queue = :queue

-- ## queue_depths
-- Return how many jobs wait in each queue, and how long the first of them has waited, in microseconds.
SELECT lanes.queue, CAST(sum((SELECT count(*) FROM @ready WHERE lane = lanes.id)) AS bigint), max((
    SELECT :now - coalesce(j.run_at, j.created_at) FROM @jobs j WHERE j.id = (
        SELECT job FROM @ready WHERE lane = lanes.id ORDER BY seq LIMIT 1)))
FROM @lanes lanes GROUP BY lanes.queue ORDER BY lanes.queue

-- ## queue_leases
-- Return how many jobs of each queue have a lease.
SELECT lanes.queue, count(*) FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
GROUP BY lanes.queue

-- ## queue_parked
-- Return how many jobs of each queue are parked, by state.
SELECT lanes.queue, p.state, count(*) FROM @parked p
JOIN @jobs j ON j.id = p.job
JOIN @lanes lanes ON lanes.id = j.lane
GROUP BY lanes.queue, p.state

-- ## servers
-- Return the living runners, and what each of them serves.
SELECT worker, queues, labels FROM @runners WHERE boot = :boot AND expires_at > :lease_now

-- ── submit ─────────────────────────────────────────────────────────────────────────────────────────

-- ## take_keys
-- Reserve keys, some for a while; return the jobs of those that were free.
-- rows: tenant text, scope text, key text, job uuid, fingerprint text, span bigint
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at)
SELECT r.tenant, r.scope, r.key, r.job, r.fingerprint, :now + r.span FROM {rows} WHERE true
ON CONFLICT (tenant, scope, key) DO NOTHING
RETURNING job

-- ## find_keys
-- Return the jobs behind keys, and whether the key has expired.
-- rows: tenant text, scope text, key text
SELECT k.tenant, k.scope, k.key, k.job, k.fingerprint, coalesce(k.expires_at <= :now, false)
FROM {rows} JOIN @keys k ON k.tenant = r.tenant AND k.scope = r.scope AND k.key = r.key

-- ## pass_key_on
-- Give a key whose job is over to another job, unless another process was faster.
UPDATE @keys SET job = :job, fingerprint = :fingerprint, expires_at = NULL
WHERE tenant = :tenant AND scope = :scope AND key = :key AND EXISTS (
    SELECT 1 FROM @jobs j WHERE j.id = @keys.job AND j.state IN ('completed', 'failed', 'cancelled'))

-- ## states_of
-- Return the states of jobs, without deleted ones.
-- rows: job uuid
SELECT j.id, j.state FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## owner_state
-- Return the states of jobs, and whether they ever started, without deleted ones.
-- rows: job uuid
SELECT j.id, j.state, j.started_at IS NOT NULL OR EXISTS (SELECT 1 FROM @leases l WHERE l.job = j.id)
FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## hand_over_keys
-- Give locked keys to other jobs.
-- rows: tenant text, scope text, key text, job uuid, fingerprint text, span bigint
UPDATE @keys SET job = r.job, fingerprint = r.fingerprint, expires_at = :now + r.span
FROM {rows} WHERE @keys.tenant = r.tenant AND @keys.scope = r.scope AND @keys.key = r.key

-- ## forget_keys
-- Delete expired keys, unless they are handed over at this moment.
DELETE FROM @keys WHERE expires_at <= :now AND (tenant, scope, key) IN (
    SELECT tenant, scope, key FROM @keys WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)
RETURNING 1

-- ## supersede
-- Give a waiting job the arguments and options of a newer one. One that is blocked or paused stays so.
UPDATE @jobs SET
    state = CASE WHEN state NOT IN ('pending', 'scheduled') THEN state WHEN :waits THEN 'scheduled' ELSE 'pending' END,
    version = version + 1, run_at = CAST(:run_at AS bigint), arguments = :arguments, options = :options, tags = :tags
WHERE id = :job
RETURNING version

-- ## line_up_again
-- Put a job back where it was before this transaction took it.
INSERT INTO @ready (lane, seq, job) VALUES (:lane, :seq, :job)

-- ## postpone
-- Give a parked job another time.
UPDATE @parked SET due_at = :due_at WHERE job = :job

-- ## identity_of
-- Return what makes a job equal to another, and whether it ever started.
SELECT j.tenant, lanes.kind, j.arguments, j.options, j.started_at IS NOT NULL
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## point_key
-- Make a key of a job that turned out to be an earlier one point to that one.
UPDATE @keys SET job = :earlier WHERE tenant = :tenant AND scope = :scope AND key = :key AND job = :job

-- ── the end of an attempt ─────────────────────────────────────────────────────────────────────────────

-- ## held_lease
-- Return the lease on a job, if there is one.
SELECT epoch, runner FROM @leases WHERE job = :job

-- ## job_budget
-- Return what a job has spent, and its own lane.
SELECT j.errors, j.crashes, j.losses,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## already_ended
-- Return which of these attempts ended as their worker says, and when: in this commit, or in one whose reply was lost.
-- rows: job uuid, epoch int
SELECT j.id, j.finished_at FROM {rows} JOIN @jobs j ON j.id = r.job AND j.epoch = r.epoch WHERE j.state = :state

-- ## settled
-- part
-- Set how an attempt ended. Empty texts and a wait of 0 are missing ones.
state = r.state, epoch = r.epoch, version = r.version, errors = r.errors, crashes = r.crashes,
losses = r.interruptions, reason = nullif(r.reason, ''),
error = coalesce(nullif(r.error, ''), @jobs.error), result = nullif(r.result, ''),
run_at = CASE WHEN r.wait > 0 THEN :now + r.wait ELSE run_at END,
started_at = coalesce(started_at, r.claimed_at), finished_at = CASE WHEN r.is_final > 0 THEN :now END

-- ## tell_ends
-- Tell the stream how attempts ended, before their jobs are written: these tell their numbers.
-- rows: job uuid, version int, event text
INSERT INTO @stream (at, name, attempt, version, jobs)
SELECT :now, r.event, j.errors + 1, r.version, '["' || CAST(r.job AS text) || '"]'
FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## change_lane
-- Move a job to another lane.
UPDATE @jobs SET lane = :lane WHERE id = :job

-- ## pause_job
-- Set a job aside that no runner holds, until it is resumed.
UPDATE @jobs SET state = 'paused', version = version + 1, reason = :reason WHERE id = :job
RETURNING version, run_at

-- ## resume_job
-- Let a paused job go on: it lines up, or waits for other jobs or for its time.
UPDATE @jobs SET state = CASE WHEN :blocks THEN 'blocked' WHEN :waits THEN 'scheduled' ELSE 'pending' END,
    version = version + 1, reason = NULL
WHERE id = :job
RETURNING version, run_at

-- ## cancel_job
-- End a job that no runner holds, or discard a dead letter.
UPDATE @jobs SET state = 'cancelled', version = version + 1, reason = :reason, finished_at = :now WHERE id = :job
RETURNING version, run_at, awaited

-- ## end_parent
-- End a job whose children are over. If its own code has returned, its result is there.
UPDATE @jobs SET
    state = CAST(:state AS text), version = version + 1, reason = CAST(:reason AS text), error = CAST(:error AS text),
    result = CASE WHEN CAST(:state AS text) = 'completed' THEN coalesce(result, 'null') ELSE result END,
    finished_at = :now
WHERE id = :job
RETURNING version, awaited

-- ## revive
-- Reset the budgets of a finished job; the epoch rises, so that nothing older can write. For a job that never started,
-- `expires` counts from now. A request that came too late for an earlier attempt does not apply to this one. A parent
-- whose own code has returned keeps its result while it waits for its children.
DELETE FROM @controls WHERE job = :job;
UPDATE @jobs SET
    state = CASE WHEN :blocks THEN 'blocked' WHEN :waits THEN 'scheduled' ELSE 'pending' END, version = version + 1,
    epoch = epoch + 1, errors = 0, crashes = 0, losses = 0, reason = NULL, finished_at = NULL,
    result = CASE WHEN :blocks THEN result END,
    lane = :lane,
    run_at = :now + CASE WHEN started_at IS NULL THEN coalesce(CAST(:wait AS bigint), 0) ELSE CAST(:wait AS bigint) END
WHERE id = :job
RETURNING version, run_at

-- ## rewrite_arguments
-- Give a job that is over other arguments.
UPDATE @jobs SET arguments = :arguments WHERE id = :job

-- ## park
-- Park a job: scheduled, blocked, paused or failed. place is 0 if it waits for a span, and not for a moment.
INSERT INTO @parked (job, state, due_at, since, place, lane)
SELECT id, :state, CAST(:due_at AS bigint), :now, CAST(:place AS bigint), lane FROM @jobs WHERE id = :job

-- ## without_lane
-- Return jobs that workers of version 1 of the schema parked without their lanes.
SELECT job FROM @parked WHERE lane IS NULL ORDER BY job LIMIT :limit

-- ## enter_lanes
-- Enter the lanes of jobs that workers of version 1 of the schema parked.
UPDATE @parked SET lane = coalesce((SELECT lane FROM @jobs j WHERE j.id = @parked.job), 0)
WHERE job IN (SELECT job FROM @parked WHERE lane IS NULL ORDER BY job LIMIT :limit)
RETURNING job

-- ## unpark
-- Remove a job from the parked ones.
DELETE FROM @parked WHERE job = :job

-- ## withdraw
-- Take a job out of its lane. No row: it was claimed meanwhile.
DELETE FROM @ready WHERE lane = :lane AND seq = :seq AND job = :job RETURNING seq

-- ## runner_on_list
-- Return the worker of a registered runner.
SELECT worker, pid FROM @runners WHERE id = :id

-- ## times_of
-- Return when a job first started, when it ended, and its reason: for a completed job, its worker.
SELECT started_at, finished_at, reason FROM @jobs WHERE id = :job

-- ## last_event
-- Return the last event of a job.
SELECT version, name, detail FROM @events WHERE job = :job ORDER BY version DESC LIMIT 1

-- ── controls ───────────────────────────────────────────────────────────────────────────────────────

-- ## ask_runner
-- Ask the runner of a job to pause or cancel it. A later pause does not weaken a cancel.
INSERT INTO @controls (job, runner, action, at) VALUES (:job, :runner, :action, :now)
ON CONFLICT (job) DO UPDATE SET runner = excluded.runner, at = excluded.at,
    action = CASE WHEN @controls.action = 'cancel' THEN 'cancel' ELSE excluded.action END

-- ## unask_runner
-- Drop the requests to the runners of jobs; return them.
-- rows: job uuid
DELETE FROM @controls WHERE job = ANY (ARRAY(SELECT r.job FROM {rows})) RETURNING job, action

-- ## asked_of
-- Return the requests for jobs that were given back meanwhile.
-- rows: job uuid, epoch int
SELECT c.job, c.action FROM {rows} CROSS JOIN @controls c
WHERE c.job = r.job AND NOT EXISTS (SELECT 1 FROM @leases l WHERE l.job = c.job)

-- ## withdraw_pause
-- Withdraw a pause that has not happened yet, because of a resume.
DELETE FROM @controls WHERE job = :job AND action = 'pause'

-- ## requests_for
-- Return the requests for the jobs of a runner, and without a job how often queues and watchers were changed, and now.
SELECT job, action, 0 FROM @controls WHERE runner = :runner
UNION ALL
SELECT NULL, coalesce((SELECT value FROM @meta WHERE name = 'queues'), '0'), :now

-- ## still_held
-- Return which of these attempts of a runner still have their lease.
-- rows: job uuid, epoch int
SELECT l.job FROM {rows} JOIN @leases l ON l.job = r.job AND l.epoch = r.epoch AND l.runner = :runner

-- ## stale_controls
-- Drop requests for attempts that are over.
DELETE FROM @controls WHERE NOT EXISTS (
    SELECT 1 FROM @leases WHERE @leases.job = @controls.job AND @leases.runner = @controls.runner)

-- ── one job apart from its lane ────────────────────────────────────────────────────────────────────

-- ## is_alive
-- Return whether a runner may claim.
SELECT 1 FROM @runners WHERE id = :runner AND boot = :boot AND expires_at > :lease_now

-- ## take_up
-- Take up a scheduled job; one that was taken up before has no time any more.
UPDATE @jobs SET
    state = 'pending', version = version + 1, reason = NULL, run_at = CASE WHEN run_at > :now THEN NULL ELSE run_at END
WHERE id = :job

-- ## lease_out
-- Lease a job that was taken out of its lane or out of the parked ones.
INSERT INTO @leases (job, epoch, runner, claimed_at) SELECT id, epoch + 1, :runner, :now FROM @jobs WHERE id = :job

-- ## leased
-- Return what its runner must know about a job.
SELECT j.id AS job, l.epoch, j.lane, j.seq, j.errors, j.crashes, j.losses AS interruptions, j.arguments, j.options,
    j.run_at
FROM @leases l JOIN @jobs j ON j.id = l.job
WHERE l.job = :job

-- ## lateness
-- Return how long ago a job that never started could have started, in microseconds; no row if it started.
SELECT :now - CASE WHEN run_at > created_at THEN run_at ELSE created_at END
FROM @jobs WHERE id = :job AND started_at IS NULL

-- ## holder
-- Return which runner holds the lease on a job, and the time of its last heartbeat.
SELECT r.worker, r.host, r.pid, r.beat_at, l.claimed_at FROM @leases l JOIN @runners r ON r.id = l.runner WHERE l.job = :job

-- ── gates ──────────────────────────────────────────────────────────────────────────────────────────

-- ## make_gates
-- Create gates at their first use.
-- rows: gate text, most int, step bigint, burst int
INSERT INTO @gates (key, most, step, burst) SELECT r.gate, r.most, r.step, r.burst FROM {rows} WHERE true
ON CONFLICT (key) DO NOTHING

-- ## move_gates
-- Write up to when tokens are used, the current requirement, and when to look at held jobs.
-- rows: gate text, through bigint, most int, step bigint, burst int, due_at bigint, taken int
UPDATE @gates SET through = r.through, most = r.most, step = r.step, burst = r.burst, due_at = r.due_at,
    used_at = CASE WHEN r.taken > 0 THEN :now ELSE @gates.used_at END
FROM {rows} WHERE @gates.key = r.gate

-- ## set_gates_back
-- Let gates count as passed now, not at a moment in the future.
-- rows: gate text, through bigint
UPDATE @gates SET through = r.through, used_at = :now, due_at = CASE WHEN due_at > :now THEN :now ELSE due_at END
FROM {rows} WHERE @gates.key = r.gate

-- ## take_slots
-- Record jobs that passed gates.
-- rows: gate text, job uuid, epoch int, until text
INSERT INTO @slots (gate, job, epoch, until) SELECT r.gate, r.job, r.epoch, r.until FROM {rows} WHERE true
ON CONFLICT (gate, job) DO UPDATE SET epoch = excluded.epoch, until = excluded.until

-- ## join_sequences
-- Give jobs that were just inserted their positions in sequences.
-- rows: gate text, job uuid
INSERT INTO @sequences (gate, place, job)
SELECT r.gate, j.seq, j.id FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job
ON CONFLICT (gate, place, job) DO NOTHING

-- ## leave_sequence
-- Take the position in a sequence from a job that runs again: its new position is behind the present jobs. Its old one
-- no longer counts, unless later jobs wait for it to be repaired.
DELETE FROM @sequences WHERE job = :job;
DELETE FROM @slots WHERE job = :job AND NOT (until = 'mend' AND :is_dead)

-- ## leave_sequences
-- Forget jobs in sequences that are over.
-- rows: gate text
DELETE FROM @sequences WHERE gate IN (SELECT r.gate FROM {rows}) AND NOT EXISTS (
    SELECT 1 FROM @jobs j WHERE j.id = @sequences.job AND j.state NOT IN ('completed', 'failed', 'cancelled'))

-- ## drop_slots
-- Forget jobs that left some gates.
-- rows: gate text
DELETE FROM @slots WHERE gate IN (SELECT r.gate FROM {rows}) AND NOT EXISTS (
    SELECT 1 FROM @taken taken WHERE taken.gate = @slots.gate AND taken.job = @slots.job)

-- ## gates_to_tend
-- Return gates whose next token came; gates with held jobs that might pass, or whose clock was set back; and unused
-- gates.
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
-- Return gates whose names begin like this.
SELECT key FROM @gates WHERE substr(key, 1, length(CAST(:beginning AS text))) = CAST(:beginning AS text)

-- ## loosen_gates
-- Forget the last requirement: held jobs are lined up, and the current requirement applies at their claim.
-- rows: gate text
UPDATE @gates SET most = NULL, step = 0 WHERE key IN (SELECT r.gate FROM {rows})

-- ## neglected_gates
-- Return gates that no job passed for long, before which jobs are held, or whose clock was set back since.
SELECT g.key FROM @gates g
WHERE (g.used_at < :now - :patience OR (g.step = 0 AND g.used_at > :now + 1000000)) AND EXISTS (SELECT 1 FROM @parked p WHERE p.gate = g.key)
LIMIT :limit

-- ## try_gates
-- Record that the first jobs held before gates try again.
-- rows: gate text
UPDATE @gates SET used_at = :now WHERE key IN (SELECT r.gate FROM {rows})

-- ## forget_gates
-- Forget those of the given gates that no job passed for long although they are open: the limit or its workers are
-- gone.
-- rows: gate text
DELETE FROM @gates WHERE key IN (SELECT r.gate FROM {rows})
    AND used_at < :now - :patience AND through < :now * 1000
    AND NOT EXISTS (SELECT 1 FROM @slots s WHERE s.gate = @gates.key)

-- ## forgotten_gate
-- Return a gate that was forgotten while jobs were held before it. The scan goes from gate to gate, so the number of
-- jobs held before one does not matter.
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
-- Return gates for users: those that are in use, or were a moment ago, with how many jobs are inside and how many are
-- held before them, the most first.
SELECT g.key AS gate, g.most, g.step, g.burst, g.through,
    (SELECT count(*) FROM @taken taken WHERE taken.gate = g.key) AS inside,
    (SELECT count(*) FROM @parked p WHERE p.gate = g.key) AS held, :now AS now
FROM @gates g
WHERE g.through > :now * 1000 OR EXISTS (SELECT 1 FROM @taken taken WHERE taken.gate = g.key)
    OR EXISTS (SELECT 1 FROM @parked p WHERE p.gate = g.key)
ORDER BY 7 DESC, g.key
LIMIT :limit

-- ## gates_of_lane
-- Return the same for some gates, without those that were never passed.
-- rows: gate text
SELECT g.key AS gate, g.most, g.step, g.burst, g.through,
    (SELECT count(*) FROM @taken taken WHERE taken.gate = g.key) AS inside, 0 AS held, :now AS now
FROM {rows} JOIN @gates g ON g.key = r.gate
ORDER BY g.key

-- ## held_in_queues
-- Return how many jobs of each queue are held before each gate, the most first.
SELECT lanes.queue, p.gate, count(*) FROM @parked p
JOIN @jobs j ON j.id = p.job
JOIN @lanes lanes ON lanes.id = j.lane
WHERE p.gate IS NOT NULL
GROUP BY lanes.queue, p.gate
ORDER BY count(*) DESC, p.gate
LIMIT :limit

-- ── checkpoints ────────────────────────────────────────────────────────────────────────────────────

-- ## load_checkpoint
-- Return the checkpoint of a long job, whether it has steps, and how many children it added.
SELECT k.slices, k.done, k.total, k.pace, k.note, k.cursors, k.kept, EXISTS (SELECT 1 FROM @steps s WHERE s.job = k.job),
    coalesce((SELECT j.total FROM @joins j WHERE j.job = k.job), 0)
FROM @checkpoints k WHERE k.job = :job

-- ## loops_of
-- Return the state of the loops of a job.
SELECT cursors FROM @checkpoints WHERE job = :job

-- ## attempts_since_slice
-- Return how attempts ended since the last committed slice, the latest first, without deploys and pauses; and its
-- retries.
SELECT name, detail FROM @events
WHERE job = :job AND name IN ('attempt_failed', 'failed', 'lost', 'crashed', 'retried')
    AND at >= coalesce((SELECT advanced_at FROM @checkpoints WHERE job = :job), 0)
ORDER BY version DESC LIMIT 40

-- ── steps ──────────────────────────────────────────────────────────────────────────────────────────

-- ## keep_steps
-- Keep steps of a job. One that is written again, because a reply was lost, stays the same.
-- rows: job uuid, name text, epoch int, form text, value text
INSERT INTO @steps (job, name, epoch, at, form, value)
SELECT r.job, r.name, r.epoch, :now, r.form, r.value FROM {rows} WHERE true
ON CONFLICT (job, name) DO UPDATE SET
    epoch = excluded.epoch, at = excluded.at, form = excluded.form, value = excluded.value

-- ## steps
-- Return the steps of a job.
SELECT name, form, value FROM @steps WHERE job = :job

-- ## sleep_until
-- Let a parked job go on at an exact moment.
UPDATE @jobs SET run_at = :moment WHERE id = :job;
UPDATE @parked SET due_at = :moment WHERE job = :job

-- ## forget_deadlines
-- Let the waits of a job begin anew that are not over.
DELETE FROM @steps WHERE job = :job AND form = 'deadline'

-- ── signals ────────────────────────────────────────────────────────────────────────────────────────

-- ## tenant_of
-- Return the tenant of a job.
SELECT tenant FROM @jobs WHERE id = :job

-- ## signal
-- Return the payload of a signal that counts.
SELECT payload FROM @signals WHERE tenant = :tenant AND topic = :topic AND expires_at > :now

-- ## put_signal
-- Write a signal. No row: an earlier one counts.
INSERT INTO @signals (tenant, topic, payload, sent_at, expires_at) VALUES (:tenant, :topic, :payload, :now, :now + :span)
ON CONFLICT (tenant, topic) DO UPDATE SET
    payload = excluded.payload, sent_at = excluded.sent_at, expires_at = excluded.expires_at
WHERE :again OR @signals.expires_at <= :now OR @signals.payload = excluded.payload
RETURNING topic

-- ## listen
-- Note that a job waits for a signal.
INSERT INTO @listeners (tenant, topic, job, epoch) VALUES (:tenant, :topic, :job, :epoch)
ON CONFLICT (tenant, topic, job) DO UPDATE SET epoch = excluded.epoch

-- ## wait_until
-- Let a parked job go on at a moment.
UPDATE @parked SET due_at = :due_at WHERE job = :job

-- ## wake_listeners
-- Let the jobs go on that wait for a signal: they are due now. One that waits for something else by now has another
-- epoch, or a gate.
UPDATE @parked SET due_at = :now WHERE state = 'blocked' AND gate IS NULL AND job IN (
    SELECT l.job FROM @listeners l JOIN @jobs j ON j.id = l.job AND j.epoch = l.epoch
    WHERE l.tenant = :tenant AND l.topic = :topic);
DELETE FROM @listeners WHERE tenant = :tenant AND topic = :topic

-- ## wake_missed
-- Let the jobs go on that wait for a signal that is there.
UPDATE @parked SET due_at = :now WHERE state = 'blocked' AND gate IS NULL AND job IN (
    SELECT l.job FROM @listeners l
    JOIN @signals s ON s.tenant = l.tenant AND s.topic = l.topic AND s.expires_at > :now
    JOIN @jobs j ON j.id = l.job AND j.epoch = l.epoch)

-- ── bad items ──────────────────────────────────────────────────────────────────────────────────────

-- ## keep_bad_items
-- Store items that a slice tolerated, with their errors; for one that was retried in vain, the latest error. Epoch 0:
-- the slice was not committed, because there were too many; the next attempt has the same items and numbers.
-- rows: job uuid, loop text, number bigint, epoch int, form text, item text, type text, message text, traceback text
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback)
SELECT r.job, r.loop, r.number, r.epoch, :now, r.form, r.item, r.type, r.message, r.traceback FROM {rows} WHERE true
ON CONFLICT (job, loop, number) DO UPDATE SET
    epoch = excluded.epoch, at = excluded.at, form = excluded.form, item = excluded.item, type = excluded.type,
    message = excluded.message, traceback = excluded.traceback

-- ## drop_bad_items
-- Forget bad items whose retry succeeded.
-- rows: job uuid, loop text, number bigint
DELETE FROM @bad_items WHERE (job, loop, number) IN (SELECT r.job, r.loop, r.number FROM {rows})

-- ## bad_items
-- Return bad items of a job after a given one, in order.
SELECT loop, number, at, form, item, type, message, traceback FROM @bad_items
WHERE job = :job AND (loop, number) > (:loop, CAST(:number AS bigint))
ORDER BY loop, number LIMIT :limit

-- ## bad_items_to_retry
-- Return bad items of one loop that can be retried, in order.
SELECT number, form, item FROM @bad_items
WHERE job = :job AND loop = :loop AND number > :after AND number <= :upto AND form <> 'text'
    AND epoch > 0
ORDER BY number LIMIT :limit

-- ## count_bad_items
-- Return how many bad items each loop of a job has, the last one that can be retried, and how many belong to slices
-- that were not committed.
SELECT loop, count(*), coalesce(max(CASE WHEN form <> 'text' AND epoch > 0 THEN number END), 0),
    count(CASE WHEN epoch = 0 THEN 1 END)
FROM @bad_items
WHERE job = :job GROUP BY loop ORDER BY loop

-- ## count_bad_items_of_parts
-- Do the same for each part of a job that has some.
SELECT b.job AS part, b.loop, count(*) AS items,
    coalesce(max(CASE WHEN b.form <> 'text' AND b.epoch > 0 THEN b.number END), 0) AS last,
    count(CASE WHEN b.epoch = 0 THEN 1 END) AS uncommitted
FROM @jobs j JOIN @bad_items b ON b.job = j.id
WHERE j.parent = :parent GROUP BY b.job, b.loop ORDER BY b.job, b.loop

-- ## bad_items_of_parts
-- Return bad items of the parts of a job after a given one, in the order in which the parts were made.
SELECT b.job AS part, b.loop, b.number, b.at, b.form, b.item, b.type, b.message, b.traceback
FROM @jobs j JOIN @bad_items b ON b.job = j.id
WHERE j.parent = :parent AND (b.job, b.loop, b.number) > (:part, :loop, CAST(:number AS bigint))
ORDER BY b.job, b.loop, b.number LIMIT :limit

-- ## uncommitted_bad_items
-- Return bad items of slices that were not committed.
SELECT loop, number FROM @bad_items WHERE job = :job AND epoch = 0

-- ## rewrite_cursors
-- Write the state of the loops of a job that no runner holds.
UPDATE @checkpoints SET cursors = :cursors WHERE job = :job

-- ── logs ───────────────────────────────────────────────────────────────────────────────────────────

-- ## add_log_pieces
-- Store pieces of what jobs logged, under the leases of their attempts. One that is there already was written before a
-- reply was lost.
-- rows: job uuid, epoch int, piece int, attempt int, lines text
INSERT INTO @logs (job, epoch, piece, attempt, at, lines)
SELECT r.job, r.epoch, r.piece, r.attempt, :now, r.lines
FROM {rows} JOIN @leases l ON l.job = r.job AND l.epoch = r.epoch
WHERE l.runner = :runner
ON CONFLICT (job, epoch, piece) DO NOTHING

-- ## drop_log_pieces
-- Remove pieces that later lines of the same attempts replace.
-- rows: job uuid, epoch int, piece int
DELETE FROM @logs WHERE (job, epoch, piece) IN (SELECT r.job, r.epoch, r.piece FROM {rows})

-- ## log_pieces
-- Return pieces of a job in order, from the one that holds a line; those of one attempt, if it is given.
SELECT epoch, piece, attempt, lines FROM @logs
WHERE job = :job AND (epoch, piece) >= (:epoch, coalesce((
        SELECT max(p.piece) FROM @logs p WHERE p.job = :job AND p.epoch = :epoch AND p.piece <= :number), 0))
    AND (CAST(:attempt AS int) IS NULL OR attempt = :attempt)
ORDER BY epoch, piece LIMIT :limit

-- ## last_log_pieces
-- Return the last pieces of a job, the last one first; those of one attempt, if it is given.
SELECT epoch, piece, attempt, lines FROM @logs
WHERE job = :job AND (CAST(:attempt AS int) IS NULL OR attempt = :attempt)
ORDER BY epoch DESC, piece DESC LIMIT :limit

-- ── runners ────────────────────────────────────────────────────────────────────────────────────────

-- ## register_runner
-- Register an incarnation of a runner; from now on it may claim. Ids are unique: if this one exists, the reply to an
-- earlier commit was lost.
INSERT INTO @runners (id, worker, boot, host, pid, version, started_at, beat_at, expires_at,
    concurrency, queues, kinds, labels, release)
VALUES (:id, :worker, :boot, :host, :pid, :version, :now, :now, :lease_now + :lease,
    :concurrency, :queues, :kinds, :labels, CAST(:release AS text))
ON CONFLICT (id) DO NOTHING

-- ## beat
-- Renew the lease of a runner. No row: it was declared dead, and must stop.
UPDATE @runners SET beat_at = :now, expires_at = :lease_now + :lease, running = :running, draining = :draining
WHERE id = :id AND boot = :boot
RETURNING id

-- ## set_idle
-- Record whether a runner waits for work; only then it is notified of new jobs.
UPDATE @runners SET idle = :idle WHERE id = :id

-- ## retire_runner
-- Remove a runner; the sweep finds leases that it left behind.
DELETE FROM @runners WHERE id = :id

-- ## rescue_expired
-- Remove runners that did not renew their lease, or that ran before this machine was booted.
DELETE FROM @runners WHERE boot <> :boot OR expires_at < :lease_now - :grace RETURNING id, worker, host, beat_at

-- ## orphans
-- Return leases whose runner is not registered, with what the decision about their jobs needs.
SELECT l.job, l.epoch, l.runner, j.errors, j.crashes, j.losses AS interruptions, k.epoch AS advanced_in,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @checkpoints k ON k.job = l.job
WHERE NOT EXISTS (SELECT 1 FROM @runners r WHERE r.id = l.runner)
LIMIT :limit

-- ## leases_of
-- Return the leases of a runner, with what the decision about its jobs needs.
SELECT l.job, l.epoch, l.runner, j.errors, j.crashes, j.losses AS interruptions, k.epoch AS advanced_in,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @checkpoints k ON k.job = l.job
WHERE l.runner = :runner

-- ## take_leadership
-- Take or keep a leadership for a while. No row: another process has it. All processes use the same span, so a longer
-- one was taken before the clock was set back.
INSERT INTO @duties (name, holder, until) VALUES (:name, :holder, :lease_now + :span)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
WHERE @duties.holder = excluded.holder OR @duties.until < :lease_now OR @duties.until > excluded.until
RETURNING name

-- ## leave_leadership
-- Give up a leadership, so that the next leader need not wait.
DELETE FROM @duties WHERE name = :name AND holder = :holder

-- ## next_due
-- Return when the next scheduled job and the next gate are due, in microseconds from now; whether any job is held
-- before a gate; the store's clock; whether ends are noted that are not counted; whether families are steered; and
-- whether only some parts of a job may run at once.
SELECT
    (SELECT due_at - :now FROM @parked WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1),
    (SELECT due_at - :now FROM @gates WHERE due_at IS NOT NULL ORDER BY due_at LIMIT 1),
    (SELECT count(*) FROM (SELECT 1 FROM @parked WHERE gate IS NOT NULL LIMIT 1) AS held),
    :now,
    (SELECT count(*) FROM (SELECT 1 FROM @ends LIMIT 1) AS noted),
    (SELECT count(*) FROM (SELECT 1 FROM @joins WHERE walked IS NOT NULL LIMIT 1) AS walks),
    (SELECT count(*) FROM (SELECT 1 FROM @joins WHERE width IS NOT NULL AND open > 0 LIMIT 1) AS narrow)

-- ── a clock that was set back ──────────────────────────────────────────────────────────────────────

-- ## waits_begun_later
-- Return jobs that wait since a moment that is in the future: by how much, and whether they wait for a span (as retries
-- and the jitter of schedules do) and not for a moment.
SELECT p.job, p.since - :moment,
    p.place IS NOT NULL OR j.started_at IS NOT NULL OR coalesce(j.options LIKE '%"scheduled_at":%', false)
FROM @parked p JOIN @jobs j ON j.id = p.job
WHERE p.state = 'scheduled' AND p.since > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)
ORDER BY p.since DESC LIMIT :limit

-- ## move_waits
-- Move the beginning and end of waits to an earlier time.
-- rows: job uuid, begins bigint, ends bigint
UPDATE @jobs SET run_at = run_at - r.ends, created_at = CASE WHEN created_at > :moment THEN :moment ELSE created_at END
FROM {rows} WHERE @jobs.id = r.job AND EXISTS (SELECT 1 FROM @parked p WHERE p.job = r.job);
UPDATE @parked SET due_at = due_at - r.ends, since = since - r.begins FROM {rows} WHERE @parked.job = r.job

-- ## keys_taken_later
-- Return temporary keys that were taken at a moment that is in the future: their jobs, and for how long they count.
SELECT k.tenant, k.scope, k.key, k.job, k.expires_at - j.created_at
FROM @keys k JOIN @jobs j ON j.id = k.job
WHERE k.expires_at > :moment AND j.created_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)
ORDER BY k.expires_at DESC LIMIT :limit

-- ## move_keys
-- Let keys, and their jobs, begin at a moment.
-- rows: tenant text, scope text, key text, job uuid, span bigint
UPDATE @keys SET expires_at = :moment + r.span
FROM {rows} WHERE @keys.tenant = r.tenant AND @keys.scope = r.scope AND @keys.key = r.key AND @keys.job = r.job;
UPDATE @jobs SET created_at = :moment FROM {rows} WHERE @jobs.id = r.job AND created_at > :moment

-- ## lined_up_page
-- Return ready jobs after a position, and whether each was created, or due, at a moment that is in the future.
SELECT page.lane, page.seq, page.job,
    j.created_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)
        OR coalesce(j.run_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint), false)
FROM (SELECT lane, seq, job FROM @ready WHERE (lane, seq) > (:lane, :seq) ORDER BY lane, seq LIMIT :limit) AS page
JOIN @jobs j ON j.id = page.job

-- ## move_lined_up
-- Let jobs begin to wait at a moment.
-- rows: lane int, seq bigint, job uuid
UPDATE @jobs SET created_at = CASE WHEN created_at > :moment THEN :moment ELSE created_at END,
    run_at = CASE WHEN run_at > :moment THEN :moment ELSE run_at END
FROM {rows}
WHERE @jobs.id = r.job AND EXISTS (SELECT 1 FROM @ready w WHERE w.lane = r.lane AND w.seq = r.seq AND w.job = r.job)

-- ## move_checkpoints
-- Move checkpoints out of the future.
UPDATE @checkpoints SET
    updated_at = CASE WHEN updated_at > :moment THEN :moment ELSE updated_at END,
    advanced_at = CASE WHEN advanced_at > :moment THEN :moment ELSE advanced_at END
WHERE updated_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint) OR advanced_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)

-- ## move_beats
-- Move heartbeats out of the future and keep the length of leases. Leases that count from the boot of a machine do not
-- depend on the clock.
UPDATE @runners SET beat_at = :moment, expires_at = CASE boot WHEN '' THEN expires_at - beat_at + :moment ELSE expires_at END
WHERE beat_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)

-- ## is_set_back
-- Return whether something happened at a moment that is in the future.
SELECT EXISTS (SELECT 1 FROM @parked WHERE state = 'scheduled' AND since > CAST(:moment AS bigint) + CAST(:tolerance AS bigint))
    OR EXISTS (SELECT 1 FROM @runners WHERE beat_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint))
    OR (SELECT created_at > CAST(:moment AS bigint) + CAST(:tolerance AS bigint) FROM @jobs ORDER BY id DESC LIMIT 1)

-- ── schedules ──────────────────────────────────────────────────────────────────────────────────────

-- ## schedules
-- Return all schedules.
SELECT name, fingerprint, timing, policies, call, paused AS is_paused, through AS handled_until, seen_at, last_at,
    last_job, skipped, :now AS now
FROM @schedules ORDER BY name

-- ## declare_schedules
-- Write what code declares. If the times differ from before, they count from now on, unless the clock was set back,
-- which is handled first. Only workers call this.
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
-- Record that a worker attends to schedules with these declarations.
-- rows: name text, fingerprint text
UPDATE @schedules SET seen_at = :now
FROM {rows} WHERE @schedules.name = r.name AND @schedules.fingerprint = r.fingerprint

-- ## pass_schedule
-- Handle the times of a schedule up to a moment. No row: another process did, or it was paused or changed meanwhile.
UPDATE @schedules SET through = :handled_until
WHERE name = :name AND fingerprint = :fingerprint AND through = :known AND NOT paused
RETURNING open_jobs

-- ## hold_schedule
-- Lock a schedule until the end of this transaction.
UPDATE @schedules SET name = name WHERE name = :name RETURNING open_jobs

-- ## take_fires
-- Reserve times of a schedule; return those that it has not run for yet.
-- rows: due_at bigint
INSERT INTO @fires (schedule, due_at, fired_at)
SELECT :name, r.due_at, :now FROM {rows} WHERE true
ON CONFLICT (schedule, due_at) DO NOTHING
RETURNING due_at

-- ## set_fires_free
-- Let times come again that ran by a clock that was ahead.
UPDATE @fires SET fired_at = 0 WHERE schedule = :name AND due_at > :after

-- ## take_fires_again
-- Reserve those of the times that come again.
-- rows: time bigint
UPDATE @fires SET fired_at = :now FROM {rows} WHERE schedule = :name AND due_at = r.time AND fired_at = 0
RETURNING due_at

-- ## forget_fires
-- Forget times to which no clock is set back.
DELETE FROM @fires WHERE schedule = :name AND due_at < :before AND fired_at < :before

-- ## forget_schedule
-- Forget a schedule. No row: there is none, or it was seen within a span of time and a worker is alive.
DELETE FROM @schedules WHERE name = :name AND NOT (
    seen_at > :now - CAST(:span AS bigint)
    AND EXISTS (SELECT 1 FROM @runners WHERE boot = :boot AND expires_at > :lease_now))
RETURNING name

-- ## forget_all_fires
-- Forget all times that a schedule ran for.
DELETE FROM @fires WHERE schedule = :name

-- ## note_runs
-- Write the result of the times of a schedule.
UPDATE @schedules SET
    last_at = coalesce(:last_at, last_at), last_job = coalesce(:last_job, last_job), open_jobs = :open_jobs,
    skipped = skipped + :skipped
WHERE name = :name

-- ## pause_schedule
-- Pause a schedule.
UPDATE @schedules SET paused = true WHERE name = :name RETURNING name

-- ## resume_schedule
-- Resume a paused schedule; the times of the pause are skipped. If the clock was set back, `through` stays ahead of it.
UPDATE @schedules SET through = CASE WHEN paused AND through < :now THEN :now ELSE through END, paused = false
WHERE name = :name RETURNING name

-- ── dead letters ───────────────────────────────────────────────────────────────────────────────────

-- ## new_dead_letters
-- Return the newest dead letters of a span of time, newest first, and the store's clock: one step of an index for each.
SELECT newest.since, newest.job, lanes.queue, lanes.kind, :now
FROM (
    SELECT job, since FROM @parked
    WHERE state = 'failed' AND since > :now - :within AND since <= :now ORDER BY since DESC LIMIT :limit
) AS newest CROSS JOIN @jobs j CROSS JOIN @lanes lanes
WHERE j.id = newest.job AND lanes.id = j.lane
ORDER BY newest.since DESC

-- ## errors_of
-- Return the beginnings of jobs' errors, which have the class; the rest may be long.
-- rows: job uuid
SELECT j.id, substr(j.error, 1, 300) FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## alarms
-- Return up to when dead letters of a queue were reported.
-- rows: name text, subject text
SELECT a.name, a.subject, a.through FROM {rows} CROSS JOIN @alarms a WHERE a.name = r.name AND a.subject = r.subject

-- ## raise_alarm
-- Record that dead letters after a moment are reported. No row: another process reported them meanwhile. Reports made
-- under a clock that was set back since do not count.
INSERT INTO @alarms (name, subject, through) VALUES (:name, :subject, :through)
ON CONFLICT (name, subject) DO UPDATE SET through = excluded.through
WHERE @alarms.through <= :after OR @alarms.through > :now
RETURNING through

-- ── conditions ─────────────────────────────────────────────────────────────────────────────────────

-- ## open_conditions
-- Return of which subjects observers were notified that are not over, and since when; '' is the observer itself.
-- rows: name text
SELECT a.name, a.subject, a.since FROM {rows} CROSS JOIN @alarms a WHERE a.name = r.name AND a.since IS NOT NULL

-- ## queue_waits
-- Return since when the first job of each lane waits: one step of an index for each.
SELECT head.queue, head.job, (SELECT coalesce(run_at, created_at) FROM @jobs WHERE id = head.job) AS since, :now AS now
FROM (
    SELECT lanes.queue, (SELECT job FROM @ready WHERE lane = lanes.id ORDER BY seq LIMIT 1) AS job FROM @lanes lanes
) AS head WHERE head.job IS NOT NULL

-- ## running_jobs
-- Return the jobs that run, with how far they are.
SELECT j.id, 'processing' AS state, lanes.kind, lanes.queue, j.tenant, j.created_at, k.done, k.total, k.pace,
    CASE WHEN l.claimed_at > k.updated_at THEN l.claimed_at ELSE k.updated_at END AS updated_at, :now AS now
FROM @leases l
JOIN @jobs j ON j.id = l.job
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @checkpoints k ON k.job = l.job

-- ## idle_jobs
-- Return those of some jobs that do not run, with their states.
-- rows: job uuid
SELECT j.id, j.state, lanes.kind, lanes.queue, j.tenant, j.created_at, k.done, k.total, k.pace, k.updated_at,
    :now AS now
FROM {rows} CROSS JOIN @jobs j
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @checkpoints k ON k.job = j.id
WHERE j.id = r.job AND NOT EXISTS (SELECT 1 FROM @leases l WHERE l.job = j.id)

-- ## begin_condition
-- Record that a condition began. No row: it was reported before and is not over, or a later look found otherwise. Looks
-- under a clock that was set back since do not count as later.
INSERT INTO @alarms (name, subject, through, since) VALUES (:name, :subject, :looked, :since)
ON CONFLICT (name, subject) DO UPDATE SET through = excluded.through, since = excluded.since
WHERE @alarms.since IS NULL AND (@alarms.through < :looked OR @alarms.through > :now)
RETURNING through

-- ## end_condition
-- Record that a condition is over. No row: another process did, or a later look found otherwise.
UPDATE @alarms SET through = :looked, since = NULL
WHERE name = :name AND subject = :subject AND since IS NOT NULL AND (through < :looked OR through > :now)
RETURNING through

-- ## note_incident
-- Note what went wrong.
INSERT INTO @incidents (subject, name, at, detail) VALUES (:subject, :name, :now, :detail)
ON CONFLICT (subject) DO NOTHING

-- ## untold_incidents
-- Return incidents of which an observer was not notified, from the oldest.
SELECT i.name, i.subject, i.at, i.detail FROM @incidents i
WHERE i.name = :incident AND NOT EXISTS (SELECT 1 FROM @alarms a WHERE a.name = :name AND a.subject = i.subject)
ORDER BY i.at LIMIT :limit

-- ## take_incident
-- Record that an observer is notified of an incident. No row: it was notified before.
INSERT INTO @alarms (name, subject, through) VALUES (:name, :subject, :now)
ON CONFLICT (name, subject) DO NOTHING
RETURNING through

-- ## enter_observer
-- Enter an observer of conditions. No row: it is known.
INSERT INTO @alarms (name, subject, through, since) VALUES (:name, '', :now, :now)
ON CONFLICT (name, subject) DO NOTHING
RETURNING through

-- ## pass_incidents
-- Let a new observer pass over what was before it.
INSERT INTO @alarms (name, subject, through)
SELECT :name, subject, :now FROM @incidents WHERE name = :incident
ON CONFLICT (name, subject) DO NOTHING

-- ## leases_held
-- Return how many jobs a runner holds.
SELECT count(*) FROM @leases WHERE runner = :runner

-- ── reading ────────────────────────────────────────────────────────────────────────────────────────

-- ## statuses
-- Select jobs; other blocks add the condition.
SELECT j.id, CASE WHEN l.job IS NULL THEN j.state ELSE 'processing' END AS state,
    CASE WHEN j.state <> 'completed' THEN j.reason END AS reason,
    lanes.kind, lanes.queue, lanes.priority, j.tenant, j.tags, j.errors, j.crashes, j.losses AS interruptions,
    j.options, c.action AS request, j.error, r.worker, j.created_at, j.run_at,
    coalesce(j.started_at, l.claimed_at) AS started_at, j.finished_at, k.done, k.total, k.pace, k.note,
    CASE WHEN l.claimed_at > k.updated_at THEN l.claimed_at ELSE k.updated_at END AS updated_at, :now AS now,
    CASE WHEN j.state = 'completed' THEN j.reason END AS completed_by
FROM @jobs j
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @leases l ON l.job = j.id
LEFT JOIN @runners r ON r.id = l.runner
LEFT JOIN @controls c ON c.job = l.job
LEFT JOIN @checkpoints k ON k.job = j.id

-- ## job
-- Return a job.
{statuses}
WHERE j.id = :job

-- ## parts_of
-- Return the parts of a job, in the order in which they were made.
{statuses}
WHERE j.parent = :parent
ORDER BY j.id

-- ## options_of_parts
-- Return the first children of a job with their states and options, in the order in which they were made.
SELECT id, state, options FROM @jobs WHERE parent = :parent ORDER BY id LIMIT :limit

-- ## loops_of_others
-- Return the states of the other parts of a job, and those of their loops.
SELECT j.state, k.cursors FROM @jobs j LEFT JOIN @checkpoints k ON k.job = j.id
WHERE j.parent = (SELECT parent FROM @jobs WHERE id = :job) AND j.id <> :job

-- ## family_of_part
-- Return the job that a part belongs to, and how it is with its parts.
SELECT job, open, total, width FROM @joins WHERE job = (SELECT parent FROM @jobs WHERE id = :job) AND asked IS NULL

-- ## parts_left
-- Return the parts of a job that are not over: whether each runs, and how far it is.
SELECT j.id AS job, CASE WHEN l.job IS NULL THEN 0 ELSE 1 END AS is_running, k.done, k.total, k.pace
FROM @jobs j LEFT JOIN @leases l ON l.job = j.id LEFT JOIN @checkpoints k ON k.job = j.id
WHERE j.parent = :parent AND j.state NOT IN ('completed', 'failed', 'cancelled')
ORDER BY j.id

-- ## set_width
-- Write how many parts of a job may run at once; also before it is cut.
INSERT INTO @joins (job, width) VALUES (:job, CAST(:width AS integer))
ON CONFLICT (job) DO UPDATE SET width = excluded.width

-- ## parts_at_work
-- Return the parts of a job that are neither over nor paused: whether each waits for room, and whether it runs.
SELECT j.id AS job,
    CASE WHEN l.job IS NULL AND j.state = 'blocked' AND j.reason = :reason THEN 1 ELSE 0 END AS is_held,
    CASE WHEN l.job IS NULL THEN 0 ELSE 1 END AS is_running
FROM @jobs j LEFT JOIN @leases l ON l.job = j.id
WHERE j.parent = :parent AND j.state NOT IN ('completed', 'failed', 'cancelled', 'paused')
ORDER BY j.id

-- ## is_crowded
-- Return a row if as many other parts of the same job as may run at once have a lease.
SELECT 1 FROM @joins k
WHERE k.job = (SELECT parent FROM @jobs WHERE id = :job) AND k.width IS NOT NULL AND k.width <= (
    SELECT count(*) FROM @jobs j JOIN @leases l ON l.job = j.id WHERE j.parent = k.job AND j.id <> :job)

-- ## narrow_families
-- Return jobs after a given one of which only some parts may run at once, as long as parts are not over.
SELECT job FROM @joins WHERE width IS NOT NULL AND open > 0 AND job > :after ORDER BY job LIMIT :limit

-- ## ask_to_leave
-- Ask the runner of a job to let others have its place, unless something else is requested of it.
INSERT INTO @controls (job, runner, action, at) SELECT job, runner, 'yield', :now FROM @leases WHERE job = :job
ON CONFLICT (job) DO NOTHING

-- ## results_of_parts
-- Return how parts of a job ended, in the order in which they were made.
SELECT j.id AS job, j.state, j.options, j.result, j.reason FROM @jobs j
WHERE j.parent = :parent AND j.id > :after
ORDER BY j.id LIMIT :limit

-- ## run_after_children
-- Let a job whose children were just stored run again when they are over.
UPDATE @joins SET phase = 'run' WHERE job = :job

-- ## outcome
-- Return how a job ended, if it did.
SELECT j.state, j.result, j.error, CASE WHEN j.state <> 'completed' THEN j.reason END AS reason, lanes.kind
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## outputs_of
-- Return the results of jobs, for jobs that take them.
-- rows: job uuid
SELECT j.id, j.state, j.result, j.options FROM @jobs j WHERE j.id IN (SELECT r.job FROM {rows})

-- ## page_of_outputs
-- Return the results of children of a job, in the order of their ids: so many, or fewer if they are long.
SELECT id, state, result, options FROM (
    SELECT id, state, result, options,
        sum(coalesce(length(result), 0)) OVER (ORDER BY id) - coalesce(length(result), 0) AS before
    FROM (
        SELECT id, state, result, options FROM @jobs WHERE parent = :parent AND id > :after ORDER BY id LIMIT :limit
    ) AS few
) AS page
WHERE before < :most ORDER BY id

-- ## outputs_of_children
-- Return the results of children of a job, in the order of their ids.
SELECT id, state, result, options FROM @jobs WHERE parent = :parent AND id > :after ORDER BY id LIMIT :limit

-- ## over
-- Return those of some jobs that are over, or are not stored.
-- rows: job uuid
SELECT r.job FROM {rows} LEFT JOIN @jobs j ON j.id = r.job
WHERE j.id IS NULL OR j.state IN ('completed', 'failed', 'cancelled')

-- ## jobs_by_id
-- Return jobs by their ids.
-- rows: job uuid
{statuses}
WHERE j.id IN (SELECT r.job FROM {rows})

-- ## arguments
-- Return the arguments of a job.
SELECT arguments FROM @jobs WHERE id = :job

-- ## events
-- Return the events of a job, in order.
SELECT version, at, name, detail FROM @events WHERE job = :job ORDER BY version

-- ## timeline
-- Return what the row of a job, its lease and its events tell of its life: a row for each event, and one if there is
-- none. One statement, so that all is of one moment. Long details at numbers that are not asked for are left out.
SELECT j.version, j.state, j.created_at, j.run_at, j.started_at, j.finished_at,
    CASE WHEN j.state = 'completed' THEN j.reason END AS completed_by, j.options, l.claimed_at, r.worker,
    e.version AS number, e.at, e.name,
    CASE WHEN e.version >= :after OR e.name IN ('retried', 'paused', 'cancelled') THEN e.detail END AS detail
FROM @jobs j
LEFT JOIN @leases l ON l.job = j.id
LEFT JOIN @runners r ON r.id = l.runner
LEFT JOIN @events e ON e.job = j.id
WHERE j.id = :job
ORDER BY e.version

-- ## pulse
-- Return what changes with every event of a job, and with every checkpoint.
SELECT j.version, l.epoch, k.updated_at AS saved_at
FROM @jobs j
LEFT JOIN @leases l ON l.job = j.id
LEFT JOIN @checkpoints k ON k.job = j.id
WHERE j.id = :job

-- ## workers
-- Return the registered runners; the last column is the time since the last heartbeat, in microseconds.
SELECT id, worker, host, pid, version, started_at, beat_at, idle, draining, running, concurrency,
    queues, kinds, :now - beat_at AS silent_for
FROM @runners ORDER BY worker, started_at, id

-- ## what_runners_serve
-- Return what each registered runner serves, how busy it was at its last heartbeat, and whether its lease holds.
SELECT id, worker, queues, kinds, labels, running, concurrency, boot = :boot AND expires_at > :lease_now AS is_alive,
    draining AS is_draining
FROM @runners ORDER BY worker, id

-- ## runners_of
-- Return the runners of a worker and those of a machine, and whether their leases hold.
SELECT worker, host, pid, boot = :boot AND expires_at > :lease_now AS is_alive, draining AS is_draining
FROM @runners WHERE worker = :worker OR host = :host

-- ## held_by_runners
-- Return how many jobs each runner holds.
SELECT runner, count(*) FROM @leases GROUP BY runner

-- ## where_it_waits
-- Return where a job is: its lane and position; since when, until when and before which gate it is parked, and its
-- order there; its position in a sequence; what it listens to; and its last event.
SELECT j.lane, j.seq, lanes.solo AS is_suspect, lanes.tenant, p.since, p.due_at, p.gate, p.rank, p.place,
    s.gate AS sequence, s.place AS position,
    (SELECT l.topic FROM @listeners l WHERE l.job = j.id AND l.epoch = j.epoch LIMIT 1) AS topic,
    (SELECT e.name FROM @events e WHERE e.job = j.id ORDER BY e.version DESC LIMIT 1) AS event
FROM @jobs j
JOIN @lanes lanes ON lanes.id = j.lane
LEFT JOIN @parked p ON p.job = j.id
LEFT JOIN @sequences s ON s.job = j.id
WHERE j.id = :job
LIMIT 1

-- ## holding
-- Return the lease on a job, its runner if that is registered, and how many jobs that runner holds, up to a limit.
SELECT l.claimed_at AS since, r.worker, r.host, r.pid, r.concurrency,
    CASE WHEN r.boot = :boot THEN r.expires_at - :lease_now END AS lease_left, :now - r.beat_at AS silent_for,
    (SELECT count(*) FROM (SELECT 1 FROM @leases other WHERE other.runner = l.runner LIMIT :limit) AS counted) AS held
FROM @leases l LEFT JOIN @runners r ON r.id = l.runner
WHERE l.job = :job

-- ## jobs_inside
-- Return some jobs that hold a slot of a gate, without one of them.
SELECT taken.job FROM @taken taken WHERE taken.gate = :gate AND taken.job <> :job LIMIT :limit

-- ## held_ahead
-- Return how many jobs are held before a gate ahead of a position, up to a limit.
SELECT count(*) FROM (
    SELECT 1 FROM @parked p
    WHERE p.gate = :gate AND (p.rank, p.place) < (CAST(:rank AS integer), CAST(:place AS bigint)) AND p.job <> :job
    LIMIT :limit
) AS counted

-- ## ahead_in_sequence
-- Return jobs that wait in a sequence ahead of a position, the first one first, without those that hold its slot.
SELECT s.job FROM @sequences s JOIN @jobs j ON j.id = s.job
WHERE s.gate = :gate AND s.place < :place AND j.state IN ('pending', 'blocked') AND NOT EXISTS (
    SELECT 1 FROM @slots taken WHERE taken.gate = s.gate AND taken.job = s.job)
ORDER BY s.place LIMIT :limit

-- ## lanes_of_queue
-- Return the lanes of a queue, highest priority first.
SELECT id, kind, priority, solo, tenant FROM @lanes WHERE queue = :queue ORDER BY priority DESC, id LIMIT :limit

-- ## count_between
-- Return how many jobs wait between two positions of some lanes, each counted up to a limit.
-- rows: lane int, after bigint, before bigint
SELECT CAST(coalesce(sum((SELECT count(*) FROM (
    SELECT 1 FROM @ready ready WHERE ready.lane = r.lane AND ready.seq > r.after AND ready.seq < r.before LIMIT :limit
) AS counted)), 0) AS bigint) FROM {rows}

-- ## first_of_lane
-- Return the first job of a lane.
SELECT job FROM @ready WHERE lane = :lane ORDER BY seq LIMIT 1

-- ## needs_of
-- Return some of what a job needs and does not have, with the states of those jobs.
SELECT e.job, e.needs, j.state FROM @edges e JOIN @jobs j ON j.id = e.job
WHERE e.dependent = :job AND NOT e.met ORDER BY e.job LIMIT :limit

-- ## recent_starts
-- Return when jobs of a queue started that were enqueued shortly before a given one, within a span until now.
SELECT earlier.started_at
FROM (SELECT id, lane, started_at FROM @jobs WHERE id < :before ORDER BY id DESC LIMIT :limit) AS earlier
JOIN @lanes lanes ON lanes.id = earlier.lane
WHERE lanes.queue = :queue AND earlier.started_at > :now - CAST(:span AS bigint)
ORDER BY earlier.started_at

-- ## depths
-- Return how many jobs wait in each lane.
SELECT lanes.queue, lanes.kind, lanes.priority, count(*) AS waiting, min(ready.seq) AS first
FROM @ready ready JOIN @lanes lanes ON lanes.id = ready.lane
GROUP BY lanes.queue, lanes.kind, lanes.priority
ORDER BY lanes.queue, lanes.kind, lanes.priority

-- ## parked_counts
-- Return how many jobs are parked, by state.
SELECT state, count(*) FROM @parked GROUP BY state ORDER BY state

-- ## count_unfit
-- Return how many jobs are parked because their arguments do not fit the workers' code.
SELECT count(*) FROM (
    SELECT 1 FROM @parked p JOIN @jobs j ON j.id = p.job
    WHERE p.state = 'blocked' AND p.gate IS NULL AND substr(j.reason, 1, 6) = 'unfit:' LIMIT :limit
) AS unfit

-- ## running_count
-- Return how many jobs have a lease.
SELECT count(*) FROM @leases

-- ── finding ────────────────────────────────────────────────────────────────────────────────────────
-- A statement that finds jobs is composed of a frame, a way that gives jobs in one order, and conditions on each of
-- these jobs; `store/operations/finding` says which. A way begins beyond :near and ends at :far; the marks for its
-- direction are explained in `store/queries`.

-- ## jobs_found
-- part
-- by key
-- Return the jobs of a way that meet the conditions, each with its place on the way; the last job that was looked at,
-- and how many were. If no job meets them, there is one row without a job.
WITH few AS MATERIALIZED ({way}),
matching AS MATERIALIZED (
    SELECT few.id, few.at FROM few CROSS JOIN @jobs j
    WHERE j.id = few.id AND {conditions}
    ORDER BY few.at {order}, few.id {order}
    LIMIT :limit
),
last AS MATERIALIZED (SELECT few.id, few.at FROM few ORDER BY few.at {opposite}, few.id {opposite} LIMIT 1)
SELECT matching.id AS job, matching.at, last.id AS last, last.at AS last_at, (SELECT count(*) FROM few) AS looked_at
FROM (SELECT 1 AS one) AS one
LEFT JOIN matching ON true
LEFT JOIN last ON true
ORDER BY matching.at {order}, matching.id {order}

-- ## jobs_counted
-- part
-- by key
-- Return how many jobs of a way meet the conditions, the last job that was looked at, and how many were.
WITH few AS MATERIALIZED ({way}),
last AS MATERIALIZED (SELECT few.id, few.at FROM few ORDER BY few.at {opposite}, few.id {opposite} LIMIT 1)
SELECT (SELECT count(*) FROM few CROSS JOIN @jobs j WHERE j.id = few.id AND {conditions}) AS matching,
    last.id AS last, last.at AS last_at, (SELECT count(*) FROM few) AS looked_at
FROM (SELECT 1 AS one) AS one
LEFT JOIN last ON true

-- ## by_range
-- part
-- Give jobs in the order of their ids.
SELECT id, CAST(0 AS bigint) AS at FROM @jobs
WHERE id {beyond} :near AND id {within} :far
ORDER BY id {order}
LIMIT :window

-- ## by_ids
-- part
-- Give jobs by their ids.
-- rows: job uuid
SELECT j.id, CAST(0 AS bigint) AS at FROM {rows} CROSS JOIN @jobs j
WHERE j.id = r.job AND j.id {beyond} :near AND j.id {within} :far
ORDER BY j.id {order}
LIMIT :window

-- ## by_lease
-- part
-- Give jobs with a lease.
SELECT job AS id, CAST(0 AS bigint) AS at FROM @leases
WHERE job {beyond} :near AND job {within} :far
ORDER BY job {order}
LIMIT :window

-- ## by_parking
-- part
-- Give jobs that are parked in a state, in the order in which they were parked.
SELECT job AS id, since AS at FROM @parked
WHERE state = :state AND since {until} :near_at AND since {within} :far_at
    AND (since {beyond} :near_at OR job {beyond} :near)
ORDER BY since {order}, job {order}
LIMIT :window

-- ## by_line
-- part
-- Give jobs that may run now, in the order of their lines; as `by_lane`.
-- rows: lane int
WITH ends AS MATERIALIZED (
    SELECT (
        SELECT w.seq FROM @ready w WHERE w.lane = r.lane AND w.seq {until} :near_at AND w.seq {within} :far_at
            AND (w.seq {beyond} :near_at OR w.job {beyond} :near)
        ORDER BY w.seq {order} LIMIT 1 OFFSET :share
    ) AS seq FROM {rows}
),
nearest AS MATERIALIZED (
    SELECT (SELECT seq FROM ends WHERE seq IS NOT NULL ORDER BY seq {order} LIMIT 1) AS seq
),
of_lanes AS MATERIALIZED (
    SELECT w.job AS id, w.seq AS at FROM nearest CROSS JOIN {rows} CROSS JOIN @ready w
    WHERE w.lane = r.lane AND w.seq {until} :near_at AND w.seq {within} coalesce(nearest.seq, :far_at)
        AND (w.seq {beyond} :near_at OR w.job {beyond} :near)
)
SELECT id, at FROM of_lanes ORDER BY at {order}, id {order} LIMIT :window

-- ## all_lanes
-- Return all lanes.
SELECT id, queue, kind, priority FROM @lanes ORDER BY id

-- ── conditions on a job that was found ─────────────────────────────────────────────────────────────

-- ## id_part
-- part
-- The id begins or ends like this.
substr(CAST(j.id AS text), 1, length(CAST(:value AS text))) = CAST(:value AS text)
OR substr(CAST(j.id AS text), 37 - length(CAST(:value AS text))) = CAST(:value AS text)

-- ## parent_part
-- part
-- The id of the parent begins or ends like this.
substr(CAST(j.parent AS text), 1, length(CAST(:value AS text))) = CAST(:value AS text)
OR substr(CAST(j.parent AS text), 37 - length(CAST(:value AS text))) = CAST(:value AS text)

-- ## enqueued_after
-- part
-- The id is greater.
j.id > :value

-- ## enqueued_before
-- part
-- The id is smaller.
j.id < :value

-- ## state_is
-- part
-- The job is in a state, and has no lease.
j.state = CAST(:value AS text) AND NOT EXISTS (SELECT 1 FROM @leases l WHERE l.job = j.id)

-- ## state_is_over
-- part
-- The job is completed or cancelled, so it has no lease.
j.state = CAST(:value AS text)

-- ## state_is_processing
-- part
-- The job has a lease.
EXISTS (SELECT 1 FROM @leases l WHERE l.job = j.id)

-- ## kind_is
-- part
-- The kind is this.
(SELECT lanes.kind FROM @lanes lanes WHERE lanes.id = j.lane) = CAST(:value AS text)

-- ## kind_begins
-- part
-- The kind begins like this.
(SELECT substr(lanes.kind, 1, length(CAST(:value AS text))) FROM @lanes lanes WHERE lanes.id = j.lane)
    = CAST(:value AS text)

-- ## queue_is
-- part
-- The queue is this.
(SELECT lanes.queue FROM @lanes lanes WHERE lanes.id = j.lane) = CAST(:value AS text)

-- ## queue_begins
-- part
-- The queue begins like this.
(SELECT substr(lanes.queue, 1, length(CAST(:value AS text))) FROM @lanes lanes WHERE lanes.id = j.lane)
    = CAST(:value AS text)

-- ## priority_is
-- part
-- The priority is this.
(SELECT lanes.priority FROM @lanes lanes WHERE lanes.id = j.lane) = CAST(:value AS bigint)

-- ## priority_above
-- part
-- The priority is higher.
(SELECT lanes.priority FROM @lanes lanes WHERE lanes.id = j.lane) > CAST(:value AS bigint)

-- ## priority_below
-- part
-- The priority is lower.
(SELECT lanes.priority FROM @lanes lanes WHERE lanes.id = j.lane) < CAST(:value AS bigint)

-- ## tenant_is
-- part
-- The tenant is this.
j.tenant = CAST(:value AS text)

-- ## tenant_begins
-- part
-- The tenant begins like this.
substr(j.tenant, 1, length(CAST(:value AS text))) = CAST(:value AS text)

-- ## tag_is
-- part
-- The job has a tag. Tags are JSON; the value is the tag with its quotes, or with the first one for a beginning.
j.tags <> replace(replace(j.tags, '[' || CAST(:value AS text), ''), ',' || CAST(:value AS text), '')

-- ## older
-- part
-- The job ended so long ago; one that has not ended was enqueued so long ago.
coalesce(j.finished_at, j.created_at) <= :now - CAST(:value AS bigint)

-- ## newer
-- part
-- The job ended, or was enqueued, less than so long ago.
coalesce(j.finished_at, j.created_at) > :now - CAST(:value AS bigint)

-- ## took_above
-- part
-- The job ran longer, from its first start to its end.
j.finished_at - j.started_at > CAST(:value AS bigint)

-- ## took_below
-- part
-- The job ran for less time.
j.finished_at - j.started_at < CAST(:value AS bigint)

-- ## waited
-- part
-- How long a job could have started before it did, or has waited until now. A time after its start is that of a retry.
coalesce(j.started_at, (SELECT l.claimed_at FROM @leases l WHERE l.job = j.id), j.finished_at, :now)
    - CASE WHEN j.run_at > j.created_at AND (j.started_at IS NULL OR j.run_at <= j.started_at) THEN j.run_at
        ELSE j.created_at END

-- ## waited_above
-- part
-- The job waited longer for its first start.
({waited}) > CAST(:value AS bigint)

-- ## waited_below
-- part
-- The job waited for less time.
({waited}) < CAST(:value AS bigint)

-- ## attempt_of
-- part
-- The number of the attempt, as the status of a job says it.
CASE WHEN j.state <> 'failed' THEN j.errors + 1 WHEN j.errors > 1 THEN j.errors ELSE 1 END

-- ## attempt_is
-- part
-- The number of the attempt is this.
({attempt_of}) = CAST(:value AS bigint)

-- ## attempt_above
-- part
-- The number of the attempt is higher.
({attempt_of}) > CAST(:value AS bigint)

-- ## attempt_below
-- part
-- The number of the attempt is lower.
({attempt_of}) < CAST(:value AS bigint)

-- ## error_is
-- part
-- The error is of a class. Errors are JSON, and the class is at a fixed place.
substr(j.error, 1, length(CAST(:value AS text)) + 10) = '{"type":"' || CAST(:value AS text) || '"'
OR j.error <> replace(j.error, '.' || CAST(:value AS text) || '","message":', '')

-- ## error_begins
-- part
-- The class of the error, or a part of its name after a dot, begins like this.
substr(j.error, 1, length(CAST(:value AS text)) + 9) = '{"type":"' || CAST(:value AS text)
OR {error_type} <> replace({error_type}, '.' || CAST(:value AS text), '')

-- ## cause_is
-- part
-- The job is a dead letter of a group of errors.
EXISTS (SELECT 1 FROM @parked p WHERE p.job = j.id AND p.cause = CAST(:value AS text))

-- ## reason_begins
-- part
-- The reason begins like this. That of a completed job is its worker.
j.state <> 'completed' AND lower(substr(j.reason, 1, length(CAST(:value AS text)))) = CAST(:value AS text)

-- ## schedule_is
-- part
-- The job is one of a schedule.
{schedule_of} = CAST(:value AS text)

-- ## schedule_begins
-- part
-- The job is one of a schedule whose name begins like this.
substr({schedule_of}, 1, length(CAST(:value AS text))) = CAST(:value AS text)

-- ## metadata_is
-- part
-- An entry of the metadata is this, as text.
({metadata}) = CAST(:value AS text)

-- ## metadata_begins
-- part
-- An entry of the metadata begins like this, as text.
substr(({metadata}), 1, length(CAST(:value AS text))) = CAST(:value AS text)

-- ## metadata_above
-- part
-- An entry of the metadata is a number that is greater.
({metadata_number}) > CAST(CAST(:value AS text) AS numeric)

-- ## metadata_below
-- part
-- An entry of the metadata is a number that is smaller.
({metadata_number}) < CAST(CAST(:value AS text) AS numeric)

-- ## argument_is
-- part
-- An argument is this, as text.
({argument}) = CAST(:value AS text)

-- ## argument_begins
-- part
-- An argument begins like this, as text.
substr(({argument}), 1, length(CAST(:value AS text))) = CAST(:value AS text)

-- ## argument_above
-- part
-- An argument is a number that is greater.
({argument_number}) > CAST(CAST(:value AS text) AS numeric)

-- ## argument_below
-- part
-- An argument is a number that is smaller.
({argument_number}) < CAST(CAST(:value AS text) AS numeric)

-- ── retention ──────────────────────────────────────────────────────────────────────────────────────

-- ## fact
-- Return one fact about the store.
SELECT value FROM @meta WHERE name = :name

-- ## keeps
-- Return what code says of retention, for its application, kinds and queues.
SELECT scope, name, words FROM @keeps

-- ## declare_keeps
-- Write what code says of retention.
-- rows: scope text, name text, words text
INSERT INTO @keeps (scope, name, words, said_at) SELECT r.scope, r.name, r.words, :now FROM {rows} WHERE true
ON CONFLICT (scope, name) DO UPDATE SET words = excluded.words, said_at = excluded.said_at

-- ## changed_queues
-- Return the live settings of queues, and when they were last changed.
SELECT name, settings, changed_at FROM @queues

-- ## oldest_job
-- Return the oldest job.
SELECT id FROM @jobs ORDER BY id LIMIT 1

-- ## old_jobs
-- Return the next jobs between two ids, with what their retention depends on.
SELECT j.id, lanes.queue, lanes.kind, j.state, j.finished_at, j.result IS NOT NULL AND j.result <> :gone AS has_result,
    EXISTS (SELECT 1 FROM @logs l WHERE l.job = j.id) AS has_logs
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id > :after AND j.id < :before
ORDER BY j.id
LIMIT :limit

-- ## forget_belongings
-- Remove what belongs to jobs between two ids that no longer exist. Tables that a job over long ago is never in, and
-- keys, are not among them.
DELETE FROM @events WHERE job >= :first AND job <= :last AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @events.job);
DELETE FROM @parked WHERE job >= :first AND job <= :last AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @parked.job);
DELETE FROM @checkpoints WHERE job >= :first AND job <= :last
    AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @checkpoints.job);
DELETE FROM @bad_items WHERE job >= :first AND job <= :last
    AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @bad_items.job);
DELETE FROM @steps WHERE job >= :first AND job <= :last AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @steps.job);
DELETE FROM @listeners WHERE job >= :first AND job <= :last
    AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @listeners.job);
DELETE FROM @logs WHERE job >= :first AND job <= :last AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @logs.job);
DELETE FROM @slots WHERE job >= :first AND job <= :last AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @slots.job);
DELETE FROM @sequences WHERE job >= :first AND job <= :last
    AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @sequences.job);
DELETE FROM @controls WHERE job >= :first AND job <= :last
    AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @controls.job);
DELETE FROM @joins WHERE job >= :first AND job <= :last AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @joins.job);
DELETE FROM @edges WHERE job >= :first AND job <= :last AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @edges.job);
DELETE FROM @stocked WHERE job >= :first AND job <= :last
    AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @stocked.job);
DELETE FROM @edges WHERE dependent >= :first AND dependent <= :last
    AND NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = @edges.dependent)

-- ## not_needed
-- part
-- No job needs it that is not over, and it has no parent: children leave after that, by their own time.
(parent IS NULL OR NOT EXISTS (SELECT 1 FROM @jobs p WHERE p.id = @jobs.parent))
AND (NOT awaited OR NOT EXISTS (
    SELECT 1 FROM @edges e JOIN @jobs d ON d.id = e.dependent
    WHERE e.job = @jobs.id AND d.state NOT IN ('completed', 'failed', 'cancelled')))

-- ## not_in_stock
-- part
-- The result of the job is not kept by a stock.
NOT (awaited AND (SELECT 1 FROM @stocked s WHERE s.job = @jobs.id AND s.state = 'made' LIMIT 1) IS NOT NULL)

-- ## note_forgotten
-- Note the newest job that retention removed.
INSERT INTO @meta (name, value) VALUES (:name, :id)
ON CONFLICT (name) DO UPDATE SET value = excluded.value WHERE @meta.value < excluded.value

-- ## identities
-- Return the next identities in the order of their keys, and whether their job no longer exists.
SELECT k.tenant, k.scope, k.key, k.job, NOT EXISTS (SELECT 1 FROM @jobs j WHERE j.id = k.job) FROM @keys k
WHERE (k.tenant, k.scope, k.key) > (:tenant, :scope, :key) AND k.scope >= '*' AND k.scope < '+'
ORDER BY k.tenant, k.scope, k.key
LIMIT :limit

-- ## erase_job
-- Remove a job.
DELETE FROM @jobs WHERE id = :job

-- ## forget_keys_of
-- Remove the keys and identities of one job. There is no index for it, because only people ask for this.
DELETE FROM @keys WHERE job = :job

-- ── figures ────────────────────────────────────────────────────────────────────────────────────────

-- ## number_tallies
-- Number what a runner writes next. No row: it was written before, or the runner is not registered any more.
UPDATE @runners SET tallied = :number WHERE id = :runner AND tallied < :number RETURNING tallied

-- ## add_tallies
-- Write what was counted in the ten seconds before.
-- rows: queue text, kind text, tenant text, happened text, count bigint, micros bigint, histogram text
INSERT INTO @tallies (span, began_at, queue, kind, tenant, happened, source, count, micros, histogram)
SELECT 10, :now / 10000000 * 10000000, r.queue, r.kind, r.tenant, r.happened, :source, r.count, r.micros, r.histogram
FROM {rows}

-- ## tally_end
-- Count the end of one job, or of its attempt, that no runner counts. It has a row of its own, so that ends that are
-- committed at the same moment do not wait for each other.
INSERT INTO @tallies (span, began_at, queue, kind, tenant, happened, source, count, micros, histogram)
SELECT 10, :now / 10000000 * 10000000, lanes.queue, lanes.kind, '', :happened, :source, 1, 0, '{}'
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane WHERE j.id = :job

-- ## add_errors
-- Add errors to their groups.
-- rows: fingerprint text, kind text, type text, message text, sample uuid, count bigint
INSERT INTO @errors (fingerprint, kind, type, message, sample, first_at, last_at, release, count)
SELECT r.fingerprint, r.kind, r.type, r.message, r.sample, :now, :now, CAST(:release AS text), r.count
FROM {rows} WHERE true
ON CONFLICT (fingerprint) DO UPDATE SET
    sample = excluded.sample, message = excluded.message, count = @errors.count + excluded.count,
    last_at = CASE WHEN excluded.last_at > @errors.last_at THEN excluded.last_at ELSE @errors.last_at END

-- ## note_release
-- Note when a release of the application is first run.
INSERT INTO @releases (name, first_at) VALUES (:name, :now) ON CONFLICT (name) DO NOTHING

-- ## oldest_tally
-- Return when the oldest tally of a span began.
SELECT min(began_at) FROM @tallies WHERE span = :span

-- ## put_tallies
-- Write tallies that were added up.
-- rows: queue text, kind text, tenant text, happened text, source text, count bigint, micros bigint, histogram text
INSERT INTO @tallies (span, began_at, queue, kind, tenant, happened, source, count, micros, histogram)
SELECT :span, :began_at, r.queue, r.kind, r.tenant, r.happened, r.source, r.count, r.micros, r.histogram FROM {rows}

-- ## forget_figures
-- Remove figures that are old enough.
DELETE FROM @tallies WHERE span = 86400 AND began_at < :before;
DELETE FROM @errors WHERE last_at < :before;
DELETE FROM @depths WHERE at < :before

-- ## thin_depths
-- Of depths within a time, keep those of the first minute of each hour.
DELETE FROM @depths WHERE at >= :since AND at < :until AND at - at / 3600000000 * 3600000000 >= 60000000

-- ## lane_depths
-- Return of each queue how many jobs wait and how many are dead letters, up to :most of each lane, and for how long the
-- first of them has waited, in microseconds.
SELECT lanes.queue,
    CAST(sum((SELECT count(*) FROM (SELECT 1 FROM @ready r WHERE r.lane = lanes.id LIMIT :most) AS few)) AS bigint),
    CAST(sum((SELECT count(*) FROM (
        SELECT 1 FROM @parked p WHERE p.lane = lanes.id AND p.state = 'failed' LIMIT :most) AS few)) AS bigint),
    max((SELECT :now - coalesce(j.run_at, j.created_at) FROM @jobs j WHERE j.id = (
        SELECT job FROM @ready WHERE lane = lanes.id ORDER BY seq LIMIT 1)))
FROM @lanes lanes GROUP BY lanes.queue

-- ## parked_depths
-- Return how many jobs of each queue are scheduled, blocked and paused, among the first :most of each state.
SELECT lanes.queue, p.state, count(*) FROM (
    SELECT * FROM (SELECT lane, state FROM @parked WHERE state = 'scheduled' LIMIT :most) AS scheduled
    UNION ALL SELECT * FROM (SELECT lane, state FROM @parked WHERE state = 'blocked' LIMIT :most) AS blocked
    UNION ALL SELECT * FROM (SELECT lane, state FROM @parked WHERE state = 'paused' LIMIT :most) AS paused
) AS p JOIN @lanes lanes ON lanes.id = p.lane GROUP BY lanes.queue, p.state

-- ## note_depths
-- Store how deep queues are.
-- rows: queue text, waiting bigint, running bigint, scheduled bigint, blocked bigint, paused bigint, failed bigint, waited bigint
INSERT INTO @depths (at, queue, waiting, running, scheduled, blocked, paused, failed, waited)
SELECT :now, r.queue, r.waiting, r.running, r.scheduled, r.blocked, r.paused, r.failed, r.waited FROM {rows} WHERE true
ON CONFLICT (at, queue) DO NOTHING

-- ## tallies
-- Return the tallies of a time.
SELECT span, began_at, queue, kind, tenant, happened, count AS times, micros, histogram FROM @tallies
WHERE span IN (10, 60, 3600, 86400) AND began_at >= :since AND began_at < :until
    AND began_at + CAST(span AS bigint) * 1000000 > :beyond

-- ## depth_samples
-- Return how deep queues were within a time.
SELECT at, queue, waiting, running, scheduled, blocked, paused, failed, waited FROM @depths
WHERE at >= :since AND at < :until ORDER BY at, queue

-- ## error_groups
-- Return the groups of errors that occurred within a time, the most frequent first.
SELECT fingerprint, kind, type, message, sample, first_at, last_at, release, count AS times FROM @errors
WHERE last_at >= :since AND first_at < :until ORDER BY count DESC, fingerprint LIMIT :limit

-- ## releases
-- Return when releases of the application were first run.
SELECT name, first_at FROM @releases WHERE first_at >= :since AND first_at < :until ORDER BY first_at, name

-- ── the stream ─────────────────────────────────────────────────────────────────────────────────────

-- ## watch
-- Watch the stream for a while, or for longer than before.
INSERT INTO @watchers (name, wanted, until) VALUES (:name, :wanted, :now + :span)
ON CONFLICT (name) DO UPDATE SET wanted = excluded.wanted, until = excluded.until

-- ## wanted_by
-- Return what a watcher wants.
SELECT wanted FROM @watchers WHERE name = :name AND until > :now

-- ## unwatch
-- Watch no longer.
DELETE FROM @watchers WHERE name = :name RETURNING name

-- ## tell
-- Tell the stream what one commit did to several jobs.
INSERT INTO @stream (at, name, attempt, jobs) VALUES (:now, :name, :attempt, :jobs)

-- ## tell_of_store
-- Tell the stream what concerns no job, if it is watched.
INSERT INTO @stream (at, name, jobs, detail)
SELECT :now, CAST(:name AS text), '[]', CAST(:detail AS text) WHERE EXISTS (SELECT 1 FROM @watchers)

-- ## tell_started
-- Tell the stream of attempts that began, while their runner has its lease.
INSERT INTO @stream (at, name, attempt, jobs)
SELECT :now, 'started', :attempt, :jobs
WHERE EXISTS (SELECT 1 FROM @runners WHERE id = :runner AND expires_at > :lease_now)

-- ## faces
-- Return what the events of jobs say besides what happened.
-- rows: job uuid
SELECT j.id, lanes.kind, lanes.queue, j.tenant, j.tags, j.options
FROM {rows} JOIN @jobs j ON j.id = r.job JOIN @lanes lanes ON lanes.id = j.lane

-- ## details
-- Return the evidence of events, each of one job.
-- rows: job uuid, version int
SELECT e.job, e.version, e.detail FROM {rows} JOIN @events e ON e.job = r.job AND e.version = r.version

-- ## place_of_reader
-- Return how far a durable reader is, and when its watch was found to have ended, or 0.
SELECT place, coalesce(unwatched_at, 0) FROM @readers WHERE name = :name

-- ## watches_of
-- Return the watches of a durable reader that hold: their names are its own, a space, and eight characters.
SELECT name FROM @watchers
WHERE substr(name, 1, length(:reader) + 1) = :reader || ' ' AND length(name) = length(:reader) + 9 AND until > :now

-- ## mark_unwatched
-- Note that a durable reader was not watched for a while, if it is known.
UPDATE @readers SET unwatched_at = :now WHERE name = :name AND unwatched_at IS NULL

-- ## enter_reader
-- Enter a durable reader, unless it is known.
INSERT INTO @readers (name, place, moved_at) VALUES (:name, :place, :now) ON CONFLICT (name) DO NOTHING

-- ── joins ──────────────────────────────────────────────────────────────────────────────────────────

-- ## note_ends
-- Note ends of jobs that others wait for, until they are counted.
INSERT INTO @ends (id, at, jobs) VALUES (:id, :now, :jobs)

-- ## forget_ends
-- Forget ends that were counted.
-- rows: id uuid
DELETE FROM @ends WHERE id IN (SELECT r.id FROM {rows})

-- ## put_edges
-- Store who needs an end of whom.
-- rows: job uuid, dependent uuid, needs text, met int
INSERT INTO @edges (job, dependent, needs, met)
SELECT r.job, r.dependent, r.needs, r.met <> 0 FROM {rows} WHERE true
ON CONFLICT (job, dependent) DO NOTHING

-- ## put_joins
-- Store for how much new jobs wait.
-- rows: job uuid, missing int, open int, phase text, wait bigint
INSERT INTO @joins (job, missing, open, total, phase, wait)
SELECT r.job, r.missing, r.open, r.open, r.phase, r.wait FROM {rows} WHERE true
ON CONFLICT (job) DO NOTHING

-- ## parents_of
-- Return the parents of jobs that have one.
-- rows: job uuid
SELECT j.id, j.parent FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job AND j.parent IS NOT NULL

-- ## barred_by
-- Return blocked jobs that need another end of a job than the one that it had, with that job and its state.
-- rows: job uuid
SELECT e.dependent, e.job, j.state FROM {rows} CROSS JOIN @jobs j CROSS JOIN @edges e CROSS JOIN @parked p
WHERE j.id = r.job AND j.state IN ('completed', 'failed', 'cancelled') AND e.job = r.job AND NOT e.met
    AND e.needs NOT IN (j.state, 'over') AND p.job = e.dependent AND p.state = 'blocked' AND p.gate IS NULL
ORDER BY e.dependent LIMIT :limit

-- ## waiting_among
-- Return which of these jobs are blocked because they wait for others, and not for an event.
-- rows: job uuid
SELECT p.job FROM {rows} CROSS JOIN @parked p
WHERE p.job = r.job AND p.state = 'blocked' AND p.gate IS NULL AND p.due_at IS NULL
    AND NOT EXISTS (
        SELECT 1 FROM @listeners l JOIN @jobs j ON j.id = l.job AND j.epoch = l.epoch WHERE l.job = p.job
    )

-- ## schedule_waiting
-- Let jobs that have nothing left to wait for wait for their time.
-- rows: job uuid, due_at bigint
UPDATE @parked SET state = 'scheduled', due_at = r.due_at, since = :now, place = 0 FROM {rows} WHERE @parked.job = r.job;
UPDATE @jobs SET state = 'scheduled', version = version + 1, run_at = r.due_at, reason = NULL
FROM {rows} WHERE @jobs.id = r.job

-- ## block_again
-- Let a job that is over wait for others again.
DELETE FROM @controls WHERE job = :job;
UPDATE @jobs SET state = 'blocked', version = version + 1, epoch = epoch + 1, errors = 0, crashes = 0, losses = 0,
    reason = :reason, finished_at = NULL
WHERE id = :job
RETURNING version

-- ## set_phases
-- Write what follows when the children of jobs are over.
-- rows: job uuid, phase text, passed int
INSERT INTO @joins (job, phase, passed) SELECT r.job, r.phase, r.passed FROM {rows} WHERE true
ON CONFLICT (job) DO UPDATE SET phase = excluded.phase, passed = excluded.passed

-- ## add_to_joins
-- Count new children of jobs that are there already; return what is requested of their families.
-- rows: job uuid, more int
INSERT INTO @joins (job, open, total) SELECT r.job, r.more, r.more FROM {rows} WHERE true
ON CONFLICT (job) DO UPDATE SET open = @joins.open + excluded.open, total = @joins.total + excluded.total
RETURNING job, asked

-- ## recount_missing
-- Count again how many edges of a job are not met: what it needed may have been removed since.
UPDATE @joins SET missing = (SELECT count(*) FROM @edges e WHERE e.dependent = @joins.job AND NOT e.met) WHERE job = :job
RETURNING missing

-- ## parent_of
-- Return the parent of a job, if it is there.
SELECT p.id FROM @jobs j JOIN @jobs p ON p.id = j.parent WHERE j.id = :job

-- ## barring
-- Return a job that is over, and did not give a job what it needs.
SELECT e.job, j.state FROM @edges e CROSS JOIN @jobs j
WHERE e.dependent = :job AND NOT e.met AND j.id = e.job AND j.state IN ('completed', 'failed', 'cancelled')
    AND e.needs NOT IN (j.state, 'over')
ORDER BY e.job LIMIT 1

-- ## ask_family
-- Begin to do what a user requests to all children of a job.
UPDATE @joins SET asked = :asked, walked = :first WHERE job = :job AND total > 0

-- ## ask_family_no_more
-- Forget what was requested of a family.
UPDATE @joins SET asked = NULL, walked = NULL WHERE job = :job AND asked IS NOT NULL

-- ## steered_family
-- Return a family to which something is done, and up to which child it was; that of one parent, if it is given.
SELECT job, asked, walked FROM @joins WHERE walked IS NOT NULL AND job = coalesce(:job, job) ORDER BY job LIMIT 1

-- ## walk_on
-- Write up to which child of a family something was done; without one it is done. No row: something else is requested.
UPDATE @joins SET walked = :walked, asked = CASE WHEN CAST(:keeps AS integer) > 0 THEN asked END
WHERE job = :job AND asked = :asked AND walked = :before
RETURNING job

-- ## set_skipped
-- Write whether a job was skipped.
UPDATE @joins SET skipped = (:skipped > 0) WHERE job = :job

-- ## join_of
-- Return for what a job waits.
SELECT job, missing, open, failed, total, skipped, asked, phase, wait, width, passed FROM @joins WHERE job = :job

-- ## failed_children
-- Return children of a job that are dead letters, in the order of their ids.
SELECT id AS job, reason, options FROM @jobs WHERE parent = :parent AND state = 'failed' AND id > :after
ORDER BY id LIMIT :limit

-- ## children_of
-- Return children of a job in the order of their ids.
SELECT id, state FROM @jobs WHERE parent = :parent AND id > :after ORDER BY id LIMIT :limit


-- ── flows ──────────────────────────────────────────────────────────────────────────────────────────

-- ## needed_by
-- Return the jobs of which a job needs an end.
SELECT j.id, j.state, lanes.kind, j.options, e.needs
FROM @edges e JOIN @jobs j ON j.id = e.job JOIN @lanes lanes ON lanes.id = j.lane
WHERE e.dependent = :job
ORDER BY j.id LIMIT :limit

-- ## shared_by_flow
-- Return what a flow shares with its steps.
SELECT lanes.kind, j.arguments, j.options FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane WHERE j.id = :job

-- ## steps_of
-- Return the children of a job, in the order of their ids.
{statuses}
WHERE j.parent = :parent
ORDER BY j.id LIMIT :limit

-- ## edges_into
-- Return what these jobs need.
-- rows: job uuid
SELECT e.job, e.dependent, e.needs, CASE WHEN e.met THEN 1 ELSE 0 END AS met
FROM {rows} CROSS JOIN @edges e WHERE e.dependent = r.job

-- ## edges_from
-- Return what needs a job.
SELECT e.job, e.dependent, e.needs, CASE WHEN e.met THEN 1 ELSE 0 END AS met
FROM @edges e WHERE e.job = :job ORDER BY e.dependent LIMIT :limit

-- ## flow_count
-- Return how many children a job has, and how many of them are not over.
SELECT total, open FROM @joins WHERE job = :job

-- ## server_state
-- Return the state of a server; a file has none.
SELECT CAST(NULL AS bigint) AS replica_lag, CAST(NULL AS bigint) AS log_position,
    CAST(NULL AS bigint) AS oldest_transaction, 0 AS may_see
WHERE 1 = 0

-- ## dead_rows
-- Return how many dead rows a table has; a file counts none.
SELECT 0 WHERE :name IS NULL

-- ── stocks ─────────────────────────────────────────────────────────────────────────────────────────

-- ## stocks
-- Return all stocks, a row for each tenant.
SELECT name, tenant, declared, level, refilling, seen_at, :now AS now FROM @stocks ORDER BY name, tenant

-- ## enter_stocks
-- Enter stocks that are not known yet.
-- rows: name text, tenant text, declared text
INSERT INTO @stocks (name, tenant, declared, seen_at) SELECT r.name, r.tenant, r.declared, :seen_at FROM {rows} WHERE true
ON CONFLICT (name, tenant) DO NOTHING

-- ## set_level
-- Set the level of a shelf in the running system; NULL for the declared one.
UPDATE @stocks SET level = :level WHERE name = :stock AND tenant = :tenant RETURNING declared

-- ## set_refilling
-- Write whether a shelf is being refilled.
UPDATE @stocks SET refilling = :refilling WHERE name = :stock AND tenant = :tenant

-- ## forget_orders
-- Forget what is ordered for a stock of one tenant: the results of these jobs go nowhere.
DELETE FROM @stocked WHERE stock = :stock AND tenant = :tenant AND state = 'ordered'

-- ## forget_stock
-- Forget a stock of one tenant.
DELETE FROM @stocks WHERE name = :stock AND tenant = :tenant RETURNING name

-- ## shelf
-- Return what a shelf holds, counted up to a number: what can be taken, what is ordered, what failed and holds its place;
-- whether something is left to be tidied; and since when its oldest result is there, and its oldest order.
SELECT
    (SELECT count(*) FROM (
        SELECT 1 FROM @stocked WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'made' AND since > :now - :ttl
        LIMIT :most) AS few) AS made,
    (SELECT count(*) FROM (
        SELECT 1 FROM @stocked WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'ordered'
        LIMIT :most) AS few) AS ordered,
    (SELECT count(*) FROM (
        SELECT 1 FROM @stocked
        WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'failed' AND since > :now - :hold
        LIMIT :most) AS few) AS failed,
    (SELECT count(*) FROM (
        SELECT 1 FROM @stocked WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'taken'
        LIMIT 1) AS few)
    + (SELECT count(*) FROM (
        SELECT 1 FROM @stocked
        WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'made' AND since <= :now - :ttl
        LIMIT 1) AS few)
    + (SELECT count(*) FROM (
        SELECT 1 FROM @stocked
        WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'failed' AND since <= :now - :hold
        LIMIT 1) AS few) AS left_over,
    (SELECT min(since) FROM @stocked
        WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'made' AND since > :now - :ttl) AS oldest,
    :now AS now

-- ## keys_held
-- Return what a stock holds by key: results that are not stale, stale ones, orders, and failures; the oldest result.
SELECT
    count(*) FILTER (WHERE state = 'made' AND since > :now - :ttl) AS made,
    count(*) FILTER (WHERE state = 'made' AND since <= :now - :ttl) AS stale,
    count(*) FILTER (WHERE state = 'ordered') AS ordered,
    count(*) FILTER (WHERE state = 'failed' AND since > :now - :hold) AS failed,
    min(since) FILTER (WHERE state = 'made') AS oldest,
    :now AS now
FROM @stocked WHERE stock = :stock AND tenant = :tenant AND key <> ''

-- ## put_orders
-- Note which jobs make results for a stock; return them, without those whose key has an order already.
-- rows: job uuid, key text
INSERT INTO @stocked (job, stock, tenant, key, state, since)
SELECT r.job, :stock, :tenant, r.key, 'ordered', :now FROM {rows} WHERE true
ON CONFLICT (stock, tenant, key) WHERE key <> '' AND state IN ('ordered', 'failed') DO NOTHING
RETURNING job

-- ## await_orders
-- Let jobs say that a stock waits for them.
-- rows: job uuid
UPDATE @jobs SET awaited = true WHERE id IN (SELECT r.job FROM {rows})

-- ## open_orders
-- Return the jobs that are ordered for a key of a stock, the oldest first.
SELECT job FROM @stocked WHERE stock = :stock AND tenant = :tenant AND key = :key AND state = 'ordered'
ORDER BY since LIMIT :limit

-- ## failed_orders
-- Return the jobs of a stock that ended without a result, the newest first.
SELECT job FROM @stocked WHERE stock = :stock AND tenant = :tenant AND key = :key AND state = 'failed'
ORDER BY since DESC LIMIT :limit

-- ## kept_by_key
-- Return what a stock has under a key: the entries, with the results of those that are made. What runs again has none.
SELECT s.job, s.state, s.since, s.asked, j.result, j.options, :now AS now
FROM @stocked s JOIN @jobs j ON j.id = s.job
WHERE s.stock = :stock AND s.tenant = :tenant AND s.key = :key AND s.state <> 'taken'
    AND (s.state <> 'made' OR j.state = 'completed')

-- ## asked_keys
-- Return the keys whose results were read since they were made, after a key, with the jobs that made them.
SELECT s.key, s.job, j.arguments, j.options FROM @stocked s JOIN @jobs j ON j.id = s.job
WHERE s.stock = :stock AND s.tenant = :tenant AND s.key > :after AND s.state = 'made' AND s.asked
ORDER BY s.key LIMIT :limit

-- ## drop_key
-- Remove the result that a stock has under a key.
DELETE FROM @stocked WHERE stock = :stock AND tenant = :tenant AND key = :key AND state IN ('made', 'failed') RETURNING job

-- ## stock_figures
-- Return how often something happened at a stock since a moment.
SELECT happened, CAST(sum(count) AS bigint) FROM @tallies
WHERE span IN (10, 60, 3600, 86400) AND began_at >= :since AND kind = :stock AND happened IN ({stock_happenings})
GROUP BY happened

-- ## stock_happenings
-- part
-- What is counted of stocks.
'stock:taken', 'stock:missed', 'stock:waited', 'stock:expired', 'stock:emptied'

-- ## stock_sample
-- Return how many results and orders each stock has, by state, and since when the oldest of them.
SELECT stock, state, count(*), min(since) FROM @stocked WHERE state <> 'taken' GROUP BY stock, state ORDER BY stock, state

-- ## create_token
-- Store a token of the HTTP service.
INSERT INTO @tokens (id, name, digest, role, tenant, sees_arguments, created_at, created_by, expires_at)
VALUES (:id, :name, :digest, :role, :tenant, :sees_arguments, :now, :created_by, :now + :span)

-- ## token
-- Return a token by its id, whether it counts, and whether its use was not noted for an hour.
SELECT id, name, digest, role, tenant, sees_arguments, created_at, created_by, expires_at, used_at, revoked_at,
    CASE WHEN revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now) THEN 1 ELSE 0 END AS is_good,
    CASE WHEN used_at IS NULL OR used_at < :now - 3600000000 THEN 1 ELSE 0 END AS is_stale
FROM @tokens WHERE id = :id

-- ## tokens
-- Return all tokens, the oldest first.
SELECT id, name, digest, role, tenant, sees_arguments, created_at, created_by, expires_at, used_at, revoked_at,
    CASE WHEN revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now) THEN 1 ELSE 0 END AS is_good,
    CASE WHEN used_at IS NULL OR used_at < :now - 3600000000 THEN 1 ELSE 0 END AS is_stale
FROM @tokens ORDER BY created_at, id

-- ## has_tokens
-- Return a row if there is any token.
SELECT 1 FROM @tokens LIMIT 1

-- ## end_token
-- Let a token that counts end after a span, unless it ends before. No row: it does not count.
UPDATE @tokens SET expires_at = CASE WHEN expires_at < :now + :span THEN expires_at ELSE :now + :span END
WHERE id = :id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
RETURNING id

-- ## revoke_token
-- Let a token not count any more.
UPDATE @tokens SET revoked_at = :now WHERE id = :id AND revoked_at IS NULL

-- ## note_token_use
-- Note that a token was used.
UPDATE @tokens SET used_at = :now WHERE id = :id
