import { MemoryStore } from "@conclave/backend-memory";
import { faultSeeds, type JitteredBackend, jitter } from "@conclave/conformance";
import { type Backend, connect } from "@conclave/core";
import { expect, test } from "vitest";
import { type Limit, RateLimiter } from "../examples/recipes/rate-limiter.ts";

const limit: Limit = { permits: 5, windowMs: 1_000 };

/** Notes when each permit was spent: before its answer is delayed, or lost. */
function noting(backend: Backend, spentAtMs: number[]): Backend {
  const { get, list } = backend.kv;
  const commit: Backend["kv"]["commit"] = async (txn, options) => {
    const commit = await backend.kv.commit(txn, options);
    if (commit.succeeded) spentAtMs.push(backend.clock.monotonicMs());
    return commit;
  };
  return { ...backend, kv: { get: get.bind(backend.kv), list: list.bind(backend.kv), commit } };
}

/** That no window has more than it may. */
function expectWithin(spentAtMs: readonly number[], { permits, windowMs }: Limit): void {
  for (const [index, atMs] of spentAtMs.entries()) {
    const later = spentAtMs[index + permits];
    if (later !== undefined) expect(later - atMs, `from ${atMs} ms`).toBeGreaterThanOrEqual(windowMs);
  }
}

// #region jitter
test("three processes never spend more than the limit, and each permit once, whatever fails", async () => {
  let trouble = 0;
  for (const seed of faultSeeds(20)) {
    const store = MemoryStore.virtual({ seed });
    const spentAtMs: number[] = [];
    const backends: JitteredBackend[] = [];
    const work = async (index: number) => {
      const backend = jitter(noting(await store.connect(), spentAtMs), 10 * seed + index, { faults: 0.3, gaps: 0.1 });
      backends.push(backend);
      const limiter = await RateLimiter.open(await connect(backend), "mail", limit);
      for (let done = 0; done < 10; ) {
        // Nothing was spent when it says UNAVAILABLE.
        await limiter.acquire().then(
          () => (done += 1),
          (error) => expect(error).toMatchObject({ code: "UNAVAILABLE" }),
        );
      }
      await limiter[Symbol.asyncDispose]();
    };
    const working = Promise.all([1, 2, 3].map(work));
    await store.advance(60_000);
    await working;
    expect(spentAtMs, `seed ${seed}`).toHaveLength(30);
    expectWithin(spentAtMs, limit);
    for (const { injected } of backends) trouble += injected.lostAnswers + injected.lostCalls;
  }
  expect(trouble).toBeGreaterThan(20);
});
// #endregion

// #region crash
test("what a process spent stays spent when it crashes", async () => {
  const store = MemoryStore.virtual();
  const client = await store.connect();
  const dead = await RateLimiter.open(await connect(client, { ttlMs: 100 }), "mail", limit);
  const alive = await RateLimiter.open(await connect(store), "mail", limit);
  for (let index = 0; index < limit.permits; index++) await dead.acquire();
  client.disconnect();
  let spent = 0;
  const spending = alive.acquire().then(() => spent++);
  await store.advance(limit.windowMs - 1);
  expect(spent).toBe(0);
  await store.advance(1);
  await spending;
  expect(spent).toBe(1);
});
// #endregion

test("one who gives up spends nothing later, and one who comes late trusts no slot that it has not watched", async () => {
  const store = MemoryStore.virtual();
  const spentAtMs: number[] = [];
  const open = async () =>
    RateLimiter.open(await connect(noting(await store.connect(), spentAtMs)), "mail", { permits: 1, windowMs: 1_000 });
  const one = await open();
  await one.acquire();
  const controller = new AbortController();
  const waiting = one.acquire({ signal: controller.signal });
  await store.advance(500);
  controller.abort(new Error("no more"));
  await expect(waiting).rejects.toThrow("no more");
  await store.advance(5_000);
  expect(spentAtMs).toHaveLength(1);
  const late = await open();
  const acquiring = late.acquire();
  await store.advance(999);
  expect(spentAtMs).toHaveLength(1);
  await store.advance(1);
  await acquiring;
  expect(spentAtMs).toHaveLength(2);
});
