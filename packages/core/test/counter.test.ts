import { connect } from "@conclave/core";
import { decode } from "@conclave/core/backend";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { type Call, failure, keys, losingAnswers, outcome, put, puts, remove, type World, world } from "./kit.ts";

const largest = 2n ** 63n - 1n;
let playing: Disposable | undefined;
afterEach(() => playing?.[Symbol.dispose]());

async function start(options: { mode?: "strong" | "weak" } = {}) {
  const made = await world(options);
  playing = made.clock.play();
  const [conclave, rival] = [await connect(made.backend), await connect(made.other)];
  await conclave.session();
  made.backend.calls.length = 0;
  return { ...made, conclave, rival };
}

const counted = ({ backend }: World) => backend.calls.map(({ name }) => name).filter((name) => name !== "keepAlive");

/** Holds back the first call that matches until it is let go. */
function holding(all: World, matches: (call: Call) => boolean) {
  let letGo: () => void = () => {};
  const gone = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  let held = false;
  all.backend.fault = async (call, proceed) => {
    if (!matches(call) || held) return proceed();
    held = true;
    await gone;
    return proceed();
  };
  return letGo;
}

describe("a counter", () => {
  test("begins at nothing, adds one unless told otherwise, and gives the sum", async () => {
    const { conclave } = await start();
    const counter = conclave.counter("a");
    expect(await counter.get()).toBe(0n);
    expect([await counter.add(), await counter.add(5), await counter.add(-7n), await counter.add(0)]).toEqual([
      1n,
      6n,
      -1n,
      -1n,
    ]);
    expect(await counter.get()).toBe(-1n);
  });

  test("takes one round trip for each add of its own, and one more when another process was faster", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    await counter.add();
    await counter.add();
    expect(counted(all)).toEqual(["commit", "commit"]);
    await all.rival.counter("a").add(10n);
    expect(await counter.add()).toBe(13n);
    expect(counted(all)).toEqual(["commit", "commit", "commit", "commit"]);
  });

  test("a second object of one name finds what the first wrote in one round trip more", async () => {
    const all = await start();
    await all.conclave.counter("a").add();
    all.backend.calls.length = 0;
    expect(await all.conclave.counter("a").add()).toBe(2n);
    expect(counted(all)).toEqual(["commit", "commit"]);
  });

  test("takes together who asks in the same breath, and gives each its own sum, in order", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    const sums = await Promise.all([counter.add(1n), counter.add(10n), counter.add(100n)]);
    expect(sums).toEqual([1n, 11n, 111n]);
    expect(counted(all)).toEqual(["commit"]);
  });

  test("takes together all who come while a commit is under way", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    const letGo = holding(all, puts);
    const first = counter.add(1n);
    await all.clock.advance(1);
    const others = Promise.all([counter.add(10n), counter.add(100n)]);
    letGo();
    expect([await first, await others]).toEqual([1n, [11n, 111n]]);
    expect(counted(all)).toEqual(["commit", "commit"]);
  });

  test("who aborts while it waits adds nothing, at once, and the others ride on", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    const letGo = holding(all, puts);
    const first = counter.add(1n);
    await all.clock.advance(1);
    const controller = new AbortController();
    const second = outcome(counter.add(10n, { signal: controller.signal }));
    const third = counter.add(100n);
    controller.abort(new Error("enough"));
    await all.clock.advance(0);
    expect(second.error).toBe(controller.signal.reason);
    letGo();
    expect([await first, await third, await counter.get()]).toEqual([1n, 101n, 101n]);
  });

  test("who aborts while it rides hears what became of the commit", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    const letGo = holding(all, puts);
    const controller = new AbortController();
    const [one, other] = [counter.add(1n, { signal: controller.signal }), counter.add(10n)];
    await all.clock.advance(1);
    controller.abort(new Error("enough"));
    letGo();
    expect([await one, await other]).toEqual([1n, 11n]);
  });

  test("who aborts while it rides in vain adds nothing", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    const letGo = holding(all, puts);
    const controller = new AbortController();
    const one = outcome(counter.add(1n, { signal: controller.signal }));
    const other = counter.add(10n);
    await all.clock.advance(1);
    controller.abort(new Error("enough"));
    await all.rival.counter("a").add(100n);
    letGo();
    expect(await other).toBe(110n);
    expect(one.error).toBe(controller.signal.reason);
  });

  test("who rode in vain still comes before who came later", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    const letGo = holding(all, puts);
    const early = [counter.add(1n), counter.add(1n)];
    await all.clock.advance(1);
    const late = counter.add(1n);
    await all.rival.counter("a").add(100n);
    letGo();
    expect(await Promise.all([...early, late])).toEqual([101n, 102n, 103n]);
  });

  test("gives up a commit that everybody gave up", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    all.backend.fault = async (call, proceed) => (puts(call) ? Promise.reject(failure("OUTCOME_UNKNOWN")) : proceed());
    const controllers = [new AbortController(), new AbortController()];
    const adds = controllers.map(({ signal }) => outcome(counter.add(1n, { signal })));
    await all.clock.advance(500);
    expect(adds.map(({ settled }) => settled)).toEqual([false, false]);
    controllers[0]?.abort(new Error("one"));
    await all.clock.advance(100);
    expect(adds[1]?.settled).toBe(false);
    controllers[1]?.abort(new Error("other"));
    await all.clock.advance(1);
    expect(adds.map(({ error }) => (error as Error).message)).toEqual(["one", "other"]);
  });

  test("refuses a signal that has aborted already, without a call", async () => {
    const all = await start();
    const signal = AbortSignal.abort(new Error("too late"));
    await expect(all.conclave.counter("a").add(1n, { signal })).rejects.toThrow("too late");
    await all.clock.advance(1);
    expect(counted(all)).toEqual([]);
  });

  test("counts once when answers are lost", async () => {
    const all = await start();
    all.backend.fault = losingAnswers(puts, 3);
    const counter = all.conclave.counter("a");
    expect([await counter.add(), await counter.add(), await counter.get()]).toEqual([1n, 2n, 2n]);
  });

  test("counts once when the answer is lost, and another process counts before it is sent again", async () => {
    const all = await start();
    let lost = false;
    all.backend.fault = async (call, proceed) => {
      if (!puts(call) || lost) return proceed();
      lost = true;
      await proceed();
      await all.rival.counter("a").add(10n);
      throw failure("OUTCOME_UNKNOWN");
    };
    const counter = all.conclave.counter("a");
    expect(await counter.add()).toBe(1n);
    expect(await counter.add()).toBe(12n);
  });

  test("says that nothing was added when the store refused, to all who rode", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    let refusing = true;
    all.backend.fault = async (call, proceed) =>
      puts(call) && refusing ? Promise.reject(failure("UNAVAILABLE")) : proceed();
    const adds = [counter.add(), counter.add()].map(outcome);
    await all.clock.advance(1);
    expect(adds.map(({ error }) => error)).toMatchObject([{ code: "UNAVAILABLE" }, { code: "UNAVAILABLE" }]);
    refusing = false;
    expect(await counter.add()).toBe(1n);
  });

  test("says that it does not know when the session ends before the store answers", async () => {
    const all = await start();
    all.backend.fault = async (call, proceed) => {
      if (call.name === "keepAlive" || puts(call)) throw failure("OUTCOME_UNKNOWN");
      return proceed();
    };
    const counter = all.conclave.counter("a");
    await expect(counter.add()).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
    all.backend.fault = (_, proceed) => proceed();
    expect(await counter.add()).toBe(1n);
  });

  test("ends with the conclave, and leaves no timer", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    all.backend.fault = async (call, proceed) => (puts(call) ? Promise.reject(failure("OUTCOME_UNKNOWN")) : proceed());
    const add = outcome(counter.add());
    await all.clock.advance(100);
    await all.conclave.close();
    await all.clock.advance(1);
    expect(add.error).toMatchObject({ code: "OUTCOME_UNKNOWN" });
    await expect(counter.add()).rejects.toMatchObject({ code: "CLOSED" });
  });

  test("refuses what would leave 64 bits, and adds what the others ask for", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    await counter.set(largest - 1n);
    const adds = [counter.add(2n), counter.add(1n), counter.add(1n), counter.add(-1n)].map(outcome);
    await all.clock.advance(1);
    expect(adds.map(({ value, error }) => value ?? (error as Error).constructor)).toEqual([
      RangeError,
      largest,
      RangeError,
      largest - 1n,
    ]);
    expect(await counter.get()).toBe(largest - 1n);
    await counter.set(-(2n ** 63n));
    await expect(counter.add(-1)).rejects.toThrow(
      /the sum must be a signed number of 64 bits, not -9223372036854775809n/,
    );
    await expect(counter.add(2n ** 70n)).rejects.toThrow(RangeError);
    expect(await keys(all.other, "receipts/")).toHaveLength(1);
  });

  test("refuses nobody for a number that it remembers, and that is no longer so", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    await counter.set(largest);
    await all.rival.counter("a").set(5n);
    expect(await counter.add()).toBe(6n);
    await put(all.other, "counter/a/value", "junk");
    await expect(counter.add()).rejects.toMatchObject({ code: "CORRUPT" });
    await all.rival.counter("a").set(7n);
    expect(await counter.add()).toBe(8n);
  });

  test.each(["", "1.5", "9223372036854775808", "0x10", " 1", "12345678901234567890"])(
    "says that %j is no number of its own",
    async (text) => {
      const all = await start();
      await put(all.other, "counter/a/value", text);
      const counter = all.conclave.counter("a");
      const error = { code: "CORRUPT", message: expect.stringContaining("counter/a/value") };
      await expect(counter.get()).rejects.toMatchObject(error);
      await expect(counter.add()).rejects.toMatchObject(error);
      await expect(counter.compareAndSet(0n, 1n)).rejects.toMatchObject(error);
      await counter.set(3n);
      expect(await counter.add()).toBe(4n);
    },
  );

  test("begins anew when its key is deleted by hand", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    await counter.add(5n);
    await remove(all.other, "counter/a/value");
    expect(await counter.add()).toBe(1n);
  });

  test("is set whatever it is, once, in one round trip", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    await all.rival.counter("a").add(9n);
    await counter.set(3n);
    expect(counted(all)).toEqual(["commit"]);
    let lost = false;
    all.backend.fault = async (call, proceed) => {
      if (!puts(call) || lost) return proceed();
      lost = true;
      await proceed();
      await all.rival.counter("a").set(100n);
      throw failure("OUTCOME_UNKNOWN");
    };
    await counter.set(4n);
    expect(await counter.get()).toBe(100n);
  });

  test("says so when its receipt was tampered with and nothing was set", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    await counter.set(3n);
    const [receipt] = (await keys(all.other, "receipts/")) as [string];
    await put(all.other, receipt);
    await expect(counter.set(4n)).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(await counter.get()).toBe(3n);
  });

  test("is compared and set, and the comparison is never with a number out of date", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    expect(await counter.compareAndSet(1n, 2n)).toBe(false);
    expect(await counter.compareAndSet(0n, 2n)).toBe(true);
    await all.rival.counter("a").set(5n);
    expect(await counter.compareAndSet(5n, 6n)).toBe(true);
    await all.rival.counter("a").set(7n);
    expect(await counter.compareAndSet(6n, 8n)).toBe(false);
    await all.rival.counter("a").set(7n);
    expect(await counter.compareAndSet(7n, 8n)).toBe(true);
    expect(await counter.get()).toBe(8n);
  });

  test("is kept as text under its name, on no lease", async () => {
    const all = await start();
    await all.conclave.counter("a/b").add(42n);
    const entry = await all.other.kv.get("counter/a%2Fb/value");
    expect([entry && decode(entry.value), entry?.lease]).toEqual(["42", undefined]);
  });

  test("pauses between conflicts, which end when the others do", async () => {
    const all = await start();
    const counter = all.conclave.counter("a");
    let conflicts = 0;
    all.backend.fault = async (call, proceed) => {
      if (puts(call) && conflicts < 9) {
        conflicts += 1;
        await all.rival.counter("a").add(1n);
      }
      return proceed();
    };
    const before = all.clock.monotonicMs();
    expect(await counter.add()).toBe(10n);
    expect(counted(all)).toHaveLength(10);
    expect(all.clock.monotonicMs()).toBeGreaterThan(before);
  });

  test.each(["strong", "weak"] as const)(
    "gives what a model gives, whatever several processes do (%s)",
    async (mode) => {
      const step = fc.record({ who: fc.nat(2), delta: fc.bigInt({ min: -9n, max: 9n }), wait: fc.boolean() });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { maxLength: 30 }), async (steps) => {
          const { store, clock } = await world({ mode });
          using _ = clock.play();
          const conclaves = await Promise.all([0, 1, 2].map(async () => connect(await store.connect())));
          const counters = conclaves.map((conclave) => conclave.counter("a"));
          const adds: Promise<{ delta: bigint; sum: bigint }>[] = [];
          for (const { who, delta, wait } of steps) {
            const add = counters[who]?.add(delta) as Promise<bigint>;
            adds.push(add.then((sum) => ({ delta, sum })));
            if (wait) await add;
          }
          const done = await Promise.all(adds);
          const total = steps.reduce((sum, { delta }) => sum + delta, 0n);
          expect(await counters[0]?.get()).toBe(total);
          // Some order of the adds gives every sum that was told: befores and afters are the same numbers but for the ends.
          const befores = done.map(({ delta, sum }) => sum - delta);
          const afters = done.map(({ sum }) => sum);
          const order = (numbers: bigint[]) => numbers.sort((one, other) => Number(one - other));
          expect(order([...befores, total])).toEqual(order([...afters, 0n]));
          await Promise.all(conclaves.map((conclave) => conclave.close()));
        }),
        { numRuns: 60 },
      );
    },
  );
});

