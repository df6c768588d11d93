-- Statements that differ on SQLite. A batch is one JSON text and one step of a statement, so the interpreter lock is
-- released and taken back once, not once a row.

-- ## has_schema
-- Return whether our tables exist.
SELECT 1 FROM sqlite_schema WHERE name = '@meta'

-- ## enqueue
-- Insert jobs and line up those that may run now. There is one writer at a time, so the next position in a lane is
-- after the last; positions are moments, so that lanes can be compared. An existing id is left alone: the reply to an
-- earlier commit was lost. A pending job without a lease has its position in a lane, so lining up twice changes
-- nothing.
-- tells now
-- rows: id uuid, lane int, arguments text, run_at bigint, delay bigint, options text, tenant text, tags text, parent uuid
INSERT INTO @jobs (id, lane, seq, created_at, run_at, state, arguments, options, tenant, tags, parent)
SELECT r.id, r.lane,
    max(:now, 1 + coalesce((SELECT max(seq) FROM @ready WHERE lane = r.lane), 0)) + r.ordinal,
    :now, coalesce(r.run_at, :now + r.delay),
    CASE WHEN coalesce(r.run_at, :now + r.delay) > :now THEN 'scheduled' ELSE 'pending' END,
    r.arguments, r.options, r.tenant, r.tags, r.parent
FROM {rows}
WHERE abs(:now / 1000 - :made_at) < :tolerance / 1000
ON CONFLICT (id) DO NOTHING;
{line_up_new};
INSERT INTO @parked (job, state, due_at, since, place, lane)
SELECT j.id, j.state, j.run_at, :now, CASE WHEN r.run_at IS NULL THEN 0 END, j.lane FROM {rows} CROSS JOIN @jobs j ON j.id = r.id
WHERE coalesce(r.run_at, r.delay) IS NOT NULL AND j.state = 'scheduled'
    AND NOT EXISTS (SELECT 1 FROM @leases WHERE job = j.id)
ON CONFLICT (job) DO NOTHING

-- ## line_up_new
-- part
-- Line up jobs that may run now; one with a lease was lined up before, and claimed.
INSERT INTO @ready (lane, seq, job)
SELECT j.lane, j.seq, j.id FROM {rows} CROSS JOIN @jobs j ON j.id = r.id
WHERE j.state = 'pending' AND NOT EXISTS (SELECT 1 FROM @leases WHERE job = j.id)
ON CONFLICT (lane, seq) DO NOTHING

-- ## enqueue_alike
-- Insert jobs that may run now and differ only in their arguments: as `enqueue` does, for a fifth of its cost.
-- tells now
-- pairs: id uuid, arguments text
INSERT INTO @jobs (id, lane, seq, created_at, state, arguments, options, tenant, tags)
SELECT r.id, :lane, last.seq + r.ordinal, :now, 'pending', r.arguments, :options, :tenant, :tags
FROM (SELECT max(:now, 1 + coalesce((SELECT max(seq) FROM @ready WHERE lane = :lane), 0)) AS seq) AS last
CROSS JOIN {rows}
WHERE abs(:now / 1000 - :made_at) < :tolerance / 1000
ON CONFLICT (id) DO NOTHING;
{line_up_new}

-- ## enqueue_one
-- Insert one job that may run now: as `enqueue` does, for a third of the cost of a batch of one. Missing values are
-- empty texts here, because the driver takes ten times as long for a NULL.
-- tells now
INSERT INTO @jobs (id, lane, seq, created_at, state, arguments, options, tenant, tags)
SELECT :id, :lane, max(:now, 1 + coalesce((SELECT max(seq) FROM @ready WHERE lane = :lane), 0)), :now, 'pending',
    :arguments, nullif(:options, ''), nullif(:tenant, ''), nullif(:tags, '')
WHERE abs(:now / 1000 - :made_at) < :tolerance / 1000
ON CONFLICT (id) DO NOTHING;
INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM @jobs WHERE id = :id AND changes() > 0

-- ## enqueue_family
-- Insert jobs of which others wait for some, or that wait themselves: as `enqueue` does. Those with a reason are blocked.
-- tells now
-- rows: id uuid, lane int, arguments text, run_at bigint, delay bigint, options text, tenant text, tags text, parent uuid, awaited int, reason text
INSERT INTO @jobs (id, lane, seq, created_at, run_at, state, reason, arguments, options, tenant, tags, parent, awaited)
SELECT r.id, r.lane, max(:now, 1 + coalesce((SELECT max(seq) FROM @ready WHERE lane = r.lane), 0)) + r.ordinal,
    :now, coalesce(r.run_at, CASE WHEN r.reason IS NULL THEN :now + r.delay END),
    CASE WHEN r.reason IS NOT NULL THEN 'blocked' WHEN coalesce(r.run_at, :now + r.delay) > :now THEN 'scheduled'
        ELSE 'pending' END,
    r.reason, r.arguments, r.options, r.tenant, r.tags, r.parent, r.awaited
FROM {rows}
WHERE abs(:now / 1000 - :made_at) < :tolerance / 1000
ON CONFLICT (id) DO NOTHING;
{line_up_new};
INSERT INTO @parked (job, state, due_at, since, place, lane)
SELECT j.id, j.state, CASE j.state WHEN 'scheduled' THEN j.run_at END, :now,
    CASE WHEN j.state = 'scheduled' AND r.run_at IS NULL THEN 0 END, j.lane
FROM {rows} CROSS JOIN @jobs j ON j.id = r.id
WHERE j.state IN ('scheduled', 'blocked') AND NOT EXISTS (SELECT 1 FROM @leases WHERE job = j.id)
ON CONFLICT (job) DO NOTHING

