import { type Conclave, connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { describeJunk, object } from "./junk.ts";
import { type Any, keys, world } from "./kit.ts";

const circle: Record<string, unknown> = {};
circle["self"] = circle;

/** What queues do not accept: what is wrong, the call, the error, and what its message must say. */
const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  ["a queue without a name", (c) => c.queue(), TypeError, /name of the queue must be a string, not undefined/],
  ["an unknown option of queue", (c) => c.queue("q", { retries: 3 }), TypeError, /queue has no option "retries"/],
  [
    "no deliveries",
    (c) => c.queue("q", { maxDeliveries: 0 }),
    RangeError,
    /maxDeliveries must be a whole number from 1/,
  ],
  ["half a delivery", (c) => c.queue("q", { maxDeliveries: 1.5 }), RangeError, /maxDeliveries.*not 1.5/],
  ["deliveries in words", (c) => c.queue("q", { maxDeliveries: "3" }), TypeError, /maxDeliveries must be a number/],
  ["no visibility", (c) => c.queue("q", { visibilityMs: 0 }), RangeError, /visibilityMs must be more than 0/],
  ["a length too large", (c) => c.queue("q", { maxLength: 10_001 }), RangeError, /maxLength.*from 1 to 10000/],
  [
    "nothing to enqueue",
    (c) => c.queue("q").enqueue(undefined),
    TypeError,
    /value must be something that JSON can carry/,
  ],
  ["a ring", (c) => c.queue("q").enqueue(circle), TypeError, /value must be something that JSON can carry/],
  ["half a priority", (c) => c.queue("q").enqueue(1, { priority: 0.5 }), RangeError, /priority must be a whole number/],
  ["a priority in words", (c) => c.queue("q").enqueue(1, { priority: "high" }), TypeError, /priority must be a number/],
  ["a delay into the past", (c) => c.queue("q").enqueue(1, { delayMs: -1 }), RangeError, /delayMs must be from 0/],
  [
    "a value too large",
    (c) => c.queue("q").enqueue("x".repeat(458_751)),
    RangeError,
    /at most 458752 bytes.*not 458753/,
  ],
  ["values that are none", (c) => c.queue("q").enqueueAll("abc"), TypeError, /items of enqueueAll must be an array/],
  ["a value without its wrapping", (c) => c.queue("q").enqueueAll([1]), TypeError, /items\[0\] must be an object/],
  ["too many values", (c) => c.queue("q").enqueueAll(Array(50).fill({ value: 1 })), RangeError, /from 1 to 49, not 50/],
  [
    "more values than a bounded queue holds",
    (c) => c.queue("q", { maxLength: 2 }).enqueueAll(Array(3).fill({ value: 1 })),
    RangeError,
    /from 1 to 2, not 3/,
  ],
  [
    "a wrong delay among others",
    (c) => c.queue("q").enqueueAll([{ value: 1 }, { value: 2, delayMs: Number.NaN }]),
    RangeError,
    /delayMs of items\[1\]/,
  ],
  ["no number of jobs", (c) => c.queue("q").claimAll(), TypeError, /atMost of claimAll must be a number/],
  [
    "too many jobs",
    (c) => c.queue("q").claimAll({ atMost: 34 }),
    RangeError,
    /atMost of claimAll.*from 1 to 33, not 34/,
  ],
  ["no concurrency", (c) => c.queue("q").consume({ concurrency: 0 }).next(), RangeError, /concurrency of consume/],
  [
    "jobs that are none",
    (c) => c.queue("q").ackAll([{ ack: 1 }]),
    TypeError,
    /jobs of ackAll must be an array of jobs/,
  ],
  ["an id that is none", (c) => c.queue("q").discardDead([7]), TypeError, /ids of discardDead\[0\] must be a string/],
  ["an id without a character", (c) => c.queue("q").redrive([""]), RangeError, /ids of redrive\[0\] must be a name/],
  ["no ids", (c) => c.queue("q").discardDead(), TypeError, /ids of discardDead must be an array/],
  ["ids in one", (c) => c.queue("q").redrive("abc"), TypeError, /ids of redrive must be an array/],
  ["a page too large", (c) => c.queue("q").deadLetters({ limit: 101 }), RangeError, /limit of deadLetters.*to 100/],
  [
    "a signal that is none",
    (c) => c.queue("q").claim({ signal: 1 }),
    TypeError,
    /signal of claim must be an AbortSignal/,
  ],
  ["a name that is none", (c) => c.destructiveQueue(7), TypeError, /name of the destructive-queue must be a string/],
  ["nothing to push", (c) => c.destructiveQueue("d").push(undefined), TypeError, /value must be something that JSON/],
  ["an unknown option of pop", (c) => c.destructiveQueue("d").pop({ timeoutMs: 1 }), TypeError, /pop has no option/],
];

