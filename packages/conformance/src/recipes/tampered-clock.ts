import type { Clock } from "@conclave/core/backend";

/** A process's own view of a clock: its timers can be held back, its monotonic hand stopped, its wall hand stepped. */
export class TamperedClock implements Clock {
  readonly #inner: Clock;
  readonly #heldBack: (() => void)[] = [];
  #holding = false;
  #stoppedAtMs: number | undefined;
  #missedMs = 0;
  #wallStepMs = 0;

  constructor(inner: Clock) {
    this.#inner = inner;
  }

  monotonicMs(): number {
    return this.#stoppedAtMs ?? this.#inner.monotonicMs() - this.#missedMs;
  }

  wallMs(): number {
    return this.#inner.wallMs() + this.#wallStepMs;
  }

  random(): number {
    return this.#inner.random();
  }

  id(): string {
    return this.#inner.id();
  }

  after(delayMs: number, callback: () => void): Disposable {
    let disposed = false;
    const timer = this.#inner.after(delayMs, () => {
      if (this.#holding) this.#heldBack.push(() => disposed || callback());
      else callback();
    });
    return {
      [Symbol.dispose]: () => {
        disposed = true;
        timer[Symbol.dispose]();
      },
    };
  }

  /** From now on no timer fires, as in a process that is busy or stopped. */
  holdTimers(): void {
    this.#holding = true;
  }

  /** Fires what is late. */
  releaseTimers(): void {
    this.#holding = false;
    for (const fire of this.#heldBack.splice(0)) fire();
  }

  /** Stops the monotonic hand and the timers, as a suspended machine does. */
  suspend(): void {
    this.#stoppedAtMs = this.monotonicMs();
    this.holdTimers();
  }

  /** Lets both go on; the monotonic hand knows nothing of the time between. */
  resume(): void {
    if (this.#stoppedAtMs !== undefined) this.#missedMs = this.#inner.monotonicMs() - this.#stoppedAtMs;
    this.#stoppedAtMs = undefined;
    this.releaseTimers();
  }

  /** Moves the wall hand, as an operator or a time server does. */
  stepWall(ms: number): void {
    this.#wallStepMs += ms;
  }
}
