import { type Conclave, connect, type Queue, type QueueOptions } from "@conclave/core";
import type { Txn, Watch } from "@conclave/core/backend";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Context } from "../src/context.ts";
import { indexOf } from "../src/recipes/queue/queue-index.ts";
import { QueueKeys } from "../src/recipes/queue/queue-item.ts";
import {
  type Call,
  deferred,
  deletes,
  Faulty,
  failure,
  keys,
  losingAnswers,
  outcome,
  put,
  puts,
  remove,
  StallingClock,
  type World,
  world,
} from "./kit.ts";

const ttlMs = 9_000;

interface Scene extends World {
  readonly conclave: Conclave;
  readonly neighbour: Conclave;
  readonly queue: Queue<string>;
  readonly nearby: Queue<string>;
}

/** Two processes, whose copies of the queue's index are open. */
async function opened(options: QueueOptions = {}): Promise<Scene> {
  const here = await world();
  const conclave = await connect(here.backend, { ttlMs });
  const neighbour = await connect(here.other, { ttlMs });
  const queue = conclave.queue<string>("q", options);
  const nearby = neighbour.queue<string>("q", options);
  expect([await queue.tryClaim(), await nearby.tryClaim()]).toEqual([undefined, undefined]);
  await Promise.all([conclave.session(), neighbour.session()]);
  return { ...here, conclave, neighbour, queue, nearby };
}

const left = async ({ other }: World) => (await keys(other)).filter((key) => key.startsWith("queue/"));
const claims = (call: Call) =>
  puts(call) &&
  (call.argument as Txn).then.some((operation) => "put" in operation && operation.put.includes("/index/claim/"));

describe("an answer that is lost", () => {
  test("of an enqueue leaves one item, though a consumer had it before it was sent again", async () => {
    const scene = await opened();
    const { clock, backend, queue, nearby } = scene;
    let first = true;
    backend.fault = async (call, proceed) => {
      if (!puts(call) || !first) return proceed();
      first = false;
      await proceed();
      await (await nearby.tryClaim())?.ack();
      throw failure("OUTCOME_UNKNOWN");
    };
    const enqueued = outcome(queue.enqueue("a"));
    await clock.advance(2_000);
    expect(enqueued.value).toMatch(/^[0-9a-f]{32}$/);
    expect(await left(scene)).toEqual([]);
  });

  test("of a claim gives the job all the same, once, with its token", async () => {
    const { clock, backend, other, queue } = await opened();
    await queue.enqueueAll([{ value: "a" }, { value: "b" }]);
    backend.fault = losingAnswers(claims, 3);
    const claimed = outcome(queue.claimAll({ atMost: 2 }));
    await clock.advance(5_000);
    const jobs = claimed.value ?? [];
    expect(jobs.map(({ value, deliveries }) => [value, deliveries])).toEqual([
      ["a", 1],
      ["b", 1],
    ]);
    for (const { key, token } of jobs) expect((await other.kv.get(key))?.created).toBe(token / 512n);
    expect(await queue.ackAll(jobs)).toEqual([]);
  });

  test("of a claim that another won instead gives nothing of what the other has", async () => {
    const { clock, backend, queue, nearby } = await opened();
    await queue.enqueue("a");
    let first = true;
    const theirs = deferred<unknown>();
    backend.fault = async (call, proceed) => {
      if (!claims(call) || !first) return proceed();
      first = false;
      theirs.resolve(await nearby.claim());
      throw failure("OUTCOME_UNKNOWN");
    };
    const claimed = outcome(queue.claim());
    await theirs.promise;
    await clock.advance(5_000);
    expect(claimed.settled).toBe(false);
  });

  test.each(["ack", "nack"] as const)("of an %s ends the job, and its signal stays quiet", async (way) => {
    const scene = await opened();
    const { clock, backend, queue } = scene;
    await queue.enqueue("a");
    const job = await queue.claim();
    backend.fault = losingAnswers(deletes, 4);
    const ended = outcome(job[way]());
    // Longer than it takes the session to see that the claim is gone.
    await clock.advance(ttlMs);
    expect(ended).toEqual({ settled: true, value: undefined });
    expect([job.isHeld(), job.signal.aborted]).toEqual([false, false]);
    expect(await left(scene)).toHaveLength(way === "ack" ? 0 : 2);
  });

  test("of an acknowledgement of several finds those that were lost", async () => {
    const scene = await opened();
    const { clock, backend, other, queue } = scene;
    await queue.enqueueAll([{ value: "a" }, { value: "b" }, { value: "c" }]);
    const jobs = await queue.claimAll({ atMost: 3 });
    await remove(other, jobs[1]?.key as string);
    backend.fault = losingAnswers(deletes, 2);
    const acked = outcome(queue.ackAll(jobs));
    await clock.advance(2_000);
    expect(acked.value).toEqual([jobs[1]]);
    expect(jobs[1]?.signal.aborted).toBe(true);
    expect(await left(scene)).toHaveLength(2);
  });

  test("of an extension leaves the time it gave, and a late one of an earlier does not shorten it", async () => {
    const { clock, client, backend, other, queue } = await opened({ visibilityMs: 4_000 });
    await queue.enqueue("a");
    const job = await queue.claim();
    let late: (() => Promise<unknown>) | undefined;
    backend.fault = async (call, proceed) => {
      if (!puts(call) || late) return proceed();
      late = () => client.kv.commit(call.argument as Txn);
      throw failure("OUTCOME_UNKNOWN");
    };
    const first = outcome(job.extend(5_000));
    await clock.advance(1_000);
    expect(first).toEqual({ settled: true, value: undefined });
    await job.extend(8_000);
    const until = (await other.kv.get(job.key))?.modified;
    await late?.();
    expect((await other.kv.get(job.key))?.modified).toBe(until);
    await clock.advance(7_000);
    expect(job.isHeld()).toBe(true);
    await clock.advance(1_000);
    expect(job.isHeld()).toBe(false);
  });
});

