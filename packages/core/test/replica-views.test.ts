import { type Backend, decode, type Watch, WatchFeed } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { Replica, type View } from "../src/replica.ts";
import { deferred, failure, keys, outcome, put, remove, type World, world } from "./kit.ts";

const texts = ({ entries }: View) =>
  Object.fromEntries([...entries.values()].map(({ key, value }) => [key.slice(2), decode(value)]));

/** Reads a replica into a list of what it showed. */
function read(replica: AsyncIterable<View>) {
  const views: View[] = [];
  const end = outcome(
    (async () => {
      for await (const view of replica) views.push(view);
    })(),
  );
  return { views, end };
}

/** Replaces a world's watches by a feed that the test pushes into. */
function fed(here: World): WatchFeed {
  const feed = new WatchFeed(() => {});
  here.backend.fault = async ({ name }, proceed) => (name === "watch" ? (feed satisfies Watch) : proceed());
  return feed;
}

const open = (backend: Backend, signal?: AbortSignal) => Replica.open(backend, "p/", signal);

describe("a replica", () => {
  test("shows what is there, and again whenever that changes, to any number of readers", async () => {
    const { clock, backend, other } = await world();
    await put(other, "p/a", "1");
    const replica = await open(backend);
    const [one, two] = [read(replica), read(replica)];
    await clock.advance(0);
    await put(other, "p/b", "2");
    await clock.advance(0);
    await remove(other, "p/a");
    await put(other, "q/c");
    await clock.advance(0);
    const shown = [{ a: "1" }, { a: "1", b: "2" }, { b: "2" }];
    expect([one.views.map(texts), two.views.map(texts)]).toEqual([shown, shown]);
    await replica[Symbol.asyncDispose]();
    await clock.advance(0);
    expect([one.end, two.end]).toEqual([{ settled: true }, { settled: true }]);
    expect(clock.pendingTimers).toBe(0);
  });

  test("misses nothing that happens between its watch and its list", async () => {
    const { clock, backend, other } = await world();
    backend.fault = async ({ name }, proceed) => {
      if (name === "list") await put(other, "p/before-list");
      const answer = await proceed();
      if (name === "list") await put(other, "p/after-list");
      return answer;
    };
    const replica = await open(backend);
    await clock.advance(0);
    expect([...replica.view.entries.keys()]).toEqual(["p/after-list", "p/before-list"]);
  });

  test("skips what the watch tells of before the cut that it listed", async () => {
    const here = await world();
    await put(here.other, "p/a", "old");
    const old = await here.other.kv.get("p/a");
    await put(here.other, "p/a", "new");
    const feed = fed(here);
    const replica = await open(here.backend);
    const { views } = read(replica);
    const { revision } = replica.view;
    feed.push({ revision: revision - 1n, changes: [{ key: "p/a", modified: old?.modified ?? 0n, entry: old }] });
    feed.push({ revision, changes: [{ key: "p/a", modified: revision, entry: undefined }] });
    await here.clock.advance(0);
    expect(views.map(texts)).toEqual([{ a: "new" }]);
    feed.push({ revision: revision + 1n, changes: [{ key: "p/a", modified: revision + 1n, entry: undefined }] });
    await here.clock.advance(0);
    expect(views.map(texts)).toEqual([{ a: "new" }, {}]);
  });

  test("lists again after a gap, for as long as the store takes to answer", async () => {
    const here = await world();
    const feed = fed(here);
    const replica = await open(here.backend);
    const { views } = read(replica);
    await put(here.other, "p/missed", "1");
    here.client.disconnect();
    feed.push({ gap: true });
    await here.clock.advance(300);
    expect(views.map(texts)).toEqual([{}]);
    here.client.reconnect();
    await here.clock.advance(1_100);
    expect(views.map(texts)).toEqual([{}, { missed: "1" }]);
  });

  test("does not go back when a list arrives after newer events", async () => {
    const { clock, backend, other } = await world();
    const slow = deferred<void>();
    const replica = await open(backend);
    const { views } = read(replica);
    backend.fault = async ({ name, options }, proceed) => {
      const answer = await proceed();
      if (name === "list" && !(options && "limit" in options)) await slow.promise;
      return answer;
    };
    for (let probes = 0; backend.count("list") < 13 && probes < 100; probes++) await clock.advance(1_000);
    await put(other, "p/new", "1");
    await clock.advance(0);
    slow.resolve();
    await clock.advance(0);
    expect(views.map(texts)).toEqual([{}, { new: "1" }]);
  });

  test("is stale while the store is away, keeps what it knew, and then is not", async () => {
    const { clock, client, backend, other } = await world();
    await put(other, "p/a", "1");
    const replica = await open(backend);
    const { views } = read(replica);
    client.disconnect();
    await clock.advance(7_000);
    await put(other, "p/b", "2");
    await clock.advance(20_000);
    client.reconnect();
    await clock.advance(7_000);
    expect(views.map(({ stale }) => stale).slice(0, 2)).toEqual([false, true]);
    expect(texts(views[1] as View)).toEqual({ a: "1" });
    expect([replica.view.stale, texts(replica.view)]).toEqual([false, { a: "1", b: "2" }]);
    await replica[Symbol.asyncDispose]();
  });

  test("finds within an audit what the store never told it of", async () => {
    const here = await world();
    fed(here);
    const replica = await open(here.backend);
    const { views } = read(replica);
    await put(here.other, "p/dropped", "1");
    await here.clock.advance(12 * 6_250 + 1);
    expect(views.map(texts)).toEqual([{}, { dropped: "1" }]);
    await here.clock.advance(12 * 6_250 + 1);
    expect(views).toHaveLength(2);
  });

  test("shows a slow reader the newest, and never anything twice", async () => {
    const { clock, backend, other } = await world();
    const replica = await open(backend);
    const reader = replica[Symbol.asyncIterator]();
    await reader.next();
    for (let index = 0; index < 10; index++) await put(other, `p/${index}`);
    await clock.advance(0);
    expect((await reader.next()).value?.entries.size).toBe(10);
    const next = outcome(reader.next());
    await clock.advance(60_000);
    expect(next.settled).toBe(false);
    await put(other, "p/last");
    await clock.advance(0);
    expect((next.value as IteratorResult<View>).value.entries.size).toBe(11);
  });

  test("gives views that later changes do not touch", async () => {
    const { clock, backend, other } = await world();
    const replica = await open(backend);
    const before = replica.view;
    expect(replica.view).toBe(before);
    await put(other, "p/a");
    await clock.advance(0);
    expect([before.entries.size, replica.view.entries.size]).toEqual([0, 1]);
  });

  test("ends with its signal's reason, for readers then and later, and leaves no timer", async () => {
    const { clock, backend } = await world();
    const controller = new AbortController();
    const replica = await open(backend, controller.signal);
    const { end } = read(replica);
    await clock.advance(100);
    controller.abort("enough");
    await clock.advance(0);
    expect([end.error, read(replica).end]).toEqual(["enough", { settled: false }]);
    await expect(replica[Symbol.asyncIterator]().next()).rejects.toBe("enough");
    expect(clock.pendingTimers).toBe(0);
    await expect(open(backend, controller.signal)).rejects.toBe("enough");
  });

  test("ends when its watch fails for good, and when it cannot list", async () => {
    const here = await world();
    const feed = fed(here);
    const replica = await open(here.backend);
    const { end } = read(replica);
    expect(replica.view.stale).toBe(false);
    feed.fail(failure("DENIED"));
    await here.clock.advance(0);
    expect(end.error).toMatchObject({ code: "DENIED" });
    expect(replica.view.stale).toBe(true);
    here.backend.fault = async ({ name }, proceed) => {
      if (name === "list") throw failure("DENIED");
      return proceed();
    };
    await expect(open(here.backend)).rejects.toMatchObject({ code: "DENIED" });
    expect(here.clock.pendingTimers).toBe(0);
  });

  test("shows in the end what is there, on a store that uses every freedom it has", async () => {
    for (let seed = 1; seed <= 10; seed++) {
      const { clock, client, backend, other } = await world({ mode: "weak", seed });
      const replica = await open(backend);
      const lease = await other.leases.grant({ ttlMs: 300 });
      for (let step = 0; step < 60; step++) {
        const key = `p/${Math.floor(clock.random() * 5)}`;
        if (clock.random() < 0.3) await remove(other, key);
        else await put(other, key, String(step), step < 30 && clock.random() < 0.3 ? lease : undefined);
        if (clock.random() < 0.1) client.disconnect();
        if (clock.random() < 0.3) client.reconnect();
        await clock.advance(clock.random() * 15);
      }
      client.reconnect();
      await clock.advance(7_000);
      const there = (await other.kv.list("p/")).entries.map(({ key, modified }) => [key, modified]);
      expect([...replica.view.entries.values()].map(({ key, modified }) => [key, modified]).sort()).toEqual(there);
      expect(await keys(other, "p/")).toHaveLength(replica.view.entries.size);
      await replica[Symbol.asyncDispose]();
    }
  });
});
