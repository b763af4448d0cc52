import { type Conclave, connect, type Permit, type Semaphore } from "@conclave/core";
import type { Txn } from "@conclave/core/backend";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { describeJunk, object, text } from "./junk.ts";
import {
  type Any,
  deferred,
  deletes,
  failure,
  keys,
  losingAnswers,
  outcome,
  put,
  puts,
  remove,
  type World,
  world,
} from "./kit.ts";

const ttlMs = 9_000;

async function connected(
  options?: Parameters<typeof world>[0],
): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world(options);
  const conclave = await connect(here.backend, { ttlMs });
  const neighbour = await connect(here.other, { ttlMs });
  await conclave.session();
  return { ...here, conclave, neighbour };
}

/** Takes that many permits of the semaphore "a", one by one. */
async function takeAll(conclave: Conclave, count: number): Promise<Permit[]> {
  const permits = [];
  for (let taken = 0; taken < count; taken++) permits.push(await conclave.semaphore("a", { limit: count }).acquire());
  return permits;
}

describe("a semaphore", () => {
  test("keeps its limit, and whose permits are how many, in keys that people can read", async () => {
    const { backend, other } = await world();
    const conclave = await connect(backend, { owner: "till 1" });
    const permit = await conclave.semaphore("a/b", { limit: 3 }).acquire({ weight: 2 });
    const { entries } = await other.kv.list("semaphore/");
    const read = entries.map(({ key, value, lease }) => [key, JSON.parse(new TextDecoder().decode(value)), lease]);
    expect(read).toEqual([
      ["semaphore/a%2Fb/limit", { permits: 3, largest: 3, resized: false }, undefined],
      [permit.key, { weight: 2, owner: "till 1", granted: false }, (await conclave.session()).lease.id],
    ]);
    expect(permit.key).toMatch(/^semaphore\/a%2Fb\/permits\//);
  });

  test.each(["acquire", "tryAcquire"] as const)("grants by %s once, on one key, when answers are lost", async (way) => {
    const { clock, backend, other, conclave } = await connected();
    backend.fault = losingAnswers(puts, 4);
    const acquiring = outcome<Permit | undefined>(conclave.semaphore("a", { limit: 1 })[way]());
    await clock.advance(5_000);
    expect(acquiring.value?.isHeld()).toBe(true);
    expect(await keys(other)).toEqual(["semaphore/a/limit", acquiring.value?.key]);
    backend.fault = losingAnswers(deletes);
    await acquiring.value?.release();
    await clock.advance(ttlMs);
    expect(await keys(other)).toEqual(["semaphore/a/limit"]);
  });

  test("leaves no key of a try whose sending arrives after it was answered", async () => {
    const { clock, client, backend, other, conclave, neighbour } = await connected();
    await conclave.semaphore("a").resize(1);
    const busy = await neighbour.semaphore("a").acquire();
    const late: (() => Promise<unknown>)[] = [];
    backend.fault = async (call, proceed) => {
      if (!puts(call) || late.length === 1) return proceed();
      late.push(() => client.kv.commit(call.argument as Txn));
      throw failure("OUTCOME_UNKNOWN");
    };
    const trying = outcome(conclave.semaphore("a").tryAcquire());
    await clock.advance(500);
    expect(trying).toEqual({ value: undefined, settled: true });
    await busy.release();
    await late[0]?.();
    await clock.advance(ttlMs);
    expect(await keys(other)).toEqual(["semaphore/a/limit"]);
  });

  test("has permits back at once though it was still being said that they were granted", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    await conclave.semaphore("a").resize(1);
    const busy = await neighbour.semaphore("a").acquire();
    backend.fault = losingAnswers(puts);
    const first = outcome(conclave.semaphore("a").acquire());
    await clock.advance(1_000);
    const second = outcome(neighbour.semaphore("a").acquire());
    await clock.advance(10);
    // What says that it was granted arrives between the look at the key and its delete.
    const [looked, said] = [deferred<void>(), deferred<void>()];
    backend.fault = async (call, proceed) => {
      if (puts(call)) return looked.promise.then(proceed).finally(said.resolve);
      if (!deletes(call)) return proceed();
      looked.resolve();
      return said.promise.then(proceed);
    };
    await busy.release();
    await clock.advance(1);
    void first.value?.release();
    await clock.advance(10);
    expect([first.settled, second.settled]).toEqual([true, true]);
  });

  test("asks for more of the line when it did not know how long a part of it matters", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    await takeAll(conclave, 40);
    await neighbour.semaphore("a").resize(41);
    backend.calls.length = 0;
    const fortyFirst = await conclave.semaphore("a").acquire();
    expect([fortyFirst.isHeld(), backend.count("commit")]).toEqual([true, 2]);
    const last = outcome(conclave.semaphore("a").acquire());
    const first = (await conclave.semaphore("a").queue())[7];
    await clock.advance(10);
    await remove(backend, first?.key as string);
    await clock.advance(0);
    expect(last.value?.isHeld()).toBe(true);
  });

  test("reads no more of a line of a thousand than the limit says, and wakes two of it", async () => {
    const { clock, backend, other, conclave, neighbour } = await connected();
    const permits = await takeAll(neighbour, 3);
    const waiting = [outcome(conclave.semaphore("a").acquire()), outcome(conclave.semaphore("a").acquire())];
    await clock.advance(10);
    const { lease } = await neighbour.session();
    for (let from = 0; from < 1_000; from += 100) {
      const then = Array.from({ length: 100 }, (_, index) => ({
        put: `semaphore/a/permits/z${from + index}`,
        value: new Uint8Array(0),
        lease,
      }));
      await other.kv.commit({ then });
    }
    await clock.advance(10);
    backend.calls.length = 0;
    let entries = 0;
    backend.fault = async (call, proceed) => {
      const answer = await proceed();
      for (const result of call.name === "commit" ? answer.results : []) entries += result?.entries?.length ?? 0;
      return answer;
    };
    await permits[1]?.release();
    await clock.advance(10);
    expect(waiting.map(({ settled }) => settled)).toEqual([true, false]);
    // The first looks, and says that it was granted; the second looks, becomes the head of the line, and looks again.
    expect([backend.count("commit"), backend.count("watch")]).toEqual([4, 1]);
    expect(entries).toBeLessThan(20);
  });

  test("grants on, in order, when the key of the limit was deleted by hand while somebody knows it", async () => {
    const { clock, other, conclave, neighbour } = await connected();
    const [first] = await takeAll(conclave, 1);
    await neighbour.session();
    const knowing = outcome(neighbour.semaphore("a", { limit: 1 }).acquire());
    const ignorant = outcome(conclave.semaphore("a").acquire());
    await clock.advance(10);
    await remove(other, "semaphore/a/limit");
    await clock.advance(10);
    expect(await keys(other)).toContain("semaphore/a/limit");
    await first?.release();
    await clock.advance(10);
    expect([knowing.value?.isHeld(), ignorant.settled]).toEqual([true, false]);
    await remove(other, "semaphore/a/limit");
    await knowing.value?.release();
    await clock.advance(10);
    expect(ignorant.error).toBeInstanceOf(RangeError);
  });

  test.each(["{}", "null", '{"permits":0,"largest":1,"resized":false}', '{"permits":3,"largest":2,"resized":false}'])(
    "refuses to take %s for a limit",
    async (text) => {
      const { other, conclave } = await connected();
      await put(other, "semaphore/a/limit", text);
      for (const attempt of ["acquire", "tryAcquire", "limit", "available", "queue"] as const)
        await expect(conclave.semaphore("a")[attempt]()).rejects.toMatchObject({ code: "CORRUPT" });
      await expect(conclave.semaphore("a").resize(3)).rejects.toMatchObject({ code: "CORRUPT" });
      expect(await keys(other)).toEqual(["semaphore/a/limit"]);
    },
  );

  test("counts what it cannot read as one permit", async () => {
    const { other, conclave } = await connected();
    const pool = conclave.semaphore("a", { limit: 9 });
    for (const [index, text] of ["", "7", "null", '{"weight":0.5}', '{"weight":-3}', '{"weight":4}'].entries())
      await put(other, `semaphore/a/permits/${index}`, text);
    await pool.resize(10);
    expect([await pool.available(), (await pool.acquire()).isHeld(), await pool.available()]).toEqual([1, true, 0]);
  });
});

