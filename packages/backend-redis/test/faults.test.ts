import { setTimeout as sleep } from "node:timers/promises";
import { connect } from "@conclave/core";
import { describe, expect, it } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { startRedis } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { Ledger } from "./ledger.ts";
import { binary, codeOf, connectThrough, connectTo, Follower, put, timed } from "./rig.ts";

describe.each(redisBinaries())("a redis that is killed, on $name", () => {
  it("and appends each write to a file keeps what it acknowledged, and its watches miss nothing", {
    timeout: 60_000,
  }, async () => {
    const { ledger, audit, gaps, disorder, seen } = await killOften("always");
    expect(audit).toEqual({ lost: [], ghosts: [] });
    expect({ gaps, disorder }).toEqual({ gaps: 0, disorder: 0 });
    expect([...ledger.done.keys()].filter((key) => !seen.has(key))).toEqual([]);
  });

  it("and appends to a file every second forgets the last two at most, while its disk is slow, and tells watches", {
    timeout: 60_000,
  }, async () => {
    const { ledger, audit, gaps, kills } = await killOften("everysec");
    expect(audit.ghosts).toEqual([]);
    for (const key of audit.lost) {
      const acknowledgedMs = Number(ledger.done.get(key) as bigint) / 1_000;
      expect(kills.some((killedMs) => killedMs > acknowledgedMs && killedMs - acknowledgedMs < 2_500)).toBe(true);
    }
    if (audit.lost.length > 0) expect(gaps).toBeGreaterThan(0);
  });

  it("and keeps no file forgets all, tells watches and holders so, and gives no revision or token twice", {
    timeout: 60_000,
  }, async () => {
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    await using conclave = await connect(backend, { ttlMs: 1_500 });
    const follower = await Follower.of(backend, "k/");
    const [revisions, tokens] = [[0n], [0n]];
    for (let round = 0; round < 4; round++) {
      const hold = await conclave.mutex("m").acquire();
      for (let index = 0; index < 20; index++) {
        revisions.push((await backend.kv.commit({ then: [put(`k/${round}-${index}`)] })).revision);
      }
      tokens.push(hold.token);
      await eventually(() => follower.changes.length >= 20 * (round + 1));
      await server.kill();
      await server.restart();
      const told = await timed(
        new Promise((resolve) => hold.signal.addEventListener("abort", resolve, { once: true })),
      );
      expect(told.tookMs).toBeLessThan(1_500);
      expect(hold.signal.reason).toMatchObject({ code: "LEASE_LOST" });
      await eventually(() => follower.gaps === round + 1);
      await follower.agreesWith(backend);
      expect(follower.state.size).toBe(0);
    }
    for (const numbers of [revisions, tokens]) {
      expect(numbers.slice(1).every((number, index) => number > (numbers[index] as bigint))).toBe(true);
    }
  });
});

describe.each(redisBinaries())("an answer that is lost, on $name", () => {
  it("leaves each write done once: raw ones unknown, those of recipes exact", { timeout: 60_000 }, async () => {
    await using server = await startRedis({ binary: binary() });
    await using direct = await connectTo(server);
    await using rig = await connectThrough(server);
    await using conclave = await connect(rig.backend, { namespace: "app" });
    const counter = conclave.counter("n");
    const queue = conclave.queue<number>("jobs");
    await counter.add(1);
    await queue.enqueue(-1);
    let losses = 0;
    const losing = async <T>(work: () => Promise<T>): Promise<T> => {
      // What else is said, such as by a renewal, would draw the fault away from the call that it is meant for.
      const dropped = rig.proxy.dropNextReply().then(() => {
        losses++;
      });
      const result = await work();
      await dropped;
      return result;
    };
    for (let round = 1; round <= 60; round++) {
      expect(await losing(() => codeOf(rig.backend.kv.commit({ then: [put(`raw/${round}`)] })))).toBe(
        "OUTCOME_UNKNOWN",
      );
      const entry = await direct.kv.get(`raw/${round}`);
      expect(entry?.created).toBe(entry?.modified);
      await losing(() => counter.add(1));
      await losing(() => queue.enqueue(round));
      // A read is asked again instead.
      expect((await losing(() => rig.backend.kv.get(`raw/${round}`)))?.key).toBe(`raw/${round}`);
    }
    expect(losses).toBe(240);
    expect(await counter.get()).toBe(61n);
    expect((await queue.counts()).waiting).toBe(61);
    const taken: number[] = [];
    for (let job = await queue.tryClaim(); job !== undefined; job = await queue.tryClaim()) {
      taken.push(job.value);
      await job.ack();
    }
    expect(taken).toEqual(Array.from({ length: 61 }, (_, index) => (index === 0 ? -1 : index)));
  });
});

