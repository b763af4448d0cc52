import type { Clock } from "./ports/clock.ts";

/**
 * How many milliseconds to wait before the given attempt (1 is the first repetition): any time from 0 to a longest one
 * that doubles from 50 ms to `longestMs`. That is the "full jitter" of Brooker, "Exponential Backoff And Jitter" (2015).
 */
export function backoffMs(clock: Clock, attempt: number, longestMs = 1_000): number {
  return clock.random() * Math.min(longestMs, 50 * 2 ** (attempt - 1));
}
