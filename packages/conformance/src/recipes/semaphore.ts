import type { Conclave, Permit } from "@conclave/core";
import {
  type Backend,
  type CallOptions,
  type Commit,
  CoordinationError,
  seededRandom,
  sleep,
  type Txn,
} from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import type { CountingBackend, RoundTrips } from "../counting.ts";
import { keysOf, numbered, remove, texts, write } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import {
  aborted,
  deathMs,
  noticeMs,
  type Process,
  quiet,
  rejection,
  start,
  startLinked,
  startMany,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";
import { cost, settled, startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, insist, seeds, Trouble, troubledMs } from "./under-jitter.ts";

/** Someone whose place in line is taken. */
interface Waiter {
  readonly key: string;
  readonly granted: Promise<Permit>;
  cancel(reason?: unknown): void;
}

async function line({ kv }: Backend): Promise<string[]> {
  return keysOf(await kv.list("semaphore/a/permits/", { order: "oldest" }));
}

/** Takes the next place in the line of the semaphore "a"; resolves once it is taken. */
async function join(bystander: Backend, scene: Scene, { conclave }: Process, weight = 1): Promise<Waiter> {
  const before = new Set(await line(bystander));
  const controller = new AbortController();
  const granted = conclave.semaphore("a").acquire({ weight, signal: controller.signal });
  granted.catch(() => {});
  const key = await scene.eventually(bystander, async () => {
    const [joined] = (await line(bystander)).filter((key) => !before.has(key));
    expect(joined, "the place is taken").toBeDefined();
    return joined as string;
  });
  return { key, granted, cancel: (reason) => controller.abort(reason) };
}

/** Takes so many permits, one after the other, and the limit that there are no more. */
async function takeAll({ conclave }: Process, ...weights: readonly number[]): Promise<Permit[]> {
  const limit = weights.reduce((one, other) => one + other, 0);
  const permits = [];
  for (const weight of weights) permits.push(await conclave.semaphore("a", { limit }).acquire({ weight }));
  return permits;
}

/** Where there is room for so many. */
class Hall {
  readonly #limit: number;
  readonly #permits: Permit[] = [];
  /** The most permits that were held together. */
  most = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  enter(permit: Permit): void {
    this.#permits.push(permit);
    const held = this.#permits.filter((one) => one.isHeld()).reduce((sum, { weight }) => sum + weight, 0);
    expect(held, "never more than there are").toBeLessThanOrEqual(this.#limit);
    this.most = Math.max(this.most, held);
  }

  get visits(): number {
    return this.#permits.length;
  }
}

/** Who gets permits, and who waits. */
export function semaphore(suite: Suite): void {
  suite.it("grants so many permits and no more, to whoever asks", async (backend, scene) => {
    const hall = new Hall(3);
    const contend = async ({ conclave }: Process, index: number) => {
      for (let round = 0; round < 4; round++) {
        const weight = 1 + ((index + round) % 3);
        const permit = await conclave.semaphore("a", { limit: 3 }).acquire({ weight });
        expect(permit.weight).toBe(weight);
        hall.enter(permit);
        if (round % 2 === 0) await sleep(backend.clock, 1 + backend.clock.random() * 3);
        await permit.release();
      }
    };
    await within(backend, 10 * scene.patienceMs, Promise.all((await startMany(scene, 5)).map(contend)));
    expect([hall.visits, hall.most]).toEqual([20, 3]);
    expect(await line(backend)).toEqual([]);
  });

  suite.it(
    "grants to who waits when any of the holders leaves, the first, the last or one between",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      for (const leaving of [0, 1, 2, 3]) {
        const permits = await takeAll(one, 1, 1, 1, 1);
        const waiter = await join(backend, scene, other);
        await staysOpen(backend, scene, waiter.granted);
        await permits[leaving]?.release();
        const granted = await within(backend, scene.patienceMs, waiter.granted);
        expect(granted.key).toBe(waiter.key);
        await Promise.all([...permits, granted].map((permit) => permit.release()));
      }
    },
  );

  suite.it("grants in order, so that who wants few does not overtake who wants many", async (backend, scene) => {
    const [one, other, third] = (await startMany(scene, 3)) as [Process, Process, Process];
    const [two, last] = (await takeAll(one, 2, 1)) as [Permit, Permit];
    const heavy = await join(backend, scene, other, 3);
    const light = await join(backend, scene, third, 1);
    await last.release();
    await Promise.all([staysOpen(backend, scene, heavy.granted), staysOpen(backend, scene, light.granted)]);
    await two.release();
    const all = await within(backend, scene.patienceMs, heavy.granted);
    await staysOpen(backend, scene, light.granted);
    await all.release();
    await within(backend, scene.patienceMs, light.granted);
  });

  suite.it("grants to as many who wait as there is room for when one who had many leaves", async (backend, scene) => {
    const processes = await startMany(scene, 6);
    const [all] = (await takeAll(processes[0] as Process, 4)) as [Permit];
    const waiters = [];
    for (const process of processes.slice(1)) waiters.push(await join(backend, scene, process));
    await quiet(backend, scene);
    await all.release();
    const four = waiters.slice(0, 4).map(({ granted }) => granted);
    const permits = await within(backend, scene.patienceMs, Promise.all(four));
    const fifth = waiters[4] as Waiter;
    await staysOpen(backend, scene, fifth.granted);
    await permits[2]?.release();
    await within(backend, scene.patienceMs, fifth.granted);
  });

  suite.it("lets those behind move up when one who waits for many gives up", async (backend, scene) => {
    const [one, other, third] = (await startMany(scene, 3)) as [Process, Process, Process];
    const [, single] = (await takeAll(one, 2, 1)) as [Permit, Permit];
    const heavy = await join(backend, scene, other, 3);
    const middle = await join(backend, scene, other, 2);
    const light = await join(backend, scene, third);
    await single.release();
    await staysOpen(backend, scene, light.granted);
    const reason = new Error("no more");
    middle.cancel(reason);
    expect(await rejection(middle.granted)).toBe(reason);
    await staysOpen(backend, scene, light.granted);
    heavy.cancel(reason);
    await within(backend, scene.patienceMs, light.granted);
    await scene.eventually(backend, async () => expect(await line(backend)).toHaveLength(2));
  });

  suite.it("gives back once what is released twice, even at the same time", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const [first] = (await takeAll(one, 1, 1)) as [Permit];
    const waiters = [await join(backend, scene, other), await join(backend, scene, other)] as const;
    await Promise.all([first.release(), first.release()]);
    await within(backend, scene.patienceMs, waiters[0].granted);
    await first.release();
    await staysOpen(backend, scene, waiters[1].granted);
    expect(await one.conclave.semaphore("a").available()).toBe(0);
  });

  suite.it("counts another program's key as one permit", async (backend, scene) => {
    const { conclave } = await start(scene);
    await conclave.semaphore("a").resize(2);
    await write(backend.kv, { "semaphore/a/permits/0587854cd2f3a102": "who knows" });
    const permit = await within(backend, scene.patienceMs, conclave.semaphore("a").acquire());
    const waiter = await join(backend, scene, await start(scene));
    await staysOpen(backend, scene, waiter.granted);
    await remove(backend.kv, "semaphore/a/permits/0587854cd2f3a102");
    await within(backend, scene.patienceMs, waiter.granted);
    expect(permit.isHeld()).toBe(true);
  });

  suite.it("gives permits to who only tries if there are enough and nobody waits", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const [mine, same] = [one.conclave.semaphore("a", { limit: 3 }), other.conclave.semaphore("a")];
    const first = await mine.tryAcquire({ weight: 2 });
    expect(first?.isHeld()).toBe(true);
    const before = await backend.kv.list("");
    expect(await same.tryAcquire({ weight: 2 })).toBeUndefined();
    const after = await backend.kv.list("semaphore/");
    expect(
      after.entries.map(({ key, modified }) => [key, modified]),
      "nothing is written",
    ).toEqual(
      before.entries.filter(({ key }) => key.startsWith("semaphore/")).map(({ key, modified }) => [key, modified]),
    );
    const heavy = await join(backend, scene, other, 2);
    expect(await mine.tryAcquire(), "not past one who waits").toBeUndefined();
    heavy.cancel();
    await scene.eventually(backend, async () => expect(await line(backend)).toHaveLength(1));
    expect((await same.tryAcquire())?.isHeld()).toBe(true);
    expect(await mine.available()).toBe(0);
  });

  suite.it("gives the permits there are, each once, to many who only try at the same time", async (backend, scene) => {
    const processes = await startMany(scene, 6);
    for (let round = 0; round < 5; round++) {
      const tries = processes.map(({ conclave }) => conclave.semaphore("a", { limit: 2 }).tryAcquire());
      const permits = (await Promise.all(tries)).filter((permit) => permit !== undefined);
      expect(permits.length, "somebody wins, and not too many").toBeGreaterThan(0);
      expect(permits.length).toBeLessThanOrEqual(2);
      await Promise.all(permits.map((permit) => permit.release()));
      expect(await line(backend)).toEqual([]);
    }
  });

  suite.it("runs work while it holds permits, shows who holds how many, and returns them", async (backend, scene) => {
    const { conclave } = await start(scene, { owner: "ann" });
    const bob = await start(scene, { owner: "bob" });
    const pool = conclave.semaphore("a", { limit: 3 });
    const result = await pool.run(
      async (permit) => {
        const waiter = await join(backend, scene, bob, 2);
        const [first, second, ...others] = await pool.queue();
        expect(others).toEqual([]);
        expect(first).toMatchObject({ owner: "ann", weight: 2, granted: true, key: permit.key, token: permit.token });
        expect(second).toMatchObject({ owner: "bob", weight: 2, granted: false, key: waiter.key });
        expect([await pool.limit(), await pool.available()]).toEqual([3, 0]);
        waiter.cancel();
        await scene.eventually(backend, async () => expect(await pool.available()).toBe(1));
        return "done";
      },
      { weight: 2 },
    );
    expect([result, await pool.available(), await line(backend)]).toEqual(["done", 3, []]);
  });
}

