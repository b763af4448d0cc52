import { type Clock, linkSignals } from "@conclave/core/backend";

/**
 * How long calls may take, and what gives them up. Many calls may share one, which is to be disposed after the last of
 * them: to make one costs about as much as a call without it.
 */
export class Patience implements Disposable {
  /** Aborts when the time is over. */
  readonly time: AbortSignal;
  /** Aborts when what was not sent is not to be sent any more. */
  readonly whileUnsent: AbortSignal;
  readonly #held: readonly Disposable[];

  constructor(clock: Clock, timeoutMs: number, ...signals: readonly (AbortSignal | undefined)[]) {
    const time = new AbortController();
    const timer = clock.after(timeoutMs, () => time.abort(new Error(`${timeoutMs} ms are over`)));
    const linked = linkSignals(...signals, time.signal);
    this.time = time.signal;
    this.whileUnsent = linked.signal;
    this.#held = [timer, linked];
  }

  [Symbol.dispose](): void {
    for (const one of this.#held) one[Symbol.dispose]();
  }
}
