import { type Conclave, connect, isCoordinationError, type Passage } from "@conclave/core";
import type { Txn } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { failure, keys, outcome, put, puts, remove, type World, world } from "./kit.ts";

const ttlMs = 9_000;

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world();
  const conclave = await connect(here.backend, { ttlMs });
  const neighbour = await connect(here.other, { ttlMs });
  await conclave.session();
  return { ...here, conclave, neighbour };
}

const round = "doublebarrier/a/round";

/** Enters, stays a moment, leaves, so many times; the generations it was in. */
async function stay({ clock }: World, conclave: Conclave, count: number, times: number): Promise<number[]> {
  const generations: number[] = [];
  for (let time = 0; time < times; time++) {
    const passage = await insist(() => conclave.doubleBarrier("a", { count }).enter());
    generations.push(passage.generation);
    await new Promise<void>((resolve) => void clock.after(10, resolve));
    await passage.leave();
  }
  return generations;
}

/** Asks again when the store refused the place in line. */
async function insist<T>(attempt: () => Promise<T>): Promise<T> {
  try {
    return await attempt();
  } catch (error) {
    if (!isCoordinationError(error, "UNAVAILABLE")) throw error;
    return attempt();
  }
}

describe.each(["lost", "refused"] as const)("two cycles of two members, of whose first commits one is %s", (fault) => {
  test.each(Array.from({ length: 14 }, (_, index) => index + 1))("commit %i", async (nth) => {
    const all = await connected();
    const { clock, backend, other, conclave, neighbour } = all;
    let commits = 0;
    backend.fault = async (call, proceed) => {
      if (call.name !== "commit") return proceed();
      commits += 1;
      if (commits !== nth) return proceed();
      if (fault === "refused") throw failure("UNAVAILABLE");
      await proceed();
      throw failure("OUTCOME_UNKNOWN");
    };
    const staying = outcome(Promise.all([stay(all, conclave, 2, 2), stay(all, neighbour, 2, 2)]));
    await clock.advance(5_000);
    expect(staying.value).toEqual([
      [1, 2],
      [1, 2],
    ]);
    expect(await keys(other)).toEqual([round]);
    expect(commits).toBeGreaterThanOrEqual(nth);
  });
});

test("a place that was asked for twice cannot come back after it was left", async () => {
  const { clock, client, backend, other, conclave, neighbour } = await connected();
  let late: (() => Promise<unknown>) | undefined;
  backend.fault = async (call, proceed) => {
    if (!puts(call) || late) return proceed();
    late = () => client.kv.commit(call.argument as Txn);
    throw failure("OUTCOME_UNKNOWN");
  };
  const entering = outcome(conclave.doubleBarrier("a", { count: 2 }).enter());
  const theirs = outcome(neighbour.doubleBarrier("a", { count: 2 }).enter());
  await clock.advance(1_000);
  const leaving = [entering.value, theirs.value].map((passage) => outcome((passage as Passage).leave()));
  await clock.advance(100);
  expect(leaving.every(({ settled }) => settled)).toBe(true);
  await late?.();
  expect(await keys(other)).toEqual([round]);
});

test("a place that was asked for twice cannot come back after it was given up", async () => {
  const { clock, client, backend, other, conclave } = await connected();
  let late: (() => Promise<unknown>) | undefined;
  backend.fault = async (call, proceed) => {
    if (!puts(call) || late) return proceed();
    late = () => client.kv.commit(call.argument as Txn);
    throw failure("OUTCOME_UNKNOWN");
  };
  const controller = new AbortController();
  const entering = outcome(conclave.doubleBarrier("a", { count: 2 }).enter({ signal: controller.signal }));
  await clock.advance(1_000);
  controller.abort("enough");
  await clock.advance(100);
  expect(entering.error).toBe("enough");
  await late?.();
  expect(await keys(other)).toEqual([round]);
});

test("who gives up while it is not known whether it is in line leaves no key of its own", async () => {
  const { clock, client, backend, other, conclave } = await connected();
  const controller = new AbortController();
  backend.fault = async (call, proceed) => {
    if (!puts(call)) return proceed();
    await proceed();
    client.disconnect();
    throw failure("OUTCOME_UNKNOWN");
  };
  const entering = outcome(conclave.doubleBarrier("a", { count: 2 }).enter({ signal: controller.signal }));
  await clock.advance(10);
  controller.abort("enough");
  await clock.advance(0);
  expect(entering.error).toBe("enough");
  backend.fault = (_, proceed) => proceed();
  client.reconnect();
  await clock.advance(ttlMs / 3);
  expect(await keys(other)).toEqual([round]);
});

