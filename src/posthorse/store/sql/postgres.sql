-- Statements that differ on PostgreSQL. Their plans do not change with statistics or batch size: each starts from given
-- values, and reaches rows by key or by ctid. `id = ANY (ARRAY[x])` is a look-up by key that can be neither hashed nor
-- merged, and does not tempt the planner to walk the whole index in order.

-- ## has_schema
-- Return whether our tables exist.
SELECT 1 WHERE to_regclass(:meta) IS NOT NULL

-- ## store_identity
-- Return which store this is; a copy in another database is a different one.
SELECT value || ' in ' || (SELECT oid FROM pg_database WHERE datname = current_database())
FROM @meta WHERE name = 'store_id'

-- ## enqueue
-- Insert jobs, line up those that may run now, and notify one channel if a runner is idle. An existing id is left
-- alone: the reply to an earlier commit was lost. The first try does not look for existing ids. If there is one, the
-- index refuses it, and the statement runs again with :again, which looks. ON CONFLICT would write one more log record
-- for each job. The look is a scalar subquery, because NOT EXISTS may be hashed, and then reads all jobs.
-- rows: id uuid, lane int, arguments text, run_at bigint, delay bigint, options text, tenant text, tags text, parent uuid
WITH arriving AS (
    SELECT r.*, nextval(:sequence::regclass) AS seq, coalesce(r.run_at, :now + r.delay) AS due
    FROM {rows}
    WHERE abs(:now / 1000 - :made_at::bigint) < :tolerance::bigint / 1000
        AND (NOT :again::boolean OR (SELECT id FROM @jobs WHERE id = r.id) IS NULL)
), inserted AS (
    INSERT INTO @jobs (id, lane, seq, created_at, run_at, state, arguments, options, tenant, tags, parent)
    SELECT id, lane, seq, :now, due, CASE WHEN due > :now THEN 'scheduled' ELSE 'pending' END,
        arguments, options, tenant, tags, parent
    FROM arriving ORDER BY ordinal
    RETURNING id, lane, seq, state, run_at
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM inserted WHERE state = 'pending'
), set_aside AS (
    INSERT INTO @parked (job, state, due_at, since, place, lane)
    SELECT i.id, i.state, i.run_at, :now, CASE WHEN a.run_at IS NULL THEN 0 END, i.lane
    FROM inserted i JOIN arriving a ON a.id = i.id WHERE i.state = 'scheduled'
)
SELECT :now, ({calling_all})

-- ## enqueue_alike
-- Insert jobs that may run now and differ only in their arguments: as `enqueue` does, for half of its cost.
-- pairs: id uuid, arguments text
WITH inserted AS (
    INSERT INTO @jobs (id, lane, seq, created_at, state, arguments, options, tenant, tags)
    SELECT r.id, :lane::int, nextval(:sequence::regclass), :now, 'pending', r.arguments, :options::text, :tenant::text,
        :tags::text
    FROM {rows}
    WHERE abs(:now / 1000 - :made_at::bigint) < :tolerance::bigint / 1000
        AND (NOT :again::boolean OR (SELECT id FROM @jobs WHERE id = r.id) IS NULL)
    RETURNING id, lane, seq
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM inserted
)
SELECT :now, ({calling_all})

-- ## enqueue_one
-- Insert one job that may run now: as `enqueue` does, for half of the cost of a batch of one.
WITH inserted AS (
    INSERT INTO @jobs (id, lane, seq, created_at, state, arguments, options, tenant, tags)
    SELECT :id::uuid, :lane::int, nextval(:sequence::regclass), :now, 'pending', :arguments::text,
        nullif(:options::text, ''), nullif(:tenant::text, ''), nullif(:tags::text, '')
    WHERE abs(:now / 1000 - :made_at::bigint) < :tolerance::bigint / 1000
        AND (NOT :again::boolean OR (SELECT id FROM @jobs WHERE id = :id::uuid) IS NULL)
    RETURNING id, lane, seq
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM inserted
)
SELECT :now, ({calling})

-- ## calling_all
-- part
-- Notify all idle runners, if there are any, that there is work.
SELECT count(pg_notify(:channel, ''))
FROM (SELECT FROM @runners WHERE idle AND expires_at > :lease_now LIMIT 1) AS waiting

-- ## calling
-- part
-- Notify idle runners of one job: how many they are, and which of them look at once. One of these nearly always takes
-- it, and the others need not look. The names stay the same throughout a transaction, which then notifies once.
SELECT count(pg_notify(:channel, told)) FROM (
    SELECT max(crowd) || ' ' || string_agg(id::text, ' ') AS told FROM (
        SELECT id, count(*) OVER () AS crowd FROM @runners WHERE idle AND expires_at > :lease_now
        ORDER BY hashtextextended(id::text, pg_current_xact_id()::text::bigint) LIMIT 3
    ) AS called
) AS call WHERE told IS NOT NULL

-- ## enqueue_family
-- Insert jobs of which others wait for some, or that wait themselves: as `enqueue` does. Those with a reason are blocked.
-- rows: id uuid, lane int, arguments text, run_at bigint, delay bigint, options text, tenant text, tags text, parent uuid, awaited int, reason text
WITH arriving AS (
    SELECT r.*, nextval(:sequence::regclass) AS seq,
        coalesce(r.run_at, CASE WHEN r.reason IS NULL THEN :now + r.delay END) AS due
    FROM {rows}
    WHERE abs(:now / 1000 - :made_at::bigint) < :tolerance::bigint / 1000
        AND (NOT :again::boolean OR (SELECT id FROM @jobs WHERE id = r.id) IS NULL)
), inserted AS (
    INSERT INTO @jobs (id, lane, seq, created_at, run_at, state, reason, arguments, options, tenant, tags, parent, awaited)
    SELECT id, lane, seq, :now, due,
        CASE WHEN reason IS NOT NULL THEN 'blocked' WHEN due > :now THEN 'scheduled' ELSE 'pending' END,
        reason, arguments, options, tenant, tags, parent, awaited > 0
    FROM arriving ORDER BY ordinal
    RETURNING id, lane, seq, state, run_at
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM inserted WHERE state = 'pending'
), set_aside AS (
    INSERT INTO @parked (job, state, due_at, since, place, lane)
    SELECT i.id, i.state, CASE WHEN i.state = 'scheduled' THEN i.run_at END, :now,
        CASE WHEN i.state = 'scheduled' AND a.run_at IS NULL THEN 0 END, i.lane
    FROM inserted i JOIN arriving a ON a.id = i.id WHERE i.state <> 'pending'
)
SELECT :now, ({calling_all})

-- ## shares
-- Return how many of the next jobs are in each lane, and the position of the last of them: higher priority first, then
-- first come, first served.
-- rows: lane int, after bigint, priority int
SELECT lane, count(*), max(seq) FROM (
    SELECT r.lane, head.seq FROM {rows}
    CROSS JOIN LATERAL (
        SELECT seq FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT :room
    ) AS head
    ORDER BY r.priority DESC, head.seq
    LIMIT :room
) AS chosen GROUP BY lane

-- ## granted
-- part
-- Lease the taken jobs to one runner, under their next epoch.
granted AS (
    SELECT taken.lane, taken.seq, taken.job, j.epoch + 1 AS epoch, j.errors, j.crashes,
        j.losses AS interruptions, j.arguments, j.options, j.run_at
    FROM taken CROSS JOIN LATERAL (
        SELECT epoch, errors, crashes, losses, :light_arguments AS arguments, options, run_at
        FROM @jobs WHERE id = taken.job OFFSET 0
    ) AS j
), leased AS (
    INSERT INTO @leases (job, epoch, runner, claimed_at) SELECT job, epoch, :runner, :now FROM granted
)

