import { decode, encode, systemClock } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { ZooKeeperKv } from "../src/kv.ts";
import { Layout } from "../src/layout.ts";
import { settingsFrom } from "../src/options.ts";
import { Reader } from "../src/reader.ts";
import { Sightings } from "../src/sightings.ts";
import { Sweeper } from "../src/sweeper.ts";
import {
  applied,
  bytes,
  type FakeConnection,
  type FakeZooKeeper,
  opcode,
  type Request,
  startFakeZooKeeper,
  stat,
} from "./fake-zookeeper.ts";
import { Links } from "./rig.ts";

const root = "/resent";
const layout = new Layout(root);
const noNode = -101;
const expired = -112;

async function kvOf(server: FakeZooKeeper, links: Links, clock = systemClock): Promise<ZooKeeperKv> {
  const settings = settingsFrom({ servers: [`${server.host}:${server.port}`], root, clock });
  const link = await links.open([server], { clock });
  const sightings = new Sightings();
  const reader = new Reader(link, layout, sightings, clock);
  const sweeper = new Sweeper(link, layout, { ...settings, restMs: 60_000 });
  return new ZooKeeperKv({ link, linkOf: () => undefined, layout, reader, sweeper, sightings }, settings);
}

/** The session expires under a write that goes first, while the reads behind it are still answered; and then it is resent. */
function expiring(readsBehind: number, before: Parameters<FakeConnection["reply"]>[1]) {
  const held: Request[] = [];
  return {
    connected: (
      { sessionId, timeoutMs }: { readonly sessionId: bigint; readonly timeoutMs: number },
      connection: FakeConnection,
    ) => connection.welcome({ id: sessionId || BigInt(connection.nth), timeoutMs }),
    asked: (request: Request, connection: FakeConnection) => {
      if (request.type === opcode.auth || request.type === opcode.close) connection.reply(request);
      else if (connection.nth > 1) {
        if (request.type === opcode.multi) connection.reply(request, { zxid: 9n, body: applied(2) });
        else if (request.type === opcode.getData)
          connection.reply(request, { zxid: 9n, body: Buffer.concat([bytes(Buffer.from("new")), stat()]) });
        else connection.reply(request, { zxid: 9n, body: stat() });
      } else {
        held.push(request);
        if (held.length <= readsBehind) return;
        connection.gather(() => {
          for (const one of held)
            connection.reply(one, one.type === opcode.multi ? { zxid: 5n, err: expired } : { zxid: 5n, ...before });
        });
      }
    },
  };
}

describe("a write to ZooKeeper that is sent again, since the session was gone", () => {
  const old = { body: Buffer.concat([bytes(Buffer.from("old")), stat()]) };
  for (const [was, before] of [
    ["nothing", { err: noNode }],
    ["something old", old],
  ] as const) {
    test(`has a read that it is to be the ground of read anew, where ${was} was seen before`, async () => {
      await using server = await startFakeZooKeeper(expiring(1, before));
      await using links = new Links();
      const kv = await kvOf(server, links);
      const entry = await kv.get("key");
      expect(entry && decode(entry.value)).toBe("new");
      expect(server.handshakes).toHaveLength(2);
    });

    test(`has a transaction see its own write, where ${was} was seen before`, async () => {
      await using server = await startFakeZooKeeper(expiring(1, before));
      await using links = new Links();
      const kv = await kvOf(server, links);
      const { readAt, revision, results } = await kv.commit({
        if: [{ key: "key", exists: false }],
        then: [{ put: "key", value: encode("new") }, { get: "key" }],
      });
      expect(results[1] && decode(results[1].value)).toBe("new");
      expect(readAt).toBeGreaterThanOrEqual(revision);
    });
  }
});

test("A node that was read before its guard, since connections were lost, is read again before anything is written", async () => {
  const dropping = [1, 2];
  let rests = 0;
  const looked: (string | undefined)[] = [];
  await using server = await startFakeZooKeeper({
    asked: (request, connection) => {
      if (request.type === opcode.close) connection.reply(request);
      else if (request.type === opcode.multi) {
        looked.push("multi");
        connection.reply(request, { body: applied(2) });
      } else if (dropping.includes(connection.nth)) {
        if (server.requests.filter((one) => one.connection === connection.nth).length === 4) connection.drop();
      } else {
        looked.push(request.path);
        connection.reply(request, request.path?.includes("/g/") ? { body: stat() } : { err: noNode });
      }
    },
  });
  await using links = new Links();
  // Whoever waits first before another attempt waits the longest.
  const random = () => (server.handshakes.length > 1 && rests++ % 4 === 0 ? 0.99 : 0);
  const kv = await kvOf(server, links, { ...systemClock, random });
  const { succeeded } = await kv.commit({
    if: [{ key: "a", exists: false }],
    then: [{ put: "b", value: encode("") }],
  });
  expect(succeeded).toBe(true);
  const [node, guard] = [layout.entry("a"), layout.guard(layout.entry("a"))];
  expect(looked.indexOf(node), "what the waiting is to bring about").toBeLessThan(looked.indexOf(guard));
  expect(looked.at(-1)).toBe("multi");
  const last = looked.slice(looked.lastIndexOf("multi", -2) + 1);
  expect(last.indexOf(guard)).toBeGreaterThanOrEqual(0);
  expect(last.indexOf(guard)).toBeLessThan(last.indexOf(node));
});