describe.each(redisBinaries())("a connection that goes dead without a word, on $name", () => {
  it("ends calls at their deadline, costs a holder its hold before another has it, and then all goes on", {
    timeout: 90_000,
  }, async () => {
    await using server = await startRedis({ binary: binary() });
    await using direct = await connectTo(server);
    await using other = await connect(direct, { ttlMs: 5_000 });
    await using rig = await connectThrough(server);
    await using conclave = await connect(rig.backend, { ttlMs: 2_000 });
    const follower = await Follower.of(rig.backend, "k/");
    const freedAfterMs: number[] = [];
    for (let round = 0; round < 5; round++) {
      const hold = await conclave.mutex("m").acquire();
      const lost = new Promise<number>((resolve) => {
        hold.signal.addEventListener("abort", () => resolve(performance.now()), { once: true });
      });
      rig.proxy.blackHole();
      const calls = [
        timed(codeOf(rig.backend.kv.get("k/0", { timeoutMs: 600 }))),
        timed(codeOf(rig.backend.kv.list("k/", { timeoutMs: 600 }))),
        timed(codeOf(rig.backend.kv.commit({ then: [put("k/x")] }, { timeoutMs: 600 }))),
      ];
      const taken = other.mutex("m").acquire();
      for (let index = 0; index < 20; index++) await direct.kv.commit({ then: [put(`k/${round}-${index}`)] });
      const ended = await Promise.all(calls);
      expect(ended.map(({ value }) => value)).toEqual(["UNAVAILABLE", "UNAVAILABLE", "OUTCOME_UNKNOWN"]);
      for (const { tookMs } of ended) expect(tookMs).toBeLessThan(900);
      const next = await taken;
      const takenAtMs = performance.now();
      const lostAtMs = await lost;
      expect(hold.signal.reason).toMatchObject({ code: "LEASE_LOST" });
      freedAfterMs.push(takenAtMs - lostAtMs);
      expect(next.token).toBeGreaterThan(hold.token);
      await next.release();
      await rig.proxy.heal();
      await eventually(async () => expect(await codeOf(rig.backend.kv.get("k/0"))).toHaveProperty("resolved"));
      await follower.agreesWith(direct);
    }
    for (const ms of freedAfterMs) expect(ms).toBeGreaterThan(0);
    // It was away for less than what the stream remembers.
    expect(follower).toMatchObject({ gaps: 0, disorder: 0, failure: undefined });
    expect(follower.changes.length).toBeGreaterThanOrEqual(100);
  });
});

describe.each(redisBinaries())("a redis that forgets scripts and kills connections, on $name", () => {
  it("fails no call and does no write twice, however often it is told to forget", { timeout: 30_000 }, async () => {
    await using server = await startRedis({ binary: binary() });
    await using backend = await connectTo(server);
    const ledger = new Ledger("k/");
    ledger.startWriters(backend, 8);
    let flushes = 0;
    while (flushes < 150 || ledger.writes < 1_500) {
      await server.call("SCRIPT", "FLUSH");
      flushes++;
    }
    await ledger.stop();
    expect(ledger).toMatchObject({ failures: [], twice: [], backwards: [] });
    expect([ledger.undone.size, ledger.unknown.size]).toEqual([0, 0]);
    expect(await ledger.audit(backend)).toEqual({ lost: [], ghosts: [] });
    expect(Number(/calls=(\d+)/.exec((await server.info("commandstats"))["cmdstat_eval"] ?? "")?.[1])).toBeGreaterThan(
      100,
    );
  });

  it("interrupts watches without their missing anything, or a gap", { timeout: 60_000 }, async () => {
    await using server = await startRedis({ binary: binary() });
    await using writer = await connectTo(server);
    await using watcher = await connectTo(server);
    await using conclave = await connect(watcher, { ttlMs: 5_000 });
    const hold = await conclave.mutex("m").acquire();
    const followers = await Promise.all(["k/", "k/1"].map((prefix) => Follower.of(watcher, prefix)));
    const ledger = new Ledger("k/");
    ledger.startWriters(writer, 4);
    for (let kill = 0; kill < 60; kill++) {
      await ledger.acknowledges(10);
      await server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes");
    }
    await ledger.acknowledges(10);
    await ledger.stop();
    expect(ledger).toMatchObject({ failures: [], twice: [], backwards: [] });
    expect(await ledger.audit(writer)).toEqual({ lost: [], ghosts: [] });
    expect(ledger.done.size).toBeGreaterThan(600);
    for (const follower of followers) {
      await follower.agreesWith(writer);
      expect(follower).toMatchObject({ gaps: 0, disorder: 0, failure: undefined });
    }
    // Once each: nothing that was heard before a cut was heard again after it.
    const [all] = followers;
    expect(all?.changes).toHaveLength(new Set(all?.changes.map(({ key }) => key)).size);
    expect(hold.isHeld()).toBe(true);
  });
});