-- ## claim
-- Turn the heads of lanes into leases of one living runner.
-- rows: lane int, after bigint, share int, upto bigint
WITH taken AS (
    DELETE FROM @ready WHERE ctid = ANY (ARRAY(
        SELECT head.place FROM {rows}
        CROSS JOIN LATERAL (
            SELECT ctid AS place FROM @ready
            WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT r.share FOR UPDATE SKIP LOCKED
        ) AS head
        WHERE EXISTS (SELECT FROM @runners WHERE id = :runner AND expires_at > :lease_now)))
    RETURNING lane, seq, job
), {granted}
SELECT job, epoch, lane, seq, errors, crashes, interruptions, arguments, options, run_at FROM granted ORDER BY seq

-- ## claim_together
-- Turn the first jobs of several lanes, wherever they are, into leases of one living runner. How many jobs each lane
-- gives is counted without locks; if others claim at the same moment, a lane gives its next ones. The look goes to :few
-- jobs of each lane first, then to a few more of lanes whose jobs may come before the last claimed one, and in the end
-- to all that may.
-- pairs: lane int, after bigint
WITH looked AS MATERIALIZED (
    SELECT r.lane, r.after, head.seq FROM {rows}
    CROSS JOIN LATERAL (
        SELECT seq FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT :few
    ) AS head
), deep AS MATERIALIZED (
    SELECT lane, after, max(looked.seq) AS seq, bound.seq AS upto, count(*) OVER () AS lanes
    FROM looked CROSS JOIN (
        SELECT coalesce((SELECT seq FROM looked ORDER BY seq LIMIT 1 OFFSET :room - 1), 9223372036854775807) AS seq
    ) AS bound
    GROUP BY lane, after, bound.seq HAVING count(*) = :few AND max(looked.seq) < bound.seq
), deeper AS MATERIALIZED (
    SELECT deep.lane, deep.after, deep.lanes, head.seq FROM deep
    CROSS JOIN LATERAL (
        SELECT seq FROM @ready WHERE lane = deep.lane AND seq > deep.seq AND seq <= deep.upto
        ORDER BY seq LIMIT 2 + 2 * :room / deep.lanes
    ) AS head
), deepest AS (
    SELECT lane, after, max(deeper.seq) AS seq, bound.seq AS upto
    FROM deeper CROSS JOIN (
        SELECT coalesce((
            SELECT seq FROM (SELECT seq FROM looked UNION ALL SELECT seq FROM deeper) AS seen
            ORDER BY seq LIMIT 1 OFFSET :room - 1), 9223372036854775807) AS seq
    ) AS bound
    GROUP BY lane, after, lanes, bound.seq HAVING count(*) = 2 + 2 * :room / lanes AND max(deeper.seq) < bound.seq
), heads AS (
    SELECT lane, after, seq FROM looked
    UNION ALL
    SELECT lane, after, seq FROM deeper
    UNION ALL
    SELECT deepest.lane, deepest.after, head.seq FROM deepest
    CROSS JOIN LATERAL (
        SELECT seq FROM @ready WHERE lane = deepest.lane AND seq > deepest.seq AND seq <= deepest.upto
        ORDER BY seq LIMIT :room
    ) AS head
), taken AS (
    DELETE FROM @ready WHERE ctid = ANY (ARRAY(
        SELECT head.place FROM (
            SELECT first.lane, first.after, count(*) AS share FROM (
                SELECT lane, after FROM heads ORDER BY seq, lane LIMIT :room
            ) AS first GROUP BY first.lane, first.after
        ) AS part
        CROSS JOIN LATERAL (
            SELECT ctid AS place FROM @ready
            WHERE lane = part.lane AND seq > part.after ORDER BY seq LIMIT part.share FOR UPDATE SKIP LOCKED
        ) AS head
        WHERE EXISTS (SELECT FROM @runners WHERE id = :runner AND expires_at > :lease_now)))
    RETURNING lane, seq, job
), {granted}
SELECT job, epoch, lane, seq, errors, crashes, interruptions, arguments, options, run_at FROM granted ORDER BY seq, lane

-- ## heads
-- Return the next jobs of each lane, oldest first.
-- rows: lane int, after bigint, priority int
SELECT r.lane, head.seq FROM {rows}
CROSS JOIN LATERAL (
    SELECT seq FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT :room
) AS head

-- ## newest_heads
-- Return the next jobs of each lane, newest first.
-- rows: lane int, after bigint, priority int
SELECT r.lane, head.seq FROM {rows}
CROSS JOIN LATERAL (
    SELECT seq FROM @ready WHERE lane = r.lane ORDER BY seq DESC LIMIT :room
) AS head

-- ## claim_newest
-- Turn the last jobs of lanes into leases of one living runner.
-- rows: lane int, after bigint, share int, upto bigint
WITH taken AS (
    DELETE FROM @ready WHERE ctid = ANY (ARRAY(
        SELECT head.place FROM {rows}
        CROSS JOIN LATERAL (
            SELECT ctid AS place FROM @ready
            WHERE lane = r.lane ORDER BY seq DESC LIMIT r.share FOR UPDATE SKIP LOCKED
        ) AS head
        WHERE EXISTS (SELECT FROM @runners WHERE id = :runner AND expires_at > :lease_now)))
    RETURNING lane, seq, job
), {granted}
SELECT job, epoch, lane, seq, errors, crashes, interruptions, arguments, options, run_at FROM granted ORDER BY seq DESC

-- ## claim_places
-- Turn jobs at exactly these positions into leases of one living runner; missing ones are left out.
-- rows: lane int, seq bigint
WITH taken AS (
    DELETE FROM @ready WHERE ctid = ANY (ARRAY(
        SELECT found.place FROM {rows}
        CROSS JOIN LATERAL (
            SELECT ctid AS place FROM @ready WHERE lane = r.lane AND seq = r.seq OFFSET 0 FOR UPDATE SKIP LOCKED
        ) AS found
        WHERE EXISTS (SELECT FROM @runners WHERE id = :runner AND expires_at > :lease_now)))
    RETURNING lane, seq, job
), {granted}
SELECT job, epoch, lane, seq, errors, crashes, interruptions, arguments, options, run_at FROM granted ORDER BY seq

-- ## jobs_at
-- Return what gates must know about jobs at these positions.
-- rows: lane int, seq bigint
SELECT r.lane, r.seq, found.job, j.tenant, j.arguments, j.options,
    (SELECT place FROM @sequences WHERE job = found.job LIMIT 1) AS enqueued
FROM {rows}
CROSS JOIN LATERAL (SELECT job FROM @ready WHERE lane = r.lane AND seq = r.seq OFFSET 0) AS found
CROSS JOIN LATERAL (
    SELECT tenant, :light_arguments AS arguments, options FROM @jobs WHERE id = found.job OFFSET 0
) AS j

-- ## lock_gates
-- Lock gates until the end of this transaction; missing ones are left out.
-- rows: gate text
SELECT g.key FROM {rows}
CROSS JOIN LATERAL (SELECT key FROM @gates WHERE key = r.gate OFFSET 0 FOR UPDATE) AS g

