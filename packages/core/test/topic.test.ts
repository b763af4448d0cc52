import { type Conclave, connect, type Subscription, type TopicEvent } from "@conclave/core";
import type { Txn } from "@conclave/core/backend";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { advance, type Head } from "../src/recipes/topic/topic-head.ts";
import { type Any, failure, keys, losingAnswers, outcome, put, puts, remove, type World, world } from "./kit.ts";

const ttlMs = 9_000;

async function connected(): Promise<World & { conclave: Conclave; neighbour: Conclave }> {
  const here = await world();
  const conclave = await connect(here.backend, { ttlMs, owner: "we" });
  const neighbour = await connect(here.other, { ttlMs });
  await conclave.session();
  return { ...here, conclave, neighbour };
}

const inShort = ({ message, gap }: TopicEvent) => (message ? message.value : `missed ${gap?.missed}`);

/** Reads a subscription into a list of what it gave. */
function read(subscription: Subscription) {
  const seen: unknown[] = [];
  const end = outcome(
    (async () => {
      for await (const event of subscription) seen.push(inShort(event));
    })(),
  );
  return { seen, end };
}

const isPublication = (call: Any) => puts(call) && JSON.stringify((call.argument as Txn).then).includes("topic/a/head");

describe("publishing", () => {
  test("publishes once what was applied unheard, however often the answer is lost", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    backend.fault = losingAnswers(isPublication, 4);
    const publishing = outcome(conclave.topic("a").publish("once"));
    await clock.advance(5_000);
    expect(publishing.settled).toBe(true);
    const { events } = await neighbour.topic("a").read();
    expect(events.map(inShort)).toEqual(["once"]);
    expect(events[0]?.message?.cursor).toBe(publishing.value);
  });

  test("does not publish again what was applied unheard before others published", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    let first = true;
    backend.fault = async (call, proceed) => {
      if (!isPublication(call) || !first) return proceed();
      first = false;
      await proceed();
      await neighbour.topic("a").publish("theirs");
      throw failure("OUTCOME_UNKNOWN");
    };
    const publishing = outcome(conclave.topic("a").publish("ours"));
    await clock.advance(2_000);
    expect(publishing.value).toMatch(/^1\./);
    expect((await neighbour.topic("a").read()).events.map(inShort)).toEqual(["ours", "theirs"]);
  });

  test("does nothing when what was sent first arrives last", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    let late: (() => Promise<unknown>) | undefined;
    backend.fault = async (call, proceed) => {
      if (!isPublication(call) || late) return proceed();
      late = proceed;
      throw failure("OUTCOME_UNKNOWN");
    };
    const publishing = outcome(conclave.topic("a").publish("once"));
    await clock.advance(2_000);
    expect(publishing.settled).toBe(true);
    await late?.();
    expect((await neighbour.topic("a").read()).events.map(inShort)).toEqual(["once"]);
  });

  test("rejects what the store refused, together, and goes on with what comes after", async () => {
    const { clock, backend, conclave } = await connected();
    let refused = false;
    backend.fault = async (call, proceed) => {
      if (!isPublication(call) || refused) return proceed();
      refused = true;
      throw failure("UNAVAILABLE");
    };
    const topic = conclave.topic("a");
    const [one, two] = [outcome(topic.publish(1)), outcome(topic.publish(2))];
    await clock.advance(0);
    expect([one.error, two.error]).toMatchObject([{ code: "UNAVAILABLE" }, { code: "UNAVAILABLE" }]);
    await topic.publish(3);
    expect((await topic.read()).events.map(inShort)).toEqual([3]);
  });

  test("takes a publication that is given up while it waits out of the next commit", async () => {
    const { clock, backend, conclave } = await connected();
    let proceeding = () => {};
    const slow = new Promise<void>((resolve) => {
      proceeding = resolve;
    });
    backend.fault = async (call, proceed) => {
      if (isPublication(call)) await slow;
      return proceed();
    };
    const topic = conclave.topic("a");
    const controller = new AbortController();
    const first = outcome(topic.publish("first"));
    await clock.advance(0);
    const given = outcome(topic.publish("given up", { signal: controller.signal }));
    const last = outcome(topic.publish("last"));
    await clock.advance(0);
    controller.abort("enough");
    await clock.advance(0);
    expect([first.settled, given.error, last.settled]).toEqual([false, "enough", false]);
    proceeding();
    await clock.advance(1);
    expect((await topic.read()).events.map(inShort)).toEqual(["first", "last"]);
    expect(last.settled).toBe(true);
  });

  test("publishes what a value was when it was given", async () => {
    const { conclave } = await connected();
    const value = { state: "before" };
    const publishing = conclave.topic("a").publish(value);
    value.state = "after";
    await publishing;
    expect((await conclave.topic("a").latest())?.value).toEqual({ state: "before" });
  });

  test("splits what is too much for one commit, in messages and in bytes", async () => {
    const { backend, conclave } = await connected();
    const topic = conclave.topic<string>("a");
    const large = "x".repeat(200 * 1024);
    const before = backend.count("commit");
    await Promise.all([..."12345"].map((first) => topic.publish(first + large)));
    expect(backend.count("commit") - before).toBe(3);
    await Promise.all(Array.from({ length: 100 }, (_, index) => topic.publish(String(index))));
    expect(backend.count("commit") - before).toBe(6);
    const { events } = await topic.read({ limit: 100 });
    expect(events.map((event) => String(inShort(event)).slice(0, 3))).toEqual([
      ...["1xx", "2xx", "3xx", "4xx", "5xx"],
      ...Array.from({ length: 95 }, (_, index) => String(index)),
    ]);
  });

  test("is shared by a process's topics of one name, and remembers 256 of them", async () => {
    const { backend, conclave } = await connected();
    const before = backend.count("commit");
    await Promise.all([1, 2, 3].map((value) => conclave.topic("a").publish(value)));
    expect(backend.count("commit") - before).toBe(1);
    for (let index = 0; index < 256; index++) await conclave.topic(`b${index}`).publish(index);
    const later = backend.count("commit");
    await conclave.topic("a").publish(4);
    await conclave.topic("a").publish(5);
    expect(backend.count("commit") - later).toBe(3);
  });

  test("rejects with CLOSED once the conclave is closed", async () => {
    const { conclave } = await connected();
    await conclave.close();
    await expect(conclave.topic("a").publish(1)).rejects.toMatchObject({ code: "CLOSED" });
    await expect(conclave.topic("a").subscribe()).rejects.toMatchObject({ code: "CLOSED" });
  });
});