describe("resizing", () => {
  test("whose answers are lost sets the limit, and not over one that was set since", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    await conclave.semaphore("a").resize(2);
    backend.fault = losingAnswers(puts, 2);
    const resizing = outcome(conclave.semaphore("a").resize(5));
    await clock.advance(2_000);
    expect([resizing.settled, await neighbour.semaphore("a").limit()]).toEqual([true, 5]);
    const late: (() => Promise<unknown>)[] = [];
    backend.fault = async (call, proceed) => {
      if (!puts(call) || late.length === 1) return proceed();
      late.push(proceed);
      throw failure("OUTCOME_UNKNOWN");
    };
    const again = outcome(conclave.semaphore("a").resize(6));
    await clock.advance(1_000);
    await neighbour.semaphore("a").resize(7);
    await late[0]?.();
    expect([again.settled, await neighbour.semaphore("a").limit()]).toEqual([true, 7]);
  });

  test("forgets how large the limit once was when nobody in line has known that", async () => {
    const { other, conclave } = await connected();
    const stored = async () => {
      const { value } = (await other.kv.get("semaphore/a/limit")) as Any;
      const { permits, largest } = JSON.parse(new TextDecoder().decode(value));
      return [permits, largest];
    };
    const pool = conclave.semaphore("a", { limit: 3 });
    const permit = await pool.acquire();
    await pool.resize(900);
    await pool.resize(2);
    expect(await stored()).toEqual([2, 900]);
    await pool.resize(4);
    expect(await stored()).toEqual([4, 900]);
    await permit.release();
    await pool.acquire();
    await pool.resize(3);
    expect(await stored()).toEqual([3, 4]);
  });

  test("ends with the signal's reason, and with CLOSED when the conclave closes", async () => {
    const { clock, backend, conclave } = await connected();
    backend.fault = async (call, proceed) => {
      if (puts(call)) throw failure("OUTCOME_UNKNOWN");
      return proceed();
    };
    const controller = new AbortController();
    const resizings = [
      outcome(conclave.semaphore("a").resize(2, { signal: controller.signal })),
      outcome(conclave.semaphore("b").resize(2)),
    ];
    await clock.advance(500);
    controller.abort("enough");
    void conclave.close();
    await clock.advance(2_000);
    expect(resizings).toMatchObject([{ error: "enough" }, { error: { code: "CLOSED" } }]);
  });
});