-- ## gate_states
-- Return the states of gates: tokens, the last requirement, how many jobs are inside, one of them, the first held job,
-- and the first position of a sequence at which a job waits or runs.
-- rows: gate text
SELECT r.gate, g.through, g.most, g.step, g.burst,
    (SELECT count(*) FROM @taken WHERE gate = r.gate), (SELECT job FROM @taken WHERE gate = r.gate LIMIT 1),
    held.rank, held.place, first.place, g.used_at, :now
FROM {rows}
CROSS JOIN LATERAL (SELECT through, most, step, burst, used_at FROM @gates WHERE key = r.gate OFFSET 0) AS g
LEFT JOIN LATERAL (
    SELECT rank, place FROM @parked WHERE gate = r.gate ORDER BY rank, place LIMIT 1
) AS held ON true
LEFT JOIN LATERAL (
    SELECT l.place FROM (SELECT place, job FROM @sequences WHERE gate = r.gate ORDER BY place OFFSET 0) AS l
    WHERE (SELECT state IN ('pending', 'blocked') FROM @jobs WHERE id = l.job) ORDER BY l.place LIMIT 1
) AS first ON true

-- ## hold
-- Park jobs that a gate keeps out. Jobs are locked before they leave their lane, as everywhere; one that another
-- transaction is changing keeps its position until the next claim.
-- rows: lane int, seq bigint, job uuid, gate text, rank int, place bigint, reason text
WITH held AS MATERIALIZED (
    SELECT r.*, j.id FROM {rows}
    CROSS JOIN LATERAL (SELECT id FROM @jobs WHERE id = r.job OFFSET 0 FOR UPDATE SKIP LOCKED) AS j
), taken AS (
    DELETE FROM @ready WHERE ctid = ANY (ARRAY(
        SELECT found.place FROM held
        CROSS JOIN LATERAL (SELECT ctid AS place FROM @ready WHERE lane = held.lane AND seq = held.seq OFFSET 0) AS found))
    RETURNING job
), moved AS (
    UPDATE @jobs AS j SET state = 'blocked', reason = held.reason
    FROM taken CROSS JOIN held
    WHERE held.job = taken.job AND j.id = ANY (ARRAY[taken.job])
    RETURNING j.id, j.lane, held.gate, held.rank, held.place
)
INSERT INTO @parked (job, state, due_at, since, gate, rank, place, lane)
SELECT id, 'blocked', NULL, :now, gate, rank, place, lane FROM moved

-- ## release_held
-- Line up the first jobs that are held before a gate, at their old positions.
WITH first AS MATERIALIZED (
    SELECT job FROM @parked WHERE gate = :gate ORDER BY rank, place LIMIT :room
), held AS MATERIALIZED (
    SELECT j.id FROM first CROSS JOIN LATERAL (
        SELECT id FROM @jobs WHERE id = first.job AND state = 'blocked' OFFSET 0 FOR UPDATE SKIP LOCKED
    ) AS j
), moved AS (
    UPDATE @jobs AS j SET state = 'pending', reason = NULL FROM held h WHERE j.id = ANY (ARRAY[h.id])
    RETURNING j.lane, j.seq, j.id
), taken AS (
    DELETE FROM @parked WHERE job = ANY (ARRAY(SELECT id FROM moved))
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM moved RETURNING job
)
SELECT job, ({calling_all})
FROM lined_up

-- ## hold_queue
-- Make bulk inserts into a queue with a limited depth wait for each other: together they would exceed it by far.
SELECT pg_advisory_xact_lock(hashtextextended(:channel || '/' || :queue, 7))

-- ## hold_topic
-- Keep others from sending to a topic, or beginning to listen to it, until the end of this transaction.
SELECT pg_advisory_xact_lock(hashtextextended(:channel || '/' || :tenant || '/' || :topic, 8))

-- ## try_topic
-- Keep others from sending to a topic until the end of this transaction; return false if one is doing so.
SELECT pg_try_advisory_xact_lock_shared(hashtextextended(:channel || '/' || :tenant || '/' || :topic, 8))

-- ## forget_signals
-- Delete expired signals, unless another process works on them at this moment.
DELETE FROM @signals WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM @signals WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED))
RETURNING topic

-- ## wake_listeners
-- Let the jobs go on that wait for a signal: they are due now. One that waits for something else by now has another
-- epoch, or a gate.
UPDATE @parked SET due_at = :now WHERE state = 'blocked' AND gate IS NULL AND job = ANY (ARRAY(
    SELECT l.job FROM @listeners l
    CROSS JOIN LATERAL (SELECT epoch FROM @jobs WHERE id = l.job OFFSET 0) AS j
    WHERE l.tenant = :tenant AND l.topic = :topic AND j.epoch = l.epoch));
DELETE FROM @listeners WHERE tenant = :tenant AND topic = :topic

-- ## wake_missed
-- Let the jobs go on that wait for a signal that is there; of those that no other transaction changes.
UPDATE @parked SET due_at = :now WHERE job = ANY (ARRAY(
    SELECT p.job FROM @listeners l
    CROSS JOIN LATERAL (
        SELECT 1 FROM @signals s WHERE s.tenant = l.tenant AND s.topic = l.topic AND s.expires_at > :now OFFSET 0
    ) AS sent
    CROSS JOIN LATERAL (SELECT epoch FROM @jobs WHERE id = l.job OFFSET 0) AS j
    CROSS JOIN LATERAL (
        SELECT job FROM @parked WHERE job = l.job AND state = 'blocked' AND gate IS NULL OFFSET 0
        FOR UPDATE SKIP LOCKED
    ) AS p
    WHERE j.epoch = l.epoch))

-- ## complete
-- End leases of one runner and one epoch and write results; return how many leases there were, how many jobs were
-- written, when, and for how many of them others wait. The name of the worker is stored as the reason, unless its runner
-- is no longer registered.
-- pairs: job uuid, result text
WITH ending AS MATERIALIZED (
    SELECT r.job, r.result, l.place, l.claimed_at
    FROM {rows}
    CROSS JOIN LATERAL (
        SELECT ctid AS place, claimed_at FROM @leases
        WHERE job = r.job AND epoch = :epoch::int AND runner = :runner OFFSET 0
    ) AS l
), ended AS (
    DELETE FROM @leases WHERE ctid = ANY (ARRAY(SELECT place FROM ending)) RETURNING job
), written AS (
    UPDATE @jobs AS j SET
        state = 'completed', epoch = :epoch::int, version = j.version + 2, result = e.result,
        reason = (SELECT worker FROM @runners WHERE id = :runner),
        started_at = coalesce(j.started_at, e.claimed_at), finished_at = :now
    FROM ending e
    WHERE j.id = ANY (ARRAY[e.job])
    RETURNING j.awaited
)
SELECT (SELECT count(*) FROM ended), count(*), :now, count(*) FILTER (WHERE awaited) FROM written

-- ## end_leases
-- End leases of one runner; return of each the job, the version that it will have, when it was claimed, for how long the
-- lease was held, the lane of the job, and whether anything watches the stream. No row: another process ended the lease.
-- While it is leased, only its holder writes the job.
-- pairs: job uuid, epoch int
WITH ending AS MATERIALIZED (
    SELECT l.place FROM {rows}
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM @leases WHERE job = r.job AND epoch = r.epoch AND runner = :runner OFFSET 0
    ) AS l
), ended AS (
    DELETE FROM @leases WHERE ctid = ANY (ARRAY(SELECT place FROM ending)) RETURNING job, claimed_at
)
SELECT ended.job, j.version + 2 AS version, ended.claimed_at, :now - ended.claimed_at AS took, j.lane,
    EXISTS (SELECT FROM @watchers)::int AS is_watched