/** How many permits there are, and what becomes of them when that changes. */
export function semaphoreLimit(suite: Suite): void {
  const refused = async (backend: Backend, attempt: Promise<unknown>, words: RegExp) => {
    const error = await rejection(attempt);
    expect(error).toBeInstanceOf(RangeError);
    expect((error as Error).message).toMatch(words);
    expect(await line(backend)).toEqual([]);
  };

  suite.it("stores what its first user says, and refuses another limit, leaving no key", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const permit = await one.conclave.semaphore("a", { limit: 3 }).acquire();
    await permit.release();
    for (const way of ["acquire", "tryAcquire"] as const) {
      const attempt = other.conclave.semaphore("a", { limit: 4 })[way]();
      await refused(backend, attempt, /limit of the semaphore must be 3, as it is for others, not 4/);
    }
    expect((await other.conclave.semaphore("a").acquire()).isHeld(), "who says nothing uses what there is").toBe(true);
    expect(await other.conclave.semaphore("a", { limit: 4 }).limit()).toBe(3);
  });

  suite.it("stores one limit when many say what it is at once", async (backend, scene) => {
    const processes = await startMany(scene, 5);
    const attempts = processes.map(async ({ conclave }, index) => {
      const permit = await conclave.semaphore("a", { limit: 1 + (index % 2) }).acquire();
      await permit.release();
      return 1 + (index % 2);
    });
    const outcomes = await within(backend, scene.patienceMs, Promise.allSettled(attempts));
    const limit = await processes[0]?.conclave.semaphore("a").limit();
    for (const [index, outcome] of outcomes.entries()) {
      expect(outcome.status).toBe(1 + (index % 2) === limit ? "fulfilled" : "rejected");
      if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(RangeError);
    }
  });

  suite.it("says so when nobody has said how many permits there are, and leaves no key", async (backend, scene) => {
    const { conclave } = await start(scene);
    const nameless = conclave.semaphore("a");
    await refused(backend, nameless.acquire(), /has no limit yet/);
    await refused(backend, nameless.tryAcquire(), /has no limit yet/);
    expect([await nameless.limit(), await nameless.available(), await nameless.queue()]).toEqual([
      undefined,
      undefined,
      [],
    ]);
  });

  suite.it("refuses who wants more than there are, and leaves no key", async (backend, scene) => {
    const { conclave } = await start(scene);
    const pool = conclave.semaphore("a", { limit: 3 });
    await refused(backend, pool.acquire({ weight: 4 }), /weight must be at most 3, the limit.*not 4/);
    await refused(backend, pool.tryAcquire({ weight: 4 }), /weight must be at most 3, the limit.*not 4/);
  });

  suite.it("grants to all who wait, as far as they go, when it grows", async (backend, scene) => {
    const processes = await startMany(scene, 4);
    await takeAll(processes[0] as Process, 1);
    const waiters = [];
    for (const process of processes) waiters.push(await join(backend, scene, process));
    await Promise.all(waiters.map(({ granted }) => staysOpen(backend, scene, granted)));
    await processes[1]?.conclave.semaphore("a").resize(4);
    const three = waiters.slice(0, 3).map(({ granted }) => granted);
    await within(backend, scene.patienceMs, Promise.all(three));
    await staysOpen(backend, scene, (waiters[3] as Waiter).granted);
    expect(await processes[0]?.conclave.semaphore("a").limit()).toBe(4);
  });

  suite.it("takes from nobody when it shrinks, and grants again once enough came back", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const permits = await takeAll(one, 1, 1, 1, 1);
    await other.conclave.semaphore("a", { limit: 4 }).resize(2);
    const waiters = [await join(backend, scene, other), await join(backend, scene, other)] as const;
    for (const permit of permits.slice(0, -1)) {
      expect(permits.filter((one) => one.isHeld()).length).toBeGreaterThan(1);
      await staysOpen(backend, scene, waiters[0].granted);
      await permit.release();
    }
    const granted = await within(backend, scene.patienceMs, waiters[0].granted);
    await staysOpen(backend, scene, waiters[1].granted);
    expect(permits[3]?.isHeld()).toBe(true);
    await granted.release();
    await within(backend, scene.patienceMs, waiters[1].granted);
  });

  suite.it("makes who waits for more than are left wait until it grows", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const [all] = (await takeAll(one, 3)) as [Permit];
    const heavy = await join(backend, scene, other, 3);
    const light = await join(backend, scene, other);
    await one.conclave.semaphore("a").resize(2);
    await all.release();
    await Promise.all([staysOpen(backend, scene, heavy.granted), staysOpen(backend, scene, light.granted)]);
    await one.conclave.semaphore("a").resize(4);
    const permits = await within(backend, scene.patienceMs, Promise.all([heavy.granted, light.granted]));
    expect(permits.map(({ weight }) => weight)).toEqual([3, 1]);
  });

  suite.it("no longer minds what programs say it is once it was resized", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    await takeAll(one, 1, 1);
    await other.conclave.semaphore("a").resize(5);
    const permit = await other.conclave.semaphore("a", { limit: 2 }).acquire({ weight: 3 });
    expect(permit.isHeld()).toBe(true);
    expect(await one.conclave.semaphore("a").available()).toBe(0);
  });

  suite.it(
    "can be set before anybody uses it, and refuses what is no limit of its own making",
    async (backend, scene) => {
      const { conclave } = await start(scene);
      await conclave.semaphore("a").resize(2);
      expect((await conclave.semaphore("a").acquire({ weight: 2 })).isHeld()).toBe(true);
      await write(backend.kv, { "semaphore/b/limit": "three" });
      for (const attempt of [
        () => conclave.semaphore("b", { limit: 3 }).acquire(),
        () => conclave.semaphore("b").tryAcquire(),
        () => conclave.semaphore("b").resize(3),
        () => conclave.semaphore("b").limit(),
      ]) {
        await failsWith("CORRUPT", attempt());
      }
    },
  );
}