test.each(["applied", "late"] as const)(
  "who gives up while it is not known whether it is in line has not died for those who saw it: %s",
  async (fate) => {
    const { clock, client, backend, other, conclave, neighbour } = await connected();
    const theirs = outcome(neighbour.doubleBarrier("a", { count: 3 }).enter());
    await clock.advance(100);
    const controller = new AbortController();
    let late: (() => Promise<unknown>) | undefined;
    backend.fault = async (call, proceed) => {
      if (!puts(call) || late) return proceed();
      late = () => client.kv.commit(call.argument as Txn);
      if (fate === "applied") await late();
      throw failure("OUTCOME_UNKNOWN");
    };
    // Straight after the answer was lost, before it could be asked for again.
    const entering = outcome(conclave.doubleBarrier("a", { count: 3 }).enter({ signal: controller.signal }));
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(3_000);
    if (fate === "late") await late?.();
    await clock.advance(2 * ttlMs);
    expect([entering.error, theirs.settled]).toEqual(["enough", false]);
    expect(await keys(other, "doublebarrier/a/line/")).toHaveLength(1);
  },
);

test("who gives up while the store is away has its place until it is back, and breaks nothing", async () => {
  const { clock, client, other, conclave, neighbour } = await connected();
  const controller = new AbortController();
  const entering = outcome(conclave.doubleBarrier("a", { count: 3 }).enter({ signal: controller.signal }));
  const theirs = outcome(neighbour.doubleBarrier("a", { count: 3 }).enter());
  await clock.advance(100);
  client.disconnect();
  controller.abort("enough");
  await clock.advance(0);
  expect(entering.error).toBe("enough");
  client.reconnect();
  await clock.advance(3_000);
  expect([theirs.settled, (await keys(other, "doublebarrier/a/line/")).length]).toEqual([false, 1]);
});

test("two hundred who give up at once do so in a few commits each, and break nothing", async () => {
  const { clock, backend, other, conclave, neighbour } = await connected();
  const controller = new AbortController();
  const entering = Array.from({ length: 200 }, () =>
    outcome(conclave.doubleBarrier("a", { count: 300 }).enter({ signal: controller.signal })),
  );
  await clock.advance(100);
  const theirs = outcome(neighbour.doubleBarrier("a", { count: 300 }).enter());
  await clock.advance(100);
  const calls = backend.calls.length;
  controller.abort("enough");
  await clock.advance(20_000);
  expect(entering.every(({ error }) => error === "enough")).toBe(true);
  expect([theirs.settled, (await keys(other, "doublebarrier/a/line/")).length]).toEqual([false, 1]);
  expect(backend.calls.length - calls).toBeLessThan(200 * 12);
}, 30_000);

test("more members than a commit has room for enter and leave, and leave nothing behind", async () => {
  const { clock, other, conclave } = await connected();
  const barrier = conclave.doubleBarrier("a", { count: 110 });
  const staying = outcome(Promise.all(Array.from({ length: 110 }, () => barrier.run(({ generation }) => generation))));
  await clock.advance(60_000);
  expect(staying.value).toEqual(Array(110).fill(1));
  expect(await keys(other)).toEqual([round]);
});

test("those who wait ask nothing of the store until it opens, and then once each", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  const barrier = conclave.doubleBarrier("a", { count: 121, onDeath: "shrink" });
  const entering = outcome(Promise.all(Array.from({ length: 120 }, () => barrier.enter())));
  await clock.advance(1_000);
  let before = backend.calls.length;
  await clock.advance(1_000);
  expect([entering.settled, backend.calls.length - before]).toEqual([false, 0]);
  before = backend.calls.length;
  const last = outcome(neighbour.doubleBarrier("a", { count: 121, onDeath: "shrink" }).enter());
  await clock.advance(1);
  expect([entering.settled, last.settled]).toEqual([true, true]);
  // The first in line may find out by itself that all are there.
  expect(backend.calls.length - before).toBeLessThanOrEqual(123);
});

