import { type Backend, checked, encode } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { type Any, keys, world } from "./kit.ts";

const value = new Uint8Array(1);
const many = (count: number) => Array.from({ length: count }, (_, index) => ({ get: `k${index}` }));
const put = (key: string, more: object = {}) => ({ put: key, value, ...more });

/** Calls that no store should ever see: what is wrong, the call, the error, and what its message must say. */
const wrong: [string, (backend: Backend & Any) => Promise<unknown>, typeof TypeError, RegExp][] = [
  ["an empty key", (b) => b.kv.get(""), RangeError, /key must be a name of at least one character, not ""/],
  ["a key with NUL", (b) => b.kv.get("a\0b"), RangeError, /key must be text without NUL, not "a\\u0000b"/],
  ["a key with half a character", (b) => b.kv.get("a\ud800"), RangeError, /key must be well-formed Unicode/],
  ["a key of 513 bytes", (b) => b.kv.get(`${"é".repeat(256)}x`), RangeError, /key must be at most 512 bytes.*513/],
  ["a key that is a number", (b) => b.kv.get(5), TypeError, /key must be a string, not 5/],
  ["no key", (b) => b.kv.get(), TypeError, /key must be a string, not undefined/],
  ["a prefix with NUL", (b) => b.kv.list("\0"), RangeError, /prefix must be text without NUL/],
  ["a prefix of 513 bytes", (b) => b.kv.list("x".repeat(513)), RangeError, /prefix must be at most 512 bytes.*513/],
  [
    "an unknown option of get",
    (b) => b.kv.get("a", { timeout: 5 }),
    TypeError,
    /get has no option "timeout".*timeoutMs/,
  ],
  ["options that are no object", (b) => b.kv.get("a", 5), TypeError, /options of get must be an object, not 5/],
  ["options that are null", (b) => b.kv.get("a", null), TypeError, /options of get must be an object, not null/],
  ["a signal that is none", (b) => b.kv.get("a", { signal: {} }), TypeError, /signal of get must be an AbortSignal/],
  [
    "a deadline of 0",
    (b) => b.kv.get("a", { timeoutMs: 0 }),
    RangeError,
    /timeoutMs of get must be more than 0.*not 0/,
  ],
  ["an order that is none", (b) => b.kv.list("", { order: "up" }), RangeError, /order of list.*not "up"/],
  ["a limit of 0", (b) => b.kv.list("", { limit: 0 }), RangeError, /limit of list must be a positive whole.*not 0/],
  ["a limit of 1.5", (b) => b.kv.list("", { limit: 1.5 }), RangeError, /limit of list.*not 1.5/],
  [
    "a revision that is a number",
    (b) => b.kv.list("", { createdBefore: 5 }),
    TypeError,
    /createdBefore.*bigint, not 5/,
  ],
  ["keysOnly that is text", (b) => b.kv.list("", { keysOnly: "no" }), TypeError, /keysOnly of list must be a boolean/],
  [
    "startAfter in an order by creation",
    (b) => b.kv.list("", { order: "oldest", startAfter: "a" }),
    RangeError,
    /order of list must be "key" with startAfter, not "oldest"/,
  ],
  ["a time to live of 0", (b) => b.leases.grant({ ttlMs: 0 }), RangeError, /ttlMs must be more than 0.*not 0/],
  ["a time to live of -1", (b) => b.leases.grant({ ttlMs: -1 }), RangeError, /ttlMs must be more than 0.*not -1/],
  ["a time to live of NaN", (b) => b.leases.grant({ ttlMs: Number.NaN }), RangeError, /ttlMs must be.*not NaN/],
  ["a time to live without end", (b) => b.leases.grant({ ttlMs: Infinity }), RangeError, /ttlMs must.*not Infinity/],
  [
    "a time to live of 30 years",
    (b) => b.leases.grant({ ttlMs: 1e12 }),
    RangeError,
    /at most 86400000.*not 1000000000000/,
  ],
  ["a time to live in words", (b) => b.leases.grant({ ttlMs: "5s" }), TypeError, /ttlMs must be a number.*not "5s"/],
  ["no time to live", (b) => b.leases.grant(), TypeError, /ttlMs must be a number of milliseconds, not undefined/],
  ["an unknown option of grant", (b) => b.leases.grant({ ttl: 5 }), TypeError, /grant has no option "ttl".*ttlMs/],
  ["a transaction that is none", (b) => b.kv.commit(5), TypeError, /txn must be an object with then/],
  ["a transaction without then", (b) => b.kv.commit({}), TypeError, /txn.then must be an array, not undefined/],
  [
    "an unknown branch",
    (b) => b.kv.commit({ then: [], finally: [] }),
    TypeError,
    /no option "finally".*if, then, else/,
  ],
  ["101 operations", (b) => b.kv.commit({ then: many(101) }), RangeError, /txn.then must have at most 100.*101/],
  [
    "101 reads in else",
    (b) => b.kv.commit({ then: [], else: many(101) }),
    RangeError,
    /txn.else must have at most 100/,
  ],
  [
    "101 conditions",
    (b) => b.kv.commit({ if: many(101).map(({ get: key }) => ({ key, exists: true })), then: [] }),
    RangeError,
    /txn.if must have at most 100 items, not 101/,
  ],
  [
    "one key put twice",
    (b) => b.kv.commit({ then: [put("a"), put("a")] }),
    RangeError,
    /then\[1\].*"a" is written twice/,
  ],
  [
    "a key put and deleted",
    (b) => b.kv.commit({ then: [put("a"), { delete: "a" }] }),
    RangeError,
    /"a" is written twice/,
  ],
  [
    "a put in else",
    (b) => b.kv.commit({ then: [], else: [put("a")] }),
    TypeError,
    /txn.else\[0\] must be a get or a list/,
  ],
  [
    "a delete in else",
    (b) => b.kv.commit({ then: [], else: [{ delete: "a" }] }),
    TypeError,
    /txn.else\[0\] must be a get/,
  ],
  [
    "an operation that is none",
    (b) => b.kv.commit({ then: [{ touch: "a" }] }),
    TypeError,
    /txn.then\[0\] must be a put/,
  ],
  ["a null operation", (b) => b.kv.commit({ then: [null] }), TypeError, /txn.then\[0\] must be an operation, not null/],
  [
    "an operation left out",
    (b) => b.kv.commit({ then: new Array(2) }),
    TypeError,
    /txn.then\[0\] must be an operation, not undefined/,
  ],
  ["two operations in one", (b) => b.kv.commit({ then: [put("a", { delete: "b" })] }), TypeError, /no option "delete"/],
  ["a value that is text", (b) => b.kv.commit({ then: [{ put: "a", value: "x" }] }), TypeError, /must be a Uint8Array/],
  [
    "a value over the limit",
    (b) => b.kv.commit({ then: [{ put: "a", value: new Uint8Array(512 * 1024 + 1) }] }),
    RangeError,
    /value of txn.then\[0\] must be at most 524288 bytes, not 524289/,
  ],
  [
    "a transaction over the limit",
    (b) => b.kv.commit({ then: ["a", "b"].map((key) => ({ put: key, value: new Uint8Array(300 * 1024) })) }),
    RangeError,
    /txn.then must be at most 524288 bytes, not 614402/,
  ],
  [
    "a lease by its name",
    (b) => b.kv.commit({ then: [put("a", { lease: "1f" })] }),
    TypeError,
    /lease of txn.then\[0\]/,
  ],
  ["a condition that is none", (b) => b.kv.commit({ if: [{ value: 5 }], then: [] }), TypeError, /no option "value"/],
  ["a null condition", (b) => b.kv.commit({ if: [null], then: [] }), TypeError, /txn.if\[0\] must be a condition/],
  [
    "a condition on nothing",
    (b) => b.kv.commit({ if: [{ exists: true }], then: [] }),
    TypeError,
    /txn.if\[0\] must be one/,
  ],
  [
    "a condition of a key alone",
    (b) => b.kv.commit({ if: [{ key: "a" }], then: [] }),
    TypeError,
    /txn.if\[0\] must be one/,
  ],
  ["exists as text", (b) => b.kv.commit({ if: [{ key: "a", exists: "no" }], then: [] }), TypeError, /exists.*boolean/],
  ["created as number", (b) => b.kv.commit({ if: [{ key: "a", created: 1 }], then: [] }), TypeError, /created.*bigint/],
  ["empty: false", (b) => b.kv.commit({ if: [{ prefix: "a", empty: false }], then: [] }), TypeError, /empty.*true/],
  [
    "noneModifiedAfter as number",
    (b) => b.kv.commit({ if: [{ prefix: "a", noneModifiedAfter: 1 }], then: [] }),
    TypeError,
    /noneModifiedAfter of txn.if\[0\].*bigint/,
  ],
  [
    "noneModifiedAfter of a key",
    (b) => b.kv.commit({ if: [{ key: "a", noneModifiedAfter: 1n }], then: [] }),
    TypeError,
    /txn.if\[0\] must be one condition/,
  ],
  [
    "two conditions on a prefix in one",
    (b) => b.kv.commit({ if: [{ prefix: "a", empty: true, noneModifiedAfter: 1n }], then: [] }),
    TypeError,
    /txn.if\[0\] must be one condition/,
  ],
  [
    "two conditions in one",
    (b) => b.kv.commit({ if: [{ key: "a", exists: false, created: 5n }], then: [put("a")] }),
    TypeError,
    /txn.if\[0\] must be one condition/,
  ],
  [
    "a condition on a key and a prefix",
    (b) => b.kv.commit({ if: [{ prefix: "b", empty: true, key: "a" }], then: [put("a")] }),
    TypeError,
    /txn.if\[0\] must be one condition/,
  ],
  ["a watch of nothing", (b) => b.watches.watch({}), TypeError, /key must be a string, not undefined/],
  ["a watch without a range", (b) => b.watches.watch(), TypeError, /range/],
  ["a watch of an empty key", (b) => b.watches.watch({ key: "" }), RangeError, /key must be a name of at least one/],
  ["a watch of two ranges", (b) => b.watches.watch({ key: "a", prefix: "b" }), TypeError, /range/],
  [
    "an unknown range",
    (b) => b.watches.watch({ keys: ["a"] }),
    TypeError,
    /has no option "keys"; it takes key, prefix/,
  ],
];

