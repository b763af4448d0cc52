import type { Lease } from "@conclave/core/backend";
import { describe, expect, it } from "vitest";
import { etcdServers } from "../../../test/harness/servers.ts";
import { decodeEntry, decodeLease, encodeLease, encodeList, encodeTxn, prefixRange, successor } from "../src/codec.ts";
import { connectTo, corner, put } from "./rig.ts";

describe("the codec", () => {
  it("never sends an end of range for a single key, nor an empty one for a prefix", () => {
    const { compare, success, failure } = encodeTxn({
      if: [
        { key: "a", exists: true },
        { prefix: "p/", empty: true },
        { prefix: "p/", noneModifiedAfter: 5n },
      ],
      then: [put("a"), { delete: "b" }, { get: "c" }, { list: "p/" }],
      else: [{ get: "a" }],
    });
    const ranges = [...(success ?? []), ...(failure ?? [])].map((operation) => Object.values(operation)[0] as object);
    expect(ranges.map((range) => "range_end" in range)).toEqual([false, false, false, true, false]);
    expect(compare?.map((condition) => "range_end" in condition)).toEqual([false, true, true]);
    expect(JSON.stringify({ compare, success, failure })).not.toContain('"range_end":{"type":"Buffer","data":[]}');
  });

  it("gives a prefix the end that its bytes have", () => {
    const end = (prefix: string) => [...prefixRange(prefix).range_end];
    expect(end("a")).toEqual([0x62]);
    expect(end("a/")).toEqual([0x61, 0x30]);
    expect(end("\u{10ffff}")).toEqual([0xf4, 0x8f, 0xbf, 0xc0]);
    expect(end("é")).toEqual([0xc3, 0xaa]);
    expect(prefixRange("")).toEqual({ key: Buffer.of(0), range_end: Buffer.of(0) });
    expect([...successor(Buffer.from("a"))]).toEqual([0x61, 0]);
  });

  it("sends enumerations as numbers, since a misspelt name would silently be another value", () => {
    const { compare } = encodeTxn({
      if: [
        { key: "a", exists: true },
        { key: "a", exists: false },
        { key: "a", created: 5n },
        { key: "a", modified: 6n },
      ],
      then: [],
    });
    expect(compare?.map(({ target, result }) => [target, result])).toEqual([
      [1, 1],
      [1, 0],
      [1, 0],
      [2, 0],
    ]);
    expect(encodeList("p/", { order: "newest", limit: 2 })).toMatchObject({
      sort_order: 2,
      sort_target: 2,
      limit: "3",
    });
    expect(encodeList("p/", { order: "oldest" })).toMatchObject({ sort_order: 1, sort_target: 2 });
  });

  it("keeps revisions and lease ids beyond what a number can hold", () => {
    const entry = decodeEntry({
      key: Buffer.from("k"),
      value: Buffer.from([0, 255]),
      create_revision: "9007199254740993",
      mod_revision: "9223372036854775807",
      version: "1",
      lease: "9223372036854775807",
    });
    expect(entry).toEqual({
      key: "k",
      value: Uint8Array.of(0, 255),
      created: 9007199254740993n,
      modified: 9223372036854775807n,
      lease: "7fffffffffffffff",
    });
    expect(encodeLease("7fffffffffffffff")).toBe("9223372036854775807");
    expect(decodeLease(encodeLease("1a"))).toBe("1a");
    expect(encodeTxn({ if: [{ key: "k", created: 9007199254740993n }], then: [] }).compare).toMatchObject([
      { create_revision: "9007199254740993" },
    ]);
    expect(() => encodeLease("not one of ours")).toThrow(TypeError);
  });

  it("holds no condition on a revision that no key can have", () => {
    for (const revision of [0n, -1n, 2n ** 63n, 2n ** 64n + 5n]) {
      const { compare } = encodeTxn({
        if: [
          { key: "k", created: revision },
          { key: "k", modified: revision },
        ],
        then: [],
      });
      expect(compare).toMatchObject([{ create_revision: "-1" }, { mod_revision: "-1" }]);
    }
  });

  it("compares what is under a prefix with the next revision, within what a revision can be", () => {
    for (const [revision, compared] of [
      [-5n, "1"],
      [0n, "1"],
      [5n, "6"],
      [2n ** 63n - 1n, "9223372036854775807"],
      [2n ** 70n, "9223372036854775807"],
    ] as const) {
      const { compare } = encodeTxn({ if: [{ prefix: "p/", noneModifiedAfter: revision }], then: [] });
      expect(compare).toMatchObject([{ target: 2, result: 2, mod_revision: compared }]);
    }
  });

  it("writes before it reads, whatever the order of the operations", () => {
    const { success } = encodeTxn({ then: [{ get: "a" }, put("a"), { list: "" }, { delete: "b" }] });
    expect(success?.map((operation) => Object.keys(operation)[0])).toEqual([
      "request_put",
      "request_delete_range",
      "request_range",
      "request_range",
    ]);
  });
});

