import { setTimeout as sleep } from "node:timers/promises";
import { etcd } from "@conclave/backend-etcd";
import { connect } from "@conclave/core";
import { expect, test } from "vitest";
import { runNode } from "../harness/child.ts";
import { startCluster, startEtcd } from "../harness/etcd-process.ts";
import { eventually } from "../harness/eventually.ts";
import { etcdBinaries, etcdServers } from "../harness/servers.ts";
import { startProxy } from "../harness/tcp-proxy.ts";
import { holdAndWatch, type Sighting } from "./sighting.ts";

/** How often each fault is tried; a release run asks for 20. */
const runs = Number(process.env["LOSS_RUNS"] ?? 5);
const ttlMs = 3_000;

function expectAnnouncedFirst(sightings: readonly Sighting[]): void {
  expect(sightings).toHaveLength(runs);
  for (const { lostAt, lastHeldAt, vanishedAt } of sightings) {
    expect(lostAt, "when its signal aborted").toBeLessThan(vanishedAt);
    expect(lastHeldAt, "when it last said it was held").toBeLessThan(vanishedAt);
  }
}

const each = <T>(run: (index: number) => Promise<T>): Promise<T[]> =>
  Promise.all(Array.from({ length: runs }, (_, index) => run(index)));

test.each(etcdServers())(
  "a holder cut off from $name knows before anyone else can",
  async ({ endpoint, name }) => {
    const sightings = await each(async (index) => {
      await using proxy = await startProxy(endpoint);
      await using sight = await holdAndWatch({
        holder: [proxy.url],
        observer: [endpoint],
        name: `cut/${name}/${index}`,
        ttlMs,
      });
      await sleep(400 * index);
      proxy.blackHole();
      return await sight.outcome();
    });
    expectAnnouncedFirst(sightings);
  },
  60_000,
);

test.each(etcdBinaries())(
  "a holder whose $name stands still knows before anyone else can",
  async ({ binary }) => {
    await using server = await startEtcd({ binary });
    const endpoints = [server.endpoint];
    const sightings = await each(async (index) => {
      await sleep(150 * index);
      return await holdAndWatch({ holder: endpoints, observer: endpoints, name: `stopped/${index}`, ttlMs });
    });
    await sleep(500);
    server.pause();
    await sleep(1.5 * ttlMs);
    server.resume();
    expectAnnouncedFirst(await Promise.all(sightings.map((sight) => sight.outcome())));
    await Promise.all(sightings.map((sight) => sight[Symbol.asyncDispose]()));
  },
  60_000,
);

test.each(etcdBinaries().slice(0, 1))(
  "a holder whose cluster of $name lost its quorum knows first",
  async ({ binary }) => {
    await using cluster = await startCluster({ binary });
    const { endpoints } = cluster;
    const sightings = await each(async (index) => {
      await sleep(150 * index);
      return await holdAndWatch({ holder: endpoints, observer: endpoints, name: `quorum/${index}`, ttlMs });
    });
    const leader = await cluster.leader();
    const other = cluster.members.find((member) => member !== leader);
    await Promise.all([leader.kill(), other?.kill()]);
    await eventually(() => sightings.every((sight) => sight.isLost()), { timeoutMs: 2 * ttlMs });
    await Promise.all([leader.restart(), other?.restart()]);
    expectAnnouncedFirst(await Promise.all(sightings.map((sight) => sight.outcome())));
    await Promise.all(sightings.map((sight) => sight[Symbol.asyncDispose]()));
  },
  90_000,
);

test.each(etcdServers())(
  "a process that stood still finds nothing held, on $name",
  async ({ endpoint, name }) => {
    await using observer = await connect(etcd({ endpoints: [endpoint] }));
    let checked = 0;
    for (let from = 0; from < runs; from += 5) {
      const holders = Math.min(5, runs - from);
      const names = Array.from({ length: holders }, (_, index) => `self/${name}/${from + index}`);
      await using child = runNode(new URL("./children/holder.ts", import.meta.url), {
        args: [endpoint, String(ttlMs), ...names],
      });
      await child.next(({ holding }) => holding === holders, 20_000);
      child.pause();
      const vanished = await Promise.all(
        names.map((lock) =>
          eventually(
            async () => {
              const queue = await observer.mutex(lock).queue();
              return queue.length === 0 && process.hrtime.bigint();
            },
            { timeoutMs: 3 * ttlMs },
          ),
        ),
      );
      child.resume();
      const { lastHeld } = (await child.next(({ lastHeld }) => lastHeld !== undefined, 10_000)) as {
        lastHeld: string[];
      };
      expect(lastHeld).toHaveLength(holders);
      lastHeld.forEach((at, index) => {
        expect(BigInt(at), `${names[index]} last said it was held`).toBeLessThan(vanished[index] as bigint);
        checked += 1;
      });
    }
    expect(checked).toBe(runs);
  },
  120_000,
);

test("a holder that was busy for twice its time to live sees so in the first line it runs after", async () => {
  const [server] = etcdServers();
  await using conclave = await connect(etcd({ endpoints: [server?.endpoint ?? ""] }), { ttlMs: 2_000 });
  const hold = await conclave.mutex("busy").acquire();
  expect(hold.isHeld()).toBe(true);
  const until = performance.now() + 4_000;
  while (performance.now() < until);
  expect(hold.isHeld()).toBe(false);
  expect(hold.signal.aborted).toBe(true);
});