test("whose session ends after it has left still waits for the others", async () => {
  const { clock, backend, conclave, neighbour } = await connected();
  const passages = Promise.all([conclave, neighbour].map((one) => one.doubleBarrier("a", { count: 2 }).enter()));
  const [mine, theirs] = (await passages) as [Passage, Passage];
  const leaving = outcome(mine.leave());
  await clock.advance(100);
  backend.fault = async (call, proceed) =>
    call.name === "keepAlive" ? Promise.reject(failure("LEASE_LOST")) : proceed();
  await clock.advance(ttlMs);
  expect(leaving.settled).toBe(false);
  await theirs.leave();
  await clock.advance(0);
  expect(leaving).toEqual({ value: undefined, settled: true });
});

test("a leave on an aborted signal leaves all the same, and rejects with the reason", async () => {
  const { clock, other, conclave } = await connected();
  const passage = await conclave.doubleBarrier("a", { count: 1 }).enter();
  await expect(passage.leave({ signal: AbortSignal.abort("enough") })).rejects.toBe("enough");
  await clock.advance(100);
  expect(await keys(other)).toEqual([round]);
  await passage.leave();
});

test("the end of the block that has a stay leaves, and tells of a broken generation once", async () => {
  const { clock, backend, other, conclave } = await connected();
  backend.fault = (_, proceed) => proceed();
  let passage: Passage | undefined;
  const brokenInside = async (leaves: boolean) => {
    await using stay = await conclave.doubleBarrier("a", { count: 1 }).enter();
    passage = stay;
    await clock.advance(10);
    await remove(other, (await keys(other, "doublebarrier/a/line/"))[0] as string);
    if (leaves) await stay.leave().catch(() => {});
  };
  await expect(brokenInside(false)).rejects.toMatchObject({ code: "BROKEN" });
  expect(passage?.isHeld()).toBe(false);
  await brokenInside(true);
  expect(await keys(other)).toEqual([round]);
});

test("who leaves a generation that was just broken leaves no trace", async () => {
  const { clock, backend, other, conclave, neighbour } = await connected();
  const entering = [conclave, neighbour].map((one) => one.doubleBarrier("a", { count: 2 }).enter());
  const [mine, theirs] = (await Promise.all(entering)) as [Passage, Passage];
  await clock.advance(10);
  // Before this one knows, the other dies, and somebody who comes notices.
  backend.fault = async (call, proceed) => {
    if (call.name === "commit") await broken;
    return proceed();
  };
  const broken = (async () => {
    await remove(other, (await keys(other, "doublebarrier/a/line/"))[1] as string);
    void neighbour
      .doubleBarrier("a", { count: 2 })
      .enter()
      .catch(() => {});
    await clock.advance(10);
  })();
  const leaving = outcome(mine.leave());
  await broken;
  await clock.advance(100);
  expect(leaving.error).toMatchObject({ code: "BROKEN" });
  await theirs.leave().catch(() => {});
  expect(await keys(other, "doublebarrier/a/left/")).toEqual([]);
});

test("a round that somebody deletes breaks the generation that is inside", async () => {
  const { clock, other, conclave } = await connected();
  await conclave.doubleBarrier("a", { count: 1 }).run(() => {});
  const passage = await conclave.doubleBarrier("a", { count: 1 }).enter();
  await clock.advance(10);
  await remove(other, round);
  await clock.advance(10);
  expect(passage.signal.reason).toMatchObject({ code: "BROKEN" });
  await expect(passage.leave()).rejects.toMatchObject({ code: "BROKEN" });
  expect(await keys(other, "doublebarrier/a/line/")).toEqual([]);
});

test("what is no round is corrupt, and leaves no key of who came", async () => {
  const { clock, other, conclave } = await connected();
  for (const wrong of ["", "null", "{}", '{"after":"x"}']) {
    await put(other, round, wrong);
    const barrier = conclave.doubleBarrier("a", { count: 1 });
    // The second time the barrier knows the round, and so stands in line at once.
    for (let times = 0; times < 2; times++) {
      const entering = outcome(barrier.enter());
      await clock.advance(ttlMs);
      expect(entering.error).toMatchObject({ code: "CORRUPT" });
      expect(await keys(other)).toEqual([round]);
    }
  }
});