-- ## filled_lanes
-- Return lanes that hold jobs, with the positions of their heads: two steps of an index for each, however many lanes
-- there are.
-- picks
WITH RECURSIVE filled(lane) AS (
    SELECT min(lane) FROM @ready
    UNION ALL
    SELECT (SELECT min(lane) FROM @ready WHERE lane > filled.lane) FROM filled WHERE filled.lane IS NOT NULL
)
SELECT json_group_array(json_array(lane, (SELECT min(seq) FROM @ready WHERE lane = filled.lane)))
FROM filled WHERE lane IS NOT NULL

-- ## shares
-- Return how many of the next jobs are in each lane, and the position of the last of them: higher priority first, then
-- first come, first served. {rows} is parsed once a lane: LIMIT keeps SQLite from repeating the parse at each use.
-- rows: lane int, after bigint, priority int
SELECT lane, count(*), max(seq) FROM (
    SELECT head.lane, head.seq FROM (SELECT * FROM {rows} LIMIT -1) AS r CROSS JOIN @ready head
    WHERE head.lane = r.lane AND head.seq > r.after AND head.seq <= coalesce(
        (SELECT seq FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT 1 OFFSET :room - 1),
        9223372036854775807)
    ORDER BY r.priority DESC, head.seq
    LIMIT :room
) AS chosen GROUP BY lane

-- ## within_share
-- part
-- Select what a lane gives: up to a position, or else as many as there is room for.
head.lane = r.lane AND head.seq > r.after AND head.seq <= coalesce(
    r.upto,
    (SELECT seq FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT 1 OFFSET :room - 1),
    9223372036854775807)

-- ## claim
-- Turn the heads of lanes into leases of one living runner. The picked jobs are found again by their positions, because
-- a row of {rows} is a whole lane: parsing JSON for each job would cost as much as all the rest.
-- rows: lane int, after bigint, share int, upto bigint
-- picks
SELECT json_group_array(json_array(job, epoch + 1, lane, seq, errors, crashes, losses, arguments, options, run_at))
FROM (
    SELECT head.job, j.epoch, head.lane, head.seq, j.errors, j.crashes, j.losses, :light_arguments AS arguments,
        j.options, j.run_at
    FROM {rows} CROSS JOIN @ready head CROSS JOIN @jobs j
    WHERE {within_share}
        AND j.id = head.job
        AND EXISTS (SELECT 1 FROM @runners WHERE id = :runner AND boot = :boot AND expires_at > :lease_now)
    ORDER BY head.seq
);
INSERT INTO @leases (job, epoch, runner, claimed_at)
SELECT j.id, j.epoch + 1, :runner, :now FROM {rows} CROSS JOIN @ready head CROSS JOIN @jobs j
WHERE {within_share}
    AND j.id = head.job;
DELETE FROM @ready WHERE (lane, seq) IN (
    SELECT head.lane, head.seq FROM {rows} CROSS JOIN @ready head
    WHERE {within_share})

-- ## claim_together
-- Turn the first jobs of several lanes, wherever they are, into leases of one living runner. The lanes are merged: the
-- first of their heads is taken, and the next job of its lane replaces it, so the cost is a step for each job and one
-- for each lane, however deep they are. The claim ends at one position for all lanes, so the other statements use
-- lanes, whose numbers are cheaper to parse than jobs.
-- pairs: lane int, after bigint
-- picks
WITH RECURSIVE merged(seq, lane) AS (
    SELECT (SELECT seq FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT 1), CAST(r.lane AS integer)
    FROM {rows}
    UNION ALL
    SELECT (SELECT seq FROM @ready AS next WHERE lane = merged.lane AND seq > merged.seq ORDER BY seq LIMIT 1), lane
    FROM merged WHERE seq IS NOT NULL
    ORDER BY 1 NULLS LAST, 2
    LIMIT :room
)
SELECT json_group_array(
    json_array(
        first.job, j.epoch + 1, first.lane, first.seq, errors, crashes, losses, :light_arguments, options, run_at))
FROM merged CROSS JOIN @ready first CROSS JOIN @jobs j
WHERE first.lane = merged.lane AND first.seq = merged.seq AND j.id = first.job
    AND EXISTS (SELECT 1 FROM @runners WHERE id = :runner AND boot = :boot AND expires_at > :lease_now);
INSERT INTO @leases (job, epoch, runner, claimed_at)
SELECT j.id, j.epoch + 1, :runner, :now
FROM (SELECT json_extract(:picked, '$[#-1][2]') AS lane, json_extract(:picked, '$[#-1][3]') AS seq) AS last
CROSS JOIN {rows} CROSS JOIN @ready head CROSS JOIN @jobs j
WHERE head.lane = r.lane AND head.seq > r.after
    AND head.seq <= last.seq AND (head.seq < last.seq OR head.lane <= last.lane) AND j.id = head.job;
DELETE FROM @ready WHERE (lane, seq) IN (
    SELECT head.lane, head.seq
    FROM (SELECT json_extract(:picked, '$[#-1][2]') AS lane, json_extract(:picked, '$[#-1][3]') AS seq) AS last
    CROSS JOIN {rows} CROSS JOIN @ready head
    WHERE head.lane = r.lane AND head.seq > r.after
        AND head.seq <= last.seq AND (head.seq < last.seq OR head.lane <= last.lane))

-- ## heads
-- Return the next jobs of each lane, oldest first.
-- rows: lane int, after bigint, priority int
SELECT r.lane, head.seq FROM {rows} CROSS JOIN @ready head
WHERE head.lane = r.lane AND head.seq > r.after AND head.seq <= coalesce(
    (SELECT seq FROM @ready WHERE lane = r.lane AND seq > r.after ORDER BY seq LIMIT 1 OFFSET :room - 1),
    9223372036854775807)