describe("a claim that is given up", () => {
  test("while its answer is awaited holds nothing, and counts as no delivery", async () => {
    const { clock, backend, queue, nearby } = await opened();
    await queue.enqueue("a");
    const controller = new AbortController();
    const answer = deferred<void>();
    backend.fault = async (call, proceed) => {
      if (!claims(call)) return proceed();
      const result = await proceed();
      await answer.promise;
      return result;
    };
    const claimed = outcome(queue.claim({ signal: controller.signal }));
    await clock.advance(1);
    controller.abort("enough");
    await clock.advance(1);
    expect(claimed.error).toBe("enough");
    const next = outcome(nearby.claim());
    answer.resolve();
    await clock.advance(100);
    expect(next.value).toMatchObject({ value: "a", deliveries: 1 });
  });

  test("because the store refuses it is tried again, by the same process", async () => {
    const { clock, backend, queue } = await opened();
    await queue.enqueue("a");
    let refusals = 3;
    backend.fault = async (call, proceed) => {
      if (!claims(call) || refusals-- <= 0) return proceed();
      throw failure("UNAVAILABLE");
    };
    const claimed = outcome(queue.claim());
    await clock.advance(5_000);
    expect(claimed.value).toMatchObject({ deliveries: 1 });
    refusals = 1;
    await claimed.value?.nack();
    await expect(queue.tryClaim()).rejects.toMatchObject({ code: "UNAVAILABLE" });
  });

  test("since another was faster with one of several takes the others", async () => {
    const { clock, backend, queue, nearby } = await opened();
    await queue.enqueueAll([{ value: "a" }, { value: "b" }, { value: "c" }]);
    let first = true;
    backend.fault = async (call, proceed) => {
      if (claims(call) && first) {
        first = false;
        await nearby.claim();
      }
      return proceed();
    };
    const claimed = outcome(queue.claimAll({ atMost: 3 }));
    await clock.advance(5_000);
    const rest = outcome(queue.claimAll({ atMost: 3 }));
    await clock.advance(5_000);
    const values = [...(claimed.value ?? []), ...(rest.value ?? [])].map(({ value }) => value);
    expect(values.sort()).toEqual(["b", "c"]);
  });

  test("whose answer was lost gives those of several that are left, when one was taken away before it was sent again", async () => {
    const { clock, backend, other, queue } = await opened();
    await queue.enqueueAll([{ value: "a" }, { value: "b" }, { value: "c" }]);
    let first = true;
    backend.fault = async (call, proceed) => {
      if (!claims(call) || !first) return proceed();
      first = false;
      await proceed();
      const [claim] = await keys(other, "queue/q/index/claim/");
      await remove(other, claim as string);
      throw failure("OUTCOME_UNKNOWN");
    };
    const claimed = outcome(queue.claimAll({ atMost: 3 }));
    await clock.advance(1_000);
    expect(claimed.value?.map(({ value }) => value)).toEqual(["b", "c"]);
    const again = await queue.claim();
    expect([again.value, again.deliveries]).toEqual(["a", 2]);
    expect(await queue.ackAll([...(claimed.value ?? []), again])).toEqual([]);
  });

  test("without a wait, after a lost race, takes what only a look at the store shows", async () => {
    const { clock, backend, conclave, nearby } = await opened();
    let deaf = false;
    let first = true;
    backend.fault = async (call, proceed) => {
      if (claims(call) && first) {
        first = false;
        await nearby.claim();
      }
      const made = await proceed();
      if (call.name !== "watch") return made;
      const watch = made as Watch;
      return {
        async *[Symbol.asyncIterator]() {
          for await (const batch of watch) if (!deaf) yield batch;
        },
        [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose](),
      };
    };
    await nearby.enqueue("a");
    // Its index is closed by now, and opened anew on the watch above.
    await clock.advance(40_000);
    const queue = conclave.queue<string>("q");
    expect(await queue.tryClaim()).toBeUndefined();
    deaf = true;
    await nearby.enqueue("b");
    const calls = backend.calls.length;
    const taken = outcome(queue.tryClaim());
    await clock.advance(1_000);
    expect(taken.value?.value).toBe("b");
    expect(backend.calls.length - calls).toBeLessThan(10);
  });

  test("for good, by a store that denies it, rejects", async () => {
    const { backend, queue } = await opened();
    await queue.enqueue("a");
    backend.fault = async (call, proceed) => (claims(call) ? Promise.reject(failure("DENIED")) : proceed());
    await expect(queue.claim()).rejects.toMatchObject({ code: "DENIED" });
  });
});

