// Numbers, ids and values that processes share, changed exactly once even when the store's answer is lost.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-counter" });
await using other = await connect(store, { namespace: "example-counter" });

// #region counter
const hits = conclave.counter("hits"); // keep it: it remembers the number, and its callers share round trips
const sums = await Promise.all([hits.add(), hits.add(), hits.add(10)]); // one commit for all three
console.log(`the sums were ${sums.join(", ")}`);
// #endregion
assert.deepEqual(sums, [1n, 2n, 12n]);

assert.equal(await other.counter("hits").add(-2n), 10n);
assert.equal(await hits.add(), 11n);
assert.equal(await hits.get(), 11n);
await assert.rejects(hits.add(2n ** 63n), RangeError);

// #region ids
const orders = conclave.ids("orders", { block: 50 });
const id = await orders.next(); // one commit for every fifty ids
// #endregion
const ids = [id, await orders.next(), await other.ids("orders").next()];
assert.equal(new Set(ids).size, 3);
console.log(`the ids were ${ids.join(", ")}`);

// #region atomic
interface Limits {
  readonly [user: string]: number;
}
const limits = conclave.atomic<Limits>("limits");
const { value } = await limits.update((current = {}) => ({ ...current, ada: 5 })); // called again if somebody was faster
console.log(`ada may do ${value["ada"]} at once`);
// #endregion
const theirs = other.atomic<Limits>("limits");
await theirs.update((current = {}) => ({ ...current, bob: 3 }));

// #region compare-and-set
const read = await theirs.get();
const revision = await limits.compareAndSet(read?.revision, { ...read?.value, ada: 6 });
console.log(revision === undefined ? "somebody was faster" : "set");
// #endregion
assert.notEqual(revision, undefined);
assert.equal(await theirs.compareAndSet(read?.revision, {}), undefined);

const seen: (number | undefined)[] = [];
const watching = (async () => {
  // #region watch
  for await (const now of other.atomic<Limits>("limits").watch()) {
    console.log(`ada may do ${now?.value["ada"] ?? "nothing"} at once`);
    seen.push(now?.value["ada"]);
    if (now === undefined) break;
  }
  // #endregion
})();
while (seen.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
await limits.delete();
await watching;
assert.deepEqual(seen, [6, undefined]);

const { entries } = await conclave.kv.list("");
for (const { key, lease } of entries) if (lease === undefined) await conclave.kv.commit({ then: [{ delete: key }] });