describe.each(etcdServers())("on etcd $version", (server) => {
  it("a key is itself alone, in a read, a transaction, a delete and a condition", async () => {
    await using backend = await connectTo(server.endpoint);
    const prefix = corner();
    await backend.kv.commit({ then: [put(`${prefix}a`), put(`${prefix}a/b`), put(`${prefix}b`)] });
    expect((await backend.kv.get(`${prefix}a`))?.key).toBe(`${prefix}a`);
    expect(await backend.kv.get(prefix)).toBeUndefined();
    const commit = await backend.kv.commit({
      if: [
        { key: `${prefix}a`, exists: true },
        { key: `${prefix}0`, exists: false },
      ],
      then: [{ delete: `${prefix}a` }, { get: `${prefix}a` }, { list: prefix, keysOnly: true }],
    });
    expect(commit.succeeded && commit.results[2].entries.map(({ key }) => key)).toEqual([`${prefix}a/b`, `${prefix}b`]);
  });

  it("a condition on a revision holds for that one and for no other, nor for an absent key", async () => {
    await using backend = await connectTo(server.endpoint);
    const key = `${corner()}k`;
    const holds = async (condition: { created: bigint } | { modified: bigint }) =>
      (await backend.kv.commit({ if: [{ key, ...condition }], then: [] })).succeeded;
    expect(await Promise.all([holds({ created: 0n }), holds({ modified: 0n })])).toEqual([false, false]);
    const { revision } = await backend.kv.commit({ then: [put(key)] });
    expect(await Promise.all([-1n, 0n, 1n, 2n ** 64n].map((offset) => holds({ created: revision + offset })))).toEqual([
      false,
      true,
      false,
      false,
    ]);
    expect(await Promise.all([-1n, 0n, 1n].map((offset) => holds({ modified: revision + offset })))).toEqual([
      false,
      true,
      false,
    ]);
  });

  it("createdBefore excludes everything at the beginning of history, and nothing at its end", async () => {
    await using backend = await connectTo(server.endpoint);
    const prefix = corner();
    await backend.kv.commit({ then: [put(`${prefix}a`)] });
    const count = async (createdBefore: bigint) => (await backend.kv.list(prefix, { createdBefore })).entries.length;
    expect(await Promise.all([-5n, 0n, 1n, 2n, 2n ** 63n, 2n ** 70n].map(count))).toEqual([0, 0, 0, 0, 1, 1]);
  });

  it("a limit that cuts through the entries of one revision keeps the first by key", async () => {
    await using backend = await connectTo(server.endpoint);
    const prefix = corner();
    // Keys and revisions go criss-cross, so that the server's own sorting, which is not stable, mixes them up.
    const rounds: string[][] = [];
    for (let round = 0; round < 6; round++) {
      const names = Array.from({ length: 50 }, (_, index) => `${prefix}${(index * 37) % 50}-${(round * 5) % 6}`);
      await backend.kv.commit({ then: names.map((name) => put(name)) });
      rounds.push(names.sort());
    }
    const [oldest, newest] = [rounds.flat(), [...rounds].reverse().flat()];
    for (const limit of [1, 7, 50, 51, 123, 160, 299, 300]) {
      const listed = await backend.kv.list(prefix, { order: "oldest", limit });
      expect(listed.entries.map(({ key }) => key)).toEqual(oldest.slice(0, limit));
      expect(listed.more).toBe(limit < 300);
      const commit = await backend.kv.commit({ then: [{ list: prefix, order: "newest", limit }, put(`${corner()}x`)] });
      expect(commit.succeeded && commit.results[0].entries.map(({ key }) => key)).toEqual(newest.slice(0, limit));
    }
  });

  it("a lease of another store is refused as what it is", async () => {
    await using backend = await connectTo(server.endpoint);
    const foreign = { id: "zk-session-7", ttlMs: 1 } as Lease;
    await expect(backend.kv.commit({ then: [put("k", "", foreign)] })).rejects.toThrow(TypeError);
  });
});
