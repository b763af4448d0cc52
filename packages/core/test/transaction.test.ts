import { connect, type Transaction } from "@conclave/core";
import { decode, encode } from "@conclave/core/backend";
import fc from "fast-check";
import { afterEach, describe, expect, test } from "vitest";
import { type Any, failure, keys, losingAnswers, outcome, put, puts, remove, type World, world } from "./kit.ts";

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
const text = async (tx: Transaction, key: string) => {
  const value = await tx.get(key);
  return value && decode(value);
};
const listed = async (tx: Transaction, prefix: string) =>
  (await tx.list(prefix)).map(({ key, value }) => `${key}=${decode(value)}`);
const stored = async ({ other }: World, prefix = "") => {
  const { entries } = await other.kv.list(prefix);
  return entries.filter(({ key }) => !key.startsWith("receipts/")).map(({ key, value }) => `${key}=${decode(value)}`);
};

describe("a transaction", () => {
  test("reads, writes, deletes, and gives what its function gives", async () => {
    const all = await start();
    await put(all.other, "a", "1");
    await put(all.other, "b", "2");
    const given = await all.conclave.transact(async (tx) => {
      const [a, b, c] = [await text(tx, "a"), await text(tx, "b"), await text(tx, "c")];
      tx.put("c", encode(`${a}${b}${c}`));
      tx.delete("b");
      return "done";
    });
    expect(given).toBe("done");
    expect(await stored(all)).toEqual(["a=1", "c=12undefined"]);
  });

  test("takes a round trip for each read, and one to commit", async () => {
    const all = await start();
    await all.conclave.transact(async (tx) => {
      await tx.get("a");
      await tx.list("b/");
      await tx.get("c");
      tx.put("d", encode(""));
    });
    expect(counted(all)).toEqual(["commit", "commit", "commit", "commit"]);
  });

  test("takes no round trip for what it read, listed or wrote before, nor to end without writes", async () => {
    const all = await start();
    await put(all.other, "b/1", "1");
    await all.conclave.transact(async (tx) => {
      expect(await listed(tx, "b/")).toEqual(["b/1=1"]);
      expect([await text(tx, "b/1"), await text(tx, "b/2"), await listed(tx, "b/1")]).toEqual([
        "1",
        undefined,
        ["b/1=1"],
      ]);
      expect([await text(tx, "a"), await text(tx, "a")]).toEqual([undefined, undefined]);
    });
    expect(counted(all)).toEqual(["commit", "commit"]);
    await all.conclave.transact(async (tx) => {
      tx.put("x", encode("x"));
      expect(await text(tx, "x")).toBe("x");
      tx.delete("x");
      expect(await text(tx, "x")).toBeUndefined();
    });
    expect(counted(all)).toEqual(["commit", "commit", "commit"]);
    await all.conclave.transact(() => {});
    expect(counted(all)).toHaveLength(3);
  });

  test("shares a round trip among reads that are asked for at once", async () => {
    const all = await start();
    await put(all.other, "b/1", "1");
    const seen = await all.conclave.transact((tx) =>
      Promise.all([text(tx, "a"), listed(tx, "b/"), text(tx, "b/1"), text(tx, "a")]),
    );
    expect(seen).toEqual([undefined, ["b/1=1"], "1", undefined]);
    expect(counted(all)).toEqual(["commit"]);
  });

  test("needs no session to read", async () => {
    const all = await world();
    playing = all.clock.play();
    const conclave = await connect(all.backend);
    await conclave.transact((tx) => tx.get("a"));
    expect(all.backend.count("grant")).toBe(0);
  });

  test("sees its own writes in what it lists, by the order of the keys' bytes", async () => {
    const all = await start();
    for (const key of ["a/1", "a/2", "a/\uffff", "b"]) await put(all.other, key, "old");
    const seen = await all.conclave.transact(async (tx) => {
      tx.put("a/\u{10000}", encode("new"));
      tx.put("a/1", encode("new"));
      tx.delete("a/2");
      tx.put("a/3", encode("new"));
      tx.put("b", encode("new"));
      return listed(tx, "a/");
    });
    expect(seen).toEqual(["a/1=new", "a/3=new", "a/\uffff=old", "a/\u{10000}=new"]);
  });

  test("keeps what it read from those who change what they were given, and what it writes from who gave it", async () => {
    const all = await start();
    await put(all.other, "a/1", "old");
    await all.conclave.transact(async (tx) => {
      (await tx.get("a/1"))?.fill(0);
      for (const { value } of await tx.list("a/")) value.fill(0);
      expect([await text(tx, "a/1"), await listed(tx, "a/")]).toEqual(["old", ["a/1=old"]]);
      const value = encode("new");
      tx.put("a/2", value);
      value.fill(0);
      (await tx.get("a/2"))?.fill(0);
      for (const { value } of await tx.list("a/")) value.fill(0);
    });
    expect(await stored(all)).toEqual(["a/1=old", "a/2=new"]);
  });

  /** Runs a transaction in whose first attempt somebody else interferes between what it reads and the commit. */
  async function interfered(
    all: Awaited<ReturnType<typeof start>>,
    read: (tx: Transaction) => Promise<unknown>,
    interfere: () => Promise<unknown>,
  ): Promise<unknown[]> {
    const seen: unknown[] = [];
    await all.conclave.transact(async (tx) => {
      seen.push(await read(tx));
      if (seen.length === 1) await interfere();
      tx.put("written", encode(String(seen.length)));
    });
    return seen;
  }

  test("is done anew when a key that it read was written, deleted, created, or written the same", async () => {
    const all = await start();
    await put(all.other, "a", "1");
    const readA = (tx: Transaction) => text(tx, "a");
    expect(await interfered(all, readA, () => put(all.other, "a", "2"))).toEqual(["1", "2"]);
    expect(await interfered(all, readA, () => put(all.other, "a", "2"))).toEqual(["2", "2"]);
    expect(await interfered(all, readA, () => remove(all.other, "a"))).toEqual(["2", undefined]);
    expect(await interfered(all, readA, () => put(all.other, "a", "3"))).toEqual([undefined, "3"]);
    const anew = () => remove(all.other, "a").then(() => put(all.other, "a", "3"));
    expect(await interfered(all, readA, anew)).toEqual(["3", "3"]);
    expect(await interfered(all, readA, () => put(all.other, "b"))).toEqual(["3"]);
    expect(await stored(all, "written")).toEqual(["written=1"]);
  });

  test("is done anew when what it listed grew, shrank or changed, and not for what is beside it", async () => {
    const all = await start();
    const list = (tx: Transaction) => listed(tx, "a/");
    expect(await interfered(all, list, () => put(all.other, "a/1", "1"))).toEqual([[], ["a/1=1"]]);
    expect(await interfered(all, list, () => put(all.other, "a/2", "2"))).toHaveLength(2);
    expect(await interfered(all, list, () => put(all.other, "a/2", "2"))).toHaveLength(2);
    expect(await interfered(all, list, () => remove(all.other, "a/1"))).toEqual([["a/1=1", "a/2=2"], ["a/2=2"]]);
    expect(await interfered(all, list, () => put(all.other, "a", ""))).toHaveLength(1);
    expect(await interfered(all, list, () => put(all.other, "b/1", ""))).toHaveLength(1);
  });

  test("ends an attempt at the read that finds what was read before changed", async () => {
    const all = await start();
    await put(all.other, "x", "1");
    await put(all.other, "y", "-1");
    const seen: unknown[] = [];
    const given = await all.conclave.transact(async (tx) => {
      const x = await text(tx, "x");
      if (seen.length === 0)
        await all.other.kv.commit({ then: ["x", "y"].map((key) => ({ put: key, value: encode("0") })) });
      seen.push(["read", x]);
      const y = await text(tx, "y");
      seen.push(["both", x, y]);
      return [x, y];
    });
    expect(given).toEqual(["0", "0"]);
    expect(seen).toEqual([
      ["read", "1"],
      ["read", "0"],
      ["both", "0", "0"],
    ]);
  });

  test("is done anew whatever its function makes of that, which gets nothing more out of the attempt", async () => {
    const all = await start();
    let attempts = 0;
    const errors: unknown[] = [];
    const note = (error: unknown) => void errors.push((error as Error).name);
    const result = await all.conclave.transact(async (tx) => {
      attempts += 1;
      const before = await text(tx, "x");
      if (attempts <= 2) await put(all.other, "x", `${attempts}`);
      await tx.get("y").catch(note);
      await tx.get("x").catch(note);
      await tx.list("z").catch(note);
      try {
        tx.put("never", encode(String(attempts)));
      } catch (error) {
        note(error);
      }
      if (attempts === 2) throw new Error("of an attempt that is over");
      return before;
    });
    expect([result, attempts]).toEqual(["2", 3]);
    expect(errors).toEqual(Array(8).fill("Outdated"));
    expect(await stored(all, "never")).toEqual(["never=3"]);
  });

  test("writes nothing when its function throws, and rejects with the same", async () => {
    const all = await start();
    const failing = all.conclave.transact(async (tx) => {
      await tx.get("a");
      tx.put("a", encode("1"));
      throw new Error("no");
    });
    await expect(failing).rejects.toThrow("no");
    await expect(
      all.conclave.transact((tx) => {
        tx.delete("a");
        throw new Error("no");
      }),
    ).rejects.toThrow("no");
    expect(counted(all)).toEqual(["commit"]);
  });

  test("gives up after so many attempts, having paused between them", async () => {
    const all = await start();
    let attempts = 0;
    const before = all.clock.monotonicMs();
    const losing = all.conclave.transact(
      async (tx) => {
        attempts += 1;
        await tx.get("a");
        await put(all.other, "a", String(attempts));
        tx.put("b", encode(""));
      },
      { attempts: 7 },
    );
    await expect(losing).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining("7 attempts") });
    expect(attempts).toBe(7);
    expect(all.clock.monotonicMs()).toBeGreaterThan(before);
    expect(await stored(all, "b")).toEqual([]);
  });

  test("is applied once when answers are lost, and its function is called once", async () => {
    const all = await start();
    all.backend.fault = losingAnswers(puts, 3);
    let attempts = 0;
    await all.conclave.transact(async (tx) => {
      attempts += 1;
      tx.put("a", encode(`${(await text(tx, "a")) ?? ""}x`));
    });
    expect([attempts, await stored(all)]).toEqual([1, ["a=x"]]);
  });

  test("says that it does not know when the session ends before the store answers, and calls nothing again", async () => {
    const all = await start();
    let attempts = 0;
    all.backend.fault = async (call, proceed) => {
      if (call.name !== "keepAlive" && !puts(call)) return proceed();
      if (puts(call) && attempts === 1) await all.client.kv.commit(call.argument as Any);
      throw failure("OUTCOME_UNKNOWN");
    };
    const unknown = all.conclave.transact(async (tx) => {
      attempts += 1;
      const before = await text(tx, "a");
      tx.put("a", encode(`${before}x`));
    });
    await expect(unknown).rejects.toMatchObject({ code: "OUTCOME_UNKNOWN" });
    expect([attempts, await stored(all)]).toEqual([1, ["a=undefinedx"]]);
  });

  test.each(["UNAVAILABLE", "LEASE_LOST", "LIMIT", "DENIED"] as const)("passes on %s of its commit", async (code) => {
    const all = await start();
    all.backend.fault = async (call, proceed) => (puts(call) ? Promise.reject(failure(code)) : proceed());
    let attempts = 0;
    const failing = all.conclave.transact((tx) => {
      attempts += 1;
      tx.put("a", encode(""));
    });
    await expect(failing).rejects.toMatchObject({ code });
    expect(attempts).toBe(1);
  });

  test("passes on that a read failed, which its function may ask for again", async () => {
    const all = await start();
    let failures = 1;
    all.backend.fault = async (call, proceed) => {
      if (call.name === "commit" && failures-- > 0) throw failure("UNAVAILABLE");
      return proceed();
    };
    await expect(all.conclave.transact((tx) => tx.get("a"))).rejects.toMatchObject({ code: "UNAVAILABLE" });
    failures = 1;
    expect(await all.conclave.transact((tx) => tx.get("a").catch(() => tx.get("a")))).toBeUndefined();
  });

  test("ends with its signal: between attempts, in a read, before the commit", async () => {
    const all = await start();
    const controller = new AbortController();
    const { signal } = controller;
    const reason = new Error("enough");
    const tries: unknown[] = [];
    const run = (work: (tx: Transaction) => unknown) => all.conclave.transact(work, { signal }).catch((error) => error);
    tries.push(
      await run(async (tx) => {
        await tx.get("a");
        controller.abort(reason);
        tx.put("a", encode(""));
      }),
    );
    tries.push(await run((tx) => tx.get("a")), await run(() => {}));
    expect(tries).toEqual([reason, reason, reason]);
    expect(await stored(all)).toEqual([]);
  });

  test("ends with the conclave", async () => {
    const all = await start();
    const losing = outcome(
      all.conclave.transact(async (tx) => {
        await tx.get("a");
        await put(all.other, "a");
        tx.put("b", encode(""));
      }),
    );
    await all.clock.advance(20);
    await all.conclave.close();
    await all.clock.advance(0);
    expect(losing.error).toMatchObject({ code: "CLOSED" });
  });

  test("takes 99 reads and 99 writes, and says so of more", async () => {
    const all = await start();
    const names = (count: number) => Array.from({ length: count }, (_, index) => `a/${String(index).padStart(3, "0")}`);
    await all.conclave.transact((tx) => {
      for (const name of names(98)) tx.put(name, encode(""));
    });
    await all.conclave.transact(async (tx) => {
      for (const { key } of await tx.list("a/")) tx.delete(key);
      tx.put("one more", encode(""));
    });
    expect(await stored(all)).toEqual(["one more="]);
    await all.conclave.transact(async (tx) => {
      await Promise.all(names(99).map((name) => tx.get(name)));
      tx.put("one more", encode("2"));
      await expect(tx.get("another")).rejects.toThrow(/at most 99 entries, absent keys and prefixes/);
    });
    expect(await stored(all)).toEqual(["one more=2"]);
    const tooMany = all.conclave.transact((tx) => {
      for (const name of names(100)) tx.put(name, encode(""));
    });
    await expect(tooMany).rejects.toThrow(new RangeError("a transaction may write at most 99 keys"));
    for (const name of names(99)) await put(all.other, name);
    await expect(all.conclave.transact((tx) => tx.list("a/"))).rejects.toThrow(RangeError);
    const tooLarge = all.conclave.transact((tx) => {
      for (const name of names(3)) tx.put(name, new Uint8Array(200_000));
    });
    await expect(tooLarge).rejects.toThrow(RangeError);
  });

  test("is of no use after its function has ended, and nothing written then counts", async () => {
    const all = await start();
    let kept: Transaction | undefined;
    let late: Promise<unknown> | undefined;
    await all.conclave.transact((tx) => {
      kept = tx;
      tx.put("a", encode("1"));
      late = tx.get("b"); // not awaited
    });
    await expect(kept?.get("a")).rejects.toThrow(/^get of a transaction must be called before its function ends/);
    await expect(kept?.list("a")).rejects.toThrow(TypeError);
    expect(() => kept?.put("a", encode("2"))).toThrow(TypeError);
    expect(() => kept?.delete("a")).toThrow(TypeError);
    await late;
    expect(await stored(all)).toEqual(["a=1"]);
  });

  test("a read that nobody awaits does not end the process when it fails", async () => {
    const all = await start();
    let attempts = 0;
    await all.conclave.transact(async (tx) => {
      attempts += 1;
      await tx.get("a");
      if (attempts === 1) await put(all.other, "a");
      void tx.get("b");
      await tx.list("c").catch(() => {});
    });
    expect(attempts).toBe(2);
  });

  type Wrong = [string, (tx: Transaction & Any) => unknown, RegExp];
  test.each<Wrong>([
    ["no key", (tx) => tx.get(""), /key must be a name/],
    ["a key that is a number", (tx) => tx.get(5), /key must be a string, not 5/],
    ["a prefix that is none", (tx) => tx.list(null), /prefix must be a string, not null/],
    ["a put of no key", (tx) => tx.put("", encode("")), /key must be a name/],
    ["a put of text", (tx) => tx.put("a", "secret"), /value must be a Uint8Array, not a string/],
    [
      "a put of too much",
      (tx) => tx.put("a", new Uint8Array(600_000)),
      /value must be at most 524288 bytes, not 600000/,
    ],
    ["a delete of a long key", (tx) => tx.delete("x".repeat(513)), /key must be at most 512 bytes/],
  ])("refuses %s", async (_, work, message) => {
    const all = await start();
    const error: Any = await all.conclave.transact((tx) => work(tx)).catch((reason: unknown) => reason);
    expect(error instanceof TypeError || error instanceof RangeError).toBe(true);
    expect(error.message).toMatch(message);
    expect(await keys(all.other)).toEqual([]);
  });

  test("never is skewed: of two that each take what the other leaves, one sees the other", async () => {
    const all = await start();
    for (const doctor of ["ada", "bob"]) await put(all.other, `on call/${doctor}`);
    const leave = (conclave: typeof all.conclave, doctor: string) =>
      conclave.transact(async (tx) => {
        if ((await tx.list("on call/")).length > 1) tx.delete(`on call/${doctor}`);
      });
    await Promise.all([leave(all.conclave, "ada"), leave(all.rival, "bob")]);
    expect(await stored(all, "on call/")).toHaveLength(1);
  });
});