FROM ended CROSS JOIN LATERAL (SELECT version, lane FROM @jobs WHERE id = ended.job OFFSET 0) AS j

-- ## settle
-- Write how attempts ended whose leases were ended: the jobs, their places if they are set aside, and the events.
-- rows: job uuid, epoch int, version int, claimed_at bigint, state text, errors int, crashes int, interruptions int, reason text, lane int, error text, result text, wait bigint, is_final int, is_set_aside int, cause text, event text, detail text
WITH r AS MATERIALIZED (
    SELECT r.* FROM {rows}
), written AS (
    UPDATE @jobs SET {settled} FROM r WHERE @jobs.id = ANY (ARRAY[r.job])
), set_aside AS (
    INSERT INTO @parked (job, state, due_at, since, lane, cause)
    SELECT job, state, CASE WHEN wait > 0 THEN :now + wait END, :now, lane, nullif(cause, '') FROM r
    WHERE is_set_aside > 0
)
INSERT INTO @events (job, version, at, name, detail)
SELECT job, version, :now, event, nullif(detail, '') FROM r WHERE event <> ''

-- ## record
-- Record an event under the version of the job that the same transaction made, and tell the stream if it is watched.
WITH told AS (
    INSERT INTO @stream (at, name, attempt, version, jobs)
    SELECT :now, CAST(:name AS text), errors + 1, CAST(:version AS integer), '["' || id::text || '"]'
    FROM @jobs WHERE id = CAST(:job AS uuid) AND EXISTS (SELECT 1 FROM @watchers)
)
INSERT INTO @events (job, version, at, name, detail)
VALUES (CAST(:job AS uuid), CAST(:version AS integer), :now, CAST(:name AS text), :detail)

-- ## record_again
-- Replace the last event of its kind, and tell the stream if it is watched.
WITH recorded AS (
    UPDATE @events SET version = CAST(:version AS integer), at = :now, detail = :detail
    WHERE job = CAST(:job AS uuid) AND version = :instead_of
    RETURNING name
)
INSERT INTO @stream (at, name, attempt, version, jobs)
SELECT :now, recorded.name, j.errors + 1, CAST(:version AS integer), '["' || j.id::text || '"]'
FROM recorded CROSS JOIN @jobs j WHERE j.id = CAST(:job AS uuid) AND EXISTS (SELECT 1 FROM @watchers)

-- ## lock_job
-- Lock a job until the end of this transaction.
SELECT j.state, j.lane, j.seq, j.run_at, :now AS now,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job FOR UPDATE OF j

-- ## admit
-- Line a job up at the end of its lane.
WITH moved AS (
    UPDATE @jobs SET seq = nextval(:sequence::regclass), state = 'pending' WHERE id = :job RETURNING lane, seq, id
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM moved
)
{calling}

-- ## promote
-- Line up due jobs, in the order of their times. Jobs are locked before they are unparked, as everywhere. A job that
-- another transaction is changing waits until the next look, and so does one that was postponed since.
WITH due AS MATERIALIZED (
    SELECT job, due_at FROM @parked WHERE due_at <= :now ORDER BY due_at LIMIT :limit
), held AS MATERIALIZED (
    SELECT due.due_at, j.id
    FROM due CROSS JOIN LATERAL (
        SELECT id FROM @jobs
        WHERE id = due.job AND state IN ('scheduled', 'blocked') AND (run_at <= :now OR run_at IS NULL)
        FOR UPDATE SKIP LOCKED
    ) AS j
), numbered AS MATERIALIZED (
    SELECT id, nextval(:sequence::regclass) AS seq FROM (SELECT id FROM held ORDER BY due_at) AS sorted
), moved AS (
    UPDATE @jobs AS j SET seq = n.seq, state = 'pending', version = version + 1, reason = NULL
    FROM numbered n WHERE j.id = ANY (ARRAY[n.id])
    RETURNING j.lane, j.seq, j.id
), taken AS (
    DELETE FROM @parked WHERE job = ANY (ARRAY(SELECT id FROM moved))
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM moved RETURNING job
)
SELECT job, ({calling_all})
FROM lined_up

-- ## checkpoint
-- Save the state of a long job if it still has its lease, and return the request to it. A slice that is saved twice,
-- because a reply was lost, counts once. epoch and advanced_at belong to the last slice, not to mere progress.
WITH held AS (
    SELECT job FROM @leases WHERE job = :job AND epoch = :epoch AND runner = :runner FOR UPDATE
)
INSERT INTO @checkpoints AS c (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept)
SELECT job, :epoch::int * :step::int, :step::int, :done, :total::bigint, :now, CASE WHEN :step::int > 0 THEN :now END, :pace,
    CASE WHEN :has_note::int > 0 THEN :note::text END, :cursors, :kept FROM held
ON CONFLICT (job) DO UPDATE SET
    epoch = CASE WHEN :step::int > 0 THEN excluded.epoch ELSE c.epoch END,
    advanced_at = coalesce(excluded.advanced_at, c.advanced_at),
    slices = c.slices + CASE
        WHEN (c.epoch, c.done, c.pace, c.cursors, c.kept)
            = (excluded.epoch, excluded.done, excluded.pace, excluded.cursors, excluded.kept) THEN 0
        ELSE :step::int END,
    done = excluded.done, total = excluded.total,
    updated_at = excluded.updated_at, pace = excluded.pace, note = excluded.note,
    cursors = excluded.cursors, kept = excluded.kept
RETURNING (SELECT action FROM @controls WHERE job = :job) AS request

-- ## enter_lanes
-- Enter the lanes of jobs that workers of version 1 of the schema parked; of those that no other transaction changes.
UPDATE @parked SET lane = coalesce((SELECT lane FROM @jobs j WHERE j.id = ANY (ARRAY[@parked.job])), 0)
WHERE job = ANY (ARRAY(SELECT job FROM @parked WHERE lane IS NULL ORDER BY job LIMIT :limit FOR UPDATE SKIP LOCKED))
RETURNING job

-- ## lock_keys
-- Return the jobs behind keys, and keep others from handing these over until the end of this transaction.
-- rows: tenant text, scope text, key text
SELECT k.tenant, k.scope, k.key, k.job, k.fingerprint, coalesce(k.expires_at <= :now, false)
FROM {rows} CROSS JOIN LATERAL (
    SELECT tenant, scope, key, job, fingerprint, expires_at FROM @keys
    WHERE tenant = r.tenant AND scope = r.scope AND key = r.key OFFSET 0 FOR UPDATE
) AS k

-- ## wake
-- Notify idle runners to look.
SELECT pg_notify(:channel, '')

-- ## give_back
-- Return jobs that were claimed but not started to their old positions; nothing is spent. The number under which the
-- start was told is that of the return.
-- rows: job uuid, epoch int
WITH ending AS MATERIALIZED (
    SELECT l.place FROM {rows}
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM @leases WHERE job = r.job AND epoch = r.epoch AND runner = :runner OFFSET 0
    ) AS l
), ended AS (
    DELETE FROM @leases WHERE ctid = ANY (ARRAY(SELECT place FROM ending)) RETURNING job, epoch
), raised AS (
    UPDATE @jobs AS j SET epoch = e.epoch, version = j.version + 1 FROM ended e WHERE j.id = ANY (ARRAY[e.job])
    RETURNING j.lane, j.seq, j.id
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM raised RETURNING job
)
SELECT (SELECT count(*) FROM ended), (SELECT count(*) FROM lined_up), ({calling_all})

