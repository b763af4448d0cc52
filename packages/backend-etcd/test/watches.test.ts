import { encode } from "@conclave/core/backend";
import { describe, expect, it } from "vitest";
import { type Etcd, startEtcd } from "../../../test/harness/etcd-process.ts";
import { eventually } from "../../../test/harness/eventually.ts";
import { etcdBinaries, etcdServers } from "../../../test/harness/servers.ts";
import { codeOf, connectThrough, connectTo, corner, put, Reading, takeOffline, timed, writeMany } from "./rig.ts";

async function compact(server: Etcd): Promise<void> {
  const { header } = (await server.call("/v3/kv/range", { key: "eA==" })) as { header: { revision: string } };
  await server.call("/v3/kv/compaction", { revision: header.revision, physical: true });
}

describe.each(etcdServers())("a watch on etcd $version", (server) => {
  it("shows 2,500 missed revisions once and in order, however often the replay is cut", {
    timeout: 40_000,
  }, async () => {
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const prefix = corner();
    const reading = new Reading(await rig.backend.watches.watch({ prefix }));
    await takeOffline(rig);
    const written = await writeMany(writer, prefix, 2_500, "x".repeat(100));
    await rig.proxy.heal();
    for (let cut = 0; cut < 4; cut++) await rig.proxy.limitReplyBytes(70_000);
    await reading.saw(written.at(-1) as string, 20_000);
    expect(reading.keys).toEqual(written);
    expect(reading.gaps).toBe(0);
    expect(
      reading.batches.every(({ revision }, index) => revision > (reading.batches[index - 1]?.revision ?? 0n)),
    ).toBe(true);
  });

  it("shows a missed replay of more than 4 MB to a reader that was not reading", { timeout: 40_000 }, async () => {
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const prefix = corner();
    const watch = await rig.backend.watches.watch({ prefix });
    await takeOffline(rig);
    const written = await writeMany(writer, prefix, 450, "x".repeat(10_000));
    await rig.proxy.heal();
    await eventually(() => rig.proxy.bytesToClient > 200_000);
    const reading = new Reading(watch);
    await reading.saw(written.at(-1) as string, 20_000);
    expect(reading.keys).toEqual(written);
    expect(reading.gaps).toBe(0);
  });

  it("loses nothing when the connection is cut again before the first missed change came", async () => {
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const prefix = corner();
    const reading = new Reading(await rig.backend.watches.watch({ prefix }));
    await writeMany(writer, `${prefix}seen-`, 1);
    await reading.saw(`${prefix}seen-0`);
    await takeOffline(rig);
    const written = await writeMany(writer, `${prefix}missed-`, 200);
    await rig.proxy.heal();
    for (const bytes of [1, 60, 150, 400]) await rig.proxy.limitReplyBytes(bytes);
    await reading.saw(written.at(-1) as string, 15_000);
    expect(reading.keys).toEqual([`${prefix}seen-0`, ...written]);
  });

  it("that never showed anything misses nothing while it is disconnected", async () => {
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const key = `${corner()}key`;
    const reading = new Reading(await rig.backend.watches.watch({ key }));
    await takeOffline(rig);
    await writer.kv.commit({ then: [put(key, "1")] });
    await writer.kv.commit({ then: [{ delete: key }] });
    await rig.proxy.heal();
    await eventually(() => expect(reading.changes.map(({ entry }) => entry !== undefined)).toEqual([true, false]));
  });

  it("notices a connection that is a black hole, and shows what it missed", { timeout: 30_000 }, async () => {
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const prefix = corner();
    const reading = new Reading(await rig.backend.watches.watch({ prefix }));
    const before = rig.proxy.accepted;
    rig.proxy.blackHole();
    await writeMany(writer, prefix, 3);
    // A new connection shows that the old one was given up; only then may it get through.
    await eventually(() => rig.proxy.accepted > before, { timeoutMs: 12_000 });
    await rig.proxy.heal();
    await reading.saw(`${prefix}2`, 10_000);
    expect(reading.keys.length).toBe(3);
  });

  it("of a slow reader takes little from the wire, holds up nobody, and shows everything in the end", {
    timeout: 30_000,
  }, async () => {
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const prefix = corner();
    const slow = await rig.backend.watches.watch({ prefix });
    const sibling = new Reading(await rig.backend.watches.watch({ key: `${prefix}439` }));
    const bytesBefore = rig.proxy.bytesToClient;
    const written = await writeMany(writer, prefix, 440, "x".repeat(14_000));
    await sibling.saw(`${prefix}439`);
    const call = await timed(rig.backend.kv.get(`${prefix}0`));
    const lease = await timed(rig.backend.leases.grant({ ttlMs: 5_000 }));
    expect(Math.max(call.tookMs, lease.tookMs)).toBeLessThan(500);
    await lease.value.revoke();
    expect(rig.proxy.bytesToClient - bytesBefore).toBeLessThan(1_000_000);

    const reading = new Reading(slow);
    await reading.saw(written.at(-1) as string, 15_000);
    expect(reading.keys).toEqual(written);
    expect(reading.gaps).toBe(0);
    await writer.kv.commit({ then: [put(`${prefix}live`)] });
    await reading.saw(`${prefix}live`);
  });

  it("shows a reader that stops again and again everything, once", { timeout: 30_000 }, async () => {
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const prefix = corner();
    const slow = await rig.backend.watches.watch({ prefix });
    const bytesBefore = rig.proxy.bytesToClient;
    const written = await writeMany(writer, prefix, 300, "x".repeat(14_000));
    const keys: string[] = [];
    for await (const batch of slow) {
      if ("gap" in batch) throw new Error("a gap where nothing was lost");
      keys.push(...batch.changes.map(({ key }) => key));
      if (keys.length % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 20));
      if (keys.length === written.length) break;
    }
    expect(keys).toEqual(written);
    expect(rig.proxy.bytesToClient - bytesBefore).toBeLessThan(2 * 300 * 14_000);
  });

  it("survives a reset of a connection that carries many watches and leases, all of which go on", async () => {
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const prefix = corner();
    const leases = await Promise.all(Array.from({ length: 20 }, () => rig.backend.leases.grant({ ttlMs: 3_000 })));
    const readings = await Promise.all(
      Array.from(
        { length: 50 },
        async (_, index) => new Reading(await rig.backend.watches.watch({ key: `${prefix}${index}` })),
      ),
    );
    await Promise.all(leases.map((lease) => lease.keepAlive()));
    rig.proxy.cut();
    const call = await timed(rig.backend.kv.get(`${prefix}0`));
    const renewals = await timed(Promise.all(leases.map((lease) => lease.keepAlive({ timeoutMs: 1_000 }))));
    expect(call.tookMs).toBeLessThan(500);
    expect(renewals.value).toEqual(leases.map(() => 3_000));
    const written = await writeMany(writer, prefix, 50);
    await eventually(() => expect(readings.flatMap(({ keys }) => keys).sort()).toEqual([...written].sort()));
    await Promise.all(leases.map((lease) => lease.revoke()));
  });

  it("ends with its signal's reason, before it is live or after", async () => {
    await using rig = await connectThrough(server.endpoint);
    const reason = new Error("enough");
    const live = new AbortController();
    const reading = new Reading(await rig.backend.watches.watch({ prefix: corner() }, { signal: live.signal }));
    live.abort(reason);
    await reading.done;
    expect(reading.failure).toBe(reason);
    rig.proxy.stall();
    const waiting = new AbortController();
    const watch = codeOf(rig.backend.watches.watch({ prefix: corner() }, { signal: waiting.signal }));
    waiting.abort(reason);
    expect(await watch).toBe(reason);
    expect(await codeOf(rig.backend.watches.watch({ prefix: corner() }, { timeoutMs: 200 }))).toBe("UNAVAILABLE");
  });

  it("tells the changes of one revision together, in the range alone", async () => {
    await using backend = await connectTo(server.endpoint);
    const prefix = corner();
    const reading = new Reading(await backend.watches.watch({ prefix: `${prefix}in/` }));
    const { revision } = await backend.kv.commit({
      then: [put(`${prefix}in/a`), put(`${prefix}out`), put(`${prefix}in/b`, "\u{10ffff}"), put(`${prefix}in0`)],
    });
    await eventually(() => expect(reading.log).toEqual([`${prefix}in/a,${prefix}in/b`]));
    expect(reading.batches[0]?.revision).toBe(revision);
    expect(reading.changes[1]?.entry).toEqual({
      key: `${prefix}in/b`,
      value: encode("\u{10ffff}"),
      created: revision,
      modified: revision,
      lease: undefined,
    });
  });
});

