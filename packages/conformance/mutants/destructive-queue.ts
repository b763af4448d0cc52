import type { Mutant } from "./mutant.ts";

const file = "packages/core/src/recipes/queue/destructive-queue.ts";

/** Bugs that destructive queues have had, or could have. */
export const mutants: readonly Mutant[] = [
  {
    breaks: "an item is deleted whether it is still there or not, so that two pop it",
    file,
    find: "if: [{ key, created }],",
    replace: "if: [],",
    killedBy: "a destructive queue pops each item once, however many pop at the same time",
  },
  {
    breaks: "the newest is popped first",
    file,
    find: 'list(this.#items, { order: "oldest", limit: crowd, signal });',
    replace: 'list(this.#items, { order: "newest", limit: crowd, signal });',
    killedBy: "a destructive queue pops what was pushed, oldest first",
  },
  {
    breaks: "an item is given and not deleted",
    file,
    find: "then: [{ delete: key }],",
    replace: "then: [],",
    killedBy: "a destructive queue pops what was pushed, oldest first, and then it is gone",
  },
  {
    breaks: "who waited stays in line for ever, and blocks it",
    file,
    find: "await leave(place);",
    replace: "",
    killedBy: "a destructive queue gives items that come to those who wait",
  },
];
