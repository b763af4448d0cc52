import type { Subscription, TopicEvent } from "@conclave/core";
import { sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { keysOf, numbered, put, remove, texts } from "../entries.ts";
import {
  deathMs,
  type Process,
  quiet,
  rejection,
  start,
  startLinked,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { closeAll, insist, seeds, Trouble, troubledMs } from "./under-jitter.ts";

/** What a subscription gave, in short: values, and gaps as "missed 3". */
class Reader {
  readonly seen: unknown[] = [];
  /** The cursor of the last message. */
  cursor = "";
  /** Resolves when the loop over the subscription ends. */
  readonly ended: Promise<void>;

  constructor(subscription: Subscription) {
    this.ended = this.#read(subscription);
    this.ended.catch(() => {});
  }

  async #read(subscription: Subscription): Promise<void> {
    for await (const event of subscription) {
      this.seen.push(inShort(event));
      this.cursor = subscription.cursor;
    }
  }
}

function inShort({ message, gap }: TopicEvent): unknown {
  return message ? message.value : `missed ${gap?.missed}`;
}

async function subscribe(scene: Scene, { conclave }: Process, from?: string, keep = {}): Promise<Reader> {
  return new Reader(scene.use(await conclave.topic("a", { keep }).subscribe({ from })));
}

/** Messages, in one order for everybody, kept for a while. */
export function topic(suite: Suite): void {
  suite.it("gives every subscriber each message once, in the order of publication", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const readers = [await subscribe(scene, one), await subscribe(scene, other), await subscribe(scene, other)];
    const published: unknown[] = [];
    for (const { conclave } of [one, other, one, one, other]) {
      const value = { number: published.push(undefined) };
      published[value.number - 1] = value;
      await conclave.topic("a").publish(value);
    }
    for (const { seen } of readers) await scene.eventually(backend, () => expect(seen).toEqual(published));
  });

  suite.it("says who published a message, when, and at which revision", async (backend, scene) => {
    const { conclave } = await start(scene, { owner: "till 1" });
    const before = backend.clock.wallMs();
    const cursor = await conclave.topic("a").publish([1, null, "é"]);
    const { revision } = await backend.kv.list("topic/a/messages/");
    const message = await conclave.topic("a").latest();
    expect(message).toMatchObject({ value: [1, null, "é"], cursor, by: "till 1" });
    expect(message?.publishedAtMs).toBeGreaterThanOrEqual(before);
    expect(message?.publishedAtMs).toBeLessThanOrEqual(backend.clock.wallMs());
    expect(message?.revision).toBeLessThanOrEqual(revision);
    expect(JSON.parse(JSON.stringify(cursor))).toBe(cursor);
  });

  suite.it("gives who subscribes now what is published from then on, and nothing older", async (backend, scene) => {
    const { conclave, ...rest } = await start(scene);
    for (const value of ["old", "older"]) await conclave.topic("a").publish(value);
    const subscription = scene.use(await conclave.topic("a").subscribe());
    await conclave.topic("a").publish("new");
    await quiet(backend, scene);
    await conclave.topic("a").publish("newer");
    const { seen } = new Reader(subscription);
    await scene.eventually(backend, () => expect(seen).toEqual(["new", "newer"]));
    const { seen: none } = await subscribe(scene, { conclave, ...rest });
    await quiet(backend, scene);
    expect(none).toEqual([]);
  });

  suite.it("gives who subscribes from the start all that is kept, and then goes on", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const kept = numbered(70);
    for (let from = 0; from < kept.length; from += 35)
      await one.conclave.topic("a").publishAll(kept.slice(from, from + 35));
    const { seen } = await subscribe(scene, other, "start");
    await scene.eventually(backend, () => expect(seen).toEqual(kept));
    await one.conclave.topic("a").publish("more");
    await scene.eventually(backend, () => expect(seen).toEqual([...kept, "more"]));
  });

  suite.it("goes on after a cursor, also in another process", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const first = await subscribe(scene, one);
    for (const value of [1, 2, 3]) await one.conclave.topic("a").publish(value);
    await scene.eventually(backend, () => expect(first.seen).toEqual([1, 2, 3]));
    await one.conclave.close();
    for (const value of [4, 5]) await other.conclave.topic("a").publish(value);
    const second = await subscribe(scene, other, first.cursor);
    await other.conclave.topic("a").publish(6);
    await scene.eventually(backend, () => expect(second.seen).toEqual([4, 5, 6]));
  });

  suite.it("has a cursor before anything was published or read", async (backend, scene) => {
    const { conclave, ...rest } = await start(scene);
    const { cursor } = scene.use(await conclave.topic("a").subscribe());
    await conclave.topic("a").publish("first");
    const later = scene.use(await conclave.topic("a").subscribe()).cursor;
    await conclave.topic("a").publish("second");
    const readers = [cursor, later].map((from) => subscribe(scene, { conclave, ...rest }, from));
    const [all, rest1] = (await Promise.all(readers)) as [Reader, Reader];
    await scene.eventually(backend, () => expect([all.seen, rest1.seen]).toEqual([["first", "second"], ["second"]]));
  });

  suite.it("keeps the messages of a publisher that dies", async (backend, scene) => {
    const victim = await startMortal(scene);
    const { conclave, ...rest } = await start(scene);
    await victim.conclave.topic("a").publish("last words");
    await scene.kill(victim.backend);
    await sleep(backend.clock, deathMs(scene));
    await conclave.topic("a").publish("next");
    const { seen } = await subscribe(scene, { conclave, ...rest }, "start");
    await scene.eventually(backend, () => expect(seen).toEqual(["last words", "next"]));
  });

  suite.it("keeps the order of one process's publications, however many are made at once", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const { seen } = await subscribe(scene, one);
    const values = numbered(60);
    const publishAll = ({ conclave }: Process, name: string) =>
      Promise.all(values.map((value) => conclave.topic("a").publish(name + value)));
    await within(backend, scene.patienceMs, Promise.all([publishAll(one, "x"), publishAll(other, "y")]));
    await scene.eventually(backend, () => expect(seen).toHaveLength(120));
    for (const name of ["x", "y"])
      expect(seen.filter((value) => String(value).startsWith(name))).toEqual(values.map((value) => name + value));
  });

  suite.it("publishes several together, with nothing between them", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const { seen } = await subscribe(scene, one);
    const trio = async ({ conclave }: Process, name: string) => {
      for (let round = 0; round < 5; round++) {
        const cursors = await conclave.topic("a").publishAll([1, 2, 3].map((part) => `${name}${round} ${part}`));
        expect(new Set(cursors).size).toBe(3);
      }
    };
    await within(backend, scene.patienceMs, Promise.all([trio(one, "x"), trio(other, "y")]));
    await scene.eventually(backend, () => expect(seen).toHaveLength(30));
    for (let at = 0; at < 30; at += 3) {
      const [first] = String(seen[at]).split(" ");
      expect(seen.slice(at, at + 3)).toEqual([`${first} 1`, `${first} 2`, `${first} 3`]);
    }
    expect(await one.conclave.topic("a").publishAll([])).toEqual([]);
  });

  suite.it("shows the newest message, and what is kept page by page", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const topic = conclave.topic<string>("a");
    expect(await topic.latest()).toBeUndefined();
    expect(await topic.read()).toMatchObject({ events: [], more: false });
    const values = numbered(7);
    const cursors = await topic.publishAll(values);
    expect(await topic.latest()).toMatchObject({ value: values[6], cursor: cursors[6] });
    const pages: unknown[][] = [];
    for (let from = "start", more = true; more; ) {
      const page = await topic.read({ from, limit: 3 });
      pages.push(page.events.map(inShort));
      [from, more] = [page.cursor, page.more];
    }
    expect(pages).toEqual([values.slice(0, 3), values.slice(3, 6), values.slice(6)]);
    expect((await topic.read({ from: cursors[4] as string })).events.map(inShort)).toEqual(values.slice(5));
    expect(await topic.read({ from: cursors[6] as string })).toMatchObject({ events: [], cursor: cursors[6] });
  });

  suite.it("keeps topics apart whose names begin alike", async (backend, scene) => {
    const { conclave } = await start(scene);
    const names = ["a", "ab", "a/b", "a/messages"];
    const readers = await Promise.all(
      names.map(async (name) => new Reader(scene.use(await conclave.topic(name).subscribe()))),
    );
    for (const name of names) await conclave.topic(name).publish(name);
    await scene.eventually(backend, () => expect(readers.map(({ seen }) => seen)).toEqual(names.map((name) => [name])));
  });

  suite.it("ends a subscription with its signal's reason, and another when it is disposed", async (backend, scene) => {
    const { conclave } = await start(scene);
    const controller = new AbortController();
    const cancelled = new Reader(await conclave.topic("a").subscribe({ signal: controller.signal }));
    const disposed = await conclave.topic("a").subscribe();
    const closed = new Reader(await conclave.topic("a").subscribe());
    const reading = new Reader(disposed);
    await staysOpen(backend, scene, Promise.race([cancelled.ended, reading.ended]));
    const reason = new Error("enough");
    controller.abort(reason);
    expect(await rejection(cancelled.ended)).toBe(reason);
    await disposed[Symbol.asyncDispose]();
    expect(await reading.ended).toBeUndefined();
    expect(await rejection(conclave.topic("a").subscribe({ signal: controller.signal }))).toBe(reason);
    await conclave.close();
    expect(await rejection(closed.ended)).toMatchObject({ code: "CLOSED" });
  });

  suite.it("goes on where a reader left its loop", async (backend, scene) => {
    const { conclave } = await start(scene);
    const subscription = scene.use(await conclave.topic("a").subscribe());
    await conclave.topic("a").publishAll([1, 2, 3]);
    for await (const { message } of subscription) if (message?.value === 2) break;
    const { seen } = new Reader(subscription);
    await conclave.topic("a").publish(4);
    await scene.eventually(backend, () => expect(seen).toEqual([3, 4]));
    expect(await rejection(new Reader(subscription).ended)).toBeInstanceOf(TypeError);
  });

  suite.it("publishes nothing for a signal that has aborted already", async (backend, scene) => {
    const { conclave } = await start(scene);
    await conclave.session();
    const signal = AbortSignal.abort(new Error("too late"));
    expect(await rejection(conclave.topic("a").publish(1, { signal }))).toBe(signal.reason);
    await quiet(backend, scene);
    expect(await texts(backend.kv)).toEqual({});
  });
}

