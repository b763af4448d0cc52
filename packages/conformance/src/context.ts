import { type Backend, type Clock, scoped, sleep, systemClock } from "@conclave/core/backend";
import { test } from "vitest";
import { type Activity, type CountingBackend, counting } from "./counting.ts";
import { faultSeeds } from "./seeds.ts";
import type { Subject, Timing } from "./subject.ts";

/** What a sentence does: `backend` is one process's view of the test's own corner of the store. */
export type Body = (backend: Backend, scene: Scene) => Promise<void>;

/** Sentences about one subject: each becomes a test, with processes and a corner of the store of its own. */
export class Suite {
  readonly #subject: () => Subject;

  constructor(subject: () => Subject) {
    this.#subject = subject;
  }

  it(sentence: string, body: Body): void {
    test(sentence, async () => {
      await using scene = new Scene(this.#subject());
      const backend = await scene.connect();
      await within(hangingMs(scene), backend.clock, body(backend, scene));
    });
  }
}

/** Longer than a test lasts: one that waits for what never happens fails long before its runner gives up. */
function hangingMs({ patienceMs }: Scene): number {
  return (120_000 + 8 * patienceMs) * Math.max(1, faultSeeds(0).length / 100);
}

/** By the machine's clock, on which a busy machine is slow, or by the store's, which may be a faster one. */
function within(ms: number, clock: Clock, body: Promise<void>): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    const late = () => reject(new Error(`the test was not over after ${ms} ms`));
    const deadlines = [systemClock.after(ms, late), clock.after(ms, late)];
    const end = () => {
      for (const deadline of deadlines) deadline[Symbol.dispose]();
    };
    body.finally(end).then(resolve, reject);
  });
}

const run = crypto.randomUUID().slice(0, 8);
let scenes = 0;

/** One test's processes, and its corner of the store. Ending it ends them all. */
export class Scene implements AsyncDisposable {
  /** What every key of this test begins with. */
  readonly prefix: string = `c/${run}/${++scenes}/`;
  readonly timing: Timing;
  readonly #subject: Subject;
  readonly #ends: (() => PromiseLike<void>)[] = [];
  readonly #observed = new Map<Backend, CountingBackend>();
  /** What the subject knows a process by, for each view of it that a test has. */
  readonly #processes = new Map<Backend, Backend>();

  constructor(subject: Subject) {
    this.timing = subject.timing;
    this.#subject = subject;
  }

  /** Starts another process, seen through this test's prefix. */
  async connect(): Promise<Backend> {
    return this.scope(await this.connectUnscoped());
  }

  /** Starts another process, seen as it is: for arguments, limits and closing. */
  async connectUnscoped(): Promise<Backend> {
    const backend = await this.#subject.connect();
    this.#processes.set(backend, backend);
    this.#ends.push(() => backend[Symbol.asyncDispose]());
    return backend;
  }

  /** This test's view of a process. */
  scope(backend: Backend): Backend {
    const view = scoped(backend, this.prefix);
    this.#processes.set(view, this.#process(backend));
    return view;
  }

  /** Cuts a process off for good, untold. */
  async kill(backend: Backend): Promise<void> {
    this.#observed.delete(this.#process(backend));
    await this.#subject.kill(this.#process(backend));
  }

  /** A view of a process, through which `activity` tells of what it does, until it is killed. */
  observed(backend: Backend): Backend {
    const counted = counting(backend);
    this.#observed.set(this.#process(backend), counted);
    return counted;
  }

  /** What all processes that are observed have called so far, and what of that was answered. */
  get activity(): Activity {
    const all = [...this.#observed.values()].map((counted) => counted.activity());
    return {
      called: all.reduce((sum, { called }) => sum + called, 0),
      answered: all.reduce((sum, { answered }) => sum + answered, 0),
    };
  }

  /** Ends something with the test, before its processes end. */
  use<T extends AsyncDisposable>(resource: T): T {
    this.#ends.push(() => resource[Symbol.asyncDispose]());
    return resource;
  }

  /** How many round trips a process has made on the wire. */
  roundTrips(backend: Backend): number {
    if (!this.#subject.roundTrips) throw new TypeError("a subject whose costs are given must count its round trips");
    return this.#subject.roundTrips(this.#process(backend));
  }

  /** A deadline that no healthy store comes near. */
  get patienceMs(): number {
    const { ttlMs, expiryLagMs, watchDelayMs } = this.timing;
    return 2 * (ttlMs + expiryLagMs + watchDelayMs);
  }

  /** Checks again and again until the check passes; fails with the last of its errors. */
  eventually<T>(backend: Backend, check: () => T | Promise<T>): Promise<T> {
    return eventually(backend.clock, this.patienceMs, check);
  }

  #process(backend: Backend): Backend {
    const process = this.#processes.get(backend);
    if (!process) throw new TypeError("backend must be one that this scene connected");
    return process;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const end of this.#ends.reverse()) await end();
  }
}

/** Checks again and again until the check passes or the time is up, and then fails with the last of its errors. */
export async function eventually<T>(clock: Clock, withinMs: number, check: () => T | Promise<T>): Promise<T> {
  const start = clock.monotonicMs();
  const stepMs = Math.min(Math.max(withinMs / 100, 1), 50);
  for (;;) {
    const late = clock.monotonicMs() - start > withinMs;
    try {
      return await check();
    } catch (error) {
      if (late) throw error;
    }
    await sleep(clock, stepMs);
  }
}
