import type { Clock } from "./ports/clock.ts";

const waiting = new WeakMap<AbortSignal, Set<() => void>>();

const nothing: Disposable = { [Symbol.dispose]: () => {} };

/**
 * Calls back if the signal aborts from now on, unless disposed first. However many wait for a signal, it gets one
 * listener: from eleven on, Node would print that they look like a leak.
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): Disposable {
  if (signal === undefined) return nothing;
  let callbacks = waiting.get(signal);
  if (callbacks === undefined) {
    callbacks = new Set();
    waiting.set(signal, callbacks);
    signal.addEventListener("abort", callBackAll);
  }
  const own = () => callback();
  callbacks.add(own);
  return {
    [Symbol.dispose]: () => {
      if (!callbacks.delete(own) || callbacks.size > 0) return;
      signal.removeEventListener("abort", callBackAll);
      waiting.delete(signal);
    },
  };
}

function callBackAll(event: Event): void {
  const signal = event.target as AbortSignal;
  const callbacks = waiting.get(signal) ?? [];
  for (const callback of callbacks) callback();
  signal.removeEventListener("abort", callBackAll);
  waiting.delete(signal);
}

/**
 * A signal that aborts when any of the given ones does, until it is disposed. `AbortSignal.any` would leave a listener
 * on a long-lived source for every call.
 */
export function linkSignals(
  ...sources: readonly (AbortSignal | undefined)[]
): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const live = sources.filter((source) => source !== undefined);
  const links: Disposable[] = [];
  const dispose = () => {
    for (const link of links.splice(0)) link[Symbol.dispose]();
  };
  const abort = (source: AbortSignal) => {
    dispose();
    controller.abort(source.reason);
  };
  const aborted = live.find((source) => source.aborted);
  if (aborted) abort(aborted);
  else for (const source of live) links.push(onAbort(source, () => abort(source)));
  return { signal: controller.signal, [Symbol.dispose]: dispose };
}

/** The promise, or `signal.reason` as soon as it aborts. The promise goes on by itself, and its failure is not unhandled. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise<T>((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    const link = signal.aborted ? undefined : onAbort(signal, () => reject(signal.reason));
    promise.then(resolve, reject).finally(() => link?.[Symbol.dispose]());
  });
}

/** Waits so many milliseconds of the clock; rejects with `signal.reason` if that aborts first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    signal?.throwIfAborted();
    const finish = () => {
      timer[Symbol.dispose]();
      link[Symbol.dispose]();
      signal?.aborted ? reject(signal.reason) : resolve();
    };
    const timer = clock.after(delayMs, finish);
    const link = onAbort(signal, finish);
  });
}
