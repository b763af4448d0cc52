// A lock between processes: waiting for it, trying for it, and making sure that a late write does no harm.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";
import { FencedTable } from "./support/fenced-table.ts";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
// Two clients of one store stand for two processes.
await using conclave = await connect(store, { namespace: "example-mutex", owner: "till 1" });
await using other = await connect(store, { namespace: "example-mutex", owner: "till 2" });

const orders = new FencedTable<string>();
const tokens: bigint[] = [];

// #region acquire
{
  await using hold = await conclave.mutex("orders/42").acquire({ signal: AbortSignal.timeout(5_000) });
  // Give the token along with every write, and let the table refuse a smaller one.
  orders.write("42", "packed", hold.token);
  tokens.push(hold.token);
} // released here, whatever happened
// #endregion
assert.equal(orders.get("42"), "packed");
console.log(`till 1 held the lock with token ${tokens[0]}`);

// #region try-acquire
const hold = await other.mutex("orders/42").tryAcquire();
if (hold === undefined) console.log("somebody else has it");
else console.log(`till 2 has it, with token ${hold.token}`);
// #endregion
assert(hold);
tokens.push(hold.token);
assert.equal(await conclave.mutex("orders/42").tryAcquire(), undefined);

// #region run
const receipt = conclave.mutex("orders/42").run(async ({ token, signal }) => {
  signal.throwIfAborted(); // pass it on to whatever takes long: it aborts when the lock is lost
  orders.write("42", "shipped", token);
  tokens.push(token);
  return `shipped with token ${token}`;
});
// #endregion

while ((await other.mutex("orders/42").queue()).length < 2) await new Promise((resolve) => setTimeout(resolve, 5));

// #region queue
for (const { owner, token } of await conclave.mutex("orders/42").queue()) console.log(`  ${token} ${owner}`);
// #endregion
await hold.release();
console.log(`till 1 waited for till 2, and ${await receipt}`);

// #region fencing
const late = orders.write("42", "packed again", hold.token);
console.log(`a late write of till 2 was ${late ? "accepted" : "refused"}`);
// #endregion
assert.equal(late, false);
assert.equal(orders.get("42"), "shipped");

// #region guard
// For what is kept in the coordination store itself no token is needed: the store checks that the lock is still held.
await using guarded = await conclave.mutex("orders/42").acquire();
const value = new TextEncoder().encode("delivered");
const commit = await conclave.kv.commit(guarded.guard({ then: [{ put: "orders/42/state", value }] }));
console.log(`the write under guard was ${commit.succeeded ? "applied" : "refused"}`);
// #endregion
assert(commit.succeeded);
tokens.push(guarded.token);

const tidy = guarded.guard({ then: [{ delete: "orders/42/state" }] });
assert((await conclave.kv.commit(tidy)).succeeded);
await guarded.release();
assert.equal((await conclave.kv.commit(tidy)).succeeded, false);

assert.deepEqual(
  tokens,
  tokens.toSorted((one, next) => Number(one - next)),
);
assert.equal(new Set(tokens).size, tokens.length);
console.log(`tokens only ever grew: ${tokens.join(" < ")}`);