test("a grant that the store showed late, when others had come, is told to them", async () => {
  const { clock, client, backend, conclave, neighbour } = await connected();
  const permits = await takeAll(neighbour, 2);
  const shown = deferred<void>();
  // As on a store that reads a while after it wrote.
  backend.fault = async (call, proceed) => {
    const answer = await proceed();
    if (!puts(call)) return answer;
    backend.fault = (_, proceed) => proceed();
    await shown.promise;
    const reads = (call.argument as Txn).then.filter((one) => "get" in one || "list" in one);
    return { ...answer, results: [undefined, ...(await client.kv.commit({ then: reads })).results] };
  };
  const first = outcome(conclave.semaphore("a").acquire());
  await clock.advance(10);
  const behind = outcome(neighbour.semaphore("a").acquire());
  await clock.advance(10);
  await permits[0]?.release();
  shown.resolve();
  await clock.advance(10);
  expect([first.settled, behind.settled]).toEqual([true, false]);
  await permits[1]?.release();
  await clock.advance(10);
  expect(behind.value?.isHeld(), "it knows that it is the head of the line").toBe(true);
});

const steps = fc.array(
  fc.record({
    what: fc.constantFrom("acquire", "acquire", "acquire", "leave", "leave", "resize", "tryAcquire"),
    who: fc.nat({ max: 20 }),
    weight: fc.integer({ min: 1, max: 4 }),
  }),
  { maxLength: 40 },
);

