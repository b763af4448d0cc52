import { describe, expect, it } from "vitest";
import { startEtcd } from "../../../test/harness/etcd-process.ts";
import { eventually } from "../../../test/harness/eventually.ts";
import { etcdBinaries, etcdServers } from "../../../test/harness/servers.ts";
import { codeOf, connectThrough, connectTo, corner, put, timed } from "./rig.ts";

describe.each(etcdServers())("a lease on etcd $version", (server) => {
  it.each(["refuse", "blackHole", "stall"] as const)(
    "is known not to be renewed, when the network turns to %s, before its keys go",
    async (fault) => {
      await using witness = await connectTo(server.endpoint);
      await using rig = await connectThrough(server.endpoint);
      const key = `${corner()}leased`;
      const lease = await rig.backend.leases.grant({ ttlMs: 3_000 });
      await rig.backend.kv.commit({ then: [put(key, "", lease)] });
      await lease.keepAlive();
      await rig.proxy[fault]();
      const renewal = await timed(codeOf(lease.keepAlive({ timeoutMs: 1_000 })));
      expect(renewal.value).toBeOneOf(["UNAVAILABLE", "OUTCOME_UNKNOWN"]);
      expect(renewal.tookMs).toBeLessThan(1_300);
      expect(await witness.kv.get(key)).toBeDefined();
    },
  );

  it.each(["refuse", "blackHole"] as const)(
    "lives on when the network turns to %s for a third of its life",
    async (fault) => {
      await using rig = await connectThrough(server.endpoint);
      const lease = await rig.backend.leases.grant({ ttlMs: 5_000 });
      await lease.keepAlive();
      await rig.proxy[fault]();
      const renewal = lease.keepAlive({ timeoutMs: 4_500 });
      await new Promise((resolve) => setTimeout(resolve, 1_600));
      await rig.proxy.heal();
      expect(await renewal).toBe(5_000);
      await lease.revoke();
    },
  );

  it("is not mistaken for another when answers come late", async () => {
    await using rig = await connectThrough(server.endpoint);
    const [long, short] = [
      await rig.backend.leases.grant({ ttlMs: 60_000 }),
      await rig.backend.leases.grant({ ttlMs: 30_000 }),
    ];
    await long.keepAlive();
    rig.proxy.stall();
    expect(await codeOf(long.keepAlive({ timeoutMs: 200 }))).toBe("OUTCOME_UNKNOWN");
    await rig.proxy.heal();
    expect(await short.keepAlive()).toBe(30_000);
    expect(await long.keepAlive()).toBe(60_000);
    await short.revoke();
    expect(await Promise.all([codeOf(short.keepAlive()), long.keepAlive()])).toEqual(["LEASE_LOST", 60_000]);
    await long.revoke();
  });

  it("is not kept alive after its revoke, whatever happened to the connection while the process stood still", async () => {
    await using witness = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const key = `${corner()}leased`;
    const lease = await rig.backend.leases.grant({ ttlMs: 2_000 });
    await rig.backend.kv.commit({ then: [put(key, "", lease)] });
    const renewal = codeOf(lease.keepAlive());
    rig.proxy.cut();
    for (const end = performance.now() + 1_000; performance.now() < end; );
    await renewal;
    await lease.revoke();
    expect(await witness.kv.get(key)).toBeUndefined();
    expect(await codeOf(lease.keepAlive())).toBe("LEASE_LOST");
  });

  it("lives at least as long as was asked, in whole seconds, and says how long", async () => {
    await using backend = await connectTo(server.endpoint);
    for (const [asked, least] of [
      [1, 1_000],
      [1_000, 1_000],
      [2_500, 3_000],
      [7_001, 8_000],
    ] as const) {
      const lease = await backend.leases.grant({ ttlMs: asked });
      // What is too short for its elections the server raises.
      expect(lease.ttlMs).toBe(Math.max(least, 2_000));
      expect(await lease.keepAlive()).toBe(lease.ttlMs);
      await lease.revoke();
    }
    for (const ttlMs of [0, -1, Number.NaN, 24 * 60 * 60 * 1_000 + 1]) {
      expect(await codeOf(backend.leases.grant({ ttlMs }))).toBeInstanceOf(RangeError);
    }
  });

  it("has an id that reads as Go prints it", async () => {
    await using backend = await connectTo(server.endpoint);
    const key = `${corner()}leased`;
    const lease = await backend.leases.grant({ ttlMs: 30_000 });
    expect(lease.id).toMatch(/^[1-9a-f][0-9a-f]{0,15}$/);
    expect(BigInt(`0x${lease.id}`)).toBeLessThan(2n ** 63n);
    await backend.kv.commit({ then: [put(key, "", lease)] });
    expect((await backend.kv.get(key))?.lease).toBe(lease.id);
    await lease.revoke();
  });

  it("renews a hundred times at once", async () => {
    await using backend = await connectTo(server.endpoint);
    const lease = await backend.leases.grant({ ttlMs: 30_000 });
    const answers = await Promise.all(Array.from({ length: 100 }, () => lease.keepAlive()));
    expect(answers).toEqual(answers.map(() => 30_000));
    await lease.revoke();
  });
});

describe.each(etcdBinaries())("a lease on an etcd $version of its own", ({ binary, etcdctl: _ }) => {
  it("outlives a server that stands still for a moment, and is not renewed by one that does not answer", async () => {
    await using server = await startEtcd({ binary });
    await using backend = await connectTo(server.endpoint);
    const lease = await backend.leases.grant({ ttlMs: 6_000 });
    await lease.keepAlive();
    server.pause();
    // It may still answer what it was about to.
    const renewal = await eventually(async () => {
      const attempt = await timed(codeOf(lease.keepAlive({ timeoutMs: 700 })));
      return attempt.value === "OUTCOME_UNKNOWN" && attempt;
    });
    expect(renewal.tookMs).toBeLessThan(1_000);
    server.resume();
    expect(await lease.keepAlive()).toBe(6_000);
  });

  it("leaves no other lease behind, however many replies to its grant were lost", async () => {
    await using server = await startEtcd({ binary });
    await using rig = await connectThrough(server.endpoint);
    const granted = [];
    for (let round = 0; round < 3; round++) {
      const lost = [rig.proxy.dropNextReply(), rig.proxy.dropNextReply()];
      granted.push((await rig.backend.leases.grant({ ttlMs: 60_000 })).id);
      await Promise.all(lost);
    }
    const listed = (await server.etcdctl("lease", "list"))
      .split("\n")
      .slice(1)
      .filter((line) => line !== "");
    expect(listed.sort()).toEqual(granted.map((id) => id.padStart(16, "0")).sort());
  });

  it("shows etcdctl the id under which we know it", async () => {
    await using server = await startEtcd({ binary });
    await using backend = await connectTo(server.endpoint);
    const lease = await backend.leases.grant({ ttlMs: 60_000 });
    await backend.kv.commit({ then: [put("k", "", lease)] });
    expect(await server.etcdctl("lease", "timetolive", lease.id, "--keys")).toMatch(/granted with TTL\(60s\).*\[k\]/);
    await server.etcdctl("lease", "revoke", lease.id);
    expect(await codeOf(lease.keepAlive())).toBe("LEASE_LOST");
    expect(await codeOf(backend.kv.commit({ then: [put("k", "", lease)] }))).toBe("LEASE_LOST");
    await eventually(async () => expect(await backend.kv.get("k")).toBeUndefined());
  });
});
