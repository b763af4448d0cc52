import { describe, expect, it } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { type RedisCluster, startRedisCluster } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { redis } from "../src/index.ts";
import { Ledger } from "./ledger.ts";
import { binary, codeOf, Follower, put, timed } from "./rig.ts";

function nodesOf({ members }: Pick<RedisCluster, "members">): { host: string; port: number }[] {
  return members.map(({ port }) => ({ host: "127.0.0.1", port }));
}

async function slotOf(cluster: RedisCluster, space: string): Promise<number> {
  return Number(await cluster.members[0]?.call("CLUSTER", "KEYSLOT", `{${space}}:meta`));
}

describe.each(redisBinaries())("a cluster, on $clusterName", () => {
  it("whose slot moves to and fro under load does each write once, and its watches miss nothing", {
    timeout: 90_000,
  }, async () => {
    await using cluster = await startRedisCluster({ binary: binary() });
    const slot = await slotOf(cluster, "conclave");
    await using writer = await redis({ nodes: nodesOf(cluster) }).connect();
    await using watcher = await redis({ nodes: nodesOf(cluster) }).connect();
    const followers = await Promise.all(["k/", ""].map((prefix) => Follower.of(watcher, prefix)));
    const lease = await writer.leases.grant({ ttlMs: 60_000 });
    await writer.kv.commit({ then: [put("held", "", lease)] });
    const ledger = new Ledger("k/");
    ledger.startWriters(writer, 6);
    for (let move = 0; move < 8; move++) {
      await ledger.acknowledges(60);
      await lease.keepAlive();
      await cluster.moveSlot(slot, cluster.members[move % 2] as (typeof cluster.members)[number]);
    }
    await ledger.acknowledges(60);
    await ledger.stop();
    expect(ledger).toMatchObject({ failures: [], twice: [], backwards: [] });
    // A server says for sure that it did not do what it sends elsewhere.
    expect([ledger.undone.size, ledger.unknown.size]).toEqual([0, 0]);
    expect(await ledger.audit(writer)).toEqual({ lost: [], ghosts: [] });
    expect(ledger.done.size).toBeGreaterThan(500);
    for (const follower of followers) {
      await follower.agreesWith(writer);
      expect(follower).toMatchObject({ disorder: 0, failure: undefined, gaps: 0 });
    }
    // Many requests, and long ones, that all go to the wrong member: each is told so, and none is cut off by another's.
    const long = { if: [{ key: "never", exists: true }], then: [put("never", "x".repeat(60_000))] } as const;
    for (let move = 0; move < 4; move++) {
      await cluster.moveSlot(slot, cluster.members[move % 2] as (typeof cluster.members)[number]);
      const commits = await Promise.all(Array.from({ length: 40 }, () => writer.kv.commit(long)));
      expect(commits.some(({ succeeded }) => succeeded)).toBe(false);
    }
    expect((await writer.kv.get("held"))?.lease).toBe(lease.id);
  });

  it("is found through whichever member is given, and through those that were not once it is", {
    timeout: 30_000,
  }, async () => {
    await using cluster = await startRedisCluster({ binary: binary(), nodes: 3 });
    const [first, second, third] = cluster.members;
    if (first === undefined || second === undefined || third === undefined)
      throw new Error("three members were asked for");
    await cluster.moveSlot(await slotOf(cluster, "conclave"), third);
    for (const seed of nodesOf(cluster)) {
      await using backend = await redis({ nodes: [seed] }).connect();
      expect((await backend.kv.commit({ then: [put(`k/${seed.port}`)] })).succeeded).toBe(true);
    }
    await using backend = await redis({ nodes: nodesOf({ members: [first] }) }).connect();
    expect((await backend.kv.list("k/")).entries).toHaveLength(3);
    // What we were told of is asked when what we were given is gone.
    await cluster.moveSlot(await slotOf(cluster, "conclave"), second);
    for (const member of cluster.members) await member.call("CONFIG", "SET", "cluster-require-full-coverage", "no");
    await first.kill();
    await third.kill();
    await eventually(async () => expect((await backend.kv.list("k/")).entries).toHaveLength(3), { timeoutMs: 10_000 });
  });

  it("that is down, or splits the slot for longer than a call waits, leaves everything undone", {
    timeout: 30_000,
  }, async () => {
    await using cluster = await startRedisCluster({ binary: binary() });
    const slot = await slotOf(cluster, "conclave");
    const [to, from] = cluster.members as [RedisCluster["members"][number], RedisCluster["members"][number]];
    await cluster.moveSlot(slot, from);
    await using backend = await redis({ nodes: nodesOf(cluster) }).connect();
    await backend.kv.commit({ then: [put("a")] });
    const [toId, fromId] = [await to.call("CLUSTER", "MYID"), await from.call("CLUSTER", "MYID")];
    await to.call("CLUSTER", "SETSLOT", `${slot}`, "IMPORTING", String(fromId));
    await from.call("CLUSTER", "SETSLOT", `${slot}`, "MIGRATING", String(toId));
    // Some keys here, some there.
    await from.call("MIGRATE", "127.0.0.1", `${to.port}`, "", "0", "5000", "KEYS", "{conclave}:meta");
    for (const call of [
      backend.kv.commit({ then: [put("b")] }, { timeoutMs: 400 }),
      backend.kv.get("a", { timeoutMs: 400 }),
    ]) {
      const ended = await timed(codeOf(call));
      expect(ended.value).toBe("UNAVAILABLE");
      expect(ended.tookMs).toBeLessThan(700);
    }
    const waiting = backend.kv.commit({ if: [{ key: "b", exists: false }], then: [put("b")] });
    await cluster.moveSlot(slot, to);
    expect((await waiting).succeeded).toBe(true);
    expect((await backend.kv.list("")).entries.map(({ key }) => key)).toEqual(["a", "b"]);

    // With a member gone the whole cluster refuses, once the others agree on it.
    await from.kill();
    await eventually(async () => String(await to.call("CLUSTER", "INFO")).includes("cluster_state:fail"), {
      timeoutMs: 10_000,
    });
    expect(await codeOf(backend.kv.commit({ then: [put("c")] }, { timeoutMs: 400 }))).toBe("UNAVAILABLE");
    await from.restart();
    await eventually(async () =>
      expect(await codeOf(backend.kv.commit({ then: [put("c")] }))).toHaveProperty("resolved"),
    );
  });
});
