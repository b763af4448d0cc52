import { createConnection, createServer, type Socket } from "node:net";
import { connect } from "@conclave/core";
import type { Backend } from "@conclave/core/backend";
import { describe, expect, it } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { listenAnywhere } from "../../../test/harness/ports.ts";
import { type Redis, startRedis } from "../../../test/harness/redis-process.ts";
import { redisBinaries } from "../../../test/harness/servers.ts";
import { startProxy } from "../../../test/harness/tcp-proxy.ts";
import { Ledger } from "./ledger.ts";
import { binary, codeOf, connectTo, Follower, put, timed } from "./rig.ts";

/** An address that leads to whoever is primary: what a load balancer or a DNS name is to a replicated Redis. */
class FloatingAddress implements AsyncDisposable {
  url = "";
  #port = 0;
  readonly #sockets = new Set<Socket>();
  readonly #server = createServer((client) => {
    const server = createConnection(this.#port, "127.0.0.1");
    for (const [one, other] of [[client, server] as const, [server, client] as const]) {
      this.#sockets.add(one);
      one.on("error", () => other.destroy()).on("close", () => other.destroy() && this.#sockets.delete(one));
      one.pipe(other);
    }
  });

  static async leadingTo({ port }: Redis): Promise<FloatingAddress> {
    const address = new FloatingAddress();
    address.#port = port;
    address.url = `redis://127.0.0.1:${await listenAnywhere(address.#server)}`;
    return address;
  }