describe("a subscription", () => {
  test("misses nothing that is published between its watch and its look", async () => {
    for (const from of ["now", "start"]) {
      const { clock, backend, conclave, neighbour } = await connected();
      await neighbour.topic("a").publish("old");
      let looked = false;
      backend.fault = async ({ name }, proceed) => {
        if (looked || (name !== "get" && name !== "commit")) return proceed();
        looked = true;
        await neighbour.topic("a").publish("before the look");
        const answer = await proceed();
        await neighbour.topic("a").publish("after the look");
        return answer;
      };
      const { seen } = read(await conclave.topic("a").subscribe({ from }));
      await clock.advance(0);
      expect(seen).toEqual(from === "now" ? ["after the look"] : ["old", "before the look", "after the look"]);
    }
  });

  test("holds no more than some messages for a reader that does not read, and looks for the rest", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const subscription = await conclave.topic("a").subscribe();
    const values = Array.from({ length: 300 }, (_, index) => index);
    for (let at = 0; at < 300; at += 30) await neighbour.topic("a").publishAll(values.slice(at, at + 30));
    await clock.advance(0);
    backend.calls.length = 0;
    const { seen } = read(subscription);
    await clock.advance(0);
    expect(seen).toEqual(values);
    expect(backend.count("commit")).toBe(Math.ceil(300 / 32));
  });

  test("finds within an audit what the store never told it of", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    backend.fault = async ({ name }, proceed) => {
      if (name !== "watch") return proceed();
      return {
        [Symbol.asyncIterator]: () => ({ next: () => new Promise(() => {}) }),
        [Symbol.asyncDispose]: async () => {},
      };
    };
    const { seen } = read(await conclave.topic("a").subscribe());
    await neighbour.topic("a").publish("dropped");
    await clock.advance(40_000);
    expect(seen).toEqual([]);
    await clock.advance(40_000);
    expect(seen).toEqual(["dropped"]);
  });

  test("ends when the store refuses it for good, with its words", async () => {
    const { clock, backend, conclave, neighbour } = await connected();
    const subscription = await conclave.topic("a").subscribe();
    for (let value = 0; value < 100; value++) await neighbour.topic("a").publish(value);
    await clock.advance(0);
    backend.fault = async (_, proceed) => {
      await proceed();
      throw failure("DENIED");
    };
    const { end } = read(subscription);
    await clock.advance(0);
    expect(end.error).toMatchObject({ code: "DENIED" });
    await expect(conclave.topic("a").subscribe()).rejects.toMatchObject({ code: "DENIED" });
  });

  test("leaves no timer and no watch behind, however it ends", async () => {
    const { clock, conclave } = await connected();
    const timers = clock.pendingTimers;
    const controller = new AbortController();
    const disposed = await conclave.topic("a").subscribe();
    const aborted = await conclave.topic("a").subscribe({ signal: controller.signal });
    const ends = [read(disposed).end, read(aborted).end];
    await clock.advance(10);
    expect(clock.pendingTimers).toBe(timers + 2);
    await disposed[Symbol.asyncDispose]();
    await disposed[Symbol.asyncDispose]();
    controller.abort("enough");
    await clock.advance(0);
    expect(ends).toEqual([
      { settled: true, value: undefined },
      { settled: true, error: "enough" },
    ]);
    expect(clock.pendingTimers).toBe(timers);
    await expect(disposed[Symbol.asyncIterator]().next()).resolves.toEqual({ done: true, value: undefined });
  });

  test("tells once of a store put back to an older state, and goes on from there", async () => {
    const { clock, other, conclave, neighbour } = await connected();
    await neighbour.topic("a").publishAll([1, 2, 3]);
    const older = (await other.kv.list("topic/")).entries;
    await neighbour.topic("a").publishAll([4, 5, 6]);
    const cursor = (await conclave.topic("a").latest())?.cursor;
    for (const key of await keys(other, "topic/")) await remove(other, key);
    for (const { key, value } of older) await other.kv.commit({ then: [{ put: key, value }] });
    const { seen } = read(await conclave.topic("a").subscribe({ from: cursor }));
    await clock.advance(0);
    expect(seen).toEqual(["missed undefined"]);
    const late = await connect(other);
    await late.topic("a").publish("after");
    await clock.advance(0);
    expect(seen).toEqual(["missed undefined", "after"]);
  });

  test("does not spin on keys that are no messages", async () => {
    const { clock, backend, other, conclave, neighbour } = await connected();
    for (let index = 0; index < 40; index++) await put(other, `topic/a/messages/x${index}`, "[]");
    const { seen } = read(await conclave.topic("a").subscribe({ from: "start" }));
    await neighbour.topic("a").publish("here");
    await clock.advance(100);
    expect(seen).toEqual(["here"]);
    expect(backend.calls.length).toBeLessThan(10);
  });
});

