import { MemoryStore } from "@conclave/backend-memory";
import { type Conclave, connect } from "@conclave/core";
import { expect, test } from "vitest";
import { z } from "zod";

const keep = { count: 100, ageMs: 3_600_000 };

/** As in `docs/swapping-backends.md`. */
async function move(from: Conclave, to: Conclave): Promise<void> {
  const { entries } = await from.kv.list("", { order: "oldest" });
  expect(entries.filter(({ lease }) => lease !== undefined)).toEqual([]);
  for (const { key, value } of entries) await to.kv.commit({ then: [{ put: key, value }] });
}

// A weak store's revisions are far apart and high up, a strong one's count from 1: as far from each other as any two.
test.each([
  ["weak", "strong"],
  ["strong", "weak"],
] as const)("what outlives its processes goes along from a %s store to a %s one", async (fromMode, toMode) => {
  const store = new MemoryStore({ mode: fromMode });
  const old = await connect(store, { namespace: "shop" });
  const cursor = await old.topic<number>("news", { keep }).publish(1);
  for (const message of [2, 3]) await old.topic<number>("news", { keep }).publish(message);
  for (const perMinute of [10, 20]) await old.config("app", { perMinute: z.number() }).set({ perMinute });
  const lastId = await old.ids("orders", { block: 5 }).next();
  await old.counter("hits").add(7);
  await old.latch("warm", { count: 2 }).countDown();
  await old.barrier("gate").close();
  await old.atomic("limits").update(() => ({ ada: 5 }));
  await old.semaphore("connections", { limit: 4 }).run(() => {});
  const queue = old.queue<string>("mail");
  await queue.enqueue("first");
  await queue.enqueueAll(["second", "third", "fourth"].map((value) => ({ value })));
  await queue.enqueue("urgent", { priority: -1 });
  const tried = await queue.claim();
  await tried.nack();
  await old.close();

  await using from = await connect(store, { namespace: "shop" });
  await using to = await connect(new MemoryStore({ mode: toMode }), { namespace: "shop" });
  await move(from, to);

  const seen: unknown[] = [];
  await using news = await to.topic<number>("news", { keep }).subscribe({ from: cursor });
  await to.topic<number>("news", { keep }).publish(4);
  for await (const { message, gap } of news) {
    seen.push(gap ?? message.value);
    if (message?.value === 4) break;
  }
  expect(seen).toEqual([2, 3, 4]);
  const config = to.config("app", { perMinute: z.number() });
  expect(await config.get("perMinute")).toBe(20);
  await config.rollback("perMinute", 1);
  expect(await config.get("perMinute")).toBe(10);
  expect(await to.ids("orders").next()).toBeGreaterThan(lastId);
  expect(await to.counter("hits").add()).toBe(8n);
  expect(await to.latch("warm", { count: 2 }).remaining()).toBe(1);
  expect(await to.barrier("gate").isClosed()).toBe(true);
  expect((await to.atomic("limits").get())?.value).toEqual({ ada: 5 });
  expect(await to.semaphore("connections").limit()).toBe(4);
  const jobs: [string, number][] = [];
  for (let index = 0; index < 5; index++) {
    const job = await to.queue<string>("mail").claim();
    jobs.push([job.value, job.deliveries]);
    await job.ack();
  }
  expect(jobs).toEqual([
    ["urgent", 2],
    ["first", 1],
    ["second", 1],
    ["third", 1],
    ["fourth", 1],
  ]);
});