-- ## newest_heads
-- Return the next jobs of each lane, newest first.
-- rows: lane int, after bigint, priority int
SELECT r.lane, head.seq FROM {rows} CROSS JOIN @ready head
WHERE head.lane = r.lane AND head.seq >= coalesce(
    (SELECT seq FROM @ready WHERE lane = r.lane ORDER BY seq DESC LIMIT 1 OFFSET :room - 1), 0)

-- ## claim_newest
-- Turn the last jobs of lanes into leases of one living runner.
-- rows: lane int, after bigint, share int, upto bigint
-- picks
SELECT json_group_array(json_array(job, epoch + 1, lane, seq, errors, crashes, losses, arguments, options, run_at))
FROM (
    SELECT head.job, j.epoch, head.lane, head.seq, j.errors, j.crashes, j.losses, :light_arguments AS arguments,
        j.options, j.run_at
    FROM {rows} CROSS JOIN @ready head CROSS JOIN @jobs j
    WHERE head.lane = r.lane AND head.seq >= r.upto AND j.id = head.job
        AND EXISTS (SELECT 1 FROM @runners WHERE id = :runner AND boot = :boot AND expires_at > :lease_now)
    ORDER BY head.seq DESC
);
INSERT INTO @leases (job, epoch, runner, claimed_at)
SELECT j.id, j.epoch + 1, :runner, :now FROM {rows} CROSS JOIN @ready head CROSS JOIN @jobs j
WHERE head.lane = r.lane AND head.seq >= r.upto AND j.id = head.job;
DELETE FROM @ready WHERE (lane, seq) IN (
    SELECT head.lane, head.seq FROM {rows} CROSS JOIN @ready head WHERE head.lane = r.lane AND head.seq >= r.upto)

-- ## claim_places
-- Turn jobs at exactly these positions into leases of one living runner; missing ones are left out.
-- rows: lane int, seq bigint
-- picks
SELECT json_group_array(json_array(job, epoch + 1, lane, seq, errors, crashes, losses, arguments, options, run_at))
FROM (
    SELECT head.job, j.epoch, head.lane, head.seq, j.errors, j.crashes, j.losses, :light_arguments AS arguments,
        j.options, j.run_at
    FROM {rows} CROSS JOIN @ready head CROSS JOIN @jobs j
    WHERE head.lane = r.lane AND head.seq = r.seq AND j.id = head.job
        AND EXISTS (SELECT 1 FROM @runners WHERE id = :runner AND boot = :boot AND expires_at > :lease_now)
    ORDER BY head.seq
);
INSERT INTO @leases (job, epoch, runner, claimed_at)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), :runner, :now FROM json_each(:picked);
DELETE FROM @ready WHERE (lane, seq) IN (
    SELECT json_extract(value, '$[2]'), json_extract(value, '$[3]') FROM json_each(:picked))

-- ## jobs_at
-- Return what gates must know about jobs at these positions.
-- rows: lane int, seq bigint
SELECT r.lane, r.seq, found.job, j.tenant, :light_arguments AS arguments, j.options,
    (SELECT place FROM @sequences WHERE job = found.job) AS enqueued
FROM {rows} CROSS JOIN @ready found CROSS JOIN @jobs j
WHERE found.lane = r.lane AND found.seq = r.seq AND j.id = found.job

-- ## join_sequences
-- Give jobs that were just inserted their positions in sequences: after all earlier ones, because positions are
-- moments, and a clock may have been set back.
-- rows: gate text, job uuid
INSERT INTO @sequences (gate, place, job)
SELECT r.gate,
    max(j.seq, 1 + r.ordinal + coalesce((SELECT max(last.place) FROM @sequences last WHERE last.gate = r.gate), 0)), j.id
FROM {rows} CROSS JOIN @jobs j
WHERE j.id = r.job AND NOT EXISTS (SELECT 1 FROM @sequences own WHERE own.job = j.id AND own.gate = r.gate)

-- ## lock_gates
-- Lock gates until the end of this transaction; missing ones are left out.
-- rows: gate text
SELECT g.key FROM {rows} CROSS JOIN @gates g WHERE g.key = r.gate

-- ## gate_states
-- Return the states of gates: tokens, the last requirement, how many jobs are inside, one of them, the first held job,
-- and the first position of a sequence at which a job waits or runs.
-- rows: gate text
SELECT r.gate, g.through, g.most, g.step, g.burst,
    (SELECT count(*) FROM @taken WHERE gate = r.gate), (SELECT job FROM @taken WHERE gate = r.gate LIMIT 1),
    (SELECT rank FROM @parked WHERE gate = r.gate ORDER BY rank, place LIMIT 1),
    (SELECT place FROM @parked WHERE gate = r.gate ORDER BY rank, place LIMIT 1),
    (SELECT l.place FROM @sequences l JOIN @jobs j ON j.id = l.job
        WHERE l.gate = r.gate AND j.state IN ('pending', 'blocked') ORDER BY l.place LIMIT 1), g.used_at, :now
FROM {rows} CROSS JOIN @gates g WHERE g.key = r.gate

-- ## hold
-- Park jobs that a gate keeps out.
-- rows: lane int, seq bigint, job uuid, gate text, rank int, place bigint, reason text
UPDATE @jobs SET state = 'blocked', reason = r.reason FROM {rows} WHERE id = r.job;
INSERT INTO @parked (job, state, due_at, since, gate, rank, place, lane)
SELECT r.job, 'blocked', NULL, :now, r.gate, r.rank, r.place, r.lane FROM {rows} WHERE true;
DELETE FROM @ready WHERE (lane, seq) IN (SELECT r.lane, r.seq FROM {rows})

