import { describe, expect, it } from "vitest";
import { runNode } from "../../../test/harness/child.ts";
import { eventually } from "../../../test/harness/eventually.ts";
import { etcdServers } from "../../../test/harness/servers.ts";
import { startProxy, type TcpProxy } from "../../../test/harness/tcp-proxy.ts";
import { codeOf, connectThrough, connectTo, corner, put, Reading, timed } from "./rig.ts";

const client = new URL("./children/busy-client.ts", import.meta.url);

describe.each(etcdServers())("closing a client of etcd $version", (server) => {
  it.each(["nothing", "stall", "blackHole", "refuse"] as const)(
    "settles everything with CLOSED and lets the process end, with %s wrong on the network",
    { timeout: 30_000 },
    async (fault) => {
      await using proxy: TcpProxy = await startProxy(server.endpoint);
      await using child = runNode(client, { args: [proxy.url] });
      await child.next((message) => "ready" in message, 20_000);
      if (fault !== "nothing") {
        await proxy[fault]();
        child.send({ act: "call" });
        await child.next((message) => "calling" in message);
      }
      const start = performance.now();
      child.send({ act: "close" });
      const report = await child.next((message) => "codes" in message);
      const exit = await child.exited;
      expect(exit).toEqual({ code: 0, signal: null });
      expect(performance.now() - start).toBeLessThan(2_000);
      expect(report["settledMs"]).toBeLessThan(500);
      const codes = report["codes"] as string[];
      // A call on a connection that was just reset may have ended by itself first.
      const own = fault === "refuse" ? ["CLOSED", "OUTCOME_UNKNOWN"] : ["CLOSED"];
      expect(codes.filter((code) => !own.includes(code))).toEqual([]);
      expect(codes.length).toBe(fault === "nothing" ? 20 : 27);
      expect(child.output).toBe("");
    },
  );

  it("ends its watches and shows them nothing more", async () => {
    await using writer = await connectTo(server.endpoint);
    const backend = await connectTo(server.endpoint);
    const prefix = corner();
    const reading = new Reading(await backend.watches.watch({ prefix }));
    await writer.kv.commit({ then: [put(`${prefix}a`)] });
    await reading.saw(`${prefix}a`);
    const closing = timed(backend[Symbol.asyncDispose]());
    await writer.kv.commit({ then: [put(`${prefix}b`)] });
    await reading.done;
    expect((await closing).tookMs).toBeLessThan(500);
    expect(reading.failure).toMatchObject({ code: "CLOSED" });
    expect(reading.keys).toEqual([`${prefix}a`]);
    expect(await codeOf(backend.kv.get("k"))).toBe("CLOSED");
    await backend[Symbol.asyncDispose]();
  });

  it("closes its connections, however often clients come and go", { timeout: 60_000 }, async () => {
    await using proxy = await startProxy(server.endpoint);
    const resources = () => process.getActiveResourcesInfo().length;
    const cycle = async () => {
      await using backend = await connectTo(proxy.url);
      const watch = await backend.watches.watch({ prefix: "none/" });
      const lease = await backend.leases.grant({ ttlMs: 5_000 });
      await lease.keepAlive();
      await lease.revoke();
      await watch[Symbol.asyncDispose]();
    };
    await cycle();
    await eventually(() => proxy.connections === 0);
    const before = resources();
    for (let round = 0; round < 20; round++) await Promise.all(Array.from({ length: 10 }, cycle));
    await eventually(() => expect(proxy.connections).toBe(0));
    await eventually(() => expect(resources()).toBeLessThanOrEqual(before + 2));
  });

  it("that never connected leaves nothing behind", async () => {
    await using rig = await connectThrough(server.endpoint);
    await rig.proxy.refuse();
    const before = process.getActiveResourcesInfo().length;
    for (let round = 0; round < 20; round++)
      expect(await codeOf(connectTo(rig.proxy.url, { connectTimeoutMs: 20 }))).toBe("UNAVAILABLE");
    await eventually(() => expect(process.getActiveResourcesInfo().length).toBeLessThanOrEqual(before + 3));
  });
});
