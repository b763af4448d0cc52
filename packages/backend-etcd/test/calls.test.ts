import { promises } from "node:dns";
import { getEventListeners } from "node:events";
import { describe, expect, it, vi } from "vitest";
import { startEtcd } from "../../../test/harness/etcd-process.ts";
import { eventually } from "../../../test/harness/eventually.ts";
import { etcdBinaries, etcdServers } from "../../../test/harness/servers.ts";
import { startProxy } from "../../../test/harness/tcp-proxy.ts";
import { etcd } from "../src/index.ts";
import { codeOf, connectThrough, connectTo, corner, put, takeOffline, timed, writeMany } from "./rig.ts";

describe.each(etcdServers())("a call to $version", (server) => {
  it("that creates a key and loses its reply has an unknown outcome, and was made once", async () => {
    await using rig = await connectThrough(server.endpoint);
    const key = `${corner()}lock`;
    const lost = rig.proxy.dropNextReply({ containing: key });
    const commit = rig.backend.kv.commit({
      if: [{ key, exists: false }],
      then: [put(key, "mine")],
      else: [{ get: key }],
    });
    expect(await codeOf(commit)).toBe("OUTCOME_UNKNOWN");
    await lost;
    const entry = await rig.backend.kv.get(key);
    expect(entry?.created).toBe(entry?.modified);
  });

  it("that writes and loses its reply is not made twice", async () => {
    await using rig = await connectThrough(server.endpoint);
    const key = `${corner()}key`;
    await rig.backend.kv.commit({ then: [put(key, "before")] });
    const watch = await rig.backend.watches.watch({ key });
    let seen = 0;
    const reading = (async () => {
      for await (const batch of watch) if ("revision" in batch) seen++;
    })().catch(() => {});
    const lost = rig.proxy.dropNextReply({ containing: key });
    expect(await codeOf(rig.backend.kv.commit({ then: [put(key, "after")] }))).toBe("OUTCOME_UNKNOWN");
    await lost;
    const { revision } = await rig.backend.kv.commit({ then: [put(key, "last")] });
    await eventually(() => expect(seen).toBe(2));
    expect((await rig.backend.kv.get(key))?.modified).toBe(revision);
    await watch[Symbol.asyncDispose]();
    await reading;
  });

  it("that grants a lease and loses its reply grants one lease", async () => {
    await using rig = await connectThrough(server.endpoint);
    const lost = rig.proxy.dropNextReply();
    const lease = await rig.backend.leases.grant({ ttlMs: 60_000 });
    await lost;
    expect(lease.ttlMs).toBe(60_000);
    const key = `${corner()}leased`;
    const { revision } = await rig.backend.kv.commit({ then: [put(key, "", lease)] });
    expect(await rig.backend.kv.get(key)).toMatchObject({ lease: lease.id, modified: revision });
    expect(await lease.keepAlive()).toBe(60_000);
    await lease.revoke();
  });

  it("that revokes a lease and loses its reply has revoked it", async () => {
    await using rig = await connectThrough(server.endpoint);
    const lease = await rig.backend.leases.grant({ ttlMs: 60_000 });
    const key = `${corner()}leased`;
    await rig.backend.kv.commit({ then: [put(key, "", lease)] });
    const lost = rig.proxy.dropNextReply();
    await lease.revoke();
    await lost;
    expect(await rig.backend.kv.get(key)).toBeUndefined();
  });

  it("that reads and loses its reply is answered all the same", async () => {
    await using rig = await connectThrough(server.endpoint);
    const key = `${corner()}key`;
    await rig.backend.kv.commit({ then: [put(key, "value")] });
    const lost = rig.proxy.dropNextReply({ containing: key });
    expect((await rig.backend.kv.get(key))?.key).toBe(key);
    await lost;
  });

  it("that reads in a transaction and loses its reply is answered all the same", async () => {
    await using rig = await connectThrough(server.endpoint);
    const key = `${corner()}key`;
    const lost = rig.proxy.dropNextReply({ containing: key });
    const commit = await rig.backend.kv.commit({ if: [{ key, exists: true }], then: [], else: [{ get: key }] });
    expect(commit).toMatchObject({ succeeded: false, results: [undefined] });
    await lost;
  });

  it("keeps its deadline when the connection is a black hole: a read is UNAVAILABLE, a write of unknown outcome", async () => {
    await using rig = await connectThrough(server.endpoint);
    rig.proxy.blackHole();
    const read = await timed(codeOf(rig.backend.kv.get(`${corner()}key`, { timeoutMs: 400 })));
    const write = await timed(codeOf(rig.backend.kv.commit({ then: [put(`${corner()}key`)] }, { timeoutMs: 400 })));
    expect([read.value, write.value]).toEqual(["UNAVAILABLE", "OUTCOME_UNKNOWN"]);
    expect(Math.max(read.tookMs, write.tookMs)).toBeLessThan(1_000);
  });

  it("is UNAVAILABLE, write or not, when nothing could be sent", async () => {
    await using rig = await connectThrough(server.endpoint);
    await takeOffline(rig);
    const key = `${corner()}key`;
    const commit = await timed(codeOf(rig.backend.kv.commit({ then: [put(key)] }, { timeoutMs: 600 })));
    expect(commit.value).toBe("UNAVAILABLE");
    expect(commit.tookMs).toBeLessThan(1_200);
    expect(await codeOf(rig.backend.leases.grant({ ttlMs: 5_000, timeoutMs: 300 }))).toBe("UNAVAILABLE");
    await rig.proxy.heal();
    expect(await rig.backend.kv.get(key)).toBeUndefined();
  });

  it("waits, within its deadline, for a server that comes back", async () => {
    await using rig = await connectThrough(server.endpoint);
    await takeOffline(rig);
    const key = `${corner()}key`;
    const commit = rig.backend.kv.commit({ then: [put(key)] }, { timeoutMs: 8_000 });
    const failing = await codeOf(rig.backend.kv.get(key, { timeoutMs: 200 }));
    expect(failing).toBe("UNAVAILABLE");
    await rig.proxy.heal();
    expect((await commit).succeeded).toBe(true);
  });

  it("that missed its deadline leaves the next one unharmed", async () => {
    await using rig = await connectThrough(server.endpoint);
    const key = `${corner()}key`;
    rig.proxy.delay(100);
    expect(await codeOf(rig.backend.kv.get(key, { timeoutMs: 1 }))).toBe("UNAVAILABLE");
    rig.proxy.delay(0);
    const next = await timed(rig.backend.kv.get(key));
    expect(next.tookMs).toBeLessThan(500);
  });

  it("may be answered with more than 4 MB", async () => {
    await using backend = await connectTo(server.endpoint);
    const prefix = corner();
    await writeMany(backend, prefix, 60, "x".repeat(100_000));
    const { entries } = await backend.kv.list(prefix);
    expect(entries.length).toBe(60);
    expect(entries.every(({ value }) => value.length === 100_000)).toBe(true);
    const commit = await backend.kv.commit({ then: [{ list: prefix }] });
    expect(commit.succeeded && commit.results[0].entries.length).toBe(60);
  });

  it("that is aborted rejects with the signal's reason: a read at once, a write only while it is unsent", async () => {
    await using rig = await connectThrough(server.endpoint);
    const key = `${corner()}key`;
    const reason = new Error("enough");
    rig.proxy.stall();
    const reading = new AbortController();
    const read = timed(codeOf(rig.backend.kv.get(key, { signal: reading.signal })));
    const writing = new AbortController();
    const write = rig.backend.kv.commit({ then: [put(key)] }, { signal: writing.signal });
    await eventually(() => getEventListeners(writing.signal, "abort").length > 0);
    // Both are on their way, since the connection was there.
    await new Promise((resolve) => setTimeout(resolve, 50));
    reading.abort(reason);
    writing.abort(reason);
    expect((await read).value).toBe(reason);
    expect((await read).tookMs).toBeLessThan(500);
    await rig.proxy.heal();
    expect((await write).succeeded).toBe(true);

    await takeOffline(rig);
    const unsent = new AbortController();
    const waiting = codeOf(rig.backend.kv.commit({ then: [put(key)] }, { signal: unsent.signal, timeoutMs: 10_000 }));
    await eventually(async () => (await codeOf(rig.backend.kv.get(key, { timeoutMs: 50 }))) === "UNAVAILABLE");
    unsent.abort(reason);
    expect(await waiting).toBe(reason);
  });

  it("leaves no listener on any signal, whichever way it ends", async () => {
    await using backend = await connectTo(server.endpoint);
    const added = vi.spyOn(AbortSignal.prototype, "addEventListener");
    const prefix = corner();
    const { signal } = new AbortController();
    const lease = await backend.leases.grant({ ttlMs: 60_000, signal });
    for (let round = 0; round < 50; round++) {
      for (let index = 0; index < 8; index++) await backend.kv.get(prefix + index, { signal });
      await codeOf(backend.kv.get(prefix, { signal, timeoutMs: 0.01 }));
      await backend.kv.commit({ then: [put(`${prefix}a`)] }, { signal });
      await lease.keepAlive({ signal });
      await using _watch = await backend.watches.watch({ prefix }, { signal });
    }
    await lease.revoke({ signal });
    await eventually(() => expect(getEventListeners(signal, "abort")).toEqual([]));
    // Nor does any signal of the client's own, such as the one that tells of its closing, gather them.
    const signals = new Set(added.mock.contexts as AbortSignal[]);
    expect(added.mock.calls.length).toBeGreaterThan(500);
    expect(Math.max(...[...signals].map((one) => getEventListeners(one, "abort").length))).toBeLessThan(4);
    added.mockRestore();
  });

  it("prints nothing and warns of nothing, however many share a signal", async () => {
    const warnings: unknown[] = [];
    const note = (warning: Error) => void warnings.push(warning);
    process.on("warning", note);
    await using backend = await connectTo(server.endpoint);
    const { signal } = new AbortController();
    const prefix = corner();
    const lease = await backend.leases.grant({ ttlMs: 60_000, signal });
    await Promise.all(
      Array.from({ length: 30 }, async (_, index) => {
        await Promise.all([
          backend.kv.get(prefix, { signal }),
          backend.kv.commit({ then: [put(prefix + index)] }, { signal }),
          backend.watches.watch({ prefix }, { signal }),
          lease.keepAlive({ signal }),
        ]);
      }),
    );
    await lease.revoke();
    // Node warns in the next turns of its loop.
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off("warning", note);
    expect(warnings).toEqual([]);
  });

  it("to a server that is unreachable fails to connect with UNAVAILABLE, in time", async () => {
    const proxy = await startProxy(server.endpoint);
    await proxy.refuse();
    const refused = await timed(codeOf(etcd({ endpoints: [proxy.url] }).connect({ timeoutMs: 400 })));
    await proxy.heal();
    proxy.blackHole();
    const silent = await timed(codeOf(etcd({ endpoints: [proxy.url], connectTimeoutMs: 400 }).connect()));
    await proxy.stop();
    expect([refused.value, silent.value]).toEqual(["UNAVAILABLE", "UNAVAILABLE"]);
    expect(Math.max(refused.tookMs, silent.tookMs)).toBeLessThan(1_200);
  });

  it("finds the member that is up, wherever it stands among the endpoints", async () => {
    const dead = await startProxy(server.endpoint);
    await dead.refuse();
    const silent = await startProxy(server.endpoint);
    silent.blackHole();
    for (const random of [0, 0.4, 0.8]) {
      const { systemClock } = await import("@conclave/core/backend");
      const clock = { ...systemClock, random: () => random };
      await using backend = await etcd({ endpoints: [dead.url, silent.url, server.endpoint], clock }).connect();
      const commit = await backend.kv.commit({ then: [put(`${corner()}key`)] });
      expect(commit.succeeded).toBe(true);
    }
    await dead.stop();
    await silent.stop();
  });

  it("asks the name server for addresses alone, not for how to call", async () => {
    const lookUp = vi.spyOn(promises, "lookup");
    const askForText = vi.spyOn(promises, "resolveTxt");
    await using backend = await connectTo(server.endpoint.replace("127.0.0.1", "localhost"));
    await backend.kv.get("any");
    expect(lookUp.mock.calls.map(([name]) => name)).toContain("localhost");
    expect(askForText).not.toHaveBeenCalled();
    vi.restoreAllMocks();
  });

  it("with little time leaves some of it for the next member when it cannot connect to the first", async () => {
    await using silent = await startProxy(server.endpoint);
    silent.blackHole();
    const { systemClock } = await import("@conclave/core/backend");
    const clock = { ...systemClock, random: () => 0 };
    const connector = etcd({ endpoints: [silent.url, server.endpoint], clock });
    await using backend = await connector.connect({ timeoutMs: 1_000 });
    expect((await backend.kv.commit({ then: [put(`${corner()}key`)] })).succeeded).toBe(true);
  });

  it("warns once, and through the callback alone, of a server with known bugs", async () => {
    const warnings: string[] = [];
    await using _backend = await etcd({ endpoints: [server.endpoint] }).connect({
      onWarning: (text) => warnings.push(text),
    });
    const [major, minor, patch] = server.version.split(".").map(Number) as [number, number, number];
    const sound = major > 3 || (minor === 5 && patch >= 30) || (minor === 6 && patch >= 11) || minor > 6;
    expect(warnings.length).toBe(sound ? 0 : 1);
    if (!sound) expect(warnings[0]).toContain(server.version);
  });
});

