import { encode } from "@conclave/core/backend";
import { expect, test } from "vitest";
import { zookeeperServers } from "../../../test/harness/servers.ts";
import { zookeeper } from "../src/index.ts";
import { ZooKeeperKv } from "../src/kv.ts";
import { Layout } from "../src/layout.ts";
import { Link } from "../src/link.ts";
import { settingsFrom } from "../src/options.ts";
import { Reader } from "../src/reader.ts";
import { Sightings } from "../src/sightings.ts";
import { Sweeper } from "../src/sweeper.ts";
import { ZooKeeperWatches } from "../src/watches.ts";

const root = "/sightings";
const value = encode("");

/** Holds back what watches read, and what writes are answered, while told to. */
class HeldLink extends Link {
  held: Promise<void> | undefined;
  heldAnswers: Promise<void> | undefined;

  override async children(...args: Parameters<Link["children"]>): ReturnType<Link["children"]> {
    if (args[1]) await this.held;
    return super.children(...args);
  }

  override async multi(...args: Parameters<Link["multi"]>): ReturnType<Link["multi"]> {
    const answer = await super.multi(...args);
    await this.heldAnswers;
    return answer;
  }
}

function held(): { readonly until: Promise<void>; readonly release: () => void } {
  let release = () => {};
  const until = new Promise<void>((resolve) => {
    release = resolve;
  });
  return { until, release };
}

/** A client put together from its parts, whose link can be held back; and another one. */
async function opened(servers: readonly string[]) {
  const settings = settingsFrom({ servers, root });
  const other = await zookeeper({ servers, root }).connect();
  const link = new HeldLink({ ...settings, horizon: { zxid: 0n }, sessionTimeoutMs: 10_000, lasting: true });
  const [layout, sightings] = [new Layout(root), new Sightings()];
  const { clock, callTimeoutMs } = settings;
  const reader = new Reader(link, layout, sightings, clock);
  const sweeper = new Sweeper(link, layout, { clock, callTimeoutMs, restMs: 60_000 });
  const kv = new ZooKeeperKv({ link, linkOf: () => undefined, layout, reader, sweeper, sightings }, settings);
  const watches = new ZooKeeperWatches({ link, layout, clock, callTimeoutMs, onGone: () => {} }, sightings);
  await other.kv.commit({ then: [{ put: "p/stays", value }] });
  return {
    ...{ link, kv, watches, other },
    async [Symbol.asyncDispose]() {
      link.abandon();
      await other[Symbol.asyncDispose]();
    },
  };
}

for (const server of zookeeperServers()) {
  test(`a watch tells that a key is gone which only a read has shown, on ${server.name}`, async () => {
    await using running = await server.open();
    await using parts = await opened(running.servers);
    const { link, kv, watches, other } = parts;
    const watch = await watches.watch({ prefix: "p/" });
    const looks = held();
    link.held = looks.until;
    const { revision: created } = await other.kv.commit({ then: [{ put: "p/passing", value }] });
    const seen = await kv.list("p/");
    expect(seen.entries.map((entry) => entry.created)).toContain(created);
    await other.kv.commit({ then: [{ delete: "p/passing" }] });
    looks.release();
    const batches = watch[Symbol.asyncIterator]();
    expect(await batches.next()).toMatchObject({ value: { changes: [{ key: "p/passing", entry: undefined }] } });
  });

  test(`a watch tells that a key is gone of which only its writer has heard, and late, on ${server.name}`, async () => {
    await using running = await server.open();
    await using parts = await opened(running.servers);
    const { link, kv, watches, other } = parts;
    const watch = await watches.watch({ prefix: "p/" });
    const [looks, answers] = [held(), held()];
    [link.held, link.heldAnswers] = [looks.until, answers.until];
    const writing = kv.commit({ then: [{ put: "p/passing", value }] });
    while ((await other.kv.get("p/passing")) === undefined);
    await other.kv.commit({ then: [{ delete: "p/passing" }] });
    looks.release();
    // The watch is past the delete when it has shown what came after it.
    await other.kv.commit({ then: [{ put: "p/next", value }] });
    const batches = watch[Symbol.asyncIterator]();
    expect(await batches.next()).toMatchObject({ value: { changes: [{ key: "p/next" }] } });
    answers.release();
    const { revision: written } = await writing;
    const { value: gone } = await batches.next();
    expect(gone).toMatchObject({ changes: [{ key: "p/passing", entry: undefined }] });
    expect((gone as { revision: bigint }).revision, "after it was there").toBeGreaterThan(written);
  });
}
