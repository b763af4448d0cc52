import { MemoryStore, VirtualClock } from "@conclave/backend-memory";
import { type Conclave, connect, type Hold } from "@conclave/core";
import type { Txn } from "@conclave/core/backend";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Context } from "../src/context.ts";
import { Receipts } from "../src/receipts.ts";
import { Cohort } from "../src/recipes/locks/cohort.ts";
import { Sessions } from "../src/sessions.ts";
import {
  type Call,
  deletes,
  Faulty,
  failure,
  keys,
  losingAnswers,
  outcome,
  puts,
  remove,
  StallingClock,
  type World,
  world,
} from "./kit.ts";

const ttlMs = 9_000;
const intervalMs = ttlMs / 3;
const forLong = { maxLocalHoldMs: 2 ** 31 - 1 };
const never = { maxLocalHandovers: 0 };

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world();
  const conclave = await connect(here.backend, { ttlMs });
  const neighbour = await connect(here.other, { ttlMs });
  await conclave.session();
  return { ...here, conclave, neighbour };
}

/** Whether a call takes a place instead of another. */
const retakes = (call: Call) => puts(call) && deletes(call);

describe("handing a lock on", () => {
  test("goes on while the store is away, for as long as the session lives", async () => {
    const { clock, client, conclave } = await connected();
    const first = await conclave.mutex("a", forLong).acquire();
    const others = [1, 2, 3].map(() => outcome(conclave.mutex("a", forLong).acquire()));
    client.disconnect();
    await first.release();
    await clock.advance(0);
    for (const [index, { value }] of others.entries()) {
      expect(value).toMatchObject({ key: first.key, token: first.token + BigInt(index) + 1n });
      await value?.release();
      await clock.advance(0);
    }
  });

  test("ends after the number and the time that the next caller asked for", async () => {
    const { clock, conclave } = await connected();
    const asked = [{ maxLocalHandovers: 1 }, { maxLocalHandovers: 1 }, forLong, never, forLong, { maxLocalHoldMs: 10 }];
    const turns: Hold[] = [await conclave.mutex("a").acquire()];
    for (const options of asked)
      void conclave
        .mutex("a", options)
        .acquire()
        .then((hold) => turns.push(hold));
    for (let turn = 0; turn < asked.length; turn++) {
      await clock.advance(turn === 5 ? 10 : 9);
      await turns[turn]?.release();
      await clock.advance(0);
    }
    const passed = turns.map(({ token }) => Number(token % 512n));
    expect(passed).toEqual([0, 1, 0, 1, 0, 1, 0]);
  });

  test("counts to 511 and no further, so that the next key's token is larger", async () => {
    const { clock, conclave } = await connected();
    let last = await conclave.mutex("a").acquire();
    const first = last.token;
    for (let turn = 1; turn <= 512; turn++) {
      const next = outcome(conclave.mutex("a", { ...forLong, maxLocalHandovers: 511 }).acquire());
      await last.release();
      await clock.advance(0);
      expect(next.value?.token).toBeGreaterThan(last.token);
      last = next.value as Hold;
    }
    expect([(last.token - first) % 512n, last.token / 512n > first / 512n]).toEqual([0n, true]);
  });

  test("never happens to a hold that a run's signal ended, and waits until its work has", async () => {
    const { clock, other, conclave } = await connected();
    const controller = new AbortController();
    let end = () => {};
    const run = outcome(
      conclave.mutex("a").run(() => new Promise<void>((resolve) => (end = resolve)), { signal: controller.signal }),
    );
    await clock.advance(0);
    const [key] = await keys(other);
    const next = outcome(conclave.mutex("a").acquire());
    controller.abort("enough");
    await clock.advance(ttlMs);
    expect([run.settled, next.settled]).toEqual([false, false]);
    end();
    await clock.advance(0);
    expect([run.settled, next.value?.isHeld()]).toEqual([true, true]);
    expect(await keys(other)).toEqual([next.value?.key]);
    expect(next.value?.key).not.toBe(key);
  });

  test("passes over a caller whose signal aborts as it is handed the lock", async () => {
    const { clock, other, conclave } = await connected();
    const controller = new AbortController();
    const { signal } = controller;
    const hold = await conclave.mutex("a").acquire();
    // This listener comes before the queue's own.
    signal.addEventListener("abort", () => void hold.release());
    let ran = false;
    const work = () => {
      ran = true;
    };
    const aborted = outcome(conclave.mutex("a").run(work, { signal }));
    const next = outcome(conclave.mutex("a").acquire());
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    expect([aborted.error, ran]).toEqual(["enough", false]);
    expect(next.value?.token).toBe(hold.token + 1n);
    await next.value?.release();
    expect(await keys(other)).toEqual([]);
  });
});

