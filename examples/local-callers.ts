// A lock between the requests of one process, and those of others: handed on without the store, and entered twice.
import assert from "node:assert/strict";
import { connect, type Hold } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-local-callers", owner: "till 1" });
await using other = await connect(store, { namespace: "example-local-callers", owner: "till 2" });

const turns: string[] = [];
const tokens: bigint[] = [];

const first = await conclave.mutex("orders").acquire();
tokens.push(first.token);

// #region callers
// Requests of one process queue for one key, and pass it on among themselves: at most 3 times in a row here, and not for
// longer than ten seconds. Then the other processes have their turn.
const orders = conclave.mutex("orders", { maxLocalHandovers: 3, maxLocalHoldMs: 10_000 });
const requests = [1, 2, 3, 4, 5].map((request) =>
  orders.run(({ token }) => {
    turns.push(`till 1, request ${request}`);
    tokens.push(token);
  }),
);
// #endregion

const elsewhere = other.mutex("orders").run(({ token }) => {
  turns.push("till 2");
  tokens.push(token);
});
while ((await other.mutex("orders").queue()).length < 2) await new Promise((resolve) => setTimeout(resolve, 5));
await first.release();
await Promise.all([...requests, elsewhere]);

for (const [index, turn] of turns.entries()) console.log(`  ${tokens[index + 1]} ${turn}`);
assert.deepEqual(turns, [
  "till 1, request 1",
  "till 1, request 2",
  "till 1, request 3",
  "till 2",
  "till 1, request 4",
  "till 1, request 5",
]);
assert(tokens.every((token, index) => index === 0 || token > (tokens[index - 1] as bigint)));

// #region reenter
async function ship(order: string, held?: Hold): Promise<string> {
  // Called by who holds the lock already, this goes on under the same hold; otherwise it waits for its turn.
  await using hold = await conclave.mutex("orders").acquire({ reenter: held });
  return `${order} is shipped under ${hold.token}`;
}

const shipped = await conclave.mutex("orders").run(async (hold) => [await ship("41", hold), await ship("42", hold)]);
// #endregion
console.log(shipped.join("\n"));
assert.equal(new Set(shipped.map((line) => line.split(" ").at(-1))).size, 1);
assert.notEqual(await ship("43"), shipped[1]);
