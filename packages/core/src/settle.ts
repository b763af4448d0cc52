import { backoffMs } from "./backoff.ts";
import { isCoordinationError } from "./errors.ts";
import type { Clock } from "./ports/clock.ts";
import { sleep } from "./signals.ts";

async function repeatWhile<T>(
  clock: Clock,
  signal: AbortSignal,
  call: () => Promise<T>,
  again: (error: unknown) => boolean,
): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await call();
    } catch (error) {
      if (!again(error)) throw error;
    }
    await sleep(clock, backoffMs(clock, attempt), signal);
  }
}

/**
 * Repeats a commit until its outcome is known, or the signal aborts. Only for one that applies once however often it is
 * sent: its conditions must fail when it was applied before. The first answer that nothing was applied is thrown.
 */
export function settle<T>(clock: Clock, signal: AbortSignal, commit: () => Promise<T>): Promise<T> {
  let unknown = false;
  return repeatWhile(clock, signal, commit, (error) => {
    unknown ||= isCoordinationError(error, "OUTCOME_UNKNOWN");
    return unknown && isCoordinationError(error, "OUTCOME_UNKNOWN", "UNAVAILABLE");
  });
}

/** Repeats a read while the store gives no answer, until the signal aborts. */
export function patiently<T>(clock: Clock, signal: AbortSignal, read: () => Promise<T>): Promise<T> {
  return repeatWhile(clock, signal, read, (error) => isCoordinationError(error, "OUTCOME_UNKNOWN", "UNAVAILABLE"));
}

/** Whether what failed may succeed when it is done anew. */
export function isForNow(error: unknown): boolean {
  return isCoordinationError(error, "UNAVAILABLE", "OUTCOME_UNKNOWN", "LEASE_LOST", "LIMIT");
}

/** Repeats what the store refuses for now, until it is done, fails for good, or the signal aborts. Never rejects. */
export function persistently(
  clock: Clock,
  signal: AbortSignal,
  attempt: () => Promise<unknown>,
  again: (error: unknown) => boolean = isForNow,
): Promise<void> {
  return repeatWhile(clock, signal, attempt, (error) => !signal.aborted && again(error)).then(
    () => {},
    () => {},
  );
}
