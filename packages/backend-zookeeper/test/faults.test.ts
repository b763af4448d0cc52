import { setTimeout as pause } from "node:timers/promises";
import { connect } from "@conclave/core";
import {
  type Backend,
  decode,
  encode,
  type Lease,
  type Put,
  systemClock,
  type WatchBatch,
} from "@conclave/core/backend";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { zookeeperBinaries } from "../../../test/harness/servers.ts";
import { startProxy } from "../../../test/harness/tcp-proxy.ts";
import {
  startEnsemble,
  startZooKeeper,
  type ZooKeeper,
  type ZooKeeperEnsemble,
} from "../../../test/harness/zookeeper-process.ts";
import { zookeeper } from "../src/index.ts";
import { Layout } from "../src/layout.ts";
import type { Link } from "../src/link.ts";
import { startDivisibleEnsemble } from "./divisible-ensemble.ts";
import { Links, outcomeOf } from "./rig.ts";

const root = "/conclave";
const layout = new Layout(root);

/** A client that begins with the first of the servers, for all its sessions. */
function client(servers: readonly { readonly port: number }[]): Promise<Backend> {
  const clock = { ...systemClock, random: () => 0 };
  return zookeeper({ servers: servers.map(({ port }) => `127.0.0.1:${port}`), root, clock }).connect();
}

function put(key: string, value: string, lease?: Lease): Put {
  return { put: key, value: encode(value), lease };
}

/** When a key has come and gone again, by a server that is not disturbed and may hear of either a little later. */
function goneMs(witness: Link, key: string): Promise<number> {
  return new Promise((resolve, reject) => {
    let wasThere = false;
    const look = async (): Promise<void> => {
      const { stat } = await witness.exists(layout.entry(key), () => look().catch(reject));
      if (stat === undefined && wasThere) resolve(performance.now());
      wasThere ||= stat !== undefined;
    };
    look().catch(reject);
  });
}

/** Every node with a session, anywhere. */
async function leasedNodes(witness: Link, path: string = layout.top): Promise<readonly string[]> {
  const { names = [] } = await witness.children(path);
  const found = await Promise.all(
    names.map(async (name) => {
      const child = `${path}/${name}`;
      const { stat } = await witness.exists(child);
      return [...(stat && stat.ephemeralOwner !== 0n ? [child] : []), ...(await leasedNodes(witness, child))];
    }),
  );
  return found.flat();
}

/** What was read of a key, for comparison. */
async function textOf(backend: Backend, key: string): Promise<string | undefined> {
  const entry = await backend.kv.get(key);
  return entry && decode(entry.value);
}