-- ## release_held
-- Line up the first jobs that are held before a gate, at their old positions. If a position was given away meanwhile,
-- as after a step of the clock, the job gets one at the end of the lane.
-- picks
SELECT json_group_array(json_array(job, twin)) FROM (
    SELECT first.job, row_number() OVER (PARTITION BY j.lane, j.seq ORDER BY first.place) AS twin
    FROM (SELECT job, rank, place FROM @parked WHERE gate = :gate ORDER BY rank, place LIMIT :room) AS first
    CROSS JOIN @jobs j ON j.id = first.job
    ORDER BY first.rank, first.place);
UPDATE @jobs SET state = 'pending', reason = NULL, seq = CASE
    WHEN first.twin > 1
        OR EXISTS (SELECT 1 FROM @ready taken WHERE taken.lane = @jobs.lane AND taken.seq = @jobs.seq)
    THEN max(:now, coalesce((SELECT max(ready.seq) FROM @ready ready WHERE ready.lane = @jobs.lane), 0)) + 1 + first.place
    ELSE seq END
FROM (
    SELECT json_extract(value, '$[0]') AS job, json_extract(value, '$[1]') AS twin, key AS place FROM json_each(:picked)
) AS first
WHERE id = first.job;
INSERT INTO @ready (lane, seq, job)
SELECT j.lane, j.seq, j.id FROM json_each(:picked) p CROSS JOIN @jobs j ON j.id = json_extract(p.value, '$[0]');
DELETE FROM @parked WHERE job IN (SELECT json_extract(value, '$[0]') FROM json_each(:picked))

-- ## hold_queue
-- Do nothing: there is one writer at a time, so what it counts stays true until its commit.
SELECT 1

-- ## hold_topic
-- Do nothing: there is one writer at a time.
SELECT 1

-- ## try_topic
-- Return true: there is one writer at a time.
SELECT 1

-- ## forget_signals
-- Delete expired signals.
DELETE FROM @signals WHERE (tenant, topic) IN (
    SELECT tenant, topic FROM @signals WHERE expires_at <= :now ORDER BY expires_at LIMIT :limit)
RETURNING topic

-- ## complete
-- End leases of one runner and one epoch and write results; return how many leases there were, how many jobs were
-- written, when, and whether any job waits for another, or a stock for a job. The name of the worker is stored as the reason, unless its runner
-- is no longer registered. A leased job exists, so nothing is ever inserted: UPDATE with FROM copies all rows first, and
-- takes half as long again.
-- pairs: job uuid, result text
INSERT INTO @jobs (id, epoch, result, started_at, finished_at, state, lane, seq, created_at, arguments)
SELECT r.job, :epoch, r.result, l.claimed_at, :now, 'completed', 0, 0, 0, ''
FROM {rows} CROSS JOIN @leases l WHERE l.job = r.job AND l.epoch = :epoch AND l.runner = :runner
ON CONFLICT (id) DO UPDATE SET
    state = excluded.state, epoch = excluded.epoch, version = version + 2, result = excluded.result,
    reason = (SELECT worker FROM @runners WHERE id = :runner),
    started_at = coalesce(started_at, excluded.started_at), finished_at = excluded.finished_at;
DELETE FROM @leases WHERE job IN (SELECT r.job FROM {rows}) AND epoch = :epoch AND runner = :runner;
SELECT changes(), changes(), :now,
    EXISTS (SELECT 1 FROM @joins) OR EXISTS (SELECT 1 FROM @stocked WHERE state IN ('ordered', 'failed'))

-- ## end_leases
-- End leases of one runner; return of each the job, the version that it will have, when it was claimed, for how long the
-- lease was held, the lane of the job, and whether anything watches the stream. No row: another process ended the lease.
-- pairs: job uuid, epoch int
-- picks
SELECT json_group_array(json_array(
    j.id, j.version + 2, l.claimed_at, :now - l.claimed_at, j.lane, EXISTS (SELECT 1 FROM @watchers)))
FROM {rows} CROSS JOIN @leases l CROSS JOIN @jobs j
WHERE l.job = r.job AND l.epoch = r.epoch AND l.runner = :runner AND j.id = l.job;
DELETE FROM @leases WHERE runner = :runner AND (job, epoch) IN (SELECT r.job, r.epoch FROM {rows})

-- ## settle
-- Write how attempts ended whose leases were ended: the jobs, their places if they are set aside, and the events. The
-- lane of a job is not set here: SQLite enters a row into an index anew if one of its columns is set, even to the same
-- value.
-- rows: job uuid, epoch int, version int, claimed_at bigint, state text, errors int, crashes int, interruptions int, reason text, lane int, error text, result text, wait bigint, is_final int, is_set_aside int, cause text, event text, detail text
-- row by row
UPDATE @jobs SET {settled} WHERE id = r.job;
INSERT INTO @parked (job, state, due_at, since, lane, cause)
SELECT r.job, r.state, CASE WHEN r.wait > 0 THEN :now + r.wait END, :now, r.lane, nullif(r.cause, '')
WHERE r.is_set_aside > 0;
INSERT INTO @events (job, version, at, name, detail)
SELECT r.job, r.version, :now, r.event, nullif(r.detail, '') WHERE r.event <> ''

-- ## record
-- Record an event under the version of the job that the same transaction made, and tell the stream if it is watched.
INSERT INTO @events (job, version, at, name, detail) VALUES (:job, :version, :now, :name, :detail);
INSERT INTO @stream (at, name, attempt, version, jobs)
SELECT :now, :name, errors + 1, :version, json_array(id) FROM @jobs
WHERE id = :job AND EXISTS (SELECT 1 FROM @watchers)

