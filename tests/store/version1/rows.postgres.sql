-- Rows that the code of version 1 wrote on PostgreSQL. Its worker was killed while jobs ran. The jobs of shop.py:
--   01a22f06-7255-745e-8f7a-03639f562ae6  cancelled
--   01a22f06-66a7-7000-8975-360bc1df0113  completed 0
--   01a22f06-66e2-7b26-8efe-0b15094b4654  completed 1
--   01a22f06-66e3-7179-8827-6da992c705cf  completed 2
--   01a22f06-66e4-711b-8e5d-71f86dbeba5c  completed for a tenant
--   01a22f06-66e8-7f9a-8c7d-9d8476344107  completed unique
--   01a22f06-66eb-7045-8ead-357841ae48e0  completed with a key
--   01a22f06-66e5-7360-83b1-34b1b4019c8e  dead
--   01a22f06-66e6-75d9-8aa9-b930ff10dcd7  dead for a tenant
--   01a22f06-66e6-7ebf-83b4-38646d2c3afb  dead with bad items
--   01a22f06-725c-7d8b-8eda-69d379ebc9f9  discarded
--   01a22f06-71c9-745a-89aa-eca2051be11d  does not fit
--   01a22f06-7621-7787-8256-bca7da0cf947  due
--   01a22f06-7154-74c6-864b-77d82785a810  held before a gate
--   01a22f06-7157-7f81-881d-e6fb0749eb32  next in a sequence
--   01a22f06-761d-7c6c-8ab3-9126d86fba0a  paused
--   01a22f06-7076-7926-82b9-7f652b8dd722  paused in its loop
--   01a22f06-7618-7c34-8c93-8359c2f8d60b  pending 0
--   01a22f06-761b-7fb8-8771-1cb41f525313  pending 1
--   01a22f06-761c-7519-8207-c2dabe762508  pending 2
--   01a22f06-761c-79e5-8d9f-208dabe8cf23  pending for acme
--   01a22f06-761c-7e6c-84d7-370d2d7e6efe  pending for globex
--   01a22f06-66e7-7e9c-8c87-5e28e55d6a79  recovered
--   01a22f06-7155-727d-8280-2014f2b553f6  running in a sequence
--   01a22f06-7150-7f5f-8fe6-385ee529eaa7  running in its loop
--   01a22f06-7152-75d8-86c8-7023b88a7a7c  running inside a gate
--   01a22f06-7151-7ad2-8922-e9fec7546cb3  running with a request
--   01a22f06-7620-7e93-898e-4030a9dd2afb  scheduled
--   01a22f06-7625-7ada-89b0-c598ba143700  unique
--   01a22f06-7621-7e7d-8bd7-998a6543f5b3  with a key