describe("ids", () => {
  test("are whole numbers from 1, and take one round trip a block", async () => {
    const all = await start();
    const ids = all.conclave.ids("a", { block: 3 });
    const given = [];
    for (let index = 0; index < 7; index++) given.push(await ids.next());
    expect(given).toEqual([1n, 2n, 3n, 4n, 5n, 6n, 7n]);
    expect(counted(all)).toEqual(["commit", "commit", "commit"]);
  });

  test("are never the same, whatever blocks others take", async () => {
    const all = await start();
    const sources = [all.conclave.ids("a", { block: 2 }), all.rival.ids("a", { block: 5 }), all.rival.ids("a")];
    const given = await Promise.all(
      sources.map(async (ids) => {
        const own = [];
        for (let index = 0; index < 20; index++) own.push(await ids.next());
        expect(own).toEqual(own.toSorted((one, other) => Number(one - other)));
        return own;
      }),
    );
    expect(new Set(given.flat()).size).toBe(60);
  });

  test("share the taking of a block among all who wait", async () => {
    const all = await start();
    const ids = all.conclave.ids("a");
    const given = await Promise.all(Array.from({ length: 100 }, () => ids.next()));
    expect(new Set(given).size).toBe(100);
    expect(counted(all)).toEqual(["commit"]);
    const small = all.conclave.ids("b", { block: 1 });
    expect(await Promise.all([small.next(), small.next(), small.next()])).toEqual([1n, 2n, 3n]);
  });

  test("who aborts while a block is taken takes no id along", async () => {
    const all = await start();
    const ids = all.conclave.ids("a");
    const letGo = holding(all, puts);
    const controller = new AbortController();
    const [gone, stays] = [outcome(ids.next({ signal: controller.signal })), ids.next()];
    await all.clock.advance(1);
    controller.abort(new Error("enough"));
    await all.clock.advance(0);
    expect(gone.error).toBe(controller.signal.reason);
    letGo();
    expect([await stays, await ids.next()]).toEqual([1n, 2n]);
    await expect(ids.next({ signal: controller.signal })).rejects.toThrow("enough");
  });

  test("of a block whose answer is lost are handed out once", async () => {
    const all = await start();
    all.backend.fault = losingAnswers(puts, 2);
    const ids = all.conclave.ids("a", { block: 2 });
    const given = [await ids.next(), await ids.next(), await all.rival.ids("a").next()];
    expect(given).toEqual([1n, 2n, 3n]);
  });

  test("of a block of which nobody knows whether it was taken are never handed out", async () => {
    const all = await start();
    const ids = all.conclave.ids("a", { block: 10 });
    await ids.next();
    let away = true;
    all.backend.fault = async (call, proceed) => {
      if (!away || (call.name !== "keepAlive" && !puts(call))) return proceed();
      if (puts(call)) await proceed();
      throw failure("OUTCOME_UNKNOWN");
    };
    for (let index = 0; index < 9; index++) await ids.next();
    const waiting = [ids.next(), ids.next()].map(outcome);
    await all.clock.advance(20_000);
    expect(waiting.map(({ error }) => error)).toMatchObject([{ code: "UNAVAILABLE" }, { code: "UNAVAILABLE" }]);
    away = false;
    expect(await ids.next()).toBe(21n);
  });

  test("end where 64 bits do", async () => {
    const all = await start();
    await put(all.other, "ids/a/taken", String(largest - 5n));
    await expect(all.conclave.ids("a").next()).rejects.toThrow(RangeError);
    expect(await all.conclave.ids("a", { block: 5 }).next()).toBe(largest - 4n);
  });
});