/** One in the line of the model, which grants at once what is to be granted. */
interface Placed {
  readonly weight: number;
  granted: boolean;
}

function grantAll(line: readonly Placed[], limit: number): void {
  let taken = 0;
  for (const one of line) {
    taken += one.weight;
    one.granted ||= taken <= limit;
  }
}

test.each(["strong", "weak"] as const)("grants just what a line for permits grants (%s)", async (mode) => {
  await fc.assert(
    fc.asyncProperty(steps, fc.nat(), async (steps, seed) => {
      const { clock, other, conclave, neighbour } = await connected({ mode, seed });
      const pools = [conclave.semaphore("a"), neighbour.semaphore("a")] as const;
      let limit = 4;
      await pools[0].resize(limit);
      // Far less than what a waiter's slow second look takes.
      const settle = () => clock.advance(ttlMs / 40);
      const line: (Placed & { controller: AbortController; permit: ReturnType<typeof outcome<Permit>> })[] = [];
      const taken = () => line.reduce((sum, { weight }) => sum + weight, 0);
      for (const { what, who, weight } of steps) {
        const pool: Semaphore = pools[who % 2] as Semaphore;
        const one = line[who % Math.max(1, line.length)];
        if (what === "acquire" && weight <= limit) {
          const controller = new AbortController();
          const permit = outcome(pool.acquire({ weight, signal: controller.signal }));
          line.push({ weight, granted: false, controller, permit });
        } else if (what === "tryAcquire" && weight <= limit) {
          const tried = outcome(pool.tryAcquire({ weight }));
          await settle();
          expect([tried.settled, tried.value !== undefined]).toEqual([true, taken() + weight <= limit]);
          await tried.value?.release();
        } else if (what === "resize") {
          limit = 1 + (who % 8);
          void pool.resize(limit);
        } else if (one && what === "leave") {
          line.splice(line.indexOf(one), 1);
          if (one.granted) void one.permit.value?.release();
          else one.controller.abort("enough");
        }
        grantAll(line, limit);
        await settle();
        expect(line.map(({ permit }) => permit.settled)).toEqual(line.map(({ granted }) => granted));
        expect(await pool.available()).toBe(Math.max(0, limit - taken()));
      }
      for (const { controller, permit } of line) permit.value ? void permit.value.release() : controller.abort("over");
      await settle();
      expect(await keys(other)).toEqual(["semaphore/a/limit"]);
    }),
    { numRuns: 60 },
  );
});

describeJunk({
  semaphore: (c, one, other) => c.semaphore(one, other),
  "semaphore.acquire": (c, one, other) => c.semaphore(one).acquire({ ...object(other), wrong: 1 }),
  "semaphore.tryAcquire": (c, one, other) => c.semaphore(one).tryAcquire({ ...object(other), wrong: 1 }),
  "semaphore.run": (c, one, other) => c.semaphore("a").run(text(one), other),
  "semaphore.resize": (c, one, other) => c.semaphore("a").resize(typeof one === "number" ? -Math.abs(one) : one, other),
  "semaphore.limit": (c, one, other) => c.semaphore(one).limit(other),
  "semaphore.available": (c, one, other) => c.semaphore(one).available(other),
  "semaphore.queue": (c, one, other) => c.semaphore(one).queue(other),
});

