import type { Clock } from "./ports/clock.ts";

const nothing: Disposable = { [Symbol.dispose]: () => {} };

/** Whoever waits for one signal to abort. However many they are, it gets one listener. */
class Waiting {
  static readonly #all = new WeakMap<AbortSignal, Waiting>();
  readonly #signal: AbortSignal;
  readonly #waiters = new Set<Waiter>();

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  static on(signal: AbortSignal): Waiting {
    let waiting = Waiting.#all.get(signal);
    if (waiting === undefined) {
      waiting = new Waiting(signal);
      Waiting.#all.set(signal, waiting);
      signal.addEventListener("abort", callBackAll);
    }
    return waiting;
  }

  static callBack(signal: AbortSignal): void {
    const waiting = Waiting.#all.get(signal);
    if (waiting === undefined) return;
    for (const { callback } of waiting.#waiters) callback();
    waiting.#end();
  }

  add(waiter: Waiter): void {
    this.#waiters.add(waiter);
  }

  remove(waiter: Waiter): void {
    if (this.#waiters.delete(waiter) && this.#waiters.size === 0) this.#end();
  }

  #end(): void {
    this.#signal.removeEventListener("abort", callBackAll);
    Waiting.#all.delete(this.#signal);
  }
}

class Waiter implements Disposable {
  readonly callback: () => void;
  readonly #among: Waiting;

  constructor(callback: () => void, among: Waiting) {
    this.callback = callback;
    this.#among = among;
    among.add(this);
  }

  [Symbol.dispose](): void {
    this.#among.remove(this);
  }
}

function callBackAll(event: Event): void {
  Waiting.callBack(event.target as AbortSignal);
}

/**
 * Calls back if the signal aborts from now on, unless disposed first. However many wait for a signal, it gets one
 * listener: from eleven on, Node would print that they look like a leak.
 */
export function onAbort(signal: AbortSignal | undefined, callback: () => void): Disposable {
  return signal === undefined ? nothing : new Waiter(callback, Waiting.on(signal));
}

/**
 * A signal that aborts when any of the given ones does, until it is disposed. `AbortSignal.any` would leave a listener
 * on a long-lived source for every call.
 */
export function linkSignals(
  ...sources: readonly (AbortSignal | undefined)[]
): { readonly signal: AbortSignal } & Disposable {
  const controller = new AbortController();
  const links: Disposable[] = [];
  const dispose = () => {
    for (const link of links.splice(0)) link[Symbol.dispose]();
  };
  const abort = (source: AbortSignal) => {
    dispose();
    controller.abort(source.reason);
  };
  const aborted = sources.find((source) => source?.aborted);
  if (aborted) abort(aborted);
  else for (const source of sources) if (source) links.push(onAbort(source, () => abort(source)));
  return { signal: controller.signal, [Symbol.dispose]: dispose };
}

/** The promise, or `signal.reason` as soon as it aborts. The promise goes on by itself, and its failure is not unhandled. */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return promise;
  return new Promise<T>((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    const link = signal.aborted ? nothing : onAbort(signal, () => reject(signal.reason));
    promise.then(
      (value) => {
        link[Symbol.dispose]();
        resolve(value);
      },
      (error) => {
        link[Symbol.dispose]();
        reject(error);
      },
    );
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