describe.each(zookeeperBinaries())("a client of $name", (program) => {
  describe("of which one serves", () => {
    let server: ZooKeeper;

    // Sessions of 4 s and more, as servers have it unless they are told otherwise.
    beforeAll(async () => {
      server = await startZooKeeper({ ...program, tickTimeMs: 2_000 });
    });
    afterAll(() => server.stop());

    test("hears that its session is lost before the server frees what it held, however it was cut off", {
      timeout: 60_000,
    }, async () => {
      const runs = 24;
      await using links = new Links();
      const witness = await links.open([server]);
      const margins = await Promise.all(
        Array.from({ length: runs }, async (_, run) => {
          await using proxy = await startProxy(server.server);
          await using conclave = await connect(zookeeper({ servers: [`127.0.0.1:${proxy.port}`], root }), {
            ttlMs: 2_000,
          });
          const session = await conclave.session();
          expect(session.lease.ttlMs).toBe(4_000);
          const key = `lost/${run}`;
          await conclave.backend.kv.commit({ then: [put(key, "", session.lease)] });
          const freed = goneMs(witness, key);
          const lost = new Promise<number>((resolve) => {
            session.signal.addEventListener("abort", () => resolve(performance.now()));
          });
          // At some point between two renewals, of which there are three in each time to live.
          await pause(500 + (run * 1_500) / runs);
          if (run % 3 === 0) proxy.blackHole();
          else if (run % 3 === 1) await proxy.refuse();
          else proxy.stall();
          const margin = (await freed) - (await lost);
          expect(session.signal.reason).toMatchObject({ code: "LEASE_LOST" });
          expect(session.isAlive()).toBe(false);
          return margin;
        }),
      );
      expect(margins).toHaveLength(runs);
      expect(Math.min(...margins)).toBeGreaterThan(0);
      expect(await leasedNodes(witness)).toEqual([]);
    });

    test("finds what it wrote there once, or not at all, when the answer to its commit is lost", {
      timeout: 120_000,
    }, async () => {
      const count = 120;
      await using proxy = await startProxy(server.server);
      await using backend = await client([proxy]);
      await using links = new Links();
      const witness = await links.open([server]);
      const lease = await backend.leases.grant({ ttlMs: 30_000 });
      const tally = { applied: 0, outcomes: new Map<unknown, number>() };
      for (let index = 0; index < count; index++) {
        const [key, once] = [`unsure/${index}`, `once-${index};`];
        const isLeased = index % 2 === 0;
        const dropped = proxy.dropNextReply({ containing: once });
        const commit = backend.kv.commit({
          if: index % 4 < 2 ? [{ key, exists: false }] : [],
          then: [put(key, once, isLeased ? lease : undefined)],
        });
        const outcome = await outcomeOf(commit);
        await dropped;
        tally.outcomes.set(outcome, (tally.outcomes.get(outcome) ?? 0) + 1);
        const entry = await backend.kv.get(key);
        if (entry === undefined) continue;
        tally.applied += 1;
        expect(decode(entry.value)).toBe(once);
        expect(entry.created).toBe(entry.modified);
        expect(entry.lease).toBe(isLeased ? lease.id : undefined);
      }
      expect([...tally.outcomes]).toEqual([["OUTCOME_UNKNOWN", count]]);
      expect(tally.applied).toBe(count);
      await lease.revoke();
      const { entries } = await backend.kv.list("unsure/");
      expect(entries).toHaveLength(count / 2);
      expect(await leasedNodes(witness)).toEqual([]);
    });

    test("knows what became of each commit, as far as it says so, while its connections are cut again and again", {
      timeout: 60_000,
    }, async () => {
      await using proxy = await startProxy(server.server);
      await using backend = await client([proxy]);
      const outcomes = new Map<string, unknown>();
      let [cuts, stop] = [0, false];
      const cutting = (async () => {
        while (!stop) {
          await pause(20 + 30 * Math.random());
          proxy.cut();
          cuts += 1;
        }
      })();
      const writers = Array.from({ length: 4 }, async (_, writer) => {
        for (let index = 0; !stop; index++) {
          const key = `cut/${writer}/${index}`;
          const then = [put(key, "1"), put(`${key}/twin`, "1")];
          outcomes.set(key, await outcomeOf(backend.kv.commit({ if: [{ key, exists: false }], then })));
        }
      });
      await eventually(() => cuts >= 100 && outcomes.size >= 300, { timeoutMs: 40_000 });
      stop = true;
      await Promise.all([cutting, ...writers]);
      await proxy.heal();
      await using other = await client([server]);
      const { entries } = await other.kv.list("cut/");
      const there = new Set(entries.map((entry) => entry.key));
      for (const [key, outcome] of outcomes) {
        expect(outcome).toBeOneOf(["done", "OUTCOME_UNKNOWN", "UNAVAILABLE"]);
        if (outcome !== "OUTCOME_UNKNOWN") expect(there.has(key)).toBe(outcome === "done");
        expect(there.has(`${key}/twin`)).toBe(there.has(key));
      }
      expect([...outcomes.values()].filter((outcome) => outcome === "done").length).toBeGreaterThan(100);
    });

    test("goes on by another way when one turns into a black hole: calls, leases and watches", {
      timeout: 60_000,
    }, async () => {
      for (let round = 0; round < 2; round++) {
        await using one = await startProxy(server.server);
        await using other = await startProxy(server.server);
        await using backend = await client([one, other]);
        await using writer = await client([server]);
        await using watch = await backend.watches.watch({ prefix: `hole/${round}/` });
        const batches = watch[Symbol.asyncIterator]();
        const lease = await backend.leases.grant({ ttlMs: 4_000 });
        await backend.kv.commit({ then: [put(`held/${round}`, "", lease)] });
        expect(one.connections).toBe(2);
        one.blackHole();
        const startMs = performance.now();
        const [ttlMs, read] = await Promise.all([
          lease.keepAlive({ timeoutMs: 3_000 }),
          backend.kv.get(`held/${round}`),
        ]);
        expect(ttlMs).toBe(4_000);
        expect(read?.lease).toBe(lease.id);
        await writer.kv.commit({ then: [put(`hole/${round}/new`, "")] });
        expect((await batches.next()).done).toBe(false);
        expect(performance.now() - startMs).toBeLessThan(4_900);
        expect(await outcomeOf(backend.kv.commit({ then: [put(`own/${round}`, "", lease)] }))).toBe("done");
        await lease.revoke();
      }
    });

    test("has nothing to do with another client of its process but the store", async () => {
      await using one = await client([server]);
      const other = await client([server]);
      const [ofOne, ofOther] = [await one.leases.grant({ ttlMs: 4_000 }), await other.leases.grant({ ttlMs: 4_000 })];
      await one.kv.commit({ then: [put("pair/one", "1", ofOne)] });
      await other.kv.commit({ then: [put("pair/other", "2", ofOther)] });
      const foreign = await outcomeOf(one.kv.commit({ then: [put("pair/third", "3", ofOther)] }));
      expect(foreign).toBeInstanceOf(TypeError);
      await other[Symbol.asyncDispose]();
      expect(await textOf(one, "pair/one")).toBe("1");
      expect(await ofOne.keepAlive()).toBe(4_000);
      expect(await outcomeOf(ofOther.keepAlive())).toBe("CLOSED");
      // A client that ends leaves its leases to expire.
      expect(await textOf(one, "pair/other")).toBe("2");
      await ofOne.revoke();
      expect(await textOf(one, "pair/one")).toBeUndefined();
    });
  });

  describe("whose sessions are short", () => {
    test("goes on after all of them have expired: leases are lost, watches look again, calls work", {
      timeout: 60_000,
    }, async () => {
      const limits = { tickTimeMs: 200, minSessionMs: 400, maxSessionMs: 1_000 };
      await using server = await startZooKeeper({ ...program, ...limits });
      await using proxy = await startProxy(server.server);
      await using backend = await client([proxy]);
      await using witness = await client([server]);
      expect(backend.limits).toMatchObject({ minTtlMs: 400, maxTtlMs: 1_000 });
      await using watch = await backend.watches.watch({ prefix: "" });
      const batches = watch[Symbol.asyncIterator]();
      const lease = await backend.leases.grant({ ttlMs: 600 });
      await backend.kv.commit({ then: [put("leased", "", lease), put("kept", "1")] });
      await batches.next();
      for (const cut of ["black hole", "refusal"] as const) {
        if (cut === "refusal") await proxy.refuse();
        else proxy.blackHole();
        await witness.kv.commit({ then: [put("kept", cut)] });
        await pause(2_500);
        expect(await witness.kv.get("leased")).toBeUndefined();
        await proxy.heal();
        for (let seen = ""; seen !== cut; ) {
          const batch = (await batches.next()).value as WatchBatch;
          if ("gap" in batch) seen = (await textOf(backend, "kept")) ?? "";
          else for (const { key, entry } of batch.changes) if (key === "kept" && entry) seen = decode(entry.value);
        }
        expect(await outcomeOf(lease.keepAlive())).toBe("LEASE_LOST");
        expect(await outcomeOf(backend.kv.commit({ then: [put("zombie", "", lease)] }))).toBe("LEASE_LOST");
        expect(await textOf(witness, "zombie")).toBeUndefined();
        const next = await backend.leases.grant({ ttlMs: 600 });
        expect(await outcomeOf(backend.kv.commit({ then: [put("next", "", next)] }))).toBe("done");
        await next.revoke();
      }
    });
  });

  describe("of which three agree", () => {
    let ensemble: ZooKeeperEnsemble;

    beforeAll(async () => {
      ensemble = await startEnsemble({ ...program, tickTimeMs: 500 });
    });
    afterAll(() => ensemble.stop());

    test("loses nothing that was acknowledged when the leader is killed, nor a session that is renewed", {
      timeout: 120_000,
    }, async () => {
      for (let round = 0; round < 2; round++) {
        const leader = await ensemble.leader();
        await using conclave = await connect(zookeeper({ servers: ensemble.servers, root }), { ttlMs: 8_000 });
        const { backend } = conclave;
        const session = await conclave.session();
        await backend.kv.commit({ then: [put(`held/${round}`, "", session.lease)] });
        const outcomes = new Map<string, unknown>();
        const wrong: unknown[] = [];
        let stop = false;
        const done = () => [...outcomes.values()].filter((outcome) => outcome === "done").length;
        const writers = Array.from({ length: 3 }, async (_, writer) => {
          for (let index = 0; !stop; index++) {
            const key = `kill/${round}/${writer}/${index}`;
            const outcome = await outcomeOf(backend.kv.commit({ then: [put(key, "1"), put(`${key}/twin`, "1")] }));
            outcomes.set(key, outcome);
          }
        });
        const reader = (async () => {
          while (!stop) {
            const entry = await backend.kv.get(`held/${round}`, { timeoutMs: 20_000 }).catch((error: unknown) => error);
            if ((entry as { lease?: string } | undefined)?.lease !== session.lease.id) wrong.push(entry);
          }
        })();
        await eventually(() => done() > 30, { timeoutMs: 20_000 });
        const before = done();
        await leader.kill();
        await eventually(() => done() > before + 50, { timeoutMs: 40_000 });
        stop = true;
        await Promise.all([reader, ...writers]);
        expect(wrong).toEqual([]);
        expect(session.isAlive()).toBe(true);
        await using other = await client(ensemble.members.filter((member) => member !== leader));
        const { entries } = await other.kv.list(`kill/${round}/`);
        const there = new Set(entries.map(({ key }) => key));
        for (const [key, outcome] of outcomes) {
          expect(outcome).toBeOneOf(["done", "OUTCOME_UNKNOWN", "UNAVAILABLE"]);
          if (outcome !== "OUTCOME_UNKNOWN") expect(there.has(key)).toBe(outcome === "done");
          expect(there.has(`${key}/twin`)).toBe(there.has(key));
        }
        // Each writer had one under way, and perhaps one more that met a server which was looking for a leader.
        expect([...outcomes.values()].filter((outcome) => outcome === "OUTCOME_UNKNOWN").length).toBeLessThan(9);
        await leader.restart();
      }
    });

    test("keeps a lease for all its time from its last renewal, when the server that took it dies just after", {
      timeout: 60_000,
    }, async () => {
      // Ticks are slow here: of what a server has heard it tells the leader only every second.
      await using slow = await startEnsemble({ ...program, tickTimeMs: 2_000 });
      await using links = new Links();
      const [leader, [victim]] = [await slow.leader(), await slow.followers()] as [ZooKeeper, [ZooKeeper]];
      const witness = await links.open([leader]);
      await using backend = await client([leader]);
      await using doomed = await client([victim]);
      const held = await Promise.all(
        Array.from({ length: 20 }, async (_, index) => {
          const lease = await doomed.leases.grant({ ttlMs: 4_000 });
          const key = `doomed/${index}`;
          await doomed.kv.commit({ then: [put(key, "", lease)] });
          return { lease, key, freed: goneMs(witness, key) };
        }),
      );
      await pause(3_000);
      const renewed = await Promise.all(
        held.map(async ({ lease, freed }) => {
          const sentMs = performance.now();
          return { ttlMs: await lease.keepAlive(), sentMs, freed };
        }),
      );
      await victim.kill();
      const lived = await Promise.all(renewed.map(async ({ sentMs, freed }) => (await freed) - sentMs));
      for (const { ttlMs } of renewed) expect(ttlMs).toBe(4_000);
      expect(Math.min(...lived)).toBeGreaterThan(4_000);
      expect((await backend.kv.list("doomed/")).entries).toEqual([]);
    });

    test("renews no lease by a server that is cut off from the leader, though it answers reads by itself", {
      timeout: 60_000,
    }, async () => {
      // A server that is cut off finds that out after five seconds, and a lease is gone in one.
      await using divisible = await startDivisibleEnsemble({
        ...program,
        ...{ tickTimeMs: 500, minSessionMs: 1_000, config: { syncLimit: 10 } },
      });
      const [lonely] = divisible.followers as [ZooKeeper];
      await using links = new Links();
      const witness = await links.open([divisible.leader]);
      await using near = await client([divisible.leader]);
      await using backend = await client([lonely]);
      const reader = await links.open([lonely]);
      const held = await Promise.all(
        Array.from({ length: 5 }, async (_, index) => {
          const lease = await backend.leases.grant({ ttlMs: 1_000 });
          const key = `lonely/${index}`;
          await backend.kv.commit({ then: [put(key, "", lease)] });
          return { lease, freed: goneMs(witness, key), renewals: 0, heldUntilMs: 0 };
        }),
      );
      let [stop, readMs] = [false, 0];
      const renewing = held.map(async (one) => {
        while (!stop) {
          const sentMs = performance.now();
          const ttlMs = await one.lease.keepAlive({ timeoutMs: 250 }).catch(() => 0);
          if (ttlMs > 0) {
            one.renewals += 1;
            one.heldUntilMs = sentMs + ttlMs;
          }
          await pause(100);
        }
      });
      const reading = (async () => {
        while (!stop) {
          if ((await outcomeOf(reader.exists("/", undefined, { timeoutMs: 250 }))) === "done")
            readMs = performance.now();
          await pause(50);
        }
      })();
      await eventually(() => held.every(({ renewals }) => renewals >= 5));
      divisible.isolate(lonely);
      const freedMs = await Promise.all(held.map(({ freed }) => freed));
      await pause(1_000);
      stop = true;
      await Promise.all([...renewing, reading]);
      for (const [index, { heldUntilMs }] of held.entries()) expect(freedMs[index]).toBeGreaterThan(heldUntilMs);
      expect(readMs).toBeGreaterThan(Math.max(...freedMs));
      expect((await near.kv.list("lonely/")).entries).toEqual([]);
    });

    test("leaves a server that stands still for the others", { timeout: 60_000 }, async () => {
      const [follower] = (await ensemble.followers()) as [ZooKeeper];
      const others = ensemble.members.filter((member) => member !== follower);
      await using backend = await client([follower, ...others]);
      await using writer = await client(others);
      await using watch = await backend.watches.watch({ prefix: "still/" });
      const batches = watch[Symbol.asyncIterator]();
      const lease = await backend.leases.grant({ ttlMs: 6_000 });
      follower.pause();
      try {
        const startMs = performance.now();
        const [ttlMs] = await Promise.all([lease.keepAlive({ timeoutMs: 5_000 }), backend.kv.get("still/any")]);
        expect(ttlMs).toBe(6_000);
        await writer.kv.commit({ then: [put("still/new", "")] });
        expect((await batches.next()).done).toBe(false);
        expect(performance.now() - startMs).toBeLessThan(15_000);
      } finally {
        follower.resume();
      }
      await lease.revoke();
    });
  });
});
