import { isCoordinationError } from "@conclave/core";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { numbered, put, remove, texts, write } from "../entries.ts";
import { type JitteredBackend, jitter } from "../jitter.ts";
import {
  deathMs,
  type Process,
  type ProcessOptions,
  rejection,
  start,
  startMany,
  startMortal,
  startPair,
  within,
} from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { Strays, startForgetful } from "./strays.ts";
import { closeAll, faults, insist, seeds } from "./under-jitter.ts";

const up = (one: bigint, other: bigint) => (one < other ? -1 : one > other ? 1 : 0);
const upTo = (count: number) => numbered(count).map((_, index) => BigInt(index + 1));

/** What a change came to: it was made, surely was not, or nobody knows. */
export type Fate = "made" | "not made" | "unknown";

/** Processes on a store that loses calls and answers, and that some writes reach long after they were given up. */
export class Astray {
  readonly #scene: Scene;
  readonly #strays: Strays[] = [];
  readonly #jittered: JitteredBackend[] = [];

  constructor(scene: Scene) {
    this.#scene = scene;
  }

  start(seed: number, options: ProcessOptions = {}): Promise<Process> {
    const { ttlMs } = this.#scene.timing;
    return startMortal(this.#scene, options, (backend) => {
      const jittered = jitter(backend, seed, { ...faults, delayMs: ttlMs / 40 });
      const strays = new Strays(jittered, seed, ttlMs / 10);
      this.#jittered.push(jittered);
      this.#strays.push(strays);
      return strays.backend;
    });
  }

  startMany(seed: number, count: number, options?: ProcessOptions): Promise<Process[]> {
    return Promise.all(numbered(count).map((_, index) => this.start(100 * seed + index, options)));
  }

  /** Nothing passes for want of trouble. */
  expectTrouble(): void {
    const arrived = this.#strays.reduce((sum, { arrived }) => sum + arrived, 0);
    expect(arrived, "strays").toBeGreaterThan(0);
    const lost = this.#jittered.reduce((sum, { injected }) => sum + injected.lostAnswers + injected.lostCalls, 0);
    expect(lost, "lost calls and answers").toBeGreaterThan(0);
  }
}

/** A session that outlasts the test. */
export const lasting = ({ timing }: Scene): ProcessOptions => ({ ttlMs: 20 * timing.ttlMs });

/** What became of a change that may fail, each to be told apart from the others. */
export async function fateOf(change: Promise<unknown>): Promise<Fate> {
  try {
    await change;
    return "made";
  } catch (error) {
    if (isCoordinationError(error, "UNAVAILABLE", "LEASE_LOST")) return "not made";
    return "unknown";
  }
}

