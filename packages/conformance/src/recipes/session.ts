import { tokenOf } from "@conclave/core";
import type { Backend, Lease } from "@conclave/core/backend";
import { sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { type CountingBackend, counting } from "../counting.ts";
import { present, texts } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { aborted, deathMs, start, startLinked, startMortal, startTampered, within } from "./process.ts";

/** The one lease behind everything a process holds, and the truth about how long it can be relied on. */
export function session(suite: Suite): void {
  suite.it("keeps what a process holds for many times to live", async (backend, scene) => {
    const { clock, kv } = backend;
    const { conclave } = await startMortal(scene);
    const hold = await conclave.mutex("a").acquire();
    const { ttlMs } = (await conclave.session()).lease;
    for (let waitedMs = 0; waitedMs < 2.5 * ttlMs; waitedMs += ttlMs / 2) {
      await sleep(clock, ttlMs / 2);
      expect(hold.isHeld(), `after ${waitedMs} ms`).toBe(true);
      expect(tokenOf((await present(kv, hold.key)).created)).toBe(hold.token);
    }
  });

  suite.it("puts everything a process holds on one lease", async (backend, scene) => {
    const { conclave } = await start(scene);
    const { lease } = await conclave.session();
    await Promise.all([
      conclave.mutex("a").acquire(),
      conclave.election("a").campaign(),
      conclave.service("a").register({ address: "here" }),
    ]);
    const { entries } = await backend.kv.list("");
    expect(entries).toHaveLength(3);
    for (const entry of entries) expect(entry.lease).toBe(lease.id);
  });

  suite.it("ends when its process is cut off, before the store gives its keys away", async (backend, scene) => {
    const victim = await startMortal(scene);
    const hold = await victim.conclave.mutex("a").acquire();
    const session = await victim.conclave.session();
    await scene.kill(victim.backend);
    const { reason } = await within(backend, deathMs(scene), aborted(backend, session.signal));
    expect(await backend.kv.get(hold.key), "the key is there when the loss is told").toBeDefined();
    expect(reason).toMatchObject({ code: "LEASE_LOST" });
    expect(session.isAlive()).toBe(false);
    expect(session.remainingMs()).toBeLessThanOrEqual(0);
  });

  suite.it("is not revived by a renewal that is answered after its time", async (backend, scene) => {
    const { clock } = backend;
    let answered = 0;
    const { conclave } = await startMortal(
      scene,
      {},
      renewing(async (renew, lease) => {
        const ttlMs = await renew();
        await sleep(clock, 1.5 * lease.ttlMs);
        answered += 1;
        return ttlMs;
      }),
    );
    const session = await conclave.session();
    await within(backend, deathMs(scene), aborted(backend, session.signal));
    expect(answered).toBe(0);
    await scene.eventually(backend, () => expect(answered).toBe(1));
    expect(session.isAlive()).toBe(false);
    expect(session.signal.reason).toMatchObject({ code: "LEASE_LOST" });
  });

  suite.it("counts its time from when a grant or a renewal was sent, not from its answer", async (backend, scene) => {
    const { clock } = backend;
    const lateMs = scene.timing.ttlMs / 5;
    let answers = 0;
    const slow = (inner: Backend): Backend => ({
      ...renewing(async (renew) => {
        const ttlMs = await renew();
        await sleep(clock, lateMs);
        answers += 1;
        return ttlMs;
      })({
        ...inner,
        leases: {
          async grant(options) {
            const lease = await inner.leases.grant(options);
            await sleep(clock, lateMs);
            return lease;
          },
        },
      }),
    });
    const { conclave } = await startMortal(scene, {}, slow);
    const session = await conclave.session();
    expect(session.remainingMs()).toBeLessThanOrEqual(session.lease.ttlMs - lateMs);
    await scene.eventually(backend, () => expect(answers).toBeGreaterThan(0));
    expect(session.remainingMs()).toBeLessThanOrEqual(session.lease.ttlMs - lateMs);
  });

  suite.it("ends when the store says that the lease is gone", async (backend, scene) => {
    const leases: Lease[] = [];
    const { conclave } = await startMortal(scene, {}, collecting(leases));
    const { signal } = await conclave.session();
    await leases[0]?.revoke();
    expect(await within(backend, scene.timing.ttlMs / 2, aborted(backend, signal))).toMatchObject({
      reason: { code: "LEASE_LOST" },
    });
  });

  suite.it("survives an outage that is shorter than its time", async (backend, scene) => {
    const { conclave, link } = await startLinked(scene);
    const hold = await conclave.mutex("a").acquire();
    for (let round = 0; round < 2; round++) {
      link.cut();
      await sleep(backend.clock, scene.timing.ttlMs * 0.4);
      link.mend();
      const { answered } = scene.activity;
      await scene.eventually(backend, () =>
        expect(scene.activity.answered, "it was renewed").toBeGreaterThan(answered),
      );
    }
    expect(hold.isHeld()).toBe(true);
    expect(tokenOf((await present(backend.kv, hold.key)).created)).toBe(hold.token);
  });

  suite.it("opens another, with the next epoch, for what needs one after a loss", async (backend, scene) => {
    const { conclave, link } = await startLinked(scene);
    const lost = await conclave.session();
    expect(await conclave.session()).toBe(lost);
    link.cut();
    await within(backend, deathMs(scene), aborted(backend, lost.signal));
    link.mend();
    const next = await within(backend, scene.patienceMs, conclave.session());
    expect(next.isAlive()).toBe(true);
    expect(next.lease.id).not.toBe(lost.lease.id);
    expect([lost.epoch, next.epoch]).toEqual([1, 2]);
    expect(lost.isAlive()).toBe(false);
  });

  suite.it("frees all that it held, at once, when the conclave closes", async (backend, scene) => {
    const { conclave } = await start(scene);
    const session = await conclave.session();
    await conclave.mutex("a").acquire();
    await conclave.service("a").register({ address: "here" });
    await conclave.close();
    expect(await texts(backend.kv)).toEqual({});
    expect(session.signal.reason).toMatchObject({ code: "CLOSED" });
    await failsWith("CLOSED", conclave.session());
    await conclave.close();
  });

  suite.it(
    "leaves the store to a process that closes while it is cut off, and does not hang",
    async (backend, scene) => {
      const { conclave, link } = await startLinked(scene);
      const hold = await conclave.mutex("a").acquire();
      link.cut();
      await within(backend, scene.patienceMs, conclave.close());
      expect(hold.isHeld()).toBe(false);
      await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
    },
  );

  suite.it("is not prolonged by a wall clock that is set back", async (backend, scene) => {
    const victim = await startTampered(scene);
    const hold = await victim.conclave.mutex("a").acquire();
    await scene.kill(victim.backend);
    victim.clock.stepWall(-3_600_000);
    await within(backend, deathMs(scene), aborted(backend, hold.signal));
    expect(await backend.kv.get(hold.key), "the key is there when the loss is told").toBeDefined();
  });

  suite.it(
    "is over when its machine wakes up after its time, though the monotonic clock stood still",
    async (backend, scene) => {
      const victim = await startTampered(scene);
      const hold = await victim.conclave.mutex("a").acquire();
      victim.clock.suspend();
      await sleep(backend.clock, (await victim.conclave.session()).lease.ttlMs);
      expect(hold.isHeld()).toBe(false);
      victim.clock.resume();
      expect(hold.signal.reason).toMatchObject({ code: "LEASE_LOST" });
    },
  );

  suite.it("is not opened by a process that only looks", async (backend, scene) => {
    const counts: CountingBackend[] = [];
    const leader = await start(scene);
    await leader.conclave.election("a").campaign({ value: "leader" });
    await leader.conclave.service("a").register({ address: "here" });
    const { conclave } = await start(scene, {}, (inner) => {
      const counted = counting(inner);
      counts.push(counted);
      return counted;
    });
    await using instances = await conclave.service("a").instances();
    expect(instances.snapshot.instances).toHaveLength(1);
    for await (const seen of conclave.election("a").observe()) {
      expect(seen?.value).toBe("leader");
      break;
    }
    expect((await conclave.election("a").leader())?.value).toBe("leader");
    expect(await conclave.mutex("a").queue()).toEqual([]);
    await sleep(backend.clock, scene.timing.ttlMs / 2);
    expect(counts[0]?.snapshot()).not.toHaveProperty("grant");
    expect(counts[0]?.snapshot()).not.toHaveProperty("keepAlive");
  });
}

type Renew = (renew: () => Promise<number>, lease: Lease) => Promise<number>;

/** A store whose renewals go through `renew`. */
function renewing(renew: Renew): (inner: Backend) => Backend {
  return (inner) => ({
    ...inner,
    leases: {
      async grant(options) {
        const lease = await inner.leases.grant(options);
        return { ...lease, keepAlive: (options) => renew(() => lease.keepAlive(options), lease) };
      },
    },
  });
}

/** A store that lets a test have the leases it grants. */
function collecting(leases: Lease[]): (inner: Backend) => Backend {
  return (inner) => ({
    ...inner,
    leases: {
      async grant(options) {
        const lease = await inner.leases.grant(options);
        leases.push(lease);
        return lease;
      },
    },
  });
}