INSERT INTO @meta (name, value) VALUES ('queues', '2');
INSERT INTO @meta (name, value) VALUES ('schema_version', '1');
INSERT INTO @meta (name, value) VALUES ('store_id', 'e8d3512980e84fb69c76c71c99d1fd65');
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (1, 'default', 'plain', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (2, 'mail', 'send', 5, false, 'acme', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (3, 'default', 'dies', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (4, 'default', 'tolerates', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (5, 'default', 'recovers', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (6, 'default', 'rebuild', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (7, 'default', 'add_up', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (8, 'bills', 'bill', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (9, 'default', 'book', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (10, 'default', 'fits', 0, false, '', false);
INSERT INTO @lanes (id, queue, kind, priority, solo, tenant, keyed) OVERRIDING SYSTEM VALUE VALUES (11, 'mail', 'send', 5, false, 'globex', false);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66a7-7000-8975-360bc1df0113', 1, 1, 1, 3, 0, 0, 0, 1796085278433936, NULL, 1796085280759556, 1796085280788010, NULL, 'completed', '{"number":0}', '0', NULL, 'vm:16198', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66e2-7b26-8efe-0b15094b4654', 1, 2, 1, 3, 0, 0, 0, 1796085278434856, NULL, 1796085280759556, 1796085280788010, NULL, 'completed', '{"number":1}', '1', NULL, 'vm:16198', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66e3-7179-8827-6da992c705cf', 1, 3, 1, 3, 0, 0, 0, 1796085278435275, NULL, 1796085280759556, 1796085280788010, NULL, 'completed', '{"number":2}', '2', NULL, 'vm:16198', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66e4-711b-8e5d-71f86dbeba5c', 2, 4, 1, 3, 0, 0, 0, 1796085278436724, NULL, 1796085280759556, 1796085280788010, NULL, 'completed', '{"number":1}', '1', NULL, 'vm:16198', NULL, 'acme', '["red","blue"]');
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66e5-7360-83b1-34b1b4019c8e', 3, 5, 1, 3, 1, 0, 0, 1796085278438131, NULL, 1796085280759556, 1796085280789162, NULL, 'failed', '{"number":1}', NULL, '{"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}', 'failed in 1 attempt', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66e6-75d9-8aa9-b930ff10dcd7', 3, 6, 1, 3, 1, 0, 0, 1796085278438455, NULL, 1796085280759556, 1796085280790855, NULL, 'failed', '{"number":2}', NULL, '{"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}', 'failed in 1 attempt', NULL, 'acme', NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', 4, 7, 1, 3, 1, 0, 0, 1796085278439556, NULL, 1796085280759556, 1796085280803526, NULL, 'failed', '{"count":40}', NULL, '{"type":"ConnectionError","message":"after the loop","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 72, in tolerates\n    raise ConnectionError(\"after the loop\")\nConnectionError: after the loop\n"}', 'failed in 1 attempt', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66e7-7e9c-8c87-5e28e55d6a79', 5, 11, 2, 5, 1, 0, 0, 1796085278440587, NULL, 1796085280759556, 1796085280802951, NULL, 'completed', '{}', '2', '{"type":"ConnectionError","message":"the first attempt fails","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 45, in recovers\n    raise ConnectionError(\"the first attempt fails\")\nConnectionError: the first attempt fails\n"}', 'vm:16198', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66e8-7f9a-8c7d-9d8476344107', 6, 9, 1, 3, 0, 0, 0, 1796085278442681, NULL, 1796085280759556, 1796085280788010, NULL, 'completed', '{"shard":1}', '1', NULL, 'vm:16198', '{"unique":{}}', NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-66eb-7045-8ead-357841ae48e0', 1, 10, 1, 3, 0, 0, 0, 1796085278443441, NULL, 1796085280759556, 1796085280796702, NULL, 'completed', '{"number":7}', '7', NULL, 'vm:16198', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7076-7926-82b9-7f652b8dd722', 7, 12, 1, 3, 0, 0, 0, 1796085280892380, NULL, 1796085280896142, NULL, NULL, 'paused', '{"count":100}', NULL, NULL, 'paused on request', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7150-7f5f-8fe6-385ee529eaa7', 7, 13, 0, 1, 0, 0, 0, 1796085281105224, NULL, NULL, NULL, NULL, 'pending', '{"count":100}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7151-7ad2-8922-e9fec7546cb3', 7, 14, 0, 1, 0, 0, 0, 1796085281105823, NULL, NULL, NULL, NULL, 'pending', '{"count":100}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7152-75d8-86c8-7023b88a7a7c', 8, 15, 0, 1, 0, 0, 0, 1796085281108075, NULL, NULL, NULL, NULL, 'pending', '{"customer":1}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7154-74c6-864b-77d82785a810', 8, 16, 0, 1, 0, 0, 0, 1796085281108378, NULL, NULL, NULL, NULL, 'blocked', '{"customer":1}', NULL, NULL, 'waits for concurrency of kind bill, customer=1', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7155-727d-8280-2014f2b553f6', 9, 17, 0, 1, 0, 0, 0, 1796085281109718, NULL, NULL, NULL, NULL, 'pending', '{"account":"gold","cents":1}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7157-7f81-881d-e6fb0749eb32', 9, 18, 0, 1, 0, 0, 0, 1796085281112229, NULL, NULL, NULL, NULL, 'blocked', '{"account":"gold","cents":2}', NULL, NULL, 'waits for sequence book, account=gold', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-71c9-745a-89aa-eca2051be11d', 10, 19, 1, 3, 0, 0, 0, 1796085281250551, 1796085304346692, 1796085281256895, NULL, NULL, 'blocked', '{"number":5}', NULL, NULL, 'unfit: the stored arguments do not fit fits() as it is now: it does not take the argument ''number''; it takes text', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7255-745e-8f7a-03639f562ae6', 1, 20, 0, 2, 0, 0, 0, 1796085281367951, 1822005281367951, NULL, 1796085281372156, NULL, 'cancelled', '{"number":3}', NULL, NULL, 'cancelled on request', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-725c-7d8b-8eda-69d379ebc9f9', 3, 21, 1, 4, 1, 0, 0, 1796085281372957, NULL, 1796085281375983, 1796085281475568, NULL, 'cancelled', '{"number":9}', NULL, '{"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}', 'discarded', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7618-7c34-8c93-8359c2f8d60b', 1, 22, 0, 1, 0, 0, 0, 1796085282331586, NULL, NULL, NULL, NULL, 'pending', '{"number":10}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-761b-7fb8-8771-1cb41f525313', 1, 23, 0, 1, 0, 0, 0, 1796085282332101, NULL, NULL, NULL, NULL, 'pending', '{"number":11}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-761c-7519-8207-c2dabe762508', 1, 24, 0, 1, 0, 0, 0, 1796085282332403, NULL, NULL, NULL, NULL, 'pending', '{"number":12}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-761c-79e5-8d9f-208dabe8cf23', 2, 25, 0, 1, 0, 0, 0, 1796085282332733, NULL, NULL, NULL, NULL, 'pending', '{"number":20}', NULL, NULL, NULL, NULL, 'acme', NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-761c-7e6c-84d7-370d2d7e6efe', 11, 26, 0, 1, 0, 0, 0, 1796085282333564, NULL, NULL, NULL, NULL, 'pending', '{"number":21}', NULL, NULL, NULL, NULL, 'globex', NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-761d-7c6c-8ab3-9126d86fba0a', 1, 27, 0, 2, 0, 0, 0, 1796085282333841, NULL, NULL, NULL, NULL, 'paused', '{"number":4}', NULL, NULL, 'paused on request', NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7620-7e93-898e-4030a9dd2afb', 1, 28, 0, 1, 0, 0, 0, 1796085282337086, 4102444800000000, NULL, NULL, NULL, 'scheduled', '{"number":5}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7621-7787-8256-bca7da0cf947', 1, 29, 0, 1, 0, 0, 0, 1796085282337610, 1796085283337610, NULL, NULL, NULL, 'scheduled', '{"number":6}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7621-7e7d-8bd7-998a6543f5b3', 1, 30, 0, 1, 0, 0, 0, 1796085282341291, NULL, NULL, NULL, NULL, 'pending', '{"number":8}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO @jobs (id, lane, seq, epoch, version, errors, crashes, losses, created_at, run_at, started_at, finished_at, parent, state, arguments, result, error, reason, options, tenant, tags) VALUES ('01a22f06-7625-7ada-89b0-c598ba143700', 6, 31, 0, 1, 0, 0, 0, 1796085282343826, NULL, NULL, NULL, NULL, 'pending', '{"shard":2}', NULL, NULL, NULL, '{"unique":{}}', NULL, NULL);
INSERT INTO @ready (lane, seq, job) VALUES (1, 22, '01a22f06-7618-7c34-8c93-8359c2f8d60b');
INSERT INTO @ready (lane, seq, job) VALUES (1, 23, '01a22f06-761b-7fb8-8771-1cb41f525313');
INSERT INTO @ready (lane, seq, job) VALUES (1, 24, '01a22f06-761c-7519-8207-c2dabe762508');
INSERT INTO @ready (lane, seq, job) VALUES (1, 30, '01a22f06-7621-7e7d-8bd7-998a6543f5b3');
INSERT INTO @ready (lane, seq, job) VALUES (2, 25, '01a22f06-761c-79e5-8d9f-208dabe8cf23');
INSERT INTO @ready (lane, seq, job) VALUES (6, 31, '01a22f06-7625-7ada-89b0-c598ba143700');
INSERT INTO @ready (lane, seq, job) VALUES (11, 26, '01a22f06-761c-7e6c-84d7-370d2d7e6efe');
INSERT INTO @leases (job, epoch, runner, claimed_at) VALUES ('01a22f06-7150-7f5f-8fe6-385ee529eaa7', 1, 'f5c87fd9-2541-4256-93b8-53ee5bd6103b', 1796085281106508);
INSERT INTO @leases (job, epoch, runner, claimed_at) VALUES ('01a22f06-7151-7ad2-8922-e9fec7546cb3', 1, 'f5c87fd9-2541-4256-93b8-53ee5bd6103b', 1796085281106508);
INSERT INTO @leases (job, epoch, runner, claimed_at) VALUES ('01a22f06-7152-75d8-86c8-7023b88a7a7c', 1, 'f5c87fd9-2541-4256-93b8-53ee5bd6103b', 1796085281116574);
INSERT INTO @leases (job, epoch, runner, claimed_at) VALUES ('01a22f06-7155-727d-8280-2014f2b553f6', 1, 'f5c87fd9-2541-4256-93b8-53ee5bd6103b', 1796085281125903);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-66e5-7360-83b1-34b1b4019c8e', 'failed', NULL, 1796085280789499, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-66e6-75d9-8aa9-b930ff10dcd7', 'failed', NULL, 1796085280790970, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', 'failed', NULL, 1796085280803655, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-7076-7926-82b9-7f652b8dd722', 'paused', NULL, 1796085281000873, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-7154-74c6-864b-77d82785a810', 'blocked', NULL, 1796085281115722, '["concurrency","kind","bill","customer",1]', 0, 16);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-7157-7f81-881d-e6fb0749eb32', 'blocked', NULL, 1796085281125613, '["sequence","","book","account","gold"]', 0, 18);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-71c9-745a-89aa-eca2051be11d', 'blocked', 1796085304346692, 1796085281265550, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-761d-7c6c-8ab3-9126d86fba0a', 'paused', NULL, 1796085282336579, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-7620-7e93-898e-4030a9dd2afb', 'scheduled', 4102444800000000, 1796085282337086, NULL, NULL, NULL);
INSERT INTO @parked (job, state, due_at, since, gate, rank, place) VALUES ('01a22f06-7621-7787-8256-bca7da0cf947', 'scheduled', 1796085283337610, 1796085282337610, NULL, NULL, 0);
INSERT INTO @gates (key, through, most, step, burst, due_at, used_at) VALUES ('["concurrency","kind","bill","customer",1]', 0, 1, 0, 0, NULL, 1796085281118139);
INSERT INTO @gates (key, through, most, step, burst, due_at, used_at) VALUES ('["concurrency","queue","bills"]', 0, 2, 0, 0, NULL, 1796085281118139);
INSERT INTO @gates (key, through, most, step, burst, due_at, used_at) VALUES ('["sequence","","book","account","gold"]', 0, 1, 0, 0, NULL, 1796085281127038);
INSERT INTO @slots (gate, job, epoch, until) VALUES ('["concurrency","kind","bill","customer",1]', '01a22f06-7152-75d8-86c8-7023b88a7a7c', 1, 'lease');
INSERT INTO @slots (gate, job, epoch, until) VALUES ('["concurrency","queue","bills"]', '01a22f06-7152-75d8-86c8-7023b88a7a7c', 1, 'lease');
INSERT INTO @slots (gate, job, epoch, until) VALUES ('["sequence","","book","account","gold"]', '01a22f06-7155-727d-8280-2014f2b553f6', 1, 'mend');
INSERT INTO @sequences (gate, place, job) VALUES ('["sequence","","book","account","gold"]', 17, '01a22f06-7155-727d-8280-2014f2b553f6');
INSERT INTO @sequences (gate, place, job) VALUES ('["sequence","","book","account","gold"]', 18, '01a22f06-7157-7f81-881d-e6fb0749eb32');
INSERT INTO @controls (job, runner, action, at) VALUES ('01a22f06-7151-7ad2-8922-e9fec7546cb3', 'f5c87fd9-2541-4256-93b8-53ee5bd6103b', 'pause', 1796085281224000);
INSERT INTO @checkpoints (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', 1, 4, 40, 40, 1796085280801361, 1796085280801361, '[4,0,0,0.0,3.998,39.981,0.014241,[10,10,10,10],[0.00038,0.009933,0.002529,0.001404]]', NULL, '{"":{"cursor":40,"done":40,"total":40,"is_over":true,"bad":6,"numbered":6}}', '{}');
INSERT INTO @checkpoints (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept) VALUES ('01a22f06-7076-7926-82b9-7f652b8dd722', 1, 4, 40, 100, 1796085280999882, 1796085280999882, '[4,0,0,0.0,3.97,39.697,0.10229,[10,10,10,10],[0.000068,0.000819,0.000599,0.1008]]', NULL, '{"":{"cursor":40,"done":40,"total":100}}', '{"total":[780],"began":[0,10,20,30]}');
INSERT INTO @checkpoints (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept) VALUES ('01a22f06-7150-7f5f-8fe6-385ee529eaa7', 1, 3, 30, 100, 1796085281118743, 1796085281118743, '[3,0,0,0.0,3.0,29.997,0.001644,[10,10,10],[0.000036,0.000663,0.000945]]', NULL, '{"":{"cursor":30,"done":30,"total":100}}', '{"total":[435],"began":[0,10,20]}');
INSERT INTO @checkpoints (job, epoch, slices, done, total, updated_at, advanced_at, pace, note, cursors, kept) VALUES ('01a22f06-7151-7ad2-8922-e9fec7546cb3', 1, 3, 30, 100, 1796085281120560, 1796085281120560, '[3,0,0,0.0,2.998,29.98,0.010771,[10,10,10],[0.000019,0.00122,0.009533]]', NULL, '{"":{"cursor":30,"done":30,"total":100}}', '{"total":[435],"began":[0,10,20]}');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', '', 1, 1, 1796085280795497, 'value', '0', 'ValueError', '0 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 0 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', '', 2, 1, 1796085280795497, 'value', '7', 'ValueError', '7 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 7 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', '', 3, 1, 1796085280797870, 'value', '14', 'ValueError', '14 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 14 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', '', 4, 1, 1796085280799822, 'value', '21', 'ValueError', '21 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 21 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', '', 5, 1, 1796085280799822, 'value', '28', 'ValueError', '28 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 28 is a multiple of seven
');
INSERT INTO @bad_items (job, loop, number, epoch, at, form, item, type, message, traceback) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', '', 6, 1, 1796085280802179, 'value', '35', 'ValueError', '35 is a multiple of seven', 'Traceback (most recent call last):
  File "/srv/shop/shop.py", line 70, in tolerates
    raise ValueError(f"{number} is a multiple of seven")
ValueError: 35 is a multiple of seven
');
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at) VALUES ('', '*finished:rebuild', '93db7d777296b62dbb7dedfa4079926d2e47fb8d', '01a22f06-66e8-7f9a-8c7d-9d8476344107', '', NULL);
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at) VALUES ('', '*finished:rebuild', '595870ca52856354cb3005a33338135c1378f20c', '01a22f06-7625-7ada-89b0-c598ba143700', '', NULL);
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at) VALUES ('', 'plain', 'order 7', '01a22f06-66eb-7045-8ead-357841ae48e0', '2659ddb4b2fe2e735a2587c4b9b46e58cb0d0601', NULL);
INSERT INTO @keys (tenant, scope, key, job, fingerprint, expires_at) VALUES ('', 'plain', 'order 8', '01a22f06-7621-7e7d-8bd7-998a6543f5b3', 'd8cfd996eb3dedf035cfa480eb64835042dcde46', 1882485282340918);
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-66e5-7360-83b1-34b1b4019c8e', 3, 1796085280790076, 'failed', '{"worker":"vm:16198","pid":16339,"seconds":0.017,"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-66e6-75d9-8aa9-b930ff10dcd7', 3, 1796085280791062, 'failed', '{"worker":"vm:16198","pid":16339,"seconds":0.017,"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-66e6-7ebf-83b4-38646d2c3afb', 3, 1796085280803752, 'failed', '{"worker":"vm:16198","pid":16339,"seconds":0.042,"type":"ConnectionError","message":"after the loop","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 72, in tolerates\n    raise ConnectionError(\"after the loop\")\nConnectionError: after the loop\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-66e7-7e9c-8c87-5e28e55d6a79', 3, 1796085280793920, 'attempt_failed', '{"worker":"vm:16198","pid":16339,"seconds":0.022,"type":"ConnectionError","message":"the first attempt fails","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 45, in recovers\n    raise ConnectionError(\"the first attempt fails\")\nConnectionError: the first attempt fails\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-7076-7926-82b9-7f652b8dd722', 3, 1796085281000977, 'paused', '{"worker":"vm:16198","pid":16339,"seconds":0.104}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-71c9-745a-89aa-eca2051be11d', 3, 1796085281266350, 'unfit', '{"worker":"vm:16198","pid":16339,"seconds":0.004,"detail":"the stored arguments do not fit fits() as it is now: it does not take the argument ''number''; it takes text"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-7255-745e-8f7a-03639f562ae6', 2, 1796085281372574, 'cancelled', NULL);
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-725c-7d8b-8eda-69d379ebc9f9', 3, 1796085281380969, 'failed', '{"worker":"vm:16198","pid":16339,"seconds":0.0,"type":"ConnectionError","message":"the other side does not answer","traceback":"Traceback (most recent call last):\n  File \"/srv/shop/shop.py\", line 38, in dies\n    raise ConnectionError(\"the other side does not answer\")\nConnectionError: the other side does not answer\n"}');
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-725c-7d8b-8eda-69d379ebc9f9', 4, 1796085281475669, 'discarded', NULL);
INSERT INTO @events (job, version, at, name, detail) VALUES ('01a22f06-761d-7c6c-8ab3-9126d86fba0a', 2, 1796085282336693, 'paused', NULL);
INSERT INTO @runners (id, worker, boot, host, pid, version, started_at, beat_at, expires_at, idle, draining, running, concurrency, queues, kinds, labels) VALUES ('f5c87fd9-2541-4256-93b8-53ee5bd6103b', 'vm:16198', '', 'old.example', 16339, '0.1.0', 1796085280739343, 1796085280739343, 1796085310739343, true, false, 0, 20, '[]', '["add_up","bill","book","dies","fits","plain","rebuild","recovers","send","tolerates","add_up\nshop:add_up","bill\nshop:bill","book\nshop:book","dies\nshop:dies","fits\nshop:fits","plain\nshop:plain","rebuild\nshop:rebuild","recovers\nshop:recovers","send\nshop:send","tolerates\nshop:tolerates"]', '[]');
INSERT INTO @queues (name, settings, changed_at) VALUES ('calls', '{"weight":3,"rate":"10/s"}', 1796085282303093);
INSERT INTO @queues (name, settings, changed_at) VALUES ('later', '{"paused":true}', 1796085282306671);
INSERT INTO @schedules (name, fingerprint, timing, policies, call, paused, through, declared_at, seen_at, last_at, last_job, open_jobs, skipped) VALUES ('once', 'af3165d549188d560a57432ec62d1b9f', '{"at":[4102444800000000]}', '{"misfire":"once","limit":100,"grace":60000000,"overlap":"skip","jitter":0}', '{"id":"","lane":{"queue":"default","kind":"plain","priority":0,"solo":false,"tenant":"","keyed":false},"arguments":"{\"number\":2000}","run_at":null,"delay":null,"options":null,"tenant":null,"tags":null,"parent":null,"key":null,"fingerprint":null,"key_scope":null,"key_span":null,"sequence":null,"unique":null}', false, 1796085279821776, 1796085279821776, 1796085279821776, NULL, NULL, '[]', 0);
INSERT INTO @schedules (name, fingerprint, timing, policies, call, paused, through, declared_at, seen_at, last_at, last_job, open_jobs, skipped) VALUES ('yearly', '30b36e6bdea06ce85515dc59876e198e', '{"cron":"0 3 1 1 *"}', '{"misfire":"once","limit":100,"grace":60000000,"overlap":"skip","jitter":0}', '{"id":"","lane":{"queue":"default","kind":"plain","priority":0,"solo":false,"tenant":"","keyed":false},"arguments":"{\"number\":1000}","run_at":null,"delay":null,"options":null,"tenant":null,"tags":null,"parent":null,"key":null,"fingerprint":null,"key_scope":null,"key_span":null,"sequence":null,"unique":null}', false, 1796085279821776, 1796085279821776, 1796085279821776, NULL, NULL, '[]', 0);
INSERT INTO @alarms (name, subject, through) VALUES ('*', 'default', 1796085280803655);
INSERT INTO @duties (name, holder, until) VALUES ('sweep', 'vm:16198', 1796085289815405);
SELECT setval('@seq', 31);
SELECT setval(pg_get_serial_sequence('@lanes', 'id'), (SELECT max(id) FROM @lanes));
