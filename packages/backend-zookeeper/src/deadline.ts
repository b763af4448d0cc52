import { type CallOptions, type Clock, CoordinationError, onAbort, sleep } from "@conclave/core/backend";

/** How long one call of a caller's may take, however many it makes of ZooKeeper, and what gives it up. */
export class Deadline {
  readonly signal: AbortSignal | undefined;
  readonly #clock: Clock;
  readonly #endMs: number;

  constructor(clock: Clock, { signal, timeoutMs }: CallOptions, defaultTimeoutMs: number) {
    this.signal = signal;
    this.#clock = clock;
    this.#endMs = clock.monotonicMs() + (timeoutMs ?? defaultTimeoutMs);
  }

  get leftMs(): number {
    return this.#endMs - this.#clock.monotonicMs();
  }

  /** Throws when it has passed, or the call was given up. */
  check(): void {
    this.signal?.throwIfAborted();
    if (this.leftMs <= 0) throw tooLate();
  }

  /** For one of its calls. */
  get call(): CallOptions {
    return { signal: this.signal, timeoutMs: Math.max(0.01, this.leftMs) };
  }

  /** The same, for what goes on when the caller has given up. */
  lasting(): Deadline {
    return new Deadline(this.#clock, { timeoutMs: Math.max(0.01, this.leftMs) }, 0);
  }

  /** The promise, or `signal.reason`, or `UNAVAILABLE` when the time is up. */
  within<T>(promise: Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const timer = this.#clock.after(Math.max(0, this.leftMs), () => reject(tooLate()));
      const link = onAbort(this.signal, () => reject(this.signal?.reason));
      promise.then(resolve, reject).finally(() => {
        timer[Symbol.dispose]();
        link[Symbol.dispose]();
      });
      if (this.signal?.aborted) reject(this.signal.reason);
    });
  }
}

/** Waits a little before another attempt, longer from time to time; rejects when the deadline would pass meanwhile. */
export async function backoff(clock: Clock, deadline: Deadline, attempt: number, cause: unknown): Promise<void> {
  const delayMs = clock.random() * Math.min(250, 2 ** attempt);
  if (delayMs >= deadline.leftMs) throw tooLate(cause);
  await sleep(clock, delayMs, deadline.signal);
}

function tooLate(cause?: unknown): CoordinationError {
  return new CoordinationError("UNAVAILABLE", "ZooKeeper did not get it done in time", { cause });
}
