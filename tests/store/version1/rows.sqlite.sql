-- Rows that the code of version 1 wrote on SQLite. Its worker was killed while jobs ran. The jobs of shop.py:
--   01a22f06-5968-7c3d-842e-683c116f70d4  cancelled
--   01a22f06-5221-77db-8d35-e33c994d6dd1  completed 0
--   01a22f06-522f-7938-85e1-e26e998f169a  completed 1
--   01a22f06-5231-70ee-8a7b-a4731321fe62  completed 2
--   01a22f06-5234-747c-8c53-4b93ed88e135  completed for a tenant
--   01a22f06-523f-7299-8b41-a0ef5df0773f  completed unique
--   01a22f06-5246-71fb-8604-4b131040e4fc  completed with a key
--   01a22f06-5237-7921-80fb-10d917f1890e  dead
--   01a22f06-5238-7f03-8f5d-6ff4caab6aa2  dead for a tenant
--   01a22f06-5239-7ace-834e-430176e663e9  dead with bad items
--   01a22f06-596d-7cb5-8279-9c6bb186489a  discarded
--   01a22f06-58fc-7a5e-889e-2fd090bec151  does not fit
--   01a22f06-5c03-7615-88d8-e550bf4644d9  due
--   01a22f06-5888-7ac7-8726-f0e8bc4ae013  held before a gate
--   01a22f06-5892-7d2c-8a46-e3e0a117b046  next in a sequence
--   01a22f06-5bf7-762c-8928-e44189ad4c3a  paused
--   01a22f06-57a7-71d8-8a4b-20da0d1f4580  paused in its loop
--   01a22f06-5bdb-7960-8687-83fda4d93cfc  pending 0
--   01a22f06-5bdf-771b-8f11-135a8b04d559  pending 1
--   01a22f06-5be5-745c-8e4e-043758568e1c  pending 2
--   01a22f06-5beb-792a-868c-e8a9de3e1df4  pending for acme
--   01a22f06-5bef-76ae-8c48-92dbbba37ae5  pending for globex
--   01a22f06-523b-7d10-892c-986225c0f6e1  recovered
--   01a22f06-5890-7011-820e-53b178a89ab8  running in a sequence
--   01a22f06-587a-73d8-88dc-2bbc1a7f66d3  running in its loop
--   01a22f06-5881-7735-8945-affd3f07d401  running inside a gate
--   01a22f06-587d-7c2d-82d9-a5c86f3d18d0  running with a request
--   01a22f06-5bfe-7037-8de0-7c23306ebc2a  scheduled
--   01a22f06-5c0f-7610-8d06-bd77fd1b0be4  unique
--   01a22f06-5c07-76f9-81c3-6a2af9b84483  with a key

