import type { Barrier } from "@conclave/core";
import { CoordinationError, isCoordinationError, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { keysOf, remove, texts } from "../entries.ts";
import { intercepted } from "../intercepted.ts";
import { faultSeeds } from "../seeds.ts";
import { watchesFailing } from "./failing-watches.ts";
import {
  aborted,
  deathMs,
  noticeMs,
  type Process,
  quiet,
  rejection,
  start,
  startLinked,
  startMany,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";
import { cost, startCounted } from "./round-trips.ts";
import { closeAll, everyFault, faults, insist, Trouble, troubledMs } from "./under-jitter.ts";

const barrierOf = ({ conclave }: Process): Barrier => conclave.barrier("a");

/** The keys that close it. */
const closures = async (backend: Process["backend"]) => keysOf(await backend.kv.list("barrier/"));

/** A barrier: who comes while it is closed waits until it opens. */
export function barrier(suite: Suite): void {
  suite.it("is open until somebody closes it", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    expect(await barrierOf(one).isClosed()).toBe(false);
    await barrierOf(one).wait();
    expect(await barrierOf(one).close()).toBe(true);
    expect(await barrierOf(other).isClosed()).toBe(true);
  });

  suite.it("lets everybody through when it opens, and nobody before", async (backend, scene) => {
    const processes = await startMany(scene, 5);
    await barrierOf(processes[0] as Process).close();
    const passing = Promise.all(processes.map((process) => barrierOf(process).wait()));
    await staysOpen(backend, scene, passing);
    await barrierOf(processes[1] as Process).open();
    await within(backend, scene.patienceMs, passing);
    expect(await closures(backend)).toEqual([]);
  });

  suite.it("closes once however often it is asked to, and opens again", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    for (let round = 0; round < 3; round++) {
      expect(await barrierOf(one).close()).toBe(true);
      expect(await barrierOf(one).close()).toBe(false);
      expect(await barrierOf(other).close()).toBe(false);
      expect(await barrierOf(other).close({ owned: true })).toBeUndefined();
      await barrierOf(other).open();
      await barrierOf(one).open();
      expect(await barrierOf(one).isClosed()).toBe(false);
    }
  });

  suite.it("outlives the process that closed it", async (backend, scene) => {
    const { conclave } = await startMortal(scene);
    const other = await start(scene);
    await conclave.barrier("a").close();
    await conclave.close();
    const passing = barrierOf(other).wait();
    await staysOpen(backend, scene, passing);
    await barrierOf(other).open();
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("opens when the hold of the process that owns it is released", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const hold = await barrierOf(one).close({ owned: true });
    expect(hold?.isHeld()).toBe(true);
    const passing = barrierOf(other).wait();
    await staysOpen(backend, scene, passing);
    await hold?.release();
    await within(backend, scene.patienceMs, passing);
    expect(await closures(backend)).toEqual([]);
  });

  suite.it("opens when the process that owns it dies", async (backend, scene) => {
    const victim = await startMortal(scene);
    const other = await start(scene);
    const hold = await barrierOf(victim).close({ owned: true });
    const passing = barrierOf(other).wait();
    await staysOpen(backend, scene, passing);
    await scene.kill(victim.backend);
    await within(backend, deathMs(scene) + scene.patienceMs, passing);
    expect(hold?.isHeld()).toBe(false);
  });

  suite.it("tells the process that owns it when somebody else opens it", async (backend, scene) => {
    const owner = await startMortal(scene);
    const other = await start(scene);
    const hold = await barrierOf(owner).close({ owned: true });
    await barrierOf(other).open();
    const lost = aborted(backend, hold?.signal as AbortSignal);
    expect((await within(backend, noticeMs(scene) + scene.patienceMs, lost)).reason).toMatchObject({
      code: "LEASE_LOST",
    });
    expect(await barrierOf(other).close()).toBe(true);
    await hold?.release();
    expect(await barrierOf(other).isClosed(), "a hold that was lost opens nothing").toBe(true);
  });

  suite.it(
    "lets through who waited when it opened, though it was closed anew before they woke",
    async (backend, scene) => {
      const process = await startLinked(scene);
      const other = await start(scene);
      await barrierOf(other).close();
      const passing = barrierOf(process).wait();
      await staysOpen(backend, scene, passing);
      process.link.cut();
      await barrierOf(other).open();
      await barrierOf(other).close();
      process.link.mend();
      await within(backend, scene.patienceMs, passing);
      await staysOpen(backend, scene, barrierOf(other).wait());
    },
  );

  suite.it("never takes a watch that fails for an opening", async (_backend, scene) => {
    const failure = new CoordinationError("DENIED", "the watch was taken away");
    const other = await start(scene);
    const process = await start(scene, {}, (backend) => intercepted(backend, watchesFailing(failure)));
    await barrierOf(other).close();
    expect(await rejection(barrierOf(process).wait())).toBe(failure);
  });

  suite.it("delays who waits while the store is away, and no longer", async (backend, scene) => {
    const process = await startLinked(scene);
    const other = await start(scene);
    await barrierOf(other).close();
    process.link.cut();
    const passing = barrierOf(process).wait();
    await staysOpen(backend, scene, passing);
    process.link.mend();
    await staysOpen(backend, scene, passing);
    process.link.cut();
    await barrierOf(other).open();
    await staysOpen(backend, scene, passing);
    process.link.mend();
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("opens when somebody deletes its key by hand", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    await barrierOf(one).close();
    const passing = barrierOf(other).wait();
    await staysOpen(backend, scene, passing);
    await remove(backend.kv, ...(await closures(backend)));
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("leaves no key of who gives up, be it a wait or a close", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    await barrierOf(one).close();
    const before = await texts(backend.kv, "barrier/");
    const controller = new AbortController();
    const reason = new Error("no more");
    const waiting = barrierOf(other).wait({ signal: controller.signal });
    await staysOpen(backend, scene, waiting);
    controller.abort(reason);
    expect(await rejection(waiting)).toBe(reason);
    expect(await rejection(barrierOf(other).wait({ signal: controller.signal }))).toBe(reason);
    expect(await texts(backend.kv, "barrier/")).toEqual(before);
    await barrierOf(one).open();
    expect(await rejection(barrierOf(other).close({ owned: true, signal: controller.signal }))).toBe(reason);
    expect(await rejection(barrierOf(other).close({ signal: controller.signal }))).toBe(reason);
    await quiet(backend, scene);
    expect(await texts(backend.kv, "barrier/")).toEqual({});
  });

  suite.it("ends a wait with CLOSED when the conclave closes", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    await barrierOf(one).close();
    const waiting = barrierOf(other).wait();
    await staysOpen(backend, scene, waiting);
    await other.conclave.close();
    expect(await rejection(waiting)).toMatchObject({ code: "CLOSED" });
  });

  suite.it("costs one list to pass while it is open, and nothing while it stays closed", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const one = conclave.barrier("a");
    expect((await cost(counted, () => one.wait()))[0]).toEqual({ list: 1 });
    expect((await cost(counted, () => one.isClosed()))[0]).toEqual({ list: 1 });
    expect((await cost(counted, () => one.open()))[0]).toEqual({ list: 1 });
    expect((await cost(counted, () => one.close()))[0]).toEqual({ commit: 1 });
    expect((await cost(counted, () => one.close()))[0]).toEqual({ commit: 1 });
    counted.reset();
    const waiting = one.wait();
    await scene.eventually(backend, () => expect(counted.snapshot()).toEqual({ list: 1, watch: 1, get: 1 }));
    counted.reset();
    await sleep(backend.clock, scene.timing.ttlMs / 2);
    expect(counted.snapshot()).toEqual({});
    const { conclave: other, counted: counting } = await startCounted(scene);
    expect((await cost(counting, () => other.barrier("a").open()))[0]).toEqual({ list: 1, commit: 1 });
    await within(backend, scene.patienceMs, waiting);
    expect(counted.snapshot()).toEqual({ get: 1 });
    const hold = await one.close({ owned: true });
    expect((await cost(counted, () => hold?.release() as Promise<void>))[0]).toEqual({ commit: 1 });
  });

  suite.it("wakes each of many who wait once", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const one = conclave.barrier("a");
    await one.close();
    const waiting = Promise.all(Array.from({ length: 100 }, () => one.wait()));
    await quiet(backend, scene);
    await scene.eventually(backend, () => expect(counted.snapshot()).toMatchObject({ watch: 100, get: 100 }));
    counted.reset();
    const other = await start(scene);
    await barrierOf(other).close();
    await quiet(backend, scene);
    expect(counted.snapshot()).toEqual({});
    await barrierOf(other).open();
    await within(backend, scene.patienceMs, waiting);
    expect(counted.snapshot()).toEqual({ get: 100 });
  });

  suite.it("lets everybody through, and only while it opens, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    const gate = { isClosed: false, passed: 0 };
    for (const seed of faultSeeds(Math.max(2, Math.round(500 / scene.timing.ttlMs)))) {
      const processes = await trouble.startMany(seed, 4);
      const keeper = barrierOf(processes[0] as Process);
      for (let round = 0; round < 3; round++) {
        await settled(() => keeper.close());
        gate.isClosed = true;
        const passing = Promise.all(
          processes.slice(1).map(async (process) => {
            await insist(() => barrierOf(process).wait());
            expect(gate.isClosed, "nobody passes while it is closed").toBe(false);
            gate.passed += 1;
          }),
        );
        await sleep(backend.clock, (backend.clock.random() * scene.timing.ttlMs) / 10);
        gate.isClosed = false;
        await settled(() => keeper.open());
        await within(backend, troubledMs(scene), passing);
        await scene.eventually(backend, async () => expect(await closures(backend)).toEqual([]));
      }
      await closeAll(processes);
    }
    expect(gate.passed).toBeGreaterThanOrEqual(9 * 2);
    trouble.expectAtLeast(1, ...everyFault);
  });
}

/** Repeats what is idempotent until it is surely done. */
async function settled(attempt: () => Promise<unknown>): Promise<void> {
  for (;;) {
    try {
      await attempt();
      return;
    } catch (error) {
      if (!isCoordinationError(error)) throw error;
    }
  }
}