describe("taking the next place", () => {
  test("is delayed by an outage, and refused when the session ends meanwhile", async () => {
    for (const awayMs of [500, ttlMs]) {
      const { clock, client, other, conclave } = await connected();
      const first = await conclave.mutex("a", never).acquire();
      const second = outcome(conclave.mutex("a", never).acquire());
      client.disconnect();
      await first.release();
      await clock.advance(awayMs);
      client.reconnect();
      await clock.advance(1_000);
      if (awayMs < ttlMs) expect(await keys(other)).toEqual([second.value?.key]);
      else expect(second.error).toMatchObject({ code: "LEASE_LOST" });
    }
  });

  test.each(["DENIED", "LIMIT"] as const)("refuses all who wait when it fails with %s", async (code) => {
    const { clock, backend, other, conclave } = await connected();
    const hold = await conclave.mutex("a", never).acquire();
    const others = [1, 2].map(() => outcome(conclave.mutex("a", never).acquire()));
    backend.fault = (call, proceed) => (retakes(call) ? Promise.reject(failure(code)) : proceed());
    await hold.release();
    await clock.advance(0);
    expect(others).toMatchObject([{ error: { code } }, { error: { code } }]);
    expect(await keys(other)).toEqual([]);
    const again = await conclave.mutex("a", never).acquire();
    expect(again.token).toBeGreaterThan(hold.token);
  });

  test("gives the old place back although its answer is lost, and though it was put more than once", async () => {
    for (const fault of [losingAnswers(retakes, 2), losingAnswers(puts, 2)]) {
      const { clock, backend, other, conclave } = await connected();
      backend.fault = fault;
      const first = outcome(conclave.mutex("a", never).acquire());
      await clock.advance(1_000);
      const second = outcome(conclave.mutex("a", never).acquire());
      await first.value?.release();
      await clock.advance(1_000);
      expect(second.value?.isHeld()).toBe(true);
      expect(await keys(other)).toEqual([second.value?.key]);
    }
  });

  test("leaves nothing of an old place that somebody deleted, and that was sent twice and comes back", async () => {
    const { clock, client, backend, other, conclave } = await connected();
    const late: (() => Promise<unknown>)[] = [];
    backend.fault = async (call, proceed) => {
      if (!puts(call) || late.length === 1) return proceed();
      late.push(() => client.kv.commit(call.argument as Txn));
      throw failure("OUTCOME_UNKNOWN");
    };
    const first = outcome(conclave.mutex("a", never).acquire());
    await clock.advance(500);
    const second = outcome(conclave.mutex("a", never).acquire());
    await remove(other, first.value?.key as string);
    await first.value?.release();
    await clock.advance(10);
    await late[0]?.();
    expect(await keys(other)).toEqual([first.value?.key, second.value?.key]);
    await clock.advance(ttlMs);
    expect(await keys(other)).toEqual([second.value?.key]);
    expect(second.value?.isHeld()).toBe(true);
  });

  test("leaves nothing when all give up while it is under way, whatever its answer", async () => {
    for (const lost of [true, false]) {
      const { clock, backend, other, conclave } = await connected();
      const hold = await conclave.mutex("a", never).acquire();
      const controller = new AbortController();
      const next = outcome(conclave.mutex("a", never).acquire({ signal: controller.signal }));
      backend.fault = async (call, proceed) => {
        if (!retakes(call)) return proceed();
        await new Promise<void>((resolve) => void clock.after(100, resolve));
        const answer = await proceed();
        if (lost) throw failure("OUTCOME_UNKNOWN");
        return answer;
      };
      const releasing = outcome(hold.release());
      await clock.advance(50);
      controller.abort("enough");
      await clock.advance(0);
      expect([releasing.settled, next.error]).toEqual([true, "enough"]);
      await clock.advance(2 * ttlMs);
      expect(await keys(other)).toEqual([]);
    }
  });

  test("is not delayed by what was sent first and arrives last", async () => {
    const { clock, client, backend, other, conclave } = await connected();
    const late: (() => Promise<unknown>)[] = [];
    backend.fault = async (call, proceed) => {
      if (!retakes(call) || late.length >= 2) return proceed();
      late.push(() => client.kv.commit(call.argument as Txn));
      throw failure("OUTCOME_UNKNOWN");
    };
    const hold = await conclave.mutex("a", never).acquire();
    const next = outcome(conclave.mutex("a", never).acquire());
    await hold.release();
    await clock.advance(1_000);
    expect(next.value?.isHeld()).toBe(true);
    await late[0]?.();
    await next.value?.release();
    await late[1]?.();
    await clock.advance(intervalMs);
    expect(await keys(other)).toEqual([]);
  });
});

