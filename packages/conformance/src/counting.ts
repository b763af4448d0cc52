import type { Backend } from "@conclave/core/backend";
import { type CallKind, intercepted } from "./intercepted.ts";

/** How many calls of each kind were made; kinds that were not called are left out. */
export type RoundTrips = Readonly<Partial<Record<CallKind, number>>>;

/** What was called, and what was answered. */
export interface Activity {
  readonly called: number;
  readonly answered: number;
}

/** A backend that counts the calls made to it. */
export interface CountingBackend extends Backend {
  /** All calls since the start, whatever was reset, and how many of them were answered. */
  activity(): Activity;
  /** The calls since the start, or since the last reset. */
  snapshot(): RoundTrips;
  /** Counts from nothing again. */
  reset(): void;
}

/**
 * Counts the round trips that a process makes, so that a test can say what a recipe costs:
 *
 * ```ts
 * expect(counted.snapshot()).toEqual({ commit: 1 });
 * ```
 */
export function counting(backend: Backend): CountingBackend {
  let counts: Partial<Record<CallKind, number>> = {};
  let [called, answered] = [0, 0];
  const counted = intercepted(backend, {
    call(call, send) {
      counts[call.kind] = (counts[call.kind] ?? 0) + 1;
      called += 1;
      return send().finally(() => {
        answered += 1;
      });
    },
    watch: (watch) => watch,
  });
  return Object.assign(counted, {
    activity: () => ({ called, answered }),
    snapshot: () => ({ ...counts }),
    reset() {
      counts = {};
    },
  });
}
