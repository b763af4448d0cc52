import { type Conclave, connect } from "@conclave/core";
import { abortable, type Backend, sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene } from "../context.ts";
import { Link } from "./link.ts";
import { TamperedClock } from "./tampered-clock.ts";

/** A process of a test: its client of the store, and the conclave it coordinates through. */
export interface Process {
  readonly backend: Backend;
  readonly conclave: Conclave;
}

export interface ProcessOptions {
  readonly ttlMs?: number | undefined;
  readonly owner?: string | undefined;
  readonly onWarning?: ((warning: string) => void) | undefined;
}

/**
 * Starts a process. Unless told otherwise its session outlasts the patience of every wait in the suite, so that neither
 * an expiry nor a recipe's slow second look can stand in for what a test waits for. `seen` is what it sees the store
 * through; what it does there is observed from behind that.
 */
export async function start(
  scene: Scene,
  options: ProcessOptions = {},
  seen: (backend: Backend) => Backend = (backend) => backend,
): Promise<Process> {
  const backend = await scene.connect();
  const ttlMs = Math.min(60 * scene.timing.ttlMs, backend.limits.maxTtlMs);
  const onWarning = options.onWarning && unlessOfFailover(options.onWarning);
  return {
    backend,
    conclave: scene.use(await connect(seen(scene.observed(backend)), { ttlMs, ...options, onWarning })),
  };
}

/** What a failover may do is said of some stores and not of others, and is the matter of one test alone. */
function unlessOfFailover(warn: (warning: string) => void): (warning: string) => void {
  return (warning) => {
    if (!warning.includes("a failover of the store may lose")) warn(warning);
  };
}

/** Starts a process whose session expires soon after it is cut off. */
export function startMortal(
  scene: Scene,
  options: ProcessOptions = {},
  seen?: (backend: Backend) => Backend,
): Promise<Process> {
  return start(scene, { ttlMs: scene.timing.ttlMs, ...options }, seen);
}

/** Starts a process, mortal as any, whose link to the store the test can cut and mend. */
export async function startLinked(scene: Scene, options: ProcessOptions = {}): Promise<Process & { link: Link }> {
  const links: Link[] = [];
  const process = await startMortal(scene, options, (backend) => {
    const link = new Link(backend);
    links.push(link);
    return link.backend;
  });
  return { ...process, link: links[0] as Link };
}

/** Starts a process, mortal as any, whose clock the test can tamper with. */
export async function startTampered(scene: Scene): Promise<Process & { clock: TamperedClock }> {
  const clocks: TamperedClock[] = [];
  const process = await startMortal(scene, {}, (backend) => {
    const clock = new TamperedClock(backend.clock);
    clocks.push(clock);
    return { ...backend, clock };
  });
  return { ...process, clock: clocks[0] as TamperedClock };
}

export async function startPair(scene: Scene): Promise<[Process, Process]> {
  return [await start(scene), await start(scene)];
}

/** As many processes as that. */
export function startMany(scene: Scene, count: number): Promise<Process[]> {
  return Promise.all(Array.from({ length: count }, () => start(scene)));
}

/** What the promise gives; fails when it takes longer. */
export async function within<T>({ clock }: Backend, ms: number, promise: Promise<T>): Promise<T> {
  const late = new AbortController();
  using _ = clock.after(ms, () => late.abort(new Error(`it took longer than ${ms} ms`)));
  return await abortable(promise, late.signal);
}

/** That the promise is still open after a while in which a healthy store would have told what there is to tell. */
export async function staysOpen(backend: Backend, scene: Scene, promise: Promise<unknown>): Promise<void> {
  let settled = false;
  const settle = () => {
    settled = true;
  };
  promise.then(settle, settle);
  await quiet(backend, scene);
  expect(settled, "it still waits").toBe(false);
}

/**
 * Waits for a while in which a healthy store would have told what there is to tell, and in which nobody who is observed
 * calls or waits for an answer: on a busy machine, what follows from what was told takes its time.
 */
export async function quiet({ clock }: Backend, scene: Scene): Promise<void> {
  const { timing, patienceMs } = scene;
  const start = clock.monotonicMs();
  for (let before = -1; clock.monotonicMs() - start < patienceMs; ) {
    const { called, answered } = scene.activity;
    if (called === before && called === answered) return;
    before = called;
    await sleep(clock, timing.watchDelayMs + timing.ttlMs / 20);
  }
}

/** What the promise rejects with. */
export function rejection(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => {
      throw new Error(`it should have failed, and gave ${value}`);
    },
    (error: unknown) => error,
  );
}

/** Resolves with the signal's reason, and the moment by the backend's clock, when it aborts. */
export function aborted({ clock }: Backend, signal: AbortSignal): Promise<{ reason: unknown; atMs: number }> {
  return new Promise((resolve) => {
    const tell = () => resolve({ reason: signal.reason, atMs: clock.monotonicMs() });
    if (signal.aborted) tell();
    else signal.addEventListener("abort", tell, { once: true });
  });
}

/** How long a session may go without noticing that a key it relies on is gone: a renewal's pause, and the store's answer. */
export function noticeMs({ timing }: Scene): number {
  return timing.ttlMs / 3 + timing.ttlMs / 4;
}

/** How long a dead process's keys may stay after its last renewal, and its watchers not know that they went. */
export function deathMs({ timing }: Scene): number {
  return timing.ttlMs + timing.expiryLagMs + timing.watchDelayMs + timing.ttlMs / 4;
}
