import { type Conclave, connect } from "@conclave/core";
import { describe, expect, test } from "vitest";
import { type Any, keys, world } from "./kit.ts";

const address = "10.0.0.7:8080";
const circle: Record<string, unknown> = {};
circle["self"] = circle;

/** What no recipe accepts: what is wrong, the call, the error, and what its message must say. */
const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  ["a mutex without a name", (c) => c.mutex(), TypeError, /name of the mutex must be a string, not undefined/],
  ["a mutex with an empty name", (c) => c.mutex(""), RangeError, /name of the mutex.*at least one character, not ""/],
  ["a mutex whose name has NUL", (c) => c.mutex("a\0"), RangeError, /name of the mutex must be text without NUL/],
  ["a mutex whose name is half a character", (c) => c.mutex("\udc00"), RangeError, /name of the mutex.*well-formed/],
  ["a mutex whose name is null", (c) => c.mutex(null), TypeError, /name of the mutex must be a string, not null/],
  ["a mutex with a name too long for a key", (c) => c.mutex("x".repeat(513)), RangeError, /name of the mutex.*bytes/],
  [
    "a prefix too long for a key",
    (c) => c.mutex({ prefix: `${"x".repeat(464)}/` }),
    RangeError,
    /prefix of the mutex must be at most 464 bytes of UTF-8 in this namespace, not 465/,
  ],
  [
    "a service with a name too long for a key",
    (c) => c.service("x".repeat(460)),
    RangeError,
    /name of the service.*464/,
  ],
  [
    "an instance with an id too long for a key",
    (c) => c.service("a").register({ address, id: "x".repeat(503) }),
    RangeError,
    /id of register must make a key of at most 512 bytes, not 513/,
  ],
  ["a prefix without its slash", (c) => c.mutex({ prefix: "locks" }), RangeError, /prefix of the mutex.*ends in "\/"/],
  ["an empty prefix", (c) => c.election({ prefix: "" }), RangeError, /prefix of the election.*ends in "\/", not ""/],
  ["a prefix that is a number", (c) => c.election({ prefix: 5 }), TypeError, /prefix of the election must be a string/],
  ["an object without prefix", (c) => c.mutex({}), TypeError, /prefix of the mutex must be a string, not undefined/],
  ["an election with an empty name", (c) => c.election(""), RangeError, /name of the election/],
  ["a service with an empty name", (c) => c.service(""), RangeError, /name of the service.*at least one character/],
  ["a service with an empty segment", (c) => c.service("a//b"), RangeError, /path of non-empty segments, not "a\/\/b"/],
  ["a service that begins with a slash", (c) => c.service("/a"), RangeError, /path of non-empty segments, not "\/a"/],
  ["a service that ends with a slash", (c) => c.service("a/"), RangeError, /path of non-empty segments, not "a\/"/],
  ["a service that is a number", (c) => c.service(7), TypeError, /name of the service must be a string, not 7/],
  [
    "an unknown option of acquire",
    (c) => c.mutex("a").acquire({ timeoutMs: 5 }),
    TypeError,
    /acquire has no option "ti/,
  ],
  [
    "options of acquire that are a signal's name",
    (c) => c.mutex("a").acquire("signal"),
    TypeError,
    /options of acquire/,
  ],
  ["a signal of tryAcquire that is none", (c) => c.mutex("a").tryAcquire({ signal: 1 }), TypeError, /signal of tryAcq/],
  [
    "an unknown option of run",
    (c) => c.mutex("a").run(() => {}, { value: "x" }),
    TypeError,
    /run has no option "value"/,
  ],
  [
    "work that is no function",
    (c) => c.mutex("a").run("work"),
    TypeError,
    /work of run must be a function, not "work"/,
  ],
  ["an unknown option of queue", (c) => c.mutex("a").queue({ limit: 1 }), TypeError, /queue has no option "limit"/],
  ["a campaign's value that is a number", (c) => c.election("a").campaign({ value: 5 }), TypeError, /value.*a string/],
  ["a campaign's value with NUL", (c) => c.election("a").campaign({ value: "\0" }), RangeError, /value.*without NUL/],
  [
    "an unknown option of campaign",
    (c) => c.election("a").campaign({ name: "x" }),
    TypeError,
    /campaign has no option/,
  ],
  ["a lead that is no function", (c) => c.election("a").run({}), TypeError, /lead of run must be a function/],
  [
    "an unknown option of an election's run",
    (c) => c.election("a").run(() => {}, { a: 1 }),
    TypeError,
    /run has no opt/,
  ],
  ["a value of run that is no text", (c) => c.election("a").run(() => {}, { value: 5 }), TypeError, /value.*a string/],
  [
    "an unknown option of leader",
    (c) => c.election("a").leader({ limit: 2 }),
    TypeError,
    /leader has no option "limit"/,
  ],
  [
    "an unknown option of observe",
    (c) => c.election("a").observe({ from: 1 }).next(),
    TypeError,
    /observe has no option/,
  ],
  ["a registration of nothing", (c) => c.service("a").register(), TypeError, /address of register must be a string/],
  [
    "a registration without address",
    (c) => c.service("a").register({}),
    TypeError,
    /address of register must be a str/,
  ],
  [
    "an empty address",
    (c) => c.service("a").register({ address: "" }),
    RangeError,
    /address of register.*at least one/,
  ],
  ["a weight of NaN", (c) => c.service("a").register({ address, weight: Number.NaN }), RangeError, /weight.*not NaN/],
  ["a weight of -1", (c) => c.service("a").register({ address, weight: -1 }), RangeError, /weight.*0 or more, not -1/],
  [
    "a weight without end",
    (c) => c.service("a").register({ address, weight: Infinity }),
    RangeError,
    /weight of regis/,
  ],
  [
    "a weight in words",
    (c) => c.service("a").register({ address, weight: "2" }),
    TypeError,
    /weight.*a number, not "2"/,
  ],
  ["an empty id", (c) => c.service("a").register({ address, id: "" }), RangeError, /id of register.*at least one/],
  ["an id that is a number", (c) => c.service("a").register({ address, id: 5 }), TypeError, /id of register.*not 5/],
  [
    "an unknown word of register",
    (c) => c.service("a").register({ address, port: 5 }),
    TypeError,
    /register has no opt/,
  ],
  ["metadata that JSON cannot carry", (c) => c.service("a").register({ address, metadata: 5n }), TypeError, /metadata/],
  ["metadata in a circle", (c) => c.service("a").register({ address, metadata: circle }), TypeError, /metadata/],
  [
    "metadata that is a function",
    (c) => c.service("a").register({ address, metadata: () => 1 }),
    TypeError,
    /metadata/,
  ],
  [
    "an unknown option of instances",
    (c) => c.service("a").instances({ deep: true }),
    TypeError,
    /instances has no option/,
  ],
  [
    "recursive in words",
    (c) => c.service("a").instances({ recursive: "no" }),
    TypeError,
    /recursive.*a boolean, not "no"/,
  ],
  ["an unknown option of watch", (c) => c.service("a").watch({ deep: 1 }).next(), TypeError, /no option "deep"/],
  ["an unknown option of session", (c) => c.session({ ttlMs: 5 }), TypeError, /session has no option "ttlMs"/],
  [
    "a signal of session that is none",
    (c) => c.session({ signal: {} }),
    TypeError,
    /signal of session must be an Abort/,
  ],
];