describe("who queues in a process", () => {
  test("is refused at the very moment the session is lost, also behind a hold", async () => {
    const { clock, client, conclave } = await connected();
    const session = await conclave.session();
    const hold = await conclave.mutex("a").acquire();
    const next = outcome(conclave.mutex("a").acquire());
    client.disconnect();
    await clock.advance(session.remainingMs() - 1);
    expect([next.settled, hold.isHeld()]).toEqual([false, true]);
    await clock.advance(1);
    expect([next.error, hold.isHeld()]).toMatchObject([{ code: "LEASE_LOST" }, false]);
    expect(next.error).toBe(hold.signal.reason);
  });

  test("after the process stood still, waits for no hold that was lost meanwhile", async () => {
    const { clock, client, store } = await world();
    const stalling = new StallingClock(clock);
    const conclave = await connect(new Faulty(client, stalling), { ttlMs });
    const neighbour = await connect(await store.connect(), { ttlMs });
    const lost = await conclave.mutex("a").acquire();
    const before = outcome(conclave.mutex("a").acquire());
    stalling.stall(ttlMs);
    const after = outcome(conclave.mutex("a").acquire());
    await clock.advance(0);
    expect([before.error, after.settled]).toMatchObject([{ code: "LEASE_LOST" }, false]);
    await clock.advance(2 * ttlMs);
    expect([after.value?.isHeld(), lost.isHeld()]).toEqual([true, false]);
    expect(await neighbour.mutex("a").queue()).toHaveLength(1);
  });

  test("shares the fate of a try that failed, but not of one that was given up", async () => {
    const { clock, backend, conclave } = await connected();
    backend.fault = async (call, proceed) => {
      if (!puts(call)) return proceed();
      await new Promise<void>((resolve) => void clock.after(100, resolve));
      throw failure("UNAVAILABLE");
    };
    const failing = [outcome(conclave.mutex("a").tryAcquire()), outcome(conclave.mutex("a").acquire())];
    await clock.advance(100);
    expect(failing).toMatchObject([{ error: { code: "UNAVAILABLE" } }, { error: { code: "UNAVAILABLE" } }]);
    let slow = true;
    const controller = new AbortController();
    backend.fault = async (call, proceed) => {
      if (!puts(call) || !slow) return proceed();
      slow = false;
      await new Promise<void>((resolve) => void clock.after(100, resolve));
      throw controller.signal.reason;
    };
    const given = outcome(conclave.mutex("a").tryAcquire({ signal: controller.signal }));
    const waiting = outcome(conclave.mutex("a").acquire());
    await clock.advance(50);
    controller.abort("enough");
    await clock.advance(50);
    expect([given.error, waiting.value?.isHeld()]).toEqual(["enough", true]);
  });

  test("gets a place that its own process had given up on, as soon as that is gone", async () => {
    const { clock, backend, other, conclave } = await connected();
    backend.fault = async (call, proceed) => {
      const answer = await proceed();
      if (puts(call)) await new Promise<void>((resolve) => void clock.after(100, resolve));
      return answer;
    };
    const controller = new AbortController();
    const first = outcome(conclave.mutex("a").acquire({ signal: controller.signal }));
    await clock.advance(50);
    controller.abort("enough");
    const second = outcome(conclave.mutex("a").acquire());
    await clock.advance(1_000);
    expect([first.error, second.value?.isHeld()]).toEqual(["enough", true]);
    expect(await keys(other)).toEqual([second.value?.key]);
  });

  test("is forgotten when there is nothing to do, and not before", async () => {
    const { clock, backend } = await world();
    const closed = new AbortController().signal;
    const sessions = new Sessions(backend, ttlMs, closed);
    const receipts = new Receipts(backend, sessions);
    const context: Context = { backend, sessions, receipts, owner: "", closed, warn: () => {} };
    const wish = { signal: undefined, limits: { handovers: 1, holdMs: 1 } };
    const cohort = Cohort.of(context, "a/");
    const hold = await cohort.acquire(wish);
    const controller = new AbortController();
    const next = outcome(cohort.acquire({ ...wish, signal: controller.signal }));
    controller.abort("enough");
    await clock.advance(0);
    expect([next.error, Cohort.of(context, "a/") === cohort]).toEqual(["enough", true]);
    await hold.release();
    expect(Cohort.of(context, "a/")).not.toBe(cohort);
    const tried = Cohort.of(context, "b/");
    await (await tried.tryAcquire({}))?.release();
    expect(Cohort.of(context, "b/")).not.toBe(tried);
    await sessions.close();
  });
});