describe("a job", () => {
  test("is not held in the first line after its process stood still for its visibility timeout", async () => {
    const here = await world();
    const clock = new StallingClock(here.clock);
    const conclave = await connect(new Faulty(here.client, clock), { ttlMs });
    const queue = conclave.queue<string>("q", { visibilityMs: 2_000 });
    await queue.enqueue("a");
    const job = await queue.claim();
    clock.stall(1_990);
    expect(job.isHeld()).toBe(true);
    clock.stall(10);
    expect(job.isHeld()).toBe(false);
    await expect(job.ack()).rejects.toMatchObject({ code: "NOT_HELD" });
  });

  test("can be acknowledged again after the store refused", async () => {
    const scene = await opened();
    const { backend, queue } = scene;
    await queue.enqueue("a");
    const job = await queue.claim();
    backend.fault = async (call, proceed) => (deletes(call) ? Promise.reject(failure("UNAVAILABLE")) : proceed());
    await expect(job.ack()).rejects.toMatchObject({ code: "UNAVAILABLE" });
    expect(job.isHeld()).toBe(true);
    backend.fault = (_, proceed) => proceed();
    await job.ack();
    expect(await left(scene)).toEqual([]);
  });

  test("is lost, and says so, when the session ends while it is being acknowledged", async () => {
    const { clock, backend, queue } = await opened();
    await queue.enqueue("a");
    const job = await queue.claim();
    backend.fault = async (call, proceed) => {
      if (call.name === "keepAlive" || deletes(call)) throw failure("OUTCOME_UNKNOWN");
      return proceed();
    };
    const acked = outcome(job.ack());
    await clock.advance(ttlMs);
    expect(acked.error).toMatchObject({ code: "OUTCOME_UNKNOWN" });
    expect(job.signal.reason).toMatchObject({ code: "LEASE_LOST" });
  });

  test("whose item somebody removed by hand cannot be given back, and leaves nothing", async () => {
    const scene = await opened();
    const { clock, other, queue } = scene;
    const id = await queue.enqueue("a");
    const job = await queue.claim();
    for (const kind of ["index/item", "data"]) await remove(other, `queue/q/${kind}/${id}`);
    await expect(job.nack()).rejects.toMatchObject({ code: "NOT_HELD" });
    await clock.advance(1);
    expect(await left(scene)).toEqual([]);
  });

  test("is delivered anew by one timer when it is delayed, and asks nothing meanwhile", async () => {
    const { clock, backend, queue } = await opened();
    await queue.enqueue("a", { delayMs: 4_000 });
    const claimed = outcome(queue.claim());
    await clock.advance(3_999);
    backend.calls.length = 0;
    expect(claimed.settled).toBe(false);
    await clock.advance(1);
    expect(claimed.value).toMatchObject({ value: "a" });
    expect(backend.calls.map(({ name }) => name)).toEqual(["commit"]);
  });
});

