import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { fill, keysOf, numbered, put, remove, textOf, texts, write } from "../entries.ts";

/** What a list gives: a cut of a prefix, in order, and only what was asked for. */
export function lists(suite: Suite): void {
  suite.it("lists nothing, and no more, where nothing was ever written", async ({ kv }) => {
    const listing = await kv.list("untouched/");
    expect(listing).toMatchObject({ entries: [], more: false });
    expect(typeof listing.revision).toBe("bigint");
  });

  suite.it("lists the same entries that get gives", async ({ kv }) => {
    await write(kv, { a: "1", b: "2" });
    await write(kv, { a: "3" });
    const { entries } = await kv.list("");
    expect(entries).toEqual([await kv.get("a"), await kv.get("b")]);
  });

  suite.it("lists a prefix with the key that equals it, and nothing beside it", async ({ kv }) => {
    await write(kv, { "a/": "", "a/b": "", "a/b/c": "", a: "", a0: "", ab: "", b: "", "A/b": "" });
    expect(keysOf(await kv.list("a/"))).toEqual(["a/", "a/b", "a/b/c"]);
    expect(keysOf(await kv.list("a"))).toEqual(["a", "a/", "a/b", "a/b/c", "a0", "ab"]);
  });

  const borders = ["\u007f", "\u00ff", "\u07ff", "\ud7ff", "\uffff", "\u{10ffff}"];
  suite.it("lists no neighbour of a prefix that ends in the last character of its kind", async ({ kv }) => {
    await fill(kv, [...borders, ...borders.map((border) => `${border}/x`), "\u0080", "\ue000", "\u0800", "\u{10000}"]);
    for (const border of borders) expect(keysOf(await kv.list(border))).toEqual([border, `${border}/x`]);
  });

  suite.it("lists everything in its corner for the empty prefix", async ({ kv }) => {
    await write(kv, { a: "1", "b/c": "2", "\u{1f512}": "3" });
    expect(keysOf(await kv.list(""))).toEqual(["a", "b/c", "\u{1f512}"]);
  });

  suite.it("orders keys by their UTF-8 bytes, in which astral characters come last", async ({ kv }) => {
    const inOrder = ["A", "B", "Z", "a", "a\u0001", "a!", "a/", "a0", "aa", "é", "\u{ffff}", "\u{10000}", "\u{1f512}"];
    await fill(kv, [...inOrder].reverse());
    expect(keysOf(await kv.list(""))).toEqual(inOrder);
    expect(keysOf(await kv.list("", { order: "key" }))).toEqual(inOrder);
  });

  suite.it("orders by creation, oldest or newest first, however the keys were written since", async ({ kv }) => {
    for (const key of ["b", "c", "a"]) await write(kv, { [key]: "" });
    await write(kv, { b: "again" });
    expect(keysOf(await kv.list("", { order: "oldest" }))).toEqual(["b", "c", "a"]);
    expect(keysOf(await kv.list("", { order: "newest" }))).toEqual(["a", "c", "b"]);
  });

  suite.it("counts a key that was deleted and written anew among the youngest", async ({ kv }) => {
    for (const key of ["a", "b"]) await write(kv, { [key]: "" });
    await remove(kv, "a");
    await write(kv, { a: "" });
    expect(keysOf(await kv.list("", { order: "oldest" }))).toEqual(["b", "a"]);
  });

  suite.it("orders entries of one revision by key, whether oldest or newest come first", async ({ kv }) => {
    await write(kv, { z: "" });
    await fill(kv, ["d", "b", "\u{10000}", "c", "a", "\uffff"]);
    await write(kv, { y: "" });
    const tied = ["a", "b", "c", "d", "\uffff", "\u{10000}"];
    expect(keysOf(await kv.list("", { order: "oldest" }))).toEqual(["z", ...tied, "y"]);
    expect(keysOf(await kv.list("", { order: "newest" }))).toEqual(["y", ...tied, "z"]);
    expect(keysOf(await kv.list("", { order: "newest", limit: 3 }))).toEqual(["y", "a", "b"]);
  });

  suite.it("gives at most as many as the limit, and says whether it left any out", async ({ kv }) => {
    await fill(kv, ["a", "b", "c"]);
    const limited = async (limit: number) => {
      const listing = await kv.list("", { limit });
      return [keysOf(listing).join(""), listing.more];
    };
    expect(await limited(1)).toEqual(["a", true]);
    expect(await limited(2)).toEqual(["ab", true]);
    expect(await limited(3)).toEqual(["abc", false]);
    expect(await limited(4)).toEqual(["abc", false]);
  });

  suite.it("applies the limit after the order", async ({ kv }) => {
    for (const key of ["b", "c", "a", "d"]) await write(kv, { [key]: "" });
    expect(await kv.list("", { order: "newest", limit: 2 })).toMatchObject({
      entries: [{ key: "d" }, { key: "a" }],
      more: true,
    });
    expect(await kv.list("", { order: "oldest", limit: 1 })).toMatchObject({ entries: [{ key: "b" }], more: true });
  });

  suite.it("leaves out what was created at createdBefore or later, whenever it was modified", async ({ kv }) => {
    await write(kv, { c: "" });
    const second = await write(kv, { a: "" });
    await write(kv, { b: "" });
    await write(kv, { c: "modified since" });
    expect(keysOf(await kv.list("", { createdBefore: second }))).toEqual(["c"]);
    expect(keysOf(await kv.list("", { createdBefore: second + 1n }))).toEqual(["a", "c"]);
    expect(keysOf(await kv.list("", { createdBefore: 0n }))).toEqual([]);
  });

  suite.it("counts only what is older than createdBefore towards the limit", async ({ kv }) => {
    for (const key of ["d", "c"]) await write(kv, { [key]: "" });
    const third = await write(kv, { b: "" });
    await write(kv, { a: "" });
    const older = { createdBefore: third };
    expect(await kv.list("", { ...older, limit: 2 })).toMatchObject({
      entries: [{ key: "c" }, { key: "d" }],
      more: false,
    });
    expect(await kv.list("", { ...older, limit: 1, order: "newest" })).toMatchObject({
      entries: [{ key: "c" }],
      more: true,
    });
  });

  suite.it("starts after a key, whether that key is there or not", async ({ kv }) => {
    await fill(kv, ["p/a", "p/a/b", "p/c", "q"]);
    const after = async (startAfter: string) => keysOf(await kv.list("p/", { startAfter }));
    expect(await after("p/a")).toEqual(["p/a/b", "p/c"]);
    expect(await after("p/a0")).toEqual(["p/c"]);
    expect(await after("p/c")).toEqual([]);
    expect(await after("a")).toEqual(["p/a", "p/a/b", "p/c"]);
    expect(await after("z")).toEqual([]);
    expect(await kv.list("p/", { startAfter: "p/a", limit: 1 })).toMatchObject({
      entries: [{ key: "p/a/b" }],
      more: true,
    });
  });

  suite.it("starts after a key in byte order, past astral characters", async ({ kv }) => {
    await fill(kv, ["\uffff", "\u{10000}"]);
    expect(keysOf(await kv.list("", { startAfter: "\uffff" }))).toEqual(["\u{10000}"]);
    expect(keysOf(await kv.list("", { startAfter: "\u{10000}" }))).toEqual([]);
  });

  suite.it("leaves values out, and nothing else, when asked for keys only", async ({ kv, leases }, scene) => {
    const lease = await leases.grant({ ttlMs: scene.timing.ttlMs });
    await kv.commit({ then: [put("a", "value", lease), put("b", "value", lease)] });
    const [whole, keys] = [await kv.list(""), await kv.list("", { keysOnly: true })];
    expect(keys.entries).toEqual(whole.entries.map((entry) => ({ ...entry, value: new Uint8Array(0) })));
    expect(whole.entries.map(textOf)).toEqual(["value", "value"]);
    await lease.revoke();
  });

  suite.it("lists at a revision that is none of its entries' future", async ({ kv }) => {
    const revision = await write(kv, { a: "1" });
    const listing = await kv.list("");
    expect(listing.revision).toBeGreaterThanOrEqual(revision);
    await write(kv, { b: "2" });
    expect((await kv.list("")).revision).toBeGreaterThan(listing.revision);
  });

  suite.it("lists 1,250 keys whole and in order", async ({ kv }) => {
    const keys = numbered(1_250, "many/");
    await fill(kv, keys, "text");
    const listing = await kv.list("many/");
    expect(keysOf(listing)).toEqual(keys);
    expect(listing.more).toBe(false);
    expect(new Set(Object.values(await texts(kv)))).toEqual(new Set(["text"]));
  });
}