-- ── finding ────────────────────────────────────────────────────────────────────────────────────────

-- ## error_type
-- part
-- The class of an error, unless a codec packed it.
(CASE WHEN substr(j.error, 1, 1) = '{' THEN j.error::json ->> 'type' END)

-- ## schedule_of
-- part
-- The schedule of a job.
(j.options::json ->> 'schedule')

-- ## metadata
-- part
-- An entry of the metadata as text.
CASE json_typeof(j.options::json #> string_to_array(CAST(:path AS text), '.'))
    WHEN 'null' THEN 'null' ELSE j.options::json #>> string_to_array(CAST(:path AS text), '.') END

-- ## metadata_number
-- part
-- An entry of the metadata that is a number.
CASE WHEN json_typeof(j.options::json #> string_to_array(CAST(:path AS text), '.')) = 'number'
    THEN CAST(j.options::json #>> string_to_array(CAST(:path AS text), '.') AS numeric) END

-- ## argument
-- part
-- An argument as text.
CASE WHEN substr(j.arguments, 1, 1) = '{' THEN
    CASE json_typeof(j.arguments::json #> string_to_array(CAST(:path AS text), '.'))
        WHEN 'null' THEN 'null' ELSE j.arguments::json #>> string_to_array(CAST(:path AS text), '.') END
END

-- ## argument_number
-- part
-- An argument that is a number.
CASE WHEN substr(j.arguments, 1, 1) = '{' AND json_typeof(j.arguments::json #> string_to_array(CAST(:path AS text), '.')) = 'number'
    THEN CAST(j.arguments::json #>> string_to_array(CAST(:path AS text), '.') AS numeric) END

-- ## forget_jobs
-- Remove jobs that are over, unless they were retried meanwhile or another process works on them; return a row for
-- each.
-- pairs: job uuid, finished_at bigint
WITH leaving AS MATERIALIZED (
    SELECT j.place
    FROM {rows}
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM @jobs
        WHERE id = r.job AND state IN ('completed', 'failed', 'cancelled') AND finished_at = r.finished_at
            AND {not_needed} AND {not_in_stock}
        FOR UPDATE SKIP LOCKED
    ) AS j
)
DELETE FROM @jobs WHERE ctid = ANY (ARRAY(SELECT place FROM leaving)) RETURNING 1

-- ## drop_logs
-- Remove what jobs logged, unless they were retried meanwhile or another process removes it.
-- pairs: job uuid, finished_at bigint
DELETE FROM @logs WHERE ctid = ANY (ARRAY(
    SELECT l.ctid FROM {rows}
    JOIN @jobs j ON j.id = r.job AND j.finished_at = r.finished_at
    JOIN @logs l ON l.job = j.id
    FOR UPDATE OF l SKIP LOCKED
))

-- ## drop_results
-- Replace results by the mark that they are gone, unless the job was retried meanwhile or another process works on it.
-- pairs: job uuid, finished_at bigint
WITH emptied AS MATERIALIZED (
    SELECT j.place
    FROM {rows}
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM @jobs
        WHERE id = r.job AND state = 'completed' AND finished_at = r.finished_at AND {not_in_stock}
        FOR UPDATE SKIP LOCKED
    ) AS j
)
UPDATE @jobs SET result = :gone WHERE ctid = ANY (ARRAY(SELECT place FROM emptied))

-- ## by_dead
-- part
-- Give dead letters of lanes, in the order in which they died; as `by_lane`, but of many that died at one moment a look
-- may give more. Those whose lane is not entered yet, because a worker of version 1 of the schema parked them, are few.
-- Pairs are compared, and a lane is looked at by itself, because statistics would lead the plan through all dead letters.
-- rows: lane int
WITH ends AS MATERIALIZED (
    SELECT (
        SELECT p.since FROM @parked p
        WHERE p.state = 'failed' AND (p.lane, p.since) {until} (r.lane, :near_at)
            AND (p.lane, p.since) {within} (r.lane, :far_at) AND (p.since {beyond} :near_at OR p.job {beyond} :near)
        ORDER BY p.lane {order}, p.since {order} LIMIT 1 OFFSET :share
    ) AS since FROM {rows}
),
nearest AS MATERIALIZED (
    SELECT (SELECT since FROM ends WHERE since IS NOT NULL ORDER BY since {order} LIMIT 1) AS since
),
of_lanes AS MATERIALIZED (
    SELECT dead.job AS id, dead.since AS at FROM nearest CROSS JOIN {rows} CROSS JOIN LATERAL (
        SELECT p.job, p.since FROM @parked p
        WHERE p.state = 'failed' AND (p.lane, p.since) {until} (r.lane, :near_at)
            AND (p.lane, p.since) {within} (r.lane, coalesce(nearest.since, :far_at))
            AND (p.since {beyond} :near_at OR p.job {beyond} :near)
        OFFSET 0
    ) AS dead
    UNION ALL
    SELECT p.job, p.since FROM nearest CROSS JOIN @parked p
    WHERE p.state = 'failed' AND p.lane IS NULL
        AND (SELECT j.lane FROM @jobs j WHERE j.id = p.job) IN (SELECT r.lane FROM {rows})
        AND p.since {until} :near_at AND p.since {within} coalesce(nearest.since, :far_at)
        AND (p.since {beyond} :near_at OR p.job {beyond} :near)
)
SELECT id, at FROM of_lanes ORDER BY at {order}, id {order} LIMIT :window

-- ## by_lane
-- part
-- Give jobs of lanes. Each lane is looked at for :share jobs. The range ends where the first lane has more than these,
-- so every lane is known in all of it. Pairs are compared, because no other index has their order: statistics cannot
-- lead a plan through the jobs of other lanes. Each lane is looked at by itself (OFFSET 0), or statistics would lead it
-- through all jobs once for each lane.
-- rows: lane int
WITH ends AS MATERIALIZED (
    SELECT (
        SELECT i.id FROM @jobs i
        WHERE (i.lane, i.id) {beyond} (r.lane, :near) AND (i.lane, i.id) {within} (r.lane, :far)
        ORDER BY i.lane {order}, i.id {order} LIMIT 1 OFFSET :share
    ) AS id FROM {rows}
),
nearest AS MATERIALIZED (
    SELECT (SELECT id FROM ends WHERE id IS NOT NULL ORDER BY id {order} LIMIT 1) AS id
),
of_lanes AS MATERIALIZED (
    SELECT near.id FROM nearest CROSS JOIN {rows} CROSS JOIN LATERAL (
        SELECT i.id FROM @jobs i
        WHERE (i.lane, i.id) {beyond} (r.lane, :near)
            AND (i.lane, i.id) {within} (r.lane, coalesce(nearest.id, :far))
        OFFSET 0
    ) AS near
)
SELECT id, CAST(0 AS bigint) AS at FROM of_lanes ORDER BY id {order} LIMIT :window

-- ## by_tenant
-- part
-- Give jobs of tenants; as `by_lane`.
-- rows: tenant text
WITH ends AS MATERIALIZED (
    SELECT (
        SELECT i.id FROM @jobs i
        WHERE i.tenant IS NOT NULL AND (i.tenant, i.id) {beyond} (r.tenant, :near) AND (i.tenant, i.id) {within} (r.tenant, :far)
        ORDER BY i.tenant {order}, i.id {order} LIMIT 1 OFFSET :share
    ) AS id FROM {rows}
),
nearest AS MATERIALIZED (
    SELECT (SELECT id FROM ends WHERE id IS NOT NULL ORDER BY id {order} LIMIT 1) AS id
),
of_tenants AS MATERIALIZED (
    SELECT near.id FROM nearest CROSS JOIN {rows} CROSS JOIN LATERAL (
        SELECT i.id FROM @jobs i
        WHERE i.tenant IS NOT NULL AND (i.tenant, i.id) {beyond} (r.tenant, :near)
            AND (i.tenant, i.id) {within} (r.tenant, coalesce(nearest.id, :far))
        OFFSET 0
    ) AS near
)
SELECT id, CAST(0 AS bigint) AS at FROM of_tenants ORDER BY id {order} LIMIT :window

-- ## by_cause
-- part
-- Give dead letters of groups of errors; as `by_lane`. A group is looked at by itself, as in `by_dead`.
-- rows: cause text
WITH ends AS MATERIALIZED (
    SELECT (
        SELECT p.job FROM @parked p
        WHERE p.cause IS NOT NULL AND (p.cause, p.job) {beyond} (r.cause, :near)
            AND (p.cause, p.job) {within} (r.cause, :far)
        ORDER BY p.cause {order}, p.job {order} LIMIT 1 OFFSET :share
    ) AS job FROM {rows}
),
nearest AS MATERIALIZED (
    SELECT (SELECT job FROM ends WHERE job IS NOT NULL ORDER BY job {order} LIMIT 1) AS job
),
of_causes AS MATERIALIZED (
    SELECT dead.job AS id FROM nearest CROSS JOIN {rows} CROSS JOIN LATERAL (
        SELECT p.job FROM @parked p
        WHERE p.cause IS NOT NULL AND (p.cause, p.job) {beyond} (r.cause, :near)
            AND (p.cause, p.job) {within} (r.cause, coalesce(nearest.job, :far))
        OFFSET 0
    ) AS dead
)
SELECT id, CAST(0 AS bigint) AS at FROM of_causes ORDER BY id {order} LIMIT :window

-- ── figures ────────────────────────────────────────────────────────────────────────────────────────

-- ## take_tallies
-- Remove the first tallies of a span that began between two moments, without those that another process folds; return
-- them.
DELETE FROM @tallies WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM @tallies WHERE span = :span AND began_at >= :begin AND began_at < :end
    ORDER BY began_at, queue, kind, tenant, happened, source LIMIT :limit FOR UPDATE SKIP LOCKED))
RETURNING began_at, queue, kind, tenant, happened, source, count AS times, micros, histogram

-- ## forget_identities
-- Remove identities of jobs that no longer exist, unless a new job took them meanwhile or another process works on them.
-- rows: tenant text, scope text, key text, job uuid
WITH orphaned AS MATERIALIZED (
    SELECT k.place
    FROM {rows}
    CROSS JOIN LATERAL (
        SELECT ctid AS place FROM @keys
        WHERE tenant = r.tenant AND scope = r.scope AND key = r.key AND job = r.job
        FOR UPDATE SKIP LOCKED
    ) AS k
)
DELETE FROM @keys WHERE ctid = ANY (ARRAY(SELECT place FROM orphaned))

-- ## forget_keys
-- Delete expired keys, unless another process works on them at this moment.
DELETE FROM @keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM @keys WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit FOR UPDATE SKIP LOCKED))
RETURNING 1

