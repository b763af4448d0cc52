import type { Clock } from "./ports/clock.ts";

/** How long to wait before the given attempt (1 is the first repetition): full jitter, doubling from 50 ms to 1 s. */
export function backoffMs(clock: Clock, attempt: number, longestMs = 1_000): number {
  return clock.random() * Math.min(longestMs, 50 * 2 ** (attempt - 1));
}