/** For what takes a second or two of a machine that does nothing else. */
const patience = { timeout: 60_000 };

test("a thousand who wait in a thousand processes cost one commit a hand-over, by who is next", patience, async () => {
  const clock = new VirtualClock();
  const store = new MemoryStore({ clock });
  const lasting = { ttlMs: 3_600_000 };
  const processes = [];
  for (let index = 0; index <= 1_000; index++) {
    const backend = new Faulty(await store.connect());
    processes.push({ backend, wait: outcome((await connect(backend, lasting)).mutex("a").acquire()) });
    await clock.advance(0);
  }
  for (let index = 0; index < 50; index++) {
    for (const { backend } of processes) backend.calls.length = 0;
    const [holder, next] = [processes[index], processes[index + 1]];
    await holder?.wait.value?.release();
    await clock.advance(0);
    expect(next?.wait.value?.isHeld()).toBe(true);
    const busy = processes.flatMap(({ backend }, one) => backend.calls.map(({ name }) => [one, name]));
    expect(busy).toEqual([
      [index, "commit"],
      [index + 1, "commit"],
    ]);
  }
});

/** A step of a test: by which process, and what. */
const steps = fc.array(
  fc.tuple(
    fc.nat({ max: 1 }),
    fc.oneof(
      { weight: 6, arbitrary: fc.constant("acquire" as const) },
      { weight: 1, arbitrary: fc.constant("try" as const) },
      { weight: 6, arbitrary: fc.constant("release" as const) },
      { weight: 1, arbitrary: fc.constant("reenter" as const) },
      { weight: 2, arbitrary: fc.constant("cancel" as const) },
      { weight: 1, arbitrary: fc.constant("guard" as const) },
      { weight: 1, arbitrary: fc.constant("delete" as const) },
      { weight: 3, arbitrary: fc.constant("wait" as const) },
    ),
    fc.nat({ max: 20 }),
  ),
  { maxLength: 40 },
);