describe("every backend refuses, before any of it is sent,", () => {
  test.each(wrong)("%s", async (_, call, type, message) => {
    const { other, clock } = await world();
    const error = await call(other).then(
      () => undefined,
      (reason: unknown) => reason,
    );
    expect(error).toBeInstanceOf(type);
    expect((error as Error).message).toMatch(message);
    expect([await keys(other), clock.pendingTimers]).toEqual([[], 0]);
  });

  test("a transaction with keys on two leases", async () => {
    const { other } = await world();
    const leases = await Promise.all([1, 2].map(() => other.leases.grant({ ttlMs: 1_000 })));
    const commit = other.kv.commit({ then: leases.map((lease, index) => put(`k${index}`, { lease })) });
    await expect(commit).rejects.toThrow(new RangeError("txn.then must attach at most one lease, not 2"));
  });

  test("any call on an aborted signal or after close, with that reason, so that an adapter never sees it", async () => {
    const { backend } = await world();
    const options = { signal: AbortSignal.abort("enough") };
    const before = checked(backend);
    const lease = await before.leases.grant({ ttlMs: 1_000 });
    for (const call of calls(before, lease)) await expect(call(options)).rejects.toBe("enough");
    await before[Symbol.asyncDispose]();
    for (const call of calls(before, lease)) await expect(call({})).rejects.toMatchObject({ code: "CLOSED" });
    expect(backend.calls.map(({ name }) => name)).toEqual(["grant"]);
  });

  test("any call after it was closed, with CLOSED", async () => {
    const { other, store } = await world();
    const lease = await other.leases.grant({ ttlMs: 1_000 });
    await Promise.all([other[Symbol.asyncDispose](), other[Symbol.asyncDispose]()]);
    for (const call of calls(other, lease)) await expect(call({})).rejects.toMatchObject({ code: "CLOSED" });
    expect(await keys(await store.connect())).toEqual([]);
  });
});

function calls(backend: Backend, lease: Any): ((options: Any) => Promise<unknown>)[] {
  return [
    (options) => backend.kv.get("a", options),
    (options) => backend.kv.list("a", options),
    (options) => backend.kv.commit({ then: [put("a")] }, options),
    (options) => backend.leases.grant({ ttlMs: 1_000, ...options }),
    (options) => backend.watches.watch({ key: "a" }, options),
    (options) => lease.keepAlive(options),
    (options) => lease.revoke(options),
  ];
}

test("every backend takes what is just within the limits", async () => {
  const { other } = await world();
  const key = "é".repeat(256);
  await other.kv.commit({ then: [{ put: key, value: new Uint8Array(512 * 1024 - 512) }] });
  await other.kv.commit({
    if: many(100).map(({ get }) => ({ key: get, exists: false })),
    then: many(100),
    else: many(100),
  });
  await other.kv.commit({ then: [] });
  await other.kv.commit({ if: undefined, then: [{ put: "a", value: encode(""), lease: undefined }], else: undefined });
  await other.leases.grant({ ttlMs: 0.5 });
  expect(await keys(other)).toEqual(["a", key]);
});
