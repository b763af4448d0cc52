import type { Replica } from "@conclave/core";
import { type Backend, decode, type Watch, type WatchBatch } from "@conclave/core/backend";
import { expect } from "vitest";
import { eventually, type Suite } from "../context.ts";
import { fill, numbered, remove, texts, write } from "../entries.ts";
import { intercepted } from "../intercepted.ts";
import { failsWith } from "../ports/leases.ts";
import { startDeafened } from "./deaf-watches.ts";
import { quiet, rejection, start, startLinked, staysOpen, within } from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { closeAll, seeds, Trouble } from "./under-jitter.ts";

/** Longer than a replica takes to find out, unprompted, that the store is away or back. */
const probingMs = 20_000;

/** What a replica shows: texts by key. */
function shown(replica: Replica): Record<string, string> {
  return Object.fromEntries(replica.list().map(({ key, value }) => [key, decode(value)]));
}

/** A live copy of a prefix. */
export function replica(suite: Suite): void {
  suite.it("shows what is there, and then every change of it, in the store's order", async (backend, scene) => {
    const { conclave } = await start(scene);
    await write(backend.kv, { "p/b": "1", "p/a/x": "2", "p/\u{10000}": "3", "p/\uffff": "4", "q/a": "5", p: "6" });
    await using copy = await conclave.replica("p/");
    expect(copy.list()).toEqual((await backend.kv.list("p/")).entries);
    expect(copy.list("p/a/").map(({ key }) => key)).toEqual(["p/a/x"]);
    await remove(backend.kv, "p/b");
    await write(backend.kv, { "p/a/x": "7", "p/c": "8" });
    await scene.eventually(backend, async () => expect(shown(copy)).toEqual(await texts(backend.kv, "p/")));
    expect([copy.get("p/b"), decode(copy.get("p/c")?.value as Uint8Array), copy.stale]).toEqual([
      undefined,
      "8",
      false,
    ]);
  });

  suite.it("misses nothing that others write while it is made", async (backend, scene) => {
    const keys = numbered(40, "p/");
    const processes = await Promise.all([1, 2, 3].map(() => start(scene)));
    const writing = (async () => {
      for (const key of keys) await write(backend.kv, { [key]: key });
      for (const key of keys.slice(0, 10)) await remove(backend.kv, key);
    })();
    const copies = await Promise.all(processes.map(({ conclave }) => conclave.replica("p/")));
    await writing;
    for (const copy of copies)
      await scene.eventually(backend, () => expect(copy.list().map(({ key }) => key)).toEqual(keys.slice(10)));
  });

  suite.it("lets a writer read its own write, and one who was told of a write that one", async (backend, scene) => {
    const { conclave } = await start(scene);
    await using copy = await conclave.replica("p/");
    for (let round = 0; round < 5; round++) {
      const revision = await write(round % 2 === 0 ? backend.kv : conclave.kv, { "p/a": String(round) });
      const view = await within(backend, scene.patienceMs, copy.reached(revision));
      expect(decode(view.entries.get("p/a")?.value as Uint8Array)).toBe(String(round));
      expect(view.revision).toBeGreaterThanOrEqual(revision);
      expect(copy.revision).toBeGreaterThanOrEqual(view.revision);
    }
  });

  suite.it("reaches the revision of what was written elsewhere, too", async (backend, scene) => {
    const { conclave } = await start(scene);
    await using copy = await conclave.replica("p/");
    const revision = await write(backend.kv, { "q/a": "1" });
    const view = await within(backend, scene.patienceMs + 1_000, copy.reached(revision));
    expect(view.revision).toBeGreaterThanOrEqual(revision);
  });

  suite.it("waits for a revision that is yet to come, until told to stop", async (backend, scene) => {
    const { conclave } = await start(scene);
    await using copy = await conclave.replica("p/");
    const controller = new AbortController();
    const reaching = copy.reached(copy.revision + 1_000_000_000_000n, { signal: controller.signal });
    reaching.catch(() => {});
    await staysOpen(backend, scene, reaching);
    const reason = new Error("no more");
    controller.abort(reason);
    expect(await rejection(reaching)).toBe(reason);
    const other = copy.reached(copy.revision + 1_000_000_000_000n);
    await copy[Symbol.asyncDispose]();
    await failsWith("CLOSED", other);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("gives views that no later change, and no reader, alters", async (backend, scene) => {
    await write(backend.kv, { "p/a": "1", "p/b": "1" });
    await using copy = await (await start(scene)).conclave.replica("p/");
    const { entries } = copy.view;
    entries.get("p/a")?.value.fill(0);
    for (const { value } of copy.list()) value.fill(0);
    await copy.reached(await write(backend.kv, { "p/b": "2", "p/c": "2" }));
    expect([...entries.values()].map(({ key, value }) => key + decode(value))).toEqual(["p/a1", "p/b1"]);
    expect(shown(copy)).toEqual({ "p/a": "1", "p/b": "2", "p/c": "2" });
  });

  suite.it("is stale while the store is away, and then shows what happened meanwhile", async (backend, scene) => {
    const reader = await startLinked(scene);
    await write(backend.kv, { "p/a": "1" });
    await using copy = await reader.conclave.replica("p/");
    reader.link.cut();
    const revision = await write(backend.kv, { "p/a": "2", "p/b": "2" });
    await eventually(backend.clock, probingMs, () => expect(copy.stale).toBe(true));
    expect(shown(copy)).toEqual({ "p/a": "1" });
    const reaching = copy.reached(revision);
    reader.link.mend();
    expect((await within(backend, probingMs, reaching)).entries.size).toBe(2);
    await eventually(backend.clock, probingMs, () => expect([copy.stale, copy.entries.size]).toEqual([false, 2]));
  });

  suite.it("skips what the watch tells of before the cut that it shows first", async (backend, scene) => {
    const lists = new SlowLists();
    const { conclave } = await start(scene, {}, (inner) => lists.of(inner));
    const opening = lists.hold("before");
    const copying = conclave.replica("p/");
    await within(backend, scene.patienceMs, opening.reached);
    for (const text of ["1", "2", "3"]) await write(backend.kv, { "p/a": text });
    await remove(backend.kv, "p/a");
    opening.release();
    await using copy = await copying;
    const seen: Record<string, string>[] = [];
    const reading = (async () => {
      for await (const _ of copy) seen.push(shown(copy));
    })();
    await quiet(backend, scene);
    await copy[Symbol.asyncDispose]();
    await reading;
    expect(seen).toEqual([{}]);
  });

  suite.it("does not go back to what a list shows that arrives late", async (backend, scene) => {
    const lists = new SlowLists();
    const { conclave } = await start(scene, {}, (inner) => lists.of(inner));
    await using copy = await conclave.replica("p/");
    const listing = lists.hold("after");
    const reaching = copy.reached(await write(backend.kv, { "q/a": "1" }));
    await within(backend, scene.patienceMs + 1_000, listing.reached);
    const revision = await write(backend.kv, { "p/a": "1" });
    await scene.eventually(backend, () => expect(shown(copy)).toEqual({ "p/a": "1" }));
    listing.release();
    await reaching;
    await quiet(backend, scene);
    expect(shown(copy)).toEqual({ "p/a": "1" });
    expect(copy.revision).toBeGreaterThanOrEqual(revision);
  });

  suite.it("looks again after a gap, since what it missed comes no more", async (backend, scene) => {
    const { conclave, ears } = await startDeafened(scene);
    await using copy = await conclave.replica("p/");
    ears.deaf = true;
    await write(backend.kv, { "p/missed": "1" });
    await quiet(backend, scene);
    ears.deaf = false;
    await write(backend.kv, { "p/heard": "2" });
    await scene.eventually(backend, () => expect(shown(copy)).toEqual({ "p/missed": "1", "p/heard": "2" }));
  });

  suite.it("comes to show what is there, whatever is late and whatever gaps there are", async (backend, scene) => {
    const trouble = new Trouble(scene, { faults: 0, gaps: 0.3 });
    for (const seed of seeds(scene)) {
      const processes = await trouble.startMany(seed, 2);
      const copies = await Promise.all(processes.map(({ conclave }) => conclave.replica("p/")));
      const seen = copies.map(() => [] as bigint[]);
      const reading = copies.map(async (copy, index) => {
        for await (const { revision } of copy) seen[index]?.push(revision);
      });
      const keys = numbered(5, "p/");
      let revision = 0n;
      for (let step = 0; step < 40; step++) {
        const key = keys[step % 5] as string;
        revision =
          step % 3 === 2 ? await remove(backend.kv, key) : await write(backend.kv, { [key]: `${seed} ${step}` });
      }
      for (const copy of copies) {
        await within(backend, scene.patienceMs, copy.reached(revision));
        expect(shown(copy), `seed ${seed}`).toEqual(await texts(backend.kv, "p/"));
        await copy[Symbol.asyncDispose]();
      }
      await Promise.all(reading);
      for (const revisions of seen) expect(revisions).toEqual([...revisions].sort((a, b) => Number(a - b)));
      await closeAll(processes);
    }
    trouble.expectAtLeast(1, "gaps", "lateBatches");
  });

  suite.it("takes one watch and one list, and then nothing to read or to hear of changes", async (backend, scene) => {
    await fill(backend.kv, numbered(150, "p/"));
    let gaps = 0;
    const { conclave, counted } = await startCounted(scene, {}, (inner) =>
      intercepted(inner, {
        call: (_, send) => send(),
        watch: (watch) => tapped(watch, (batch) => "gap" in batch && gaps++),
      }),
    );
    const [opening, copy] = await cost(counted, () => conclave.replica("p/"));
    expect(opening).toEqual({ watch: 1, list: 1 });
    const [reading] = await cost(counted, async () => {
      expect([copy.entries.size, copy.list().length, copy.get("p/00001")?.key]).toEqual([150, 150, "p/00001"]);
      await write(backend.kv, { "p/00001": "new" });
      await scene.eventually(backend, () => expect(shown(copy)["p/00001"]).toBe("new"));
    });
    // After a gap, which some stores report now and then, it has to look.
    expect(reading).toEqual(gaps === 0 ? {} : { list: gaps });
    await copy[Symbol.asyncDispose]();
  });
}

/** A watch on which somebody listens in. */
function tapped(watch: Watch, heard: (batch: WatchBatch) => unknown): Watch {
  async function* batches(): AsyncGenerator<WatchBatch, void, undefined> {
    for await (const batch of watch) {
      heard(batch);
      yield batch;
    }
  }
  return { [Symbol.asyncIterator]: batches, [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose]() };
}

/** A store whose next list can be held up, before it is made or on its way back. */
class SlowLists {
  #held:
    | { readonly when: "before" | "after"; readonly reach: () => void; readonly released: Promise<void> }
    | undefined;

  hold(when: "before" | "after"): { readonly reached: Promise<void>; readonly release: () => void } {
    let [reach, release] = [() => {}, () => {}];
    const reached = new Promise<void>((resolve) => {
      reach = resolve;
    });
    const released = new Promise<void>((resolve) => {
      release = resolve;
    });
    this.#held = { when, reach, released };
    return { reached, release };
  }

  of(inner: Backend): Backend {
    const list: Backend["kv"]["list"] = async (prefix, options) => {
      const held = this.#held;
      this.#held = undefined;
      const listing = held?.when === "before" ? undefined : await inner.kv.list(prefix, options);
      held?.reach();
      await held?.released;
      return listing ?? inner.kv.list(prefix, options);
    };
    const { get, commit } = inner.kv;
    return { ...inner, kv: { get: get.bind(inner.kv), commit: commit.bind(inner.kv), list } };
  }
}
