import type { Clock } from "./ports/clock.ts";

/**
 * A signal that aborts when any of the given ones does, until it is disposed. `AbortSignal.any` would leave a listener
 * on a long-lived source for every call.
 */
export function linkSignals(
  ...sources: readonly (AbortSignal | undefined)[]
): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const live = sources.filter((source) => source !== undefined);
  const dispose = () => {
    for (const source of live) source.removeEventListener("abort", abort);
  };
  const abort = (event: Event) => {
    dispose();
    controller.abort((event.target as AbortSignal).reason);
  };
  const aborted = live.find((source) => source.aborted);
  if (aborted) controller.abort(aborted.reason);
  else for (const source of live) source.addEventListener("abort", abort);
  return { signal: controller.signal, [Symbol.dispose]: dispose };
}

/** The promise, or `signal.reason` as soon as it aborts. The promise goes on by itself, and its failure is not unhandled. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise<T>((resolve, reject) => {
    const abort = () => reject(signal.reason);
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", abort));
    if (signal.aborted) abort();
    else signal.addEventListener("abort", abort);
  });
}

/** Waits; rejects with `signal.reason` if that aborts first. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise<void>((resolve, reject) => {
    signal?.throwIfAborted();
    const finish = () => {
      timer[Symbol.dispose]();
      signal?.removeEventListener("abort", finish);
      signal?.aborted ? reject(signal.reason) : resolve();
    };
    const timer = clock.after(delayMs, finish);
    signal?.addEventListener("abort", finish);
  });
}
