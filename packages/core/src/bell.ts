import type { Clock } from "./ports/clock.ts";
import { onAbort } from "./signals.ts";

/** One bit of news for any number of listeners: something may have changed, look again. Rings merge. */
export class Bell {
  #rings = 0;
  readonly #listeners = new Set<() => void>();

  /** How often it has rung so far; what a listener remembers before it looks. */
  get rings(): number {
    return this.#rings;
  }

  ring(): void {
    this.#rings += 1;
    for (const listener of [...this.#listeners]) listener();
  }

  /**
   * Resolves once it has rung more often than `heard`, or after `patienceMs`; rejects with `signal.reason` when that
   * aborts.
   */
  after(
    heard: number,
    { clock, patienceMs, signal }: { clock: Clock; patienceMs?: number; signal?: AbortSignal },
  ): Promise<void> {
    return new Promise<void>((resolve, reject) => {
      signal?.throwIfAborted();
      if (this.#rings > heard) return resolve();
      const stop = () => {
        timer?.[Symbol.dispose]();
        this.#listeners.delete(stop);
        link[Symbol.dispose]();
        signal?.aborted ? reject(signal.reason) : resolve();
      };
      const timer = patienceMs === undefined ? undefined : clock.after(patienceMs, stop);
      this.#listeners.add(stop);
      const link = onAbort(signal, stop);
    });
  }
}
