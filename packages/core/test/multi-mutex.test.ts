import { type Conclave, connect, tokenOf } from "@conclave/core";
import type { Txn } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { deletes, failure, keys, losingAnswers, outcome, puts, remove, type World, world } from "./kit.ts";

const ttlMs = 9_000;
const intervalMs = ttlMs / 3;

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world();
  const conclave = await connect(here.backend, { ttlMs });
  const neighbour = await connect(here.other, { ttlMs });
  await conclave.session();
  return { ...here, conclave, neighbour };
}

describe("several mutexes whose commit's answer is lost", () => {
  test.each(["acquire", "tryAcquire"] as const)("are held by %s once, on one key each", async (way) => {
    const { clock, backend, other, conclave } = await connected();
    backend.fault = losingAnswers(puts, 3);
    const acquiring = outcome(conclave.mutexes(["a", "b", "c"])[way]());
    await clock.advance(2_000);
    const { entries } = await other.kv.list("");
    expect(new Set(entries.map(({ created }) => tokenOf(created)))).toEqual(new Set([acquiring.value?.token]));
    expect(acquiring.value?.keys).toEqual(entries.map(({ key }) => key));
    await acquiring.value?.release();
    expect(await keys(other)).toEqual([]);
  });

  test.each(["acquire", "tryAcquire"] as const)(
    "leave no key when what was sent first arrives last (%s)",
    async (way) => {
      const { clock, client, backend, other, conclave } = await connected();
      const late: (() => Promise<unknown>)[] = [];
      backend.fault = async (call, proceed) => {
        if (!puts(call) || late.length >= 2) return proceed();
        late.push(() => client.kv.commit(call.argument as Txn));
        throw failure("OUTCOME_UNKNOWN");
      };
      const acquiring = outcome(conclave.mutexes(["a", "b"])[way]());
      await clock.advance(1_000);
      await acquiring.value?.release();
      await late[0]?.();
      await clock.advance(intervalMs);
      await late[1]?.();
      await clock.advance(intervalMs);
      expect(await keys(other)).toEqual([]);
    },
  );

  test("are all released though one was deleted by hand, and the answer to the release is lost", async () => {
    const { clock, backend, other, conclave } = await connected();
    const hold = await conclave.mutexes(["a", "b", "c"]).acquire();
    await remove(other, hold.keys[1] as string);
    backend.fault = losingAnswers(deletes, 2);
    await hold.release();
    await clock.advance(2 * intervalMs);
    expect(await keys(other)).toEqual([]);
  });
});

describe("waiting for several mutexes", () => {
  test("does not watch anew while some of those ahead leave", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const holders = [];
    for (const name of ["a", "b", "c"]) holders.push(await neighbour.mutex(name).acquire());
    backend.calls.length = 0;
    const waiting = outcome(conclave.mutexes(["a", "b", "c"]).acquire());
    await clock.advance(10);
    for (const holder of holders) {
      expect(waiting.settled).toBe(false);
      await holder.release();
      await clock.advance(0);
    }
    expect(waiting.value?.isHeld()).toBe(true);
    // One to take the places, one once the watches are live, and one for each that left.
    expect([backend.count("commit"), backend.count("watch")]).toEqual([5, 6]);
  });

  test("goes on behind who stood further ahead, when the one just ahead gives up", async () => {
    const { clock, store, conclave, neighbour } = await connected();
    const third = await connect(await store.connect(), { ttlMs });
    const first = await neighbour.mutex("b").acquire();
    const controller = new AbortController();
    const second = outcome(third.mutexes(["a", "b"]).acquire({ signal: controller.signal }));
    await clock.advance(0);
    const waiting = outcome(conclave.mutexes(["b", "c"]).acquire());
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    expect([second.error, waiting.settled]).toEqual(["enough", false]);
    await first.release();
    await clock.advance(0);
    expect(waiting.value?.isHeld()).toBe(true);
  });

  test("never ends in a ring, in whichever order places were taken", async () => {
    for (const order of [
      [0, 1, 2],
      [2, 1, 0],
      [1, 0, 2],
    ]) {
      const { clock, store } = await world();
      const pairs = [
        ["a", "b"],
        ["b", "c"],
        ["c", "a"],
      ];
      const held: number[] = [];
      const all = order.map(async (index) => {
        const conclave = await connect(await store.connect(), { ttlMs });
        await conclave.mutexes(pairs[index] as string[]).run(() => void held.push(index));
      });
      await clock.advance(100);
      await Promise.all(all);
      expect(held.toSorted()).toEqual([0, 1, 2]);
    }
  });

  test("works where one's prefix is below another's", async () => {
    const { clock, conclave, neighbour } = await connected();
    const nested = [{ prefix: "x/" }, { prefix: "x/y/" }];
    const first = await neighbour.mutexes(nested).acquire();
    const waiting = outcome(conclave.mutexes(nested).acquire());
    await clock.advance(ttlMs);
    expect(waiting.settled).toBe(false);
    await first.release();
    await clock.advance(0);
    expect(waiting.value?.isHeld()).toBe(true);
  });
});
