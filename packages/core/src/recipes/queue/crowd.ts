import type { Clock } from "../../ports/clock.ts";

/** Beyond this a crowd is taken to be no larger. */
const mostLosses = 5;
/** Within these bounds is the time that one try is taken to last, in milliseconds. */
const shortestTryMs = 3;
const longestTryMs = 100;

/**
 * How crowded it is where several try for the same few things, judged by whether our own tries fail: carrier sense with
 * exponential back-off, as Metcalfe and Boggs, "Ethernet: Distributed Packet Switching for Local Computer Networks"
 * (CACM 19(7), 1976).
 *
 *   1. alone, try the first thing there is, at once;
 *   2. after a lost race pick among twice as many;
 *   3. and where there are not so many, wait before the next try, up to twice as long, and look again; as long as it
 *      takes to try, at first, since that is about what it takes others to learn of it;
 *   4. after a race that was won, pick among half as many, and wait half as long.
 */
export class Crowd {
  readonly #clock: Clock;
  #losses = 0;
  #tryMs = shortestTryMs;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A try that took so many milliseconds was in vain. */
  lost(tookMs: number): void {
    this.#took(tookMs);
    this.#losses = Math.min(mostLosses, this.#losses + 1);
  }

  /** A try that took so many milliseconds was not. */
  won(tookMs: number): void {
    this.#took(tookMs);
    this.#losses = Math.max(0, this.#losses - 1);
  }

  /** Among how many to pick. */
  get spread(): number {
    return 2 ** this.#losses;
  }

  /** How many milliseconds to wait before a try for one of so few; 0 where there is enough for all. */
  pauseMs(available: number): number {
    if (this.#losses === 0 || available >= this.spread) return 0;
    return this.#clock.random() * this.#tryMs * this.spread;
  }

  /** Which of so many to pick. */
  pick(available: number): number {
    return Math.floor(this.#clock.random() * Math.min(available, this.spread));
  }

  #took(ms: number): void {
    this.#tryMs = Math.min(longestTryMs, Math.max(shortestTryMs, ms));
  }
}