/** Holders and waiters that die, and keys that vanish. */
export function semaphoreLoss(suite: Suite): void {
  suite.it("gets back the permits of a process that died at the end of its lease", async (backend, scene) => {
    const victim = await startMortal(scene);
    const [, dead] = (await takeAll(victim, 1, 2)) as [Permit, Permit];
    const waiting = await startMortal(scene);
    const deadToo = await join(backend, scene, waiting, 3);
    const next = await join(backend, scene, await start(scene), 3);
    await scene.kill(waiting.backend);
    await scene.kill(victim.backend);
    await within(backend, 2 * deathMs(scene), next.granted);
    expect(dead.signal.reason).toMatchObject({ code: "LEASE_LOST" });
    await failsWith("LEASE_LOST", within(backend, deathMs(scene), deadToo.granted));
  });

  suite.it("tells a holder that its key was deleted, and grants what it had to the next", async (backend, scene) => {
    const [first, second] = (await takeAll(await startMortal(scene), 1, 1)) as [Permit, Permit];
    const waiter = await join(backend, scene, await start(scene));
    await remove(backend.kv, first.key);
    await within(backend, scene.patienceMs, waiter.granted);
    await within(backend, noticeMs(scene), aborted(backend, first.signal));
    await first.release();
    expect(second.isHeld()).toBe(true);
    expect(await line(backend)).toEqual([second.key, waiter.key]);
  });

  suite.it(
    "rejects who waits when its key is deleted, at the head of the line and behind it",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      await takeAll(one, 2);
      const head = await join(backend, scene, other);
      const behind = await join(backend, scene, other);
      await quiet(backend, scene);
      await remove(backend.kv, behind.key);
      await failsWith("LEASE_LOST", within(backend, scene.patienceMs, behind.granted));
      await remove(backend.kv, head.key);
      await failsWith("LEASE_LOST", within(backend, scene.patienceMs, head.granted));
    },
  );

  suite.it("sleeps through no release and no growth that an outage hides from it", async (backend, scene) => {
    const [first, second] = (await takeAll(await start(scene), 1, 1)) as [Permit, Permit];
    const process = await startLinked(scene, { ttlMs: Math.min(100 * scene.timing.ttlMs, backend.limits.maxTtlMs) });
    const head = await join(backend, scene, process);
    const behind = await join(backend, scene, process);
    process.link.cut();
    await first.release();
    await second.release();
    await staysOpen(backend, scene, head.granted);
    process.link.mend();
    await within(backend, scene.patienceMs + 2_000, Promise.all([head.granted, behind.granted]));
  });

  suite.it("tells the next of a grant, though the store would not hear of it at first", async (backend, scene) => {
    const [first, second] = (await takeAll(await start(scene), 1, 1)) as [Permit, Permit];
    let refusals = 0;
    const process = await start(scene, {}, (inner) => ({
      ...inner,
      kv: {
        ...inner.kv,
        commit: <const T extends Txn>(txn: T, options?: CallOptions): Promise<Commit<T>> => {
          const rewrites = txn.if?.some((one) => "created" in one) && txn.then.some((one) => "put" in one);
          if (!rewrites || refusals === 3) return inner.kv.commit(txn, options);
          refusals += 1;
          return Promise.reject(new CoordinationError("UNAVAILABLE", "not now"));
        },
      },
    }));
    const head = await join(backend, scene, process);
    const behind = await join(backend, scene, await start(scene));
    await quiet(backend, scene);
    await first.release();
    expect((await within(backend, scene.patienceMs, head.granted)).isHeld()).toBe(true);
    await second.release();
    await within(backend, scene.patienceMs + 1_000, behind.granted);
    await scene.eventually(backend, () => expect(refusals).toBe(3));
  });
}

