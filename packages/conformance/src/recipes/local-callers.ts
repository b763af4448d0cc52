import { type AcquireOptions, type Hold, type MutexOptions, tokenOf } from "@conclave/core";
import { type Backend, CoordinationError, seededRandom, sleep, type Txn } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { numbered, present, put, remove, texts, write } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { Contest, type Exclusive, line, Room } from "./exclusive.ts";
import {
  aborted,
  deathMs,
  noticeMs,
  type Process,
  rejection,
  start,
  startLinked,
  startMany,
  startMortal,
  staysOpen,
  within,
} from "./process.ts";
import { startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, insist, seeds, Trouble, troubledMs } from "./under-jitter.ts";

/** So long that no test passes for want of time, or fails for it. */
const forLong = { maxLocalHoldMs: 2 ** 31 - 1 };

/** A mutex whose callers in one process share it in a way of their own. */
function shared(options: MutexOptions = {}): Exclusive {
  return {
    kind: "a mutex",
    acquire: (conclave, name, wait) => conclave.mutex(name, options).acquire(wait),
  };
}

/** A caller who waits in its process's queue. */
interface Caller {
  readonly granted: Promise<Hold>;
  cancel(reason: unknown): void;
}

function call({ conclave }: Process, options: MutexOptions = forLong): Caller {
  const controller = new AbortController();
  const granted = conclave.mutex({ prefix: line }, options).acquire({ signal: controller.signal });
  granted.catch(() => {});
  return { granted, cancel: (reason) => controller.abort(reason) };
}

/** As many callers as that, who each write down their name when their turn comes, and let go. */
function callMany(
  process: Process,
  count: number,
  turns: string[],
  name: string,
  options?: MutexOptions,
): Promise<Hold[]> {
  return Promise.all(
    Array.from({ length: count }, async () => {
      const hold = await call(process, options).granted;
      turns.push(name);
      await hold.release();
      return hold;
    }),
  );
}

