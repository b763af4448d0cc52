import type { Mutant } from "./mutant.ts";

const file = "packages/core/src/recipes/barriers/latch.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "two who count at once count once, since neither looks whether the count is unchanged",
    file,
    find: "{ if: [unchanged], then:",
    replace: "{ if: [], then:",
    killedBy: "a latch counts everybody who counts at once",
  },
  {
    breaks: "a count goes below zero",
    file,
    find: "Math.max(0, state.remaining - n)",
    replace: "state.remaining - n",
    killedBy: "a latch stays open, and is never below zero",
  },
  {
    breaks: "nobody rings when the count comes to zero",
    file,
    find: "next.remaining > 0 ? [] : [",
    replace: "next.remaining >= 0 ? [] : [",
    killedBy: "a latch opens at zero",
  },
  {
    breaks: "everybody who waits is woken by every count",
    file,
    find: "[{ key: this.#bell }], look",
    replace: "[{ key: this.#key }], look",
    killedBy: "a latch asks nothing for many who wait while others count",
  },
  {
    breaks: "who waited stays when the latch was reset before it woke",
    file,
    find: " || state.generation > first.generation",
    replace: "",
    killedBy: "a latch lets through who waited when it opened",
  },
  {
    breaks: "another count than the one in use is taken",
    file,
    find: "if (state.count !== count)",
    replace: "if (state.count < 0)",
    killedBy: "a latch refuses another count",
  },
  {
    breaks: "an object that saw the latch open believes so after a reset",
    file,
    find: "next.remaining > 0 ? { state: next, unchanged",
    replace: "next.remaining >= 0 ? { state: next, unchanged",
    killedBy: "a latch counts with one object as it does with many",
  },
];
