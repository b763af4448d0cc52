import type { Mutant } from "./mutant.ts";

const file = "packages/core/src/recipes/values/ids.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "a block begins with the last id of the block before",
    file,
    find: "this.#next = last - this.#block + 1n;",
    replace: "this.#next = last - this.#block;",
    killedBy: "ids are never the same",
  },
  {
    breaks: "a block is as large as others take theirs",
    file,
    find: "this.#last = last;",
    replace: "this.#last = this.#next + 99n;",
    killedBy: "ids are never the same",
  },
  {
    breaks: "everyone who waits takes a block of its own",
    file,
    find: "this.#taking ??= this",
    replace: "this.#taking = this",
    killedBy: "ids take one commit a block",
  },
  {
    breaks: "who gives up waits for the store all the same",
    file,
    find: "await abortable(this.#taking, signal);",
    replace: "await this.#taking;",
    killedBy: "ids are given at once",
  },
];
