// So many at a time, among all processes: reports that share four connections to a database.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
// Two clients of one store stand for two processes.
await using conclave = await connect(store, { namespace: "example-semaphore", owner: "reports 1" });
await using other = await connect(store, { namespace: "example-semaphore", owner: "reports 2" });

let connections = 0;
let most = 0;
async function report(weight: number): Promise<void> {
  connections += weight;
  most = Math.max(most, connections);
  await new Promise((resolve) => setTimeout(resolve, 5));
  connections -= weight;
}

// #region run
const connectionsOf = conclave.semaphore("connections", { limit: 4 }); // whoever comes first stores the limit, for all
await connectionsOf.run(({ weight }) => report(weight), { weight: 2, signal: AbortSignal.timeout(5_000) });
// #endregion

const weights = [1, 3, 2, 1, 4, 1, 1];
const reports = weights.map((weight, index) => {
  const process = index % 2 === 0 ? conclave : other;
  return process.semaphore("connections", { limit: 4 }).run(() => report(weight), { weight });
});
await Promise.all(reports);
assert.equal(most, 4);
console.log(`never more than ${most} connections at once`);

// #region acquire
{
  await using permit = await other.semaphore("connections").acquire({ weight: 3 });
  console.log(`${permit.weight} of ${await connectionsOf.limit()}, and ${await connectionsOf.available()} left`);
} // returned here, and at the end of the lease should the process die
// #endregion

// #region try
const permit = await other.semaphore("connections").tryAcquire({ weight: 3 });
if (permit === undefined) console.log("not so many are left, or somebody waits");
// #endregion
assert(permit);
assert.equal(await conclave.semaphore("connections").tryAcquire({ weight: 2 }), undefined);

await assert.rejects(other.semaphore("connections", { limit: 5 }).acquire(), RangeError);
const waiting = conclave.semaphore("connections").acquire({ weight: 2 });
while ((await connectionsOf.queue()).length < 2) await new Promise((resolve) => setTimeout(resolve, 5));

// #region resize
for (const { owner, weight, granted } of await connectionsOf.queue())
  console.log(`  ${owner} ${granted ? "has" : "waits for"} ${weight}`);
await connectionsOf.resize(5); // who waits gets what there is now; a smaller limit takes from nobody
// #endregion
const granted = await waiting;
assert(permit.isHeld() && granted.isHeld());
assert.equal(await connectionsOf.available(), 0);
await permit.release();
await granted.release();

// The limit is kept; it is a key that can be deleted while nobody uses the semaphore.
await conclave.kv.commit({ then: [{ delete: "semaphore/connections/limit" }] });
