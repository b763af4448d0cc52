import { memory } from "@conclave/backend-memory";
import { counting } from "@conclave/conformance";
import { encode } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";

describe("counting", () => {
  test("counts each call by its kind, and leaves out what was not called", async () => {
    await using counted = counting(await memory().connect());
    expect(counted.snapshot()).toEqual({});
    await counted.kv.commit({ then: [{ put: "a", value: encode("1") }, { get: "a" }] });
    await counted.kv.commit({ then: [] });
    await counted.kv.get("a");
    await counted.kv.list("");
    const lease = await counted.leases.grant({ ttlMs: 1_000 });
    await lease.keepAlive();
    await lease.keepAlive();
    await lease.revoke();
    await using _watch = await counted.watches.watch({ prefix: "" });
    expect(counted.snapshot()).toEqual({ commit: 2, get: 1, list: 1, grant: 1, keepAlive: 2, revoke: 1, watch: 1 });
  });

  test("starts from nothing after a reset, and leaves earlier snapshots alone", async () => {
    await using counted = counting(await memory().connect());
    await counted.kv.get("a");
    const before = counted.snapshot();
    counted.reset();
    expect(counted.snapshot()).toEqual({});
    expect(before).toEqual({ get: 1 });
  });

  test("tells what is still under way, whatever was reset", async () => {
    await using counted = counting(await memory().connect());
    await counted.kv.get("a");
    counted.reset();
    const calls = [counted.kv.get("a"), counted.kv.list("")];
    await new Promise(setImmediate);
    expect(counted.activity().called).toBe(3);
    await Promise.all(calls);
    expect(counted.activity()).toEqual({ called: 3, answered: 3 });
  });

  test("counts calls that the store refuses, and none that is never sent", async () => {
    await using counted = counting(await memory().connect());
    await expect(counted.kv.get("")).rejects.toThrow(RangeError);
    expect(counted.snapshot()).toEqual({});
    const lease = await counted.leases.grant({ ttlMs: 1_000 });
    await lease.revoke();
    await expect(lease.keepAlive()).rejects.toThrow();
    expect(counted.snapshot()).toEqual({ grant: 1, revoke: 1, keepAlive: 1 });
  });
});
