// graphile-worker on PostgreSQL, with the settings of its page on performance: a local queue of 500, batched completion.

import { answer, inBatches, rivalPackage, URL_OF_STORE } from "./questions.mjs";
import { note, notePickup, startTally } from "./tally.mjs";

const { Logger, makeWorkerUtils, run } = rivalPackage("graphile-worker");
const { Client } = rivalPackage("pg");

const logger = new Logger(() => () => {});
const preset = {
  worker: {
    connectionString: URL_OF_STORE,
    concurrentJobs: 24,
    maxPoolSize: 25,
    localQueue: { size: 500 },
    completeJobBatchDelay: 0,
    failJobBatchDelay: 0,
    logger,
  },
};

async function work() {
  startTally();
  const taskList = {
    noop: async () => note(),
    pickup: async ({ sent }) => notePickup(sent),
  };
  const runner = await run({ preset, taskList });
  await runner.promise;
}

function client() {
  const jobs = (count) => Array.from({ length: count }, () => ({ identifier: "noop", payload: { first: 1, second: 2 } }));
  let utils, database;
  return {
    async prepare() {
      utils = await makeWorkerUtils({ connectionString: URL_OF_STORE, logger });
      await utils.migrate();
      database = new Client({ connectionString: URL_OF_STORE });
      database.on("error", () => {});
      await database.connect();
    },
    enqueueInBulk: (count) => inBatches(count, (size) => utils.addJobs(jobs(size))),
    async enqueueSingly(count) {
      for (let done = 0; done < count; done++) await utils.addJob("noop", { first: 1, second: 2 });
    },
    enqueuePickup: (sent) => utils.addJob("pickup", { sent }),
    async left() {
      const { rows } = await database.query("select count(*) as open from graphile_worker._private_jobs");
      return Number(rows[0].open);
    },
  };
}

await (process.argv[2] === "work" ? work() : answer(client()));
