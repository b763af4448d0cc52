import type { Json } from "@conclave/core";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { put, remove, texts } from "../entries.ts";
import { Astray, type Fate, fateOf, lasting } from "./counter.ts";
import { Observer } from "./observer.ts";
import { rejection, start, startMany, startMortal, startPair } from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { startForgetful } from "./strays.ts";
import { closeAll, insist, seeds } from "./under-jitter.ts";

const with1 = (word: string) => (words: readonly string[] | undefined) => [...(words ?? []), word];

/** A value that processes change together. */
export function atomicValue(suite: Suite): void {
  suite.it("is what anybody set last, and nothing before and after a delete", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const [mine, theirs] = [one.conclave.atomic("a"), other.conclave.atomic("a")];
    expect(await theirs.get()).toBeUndefined();
    const revision = await mine.set({ size: 3 });
    expect(await theirs.get()).toEqual({ value: { size: 3 }, revision });
    await theirs.delete();
    expect(await mine.get()).toBeUndefined();
    await mine.delete();
  });

  suite.it("loses no update of several processes, each made of the one before", async (_backend, scene) => {
    const processes = await startMany(scene, 3);
    const results = await Promise.all(
      processes.flatMap(({ conclave }, index) => {
        const value = conclave.atomic<string[]>("a");
        return [0, 1, 2, 3].map((round) => value.update(with1(`${index}-${round}`)));
      }),
    );
    const lengths = results.map(({ value }) => value.length).sort((one, other) => one - other);
    expect(lengths).toEqual(Array.from({ length: 12 }, (_, index) => index + 1));
    const last = results.find(({ value }) => value.length === 12);
    expect(new Set(last?.value).size).toBe(12);
    expect(await processes[0]?.conclave.atomic("a").get()).toEqual(last);
  });

  suite.it(
    "is set once, and not over what others set before a lost answer is asked for again",
    async (_backend, scene) => {
      const { conclave, store } = await startForgetful(scene);
      const rival = (await start(scene)).conclave.atomic("a");
      const value = conclave.atomic<string>("a");
      for (const change of [() => value.set("mine"), () => value.update(() => "mine"), () => value.delete()]) {
        await value.get();
        store.loseNext(() => rival.set("theirs"));
        await change();
        expect((await rival.get())?.value).toBe("theirs");
      }
      store.loseNext(() => rival.set("theirs"));
      expect(await value.compareAndSet((await value.get())?.revision, "mine")).toBeDefined();
      expect((await rival.get())?.value).toBe("theirs");
    },
  );

  suite.it("is not set by a first sending that arrives when the second has failed", async (_backend, scene) => {
    const { conclave, store } = await startForgetful(scene);
    const rival = (await start(scene)).conclave.atomic("a");
    const value = conclave.atomic<string>("a");
    store.holdNext(() => rival.set("theirs"));
    expect(await value.compareAndSet(undefined, "mine")).toBeUndefined();
    await rival.delete();
    await store.arrive();
    expect(await rival.get()).toBeUndefined();
  });

  suite.it("is updated exactly once, whatever fails and however late writes arrive", async (_backend, scene) => {
    const astray = new Astray(scene);
    for (const seed of seeds(scene)) {
      const processes = await astray.startMany(seed, 3, lasting(scene));
      const name = `${seed}`;
      const words = await Promise.all(
        processes.map(async ({ conclave }, index) => {
          const value = conclave.atomic<string[]>(name);
          const own = [0, 1].map((round) => `${index}-${round}`);
          for (const word of own) await insist(() => value.update(with1(word)));
          return own;
        }),
      );
      const now = await insist(async () => processes[0]?.conclave.atomic<string[]>(name).get());
      expect([...(now?.value ?? [])].sort(), `seed ${seed}`).toEqual(words.flat().sort());
      await closeAll(processes);
    }
    astray.expectTrouble();
  });

  suite.it("keeps what it said, of processes that lose their sessions or give up", async (backend, scene) => {
    const astray = new Astray(scene);
    const reader = await start(scene);
    for (const seed of seeds(scene)) {
      const processes = await astray.startMany(seed, 3);
      const fates = new Map<string, Fate>();
      await Promise.all(
        processes.map(async ({ conclave }, index) => {
          const value = conclave.atomic<string[]>(`${seed}`);
          for (let round = 0; round < 3; round++) {
            const controller = new AbortController();
            const patienceMs = backend.clock.random() * scene.timing.ttlMs;
            using _ = backend.clock.after(patienceMs, () => controller.abort(new Error("long enough")));
            const word = `${index}-${round}`;
            fates.set(word, await fateOf(value.update(with1(word), { signal: controller.signal })));
          }
        }),
      );
      await closeAll(processes);
      const now = await reader.conclave.atomic<string[]>(`${seed}`).get();
      for (const [word, fate] of fates) {
        const times = now?.value.filter((one) => one === word).length ?? 0;
        expect(fate === "unknown" ? Math.min(times, 1) : fate === "made" ? 1 : 0, `${word}, ${fate}`).toBe(times);
      }
    }
    astray.expectTrouble();
  });

  suite.it("is set by exactly one of many who compare it with the same", async (_backend, scene) => {
    const processes = await startMany(scene, 4);
    let revision: bigint | undefined;
    for (let round = 0; round < 4; round++) {
      const set = ({ conclave }: (typeof processes)[0], index: number) =>
        conclave.atomic("a").compareAndSet(revision, index);
      const revisions = (await Promise.all(processes.map(set))).filter((one) => one !== undefined);
      expect(revisions).toHaveLength(1);
      revision = revisions[0];
    }
    expect((await processes[0]?.conclave.atomic("a").get())?.revision).toBe(revision);
  });

  suite.it("is not mistaken for what it was before it changed and changed back", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const [mine, theirs] = [one.conclave.atomic("a"), other.conclave.atomic("a")];
    const first = await mine.set("same");
    await theirs.set("other");
    await theirs.set("same");
    expect(await mine.compareAndSet(first, "mine")).toBeUndefined();
    const second = (await mine.get())?.revision;
    await theirs.delete();
    await theirs.set("same");
    expect(await mine.compareAndSet(second, "mine")).toBeUndefined();
    expect(await mine.compareAndSet(undefined, "mine")).toBeUndefined();
    expect(await theirs.get()).toMatchObject({ value: "same" });
  });

  suite.it("stays as it is when an update throws, which counts for the present value only", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const [mine, theirs] = [one.conclave.atomic<number>("a"), other.conclave.atomic<number>("a")];
    await mine.set(1);
    await theirs.set(5);
    const spend = (n = 0) => {
      if (n < 5) throw new Error("too few");
      return n - 5;
    };
    expect((await mine.update(spend)).value).toBe(0);
    expect(await rejection(mine.update(spend))).toMatchObject({ message: "too few" });
    expect((await theirs.get())?.value).toBe(0);
  });

  suite.it("is shown to who watches, whoever sets it, and whoever deletes it", async (backend, scene) => {
    const [setter, watcher] = await startPair(scene);
    const value = setter.conclave.atomic("a");
    const observer = new Observer<{ value: Json } | undefined>(watcher, scene, (signal) =>
      watcher.conclave.atomic("a").watch({ signal }),
    );
    await observer.comesTo((now) => expect(now).toBeUndefined());
    for (const text of ["one", "two"]) {
      await value.set(text);
      await observer.comesTo((now) => expect(now?.value).toBe(text));
    }
    await remove(backend.kv, "atomic/a/value");
    await observer.comesTo((now) => expect(now).toBeUndefined());
    await value.set("three");
    await observer.comesTo((now) => expect(now?.value).toBe("three"));
    await observer.stop(new Error("seen enough"));
  });

  suite.it("outlives the process that set it, and tells of what is no JSON", async (backend, scene) => {
    const [victim, other] = [await startMortal(scene), await start(scene)];
    await victim.conclave.atomic("a").set("kept");
    await victim.conclave.close();
    expect(await texts(backend.kv)).toEqual({ "atomic/a/value": '"kept"' });
    await backend.kv.commit({ then: [put("atomic/a/value", "{")] });
    expect(await rejection(other.conclave.atomic("a").get())).toMatchObject({ code: "CORRUPT" });
  });

  suite.it(
    "takes one round trip to get, set, compare, delete and update, and one more when somebody was faster",
    async (_backend, scene) => {
      const { conclave, counted } = await startCounted(scene);
      const rival = await start(scene);
      const value = conclave.atomic<number>("a");
      const add = (n = 0) => n + 1;
      const [setting, revision] = await cost(counted, () => value.set(1));
      expect(setting).toEqual({ commit: 1 });
      expect((await cost(counted, () => value.compareAndSet(revision, 2)))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => value.compareAndSet(revision, 3)))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => value.update(add)))[0]).toEqual({ commit: 1 });
      await rival.conclave.atomic<number>("a").update(add);
      const [updating, updated] = await cost(counted, () => value.update(add));
      expect([updating, updated.value]).toEqual([{ commit: 2 }, 5]);
      const atOnce = () => Promise.all([value.update(add), value.update(add), value.update(add)]);
      expect((await cost(counted, atOnce))[0]).toEqual({ commit: 3 });
      expect((await cost(counted, () => value.get()))[0]).toEqual({ get: 1 });
      expect((await cost(counted, () => value.delete()))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => conclave.atomic<number>("a").update(add)))[0]).toEqual({ get: 1, commit: 1 });
    },
  );
}
