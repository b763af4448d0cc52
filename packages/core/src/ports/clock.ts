/**
 * Time, timers and chance. Nothing else in core knows of them, so that a test, or a simulation, supplies its own.
 */
export interface Clock {
  /** Milliseconds from an arbitrary start. Never goes back; may stand still while the machine is suspended. */
  monotonicMs(): number;
  /** Milliseconds since the epoch. May be stepped. */
  wallMs(): number;
  /** Calls back once, after at least `delayMs`; disposing it first cancels. */
  after(delayMs: number, callback: () => void): Disposable;
  /** A number in [0, 1). */
  random(): number;
  /** 32 hexadecimal digits that no other call gives. */
  id(): string;
}

/** A reading of both of a clock's hands. */
export interface Instant {
  readonly monotonicMs: number;
  readonly wallMs: number;
}

/** Now, on both hands of the clock. */
export function instant(clock: Clock): Instant {
  return { monotonicMs: clock.monotonicMs(), wallMs: clock.wallMs() };
}

/** Milliseconds since an instant of the same clock: the larger of what both hands say, since a suspended machine stops the first. */
export function elapsedMs(clock: Clock, since: Instant): number {
  return Math.max(clock.monotonicMs() - since.monotonicMs, clock.wallMs() - since.wallMs);
}

const longestTimerMs = 2 ** 31 - 1;

/** The machine's own clock. */
export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
  after(delayMs, callback) {
    const timer = setTimeout(callback, Math.min(Math.ceil(delayMs), longestTimerMs));
    return { [Symbol.dispose]: () => clearTimeout(timer) };
  },
  random: () => Math.random(),
  id: () => crypto.randomUUID().replaceAll("-", ""),
};
