import { type Assignment, type Conclave, connect, type Partition, type Partitioner } from "@conclave/core";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rendezvous } from "../src/recipes/groups/partition.ts";
import { describeJunk, object } from "./junk.ts";
import { type Any, deferred, deletes, failure, keys, losingAnswers, outcome, puts, remove, world } from "./kit.ts";

const ttlMs = 9_000;
const settleMs = 100;

async function connected(options: Parameters<typeof world>[0] = {}) {
  const here = await world(options);
  const warnings: string[] = [];
  const onWarning = (warning: string) => void warnings.push(warning);
  const conclave = await connect(here.backend, { ttlMs, onWarning });
  const neighbour = await connect(here.other, { ttlMs });
  return { ...here, conclave, neighbour, warnings };
}

const sharesOf = (conclave: Conclave, partitions: number | readonly string[] = 16): Partitioner =>
  conclave.partitioner("p", { partitions });

/** Takes part, and keeps what it was told; asks for the next assignment by itself unless it is held up. */
function participant(partitioner: Partitioner) {
  const controller = new AbortController();
  const told: Assignment[] = [];
  let gate: Promise<unknown> = Promise.resolve();
  const end = outcome(
    (async () => {
      for await (const assignment of partitioner.assigned({ signal: controller.signal })) {
        told.push(assignment);
        await gate;
      }
    })(),
  );
  return {
    told,
    end,
    controller,
    holdUp: () => {
      const { promise, resolve } = deferred<void>();
      gate = promise;
      return () => resolve();
    },
    get owned(): string[] {
      return [...(told.at(-1)?.partitions.values() ?? [])].filter((one) => one.isHeld()).map(({ name }) => name);
    },
    get partitions(): Partition[] {
      return [...(told.at(-1)?.partitions.values() ?? [])];
    },
  };
}

const all = Array.from({ length: 16 }, (_, index) => String(index));
const sorted = (names: readonly string[]) => [...names].sort((one, other) => Number(one) - Number(other));