test.each(wrong)("%s is refused, in words, before anything is sent", async (_, call, type, message) => {
  const { backend, other } = await world();
  const conclave = await connect(backend);
  const error = await (async () => call(conclave))().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(type);
  expect(String(error)).toMatch(message);
  expect([backend.calls, await keys(other)]).toEqual([[], []]);
});

describe("what a job is given", () => {
  test.each<[string, (job: Any) => Promise<unknown>, RegExp]>([
    ["a delay into the past", (job) => job.nack({ delayMs: -1 }), /delayMs of nack must be from 0/],
    ["a reason that is none", (job) => job.nack({ reason: 5 }), /reason of nack must be a string, not a number/],
    ["an unknown option", (job) => job.ack({ timeoutMs: 5 }), /ack has no option "timeoutMs"/],
    ["no time", (job) => job.extend(), /visibilityMs of extend must be a number/],
  ])("%s is refused, and it is held all the same", async (_, call, message) => {
    const { backend } = await world();
    const conclave = await connect(backend);
    const queue = conclave.queue("q");
    await queue.enqueue(1);
    const job = await queue.claim();
    await expect(call(job)).rejects.toThrow(message);
    expect(job.isHeld()).toBe(true);
    await job.ack();
    await conclave.close();
  });
});

const notJson = (value: Any) => (typeof value === "function" ? value : () => value);

describeJunk({
  queue: (c, one, other) => c.queue(one, { ...object(other), wrong: 1 }),
  "queue of options": (c, one, other) => c.queue("q", { maxDeliveries: one, maxLength: other, wrong: 1 }),
  "queue.enqueue": (c, one, other) => c.queue(one).enqueue(notJson(other)),
  "queue.enqueue with options": (c, one, other) => c.queue("q").enqueue(one, { ...object(other), wrong: 1 }),
  "queue.enqueueAll": (c, one, other) => c.queue("q").enqueueAll([one, other, { value: undefined }]),
  "queue.claim": (c, one, other) => c.queue(one).claim({ ...object(other), wrong: 1 }),
  "queue.tryClaim": (c, one, other) => c.queue(one).tryClaim({ ...object(other), wrong: 1 }),
  "queue.claimAll": (c, one, other) => c.queue("q").claimAll({ ...object(one), atMost: other, wrong: 1 }),
  "queue.consume": (c, one, other) => c.queue("q").consume({ concurrency: one, signal: other, wrong: 1 }).next(),
  "queue.ackAll": (c, one, other) => c.queue("q").ackAll([one], other),
  "queue.counts": (c, one, other) => c.queue(one).counts(other),
  "queue.deadLetters": (c, one, other) => c.queue(one).deadLetters(other),
  "queue.redrive": (c, one, other) => c.queue("q").redrive([one], other),
  "queue.discardDead": (c, one, other) => c.queue("q").discardDead(one ?? 0, other),
  "destructiveQueue.push": (c, one, other) => c.destructiveQueue(one).push(notJson(other)),
  "destructiveQueue.pop": (c, one, other) => c.destructiveQueue(one).pop({ ...object(other), wrong: 1 }),
  "destructiveQueue.tryPop": (c, one, other) => c.destructiveQueue(one).tryPop(other),
  "destructiveQueue.length": (c, one, other) => c.destructiveQueue(one).length(other),
});
