import { type Conclave, connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { describeJunk, object, text } from "./junk.ts";
import { type Any, keys, world } from "./kit.ts";

/** What neither a number, an id, a value nor a transaction accepts: the call, the error, and what its message must say. */
const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  ["a counter without a name", (c) => c.counter(), TypeError, /name of the counter must be a string, not undefined/],
  ["a counter with an empty name", (c) => c.counter(""), RangeError, /name of the counter.*at least one character/],
  [
    "a prefix without its slash",
    (c) => c.counter({ prefix: "hits" }),
    RangeError,
    /prefix of the counter.*ends in "\/"/,
  ],
  ["a delta that is text", (c) => c.counter("a").add("1"), TypeError, /delta must be a bigint or a number, not "1"/],
  ["a delta that is null", (c) => c.counter("a").add(null), TypeError, /delta must be a bigint or a number, not null/],
  ["a delta that is no whole number", (c) => c.counter("a").add(1.5), RangeError, /delta.*whole number.*not 1\.5/],
  ["a delta that no number holds", (c) => c.counter("a").add(2 ** 53), RangeError, /delta.*or a bigint/],
  [
    "an unknown option of add",
    (c) => c.counter("a").add(1, { timeoutMs: 1 }),
    TypeError,
    /add has no option "timeoutMs"/,
  ],
  ["a signal of add that is none", (c) => c.counter("a").add(1, { signal: 1 }), TypeError, /signal of add/],
  ["a number to set that is no bigint", (c) => c.counter("a").set(1), TypeError, /value must be a bigint, not 1/],
  [
    "a number to set of 65 bits",
    (c) => c.counter("a").set(2n ** 63n),
    RangeError,
    /value must be a signed number of 64/,
  ],
  [
    "an expected number that is none",
    (c) => c.counter("a").compareAndSet(1, 1n),
    TypeError,
    /expected must be a bigint/,
  ],
  ["an unknown option of get", (c) => c.counter("a").get({ wrong: 1 }), TypeError, /get has no option "wrong"/],
  ["ids without a name", (c) => c.ids(), TypeError, /name of the ids must be a string, not undefined/],
  ["a block that is text", (c) => c.ids("a", { block: "9" }), TypeError, /block of ids must be a number, not "9"/],
  ["a block of nothing", (c) => c.ids("a", { block: 0 }), RangeError, /block of ids.*from 1 to 1000000, not 0/],
  ["a block that is too large", (c) => c.ids("a", { block: 1e7 }), RangeError, /block of ids.*not 10000000/],
  ["an unknown option of ids", (c) => c.ids("a", { size: 1 }), TypeError, /ids has no option "size"; it takes block/],
  ["an unknown option of next", (c) => c.ids("a").next({ block: 1 }), TypeError, /next has no option "block"/],
  ["an atomic value without a name", (c) => c.atomic(), TypeError, /name of the atomic must be a string/],
  ["a value that JSON cannot carry", (c) => c.atomic("a").set(1n), TypeError, /value must be something that JSON can/],
  ["no value", (c) => c.atomic("a").set(), TypeError, /value must be something that JSON can carry, not undefined/],
  ["an expected value", (c) => c.atomic("a").compareAndSet("x", 1), TypeError, /expected must be a revision.*not "x"/],
  [
    "a change that is no function",
    (c) => c.atomic("a").update(5),
    TypeError,
    /change of update must be a function, not 5/,
  ],
  [
    "an unknown option of watch",
    (c) => c.atomic("a").watch({ limit: 1 }).next(),
    TypeError,
    /watch has no option "limit"/,
  ],
  ["work that is no function", (c) => c.transact(5), TypeError, /work of transact must be a function, not 5/],
  [
    "attempts that are none",
    (c) => c.transact(() => {}, { attempts: "1" }),
    TypeError,
    /attempts of transact.*a number/,
  ],
  ["no attempts at all", (c) => c.transact(() => {}, { attempts: 0 }), RangeError, /attempts of transact.*1 or more/],
  [
    "an unknown option of transact",
    (c) => c.transact(() => {}, { retries: 1 }),
    TypeError,
    /transact has no option "ret/,
  ],
];

describe("counters, ids, atomic values and transactions refuse, before anything is opened,", () => {
  test.each(wrong)("%s", async (_, call, type, message) => {
    const { backend, other } = await world();
    const conclave = await connect(backend);
    const error = await (async () => call(conclave))().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
    expect([backend.calls, await keys(other)]).toEqual([[], []]);
  });
});

const noNumber = (value: Any) => (typeof value === "bigint" || typeof value === "number" ? {} : value);

describeJunk({
  "counter.get": (c, one, other) => c.counter(one).get(other),
  "counter.add": (c, one, other) => c.counter(other).add(noNumber(one ?? null), other),
  "counter.set": (c, one, other) => c.counter("a").set(noNumber(one), other),
  "counter.compareAndSet": (c, one, other) => c.counter("a").compareAndSet(noNumber(one), other),
  "atomic.get": (c, one, other) => c.atomic(one).get(other),
  "atomic.set": (c, one, other) => c.atomic(one).set(other, { ...object(other), wrong: 1 }),
  "atomic.compareAndSet": (c, one, other) => c.atomic("a").compareAndSet(noNumber(one), other, { wrong: 1 }),
  "atomic.update": (c, one, other) => c.atomic("a").update(text(one), other),
  "atomic.delete": (c, one, other) => c.atomic(one).delete({ ...object(other), wrong: 1 }),
  "atomic.watch": (c, one, other) =>
    c
      .atomic(one)
      .watch({ [String(typeof one)]: other })
      .next(),
  ids: (c, one, other) => c.ids(one, { ...object(other), wrong: 1 }),
  "ids.next": (c, one, other) => c.ids("a").next({ ...object(one), wrong: other }),
  transact: (c, one, other) => c.transact(text(one), other),
  "transaction.get": (c, one) => c.transact((tx: Any) => tx.get(one)),
  "transaction.list": (c, one) => c.transact((tx: Any) => tx.list(one)),
  "transaction.put": (c, one, other) => c.transact((tx: Any) => tx.put(one, noBytesOf(other))),
  "transaction.delete": (c, one) =>
    c.transact((tx: Any) => {
      tx.delete(one);
      throw new TypeError("enough");
    }),
});

const noBytesOf = (value: Any) => (value instanceof Uint8Array ? "bytes" : value);