const wrongConnects: [string, (store: unknown) => [unknown, unknown?], typeof TypeError, RegExp][] = [
  ["no store", () => [undefined], TypeError, /store must be a connector or a backend, not undefined/],
  ["a store that is text", () => ["etcd://"], TypeError, /store must be a connector or a backend/],
  ["a store that is neither", () => [{}], TypeError, /store must be a connector or a backend/],
  ["options that are text", (store) => [store, "shop"], TypeError, /options of connect must be an object/],
  [
    "an unknown option",
    (store) => [store, { nameSpace: "a" }],
    TypeError,
    /connect has no option "nameSpace".*namespace/,
  ],
  ["an empty namespace", (store) => [store, { namespace: "" }], RangeError, /namespace.*at least one character/],
  [
    "a namespace too long for a key",
    (store) => [store, { namespace: "é".repeat(101) }],
    RangeError,
    /namespace must be at most 200 bytes of UTF-8, not 202/,
  ],
  ["a namespace with NUL", (store) => [store, { namespace: "\0" }], RangeError, /namespace must be text without NUL/],
  ["a time to live of 0", (store) => [store, { ttlMs: 0 }], RangeError, /ttlMs must be more than 0.*not 0/],
  ["a time to live of NaN", (store) => [store, { ttlMs: Number.NaN }], RangeError, /ttlMs must be.*not NaN/],
  ["a time to live in words", (store) => [store, { ttlMs: "10s" }], TypeError, /ttlMs.*not "10s"/],
  ["an owner that is a number", (store) => [store, { owner: 5 }], TypeError, /owner must be a string/],
  ["onWarning that is none", (store) => [store, { onWarning: "log" }], TypeError, /onWarning must be a function/],
  ["a signal that is none", (store) => [store, { signal: 5 }], TypeError, /signal of connect must be an AbortSignal/],
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
    expect([await keys(other), backend.count("grant"), backend.count("commit")]).toEqual([[], 0, 0]);
  });

  test("updates, picks, proclamations and callbacks that make no sense", async () => {
    const { backend } = await world();
    await using conclave = await connect(backend);
    const registration: Any = await conclave.service("a").register({ address });
    const leadership: Any = await conclave.election("a").campaign({ value: "before" });
    const instances: Any = await conclave.service("a").instances();
    const { revision } = await conclave.kv.list("");
    await expect(registration.update({ weight: -1 })).rejects.toThrow(/weight of update must be 0 or more, not -1/);
    await expect(registration.update({ adress: "b" })).rejects.toThrow(/update has no option "adress"/);
    await expect(registration.update({}, { timeoutMs: 5 })).rejects.toThrow(/update has no option "timeoutMs"/);
    await expect(registration.update({ address: "" })).rejects.toThrow(/address of update/);
    await expect(leadership.proclaim(5)).rejects.toThrow(/value.* must be a string/);
    await expect(leadership.proclaim("a", { value: 5 })).rejects.toThrow(/proclaim has no option "value"/);
    expect(() => instances.pick("best")).toThrow(/strategy must be one of round-robin, .*sticky, not "best"/);
    expect(() => instances.pick("toString")).toThrow(RangeError);
    expect(() => instances.pick()).toThrow(RangeError);
    expect(() => instances.pick("sticky")).toThrow(/key of a sticky pick must be a string, not undefined/);
    expect(() => instances.pick("consistent-hash", 5)).toThrow(/key of a consistent-hash pick must be a string, not 5/);
    expect(() => instances.subscribe({ begun: () => {} })).toThrow(/subscribe has no option "begun"/);
    expect(() => instances.subscribe(null)).toThrow(/callbacks of subscribe must be an object, not null/);
    expect(() => instances.subscribe({ started: "log" })).toThrow(/started of subscribe must be a function/);
    expect((await conclave.kv.list("")).revision).toBe(revision);
  });

  test.each(wrongConnects)("connecting with %s", async (_, parameters, type, message) => {
    const { store } = await world();
    const error = await connect(...(parameters(store) as [Any, Any])).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
  });

  test("anything on an aborted signal, with the signal's own reason", async () => {
    const { backend, other, store } = await world();
    await using conclave = await connect(backend);
    const options = { signal: AbortSignal.abort("enough") };
    const registration = await conclave.service("before").register({ address });
    const calls = [
      () => connect(store, options),
      () => conclave.mutex("a").acquire(options),
      () => conclave.mutex("a").tryAcquire(options),
      () => conclave.mutex("a").run(() => {}, options),
      () => conclave.mutex("a").queue(options),
      () => conclave.election("a").campaign(options),
      () => conclave.election("a").run(() => {}, options),
      () => conclave.election("a").leader(options),
      () => conclave.election("a").observe(options).next(),
      () => conclave.service("a").register({ address, ...options }),
      () => conclave.service("a").instances(options),
      () => conclave.service("a").watch(options).next(),
      () => registration.update({ address: "b" }, options),
    ];
    const before = await other.kv.list("");
    for (const call of calls) await expect(call()).rejects.toBe("enough");
    expect((await other.kv.list("")).revision).toBe(before.revision);
  });
});
