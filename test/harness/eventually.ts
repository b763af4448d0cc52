import { setTimeout as sleep } from "node:timers/promises";

export interface EventuallyOptions {
  readonly timeoutMs?: number;
  readonly everyMs?: number;
}

/** Calls `look` until it neither throws nor gives `false`, and hands back what it gave; fails with its last error. */
export async function eventually<T>(
  look: () => T | Promise<T>,
  { timeoutMs = 5_000, everyMs = 20 }: EventuallyOptions = {},
): Promise<Exclude<T, false>> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    let why: unknown = new Error("the condition stayed false");
    try {
      const seen = await look();
      if (seen !== false) return seen as Exclude<T, false>;
    } catch (error) {
      why = error;
    }
    if (performance.now() > deadline) throw new Error(`not so after ${timeoutMs} ms: ${String(why)}`, { cause: why });
    await sleep(everyMs);
  }
}
