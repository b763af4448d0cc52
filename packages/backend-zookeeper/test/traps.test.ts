import { setTimeout as pause } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { zookeeperBinaries } from "../../../test/harness/servers.ts";
import { startProxy } from "../../../test/harness/tcp-proxy.ts";
import { startZooKeeper, type ZooKeeper } from "../../../test/harness/zookeeper-process.ts";
import type { Link } from "../src/link.ts";
import { Links, outcomeOf } from "./rig.ts";

const data = Buffer.from("data");
const shortMs = 600;

// What node-zookeeper-client gets wrong or leaves undone, on a real server; what only a fake one says is in scripted.test.ts.
describe.each(zookeeperBinaries())("a link with $name", (program) => {
  let server: ZooKeeper;
  let nth = 0;
  let root = "";

  beforeAll(async () => {
    server = await startZooKeeper({ ...program, tickTimeMs: 200, minSessionMs: 400, maxSessionMs: 20_000 });
  });
  afterAll(() => server.stop());

  beforeEach(async () => {
    root = `/test${nth++}`;
    await using links = new Links();
    const link = await links.open([server]);
    await make(link, root);
  });

  /** A node as the backend makes them: it starts at version 1. */
  async function make(link: Link, path: string): Promise<void> {
    expect(await link.multi([{ create: path }, { set: path, data }])).toMatchObject({ applied: true });
  }

  describe("and versions", () => {
    test("starts a node that is created and set in one transaction at version 1, with one zxid", async () => {
      await using links = new Links();
      const link = await links.open([server]);
      const answer = await link.multi([{ create: `${root}/a` }, { set: `${root}/a`, data }]);
      const { zxid } = answer;
      const stat = { version: 1, czxid: zxid, mzxid: zxid, ephemeralOwner: 0n, numChildren: 0 };
      expect(answer).toMatchObject({ applied: true, stats: [undefined, stat] });
      expect(await link.data(`${root}/a`)).toMatchObject({ data, stat });
    });

    test("refuses one that is not the node's, and says which step it was", async () => {
      await using links = new Links();
      const link = await links.open([server]);
      const path = `${root}/a`;
      await make(link, path);
      for (const step of [
        { check: path, version: 2 },
        { set: path, data, version: 2 },
        { remove: path, version: 2 },
      ]) {
        const answer = await link.multi([{ create: `${root}/b` }, step]);
        expect(answer).toMatchObject({ applied: false, index: 1, refusal: "BAD_VERSION" });
      }
      expect((await link.data(`${root}/b`)).stat).toBeUndefined();
      for (const step of [
        { check: path, version: 1 },
        { set: path, data, version: 1 },
        { remove: path, version: 2 },
      ]) {
        expect(await link.multi([step])).toMatchObject({ applied: true });
      }
    });

    test("never sends 0, which would ask for any version", async () => {
      await using links = new Links();
      const link = await links.open([server]);
      const path = `${root}/a`;
      await make(link, path);
      for (const step of [
        { check: path, version: 0 },
        { set: path, data: Buffer.from("other"), version: 0 },
        { remove: path, version: 0 },
      ]) {
        expect(await outcomeOf(link.multi([step]))).toBeInstanceOf(RangeError);
      }
      expect(await link.data(path)).toMatchObject({ data, stat: { version: 1 } });
    });

    test("tells refusals of other kinds apart", async () => {
      await using links = new Links();
      const link = await links.open([server]);
      await make(link, `${root}/a`);
      await make(link, `${root}/a/b`);
      const refusals = [
        [{ create: `${root}/a` }, "NODE_EXISTS"],
        [{ create: `${root}/none/c` }, "NO_NODE"],
        [{ check: `${root}/none` }, "NO_NODE"],
        [{ remove: `${root}/a` }, "NOT_EMPTY"],
      ] as const;
      for (const [step, refusal] of refusals) {
        expect(await link.multi([{ check: root }, step])).toMatchObject({ applied: false, index: 1, refusal });
      }
      const leafy = [{ create: `${root}/e`, ephemeral: true }, { create: `${root}/e/f` }] as const;
      expect(await link.multi(leafy)).toMatchObject({ index: 1, refusal: "NO_CHILDREN_FOR_EPHEMERALS" });
    });

    test("refuses what the server would drop the connection for", async () => {
      await using links = new Links();
      const link = await links.open([server]);
      const large = Buffer.alloc(600_000);
      expect(await outcomeOf(link.multi([{ set: root, data: large }]))).toBe("done");
      const steps = [
        { set: root, data: large },
        { set: root, data: large },
      ];
      expect(await outcomeOf(link.multi(steps))).toBe("LIMIT");
    });
  });

  describe("whose connection dies", () => {
    test("without a sign goes on by another server, with the same session, and repeats reads but no writes", async () => {
      for (let round = 0; round < 5; round++) {
        await using one = await startProxy(server.server);
        await using other = await startProxy(server.server);
        await using links = new Links();
        const link = await links.open([one], { sessionTimeoutMs: 2_400 });
        const far = await links.open([one, other], { sessionTimeoutMs: 2_400 });
        await make(link, `${root}/${round}`);
        const { sessionId } = far;
        const [used, spare] = one.connections === 2 ? [one, other] : [other, one];
        used.blackHole();
        const written = outcomeOf(far.multi([{ remove: `${root}/${round}` }]));
        const read = await far.data(root);
        expect(read?.data).toEqual(data);
        expect(await written).toBe("OUTCOME_UNKNOWN");
        expect(far.sessionId).toBe(sessionId);
        expect(spare.connections).toBeGreaterThan(0);
        expect(await outcomeOf(far.multi([{ check: `${root}/${round}` }]))).toBe("done");
      }
    });

    test("without a sign, while nobody asks anything, has its watches called within the session's time", async () => {
      await using proxy = await startProxy(server.server);
      await using links = new Links();
      const link = await links.open([proxy], { sessionTimeoutMs: 3_000 });
      let called = false;
      await link.data(root, () => {
        called = true;
      });
      proxy.blackHole();
      await eventually(() => called, { timeoutMs: 3_000 });
    });

    test("reports a write as UNAVAILABLE if there was none to send it on, and never sends it later", async () => {
      await using proxy = await startProxy(server.server);
      await using links = new Links();
      const link = await links.open([proxy]);
      await proxy.refuse();
      await pause(20);
      for (let count = 0; count < 20; count++) {
        const write = link.multi([{ create: `${root}/late${count}` }], { timeoutMs: 50 });
        expect(await outcomeOf(write)).toBe("UNAVAILABLE");
      }
      await proxy.heal();
      await make(link, `${root}/sent`);
      expect((await link.children(root)).names).toEqual(["sent"]);
    });

    test("reports a write whose answer is late as OUTCOME_UNKNOWN, and it was sent once", async () => {
      await using proxy = await startProxy(server.server);
      await using links = new Links();
      const link = await links.open([proxy]);
      proxy.stall();
      expect(await outcomeOf(link.multi([{ set: root, data }], { timeoutMs: 100 }))).toBe("OUTCOME_UNKNOWN");
      await proxy.heal();
      await eventually(async () => (await link.data(root)).stat?.version === 2);
      await link.multi([{ check: root }]);
      expect((await link.data(root)).stat?.version).toBe(2);
    });

    test("for longer than its session takes another one, unless the session is a lease", async () => {
      await using proxy = await startProxy(server.server);
      await using links = new Links();
      const lasting = await links.open([proxy], { sessionTimeoutMs: shortMs });
      const lease = await links.open([proxy], { sessionTimeoutMs: shortMs, lasting: false });
      const { sessionId } = lasting;
      let called = 0;
      await lasting.data(root, () => called++);
      await make(lasting, `${root}/a`);
      expect(await lease.multi([{ create: `${root}/leased`, ephemeral: true }])).toMatchObject({ applied: true });
      await proxy.refuse();
      await using direct = new Links();
      const witness = await direct.open([server]);
      await eventually(async () => (await witness.exists(`${root}/leased`)).stat === undefined);
      await pause(shortMs);
      await proxy.heal();
      expect(await outcomeOf(lasting.multi([{ set: `${root}/a`, data, version: 1 }]))).toBe("done");
      expect(lasting.sessionId).not.toBe(sessionId);
      expect(lasting.ended.aborted).toBe(false);
      expect(called).toBe(1);
      expect(await outcomeOf(lease.multi([{ create: `${root}/zombie`, ephemeral: true }]))).toBe("LEASE_LOST");
      expect(await outcomeOf(lease.renew())).toBe("LEASE_LOST");
      expect(lease.ended.reason).toMatchObject({ code: "LEASE_LOST" });
      expect((await witness.exists(`${root}/zombie`)).stat).toBeUndefined();
    });
  });

  describe("that is busy", () => {
    test("keeps its session under a stream of events that lasts for several of its times", async () => {
      await using links = new Links();
      const writer = await links.open([server]);
      const paths = Array.from({ length: 300 }, (_, index) => `${root}/${index}`);
      for (const path of paths) await make(writer, path);
      const listener = await links.open([server], { sessionTimeoutMs: shortMs });
      const { sessionId } = listener;
      expect(listener.timeoutMs).toBe(shortMs);
      let called = 0;
      await Promise.all(paths.map((path) => listener.data(path, () => called++)));
      await listener.multi([{ create: `${root}/mine`, ephemeral: true }]);
      // Something comes every few milliseconds, so that the socket is never idle, and nobody asks for anything.
      const everyMs = (5 * shortMs) / paths.length;
      for (const path of paths) {
        await writer.multi([{ set: path, data }]);
        await pause(everyMs);
      }
      await eventually(() => called === paths.length);
      const { stat } = await writer.exists(`${root}/mine`);
      expect(stat?.ephemeralOwner.toString(16)).toBe(sessionId);
      expect(await outcomeOf(listener.multi([{ check: root }]))).toBe("done");
      expect(listener.sessionId).toBe(sessionId);
    });

    test("lets the session of a lease run out under such a stream, when nobody renews it", async () => {
      await using links = new Links();
      const writer = await links.open([server]);
      const lease = await links.open([server], { sessionTimeoutMs: shortMs, lasting: false });
      expect(await lease.multi([{ create: `${root}/leased`, ephemeral: true }])).toMatchObject({ applied: true });
      const startMs = performance.now();
      await eventually(
        async () => {
          await writer.multi([{ set: root, data }]);
          return (await writer.exists(`${root}/leased`)).stat === undefined;
        },
        { timeoutMs: shortMs + 1_500 },
      );
      expect(performance.now() - startMs).toBeGreaterThan(shortMs - 50);
    });
  });

  describe("that is renewed", () => {
    test("costs no transaction its answer, whenever that was sent", async () => {
      await using links = new Links();
      const link = await links.open([server], { lasting: false });
      const outcomes: unknown[] = [];
      for (let round = 0; round < 100; round++) {
        const calls: Promise<unknown>[] = [];
        const write = () => calls.push(outcomeOf(link.multi([{ set: root, data }])));
        write();
        calls.push(outcomeOf(link.renew()));
        for (let turn = 0; turn < 12; turn++) {
          write();
          await undefined;
        }
        outcomes.push(...(await Promise.all(calls)));
      }
      expect(outcomes).toEqual(outcomes.map(() => "done"));
      expect((await link.data(root)).stat?.version).toBe(1_301);
    });
  });

  describe("and its watches", () => {
    const kinds = {
      data: (link: Link, path: string, watch: () => void) => link.data(path, watch),
      exists: (link: Link, path: string, watch: () => void) => link.exists(path, watch),
      children: (link: Link, path: string, watch: () => void) => link.children(path, watch),
    };
    const changes = {
      write: (link: Link, path: string) => link.multi([{ set: path, data }]),
      child: (link: Link, path: string) => link.multi([{ create: `${path}/child` }]),
      removal: (link: Link, path: string) => link.multi([{ remove: path }]),
      creation: (link: Link, path: string) => link.multi([{ create: path }]),
    };
    const heard = [
      ["data", "write"],
      ["data", "removal"],
      ["exists", "write"],
      ["exists", "removal"],
      ["exists", "creation"],
      ["children", "child"],
      ["children", "removal"],
    ] as const;

    test.each(heard)("calls that of %s after a %s, once", async (kind, change) => {
      await using links = new Links();
      const [link, other] = [await links.open([server]), await links.open([server])];
      const path = `${root}/a`;
      if (change !== "creation") await make(other, path);
      let called = 0;
      await kinds[kind](link, path, () => called++);
      await changes[change](other, path);
      await eventually(() => called === 1);
      if (change === "creation" || change === "write") await changes.write(other, path);
      await link.exists(path);
      expect(called).toBe(1);
    });

    test.each(heard)("calls that of %s for a %s that came while it was disconnected", async (kind, change) => {
      await using proxy = await startProxy(server.server);
      await using links = new Links();
      const [link, other] = [await links.open([proxy]), await links.open([server])];
      const path = `${root}/a`;
      if (change !== "creation") await make(other, path);
      let called = 0;
      let isLate = false;
      await kinds[kind](link, path, () => called++);
      await proxy.refuse();
      const { applied } = await changes[change](other, path);
      expect(applied).toBe(true);
      await proxy.heal();
      await eventually(() => called === 1);
      // What is read after the call is what was missed, and the next watch is as good as the first.
      const seen = await kinds[kind](link, path, () => {
        isLate = true;
      });
      expect(seen === undefined || !("stat" in seen) || seen.stat === undefined).toBe(change === "removal");
      if (change !== "removal" && kind !== "children") {
        await changes.write(other, path);
        await eventually(() => isLate);
      }
    });

    test("are called one and all when thirty of them wait for the same, and none a second time", async () => {
      const warnings: Error[] = [];
      const warned = (warning: Error) => void warnings.push(warning);
      process.on("warning", warned);
      await using links = new Links();
      const [link, other] = [await links.open([server]), await links.open([server])];
      const calls = new Map<number, number>();
      for (let index = 0; index < 30; index++) {
        const watch = () => calls.set(index, (calls.get(index) ?? 0) + 1);
        if (index % 3 === 0) await link.exists(root, watch);
        else if (index % 3 === 1) await link.data(root, watch);
        else await link.children(root, watch);
      }
      await changes.write(other, root);
      await changes.child(other, root);
      await eventually(() => calls.size === 30);
      await changes.write(other, root);
      await link.exists(root);
      expect([...calls.values()]).toEqual(Array(30).fill(1));
      await pause(10);
      process.off("warning", warned);
      expect(warnings).toEqual([]);
    });

    test("are called when the link ends", async () => {
      for (const end of [(link: Link) => link.close(), async (link: Link) => link.abandon()]) {
        await using links = new Links();
        const link = await links.open([server]);
        let called = 0;
        await link.data(root, () => called++);
        await end(link);
        await eventually(() => called === 1);
        expect(await outcomeOf(link.data(root))).toBe("CLOSED");
      }
    });
  });

  describe("with credentials", () => {
    const auth = "user:secret";

    test("keeps what it writes to itself, whatever connection it goes by", async () => {
      await using proxy = await startProxy(server.server);
      await using links = new Links();
      const owner = await links.open([proxy], { auth });
      const path = `${root}/private`;
      for (let round = 0; round < 10; round++) {
        // Many calls wait for the connection, and all of them are to find it with credentials.
        proxy.cut();
        await pause(5);
        const calls = Array.from({ length: 20 }, (_, index) => owner.multi([{ create: `${path}${round}-${index}` }]));
        for (const outcome of await Promise.all(calls.map(outcomeOf))) expect(outcome).toBe("done");
      }
      await make(owner, path);
      for (const stranger of [await links.open([server]), await links.open([server], { auth: "user:wrong" })]) {
        expect(await outcomeOf(stranger.data(path))).toBe("DENIED");
        expect(await outcomeOf(stranger.children(path))).toBe("DENIED");
        expect(await outcomeOf(stranger.multi([{ set: path, data }]))).toBe("DENIED");
        expect(await outcomeOf(stranger.multi([{ create: `${path}/b` }]))).toBe("DENIED");
      }
      const friend = await links.open([server], { auth });
      expect(await friend.data(path)).toMatchObject({ data, stat: { version: 1 } });
    });
  });

  describe("that is closed", () => {
    test("takes its session's nodes along at once, and leaves no connection", async () => {
      await using proxy = await startProxy(server.server);
      await using links = new Links();
      const witness = await links.open([server]);
      for (let round = 0; round < 20; round++) {
        const link = await links.open([proxy], { lasting: false });
        const path = `${root}/${round}`;
        expect(await link.multi([{ create: path, ephemeral: true }])).toMatchObject({ applied: true });
        if (round % 2 === 1) proxy.cut();
        await link.close();
        expect((await witness.exists(path)).stat).toBeUndefined();
        await link.close();
        expect(await outcomeOf(link.multi([{ check: root }]))).toBe("CLOSED");
      }
      await eventually(() => proxy.connections === 0);
    });

    test("leaves its session to expire when it is abandoned", async () => {
      await using proxy = await startProxy(server.server);
      await using links = new Links();
      const witness = await links.open([server]);
      const link = await links.open([proxy], { lasting: false, sessionTimeoutMs: shortMs });
      const path = `${root}/a`;
      expect(await link.multi([{ create: path, ephemeral: true }])).toMatchObject({ applied: true });
      const startMs = performance.now();
      link.abandon();
      await eventually(() => proxy.connections === 0);
      expect((await witness.exists(path)).stat).toBeDefined();
      await eventually(async () => (await witness.exists(path)).stat === undefined);
      expect(performance.now() - startMs).toBeGreaterThan(shortMs - 100);
    });
  });
});