/** What retention, and people, take from a topic. */
export function topicRetention(suite: Suite): void {
  const keysKept = (process: Process) => process.backend.kv.list("topic/a/messages/", { keysOnly: true }).then(keysOf);

  suite.it("keeps exactly as many messages as it is told to", async (_backend, scene) => {
    const process = await start(scene);
    const topic = process.conclave.topic("a", { keep: { count: 5 } });
    for (let published = 1; published <= 12; published++) {
      await topic.publish(published);
      expect(await keysKept(process)).toHaveLength(Math.min(published, 5));
    }
    await Promise.all(numbered(23).map((value) => topic.publish(value)));
    expect(await keysKept(process)).toHaveLength(5);
    expect((await topic.read()).events.map(inShort)).toEqual(numbered(23).slice(-5));
  });

  suite.it("comes down to a smaller number within a few messages", async (_backend, scene) => {
    const process = await start(scene);
    for (let round = 0; round < 4; round++) await process.conclave.topic("a").publishAll(numbered(45));
    const topic = process.conclave.topic("a", { keep: { count: 3 } });
    for (let round = 0; round < 4; round++) await topic.publish(round);
    expect((await topic.read()).events.map(inShort)).toEqual([1, 2, 3]);
    expect(await keysKept(process)).toHaveLength(3);
  });

  suite.it(
    "tells a slow subscriber once how many messages it missed, and gives it the rest",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      const keep = { count: 10 };
      await one.conclave.topic("a", { keep }).publish("before");
      const subscription = scene.use(await other.conclave.topic("a", { keep }).subscribe());
      const values = numbered(200);
      for (let at = 0; at < 200; at += 10)
        await one.conclave.topic("a", { keep }).publishAll(values.slice(at, at + 10));
      // It has heard of all of them when it hears of none any more.
      await quiet(backend, scene);
      const { seen } = new Reader(subscription);
      await scene.eventually(backend, () => expect(seen.slice(-10)).toEqual(values.slice(-10)));
      // It may have heard of the first few before they went.
      const [gap, ...others] = seen.filter((event) => String(event).startsWith("missed"));
      expect([gap, others]).toEqual([`missed ${200 - (seen.length - 1)}`, []]);
      expect(seen.length).toBeLessThanOrEqual(75);
      await one.conclave.topic("a", { keep }).publish("next");
      await scene.eventually(backend, () => expect(seen.slice(-2)).toEqual([values[199], "next"]));
    },
  );

  suite.it("tells who resumes from a cursor too old how many messages are gone", async (backend, scene) => {
    const process = await start(scene);
    const topic = process.conclave.topic("a", { keep: { count: 3 } });
    const cursor = await topic.publish("seen");
    for (const value of numbered(8)) await topic.publish(value);
    const reader = await subscribe(scene, process, cursor, { count: 3 });
    await scene.eventually(backend, () => expect(reader.seen).toEqual(["missed 5", ...numbered(8).slice(-3)]));
    const { events } = await topic.read({ from: cursor, limit: 1 });
    expect(events.map(inShort)).toEqual(["missed 5", "00005"]);
    // Who has heard of the gap does not hear of it again.
    const after = await subscribe(scene, process, events[0]?.gap?.cursor, { count: 3 });
    await scene.eventually(backend, () => expect(after.seen).toEqual(numbered(8).slice(-3)));
  });

  suite.it("gives no message that is older than it is told, and deletes it soon after", async (backend, scene) => {
    const process = await start(scene);
    const ageMs = scene.timing.ttlMs / 2;
    const topic = process.conclave.topic("a", { keep: { ageMs } });
    const cursor = await topic.publish("old");
    await topic.publish("also old");
    await sleep(backend.clock, ageMs + 1);
    expect(await topic.latest()).toBeUndefined();
    await topic.publish("new");
    expect((await topic.read()).events.map(inShort)).toEqual(["new"]);
    expect((await topic.read({ from: cursor })).events.map(inShort)).toEqual(["missed 1", "new"]);
    await sleep(backend.clock, ageMs / 8 + 1);
    await topic.publish("newer");
    await sleep(backend.clock, ageMs + 1);
    await topic.publish("newest");
    expect(await keysKept(process)).toHaveLength(1);
  });

  suite.it("counts a message that somebody deleted or spoilt as missed, and goes on", async (backend, scene) => {
    const warnings: string[] = [];
    const process = await start(scene, { onWarning: (warning) => warnings.push(warning) });
    const topic = process.conclave.topic("a");
    await topic.publishAll([1, 2, 3, 4, 5, 6]);
    const keys = await keysKept(process);
    await remove(backend.kv, keys[1] as string, keys[2] as string);
    await backend.kv.commit({ then: [put(keys[4] as string, "my secret")] });
    const { seen } = await subscribe(scene, process, "start");
    await scene.eventually(backend, () => expect(seen).toEqual([1, "missed 2", 4, "missed 1", 6]));
    expect(warnings).toEqual([expect.stringMatching(/topic\/a\/messages\/0+5 holds no message/)]);
    expect(warnings.join()).not.toContain("secret");
  });

  suite.it("goes on with the next number after somebody deleted or spoilt the head", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const { seen } = await subscribe(scene, other);
    await one.conclave.topic("a").publishAll([1, 2]);
    await remove(backend.kv, "topic/a/head");
    await one.conclave.topic("a").publish(3);
    await remove(backend.kv, "topic/a/head");
    const late = await subscribe(scene, other);
    await other.conclave.topic("a").publish(4);
    await backend.kv.commit({ then: [put("topic/a/head", "{}")] });
    await one.conclave.topic("a").publishAll([5, 6]);
    await scene.eventually(backend, () => expect(seen).toEqual([1, 2, 3, 4, 5, 6]));
    await scene.eventually(backend, () => expect(late.seen).toEqual([4, 5, 6]));
    expect((await one.conclave.topic("a").read()).events.map(inShort)).toEqual([1, 2, 3, 4, 5, 6]);
  });

  suite.it("tells that a topic was begun anew, and gives what is in it", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const live = await subscribe(scene, other);
    await one.conclave.topic("a").publishAll([1, 2, 3]);
    await scene.eventually(backend, () => expect(live.seen).toEqual([1, 2, 3]));
    await remove(backend.kv, "topic/a/head", ...(await keysKept(one)));
    await one.conclave.topic("a").publishAll(["one", "two"]);
    const wanted = ["missed undefined", "one", "two"];
    await scene.eventually(backend, () => expect(live.seen).toEqual([1, 2, 3, ...wanted]));
    const late = await subscribe(scene, other, live.cursor);
    await one.conclave.topic("a").publish("three");
    await scene.eventually(backend, () => expect(late.seen).toEqual(["three"]));
  });
}