-- ## record_again
-- Replace the last event of its kind, and tell the stream if it is watched.
UPDATE @events SET version = :version, at = :now, detail = :detail WHERE job = :job AND version = :instead_of;
INSERT INTO @stream (at, name, attempt, version, jobs)
SELECT :now, e.name, j.errors + 1, :version, json_array(j.id) FROM @events e JOIN @jobs j ON j.id = e.job
WHERE e.job = :job AND e.version = :version AND EXISTS (SELECT 1 FROM @watchers)

-- ## unask_runner
-- Drop the requests to the runners of jobs; return them.
-- rows: job uuid
-- picks
SELECT json_group_array(json_array(c.job, c.action)) FROM {rows} CROSS JOIN @controls c WHERE c.job = r.job;
DELETE FROM @controls WHERE job IN (SELECT json_extract(value, '$[0]') FROM json_each(:picked))

-- ## lock_job
-- Lock a job until the end of this transaction.
SELECT j.state, j.lane, j.seq, j.run_at, :now AS now,
    lanes.queue, lanes.kind, lanes.priority, lanes.solo, lanes.tenant, lanes.keyed
FROM @jobs j JOIN @lanes lanes ON lanes.id = j.lane
WHERE j.id = :job

-- ## admit
-- Line a job up at the end of its lane.
UPDATE @jobs SET state = 'pending',
    seq = max(:now, 1 + coalesce((SELECT max(ready.seq) FROM @ready ready WHERE ready.lane = @jobs.lane), 0))
WHERE id = :job;
INSERT INTO @ready (lane, seq, job) SELECT lane, seq, id FROM @jobs WHERE id = :job

-- ## promote
-- Line up due jobs, in the order of their times.
-- picks
SELECT json_group_array(json_array(job, 0)) FROM (
    SELECT job FROM @parked WHERE due_at <= :now ORDER BY due_at LIMIT :limit);
UPDATE @jobs SET state = 'pending', version = version + 1, reason = NULL,
    seq = max(:now, 1 + coalesce((SELECT max(ready.seq) FROM @ready ready WHERE ready.lane = @jobs.lane), 0)) + due.place
FROM (SELECT json_extract(value, '$[0]') AS job, key AS place FROM json_each(:picked)) AS due
WHERE id = due.job;
INSERT INTO @ready (lane, seq, job)
SELECT j.lane, j.seq, j.id FROM json_each(:picked) p CROSS JOIN @jobs j ON j.id = json_extract(p.value, '$[0]');
DELETE FROM @parked WHERE job IN (SELECT json_extract(value, '$[0]') FROM json_each(:picked))

-- ## checkpoint
-- Save the state of a long job if it still has its lease, and return the request to it. A slice that is saved twice,
-- because a reply was lost, counts once. epoch and advanced_at belong to the last slice, not to mere progress. The
-- result is read afterwards: RETURNING would make a table for it, which takes as long as all the rest. The first
-- statement alone is a shortcut: without :even_if_asked it saves only if there is no request.
INSERT INTO @checkpoints AS c (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept)
SELECT job, epoch * :step, :step, :done, :total, :now, CASE WHEN :step > 0 THEN :now END, :pace,
    CASE WHEN :has_note > 0 THEN :note END, :cursors, :kept
FROM @leases WHERE job = :job AND epoch = :epoch AND runner = :runner
    AND (:even_if_asked OR NOT EXISTS (SELECT 1 FROM @controls WHERE job = @leases.job))
ON CONFLICT (job) DO UPDATE SET
    epoch = CASE WHEN excluded.slices > 0 THEN excluded.epoch ELSE c.epoch END,
    advanced_at = coalesce(excluded.advanced_at, c.advanced_at),
    slices = c.slices + CASE
        WHEN (c.epoch, c.done, c.pace, c.cursors, c.kept)
            = (excluded.epoch, excluded.done, excluded.pace, excluded.cursors, excluded.kept) THEN 0
        ELSE excluded.slices END,
    done = excluded.done, total = excluded.total,
    updated_at = excluded.updated_at, pace = excluded.pace, note = excluded.note,
    cursors = excluded.cursors, kept = excluded.kept;
SELECT (SELECT action FROM @controls WHERE job = :job) AS request WHERE changes() > 0

-- ## lock_keys
-- Return the jobs behind keys, and keep others from handing these over until the end of this transaction.
-- rows: tenant text, scope text, key text
SELECT k.tenant, k.scope, k.key, k.job, k.fingerprint, coalesce(k.expires_at <= :now, false)
FROM {rows} CROSS JOIN @keys k WHERE k.tenant = r.tenant AND k.scope = r.scope AND k.key = r.key

-- ## wake
-- Do nothing: processes that wait watch the file.
SELECT 1

-- ## give_back
-- Return jobs that were claimed but not started to their old positions; nothing is spent. The number under which the
-- start was told is that of the return. Positions are moments: if one was given away meanwhile, as after a step of the
-- clock, the job gets one at the end of the lane.
-- rows: job uuid, epoch int
UPDATE @jobs SET epoch = e.epoch, version = version + 1, seq = CASE
    WHEN EXISTS (SELECT 1 FROM @ready taken WHERE taken.lane = @jobs.lane AND taken.seq = @jobs.seq)
    THEN e.ordinal + max(:now, (SELECT max(ready.seq) FROM @ready ready WHERE ready.lane = @jobs.lane), e.last)
    ELSE seq END
