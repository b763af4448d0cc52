import type { Registration } from "@conclave/core";
import { type Backend, CoordinationError, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { present, remove, texts } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { addresses, instancesNow, watchService } from "./directory.ts";
import { aborted, deathMs, noticeMs, start, startLinked, startMortal, startPair, within } from "./process.ts";

const key = "service/a/one";

/** What keeps an instance in the directory, and what ends it. */
export function registration(suite: Suite): void {
  suite.it(
    "moves to the next session without a moment's absence, when the last one's keys still live",
    async (backend, scene) => {
      const denials = new Denials();
      const { conclave } = await startMortal(scene, {}, (inner) => denials.of(inner));
      await conclave.service("a").register({ id: "one", address: "x:1" });
      const first = await conclave.session();
      const observer = watchService(await start(scene), scene);
      await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ one: "x:1" }));
      denials.denyNext();
      await within(backend, deathMs(scene), aborted(backend, first.signal));
      await scene.eventually(backend, async () =>
        expect((await present(backend.kv, key)).lease).not.toBe(first.lease.id),
      );
      await sleep(backend.clock, first.lease.ttlMs + scene.timing.expiryLagMs);
      expect((await present(backend.kv, key)).lease).toBe((await conclave.session()).lease.id);
      for (const snapshot of observer.seen) expect(addresses(snapshot)).toEqual({ one: "x:1" });
    },
  );

  suite.it(
    "registers again, with its latest words, when all was lost and the store is back",
    async (backend, scene) => {
      const { conclave, link } = await startLinked(scene);
      const instance = await conclave.service("a").register({ id: "one", address: "x:1" });
      await instance.update({ address: "x:2" });
      const observer = watchService(await start(scene), scene);
      link.cut();
      await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({}));
      link.mend();
      await within(
        backend,
        scene.patienceMs + 3_000,
        (async () => {
          while (addresses(observer.seen.at(-1))["one"] !== "x:2") await sleep(backend.clock, 5);
        })(),
      );
      expect(instance.signal.aborted).toBe(false);
      await instance.update({ address: "x:3" });
      expect(await instancesNow(conclave.service("a"))).toMatchObject([{ id: "one", address: "x:3" }]);
    },
  );

  suite.it("registers again within one renewal interval when an operator deletes its key", async (backend, scene) => {
    const { conclave } = await startMortal(scene);
    const instance = await conclave.service("a").register({ id: "one", address: "x:1" });
    for (let round = 0; round < 2; round++) {
      await remove(backend.kv, key);
      const deletedMs = backend.clock.monotonicMs();
      await scene.eventually(backend, () => present(backend.kv, key));
      expect(backend.clock.monotonicMs() - deletedMs).toBeLessThan(noticeMs(scene));
    }
    expect(instance.signal.aborted).toBe(false);
    expect(await instancesNow(conclave.service("a"))).toMatchObject([{ id: "one", address: "x:1" }]);
  });

  suite.it("gives way to another process that registers its id, and learns of it", async (backend, scene) => {
    const [one, other] = [await startMortal(scene), await start(scene)];
    const first = await one.conclave.service("a").register({ id: "one", address: "first" });
    const second = await other.conclave.service("a").register({ id: "one", address: "second" });
    const { reason } = await within(backend, 2 * noticeMs(scene), aborted(backend, first.signal));
    expect(reason).toMatchObject({ code: "NOT_HELD" });
    await failsWith("NOT_HELD", first.update({ address: "late" }));
    await first.deregister();
    expect(await instancesNow(one.conclave.service("a"))).toMatchObject([{ address: "second" }]);
    expect(second.signal.aborted).toBe(false);
    await second.update({ address: "second again" });
    expect(await instancesNow(one.conclave.service("a"))).toMatchObject([{ address: "second again" }]);
  });

  suite.it(
    "leaves the directory to who registered its id since, even before it learns of it",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      const ends = [
        (first: Registration) => failsWith("NOT_HELD", first.update({ address: "late" })),
        (first: Registration) => first.deregister(),
      ];
      for (const end of ends) {
        const first = await one.conclave.service("a").register({ id: "one", address: "first" });
        const second = await other.conclave.service("a").register({ id: "one", address: "second" });
        await end(first);
        expect(Object.values(await texts(backend.kv))).toEqual([expect.stringContaining('"second"')]);
        await second.deregister();
      }
    },
  );

  suite.it(
    "is not taken for another's by the process that registered it before, under an earlier session",
    async (backend, scene) => {
      const { conclave, link } = await startLinked(scene);
      const first = await conclave.service("a").register({ id: "one", address: "x:1" });
      const { signal } = await conclave.session();
      link.cut();
      await within(backend, deathMs(scene), aborted(backend, signal));
      link.mend();
      await within(backend, scene.patienceMs + 3_000, first.update({ address: "x:2" }));
      expect(await instancesNow(conclave.service("a"))).toMatchObject([{ address: "x:2" }]);
      expect(first.signal.aborted).toBe(false);
    },
  );

  suite.it(
    "stays out once it is deregistered, though the session is lost and the next one opens",
    async (backend, scene) => {
      const { conclave, link } = await startLinked(scene);
      const leaver = await conclave.service("a").register({ id: "leaver", address: "x:1" });
      await conclave.service("a").register({ id: "one", address: "x:2" });
      link.cut();
      await leaver.deregister();
      await aborted(backend, (await conclave.session()).signal);
      link.mend();
      await scene.eventually(backend, async () => expect(Object.keys(await texts(backend.kv))).toEqual([key]));
      await sleep(backend.clock, scene.timing.ttlMs / 2);
      expect(Object.keys(await texts(backend.kv))).toEqual([key]);
    },
  );

  suite.it("is over when its conclave closes", async (backend, scene) => {
    const { conclave } = await start(scene);
    const instance = await conclave.service("a").register({ id: "one", address: "x:1" });
    await conclave.close();
    expect(await texts(backend.kv)).toEqual({});
    await failsWith("CLOSED", instance.update({ address: "x:2" }));
    await instance.deregister();
  });
}

/** A store that, when told to, says of a lease that it is gone although it lives. */
class Denials {
  #deny = false;

  denyNext(): void {
    this.#deny = true;
  }

  of(inner: Backend): Backend {
    const grant: Backend["leases"]["grant"] = async (options) => {
      const lease = await inner.leases.grant(options);
      return {
        ...lease,
        keepAlive: async (options) => {
          if (!this.#deny) return lease.keepAlive(options);
          this.#deny = false;
          throw new CoordinationError("LEASE_LOST", `the lease ${lease.id} is denied`);
        },
      };
    };
    return { ...inner, leases: { grant } };
  }
}
