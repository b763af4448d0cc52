import { Bell } from "./bell.ts";
import type { Backend } from "./ports/backend.ts";
import type { Watch, WatchRange } from "./ports/watches.ts";
import { patiently } from "./settle.ts";
import { linkSignals } from "./signals.ts";

/** What a wait hears of: a key, or what is under a prefix, of which perhaps only some keys matter. */
export type Heard = WatchRange & { readonly only?: ReadonlySet<string> | undefined };

/**
 * Every wait of every recipe: watch, look, wait, look again.
 *
 *   1. watch the ranges, so that nothing that happens from now on is missed;
 *   2. look; done if `look` finds what the wait is for;
 *   3. wait until something changed, or for about `recheckMs` (10 s when absent), so that an event the store dropped costs
 *      delay and not a deadlock;
 *   4. go to 2.
 *
 * A store that is unavailable for a while only delays the wait. Rejects with `signal.reason` at once.
 */
export async function waitUntil<T>(
  backend: Backend,
  ranges: readonly Heard[],
  look: () => Promise<T | undefined>,
  { signal, recheckMs = 10_000 }: { readonly signal: AbortSignal; readonly recheckMs?: number },
): Promise<T> {
  const { clock } = backend;
  const bell = new Bell();
  const broken = new AbortController();
  using linked = linkSignals(signal, broken.signal);
  const watches: Watch[] = [];
  try {
    await Promise.all(
      ranges.map(async ({ only, ...range }) => {
        const open = () => backend.watches.watch(range, { signal: linked.signal });
        const watch = await patiently(clock, linked.signal, open);
        watches.push(watch);
        ringOnChange(watch, bell, only).catch((error: unknown) => broken.abort(error));
      }),
    );
    for (;;) {
      const heard = bell.rings;
      const found = await patiently(clock, linked.signal, look);
      if (found !== undefined) return found;
      const patienceMs = recheckMs * (0.75 + 0.5 * clock.random());
      await bell.after(heard, { clock, patienceMs, signal: linked.signal });
    }
  } finally {
    // Ends a watch that is still being opened, too.
    broken.abort();
    for (const watch of watches) void Promise.resolve(watch[Symbol.asyncDispose]()).catch(() => {});
  }
}

async function ringOnChange(watch: Watch, bell: Bell, only: ReadonlySet<string> | undefined): Promise<void> {
  for await (const batch of watch) {
    if (only === undefined || "gap" in batch || batch.changes.some(({ key }) => only.has(key))) bell.ring();
  }
}