/** Topics on a store that is away, slow, or loses answers. */
export function topicUnderFaults(suite: Suite): void {
  suite.it("gives a subscriber that was cut off all that it missed, in order", async (backend, scene) => {
    const [publisher, reader] = [await start(scene), await startLinked(scene)];
    const { seen } = await subscribe(scene, reader);
    const values = numbered(100);
    await publisher.conclave.topic("a").publishAll(values.slice(0, 2));
    await scene.eventually(backend, () => expect(seen).toHaveLength(2));
    reader.link.cut();
    for (let at = 2; at < 100; at += 14) await publisher.conclave.topic("a").publishAll(values.slice(at, at + 14));
    await quiet(backend, scene);
    reader.link.mend();
    await scene.eventually(backend, () => expect(seen).toEqual(values));
  });

  suite.it("publishes again after an outage in which the publisher lost its session", async (backend, scene) => {
    const [publisher, reader] = [await startLinked(scene), await start(scene)];
    const { seen } = await subscribe(scene, reader);
    await publisher.conclave.topic("a").publish("before");
    publisher.link.cut();
    expect(await rejection(publisher.conclave.topic("a").publish("meanwhile"))).toMatchObject({ code: "UNAVAILABLE" });
    await sleep(backend.clock, deathMs(scene));
    publisher.link.mend();
    await insist(() => publisher.conclave.topic("a").publish("after"));
    await scene.eventually(backend, () => expect(seen).toEqual(["before", "after"]));
  });

  suite.it(
    "rejects a publication that is given up on its way at once, and publishes it once at most",
    async (backend, scene) => {
      const { conclave } = await start(scene);
      await conclave.topic("a").publish("before");
      const controller = new AbortController();
      const publishing = conclave.topic("a").publish("given up", { signal: controller.signal });
      const queued = conclave.topic("a").publish("behind it");
      controller.abort(new Error("enough"));
      expect(await rejection(publishing)).toBe(controller.signal.reason);
      await within(backend, scene.patienceMs, queued);
      const { events } = await conclave.topic("a").read();
      const values = events.map(inShort).filter((value) => value !== "given up");
      expect(values).toEqual(["before", "behind it"]);
      expect(events.length).toBeLessThanOrEqual(3);
    },
  );

  suite.it(
    "shows everybody each acknowledged message once and in one order, whatever fails",
    async (backend, scene) => {
      const trouble = new Trouble(scene, { faults: 0.2, gaps: 0.05 });
      for (const seed of seeds(scene)) {
        const processes = await trouble.startMany(seed, 3, { ttlMs: 20 * scene.timing.ttlMs });
        const readers = await Promise.all(processes.map((process) => insist(() => subscribe(scene, process))));
        const acknowledged = new Set<string>();
        const publishMany = async ({ conclave }: Process, index: number) => {
          const publishing = numbered(12).map(async (number) => {
            const value = `${index} ${number}`;
            await sleep(backend.clock, (backend.clock.random() * scene.timing.ttlMs) / 10);
            // Refused is refused; but what is acknowledged, or whose answer was lost, must not be there twice.
            const cursor = await conclave
              .topic("a")
              .publish(value)
              .catch(() => "refused");
            if (cursor === "refused") return;
            expect(cursor).toMatch(/^\d+\.\w+$/);
            acknowledged.add(value);
          });
          await Promise.all(publishing);
          for (const number of numbered(3)) {
            await insist(() => conclave.topic("a").publish(`${index} later ${number}`));
            acknowledged.add(`${index} later ${number}`);
          }
        };
        await within(backend, troubledMs(scene), Promise.all(processes.map(publishMany)));
        const all = await insist(async () => {
          const { events } = await (processes[0] as Process).conclave.topic("a").read({ limit: 100 });
          return events.map(inShort);
        });
        expect(new Set(all).size, `seed ${seed}: none twice`).toBe(all.length);
        expect(new Set(all), `seed ${seed}: none but these`).toEqual(acknowledged);
        for (const { seen } of readers) await scene.eventually(backend, () => expect(seen).toEqual(all));
        await closeAll(processes);
        await remove(backend.kv, ...Object.keys(await texts(backend.kv, "topic/")));
      }
      trouble.expectAtLeast(1, "late", "lostAnswers", "lostCalls", "refusals", "gaps");
    },
  );

  suite.it("keeps exact account with small retention, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, { faults: 0.2, gaps: 0.1 });
    const keep = { count: 4 };
    for (const seed of seeds(scene)) {
      const processes = await trouble.startMany(seed, 3, { ttlMs: 20 * scene.timing.ttlMs });
      const [publisher, ...readers] = processes as [Process, Process, Process];
      const subscriptions = await Promise.all(
        readers.map(({ conclave }) => insist(() => conclave.topic("a", { keep }).subscribe({ from: "start" }))),
      );
      const accounts = subscriptions.map(async (subscription) => {
        const taken: number[] = [];
        let count = 0;
        for await (const { message, gap } of scene.use(subscription)) {
          if (message) taken.push(message.value as number);
          count += gap ? (gap.missed as number) : 1;
          // Slower than the publisher, now and then.
          if (backend.clock.random() < 0.3) await sleep(backend.clock, scene.timing.ttlMs / 20);
          if (message?.value === 25) return { taken, count };
        }
        throw new Error("the subscription ended");
      });
      for (let value = 1; value <= 25; value++) {
        await insist(() => publisher.conclave.topic("a", { keep }).publish(value));
      }
      for (const account of accounts) {
        const { taken, count } = await within(backend, 4 * scene.patienceMs, account);
        expect(taken, `seed ${seed}`).toEqual([...new Set(taken)].sort((one, next) => one - next));
        expect(count, `seed ${seed}: each was taken or missed`).toBe(25);
      }
      await closeAll(processes);
      await remove(backend.kv, ...Object.keys(await texts(backend.kv, "topic/")));
    }
    trouble.expectAtLeast(1, "late", "lostAnswers", "lostCalls", "refusals", "gaps");
  });
}

