// Questions of the harness to a rival's client, as in questions.py: a word and a number come in, a number goes out.

import { createInterface } from "node:readline";
import { createRequire } from "node:module";

export const BATCH = 1_000;
export const URL_OF_STORE = process.env.RIVAL_URL;

// The packages are in the rival's own environment, not beside this file.
export const rivalPackage = createRequire(`${process.env.RIVAL_HOME}/`);

export async function answer(client) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, number] = line.split(" ");
    process.stdout.write(`answer ${await answerOne(client, word, Number(number))}\n`);
  }
  process.exit(0);
}

export async function inBatches(count, enqueueBatch) {
  for (let first = 0; first < count; first += BATCH) {
    await enqueueBatch(Math.min(BATCH, count - first));
  }
}

async function answerOne(client, word, number) {
  if (word === "left") return client.left();
  const began = performance.now();
  if (word === "prepare") await client.prepare();
  else if (word === "bulk") await client.enqueueInBulk(number);
  else if (word === "singly") await client.enqueueSingly(number);
  else if (word === "pickup") await client.enqueuePickup(String(process.hrtime.bigint()));
  else throw new Error(`nobody taught this client ${word}`);
  return (performance.now() - began) / 1_000;
}