test("messages are kept for their age by the clock, and little longer in the store", async () => {
  const { clock, backend, other, conclave } = await connected();
  const topic = conclave.topic<number>("a", { keep: { ageMs: 60_000 } });
  const published: number[] = [];
  for (let second = 0; second < 250; second += 5) {
    await topic.publish(clock.wallMs());
    published.push(clock.wallMs());
    await clock.advance(5_000);
    const kept = published.filter((atMs) => clock.wallMs() - atMs <= 60_000);
    if (second % 10 === 0) {
      const { events } = await topic.read({ limit: 100 });
      expect(events.map(inShort)).toEqual(kept);
    }
    const stored = await keys(other, "topic/a/messages/");
    expect(stored.length).toBeLessThanOrEqual((60 / 5) * (1 + 1 / 8) + 2);
  }
  const head = await other.kv.get("topic/a/head");
  expect(head?.value.length).toBeLessThan(1_024);
  expect(backend.count("watch")).toBe(0);
});

test("a head keeps account of any sequence of publications, as a list would", () => {
  const step = fc.record({ added: fc.integer({ min: 1, max: 45 }), pauseMs: fc.integer({ min: 0, max: 3_000 }) });
  const keeps = fc.record({
    count: fc.integer({ min: 45, max: 300 }),
    ageMs: fc.constantFrom(undefined, 1_000, 8_000),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), keeps, (steps, keep) => {
      let head: Head = { life: "00000000", first: 1, last: 0, marks: [] };
      let nowMs = 0;
      const stored = new Map<number, number>();
      const publishedAt: number[] = [];
      for (const { added, pauseMs } of steps) {
        nowMs += pauseMs;
        const { next, doomed } = advance(head, added, keep, nowMs);
        for (const seq of doomed) expect(stored.delete(seq)).toBe(true);
        for (let seq = head.last + 1; seq <= next.last; seq++) {
          stored.set(seq, nowMs);
          publishedAt[seq] = nowMs;
        }
        head = next;
        expect([...stored.keys()]).toEqual(
          Array.from({ length: head.last - head.first + 1 }, (_, index) => head.first + index),
        );
        expect(doomed.length + added).toBeLessThanOrEqual(98);
        expect(head.marks.length).toBeLessThanOrEqual(24);
        expect(head.last - head.first + 1).toBeLessThanOrEqual(keep.count);
        // Nothing goes that is to stay: neither too many, nor too young.
        const ageMs = keep.ageMs ?? Number.POSITIVE_INFINITY;
        for (const seq of doomed)
          expect(seq <= head.last - keep.count || nowMs - (publishedAt[seq] ?? nowMs) > ageMs).toBe(true);
      }
    }),
  );
});

