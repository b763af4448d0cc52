// A barrier: workers stop at it while a migration runs, and go on when it is over, or when the migrator dies.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
// Clients of one store stand for processes.
await using conclave = await connect(store, { namespace: "example-barrier", owner: "operator" });
await using migrator = await connect(store, { namespace: "example-barrier", owner: "migrator" });
await using worker = await connect(store, { namespace: "example-barrier", owner: "worker" });

const done: string[] = [];

// #region wait
async function workOnce(job: string): Promise<void> {
  await worker.barrier("orders").wait({ signal: AbortSignal.timeout(5_000) }); // at once while it is open
  done.push(job);
}
// #endregion

await workOnce("before");

// #region owned
{
  await using closure = await migrator.barrier("orders").close({ owned: true });
  if (closure === undefined) throw new Error("somebody else has closed it");
  // If this process dies, the barrier opens at the end of its lease.
  void workOnce("after");
  await new Promise((resolve) => setTimeout(resolve, 50)); // the migration; stop when closure.signal aborts
  done.push("migration");
} // opened here, whatever happened
// #endregion
while (done.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
assert.deepEqual(done, ["before", "migration", "after"]);
console.log(`in order: ${done.join(", ")}`);

// #region lasting
const closed = await conclave.barrier("orders").close(); // stays closed, also after this process has ended
console.log(`closed until somebody opens it: ${await worker.barrier("orders").isClosed()}`);
await worker.barrier("orders").open();
// #endregion
assert.equal(closed, true);
assert.equal(await conclave.barrier("orders").isClosed(), false);