INSERT INTO @meta (name, value) VALUES ('queues', '2');
INSERT INTO @meta (name, value) VALUES ('schema_version', '1');
INSERT INTO @meta (name, value) VALUES ('store_id', '174f70f3a40946a488da377d7847ec0b');
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (1, 'default', 'plain', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (2, 'mail', 'send', 5, 0, 'acme', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (3, 'default', 'dies', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (4, 'default', 'tolerates', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (5, 'default', 'recovers', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (6, 'default', 'rebuild', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (7, 'default', 'add_up', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (8, 'bills', 'bill', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (9, 'default', 'book', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (10, 'default', 'fits', 0, 0, '', 0);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) VALUES (11, 'mail', 'send', 5, 0, 'globex', 0);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5221-77db-8d35-e33c994d6dd1', 1, 1796085273132675, 1, 3, 0, 0, 0, 1796085273132675, NULL, 1796085274466721, 1796085274490546, NULL, 'completed', '{"number":0}', '0', NULL, 'vm:15988', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-522f-7938-85e1-e26e998f169a', 1, 1796085273135635, 1, 3, 0, 0, 0, 1796085273135635, NULL, 1796085274466721, 1796085274490546, NULL, 'completed', '{"number":1}', '1', NULL, 'vm:15988', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5231-70ee-8a7b-a4731321fe62', 1, 1796085273137107, 1, 3, 0, 0, 0, 1796085273137107, NULL, 1796085274466721, 1796085274490546, NULL, 'completed', '{"number":2}', '2', NULL, 'vm:15988', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5234-747c-8c53-4b93ed88e135', 2, 1796085273140835, 1, 3, 0, 0, 0, 1796085273140835, NULL, 1796085274466721, 1796085274490546, NULL, 'completed', '{"number":1}', '1', NULL, 'vm:15988', NULL, 'acme', '["red","blue"]');
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5237-7921-80fb-10d917f1890e', 3, 1796085273144148, 1, 3, 1, 0, 0, 1796085273144148, NULL, 1796085274466721, 1796085274491204, NULL, 'failed', '{"number":1}', NULL, '{"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}', 'failed in 1 attempt', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5238-7f03-8f5d-6ff4caab6aa2', 3, 1796085273144980, 1, 3, 1, 0, 0, 1796085273144980, NULL, 1796085274466721, 1796085274491581, NULL, 'failed', '{"number":2}', NULL, '{"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}', 'failed in 1 attempt', NULL, 'acme', NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', 4, 1796085273147278, 1, 3, 1, 0, 0, 1796085273147278, NULL, 1796085274466721, 1796085274506573, NULL, 'failed', '{"count":40}', NULL, '{"type":"ConnectionError","message":"after the loop","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 72, in tolerates\n    raise ConnectionError(\"after the loop\")\nConnectionError: after the loop\n"}', 'failed in 1 attempt', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-523b-7d10-892c-986225c0f6e1', 5, 1796085274491757, 2, 5, 1, 0, 0, 1796085273150552, NULL, 1796085274466721, 1796085274504973, NULL, 'completed', '{}', '2', '{"type":"ConnectionError","message":"the first attempt fails","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 45, in recovers\n    raise ConnectionError(\"the first attempt fails\")\nConnectionError: the first attempt fails\n"}', 'vm:15988', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-523f-7299-8b41-a0ef5df0773f', 6, 1796085273155788, 1, 3, 0, 0, 0, 1796085273155788, NULL, 1796085274466721, 1796085274490546, NULL, 'completed', '{"shard":1}', '1', NULL, 'vm:15988', '{"unique":{}}', NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5246-71fb-8604-4b131040e4fc', 1, 1796085273158273, 1, 3, 0, 0, 0, 1796085273158273, NULL, 1796085274466721, 1796085274499402, NULL, 'completed', '{"number":7}', '7', NULL, 'vm:15988', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-57a7-71d8-8a4b-20da0d1f4580', 7, 1796085274535997, 1, 3, 0, 0, 0, 1796085274535997, NULL, 1796085274539348, NULL, NULL, 'paused', '{"count":100}', NULL, NULL, 'paused on request', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-587a-73d8-88dc-2bbc1a7f66d3', 7, 1796085274746325, 0, 1, 0, 0, 0, 1796085274746325, NULL, NULL, NULL, NULL, 'pending', '{"count":100}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-587d-7c2d-82d9-a5c86f3d18d0', 7, 1796085274749829, 0, 1, 0, 0, 0, 1796085274749829, NULL, NULL, NULL, NULL, 'pending', '{"count":100}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5881-7735-8945-affd3f07d401', 8, 1796085274759429, 0, 1, 0, 0, 0, 1796085274759429, NULL, NULL, NULL, NULL, 'pending', '{"customer":1}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5888-7ac7-8726-f0e8bc4ae013', 8, 1796085274760731, 0, 1, 0, 0, 0, 1796085274760731, NULL, NULL, NULL, NULL, 'blocked', '{"customer":1}', NULL, NULL, 'waits for concurrency of kind bill, customer=1', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5890-7011-820e-53b178a89ab8', 9, 1796085274769374, 0, 1, 0, 0, 0, 1796085274769374, NULL, NULL, NULL, NULL, 'pending', '{"account":"gold","cents":1}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5892-7d2c-8a46-e3e0a117b046', 9, 1796085274770924, 0, 1, 0, 0, 0, 1796085274770924, NULL, NULL, NULL, NULL, 'blocked', '{"account":"gold","cents":2}', NULL, NULL, 'waits for sequence book, account=gold', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-58fc-7a5e-889e-2fd090bec151', 10, 1796085274882238, 1, 3, 0, 0, 0, 1796085274882238, 1796085298736085, 1796085274883857, NULL, NULL, 'blocked', '{"number":5}', NULL, NULL, 'unfit: the stored arguments do not fit fits() as it is now: it does not take the argument ''number''; it takes text', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5968-7c3d-842e-683c116f70d4', 1, 1796085274985147, 0, 2, 0, 0, 0, 1796085274985146, 1822005274985146, NULL, 1796085274986715, NULL, 'cancelled', '{"number":3}', NULL, NULL, 'cancelled on request', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-596d-7cb5-8279-9c6bb186489a', 3, 1796085274989850, 1, 4, 1, 0, 0, 1796085274989850, NULL, 1796085274992372, 1796085275092020, NULL, 'cancelled', '{"number":9}', NULL, '{"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}', 'discarded', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5bdb-7960-8687-83fda4d93cfc', 1, 1796085275612030, 0, 1, 0, 0, 0, 1796085275612030, NULL, NULL, NULL, NULL, 'pending', '{"number":10}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5bdf-771b-8f11-135a8b04d559', 1, 1796085275615667, 0, 1, 0, 0, 0, 1796085275615667, NULL, NULL, NULL, NULL, 'pending', '{"number":11}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5be5-745c-8e4e-043758568e1c', 1, 1796085275621333, 0, 1, 0, 0, 0, 1796085275621333, NULL, NULL, NULL, NULL, 'pending', '{"number":12}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5beb-792a-868c-e8a9de3e1df4', 2, 1796085275627692, 0, 1, 0, 0, 0, 1796085275627692, NULL, NULL, NULL, NULL, 'pending', '{"number":20}', NULL, NULL, NULL, NULL, 'acme', NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5bef-76ae-8c48-92dbbba37ae5', 11, 1796085275633725, 0, 1, 0, 0, 0, 1796085275633725, NULL, NULL, NULL, NULL, 'pending', '{"number":21}', NULL, NULL, NULL, NULL, 'globex', NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5bf7-762c-8928-e44189ad4c3a', 1, 1796085275639445, 0, 2, 0, 0, 0, 1796085275639445, NULL, NULL, NULL, NULL, 'paused', '{"number":4}', NULL, NULL, 'paused on request', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5bfe-7037-8de0-7c23306ebc2a', 1, 1796085275646119, 0, 1, 0, 0, 0, 1796085275646118, 4102444800000000, NULL, NULL, NULL, 'scheduled', '{"number":5}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5c03-7615-88d8-e550bf4644d9', 1, 1796085275651473, 0, 1, 0, 0, 0, 1796085275651472, 1796085276651472, NULL, NULL, NULL, 'scheduled', '{"number":6}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5c07-76f9-81c3-6a2af9b84483', 1, 1796085275655729, 0, 1, 0, 0, 0, 1796085275655729, NULL, NULL, NULL, NULL, 'pending', '{"number":8}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-5c0f-7610-8d06-bd77fd1b0be4', 6, 1796085275663583, 0, 1, 0, 0, 0, 1796085275663583, NULL, NULL, NULL, NULL, 'pending', '{"shard":2}', NULL, NULL, NULL, '{"unique":{}}', NULL, NULL);
INSERT INTO @ready (lane, seq, job) VALUES (1, 1796085275612030, '01a22f06-5bdb-7960-8687-83fda4d93cfc');
INSERT INTO @ready (lane, seq, job) VALUES (1, 1796085275615667, '01a22f06-5bdf-771b-8f11-135a8b04d559');
INSERT INTO @ready (lane, seq, job) VALUES (1, 1796085275621333, '01a22f06-5be5-745c-8e4e-043758568e1c');
INSERT INTO @ready (lane, seq, job) VALUES (1, 1796085275655729, '01a22f06-5c07-76f9-81c3-6a2af9b84483');
INSERT INTO @ready (lane, seq, job) VALUES (2, 1796085275627692, '01a22f06-5beb-792a-868c-e8a9de3e1df4');
INSERT INTO @ready (lane, seq, job) VALUES (6, 1796085275663583, '01a22f06-5c0f-7610-8d06-bd77fd1b0be4');
INSERT INTO @ready (lane, seq, job) VALUES (11, 1796085275633725, '01a22f06-5bef-76ae-8c48-92dbbba37ae5');
INSERT INTO @leases (job, epoch, runner, claimed_at) VALUES ('01a22f06-587a-73d8-88dc-2bbc1a7f66d3', 1, '9d02cc2f-7f6b-4c91-8478-c15eb2f8ded2', 1796085274747884);
INSERT INTO @leases (job, epoch, runner, claimed_at) VALUES ('01a22f06-587d-7c2d-82d9-a5c86f3d18d0', 1, '9d02cc2f-7f6b-4c91-8478-c15eb2f8ded2', 1796085274752219);
INSERT INTO @leases (job, epoch, runner, claimed_at) VALUES ('01a22f06-5881-7735-8945-affd3f07d401', 1, '9d02cc2f-7f6b-4c91-8478-c15eb2f8ded2', 1796085274765822);
INSERT INTO @leases (job, epoch, runner, claimed_at) VALUES ('01a22f06-5890-7011-820e-53b178a89ab8', 1, '9d02cc2f-7f6b-4c91-8478-c15eb2f8ded2', 1796085274773129);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-5237-7921-80fb-10d917f1890e', 'failed', NULL, 1796085274491350, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-5238-7f03-8f5d-6ff4caab6aa2', 'failed', NULL, 1796085274491603, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', 'failed', NULL, 1796085274506605, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-57a7-71d8-8a4b-20da0d1f4580', 'paused', NULL, 1796085274697512, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-5888-7ac7-8726-f0e8bc4ae013', 'blocked', NULL, 1796085274765285, '["concurrency","kind","bill","customer",1]', 0, 1796085274760731);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-5892-7d2c-8a46-e3e0a117b046', 'blocked', NULL, 1796085274773034, '["sequence","","book","account","gold"]', 0, 1796085274770924);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-58fc-7a5e-889e-2fd090bec151', 'blocked', 1796085298736085, 1796085274887065, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-5bf7-762c-8928-e44189ad4c3a', 'paused', NULL, 1796085275640710, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-5bfe-7037-8de0-7c23306ebc2a', 'scheduled', 4102444800000000, 1796085275646118, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-5c03-7615-88d8-e550bf4644d9', 'scheduled', 1796085276651472, 1796085275651472, NULL, NULL, 0);
INSERT INTO @gates (key, through, most, step, burst, due_at, used_at) VALUES ('["concurrency","kind","bill","customer",1]', 0, 1, 0, 0, NULL, 1796085274766704);
INSERT INTO @gates (key, through, most, step, burst, due_at, used_at) VALUES ('["concurrency","queue","bills"]', 0, 2, 0, 0, NULL, 1796085274766704);
INSERT INTO @gates (key, through, most, step, burst, due_at, used_at) VALUES ('["sequence","","book","account","gold"]', 0, 1, 0, 0, NULL, 1796085274773689);
INSERT INTO @slots (gate, job, epoch, until) VALUES ('["concurrency","kind","bill","customer",1]', '01a22f06-5881-7735-8945-affd3f07d401', 1, 'lease');
INSERT INTO @slots (gate, job, epoch, until) VALUES ('["concurrency","queue","bills"]', '01a22f06-5881-7735-8945-affd3f07d401', 1, 'lease');
INSERT INTO @slots (gate, job, epoch, until) VALUES ('["sequence","","book","account","gold"]', '01a22f06-5890-7011-820e-53b178a89ab8', 1, 'mend');
INSERT INTO @sequences (gate, place, job) VALUES ('["sequence","","book","account","gold"]', 1796085274769374, '01a22f06-5890-7011-820e-53b178a89ab8');
INSERT INTO @sequences (gate, place, job) VALUES ('["sequence","","book","account","gold"]', 1796085274770924, '01a22f06-5892-7d2c-8a46-e3e0a117b046');
INSERT INTO @controls (job, runner, action, at) VALUES ('01a22f06-587d-7c2d-82d9-a5c86f3d18d0', '9d02cc2f-7f6b-4c91-8478-c15eb2f8ded2', 'pause', 1796085274874140);
INSERT INTO @checkpoints (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', 1, 4, 40, 40, 1796085274505627, 1796085274505627, '[4,0,0,0.0,3.997,39.979,0.018031,[10,10,10,10],[0.005271,0.007505,0.002786,0.00248]]', NULL, '{"":{"cursor":40,"done":40,"total":40,"is_over":true,"bad":6,"numbered":6}}', '{}');
INSERT INTO @checkpoints (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept) VALUES ('01a22f06-57a7-71d8-8a4b-20da0d1f4580', 1, 4, 40, 100, 1796085274695468, 1796085274695468, '[4,0,0,0.0,3.955,39.547,0.15343,[10,10,10,10],[0.000061,0.001234,0.000631,0.1515]]', NULL, '{"":{"cursor":40,"done":40,"total":100}}', '{"total":[780],"began":[0,10,20,30]}');
INSERT INTO @checkpoints (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept) VALUES ('01a22f06-587a-73d8-88dc-2bbc1a7f66d3', 1, 3, 30, 100, 1796085274752381, 1796085274752381, '[3,0,0,0.0,3.0,29.997,0.002229,[10,10,10],[0.000043,0.001431,0.000755]]', NULL, '{"":{"cursor":30,"done":30,"total":100}}', '{"total":[435],"began":[0,10,20]}');
INSERT INTO @checkpoints (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept) VALUES ('01a22f06-587d-7c2d-82d9-a5c86f3d18d0', 1, 3, 30, 100, 1796085274758322, 1796085274758322, '[3,0,0,0.0,3.0,29.993,0.004694,[10,10,10],[0.000022,0.002818,0.001855]]', NULL, '{"":{"cursor":30,"done":30,"total":100}}', '{"total":[435],"began":[0,10,20]}');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', '', 1, 1, 1796085274498184, 'value', '0', 'ValueError', '0 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 0 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', '', 2, 1, 1796085274498184, 'value', '7', 'ValueError', '7 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 7 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', '', 3, 1, 1796085274500554, 'value', '14', 'ValueError', '14 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 14 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', '', 4, 1, 1796085274503726, 'value', '21', 'ValueError', '21 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 21 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', '', 5, 1, 1796085274503726, 'value', '28', 'ValueError', '28 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 28 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', '', 6, 1, 1796085274505660, 'value', '35', 'ValueError', '35 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 35 is a multiple of seven
');
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at) VALUES ('', '*finished:rebuild', '595870ca52856354cb3005a33338135c1378f20c', '01a22f06-5c0f-7610-8d06-bd77fd1b0be4', '', NULL);
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at) VALUES ('', '*finished:rebuild', '93db7d777296b62dbb7dedfa4079926d2e47fb8d', '01a22f06-523f-7299-8b41-a0ef5df0773f', '', NULL);
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at) VALUES ('', 'plain', 'order 7', '01a22f06-5246-71fb-8604-4b131040e4fc', '2659ddb4b2fe2e735a2587c4b9b46e58cb0d0601', NULL);
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at) VALUES ('', 'plain', 'order 8', '01a22f06-5c07-76f9-81c3-6a2af9b84483', 'd8cfd996eb3dedf035cfa480eb64835042dcde46', 1882485275655563);
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-5237-7921-80fb-10d917f1890e', 3, 1796085274491452, 'failed', '{"worker":"vm:15988","pid":16016,"seconds":0.022,"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-5238-7f03-8f5d-6ff4caab6aa2', 3, 1796085274491615, 'failed', '{"worker":"vm:15988","pid":16016,"seconds":0.022,"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-5239-7ace-834e-430176e663e9', 3, 1796085274506621, 'failed', '{"worker":"vm:15988","pid":16016,"seconds":0.039,"type":"ConnectionError","message":"after the loop","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 72, in tolerates\n    raise ConnectionError(\"after the loop\")\nConnectionError: after the loop\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-523b-7d10-892c-986225c0f6e1', 3, 1796085274491861, 'attempt_failed', '{"worker":"vm:15988","pid":16016,"seconds":0.022,"type":"ConnectionError","message":"the first attempt fails","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 45, in recovers\n    raise ConnectionError(\"the first attempt fails\")\nConnectionError: the first attempt fails\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-57a7-71d8-8a4b-20da0d1f4580', 3, 1796085274697545, 'paused', '{"worker":"vm:15988","pid":16016,"seconds":0.157}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-58fc-7a5e-889e-2fd090bec151', 3, 1796085274887189, 'unfit', '{"worker":"vm:15988","pid":16016,"seconds":0.002,"detail":"the stored arguments do not fit fits() as it is now: it does not take the argument ''number''; it takes text"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-5968-7c3d-842e-683c116f70d4', 2, 1796085274986888, 'cancelled', NULL);
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-596d-7cb5-8279-9c6bb186489a', 3, 1796085274994187, 'failed', '{"worker":"vm:15988","pid":16016,"seconds":0.001,"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-596d-7cb5-8279-9c6bb186489a', 4, 1796085275092062, 'discarded', NULL);
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-5bf7-762c-8928-e44189ad4c3a', 2, 1796085275640744, 'paused', NULL);
INSERT INTO @runners (id, worker, boot, host, pid, version, started_at, beat_at, expires_at, idle, draining, running, concurrency, queues, kinds, labels) VALUES ('9d02cc2f-7f6b-4c91-8478-c15eb2f8ded2', 'vm:15988', 'c9a19581-1e0c-4e9f-84b2-5804f4d84c7b', 'old.example', 16016, '0.1.0', 1796085274449592, 1796085274449592, 671034480, 0, 0, 0, 20, '[]', '["add_up","bill","book","dies","fits","plain","rebuild","recovers","send","tolerates","add_up\nshop:add_up","bill\nshop:bill","book\nshop:book","dies\nshop:dies","fits\nshop:fits","plain\nshop:plain","rebuild\nshop:rebuild","recovers\nshop:recovers","send\nshop:send","tolerates\nshop:tolerates"]', '[]');
INSERT INTO @queues (name, settings, changed_at) VALUES ('calls', '{"weight":3,"rate":"10/s"}', 1796085275585568);
INSERT INTO @queues (name, settings, changed_at) VALUES ('later', '{"paused":true}', 1796085275588815);
INSERT INTO @schedules (name, fingerprint, timing, policies, call, paused, through, declared_at, seen_at, last_at, last_job, open_jobs, skipped) VALUES ('once', 'af3165d549188d560a57432ec62d1b9f', '{"at":[4102444800000000]}', '{"misfire":"once","limit":100,"grace":60000000,"overlap":"skip","jitter":0}', '{"id":"","lane":{"queue":"default","kind":"plain","priority":0,"solo":false,"tenant":"","keyed":false},"arguments":"{\"number\":2000}","run_at":null,"delay":null,"options":null,"tenant":null,"tags":null,"parent":null,"key":null,"fingerprint":null,"key_scope":null,"key_span":null,"sequence":null,"unique":null}', 0, 1796085273941217, 1796085273941217, 1796085273941217, NULL, NULL, '[]', 0);
INSERT INTO @schedules (name, fingerprint, timing, policies, call, paused, through, declared_at, seen_at, last_at, last_job, open_jobs, skipped) VALUES ('yearly', '30b36e6bdea06ce85515dc59876e198e', '{"cron":"0 3 1 1 *"}', '{"misfire":"once","limit":100,"grace":60000000,"overlap":"skip","jitter":0}', '{"id":"","lane":{"queue":"default","kind":"plain","priority":0,"solo":false,"tenant":"","keyed":false},"arguments":"{\"number\":1000}","run_at":null,"delay":null,"options":null,"tenant":null,"tags":null,"parent":null,"key":null,"fingerprint":null,"key_scope":null,"key_span":null,"sequence":null,"unique":null}', 0, 1796085273941217, 1796085273941217, 1796085273941217, NULL, NULL, '[]', 0);
INSERT INTO @alarms (name, subject, through) VALUES ('*', 'default', 1796085274506605);
INSERT INTO @duties (name, holder, until) VALUES ('sweep', 'vm:15988', 650525596);
