// The tally of a rival's jobs, in the files that tally.py describes. Node maps no memory, so a timer writes them.

import { appendFileSync, writeFileSync } from "node:fs";

const FLUSH_EVERY_MS = 5;
const folder = process.env.RIVAL_TALLY;
const numbers = new BigInt64Array(3);
let isWritten = true;

export function note() {
  const now = process.hrtime.bigint();
  if (numbers[0] === 0n) numbers[1] = now;
  numbers[2] = now;
  numbers[0] += 1n;
  isWritten = false;
}

export function notePickup(sent) {
  const waited = process.hrtime.bigint() - BigInt(sent);
  appendFileSync(`${folder}/pickups`, `${waited}\n`);
}

export function startTally() {
  setInterval(() => {
    if (isWritten) return;
    isWritten = true;
    writeFileSync(`${folder}/${process.pid}-0.count`, Buffer.from(numbers.buffer));
  }, FLUSH_EVERY_MS);
}