-- ── conditions ─────────────────────────────────────────────────────────────────────────────────────

-- ## forget_incidents
-- Forget what went wrong before a moment.
DELETE FROM @incidents WHERE ctid = ANY (ARRAY(SELECT ctid FROM @incidents WHERE at < :before FOR UPDATE SKIP LOCKED))

-- ## forget_reports
-- Forget reports of what was over before a moment, unless an incident is still there of which they tell.
DELETE FROM @alarms WHERE ctid = ANY (ARRAY(
    SELECT a.ctid FROM @alarms a WHERE a.since IS NULL AND a.through < :before
        AND NOT EXISTS (SELECT 1 FROM @incidents i WHERE i.subject = a.subject)
    FOR UPDATE OF a SKIP LOCKED))

-- ── the stream ─────────────────────────────────────────────────────────────────────────────────────

-- ## tell_submitted
-- Tell the stream of jobs that this very commit made, and not an earlier one whose reply was lost.
-- rows: job uuid
INSERT INTO @stream (at, name, attempt, jobs)
SELECT :now, 'submitted', 1, json_agg(r.job ORDER BY r.ordinal)::text
FROM {rows} WHERE (SELECT created_at FROM @jobs WHERE id = r.job) = :moment::bigint
HAVING count(*) > 0

-- ## stream_state
-- Return which life of the stream this is, the places that are kept (here: ticks), whether there is news since the last
-- tick, and whether that tick is of another server.
SELECT (SELECT value FROM @meta WHERE name = 'stream') AS life,
    coalesce((SELECT number FROM @ticks ORDER BY number LIMIT 1), 0) AS oldest_tick,
    coalesce(newest.number, 0) AS newest_tick, 0::bigint AS oldest_place, 0::bigint AS newest_place,
    0::bigint AS newest_mark,
    EXISTS (SELECT 1 FROM @stream WHERE xid >= pg_snapshot_xmax(newest.snapshot))
        OR EXISTS (SELECT 1 FROM @stream WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(newest.snapshot)))) AS has_news,
    coalesce(pg_snapshot_xmax(newest.snapshot) > pg_snapshot_xmax(pg_current_snapshot()), false) AS is_foreign
FROM (SELECT 1) AS one LEFT JOIN (SELECT number, snapshot FROM @ticks ORDER BY number DESC LIMIT 1) AS newest ON true

-- ## tick
-- Mark how far the stream is, if there is news since the last tick, or none yet. If there is much, only so many rows are
-- in it, and those of one more transaction: its snapshot is the present one, without all transactions that began after
-- those. Returns whether it was cut. No row: nothing is new, or another process marked it.
INSERT INTO @ticks (number, at, snapshot)
SELECT coalesce(newest.number, 0) + 1, :now, CASE WHEN cut.xid IS NULL THEN pg_current_snapshot() ELSE CAST(concat(
    least(cut.xid, pg_snapshot_xmin(pg_current_snapshot())), ':', cut.xid, ':', (
        SELECT string_agg(open.xid::text, ',' ORDER BY open.xid)
        FROM pg_snapshot_xip(pg_current_snapshot()) AS open(xid) WHERE open.xid < cut.xid)) AS pg_snapshot) END
FROM (SELECT 1) AS one LEFT JOIN (SELECT number, snapshot FROM @ticks ORDER BY number DESC LIMIT 1) AS newest ON true
LEFT JOIN LATERAL (
    SELECT xid FROM @stream WHERE xid > (
        SELECT xid FROM @stream WHERE xid >= pg_snapshot_xmax(newest.snapshot) ORDER BY xid, place
        OFFSET :limit::integer - 1 LIMIT 1)
    ORDER BY xid LIMIT 1) AS cut ON true