/** A number that processes count with. */
export function counter(suite: Suite): void {
  suite.it(
    "gives each of many adds, of several processes, a sum of its own, and loses none",
    async (backend, scene) => {
      const processes = await startMany(scene, 4);
      const sums = await Promise.all(
        processes.map(async ({ conclave }) => {
          const counter = conclave.counter("a");
          const own: bigint[] = [];
          for (let round = 0; round < 15; round++) own.push(await counter.add());
          expect(own).toEqual([...own].sort(up));
          return own;
        }),
      );
      expect(sums.flat().sort(up)).toEqual(upTo(60));
      expect(await texts(backend.kv, "counter/")).toEqual({ "counter/a/value": "60" });
    },
  );

  suite.it(
    "gives each who adds at once in one process its own sum, in the order in which they asked",
    async (_backend, scene) => {
      const [one, other] = await startPair(scene);
      const [mine, theirs] = [one.conclave.counter("a"), other.conclave.counter("a")];
      const own = Promise.all(numbered(30).map(() => mine.add()));
      const others = Promise.all(numbered(30).map(() => theirs.add()));
      for (const sums of [await own, await others]) expect(sums).toEqual([...sums].sort(up));
      expect([...(await own), ...(await others)].sort(up)).toEqual(upTo(60));
    },
  );

  suite.it(
    "counts once when the answer is lost, also when others count before it is sent again",
    async (_backend, scene) => {
      const { conclave, store } = await startForgetful(scene);
      const rival = (await start(scene)).conclave.counter("a");
      const counter = conclave.counter("a");
      store.loseNext(() => {});
      expect(await counter.add()).toBe(1n);
      store.loseNext(() => rival.add(10n));
      expect(await counter.add()).toBe(2n);
      store.loseNext(() => rival.set(100n));
      await counter.set(50n);
      expect(await counter.get()).toBe(100n);
    },
  );

  suite.it("does not take what was given up, and arrives late, for what is added next", async (_backend, scene) => {
    const { conclave, store } = await startForgetful(scene);
    const rival = (await start(scene)).conclave.counter("a");
    const counter = conclave.counter("a");
    const controller = new AbortController();
    const reason = new Error("enough");
    store.holdNext(() => controller.abort(reason));
    expect(await rejection(counter.add(1n, { signal: controller.signal }))).toBe(reason);
    await store.arrive();
    const sum = await counter.add(10n);
    expect([10n, 11n]).toContain(sum);
    expect(await rival.get()).toBe(sum);
    await store.arrive();
    expect(await rival.get()).toBe(sum);
  });

  suite.it("adds exactly once, whatever fails and however late writes arrive", async (backend, scene) => {
    const astray = new Astray(scene);
    for (const seed of seeds(scene)) {
      const processes = await astray.startMany(seed, 3, lasting(scene));
      const sums = await Promise.all(
        processes.map(async ({ conclave }) => {
          const counter = conclave.counter(`${seed}`);
          const own: bigint[] = [];
          for (let round = 0; round < 3; round++) own.push(await insist(() => counter.add()));
          return own;
        }),
      );
      expect(sums.flat().sort(up), `seed ${seed}`).toEqual(upTo(9));
      await closeAll(processes);
      expect((await texts(backend.kv, "counter/"))[`counter/${seed}/value`]).toBe("9");
    }
    astray.expectTrouble();
  });

  suite.it(
    "adds what it said, and at most what it did not know, of processes that lose their sessions",
    async (backend, scene) => {
      const astray = new Astray(scene);
      for (const seed of seeds(scene)) {
        const processes = await astray.startMany(seed, 3);
        const fates: Fate[] = [];
        await Promise.all(
          processes.map(async ({ conclave }) => {
            const counter = conclave.counter(`${seed}`);
            for (let round = 0; round < 4; round++) {
              const controller = new AbortController();
              const patienceMs = backend.clock.random() * scene.timing.ttlMs;
              using _ = backend.clock.after(patienceMs, () => controller.abort(new Error("long enough")));
              fates.push(await fateOf(counter.add(1n, { signal: controller.signal })));
            }
          }),
        );
        await closeAll(processes);
        const count = (fate: Fate) => fates.filter((one) => one === fate).length;
        const sum = Number((await texts(backend.kv, "counter/"))[`counter/${seed}/value`] ?? 0);
        expect(sum, `seed ${seed}`).toBeGreaterThanOrEqual(count("made"));
        expect(sum, `seed ${seed}`).toBeLessThanOrEqual(count("made") + count("unknown"));
      }
      astray.expectTrouble();
    },
  );

  suite.it("keeps what a dead process added, and leaves none of its other keys", async (backend, scene) => {
    const [victim, other] = [await startMortal(scene), await start(scene)];
    await victim.conclave.counter("a").add(5n);
    await scene.kill(victim.backend);
    expect(await other.conclave.counter("a").add()).toBe(6n);
    await other.conclave.close();
    await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({ "counter/a/value": "6" }));
  });

  suite.it("says that it does not know when the session ends before the store answers", async (backend, scene) => {
    const { conclave, store, link } = await startForgetful(scene, { ttlMs: scene.timing.ttlMs });
    const counter = conclave.counter("a");
    await counter.add();
    store.loseNext(() => link.cut());
    const lost = rejection(counter.add());
    expect(await within(backend, 2 * deathMs(scene), lost)).toMatchObject({ code: "OUTCOME_UNKNOWN" });
    link.mend();
    expect(await insist(() => counter.add())).toBe(3n);
  });

  suite.it("adds nothing for who gives up while it waits for others of its process", async (backend, scene) => {
    const { conclave } = await start(scene);
    const counter = conclave.counter("a");
    const controller = new AbortController();
    const reason = new Error("enough");
    const first = counter.add();
    // The first is on its way by now.
    await backend.kv.get("a");
    const second = rejection(counter.add(10n, { signal: controller.signal }));
    const third = counter.add(100n);
    controller.abort(reason);
    expect(await second).toBe(reason);
    await Promise.all([first, third]);
    expect(await counter.get()).toBe(101n);
    expect(await rejection(counter.add(1n, { signal: controller.signal }))).toBe(reason);
  });

  suite.it("refuses what would leave 64 bits, adds nothing for it, and goes on", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const counter = one.conclave.counter("a");
    await counter.set(2n ** 63n - 2n);
    const [far, near] = await Promise.allSettled([counter.add(2n), counter.add(1n)]);
    expect(far).toMatchObject({ status: "rejected", reason: expect.any(RangeError) });
    expect(near).toMatchObject({ status: "fulfilled", value: 2n ** 63n - 1n });
    await other.conclave.counter("a").set(-(2n ** 63n));
    expect(await counter.add()).toBe(1n - 2n ** 63n);
  });

  suite.it("begins anew when its key is deleted, and tells of one that holds no number", async (backend, scene) => {
    const { conclave } = await start(scene);
    const counter = conclave.counter("a");
    await counter.add(5n);
    await remove(backend.kv, "counter/a/value");
    expect(await counter.add()).toBe(1n);
    await backend.kv.commit({ then: [put("counter/a/value", "many")] });
    expect(await rejection(counter.add())).toMatchObject({ code: "CORRUPT" });
    expect(await rejection(counter.get())).toMatchObject({ code: "CORRUPT" });
  });

  suite.it(
    "is set, and compared and set, by what it is and not by what a process remembers",
    async (_backend, scene) => {
      const [one, other] = await startPair(scene);
      const [mine, theirs] = [one.conclave.counter("a"), other.conclave.counter("a")];
      await mine.set(5n);
      await theirs.set(7n);
      expect(await mine.compareAndSet(5n, 6n)).toBe(false);
      await theirs.set(5n);
      expect(await mine.compareAndSet(5n, 6n)).toBe(true);
      expect(await theirs.get()).toBe(6n);
    },
  );

  suite.it(
    "takes one commit an add, for all who add at once, and one more when another process was faster",
    async (_backend, scene) => {
      const { conclave, counted } = await startCounted(scene);
      const rival = await start(scene);
      const counter = conclave.counter("a");
      expect((await cost(counted, () => counter.add()))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => counter.add()))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => Promise.all(numbered(50).map(() => counter.add()))))[0]).toEqual({ commit: 1 });
      await rival.conclave.counter("a").add();
      expect(await cost(counted, () => counter.add())).toEqual([{ commit: 2 }, 54n]);
      expect((await cost(counted, () => counter.set(1n)))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => counter.compareAndSet(1n, 2n)))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => counter.get()))[0]).toEqual({ get: 1 });
    },
  );
}

