import type { Latch } from "@conclave/core";
import { CoordinationError, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { remove, texts } from "../entries.ts";
import { intercepted } from "../intercepted.ts";
import { faultSeeds } from "../seeds.ts";
import { watchesFailing } from "./failing-watches.ts";
import {
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

const latchOf = ({ conclave }: Process, count: number): Latch => conclave.latch("a", { count });

/** A latch: who waits passes when it has been counted down to zero. */
export function latch(suite: Suite): void {
  suite.it("opens at zero, lets everybody through, and nobody before", async (backend, scene) => {
    const processes = await startMany(scene, 3);
    const passing = Promise.all(processes.map((process) => latchOf(process, 3).wait()));
    for (const [index, process] of processes.entries()) {
      await staysOpen(backend, scene, passing);
      expect(await latchOf(process, 3).remaining()).toBe(3 - index);
      expect(await latchOf(process, 3).countDown()).toBe(2 - index);
    }
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("stays open, and is never below zero", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    expect(await latchOf(one, 5).countDown(3)).toBe(2);
    expect(await latchOf(one, 5).countDown(3)).toBe(0);
    expect(await latchOf(one, 5).countDown()).toBe(0);
    expect(await latchOf(other, 5).countDown()).toBe(0);
    expect(await latchOf(other, 5).remaining()).toBe(0);
    await latchOf(other, 5).wait();
  });

  suite.it("counts everybody who counts at once, each exactly once", async (backend, scene) => {
    const processes = await startMany(scene, 4);
    const passing = latchOf(processes[0] as Process, 21).wait();
    const counting = processes.flatMap((process) => {
      const latch = latchOf(process, 21);
      return Array.from({ length: 5 }, () => latch.countDown());
    });
    const rests = await within(backend, 4 * scene.patienceMs, Promise.all(counting));
    expect(rests.toSorted((a, b) => b - a)).toEqual(Array.from({ length: 20 }, (_, index) => 20 - index));
    await staysOpen(backend, scene, passing);
    expect(await latchOf(processes[1] as Process, 21).countDown()).toBe(0);
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("refuses another count than it is in use with, and names both", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    await latchOf(one, 2).countDown();
    const before = await texts(backend.kv, "latch/");
    for (const call of ["countDown", "wait", "remaining", "reset"] as const) {
      const failure = await rejection(latchOf(other, 3)[call]());
      expect(failure).toBeInstanceOf(RangeError);
      expect(failure).toMatchObject({ message: expect.stringMatching(/must be 2.*not 3/) });
    }
    expect(await texts(backend.kv, "latch/")).toEqual(before);
  });

  suite.it("keeps what was counted when the process that counted dies", async (backend, scene) => {
    const victim = await startMortal(scene);
    const other = await start(scene);
    await latchOf(victim, 2).countDown();
    await victim.conclave.close();
    const passing = latchOf(other, 2).wait();
    await staysOpen(backend, scene, passing);
    expect(await latchOf(other, 2).countDown()).toBe(0);
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("counts again after it was reset, once however many reset it", async (backend, scene) => {
    const processes = await startMany(scene, 3);
    const [one, other] = processes as [Process, Process];
    expect(await latchOf(one, 2).reset()).toBe(false);
    for (let generation = 0; generation < 3; generation++) {
      const passing = latchOf(one, 2).wait();
      await latchOf(other, 2).countDown();
      expect(await latchOf(one, 2).reset(), "one that still counts").toBe(false);
      await staysOpen(backend, scene, passing);
      await latchOf(other, 2).countDown();
      await within(backend, scene.patienceMs, passing);
      const resets = await Promise.all(processes.map((process) => latchOf(process, 2).reset()));
      expect(resets.toSorted()).toEqual([false, false, true]);
      expect(await latchOf(other, 2).remaining()).toBe(2);
    }
  });

  suite.it("lets through who waited when it opened, though it was reset before they woke", async (backend, scene) => {
    const process = await startLinked(scene);
    const other = await start(scene);
    const passing = latchOf(process, 1).wait();
    await staysOpen(backend, scene, passing);
    process.link.cut();
    await latchOf(other, 1).countDown();
    await latchOf(other, 1).reset();
    process.link.mend();
    await within(backend, scene.patienceMs, passing);
    await staysOpen(backend, scene, latchOf(process, 1).wait());
  });

  suite.it("counts with one object as it does with many, after a reset by another", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const [mine, theirs] = [latchOf(one, 2), latchOf(other, 2)];
    expect(await mine.countDown()).toBe(1);
    expect(await theirs.countDown()).toBe(0);
    expect(await theirs.reset()).toBe(true);
    expect(await mine.countDown()).toBe(1);
    expect(await mine.countDown()).toBe(0);
    expect(await theirs.reset()).toBe(true);
    expect(await mine.countDown(), "what it last knew was open").toBe(1);
  });

  suite.it("never takes a watch that fails for an opening", async (_backend, scene) => {
    const failure = new CoordinationError("DENIED", "the watch was taken away");
    const process = await start(scene, {}, (backend) => intercepted(backend, watchesFailing(failure)));
    expect(await rejection(latchOf(process, 1).wait())).toBe(failure);
  });

  suite.it("delays who waits while the store is away, and no longer", async (backend, scene) => {
    const process = await startLinked(scene);
    const other = await start(scene);
    process.link.cut();
    const passing = latchOf(process, 1).wait();
    await staysOpen(backend, scene, passing);
    process.link.mend();
    await staysOpen(backend, scene, passing);
    process.link.cut();
    await latchOf(other, 1).countDown();
    await staysOpen(backend, scene, passing);
    process.link.mend();
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("lets nobody through when its keys are deleted by hand, but counts anew", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const latch = latchOf(one, 2);
    expect(await latch.countDown()).toBe(1);
    const passing = latchOf(other, 2).wait();
    await staysOpen(backend, scene, passing);
    await remove(backend.kv, ...Object.keys(await texts(backend.kv, "latch/")));
    await staysOpen(backend, scene, passing);
    expect(await latch.countDown()).toBe(1);
    await staysOpen(backend, scene, passing);
    expect(await latch.countDown()).toBe(0);
    await within(backend, scene.patienceMs, passing);
  });

  suite.it("leaves no key of who gives up, and counts nothing for them", async (backend, scene) => {
    const { conclave } = await start(scene);
    const latch = conclave.latch("a", { count: 2 });
    const controller = new AbortController();
    const reason = new Error("no more");
    const waiting = latch.wait({ signal: controller.signal });
    await staysOpen(backend, scene, waiting);
    controller.abort(reason);
    expect(await rejection(waiting)).toBe(reason);
    expect(await rejection(latch.countDown(1, { signal: controller.signal }))).toBe(reason);
    await quiet(backend, scene);
    expect(await texts(backend.kv)).toEqual({});
    expect(await latch.remaining()).toBe(2);
  });

  suite.it("ends a wait with CLOSED when the conclave closes", async (backend, scene) => {
    const process = await start(scene);
    const waiting = latchOf(process, 1).wait();
    await staysOpen(backend, scene, waiting);
    await process.conclave.close();
    expect(await rejection(waiting)).toMatchObject({ code: "CLOSED" });
  });

  suite.it(
    "costs one commit to count first, or after oneself, and two to count after others",
    async (_backend, scene) => {
      const { conclave, counted } = await startCounted(scene);
      const [mine, theirs] = [conclave.latch("a", { count: 9 }), conclave.latch("a", { count: 9 })];
      expect((await cost(counted, () => mine.countDown()))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => mine.countDown(2)))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => theirs.countDown()))[0]).toEqual({ commit: 2 });
      expect((await cost(counted, () => theirs.countDown()))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => mine.countDown()))[0]).toEqual({ commit: 2 });
      expect((await cost(counted, () => mine.remaining()))[0]).toEqual({ get: 1 });
      expect((await cost(counted, () => mine.countDown(9)))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => mine.countDown()))[0]).toEqual({ commit: 1 });
      expect((await cost(counted, () => mine.wait()))[0]).toEqual({ get: 1 });
      expect((await cost(counted, () => mine.reset()))[0]).toEqual({ get: 1, commit: 1 });
    },
  );

  suite.it("asks nothing for many who wait while others count, and wakes each once", async (backend, scene) => {
    const { conclave, counted } = await startCounted(scene);
    const waiting = Promise.all(Array.from({ length: 100 }, () => conclave.latch("a", { count: 20 }).wait()));
    await scene.eventually(backend, () => expect(counted.snapshot()).toEqual({ watch: 100, get: 200 }));
    counted.reset();
    const latch = latchOf(await start(scene), 20);
    for (let count = 1; count < 20; count++) await latch.countDown();
    await quiet(backend, scene);
    expect(counted.snapshot()).toEqual({});
    await latch.countDown();
    await within(backend, scene.patienceMs, waiting);
    expect(counted.snapshot()).toEqual({ get: 100 });
  });

  suite.it("counts exactly what was counted, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    const lasting = { ttlMs: 20 * scene.timing.ttlMs };
    for (const seed of faultSeeds(Math.max(2, Math.round(500 / scene.timing.ttlMs)))) {
      const processes = await trouble.startMany(seed, 4, lasting);
      const count = 4 * 3 + 1;
      const passing = Promise.all(processes.map((process) => latchOf(process, count).wait()));
      const rests: number[] = [];
      const countThrice = async (process: Process) => {
        for (let times = 0; times < 3; times++) {
          // A session that lasts is never lost, so what is refused was surely not counted.
          rests.push(await insist(() => latchOf(process, count).countDown()));
          await sleep(backend.clock, (backend.clock.random() * scene.timing.ttlMs) / 40);
        }
      };
      await within(backend, troubledMs(scene), Promise.all(processes.map(countThrice)));
      expect(
        rests.toSorted((a, b) => b - a),
        `seed ${seed}`,
      ).toEqual(Array.from({ length: 12 }, (_, index) => 12 - index));
      await staysOpen(backend, scene, passing);
      expect(await insist(() => latchOf(processes[0] as Process, count).countDown())).toBe(0);
      await within(backend, scene.patienceMs, passing);
      await remove(backend.kv, ...Object.keys(await texts(backend.kv, "latch/")));
      await closeAll(processes);
    }
    trouble.expectAtLeast(1, ...everyFault);
  });
}
