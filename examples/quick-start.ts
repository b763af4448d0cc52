// Everything once, in a few lines, with nothing to install or start.
import assert from "node:assert/strict";

// #region quick-start
import { memory } from "@conclave/backend-memory";
import { connect } from "@conclave/core";

const store = memory(); // in production: etcd({ endpoints: ["http://127.0.0.1:2379"] })
await using conclave = await connect(store, { namespace: "shop" });

// A lock: one at a time, among all processes.
await conclave.mutex("orders/42").run(async ({ token, signal }) => {
  console.log(`packing order 42, with token ${token}`); // larger with every grant, so that late writes can be refused
  signal.throwIfAborted(); // it aborts when the lock is lost
});

// An election: one leader among all processes, for as long as this function runs.
await conclave.election("scheduler").run(async ({ token }) => console.log(`leading, with token ${token}`));

// A directory: who is there now. An instance vanishes when its process dies.
await using payments = await conclave.service("payments").register({ address: "10.0.0.7:8080" });
await using directory = await conclave.service("payments").instances();
console.log(`${payments.service} is at ${directory.pick("round-robin")?.instance.address}`);
// #endregion

const addresses = directory.snapshot.instances.map(({ address }) => address);
assert.deepEqual(addresses, ["10.0.0.7:8080"]);
assert.equal(await conclave.election("scheduler").leader(), undefined);
