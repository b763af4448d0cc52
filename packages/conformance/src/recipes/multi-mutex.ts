import { type Conclave, type MultiHold, tokenOf } from "@conclave/core";
import { sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { numbered, present, put, remove, texts } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { type Exclusive, Room } from "./exclusive.ts";
import {
  aborted,
  deathMs,
  noticeMs,
  type Process,
  rejection,
  start,
  startMany,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, insist, seeds, Trouble, troubledMs } from "./under-jitter.ts";

/** Two lines at once, of which the tests look at one. */
export const twoMutexes: Exclusive = {
  kind: "two mutexes at once",
  acquire: (conclave, name, options) =>
    conclave
      .mutexes([name, typeof name === "string" ? `${name}, too` : { prefix: `z${name.prefix}` }])
      .acquire(options),
};

/** Several mutexes at once. */
export function multiMutex(suite: Suite): void {
  suite.it("takes thirty-two that are free in one commit, and releases them in one", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const names = numbered(32).reverse();
    const [taking, hold] = await cost(counted, () => conclave.mutexes(names).acquire());
    expect(taking).toEqual({ commit: 1 });
    expect(hold.isHeld()).toBe(true);
    expect(hold.keys).toHaveLength(32);
    expect(Object.keys(await texts(backend.kv))).toEqual(hold.keys);
    for (const key of hold.keys) expect(tokenOf((await present(backend.kv, key)).created)).toBe(hold.token);
    expect((await cost(counted, () => hold.release()))[0]).toEqual({ commit: 1 });
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it(
    "takes what is free for one commit when only trying, and writes nothing if one is not",
    async (backend, scene) => {
      const [one, other] = [await startCounted(scene), await start(scene)];
      const [trying, hold] = await cost(one.counted, () => one.conclave.mutexes(["a", "b", "c"]).tryAcquire());
      expect(trying).toEqual({ commit: 1 });
      expect(hold?.keys).toHaveLength(3);
      await hold?.release();
      const busy = await other.conclave.mutex("b").acquire();
      const before = await texts(backend.kv);
      const again = await cost(one.counted, () => one.conclave.mutexes(["a", "b", "c"]).tryAcquire());
      expect(again).toEqual([{ commit: 1 }, undefined]);
      expect(await texts(backend.kv)).toEqual(before);
      expect(busy.isHeld()).toBe(true);
    },
  );

  for (const [who, same] of [
    ["other processes", false],
    ["its own process", true],
  ] as const) {
    suite.it(`excludes, and is excluded by, who holds one of them in ${who}`, async (backend, scene) => {
      const one = await start(scene);
      const other = same ? one : await start(scene);
      const all = await one.conclave.mutexes(["a", "b"]).acquire();
      const single = other.conclave.mutex("b").acquire();
      expect(await other.conclave.mutex("a").tryAcquire()).toBeUndefined();
      await staysOpen(backend, scene, single);
      await all.release();
      const hold = await within(backend, scene.patienceMs, single);
      expect(hold.token).toBeGreaterThan(all.token);
      const again = one.conclave.mutexes(["b", "a"]).acquire();
      await staysOpen(backend, scene, again);
      await hold.release();
      expect((await within(backend, scene.patienceMs, again)).token).toBeGreaterThan(hold.token);
    });
  }

  suite.it("gets its turn although callers of its own process hand one of them on", async (backend, scene) => {
    const { conclave } = await start(scene);
    const first = await conclave.mutex("a").acquire();
    let stop = false;
    const callers = numbered(3).map(async () => {
      while (!stop) {
        await using _ = await conclave.mutex("a", { maxLocalHandovers: 5 }).acquire();
        await sleep(backend.clock, 1);
      }
    });
    const all = conclave.mutexes(["a", "b"]).acquire();
    await first.release();
    const hold = await within(backend, scene.patienceMs, all);
    stop = true;
    await hold.release();
    await within(backend, scene.patienceMs, Promise.all(callers));
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("waits for its turn in every line, for one commit at each turn", async (backend, scene) => {
    const holders = await Promise.all(
      ["a", "b", "c"].map(async (name) => (await start(scene)).conclave.mutex(name).acquire()),
    );
    const { conclave, counted } = await startCounted(scene);
    const all = conclave.mutexes(["a", "b", "c"]).acquire();
    await scene.eventually(backend, () => expect(counted.snapshot()).toEqual({ commit: 2, watch: 6 }));
    for (const [index, holder] of holders.entries()) {
      await staysOpen(backend, scene, all);
      await holder.release();
      await scene.eventually(backend, () => expect(counted.snapshot()).toEqual({ commit: 3 + index, watch: 6 }));
    }
    expect((await within(backend, scene.patienceMs, all)).isHeld()).toBe(true);
  });

  suite.it("is granted in the order of its place, and holds up only those behind it", async (backend, scene) => {
    const [one, other, third, fourth] = (await startMany(scene, 4)) as [Process, Process, Process, Process];
    const b = await one.conclave.mutex("b").acquire();
    const controller = new AbortController();
    const both = other.conclave.mutexes(["a", "b"]).acquire({ signal: controller.signal });
    await scene.eventually(backend, async () => expect(await third.conclave.mutex("a").queue()).toHaveLength(1));
    const behind = third.conclave.mutex("a").acquire();
    await staysOpen(backend, scene, behind);
    const apart = await within(backend, scene.patienceMs, fourth.conclave.mutexes(["c", "d"]).acquire());
    expect(apart.isHeld()).toBe(true);
    const reason = new Error("no more");
    controller.abort(reason);
    expect(await rejection(both)).toBe(reason);
    await within(backend, scene.patienceMs, behind);
    expect(b.isHeld()).toBe(true);
    await scene.eventually(backend, async () => expect(await third.conclave.mutex("b").queue()).toHaveLength(1));
  });

  suite.it("takes no notice of the order in which they are named", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const room = new Room();
    const contend = async ({ conclave }: Process, names: readonly string[]) => {
      for (let round = 0; round < 10; round++) await conclave.mutexes(names).run((hold) => room.enter(hold));
    };
    const both = [contend(one, ["a", "b", "c"]), contend(other, ["c", "b", "a"])];
    await within(backend, 4 * scene.patienceMs, Promise.all(both));
    expect(room.visits).toBe(20);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("feeds five philosophers, as often as each likes", async (backend, scene) => {
    const table = new Table(5);
    const dine = async ({ conclave }: Process, seat: number) => {
      for (let meal = 0; meal < 4; meal++) {
        await conclave.mutexes(table.forks(seat)).run(async (hold) => {
          table.eat(seat, hold);
          await sleep(backend.clock, 1);
        });
      }
    };
    await within(backend, 8 * scene.patienceMs, Promise.all((await startMany(scene, 5)).map(dine)));
    expect(table.meals).toBe(20);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("feeds five philosophers whatever fails, and leaves no fork taken", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    for (const seed of seeds(scene)) {
      const table = new Table(5);
      const dine = async ({ conclave }: Process, seat: number) => {
        for (let meal = 0; meal < 2; meal++) {
          const hold = await insist(() => conclave.mutexes(table.forks(seat)).acquire());
          if (hold.isHeld()) table.eat(seat, hold);
          await sleep(backend.clock, (backend.clock.random() * scene.timing.ttlMs) / 40);
          await hold.release();
        }
      };
      const philosophers = await trouble.startMany(seed, 5);
      await within(backend, troubledMs(scene), Promise.all(philosophers.map(dine)));
      await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
      expect(table.meals, `meals with seed ${seed}`).toBeGreaterThan(0);
      await closeAll(philosophers);
    }
    trouble.expectAtLeast(1, ...everyFault);
  });

  suite.it("leaves no place in any line when a wait is cancelled", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const hold = await one.conclave.mutex("b").acquire();
    const controller = new AbortController();
    const waiting = other.conclave.mutexes(["a", "b", "c"]).acquire({ signal: controller.signal });
    await staysOpen(backend, scene, waiting);
    const reason = new Error("no more");
    controller.abort(reason);
    expect(await within(backend, scene.timing.ttlMs / 4, rejection(waiting))).toBe(reason);
    await scene.eventually(backend, async () => expect(Object.keys(await texts(backend.kv))).toEqual([hold.key]));
  });

  suite.it("rejects a waiter of whose places one is deleted, and leaves none of the others", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const hold = await one.conclave.mutex("a").acquire();
    const waiting = other.conclave.mutexes(["a", "b", "c"]).acquire();
    await staysOpen(backend, scene, waiting);
    const [place] = await one.conclave.mutex("c").queue();
    await remove(backend.kv, place?.key as string);
    await failsWith("LEASE_LOST", within(backend, scene.patienceMs, waiting));
    await scene.eventually(backend, async () => expect(Object.keys(await texts(backend.kv))).toEqual([hold.key]));
  });

  suite.it("is lost when one of them is, and then guards nothing and frees the others", async (backend, scene) => {
    const { conclave } = await startMortal(scene);
    const hold = await conclave.mutexes(["a", "b", "c"]).acquire();
    const write = (text: string) => conclave.kv.commit(hold.guard({ then: [put("data", text)] }));
    expect((await write("held")).succeeded).toBe(true);
    await remove(backend.kv, hold.keys[1] as string);
    expect((await write("lost")).succeeded).toBe(false);
    const { reason } = await within(backend, noticeMs(scene), aborted(backend, hold.signal));
    expect(reason).toMatchObject({ code: "LEASE_LOST" });
    expect(hold.isHeld()).toBe(false);
    await hold.release();
    expect(await texts(backend.kv)).toEqual({ data: "held" });
  });

  suite.it(
    "passes on all of what a dead process held, and rejects who waits when its own session is lost",
    async (backend, scene) => {
      const victim = await startMortal(scene);
      const dead = await victim.conclave.mutexes(["a", "b"]).acquire();
      const waiter = await startMortal(scene);
      const waiting = waiter.conclave.mutexes(["b", "c"]).acquire();
      const rejected = failsWith("LEASE_LOST", within(backend, deathMs(scene), waiting));
      await scene.eventually(backend, async () => expect(await victim.conclave.mutex("c").queue()).toHaveLength(1));
      await Promise.all([victim, waiter].map((process) => scene.kill(process.backend)));
      const next = (await start(scene)).conclave.mutexes(["a", "b", "c"]).acquire();
      expect((await within(backend, deathMs(scene), next)).token).toBeGreaterThan(dead.token);
      expect(dead.isHeld()).toBe(false);
      await rejected;
    },
  );

  suite.it(
    "aborts the work's signal when the run's aborts, and holds on until the work ends",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      const controller = new AbortController();
      const reason = new Error("stop");
      const run = one.conclave.mutexes(["a", "b"]).run(
        async (hold) => {
          controller.abort(reason);
          expect((await aborted(backend, hold.signal)).reason).toBe(reason);
          expect(await tried(other.conclave)).toBe(false);
          return "done";
        },
        { signal: controller.signal },
      );
      expect(await run).toBe("done");
      expect(await tried(other.conclave)).toBe(true);
    },
  );
}

async function tried(conclave: Conclave): Promise<boolean> {
  await using hold = await conclave.mutexes(["b", "a"]).tryAcquire();
  return hold !== undefined;
}

/** A round table with a fork between each two seats. */
class Table {
  readonly #seats: number;
  readonly #eating = new Map<number, MultiHold>();
  readonly #tokens = new Map<string, bigint>();
  #meals = 0;

  constructor(seats: number) {
    this.#seats = seats;
  }

  get meals(): number {
    return this.#meals;
  }

  forks(seat: number): readonly string[] {
    return [`fork ${seat}`, `fork ${(seat + 1) % this.#seats}`];
  }

  /** Neither neighbour may hold a fork, and of each fork the token must be the largest so far. */
  eat(seat: number, hold: MultiHold): void {
    for (const neighbour of [seat + 1, seat + this.#seats - 1])
      expect(this.#eating.get(neighbour % this.#seats)?.isHeld() ?? false, `${neighbour} eats`).toBe(false);
    for (const fork of this.forks(seat)) {
      expect(hold.token, "tokens grow").toBeGreaterThan(this.#tokens.get(fork) ?? 0n);
      this.#tokens.set(fork, hold.token);
    }
    this.#eating.set(seat, hold);
    this.#meals += 1;
  }
}
