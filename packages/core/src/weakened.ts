import type { Conclave } from "./conclave.ts";
import type { Backend } from "./ports/backend.ts";

/** A recipe, by the name of the conclave's method that gives it. */
export type Recipe = Exclude<keyof Conclave, "backend" | "kv" | "session" | "close" | typeof Symbol.asyncDispose>;

/** How long two holders may both believe it, and what helps. */
const twoMay =
  "until the first one's session notices, at one of its next renewals: have what it guards refuse smaller tokens";

/**
 * What becomes of each recipe's promise where a failover may forget writes that the store had acknowledged. Nothing, of
 * recipes that mend it by themselves: what a live process had registered, it registers again, and a copy looks again.
 */
export const whenForgotten: Readonly<Record<Recipe, string | undefined>> = {
  mutex: `two processes may hold a mutex at once, ${twoMay}`,
  mutexes: `two processes may hold a mutex at once, ${twoMay}`,
  rwLock: `a writer may not be alone, ${twoMay}`,
  semaphore: `more permits than the limit may be held, ${twoMay}`,
  election: `two may lead at once, ${twoMay}`,
  partitioner: `a partition may have two owners at once, ${twoMay}`,
  queue: "items that were enqueued may be gone, and items that were acknowledged may be delivered again",
  destructiveQueue: "items that were pushed may be gone, and items that were popped may be popped again",
  topic:
    "messages that were published may be gone, and as many later ones may pass by a subscriber that had read those, untold",
  counter: "a count may go back, by what was added last",
  ids: "ids may be handed out twice: where that matters, let what stores them refuse the second",
  atomic: "a value may go back to an earlier one",
  config: "settings may go back to earlier ones",
  transact: "what was committed may be undone, whole transactions at a time",
  barrier: "a barrier that was closed may be open, and one that was opened may be closed",
  doubleBarrier: "some may enter, or leave, while others go on waiting for them",
  latch: "counts may be undone, so that a latch stays closed, or closes again, though all have counted",
  service: undefined,
  membership: undefined,
  replica: undefined,
};

/** Says, at the first use of each recipe on a store that may forget, what its promise comes to there; otherwise nothing. */
export function weakenedOn({ name, guarantees }: Backend, warn: (warning: string) => void): (recipe: Recipe) => void {
  const said = new Set<Recipe>();
  return (recipe) => {
    const consequence = whenForgotten[recipe];
    if (!guarantees.mayForget || consequence === undefined || said.has(recipe)) return;
    said.add(recipe);
    warn(`${recipe} on ${name}: a failover of the store may lose what it had acknowledged; then ${consequence}`);
  };
}