/** How the callers of one process share a mutex. */
export function localCallers(suite: Suite): void {
  suite.it("hands it on in the order of their calls, and asks nothing of the store", async (_backend, scene) => {
    const process = await startCounted(scene);
    const first = await call(process).granted;
    process.counted.reset();
    const order: string[] = [];
    const callers = numbered(64).map(async (name, index) => {
      const hold = await call(process).granted;
      order.push(name);
      expect([hold.key, hold.token]).toEqual([first.key, first.token + BigInt(index) + 1n]);
      await hold.release();
    });
    await first.release();
    await Promise.all(callers);
    expect(order).toEqual(numbered(64));
    expect(process.counted.snapshot()).toEqual({ commit: 1 });
  });

  suite.it("keeps them apart, and lets each in once", async (backend, scene) => {
    const room = new Room();
    const process = await start(scene);
    const visit = async () => {
      const hold = await call(process).granted;
      room.enter(hold);
      await sleep(backend.clock, 1 + backend.clock.random() * 3);
      await hold.release();
    };
    await within(backend, 10 * scene.patienceMs, Promise.all(numbered(20).map(visit)));
    expect(room.visits).toBe(20);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it(
    "takes one place in line, however many wait, and whatever mutex objects they call",
    async (backend, scene) => {
      const contest = new Contest(shared(), backend, scene);
      const holder = await contest.acquire(await start(scene));
      const process = await start(scene);
      const callers = numbered(20).map(() => call(process));
      await scene.eventually(backend, async () => expect(await contest.keys()).toHaveLength(2));
      await staysOpen(backend, scene, Promise.race(callers.map(({ granted }) => granted)));
      expect(await contest.keys()).toHaveLength(2);
      expect(await process.conclave.mutex({ prefix: line }).queue()).toHaveLength(2);
      await holder.release();
      for (const { granted } of callers) await (await within(backend, scene.patienceMs, granted)).release();
      await contest.onlyLeft();
    },
  );

  suite.it("lets another process in after as many hand-overs as were allowed", async (backend, scene) => {
    const options = { ...forLong, maxLocalHandovers: 3 };
    const contest = new Contest(shared(options), backend, scene);
    const [here, there] = (await startMany(scene, 2)) as [Process, Process];
    const turns: string[] = [];
    const first = await call(here, options).granted;
    const ours = callMany(here, 10, turns, "here", options);
    const next = await contest.join(there);
    const theirs = next.granted.then((grant) => {
      turns.push("there");
      return grant.release();
    });
    await first.release();
    const holds = await within(backend, 3 * scene.patienceMs, ours);
    await theirs;
    expect(turns).toEqual([...Array(3).fill("here"), "there", ...Array(7).fill("here")]);
    const tokens = holds.map(({ token }) => token);
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => (a < b ? -1 : 1)));
    await contest.onlyLeft();
  });

  suite.it("lets another process in when it has had the key for as long as was allowed", async (backend, scene) => {
    const options = { maxLocalHoldMs: scene.timing.ttlMs / 10, maxLocalHandovers: 511 };
    const contest = new Contest(shared(options), backend, scene);
    const [here, there] = (await startMany(scene, 2)) as [Process, Process];
    const turns: string[] = [];
    const first = await call(here, options).granted;
    const ours = callMany(here, 3, turns, "here", options);
    const theirs = (await contest.join(there)).granted.then((grant) => {
      turns.push("there");
      return grant.release();
    });
    await sleep(backend.clock, options.maxLocalHoldMs + 1);
    await first.release();
    await within(backend, scene.patienceMs, Promise.all([ours, theirs]));
    expect(turns[0]).toBe("there");
  });

  suite.it("gives its place back and takes the next in one commit, when it may not hand on", async (backend, scene) => {
    const process = await startCounted(scene);
    const options = { maxLocalHandovers: 0 };
    const first = await call(process, options).granted;
    process.counted.reset();
    const holds = callMany(process, 3, [], "", options);
    await first.release();
    const keys = [first, ...(await within(backend, scene.patienceMs, holds))].map(({ key }) => key);
    expect(new Set(keys).size).toBe(4);
    expect(process.counted.snapshot()).toEqual({ commit: 4 });
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("serves a thousand for eleven commits", async (backend, scene) => {
    const process = await startCounted(scene);
    const turns: string[] = [];
    await within(backend, 3 * scene.patienceMs, callMany(process, 1_000, turns, ""));
    expect(turns).toHaveLength(1_000);
    expect(process.counted.snapshot()).toEqual({ commit: 11 });
  });

  for (const [place, index] of [
    ["first", 0],
    ["one in the middle", 1],
    ["last", 2],
  ] as const) {
    suite.it(
      `lets the ${place} of those who wait give up at once, unnoticed by the others`,
      async (_backend, scene) => {
        const process = await startCounted(scene);
        const holder = await call(process).granted;
        const callers = numbered(3).map(() => call(process));
        process.counted.reset();
        const reason = new Error("no more");
        callers[index]?.cancel(reason);
        expect(await rejection(callers[index]?.granted as Promise<Hold>)).toBe(reason);
        await holder.release();
        for (const [caller, { granted }] of callers.entries()) if (caller !== index) await (await granted).release();
        expect(process.counted.snapshot()).toEqual({ commit: 1 });
      },
    );
  }

  suite.it("keeps the place for the others when the caller who began gives up", async (backend, scene) => {
    const contest = new Contest(shared(forLong), backend, scene);
    const holder = await contest.acquire(await start(scene));
    const process = await start(scene);
    const first = await contest.join(process);
    const second = call(process);
    first.cancel(new Error("no more"));
    await rejection(first.granted);
    await staysOpen(backend, scene, second.granted);
    expect(await contest.keys()).toEqual([holder.key, first.key]);
    await holder.release();
    const hold = await within(backend, scene.patienceMs, second.granted);
    expect([hold.key, hold.token]).toEqual([first.key, tokenOf((await present(backend.kv, first.key)).created)]);
  });

  suite.it("leaves no key when all give up, and takes a new place for who comes then", async (backend, scene) => {
    const contest = new Contest(shared(forLong), backend, scene);
    const holder = await contest.acquire(await start(scene));
    const process = await start(scene);
    const first = await contest.join(process);
    const callers = [call(process), call(process)];
    const reason = new Error("no more");
    for (const { cancel } of [first, ...callers]) cancel(reason);
    for (const { granted } of [first, ...callers]) expect(await rejection(granted)).toBe(reason);
    const late = call(process);
    await contest.onlyLeft(holder.key, (await scene.eventually(backend, () => second(contest, first.key))) as string);
    await holder.release();
    await (await within(backend, scene.patienceMs, late.granted)).release();
    await contest.onlyLeft();
  });

  suite.it("refuses all who wait when the session is lost, and lets in who comes then", async (backend, scene) => {
    const process = await startLinked(scene);
    const holder = await call(process).granted;
    const callers = numbered(3).map(() => call(process));
    process.link.cut();
    for (const { granted } of callers) await failsWith("LEASE_LOST", within(backend, deathMs(scene), granted));
    expect(holder.isHeld()).toBe(false);
    expect(holder.signal.reason).toMatchObject({ code: "LEASE_LOST" });
    process.link.mend();
    const anew = await within(backend, deathMs(scene), call(process).granted);
    expect(anew.token).toBeGreaterThan(holder.token);
    await holder.release();
    expect(anew.isHeld()).toBe(true);
    expect(await texts(backend.kv)).toEqual({ [anew.key]: "" });
  });

  suite.it("refuses all who wait for a place of theirs that is lost", async (backend, scene) => {
    const contest = new Contest(shared(), backend, scene);
    await contest.acquire(await start(scene));
    const process = await start(scene);
    const first = await contest.join(process);
    const callers = [first, call(process), call(process)];
    await remove(backend.kv, first.key);
    for (const { granted } of callers) await failsWith("LEASE_LOST", within(backend, scene.patienceMs, granted));
  });

  suite.it("refuses all who wait with CLOSED when the conclave closes", async (_backend, scene) => {
    const process = await start(scene);
    await call(process).granted;
    const callers = numbered(3).map(() => call(process));
    await process.conclave.close();
    for (const { granted } of callers) await failsWith("CLOSED", granted);
  });

  suite.it("never hands on what was lost: the next has a key of its own", async (backend, scene) => {
    const process = await startMortal(scene);
    const holder = await call(process).granted;
    const next = call(process);
    await remove(backend.kv, holder.key);
    const { reason } = await within(backend, noticeMs(scene), aborted(backend, holder.signal));
    expect(reason).toMatchObject({ code: "LEASE_LOST" });
    const hold = await within(backend, scene.patienceMs, next.granted);
    expect(hold.key).not.toBe(holder.key);
    expect(hold.token).toBeGreaterThan(holder.token);
    await holder.release();
    expect(hold.isHeld()).toBe(true);
    expect(await texts(backend.kv)).toEqual({ [hold.key]: "" });
  });

  suite.it("never hands on what is released only after its key was deleted", async (backend, scene) => {
    const contest = new Contest(shared(), backend, scene);
    const options = { maxLocalHandovers: 0 };
    const process = await start(scene);
    const holder = await call(process, options).granted;
    const ours = call(process, options);
    const theirs = await contest.join(await start(scene));
    await remove(backend.kv, holder.key);
    const successor = await within(backend, scene.patienceMs, theirs.granted);
    await holder.release();
    await staysOpen(backend, scene, ours.granted);
    await successor.release();
    expect((await within(backend, scene.patienceMs, ours.granted)).token).toBeGreaterThan(successor.token);
  });

  for (const [what, arrives] of [
    ["answer", true],
    ["call", false],
  ] as const) {
    suite.it(`lets everybody in when the ${what} is lost by which it takes its next place`, async (backend, scene) => {
      let lost = 0;
      const process = await start(scene, {}, (inner) => losing(inner, arrives, () => lost++ < 2));
      const options = { maxLocalHandovers: 0 };
      const room = new Room();
      const first = await call(process, options).granted;
      room.enter(first);
      const callers = numbered(3).map(() => call(process, options));
      await first.release();
      for (const { granted } of callers) {
        const hold = await within(backend, scene.patienceMs + 2_000, granted);
        room.enter(hold);
        await hold.release();
      }
      expect(lost).toBeGreaterThanOrEqual(2);
      await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
    });
  }

  suite.it("has the store refuse what an earlier caller guarded", async (backend, scene) => {
    const { conclave } = await start(scene);
    const mutex = conclave.mutex("a", forLong);
    const write = (hold: Hold, text: string) => conclave.kv.commit(hold.guard({ then: [put("data", text)] }));
    const first = await mutex.acquire();
    const late = first.guard({ then: [put("data", "late")] });
    const waiting = mutex.acquire();
    await first.release();
    const second = await within(backend, scene.patienceMs, waiting);
    expect((await write(second, "second")).succeeded).toBe(true);
    expect((await conclave.kv.commit(late)).succeeded).toBe(false);
    expect((await write(first, "later")).succeeded).toBe(false);
    expect(await texts(backend.kv, "data")).toEqual({ data: "second" });
  });

  suite.it("refuses what a caller guards by a hold that it has handed on", async (backend, scene) => {
    const { conclave } = await start(scene);
    const mutex = conclave.mutex("a", forLong);
    const first = await mutex.acquire();
    const waiting = mutex.acquire();
    await first.release();
    const second = await waiting;
    expect(second.key).toBe(first.key);
    expect((await conclave.kv.commit(first.guard({ then: [put("data", "late")] }))).succeeded).toBe(false);
    expect((await conclave.kv.commit(second.guard({ then: [put("data", "second")] }))).succeeded).toBe(true);
    expect(await texts(backend.kv, "data")).toEqual({ data: "second" });
  });

  suite.it("gives tokens that grow with every grant, here and elsewhere, and fit 64 bits", async (backend, scene) => {
    const room = new Room();
    const processes = await startMany(scene, 3);
    const tokens: bigint[] = [];
    const visit = async (process: Process) => {
      for (let round = 0; round < 3; round++) {
        const hold = await call(process, { maxLocalHandovers: 2 }).granted;
        room.enter(hold);
        tokens.push(hold.token);
        await hold.release();
      }
    };
    const all = processes.flatMap((process) => numbered(4).map(() => visit(process)));
    await within(backend, 6 * scene.patienceMs, Promise.all(all));
    expect(room.visits).toBe(36);
    for (const token of tokens) expect(token < 2n ** 63n).toBe(true);
  });

  suite.it("hands on what a caller got who only tried, and gives nothing to who only tries", async (backend, scene) => {
    const process = await startCounted(scene);
    const mutex = process.conclave.mutex({ prefix: line }, forLong);
    const tried = (await mutex.tryAcquire()) as Hold;
    process.counted.reset();
    const next = call(process);
    expect(await mutex.tryAcquire()).toBeUndefined();
    await tried.release();
    const hold = await next.granted;
    expect([hold.key, hold.token]).toEqual([tried.key, tried.token + 1n]);
    expect(process.counted.snapshot()).toEqual({});
    await hold.release();
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it(
    "lets who tries and who waits in one process each have it or not, at whatever moment",
    async (backend, scene) => {
      const process = await start(scene);
      const mutex = process.conclave.mutex({ prefix: line });
      const room = new Room();
      for (let turns = 0; turns < 8; turns++) {
        const trying = mutex.tryAcquire();
        for (let turn = 0; turn < turns; turn++) await undefined;
        const waiting = mutex.acquire();
        const again = mutex.tryAcquire();
        const tried = await trying;
        expect(await again).toBeUndefined();
        if (tried) room.enter(tried);
        await tried?.release();
        const hold = await within(backend, scene.patienceMs, waiting);
        room.enter(hold);
        await hold.release();
      }
      expect(await texts(backend.kv)).toEqual({});
    },
  );

  suite.it(
    "never has two holders, here or elsewhere, and lets everybody in, whatever fails",
    async (backend, scene) => {
      const trouble = new Trouble(scene, faults);
      const options = { maxLocalHandovers: 2, maxLocalHoldMs: scene.timing.ttlMs / 10 };
      for (const seed of seeds(scene)) {
        const room = new Room();
        let handedOn = 0;
        const contend = async (process: Process) => {
          for (let round = 0; round < 2; round++) {
            const hold = await insist(() => process.conclave.mutex({ prefix: line }, options).acquire());
            if (hold.isHeld()) room.enter(hold);
            if (hold.token % 512n > 0n) handedOn += 1;
            await sleep(backend.clock, (backend.clock.random() * scene.timing.ttlMs) / 40);
            await hold.release();
          }
        };
        const processes = await trouble.startMany(seed, 3);
        const all = processes.flatMap((process) => numbered(3).map(() => contend(process)));
        await within(backend, troubledMs(scene), Promise.all(all));
        await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
        expect(handedOn, `hand-overs with seed ${seed}`).toBeGreaterThan(0);
        expect(room.visits, `visits with seed ${seed}`).toBeGreaterThan(0);
        await closeAll(processes);
      }
      trouble.expectAtLeast(1, ...everyFault);
    },
  );

  suite.it("leaves no key of callers who give up, and holds up nobody, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    const options = { maxLocalHandovers: 2, maxLocalHoldMs: scene.timing.ttlMs / 10 };
    for (const seed of seeds(scene)) {
      const random = seededRandom(seed);
      const room = new Room();
      const contend = async (process: Process) => {
        for (let round = 0; round < 3; round++) {
          const caller = call(process, options);
          using _ = backend.clock.after((random() * scene.timing.ttlMs) / 10, () => caller.cancel(new Error("enough")));
          const hold = await caller.granted.catch(() => undefined);
          if (hold?.isHeld()) room.enter(hold);
          await hold?.release();
        }
      };
      const processes = await trouble.startMany(seed, 3);
      await Promise.all(processes.flatMap((process) => numbered(3).map(() => contend(process))));
      await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
      const patient = await start(scene);
      const hold = await call(patient).granted;
      room.enter(hold);
      await hold.release();
      await closeAll([...processes, patient]);
    }
    trouble.expectAtLeast(1, ...everyFault);
  });

  suite.it("wakes the one that is next, for one commit, however many are behind it", async (backend, scene) => {
    const contest = new Contest(shared(), backend, scene);
    const holder = await contest.acquire(await start(scene));
    const [next, last] = [await startCounted(scene), await startCounted(scene)];
    const first = await contest.join(next);
    for (const some of chunks(numbered(1_000, line), 100))
      await write(backend.kv, Object.fromEntries(some.map((key) => [key, ""])));
    call(last);
    await scene.eventually(backend, () => expect(last.counted.snapshot()).toMatchObject({ watch: 2, commit: 2 }));
    for (const { counted } of [next, last]) counted.reset();
    await holder.release();
    await (await within(backend, scene.patienceMs, first.granted)).release();
    expect(next.counted.snapshot()).toEqual({ commit: 2 });
    expect(last.counted.snapshot()).toEqual({});
  });
}

async function second(contest: Contest, notThis: string): Promise<string> {
  const [, key, ...others] = await contest.keys();
  expect(others).toEqual([]);
  expect(key).toBeDefined();
  expect(key).not.toBe(notThis);
  return key as string;
}

/** A client that loses the answer to a commit that both puts and deletes, or the call itself. */
function losing(inner: Backend, arrives: boolean, now: () => boolean): Backend {
  const commit: Backend["kv"]["commit"] = async <const T extends Txn>(txn: T, options?: AcquireOptions) => {
    const both = ["put", "delete"].every((kind) => txn.then.some((operation) => kind in operation));
    if (!both || !now()) return inner.kv.commit(txn, options);
    if (arrives) await inner.kv.commit(txn, options);
    throw new CoordinationError("OUTCOME_UNKNOWN", "lost");
  };
  return { ...inner, kv: { ...inner.kv, commit } };
}

function chunks<T>(all: readonly T[], size: number): T[][] {
  return Array.from({ length: Math.ceil(all.length / size) }, (_, index) =>
    all.slice(index * size, (index + 1) * size),
  );
}
