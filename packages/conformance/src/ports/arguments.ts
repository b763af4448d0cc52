import type { Backend, Condition, Operation, Read } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { put } from "../entries.ts";

type Kind = typeof TypeError | typeof RangeError;

/** That a call rejects, rather than throws, with a mistake of this kind whose message says all of this. */
async function mistake(kind: Kind, call: () => Promise<unknown>, ...says: readonly string[]): Promise<void> {
  const promise = call();
  const error: unknown = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(kind);
  for (const text of says) expect((error as Error).message).toContain(text);
}

/** What is no key, and what the refusal says. */
function badKeys(maxBytes: number): readonly (readonly [Kind, unknown, ...string[]])[] {
  return [
    [RangeError, "", '""', "at least one character"],
    [RangeError, "a\0b", "NUL"],
    [RangeError, "a\ud800", "surrogate"],
    [RangeError, "\udc00a", "surrogate"],
    [RangeError, "x".repeat(maxBytes + 1), String(maxBytes), String(maxBytes + 1)],
    [RangeError, "é".repeat(maxBytes / 2 + 1), String(maxBytes), String(maxBytes + 2)],
    [TypeError, undefined, "string", "undefined"],
    [TypeError, 7, "string", "7"],
  ];
}

/** Each way in which a call takes a key, with what its refusal names. */
function takersOfKeys({
  kv,
  watches,
}: Backend): readonly (readonly [string, string, (key: string) => Promise<unknown>])[] {
  const then = (operation: Operation) => kv.commit({ then: [operation] });
  const under = (condition: Condition) => kv.commit({ if: [condition], then: [] });
  return [
    ["get", "key", (key) => kv.get(key)],
    ["a watch", "key", (key) => watches.watch({ key })],
    ["a put", "put of txn.then[0]", (key) => then(put(key, ""))],
    ["a delete", "delete of txn.then[0]", (key) => then({ delete: key })],
    ["a get in a transaction", "get of txn.then[0]", (key) => then({ get: key })],
    ["a get in else", "get of txn.else[0]", (key) => kv.commit({ then: [], else: [{ get: key }] })],
    ["a condition", "key of txn.if[0]", (key) => under({ key, exists: true })],
    ["a condition on created", "key of txn.if[0]", (key) => under({ key, created: 1n })],
  ];
}

function takersOfPrefixes({
  kv,
  watches,
}: Backend): readonly (readonly [string, (prefix: string) => Promise<unknown>])[] {
  return [
    ["prefix", (prefix) => kv.list(prefix)],
    ["prefix", (prefix) => watches.watch({ prefix })],
    ["list of txn.then[0]", (list) => kv.commit({ then: [{ list }] })],
    ["prefix of txn.if[0]", (prefix) => kv.commit({ if: [{ prefix, empty: true }], then: [] })],
    ["prefix of txn.if[0]", (prefix) => kv.commit({ if: [{ prefix, noneModifiedAfter: 1n }], then: [] })],
  ];
}