describe("a partitioner", () => {
  test("gives one member everything, in one claim for each thirty, and takes it back when it leaves", async () => {
    const { clock, backend, other, conclave } = await connected();
    const one = participant(sharesOf(conclave, 70));
    await clock.advance(settleMs);
    expect(one.owned).toHaveLength(70);
    // The member, and 30 + 30 + 10 partitions.
    expect(backend.calls.filter(puts)).toHaveLength(4);
    one.controller.abort("enough");
    await clock.advance(0);
    expect([one.end.error, await keys(other)]).toEqual(["enough", []]);
  });

  test("shares with who comes, moving to it only what becomes its own, with larger tokens", async () => {
    const { clock, conclave, neighbour } = await connected();
    const one = participant(sharesOf(conclave));
    await clock.advance(settleMs);
    const before = new Map(one.partitions.map((partition) => [partition.name, partition]));
    const two = participant(sharesOf(neighbour));
    await clock.advance(3 * settleMs);
    expect(sorted([...one.owned, ...two.owned])).toEqual(all);
    expect(one.owned.length * two.owned.length).toBeGreaterThan(0);
    for (const partition of one.partitions) expect(partition).toBe(before.get(partition.name));
    for (const { name, token } of two.partitions) {
      expect(token).toBeGreaterThan(before.get(name)?.token as bigint);
      expect(before.get(name)?.signal.reason).toMatchObject({ code: "NOT_HELD" });
    }
  });

  test("gives nothing to another before its user asks for the next assignment but one", async () => {
    const { clock, conclave, neighbour } = await connected();
    const one = participant(sharesOf(conclave));
    const release = one.holdUp();
    await clock.advance(settleMs);
    const before = one.partitions;
    const two = participant(sharesOf(neighbour));
    await clock.advance(3 * settleMs);
    // The user still works on the first assignment, though the signals say that some of it is to go.
    expect([one.told.length, two.owned]).toEqual([1, []]);
    expect(before.filter(({ signal }) => signal.aborted).length).toBeGreaterThan(0);
    const releaseSecond = one.holdUp();
    release();
    await clock.advance(3 * settleMs);
    // Now it was told what to stop, and has not said that it did.
    expect([one.told.length, two.owned]).toEqual([2, []]);
    const revoked = before.filter(({ signal }) => signal.aborted);
    expect(revoked.length).toBeGreaterThan(0);
    for (const partition of revoked) {
      const guarded = partition.guard({ then: [{ put: `done/${partition.name}`, value: new Uint8Array() }] });
      expect((await conclave.kv.commit(guarded)).succeeded).toBe(true);
    }
    releaseSecond();
    await clock.advance(3 * settleMs);
    expect(two.owned).toEqual(revoked.map(({ name }) => name));
  });

  test("lets a user give a partition back sooner, and gives it again what is still its own", async () => {
    const { clock, conclave } = await connected();
    const one = participant(sharesOf(conclave));
    await clock.advance(settleMs);
    const [first] = one.partitions as [Partition];
    await first.release();
    await clock.advance(settleMs);
    expect(one.told.map(({ partitions }) => partitions.size)).toEqual([16, 15, 16]);
    expect(one.partitions[0]?.token).toBeGreaterThan(first.token);
  });

  test("gives a dead member's partitions to the others, when its lease has ended", async () => {
    const { clock, client, conclave, neighbour } = await connected();
    const [one, two] = [participant(sharesOf(conclave)), participant(sharesOf(neighbour))];
    await clock.advance(5 * settleMs);
    expect(sorted([...one.owned, ...two.owned])).toEqual(all);
    const before = two.owned;
    client.disconnect();
    await clock.advance(ttlMs / 2);
    expect(two.owned).toEqual(before);
    await clock.advance(ttlMs);
    expect([one.owned, sorted(two.owned)]).toEqual([[], all]);
    client.reconnect();
    await clock.advance(ttlMs);
    expect(one.owned.length).toBeGreaterThan(0);
    expect(sorted([...one.owned, ...two.owned])).toEqual(all);
  });

  test("claims nothing twice though answers are lost, and leaves nothing when it ends meanwhile", async () => {
    const { clock, backend, other, conclave, neighbour } = await connected();
    const one = participant(sharesOf(conclave));
    backend.fault = losingAnswers(puts, 4);
    await clock.advance(2_000);
    expect(sorted(one.owned)).toEqual(all);
    one.controller.abort("enough");
    await clock.advance(0);
    expect(await keys(other)).toEqual([]);
    const two = participant(sharesOf(conclave));
    let joined = false;
    backend.fault = async (call, proceed) => {
      const answer = await proceed();
      if (puts(call) && joined) throw failure("OUTCOME_UNKNOWN");
      joined ||= puts(call);
      return answer;
    };
    await clock.advance(settleMs);
    two.controller.abort("enough");
    await clock.advance(0);
    backend.fault = (_, proceed) => proceed();
    await clock.advance(2_000);
    expect([two.end.error, await keys(other)]).toEqual(["enough", []]);
    const three = participant(sharesOf(neighbour));
    await clock.advance(settleMs);
    expect(three.owned).toHaveLength(16);
  });

  test("is not stopped by a claim that arrives late, after its member gave the partition back", async () => {
    const { clock, backend, other, conclave, neighbour } = await connected();
    const late: (() => Promise<unknown>)[] = [];
    backend.fault = async (call, proceed) => {
      if (puts(call)) late.push(proceed);
      return proceed();
    };
    const one = participant(sharesOf(conclave));
    await clock.advance(settleMs);
    const two = participant(sharesOf(neighbour));
    await clock.advance(5 * settleMs);
    const before = [sorted(one.owned), sorted(two.owned)];
    two.controller.abort("enough");
    await clock.advance(5 * settleMs);
    const three = participant(sharesOf(neighbour));
    await clock.advance(5 * settleMs);
    for (const send of late) await send().catch(() => {});
    await clock.advance(5 * settleMs);
    expect(sorted([...one.owned, ...three.owned])).toEqual(all);
    expect(before.flat()).toHaveLength(16);
    one.controller.abort("enough");
    three.controller.abort("enough");
    await clock.advance(settleMs);
    for (const send of late) await send().catch(() => {});
    await clock.advance(2_000);
    // Who is no member claims nothing: only the kept key itself can come late, and goes with what the leaver watches for.
    expect((await keys(other)).filter((key) => key.includes("/owner/"))).toEqual([]);
  });

  test("loses a partition whose key is deleted by hand, and claims it anew", async () => {
    const { clock, other, conclave } = await connected();
    const one = participant(sharesOf(conclave, ["a", "b"]));
    await clock.advance(settleMs);
    const [a, b] = one.partitions as [Partition, Partition];
    await remove(other, "partitioner/p/owner/a");
    await clock.advance(ttlMs / 3);
    expect([a.signal.reason?.code, b.signal.aborted, one.owned]).toEqual(["LEASE_LOST", false, ["a", "b"]]);
    expect(one.partitions[0]?.token).toBeGreaterThan(a.token);
    await remove(
      other,
      "partitioner/p/member/".concat((await keys(other, "partitioner/p/member/"))[0]?.slice(21) ?? ""),
    );
    await clock.advance(ttlMs);
    expect(one.owned).toEqual(["a", "b"]);
  });

  test("ends with what the store refuses for good", async () => {
    const { clock, backend, other, conclave } = await connected();
    let commits = 0;
    backend.fault = async (call, proceed) => {
      if (puts(call) && ++commits > 1) throw failure("DENIED");
      return proceed();
    };
    const one = participant(sharesOf(conclave));
    await clock.advance(settleMs);
    expect(one.end.error).toMatchObject({ code: "DENIED" });
    await clock.advance(ttlMs);
    expect(await keys(other)).toEqual([]);
  });

  test("never has two owners, and in the end everything is owned, on a store that uses every freedom", async () => {
    for (let seed = 1; seed <= 5; seed++) {
      const { clock, client, store, conclave, neighbour } = await connected({ mode: "weak", seed });
      const third = await connect(await store.connect(), { ttlMs });
      const ones = [conclave, neighbour, third].map((each) => participant(sharesOf(each)));
      for (let step = 0; step < 60; step++) {
        if (clock.random() < 0.1) client.disconnect();
        if (clock.random() < 0.3) client.reconnect();
        await clock.advance(clock.random() * 1_000);
        const owned = ones.flatMap((one) => one.owned);
        expect(new Set(owned).size, `seed ${seed}`).toBe(owned.length);
      }
      client.reconnect();
      await clock.advance(3 * ttlMs);
      expect(sorted(ones.flatMap((one) => one.owned))).toEqual(all);
      for (const { controller } of ones) controller.abort("enough");
      await clock.advance(0);
    }
  });
});

