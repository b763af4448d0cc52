import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { applied, fill, keysOf, numbered, present, put, refused, textOf, texts, write } from "../entries.ts";

/** What a transaction does, and what it answers. */
export function commits(suite: Suite): void {
  suite.it("writes and deletes together, at one revision", async ({ kv }) => {
    await write(kv, { old: "" });
    const { revision } = await kv.commit({ then: [put("a", "1"), { delete: "old" }, put("b", "2")] });
    expect(await texts(kv)).toEqual({ a: "1", b: "2" });
    for (const key of ["a", "b"]) {
      expect(await present(kv, key)).toMatchObject({ created: revision, modified: revision });
    }
  });

  suite.it("gives each later commit of a key a larger revision, whoever commits", async ({ kv }, scene) => {
    const other = await scene.connect();
    let last = 0n;
    for (let round = 0; round < 10; round++) {
      for (const each of [kv, other.kv]) {
        const revision = await write(each, { key: "same" });
        expect(revision).toBeGreaterThan(last);
        last = revision;
      }
    }
    const { revision } = await kv.commit({ then: [{ delete: "key" }] });
    expect(revision).toBeGreaterThan(last);
  });

  suite.it("never gives a later commit of other keys a smaller revision", async ({ kv }, scene) => {
    const other = await scene.connect();
    let last = 0n;
    for (const key of numbered(20)) {
      const revision = await write(Number(key) % 2 === 0 ? kv : other.kv, { [key]: "" });
      expect(revision).toBeGreaterThanOrEqual(last);
      last = revision;
    }
  });

  suite.it("answers each operation in its place: nothing, whether it went, an entry, a listing", async ({ kv }) => {
    const created = await write(kv, { a: "1", "p/x": "2" });
    const commit = applied(
      await kv.commit({
        then: [{ get: "a" }, put("b", "3"), { delete: "c" }, { list: "p/" }, { delete: "p/x" }, { get: "none" }],
      }),
    );
    expect(commit.results).toHaveLength(6);
    const [entry, written, noDelete, , deleted, none] = commit.results;
    expect(entry).toMatchObject({ key: "a", created, modified: created, lease: undefined });
    expect(textOf(entry)).toBe("1");
    expect(written).toBeUndefined();
    expect(noDelete).toBe(false);
    expect(deleted).toBe(true);
    expect(none).toBeUndefined();
  });

  suite.it("says of a delete whether there was a key", async ({ kv }) => {
    await write(kv, { "a/b": "" });
    const first = applied(await kv.commit({ then: [{ delete: "a" }, { delete: "a/b" }, { delete: "a/" }] }));
    expect(first.results).toEqual([false, true, false]);
    const second = applied(await kv.commit({ then: [{ delete: "a/b" }] }));
    expect(second.results).toEqual([false]);
  });

  suite.it("deletes a key and no other", async ({ kv }) => {
    await fill(kv, ["a", "a/", "a/b", "ab"]);
    await kv.commit({ then: [{ delete: "a" }] });
    expect(keysOf(await kv.list(""))).toEqual(["a/", "a/b", "ab"]);
  });

  suite.it("shows a transaction's reads its own writes", async ({ kv }) => {
    await write(kv, { "p/old": "old", "p/gone": "gone" });
    const commit = applied(
      await kv.commit({
        then: [{ delete: "p/gone" }, put("p/new", "new"), { get: "p/new" }, { get: "p/gone" }, { list: "p/" }],
      }),
    );
    const [, , fresh, gone, listing] = commit.results;
    expect(fresh).toMatchObject({ key: "p/new", created: commit.revision, modified: commit.revision });
    expect(textOf(fresh)).toBe("new");
    expect(gone).toBeUndefined();
    expect(keysOf(listing)).toEqual(["p/new", "p/old"]);
    expect(listing.more).toBe(false);
  });

  suite.it("shows a transaction's reads its own writes also where they stand before them", async ({ kv }) => {
    await write(kv, { "p/gone": "gone" });
    const { results, revision } = applied(
      await kv.commit({
        then: [{ get: "p/new" }, { list: "p/" }, { get: "p/gone" }, put("p/new", "new"), { delete: "p/gone" }],
      }),
    );
    const [fresh, listing, gone, , deleted] = results;
    expect(fresh).toMatchObject({ key: "p/new", created: revision });
    expect(keysOf(listing)).toEqual(["p/new"]);
    expect([gone, deleted]).toEqual([undefined, true]);
  });

  suite.it("lists within a transaction by order, limit, createdBefore and startAfter", async ({ kv }) => {
    for (const key of ["p/b", "p/c", "p/a"]) await write(kv, { [key]: key });
    const { created } = await present(kv, "p/a");
    const commit = applied(
      await kv.commit({
        then: [
          put("p/d", ""),
          { list: "p/", order: "newest", limit: 2 },
          { list: "p/", order: "oldest", limit: 1 },
          { list: "p/", createdBefore: created },
          { list: "p/", startAfter: "p/b" },
          { list: "p/", keysOnly: true, limit: 4 },
        ],
      }),
    );
    const [, newest, oldest, before, after, keys] = commit.results;
    expect([keysOf(newest), newest.more]).toEqual([["p/d", "p/a"], true]);
    expect([keysOf(oldest), oldest.more]).toEqual([["p/b"], true]);
    expect([keysOf(before), before.more]).toEqual([["p/b", "p/c"], false]);
    expect([keysOf(after), after.more]).toEqual([["p/c", "p/d"], false]);
    expect([keysOf(keys), keys.more]).toEqual([["p/a", "p/b", "p/c", "p/d"], false]);
    expect(keys.entries.map((entry) => entry.value.length)).toEqual([0, 0, 0, 0]);
  });

  suite.it("answers with the reads of else when a condition fails, and writes nothing", async ({ kv }) => {
    const modified = await write(kv, { "p/a": "1", "p/b": "2" });
    const commit = refused(
      await kv.commit({
        if: [{ key: "p/a", exists: false }],
        then: [put("p/a", "lost"), { delete: "p/b" }],
        else: [{ get: "p/a" }, { list: "p/", limit: 1 }, { get: "none" }],
      }),
    );
    expect(commit.results).toHaveLength(3);
    const [entry, listing, none] = commit.results;
    expect(entry).toMatchObject({ key: "p/a", modified });
    expect([keysOf(listing), listing.more]).toEqual([["p/a"], true]);
    expect(none).toBeUndefined();
    expect(commit.revision).toBeGreaterThanOrEqual(modified);
    expect(await texts(kv)).toEqual({ "p/a": "1", "p/b": "2" });
  });

  suite.it("answers with no results when a condition fails and there is no else", async ({ kv }) => {
    const commit = refused(await kv.commit({ if: [{ key: "a", exists: true }], then: [{ get: "a" }] }));
    expect(commit.results).toEqual([]);
  });

  suite.it("does not run else when the conditions hold", async ({ kv }) => {
    const commit = applied(
      await kv.commit({ if: [{ key: "a", exists: false }], then: [], else: [{ get: "a" }, { get: "b" }] }),
    );
    expect(commit.results).toEqual([]);
  });

  suite.it("reads several keys and prefixes at one point in time", async ({ kv }) => {
    const written = await write(kv, { a: "1", "p/b": "2" });
    const commit = applied(await kv.commit({ then: [{ get: "a" }, { list: "p/" }, { get: "c" }] }));
    expect(textOf(commit.results[0])).toBe("1");
    expect(keysOf(commit.results[1])).toEqual(["p/b"]);
    expect(commit.revision).toBeGreaterThanOrEqual(written);
    expect(commit.readAt).toBeGreaterThanOrEqual(commit.revision);
  });

  suite.it("reads at its own revision or later, and says at which", async ({ kv }) => {
    const commit = applied(await kv.commit({ then: [put("a", ""), { list: "" }] }));
    expect(commit.readAt).toBeGreaterThanOrEqual(commit.revision);
    for (const entry of commit.results[1].entries) expect(entry.modified).toBeLessThanOrEqual(commit.readAt);
  });

  suite.it("writes as many keys in one commit as its limits say, all at one revision", async ({ kv, limits }) => {
    const keys = numbered(limits.maxOperations);
    const { revision } = await kv.commit({ then: keys.map((key) => put(key, key)) });
    const { entries } = await kv.list("");
    expect(entries.map((entry) => entry.key)).toEqual(keys);
    expect(new Set(entries.map((entry) => entry.modified))).toEqual(new Set([revision]));
    const deleted = await kv.commit({ then: keys.map((key) => ({ delete: key })) });
    expect(new Set(deleted.results)).toEqual(new Set([true]));
    expect(await texts(kv)).toEqual({});
  });

  suite.it("applies the same transaction again when it is committed again", async ({ kv }) => {
    const again = { then: [put("a", "same")] };
    const [first, second] = [await kv.commit(again), await kv.commit(again)];
    expect(second.revision).toBeGreaterThan(first.revision);
  });
}
