import type { DestructiveQueue } from "@conclave/core";
import { isCoordinationError } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { type CountingBackend, counting } from "../counting.ts";
import { numbered, texts, write } from "../entries.ts";
import {
  type Process,
  quiet,
  rejection,
  start,
  startMany,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";
import { closeAll, everyFault, faults, seeds, Trouble, troubledMs } from "./under-jitter.ts";

const queueOf = ({ conclave }: Process): DestructiveQueue<string> => conclave.destructiveQueue<string>("d");

/** At most once: what is popped is gone. */
export function destructiveQueue(suite: Suite): void {
  suite.it("pops what was pushed, oldest first, and then it is gone", async (backend, scene) => {
    const [producer, consumer] = await startPair(scene);
    for (const value of numbered(6)) await queueOf(producer).push(value);
    expect(await queueOf(consumer).length()).toBe(6);
    const popped: (string | undefined)[] = [];
    for (let index = 0; index < 6; index++) popped.push(await queueOf(consumer).tryPop());
    expect(popped).toEqual(numbered(6));
    expect(await queueOf(consumer).tryPop()).toBeUndefined();
    expect(await texts(backend.kv, "destructive-queue/")).toEqual({});
  });

  suite.it("pops each item once, however many pop at the same time", async (_backend, scene) => {
    const processes = await startMany(scene, 5);
    for (const value of numbered(20)) await queueOf(processes[0] as Process).push(value);
    const popped = await Promise.all(
      processes.map(async (process) => {
        const values: string[] = [];
        for (;;) {
          const value = await queueOf(process).tryPop();
          if (value === undefined) return values;
          values.push(value);
        }
      }),
    );
    expect(popped.flat().sort()).toEqual(numbered(20));
  });

  suite.it("gives items that come to those who wait, one each, and the first in line first", async (backend, scene) => {
    const [producer, ...waiters] = (await startMany(scene, 4)) as [Process, ...Process[]];
    const order: number[] = [];
    const pops: Promise<string>[] = [];
    for (const [index, waiter] of waiters.entries()) {
      const pop = queueOf(waiter).pop();
      void pop.then(
        () => order.push(index),
        () => {},
      );
      pops.push(pop);
      const line = () => texts(backend.kv, "destructive-queue/d/wait/");
      await scene.eventually(backend, async () => expect(Object.keys(await line())).toHaveLength(index + 1));
    }
    for (const [index, value] of numbered(3).entries()) {
      await queueOf(producer).push(value);
      expect(await within(backend, scene.patienceMs, pops[index] as Promise<string>)).toBe(value);
    }
    expect(order).toEqual([0, 1, 2]);
    expect(await texts(backend.kv, "destructive-queue/")).toEqual({});
  });

  suite.it("loses what a popper had that died, and nothing else", async (backend, scene) => {
    const [victim, heir] = [await startMortal(scene), await start(scene)];
    for (const value of ["a", "b"]) await queueOf(heir).push(value);
    expect(await queueOf(victim).pop()).toBe("a");
    await scene.kill(victim.backend);
    expect(await within(backend, scene.patienceMs, queueOf(heir).pop())).toBe("b");
    expect(await queueOf(heir).length()).toBe(0);
  });

  suite.it("lets the next in line have what comes when the first one died", async (backend, scene) => {
    const [victim, heir] = [await startMortal(scene), await start(scene)];
    const first = rejection(queueOf(victim).pop());
    const line = () => texts(backend.kv, "destructive-queue/d/wait/");
    await scene.eventually(backend, async () => expect(Object.keys(await line())).toHaveLength(1));
    const pop = queueOf(heir).pop();
    await staysOpen(backend, scene, pop);
    await scene.kill(victim.backend);
    expect(await first).toMatchObject({ code: "LEASE_LOST" });
    await queueOf(heir).push("a");
    expect(await within(backend, scene.patienceMs, pop)).toBe("a");
  });

  suite.it("takes nothing for who gives up, and leaves no key", async (backend, scene) => {
    const process = await start(scene);
    const controller = new AbortController();
    const pop = queueOf(process).pop({ signal: controller.signal });
    await staysOpen(backend, scene, pop);
    controller.abort(new Error("no patience"));
    expect(await rejection(pop)).toBe(controller.signal.reason);
    await scene.eventually(backend, async () => expect(await texts(backend.kv, "destructive-queue/")).toEqual({}));
    await queueOf(process).push("a");
    expect(await queueOf(process).tryPop()).toBe("a");
  });

  suite.it("says of what is not JSON that it is corrupt, once", async (backend, scene) => {
    const process = await start(scene);
    await write(backend.kv, { "destructive-queue/d/item/x": "{" });
    await queueOf(process).push("fine");
    expect(await rejection(queueOf(process).pop())).toMatchObject({ code: "CORRUPT" });
    expect(await queueOf(process).pop()).toBe("fine");
  });

  suite.it(
    "takes one commit to push, and a list and a commit to pop; only the first in line is woken",
    async (backend, scene) => {
      const counts: CountingBackend[] = [];
      const processes: Process[] = [];
      for (const _ of numbered(6)) {
        const process = await start(scene, {}, (seen) => {
          counts.push(counting(seen));
          return counts.at(-1) as CountingBackend;
        });
        await process.conclave.session();
        processes.push(process);
      }
      const [producer] = processes as [Process];
      const [counted] = counts as [CountingBackend];
      counted.reset();
      await queueOf(producer).push("a");
      expect(counted.snapshot()).toEqual({ commit: 1 });
      counted.reset();
      expect(await queueOf(producer).tryPop()).toBe("a");
      expect(counted.snapshot()).toEqual({ list: 1, commit: 1 });
      const pops: Promise<unknown>[] = [];
      for (const [index, process] of processes.slice(1).entries()) {
        pops.push(
          queueOf(process)
            .pop()
            .catch(() => {}),
        );
        const line = () => texts(backend.kv, "destructive-queue/d/wait/");
        await scene.eventually(backend, async () => expect(Object.keys(await line())).toHaveLength(index + 1));
      }
      await quiet(backend, scene);
      for (const each of counts) each.reset();
      await queueOf(producer).push("b");
      await within(backend, scene.patienceMs, pops[0] as Promise<unknown>);
      await quiet(backend, scene);
      const woken = counts.slice(1).map((each) => Object.keys(each.snapshot()).length > 0);
      // The first has it, and the second is first now.
      expect(woken).toEqual([true, true, false, false, false]);
    },
  );

  suite.it(
    "pops nothing twice, and loses only what it says it may have lost, whatever fails",
    async (backend, scene) => {
      const trouble = new Trouble(scene, faults);
      for (const seed of seeds(scene)) {
        const processes = await trouble.startMany(seed, 3);
        const name = `d${seed}`;
        const pushed: string[] = [];
        const popped: string[] = [];
        let unknown = 0;
        const known = async (attempt: () => Promise<void>) => {
          for (;;) {
            try {
              return await attempt();
            } catch (error) {
              if (isCoordinationError(error, "OUTCOME_UNKNOWN")) {
                unknown += 1;
                return;
              }
              if (!isCoordinationError(error, "UNAVAILABLE", "LEASE_LOST")) throw error;
            }
          }
        };
        const work = async ({ conclave }: Process, index: number) => {
          const queue = conclave.destructiveQueue<string>(name);
          for (const value of numbered(4, `${index}/`))
            await known(async () => {
              await queue.push(value);
              pushed.push(value);
            });
          for (let turn = 0; turn < 3; turn++)
            await known(async () => {
              const controller = new AbortController();
              using _ = backend.clock.after(scene.timing.ttlMs, () => controller.abort(new Error("long enough")));
              const value = await queue.pop({ signal: controller.signal }).catch((error: unknown) => {
                if (error !== controller.signal.reason) throw error;
              });
              if (value !== undefined) popped.push(value);
            });
        };
        await within(backend, troubledMs(scene), Promise.all(processes.map(work)));
        const rest = (await start(scene)).conclave.destructiveQueue<string>(name);
        await scene.eventually(backend, async () => {
          for (let value = await rest.tryPop(); value !== undefined; value = await rest.tryPop()) popped.push(value);
          expect(await texts(backend.kv, `destructive-queue/${name}/`)).toEqual({});
        });
        expect(new Set(popped).size, `popped twice with seed ${seed}`).toBe(popped.length);
        const missing = pushed.filter((value) => !popped.includes(value));
        expect(missing.length, `lost with seed ${seed}`).toBeLessThanOrEqual(unknown);
        await closeAll(processes);
      }
      trouble.expectAtLeast(1, ...everyFault);
    },
  );
}