describe("running work for partitions", () => {
  test("runs it once for each, waits for what is revoked to end, and then gives it back", async () => {
    const { clock, conclave, neighbour } = await connected();
    const running = new Set<string>();
    let overlaps = 0;
    const work = (delayMs: number) => async (partition: Partition) => {
      if (running.has(partition.name)) overlaps += 1;
      running.add(partition.name);
      await new Promise<void>((resolve) => partition.signal.addEventListener("abort", () => resolve()));
      await new Promise<void>((resolve) => void clock.after(delayMs, resolve));
      running.delete(partition.name);
    };
    const [one, two] = [new AbortController(), new AbortController()];
    const first = outcome(sharesOf(conclave).run(work(500), { signal: one.signal }));
    await clock.advance(settleMs);
    expect(running.size).toBe(16);
    const second = outcome(sharesOf(neighbour).run(work(0), { signal: two.signal }));
    await clock.advance(settleMs + 499);
    const left = running.size;
    expect(left).toBe(16);
    await clock.advance(500);
    expect([running.size, overlaps]).toEqual([16, 0]);
    one.abort("enough");
    await clock.advance(499);
    expect(first.settled).toBe(false);
    await clock.advance(500);
    expect([first.error, running.size, overlaps]).toEqual(["enough", 16, 0]);
    two.abort("enough");
    await clock.advance(10);
    expect([second.error, running.size]).toEqual(["enough", 0]);
  });

  test("rejects with what work throws, after all other work has ended and is given back", async () => {
    const { clock, other, conclave } = await connected();
    let ended = 0;
    const running = outcome(
      sharesOf(conclave).run(async ({ name, signal }) => {
        if (name === "3") {
          await new Promise<void>((resolve) => void clock.after(1_000, resolve));
          throw new Error("no more");
        }
        await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
        ended += 1;
      }),
    );
    await clock.advance(settleMs + 1_000);
    expect([running.error, ended, await keys(other)]).toEqual([new Error("no more"), 15, []]);
  });

  test("keeps a partition whose work returned, and warns of what fails after it was to go", async () => {
    const { clock, client, conclave, warnings } = await connected();
    const controller = new AbortController();
    const calls: string[] = [];
    const running = outcome(
      sharesOf(conclave, ["a", "b"]).run(
        async ({ name, signal }) => {
          calls.push(name);
          if (name === "a") return;
          await new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve()));
          throw new Error("too late");
        },
        { signal: controller.signal },
      ),
    );
    await clock.advance(ttlMs);
    expect(calls).toEqual(["a", "b"]);
    client.disconnect();
    await clock.advance(2 * ttlMs);
    client.reconnect();
    await clock.advance(ttlMs);
    expect(calls).toEqual(["a", "b", "a", "b"]);
    expect(warnings).toContainEqual(expect.stringContaining("the partition b was to go, work failed: Error: too late"));
    controller.abort("enough");
    await clock.advance(0);
    expect(running.error).toBe("enough");
  });
});