describe.each(etcdBinaries())("a watch on an etcd $version of its own", ({ binary }) => {
  it("shows whole revisions when the connection is cut between the fragments of one", { timeout: 40_000 }, async () => {
    await using server = await startEtcd({ binary, flags: ["--max-request-bytes", "65536"] });
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const reading = new Reading(await rig.backend.watches.watch({ prefix: "k/" }));
    await takeOffline(rig);
    const keys = Array.from({ length: 20 }, (_, index) => `k/${String(index).padStart(2, "0")}`);
    for (let round = 0; round < 30; round++) {
      await writer.kv.commit({ then: keys.map((key) => put(key, `${round}:${"x".repeat(3_000)}`)) });
    }
    await rig.proxy.heal();
    for (let cut = 0; cut < 6; cut++) await rig.proxy.limitReplyBytes(150_000 + cut * 11_111);
    await eventually(() => expect(reading.batches.length).toBe(30), { timeoutMs: 15_000 });
    expect(reading.log).toEqual(Array.from({ length: 30 }, () => keys.join(",")));
    expect(reading.gaps).toBe(0);
  });

  it("whose reader stops while it catches up leaves the rest on the server, for as long as that takes", {
    timeout: 40_000,
  }, async () => {
    await using server = await startEtcd({ binary, flags: ["--max-request-bytes", "65536"] });
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const watch = await rig.backend.watches.watch({ prefix: "k/" });
    const written = await writeMany(writer, "k/", 800, "x".repeat(10_000));
    const keys: string[] = [];
    let go: (() => void) | undefined;
    const reading = (async () => {
      for await (const batch of watch) {
        if ("gap" in batch) throw new Error("a gap where nothing was lost");
        keys.push(...batch.changes.map(({ key }) => key));
        if (keys.length === 100)
          await new Promise<void>((resolve) => {
            go = resolve;
          });
        if (keys.length === written.length) return;
      }
    })();
    await eventually(() => go !== undefined, { timeoutMs: 15_000 });
    let bytes = -1;
    // Still for longer than a server may be silent.
    for (let still = 0; still < 12; ) {
      still = rig.proxy.bytesToClient - bytes < 2_000 ? still + 1 : 0;
      bytes = rig.proxy.bytesToClient;
      await new Promise((resolve) => setTimeout(resolve, 500));
    }
    expect(bytes).toBeLessThan(4_000_000);
    go?.();
    await reading;
    expect(keys).toEqual(written);
    expect(rig.proxy.bytesToClient).toBeLessThan(12_000_000);
  });

  it("owns up to a gap when compaction overtook it, and is live again by then; its siblings go on", async () => {
    await using server = await startEtcd({ binary });
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const idle = new Reading(await rig.backend.watches.watch({ prefix: "idle/" }));
    const busy = new Reading(await rig.backend.watches.watch({ prefix: "busy/" }));
    await takeOffline(rig);
    await writeMany(writer, "idle/", 20);
    await compact(server);
    await writeMany(writer, "busy/", 5);
    await rig.proxy.heal();
    await eventually(() => expect([idle.gaps, busy.gaps]).toEqual([1, 1]));
    expect(idle.log).toEqual(["gap"]);
    await writer.kv.commit({ then: [put("idle/after"), put("busy/after")] });
    await idle.saw("idle/after");
    await busy.saw("busy/after");
    expect([idle.gaps, busy.gaps]).toEqual([1, 1]);
  });

  it("is not disturbed when compaction overtakes a sibling", async () => {
    await using server = await startEtcd({ binary });
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const idle = new Reading(await rig.backend.watches.watch({ prefix: "idle/" }));
    const busy = new Reading(await rig.backend.watches.watch({ prefix: "busy/" }));
    await writeMany(writer, "other/", 5);
    await writeMany(writer, "busy/seen-", 1);
    await busy.saw("busy/seen-0");
    await compact(server);
    await takeOffline(rig);
    const written = await writeMany(writer, "busy/", 10);
    await rig.proxy.heal();
    await busy.saw(written.at(-1) as string);
    expect(busy.log).toEqual(["busy/seen-0", ...written]);
    await eventually(() => expect(idle.gaps).toBe(1));
    await writeMany(writer, "idle/", 1);
    await idle.saw("idle/0");
  });

  it("after a gap shows every change that a look after the gap did not", { timeout: 30_000 }, async () => {
    await using server = await startEtcd({ binary });
    await using writer = await connectTo(server.endpoint);
    await using rig = await connectThrough(server.endpoint);
    const watch = await rig.backend.watches.watch({ prefix: "n/" });
    const known = new Set<string>();
    let gaps = 0;
    const following = (async () => {
      for await (const batch of watch) {
        if ("gap" in batch) {
          gaps++;
          for (const { key } of (await rig.backend.kv.list("n/")).entries) known.add(key);
        } else for (const { key } of batch.changes) known.add(key);
      }
    })().catch(() => {});
    let count = 0;
    for (let round = 0; round < 5; round++) {
      await takeOffline(rig);
      await writeMany(writer, `n/${round}-`, 10);
      await compact(server);
      const healed = rig.proxy.heal();
      await writeMany(writer, `n/${round}+`, 40);
      await healed;
      count += 50;
      await eventually(() => expect(known.size).toBe(count));
    }
    expect(gaps).toBe(5);
    await watch[Symbol.asyncDispose]();
    await following;
  });

  it("is made again after the server was stopped and started", { timeout: 30_000 }, async () => {
    await using server = await startEtcd({ binary });
    await using backend = await connectTo(server.endpoint);
    const reading = new Reading(await backend.watches.watch({ prefix: "k/" }));
    await server.restart();
    await backend.kv.commit({ then: [put("k/1")] });
    await reading.saw("k/1", 10_000);
  });
});
