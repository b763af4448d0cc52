import { type Backend, isCoordinationError, type Lease } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { fill, numbered, present, put, texts, write } from "../entries.ts";

/** That a call fails, with this code. */
export async function failsWith(code: string, call: Promise<unknown>): Promise<void> {
  const outcome = await call.then(
    () => "it went well",
    (error: unknown) => (isCoordinationError(error) ? error.code : error),
  );
  expect(outcome).toBe(code);
}

/** A lease that outlives its test, unless the test ends it. */
function lasting({ leases, limits }: Backend): Promise<Lease> {
  return leases.grant({ ttlMs: Math.min(60_000, limits.maxTtlMs) });
}

/** Leases while their granter is alive: what they hold, and how they end. Time is in `expiry.ts`. */
export function leases(suite: Suite): void {
  suite.it("grants at least the time to live that was asked for", async ({ leases }, scene) => {
    for (const ttlMs of [scene.timing.ttlMs, scene.timing.ttlMs * 2, scene.timing.ttlMs + 1]) {
      const lease = await leases.grant({ ttlMs });
      expect(lease.ttlMs).toBeGreaterThanOrEqual(ttlMs);
      await lease.revoke();
    }
  });

  suite.it("raises a time to live that is too short to the least that its limits name", async ({ leases, limits }) => {
    const lease = await leases.grant({ ttlMs: 1 });
    expect(lease.ttlMs).toBeGreaterThanOrEqual(Math.max(1, limits.minTtlMs));
    await lease.revoke();
  });

  suite.it("gives every lease an id of its own", async (backend, scene) => {
    const other = await scene.connect();
    const granted = await Promise.all(numbered(20).map((_, index) => lasting(index % 2 === 0 ? backend : other)));
    for (const { id } of granted) expect(id).toMatch(/./);
    expect(new Set(granted.map((lease) => lease.id)).size).toBe(granted.length);
    await Promise.all(granted.map((lease) => lease.revoke()));
  });

  suite.it("shows on an entry which lease it lives on", async (backend) => {
    const { kv } = backend;
    const lease = await lasting(backend);
    await write(kv, { key: "" }, lease);
    expect((await present(kv, "key")).lease).toBe(lease.id);
    expect((await kv.list("")).entries[0]?.lease).toBe(lease.id);
    await lease.revoke();
  });

  suite.it("answers a keep-alive with a time to live no shorter than was asked for", async ({ leases }, scene) => {
    const lease = await leases.grant({ ttlMs: scene.timing.ttlMs });
    expect(await lease.keepAlive()).toBeGreaterThanOrEqual(scene.timing.ttlMs);
    expect(await lease.keepAlive()).toBeGreaterThanOrEqual(scene.timing.ttlMs);
    await lease.revoke();
  });

  suite.it("removes the keys of a revoked lease at once, for every process", async (backend, scene) => {
    const { kv } = backend;
    const other = await scene.connect();
    const lease = await lasting(backend);
    await write(kv, { a: "", "b/c": "" }, lease);
    await write(kv, { stays: "" });
    await lease.revoke();
    expect(await kv.get("a")).toBeUndefined();
    expect(await texts(kv)).toEqual({ stays: "" });
    expect(await texts(other.kv)).toEqual({ stays: "" });
  });

  suite.it("removes many keys of a lease, written in several commits", async (backend) => {
    const { kv } = backend;
    const lease = await lasting(backend);
    const keys = numbered(150, "leased/");
    for (const part of [keys.slice(0, 90), keys.slice(90)]) {
      await kv.commit({ then: part.map((key) => put(key, "", lease)) });
    }
    expect((await kv.list("leased/")).entries).toHaveLength(150);
    await lease.revoke();
    expect(await texts(kv)).toEqual({});
  });

  suite.it("leaves the keys of other leases when one is revoked", async (backend, scene) => {
    const { kv } = backend;
    const other = await scene.connect();
    const granted = [await lasting(backend), await lasting(backend)] as const;
    const third = await lasting(other);
    await write(kv, { a: "" }, granted[0]);
    await write(kv, { b: "" }, granted[1]);
    await write(other.kv, { c: "" }, third);
    await granted[0].revoke();
    expect(await texts(kv)).toEqual({ b: "", c: "" });
    await Promise.all([granted[1].revoke(), third.revoke()]);
  });

  suite.it("takes it well when a lease is revoked twice, even at the same time", async (backend) => {
    const lease = await lasting(backend);
    await Promise.all([lease.revoke(), lease.revoke()]);
    await lease.revoke();
  });

  suite.it("answers a keep-alive of a revoked lease with LEASE_LOST", async (backend) => {
    const lease = await lasting(backend);
    await lease.revoke();
    await failsWith("LEASE_LOST", lease.keepAlive());
    await failsWith("LEASE_LOST", lease.keepAlive());
  });

  suite.it("applies nothing of a transaction that attaches a revoked lease", async (backend) => {
    const { kv } = backend;
    await write(kv, { there: "before" });
    const lease = await lasting(backend);
    await lease.revoke();
    const then = [put("plain", ""), put("leased", "", lease), { delete: "there" }];
    await failsWith("LEASE_LOST", kv.commit({ then }));
    await failsWith("LEASE_LOST", kv.commit({ if: [{ key: "there", exists: true }], then }));
    expect(await texts(kv)).toEqual({ there: "before" });
  });

  suite.it("takes a key off its lease when it is written without one", async (backend) => {
    const { kv } = backend;
    const lease = await lasting(backend);
    await write(kv, { key: "leased", other: "" }, lease);
    await write(kv, { key: "free" });
    expect((await present(kv, "key")).lease).toBeUndefined();
    await lease.revoke();
    expect(await texts(kv)).toEqual({ key: "free" });
  });

  suite.it("moves a key to the lease it was last written with", async (backend) => {
    const { kv } = backend;
    const [from, to] = [await lasting(backend), await lasting(backend)];
    await write(kv, { key: "1" }, from);
    await write(kv, { key: "2" }, to);
    expect((await present(kv, "key")).lease).toBe(to.id);
    await from.revoke();
    expect(await texts(kv)).toEqual({ key: "2" });
    await to.revoke();
    expect(await texts(kv)).toEqual({});
  });

  suite.it("puts a key that had no lease onto one", async (backend) => {
    const { kv } = backend;
    const lease = await lasting(backend);
    await write(kv, { key: "free" });
    await write(kv, { key: "leased" }, lease);
    expect((await present(kv, "key")).lease).toBe(lease.id);
    await lease.revoke();
    expect(await texts(kv)).toEqual({});
  });

  suite.it("keeps the incarnation of a key that is written again with the same lease", async (backend) => {
    const { kv } = backend;
    const lease = await lasting(backend);
    const created = await write(kv, { key: "1" }, lease);
    const modified = await write(kv, { key: "2" }, lease);
    expect(await present(kv, "key")).toMatchObject({ created, modified, lease: lease.id });
    await lease.revoke();
  });

  suite.it("leaves a key that was deleted and written anew, when the lease of its past ends", async (backend) => {
    const { kv } = backend;
    const [past, present] = [await lasting(backend), await lasting(backend)];
    await write(kv, { free: "1", moved: "1" }, past);
    await kv.commit({ then: [{ delete: "free" }, { delete: "moved" }] });
    await write(kv, { free: "2" });
    await write(kv, { moved: "2" }, present);
    await past.revoke();
    expect(await texts(kv)).toEqual({ free: "2", moved: "2" });
    await present.revoke();
    expect(await texts(kv)).toEqual({ free: "2" });
  });

  suite.it("attaches no lease to anything when a condition fails", async (backend) => {
    const { kv } = backend;
    const lease = await lasting(backend);
    await fill(kv, ["key"], "free");
    await kv.commit({ if: [{ key: "key", exists: false }], then: [put("key", "leased", lease)] });
    await lease.revoke();
    expect(await texts(kv)).toEqual({ key: "free" });
  });

  suite.it("tells an incarnation that a lease took from the next", async (backend) => {
    const { kv } = backend;
    const lease = await lasting(backend);
    const created = await write(kv, { key: "same" }, lease);
    await lease.revoke();
    await write(kv, { key: "same" });
    const commit = await kv.commit({ if: [{ key: "key", created }], then: [{ delete: "key" }] });
    expect(commit.succeeded).toBe(false);
    expect(await texts(kv)).toEqual({ key: "same" });
  });
}