describe.each(etcdBinaries())("a full $name", ({ binary }) => {
  it("refuses writes with LIMIT, yet reads, deletes, renews and revokes", async () => {
    await using server = await startEtcd({ binary, flags: ["--quota-backend-bytes", String(2 * 1024 * 1024)] });
    await using backend = await connectTo(server.endpoint);
    const lease = await backend.leases.grant({ ttlMs: 60_000 });
    await backend.kv.commit({ then: [put("a", "1", lease)] });
    let code: unknown;
    for (let index = 0; index < 40 && code === undefined; index++) {
      code = await backend.kv.commit({ then: [put(`fill/${index}`, "x".repeat(200_000))] }).then(
        () => undefined,
        (error: { code: unknown }) => error.code,
      );
    }
    // Of the write that met the limit first, etcd does not say whether it was applied.
    expect(code).toBe("OUTCOME_UNKNOWN");
    expect(await codeOf(backend.kv.commit({ then: [put("b")] }))).toBe("LIMIT");
    expect(await codeOf(backend.leases.grant({ ttlMs: 5_000 }))).toBe("LIMIT");
    const next = await timed(backend.kv.get("a"));
    expect(next.value?.key).toBe("a");
    expect(next.tookMs).toBeLessThan(500);
    expect((await backend.kv.commit({ then: [{ delete: "fill/0" }] })).succeeded).toBe(true);
    expect(await lease.keepAlive()).toBe(60_000);
    await lease.revoke();
    expect(await backend.kv.get("a")).toBeUndefined();
  });
});
