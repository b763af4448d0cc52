import type { Condition } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { applied, numbered, present, put, refused, remove, texts, write } from "../entries.ts";

/** When a transaction is applied. Each kind of condition is seen to hold and to fail. */
export function conditions(suite: Suite): void {
  suite.it("applies a transaction without conditions", async ({ kv }) => {
    applied(await kv.commit({ then: [put("key", "1")] }));
    applied(await kv.commit({ if: [], then: [put("key", "2")] }));
    expect(await texts(kv)).toEqual({ key: "2" });
  });

  suite.it("holds {key, exists: true} to keys that are there", async ({ kv }) => {
    const overwrite = { if: [{ key: "key", exists: true }], then: [put("key", "over")] } as const;
    refused(await kv.commit(overwrite));
    expect(await texts(kv)).toEqual({});
    await write(kv, { key: "" });
    applied(await kv.commit(overwrite));
    expect(await texts(kv)).toEqual({ key: "over" });
    await remove(kv, "key");
    refused(await kv.commit(overwrite));
  });

  suite.it("holds {key, exists: false} to keys that are absent", async ({ kv }) => {
    const create = { if: [{ key: "key", exists: false }], then: [put("key", "new")] } as const;
    applied(await kv.commit(create));
    refused(await kv.commit(create));
    await remove(kv, "key");
    applied(await kv.commit(create));
  });

  suite.it("takes a key for present that has an empty value", async ({ kv }) => {
    await write(kv, { key: "" });
    refused(await kv.commit({ if: [{ key: "key", exists: false }], then: [] }));
    applied(await kv.commit({ if: [{ key: "key", exists: true }], then: [] }));
  });

  suite.it("takes neither the keys below a key nor its neighbours for the key", async ({ kv }) => {
    await write(kv, { "a/b": "", ab: "" });
    applied(await kv.commit({ if: [{ key: "a", exists: false }], then: [] }));
    refused(await kv.commit({ if: [{ key: "a/", exists: true }], then: [] }));
  });

  suite.it("holds {key, created} to that incarnation, however often it was written", async ({ kv }) => {
    const created = await write(kv, { key: "1" });
    const modified = await write(kv, { key: "2" });
    applied(await kv.commit({ if: [{ key: "key", created }], then: [] }));
    refused(await kv.commit({ if: [{ key: "key", created: modified }], then: [] }));
    refused(await kv.commit({ if: [{ key: "key", created: created - 1n }], then: [] }));
  });

  suite.it("tells an incarnation from the next of the same key and value", async ({ kv }) => {
    const created = await write(kv, { key: "same" });
    await remove(kv, "key");
    refused(await kv.commit({ if: [{ key: "key", created }], then: [] }));
    const again = await write(kv, { key: "same" });
    refused(await kv.commit({ if: [{ key: "key", created }], then: [{ delete: "key" }] }));
    applied(await kv.commit({ if: [{ key: "key", created: again }], then: [{ delete: "key" }] }));
    expect(await texts(kv)).toEqual({});
  });

  suite.it("tells every incarnation of a key from every other", async ({ kv }) => {
    const seen: bigint[] = [];
    for (let round = 0; round < 10; round++) {
      const created = await write(kv, { key: "same" });
      for (const earlier of seen) {
        refused(await kv.commit({ if: [{ key: "key", created: earlier }], then: [{ delete: "key" }] }));
      }
      seen.push(created);
      await remove(kv, "key");
    }
    expect(new Set(seen).size).toBe(seen.length);
  });

  suite.it("tells incarnations apart when a directory was emptied in between", async ({ kv }) => {
    const created = await write(kv, { "dir/sub/key": "" });
    await remove(kv, "dir/sub/key");
    await write(kv, { "dir/sub/key": "" });
    refused(await kv.commit({ if: [{ key: "dir/sub/key", created }], then: [] }));
  });

  suite.it("holds {key, modified} to that version, even when a later one has the same value", async ({ kv }) => {
    const first = await write(kv, { key: "same" });
    applied(await kv.commit({ if: [{ key: "key", modified: first }], then: [] }));
    const second = await write(kv, { key: "same" });
    refused(await kv.commit({ if: [{ key: "key", modified: first }], then: [put("key", "lost")] }));
    applied(await kv.commit({ if: [{ key: "key", modified: second }], then: [put("key", "won")] }));
    expect(await texts(kv)).toEqual({ key: "won" });
  });

  suite.it("tells the first version of a new incarnation from the versions of an older one", async ({ kv }) => {
    const first = await write(kv, { key: "same" });
    await remove(kv, "key");
    refused(await kv.commit({ if: [{ key: "key", modified: first }], then: [] }));
    await write(kv, { key: "same" });
    refused(await kv.commit({ if: [{ key: "key", modified: first }], then: [] }));
  });

  suite.it("holds {prefix, empty} to a prefix that was never used", async ({ kv }) => {
    applied(await kv.commit({ if: [{ prefix: "never/used/", empty: true }], then: [] }));
  });

  suite.it("fails {prefix, empty} for one key anywhere below, and for the key that equals it", async ({ kv }) => {
    for (const key of ["a/b", "a/b/c/d", "a/", "a/\u{10ffff}"]) {
      await write(kv, { [key]: "" });
      refused(await kv.commit({ if: [{ prefix: "a/", empty: true }], then: [put("a/new", "")] }));
      expect(await texts(kv)).toEqual({ [key]: "" });
      await remove(kv, key);
      applied(await kv.commit({ if: [{ prefix: "a/", empty: true }], then: [] }));
    }
  });

  suite.it("is not told otherwise about an empty prefix by the keys beside it", async ({ kv }) => {
    await write(kv, { a: "", "a.": "", a0: "", ab: "", "b/": "" });
    applied(await kv.commit({ if: [{ prefix: "a/", empty: true }], then: [] }));
    refused(await kv.commit({ if: [{ prefix: "a", empty: true }], then: [] }));
    refused(await kv.commit({ if: [{ prefix: "", empty: true }], then: [] }));
  });

  suite.it("takes a prefix for empty once its leased keys are revoked", async ({ kv, leases }, scene) => {
    const lease = await leases.grant({ ttlMs: scene.timing.ttlMs });
    await write(kv, { "a/1": "", "a/2": "" }, lease);
    refused(await kv.commit({ if: [{ prefix: "a/", empty: true }], then: [] }));
    await lease.revoke();
    applied(await kv.commit({ if: [{ prefix: "a/", empty: true }], then: [] }));
  });

  suite.it("holds {prefix, noneModifiedAfter} until a key there is created or written again", async ({ kv }) => {
    await write(kv, { "a/1": "", "a/2": "", b: "" });
    const since = (revision: bigint) => kv.commit({ if: [{ prefix: "a/", noneModifiedAfter: revision }], then: [] });
    for (const change of [{ "a/3": "" }, { "a/1": "" }, { "a/": "" }, { "a/\u{10ffff}": "" }, { "a/b/c": "" }]) {
      const { revision } = await kv.list("a/");
      applied(await since(revision));
      const written = await write(kv, change);
      refused(await since(revision));
      refused(await since(written - 1n));
      applied(await since(written));
      applied(await since(written + 1n));
    }
  });

  suite.it("holds {prefix, noneModifiedAfter} whatever is deleted, or written beside the prefix", async ({ kv }) => {
    await write(kv, { "a/1": "", "a/2": "" });
    const { revision } = await kv.list("a/");
    const unchanged = { if: [{ prefix: "a/", noneModifiedAfter: revision }], then: [] } as const;
    await write(kv, { a: "", "a.": "", a0: "", ab: "", "b/": "" });
    applied(await kv.commit(unchanged));
    refused(await kv.commit({ if: [{ prefix: "a", noneModifiedAfter: revision }], then: [] }));
    refused(await kv.commit({ if: [{ prefix: "", noneModifiedAfter: revision }], then: [] }));
    await remove(kv, "a/1");
    applied(await kv.commit(unchanged));
    await write(kv, { "a/1": "" });
    refused(await kv.commit(unchanged));
    await remove(kv, "a/1");
    applied(await kv.commit(unchanged));
  });

  suite.it("holds {prefix, noneModifiedAfter} for any revision where there is nothing", async ({ kv }) => {
    for (const revision of [-(2n ** 70n), -1n, 0n, 1n, 2n ** 63n - 1n, 2n ** 70n])
      applied(await kv.commit({ if: [{ prefix: "a/", noneModifiedAfter: revision }], then: [] }));
    await write(kv, { "a/1": "" });
    for (const revision of [-(2n ** 70n), -1n, 0n])
      refused(await kv.commit({ if: [{ prefix: "a/", noneModifiedAfter: revision }], then: [] }));
    for (const revision of [2n ** 63n - 1n, 2n ** 70n])
      applied(await kv.commit({ if: [{ prefix: "a/", noneModifiedAfter: revision }], then: [] }));
  });

  suite.it("puts under a prefix at once only one of many who saw nothing newer there", async ({ kv }) => {
    await write(kv, { "a/first": "" });
    const { revision } = await kv.list("a/");
    const commits = await Promise.all(
      numbered(20).map((name) =>
        kv.commit({ if: [{ prefix: "a/", noneModifiedAfter: revision }], then: [put(`a/${name}`, "")] }),
      ),
    );
    expect(commits.filter(({ succeeded }) => succeeded)).toHaveLength(1);
    expect(Object.keys(await texts(kv, "a/"))).toHaveLength(2);
  });

  suite.it("fails when any one of many conditions fails", async ({ kv }) => {
    const created = await write(kv, { a: "" });
    const holding: Condition[] = [
      { key: "a", exists: true },
      { key: "b", exists: false },
      { key: "a", created },
      { key: "a", modified: created },
      { prefix: "c/", empty: true },
      { prefix: "a", noneModifiedAfter: created },
    ];
    applied(await kv.commit({ if: holding, then: [] }));
    const failing: Condition[] = [
      { key: "a", exists: false },
      { key: "b", exists: true },
      { key: "a", created: created + 1n },
      { key: "a", modified: created + 1n },
      { prefix: "a", empty: true },
      { prefix: "a", noneModifiedAfter: created - 1n },
    ];
    for (const [index, condition] of failing.entries()) {
      refused(await kv.commit({ if: holding.with(index, condition), then: [put("written", "")] }));
      refused(await kv.commit({ if: [...holding, condition], then: [put("written", "")] }));
    }
    expect(await kv.get("written")).toBeUndefined();
  });

  suite.it("judges conditions by the state before the transaction's own writes", async ({ kv }) => {
    const create = await kv.commit({
      if: [
        { key: "a", exists: false },
        { prefix: "", empty: true },
      ],
      then: [put("a", ""), put("b", "")],
    });
    applied(create);
    const { created } = await present(kv, "a");
    applied(await kv.commit({ if: [{ key: "a", created }], then: [{ delete: "a" }] }));
    expect(await texts(kv)).toEqual({ b: "" });
  });

  suite.it("takes as many conditions as its limits say", async ({ kv, limits }) => {
    const keys = numbered(limits.maxOperations);
    const allAbsent = keys.map((key) => ({ key, exists: false }));
    applied(await kv.commit({ if: allAbsent, then: [put(keys.at(-1) as string, "")] }));
    refused(await kv.commit({ if: allAbsent, then: [put("never", "")] }));
    expect(Object.keys(await texts(kv))).toEqual([keys.at(-1)]);
  });
}
