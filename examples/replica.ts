// A live copy of a prefix: reads that cost nothing, and one's own writes among them.
import assert from "node:assert/strict";
import { connect, decode, encode } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
await using conclave = await connect(store, { namespace: "example-replica" });
await using other = await connect(store, { namespace: "example-replica" });
const price = (text: string) => ({ put: "prices/tea", value: encode(text) });
await other.kv.commit({ then: [price("2.40"), { put: "prices/cake", value: encode("3.10") }] });

// #region open
await using prices = await conclave.replica("prices/");
console.log(`tea is ${decode(prices.get("prices/tea")?.value ?? encode("sold out"))}`); // no round trip
for (const { key, value } of prices.list()) console.log(`  ${key} ${decode(value)}`); // in the order of keys
// #endregion
assert.deepEqual(
  prices.list().map(({ key }) => key),
  ["prices/cake", "prices/tea"],
);

// #region reached
const { revision } = await other.kv.commit({ then: [price("2.60")] }); // by whoever; say its revision to whom it concerns
const { entries } = await prices.reached(revision, { signal: AbortSignal.timeout(5_000) });
assert.equal(decode(entries.get("prices/tea")?.value ?? encode("")), "2.60");
// #endregion

// #region watch
const watching = (async () => {
  for await (const { entries, stale } of prices) {
    console.log(`${entries.size} prices${stale ? ", and the store does not answer" : ""}`);
    if (entries.size === 0) return;
  }
})();
// #endregion
await other.kv.commit({ then: [{ delete: "prices/tea" }, { delete: "prices/cake" }] });
await watching;
