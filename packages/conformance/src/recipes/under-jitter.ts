import { isCoordinationError, seededRandom, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { texts } from "../entries.ts";
import { type Injected, type JitteredBackend, type JitterOptions, jitter } from "../jitter.ts";
import { faultSeeds } from "../seeds.ts";
import { addresses } from "./directory.ts";
import { Contest, type Exclusive, Room } from "./exclusive.ts";
import { Observer } from "./observer.ts";
import { type Process, type ProcessOptions, start, startMortal, within } from "./process.ts";

/** Seeds enough for a few seconds of the store's time. */
export function seeds({ timing }: Scene): readonly number[] {
  return faultSeeds(Math.max(3, Math.round(2_000 / timing.ttlMs)));
}

/** Processes whose store is as unreliable as it may be, and what was done to them. */
export class Trouble {
  readonly #scene: Scene;
  readonly #options: JitterOptions;
  readonly #backends: JitteredBackend[] = [];

  constructor(scene: Scene, options: JitterOptions) {
    this.#scene = scene;
    this.#options = { delayMs: scene.timing.ttlMs / 40, ...options };
  }

  start(seed: number, options: ProcessOptions = {}): Promise<Process> {
    return startMortal(this.#scene, options, (backend) => {
      const jittered = jitter(backend, seed, this.#options);
      this.#backends.push(jittered);
      return jittered;
    });
  }

  startMany(seed: number, count: number, options?: ProcessOptions): Promise<Process[]> {
    return Promise.all(Array.from({ length: count }, (_, index) => this.start(100 * seed + index, options)));
  }

  /** That each of these was done at least so often: nothing passes for want of trouble. */
  expectAtLeast(count: number, ...kinds: readonly (keyof Injected)[]): void {
    for (const kind of kinds) {
      const times = this.#backends.reduce((sum, { injected }) => sum + injected[kind], 0);
      expect(times, kind).toBeGreaterThanOrEqual(count);
    }
  }
}

/** Tries again while answers fail to come or the session is lost, as a program would that wants the thing. */
export async function insist<T>(attempt: () => Promise<T>): Promise<T> {
  for (;;) {
    try {
      return await attempt();
    } catch (error) {
      if (!isCoordinationError(error, "UNAVAILABLE", "OUTCOME_UNKNOWN", "LEASE_LOST")) throw error;
    }
  }
}

/** Lets no process outlive its seed. */
export async function closeAll(processes: readonly Process[]): Promise<void> {
  await Promise.all(processes.map(({ conclave }) => conclave.close()));
}

/**
 * What the pauses before ten more tries of one write come to at most: up to 50 ms, 100, 200 … and then 1,000 each (core's
 * `backoff.ts`), whatever the store's own pace. Jitter that faults 35 % of writes has 28 % of them sent again, so one in
 * 300,000 is sent so often.
 */
const pausesMs = 6_550;

/** How long one thing may take on a store that often fails: a lost wake-up, which costs recipes ten seconds, takes longer. */
export function troubledOnceMs({ patienceMs }: Scene): number {
  return patienceMs + pausesMs;
}

/**
 * How long several processes may take to do a few things each, one after the other, on a store that often fails. Twice as
 * long as one thing, since bad luck as bad does not strike twice. Measured: 2,305 ms of 13,500 at most over 300 seeds in
 * memory, and 5,730 ms of 27,700 on etcd.
 */
export function troubledMs(scene: Scene): number {
  return 2 * troubledOnceMs(scene);
}

export const faults = { faults: 0.35, gaps: 0.1 };
export const everyFault = ["lostAnswers", "lostCalls", "refusals", "late"] as const;
const delays = { faults: 0, gaps: 0.1 };

/** What is exclusive, on a store whose answers are late, lost or refusals. */
export function exclusionUnderJitter(suite: Suite, exclusive: Exclusive): void {
  suite.it("never has two holders, lets everybody in, and leaves no key, whatever fails", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const trouble = new Trouble(scene, faults);
    for (const seed of seeds(scene)) {
      const room = new Room();
      const contend = async (process: Process) => {
        for (let round = 0; round < 3; round++) {
          const grant = await insist(() => contest.acquire(process));
          if (grant.isHeld()) room.enter(grant);
          await sleep(backend.clock, (backend.clock.random() * scene.timing.ttlMs) / 40);
          await grant.release();
        }
      };
      const processes = await trouble.startMany(seed, 4);
      await within(backend, troubledMs(scene), Promise.all(processes.map(contend)));
      await contest.onlyLeft();
      expect(room.visits, `visits with seed ${seed}`).toBeGreaterThan(0);
      await closeAll(processes);
    }
    trouble.expectAtLeast(1, ...everyFault);
  });

  suite.it("leaves no key of those who give up, and holds up nobody, whatever fails", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const trouble = new Trouble(scene, faults);
    for (const seed of seeds(scene)) {
      const random = seededRandom(seed);
      const room = new Room();
      const contend = async (process: Process) => {
        for (let round = 0; round < 4; round++) {
          const controller = new AbortController();
          const patienceMs = (random() * scene.timing.ttlMs) / 10;
          using _ = backend.clock.after(patienceMs, () => controller.abort(new Error("long enough")));
          const grant = await contest.acquire(process, { signal: controller.signal }).catch(() => undefined);
          if (grant?.isHeld()) room.enter(grant);
          await grant?.release();
        }
      };
      const processes = await trouble.startMany(seed, 4);
      await Promise.all(processes.map(contend));
      await contest.onlyLeft();
      const patient = await start(scene);
      const grant = await contest.acquire(patient);
      room.enter(grant);
      await grant.release();
      await closeAll([...processes, patient]);
    }
    trouble.expectAtLeast(1, ...everyFault);
  });

  suite.it("loses no hand-over, however late calls and watches are", async (backend, scene) => {
    const contest = new Contest(exclusive, backend, scene);
    const trouble = new Trouble(scene, delays);
    const lasting = { ttlMs: 20 * scene.timing.ttlMs };
    for (const seed of seeds(scene)) {
      const room = new Room();
      const turn = async (process: Process) => {
        const grant = await contest.acquire(process);
        room.enter(grant);
        await grant.release();
      };
      const processes = await trouble.startMany(seed, 4, lasting);
      const turns = Promise.all(processes.flatMap((process) => [turn(process), turn(process)]));
      await within(backend, 4 * scene.patienceMs, turns);
      expect(room.visits, `visits with seed ${seed}`).toBe(8);
      await closeAll(processes);
    }
    trouble.expectAtLeast(1, "delays", "lateBatches");
  });
}

