import { connect } from "@conclave/core";
import { describe, expect, it } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { type Redis, startRedis, startSentinel } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { redis } from "../src/index.ts";
import { Ledger } from "./ledger.ts";
import { binary, codeOf, Follower, put, timed } from "./rig.ts";

async function startTrio(): Promise<{ primary: Redis; replica: Redis; sentinel: Redis } & AsyncDisposable> {
  const primary = await startRedis({ binary: binary() });
  const replica = await startRedis({ binary: binary(), replicaOf: primary });
  const sentinel = await startSentinel({ binary: binary(), primary, downAfterMs: 500 });
  await eventually(async () => ((await sentinel.call("SENTINEL", "REPLICAS", "main")) as unknown[]).length === 1, {
    timeoutMs: 20_000,
  });
  return {
    primary,
    replica,
    sentinel,
    async [Symbol.asyncDispose]() {
      for (const server of [sentinel, replica, primary]) await server.stop();
    },
  };
}

function seeds(...servers: readonly Redis[]): { host: string; port: number }[] {
  return servers.map(({ port }) => ({ host: "127.0.0.1", port }));
}

describe.each(redisBinaries())("a primary that Sentinels name, on $name", () => {
  it("is replaced by them when it dies, and its clients go on at the next one", { timeout: 90_000 }, async () => {
    await using trio = await startTrio();
    const { primary, replica, sentinel } = trio;
    // From then on a replica is sent what clients are told is done; before, it is kept for it.
    await eventually(async () => (await primary.info("replication"))["slave0"]?.includes("state=online") === true);
    await using writer = await redis({ sentinels: seeds(sentinel), name: "main" }).connect();
    await using watcher = await redis({ sentinels: seeds(sentinel), name: "main" }).connect();
    await using conclave = await connect(writer, { ttlMs: 20_000 });
    const hold = await conclave.mutex("m").acquire();
    const follower = await Follower.of(watcher, "k/");
    const ledger = new Ledger("k/");
    ledger.startWriters(writer, 4);
    await ledger.acknowledges(200);
    await replicated(primary);
    const killed = performance.now();
    await primary.kill();
    await ledger.acknowledges(200);
    const backMs = performance.now() - killed;
    await ledger.stop();
    expect(backMs).toBeLessThan(15_000);
    expect(ledger).toMatchObject({ failures: [], twice: [], backwards: [] });
    const { lost, ghosts } = await ledger.audit(writer);
    expect(ghosts).toEqual([]);
    // What was under way to the replica when the primary died may be lost, and nothing older.
    expect(lost.length).toBeLessThan(50);
    await follower.agreesWith(writer);
    expect((await replica.info("replication"))["role"]).toBe("master");
    expect(hold.isHeld()).toBe(true);
    expect((await writer.kv.get(hold.key))?.lease).toBeDefined();
  });

  it("is left when it is demoted while it lives, without a call failing or being done twice", {
    timeout: 90_000,
  }, async () => {
    await using trio = await startTrio();
    const { primary, replica, sentinel } = trio;
    await using writer = await redis({ sentinels: seeds(sentinel), name: "main" }).connect();
    const follower = await Follower.of(writer, "k/");
    const ledger = new Ledger("k/");
    ledger.startWriters(writer, 4);
    await ledger.acknowledges(200);
    await sentinel.call("SENTINEL", "FAILOVER", "main");
    await eventually(async () => (await primary.info("replication"))["role"] === "slave", { timeoutMs: 20_000 });
    await ledger.acknowledges(200);
    await ledger.stop();
    expect(ledger).toMatchObject({ failures: [], twice: [], backwards: [] });
    expect((await ledger.audit(writer)).ghosts).toEqual([]);
    expect((await replica.info("replication"))["role"]).toBe("master");
    await follower.agreesWith(writer);
  });

  it("is left when it is demoted by hand, although it keeps its connections open", { timeout: 60_000 }, async () => {
    await using trio = await startTrio();
    const { primary, replica, sentinel } = trio;
    await using writer = await redis({ sentinels: seeds(sentinel), name: "main" }).connect();
    await using conclave = await connect(writer, { ttlMs: 5_000 });
    const hold = await conclave.mutex("m").acquire();
    const follower = await Follower.of(writer, "k/");
    await writer.kv.commit({ then: [put("k/before")] });
    await eventually(async () => Number(await replica.call("HLEN", "{conclave}:entries")) >= 2);
    await sentinel.call("SENTINEL", "REMOVE", "main");
    await replica.promote();
    await primary.follow(replica);
    await sentinel.call("SENTINEL", "MONITOR", "main", "127.0.0.1", `${replica.port}`, "1");
    const after = await timed(writer.kv.commit({ then: [put("k/after")] }));
    expect(after.value.succeeded).toBe(true);
    await eventually(() => follower.state.size === 2);
    expect(follower).toMatchObject({ gaps: 0, disorder: 0, failure: undefined });
    expect(String(await replica.call("CLIENT", "LIST"))).toContain("name=conclave:calls ");
    await eventually(async () => !String(await primary.call("CLIENT", "LIST")).includes("name=conclave:"));
    expect(hold.isHeld()).toBe(true);
  });

  it("is found through the Sentinels that live, and not at all when none does or none knows it", {
    timeout: 60_000,
  }, async () => {
    await using trio = await startTrio();
    const gone = { host: "127.0.0.1", port: 1 };
    for (const sentinels of [
      [gone, ...seeds(trio.sentinel)],
      [...seeds(trio.sentinel), gone],
    ]) {
      await using backend = await redis({ sentinels, name: "main" }).connect();
      expect((await backend.kv.commit({ then: [put("a")] })).succeeded).toBe(true);
    }
    const connectTimeoutMs = 500;
    const none = await timed(codeOf(redis({ sentinels: [gone], name: "main", connectTimeoutMs }).connect()));
    expect(none.value).toBe("UNAVAILABLE");
    expect(none.tookMs).toBeLessThan(900);
    const unknown = redis({ sentinels: seeds(trio.sentinel), name: "other", connectTimeoutMs }).connect();
    await expect(unknown).rejects.toMatchObject({ code: "UNAVAILABLE", message: expect.stringContaining('"other"') });
  });
});

/** Waits until the replica says that it has all which the primary has now. */
async function replicated(primary: Redis): Promise<void> {
  const { master_repl_offset: wanted } = await primary.info("replication");
  await eventually(
    async () => {
      const [, offset] = /offset=(\d+)/.exec((await primary.info("replication"))["slave0"] ?? "") ?? [];
      return Number(offset) >= Number(wanted);
    },
    { timeoutMs: 20_000 },
  );
}
