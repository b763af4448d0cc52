import { encode, systemClock, type WatchBatch } from "@conclave/core/backend";
import { expect, test } from "vitest";
import { zookeeperServers } from "../../../test/harness/servers.ts";
import { Deadline } from "../src/deadline.ts";
import { zookeeper } from "../src/index.ts";
import { Layout } from "../src/layout.ts";
import { Link } from "../src/link.ts";
import { settingsFrom } from "../src/options.ts";
import { Reader } from "../src/reader.ts";
import { Sightings } from "../src/sightings.ts";
import { ZooKeeperWatches } from "../src/watches.ts";

const root = "/sightings";

/** Holds back what watches read, while told to. */
class HeldLink extends Link {
  held: Promise<void> | undefined;

  override async children(...args: Parameters<Link["children"]>): ReturnType<Link["children"]> {
    if (args[1]) await this.held;
    return super.children(...args);
  }
}

for (const server of zookeeperServers()) {
  test(`a watch tells that a key is gone which only a read has shown, on ${server.name}`, async () => {
    await using opened = await server.open();
    const settings = settingsFrom({ servers: opened.servers, root });
    const other = await zookeeper({ servers: opened.servers, root }).connect();
    const link = new HeldLink({ ...settings, horizon: { zxid: 0n }, sessionTimeoutMs: 10_000, lasting: true });
    const [layout, sightings, value] = [new Layout(root), new Sightings(), encode("")];
    const reader = new Reader(link, layout, sightings, systemClock);
    const { clock, callTimeoutMs } = settings;
    const watches = new ZooKeeperWatches({ link, layout, clock, callTimeoutMs, onGone: () => {} }, sightings);
    await other.kv.commit({ then: [{ put: "p/stays", value }] });
    const watch = await watches.watch({ prefix: "p/" });

    let release = () => {};
    link.held = new Promise((resolve) => {
      release = resolve;
    });
    const { revision: created } = await other.kv.commit({ then: [{ put: "p/passing", value }] });
    const deadline = new Deadline(clock, {}, callTimeoutMs);
    const { value: seen } = await reader.read([{ prefix: "p/" }], deadline, (view) => view.list("p/", {}));
    expect(seen.entries.map((entry) => entry.created)).toContain(created);
    await other.kv.commit({ then: [{ delete: "p/passing" }] });
    release();

    const batches: WatchBatch[] = [];
    for await (const batch of watch) {
      batches.push(batch);
      break;
    }
    expect(batches).toMatchObject([{ changes: [{ key: "p/passing", entry: undefined }] }]);
    link.abandon();
    await other[Symbol.asyncDispose]();
  });
}