/** Elections and the directory, on a store whose answers are late, lost or refusals. */
export function convergenceUnderJitter(suite: Suite): void {
  suite.it("leads one at a time and shows observers who leads in the end, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    for (const seed of seeds(scene)) {
      const room = new Room();
      const observing = await trouble.start(100 * seed + 50);
      const observer = new Observer(observing, scene, (signal) => observing.conclave.election("a").observe({ signal }));
      const lead = ({ conclave }: Process, index: number) =>
        insist(() =>
          conclave.election("a").run(async (leadership) => {
            if (leadership.isHeld()) room.enter(leadership);
            await leadership.proclaim(`${index} leads`);
          }),
        );
      const candidates = await trouble.startMany(seed, 3);
      await within(backend, troubledMs(scene), Promise.all(candidates.map(lead)));
      await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
      await observer.comesTo((leader) => expect(leader).toBeUndefined());
      const tokens = observer.seen.flatMap((leader) => (leader ? [leader.token] : []));
      expect(tokens).toEqual([...tokens].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
      await observer.stop(new Error("seen enough"));
      await closeAll([observing, ...candidates]);
    }
    trouble.expectAtLeast(1, ...everyFault);
  });

  suite.it("shows in every view what is registered in the end, whatever fails", async (backend, scene) => {
    const trouble = new Trouble(scene, faults);
    for (const seed of seeds(scene)) {
      const readers = await trouble.startMany(seed, 2);
      const views = await Promise.all(
        readers.map(async ({ conclave }) => scene.use(await conclave.service("a").instances())),
      );
      const come = async ({ conclave }: Process, name: number) => {
        const register = (id: string) => insist(() => conclave.service("a").register({ id, address: "x:1" }));
        const [stays, goes] = [await register(`${name} stays`), await register(`${name} goes`)];
        await insist(() => stays.update({ address: "x:2" }));
        await goes.deregister();
      };
      const registrars = await trouble.startMany(seed + 1_000, 3);
      await within(backend, troubledMs(scene), Promise.all(registrars.map(come)));
      const wanted = { "0 stays": "x:2", "1 stays": "x:2", "2 stays": "x:2" };
      for (const view of views) {
        await scene.eventually(backend, () => expect(addresses(view.snapshot), `seed ${seed}`).toEqual(wanted));
      }
      await closeAll([...readers, ...registrars]);
      await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
    }
    trouble.expectAtLeast(1, ...everyFault);
  });
}
