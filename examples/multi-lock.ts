// Several locks at once, all or none: two accounts of a transfer, in whichever order they are named.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-multi-lock", owner: "till 1" });
await using other = await connect(store, { namespace: "example-multi-lock", owner: "till 2" });

const accounts = new Map([
  ["ada", 100],
  ["bob", 100],
]);

// #region transfer
async function transfer(from: string, to: string, amount: number): Promise<bigint> {
  await using hold = await conclave.mutexes([`accounts/${from}`, `accounts/${to}`]).acquire();
  accounts.set(from, (accounts.get(from) ?? 0) - amount);
  accounts.set(to, (accounts.get(to) ?? 0) + amount);
  return hold.token; // one for both: larger than any that either account has seen
}
// #endregion

// Opposite orders: taken one by one, these would wait for each other for ever.
const tokens = await Promise.all([transfer("ada", "bob", 30), transfer("bob", "ada", 10)]);
assert.deepEqual([...accounts.values()], [80, 120]);
assert.notEqual(tokens[0], tokens[1]);
console.log(`transferred, with tokens ${tokens.join(" and ")}`);

// The lines are those of the plain mutexes.
const single = await other.mutex("accounts/bob").acquire();

// #region try
const both = await conclave.mutexes(["accounts/ada", "accounts/bob"]).tryAcquire();
if (both === undefined) console.log("one of them is taken, so none was");
// #endregion
assert.equal(both, undefined);
assert((await other.mutex("accounts/ada").queue()).length === 0);
await single.release();

// #region guard
const state = new TextEncoder().encode("closed");
const applied = await conclave.mutexes(["accounts/ada", "accounts/bob"]).run(async (hold) => {
  // Applied only if both are still held when the store applies it.
  const then = [{ put: "accounts-state", value: state }];
  return (await conclave.kv.commit(hold.guard({ then }))).succeeded;
});
// #endregion
assert(applied);
assert((await conclave.kv.commit({ then: [{ delete: "accounts-state" }] })).succeeded);
assert.equal((await conclave.kv.list("mutex/")).entries.length, 0);
console.log("both were held, and are free");