/** Arguments that are mistakes: refused before anything is sent, in words that help. */
export function badArguments(suite: Suite): void {
  for (const [index, how] of [
    "get",
    "a watch",
    "a put",
    "a delete",
    "a get in a transaction",
    "a get in else",
    "a condition",
    "a condition on created",
  ].entries()) {
    suite.it(`refuses what is no key in ${how}, and says why`, async (_, scene) => {
      const backend = await scene.connectUnscoped();
      const [name, argument, call] = takersOfKeys(backend)[index] ?? [];
      expect(name).toBe(how);
      for (const [kind, key, ...says] of badKeys(backend.limits.maxKeyBytes)) {
        await mistake(kind, () => (call as (key: unknown) => Promise<unknown>)(key), argument as string, ...says);
      }
    });
  }

  suite.it("refuses what is no prefix, and takes the empty one for everything", async (backend, scene) => {
    const unscoped = await scene.connectUnscoped();
    for (const [argument, call] of takersOfPrefixes(unscoped)) {
      for (const [kind, prefix, ...says] of badKeys(unscoped.limits.maxKeyBytes)) {
        if (prefix !== "") await mistake(kind, () => call(prefix as string), argument, ...says);
      }
    }
    expect((await backend.kv.list("")).entries).toEqual([]);
  });

  for (const ttlMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, 1e12]) {
    suite.it(`refuses to grant a time to live of ${ttlMs} ms`, async (_, scene) => {
      const { leases, limits } = await scene.connectUnscoped();
      const says = ["ttlMs", String(ttlMs), String(limits.maxTtlMs)];
      await mistake(RangeError, () => leases.grant({ ttlMs }), ...says);
    });
  }

  suite.it("refuses a time to live that is no number, or none at all", async (_, scene) => {
    const { leases } = await scene.connectUnscoped();
    for (const options of [{ ttlMs: "1000" }, { ttlMs: 1_000n }, {}, undefined]) {
      await mistake(TypeError, () => leases.grant(options as never), "ttlMs", "number");
    }
  });

  suite.it("refuses options that it does not know, and names those it does", async (_, scene) => {
    const { kv, leases, watches } = await scene.connectUnscoped();
    const options = { timeout: 1 } as never;
    const lease = await leases.grant({ ttlMs: scene.timing.ttlMs });
    for (const call of [
      () => kv.get("a", options),
      () => kv.list("a", options),
      () => kv.commit({ then: [] }, options),
      () => leases.grant({ ttlMs: scene.timing.ttlMs, timeout: 1 } as never),
      () => lease.keepAlive(options),
      () => lease.revoke(options),
      () => watches.watch({ prefix: "" }, options),
    ]) {
      await mistake(TypeError, call, '"timeout"', "timeoutMs");
    }
    await lease.revoke();
  });

  suite.it("refuses a misspelt part of a transaction, a condition, an operation or a range", async (_, scene) => {
    const { kv, watches } = await scene.connectUnscoped();
    await mistake(TypeError, () => kv.commit({ then: [], when: [] } as never), '"when"');
    await mistake(TypeError, () => kv.commit({ if: [{ key: "a", exist: true } as never], then: [] }), '"exist"');
    await mistake(TypeError, () => kv.commit({ then: [{ list: "", order_: "key" } as never] }), '"order_"');
    await mistake(TypeError, () => kv.commit({ then: [{ set: "a" } as never] }), "txn.then[0]");
    await mistake(TypeError, () => watches.watch({ keys: "a" } as never), '"keys"');
  });

  suite.it("refuses a deadline that is no length of time, and a signal that is none", async (_, scene) => {
    const { kv } = await scene.connectUnscoped();
    for (const timeoutMs of [0, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
      await mistake(RangeError, () => kv.get("a", { timeoutMs }), "timeoutMs of get", String(timeoutMs));
    }
    await mistake(TypeError, () => kv.get("a", { signal: {} as never }), "signal of get", "AbortSignal");
  });

  suite.it("refuses a selection that makes no sense", async (_, scene) => {
    const { kv } = await scene.connectUnscoped();
    for (const limit of [0, -1, 1.5, Number.NaN]) {
      await mistake(RangeError, () => kv.list("", { limit }), "limit", String(limit));
    }
    await mistake(RangeError, () => kv.list("", { order: "random" as never }), "order", '"random"', '"oldest"');
    await mistake(TypeError, () => kv.list("", { createdBefore: 5 as never }), "createdBefore", "bigint");
    await mistake(TypeError, () => kv.list("", { keysOnly: 1 as never }), "keysOnly", "boolean");
    await mistake(RangeError, () => kv.list("", { startAfter: "a", order: "newest" }), "order", "startAfter");
  });
}