/** All that these processes called for. */
function total(processes: readonly { readonly counted: CountingBackend }[]): { commit: number; watch: number } {
  const calls = processes.map(({ counted }) => counted.snapshot());
  const sum = (kind: "commit" | "watch") => calls.reduce((sum, call) => sum + (call[kind] ?? 0), 0);
  return { commit: sum("commit"), watch: sum("watch") };
}

/** Which of these processes called for what. */
function woken(processes: readonly { readonly counted: CountingBackend }[]): readonly [number, RoundTrips][] {
  return processes.flatMap(({ counted }, index): [number, RoundTrips][] => {
    const calls = counted.snapshot();
    return Object.keys(calls).length > 0 ? [[index, calls]] : [];
  });
}

/** What a semaphore costs, and whom it wakes. */
export function semaphoreRoundTrips(suite: Suite): void {
  const prepared = async (scene: Scene, limit: number) => {
    const process = await startCounted(scene);
    await process.conclave.semaphore("a").resize(limit);
    process.counted.reset();
    return process;
  };

  suite.it("takes one commit to have permits that are there, and one to return them", async (_backend, scene) => {
    const { conclave, counted } = await prepared(scene, 100);
    for (const weight of [1, 3, 1, 90]) {
      const [taking, permit] = await cost(counted, () => conclave.semaphore("a").acquire({ weight }));
      expect(taking).toEqual({ commit: 1 });
      if (weight === 3) expect((await cost(counted, () => permit.release()))[0]).toEqual({ commit: 1 });
      if (weight === 3) expect((await cost(counted, () => permit.release()))[0]).toEqual({});
    }
  });

  suite.it("takes one commit more when its first user says what the limit is", async (_backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    expect((await cost(counted, () => conclave.semaphore("a", { limit: 2 }).acquire()))[0]).toEqual({ commit: 2 });
    expect((await cost(counted, () => conclave.semaphore("a", { limit: 2 }).acquire()))[0]).toEqual({ commit: 1 });
  });

  suite.it(
    "takes one commit to try, and a second where others hold some and there are enough",
    async (_backend, scene) => {
      const { conclave, counted } = await prepared(scene, 2);
      const attempt = () => conclave.semaphore("a").tryAcquire();
      expect(await cost(counted, attempt)).toMatchObject([{ commit: 1 }, { weight: 1 }]);
      expect(await cost(counted, attempt)).toMatchObject([{ commit: 2 }, { weight: 1 }]);
      expect(await cost(counted, attempt)).toEqual([{ commit: 1 }, undefined]);
    },
  );

  suite.it("takes two commits to resize, one read to look, and none to name it", async (_backend, scene) => {
    const { conclave, counted } = await prepared(scene, 2);
    const pool = conclave.semaphore("a", { limit: 2 });
    expect((await cost(counted, () => pool.resize(3)))[0]).toEqual({ commit: 2 });
    expect((await cost(counted, () => pool.resize(3)))[0]).toEqual({ commit: 1 });
    expect((await cost(counted, () => pool.limit()))[0]).toEqual({ get: 1 });
    expect((await cost(counted, () => pool.available()))[0]).toEqual({ commit: 1 });
    expect((await cost(counted, () => pool.queue()))[0]).toEqual({ commit: 1 });
  });

  suite.it(
    "wakes the head of the line and its successor when any of many holders leaves, whoever else waits",
    async (backend, scene) => {
      const holders = await takeAll(await start(scene), ...numbered(5).map(() => 1));
      const processes = await Promise.all(numbered(10).map(() => startCounted(scene)));
      const waiters: Waiter[] = [];
      for (const process of processes) waiters.push(await join(backend, scene, process));
      await quiet(backend, scene);
      await settled(backend, scene, processes);
      for (const [turn, leaving] of [3, 0, 4].entries()) {
        for (const { counted } of processes) counted.reset();
        await holders[leaving]?.release();
        await within(backend, scene.patienceMs, waiters[turn]?.granted as Promise<Permit>);
        const wakesTwo = () =>
          expect(woken(processes)).toEqual([
            [turn, { commit: 2 }],
            [turn + 1, { commit: 2, watch: 1 }],
          ]);
        await scene.eventually(backend, wakesTwo);
        await quiet(backend, scene);
        wakesTwo();
      }
    },
  );

  suite.it("wakes nobody for those who come, and only the one behind for one who gives up", async (backend, scene) => {
    await takeAll(await start(scene), 1, 1);
    const processes = await Promise.all(numbered(5).map(() => startCounted(scene)));
    const waiters: Waiter[] = [];
    for (const process of processes) waiters.push(await join(backend, scene, process));
    await settled(backend, scene, processes);
    const others = () => woken(processes).flatMap(([index]) => (index > 0 ? [index] : []));
    for (const { counted } of processes) counted.reset();
    const late: Waiter[] = [];
    for (const process of await startMany(scene, 8)) late.push(await join(backend, scene, process));
    await quiet(backend, scene);
    // Of what it watches, a store may report a gap now and then, and then the head looks again.
    expect(processes[0]?.counted.snapshot().commit ?? 0).toBeLessThan(5);
    expect(others()).toEqual([]);
    waiters[2]?.cancel();
    await scene.eventually(backend, async () => expect(await line(backend)).toHaveLength(14));
    await quiet(backend, scene);
    expect(others()).toEqual([2, 3]);
  });

  suite.it("costs as little with hundreds who wait as with one", async (backend, scene) => {
    const count = scene.timing.ttlMs < 1_000 ? 200 : 100;
    const holders = await takeAll(await start(scene), ...numbered(5).map(() => 1));
    const processes = await Promise.all(numbered(10).map(() => startCounted(scene)));
    const acquire = ({ conclave }: { conclave: Conclave }) => conclave.semaphore("a").acquire();
    const waiting = numbered(count).map((_, index) => acquire(processes[index % 10] as Process));
    for (const one of waiting) one.catch(() => {});
    await scene.eventually(backend, async () => expect(await line(backend)).toHaveLength(count + 5));
    await settled(backend, scene, processes, count);
    for (const { counted } of processes) counted.reset();
    await holders[2]?.release();
    await within(backend, scene.patienceMs, Promise.any(waiting));
    const isCheap = () => expect(total(processes)).toEqual({ commit: 4, watch: 1 });
    await scene.eventually(backend, isCheap);
    await quiet(backend, scene);
    isCheap();
  });
}

