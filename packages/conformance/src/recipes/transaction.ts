import type { Conclave, Transaction } from "@conclave/core";
import { decode, encode, seededRandom, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { put, remove, texts, write } from "../entries.ts";
import { Astray, type Fate, fateOf } from "./counter.ts";
import { deathMs, rejection, start, startMany, startPair, within } from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { startForgetful } from "./strays.ts";
import { closeAll, seeds } from "./under-jitter.ts";

async function textAt(tx: Transaction, key: string): Promise<string | undefined> {
  const value = await tx.get(key);
  return value && decode(value);
}

async function numberAt(tx: Transaction, key: string): Promise<number> {
  return Number((await textAt(tx, key)) ?? 0);
}

function putNumber(tx: Transaction, key: string, number: number): void {
  tx.put(key, encode(String(number)));
}

/** Moves an amount from one account to another, and notes that under a name of its own. */
function transfer(
  { conclave }: { conclave: Conclave },
  name: string,
  from: string,
  to: string,
  amount: number,
  signal?: AbortSignal,
) {
  return conclave.transact(
    async (tx) => {
      putNumber(tx, from, (await numberAt(tx, from)) - amount);
      putNumber(tx, to, (await numberAt(tx, to)) + amount);
      tx.put(`note/${name}`, encode(JSON.stringify({ from, to, amount })));
    },
    { signal },
  );
}

const accounts = ["account/a", "account/b", "account/c"];

/** Functions whose reads and writes are one step. */
export function transactions(suite: Suite): void {
  suite.it("sees its own writes, and shows them to others all at once or not at all", async ({ kv }, scene) => {
    const { conclave } = await start(scene);
    await write(kv, { "a/1": "1", "a/2": "2" });
    const seen = await conclave.transact(async (tx) => {
      tx.put("a/3", encode("3"));
      tx.delete("a/1");
      expect(await texts(kv, "a/")).toEqual({ "a/1": "1", "a/2": "2" });
      return [await textAt(tx, "a/1"), await textAt(tx, "a/3"), (await tx.list("a/")).map(({ key }) => key)];
    });
    expect(seen).toEqual([undefined, "3", ["a/2", "a/3"]]);
    expect(await texts(kv, "a/")).toEqual({ "a/2": "2", "a/3": "3" });
  });

  suite.it("loses no update of several processes", async ({ kv }, scene) => {
    const processes = await startMany(scene, 3);
    const increment = ({ conclave }: { conclave: Conclave }) =>
      conclave.transact(async (tx) => putNumber(tx, "n", (await numberAt(tx, "n")) + 1));
    await Promise.all(
      processes.map(async (process) => {
        for (let round = 0; round < 5; round++) await increment(process);
      }),
    );
    expect(await texts(kv, "n")).toEqual({ n: "15" });
  });

  /** In the first attempt of a transaction that reads and then writes, something happens in between. */
  const interfered = async (
    conclave: Conclave,
    read: (tx: Transaction) => Promise<unknown>,
    interfere: () => Promise<unknown>,
  ): Promise<unknown[]> => {
    const seen: unknown[] = [];
    await conclave.transact(async (tx) => {
      seen.push(await read(tx));
      if (seen.length === 1) await interfere();
      putNumber(tx, "attempts", seen.length);
    });
    return seen;
  };

  suite.it("is done anew when what it read was changed, deleted, created, or changed back", async ({ kv }, scene) => {
    const { conclave } = await start(scene);
    const read = (tx: Transaction) => textAt(tx, "key");
    expect(await interfered(conclave, read, () => write(kv, { key: "1" }))).toEqual([undefined, "1"]);
    expect(await interfered(conclave, read, () => write(kv, { key: "2" }))).toEqual(["1", "2"]);
    const back = () => remove(kv, "key").then(() => write(kv, { key: "2" }));
    expect(await interfered(conclave, read, back)).toEqual(["2", "2"]);
    expect(await interfered(conclave, read, () => remove(kv, "key"))).toEqual(["2", undefined]);
    expect(await interfered(conclave, read, () => write(kv, { "key/below": "", kez: "" }))).toEqual([undefined]);
  });

  suite.it("is done anew when what it listed has more, fewer or other entries", async ({ kv }, scene) => {
    const { conclave } = await start(scene);
    const read = async (tx: Transaction) =>
      (await tx.list("a/")).map(({ key, value }) => `${key}:${decode(value)}`).join();
    expect(await interfered(conclave, read, () => write(kv, { "a/1": "1" }))).toEqual(["", "a/1:1"]);
    expect(await interfered(conclave, read, () => write(kv, { "a/2": "2" }))).toEqual(["a/1:1", "a/1:1,a/2:2"]);
    expect(await interfered(conclave, read, () => write(kv, { "a/2": "3" }))).toEqual(["a/1:1,a/2:2", "a/1:1,a/2:3"]);
    expect(await interfered(conclave, read, () => remove(kv, "a/1"))).toEqual(["a/1:1,a/2:3", "a/2:3"]);
    expect(await interfered(conclave, read, () => write(kv, { a: "", "b/1": "" }))).toEqual(["a/2:3"]);
  });

  suite.it("is done anew whatever its function makes of a change that it saw", async ({ kv }, scene) => {
    const { conclave } = await start(scene);
    let calls = 0;
    const seen = await conclave.transact(async (tx) => {
      calls += 1;
      const before = await textAt(tx, "key");
      if (calls === 1) await write(kv, { key: "changed" });
      await tx.get("other").catch(() => {});
      tx.put("calls", encode(String(calls)));
      return before;
    });
    expect([seen, calls, await texts(kv, "calls")]).toEqual(["changed", 2, { calls: "2" }]);
    const looked = await conclave.transact(async (tx) => {
      calls += 1;
      const before = await textAt(tx, "key");
      if (calls === 3) await write(kv, { key: "changed again" });
      return tx.get("other").then(
        () => before,
        () => "what is no answer",
      );
    });
    expect([looked, calls]).toEqual(["changed again", 4]);
  });

  suite.it("is applied once when the answer is lost, and its function called once", async ({ kv }, scene) => {
    const { conclave, store } = await startForgetful(scene);
    let calls = 0;
    store.loseNext(() => write(kv, { n: "100" }));
    await conclave.transact(async (tx) => {
      calls += 1;
      putNumber(tx, "n", (await numberAt(tx, "n")) + 1);
    });
    expect([calls, await texts(kv, "n")]).toEqual([1, { n: "100" }]);
  });

  suite.it("never is skewed: of two that each go if the other stays, one stays", async ({ kv }, scene) => {
    const [one, other] = await startPair(scene);
    for (let round = 0; round < 4; round++) {
      await write(kv, { "on-call/one": "", "on-call/other": "" });
      const go = ({ conclave }: typeof one, name: string, look: (tx: Transaction) => Promise<boolean>) =>
        conclave.transact(async (tx) => {
          if (await look(tx)) tx.delete(`on-call/${name}`);
        });
      const byList = async (tx: Transaction) => (await tx.list("on-call/")).length === 2;
      const byKey = async (tx: Transaction) => (await tx.get("on-call/one")) !== undefined;
      await Promise.all([go(one, "one", byList), go(other, "other", byKey)]);
      expect(Object.keys(await texts(kv, "on-call/"))).toHaveLength(1);
      await remove(kv, "on-call/one", "on-call/other");
    }
  });

  suite.it("gives one of many what is free, found by a list, to one alone", async ({ kv }, scene) => {
    const processes = await startMany(scene, 4);
    const book = ({ conclave }: { conclave: Conclave }, guest: number) =>
      conclave.transact(async (tx) => {
        if ((await tx.list("room/")).length > 0) return false;
        tx.put(`room/${guest}`, encode(""));
        return true;
      });
    const booked = await Promise.all(processes.map(book));
    expect(booked.filter((one) => one)).toHaveLength(1);
    expect(Object.keys(await texts(kv, "room/"))).toHaveLength(1);
  });

  suite.it(
    "never shows a function what never was together, not even in an attempt that fails",
    async ({ kv, clock }, scene) => {
      const [one, other] = await startPair(scene);
      const reader = await start(scene);
      await write(kv, { "account/a": "50", "account/b": "50", "account/c": "0" });
      const sums: number[] = [];
      let calledAgain = false;
      let moving = true;
      // There and back, until the reader was in the way once.
      const moves = Promise.all(
        [one, other].map(async (process, index) => {
          for (let round = 0; round < 5 || !calledAgain; round++) {
            await transfer(process, `${index}-there-${round}`, "account/a", "account/b", 1);
            await transfer(process, `${index}-back-${round}`, "account/b", "account/a", 1);
            await sleep(clock, clock.random());
          }
        }),
      ).finally(() => {
        moving = false;
      });
      while (moving) {
        let calls = 0;
        await reader.conclave.transact(async (tx) => {
          calls += 1;
          calledAgain ||= calls > 1;
          const first = await numberAt(tx, "account/a");
          await sleep(clock, clock.random());
          const seen = first + (await numberAt(tx, "account/b"));
          sums.push(seen);
          const listed = await tx.list("account/");
          sums.push(listed.reduce((sum, { value }) => sum + Number(decode(value)), 0));
        });
      }
      await moves;
      expect(new Set(sums)).toEqual(new Set([100]));
      expect(await texts(kv, "account/")).toEqual({ "account/a": "50", "account/b": "50", "account/c": "0" });
    },
  );

  suite.it(
    "is applied exactly as it says, whatever fails and however late writes arrive",
    async ({ kv, clock }, scene) => {
      const astray = new Astray(scene);
      for (const seed of seeds(scene)) {
        const random = seededRandom(seed);
        const among = <T>(all: readonly T[]) => all[Math.floor(random() * all.length)] as T;
        await kv.commit({ then: accounts.map((account) => put(account, "100")) });
        const processes = await astray.startMany(seed, 3);
        const fates = new Map<string, Fate>();
        await Promise.all(
          processes.map(async (process, index) => {
            for (let round = 0; round < 3; round++) {
              const from = among(accounts);
              const to = among(accounts.filter((account) => account !== from));
              const controller = new AbortController();
              using _ = clock.after(random() * scene.timing.ttlMs, () => controller.abort(new Error("long enough")));
              const name = `${seed}-${index}-${round}`;
              const { signal } = controller;
              fates.set(name, await fateOf(transfer(process, name, from, to, 1 + Math.floor(random() * 20), signal)));
            }
          }),
        );
        await closeAll(processes);
        const notes = await texts(kv, `note/${seed}-`);
        for (const [name, fate] of fates)
          if (fate !== "unknown") expect(`note/${name}` in notes, `${name} was ${fate}`).toBe(fate === "made");
        const wanted = new Map(accounts.map((account) => [account, 100]));
        for (const { from, to, amount } of Object.values(notes).map((note) => JSON.parse(note))) {
          wanted.set(from, (wanted.get(from) as number) - amount);
          wanted.set(to, (wanted.get(to) as number) + amount);
        }
        const now = Object.entries(await texts(kv, "account/")).map(([account, text]) => [account, Number(text)]);
        expect(now, `seed ${seed}`).toEqual([...wanted]);
      }
      astray.expectTrouble();
    },
  );

  suite.it("is never tried again while nobody knows what became of it", async (backend, scene) => {
    const { conclave, store, link } = await startForgetful(scene, { ttlMs: scene.timing.ttlMs });
    let calls = 0;
    await conclave.session();
    const lost = rejection(
      conclave.transact(async (tx) => {
        calls += 1;
        putNumber(tx, "n", (await numberAt(tx, "n")) + 1);
        store.loseNext(() => link.cut());
      }),
    );
    expect(await within(backend, 2 * deathMs(scene), lost)).toMatchObject({ code: "OUTCOME_UNKNOWN" });
    expect([calls, await texts(backend.kv, "n")]).toEqual([1, { n: "1" }]);
  });

  suite.it("gives up after as many attempts as it may have, and writes nothing", async ({ kv }, scene) => {
    const { conclave } = await start(scene);
    let calls = 0;
    const losing = conclave.transact(
      async (tx) => {
        await tx.get("key");
        await write(kv, { key: String(++calls) });
        tx.put("never", encode(""));
      },
      { attempts: 3 },
    );
    expect(await rejection(losing)).toMatchObject({ code: "UNAVAILABLE" });
    expect([calls, Object.keys(await texts(kv, "never"))]).toEqual([3, []]);
  });

  suite.it("ends when its signal aborts, also between attempts, and writes nothing", async ({ kv }, scene) => {
    const { conclave } = await start(scene);
    const controller = new AbortController();
    const reason = new Error("enough");
    let calls = 0;
    const losing = conclave.transact(
      async (tx) => {
        await tx.get("key");
        await write(kv, { key: String(++calls) });
        if (calls === 3) controller.abort(reason);
        tx.put("never", encode(""));
      },
      { signal: controller.signal },
    );
    expect(await rejection(losing)).toBe(reason);
    expect([calls, await texts(kv, "never")]).toEqual([3, {}]);
  });

  suite.it("writes nothing when its function throws, and throws the same", async ({ kv }, scene) => {
    const { conclave } = await start(scene);
    const failure = new Error("no");
    const failing = conclave.transact(async (tx) => {
      putNumber(tx, "n", (await numberAt(tx, "n")) + 1);
      throw failure;
    });
    expect(await rejection(failing)).toBe(failure);
    expect(await texts(kv, "n")).toEqual({});
  });

  suite.it("takes as much as fits one commit, and refuses more", async ({ kv, limits }, scene) => {
    const { conclave } = await start(scene);
    const most = limits.maxOperations - 1;
    const fillUp = (count: number) =>
      conclave.transact((tx) => {
        for (let index = 0; index < count; index++) tx.put(`n/${index}`, encode(""));
      });
    expect(await rejection(fillUp(most + 1))).toBeInstanceOf(RangeError);
    await fillUp(most);
    expect(await rejection(conclave.transact((tx) => tx.list("n/")))).toBeInstanceOf(RangeError);
    await remove(kv, "n/0");
    await conclave.transact(async (tx) => {
      for (const { key } of await tx.list("n/")) tx.delete(key);
    });
    expect(await texts(kv, "n/")).toEqual({});
  });

  suite.it("leaves none of its own keys behind", async ({ kv }, scene) => {
    const { conclave } = await start(scene);
    await conclave.transact((tx) => tx.put("mine", encode("")));
    await conclave.close();
    expect(await texts(kv)).toEqual({ mine: "" });
  });

  suite.it(
    "takes a commit for each read, one for all that are asked for at once, and one to write",
    async (_backend, scene) => {
      const { conclave, counted } = await startCounted(scene);
      const reads = (tx: Transaction) => Promise.all([tx.get("a"), tx.list("b/"), tx.get("c")]);
      const inTurn = async (tx: Transaction) => {
        await tx.get("a");
        await tx.list("b/");
        await tx.get("b/1");
        await tx.get("a");
      };
      expect((await cost(counted, () => conclave.transact(inTurn)))[0]).toEqual({ commit: 2 });
      expect((await cost(counted, () => conclave.transact(reads)))[0]).toEqual({ commit: 1 });
      const writing = async (tx: Transaction) => {
        await inTurn(tx);
        tx.put("d", encode(""));
      };
      expect((await cost(counted, () => conclave.transact(writing)))[0]).toEqual({ commit: 3 });
      expect((await cost(counted, () => conclave.transact((tx) => tx.put("d", encode("")))))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => conclave.transact(() => {})))[0]).toEqual({});
    },
  );
}