/** Transactions that some store would refuse, which therefore every store refuses. */
export function badTransactions(suite: Suite): void {
  suite.it("refuses a value over its limit, and a transaction over its limit in all", async (_, scene) => {
    const { kv, limits } = await scene.connectUnscoped();
    const value = new Uint8Array(limits.maxValueBytes + 1);
    await mistake(
      RangeError,
      () => kv.commit({ then: [{ put: "a", value }] }),
      "txn.then[0]",
      `${limits.maxValueBytes}`,
    );
    const half = new Uint8Array(Math.ceil(limits.maxTxnBytes / 2));
    const then = [
      { put: "a", value: half },
      { put: "b", value: half },
    ];
    await mistake(RangeError, () => kv.commit({ then }), "txn.then", String(limits.maxTxnBytes));
  });

  suite.it("refuses a value that is no Uint8Array", async (_, scene) => {
    const { kv } = await scene.connectUnscoped();
    for (const value of ["text", undefined, [1, 2], new ArrayBuffer(2)]) {
      await mistake(TypeError, () => kv.commit({ then: [{ put: "a", value: value as never }] }), "value", "Uint8Array");
    }
  });

  suite.it("never shows a value in a message", async (_, scene) => {
    const { kv } = await scene.connectUnscoped();
    const error: unknown = await kv
      .commit({ then: [{ put: "a", value: { secret: "hunter2" } as never }] })
      .catch((reason: unknown) => reason);
    expect(String(error)).not.toContain("hunter2");
  });

  suite.it("refuses more operations, reads or conditions than its limits say", async (_, scene) => {
    const { kv, limits } = await scene.connectUnscoped();
    const many = Array.from({ length: limits.maxOperations + 1 }, (_, index) => ({ get: String(index) }));
    const says = [String(limits.maxOperations), String(many.length)];
    await mistake(RangeError, () => kv.commit({ then: many }), "txn.then", ...says);
    await mistake(RangeError, () => kv.commit({ then: [], else: many }), "txn.else", ...says);
    const conditions = many.map(({ get }) => ({ key: get, exists: true }));
    await mistake(RangeError, () => kv.commit({ if: conditions, then: [] }), "txn.if", ...says);
  });

  suite.it("refuses to write one key twice", async (_, scene) => {
    const { kv } = await scene.connectUnscoped();
    const a = `${scene.prefix}a`;
    for (const second of [put(a, "2"), { delete: a }]) {
      await mistake(RangeError, () => kv.commit({ then: [put(a, "1"), second] }), "txn.then[1]", "twice");
    }
    expect(await kv.get(a)).toBeUndefined();
  });

  suite.it("refuses to attach two leases in one transaction", async (_, scene) => {
    const { kv, leases } = await scene.connectUnscoped();
    const [one, two] = [
      await leases.grant({ ttlMs: scene.timing.ttlMs }),
      await leases.grant({ ttlMs: scene.timing.ttlMs }),
    ];
    const [a, b] = [`${scene.prefix}a`, `${scene.prefix}b`];
    await mistake(RangeError, () => kv.commit({ then: [put(a, "", one), put(b, "", two)] }), "one lease", "2");
    expect((await kv.list(scene.prefix)).entries).toEqual([]);
    await Promise.all([one.revoke(), two.revoke()]);
  });

  suite.it("refuses to write in else", async (_, scene) => {
    const { kv } = await scene.connectUnscoped();
    for (const write of [put("a", ""), { delete: "a" }]) {
      await mistake(TypeError, () => kv.commit({ then: [], else: [write as unknown as Read] }), "txn.else[0]");
    }
  });

  suite.it("refuses branches that are no arrays", async (_, scene) => {
    const { kv } = await scene.connectUnscoped();
    for (const txn of [
      undefined,
      null,
      {},
      { then: {} },
      { then: [], if: {} },
      { then: [], else: "a" },
      { then: [null] },
    ]) {
      await mistake(TypeError, () => kv.commit(txn as never), "txn");
    }
  });
}
