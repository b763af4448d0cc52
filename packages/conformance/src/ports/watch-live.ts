import { type Backend, type KV, seededRandom, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { put, remove, texts, write } from "../entries.ts";
import { Follower } from "../follower.ts";
import { faultSeeds } from "../seeds.ts";

/** Writes and deletes at random in a few keys, with pauses on the writer's clock. */
async function churn(writer: Backend, random: () => number, commits: number, pauseMs: number): Promise<void> {
  const keys = ["a", "b", "c/d", "c/e", "\u{1f512}"];
  const pick = () => keys[Math.floor(random() * keys.length)] as string;
  for (let round = 0; round < commits; round++) {
    const chance = random();
    if (chance < 0.5) await write(writer.kv, { [pick()]: String(round) });
    else if (chance < 0.7) await remove(writer.kv, pick());
    else if (chance < 0.85) await replace(writer.kv, pick(), String(round));
    else await writer.kv.commit({ then: [put("a", `${round}`), put("b", `${round}`), { delete: "c/d" }] });
    if (random() < 0.5) await sleep(writer.clock, random() * pauseMs);
  }
}

async function replace(kv: KV, key: string, text: string): Promise<void> {
  await remove(kv, key);
  await write(kv, { [key]: text });
}

function pauseMs(scene: Scene): number {
  return Math.max(2, scene.timing.watchDelayMs / 10);
}

/** That a watch is live once it is there, whatever goes on meanwhile. */
export function watchLive(suite: Suite): void {
  suite.it(
    "misses no change after it resolved, though another process writes all the while",
    async (backend, scene) => {
      const writer = await scene.connect();
      for (const seed of faultSeeds(40)) {
        const random = seededRandom(seed);
        const writing = churn(writer, random, 4 + Math.floor(random() * 8), pauseMs(scene));
        for (let turn = Math.floor(random() * 20); turn > 0; turn--) await undefined;
        const follower = await Follower.open(backend, { prefix: "" });
        await writing;
        const wanted = await texts(writer.kv);
        await scene.eventually(backend, () => expect(follower.texts, `seed ${seed}`).toEqual(wanted));
        follower.check();
        await follower[Symbol.asyncDispose]();
      }
    },
  );

  suite.it("shows the change that is made the moment it resolved", async (backend, scene) => {
    const writer = await scene.connect();
    for (let round = 0; round < 30; round++) {
      const watch = await backend.watches.watch({ key: "key" });
      const revision = await write(writer.kv, { key: String(round) });
      for await (const batch of watch) {
        if ("gap" in batch) break;
        expect(batch.changes.map((change) => change.key)).toEqual(["key"]);
        if (batch.revision >= revision) break;
      }
    }
  });

  suite.it(
    "misses no change of one key, from another process, in what follows the first look",
    async (backend, scene) => {
      const writer = await scene.connect();
      for (const seed of faultSeeds(20)) {
        const random = seededRandom(seed * 31);
        const writing = churn(writer, random, 12, pauseMs(scene));
        const follower = await Follower.open(backend, { key: "a" });
        await writing;
        const { a } = await texts(writer.kv);
        const wanted = a === undefined ? {} : { a };
        await scene.eventually(backend, () => expect(follower.texts, `seed ${seed}`).toEqual(wanted));
        follower.check();
        await follower[Symbol.asyncDispose]();
      }
    },
  );

  suite.it(
    "folds to what a list gives, to the last revision, for several watchers and writers",
    async (backend, scene) => {
      const writers = [await scene.connect(), await scene.connect(), backend];
      for (const seed of faultSeeds(4)) {
        const random = seededRandom(seed * 17);
        const watchers = [backend, await scene.connect()];
        const followers = await Promise.all(
          watchers.flatMap((watcher) => [
            Follower.open(watcher, { prefix: "" }),
            Follower.open(watcher, { prefix: "c/" }),
          ]),
        );
        await Promise.all(writers.map((writer) => churn(writer, random, 25, pauseMs(scene))));
        const { entries } = await backend.kv.list("");
        const below = entries.filter((entry) => entry.key.startsWith("c/"));
        await scene.eventually(backend, () => {
          for (const [index, follower] of followers.entries()) {
            expect(follower.entries, `seed ${seed}`).toEqual(index % 2 === 0 ? entries : below);
          }
        });
        for (const follower of followers) {
          follower.check();
          await follower[Symbol.asyncDispose]();
        }
      }
    },
  );
}
