import type { Mutant } from "./mutant.ts";

const line = "packages/core/src/recipes/locks/permit-line.ts";
const limit = "packages/core/src/recipes/locks/semaphore-limit.ts";
const wait = "packages/core/src/wait.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "every waiter watches its predecessor alone, so that no other holder's exit wakes anybody",
    file: line,
    find: "if (isAll && (!predecessor || taken <= largestSince(predecessor, limit))) {",
    replace: "if (isAll && !predecessor) {",
    killedBy: "a semaphore grants to who waits when any of the holders leaves",
  },
  {
    breaks: "everybody watches everything, so that all wake at every release",
    file: line,
    find: "heard: [{ key }, { key: own }]",
    replace: "heard: [{ prefix: this.keys }]",
    killedBy: "a semaphore, in round trips wakes the head of the line",
  },
  {
    breaks: "those behind us count, too",
    file: line,
    find: "const taken = sum(older);",
    replace: "const taken = sum(oldest.entries) - weight;",
    killedBy: "a semaphore grants to as many who wait",
  },
  {
    breaks: "all keys count as one permit",
    file: line,
    find: "const taken = sum(older);",
    replace: "const taken = older.length;",
    killedBy: "a semaphore grants so many permits and no more",
  },
  {
    breaks: "nobody says that it was granted",
    file: line,
    find: "void persistently(clock, session.signal, say);",
    replace: "void say;",
    killedBy: "a semaphore grants to as many who wait",
  },
  {
    breaks: "that it was granted is said once, whether the store hears it or not",
    file: line,
    find: "void persistently(clock, session.signal, say);",
    replace: "void say().catch(() => {});",
    killedBy: "a semaphore, lost tells the next of a grant",
  },
  {
    breaks: "who waits does not hear that the limit has grown",
    file: line,
    find: "new Set([this.#limit.key, own,",
    replace: "new Set([own,",
    killedBy: "a semaphore, resized",
  },
  {
    breaks: "after a shrink those who still hold permits count as waiters, whose word is waited for",
    file: line,
    find: "created > modified ? permits : largest",
    replace: "created > modified ? permits : permits",
    killedBy: "a semaphore, resized takes from nobody when it shrinks",
  },
  {
    breaks: "whoever only tries does not mind who came meanwhile",
    file: line,
    find: "free = [{ prefix: this.#prefix, noneModifiedAfter: revision }];",
    replace: "free = [];",
    killedBy: "a semaphore gives the permits there are, each once",
  },
  {
    breaks: "another limit than that of the others is taken without a word",
    file: limit,
    find: "this.#wanted !== limit.permits && !limit.resized)",
    replace: "this.#wanted !== limit.permits && limit.resized)",
    killedBy: "a semaphore, resized stores what its first user says",
  },
  {
    breaks: "who waits hears of what does not matter",
    file: wait,
    find: 'only === undefined || "gap" in batch || ',
    replace: "only !== undefined || ",
    killedBy: "a semaphore, in round trips wakes nobody for those who come",
  },
  {
    breaks: "who waits takes a gap in what it hears for silence",
    file: wait,
    find: ' || "gap" in batch || batch.changes.some',
    replace: ' || !("gap" in batch) && batch.changes.some',
    killedBy: "a semaphore, lost sleeps through no release",
  },
];
