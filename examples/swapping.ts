// One program for every store: on memory, or on what BACKEND names; and what it takes to move it to another one.
import assert from "node:assert/strict";
import type { Conclave } from "@conclave/core";
import { connectUrl } from "@conclave/url";
import { FencedTable } from "./support/fenced-table.ts";

const orders = new FencedTable<string>(); // somewhere else: a database

// #region program
/** Packs what is ordered, one order after the other, and gives the token under which it did. */
async function packNext(conclave: Conclave, era = 0): Promise<bigint> {
  return conclave.mutex("packing").run(async ({ token, signal }) => {
    await using job = await conclave.queue<string>("orders").claim({ signal });
    const number = await conclave.counter("packed").add();
    if (!orders.write(job.value, `parcel ${number}`, token, era)) throw new Error(`token ${token} is too old`);
    await job.ack();
    return token;
  });
}

const url = process.env["BACKEND"] ?? "memory:"; // or etcd://…, redis://…, zookeeper://…
await using conclave = await connectUrl(url, { namespace: "example-swapping", onWarning: console.warn });
await conclave.queue<string>("orders").enqueueAll(["42", "43", "44", "44"].map((value) => ({ value })));
const tokens = [await packNext(conclave), await packNext(conclave), await packNext(conclave)];
// #endregion
assert.equal(orders.get("44"), "parcel 3");

// #region asked
const { name, guarantees, limits } = conclave.backend;
console.log(`${name}: ${guarantees.consistency}`);
console.log(`A failover: ${guarantees.failover}`);
console.log(`A dead process's locks are free ${guarantees.expiryLagMs} ms after its lease's end at the latest.`);
console.log(`That is ${limits.minTtlMs} ms after its last sign of life, or later if you say so by ttlMs.`);
// #endregion

await conclave.close();

// #region move
/** Copies what outlives its processes, once nobody runs on either store. */
async function move(from: Conclave, to: Conclave): Promise<void> {
  const { entries } = await from.kv.list("", { order: "oldest" }); // which is also the order of queues
  if (entries.some(({ lease }) => lease !== undefined)) throw new Error("somebody still runs on the old store");
  if ((await to.kv.list("")).entries.length > 0) throw new Error("the new store has something there already");
  for (const { key, value } of entries) await to.kv.commit({ then: [{ put: key, value }] });
}

await using before = await connectUrl(url, { namespace: "example-swapping" });
await using after = await connectUrl("memory:next", { namespace: "example-swapping" });
await move(before, after);
// #endregion

// The new store counts its revisions from elsewhere, so that its tokens may be smaller: here they are.
const tooOld = await packNext(after).then(
  () => undefined,
  (error: unknown) => error,
);
assert.match(String(tooOld), /too old/);

// #region era
const era = 1; // beside the URL in the deployment's settings, and one more with every move
const token = await packNext(after, era); // larger than all of era 0, whatever the stores' revisions
// #endregion
assert.equal(orders.get("44"), "parcel 5", "the job and the counter went along");
console.log(`tokens ${tokens.join(", ")} of the old store, then ${token} of the new one, in its era`);

for (const { key } of (await before.kv.list("")).entries) await before.kv.commit({ then: [{ delete: key }] });