/** Permits, on a store whose answers are late, lost or refusals. */
export function semaphoreUnderJitter(suite: Suite): void {
  suite.it("never grants more than there are, grants to everybody, and leaves no key", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    let most = 0;
    for (const seed of seeds(scene)) {
      const hall = new Hall(3);
      const contend = async ({ conclave }: Process, index: number) => {
        const random = seededRandom(100 * seed + index);
        const pool = conclave.semaphore("a", { limit: 3 });
        for (let round = 0; round < 4; round++) {
          const permit = await insist(() => pool.acquire({ weight: 1 + Math.floor(random() * 3) }));
          if (permit.isHeld()) hall.enter(permit);
          await sleep(backend.clock, (random() * scene.timing.ttlMs) / 40);
          await permit.release();
        }
      };
      const processes = await trouble.startMany(seed, 5);
      await within(backend, troubledMs(scene), Promise.all(processes.map(contend)));
      await scene.eventually(backend, async () => expect(await line(backend), `seed ${seed}`).toEqual([]));
      expect(hall.visits, `visits with seed ${seed}`).toBeGreaterThan(0);
      most = Math.max(most, hall.most);
      await closeAll(processes);
    }
    expect(most, "there were times when all were held").toBe(3);
    trouble.expectAtLeast(1, ...everyFault);
  });

  suite.it(
    "sleeps through no release, no growth and no one who gives up, however late it hears",
    async (backend, scene) => {
      const trouble = new Trouble(scene, { faults: 0, gaps: 0.1 });
      const lasting = { ttlMs: 20 * scene.timing.ttlMs };
      for (const seed of seeds(scene)) {
        const random = seededRandom(seed);
        const pools = (await trouble.startMany(seed, 4, lasting)).map(({ conclave }) => conclave.semaphore("a"));
        await pools[0]?.resize(4);
        let granted = 0;
        const turn = async (index: number) => {
          const pool = pools[index % 4] as (typeof pools)[number];
          const controller = new AbortController();
          const givesUp = random() < 0.3;
          const weight = 1 + Math.floor(random() * 3);
          using _ = givesUp
            ? backend.clock.after((random() * scene.timing.ttlMs) / 10, () => controller.abort("enough"))
            : undefined;
          const permit = await pool.acquire({ weight, signal: controller.signal }).catch((error: unknown) => {
            if (!givesUp) throw error;
          });
          if (permit) granted += 1;
          await sleep(backend.clock, (random() * scene.timing.ttlMs) / 40);
          await permit?.release();
        };
        const resize = async () => {
          for (const limit of [3, 6, 3, 5]) {
            await sleep(backend.clock, (random() * scene.timing.ttlMs) / 20);
            await pools[3]?.resize(limit);
          }
        };
        const turns = [...numbered(16).map((_, index) => turn(index)), resize()];
        await within(backend, 6 * scene.patienceMs, Promise.all(turns));
        expect(granted, `seed ${seed}`).toBeGreaterThan(4);
        await scene.eventually(backend, async () => expect(await line(backend), `seed ${seed}`).toEqual([]));
        expect(await pools[1]?.limit()).toBe(5);
      }
      trouble.expectAtLeast(1, "delays", "lateBatches", "gaps");
    },
  );

  suite.it("sets the limit that was set last, and sets it once, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    for (const seed of seeds(scene)) {
      const process = await trouble.start(seed);
      const pool = process.conclave.semaphore(`a ${seed}`);
      for (const limit of [4, 2, 7, 3, 3, 9, 1, 8, 2, 6, 5, 4]) {
        await insist(() => pool.resize(limit));
        expect((await texts(backend.kv))[`semaphore/a ${seed}/limit`]).toContain(`"permits":${limit},`);
      }
      await closeAll([process]);
    }
    trouble.expectAtLeast(1, "lostAnswers", "lostCalls", "refusals");
  });
}