FROM (
    SELECT r.job, r.epoch, r.ordinal, (
        SELECT max(k.seq) FROM {rows} CROSS JOIN @jobs k WHERE k.id = r.job) AS last
    FROM {rows} CROSS JOIN @leases l WHERE l.job = r.job AND l.epoch = r.epoch AND l.runner = :runner
) AS e
WHERE id = e.job;
INSERT INTO @ready (lane, seq, job)
SELECT j.lane, j.seq, j.id FROM {rows} CROSS JOIN @leases l CROSS JOIN @jobs j
WHERE l.job = r.job AND l.epoch = r.epoch AND l.runner = :runner AND j.id = l.job;
DELETE FROM @leases WHERE (job, epoch) IN (SELECT r.job, r.epoch FROM {rows}) AND runner = :runner;
SELECT changes(), changes(), 0

-- ── finding ────────────────────────────────────────────────────────────────────────────────────────

-- ## error_type
-- part
-- The class of an error, unless a codec packed it.
(CASE WHEN substr(j.error, 1, 1) = '{' THEN json_extract(j.error, '$.type') END)

-- ## schedule_of
-- part
-- The schedule of a job.
json_extract(j.options, '$.schedule')

-- ## metadata
-- part
-- An entry of the metadata as text.
CASE json_type(j.options, :keys)
    WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' WHEN 'null' THEN 'null'
    ELSE CAST(json_extract(j.options, :keys) AS text) END

-- ## metadata_number
-- part
-- An entry of the metadata that is a number.
CASE WHEN json_type(j.options, :keys) IN ('integer', 'real') THEN json_extract(j.options, :keys) END

-- ## argument
-- part
-- An argument as text.
CASE WHEN substr(j.arguments, 1, 1) = '{' THEN
    CASE json_type(j.arguments, :keys)
        WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' WHEN 'null' THEN 'null'
        ELSE CAST(json_extract(j.arguments, :keys) AS text) END
END

-- ## argument_number
-- part
-- An argument that is a number.
CASE WHEN substr(j.arguments, 1, 1) = '{' AND json_type(j.arguments, :keys) IN ('integer', 'real')
    THEN json_extract(j.arguments, :keys) END

-- ## forget_jobs
-- Remove jobs that are over, unless they were retried meanwhile; return a row for each.
-- pairs: job uuid, finished_at bigint
DELETE FROM @jobs WHERE id IN (SELECT r.job FROM {rows}) AND (id, finished_at) IN (SELECT r.job, r.finished_at FROM {rows})
    AND state IN ('completed', 'failed', 'cancelled') AND {not_needed} AND {not_in_stock}
RETURNING 1

-- ## drop_logs
-- Remove what jobs logged, unless they were retried meanwhile.
-- pairs: job uuid, finished_at bigint
DELETE FROM @logs WHERE job IN (SELECT j.id FROM {rows} JOIN @jobs j ON j.id = r.job AND j.finished_at = r.finished_at)

-- ## drop_results
-- Replace results by the mark that they are gone, unless the job was retried meanwhile.
-- pairs: job uuid, finished_at bigint
UPDATE @jobs SET result = :gone
WHERE id IN (SELECT r.job FROM {rows}) AND (id, finished_at) IN (SELECT r.job, r.finished_at FROM {rows})
    AND state = 'completed' AND {not_in_stock}

-- ## by_dead
-- part
-- Give dead letters of lanes, in the order in which they died; as `by_lane`, but of many that died at one moment a look
-- may give more. Those whose lane is not entered yet, because a worker of version 1 of the schema parked them, are few.
-- rows: lane int
WITH ends AS MATERIALIZED (
    SELECT (
        SELECT p.since FROM @parked p
        WHERE p.state = 'failed' AND p.lane = r.lane AND p.since {until} :near_at AND p.since {within} :far_at
            AND (p.since {beyond} :near_at OR p.job {beyond} :near)
        ORDER BY p.since {order} LIMIT 1 OFFSET :share
    ) AS since FROM {rows}
),
nearest AS MATERIALIZED (
    SELECT (SELECT since FROM ends WHERE since IS NOT NULL ORDER BY since {order} LIMIT 1) AS since
),
of_lanes AS MATERIALIZED (
    SELECT p.job AS id, p.since AS at FROM nearest CROSS JOIN {rows} CROSS JOIN @parked p
    WHERE p.state = 'failed' AND p.lane = r.lane
        AND p.since {until} :near_at AND p.since {within} coalesce(nearest.since, :far_at)
        AND (p.since {beyond} :near_at OR p.job {beyond} :near)
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
-- lead a plan through the jobs of other lanes.
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
    SELECT i.id FROM nearest CROSS JOIN {rows} CROSS JOIN @jobs i
    WHERE (i.lane, i.id) {beyond} (r.lane, :near)
        AND (i.lane, i.id) {within} (r.lane, coalesce(nearest.id, :far))
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
    SELECT i.id FROM nearest CROSS JOIN {rows} CROSS JOIN @jobs i
    WHERE i.tenant IS NOT NULL AND (i.tenant, i.id) {beyond} (r.tenant, :near)
        AND (i.tenant, i.id) {within} (r.tenant, coalesce(nearest.id, :far))
)
SELECT id, CAST(0 AS bigint) AS at FROM of_tenants ORDER BY id {order} LIMIT :window

-- ## by_cause
-- part
-- Give dead letters of groups of errors; as `by_lane`.
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
    SELECT p.job AS id FROM nearest CROSS JOIN {rows} CROSS JOIN @parked p
    WHERE p.cause IS NOT NULL AND (p.cause, p.job) {beyond} (r.cause, :near)
        AND (p.cause, p.job) {within} (r.cause, coalesce(nearest.job, :far))
)
SELECT id, CAST(0 AS bigint) AS at FROM of_causes ORDER BY id {order} LIMIT :window

-- ── figures ────────────────────────────────────────────────────────────────────────────────────────

