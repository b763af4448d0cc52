import { type Conclave, connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { describeJunk, object } from "./junk.ts";
import { type Any, keys, world } from "./kit.ts";

const schemas = { note: z.string(), max: z.number() };
const circle: Record<string, unknown> = {};
circle["self"] = circle;

/** What neither configurations nor topics accept: the call, the error, and what its message must say. */
const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  [
    "a configuration without a name",
    (c) => c.config(undefined, schemas),
    TypeError,
    /name of the config must be a str/,
  ],
  [
    "a configuration without schemas",
    (c) => c.config("a"),
    TypeError,
    /schemas of config must be an object, not undef/,
  ],
  ["a schema that is none", (c) => c.config("a", { b: {} }), TypeError, /b of schemas of config must be a schema that/],
  ["a schema that is null", (c) => c.config("a", { b: null }), TypeError, /b of schemas of config must be a schema/],
  [
    "a schema of another version",
    (c) => c.config("a", { b: { "~standard": { version: 2, validate: () => {} } } }),
    TypeError,
    /b of schemas of config must be a schema that keeps Standard Schema, version 1/,
  ],
  ["an empty key", (c) => c.config("a", { "": z.string() }), RangeError, /a key of schemas of config.*one character/],
  [
    "a key too long",
    (c) => c.config("a", { ["x".repeat(490)]: z.string() }),
    RangeError,
    /the key x{60} of schemas of config must make keys of at most 512 bytes, not 524/,
  ],
  ["an unknown option of config", (c) => c.config("a", schemas, { keep: 5 }), TypeError, /config has no option "keep"/],
  ["a history of 0", (c) => c.config("a", schemas, { history: 0 }), RangeError, /history of config.*from 1 to 100/],
  ["a history in words", (c) => c.config("a", schemas, { history: "5" }), TypeError, /history of config.*a number/],
  ["defaults that are text", (c) => c.config("a", schemas, { defaults: "a" }), TypeError, /defaults of config must be/],
  [
    "a default of no key",
    (c) => c.config("a", schemas, { defaults: { b: 1 } }),
    RangeError,
    /defaults of config.*note/,
  ],
  ["a get of no key", (c) => c.config("a", schemas).get("toString"), RangeError, /key of get.*: note, max, not "toStr/],
  ["a get of a number", (c) => c.config("a", schemas).get(5), TypeError, /key of get must be one of the config/],
  ["a set of nothing", (c) => c.config("a", schemas).set({}), RangeError, /set must be given from 1 to 24 keys, not 0/],
  ["a set of null", (c) => c.config("a", schemas).set(null), TypeError, /values of set must be an object, not null/],
  ["a set of no key", (c) => c.config("a", schemas).set({ b: 1 }), RangeError, /values of set must be one of the conf/],
  ["a set of a circle", (c) => c.config("a", schemas).set({ note: circle }), TypeError, /note of set.*JSON can carry/],
  [
    "a set of undefined",
    (c) => c.config("a", schemas).set({ note: undefined }),
    TypeError,
    /note of set.*not undefined/,
  ],
  [
    "an ifUnchanged that is a revision",
    (c) => c.config("a", schemas).set({ max: 1 }, { ifUnchanged: 5n }),
    TypeError,
    /ifUnchanged of set must be an object of revisions, not 5n/,
  ],
  [
    "an ifUnchanged of a number",
    (c) => c.config("a", schemas).set({ max: 1 }, { ifUnchanged: { max: 5 } }),
    TypeError,
    /max of ifUnchanged of set must be a revision, which is a bigint, or undefined, not 5/,
  ],
  [
    "an ifUnchanged of no key",
    (c) => c.config("a", schemas).set({ max: 1 }, { ifUnchanged: { b: 5n } }),
    RangeError,
    /ifUnchanged of set must be one of the configuration's keys: note, max, not "b"/,
  ],
  [
    "an unknown option of set",
    (c) => c.config("a", schemas).set({ max: 1 }, { timeoutMs: 5 }),
    TypeError,
    /set has no/,
  ],
  ["an unknown option of open", (c) => c.config("a", schemas).open({ defaults: {} }), TypeError, /open has no option/],
  ["an unknown option of read", (c) => c.config("a", schemas).read({ key: 1 }), TypeError, /read has no option "key"/],
  [
    "an unknown option of watch",
    (c) => c.config("a", schemas).watch({ k: 1 }).next(),
    TypeError,
    /watch has no option/,
  ],
  ["a history of no key", (c) => c.config("a", schemas).history("b"), RangeError, /key of history must be one of/],
  ["a rollback of no key", (c) => c.config("a", schemas).rollback("b", 1), RangeError, /key of rollback must be one/],
  ["a version of 0", (c) => c.config("a", schemas).rollback("max", 0), RangeError, /version of rollback.*from 1/],
  ["a version that is a bigint", (c) => c.config("a", schemas).rollback("max", 1n), TypeError, /version of rollback/],

  ["a topic without a name", (c) => c.topic(), TypeError, /name of the topic must be a string, not undefined/],
  ["an unknown option of topic", (c) => c.topic("a", { count: 5 }), TypeError, /topic has no option "count"/],
  ["a count of 0", (c) => c.topic("a", { keep: { count: 0 } }), RangeError, /count of topic must be a whole number/],
  [
    "a count of Infinity",
    (c) => c.topic("a", { keep: { count: Infinity } }),
    RangeError,
    /count of topic.*not Infinity/,
  ],
  ["an age of 0", (c) => c.topic("a", { keep: { ageMs: 0 } }), RangeError, /ageMs of topic must be more than 0/],
  ["an unknown kind of keeping", (c) => c.topic("a", { keep: { age: 5 } }), TypeError, /keep of topic has no option/],
  [
    "a message of undefined",
    (c) => c.topic("a").publish(),
    TypeError,
    /value of publish.*JSON can carry, not undefined/,
  ],
  ["a message of a circle", (c) => c.topic("a").publish(circle), TypeError, /value of publish.*JSON can carry/],
  [
    "a message too large",
    (c) => c.topic("a").publish("x".repeat(448 * 1024)),
    RangeError,
    /publish must be given at most 458752 bytes, not 458/,
  ],
  [
    "an unknown option of publish",
    (c) => c.topic("a").publish(1, { timeoutMs: 5 }),
    TypeError,
    /publish has no option/,
  ],
  ["values that are one", (c) => c.topic("a").publishAll("ab"), TypeError, /values of publishAll must be an array/],
  [
    "more messages than a commit takes",
    (c) => c.topic("a").publishAll(Array(46).fill(1)),
    RangeError,
    /publishAll must be given at most 45 values, not 46/,
  ],
  [
    "more messages than are kept",
    (c) => c.topic("a", { keep: { count: 3 } }).publishAll([1, 2, 3, 4]),
    RangeError,
    /publishAll must be given at most 3 values, not 4/,
  ],
  [
    "a hole among values",
    (c) => c.topic("a").publishAll([1, undefined]),
    TypeError,
    /value of publishAll.*not undefined/,
  ],
  [
    "a cursor that is none",
    (c) => c.topic("a").subscribe({ from: "later" }),
    TypeError,
    /from of subscribe must be "now", "start" or the cursor of a message, not "later"/,
  ],
  [
    "a cursor that is a number",
    (c) => c.topic("a").subscribe({ from: 5 }),
    TypeError,
    /from of subscribe must be.*not 5/,
  ],
  [
    "a cursor too large",
    (c) => c.topic("a").subscribe({ from: "9999999999999999.01234567" }),
    TypeError,
    /from of sub/,
  ],
  ["an unknown option of subscribe", (c) => c.topic("a").subscribe({ since: 1 }), TypeError, /subscribe has no option/],
  ["a read from now", (c) => c.topic("a").read({ from: "now" }), TypeError, /from of read must be "start" or the curs/],
  ["a read of 0", (c) => c.topic("a").read({ limit: 0 }), RangeError, /limit of read.*from 1 to 100, not 0/],
  ["an unknown option of latest", (c) => c.topic("a").latest({ limit: 1 }), TypeError, /latest has no option "limit"/],
];

describe("a conclave refuses, and writes nothing for,", () => {
  test.each(wrong)("%s", async (_, call, type, message) => {
    const { backend, other } = await world();
    await using conclave = await connect(backend);
    const error = await (async () => call(conclave))().then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
    expect([await keys(other), backend.count("grant"), backend.calls.length]).toEqual([[], 0, 0]);
  });
});

describeJunk({
  config: (c, one, other) => c.config(one, other, { wrong: 1 }),
  "config.open": (c, one, other) => c.config("a", schemas).open({ ...object(one), [String(typeof other)]: other }),
  "config.watch": (c, one, other) =>
    c
      .config("a", schemas)
      .watch({ ...object(one), wrong: other })
      .next(),
  "config.read": (c, one) => c.config("a", schemas).read(one),
  "config.get": (c, one, other) => c.config("a", schemas).get(one, other),
  "config.set": (c, one, other) => c.config("a", schemas).set({ ...object(one), max: "no" }, other),
  "config.history": (c, one, other) => c.config("a", schemas).history(one, other),
  "config.rollback": (c, one, other) => c.config("a", schemas).rollback("max", one, other),
  topic: (c, one, other) => c.topic(one, { ...object(other), wrong: 1 }),
  "topic.publish": (c, one, other) => c.topic("a").publish(one, { ...object(other), wrong: 1 }),
  "topic.publishAll": (c, one, other) => c.topic("a").publishAll(one, { ...object(other), wrong: 1 }),
  "topic.subscribe": (c, one, other) => c.topic("a").subscribe({ ...object(one), wrong: other }),
  "topic.read": (c, one, other) => c.topic("a").read({ from: one, limit: other }),
  "topic.latest": (c, one) => c.topic("a").latest(one),
});
