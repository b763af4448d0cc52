import { type Backend, decode, encode, scoped } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { keys, put, world } from "./kit.ts";

const scopes: [string, (backend: Backend) => Backend][] = [
  ["one prefix", (backend) => scoped(backend, "in/side/")],
  ["two nested ones", (backend) => scoped(scoped(backend, "in/"), "side/")],
];

describe.each(scopes)("a backend seen through %s", (_, view) => {
  test("reads, lists, writes and deletes only what is inside, by keys without the prefix", async () => {
    const { other } = await world();
    for (const key of ["a", "in/a", "in/side/a", "in/side/b/c", "in/sidecar", "z"]) await put(other, key, key);
    const inside = view(other);
    expect(await keys(inside)).toEqual(["a", "b/c"]);
    expect((await inside.kv.get("a"))?.key).toBe("a");
    for (const outside of ["in/a", "z", "../a", "/a"]) expect(await inside.kv.get(outside)).toBeUndefined();
    const { results } = await inside.kv.commit({
      if: [
        { key: "a", exists: true },
        { key: "z", exists: false },
        { prefix: "in", empty: true },
        { prefix: "z", noneModifiedAfter: 0n },
      ],
      then: [{ put: "d", value: encode("new") }, { delete: "z" }, { delete: "a" }, { get: "b/c" }, { list: "" }],
    });
    expect(results[1]).toBe(false);
    expect(results[2]).toBe(true);
    expect(results[3]).toMatchObject({ key: "b/c", value: encode("in/side/b/c") });
    expect(results[4]).toMatchObject({ entries: [{ key: "b/c" }, { key: "d" }], more: false });
    expect(await keys(other)).toEqual(["a", "in/a", "in/side/b/c", "in/side/d", "in/sidecar", "z"]);
  });

  test("conditions, and reads when they fail, concern what is inside", async () => {
    const { other } = await world();
    await put(other, "a");
    const inside = view(other);
    const refused = await inside.kv.commit({
      if: [{ key: "a", exists: true }],
      then: [{ delete: "a" }],
      else: [{ get: "a" }, { list: "", startAfter: "a" }],
    });
    expect(refused).toMatchObject({ succeeded: false, results: [undefined, { entries: [] }] });
    await put(inside, "a", "mine");
    const { created, modified } = (await inside.kv.get("a")) ?? { created: -1n, modified: -1n };
    for (const condition of [
      { key: "a", created },
      { key: "a", modified },
    ]) {
      expect((await inside.kv.commit({ if: [condition], then: [] })).succeeded).toBe(true);
    }
    expect((await inside.kv.commit({ if: [{ prefix: "", empty: true }], then: [] })).succeeded).toBe(false);
    await put(other, "a", "later, and outside");
    const unchanged = { if: [{ prefix: "", noneModifiedAfter: modified }], then: [] };
    expect((await inside.kv.commit(unchanged)).succeeded).toBe(true);
    expect((await other.kv.commit(unchanged)).succeeded).toBe(false);
  });

  test("pages through what is inside with startAfter", async () => {
    const { other } = await world();
    for (const key of ["in/side/a", "in/side/b", "in/side/c", "zzz"]) await put(other, key);
    const inside = view(other);
    const page = await inside.kv.list("", { limit: 1, startAfter: "a" });
    expect([page.entries.map(({ key }) => key), page.more]).toEqual([["b"], true]);
    const { results } = await inside.kv.commit({ then: [{ list: "", startAfter: "b", limit: 5 }] });
    expect(results[0]).toMatchObject({ entries: [{ key: "c" }], more: false });
  });

  test("watches what is inside, by keys without the prefix", async () => {
    const { clock, other } = await world();
    const inside = view(other);
    const seen: string[] = [];
    const follow = async (range: { key: string } | { prefix: string }) => {
      for await (const batch of await inside.watches.watch(range)) {
        if ("gap" in batch) continue;
        for (const { key, entry } of batch.changes)
          seen.push(`${key}=${entry && `${entry.key}:${decode(entry.value)}`}`);
      }
    };
    void follow({ prefix: "b/" }).catch(() => {});
    void follow({ key: "a" }).catch(() => {});
    await clock.advance(0);
    for (const key of ["a", "b/1", "in/side/a", "in/side/b/1", "in/side/c"]) await put(other, key, "x");
    await other.kv.commit({ then: [{ delete: "in/side/a" }] });
    await clock.advance(0);
    expect(seen.sort()).toEqual(["a=a:x", "a=undefined", "b/1=b/1:x"]);
  });

  test("is a view: disposing it disposes nothing", async () => {
    const { other } = await world();
    await view(other)[Symbol.asyncDispose]();
    await scoped(other, "")[Symbol.asyncDispose]();
    await expect(put(view(other), "a")).resolves.toBeDefined();
  });
});

test("a scope's prefix must be text that every store can hold", async () => {
  const { other } = await world();
  expect(() => scoped(other, "a\0")).toThrow(RangeError);
  expect(() => scoped(other, 5 as never)).toThrow(TypeError);
});

describe("a view through a prefix", () => {
  test("counts the prefix into what a key may measure, and refuses what is no key", async () => {
    const { other } = await world();
    const inside = scoped(other, "é/");
    expect(inside.limits.maxKeyBytes).toBe(509);
    await put(inside, "k".repeat(509));
    await expect(put(inside, "k".repeat(510))).rejects.toThrow("at most 509 bytes");
    for (const key of ["", 5]) await expect(inside.kv.get(key as string)).rejects.toThrow(/^key must be/);
  });

  test("is closed by itself", async () => {
    const { other } = await world();
    const inside = scoped(other, "in/");
    await inside[Symbol.asyncDispose]();
    await expect(inside.kv.get("a")).rejects.toMatchObject({ code: "CLOSED" });
    expect(await other.kv.get("in/a")).toBeUndefined();
  });
});