describe("what is gone", () => {
  test("is told by the page that passed it, also where that has no message", async () => {
    const { clock, conclave } = await connected();
    const topic = conclave.topic("a", { keep: { ageMs: 1_000 } });
    await topic.publishAll(Array.from({ length: 40 }, (_, index) => index));
    await clock.advance(1_100);
    // By one who keeps them longer, so that they are still there, and too old for us.
    await conclave.topic("a").publish("new");
    const seen: unknown[] = [];
    for (let [from, more] = ["0.", true]; more; ) {
      const page = await topic.read({ from, limit: 30 });
      seen.push(...page.events.map(inShort));
      from = page.cursor;
      more = page.more;
    }
    expect(seen).toEqual(["missed 30", "missed 10", "new"]);
  });

  test("is told though nothing comes after it", async () => {
    const { conclave, other } = await connected();
    const topic = conclave.topic("a");
    const from = await topic.publish("one");
    await topic.publishAll(["two", "three"]);
    for (const key of (await keys(other, "topic/a/messages/")).slice(1)) await remove(other, key);
    expect((await topic.read({ from })).events.map(inShort)).toEqual(["missed 2"]);
    const cursor = await topic.publish("four");
    expect((await topic.read({ from: "start" })).cursor).toBe(cursor);
  });

  test("does not make readers begin anew when it was the head and the newest message", async () => {
    const { conclave, other } = await connected();
    const topic = conclave.topic("a");
    await topic.publish("one");
    const from = await topic.publish("two");
    await topic.publish("three");
    await remove(other, "topic/a/head");
    await put(other, (await keys(other, "topic/a/messages/")).at(-1) as string, "spoilt");
    await topic.publish("four");
    expect((await topic.read({ from })).events.map(inShort)).toEqual(["missed 1", "four"]);
  });
});