describe.each(redisBinaries())("a redis whose clock is set, on $name", ({ faketime }) => {
  it.runIf(faketime !== undefined)(
    "forward ends leases early, which their holders learn by their next renewal, and backward keeps them longer",
    {
      timeout: 60_000,
    },
    async () => {
      await using server = await startRedis({ binary: binary(), faketime: faketime as string });
      await using backend = await connectTo(server);
      await using conclave = await connect(backend, { ttlMs: 3_000 });
      const follower = await Follower.of(backend, "k/");
      const revisions: bigint[] = [];
      const write = async () => {
        const lease = await backend.leases.grant({ ttlMs: 60_000 });
        const { revision } = await backend.kv.commit({
          then: [put(`k/${revisions.length}`, "", lease), { delete: "k/none" }],
        });
        revisions.push(revision);
        await lease.revoke();
      };
      const learnt: number[] = [];
      for (const stepMs of [3_600_000, -7_200_000, 10_000, -10_000, 50, -50, 86_400_000, -86_400_000]) {
        await write();
        const hold = await conclave.mutex("m").acquire();
        server.stepClock(stepMs);
        await write();
        if (stepMs > 3_000) {
          const told = await timed(
            new Promise((resolve) => hold.signal.addEventListener("abort", resolve, { once: true })),
          );
          learnt.push(told.tookMs);
          expect(hold.signal.reason).toMatchObject({ code: "LEASE_LOST" });
        } else {
          await sleep(1_200);
          expect(hold.isHeld()).toBe(true);
          await hold.release();
        }
      }
      expect(learnt).toHaveLength(3);
      // A renewal is sent every third of the time to live.
      for (const ms of learnt) expect(ms).toBeLessThan(1_500);
      expect(revisions.every((revision, index) => index === 0 || revision > (revisions[index - 1] as bigint))).toBe(
        true,
      );
      expect(revisions).toHaveLength(16);

      const kept = await backend.leases.grant({ ttlMs: 500 });
      await backend.kv.commit({ then: [put("k/kept", "", kept)] });
      server.stepClock(-2_000);
      await sleep(1_500);
      expect((await backend.kv.get("k/kept"))?.lease).toBe(kept.id);
      await eventually(async () => (await backend.kv.get("k/kept")) === undefined, { timeoutMs: 3_000 });
      await follower.agreesWith(backend);
      expect(follower).toMatchObject({ gaps: 0, disorder: 0, failure: undefined });
    },
  );
});

/** Kills a server six times while it is being written to, and gives what became of the writes, and of what a watch said. */
async function killOften(appendOnly: "always" | "everysec") {
  await using server = await startRedis({ binary: binary(), appendOnly });
  await using writer = await connectTo(server);
  await using watcher = await connectTo(server);
  const follower = await Follower.of(watcher, "k/");
  const ledger = new Ledger("k/");
  const kills: number[] = [];
  ledger.startWriters(writer, 8);
  for (let kill = 0; kill < 6; kill++) {
    await ledger.acknowledges(100);
    await server.kill();
    kills.push(Date.now());
    await server.restart();
  }
  await ledger.acknowledges(100);
  await ledger.stop();
  expect(ledger.failures).toEqual([]);
  expect(ledger.twice).toEqual([]);
  expect(ledger.backwards).toEqual([]);
  const audit = await ledger.audit(writer);
  expect(ledger.done.size).toBeGreaterThan(600);
  // Kills fell on writes that were under way.
  expect(ledger.unknown.size).toBeGreaterThan(0);
  await follower.agreesWith(writer);
  expect(follower.failure).toBeUndefined();
  const { gaps, disorder } = follower;
  return { ledger, audit, kills, gaps, disorder, seen: new Set(follower.changes.map(({ key }) => key)) };
}
