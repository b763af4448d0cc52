import type { Backend, Watch, WatchBatch } from "@conclave/core/backend";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { type Redis, startRedis } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { startProxy } from "../../../test/harness/tcp-proxy.ts";
import { Connection } from "../src/connection.ts";
import { RedisKv } from "../src/kv.ts";
import { settingsFrom } from "../src/options.ts";
import { Route } from "../src/route.ts";
import { changesKey, keysOf } from "../src/script.ts";
import { Horizon, Space } from "../src/space.ts";
import { RedisWatches } from "../src/watches.ts";
import { binary, codeOf, connectThrough, connectTo, put, startSlowLine } from "./rig.ts";

const keys = keysOf("conclave");
const changes = keys[changesKey] as string;

/** Reads a watch in the background. */
function read(watch: Watch): WatchBatch[] {
  const batches: WatchBatch[] = [];
  (async () => {
    for await (const batch of watch) batches.push(batch);
  })().catch(() => {});
  return batches;
}

/** Batches as short as can be compared: "gap", or the keys that changed, "-" before those that are gone. */
function told(batches: readonly WatchBatch[]): string[] {
  return batches.map((batch) =>
    "gap" in batch ? "gap" : batch.changes.map(({ key, entry }) => (entry ? key : `-${key}`)).join(" "),
  );
}

const numbered = (count: number, prefix: string) => Array.from({ length: count }, (_, index) => `${prefix}${index}`);

