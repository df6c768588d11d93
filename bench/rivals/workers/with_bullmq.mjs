// BullMQ on Redis: one worker of 100 jobs at once, `addBulk` for many; finished jobs are kept, as by default.

import { answer, inBatches, rivalPackage, URL_OF_STORE } from "./questions.mjs";
import { note, notePickup, startTally } from "./tally.mjs";

const { Queue, Worker } = rivalPackage("bullmq");
const Redis = rivalPackage("ioredis").default;

const QUEUE = "rivals";
const CONCURRENCY = 100;
const connection = () => new Redis(URL_OF_STORE, { maxRetriesPerRequest: null });

async function work() {
  startTally();
  const worker = new Worker(
    QUEUE,
    async (job) => (job.name === "pickup" ? notePickup(job.data.sent) : note()),
    { connection: connection(), concurrency: CONCURRENCY },
  );
  await worker.waitUntilReady();
}

function client() {
  const jobs = (count) => Array.from({ length: count }, () => ({ name: "noop", data: { first: 1, second: 2 } }));
  let queue;
  return {
    async prepare() {
      queue = new Queue(QUEUE, { connection: connection() });
      await queue.waitUntilReady();
    },
    enqueueInBulk: (count) => inBatches(count, (size) => queue.addBulk(jobs(size))),
    async enqueueSingly(count) {
      for (let done = 0; done < count; done++) await queue.add("noop", { first: 1, second: 2 });
    },
    enqueuePickup: (sent) => queue.add("pickup", { sent }),
    async left() {
      const counts = await queue.getJobCounts("waiting", "active", "delayed", "prioritized");
      return Object.values(counts).reduce((sum, count) => sum + count, 0);
    },
  };
}

await (process.argv[2] === "work" ? work() : answer(client()));
