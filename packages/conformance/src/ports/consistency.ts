import { type Backend, type KV, seededRandom, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { applied, numbered, present, textOf, texts, write } from "../entries.ts";
import { Follower } from "../follower.ts";
import { faultSeeds } from "../seeds.ts";

/** What a process sees is never older than what it has seen, nor than what was acknowledged before it asked. */
export function consistency(suite: Suite): void {
  suite.it("shows a process its own writes, by get, by list and in a transaction", async ({ kv }) => {
    for (const key of numbered(15, "p/")) {
      const revision = await write(kv, { [key]: key });
      expect(await kv.get(key)).toMatchObject({ modified: revision });
      expect((await kv.list("p/")).entries.at(-1)).toMatchObject({ key, modified: revision });
      const read = applied(await kv.commit({ then: [{ get: key }] }));
      expect(read.results[0]).toMatchObject({ modified: revision });
      await kv.commit({ then: [{ delete: key }] });
      expect(await kv.get(key)).toBeUndefined();
      expect((await kv.list("p/")).entries).toEqual([]);
    }
  });

  suite.it("shows every process what any was told is done", async ({ kv }, scene) => {
    const others = [await scene.connect(), await scene.connect()];
    for (const key of numbered(10)) {
      const revision = await write(kv, { [key]: key });
      for (const other of others) {
        expect(await other.kv.get(key)).toMatchObject({ modified: revision });
        expect((await other.kv.list(key)).entries).toHaveLength(1);
      }
    }
  });

  suite.it("lists and commits at least at the revision of what a get has shown", async ({ kv }, scene) => {
    const other = await scene.connect();
    for (let round = 0; round < 10; round++) {
      const writing = write(other.kv, { key: String(round) });
      const shown = (await kv.get("key"))?.modified ?? 0n;
      const listing = await kv.list("");
      expect(listing.revision).toBeGreaterThanOrEqual(shown);
      expect(listing.entries[0]?.modified ?? 0n).toBeGreaterThanOrEqual(shown);
      const commit = await kv.commit({ then: [{ get: "key" }] });
      expect(commit.readAt).toBeGreaterThanOrEqual(listing.revision);
      await writing;
    }
  });

  suite.it("never lists at a revision smaller than that of an earlier list or commit", async ({ kv }) => {
    let last = 0n;
    for (const key of numbered(20)) {
      const seen = [
        (await kv.list("elsewhere/")).revision,
        await write(kv, { [key]: "" }),
        (await kv.list("")).revision,
      ];
      for (const revision of seen) {
        expect(revision).toBeGreaterThanOrEqual(last);
        last = revision;
      }
    }
  });

  suite.it("shows a reader whom a watch woke at least what the watch has shown", async (backend, scene) => {
    const { kv, watches } = backend;
    const writer = await scene.connect();
    const watch = scene.use(await watches.watch({ prefix: "" }));
    const rounds = 20;
    const writing = (async () => {
      for (let round = 1; round <= rounds; round++) {
        await write(writer.kv, { a: String(round), b: String(round) });
        await sleep(writer.clock, 0.5);
      }
    })();
    for await (const batch of watch) {
      const shown = "gap" in batch ? 0n : batch.revision;
      const [entry, listing] = [await present(kv, "a"), await kv.list("")];
      expect(entry.modified).toBeGreaterThanOrEqual(shown);
      expect(listing.revision).toBeGreaterThanOrEqual(shown);
      expect(listing.entries[1]?.modified).toBeGreaterThanOrEqual(shown);
      if (textOf(listing.entries[1]) === String(rounds)) break;
    }
    await writing;
  });

  suite.it("shows a process that wakes to the end of a lease that its keys are gone", async (backend, scene) => {
    const owner = await scene.connect();
    const follower = scene.use(await Follower.open(backend, { prefix: "" }));
    for (let round = 0; round < 5; round++) {
      const lease = await owner.leases.grant({ ttlMs: scene.timing.ttlMs });
      await write(owner.kv, { key: "" }, lease);
      await scene.eventually(backend, () => expect(follower.texts).toHaveProperty("key"));
      await lease.revoke();
      await scene.eventually(backend, () => expect(follower.texts).toEqual({}));
      expect(await texts(backend.kv)).toEqual({});
    }
  });

  suite.it(
    "answers concurrent reads and writes as if each happened at one moment between call and answer",
    async (backend, scene) => {
      const processes = [backend, await scene.connect(), await scene.connect()];
      for (const seed of faultSeeds(6)) {
        const key = `register-${seed}`;
        const history = new History();
        await Promise.all(
          processes.flatMap((process, index) =>
            [0, 1].map((lane) => history.play(process, key, seed * 97 + index * 7 + lane)),
          ),
        );
        history.check(`seed ${seed}`);
      }
    },
  );
}

interface Call {
  readonly kind: "read" | "write";
  readonly called: number;
  readonly answered: number;
  /** Of the version written or seen; 0 for absence before the first write. */
  readonly revision: bigint;
}

/** Reads and writes of one key that is never deleted. Versions carry their own order, so checking takes no search. */
class History {
  readonly #calls: Call[] = [];
  #moment = 0;

  async play({ kv, clock }: Backend, key: string, seed: number): Promise<void> {
    const random = seededRandom(seed);
    for (let step = 0; step < 15; step++) {
      if (random() < 0.3) await sleep(clock, random());
      const called = ++this.#moment;
      const kind = random() < 0.4 ? "write" : "read";
      const revision = kind === "write" ? await write(kv, { [key]: "" }) : await this.#read(kv, key, random());
      this.#calls.push({ kind, called, answered: ++this.#moment, revision });
    }
  }

  async #read(kv: KV, key: string, chance: number): Promise<bigint> {
    if (chance < 0.4) return (await kv.get(key))?.modified ?? 0n;
    if (chance < 0.8) return (await kv.list(key)).entries[0]?.modified ?? 0n;
    const commit = await kv.commit({ if: [{ key: `${key}-none`, exists: true }], then: [], else: [{ get: key }] });
    return commit.succeeded ? -1n : (commit.results[0]?.modified ?? 0n);
  }

  check(which: string): void {
    const written = new Set([0n, ...this.#calls.filter((call) => call.kind === "write").map((call) => call.revision)]);
    for (const later of this.#calls) {
      expect(written, `${which}: what was seen was written`).toContain(later.revision);
      for (const earlier of this.#calls) {
        if (earlier.answered >= later.called) continue;
        const holds = later.kind === "write" ? later.revision > earlier.revision : later.revision >= earlier.revision;
        expect(holds, `${which}: ${later.kind} of ${later.revision} after ${earlier.kind} of ${earlier.revision}`).toBe(
          true,
        );
      }
    }
  }
}