// Many keys take a busy machine long.
describe.each(redisBinaries())("a watch of Redis, on $name", { timeout: 60_000 }, () => {
  let server: Redis;
  let writer: Backend;
  const open: AsyncDisposable[] = [];

  beforeEach(async () => {
    server = await startRedis({ binary: binary() });
    writer = await connectTo(server);
  });

  afterEach(async () => {
    for (const each of open.splice(0)) await each[Symbol.asyncDispose]();
    await writer[Symbol.asyncDispose]();
    await server.stop();
  });

  const use = <T extends AsyncDisposable>(resource: T): T => {
    open.push(resource);
    return resource;
  };
  const write = (...written: string[]) => writer.kv.commit({ then: written.map((key) => put(key)) });

  /** As a failover to a replica that lags: all of the space's keys as they were at this moment, later. */
  const remember = async (): Promise<() => Promise<void>> => {
    for (const key of keys) await server.call("COPY", key, `${key}:then`, "REPLACE");
    return async () => {
      for (const key of keys) {
        await server.call("DEL", key);
        await server.call("COPY", `${key}:then`, key, "REPLACE");
      }
    };
  };

  it("goes on where it was after its connection broke, and misses nothing of what is kept", async () => {
    const { backend, proxy } = use(await connectThrough(server));
    const batches = read(await backend.watches.watch({ prefix: "" }));
    await write("before");
    await eventually(() => told(batches).length === 1);
    await proxy.refuse();
    const written = numbered(3_000, "while away ");
    for (let from = 0; from < 3_000; from += 100) {
      await Promise.all(written.slice(from, from + 100).map((key) => writer.kv.commit({ then: [put(key)] })));
    }
    await proxy.heal();
    await eventually(() => batches.length === 3_001, { timeoutMs: 10_000 });
    expect(told(batches)).toHaveLength(new Set(told(batches)).size);
    expect(told(batches)).not.toContain("gap");
    expect(
      batches.slice(1).every((batch, index) => "revision" in batch && batch.revision > revisionOf(batches[index])),
    ).toBe(true);
  });

  it("tells of a gap when what it missed is no longer kept, and goes on from there", async () => {
    const { backend, proxy } = use(await connectThrough(server));
    const batches = read(await backend.watches.watch({ prefix: "seen/" }));
    await write("seen/before");
    await eventually(() => batches.length === 1);
    await proxy.refuse();
    await write("seen/missed");
    for (const key of numbered(500, "")) await write(key);
    await server.call("XTRIM", changes, "MAXLEN", "100");
    await proxy.heal();
    await eventually(() => batches.length > 1, { timeoutMs: 10_000 });
    await write("seen/after");
    await eventually(() => told(batches).at(-1) === "seen/after");
    expect(told(batches)).toEqual(["seen/before", "gap", "seen/after"]);
  });

  it("tells of a gap when the history that it read is lost, whether or not another has begun", async () => {
    for (const another of [true, false]) {
      const { backend, proxy } = use(await connectThrough(server));
      await write("kept");
      const restore = await remember();
      const batches = read(await backend.watches.watch({ prefix: "" }));
      await write("lost");
      await eventually(() => batches.length === 1);
      await proxy.refuse();
      await restore();
      if (another) await write("another");
      await proxy.heal();
      await eventually(() => told(batches).includes("gap"), { timeoutMs: 5_000 });
      const { entries, revision } = await backend.kv.list("");
      expect(entries.map(({ key }) => key)).toEqual(["another", "kept"]);
      expect(revision).toBeGreaterThanOrEqual(revisionOf(batches[0]));
      await write("after");
      await eventually(() => told(batches).at(-1) === "after");
      expect(told(batches).filter((each) => each === "gap")).toHaveLength(1);
      expect(revisionOf(batches.at(-1))).toBeGreaterThan(revisionOf(batches[0]));
      await writer.kv.commit({ then: [{ delete: "after" }] });
    }
  });

  it("tells of a gap soon after everything was wiped, though its connection lives and nobody writes", async () => {
    const batches = read(await writer.watches.watch({ prefix: "" }));
    const revision = (await write("key")).revision;
    await eventually(() => batches.length === 1);
    await server.call("FLUSHALL");
    await eventually(() => told(batches).includes("gap"), { timeoutMs: 2_000 });
    expect((await write("again")).revision).toBeGreaterThan(revision);
    await eventually(() => batches.length === 3);
    expect(told(batches)).toEqual(["key", "gap", "again"]);
  });

  it("shows the 10,000 keys of a lease go in one batch", async () => {
    const lease = await writer.leases.grant({ ttlMs: 60_000 });
    const leased = numbered(10_000, "leased/");
    for (let from = 0; from < leased.length; from += 100) {
      await writer.kv.commit({ then: leased.slice(from, from + 100).map((key) => put(key, "", lease)) });
    }
    const watcher = use(await connectTo(server));
    const batches = read(await watcher.watches.watch({ prefix: "leased/" }));
    await lease.revoke();
    await eventually(() => batches.length > 0);
    await write("leased/after");
    await eventually(() => told(batches).at(-1) === "leased/after");
    expect(batches).toHaveLength(2);
    expect(told(batches)[0]?.split(" ").sort()).toEqual(leased.map((key) => `-${key}`).sort());
  });

  it("gives a reader who leaves too much lying what lies there, then a gap, then what comes", async () => {
    const watch = await writer.watches.watch({ prefix: "" });
    const large = "x".repeat(500 * 1024);
    for (const key of numbered(60, "")) await writer.kv.commit({ then: [put(key, large)] });
    const other = read(await writer.watches.watch({ prefix: "" }));
    await write("last");
    await eventually(() => other.length === 1);
    const batches = read(watch);
    await eventually(() => told(batches).includes("gap"));
    await write("after");
    await eventually(() => told(batches).at(-1) === "after");
    const seen = told(batches);
    expect(seen).toEqual([...numbered(seen.length - 2, ""), "gap", "after"]);
    expect(seen.length).toBeGreaterThan(20);
    expect(seen.length).toBeLessThan(50);
  });

  it("shows one batch that is too much by itself", async () => {
    const lease = await writer.leases.grant({ ttlMs: 600_000 });
    const leased = numbered(36_000, "leased/");
    for (let from = 0; from < leased.length; from += 1_000) {
      const lots = Array.from({ length: 10 }, (_, lot) => leased.slice(from + lot * 100, from + lot * 100 + 100));
      await Promise.all(lots.map((lot) => writer.kv.commit({ then: lot.map((key) => put(key, "", lease)) })));
    }
    const batches = read(await writer.watches.watch({ prefix: "leased/" }));
    await lease.revoke();
    await eventually(() => batches.length > 0, { timeoutMs: 20_000 });
    expect(told(batches)[0]?.split(" ")).toHaveLength(leased.length);
  });

  it("hears within moments that a lease is over, when nobody calls", async () => {
    const watcher = use(await connectTo(server));
    const batches = read(await watcher.watches.watch({ key: "leased" }));
    // Whoever ticks knows when the next lease ends, unless that was granted and is over between two ticks.
    for (const [ttlMs, mostMs] of [
      [100, watcher.guarantees.expiryLagMs + 50],
      [700, 100],
      [1_000, 100],
    ] as const) {
      const lateMs: number[] = [];
      for (let round = 0; round < 3; round++) {
        batches.length = 0;
        const lease = await writer.leases.grant({ ttlMs });
        const grantedMs = performance.now();
        await writer.kv.commit({ then: [put("leased", "", lease)] });
        await eventually(() => told(batches).includes("-leased"), { timeoutMs: ttlMs + 5_000, everyMs: 5 });
        lateMs.push(performance.now() - grantedMs - ttlMs);
      }
      // A busy machine may be late itself, now and then.
      expect(Math.min(...lateMs)).toBeLessThan(mostMs);
    }
  });

  it("shows nothing that its client had seen before it asked", async () => {
    const first = read(await writer.watches.watch({ prefix: "" }));
    const watches: WatchBatch[][] = [];
    for (const key of numbered(50, "")) {
      await write(key);
      watches.push(read(await writer.watches.watch({ prefix: "" })));
    }
    await write("last");
    await eventually(() => [first, ...watches].every((batches) => told(batches).at(-1) === "last"));
    for (const [index, batches] of watches.entries())
      expect(told(batches)).toEqual([...numbered(50, "").slice(index + 1), "last"]);
  });

  it("costs nothing once it ended: a client without watches asks nothing", async () => {
    const calls = async () => Number((await server.info("stats"))["total_commands_processed"]);
    const watch = await writer.watches.watch({ prefix: "" });
    await watch[Symbol.asyncDispose]();
    await new Promise((resolve) => setTimeout(resolve, 1_700));
    const before = await calls();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    // The look itself is one, and its answer counts it or not.
    expect((await calls()) - before).toBeLessThan(3);
    const batches = read(await writer.watches.watch({ prefix: "" }));
    await write("key");
    await eventually(() => told(batches).includes("key"));
  });

  it("ends with CORRUPT where the stream has something that others wrote, rather than say nothing", async () => {
    const watch = await writer.watches.watch({ prefix: "" });
    const ended = codeOf(watch[Symbol.asyncIterator]().next());
    await server.call("XADD", changes, "*", "by", "hand");
    expect(await ended).toBe("CORRUPT");
  });

  it("brings a lot over a slow line, however long that takes", async () => {
    const line = use(await startSlowLine(server.port, 2_000));
    const watcher = use(await connectTo(line));
    const batches = read(await watcher.watches.watch({ prefix: "" }));
    const values = numbered(40, "");
    for (const key of values) await writer.kv.commit({ then: [put(key, "x".repeat(250_000))] });
    await eventually(() => batches.length === values.length, { timeoutMs: 20_000 });
    expect(told(batches)).toEqual(values);
  });

  it.each(["nobody", "somebody"])(
    "shows a gap where a write that it had not heard of is lost, and %s writes on",
    async (who) => {
      const settings = settingsFrom({ url: server.url });
      const line = use(await startProxy(server.url));
      const calls = new Connection(new Route(settings), "calls");
      const events = new Connection(new Route(settingsFrom({ url: line.url })), "events");
      open.push({
        [Symbol.asyncDispose]: async () => {
          calls.close();
          events.close();
        },
      });
      const space = new Space("conclave", calls, new Horizon());
      const batches = read(await new RedisWatches(space, events, settings.clock).watch({ prefix: "" }));
      await write("kept");
      await eventually(() => told(batches).length === 1);
      const failOver = await remember();
      await line.refuse();
      await new RedisKv(space).commit({ then: [put("lost")] });
      await failOver();
      // This one has seen nothing of what was lost.
      await using other = await connectTo(server);
      if (who === "somebody") await other.kv.commit({ then: [put("later")] });
      await line.heal();
      const wanted = ["kept", "gap", ...(who === "somebody" ? ["later"] : [])];
      await eventually(() => told(batches).length === wanted.length, { timeoutMs: 10_000 });
      expect(told(batches)).toEqual(wanted);
    },
  );

  it("looks for another connection when it hears nothing of what the store says has happened", async () => {
    const former = await startRedis({ binary: binary() });
    open.push({ [Symbol.asyncDispose]: () => former.stop() });
    const settings = settingsFrom({ url: server.url });
    const calls = new Connection(new Route(settings), "calls");
    const events = new Connection(new Route(settingsFrom({ url: former.url })), "events");
    open.push({
      [Symbol.asyncDispose]: async () => {
        calls.close();
        events.close();
      },
    });
    const connections = async () => {
      const list = String(await former.call("CLIENT", "LIST"));
      return /id=(\d+) .*name=conclave:events/.exec(list)?.[1];
    };
    const watches = new RedisWatches(new Space("conclave", calls, new Horizon()), events, settings.clock);
    read(await watches.watch({ prefix: "" }));
    await eventually(async () => (await connections()) !== undefined);
    const first = await connections();
    await write("unheard");
    await eventually(
      async () => {
        const now = await connections();
        return now !== undefined && now !== first;
      },
      { timeoutMs: 6_000 },
    );
  });
});

function revisionOf(batch: WatchBatch | undefined): bigint {
  return batch !== undefined && "revision" in batch ? batch.revision : 0n;
}
