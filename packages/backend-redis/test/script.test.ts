import { decode, encode, type KV, type Lease, systemClock } from "@conclave/core/backend";
import { Redis as Client } from "ioredis";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Redis, startRedis } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { decodeEntries, decodePosition, isBefore, isSamePosition, type StreamEntry } from "../src/changes.ts";
import type { Connection } from "../src/connection.ts";
import { RedisKv } from "../src/kv.ts";
import { RedisLeases } from "../src/leases.ts";
import type { Reply } from "../src/link.ts";
import { changesKey, store } from "../src/script.ts";
import { Horizon, Space } from "../src/space.ts";

/** A client as plain as can be: the script, and what it is told and answers, without the ways to a server that fails. */
class Bare {
  readonly space: Space;
  readonly kv: KV;
  readonly leases: RedisLeases;
  readonly client: Client;

  constructor(port: number, name: string) {
    this.client = new Client({ port, maxRetriesPerRequest: 0 });
    const run: Connection["run"] = ({ script, keys, args }) =>
      this.client.callBuffer("EVALSHA", [script.sha1, keys.length, ...keys, ...(args as string[])]) as Promise<Reply>;
    this.space = new Space(name, { run } as Connection, new Horizon());
    this.kv = new RedisKv(this.space);
    this.leases = new RedisLeases(this.space, systemClock);
  }

  async changes(after = "-"): Promise<readonly StreamEntry[]> {
    const key = this.space.keys[changesKey] as string;
    const entries = (await this.client.callBuffer("XRANGE", [key, after, "+"])) as Reply;
    return decodeEntries([[Buffer.from(key), entries]]);
  }

  async tick(): Promise<{ readonly dueMs: number; readonly tail: string }> {
    const { answer } = await this.space.call({ name: "tick", effect: "read", args: [] }, undefined);
    const [dueMs, tail] = answer as readonly [number, Buffer];
    return { dueMs, tail: String(tail) };
  }

  async put(key: string, value = "", lease?: Lease): Promise<bigint> {
    return (await this.kv.commit({ then: [{ put: key, value: encode(value), lease }] })).revision;
  }

  async fill(keys: readonly string[], lease?: Lease): Promise<void> {
    for (let from = 0; from < keys.length; from += 100) {
      const then = keys.slice(from, from + 100).map((key) => ({ put: key, value: encode(key), lease }));
      await this.kv.commit({ then });
    }
  }
}

const numbered = (count: number, prefix = "") =>
  Array.from({ length: count }, (_, index) => `${prefix}${String(index).padStart(6, "0")}`);