/** Ids that nobody else has. */
export function ids(suite: Suite): void {
  suite.it("are never the same, of several processes with blocks of several sizes", async (_backend, scene) => {
    const processes = await startMany(scene, 4);
    const given = await Promise.all(
      processes.map(async ({ conclave }, index) => {
        const ids = conclave.ids("a", { block: 1 + 3 * index });
        const own: bigint[] = [];
        for (let round = 0; round < 15; round++) own.push(await ids.next());
        expect(own).toEqual([...own].sort(up));
        return own;
      }),
    );
    expect(new Set(given.flat()).size).toBe(60);
  });

  suite.it("are never the same, whatever fails and however late writes arrive", async (_backend, scene) => {
    const astray = new Astray(scene);
    for (const seed of seeds(scene)) {
      const processes = await astray.startMany(seed, 3);
      const given = await Promise.all(
        processes.map(async ({ conclave }) => {
          const ids = conclave.ids(`${seed}`, { block: 2 });
          const own: bigint[] = [];
          for (let round = 0; round < 5; round++) own.push(await insist(() => ids.next()));
          expect(own).toEqual([...own].sort(up));
          return own;
        }),
      );
      expect(new Set(given.flat()).size, `seed ${seed}`).toBe(15);
      await closeAll(processes);
    }
    astray.expectTrouble();
  });

  suite.it("that a dead process did not use are left out", async (_backend, scene) => {
    const [victim, other] = [await startMortal(scene), await start(scene)];
    expect(await victim.conclave.ids("a", { block: 10 }).next()).toBe(1n);
    await scene.kill(victim.backend);
    expect(await other.conclave.ids("a", { block: 10 }).next()).toBe(11n);
  });

  suite.it(
    "are given at once to who gives up as little as to the others, and none is lost by it",
    async (backend, scene) => {
      const { conclave } = await start(scene);
      const ids = conclave.ids("a");
      const controller = new AbortController();
      const reason = new Error("enough");
      const gone = rejection(ids.next({ signal: controller.signal }));
      const stays = ids.next();
      controller.abort(reason);
      expect(await within(backend, scene.patienceMs, gone)).toBe(reason);
      expect([await stays, await ids.next()]).toEqual([1n, 2n]);
    },
  );

  suite.it("take one commit a block, for all who wait, and otherwise nothing", async (_backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const ids = conclave.ids("a", { block: 10 });
    const ten = await cost(counted, () => Promise.all(numbered(10).map(() => ids.next())));
    expect(ten).toEqual([{ commit: 1 }, upTo(10)]);
    expect((await cost(counted, () => ids.next()))[0]).toEqual({ commit: 1 });
    expect((await cost(counted, () => Promise.all(numbered(9).map(() => ids.next()))))[0]).toEqual({});
  });

  suite.it("end with an error where 64 bits do", async (backend, scene) => {
    const { conclave } = await start(scene);
    await write(backend.kv, { "ids/a/taken": String(2n ** 63n - 2n) });
    expect(await rejection(conclave.ids("a").next())).toBeInstanceOf(RangeError);
    expect(await conclave.ids("a", { block: 1 }).next()).toBe(2n ** 63n - 1n);
  });
}