describe("rendezvous hashing", () => {
  const ids = fc.uniqueArray(fc.stringMatching(/^[0-9a-f]{32}$/), { minLength: 8, maxLength: 8 });
  const partitions = Array.from({ length: 256 }, (_, index) => String(index));

  test("gives none of eight members more than twice its share of 256 partitions", () => {
    fc.assert(
      fc.property(ids, (members) => {
        const counts = new Map(members.map((member) => [member, 0]));
        for (const partition of partitions) {
          const owner = rendezvous(partition, members) as string;
          counts.set(owner, (counts.get(owner) ?? 0) + 1);
        }
        expect(Math.max(...counts.values())).toBeLessThanOrEqual(64);
        expect(Math.min(...counts.values())).toBeGreaterThanOrEqual(8);
      }),
      { numRuns: 200 },
    );
  });

  test("moves only the partitions of who goes, and to who comes only its own, in whatever order they stand", () => {
    fc.assert(
      fc.property(ids, (members) => {
        const [leaver, ...rest] = members as [string, ...string[]];
        for (const partition of partitions) {
          const before = rendezvous(partition, members);
          if (before !== leaver) expect(rendezvous(partition, [...rest].reverse())).toBe(before);
        }
      }),
      { numRuns: 100 },
    );
  });
});

const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  [
    "no name",
    (c) => c.partitioner(undefined, { partitions: 1 }),
    TypeError,
    /name of the partitioner must be a string/,
  ],
  ["no options", (c) => c.partitioner("p"), TypeError, /options of partitioner must be an object with partitions/],
  ["no partitions", (c) => c.partitioner("p", {}), TypeError, /partitions must be a whole number from 1 to 10000/],
  ["half a partition", (c) => c.partitioner("p", { partitions: 0.5 }), RangeError, /partitions must be a whole number/],
  ["too many", (c) => c.partitioner("p", { partitions: 10_001 }), RangeError, /partitions must be .*not 10001/],
  ["an empty list", (c) => c.partitioner("p", { partitions: [] }), RangeError, /number of partitions must be .*not 0/],
  ["a name twice", (c) => c.partitioner("p", { partitions: ["a", "a"] }), RangeError, /different from every other/],
  [
    "a name that is none",
    (c) => c.partitioner("p", { partitions: ["a", 5] }),
    TypeError,
    /name of a partition must be/,
  ],
  ["a name too long", (c) => c.partitioner("p", { partitions: ["x".repeat(493)] }), RangeError, /at most 512 bytes/],
  ["no time to settle", (c) => c.partitioner("p", { partitions: 1, settleMs: 0 }), RangeError, /settleMs must be/],
  ["an unknown option", (c) => c.partitioner("p", { partitions: 1, x: 1 }), TypeError, /partitioner has no option "x"/],
  [
    "an option of assigned",
    (c) =>
      sharesOf(c)
        .assigned({ x: 1 } as Any)
        .next(),
    TypeError,
    /assigned has no option/,
  ],
  ["an option of run", (c) => sharesOf(c).run(() => {}, { x: 1 } as Any), TypeError, /run has no option "x"/],
  ["work that is none", (c) => sharesOf(c).run(5 as Any), TypeError, /work of run must be a function, not 5/],
];

