import { systemClock } from "@conclave/core/backend";
import { describe, expect, it } from "vitest";
import { type Etcd, type EtcdCluster, startCluster } from "../../../test/harness/etcd-process.ts";
import { eventually } from "../../../test/harness/eventually.ts";
import { etcdBinaries } from "../../../test/harness/servers.ts";
import { startProxy } from "../../../test/harness/tcp-proxy.ts";
import { type EtcdOptions, etcd } from "../src/index.ts";
import { codeOf, connectTo, put, Reading, timed, writeMany } from "./rig.ts";

/** A client that starts with one member and knows the others. */
function startingWith(first: Etcd, cluster: EtcdCluster, options: Partial<EtcdOptions> = {}) {
  const others = cluster.members.filter((member) => member !== first);
  const endpoints = [first, ...others].map(({ endpoint }) => endpoint);
  return etcd({ endpoints, clock: { ...systemClock, random: () => 0 }, ...options }).connect();
}

describe.each(etcdBinaries())("a cluster of etcd $version", ({ binary }) => {
  it("whose leader is killed shows no error to reads, keeps leases, and loses no change of a watch", {
    timeout: 60_000,
  }, async () => {
    await using cluster = await startCluster({ binary });
    const leader = await cluster.leader();
    await using backend = await startingWith(leader, cluster);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    const lease = await backend.leases.grant({ ttlMs: 8_000 });
    await backend.kv.commit({ then: [put("leased", "", lease)] });
    const errors: unknown[] = [];
    const outcomes = { done: 0, unknown: 0 };
    let stop = false;
    const readings = (async () => {
      while (!stop) await backend.kv.get("leased").catch((error: unknown) => errors.push(error));
    })();
    const renewals = (async () => {
      while (!stop) {
        await lease.keepAlive({ timeoutMs: 5_000 }).catch((error: unknown) => errors.push(error));
        await new Promise((resolve) => setTimeout(resolve, 200));
      }
    })();
    const done: string[] = [];
    const writes = (async () => {
      for (let index = 0; !stop; index++) {
        const code = await codeOf(backend.kv.commit({ then: [put(`k/${index}`)] }));
        if (code === "OUTCOME_UNKNOWN") outcomes.unknown++;
        else if (typeof code === "object") done.push(`k/${index}`);
        else errors.push(code);
      }
    })();
    await eventually(() => done.length > 50);
    await leader.kill();
    const atKill = done.length;
    await eventually(() => done.length > atKill + 50, { timeoutMs: 15_000 });
    stop = true;
    await Promise.all([readings, renewals, writes]);
    expect(errors).toEqual([]);
    await eventually(() => expect(new Set(reading.keys).size).toBeGreaterThanOrEqual(done.length));
    expect(reading.gaps).toBe(0);
    const seen = reading.keys;
    expect(new Set(seen).size).toBe(seen.length);
    expect(done.filter((key) => !seen.includes(key))).toEqual([]);
    expect(outcomes.unknown).toBeLessThan(5);
    expect(await lease.keepAlive()).toBe(8_000);
  });

  it("one member of which stands still is left for the others: calls, leases and watches", {
    timeout: 60_000,
  }, async () => {
    await using cluster = await startCluster({ binary });
    const leader = await cluster.leader();
    const follower = cluster.members.find((member) => member !== leader) as Etcd;
    await using backend = await startingWith(follower, cluster);
    await using writer = await connectTo(leader.endpoint);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    const lease = await backend.leases.grant({ ttlMs: 6_000 });
    await lease.keepAlive();
    follower.pause();
    const read = await timed(backend.kv.get("k/0"));
    const renewal = await timed(lease.keepAlive());
    const written = await writeMany(writer, "k/", 5);
    const watched = await timed(reading.saw(written.at(-1) as string, 15_000));
    expect(read.tookMs).toBeLessThan(4_000);
    expect(renewal.tookMs).toBeLessThan(3_000);
    expect(watched.tookMs).toBeLessThan(6_000);
    expect(reading.keys).toEqual(written);
    follower.resume();
  });

  it("without a majority answers no call and grants no lease, and takes up again where it was", {
    timeout: 60_000,
  }, async () => {
    await using cluster = await startCluster({ binary });
    const [first, second, third] = cluster.members as [Etcd, Etcd, Etcd];
    await using backend = await startingWith(first, cluster);
    await using lonely = await connectTo(first.endpoint);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    await backend.kv.commit({ then: [put("k/before")] });
    await Promise.all([second.kill(), third.kill()]);
    const [read, write, grant] = await Promise.all([
      codeOf(backend.kv.get("k/before", { timeoutMs: 1_500 })),
      codeOf(backend.kv.commit({ then: [put("k/during")] }, { timeoutMs: 1_500 })),
      codeOf(backend.leases.grant({ ttlMs: 5_000, timeoutMs: 1_500 })),
    ]);
    // It takes the member a while to notice; a watch that would stay silent is refused from then on.
    await eventually(
      async () => {
        const watch = lonely.watches.watch({ prefix: "k/" }, { timeoutMs: 1_000 });
        const refused = await watch.catch((error: unknown) => error);
        expect(refused).toMatchObject({ code: "UNAVAILABLE", cause: { message: "etcdserver: no leader" } });
      },
      { timeoutMs: 15_000 },
    );
    expect(read).toBe("UNAVAILABLE");
    expect(write).toBeOneOf(["OUTCOME_UNKNOWN", "UNAVAILABLE"]);
    expect(grant).toBeOneOf(["OUTCOME_UNKNOWN", "UNAVAILABLE"]);
    await Promise.all([second.restart(), third.restart()]);
    await eventually(async () => (await codeOf(backend.kv.commit({ then: [put("k/after")] }))) !== "UNAVAILABLE", {
      timeoutMs: 15_000,
    });
    await reading.saw("k/after", 15_000);
    expect(reading.gaps).toBe(0);
    expect(reading.keys.filter((key) => key !== "k/during")).toEqual(["k/before", "k/after"]);
  });

  it("one way to which turns into a black hole is reached by another", { timeout: 60_000 }, async () => {
    await using cluster = await startCluster({ binary });
    await using proxy = await startProxy(cluster.endpoints[0] as string);
    const endpoints = [proxy.url, cluster.endpoints[1] as string];
    await using backend = await etcd({ endpoints, clock: { ...systemClock, random: () => 0 } }).connect();
    await using writer = await connectTo(cluster.endpoints[2] as string);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    const lease = await backend.leases.grant({ ttlMs: 4_000 });
    await lease.keepAlive();
    proxy.blackHole();
    const renewal = await timed(lease.keepAlive({ timeoutMs: 3_000 }));
    expect(renewal.value).toBe(4_000);
    expect(renewal.tookMs).toBeLessThan(2_500);
    const written = await writeMany(writer, "k/", 3);
    // Pings, which etcd wants no oftener than every five seconds, would take longer.
    await reading.saw(written.at(-1) as string, 6_500);
    expect(reading.keys).toEqual(written);
    expect((await backend.kv.commit({ then: [put("own")] })).succeeded).toBe(true);
  });
});
