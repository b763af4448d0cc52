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
await conclave.queue<string>("orders").enqueueAll([{ value: "42" }, { value: "43" }]);
await packNext(conclave);
const last = await packNext(conclave);
// #endregion
assert.equal(orders.get("43"), "parcel 2");

// #region asked
const { name, guarantees, limits } = conclave.backend;
console.log(`${name}: ${guarantees.consistency}`);
console.log(`A failover: ${guarantees.failover}`);
console.log(`A dead process's locks are free ${guarantees.expiryLagMs} ms after its lease's end at the latest.`);
console.log(`That is ${limits.minTtlMs} ms after its last sign of life, or later if you say so by ttlMs.`);
// #endregion

// #region move
/** Copies what outlives its processes. Nobody may write to either store meanwhile, and no queue may have jobs in it. */
async function move(from: Conclave, to: Conclave): Promise<void> {
  const { entries } = await from.kv.list("");
  for (const { key, value, lease } of entries) {
    if (lease !== undefined) continue; // what a living process holds
    const { succeeded } = await to.kv.commit({ if: [{ key, exists: false }], then: [{ put: key, value }] });
    if (!succeeded) throw new Error(`there is a ${key} already: somebody runs on the new store`);
  }
}
// #endregion
assert.deepEqual(await conclave.queue("orders").counts(), { waiting: 0, claimed: 0, dead: 0 });
await using moved = await connectUrl("memory:next", { namespace: "example-swapping" });
await move(conclave, moved);

// The new store counts its revisions from elsewhere, so that its tokens may be smaller: here they are.
await moved.queue<string>("orders").enqueue("43");
const tooOld = await packNext(moved).then(
  () => undefined,
  (error: unknown) => error,
);
assert.match(String(tooOld), /too old/);

// #region era
const era = 1; // beside the URL in the deployment's settings, and one more with every move
const token = await packNext(moved, era); // larger than all of era 0, whatever the stores' revisions
// #endregion
assert.equal(orders.get("43"), "parcel 4", "counters went along");
console.log(`token ${last} of the old store, then ${token} of the new one, in its era`);

const { entries } = await conclave.kv.list("");
for (const { key, lease } of entries) if (lease === undefined) await conclave.kv.commit({ then: [{ delete: key }] });
