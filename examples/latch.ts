// A latch: the service goes into production when all three of its stores have been warmed up, by whomever.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
// Two clients of one store stand for two processes.
await using service = await connect(store, { namespace: "example-latch", owner: "service" });
await using warmer = await connect(store, { namespace: "example-latch", owner: "warmer" });

// #region wait
const ready = service.latch("warm", { count: 3 }).wait({ signal: AbortSignal.timeout(5_000) });
// #endregion
let isReady = false;
void ready.then(() => {
  isReady = true;
});

// #region count-down
const latch = warmer.latch("warm", { count: 3 });
for (const cache of ["orders", "prices"]) {
  const remaining = await latch.countDown(); // once, even if its answer is lost
  console.log(`${cache} is warm, ${remaining} to go`);
}
// #endregion
assert.equal(isReady, false);
assert.equal(await service.latch("warm", { count: 3 }).remaining(), 1);

await latch.countDown();
await ready;
assert.equal(await latch.countDown(), 0);
console.log("in production");

// #region reset
const again = await latch.reset(); // for another round: true for one of those who try
// #endregion
assert.equal(again, true);
assert.equal(await latch.remaining(), 3);

const { entries } = await warmer.kv.list("latch/warm/");
await warmer.kv.commit({ then: entries.map(({ key }) => ({ delete: key })) });
