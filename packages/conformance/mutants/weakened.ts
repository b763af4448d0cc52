import type { Mutant } from "./mutant.ts";

const file = "packages/core/src/weakened.ts";

/** Bugs of what is said of promises that a store weakens. */
export const mutants: readonly Mutant[] = [
  {
    breaks: "what a failover may undo is said at every use",
    file,
    find: " || said.has(recipe)",
    replace: "",
    killedBy: "what a failover may undo is said once for each recipe",
  },
  {
    breaks: "what a failover may undo is said for the first recipe alone",
    file,
    find: "said.has(recipe)",
    replace: "said.size > 0",
    killedBy: "what a failover may undo is said once for each recipe",
  },
  {
    breaks: "stores that forget nothing are said to forget",
    file,
    find: "!guarantees.mayForget || ",
    replace: "",
    killedBy: "what a failover may undo is not said if the store does not forget",
  },
  {
    breaks: "a store that forgets does not say so",
    file,
    find: "!guarantees.mayForget",
    replace: "guarantees.mayForget",
    killedBy: "what a failover may undo",
  },
];
