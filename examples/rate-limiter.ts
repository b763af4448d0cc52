// A recipe of one's own at work: three processes that together may do five things a second, and no more.
import assert from "node:assert/strict";
import { connect } from "@conclave/core";
import { fromUrl } from "@conclave/url";
import { RateLimiter } from "./recipes/rate-limiter.ts";

const store = fromUrl(process.env["BACKEND"] ?? "memory:");
const limit = { permits: 5, windowMs: 300 };
const doneAtMs: number[] = [];

async function work(count: number): Promise<void> {
  await using conclave = await connect(store, { namespace: "example-rate-limiter" });
  // #region use
  await using limiter = await RateLimiter.open(conclave, "mail", limit);
  for (let index = 0; index < count; index++) {
    await limiter.acquire({ signal: AbortSignal.timeout(10_000) });
    doneAtMs.push(performance.now());
  }
  // #endregion
}

await Promise.all([work(5), work(5), work(5)]);
const tookMs = Math.max(...doneAtMs) - Math.min(...doneAtMs);
console.log(`fifteen permits were spent in ${Math.round(tookMs)} ms`);
assert.equal(doneAtMs.length, 15);
assert(tookMs > 500); // in the first window five, in the second five, and in the third

// The slots are what is left, by intention: a permit stays spent when its process is gone.
await using conclave = await connect(store, { namespace: "example-rate-limiter" });
const { entries } = await conclave.kv.list("rate-limiter/");
await conclave.kv.commit({ then: entries.map(({ key }) => ({ delete: key })) });