// Many keys take a busy machine long.
describe.each(redisBinaries())("the script, on $name", { timeout: 60_000 }, ({ binary }) => {
  let redis: Redis;
  const opened: Client[] = [];
  let spaces = 0;

  beforeAll(async () => {
    redis = await startRedis({ binary });
    await redis.call("SCRIPT", "LOAD", store.source);
  });

  afterAll(async () => {
    for (const client of opened) client.disconnect();
    await redis.stop();
  });

  /** A client of a space of its own, or of another client's. */
  const open = (name = `s${spaces++}`): Bare => {
    const bare = new Bare(redis.port, name);
    opened.push(bare.client);
    return bare;
  };

  it("keeps values as they are, byte for byte, and an empty one apart from none", async () => {
    const { kv } = open();
    const value = Uint8Array.from({ length: 512 }, (_, index) => index % 256);
    await kv.commit({
      then: [
        { put: "all", value },
        { put: "empty", value: new Uint8Array(0) },
      ],
    });
    expect((await kv.get("all"))?.value).toEqual(value);
    expect((await kv.get("empty"))?.value).toEqual(new Uint8Array(0));
    expect((await kv.list("")).entries.map((entry) => entry.value.length)).toEqual([512, 0]);
    expect(await kv.get("none")).toBeUndefined();
  });

  it("calls CORRUPT what it did not write", async () => {
    const bare = open();
    await bare.client.hset(bare.space.keys[1] as string, "short", "x", "long", "y".repeat(100));
    for (const key of ["short", "long"]) await expect(bare.kv.get(key)).rejects.toMatchObject({ code: "CORRUPT" });
  });

  it("gives a value of 512 KiB back", async () => {
    const { kv } = open();
    const value = new Uint8Array(512 * 1024 - 3).fill(7);
    await kv.commit({ then: [{ put: "key", value }] });
    expect(Buffer.compare((await kv.get("key"))?.value as Uint8Array, value)).toBe(0);
  });

  it("lists 30,000 keys in one cut, in the order of their bytes, whichever order is asked for", async () => {
    const bare = open();
    const { kv } = bare;
    const keys = numbered(30_000, "p/");
    await bare.fill(keys);
    for (const order of ["key", "oldest"] as const) {
      const { entries, more } = await kv.list("p/", { order });
      expect(entries.length).toBe(keys.length);
      expect(entries.every((entry, index) => entry.key === keys[index] && decode(entry.value) === entry.key)).toBe(
        true,
      );
      expect(more).toBe(false);
    }
  });

  it("orders by creation alike with its index, without a limit, and where keys lie deeper", async () => {
    const bare = open();
    const { kv } = bare;
    const keys = ["d", "b", "f", "a", "e", "c"];
    for (const pair of [keys.slice(0, 2), keys.slice(2, 5), keys.slice(5)]) {
      await kv.commit({ then: pair.map((key) => ({ put: `p/${key}`, value: encode("") })) });
    }
    await bare.put("p/b", "again");
    const [oldest, newest] = ["bdaefc", "caefbd"];
    const third = (await kv.get("p/c"))?.created as bigint;
    const look = async () => {
      for (const limit of [1, 2, 3, 4, 5, 6, 7, undefined]) {
        for (const createdBefore of [undefined, third]) {
          for (const [order, all] of [
            ["oldest", oldest],
            ["newest", newest],
          ] as const) {
            const wanted = createdBefore === undefined ? all : all.replace("c", "");
            const { entries, more } = await kv.list("p/", { order, limit, createdBefore });
            expect(entries.map(({ key }) => key.slice(2)).join("")).toBe(wanted.slice(0, limit));
            expect(more).toBe(wanted.length > (limit ?? 7));
          }
        }
      }
    };
    await look();
    await bare.put("p/b/deeper");
    const deeper = (await kv.list("p/", { order: "newest", limit: 1 })).entries.map(({ key }) => key);
    expect(deeper).toEqual(["p/b/deeper"]);
    expect((await kv.list("p", { order: "oldest", limit: 2 })).entries.map(({ key }) => key)).toEqual(["p/b", "p/d"]);
    await kv.commit({ then: [{ delete: "p/b/deeper" }] });
    await look();
  });

  it("finds the newest of 10,000 without reading them all", async () => {
    const bare = open();
    await bare.fill(numbered(10_000, "line/"));
    const costUs = async () =>
      Number(/usec=(\d+)/.exec((await redis.info("commandstats"))["cmdstat_evalsha"] ?? "")?.[1]);
    const before = await costUs();
    for (let round = 0; round < 20; round++) await bare.kv.list("line/", { order: "newest", limit: 1 });
    expect((await costUs()) - before).toBeLessThan(20 * 2_000);
  });

  it("holds noneModifiedAfter against every page of a large prefix", async () => {
    const bare = open();
    const { kv } = bare;
    await bare.fill(numbered(2_500, "p/"));
    const { revision } = await kv.list("p/", { keysOnly: true });
    const condition = { if: [{ prefix: "p/", noneModifiedAfter: revision }], then: [] };
    expect((await kv.commit(condition)).succeeded).toBe(true);
    await bare.put("p/002400", "again");
    expect((await kv.commit(condition)).succeeded).toBe(false);
    await kv.commit({ then: [{ delete: "p/002400" }] });
    expect((await kv.commit(condition)).succeeded).toBe(true);
  });

  it("takes conditions on revisions that no store ever has", async () => {
    const bare = open();
    const { kv } = bare;
    await bare.put("key");
    for (const revision of [-1n, 0n, 2n ** 63n - 1n, 2n ** 70n]) {
      for (const condition of [
        { key: "key", created: revision },
        { key: "key", modified: revision },
      ]) {
        expect((await kv.commit({ if: [condition], then: [] })).succeeded).toBe(false);
      }
      const none = await kv.commit({ if: [{ prefix: "", noneModifiedAfter: revision }], then: [] });
      expect(none.succeeded).toBe(revision > 1n);
      for (const order of ["key", "oldest", "newest"] as const) {
        for (const limit of [1, undefined]) {
          const { entries } = await kv.list("", { order, limit, createdBefore: revision });
          expect(entries).toHaveLength(revision > 1n ? 1 : 0);
        }
      }
    }
  });

  it("takes the 10,000 keys of a lease away at one revision, told in parts that belong together", async () => {
    const bare = open();
    const lease = await bare.leases.grant({ ttlMs: 60_000 });
    const keys = numbered(10_000, "leased/");
    await bare.fill(keys, lease);
    await bare.put("free");
    const { tail } = await bare.tick();
    await lease.revoke();
    expect((await bare.kv.list("")).entries.map(({ key }) => key)).toEqual(["free"]);
    const parts = await bare.changes(`(${tail}`);
    expect(parts.length).toBeGreaterThan(1);
    expect(new Set(parts.map(({ at }) => at.revision)).size).toBe(1);
    expect(parts.map(({ more }) => more)).toEqual([...parts.slice(1).map(() => true), false]);
    expect(parts.flatMap(({ changes }) => changes.map(({ key }) => key))).toEqual(keys);
    const left = await Promise.all(
      ["zcard", "zcard", "zcard"].map((_, index) =>
        bare.client.zcard(bare.space.keys[[2, 3, 6][index] as number] as string),
      ),
    );
    expect(left).toEqual([1, 1, 0]);
  });

  it("has each entry of the stream name the one before it, whatever wrote it", async () => {
    const bare = open();
    const lease = await bare.leases.grant({ ttlMs: 100 });
    await bare.put("a", "", lease);
    await bare.put("b");
    await bare.kv.commit({ then: [{ delete: "b" }, { delete: "never there" }] });
    await bare.kv.commit({ then: [{ delete: "never there" }] });
    while ((await bare.tick()).dueMs >= 0) await new Promise((resolve) => setTimeout(resolve, 20));
    const entries = await bare.changes();
    expect(entries.map(({ changes }) => changes.map(({ key, packed }) => [key, packed !== undefined]))).toEqual([
      [["a", true]],
      [["b", true]],
      [["b", false]],
      [["a", false]],
    ]);
    const places = [decodePosition("0-0" as never), ...entries.map(({ at }) => at)];
    entries.forEach(({ after, at }, index) => {
      expect(isSamePosition(after, places[index] as never)).toBe(true);
      expect(isBefore(after, at)).toBe(true);
    });
    expect((await bare.tick()).tail).toBe(`${entries.at(-1)?.at.revision}-0`);
  });

  it("keeps a lease for its whole time to live and not a moment longer than anyone looks", async () => {
    const bare = open();
    for (let round = 0; round < 20; round++) {
      const startMs = performance.now();
      const lease = await bare.leases.grant({ ttlMs: 100 });
      const grantedMs = performance.now();
      await bare.put("key", "", lease);
      for (;;) {
        const askedMs = performance.now();
        const entry = await bare.kv.get("key");
        if (entry === undefined) {
          expect(performance.now() - startMs).toBeGreaterThanOrEqual(100);
          break;
        }
        expect(askedMs - grantedMs).toBeLessThan(100);
        await new Promise((resolve) => setTimeout(resolve, 2));
      }
    }
  });

  it("lets no lease end a fraction of a millisecond early", async () => {
    const bare = open();
    const leases = bare.space.keys[5] as string;
    for (let round = 0; round < 100; round++) {
      const [seconds, micros] = await bare.client.time();
      const { id } = await bare.leases.grant({ ttlMs: 60_000 });
      const endMs = Number(await bare.client.zscore(leases, id));
      expect(endMs * 1_000).toBeGreaterThanOrEqual(Number(seconds) * 1e6 + Number(micros) + 60_000_000);
    }
  });

  it("trims its stream to about 10,000 revisions, and to fewer large ones", async () => {
    const bare = open();
    const key = bare.space.keys[changesKey] as string;
    for (let from = 0; from < 12_000; from += 1_000) await Promise.all(numbered(1_000).map(() => bare.put("key")));
    const length = await bare.client.xlen(key);
    expect(length).toBeGreaterThanOrEqual(10_000);
    expect(length).toBeLessThan(10_500);
    const value = "x".repeat(500 * 1024);
    for (let round = 0; round < 300; round++) await bare.put("key", value);
    const memory = Number(await bare.client.call("MEMORY", ["USAGE", key]));
    expect(memory).toBeGreaterThan(30 * 1024 * 1024);
    expect(memory).toBeLessThan(100 * 1024 * 1024);
  });

  it("never gives a revision out again, though it lost everything and nobody remembers", async () => {
    const bare = open("wiped");
    let last = 0n;
    for (let round = 0; round < 20; round++) {
      const revision = await bare.put("key");
      expect(revision).toBeGreaterThan(last);
      last = revision;
      await redis.call("DEL", ...bare.space.keys);
      bare.space.horizon.seen = 0n;
    }
  });

  it("goes on above what a client has seen of a history that is lost", async () => {
    const [one, other] = [open("lost"), open("lost")];
    const lost = await one.put("key");
    one.space.horizon.note(lost + 60_000_000n);
    await redis.call("DEL", ...one.space.keys);
    expect((await one.kv.list("")).revision).toBeGreaterThanOrEqual(lost + 60_000_000n);
    expect(await other.put("key")).toBeGreaterThan(lost + 60_000_000n);
  });

  it("refuses reads where it may not write: a replica, or a primary that lost its replicas", async () => {
    const bare = open();
    await bare.put("key");
    const replica = await startRedis({ binary, replicaOf: redis });
    await replica.call("SCRIPT", "LOAD", store.source);
    const reader = new Bare(replica.port, "s0");
    try {
      await expect(reader.kv.get("all")).rejects.toThrow(/READONLY/);
      await redis.call("CONFIG", "SET", "min-replicas-to-write", "3");
      await expect(bare.kv.get("key")).rejects.toThrow(/NOREPLICAS/);
    } finally {
      await redis.call("CONFIG", "SET", "min-replicas-to-write", "0");
      reader.client.disconnect();
      await replica.stop();
    }
  });

  it("refuses what enlarges a store without room, and still renews, reads, deletes and ends leases", async () => {
    const bare = open();
    const lease = await bare.leases.grant({ ttlMs: 60_000 });
    await bare.put("leased", "", lease);
    await bare.put("key");
    await redis.call("CONFIG", "SET", "maxmemory", "1");
    try {
      await expect(bare.put("another")).rejects.toThrow(/OOM/);
      await expect(bare.leases.grant({ ttlMs: 60_000 })).rejects.toThrow(/OOM/);
      await lease.keepAlive();
      expect(await bare.kv.get("key")).toBeDefined();
      await bare.kv.commit({ then: [{ delete: "key" }] });
      await lease.revoke();
      expect((await bare.kv.list("")).entries).toEqual([]);
    } finally {
      await redis.call("CONFIG", "SET", "maxmemory", "0");
    }
  });
});
