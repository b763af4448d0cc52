import { type Backend, encode, sleep, systemClock } from "@conclave/core/backend";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import { zookeeperServers } from "../../../test/harness/servers.ts";
import { Deadline } from "../src/deadline.ts";
import { zookeeper } from "../src/index.ts";
import { Layout } from "../src/layout.ts";
import { Link } from "../src/link.ts";
import { settingsFrom } from "../src/options.ts";
import { Sweeper } from "../src/sweeper.ts";

for (const server of zookeeperServers()) {
  describe(`directories on ${server.name}`, () => {
    let opened: { readonly servers: readonly string[] } & AsyncDisposable;
    beforeAll(async () => {
      opened = await server.open();
    });
    afterAll(() => opened[Symbol.asyncDispose]());

    const value = encode("");
    const roots = { count: 0 };

    async function start(root = `/sweeper-${++roots.count}`) {
      const settings = settingsFrom({ servers: opened.servers, root });
      const link = new Link({ ...settings, horizon: { zxid: 0n }, sessionTimeoutMs: 10_000, lasting: true });
      const backend = await zookeeper({ servers: opened.servers, root }).connect();
      const layout = new Layout(root);
      return {
        ...{ root, link, layout, backend },
        left: async () => (await link.children(layout.top))?.names,
        sweeper: (restMs: number) => new Sweeper(link, layout, { ...settings, restMs }),
        [Symbol.asyncDispose]: async () => {
          await backend[Symbol.asyncDispose]();
          link.abandon();
        },
      };
    }

    async function fill({ kv }: Backend): Promise<void> {
      for (const key of ["a/b/c/1", "a/b/2", "a//3", "d/4"]) await kv.commit({ then: [{ put: key, value }] });
      await kv.commit({ then: ["a/b/c/1", "a/b/2", "a//3", "d/4"].map((key) => ({ delete: key })) });
    }

    test("leaves no node behind of all that a client wrote and deleted, once that is closed", async () => {
      await using scene = await start();
      await fill(scene.backend);
      expect(await scene.left()).toEqual(expect.arrayContaining(["da", "dd"]));
      await scene.backend[Symbol.asyncDispose]();
      expect(await scene.left()).toEqual([]);
    });

    test("finds by chance what a client that died has left behind", async () => {
      await using scene = await start();
      const victim = await zookeeper({ servers: opened.servers, root: scene.root }).connect();
      const lease = await victim.leases.grant({ ttlMs: 1 });
      await victim.kv.commit({
        then: [
          { put: "a/b/c", value, lease },
          { put: "kept/d", value },
        ],
      });
      await victim[Symbol.asyncDispose]();
      const sweeper = scene.sweeper(5);
      await eventually(async () => (await scene.left())?.join() === "dkept", { timeoutMs: 10_000 });
      await sweeper.finish(new Deadline(systemClock, {}, 100));
      expect(await scene.backend.kv.get("kept/d")).toBeDefined();
    });

    test("gets in nobody's way: who creates and deletes in one place all the while never fails", async () => {
      await using scene = await start();
      const sweepers = [1, 2, 3].map(() => scene.sweeper(1));
      const others = [scene.backend, await zookeeper({ servers: opened.servers, root: scene.root }).connect()];
      await Promise.all(
        others.map(async ({ kv }, index) => {
          for (let round = 0; round < 20; round += 1) {
            const key = `busy/place/${index}`;
            const { revision } = await kv.commit({ if: [{ key, exists: false }], then: [{ put: key, value }] });
            expect(await kv.get(key)).toMatchObject({ created: revision });
            const gone = await kv.commit({ if: [{ key, created: revision }], then: [{ delete: key }] });
            expect(gone.succeeded).toBe(true);
            for (const sweeper of sweepers) sweeper.touch(scene.layout.entry(key), true);
            await sleep(systemClock, 3);
          }
        }),
      );
      for (const sweeper of sweepers) await sweeper.finish(new Deadline(systemClock, {}, 1_000));
      for (const other of others) await other[Symbol.asyncDispose]();
      expect(await scene.left()).toEqual([]);
    });
  });
}
