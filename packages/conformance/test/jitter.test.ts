import { MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { type JitterOptions, jitter } from "@conclave/conformance";
import { type Backend, encode, isCoordinationError, sleep } from "@conclave/core/backend";
import { afterEach, beforeEach, describe, expect, test } from "vitest";

let clock: VirtualClock;
let store: MemoryStore;
let playing: Disposable;

beforeEach(() => {
  clock = new VirtualClock();
  store = new MemoryStore({ clock });
  playing = clock.play();
});
afterEach(() => playing[Symbol.dispose]());

async function client(seed: number, options?: JitterOptions) {
  const plain = await store.connect();
  return { plain, jittered: jitter(plain, seed, options) };
}

/** Puts that many keys one after another, and gives what became of each. */
async function puts(backend: Backend, count: number): Promise<Map<string, string>> {
  const outcomes = new Map<string, string>();
  for (let index = 0; index < count; index++) {
    const key = `key-${index}`;
    const outcome = await backend.kv.commit({ then: [{ put: key, value: encode("") }] }).then(
      () => "applied",
      (error: unknown) => (isCoordinationError(error) ? error.code : String(error)),
    );
    outcomes.set(key, outcome);
  }
  return outcomes;
}

describe("jitter", () => {
  test("tells the truth about every mutation", async () => {
    const { plain, jittered } = await client(1, { faults: 0.5 });
    const outcomes = await puts(jittered, 400);
    const unknown = { applied: 0, lost: 0 };
    for (const [key, outcome] of outcomes) {
      const isThere = (await plain.kv.get(key)) !== undefined;
      if (outcome === "applied") expect(isThere).toBe(true);
      else if (outcome === "UNAVAILABLE") expect(isThere).toBe(false);
      else {
        expect(outcome).toBe("OUTCOME_UNKNOWN");
        unknown[isThere ? "applied" : "lost"] += 1;
      }
    }
    const { lostAnswers, lostCalls, refusals, late, delays } = jittered.injected;
    expect(unknown).toEqual({ applied: lostAnswers, lost: lostCalls });
    expect([...outcomes.values()].filter((outcome) => outcome === "UNAVAILABLE")).toHaveLength(refusals);
    for (const count of [lostAnswers, lostCalls, refusals, late]) expect(count).toBeGreaterThan(15);
    expect(delays).toBeGreaterThan(200);
  });

  test("does the same again for the same seed, and otherwise for another", async () => {
    const runs = [];
    for (const seed of [7, 7, 8]) {
      const { jittered } = await client(seed, { faults: 0.3 });
      runs.push([...(await puts(jittered, 60)).values()].join());
    }
    expect(runs[0]).toBe(runs[1]);
    expect(runs[0]).not.toBe(runs[2]);
  });

  test("fails no read and, without faults, no write", async () => {
    const { jittered } = await client(2, { faults: 1 });
    for (let round = 0; round < 30; round++) {
      await jittered.kv.get("a");
      await jittered.kv.list("");
      await jittered.kv.commit({ then: [{ get: "a" }] });
    }
    const { jittered: slow } = await client(2, { faults: 0 });
    expect(new Set((await puts(slow, 50)).values())).toEqual(new Set(["applied"]));
  });

  test("leaves a lease behind when the answer to a grant is lost, and it expires", async () => {
    const { jittered } = await client(3, { faults: 0.6 });
    let failed = 0;
    for (let round = 0; round < 40; round++) {
      await jittered.leases.grant({ ttlMs: 50 }).catch((error: unknown) => {
        expect(isCoordinationError(error, "OUTCOME_UNKNOWN", "UNAVAILABLE")).toBe(true);
        failed += 1;
      });
    }
    const { lostAnswers, lostCalls, refusals } = jittered.injected;
    expect(failed).toBe(lostAnswers + lostCalls + refusals);
    expect(lostAnswers).toBeGreaterThan(2);
  });

  test("delays batches and keeps their order", async () => {
    const { plain, jittered } = await client(4, { gaps: 0.3, delayMs: 5 });
    await using watch = await jittered.watches.watch({ prefix: "" });
    for (let index = 0; index < 40; index++)
      await plain.kv.commit({ then: [{ put: "key", value: encode(`${index}`) }] });
    const revisions: bigint[] = [];
    let gaps = 0;
    const before = clock.monotonicMs();
    for await (const batch of watch) {
      if ("gap" in batch) gaps += 1;
      else revisions.push(batch.revision);
      if (revisions.length === 40) break;
    }
    expect(revisions).toEqual([...revisions].sort((a, b) => Number(a - b)));
    expect(gaps).toBe(jittered.injected.gaps);
    expect(gaps).toBeGreaterThan(4);
    expect(jittered.injected.lateBatches).toBeGreaterThan(8);
    expect(clock.monotonicMs()).toBeGreaterThan(before);
  });

  test("gives up a mutation that is aborted before it was sent, and never one that was", async () => {
    const { plain, jittered } = await client(5, { faults: 0, delayMs: 20 });
    let [sent, unsent] = [0, 0];
    for (let index = 0; index < 60; index++) {
      const controller = new AbortController();
      const key = `key-${index}`;
      const commit = jittered.kv.commit({ then: [{ put: key, value: encode("") }] }, { signal: controller.signal });
      const outcome = commit.then(
        () => "applied",
        (error: unknown) => error,
      );
      await sleep(clock, 4);
      controller.abort(new Error("enough"));
      const isThere = async () => (await plain.kv.get(key)) !== undefined;
      if ((await outcome) === "applied") {
        sent += 1;
        expect(await isThere()).toBe(true);
      } else {
        unsent += 1;
        expect(await outcome).toBe(controller.signal.reason);
        expect(await isThere()).toBe(false);
      }
    }
    expect(Math.min(sent, unsent)).toBeGreaterThan(5);
  });

  test("keeps to a call's deadline", async () => {
    const { jittered } = await client(6, { faults: 0, delayMs: 10_000 });
    for (let round = 0; round < 20; round++) {
      const start = clock.monotonicMs();
      await jittered.kv.get("a", { timeoutMs: 100 });
      expect(clock.monotonicMs() - start).toBeLessThanOrEqual(50);
    }
  });

  test("answers CLOSED, and no fault, after close", async () => {
    const { jittered } = await client(7, { faults: 1 });
    await jittered[Symbol.asyncDispose]();
    for (let round = 0; round < 10; round++) {
      const error: unknown = await jittered.kv.commit({ then: [] }).catch((reason: unknown) => reason);
      expect(isCoordinationError(error, "CLOSED")).toBe(true);
    }
  });
});