-- ## take_tallies
-- Remove the first tallies of a span that began between two moments; return them.
DELETE FROM @tallies WHERE (span, began_at, queue, kind, tenant, happened, source) IN (
    SELECT span, began_at, queue, kind, tenant, happened, source FROM @tallies
    WHERE span = :span AND began_at >= :begin AND began_at < :end
    ORDER BY began_at, queue, kind, tenant, happened, source LIMIT :limit)
RETURNING began_at, queue, kind, tenant, happened, source, count AS times, micros, histogram

-- ## forget_identities
-- Remove identities of jobs that no longer exist, unless a new job took them meanwhile.
-- rows: tenant text, scope text, key text, job uuid
DELETE FROM @keys WHERE EXISTS (
    SELECT 1 FROM {rows}
    WHERE r.tenant = @keys.tenant AND r.scope = @keys.scope AND r.key = @keys.key AND r.job = @keys.job)

-- ── conditions ─────────────────────────────────────────────────────────────────────────────────────

-- ## forget_incidents
-- Forget what went wrong before a moment.
DELETE FROM @incidents WHERE at < :before

-- ## forget_reports
-- Forget reports of what was over before a moment, unless an incident is still there of which they tell.
DELETE FROM @alarms WHERE since IS NULL AND through < :before
    AND NOT EXISTS (SELECT 1 FROM @incidents i WHERE i.subject = @alarms.subject)

-- ── the stream ─────────────────────────────────────────────────────────────────────────────────────

-- ## tell_submitted
-- Tell the stream of jobs that this very commit made.
-- rows: job uuid
INSERT INTO @stream (at, name, attempt, jobs)
SELECT :now, 'submitted', 1, json_group_array(r.job)
FROM {rows} WHERE (SELECT created_at FROM @jobs WHERE id = r.job) = :moment
HAVING count(*) > 0

-- ## stream_state
-- Return which life of the stream this is, and the places that are kept. There are no ticks.
SELECT (SELECT value FROM @meta WHERE name = 'stream') AS life, 0 AS oldest_tick, 0 AS newest_tick,
    coalesce((SELECT min(place) FROM @stream), 1) AS oldest_place,
    coalesce((SELECT max(place) FROM @stream), 0) AS newest_place,
    coalesce((SELECT at FROM @stream ORDER BY place DESC LIMIT 1), 0) AS newest_mark, 0 AS has_news, 0 AS is_foreign

-- ## tick
-- Do nothing: places are in the order of commits.
SELECT 0, 0 WHERE :limit < 0

-- ## told_between
-- Return what was told, from a place on; the tick is 0.
SELECT place, at, name, attempt, version, jobs, detail FROM @stream
WHERE place >= :place AND :tick = 0 ORDER BY place LIMIT :limit

-- ## mark_of_place
-- Return when a row was told, which tells it from a row at the same place before the file was restored.
SELECT at FROM @stream WHERE place = :place

-- ## forget_told
-- Forget what was told before a moment, though not the newest row. Return how many rows left.
DELETE FROM @stream WHERE place IN (
    SELECT place FROM @stream WHERE at < :before AND place < (SELECT max(place) FROM @stream) ORDER BY place LIMIT :limit);
SELECT changes()

-- ## begin_stream_anew
-- Forget all that was told.
DELETE FROM @stream

-- ## move_reader
-- Move a durable reader on. No row: another process did so meanwhile.
UPDATE @readers SET place = :place, moved_at = :now, unwatched_at = NULL
WHERE name = :name AND place = :known AND coalesce(unwatched_at, 0) = :unwatched RETURNING name

-- ## forget_watchers
-- Forget watchers whose process ended without a word.
DELETE FROM @watchers WHERE until <= :now RETURNING name

-- ## forget_readers
-- Forget durable readers that no process moved for long.
DELETE FROM @readers WHERE moved_at < :before

-- ── joins ──────────────────────────────────────────────────────────────────────────────────────────

-- ## awaited_among
-- Return which of these jobs others wait for: jobs, a stock, or both. In most stores nothing waits for a job, and then
-- no job is looked at.
-- rows: job uuid
SELECT j.id, CASE
    WHEN (SELECT 1 FROM @stocked s WHERE s.job = j.id LIMIT 1) IS NULL THEN 'jobs'
    WHEN j.parent IS NULL AND (SELECT 1 FROM @edges e WHERE e.job = j.id LIMIT 1) IS NULL THEN 'stock'
    ELSE 'both' END
FROM {rows} CROSS JOIN @jobs j
WHERE (EXISTS (SELECT 1 FROM @joins) OR EXISTS (SELECT 1 FROM @stocked WHERE state IN ('ordered', 'failed')))
    AND j.id = r.job AND j.awaited

-- ## await_jobs
-- Mark jobs as awaited; return their states.
-- rows: job uuid
UPDATE @jobs SET awaited = true WHERE id IN (SELECT r.job FROM {rows}) AND NOT awaited;
SELECT j.id, j.state FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## take_ends
-- Return some ends that are not counted yet.
SELECT id, jobs FROM @ends ORDER BY id LIMIT :limit

-- ## meet_edges
-- Mark edges that ends of jobs meet; return them.
-- rows: job uuid, state text
-- picks
SELECT json_group_array(json_array(dependent, job)) FROM (
    SELECT e.dependent, e.job FROM {rows} CROSS JOIN @edges e
    WHERE e.job = r.job AND NOT e.met AND e.needs IN (r.state, 'over') LIMIT :limit);
UPDATE @edges SET met = true WHERE (job, dependent) IN (
    SELECT json_extract(value, '$[1]'), json_extract(value, '$[0]') FROM json_each(:picked))