WHERE newest.number IS NULL
    OR EXISTS (SELECT 1 FROM @stream WHERE xid >= pg_snapshot_xmax(newest.snapshot))
    OR EXISTS (SELECT 1 FROM @stream WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(newest.snapshot))))
ON CONFLICT (number) DO NOTHING
RETURNING number, pg_snapshot_xmax(snapshot) < pg_snapshot_xmax(pg_current_snapshot()) AS is_cut

-- ## told_between
-- Return what became visible with one tick, from a place in it: what its snapshot sees and the one before did not.
SELECT s.place, s.at, s.name, s.attempt, s.version, s.jobs, s.detail
FROM @ticks p JOIN @ticks c ON c.number = p.number + 1
CROSS JOIN LATERAL (
    SELECT * FROM @stream WHERE xid >= pg_snapshot_xmax(p.snapshot) AND xid < pg_snapshot_xmax(c.snapshot)
    UNION ALL
    SELECT * FROM @stream WHERE xid = ANY (ARRAY(SELECT pg_snapshot_xip(p.snapshot)))
) AS s
WHERE p.number = :tick::bigint - 1 AND s.place >= :place::bigint AND pg_visible_in_snapshot(s.xid, c.snapshot)
ORDER BY s.place
LIMIT :limit

-- ## mark_of_place
-- Do nothing: ticks tell whether the server is another one.
SELECT 0::bigint WHERE :place::bigint < 0

-- ## forget_told
-- Forget ticks before a moment, though not the newest, and what became visible with them. Return how many rows left.
WITH kept AS (
    SELECT number, snapshot FROM @ticks
    WHERE at >= :before OR number = (SELECT max(number) FROM @ticks) ORDER BY number LIMIT 1
), past AS (
    DELETE FROM @ticks WHERE number IN (
        SELECT number FROM @ticks WHERE number < (SELECT number FROM kept) FOR UPDATE SKIP LOCKED)
), gone AS (
    DELETE FROM @stream WHERE (xid, place) IN (
        SELECT xid, place FROM @stream WHERE xid < (SELECT pg_snapshot_xmin(snapshot) FROM kept)
        ORDER BY xid, place LIMIT :limit FOR UPDATE SKIP LOCKED)
    RETURNING 1
)
SELECT count(*) FROM gone

-- ## begin_stream_anew
-- Forget the stream of another server, whose transactions have other numbers.
DELETE FROM @stream;
DELETE FROM @ticks

-- ## move_reader
-- Move a durable reader on. No row: another process did so meanwhile, or is doing so at this moment.
UPDATE @readers SET place = :place, moved_at = :now, unwatched_at = NULL WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM @readers
    WHERE name = :name AND place = :known AND coalesce(unwatched_at, 0) = :unwatched FOR UPDATE SKIP LOCKED))
RETURNING name

-- ## forget_watchers
-- Forget watchers whose process ended without a word.
DELETE FROM @watchers WHERE ctid = ANY (ARRAY(SELECT ctid FROM @watchers WHERE until <= :now FOR UPDATE SKIP LOCKED))
RETURNING name

-- ## forget_readers
-- Forget durable readers that no process moved for long.
DELETE FROM @readers WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM @readers WHERE moved_at < :before FOR UPDATE SKIP LOCKED))

-- ── joins ──────────────────────────────────────────────────────────────────────────────────────────

-- ## awaited_among
-- Return which of these jobs others wait for: jobs, a stock, or both.
-- rows: job uuid
SELECT j.id, CASE
    WHEN (SELECT 1 FROM @stocked s WHERE s.job = j.id LIMIT 1) IS NULL THEN 'jobs'
    WHEN j.parent IS NULL AND (SELECT 1 FROM @edges e WHERE e.job = j.id LIMIT 1) IS NULL THEN 'stock'
    ELSE 'both' END
FROM {rows} CROSS JOIN @jobs j WHERE j.id = ANY (ARRAY[r.job]) AND j.awaited

-- ## await_jobs
-- Lock jobs and mark them as awaited; return their states. A completion that is under way is waited for.
-- rows: job uuid
WITH locked AS MATERIALIZED (
    SELECT j.id, j.state, j.awaited FROM {rows}
    CROSS JOIN LATERAL (SELECT id, state, awaited FROM @jobs WHERE id = r.job OFFSET 0 FOR UPDATE) AS j
), marked AS (
    UPDATE @jobs AS j SET awaited = true FROM locked WHERE j.id = ANY (ARRAY[locked.id]) AND NOT locked.awaited
)
SELECT id, state FROM locked

-- ## take_ends
-- Lock some ends that are not counted yet, and that no other process counts at this moment.
SELECT id, jobs FROM @ends ORDER BY id LIMIT :limit FOR UPDATE SKIP LOCKED

-- ## meet_edges
-- Mark edges that ends of jobs meet; return them.
-- rows: job uuid, state text
WITH meeting AS MATERIALIZED (
    SELECT e.job, e.dependent FROM {rows}
    CROSS JOIN LATERAL (
        SELECT job, dependent FROM @edges
        WHERE job = r.job AND NOT met AND needs IN (r.state, 'over') ORDER BY dependent LIMIT :limit FOR UPDATE
    ) AS e LIMIT :limit
)
UPDATE @edges AS e SET met = true FROM meeting m WHERE e.job = ANY (ARRAY[m.job]) AND e.dependent = ANY (ARRAY[m.dependent])
RETURNING e.dependent, e.job

-- ## count_joins
-- Lock joins in the order of their jobs, and count; return what they wait for now.
-- rows: job uuid, met int, ended int, failed int
WITH locked AS MATERIALIZED (
    SELECT r.* FROM {rows}
    CROSS JOIN LATERAL (SELECT job FROM @joins WHERE job = r.job OFFSET 0 FOR UPDATE) AS k
)
UPDATE @joins AS k SET missing = missing - r.met, open = open - r.ended, failed = k.failed + r.failed
FROM locked r WHERE k.job = ANY (ARRAY[r.job])
RETURNING k.job, missing, open, k.failed, total, skipped, asked, phase, wait, width, passed

-- ## hold_lease
-- Keep the lease of an attempt until the end of this transaction. No row: it has none.
SELECT job FROM @leases WHERE job = :job AND epoch = :epoch AND runner = :runner FOR UPDATE

-- ## lock_family
-- Lock the join of a job, and that of its parent, in order.
SELECT job, missing, open, failed, total, skipped, asked, phase, wait, width, passed FROM @joins
WHERE job = ANY (ARRAY[CAST(:job AS uuid), (SELECT parent FROM @jobs WHERE id = CAST(:job AS uuid))]) ORDER BY job FOR UPDATE

-- ## lock_jobs
-- Lock jobs in the given order, until the end of this transaction.
-- rows: job uuid
SELECT j.id AS job, j.state, j.run_at, :now AS now FROM {rows}
CROSS JOIN LATERAL (SELECT id, state, run_at FROM @jobs WHERE id = r.job OFFSET 0 FOR UPDATE) AS j

-- ## line_up_waiting
-- Line up jobs that have nothing left to wait for. That is their time, from which their waiting is measured.
-- rows: job uuid
WITH numbered AS MATERIALIZED (
    SELECT r.job, nextval(:sequence::regclass) AS seq FROM {rows}
), taken AS (
    DELETE FROM @parked WHERE job = ANY (ARRAY(SELECT job FROM numbered))
), moved AS (
    UPDATE @jobs AS j SET state = 'pending', version = version + 1, reason = NULL, run_at = :now, seq = n.seq
    FROM numbered n WHERE j.id = ANY (ARRAY[n.job])
    RETURNING j.lane, j.seq, j.id
), lined_up AS (
    INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM moved
)
{calling_all}