/** What a random transaction does, one step after another; each write says what had been seen before it. */
const step = fc.oneof(
  fc.record({ get: fc.constantFrom("a", "b", "c/1", "c/2") }),
  fc.record({ list: fc.constantFrom("", "c/", "c/1").filter((prefix) => prefix !== "") }),
  fc.record({ put: fc.constantFrom("a", "b", "c/1", "c/2") }),
  fc.record({ delete: fc.constantFrom("a", "b", "c/1", "c/2") }),
);
const script = fc.array(step, { minLength: 1, maxLength: 5 });

/** The same steps on a plain map, as if nobody else were there; what it saw, step by step. */
function replay(script: readonly Any[], state: Map<string, string>, name: string): string[] {
  const seen: string[] = [];
  for (const step of script) {
    if (step.get) seen.push(`${step.get}=${state.get(step.get)}`);
    if (step.list) {
      const found = [...state].filter(([key]) => key.startsWith(step.list)).map(([key, value]) => `${key}=${value}`);
      seen.push(found.sort().join());
    }
    if (step.put) state.set(step.put, `${name}:${seen.length}`);
    if (step.delete) state.delete(step.delete);
  }
  return seen;
}

test.each(["strong", "weak"] as const)(
  "transactions of several processes are as if one after another (%s)",
  async (mode) => {
    const processes = fc.array(fc.array(script, { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 3 });
    await fc.assert(
      fc.asyncProperty(processes, fc.nat(), async (processes, seed) => {
        const { store, clock } = await world({ mode, seed });
        using _ = clock.play();
        const conclaves = await Promise.all(processes.map(async () => connect(await store.connect())));
        const reader = await store.connect();
        const done: { name: string; script: readonly Any[]; seen: string[]; process: number }[] = [];
        await Promise.all(
          processes.map(async (scripts, process) => {
            for (const [index, script] of scripts.entries()) {
              const name = `${process}.${index}`;
              const seen = await (conclaves[process] as Any).transact(async (tx: Transaction) => {
                const seen: string[] = [];
                for (const step of script as Any[]) {
                  if (step.get) seen.push(`${step.get}=${await text(tx, step.get)}`);
                  if (step.list) seen.push((await listed(tx, step.list)).sort().join());
                  if (step.put) tx.put(step.put, encode(`${name}:${seen.length}`));
                  if (step.delete) tx.delete(step.delete);
                }
                return seen;
              });
              done.push({ name, script, seen, process });
            }
          }),
        );
        const { entries } = await reader.kv.list("");
        const last = entries.filter(({ key }) => !key.startsWith("receipts/"));
        const final = last.map(({ key, value }) => `${key}=${decode(value)}`).join();
        await Promise.all(conclaves.map((conclave) => conclave.close()));
        // Some order, in which each process's own stay in order, must give everything that was seen, and what is left.
        const explains = (state: Map<string, string>, left: typeof done): boolean => {
          if (left.length === 0)
            return (
              [...state]
                .map(([key, value]) => `${key}=${value}`)
                .sort()
                .join() === final
            );
          return left.some((next) => {
            if (left.find(({ process }) => process === next.process) !== next) return false;
            const after = new Map(state);
            const seen = replay(next.script, after, next.name);
            return (
              seen.join(";") === next.seen.join(";") &&
              explains(
                after,
                left.filter((other) => other !== next),
              )
            );
          });
        };
        expect(explains(new Map(), done), JSON.stringify({ done, final })).toBe(true);
      }),
      { numRuns: 150 },
    );
  },
);