describe("the index", () => {
  test("is opened once for all who use the queue, and closed when nobody did for a while", async () => {
    const { clock, backend, conclave, queue } = await opened();
    expect(backend.count("watch")).toBe(1);
    await queue.enqueueAll([{ value: "a" }, { value: "b" }]);
    const jobs = [await conclave.queue("q").claim(), await conclave.queue("q").claim()];
    expect(backend.count("watch")).toBe(1);
    for (const job of jobs) await job.ack();
    await clock.advance(40_000);
    const calls = backend.calls.length;
    await clock.advance(100_000);
    expect(backend.calls.slice(calls).filter(({ name }) => name === "list")).toEqual([]);
    expect(await queue.tryClaim()).toBeUndefined();
    expect(backend.count("watch")).toBe(2);
    await conclave.close();
  });

  test("is let go of when nobody used it for a while, so that many queues for a moment each cost nothing", async () => {
    const { clock, backend } = await world();
    const context = { backend, closed: new AbortController().signal } as unknown as Context;
    const keys = new QueueKeys("queue/q/");
    const index = indexOf(context, keys);
    expect(indexOf(context, new QueueKeys("queue/q/"))).toBe(index);
    (await index.open(context.closed))[Symbol.dispose]();
    await clock.advance(29_000);
    expect(indexOf(context, keys)).toBe(index);
    await clock.advance(2_000);
    expect(indexOf(context, keys)).not.toBe(index);
  });

  test("leaves no timer behind a conclave that was closed", async () => {
    const { clock, conclave, neighbour, queue } = await opened({ visibilityMs: 60_000 });
    await queue.enqueue("a");
    await queue.claim();
    const waiting = outcome(queue.claim());
    await conclave.close();
    await neighbour.close();
    await clock.advance(0);
    expect(waiting.error).toMatchObject({ code: "CLOSED" });
    expect(clock.pendingTimers).toBe(0);
  });
});

describe("a bounded queue", () => {
  test("keeps its bound though a watch shows an item later than the place it takes", async () => {
    const { clock, backend, neighbour, conclave } = await opened();
    backend.fault = async (call, proceed) => {
      const made = await proceed();
      if (call.name !== "watch") return made;
      const watch = made as Watch;
      return {
        async *[Symbol.asyncIterator]() {
          for await (const batch of watch) {
            if ("gap" in batch) yield batch;
            else yield { ...batch, changes: batch.changes.filter(({ key }) => !key.includes("/item/")) };
          }
        },
        [Symbol.asyncDispose]: () => watch[Symbol.asyncDispose](),
      };
    };
    const full = neighbour.queue("full", { maxLength: 1 });
    const controller = new AbortController();
    await full.enqueue("a");
    const waiting = outcome(conclave.queue("full", { maxLength: 1 }).enqueue("c", { signal: controller.signal }));
    await clock.advance(10);
    const claimed = await full.claim();
    const put = full.enqueue("b");
    await claimed.ack();
    await clock.advance(1_000);
    expect((await full.counts()).waiting).toBe(1);
    controller.abort();
    await Promise.allSettled([put, waiting]);
  });

  test("that is full costs those who wait next to nothing while others work", async () => {
    const { clock, conclave } = await opened();
    const queue = conclave.queue<number>("full", { maxLength: 2_000 });
    const filledSince = performance.now();
    for (let from = 0; from < 2_000; from += 25)
      await queue.enqueueAll(Array.from({ length: 25 }, (_, index) => ({ value: from + index })));
    const fillingMs = performance.now() - filledSince;
    const waiting = Array.from({ length: 50 }, (_, index) => outcome(queue.enqueue(index)));
    await clock.advance(100);
    const since = performance.now();
    for (let jobs = 0; jobs < 20; jobs++) await (await queue.claim()).ack();
    await clock.advance(1_000);
    expect(waiting.filter(({ settled }) => settled)).toHaveLength(20);
    // A look at each place, by each who waits, at each change, would take twice as long again.
    expect(performance.now() - since).toBeLessThan(8 * fillingMs);
    await conclave.close();
  }, 30_000);
});