  leadTo({ port }: Redis): void {
    this.#port = port;
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}

/** A primary and a replica that hears of it through a proxy, so that it can be made to lag. */
async function startPair(): Promise<{ primary: Redis; replica: Redis }> {
  return { primary: await startRedis({ binary: binary() }), replica: await startRedis({ binary: binary() }) };
}

function lossOf(hold: { readonly signal: AbortSignal }): Promise<void> {
  if (hold.signal.aborted) return Promise.resolve();
  return new Promise((resolve) => hold.signal.addEventListener("abort", () => resolve(), { once: true }));
}

const rounds = 20;

describe.each(redisBinaries())("a failover to a replica that lags, on $name", ({ faketime }) => {
  it("loses what it had acknowledged, and says so: watches by a gap, holders within a renewal, tokens and revisions by growing on", {
    timeout: 180_000,
  }, async () => {
    let { primary, replica } = await startPair();
    await using address = await FloatingAddress.leadingTo(primary);
    await using writer = await connectTo(address);
    await using watcher = await connectTo(address);
    await using idle = await connectTo(address);
    const ttlMs = 1_500;
    await using conclave = await connect(writer, { ttlMs });
    await using rival = await connect(watcher, { ttlMs });
    const follower = await Follower.of(watcher, "k/");
    const revisions = new Set<bigint>();
    const tokens = [0n];
    const ledgers: Ledger[] = [];
    const toldMs: number[] = [];
    let [lost, given] = [0, 0];
    try {
      for (let round = 0; round < rounds; round++) {
        const proxy = await startProxy(primary.url);
        await replica.follow({ port: proxy.port } as Redis);
        const ledger = new Ledger(`k/${round}/`);
        ledgers.push(ledger);
        ledger.startWriters(writer, 3);
        await ledger.acknowledges(30);
        proxy.stall();
        // From here on all is lost with the primary.
        await ledger.acknowledges(30);
        const hold = await conclave.mutex("m").acquire();
        expect(hold.token).toBeGreaterThan(tokens.at(-1) as bigint);
        tokens.push(hold.token);
        await ledger.acknowledges(10);
        // The watcher has seen what is about to be lost.
        const newest = [...ledger.done.values()].at(-1) as bigint;
        await eventually(() => follower.newest >= newest);
        await primary.kill();
        await proxy.stop();
        await replica.promote();
        address.leadTo(replica);
        const told = timed(lossOf(hold));
        const next = rival.mutex("m").acquire();
        await ledger.acknowledges(30);
        await ledger.stop();
        toldMs.push((await told).tookMs);
        expect(hold.signal.reason).toMatchObject({ code: "LEASE_LOST" });
        const taken = await next;
        expect(taken.token).toBeGreaterThan(tokens.at(-1) as bigint);
        tokens.push(taken.token);
        await taken.release();

        expect(ledger.failures).toEqual([]);
        expect(ledger.twice).toEqual([]);
        expect(ledger.backwards).toEqual([]);
        for (const revision of ledger.done.values()) {
          expect(revisions.has(revision), `revision ${revision} was given twice`).toBe(false);
          revisions.add(revision);
        }
        const audit = await ledger.audit(writer);
        expect(audit.ghosts).toEqual([]);
        lost += audit.lost.length;
        given += ledger.done.size;
        await follower.agreesWith(writer);
        expect(follower.gaps).toBeGreaterThan(round);
        // One that neither wrote nor watched reads no older state than the others now, either.
        expect((await idle.kv.list("k/", { keysOnly: true })).entries).toHaveLength(follower.state.size);
        [primary, replica] = [replica, primary];
        await replica.restart();
      }
      expect(lost).toBeGreaterThanOrEqual(30 * rounds);
      expect(given).toBeGreaterThanOrEqual(100 * rounds);
      expect(tokens).toHaveLength(2 * rounds + 1);
      expect(follower).toMatchObject({ disorder: 0, failure: undefined });
      // A third of the time to live until the next renewal, and what it takes to connect anew.
      expect(Math.max(...toldMs)).toBeLessThan(ttlMs);
    } finally {
      await primary.stop();
      await replica.stop();
    }
  });

  it("gives no revision again even when all who knew of the lost ones are gone", { timeout: 60_000 }, async () => {
    let { primary, replica } = await startPair();
    const revisions = [0n];
    try {
      for (let round = 0; round < 6; round++) {
        const proxy = await startProxy(primary.url);
        await replica.follow({ port: proxy.port } as Redis);
        await using backend = await connectTo(primary);
        for (let index = 0; index < 60; index++) {
          if (index === 20) proxy.stall();
          revisions.push((await backend.kv.commit({ then: [put(`k/${index}`)] })).revision);
        }
        await primary.kill();
        await proxy.stop();
        await replica.promote();
        [primary, replica] = [replica, primary];
        await replica.restart();
      }
      expect(revisions).toHaveLength(361);
      expect(revisions.every((revision, index) => index === 0 || revision > (revisions[index - 1] as bigint))).toBe(
        true,
      );
    } finally {
      await primary.stop();
      await replica.stop();
    }
  });

  it.runIf(faketime !== undefined)(
    "and whose clock is behind goes on above all that its clients have seen, as soon as one of them calls",
    { timeout: 60_000 },
    async () => {
      const primary = await startRedis({ binary: binary() });
      const replica = await startRedis({ binary: binary(), faketime: faketime as string });
      replica.stepClock(-600_000);
      await using address = await FloatingAddress.leadingTo(primary);
      await using client = await connectTo(address);
      try {
        const proxy = await startProxy(primary.url);
        await replica.follow({ port: proxy.port } as Redis);
        const revisions: bigint[] = [];
        const write = async (backend: Backend, key: string) => {
          revisions.push((await backend.kv.commit({ then: [put(key)] })).revision);
        };
        for (let index = 0; index < 20; index++) await write(client, `kept/${index}`);
        proxy.stall();
        for (let index = 0; index < 20; index++) await write(client, `lost/${index}`);
        const lease = await client.leases.grant({ ttlMs: 60_000 });
        await primary.kill();
        await proxy.stop();
        await replica.promote();
        address.leadTo(replica);
        await eventually(async () => expect(await codeOf(client.kv.get("any"))).toHaveProperty("resolved"));
        expect(await codeOf(lease.keepAlive())).toBe("LEASE_LOST");
        await using stranger = await connectTo(address);
        for (let index = 0; index < 20; index++) await write(index % 2 === 0 ? stranger : client, `new/${index}`);
        expect((await client.kv.list("lost/")).entries).toEqual([]);
        expect(revisions).toHaveLength(60);
        expect(revisions.every((revision, index) => index === 0 || revision > (revisions[index - 1] as bigint))).toBe(
          true,
        );
      } finally {
        await primary.stop();
        await replica.stop();
      }
    },
  );

  it("loses nothing acknowledged where every write waits for the replica", { timeout: 120_000 }, async () => {
    let { primary, replica } = await startPair();
    await using address = await FloatingAddress.leadingTo(primary);
    await using writer = await connectTo(address, { durability: { wait: { replicas: 1, timeoutMs: 300 } } });
    const ledger = new Ledger("k/");
    try {
      for (let round = 0; round < 6; round++) {
        const proxy = await startProxy(primary.url);
        await replica.follow({ port: proxy.port } as Redis);
        await eventually(async () => (await primary.info("replication"))["slave0"]?.includes("state=online") === true);
        ledger.startWriters(writer, 3);
        await ledger.acknowledges(50);
        proxy.stall();
        const unknown = ledger.unknown.size;
        await eventually(() => ledger.unknown.size >= unknown + 3);
        await primary.kill();
        await proxy.stop();
        await replica.promote();
        address.leadTo(replica);
        await ledger.stop();
        expect(await ledger.audit(writer)).toEqual({ lost: [], ghosts: [] });
        [primary, replica] = [replica, primary];
        await replica.restart();
      }
      expect(ledger).toMatchObject({ failures: [], twice: [] });
      expect(ledger.done.size).toBeGreaterThan(300);
      expect(ledger.unknown.size).toBeGreaterThan(18);
    } finally {
      await primary.stop();
      await replica.stop();
    }
  });
});