test(
  "whatever callers of two processes do, one at a time holds it, in order, and nothing is left",
  patience,
  async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.constantFrom("strong", "weak"), async (steps, mode) => {
        const { clock, backend, other } = await world({ mode: mode as "strong" | "weak" });
        const conclaves = [await connect(backend, { ttlMs }), await connect(other, { ttlMs })];
        const options = { maxLocalHandovers: 2, maxLocalHoldMs: 30 };
        interface Caller {
          readonly seen: ReturnType<typeof outcome<Hold>>;
          readonly controller: AbortController;
        }
        const queues: Caller[][] = [[], []];
        const holds: { hold: Hold; process: number }[] = [];
        let largest = 0n;
        const admit = (process: number, hold: Hold) => {
          const others = holds.filter((one) => one.hold.isHeld() && one.hold.token !== hold.token);
          expect(others, "nobody else holds it").toEqual([]);
          expect(hold.token, "tokens grow").toBeGreaterThan(largest);
          largest = hold.token;
          holds.push({ hold, process });
        };
        const settle = async (ms: number) => {
          await clock.advance(ms);
          for (const [process, queue] of queues.entries()) {
            for (const caller of [...queue]) {
              const { seen } = caller;
              if (!seen.settled) continue;
              if (seen.value) {
                const ahead = queue.slice(0, queue.indexOf(caller));
                expect(
                  ahead.every((one) => one.seen.settled),
                  "first come, first served",
                ).toBe(true);
                admit(process, seen.value);
              }
              queue.splice(queue.indexOf(caller), 1);
            }
          }
        };
        for (const [process, what, number] of steps) {
          const mutex = (conclaves[process] as Conclave).mutex("a", options);
          const queue = queues[process] as Caller[];
          const ours = holds.filter((one) => one.process === process);
          const { hold } = ours[number % Math.max(1, ours.length)] ?? {};
          if (what === "acquire") {
            const controller = new AbortController();
            queue.push({ seen: outcome(mutex.acquire({ signal: controller.signal })), controller });
          } else if (what === "try") {
            const tried = outcome(mutex.tryAcquire());
            await clock.advance(mode === "weak" ? 50 : 0);
            if (tried.value) admit(process, tried.value);
          } else if (what === "cancel") queue[number % Math.max(1, queue.length)]?.controller.abort("enough");
          else if (what === "release" && hold) {
            void hold.release();
            holds.splice(
              holds.findIndex((one) => one.hold === hold),
              1,
            );
          } else if (what === "reenter" && hold?.isHeld()) {
            holds.push({ hold: await mutex.acquire({ reenter: hold }), process });
          } else if (what === "guard") hold?.guard({ then: [] });
          else if (what === "delete" && hold) {
            // Whoever is told at the next renewal only has no business with the lock until then.
            await remove(other, hold.key);
            await clock.advance(2 * intervalMs);
          }
          await settle(what === "wait" ? number : 0);
        }
        for (let rounds = 0; rounds < 200 && (holds.length > 0 || queues.flat().length > 0); rounds++) {
          for (const { hold } of holds.splice(0)) void hold.release();
          await settle(50);
        }
        expect([holds.length, queues.flat().length], "everybody had a turn").toEqual([0, 0]);
        await clock.advance(2 * ttlMs);
        expect(await keys(other)).toEqual([]);
        for (const conclave of conclaves) await conclave.close();
        expect(clock.pendingTimers).toBe(0);
      }),
      { numRuns: 200 },
    );
  },
);