/** What is refused: the call, the error, and what its message must say. */
const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  ["no name", (c) => c.semaphore(), TypeError, /name of the semaphore must be a string, not undefined/],
  ["an empty name", (c) => c.semaphore(""), RangeError, /name of the semaphore.*at least one character/],
  [
    "a prefix that leaves a key no room",
    (c) => c.semaphore({ prefix: `${"x".repeat(456)}/` }),
    RangeError,
    /prefix of the semaphore must be at most 456 bytes of UTF-8 in this namespace, not 457/,
  ],
  ["options", (c) => c.semaphore("a", 5), TypeError, /options of semaphore must be an object, not 5/],
  ["an option", (c) => c.semaphore("a", { max: 5 }), TypeError, /semaphore has no option "max"; it takes limit/],
  ["a limit", (c) => c.semaphore("a", { limit: "5" }), TypeError, /limit of the semaphore must be a number, not "5"/],
  ["a limit of 0", (c) => c.semaphore("a", { limit: 0 }), RangeError, /from 1 to 1000000000, not 0/],
  ["a limit of 1.5", (c) => c.semaphore("a", { limit: 1.5 }), RangeError, /limit of the semaphore.*not 1.5/],
  ["a limit without end", (c) => c.semaphore("a", { limit: Infinity }), RangeError, /limit of.*not Infinity/],
  [
    "a weight",
    (c) => c.semaphore("a").acquire({ weight: "2" }),
    TypeError,
    /weight of acquire must be a number, not "2"/,
  ],
  [
    "a weight of 0",
    (c) => c.semaphore("a").acquire({ weight: 0 }),
    RangeError,
    /weight of acquire must be a whole number/,
  ],
  [
    "a weight of NaN",
    (c) => c.semaphore("a").tryAcquire({ weight: Number.NaN }),
    RangeError,
    /weight of tryAcquire.*NaN/,
  ],
  ["an option of acquire", (c) => c.semaphore("a").acquire({ timeoutMs: 5 }), TypeError, /acquire has no option/],
  ["work", (c) => c.semaphore("a").run(), TypeError, /work of run must be a function, not undefined/],
  ["a weight of run", (c) => c.semaphore("a").run(() => {}, { weight: -1 }), RangeError, /weight of run.*not -1/],
  ["a new limit", (c) => c.semaphore("a").resize(), TypeError, /limit of resize must be a number, not undefined/],
  ["a new limit of -1", (c) => c.semaphore("a").resize(-1), RangeError, /limit of resize.*not -1/],
  ["an option of resize", (c) => c.semaphore("a").resize(2, { weight: 1 }), TypeError, /resize has no option "weight"/],
  ["an option of limit", (c) => c.semaphore("a").limit({ limit: 1 }), TypeError, /limit has no option "limit"/],
  ["an option of available", (c) => c.semaphore("a").available(5), TypeError, /options of available must be an object/],
  ["a signal of queue", (c) => c.semaphore("a").queue({ signal: 5 }), TypeError, /signal of queue/],
];

test.each(wrong)("refuses, and writes nothing for, %s that cannot be meant", async (_, call, type, message) => {
  const { backend, other } = await world();
  await using conclave = await connect(backend);
  const error = await (async () => call(conclave))().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(type);
  expect((error as Error).message).toMatch(message);
  expect([await keys(other), backend.count("grant"), backend.count("commit")]).toEqual([[], 0, 0]);
});

test("takes, sets and shows nothing on an aborted signal", async () => {
  const { conclave, other } = await connected();
  const pool = conclave.semaphore("a", { limit: 2 });
  const options = { signal: AbortSignal.abort("enough") };
  for (const way of ["acquire", "tryAcquire", "limit", "available", "queue"] as const)
    await expect(pool[way](options)).rejects.toBe("enough");
  await expect(pool.run(() => {}, options)).rejects.toBe("enough");
  await expect(pool.resize(3, options)).rejects.toBe("enough");
  expect(await keys(other)).toEqual([]);
});
