import { type Conclave, connect, type Hold, type LockMode, type WriteHold } from "@conclave/core";
import type { Txn } from "@conclave/core/backend";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { describeJunk, object, text } from "./junk.ts";
import {
  type Any,
  deferred,
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

describe("a lock with readers and writers", () => {
  test("keeps readers and writers below prefixes of their own, and says what for and whose", async () => {
    const { backend, other } = await world();
    const conclave = await connect(backend, { owner: "till 1" });
    const lock = conclave.rwLock("a/b");
    const reader = await lock.read();
    expect(reader.key).toMatch(/^rwlock\/a%2Fb\/r\//);
    await reader.release();
    const writer = await lock.write();
    expect(writer.key).toMatch(/^rwlock\/a%2Fb\/w\//);
    expect(await lock.queue()).toMatchObject([{ owner: "till 1", mode: "write", token: writer.token }]);
    expect(await keys(other)).toEqual([writer.key]);
  });

  test.each(["read", "write", "tryRead", "tryWrite"] as const)(
    "is held by %s once, on one key, when answers are lost",
    async (way) => {
      const { clock, backend, other, conclave } = await connected();
      backend.fault = losingAnswers(puts, 3);
      const acquiring = outcome<Hold | undefined>(conclave.rwLock("a")[way]());
      await clock.advance(2_000);
      expect(acquiring.value?.isHeld()).toBe(true);
      expect(await keys(other)).toEqual([acquiring.value?.key]);
      await acquiring.value?.release();
      expect(await keys(other)).toEqual([]);
    },
  );

  test("treats what another program put among the writers as a writer, and among the readers as a reader", async () => {
    const { clock, other, conclave } = await connected();
    await put(other, "rwlock/a/w/0587854cd2f3a102", "reading");
    const reading = outcome(conclave.rwLock("a").read());
    await clock.advance(10);
    expect(reading.settled).toBe(false);
    await remove(other, "rwlock/a/w/0587854cd2f3a102");
    await clock.advance(0);
    expect(reading.value?.isHeld()).toBe(true);
    await put(other, "rwlock/a/r/0587854cd2f3a102", "write");
    expect((await conclave.rwLock("a").queue()).map(({ mode }) => mode)).toEqual(["read", "read"]);
    expect((await conclave.rwLock("a").tryRead())?.isHeld()).toBe(true);
    expect(await conclave.rwLock("a").tryWrite()).toBeUndefined();
  });
});

describe("downgrading", () => {
  test("whose answers are lost lets readers in once, and keeps the key's incarnation", async () => {
    const { clock, backend, other, conclave, neighbour } = await connected();
    const hold = await conclave.rwLock("a").write();
    const reading = outcome(neighbour.rwLock("a").read());
    const writing = outcome(neighbour.rwLock("a").write());
    await clock.advance(10);
    const created = (await other.kv.get(hold.key))?.created;
    backend.fault = losingAnswers(puts, 2);
    const downgrading = outcome(hold.downgrade());
    expect(hold.mode, "from the moment it is asked for").toBe("read");
    await clock.advance(2_000);
    expect([downgrading.settled, downgrading.error]).toEqual([true, undefined]);
    expect([reading.settled, writing.settled]).toEqual([true, false]);
    expect((await other.kv.get(hold.key))?.created).toBe(created);
  });

  test("that the store surely refused leaves the lock held to write", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const hold = await conclave.rwLock("a").write();
    const reading = outcome(neighbour.rwLock("a").read());
    await clock.advance(10);
    backend.fault = async (call, proceed) => {
      if (puts(call)) throw failure("UNAVAILABLE");
      return proceed();
    };
    await expect(hold.downgrade()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    await clock.advance(10);
    expect([hold.mode, hold.isHeld(), reading.settled]).toEqual(["write", true, false]);
    backend.fault = (_, proceed) => proceed();
    await hold.downgrade();
    await clock.advance(10);
    expect([hold.mode, reading.settled]).toEqual(["read", true]);
  });

  test("twice at once lets readers in though one of them is refused", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const hold = await conclave.rwLock("a").write();
    const reading = outcome(neighbour.rwLock("a").read());
    await clock.advance(10);
    const applied = deferred<void>();
    backend.fault = async (call, proceed) => {
      backend.fault = (_, proceed) => proceed();
      if (!puts(call)) return proceed();
      await applied.promise;
      throw failure("UNAVAILABLE");
    };
    const refused = outcome(hold.downgrade());
    await hold.downgrade();
    applied.resolve();
    await clock.advance(10);
    expect(refused.error).toMatchObject({ code: "UNAVAILABLE" });
    expect([hold.mode, reading.settled]).toEqual(["read", true]);
  });

  test("that is given up while its outcome is unknown reads on, and can be done again", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const hold = await conclave.rwLock("a").write();
    const reading = outcome(neighbour.rwLock("a").read());
    await clock.advance(10);
    backend.fault = async (call, proceed) => {
      if (puts(call)) throw failure("OUTCOME_UNKNOWN");
      return proceed();
    };
    const controller = new AbortController();
    const downgrading = outcome(hold.downgrade({ signal: controller.signal }));
    await clock.advance(500);
    controller.abort("enough");
    await clock.advance(0);
    expect([downgrading.error, hold.mode, hold.isHeld()]).toEqual(["enough", "read", true]);
    await expect(hold.downgrade({ signal: AbortSignal.abort("at once") })).rejects.toBe("at once");
    backend.fault = (_, proceed) => proceed();
    await hold.downgrade();
    await clock.advance(10);
    expect(reading.value?.isHeld()).toBe(true);
  });

  test("that arrives after the release makes no key", async () => {
    const { clock, client, backend, other, conclave } = await connected();
    const hold = await conclave.rwLock("a").write();
    const late: (() => Promise<unknown>)[] = [];
    backend.fault = async (call, proceed) => {
      if (!puts(call) || late.length === 2) return proceed();
      late.push(() => client.kv.commit(call.argument as Txn));
      throw failure("OUTCOME_UNKNOWN");
    };
    const downgrading = outcome(hold.downgrade());
    await clock.advance(1);
    await hold.release();
    await clock.advance(5_000);
    await late[0]?.();
    expect(downgrading.error).toMatchObject({ code: "NOT_HELD" });
    expect(await keys(other)).toEqual([]);
  });

  test("is refused by a lock that was lost, with why it was lost when that happens meanwhile", async () => {
    const { clock, client, backend, conclave } = await connected();
    const hold = await conclave.rwLock("a").write();
    backend.fault = async (call, proceed) => {
      if (puts(call)) throw failure("OUTCOME_UNKNOWN");
      return proceed();
    };
    const downgrading = outcome(hold.downgrade());
    client.disconnect();
    await clock.advance(ttlMs);
    expect(downgrading.error).toBe(hold.signal.reason);
    await expect(hold.downgrade()).rejects.toMatchObject({ code: "NOT_HELD" });
  });
});

/** What someone may do: ask to read or write, or let go of, give up, or downgrade what the number says. */
const steps = fc.array(
  fc.record({
    what: fc.constantFrom("read", "read", "write", "leave", "leave", "downgrade", "tryRead", "tryWrite"),
    who: fc.nat({ max: 20 }),
  }),
  { maxLength: 30 },
);

/** One in the line of the model, which grants at once what is to be granted. */
interface Placed {
  mode: LockMode;
  granted: boolean;
}

function grantAll(line: readonly Placed[]): void {
  for (const [index, one] of line.entries()) {
    const older = line.slice(0, index);
    one.granted ||= one.mode === "read" ? older.every(({ mode }) => mode === "read") : older.length === 0;
  }
}

test.each(["strong", "weak"] as const)("grants just what a line of readers and writers grants (%s)", async (mode) => {
  await fc.assert(
    fc.asyncProperty(steps, fc.nat(), async (steps, seed) => {
      const { clock, conclave, neighbour } = await connected({ mode, seed });
      const locks = [conclave.rwLock("a"), neighbour.rwLock("a")] as const;
      // Far less than what a waiter's slow second look takes.
      const settle = () => clock.advance(ttlMs / 60);
      const line: (Placed & { controller: AbortController; hold: ReturnType<typeof outcome<Hold>> })[] = [];
      for (const { what, who } of steps) {
        const lock = locks[who % 2] as (typeof locks)[0];
        const one = line[who % Math.max(1, line.length)];
        if (what === "read" || what === "write") {
          const controller = new AbortController();
          const hold = outcome<Hold>(lock[what]({ signal: controller.signal }));
          line.push({ mode: what, granted: false, controller, hold });
        } else if (what === "tryRead" || what === "tryWrite") {
          const tried = outcome<Hold | undefined>(lock[what]());
          await settle();
          expect(tried.settled).toBe(true);
          const free = what === "tryWrite" ? line.length === 0 : line.every(({ mode }) => mode === "read");
          expect(tried.value !== undefined).toBe(free);
          await tried.value?.release();
        } else if (one && what === "leave") {
          line.splice(line.indexOf(one), 1);
          if (one.granted) void one.hold.value?.release();
          else one.controller.abort("enough");
        } else if (one?.granted && one.mode === "write") {
          one.mode = "read";
          void (one.hold.value as WriteHold).downgrade();
        }
        grantAll(line);
        await settle();
        expect(line.map(({ hold }) => hold.settled)).toEqual(line.map(({ granted }) => granted));
      }
    }),
    { numRuns: 40 },
  );
});

describeJunk({
  "rwLock.read": (c, one, other) => c.rwLock(one).read({ ...object(other), wrong: 1 }),
  "rwLock.write": (c, one, other) => c.rwLock(one).write({ ...object(other), wrong: 1 }),
  "rwLock.tryRead": (c, one, other) => c.rwLock(one).tryRead({ ...object(other), wrong: 1 }),
  "rwLock.tryWrite": (c, one, other) => c.rwLock(one).tryWrite({ ...object(other), wrong: 1 }),
  "rwLock.runRead": (c, one, other) => c.rwLock("a").runRead(text(one), other),
  "rwLock.runWrite": (c, one, other) => c.rwLock("a").runWrite(text(one), other),
  "rwLock.queue": (c, one, other) => c.rwLock(one).queue(other),
});

/** What is refused: the call, the error, and what its message must say. */
const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  ["no name", (c) => c.rwLock(), TypeError, /name of the rwlock must be a string, not undefined/],
  ["an empty name", (c) => c.rwLock(""), RangeError, /name of the rwlock.*at least one character/],
  [
    "a long name",
    (c) => c.rwLock("x".repeat(401)),
    RangeError,
    /name of the rwlock must be at most 400 bytes, not 401/,
  ],
  [
    "a prefix that leaves a key no room",
    (c) => c.rwLock({ prefix: `${"x".repeat(462)}/` }),
    RangeError,
    /prefix of the rwlock must be at most 462 bytes of UTF-8 in this namespace, not 463/,
  ],
  ["an option of read", (c) => c.rwLock("a").read({ timeoutMs: 5 }), TypeError, /read has no option "timeoutMs"/],
  ["an option of write", (c) => c.rwLock("a").write({ mode: 5 }), TypeError, /write has no option "mode"/],
  ["a signal", (c) => c.rwLock("a").tryRead({ signal: 5 }), TypeError, /signal of tryRead must be an AbortSignal/],
  ["options", (c) => c.rwLock("a").tryWrite("now"), TypeError, /options of tryWrite must be an object/],
  ["work", (c) => c.rwLock("a").runRead(), TypeError, /work of runRead must be a function, not undefined/],
  ["work to write", (c) => c.rwLock("a").runWrite("x"), TypeError, /work of runWrite must be a function, not "x"/],
  ["an option of queue", (c) => c.rwLock("a").queue({ limit: 5 }), TypeError, /queue has no option "limit"/],
];

test.each(wrong)("refuses, and writes nothing for, %s that cannot be meant", async (_, call, type, message) => {
  const { backend, other } = await world();
  await using conclave = await connect(backend);
  const error = await (async () => call(conclave))().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(type);
  expect((error as Error).message).toMatch(message);
  expect([await keys(other), backend.count("grant"), backend.count("commit")]).toEqual([[], 0, 0]);
});

test("refuses options of downgrade that cannot be meant, and takes nothing on an aborted signal", async () => {
  const { conclave, other } = await connected();
  const lock = conclave.rwLock("a");
  const hold: WriteHold & Any = await lock.write();
  await expect(hold.downgrade({ mode: "read" })).rejects.toThrow(/downgrade has no option "mode"/);
  expect(hold.mode).toBe("write");
  const options = { signal: AbortSignal.abort("enough") };
  for (const way of ["read", "write", "tryRead", "tryWrite", "queue"] as const)
    await expect(lock[way](options)).rejects.toBe("enough");
  await expect(lock.runRead(() => {}, options)).rejects.toBe("enough");
  await expect(lock.runWrite(() => {}, options)).rejects.toBe("enough");
  expect(await keys(other)).toEqual([hold.key]);
});
