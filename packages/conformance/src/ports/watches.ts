import { isCoordinationError, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { numbered, put, remove, texts, write } from "../entries.ts";
import { Follower } from "../follower.ts";

/** What a watch shows. A store may merge changes of one key and may report gaps, so what is held to is the fold. */
export function watches(suite: Suite): void {
  suite.it("shows what is put and deleted in a prefix", async (backend, scene) => {
    const { kv } = backend;
    const follower = scene.use(await Follower.open(backend, { prefix: "p/" }));
    await write(kv, { "p/a": "1", "p/b": "2" });
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ "p/a": "1", "p/b": "2" }));
    await write(kv, { "p/a": "3" });
    await remove(kv, "p/b");
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ "p/a": "3" }));
    follower.check();
  });

  suite.it("shows a change as soon as the store said it would", async (backend, scene) => {
    const { clock, kv } = backend;
    const other = await scene.connect();
    const follower = scene.use(await Follower.open(backend, { prefix: "" }));
    for (const key of numbered(5)) {
      await write(other.kv, { [key]: key });
      await sleep(clock, scene.timing.watchDelayMs + 1);
      expect(follower.texts).toEqual(await texts(kv));
    }
  });

  suite.it("shows only what is in its prefix", async (backend, scene) => {
    const follower = scene.use(await Follower.open(backend, { prefix: "a/" }));
    await write(backend.kv, { a: "", "a.": "", a0: "", "b/a/": "", "A/x": "" });
    await write(backend.kv, { "a/": "1", "a/b/c": "2", "a/\u{10ffff}": "3" });
    const inside = { "a/": "1", "a/b/c": "2", "a/\u{10ffff}": "3" };
    await scene.eventually(backend, () => expect(follower.texts).toEqual(inside));
    await remove(backend.kv, "a", "a0");
    await write(backend.kv, { "a/z": "last" });
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ ...inside, "a/z": "last" }));
    follower.check();
  });

  suite.it("shows one key and none that begins like it", async (backend, scene) => {
    const follower = scene.use(await Follower.open(backend, { key: "a" }));
    await write(backend.kv, { "a/b": "", ab: "", "a/": "" });
    await write(backend.kv, { a: "1" });
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ a: "1" }));
    await remove(backend.kv, "a", "ab");
    await scene.eventually(backend, () => expect(follower.texts).toEqual({}));
    follower.check();
  });

  suite.it("shows everything in its corner for the empty prefix", async (backend, scene) => {
    const follower = scene.use(await Follower.open(backend, { prefix: "" }));
    await write(backend.kv, { a: "1", "\u{1f512}/b": "2" });
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ a: "1", "\u{1f512}/b": "2" }));
    follower.check();
  });

  suite.it("shows a put with the entry that get gives: value, revisions, lease", async (backend, scene) => {
    const { kv, leases } = backend;
    const follower = scene.use(await Follower.open(backend, { prefix: "" }));
    const lease = await leases.grant({ ttlMs: scene.timing.ttlMs });
    await write(kv, { a: "1", b: "1" });
    await write(kv, { a: "2" }, lease);
    await write(kv, { c: "" });
    await scene.eventually(backend, async () => expect(follower.entries).toEqual((await kv.list("")).entries));
    await lease.revoke();
    await scene.eventually(backend, async () => expect(follower.entries).toEqual((await kv.list("")).entries));
    follower.check();
  });

  suite.it("shows what one commit changed in one batch", async (backend, scene) => {
    const { kv } = backend;
    await write(kv, { "p/old": "" });
    const follower = scene.use(await Follower.open(backend, { prefix: "p/" }));
    const revision = await kv
      .commit({ then: [put("p/b", ""), { delete: "p/old" }, put("q", ""), put("p/a", "")] })
      .then((commit) => commit.revision);
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ "p/a": "", "p/b": "" }));
    if (follower.gaps > 0) return;
    expect(follower.batches).toHaveLength(1);
    const [a, b, old] = [...follower.changes].sort((x, y) => (x.key < y.key ? -1 : 1));
    expect(a?.entry).toMatchObject({ key: "p/a", created: revision, modified: revision });
    expect(b?.entry).toMatchObject({ key: "p/b", created: revision, modified: revision });
    expect(old).toMatchObject({ key: "p/old", entry: undefined });
  });

  suite.it("says of a delete a revision at which the key was absent", async (backend, scene) => {
    const { kv } = backend;
    const follower = scene.use(await Follower.open(backend, { key: "key" }));
    const put1 = await write(kv, { key: "1" });
    const deleted = await remove(kv, "key");
    const put2 = await write(kv, { key: "2" });
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ key: "2" }));
    follower.check();
    if (follower.gaps > 0) return;
    const absences = follower.changes.filter((change) => change.entry === undefined);
    for (const { modified } of absences) {
      const isBefore = modified < put1;
      const isBetween = modified >= deleted && modified < put2;
      expect(isBefore || isBetween, `${modified} lies between ${deleted} and ${put2}`).toBe(true);
    }
  });

  suite.it("never merges two incarnations of a key into one", async (backend, scene) => {
    const { clock, kv } = backend;
    await write(kv, { key: "0" });
    const follower = scene.use(await Follower.open(backend, { key: "key" }));
    for (let round = 1; round <= 30; round++) {
      await remove(kv, "key");
      await write(kv, { key: String(round) });
      if (round % 5 === 0) await sleep(clock, scene.timing.watchDelayMs / 2);
    }
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ key: "30" }));
    follower.check();
    if (follower.gaps === 0) expect(follower.changes.some((change) => change.entry === undefined)).toBe(true);
  });

  suite.it("shows a key that was created and deleted as absent, if it shows it at all", async (backend, scene) => {
    const { kv } = backend;
    const follower = scene.use(await Follower.open(backend, { prefix: "" }));
    await write(kv, { passing: "" });
    await remove(kv, "passing");
    await write(kv, { last: "" });
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ last: "" }));
    follower.check();
  });

  suite.it(
    "comes in the order of revisions, also of keys that differ and processes that differ",
    async (backend, scene) => {
      const others = [await scene.connect(), await scene.connect()];
      const follower = scene.use(await Follower.open(backend, { prefix: "" }));
      await Promise.all(
        others.map(async ({ kv }, index) => {
          for (const key of numbered(30)) await write(kv, { [`${index}/${key}`]: key });
        }),
      );
      await scene.eventually(backend, () => expect(Object.keys(follower.texts)).toHaveLength(60));
      follower.check();
    },
  );

  suite.it("does not show a write that a failed condition prevented", async (backend, scene) => {
    const { kv } = backend;
    const follower = scene.use(await Follower.open(backend, { prefix: "" }));
    await kv.commit({ if: [{ key: "a", exists: true }], then: [put("a", "prevented")] });
    await kv.commit({ then: [{ delete: "never there" }] });
    await write(kv, { last: "" });
    await scene.eventually(backend, () => expect(follower.texts).toEqual({ last: "" }));
    for (const { key, entry } of follower.changes) if (entry) expect(key).toBe("last");
  });

  suite.it("lets two watches of one process see the same, each for itself", async (backend, scene) => {
    const { kv } = backend;
    const all = scene.use(await Follower.open(backend, { prefix: "" }));
    const same = scene.use(await Follower.open(backend, { prefix: "" }));
    const part = scene.use(await Follower.open(backend, { prefix: "p/" }));
    await write(kv, { "p/a": "1", q: "2" });
    await scene.eventually(backend, () => expect(part.texts).toEqual({ "p/a": "1" }));
    await part[Symbol.asyncDispose]();
    await same[Symbol.asyncDispose]();
    await write(kv, { "p/a": "3" });
    await scene.eventually(backend, () => expect(all.texts).toEqual({ "p/a": "3", q: "2" }));
    expect(part.texts).toEqual({ "p/a": "1" });
  });

  suite.it("holds 150 watches of one process at once", async (backend, scene) => {
    const { kv } = backend;
    const keys = numbered(150);
    const followers = await Promise.all(keys.map((key) => Follower.open(backend, { key })));
    for (const follower of followers) scene.use(follower);
    for (const half of [keys.slice(0, 75), keys.slice(75)]) {
      await kv.commit({ then: half.map((key) => put(key, `of ${key}`)) });
    }
    await scene.eventually(backend, () => {
      for (const [index, follower] of followers.entries()) {
        const key = keys[index] as string;
        expect(follower.texts).toEqual({ [key]: `of ${key}` });
      }
    });
  });

  suite.it("loses nothing on a slow reader, or tells it of a gap", async (backend, scene) => {
    const { kv, watches } = backend;
    const watch = scene.use(await watches.watch({ prefix: "" }));
    for (let round = 0; round < 15; round++) {
      await Promise.all(numbered(100).map((key) => write(kv, { [key]: String(round) })));
    }
    await write(kv, { last: "" });
    const wanted = await texts(kv);
    let seen: Record<string, string> = {};
    for await (const batch of watch) {
      if ("gap" in batch) seen = await texts(kv);
      else for (const { key, entry } of batch.changes) if (entry) seen[key] = Buffer.from(entry.value).toString();
      if ("last" in seen) break;
    }
    expect(seen).toEqual(wanted);
  });

  suite.it("falls silent, and does not lie, when its process is killed", async (backend, scene) => {
    const victim = await scene.connect();
    const follower = scene.use(await Follower.open(victim, { prefix: "" }));
    await scene.kill(victim);
    await write(backend.kv, { after: "" });
    await sleep(backend.clock, scene.timing.watchDelayMs * 2);
    for (const { key } of follower.changes) expect(key).not.toBe("after");
    if (follower.failure) expect(isCoordinationError(follower.failure.error)).toBe(true);
  });
}