-- ## count_joins
-- Count; return what the joins wait for now.
-- rows: job uuid, met int, ended int, failed int
UPDATE @joins SET missing = missing - r.met, open = open - r.ended, failed = @joins.failed + r.failed
FROM {rows} WHERE @joins.job = r.job
RETURNING job, missing, open, failed, total, skipped, asked, phase, wait, width, passed

-- ## hold_lease
-- Return the lease of an attempt. No row: it has none.
SELECT job FROM @leases WHERE job = :job AND epoch = :epoch AND runner = :runner

-- ## lock_family
-- Return the join of a job, and that of its parent.
SELECT job, missing, open, failed, total, skipped, asked, phase, wait, width, passed FROM @joins WHERE job = :job OR job = (SELECT parent FROM @jobs WHERE id = :job) ORDER BY job

-- ## lock_jobs
-- Return jobs, which no other process changes until the end of this transaction.
-- rows: job uuid
SELECT j.id AS job, j.state, j.run_at, :now AS now FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ## line_up_waiting
-- Line up jobs that have nothing left to wait for. That is their time, from which their waiting is measured.
-- rows: job uuid
DELETE FROM @parked WHERE job IN (SELECT r.job FROM {rows});
UPDATE @jobs SET state = 'pending', version = version + 1, reason = NULL, run_at = :now,
    seq = max(:now, 1 + coalesce((SELECT max(ready.seq) FROM @ready ready WHERE ready.lane = @jobs.lane), 0)) + r.ordinal
FROM {rows} WHERE id = r.job;
INSERT INTO @ready (lane, seq, job)
SELECT j.lane, j.seq, j.id FROM {rows} CROSS JOIN @jobs j WHERE j.id = r.job

-- ── stocks ─────────────────────────────────────────────────────────────────────────────────────────

-- ## see_stocks
-- Write what code declares of stocks, and that a worker attends to them.
-- rows: name text, declared text
UPDATE @stocks SET seen_at = :now, declared = (SELECT r.declared FROM {rows} WHERE r.name = @stocks.name)
WHERE name IN (SELECT r.name FROM {rows})

-- ## hold_shelf
-- Return the live level of a shelf, and whether it is being refilled. There is one writer at a time.
SELECT level, refilling FROM @stocks WHERE name = :stock AND tenant = :tenant

-- ## take_stock
-- Take the oldest results from a shelf that are not stale; return their jobs, results, options, and when they were made.
UPDATE @stocked SET state = 'taken', since = :now
WHERE job IN (
    SELECT job FROM @stocked
    WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = 'made' AND since > :now - :ttl AND since >= :mark
    ORDER BY since LIMIT :count)
RETURNING job, (SELECT result FROM @jobs WHERE id = job), (SELECT options FROM @jobs WHERE id = job),
    (SELECT coalesce(finished_at, 0) FROM @jobs WHERE id = job)

-- ## tidy_shelf
-- Remove entries of a shelf that have been in a state for a time; return them.
DELETE FROM @stocked WHERE job IN (
    SELECT job FROM @stocked
    WHERE stock = :stock AND tenant = :tenant AND key = '' AND state = :state AND since <= :now - :span
    ORDER BY since LIMIT :limit)
RETURNING job, asked

-- ## tidy_keys
-- Remove results by key that are there for a time; return them.
DELETE FROM @stocked WHERE job IN (
    SELECT job FROM @stocked
    WHERE stock = :stock AND tenant = :tenant AND key <> '' AND state = 'made' AND since <= :now - :span LIMIT :limit)
RETURNING job, asked

-- ## tidy_failed_keys
-- Remove entries by key whose jobs ended without a result some time ago; return them.
DELETE FROM @stocked WHERE job IN (
    SELECT job FROM @stocked
    WHERE stock = :stock AND tenant = :tenant AND key <> '' AND state = 'failed' AND since <= :now - :span LIMIT :limit)
RETURNING job, asked

-- ## end_orders
-- Write how orders ended: their results can be taken, or they have none.
-- rows: job uuid
UPDATE @stocked SET state = :state, since = :now
WHERE job IN (SELECT r.job FROM {rows}) AND state IN ('ordered', 'failed')

-- ## replace_by_key
-- Remove the results by key that newer ones replace.
-- rows: job uuid
DELETE FROM @stocked WHERE job IN (
    SELECT earlier.job FROM {rows}
    JOIN @stocked made ON made.job = r.job AND made.key <> ''
    JOIN @stocked earlier ON earlier.stock = made.stock AND earlier.tenant = made.tenant AND earlier.key = made.key
        AND earlier.state = 'made' AND earlier.job <> made.job)

-- ## mark_asked
-- Note that a result by key was read.
UPDATE @stocked SET asked = true WHERE job = :job AND NOT asked

-- ## make_room
-- Remove the jobs without a result that held the places of these keys for long enough.
-- rows: key text
DELETE FROM @stocked WHERE job IN (
    SELECT s.job FROM {rows} CROSS JOIN @stocked s
    WHERE s.stock = :stock AND s.tenant = :tenant AND s.key = r.key AND s.state = 'failed' AND s.since <= :now - :hold)

-- ## order_again
-- Note that jobs run again whose results are there: a shelf waits for them as for orders; a key has no result until the
-- next one is ordered.
-- rows: job uuid
UPDATE @stocked SET state = 'ordered', since = :now
WHERE job IN (SELECT r.job FROM {rows}) AND state = 'made' AND key = '';
DELETE FROM @stocked WHERE job IN (SELECT r.job FROM {rows}) AND state = 'made' AND key <> ''

-- ## move_stocked
-- Let results and orders of stocks that began in the future begin now.
UPDATE @stocked SET since = :moment WHERE since > CAST(:moment AS bigint) + CAST(:tolerance AS bigint)