describe("what makes no sense is refused with the reason:", () => {
  test.each(wrong)("%s", async (_, call, type, message) => {
    const conclave = await connect((await world()).backend);
    const error = await (async () => call(conclave))().catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(type);
    expect(String(error)).toMatch(message);
    await conclave.close();
  });
});

describeJunk({
  partitioner: (c, one, other) => c.partitioner(one, { partitions: other }),
  "partitioner with options": (c, one, other) => c.partitioner("p", { ...object(one), partitions: [other] }),
  "partitioner.assigned": (c, one, other) =>
    c
      .partitioner("p", { partitions: 1 })
      .assigned({ ...object(one), wrong: other })
      .next(),
  "partitioner.run": (c, one, other) => c.partitioner("p", { partitions: 1 }).run(one, { ...object(other), wrong: 1 }),
});

describe("a store that is away for deletes", () => {
  const away = (call: Any, proceed: () => Promise<Any>) =>
    deletes(call) ? Promise.reject(failure("UNAVAILABLE")) : proceed();

  test("does not get a partition back that was given back and is still to be deleted", async () => {
    const { clock, backend, conclave } = await connected();
    const one = participant(sharesOf(conclave, 1));
    await clock.advance(2 * settleMs);
    const [first] = one.partitions;
    backend.fault = away;
    await first?.release();
    await clock.advance(settleMs);
    expect(one.partitions).toEqual([]);
    backend.fault = (_, proceed) => proceed();
    await clock.advance(ttlMs);
    const [again] = one.partitions;
    expect([again?.isHeld(), (again?.token ?? 0n) > (first?.token ?? 0n)]).toEqual([true, true]);
  });

  test("keeps nothing that was claimed while its member left", async () => {
    const { clock, backend, client, other, conclave } = await connected();
    let late: (() => Promise<unknown>) | undefined;
    backend.fault = async (call, proceed) => {
      if (!puts(call) || !(call.argument as Any).then.some(({ put }: Any) => put?.includes("owner/")))
        return away(call, proceed);
      late ??= () => client.kv.commit(call.argument as Any);
      throw failure("OUTCOME_UNKNOWN");
    };
    const one = participant(sharesOf(conclave, 1));
    await clock.advance(2 * settleMs);
    one.controller.abort("enough");
    await clock.advance(settleMs);
    expect(one.end.error).toBe("enough");
    await late?.();
    expect(await keys(other, "partitioner/p/owner/")).toHaveLength(1);
    backend.fault = (_, proceed) => proceed();
    await clock.advance(2 * ttlMs);
    expect(await keys(other)).toEqual([]);
  });
});

test("taking part ends at once with its signal, also while the store is away in the middle of joining", async () => {
  const { clock, backend, conclave } = await connected();
  backend.fault = ({ name, options }, proceed) =>
    name === "list"
      ? new Promise((_, reject) => options?.signal?.addEventListener("abort", () => reject(options.signal?.reason)))
      : proceed();
  const one = participant(sharesOf(conclave));
  await clock.advance(settleMs);
  one.controller.abort("enough");
  await clock.advance(0);
  expect(one.end.error).toBe("enough");
});