test("what somebody else put into a queue is a dead letter that can be paged past and thrown away", async () => {
  const { other, queue } = await opened();
  await put(other, "queue/q/index/item/stray", "junk");
  await expect.poll(() => queue.tryClaim().then(() => queue.counts())).toMatchObject({ waiting: 0, dead: 1 });
  const [letter] = await queue.deadLetters();
  expect(letter).toMatchObject({ id: "stray", reason: "what the index says of it cannot be read" });
  expect(await queue.deadLetters({ startAfter: "stray" })).toEqual([]);
  expect(await queue.discardDead(["stray"])).toBe(1);
  expect(await keys(other, "queue/")).toEqual([]);
});

const enqueueing = fc.record({
  kind: fc.constant("enqueue" as const),
  priority: fc.integer({ min: -1, max: 1 }),
  delayMs: fc.constantFrom(0, 0, 500),
});
const other = fc.constantFrom("claim", "claim", "claim", "ack", "nack", "nack", "redrive", "wait");
const action = fc.oneof(enqueueing, fc.record({ kind: other }), fc.record({ kind: other }));

interface Expected {
  readonly value: string;
  readonly priority: number;
  order: number;
  availableAtMs: number;
  deliveries: number;
}

test("a queue delivers what a list that is kept in order would, whatever is done with it", async () => {
  const maxDeliveries = 2;
  let claimed = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(action, { minLength: 10, maxLength: 40, size: "max" }), async (actions) => {
      const { clock, conclave, neighbour, queue } = await opened({ maxDeliveries });
      const waiting: Expected[] = [];
      const dead: Expected[] = [];
      const open: { job: NonNullable<Awaited<ReturnType<typeof queue.tryClaim>>>; item: Expected }[] = [];
      let order = 0;
      const give = (item: Expected) => void (item.deliveries >= maxDeliveries ? dead : waiting).push(item);
      for (const [index, step] of actions.entries()) {
        if (step.kind === "enqueue") {
          const { priority, delayMs } = step;
          const value = String(index);
          await queue.enqueue(value, { priority, delayMs });
          waiting.push({ value, priority, order: ++order, availableAtMs: clock.wallMs() + delayMs, deliveries: 0 });
        } else if (step.kind === "claim") {
          const due = waiting.filter(({ availableAtMs }) => availableAtMs <= clock.wallMs());
          due.sort((one, other) => one.priority - other.priority || one.order - other.order);
          const job = await queue.tryClaim();
          expect(job?.value).toBe(due[0]?.value);
          if (!job || !due[0]) continue;
          claimed += 1;
          waiting.splice(waiting.indexOf(due[0]), 1);
          due[0].deliveries += 1;
          expect(job.deliveries).toBe(due[0].deliveries);
          open.push({ job, item: due[0] });
        } else if (step.kind === "redrive") {
          expect(await queue.redrive()).toBe(dead.length);
          // Those of one commit come in the order of their ids.
          if (dead.length > 1) break;
          for (const item of dead.splice(0)) waiting.push({ ...item, order: ++order, availableAtMs: 0, deliveries: 0 });
        } else if (step.kind === "wait") await clock.advance(300);
        else {
          const last = open.pop();
          if (!last) continue;
          await last.job[step.kind === "ack" ? "ack" : "nack"]();
          if (step.kind !== "ack") give({ ...last.item, availableAtMs: 0 });
        }
        await clock.advance(0);
        expect(await queue.counts()).toEqual({ waiting: waiting.length, claimed: open.length, dead: dead.length });
      }
      await Promise.all([conclave.close(), neighbour.close()]);
    }),
    { numRuns: 60 },
  );
  expect(claimed).toBeGreaterThan(60);
});
