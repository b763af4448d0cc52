import { type Backend, type Lease, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { numbered, put, texts, write } from "../entries.ts";
import { Follower } from "../follower.ts";
import { failsWith } from "./leases.ts";

function grant(backend: Backend, scene: Scene): Promise<Lease> {
  return backend.leases.grant({ ttlMs: scene.timing.ttlMs });
}

/** Waits until a lease that nobody renews is over, late as the store may be. */
function outlive(backend: Backend, scene: Scene, lease: Lease): Promise<void> {
  return sleep(backend.clock, lease.ttlMs + scene.timing.expiryLagMs);
}

/** Clocks of different machines may run this much apart. */
const drift = 0.01;

/** Leases and time: nothing goes before its time to live is over, and everything soon after. */
export function expiry(suite: Suite): void {
  suite.it("keeps the keys of a lease for its whole time to live", async (backend, scene) => {
    const { clock, kv } = backend;
    const granted = clock.monotonicMs();
    const lease = await grant(backend, scene);
    await write(kv, { key: "" }, lease);
    const untilMs = lease.ttlMs * (1 - drift);
    let looks = 0;
    for (;;) {
      const entry = await kv.get("key");
      if (clock.monotonicMs() - granted >= untilMs) break;
      expect(entry, `the key is there after ${clock.monotonicMs() - granted} of ${lease.ttlMs} ms`).toBeDefined();
      looks += 1;
      await sleep(clock, lease.ttlMs / 50);
    }
    expect(looks).toBeGreaterThan(5);
  });

  suite.it("keeps the keys of a lease for a whole time to live after a renewal", async (backend, scene) => {
    const { clock, kv } = backend;
    const lease = await grant(backend, scene);
    await write(kv, { key: "" }, lease);
    await sleep(clock, lease.ttlMs * 0.6);
    const renewed = clock.monotonicMs();
    const ttlMs = await lease.keepAlive();
    for (;;) {
      const entry = await kv.get("key");
      if (clock.monotonicMs() - renewed >= ttlMs * (1 - drift)) break;
      expect(entry, `the key is there ${clock.monotonicMs() - renewed} ms after the renewal`).toBeDefined();
      await sleep(clock, ttlMs / 50);
    }
  });

  suite.it(
    "removes the keys of a lease that is not renewed, when its time and the store's lag are over",
    async (backend, scene) => {
      const { kv } = backend;
      const other = await scene.connect();
      const lease = await grant(backend, scene);
      await write(kv, { a: "", b: "" }, lease);
      await write(kv, { stays: "" });
      await outlive(backend, scene, lease);
      expect(await texts(other.kv)).toEqual({ stays: "" });
      expect(await kv.get("a")).toBeUndefined();
    },
  );

  suite.it("keeps the keys of a lease that is renewed, for three times its time to live", async (backend, scene) => {
    const { clock, kv } = backend;
    const lease = await grant(backend, scene);
    await write(kv, { key: "" }, lease);
    const until = clock.monotonicMs() + 3 * lease.ttlMs + scene.timing.expiryLagMs;
    while (clock.monotonicMs() < until) {
      await sleep(clock, lease.ttlMs / 3);
      await lease.keepAlive();
      expect(await kv.get("key")).toBeDefined();
    }
    await lease.revoke();
  });

  suite.it("lets a lease that is not renewed expire while another of its process is", async (backend, scene) => {
    const { clock, kv } = backend;
    const [kept, left] = [await grant(backend, scene), await grant(backend, scene)];
    await write(kv, { kept: "" }, kept);
    await write(kv, { left: "" }, left);
    const until = clock.monotonicMs() + left.ttlMs + scene.timing.expiryLagMs;
    while (clock.monotonicMs() < until) {
      await sleep(clock, kept.ttlMs / 4);
      await kept.keepAlive();
    }
    expect(await texts(kv)).toEqual({ kept: "" });
    await kept.revoke();
  });

  suite.it("shows a lease's keys go together: no list ever finds some of them gone", async (backend, scene) => {
    const { clock, kv } = backend;
    const lease = await grant(backend, scene);
    const keys = numbered(60);
    await kv.commit({ then: keys.map((key) => put(key, "", lease)) });
    const seen = new Set<number>();
    await scene.eventually(backend, async () => {
      for (let look = 0; look < 20; look++) {
        seen.add((await kv.list("")).entries.length);
        await sleep(clock, 0.25);
      }
      expect(seen).toContain(0);
    });
    expect([...seen].sort()).toEqual([0, keys.length]);
  });

  for (const [how, end] of [
    ["expired", async () => {}],
    ["was revoked", (lease: Lease) => lease.revoke()],
  ] as const) {
    suite.it(`shows watchers, at one revision, that the keys of a lease that ${how} went`, async (backend, scene) => {
      const watcher = await scene.connect();
      const follower = scene.use(await Follower.open(watcher, { prefix: "" }));
      const lease = await grant(backend, scene);
      await write(backend.kv, { a: "", "b/c": "", d: "" }, lease);
      await scene.eventually(watcher, () => expect(Object.keys(follower.texts)).toHaveLength(3));
      const [gaps, before] = [follower.gaps, follower.batches.length];
      await end(lease);
      await scene.eventually(watcher, () => expect(follower.texts).toEqual({}));
      follower.check();
      if (follower.gaps > gaps) return;
      const after = follower.batches.slice(before);
      expect(after).toHaveLength(1);
      expect(follower.changes.slice(-3).map(({ key, entry }) => [key, entry])).toEqual(
        ["a", "b/c", "d"].map((key) => [key, undefined]),
      );
    });
  }

  suite.it(
    "answers a keep-alive of an expired lease with LEASE_LOST, and does not revive it",
    async (backend, scene) => {
      const lease = await grant(backend, scene);
      await write(backend.kv, { key: "" }, lease);
      await outlive(backend, scene, lease);
      await failsWith("LEASE_LOST", lease.keepAlive());
      expect(await texts(backend.kv)).toEqual({});
    },
  );

  suite.it("takes it well when an expired lease is revoked", async (backend, scene) => {
    const lease = await grant(backend, scene);
    await outlive(backend, scene, lease);
    await lease.revoke();
  });

  suite.it("applies nothing of a transaction that attaches an expired lease", async (backend, scene) => {
    const lease = await grant(backend, scene);
    await outlive(backend, scene, lease);
    await failsWith("LEASE_LOST", backend.kv.commit({ then: [put("plain", ""), put("leased", "", lease)] }));
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it(
    "leaves a key that was taken off a lease, or moved to a living one, when the lease expires",
    async (backend, scene) => {
      const { kv, leases, limits } = backend;
      const [short, long] = [
        await grant(backend, scene),
        await leases.grant({ ttlMs: Math.min(limits.maxTtlMs, 20 * scene.timing.ttlMs) }),
      ];
      await write(kv, { free: "1", moved: "1", gone: "1" }, short);
      await write(kv, { free: "2" });
      await write(kv, { moved: "2" }, long);
      await outlive(backend, scene, short);
      expect(await texts(kv)).toEqual({ free: "2", moved: "2" });
      await long.revoke();
    },
  );

  suite.it("lets an absent key and an empty prefix be found where a lease expired", async (backend, scene) => {
    const lease = await grant(backend, scene);
    await write(backend.kv, { "room/key": "" }, lease);
    await outlive(backend, scene, lease);
    const commit = await backend.kv.commit({
      if: [
        { prefix: "room/", empty: true },
        { key: "room/key", exists: false },
      ],
      then: [put("room/key", "next")],
    });
    expect(commit.succeeded).toBe(true);
    expect(await texts(backend.kv)).toEqual({ "room/key": "next" });
  });

  suite.it("removes the keys of a process that was killed, and only those", async (backend, scene) => {
    const victim = await scene.connect();
    const lease = await grant(victim, scene);
    await write(victim.kv, { leased: "" }, lease);
    await write(victim.kv, { free: "" });
    await scene.kill(victim);
    expect(await texts(backend.kv)).toHaveProperty("free");
    await outlive(backend, scene, lease);
    expect(await texts(backend.kv)).toEqual({ free: "" });
  });
}