/** Topics cost no more round trips than their algorithm needs. */
export function topicRoundTrips(suite: Suite): void {
  suite.it("takes one commit to publish", async (_backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    for (const value of [1, 2, 3])
      expect((await cost(counted, () => conclave.topic("a").publish(value)))[0]).toEqual({ commit: 1 });
  });

  suite.it("takes one commit more when another process was first", async (_backend, scene) => {
    const [one, other] = [await startCounted(scene), await startCounted(scene)];
    await one.conclave.topic("a").publish(1);
    for (const { conclave, counted } of [other, one, other]) {
      expect((await cost(counted, () => conclave.topic("a").publish(2)))[0]).toEqual({ commit: 2 });
      expect((await cost(counted, () => conclave.topic("a").publish(3)))[0]).toEqual({ commit: 1 });
    }
  });

  suite.it(
    "takes one commit for 20 messages at once, and two for those that come meanwhile",
    async (_backend, scene) => {
      const { conclave, counted } = await startCounted(scene);
      const publish = (value: string) => conclave.topic("a").publish(value);
      expect((await cost(counted, () => Promise.all(numbered(20).map(publish))))[0]).toEqual({ commit: 1 });
      const first = async () => {
        const one = publish("first");
        await Promise.resolve();
        await Promise.all([one, ...numbered(20).map(publish)]);
      };
      expect((await cost(counted, first))[0]["commit"]).toBeLessThanOrEqual(2);
      expect((await cost(counted, () => Promise.all(numbered(90).map(publish))))[0]).toEqual({ commit: 2 });
    },
  );

  suite.it("takes one watch and one read to subscribe, and nothing to follow", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const publisher = await start(scene);
    await publisher.conclave.topic("a").publish("old");
    const [now, subscription] = await cost(counted, () => conclave.topic("a").subscribe());
    expect(now).toEqual({ watch: 1, get: 1 });
    const { seen } = new Reader(scene.use(subscription));
    const [start_, other] = await cost(counted, () => conclave.topic("a").subscribe({ from: "start" }));
    expect(start_).toEqual({ watch: 1, commit: 1 });
    scene.use(other);
    counted.reset();
    await publisher.conclave.topic("a").publish("new");
    await scene.eventually(backend, () => expect(seen).toEqual(["new"]));
    // Only after a gap of its watch does it look.
    const { commit = 0, ...others } = counted.snapshot();
    expect(others).toEqual({});
    expect(commit).toBeLessThanOrEqual(1);
  });

  suite.it(
    "takes one commit to read a page, and two round trips to show the newest message",
    async (_backend, scene) => {
      const { conclave, counted } = await startCounted(scene);
      await conclave.topic("a").publish(1);
      expect((await cost(counted, () => conclave.topic("a").read()))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => conclave.topic("a").latest()))[0]).toEqual({ get: 1, commit: 1 });
    },
  );

  suite.it("asks nothing for a hundred subscribers while nothing is published", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    await conclave.topic("a").publish(1);
    for (let index = 0; index < 100; index++) void new Reader(scene.use(await conclave.topic("a").subscribe()));
    await quiet(backend, scene);
    counted.reset();
    await sleep(backend.clock, scene.timing.ttlMs / 2);
    expect(counted.snapshot()).toEqual({});
  });
}