-- ## server_state
-- Return how far the slowest replica is behind, the position of the log, the age of the oldest transaction of others, and
-- whether this role may see what others do.
SELECT
    CAST((SELECT extract(epoch FROM max(replay_lag)) * 1000000 FROM pg_stat_replication) AS bigint) AS replica_lag,
    CAST(CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') END AS bigint) AS log_position,
    CAST((
        SELECT extract(epoch FROM clock_timestamp() - min(xact_start)) * 1000000 FROM pg_stat_activity
        WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()
    ) AS bigint) AS oldest_transaction,
    CAST(pg_has_role('pg_read_all_stats', 'USAGE') AS int) AS may_see

-- ## dead_rows
-- Return how many dead rows a table has, as the server counts them.
SELECT n_dead_tup FROM pg_stat_user_tables WHERE relid = to_regclass(:name)

-- ── stocks ─────────────────────────────────────────────────────────────────────────────────────────

-- ## see_stocks
-- Write what code declares of stocks, and that a worker attends to them, where no other process holds the row.
-- rows: name text, declared text
WITH free AS MATERIALIZED (
    SELECT s.name, s.tenant, r.declared FROM {rows} JOIN @stocks s ON s.name = r.name
    ORDER BY s.name, s.tenant FOR UPDATE OF s SKIP LOCKED
)
UPDATE @stocks AS s SET seen_at = :now, declared = f.declared FROM free f WHERE s.name = f.name AND s.tenant = f.tenant

-- ## hold_shelf
-- Lock a shelf against other processes that order for it; return its live level, and whether it is being refilled. No
-- row: another process orders at this moment.
SELECT level, refilling FROM @stocks WHERE name = :stock AND tenant = :tenant FOR UPDATE SKIP LOCKED

-- ## take_stock
-- Take the oldest results from a shelf that are not stale, and that no other transaction takes; return their jobs,
-- results, options, and when they were made.
WITH head AS MATERIALIZED (
    SELECT job FROM @stocked
    WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'made' AND since > :now - :ttl::bigint
        AND since >= :mark
    ORDER BY since LIMIT :count FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE @stocked SET state = 'taken', since = :now WHERE job = ANY (ARRAY(SELECT job FROM head)) RETURNING job
)
SELECT j.id, j.result, j.options, coalesce(j.finished_at, 0)
FROM taken CROSS JOIN LATERAL (
    SELECT id, result, options, finished_at FROM @jobs WHERE id = taken.job AND state = 'completed' OFFSET 0) AS j

-- ## tidy_shelf
-- Remove entries of a shelf that have been in a state for a time, and that no other transaction holds; return them.
DELETE FROM @stocked WHERE job = ANY (ARRAY(
    SELECT job FROM @stocked
    WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = :state AND since <= :now - :span::bigint
    ORDER BY since LIMIT :limit FOR UPDATE SKIP LOCKED))
RETURNING job, asked

-- ## tidy_keys
-- Remove results by key that are there for a time, and that no other transaction holds; return them.
DELETE FROM @stocked WHERE job = ANY (ARRAY(
    SELECT job FROM @stocked
    WHERE stock = :stock AND tenant = :tenant AND key <> '' AND state = 'made' AND since <= :now - :span::bigint
    LIMIT :limit FOR UPDATE SKIP LOCKED))
RETURNING job, asked

-- ## tidy_failed_keys
-- Remove entries by key whose jobs ended without a result some time ago, and that no other transaction holds; return them.
DELETE FROM @stocked WHERE job = ANY (ARRAY(
    SELECT job FROM @stocked
    WHERE stock = :stock AND tenant = :tenant AND key <> '' AND state = 'failed' AND since <= :now - :span::bigint
    LIMIT :limit FOR UPDATE SKIP LOCKED))
RETURNING job, asked

-- ## end_orders
-- Write how orders ended: their results can be taken, or they have none. A failed one that another transaction is
-- removing is left to it.
-- rows: job uuid
UPDATE @stocked SET state = :state, since = :now
WHERE state IN ('ordered', 'failed') AND job = ANY (ARRAY(
    SELECT s.job FROM {rows} CROSS JOIN LATERAL (
        SELECT job FROM @stocked WHERE job = r.job AND state = 'ordered' OFFSET 0) AS s
    UNION ALL
    SELECT s.job FROM {rows} CROSS JOIN LATERAL (
        SELECT job FROM @stocked WHERE job = r.job AND state = 'failed' OFFSET 0 FOR UPDATE SKIP LOCKED) AS s))

-- ## replace_by_key
-- Remove the results by key that newer ones replace. What another transaction holds stays: readers prefer the newest,
-- and tidying removes the rest.
-- rows: job uuid
DELETE FROM @stocked WHERE job = ANY (ARRAY(
    SELECT earlier.job FROM {rows}
    CROSS JOIN LATERAL (SELECT stock, tenant, key FROM @stocked WHERE job = r.job AND key <> '' OFFSET 0) AS made
    CROSS JOIN LATERAL (
        SELECT job FROM @stocked
        WHERE stock = made.stock AND tenant = made.tenant AND key = made.key AND state = 'made' AND job <> r.job
        OFFSET 0 FOR UPDATE SKIP LOCKED) AS earlier))

-- ## mark_asked
-- Note that a result by key was read, unless another transaction holds it at this moment.
UPDATE @stocked SET asked = true WHERE job = ANY (ARRAY(
    SELECT job FROM @stocked WHERE job = :job AND NOT asked FOR UPDATE SKIP LOCKED))

-- ## make_room
-- Remove the jobs without a result that held the places of these keys for long enough, and that no other transaction
-- holds.
-- rows: key text
DELETE FROM @stocked WHERE job = ANY (ARRAY(
    SELECT s.job FROM {rows} CROSS JOIN LATERAL (
        SELECT job FROM @stocked
        WHERE stock = :stock AND tenant = :tenant AND key = r.key AND state = 'failed' AND since <= :now - :hold::bigint
        OFFSET 0 FOR UPDATE SKIP LOCKED) AS s))

-- ## order_again
-- Note that jobs run again whose results are there: a shelf waits for them as for orders; a key has no result until the
-- next one is ordered. What another transaction takes or removes at this moment is left to it.
-- rows: job uuid
UPDATE @stocked SET state = 'ordered', since = :now WHERE job = ANY (ARRAY(
    SELECT s.job FROM {rows} CROSS JOIN LATERAL (
        SELECT job FROM @stocked WHERE job = r.job AND state = 'made' AND key = '' OFFSET 0 FOR UPDATE SKIP LOCKED) AS s));
DELETE FROM @stocked WHERE job = ANY (ARRAY(
    SELECT s.job FROM {rows} CROSS JOIN LATERAL (
        SELECT job FROM @stocked WHERE job = r.job AND state = 'made' AND key <> '' OFFSET 0 FOR UPDATE SKIP LOCKED) AS s))

-- ## move_stocked
-- Let results and orders of stocks that began in the future begin now; those that a transaction takes at this moment leave
-- anyway.
UPDATE @stocked SET since = :moment WHERE job = ANY (ARRAY(
    SELECT job FROM @stocked WHERE since > :moment::bigint + :tolerance::bigint FOR UPDATE SKIP LOCKED))
