import { encode } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { present, put, remove, textOf, texts, write } from "../entries.ts";

/** What one entry shows, and what it never mixes up. */
export function reads(suite: Suite): void {
  suite.it("gives nothing for a key that is not there", async ({ kv }) => {
    expect(await kv.get("absent")).toBeUndefined();
  });

  suite.it("gives an entry its key, its value and no lease", async ({ kv }) => {
    await write(kv, { key: "value" });
    const entry = await present(kv, "key");
    expect(entry.key).toBe("key");
    expect(entry.value).toBeInstanceOf(Uint8Array);
    expect(textOf(entry)).toBe("value");
    expect(entry.lease).toBeUndefined();
  });

  suite.it("gives a new key one revision, that of the commit that created it", async ({ kv }) => {
    const revision = await write(kv, { key: "value" });
    expect(await present(kv, "key")).toMatchObject({ created: revision, modified: revision });
  });

  suite.it("keeps created and raises modified when a key is written again", async ({ kv }) => {
    const first = await write(kv, { key: "one" });
    const second = await write(kv, { key: "two" });
    const entry = await present(kv, "key");
    expect(entry).toMatchObject({ created: first, modified: second });
    expect(second).toBeGreaterThan(first);
    expect(textOf(entry)).toBe("two");
  });

  suite.it("raises modified even when the value stays the same", async ({ kv }) => {
    const first = await write(kv, { key: "same" });
    await write(kv, { key: "same" });
    expect((await present(kv, "key")).modified).toBeGreaterThan(first);
  });

  suite.it("gives nothing for a key that was deleted", async ({ kv }) => {
    await write(kv, { key: "value" });
    await remove(kv, "key");
    expect(await kv.get("key")).toBeUndefined();
  });

  suite.it("gives a key that was deleted and written anew a later created", async ({ kv }) => {
    const first = await write(kv, { key: "one" });
    expect(await present(kv, "key")).toMatchObject({ created: first });
    const deleted = await remove(kv, "key");
    const again = await write(kv, { key: "one" });
    const entry = await present(kv, "key");
    expect(entry).toMatchObject({ created: again, modified: again });
    expect(again).toBeGreaterThan(deleted);
  });

  suite.it("does not take a key for one that begins like it", async ({ kv }) => {
    await write(kv, { "ab/c": "value" });
    for (const key of ["a", "ab", "ab/", "ab/cd"]) expect(await kv.get(key)).toBeUndefined();
  });

  suite.it("holds a key, a key below it and a key that ends in a slash as three keys", async ({ kv }) => {
    await write(kv, { a: "1", "a/": "2", "a/b": "3", "a//b": "4" });
    await remove(kv, "a/");
    expect(await texts(kv)).toEqual({ a: "1", "a/b": "3", "a//b": "4" });
  });

  const oddKeys = [
    "/",
    "//",
    ".",
    "..",
    "a/../b",
    " ",
    "a b",
    "%2F",
    "*",
    "[a]",
    "\n",
    "\u007f",
    "\u0001",
    "\\",
    "'\"`",
    "{a}",
  ];
  suite.it("holds keys of any characters but NUL", async ({ kv }) => {
    const odd = Object.fromEntries(oddKeys.map((key, index) => [key, String(index)]));
    await write(kv, odd);
    expect(await texts(kv)).toEqual(odd);
    for (const key of oddKeys) expect(textOf(await kv.get(key))).toBe(odd[key]);
  });

  suite.it("tells keys apart by their bytes: letter case and Unicode normal form count", async ({ kv }) => {
    const keys = { Key: "1", key: "2", "\u00e9": "3", "e\u0301": "4", "\u{1f512}": "5" };
    await write(kv, keys);
    expect(await texts(kv)).toEqual(keys);
  });

  suite.it("holds any bytes as a value", async ({ kv }) => {
    const value = Uint8Array.from({ length: 1024 }, (_, index) => (index * 7 + (index >> 8)) & 255);
    await kv.commit({ then: [{ put: "key", value }] });
    expect(Array.from((await present(kv, "key")).value)).toEqual(Array.from(value));
    expect(Array.from((await kv.list("key")).entries[0]?.value ?? [])).toEqual(Array.from(value));
  });

  suite.it("tells an empty value from an absent key", async ({ kv }) => {
    await write(kv, { key: "" });
    expect((await present(kv, "key")).value).toHaveLength(0);
  });

  suite.it("holds a view of a larger buffer as the bytes in view", async ({ kv }) => {
    await kv.commit({ then: [{ put: "key", value: encode("-middle-").subarray(1, 7) }] });
    expect(textOf(await kv.get("key"))).toBe("middle");
  });

  suite.it("keeps a value apart from the arrays that callers hold", async ({ kv }) => {
    const given = encode("value");
    await kv.commit({ then: [{ put: "key", value: given }] });
    given.fill(0);
    const shown = await present(kv, "key");
    expect(textOf(shown)).toBe("value");
    shown.value.fill(0);
    expect(textOf(await kv.get("key"))).toBe("value");
  });

  suite.it("holds a key of as many bytes as its limits say", async (_, scene) => {
    const { kv, limits } = await scene.connectUnscoped();
    for (const letter of ["x", "\u{1f512}"]) {
      const [room, size] = [limits.maxKeyBytes - scene.prefix.length, encode(letter).length];
      const key = scene.prefix + "-".repeat(room % size) + letter.repeat(Math.floor(room / size));
      expect(encode(key)).toHaveLength(limits.maxKeyBytes);
      await kv.commit({ then: [put(key, letter)] });
      expect(textOf(await kv.get(key))).toBe(letter);
      expect((await kv.list(key)).entries).toHaveLength(1);
    }
  });

  suite.it("holds a value of as many bytes as its limits say", async ({ kv, limits }, scene) => {
    const most = Math.min(limits.maxValueBytes, limits.maxTxnBytes - encode(`${scene.prefix}key`).length);
    const value = new Uint8Array(most).map((_, index) => (index * 31) & 255);
    await kv.commit({ then: [{ put: "key", value }] });
    const entry = await present(kv, "key");
    expect(entry.value).toHaveLength(most);
    expect(Buffer.compare(entry.value, value)).toBe(0);
  });
}
